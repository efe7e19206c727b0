"""Two ledgers side by side: how both are begun, asked, restarted and compared, block by block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgpack
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from clawpurse.ledger.kernel.records import FEE_ACCOUNT
from tests.ledger.model.clerk import Clerk
from tests.ledger.model.naive import HELD_MS, LARGE, Reasons, issuers_assets
from tests.ledger.model.naive_rules import Version
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


class Machine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.world, self.model = World(), Clerk()

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
                self.paying(officer)
                self.expect(officer, model.set_subject(officer, key, person * 32), subject)
        for officer in OFFICERS[:2]:
            self.paying(officer)
            reasons = model.set_list(officer, "blocked", "No", 1)
            self.expect(officer, reasons, act("compliance.setList", "blocked", "No", 1))
        rules: list[list[Any]] = [
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
        model.versions["eurx"] = Version("EURX", rules, policy_id)
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

    def does(
        self, who: Key, deed: Callable[[], Reasons], name: str, *fields: Any, **terms: Any
    ) -> Done | None:
        """One who can pay the fee does something; nothing if it cannot."""
        if not self.can_pay(who):
            return None
        self.paying(who)
        reasons = self.model.locked(who, name) or deed()
        return self.expect(who, reasons, act(name, *fields), **terms)

    def expect(self, who: Any, reasons: Reasons, action: Any, **terms: Any) -> Done:
        """The ledger must say what the clerk said; for what is set up without the clerk, yes."""
        done = self.world.send(who, action, **terms)
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

    # -- afterwards

    def compare(self) -> None:
        """Everybody has what the clerk says, and the books add up by themselves."""
        world, model = self.world, self.model
        for key in (*EVERYBODY, *model.firms):
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
