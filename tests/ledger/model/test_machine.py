"""All modules at once against the clerk's dictionaries: anything anybody does, in any order.

Where the two disagree, somebody has too much or too little, or was allowed what nobody said. After
each block the books add up, the blocks so far lead to the same roots from genesis, and the state
is the same after the store was closed, with everything in it that can be rebuilt taken away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgpack
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from clawpurse.ledger.crypto import sign
from clawpurse.ledger.kernel.records import FEE_ACCOUNT
from tests.ledger.model.naive import (
    HELD_MS,
    LARGE,
    Batch,
    Naive,
    Promise,
    Reasons,
    issuers_assets,
)
from tests.ledger.model.world import ISSUER, OFFICERS, REBUILT, Done, World, act
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, Key

PEOPLE = (ALICE, BOB, CAROL, DAVE, ERIN)
EVERYBODY = (*PEOPLE, ISSUER, *OFFICERS)
ASSETS = ("CLAW", "EURX", "USDX")
MINUTE_MS, DAY_MS = 60_000, 86_400_000
HELD = "kernel.held"
# A transaction that fails is compared with the block without it, made anew.
BLOCK_MAX = 6

people = st.sampled_from(PEOPLE)
customers = st.sampled_from((ALICE, ALICE, BOB, BOB, CAROL, DAVE))
anybody = st.sampled_from(EVERYBODY)
payees = st.sampled_from((ALICE, BOB, CAROL) * 4 + EVERYBODY)
holders = st.sampled_from((ALICE, BOB, CAROL) * 3 + EVERYBODY)
mostly_issuer = st.sampled_from((ISSUER,) * 9 + (ALICE,))
assets = st.sampled_from(("CLAW", "EURX", "EURX", "EURX", "USDX", "USDX"))
issued = st.sampled_from(("EURX",) * 5 + ("USDX",) * 4 + ("CLAW",))
amounts = st.sampled_from((1, 7, 7, 30, 30, 100, LARGE - 1, LARGE, LARGE, 4_000))
spans = st.sampled_from((MINUTE_MS, 10 * MINUTE_MS, HELD_MS, DAY_MS))
numbers = st.integers(0, 30)
switches = st.booleans()


Deed = TypeVar("Deed", bound=Callable[..., None])


def there_is(*kinds: str) -> Callable[[Deed], Deed]:
    """A rule for promises of these kinds makes sense only if there are any."""
    return precondition(lambda self: any(one.kind in kinds for one in self.model.promises.values()))


class Ledgers(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.world, self.model = World(), Naive()

    # -- blocks

    @initialize()
    def found(self) -> None:
        """Two assets, some units of each, and a policy in force."""
        model = self.model
        self.begin(1_000)
        for asset, flags, cap in (("EURX", 15, None), ("USDX", 14, 5_000)):
            self.expect(
                *self.paying(ISSUER),
                set(),
                act("assets.create", asset, 2, "T", flags, cap, "", None),
            )
        issuers_assets(model)
        for key in (ALICE, BOB, CAROL):
            self.expect(
                ISSUER,
                model.authorise(*self.paying(ISSUER), "EURX", key, 2),
                act("assets.authorise", "EURX", key, 2),
            )
            for asset in ("EURX", "USDX"):
                self.expect(
                    ISSUER,
                    model.mint(*self.paying(ISSUER), asset, key, 1_500),
                    act("assets.mint", asset, key, 1_500),
                )
        # Two officers are one person, and so are two customers.
        for key, person in ((OFFICERS[1], b"p"), (OFFICERS[2], b"p"), (BOB, b"q"), (DAVE, b"q")):
            for officer in OFFICERS[:2]:
                subject = act("compliance.setSubject", key, person * 32, "seen")
                self.expect(*self.paying(officer), set(), subject)
            model.persons[key] = person.decode()
        for officer in OFFICERS[:2]:
            self.expect(*self.paying(officer), set(), act("compliance.setList", "blocked", "No", 1))
        rules = [
            ["listed", "deny", "blocked", 0, None, 0, 0, [["listed", "either", "blocked", 0, 0]]],
            [
                "large",
                "hold",
                None,
                2,
                None,
                HELD_MS,
                0,
                [["amount-at-least", None, None, LARGE, 0]],
            ],
        ]
        proposed = act("compliance.proposePolicy", "eurx", "EURX", "Limits", MINUTE_MS, rules)
        done = self.expect(*self.paying(OFFICERS[0]), set(), proposed)
        policy_id = done.first("compliance.policyProposed")[0]
        self.expect(*self.paying(OFFICERS[1]), set(), act("compliance.approvePolicy", policy_id))
        self.next_block(MINUTE_MS)
        self.model.policed = True
        self.next_block(1_000)

    def begin(self, after_ms: int) -> None:
        self.model.begin(after_ms)
        self.world.begin(after_ms)

    @rule(after_ms=st.sampled_from((1_000, 1_000, MINUTE_MS, 10 * MINUTE_MS, HELD_MS, DAY_MS)))
    def next_block(self, after_ms: int) -> None:
        self.world.seal()
        self.compare()
        self.begin(after_ms)

    def teardown(self) -> None:
        if self.world.is_open:
            self.world.seal()
            self.compare()
            self.world.again()
            self.world.stored.reopen(*REBUILT)
            self.world.stored.check()

    @rule(without=st.sampled_from(((), REBUILT[:1], REBUILT[1:], REBUILT)))
    def restart(self, without: tuple[bytes, ...]) -> None:
        """Close the store between two blocks; what can be rebuilt may be gone."""
        self.next_block(1_000)
        self.world.seal()
        self.world.stored.reopen(*without)
        self.world.stored.check()
        self.begin(1_000)

    # -- what both are asked

    def paying(self, who: Key) -> tuple[Key]:
        """Who acts, after the fee: it is taken whatever comes."""
        if self.world.count >= BLOCK_MAX:
            self.next_block(1_000)
        assert self.model.pays_fee(who)
        return (who,)

    def expect(self, who: Key, reasons: Reasons, action: Any) -> Done:
        """The ledger must say what the clerk said; for what is set up without the clerk, yes."""
        done = self.world.send(who, action)
        assert bool(done.rule) == bool(reasons), (action, done, reasons)
        assert not done.rule or done.rule in reasons, (action, done, reasons)
        return done

    def another(self, who: Key, to: Key) -> Key:
        """Whoever it was, or somebody else than `who`."""
        return to if to is not who else {ALICE: BOB, BOB: CAROL}.get(who, ALICE)

    def can_pay(self, who: Key) -> bool:
        return who in self.model.people and self.model.money[who, "CLAW"] >= 2

    def picked(self, number: int, *kinds: str) -> bytes:
        """Some promise, by preference of a kind; sometimes one that never was."""
        found = sorted(key for key, one in self.model.promises.items() if one.kind in kinds)
        others = sorted(self.model.promises)
        if number % 11 == 10:
            found = others
        return found[number % len(found)] if found and number != 13 else b"\x13" * 32

    def one_of(self, number: int, who: Key, name: bytes, *roles: str) -> Key:
        """Mostly who may act on a promise, sometimes somebody."""
        one = self.model.promises.get(name)
        if one is None or number % 5 == 4:
            return who
        entitled = [found for role in roles if (found := getattr(one, role)) is not None]
        return entitled[number % len(entitled)] if entitled else who

    # -- payments

    @rule(who=customers, to=payees, asset=assets, amount=amounts, kept=switches)
    def pays(self, who: Key, to: Key, asset: str, amount: int, kept: bool) -> None:
        if not self.can_pay(who):
            return
        if kept:
            action = act("payments.pay", asset, to, amount, b"", None, 0, [])
        else:
            action = act("assets.transfer", asset, to, amount)
        reasons = self.model.pay(*self.paying(who), asset, to, amount)
        done = self.expect(who, reasons, action)
        would = self.model.policy(asset, who, to, amount)
        assert (not reasons and would == "hold") == any(kind == HELD for kind, _ in done.events)
        if not reasons and would == "hold":
            self.model.held_payment(done.first(HELD)[2], who, asset, to, amount)

    @rule(who=customers, to=payees, other=payees, asset=assets, amount=amounts)
    def pays_twice(self, who: Key, to: Key, other: Key, asset: str, amount: int) -> None:
        """Two payments in one transaction: both or none."""
        if not self.can_pay(who):
            return
        model = self.model
        self.paying(who)
        before = dict(model.money), set(model.people), model.fees
        reasons: Reasons = set()
        for target in (to, other):
            reasons = reasons or model.pay(who, asset, target, amount, whole=False)
        if reasons:
            model.money.clear()
            model.money.update(before[0])
            model.people, model.fees = before[1], before[2]
        transfers = [act("assets.transfer", asset, target, amount) for target in (to, other)]
        done = self.world.send(who, *transfers)
        assert bool(done.rule) == bool(reasons), (transfers, done, reasons)
        assert not done.rule or done.rule in reasons, (transfers, done, reasons)

    @rule(
        who=customers,
        to=payees,
        asset=assets,
        amount=amounts,
        span=spans,
        more=spans,
        arbiter=st.sampled_from((None, ISSUER, ISSUER, OFFICERS[2], CAROL, DAVE)),
    )
    def sets_apart_in_escrow(
        self, who: Key, to: Key, asset: str, amount: int, span: int, more: int, arbiter: Key | None
    ) -> None:
        if not self.can_pay(who):
            return
        to = self.another(who, to)
        finish_ms = 0 if arbiter else self.model.now_ms + span
        end_ms = self.model.now_ms + span + more
        kind = "timed escrow" if arbiter is None else "escrow"
        one = Promise(kind, asset, who, to, amount, end_ms, arbiter is None, finish_ms, arbiter)
        fields = (asset, to, amount, finish_ms or None, end_ms, None, arbiter, b"", None)
        self.promises(one, act("payments.createEscrow", *fields), "payments.escrowCreated", 2)

    def promises(self, one: Promise, action: Any, kind: str, place: int) -> None:
        self.paying(one.payer)
        reasons = self.model.promise(one.payer, one)
        done = self.expect(one.payer, reasons, action)
        if not reasons:
            self.model.promised(done.first(kind)[place], one)

    @there_is("escrow", "timed escrow")
    @rule(who=anybody, number=numbers)
    def finishes_an_escrow(self, who: Key, number: int) -> None:
        name = self.picked(number, "escrow", "timed escrow")
        who = self.one_of(number, who, name, "payer")
        if self.can_pay(who):
            reasons = self.model.finish_escrow(*self.paying(who), name)
            self.expect(who, reasons, act("payments.finishEscrow", name, None))

    @there_is("escrow", "timed escrow")
    @rule(who=st.sampled_from((CAROL, CAROL, DAVE, DAVE, ALICE)), number=numbers, release=switches)
    def decides_an_escrow(self, who: Key, number: int, release: bool) -> None:
        name = self.picked(number, "escrow", "timed escrow")
        who = self.one_of(number, who, name, "arbiter")
        if self.can_pay(who):
            reasons = self.model.decide_escrow(*self.paying(who), name, release)
            self.expect(who, reasons, act("payments.decideEscrow", name, int(release), "seen"))

    @there_is("escrow", "timed escrow")
    @rule(who=people, number=numbers)
    def cancels_an_escrow(self, who: Key, number: int) -> None:
        name = self.picked(number, "escrow", "timed escrow")
        who = self.one_of(number, who, name, "payee")
        if self.can_pay(who):
            reasons = self.model.cancel_escrow(*self.paying(who), name)
            self.expect(who, reasons, act("payments.cancelEscrow", name))

    @rule(
        who=customers,
        to=payees,
        asset=assets,
        amount=amounts,
        span=spans,
        paid=switches,
        capture=switches,
        needed=st.integers(0, 2),
    )
    def places_a_hold(
        self,
        who: Key,
        to: Key,
        asset: str,
        amount: int,
        span: int,
        paid: bool,
        capture: bool,
        needed: int,
    ) -> None:
        if not self.can_pay(who):
            return
        to = self.another(who, to)
        deciders = tuple(sorted((ISSUER, *OFFICERS[:2]), key=lambda k: k.account))
        deciders = deciders if needed else ()
        end_ms = self.model.now_ms + span
        one = Promise(
            "placed",
            asset,
            who,
            to,
            amount,
            end_ms,
            paid,
            capture=capture or not needed,
            deciders=deciders,
            needed=needed,
        )
        fields = (
            asset,
            to,
            amount,
            "deposit",
            end_ms,
            int(paid),
            int(one.capture),
            deciders,
            needed,
            b"",
            None,
        )
        self.promises(one, act("payments.placeHold", *fields), "payments.holdPlaced", 2)

    @there_is("placed")
    @rule(who=people, number=numbers, amount=amounts, give_back=switches)
    def captures(self, who: Key, number: int, amount: int, give_back: bool) -> None:
        if not self.can_pay(who):
            return
        name = self.picked(number, "placed")
        if name in self.model.promises and number % 3:
            who = self.model.promises[name].payee
            if not self.can_pay(who):
                return
        amount = 0 if give_back and number % 2 else amount
        reasons = self.model.capture(*self.paying(who), name, amount, give_back)
        self.expect(who, reasons, act("payments.captureHold", name, amount, int(give_back)))

    @there_is("rule", "placed")
    @rule(
        who=st.sampled_from((*OFFICERS, *OFFICERS, *OFFICERS, ISSUER, ISSUER, ALICE)),
        number=numbers,
        release=switches,
    )
    def votes(self, who: Key, number: int, release: bool) -> None:
        if self.can_pay(who):
            name = self.picked(number, "rule", "placed")
            reasons = self.model.vote(*self.paying(who), name, release)
            self.expect(who, reasons, act("payments.voteHold", name, int(release), "seen"))

    @rule(who=customers, to=payees, asset=assets, amount=amounts, span=spans)
    def schedules(self, who: Key, to: Key, asset: str, amount: int, span: int) -> None:
        if self.can_pay(who):
            end_ms = self.model.now_ms + span
            one = Promise("scheduled", asset, who, to, amount, end_ms, True)
            action = act("payments.schedule", asset, to, amount, end_ms, b"", None)
            self.promises(one, action, "payments.scheduled", 2)

    @there_is("scheduled")
    @rule(who=people, number=numbers)
    def cancels_what_is_scheduled(self, who: Key, number: int) -> None:
        name = self.picked(number, "scheduled")
        who = self.one_of(number, who, name, "payer", "payee")
        if self.can_pay(who):
            reasons = self.model.cancel_scheduled(*self.paying(who), name)
            self.expect(who, reasons, act("payments.cancelScheduled", name))

    # -- channels

    @rule(who=customers, to=payees, asset=assets, amount=amounts, span=spans, challenge=spans)
    def opens_a_channel(
        self, who: Key, to: Key, asset: str, amount: int, span: int, challenge: int
    ) -> None:
        if self.can_pay(who):
            end_ms, to = self.model.now_ms + span, self.another(who, to)
            one = Promise("channel", asset, who, to, amount, end_ms, False, challenge_ms=challenge)
            fields = (asset, to, amount, challenge, 1, end_ms, None, b"", None)
            self.promises(one, act("payments.openChannel", *fields), "payments.channelOpened", 2)

    @there_is("channel")
    @rule(who=anybody, number=numbers, amount=amounts)
    def claims_by_a_voucher(self, who: Key, number: int, amount: int) -> None:
        name = self.picked(number, "channel")
        if self.can_pay(who):
            signature = bytes(64)
            one = self.model.promises.get(name)
            if one is not None:
                signed = b"clawpurse/vouch".ljust(16, b"\0") + self.world.genesis.hash + name
                signed += one.asset.encode().ljust(16, b"\0") + one.payee.account
                signature = sign(one.payer.seed, signed + amount.to_bytes(8, "big"))
            self.paying(who)
            reasons = self.model.claim(name, amount)
            self.expect(who, reasons, act("payments.claimChannel", name, amount, signature))

    @there_is("channel")
    @rule(
        who=people,
        number=numbers,
        verb=st.sampled_from(("topUp", "topUp", "close", "finalise")),
        amount=amounts,
    )
    def does_with_a_channel(self, who: Key, number: int, verb: str, amount: int) -> None:
        name = self.picked(number, "channel")
        who = self.one_of(number, who, name, "payer", "payer", "payee")
        if not self.can_pay(who):
            return
        self.paying(who)
        if verb == "topUp":
            reasons = self.model.top_up(who, name, amount)
            self.expect(who, reasons, act("payments.topUpChannel", name, amount))
        elif verb == "close":
            self.expect(who, self.model.close(who, name), act("payments.closeChannel", name))
        else:
            self.expect(who, self.model.finalise(name), act("payments.finaliseChannel", name))

    # -- batches

    @rule(
        who=customers,
        legs=st.lists(st.tuples(payees, amounts), min_size=1, max_size=3).map(tuple),
        asset=assets,
        needed=st.integers(1, 2),
        approvers=st.sets(
            st.sampled_from((ISSUER, *OFFICERS, CAROL, DAVE)), min_size=2, max_size=3
        ),
        span=spans,
    )
    def proposes_a_batch(
        self,
        who: Key,
        legs: tuple[tuple[Key, int], ...],
        asset: str,
        needed: int,
        approvers: set[Key],
        span: int,
    ) -> None:
        if not self.can_pay(who):
            return
        self.paying(who)
        legs = tuple((self.another(who, to), amount) for to, amount in legs)
        asked = tuple(sorted(approvers, key=lambda key: key.account))
        one = Batch(asset, who, legs, needed, asked, self.model.now_ms + span)
        reasons = self.model.propose_batch(one)
        wire = [(to, amount, b"wage") for to, amount in legs]
        fields = (asset, wire, needed, asked, one.end_ms, b"", None)
        done = self.expect(who, reasons, act("payments.proposeBatch", *fields))
        if not reasons:
            self.model.batches[done.first("payments.batchProposed")[2]] = one

    def batch(self, number: int, who: Key) -> tuple[bytes, Key]:
        """Some batch, and mostly one of those who may act on it."""
        names = sorted(self.model.batches)
        if not names or number == 13:
            return b"\x13" * 32, who
        name = names[number % len(names)]
        one = self.model.batches[name]
        asked = (*one.approvers, one.payer)
        return name, who if number % 5 == 4 else asked[number % len(asked)]

    @precondition(lambda self: self.model.batches)
    @rule(who=anybody, number=numbers, yes=st.sampled_from((True, True, False)))
    def speaks_on_a_batch(self, who: Key, number: int, yes: bool) -> None:
        name, who = self.batch(number, who)
        if self.can_pay(who):
            reasons = self.model.say_to_batch(*self.paying(who), name, yes)
            fields = (name, None) if yes else (name, "wrong")
            verb = "approveBatch" if yes else "rejectBatch"
            self.expect(who, reasons, act(f"payments.{verb}", *fields))

    @precondition(lambda self: self.model.batches)
    @rule(who=anybody, number=numbers, withdraw=st.sampled_from((False, False, False, True)))
    def ends_a_batch(self, who: Key, number: int, withdraw: bool) -> None:
        name, who = self.batch(number, who)
        if not self.can_pay(who):
            return
        if withdraw:
            reasons = self.model.withdraw_batch(*self.paying(who), name)
            self.expect(who, reasons, act("payments.withdrawBatch", name))
        else:
            reasons = self.model.execute_batch(*self.paying(who), name)
            self.expect(who, reasons, act("payments.executeBatch", name, 3))

    # -- issuers

    @rule(who=mostly_issuer, asset=issued, to=payees, amount=amounts)
    def mints(self, who: Key, asset: str, to: Key, amount: int) -> None:
        if self.can_pay(who):
            reasons = self.model.mint(*self.paying(who), asset, to, amount)
            self.expect(who, reasons, act("assets.mint", asset, to, amount))

    @rule(who=mostly_issuer, asset=issued, amount=amounts)
    def burns(self, who: Key, asset: str, amount: int) -> None:
        if self.can_pay(who):
            reasons = self.model.burn(*self.paying(who), asset, amount)
            self.expect(who, reasons, act("assets.burn", asset, amount))

    @rule(who=mostly_issuer, asset=issued, holder=holders, level=st.sampled_from((0, 0, 0, 1, 2)))
    def freezes(self, who: Key, asset: str, holder: Key, level: int) -> None:
        if self.can_pay(who):
            reasons = self.model.freeze(*self.paying(who), asset, holder, level)
            verb = ("freeze", holder, level) if level else ("unfreeze", holder)
            self.expect(who, reasons, act(f"assets.{verb[0]}", asset, *verb[1:], None))

    @rule(who=mostly_issuer, asset=issued, on=st.sampled_from((False, False, True)))
    def freezes_all(self, who: Key, asset: str, on: bool) -> None:
        if self.can_pay(who):
            reasons = self.model.freeze_all(*self.paying(who), asset, on)
            self.expect(who, reasons, act(f"assets.{'' if on else 'un'}freezeAll", asset, None))

    @rule(who=mostly_issuer, asset=issued, holder=holders, level=st.sampled_from((0, 1, 2, 2, 2)))
    def authorises(self, who: Key, asset: str, holder: Key, level: int) -> None:
        if self.can_pay(who):
            reasons = self.model.authorise(*self.paying(who), asset, holder, level)
            self.expect(who, reasons, act("assets.authorise", asset, holder, level))

    @rule(
        who=mostly_issuer, asset=issued, holder=holders, amount=amounts, to=anybody, number=numbers
    )
    def claws_back(
        self, who: Key, asset: str, holder: Key, amount: int, to: Key, number: int
    ) -> None:
        if not self.can_pay(who):
            return
        name = None
        if number % 2:
            name = self.picked(number, "escrow", "timed escrow", "rule", "placed", "scheduled")
            if name in self.model.promises and number % 3:
                one = self.model.promises[name]
                holder, asset = one.payer, one.asset
        reasons = self.model.clawback(*self.paying(who), asset, holder, amount, to, name)
        self.expect(who, reasons, act("assets.clawback", asset, holder, amount, to, "theft", name))

    # -- accounts and officers

    @rule(who=customers, to=anybody)
    def opens(self, who: Key, to: Key) -> None:
        if self.can_pay(who):
            reasons = self.model.open(*self.paying(who), to)
            self.expect(who, reasons, act("accounts.open", to))

    @rule(who=customers, on=st.sampled_from((False, False, True)))
    def closes_itself_to_payments(self, who: Key, on: bool) -> None:
        if self.can_pay(who):
            reasons = self.model.close_to_payments(*self.paying(who), on)
            self.expect(who, reasons, act("accounts.setDepositAuth", int(on)))

    @rule(who=customers, payer=anybody, on=switches)
    def names_a_payer(self, who: Key, payer: Key, on: bool) -> None:
        if self.can_pay(who):
            reasons = self.model.name_payer(*self.paying(who), payer, on)
            verb = "preauthorise" if on else "withdrawPreauthorisation"
            self.expect(who, reasons, act(f"accounts.{verb}", payer))

    @rule(who=st.sampled_from((*OFFICERS, ALICE)), whom=anybody, on=switches)
    def blocks_somebody(self, who: Key, whom: Key, on: bool) -> None:
        if self.can_pay(who):
            reasons = self.model.block_payments_of(*self.paying(who), whom, on)
            verb = "addToList" if on else "removeFromList"
            self.expect(who, reasons, act(f"compliance.{verb}", "blocked", [whom], "said so"))

    # -- afterwards

    def compare(self) -> None:
        """Everybody has what the clerk says, and the books add up by themselves."""
        world, model = self.world, self.model
        for key in EVERYBODY:
            assert (world.books.account(key.account) is not None) == (key in model.people), key
            for asset in ASSETS:
                found = world.held(key, asset)
                expected = model.money[key, asset], model.held(key, asset)
                assert (found.amount, found.held) == expected, (key, asset)
        assert world.balance(FEE_ACCOUNT) == model.fees
        records = {
            key: value for (tree, key), value in world.stored.records.items() if tree == "kernel"
        }
        holds = {
            key[1:]: msgpack.unpackb(value) for key, value in records.items() if key[:1] == b"h"
        }
        # What is in a channel moves to another hold when it is filled again.
        waiting = [one for one in model.promises.values() if one.left]
        said = sorted((o.asset, o.payer.account, o.payee.account, o.left) for o in waiting)
        assert sorted(tuple(record[1:5]) for record in holds.values()) == said
        for name, one in model.promises.items():
            assert one.kind == "channel" or holds[name][4] == one.left
        self.add_up(records, holds)

    def add_up(self, records: dict[bytes, bytes], holds: dict[bytes, Any]) -> None:
        """From the records alone: supply is what all have, and what is held is in the holds."""
        total: dict[str, int] = {}
        held: dict[tuple[bytes, str], int] = {}
        for key, value in records.items():
            fields = msgpack.unpackb(value)
            if key[:1] == b"a":
                who, asset, amount, apart = key[1:], "CLAW", fields[2], fields[3]
            elif key[:1] == b"b":
                who, asset, amount, apart = key[1:33], key[33:].decode(), fields[1], fields[2]
            else:
                continue
            assert amount >= 0 <= apart
            total[asset] = total.get(asset, 0) + amount + apart
            held[who, asset] = apart
        for key, value in records.items():
            if key[:1] == b"u":
                assert msgpack.unpackb(value)[1] == total.get(key[1:].decode(), 0)
        for record in holds.values():
            held[record[2], record[1]] -= record[4]
        assert not any(held.values())


class Small(Ledgers):
    """A few blocks in every run."""


class Large(Ledgers):
    """Longer stories, more of them."""


TestSmall = Small.TestCase
TestSmall.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestLarge = pytest.mark.full(Large.TestCase)
TestLarge.settings = settings(max_examples=400, stateful_step_count=80, deadline=None)
