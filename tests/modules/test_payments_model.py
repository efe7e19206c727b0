"""Payments against a model in plain dictionaries: whoever does what in whatever order, everybody
has what it should have, and what was promised ends as it was promised.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from clawpurse.ledger.params import DAY_MS
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, FRANK, Key
from tests.modules.payments_world import HOUR_MS, OPENING, World, act, named, told

PEOPLE = (ALICE, BOB, CAROL)
SECRET = b"sesame"
SUSPENDED_MS = 30 * DAY_MS
CREATED = {
    "createEscrow": ("payments.escrowCreated", "escrowId"),
    "schedule": ("payments.scheduled", "scheduledId"),
    "placeHold": ("payments.holdPlaced", "holdId"),
}


@dataclass
class Promise:
    """What the model knows of value on its way."""

    kind: str
    payer: Key
    payee: Key
    left: int
    end_ms: int
    paid_at_end: bool


class PaymentsMachine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.has = {key: OPENING[key]["CLAW"] for key in PEOPLE}
        self.has[FRANK] = 0
        self.promises: dict[bytes, Promise] = {}
        self.refundable: dict[bytes, list[Any]] = {}
        self.frozen: set[str] = set()

    # -- the model's own rules

    def _open(self, *people: Key) -> bool:
        return not any(one.name in self.frozen for one in people)

    def _end(self, promise_id: bytes, pay: bool) -> None:
        promise = self.promises.pop(promise_id)
        self.has[promise.payee if pay else promise.payer] += promise.left

    def _passes(self) -> None:
        """What comes due in the block that was just made."""
        now_ms = self.world.time_ms
        for promise_id, promise in sorted(self.promises.items()):
            if promise.end_ms > now_ms:
                continue
            if promise.paid_at_end and not self._open(promise.payer, promise.payee):
                promise.kind, promise.paid_at_end = "suspended", False
                promise.end_ms = now_ms + SUSPENDED_MS
            else:
                self._end(promise_id, promise.paid_at_end)
        for payment_id, (until_ms, *_) in sorted(self.refundable.items()):
            if until_ms <= now_ms:
                del self.refundable[payment_id]

    def _sent(self, key: Key, name: str, *values: Any) -> Any:
        """A block with one action; what was due came first."""
        result = self.world.pay(key, act(name, *values))
        self._passes()
        return result

    def _pick(self, number: int, *kinds: str) -> tuple[bytes, Promise] | None:
        found = [one for one in sorted(self.promises.items()) if one[1].kind in kinds]
        return found[number % len(found)] if found else None

    # -- what people do

    @rule(
        kind=st.sampled_from(["time", "secret", "scheduled", "placed"]),
        payer=st.sampled_from(PEOPLE),
        payee=st.sampled_from(PEOPLE),
        amount=st.integers(1, 300),
        hours=st.integers(1, 72),
        flag=st.booleans(),
    )
    def promise(
        self, kind: str, payer: Key, payee: Key, amount: int, hours: int, flag: bool
    ) -> None:
        end_ms = self.world.time_ms + hours * HOUR_MS
        lock = hashlib.sha256(SECRET).digest()
        terms: dict[str, tuple[str, list[Any], bool]] = {
            "time": ("createEscrow", [end_ms, end_ms + 1, None, None, b"", None], True),
            "secret": ("createEscrow", [None, end_ms, lock, None, b"", None], False),
            "scheduled": ("schedule", [end_ms, b"", None], True),
            "placed": ("placeHold", ["x", end_ms, int(flag), 1, [], 0, b"", None], flag),
        }
        name, values, paid_at_end = terms[kind]
        result = self._sent(payer, name, "CLAW", payee, amount, *values)
        good = payer != payee and self._open(payer, payee) and amount <= self.has[payer]
        assert (result.receipts[0].code == 0) == good, result.receipts[0]
        if good:
            event, field = CREATED[name]
            promise_id = named(told(result, event))[field]
            self.has[payer] -= amount
            self.promises[promise_id] = Promise(kind, payer, payee, amount, end_ms, paid_at_end)

    @rule(number=st.integers(0, 99), sender=st.sampled_from(PEOPLE))
    def tell_the_secret(self, number: int, sender: Key) -> None:
        found = self._pick(number, "time", "secret")
        if found is None:
            return
        promise_id, promise = found
        result = self._sent(sender, "finishEscrow", promise_id, SECRET)
        if result.receipts[0].code == 0:
            assert promise.kind == "secret" and self._open(promise.payer, promise.payee)
            self._end(promise_id, pay=True)
        else:
            over = promise_id not in self.promises
            assert over or promise.kind == "time" or not self._open(promise.payer, promise.payee)

    @rule(number=st.integers(0, 99))
    def give_up(self, number: int) -> None:
        found = self._pick(number, "time", "secret", "scheduled", "placed")
        if found is None:
            return
        promise_id, promise = found
        ways: dict[str, tuple[str, list[int]]] = {
            "scheduled": ("cancelScheduled", []),
            "placed": ("captureHold", [0, 1]),
        }
        name, more = ways.get(promise.kind, ("cancelEscrow", []))
        result = self._sent(promise.payee, name, promise_id, *more)
        if promise_id in self.promises and promise.kind != "suspended":
            assert result.receipts[0].code == 0, result.receipts[0]
            self._end(promise_id, pay=False)

    @rule(number=st.integers(0, 99), amount=st.integers(1, 300), give_back=st.booleans())
    def capture(self, number: int, amount: int, give_back: bool) -> None:
        found = self._pick(number, "placed")
        if found is None:
            return
        promise_id, promise = found
        result = self._sent(promise.payee, "captureHold", promise_id, amount, int(give_back))
        good = (
            promise_id in self.promises
            and promise.kind == "placed"
            and amount <= promise.left
            and self._open(promise.payer, promise.payee)
        )
        assert (result.receipts[0].code == 0) == good, result.receipts[0]
        if good:
            self.has[promise.payee] += amount
            promise.left -= amount
            if give_back or not promise.left:
                self._end(promise_id, pay=False)

    @rule(number=st.integers(0, 99), part=st.integers(1, 300))
    def claw_back(self, number: int, part: int) -> None:
        found = self._pick(number, "time", "secret", "scheduled", "placed", "suspended")
        if found is None:
            return
        promise_id, promise = found
        amount = min(part, promise.left)
        values = ["CLAW", promise.payer, FRANK, amount, promise_id]
        if self._sent(DAVE, "warden.seize", *values).receipts[0].code == 0:
            self.has[FRANK] += amount
            promise.left -= amount
            if not promise.left:
                del self.promises[promise_id]
        else:
            assert promise_id not in self.promises

    @rule(number=st.integers(0, 99), release=st.booleans())
    def decide(self, number: int, release: bool) -> None:
        found = self._pick(number, "suspended")
        if found is None:
            return
        promise_id, promise = found
        result = self._sent(ERIN, "voteHold", promise_id, int(release), "x")
        if promise_id not in self.promises:
            assert result.receipts[0].rule == "payments.missing"
        elif not release or self._open(promise.payer, promise.payee):
            assert result.receipts[0].code == 0, result.receipts[0]
            self._end(promise_id, pay=release)

    @rule(
        payer=st.sampled_from(PEOPLE),
        payee=st.sampled_from(PEOPLE),
        amount=st.integers(1, 300),
        days=st.integers(0, 3),
    )
    def pay(self, payer: Key, payee: Key, amount: int, days: int) -> None:
        result = self._sent(payer, "pay", "CLAW", payee, amount, b"", None, days, [])
        good = self._open(payer, payee) and amount <= self.has[payer]
        good = good and not (days and payer == payee)
        assert (result.receipts[0].code == 0) == good, result.receipts[0]
        if good:
            self.has[payer] -= amount
            self.has[payee] += amount
            payment_id = named(told(result, "payments.payment"))["paymentId"]
            if days:
                until_ms = self.world.time_ms + days * DAY_MS
                self.refundable[payment_id] = [until_ms, payer, payee, amount, 0]

    @precondition(lambda self: self.refundable)
    @rule(number=st.integers(0, 99), amount=st.integers(1, 300))
    def refund(self, number: int, amount: int) -> None:
        payment_id, entry = sorted(self.refundable.items())[number % len(self.refundable)]
        _, payer, payee, left, count = entry
        result = self._sent(payee, "refund", payment_id, amount, b"")
        good = (
            payment_id in self.refundable
            and amount <= min(left, self.has[payee])
            and count < 16
            and self._open(payer, payee)
        )
        assert (result.receipts[0].code == 0) == good, result.receipts[0]
        if good:
            self.has[payee] -= amount
            self.has[payer] += amount
            entry[3:] = [left - amount, count + 1]

    @rule(who=st.sampled_from(PEOPLE))
    def freeze_or_thaw(self, who: Key) -> None:
        on = who.name not in self.frozen
        assert self._sent(DAVE, "warden.freeze", who, int(on)).receipts[0].code == 0
        self.frozen.symmetric_difference_update([who.name])

    @rule(hours=st.integers(1, 48))
    def time_passes(self, hours: int) -> None:
        self.world.block(after_ms=hours * HOUR_MS)
        self._passes()

    @rule()
    def a_month_passes(self) -> None:
        self.world.block(after_ms=SUSPENDED_MS)
        self._passes()

    # -- what is compared

    @invariant()
    def everybody_has_what_it_should(self) -> None:
        for key, amount in self.has.items():
            held = sum([one.left for one in self.promises.values() if one.payer == key])
            found = self.world.books.balance("CLAW", key.account)
            assert (found.amount, found.held) == (amount, held), key

    @invariant()
    def nothing_is_left_of_what_is_over(self) -> None:
        tree = self.world.tree()
        records = {key[1:] for key in tree if key[:1] in b"ehs"}
        assert records == {
            one for one, promise in self.promises.items() if promise.kind != "suspended"
        }
        assert {key[1:] for key in tree if key[:1] == b"p"} == self.refundable.keys()
        assert self.world.queue() == len(self.promises) + len(self.refundable)
        ids = {*self.promises, *self.refundable}
        assert {key[34:] for key in tree if key[:1] == b"x"} <= ids


PaymentsMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
TestPayments = PaymentsMachine.TestCase
