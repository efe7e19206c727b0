"""What the clerk writes down of kept payments, their refunds, and invoices.

Written from docs/modules/payments.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.ledger.model.naive import Promise, Reasons
from tests.ledger.model.naive_council import Council
from tests.ledger.sandbox import Key

REFUNDS_MAX = 16


@dataclass
class Refund:
    amount: int
    hold: bytes | None


@dataclass
class Kept:
    """A payment that can be refunded, and what was."""

    payer: Key
    payee: Key
    asset: str
    amount: int
    end_ms: int
    hold: bytes | None
    refunds: list[Refund] = field(default_factory=list)


@dataclass
class Invoice:
    """What is asked for, and what became of it."""

    payee: Key
    asset: str
    amount: int
    payer: Key | None
    end_ms: int
    kept_ms: int
    state: str = "open"
    hold: bytes | None = None


class Bills(Council):
    """Refunds and invoices."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[bytes, Kept] = {}
        self.invoices: dict[bytes, Invoice] = {}

    def begin(self, after_ms: int) -> None:
        super().begin(after_ms)
        self.kept = {name: one for name, one in self.kept.items() if one.end_ms > self.now_ms}
        for name, one in list(self.invoices.items()):
            if one.state == "open" and one.end_ms <= self.now_ms:
                one.state = "expired"
            if one.state != "held" and one.kept_ms <= self.now_ms:
                del self.invoices[name]

    def ended(self, promise_id: bytes, amount: int, one: Promise, *, paid: bool) -> None:
        super().ended(promise_id, amount, one, paid=paid)
        for name, payment in list(self.kept.items()):
            if payment.hold == promise_id:
                if paid:
                    payment.hold = None
                    continue
                payment.amount -= amount
                if not payment.amount:
                    del self.kept[name]
            for refund in payment.refunds:
                if refund.hold == promise_id:
                    refund.hold = None if paid else refund.hold
                    refund.amount -= 0 if paid else amount
            payment.refunds = [refund for refund in payment.refunds if refund.amount]
        if one.left:
            return
        for name, invoice in list(self.invoices.items()):
            if invoice.hold == promise_id:
                # What a clawback left of it is not what was asked for.
                whole = paid and amount == invoice.amount
                invoice.state, invoice.hold = "paid" if whole else "open", None
                if invoice.state == "open" and invoice.end_ms <= self.now_ms:
                    invoice.state = "expired"
                if max(invoice.end_ms, invoice.kept_ms) <= self.now_ms:
                    del self.invoices[name]

    # -- refunds

    def refund(self, who: Key, payment_id: bytes, amount: int) -> Reasons:
        one = self.kept.get(payment_id)
        if one is None:
            return {"payments.missing"}
        found = self.may_pay(one.asset, one.payee, one.payer, amount, whole=True, opener=who)
        if who is not one.payee:
            found.add("payments.party")
        if one.hold is not None:
            found.add("payments.unpaid")
        if amount > one.amount - sum(refund.amount for refund in one.refunds):
            found.add("payments.refundAbove")
        if len(one.refunds) >= REFUNDS_MAX:
            found.add("payments.refundsFull")
        return found

    # -- invoices

    def ask(self, who: Key, one: Invoice) -> Reasons:
        found = Reasons() if one.asset in self.assets else {"kernel.asset"}
        if one.end_ms <= self.now_ms or one.end_ms > self.now_ms + 366 * 86_400_000:
            found.add("payments.span")
        if one.payer is who:
            found.add("payments.self")
        if one.payer is not None and one.payer not in self.people:
            found.add("kernel.sender")
        return found

    def open_invoice(self, one: Invoice) -> Reasons:
        found = Reasons()
        if one.state != "open" and one.state != "expired":
            found.add(f"payments.invoice{one.state.title()}")
        elif self.now_ms >= one.end_ms:
            found.add("payments.late")
        return found

    def pay_invoice(self, who: Key, invoice_id: bytes, amount: int) -> Reasons:
        one = self.invoices.get(invoice_id)
        if one is None:
            return {"payments.missing"}
        found = self.open_invoice(one)
        found |= self.may_pay(one.asset, who, one.payee, amount, whole=True, opener=who)
        if who is one.payee or one.payer not in (None, who):
            found.add("payments.party")
        if amount != one.amount:
            found.add("payments.invoiceAmount")
        return found

    def cancel_invoice(self, who: Key, invoice_id: bytes) -> Reasons:
        one = self.invoices.get(invoice_id)
        if one is None:
            return {"payments.missing"}
        found = self.open_invoice(one)
        if who is not one.payee:
            found.add("payments.party")
        if not found:
            one.state = "cancelled"
        return found

    def paid_or_held(
        self, hold: bytes | None, who: Key, asset: str, target: Key, amount: int
    ) -> None:
        """A payment that the ledger took: as the policy says, it went or is held."""
        if self.policy(asset, who, target, amount) == "hold":
            assert hold is not None
            self.held_payment(hold, who, asset, target, amount)
        else:
            self.opened(target, who)
            self.move(asset, who, target, amount)
