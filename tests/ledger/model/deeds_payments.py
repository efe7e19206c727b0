"""What people pay, promise and issue, and what officers forbid, tried in the machine."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from clawpurse.ledger.crypto import sign
from tests.ledger.model.machine import (
    HELD,
    Machine,
    amounts,
    anybody,
    assets,
    customers,
    holders,
    issued,
    mostly_issuer,
    numbers,
    payees,
    people,
    spans,
    switches,
    there_is,
)
from tests.ledger.model.naive import Batch, Promise, Reasons
from tests.ledger.model.world import ISSUER, OFFICERS, act
from tests.ledger.sandbox import ALICE, CAROL, DAVE, Key


class Payments(Machine):
    """See the module."""

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
        held = not reasons and self.model.policy(asset, who, to, amount) == "hold"
        assert held == any(kind == HELD for kind, _ in done.events)
        if held:
            self.model.held_payment(done.first(HELD)[2], who, asset, to, amount)

    @rule(who=customers, to=payees, other=payees, asset=assets, amount=amounts)
    def pays_twice(self, who: Key, to: Key, other: Key, asset: str, amount: int) -> None:
        """Two payments in one transaction: both or none."""
        if not self.can_pay(who):
            return
        model = self.model
        self.paying(who)
        before = model.mark()
        reasons: Reasons = set()
        for target in (to, other):
            reasons = reasons or model.pay(who, asset, target, amount, whole=False)
        if reasons:
            model.restore(before)
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

    @rule(
        who=customers, to=payees, asset=assets, amount=amounts, span=spans, challenge=spans,
        blocks=st.sampled_from((1, 1, 3)),
    )  # fmt: skip
    def opens_a_channel(
        self, who: Key, to: Key, asset: str, amount: int, span: int, challenge: int, blocks: int
    ) -> None:
        if self.can_pay(who):
            end_ms, to = self.model.now_ms + span, self.another(who, to)
            one = Promise("channel", asset, who, to, amount, end_ms, False, challenge_ms=challenge)
            one.blocks = blocks
            fields = (asset, to, amount, challenge, blocks, end_ms, None, b"", None)
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
