"""Payments that can be refunded, invoices, secrets, and what an issuer arranges: in the machine."""

from __future__ import annotations

import hashlib

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from clawpurse.modules.payments.invoices import State
from tests.ledger.model.machine import (
    DAY_MS,
    HELD,
    Machine,
    amounts,
    assets,
    customers,
    numbers,
    payees,
    people,
    spans,
    there_is,
)
from tests.ledger.model.naive import Promise
from tests.ledger.model.naive_bills import Invoice, Kept, Refund
from tests.ledger.model.world import Done, act
from tests.ledger.sandbox import ALICE, BOB, DAVE, Key

NOWHERE = b"\x13" * 32


def hold_of(done: Done) -> bytes | None:
    """The id under which the policy held a payment."""
    return next((data[2] for kind, data in done.events if kind == HELD), None)


class Billing(Machine):
    """See the module."""

    # -- refunds

    @rule(who=customers, to=payees, asset=assets, amount=amounts, days=st.integers(1, 3))
    def pays_refundably(self, who: Key, to: Key, asset: str, amount: int, days: int) -> None:
        model = self.model
        own = {"payments.self"} if who is to else set()
        done = self.does(
            who,
            lambda: model.may_pay(asset, who, to, amount, whole=True, opener=who) | own,
            "payments.pay", asset, to, amount, b"order", None, days, [],
        )  # fmt: skip
        if done is not None and not done.rule:
            hold = hold_of(done)
            model.paid_or_held(hold, who, asset, to, amount)
            name = done.first("payments.payment")[4]
            end_ms = model.now_ms + days * DAY_MS
            model.kept[name] = Kept(who, to, asset, amount, end_ms, hold)

    @precondition(lambda self: self.model.kept)
    @rule(who=people, number=numbers, amount=amounts)
    def refunds(self, who: Key, number: int, amount: int) -> None:
        model = self.model
        names = sorted(model.kept)
        name = NOWHERE if number == 13 else names[number % len(names)]
        one = model.kept.get(name)
        if one is not None:
            who = who if number % 5 == 4 else one.payee
            amount = amount if number % 3 == 2 else min(amount, one.amount)
        done = self.does(
            who,
            lambda: model.refund(who, name, amount),
            "payments.refund", name, amount, b"broken",
        )  # fmt: skip
        if done is not None and not done.rule:
            # A new block may have begun meanwhile; what the ledger took is still there.
            one = model.kept[name]
            hold = hold_of(done)
            model.paid_or_held(hold, one.payee, one.asset, one.payer, amount)
            one.refunds.append(Refund(amount, hold))

    # -- invoices

    @rule(
        who=customers, asset=assets, amount=amounts, span=spans,
        payer=st.sampled_from((None, None, ALICE, BOB, DAVE)), secret=st.booleans(),
        kept=st.integers(0, 2),
    )  # fmt: skip
    def asks_for_payment(
        self, who: Key, asset: str, amount: int, span: int, payer: Key | None, secret: bool,
        kept: int,
    ) -> None:  # fmt: skip
        end_ms = self.model.now_ms + span
        one = Invoice(who, asset, amount, payer, end_ms, end_ms + kept * DAY_MS)
        lock = hashlib.sha256(b"of the customer").digest() if secret else None
        done = self.does(
            who,
            lambda: self.model.ask(who, one),
            "payments.createInvoice", asset, amount, payer, lock, b"order 7", end_ms, kept,
        )  # fmt: skip
        if done is not None and not done.rule:
            self.model.invoices[done.first("payments.invoiceCreated")[2]] = one

    def invoice(self, number: int) -> tuple[bytes, Invoice | None]:
        names = sorted(self.model.invoices)
        name = NOWHERE if number == 13 or not names else names[number % len(names)]
        return name, self.model.invoices.get(name)

    @precondition(lambda self: self.model.invoices)
    @rule(who=customers, number=numbers, amount=amounts)
    def pays_an_invoice(self, who: Key, number: int, amount: int) -> None:
        name, one = self.invoice(number)
        if one is not None and number % 4:
            amount = one.amount
            who = one.payer or (who if number % 7 == 6 else self.another(one.payee, who))
        done = self.does(
            who,
            lambda: self.model.pay_invoice(who, name, amount),
            "payments.payInvoice", name, amount, None,
        )  # fmt: skip
        if done is not None and not done.rule:
            one, hold = self.model.invoices[name], hold_of(done)
            self.model.paid_or_held(hold, who, one.asset, one.payee, amount)
            one.state, one.hold = "paid" if hold is None else "held", hold

    @precondition(lambda self: self.model.invoices)
    @rule(who=people, number=numbers)
    def cancels_an_invoice(self, who: Key, number: int) -> None:
        name, one = self.invoice(number)
        who = who if one is None or number % 5 == 4 else one.payee
        deed = lambda: self.model.cancel_invoice(who, name)  # noqa: E731
        self.does(who, deed, "payments.cancelInvoice", name)

    # -- secrets

    @rule(who=customers, to=payees, asset=assets, amount=amounts, span=spans, number=numbers)
    def sets_apart_for_a_secret(
        self, who: Key, to: Key, asset: str, amount: int, span: int, number: int
    ) -> None:
        if not self.can_pay(who):
            return
        to, secret = self.another(who, to), b"secret %d" % (number % 3)
        end_ms = self.model.now_ms + span
        one = Promise("escrow", asset, who, to, amount, end_ms, False, secret=secret)
        lock = hashlib.sha256(secret).digest()
        fields = (asset, to, amount, None, end_ms, lock, None, b"", None)
        self.paying(who)
        reasons = self.model.promise(who, one)
        done = self.expect(who, reasons, act("payments.createEscrow", *fields))
        if not reasons:
            self.model.promised(done.first("payments.escrowCreated")[2], one)

    @there_is("escrow")
    @rule(who=people, number=numbers)
    def tells_a_secret(self, who: Key, number: int) -> None:
        name = self.picked(number, "escrow")
        one = self.model.promises.get(name)
        secret = b"secret 1" if one is None or one.secret is None else one.secret
        secret = b"a guess" if number % 4 == 3 else secret
        deed = lambda: self.model.finish_escrow(who, name, secret)  # noqa: E731
        self.does(who, deed, "payments.finishEscrow", name, secret)

    # -- afterwards

    def compare(self) -> None:
        super().compare()
        model, world = self.model, self.world
        for name, kept in model.kept.items():
            payment = world.query("payments.payment", name)
            assert (payment.amount, payment.hold_id) == (kept.amount, kept.hold or b"")
            found = [(one.amount, one.hold_id) for one in payment.refunds]
            assert found == [(one.amount, one.hold or b"") for one in kept.refunds]
        for name, invoice in model.invoices.items():
            found_invoice = world.query("payments.invoice", name)
            assert found_invoice is not None, invoice
            assert State(found_invoice.state).label == invoice.state, invoice
            assert found_invoice.hold_id == (invoice.hold or b"")
        records = world.stored.records
        listed = {(tree, key[:1]): 0 for tree, key in records}
        for tree, key in records:
            listed[tree, key[:1]] += 1
        assert listed.get(("payments", b"p"), 0) == len(model.kept)
        assert listed.get(("payments", b"i"), 0) == len(model.invoices)
