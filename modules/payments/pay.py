"""Payments with particulars, and refunds that are linked to them.

Tree `payments`: p‖id → a payment that can be refunded · w‖hold id → [id] while a rule holds the
payment or one of its refunds.

A payment is kept only if its payer asks for it, for as many days as it says. What it knows is
what really moved: a payment that a rule held counts from its release, a refund that was held and
returned no longer does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Code
from clawpurse.ledger.kernel.records import hold_key
from clawpurse.ledger.module_api import (
    KERNEL,
    ActionType,
    Context,
    Field,
    FieldType,
    HoldEnd,
    Words,
)
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.rules import Rule
from clawpurse.ledger.transactions import Body
from clawpurse.modules.payments.common import (
    AMOUNT_FIELD,
    ASSET_FIELD,
    RECIPIENT_FIELD,
    REFERENCE_FIELD,
    TRAVEL_FIELD,
    paid_words,
    read_fields,
    reference_words,
    refused_missing,
    require_ascending,
    require_other,
)
from clawpurse.modules.payments.records import (
    PAYMENT,
    TREE,
    all_objects,
    enlist,
    pack,
    strike,
    unpack,
)

# As long as a card scheme takes complaints, and a year's accounts are open.
REFUND_DAYS_MAX: Final = 366
# In one record, which is read and written by each refund: more are a subscription's business.
REFUNDS_MAX: Final = 16
# People who confirm one payment; what more want to sign is a batch or a multisignature policy.
APPROVERS_MAX: Final = 8
DUE_FORGET: Final = "payment"


class Refund(NamedTuple):
    """One refund: when (ms), how much, the payee's reference, and while it is held, by what."""

    time_ms: int
    amount: int
    reference: bytes
    hold_id: bytes


class Payment(NamedTuple):
    """A payment that can be refunded until `until_ms` (ms of block time).

    `amount` is what the payee got; `due` is the due work that forgets it. `hold_id` is empty, or
    what a rule holds the payment under: then the payee has nothing yet. `refunds` are in the
    order in which they were made.
    """

    payer: bytes
    payee: bytes
    asset: str
    amount: int
    reference: bytes
    travel_hash: bytes | None
    time_ms: int
    until_ms: int
    due: bytes
    hold_id: bytes
    refunds: tuple[Refund, ...]

    @property
    def refunded(self) -> int:
        """What was refunded so far, held refunds included; minor units."""
        return sum([refund.amount for refund in self.refunds])

    @property
    def holds(self) -> tuple[bytes, ...]:
        """Under what rules hold it, or refunds of it."""
        held = (self.hold_id, *[refund.hold_id for refund in self.refunds])
        return tuple([hold_id for hold_id in held if hold_id])

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return pack(self)

    @classmethod
    def unpack(cls, data: bytes) -> Payment:
        """Read a record that we wrote."""
        values = unpack(data, len(cls._fields))
        values[-1] = tuple([Refund(*row) for row in values[-1]])
        return cls(*values)


def payment_key(payment_id: bytes) -> bytes:
    """Return the key of a payment that can be refunded."""
    return PAYMENT + payment_id


def _held_key(hold_id: bytes) -> bytes:
    return b"w" + hold_id


# -- actions


_PAY_FIELDS: Final = (
    ASSET_FIELD,
    RECIPIENT_FIELD,
    AMOUNT_FIELD,
    REFERENCE_FIELD,
    TRAVEL_FIELD,
    Field(
        "refundDays",
        FieldType.INTEGER,
        "for how many days it can be refunded by its id; 0: it is not kept",
        high=REFUND_DAYS_MAX,
    ),
    Field(
        "approvers",
        FieldType.LIST,
        "who signs beside the sender, ascending by account",
        APPROVERS_MAX,
        items=(
            Field("account", FieldType.ACCOUNT, "who approves"),
            Field("key", FieldType.KEY, "the key that signs for it"),
        ),
    ),
)


def _read_pay(wire: Sequence[Wire], where: str) -> tuple[Any, ...]:
    values = read_fields(_PAY_FIELDS, wire, where)
    require_ascending([account for account, _ in values[6]], f"{where}.approvers")
    return values


def _pay_words(fields: Mapping[str, Any], words: Words) -> str:
    days, approvers = fields["refundDays"], fields["approvers"]
    kept = f" It can be refunded for {days} days." if days else ""
    names = ", ".join([words.account(account) for account, _ in approvers])
    signed = f" Approved by {names}." if names else ""
    return f"Pay {paid_words(fields, words)}.{reference_words(fields)}{kept}{signed}"


def _pay_approvers(values: Sequence[Any], _body: Body) -> tuple[tuple[bytes, bytes], ...]:
    return tuple([(account, key) for account, key in values[6]])


def _refund_words(fields: Mapping[str, Any], _words: Words) -> str:
    amount, payment = fields["amount"], fields["payment"].hex()
    return f"Refund {amount} minor units of the payment 0x{payment}.{reference_words(fields)}"


PAY: Final = ActionType(
    name="payments.pay",
    fields=_PAY_FIELDS,
    cost=150,
    words=_pay_words,
    approvers=_pay_approvers,
    parse=_read_pay,
    # What is kept: the record, two rows of lists, the queue's entry twice.
    cost_of=lambda values: 200 if values[5] else 0,
    session=True,
)
REFUND: Final = ActionType(
    name="payments.refund",
    fields=(
        Field("payment", FieldType.HASH, "paymentId of the payment"),
        AMOUNT_FIELD,
        REFERENCE_FIELD,
    ),
    cost=250,
    words=_refund_words,
    session=True,
)
ACTIONS: Final = (PAY, REFUND)


# -- handlers


def _pay(context: Context, values: Sequence[Any]) -> None:
    asset, recipient, amount, reference, travel_hash, refund_days, _ = values
    sender = context.sender
    hold_id = context.transfer(
        asset, sender, recipient, amount, holdable=True, travel_hash=travel_hash
    )
    payment_id = None
    if refund_days:
        require_other(context, sender, recipient)
        until_ms = context.time_ms + refund_days * DAY_MS
        payment_id = context.new_id()
        due = context.schedule(until_ms, sender, [DUE_FORGET, payment_id])
        payment = Payment(
            sender,
            recipient,
            asset,
            amount,
            reference,
            travel_hash,
            context.time_ms,
            until_ms,
            due,
            hold_id or b"",
            (),
        )
        _write(context, payment_id, payment)
        enlist(context, PAYMENT, payment_id, sender, recipient)
        if hold_id is not None:
            context.put(_held_key(hold_id), pack([payment_id]))
    data = (asset, amount, reference, travel_hash, payment_id, hold_id)
    context.emit("payments.payment", (sender, recipient), *data)


def _refund(context: Context, values: Sequence[Any]) -> None:
    payment_id, amount, reference = values
    payment = _payment_of(context, payment_id)
    if context.sender != payment.payee:
        raise context.refuse("payments.party", context.sender, payment_id)
    if context.time_ms >= payment.until_ms:
        # The queue that forgets it is capped per block, so it may come later than its time.
        raise context.refuse("payments.late", payment.until_ms, context.time_ms)
    if payment.hold_id:
        raise context.refuse("payments.unpaid", payment_id, payment.hold_id)
    left = payment.amount - payment.refunded
    if amount > left:
        raise context.refuse("payments.refundAbove", payment_id, left, amount, payment.asset)
    if len(payment.refunds) >= REFUNDS_MAX:
        raise context.refuse("payments.refundsFull", payment_id, REFUNDS_MAX)
    hold_id = context.transfer(payment.asset, payment.payee, payment.payer, amount, holdable=True)
    refund = Refund(context.time_ms, amount, reference, hold_id or b"")
    _write(context, payment_id, payment._replace(refunds=(*payment.refunds, refund)))
    if hold_id is not None:
        context.put(_held_key(hold_id), pack([payment_id]))
    data = (payment.asset, amount, payment_id, left - amount, reference, hold_id)
    context.emit("payments.refunded", (payment.payee, payment.payer), *data)


def _payment_of(context: Context, payment_id: bytes) -> Payment:
    data = context.get(payment_key(payment_id))
    if data is None:
        raise refused_missing(context, payment_id)
    return Payment.unpack(data)


def _write(context: Context, payment_id: bytes, payment: Payment) -> None:
    context.put(payment_key(payment_id), payment.pack())


def _forget(context: Context, payment_id: bytes, payment: Payment) -> None:
    """Remove a payment's record with all that points to it."""
    context.delete(payment_key(payment_id))
    strike(context, PAYMENT, payment_id, payment.payer, payment.payee)
    for hold_id in payment.holds:
        context.delete(_held_key(hold_id))


def _on_forget(context: Context, payload: Sequence[Any]) -> None:
    """Forget a payment whose time for refunds is over."""
    payment_id = payload[0]
    _forget(context, payment_id, _payment_of(context, payment_id))


def _on_hold_end(context: Context, end: HoldEnd) -> None:
    """Note what became of a payment, or of a refund, that a rule held."""
    if end.hold.module != KERNEL:
        return
    data = context.get(_held_key(end.hold_id))
    if data is None:
        return
    payment_id = unpack(data, 1)[0]
    payment = _payment_of(context, payment_id)
    if end.amount == end.hold.amount:
        context.delete(_held_key(end.hold_id))
    if payment.hold_id == end.hold_id:
        _payment_ended(context, payment_id, payment, end)
    else:
        _refund_ended(context, payment_id, payment, end)


def _payment_ended(context: Context, payment_id: bytes, payment: Payment, end: HoldEnd) -> None:
    """A payment that was held is done, or was undone; a clawback may take a part of it."""
    if end.paid:
        _write(context, payment_id, payment._replace(hold_id=b""))
        return
    left = payment.amount - end.amount
    if left:
        _write(context, payment_id, payment._replace(amount=left))
        return
    context.cancel_due(payment.until_ms, payment.due)
    _forget(context, payment_id, payment._replace(hold_id=b""))


def _refund_ended(context: Context, payment_id: bytes, payment: Payment, end: HoldEnd) -> None:
    """A refund that was held is done, or counts no longer as far as it was undone."""
    refunds: list[Refund] = []
    for refund in payment.refunds:
        if refund.hold_id != end.hold_id:
            refunds.append(refund)
        elif end.paid:
            refunds.append(refund._replace(hold_id=b""))
        elif refund.amount > end.amount:
            refunds.append(refund._replace(amount=refund.amount - end.amount))
    _write(context, payment_id, payment._replace(refunds=tuple(refunds)))
    if not end.paid:
        data = (payment.asset, end.amount, payment_id)
        context.emit("payments.refundUndone", (payment.payee, payment.payer), *data)


# -- queries


def get_payment(reader: StateReader, payment_id: bytes) -> Payment | None:
    """Return a payment that can be refunded, None if there is none of that id any more."""
    data = reader.get(TREE, payment_key(payment_id))
    return None if data is None else Payment.unpack(data)


# -- invariants


def refunds_hold(reader: StateReader) -> str | None:
    """Check that no payment is refunded beyond its amount, and what is held is known as held."""
    for payment_id in all_objects(reader, PAYMENT):
        payment = get_payment(reader, payment_id)
        if payment is None:
            return f"a list names the payment 0x{payment_id.hex()}, which is not there"
        if payment.refunded > payment.amount:
            return f"more than all of the payment 0x{payment_id.hex()} was refunded"
        for hold_id in payment.holds:
            data = reader.get(TREE, _held_key(hold_id))
            if data is None or unpack(data, 1)[0] != payment_id:
                return f"the payment 0x{payment_id.hex()} is held, and nothing says by what"
            if reader.get(KERNEL, hold_key(hold_id)) is None:
                return f"what holds the payment 0x{payment_id.hex()} is over, and it is not told"
    return None


HANDLERS: Final = {PAY.name: _pay, REFUND.name: _refund}
DUES: Final = {DUE_FORGET: _on_forget}
HOLD_ENDS: Final = (_on_hold_end,)
QUERIES: Final = {"payment": get_payment}
INVARIANTS: Final = (refunds_hold,)
RULES: Final = {
    "payments.unpaid": Rule(
        Code.POLICY_REJECTED, "The payment {0:hash} is held under {1:hash}; nothing was paid yet."
    ),
    "payments.refundAbove": Rule(
        Code.LIMIT_EXCEEDED,
        "{1:amount} {3:asset} of the payment {0:hash} can still be refunded, not {2:amount}.",
    ),
    "payments.refundsFull": Rule(
        Code.LIMIT_EXCEEDED, "The payment {0:hash} has {1:number} refunds, the most allowed."
    ),
}
EVENTS: Final = {
    "payments.payment": ("asset", "amount", "reference", "travelHash", "paymentId", "holdId"),
    "payments.refunded": ("asset", "amount", "paymentId", "left", "reference", "holdId"),
    "payments.refundUndone": ("asset", "amount", "paymentId"),
}
