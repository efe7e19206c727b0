"""Invoices: what a payee asks for, paid once, exactly, in time, and found by its id.

Tree `payments`: i‖id → invoice · y‖hold id → [id] while a rule holds its payment.

The id is the hash of the invoice's terms (`Terms`), so that whoever pays an id signs for payee,
amount and purpose, whatever a node or a page showed. It is public, and so buys nothing by itself:
the invoice may name the one account that can pay it; what it bought is for whoever knows the
preimage of the hash that it names, or can sign as the account that paid (`redeeming`).

| state     | comes from | by                                                                    |
|-----------|------------|-----------------------------------------------------------------------|
| open      |            | its payee creates it; or a rule that held its payment returned it     |
| held      | open       | it is paid, and a rule holds the payment                              |
| paid      | open, held | it is paid; the rule's hold is released                               |
| cancelled | open       | its payee                                                             |
| expired   | open       | its time comes; or a held payment returns after it                    |

It is kept in its last state for as many days after its time as its payee said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.crypto import invoice_hash_of
from clawpurse.ledger.errors import Bug, Code
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
from clawpurse.modules.payments.common import (
    AMOUNT_FIELD,
    ASSET_FIELD,
    TRAVEL_FIELD,
    refused_missing,
    require_other,
    require_span,
    when_words,
)
from clawpurse.modules.payments.records import (
    INVOICE,
    TREE,
    all_objects,
    enlist,
    pack,
    strike,
    unpack,
)

# Text, or a hash of what it is for, which may be long and private.
PURPOSE_BYTES_MAX: Final = 64
# For as long as complaints come: a quarter. Events and blocks know it for ever.
KEEP_DAYS_MAX: Final = 92
DUE_END: Final = "invoice"


class State(IntEnum):
    """Where an invoice stands, see the module."""

    OPEN = 0
    HELD = 1
    PAID = 2
    EXPIRED = 3
    CANCELLED = 4

    @property
    def label(self) -> str:
        """The name that users see."""
        return _LABELS[self]


_LABELS: Final = {
    State.OPEN: "open",
    State.HELD: "held",
    State.PAID: "paid",
    State.EXPIRED: "expired",
    State.CANCELLED: "cancelled",
}


class Terms(NamedTuple):
    """What an invoice says. `salt` makes two invoices with the same terms two invoices.

    `payer` None: anybody may pay it. `preimage_hash` is the SHA-256 of a secret.
    """

    salt: bytes
    payee: bytes
    asset: str
    amount: int
    payer: bytes | None
    preimage_hash: bytes | None
    purpose: bytes
    expires_ms: int

    @property
    def id(self) -> bytes:
        """The invoice's id. Whoever is shown these terms can work it out."""
        return invoice_hash_of(codec.pack(self))


class Invoice(NamedTuple):
    """An invoice: its terms, and what became of it.

    `paid_by` and `ended_ms` say who paid, and when (0: not yet) its last state was reached;
    `hold_id` is empty but while a rule holds the payment. `due` is the due work that ends or
    forgets it, empty for none.
    """

    terms: Terms
    keep_days: int
    state: int
    paid_by: bytes | None
    ended_ms: int
    hold_id: bytes
    due: bytes

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return pack(self)

    @classmethod
    def unpack(cls, data: bytes) -> Invoice:
        """Read a record that we wrote."""
        made = cls(*unpack(data, len(cls._fields)))
        return made._replace(terms=Terms(*made.terms))

    @property
    def parties(self) -> tuple[bytes, ...]:
        """Payee, who may alone pay it, and who did: under whom it is listed."""
        named = (self.terms.payer, self.paid_by)
        return (self.terms.payee, *[one for one in named if one is not None])

    @property
    def kept_until_ms(self) -> int:
        """Until when it can be asked for, ms of block time."""
        return self.terms.expires_ms + self.keep_days * DAY_MS


def invoice_key(invoice_id: bytes) -> bytes:
    """Return the key of an invoice."""
    return INVOICE + invoice_id


def _held_key(hold_id: bytes) -> bytes:
    return b"y" + hold_id


# -- actions


_INVOICE: Final = Field("invoice", FieldType.HASH, "id of the invoice: the hash of its terms")


def purpose_words(purpose: bytes) -> str:
    """Return a purpose as text if it is printable ASCII, else as hex."""
    plain = all(0x20 <= byte < 0x7F for byte in purpose)
    return f'"{purpose.decode("ascii")}"' if plain else f"0x{purpose.hex()}"


def _create_words(fields: Mapping[str, Any], words: Words) -> str:
    amount = words.amount(fields["asset"], fields["amount"])
    payer = "" if fields["payer"] is None else f" of {words.account(fields['payer'])}"
    until, purpose = when_words(fields["expires"]), purpose_words(fields["purpose"])
    return f"Ask for {amount}{payer} before {until}. Purpose {purpose}."


def _pay_words(fields: Mapping[str, Any], _words: Words) -> str:
    return f"Pay the invoice 0x{fields['invoice'].hex()}: {fields['amount']} minor units."


def _cancel_words(fields: Mapping[str, Any], _words: Words) -> str:
    return f"Cancel the invoice 0x{fields['invoice'].hex()}."


CREATE: Final = ActionType(
    name="payments.createInvoice",
    fields=(
        ASSET_FIELD,
        AMOUNT_FIELD,
        Field("payer", FieldType.ACCOUNT, "who alone may pay it; nil: anybody", optional=True),
        Field(
            "preimageHash",
            FieldType.HASH,
            "SHA-256 of a secret, which alone redeems it; nil: the signature of who paid does",
            optional=True,
        ),
        Field(
            "purpose",
            FieldType.BYTES,
            "what it is for, text or a hash; public for ever",
            PURPOSE_BYTES_MAX,
        ),
        Field("expires", FieldType.TIME, "block time from which it cannot be paid, within a year"),
        Field(
            "keepDays",
            FieldType.INTEGER,
            "for how many days after that it can be asked for",
            high=KEEP_DAYS_MAX,
        ),
    ),
    # Invoice, two rows of lists, the queue.
    cost=250,
    words=_create_words,
    # It takes nothing from anybody.
    session=True,
)
PAY: Final = ActionType(
    name="payments.payInvoice",
    fields=(_INVOICE, AMOUNT_FIELD, TRAVEL_FIELD),
    # A transfer, the invoice, a row of a list.
    cost=250,
    words=_pay_words,
    session=True,
)
CANCEL: Final = ActionType(
    name="payments.cancelInvoice", fields=(_INVOICE,), cost=200, words=_cancel_words, session=True
)
ACTIONS: Final = (CREATE, PAY, CANCEL)


# -- handlers


def _create(context: Context, values: Sequence[Any]) -> None:
    asset, amount, payer, preimage_hash, purpose, expires_ms, keep_days = values
    payee = context.sender
    if not context.query("assets.get", asset):
        raise context.refuse("kernel.asset", asset)
    require_span(context, expires_ms)
    if payer is not None:
        require_other(context, payee, payer)
        context.key_of(payer)  # An invoice to what is no account yet is a mistyped one.
    terms = Terms(context.new_id(), payee, asset, amount, payer, preimage_hash, purpose, expires_ms)
    invoice_id = terms.id
    due = context.schedule(expires_ms, payee, [DUE_END, invoice_id])
    invoice = Invoice(terms, keep_days, State.OPEN, None, 0, b"", due)
    _write(context, invoice_id, invoice)
    enlist(context, INVOICE, invoice_id, *invoice.parties)
    data = (asset, amount, invoice_id, preimage_hash, purpose, expires_ms)
    context.emit("payments.invoiceCreated", invoice.parties, *data)


def _pay(context: Context, values: Sequence[Any]) -> None:
    invoice_id, amount, travel_hash = values
    invoice, payer = _open_invoice(context, invoice_id), context.sender
    terms = invoice.terms
    if payer == terms.payee or terms.payer not in (None, payer):
        raise context.refuse("payments.party", payer, invoice_id)
    if amount != terms.amount:
        raise context.refuse(
            "payments.invoiceAmount", invoice_id, terms.amount, amount, terms.asset
        )
    hold_id = context.transfer(
        terms.asset, payer, terms.payee, amount, holdable=True, travel_hash=travel_hash
    )
    enlist(context, INVOICE, invoice_id, payer)
    if hold_id is not None:
        context.put(_held_key(hold_id), pack([invoice_id]))
        held = invoice._replace(state=State.HELD, paid_by=payer, hold_id=hold_id)
        _write(context, invoice_id, held)
        context.emit("payments.invoiceHeld", (terms.payee, payer), invoice_id, hold_id)
        return
    _paid(context, invoice_id, invoice._replace(paid_by=payer))


def _paid(context: Context, invoice_id: bytes, invoice: Invoice) -> None:
    """Let an invoice be paid for ever; its due work forgets it later."""
    terms, ended_ms = invoice.terms, context.time_ms
    _write(context, invoice_id, invoice._replace(state=State.PAID, ended_ms=ended_ms, hold_id=b""))
    data = (terms.asset, terms.amount, invoice_id, terms.purpose)
    context.emit("payments.invoicePaid", invoice.parties, *data)


def _cancel(context: Context, values: Sequence[Any]) -> None:
    invoice_id = values[0]
    invoice = _open_invoice(context, invoice_id)
    if context.sender != invoice.terms.payee:
        raise context.refuse("payments.party", context.sender, invoice_id)
    _ended(context, invoice_id, invoice, State.CANCELLED)


def _open_invoice(context: Context, invoice_id: bytes) -> Invoice:
    """Return an invoice that can be paid or cancelled. Raises `Refused`, saying why not."""
    data = context.get(invoice_key(invoice_id))
    if data is None:
        raise refused_missing(context, invoice_id)
    invoice = Invoice.unpack(data)
    match invoice.state:
        case State.PAID:
            raise context.refuse("payments.invoicePaid", invoice_id, invoice.ended_ms)
        case State.HELD:
            raise context.refuse("payments.invoiceHeld", invoice_id, invoice.hold_id)
        case State.CANCELLED:
            raise context.refuse("payments.invoiceCancelled", invoice_id, invoice.ended_ms)
    if context.time_ms >= invoice.terms.expires_ms:
        # The queue that ends it is capped per block, so it may come later than its time.
        raise context.refuse("payments.late", invoice.terms.expires_ms, context.time_ms)
    return invoice


def _write(context: Context, invoice_id: bytes, invoice: Invoice) -> None:
    context.put(invoice_key(invoice_id), invoice.pack())


def _ended(context: Context, invoice_id: bytes, invoice: Invoice, state: State) -> None:
    """Let an invoice be cancelled or expired; its due work forgets it later."""
    terms = invoice.terms
    _write(context, invoice_id, invoice._replace(state=state, ended_ms=context.time_ms))
    data = (terms.asset, terms.amount, invoice_id, state.label)
    context.emit("payments.invoiceEnded", invoice.parties, *data)


def _on_due(context: Context, payload: Sequence[Any]) -> None:
    """End an invoice that nobody paid in time; forget one that was kept long enough."""
    invoice_id = payload[0]
    data = context.get(invoice_key(invoice_id))
    if data is None:
        raise Bug("an invoice in the queue has no record")
    invoice = Invoice.unpack(data)
    if invoice.state == State.HELD:
        # Its payment is still to be decided on; then it is ended, or paid, and kept.
        _write(context, invoice_id, invoice._replace(due=b""))
        return
    if invoice.state == State.OPEN:
        _ended(context, invoice_id, invoice, State.EXPIRED)
    if context.time_ms < invoice.kept_until_ms:
        _keep(context, invoice_id)
    else:
        _forget(context, invoice_id)


def _keep(context: Context, invoice_id: bytes) -> None:
    """Put forgetting it off until it was kept long enough; at once where the queue is full."""
    data = context.get(invoice_key(invoice_id))
    if data is None:
        raise Bug("an invoice that is kept has no record")
    invoice = Invoice.unpack(data)

    def deed() -> None:
        payee = invoice.terms.payee
        due = context.schedule(invoice.kept_until_ms, payee, [DUE_END, invoice_id])
        _write(context, invoice_id, invoice._replace(due=due))

    if context.attempt(deed) is not None:
        _forget(context, invoice_id)


def _forget(context: Context, invoice_id: bytes) -> None:
    data = context.get(invoice_key(invoice_id))
    if data is None:
        raise Bug("an invoice is forgotten twice")
    context.delete(invoice_key(invoice_id))
    strike(context, INVOICE, invoice_id, *Invoice.unpack(data).parties)


def _on_hold_end(context: Context, end: HoldEnd) -> None:
    """Note what became of a payment that a rule held."""
    if end.hold.module != KERNEL:
        return
    data = context.get(_held_key(end.hold_id))
    if data is None:
        return
    if end.amount < end.hold.amount:
        return  # A clawback took a part; what is left of it is decided on, or taken too.
    invoice_id: bytes = unpack(data, 1)[0]
    context.delete(_held_key(end.hold_id))
    record = context.get(invoice_key(invoice_id))
    if record is None:
        raise Bug("an invoice whose payment is held has no record")
    invoice = Invoice.unpack(record)
    # What a clawback left of it is not what was asked for.
    if end.paid and end.amount == invoice.terms.amount:
        _paid(context, invoice_id, invoice)
    else:
        _unpaid(context, invoice_id, invoice)
    if not invoice.due:
        # Its time came while it was held. It is kept as if it had ended in time.
        _keep(context, invoice_id)


def _unpaid(context: Context, invoice_id: bytes, invoice: Invoice) -> None:
    """Open an invoice again whose payment was returned; end it if its time is over."""
    payer = invoice.paid_by
    invoice = invoice._replace(state=State.OPEN, paid_by=None, hold_id=b"")
    if payer is not None and payer not in invoice.parties:
        strike(context, INVOICE, invoice_id, payer)
    if context.time_ms >= invoice.terms.expires_ms:
        _ended(context, invoice_id, invoice, State.EXPIRED)
        return
    _write(context, invoice_id, invoice)
    context.emit("payments.invoiceOpened", invoice.parties, invoice_id)


# -- queries


def get_invoice(reader: StateReader, invoice_id: bytes) -> Invoice | None:
    """Return an invoice, None if there is none of that id any more."""
    data = reader.get(TREE, invoice_key(invoice_id))
    return None if data is None else Invoice.unpack(data)


# -- invariants


def invoices_hold(reader: StateReader) -> str | None:
    """Check that each invoice says what its id says, and is held exactly while its payment is."""
    for invoice_id in all_objects(reader, INVOICE):
        name = f"the invoice 0x{invoice_id.hex()}"
        invoice = get_invoice(reader, invoice_id)
        if invoice is None:
            return f"a list names {name}, which is not there"
        if invoice.terms.id != invoice_id:
            return f"{name} says another thing than its id"
        if bool(invoice.hold_id) != (invoice.state == State.HELD):
            return f"{name} is held and not held"
        if invoice.hold_id:
            data = reader.get(TREE, _held_key(invoice.hold_id))
            if data is None or unpack(data, 1)[0] != invoice_id:
                return f"{name} is held, and nothing says by what"
            if reader.get(KERNEL, hold_key(invoice.hold_id)) is None:
                return f"what holds the payment of {name} is over, and it is not told"
        elif not invoice.due:
            return f"{name} would be kept for ever"
    return None


HANDLERS: Final = {CREATE.name: _create, PAY.name: _pay, CANCEL.name: _cancel}
DUES: Final = {DUE_END: _on_due}
HOLD_ENDS: Final = (_on_hold_end,)
QUERIES: Final = {"invoice": get_invoice}
INVARIANTS: Final = (invoices_hold,)
RULES: Final = {
    "payments.invoiceAmount": Rule(
        Code.MALFORMED, "The invoice {0:hash} asks for {1:amount} {3:asset}, not {2:amount}."
    ),
    "payments.invoicePaid": Rule(Code.DUPLICATE, "The invoice {0:hash} was paid at {1:time}."),
    "payments.invoiceHeld": Rule(
        Code.DUPLICATE, "The invoice {0:hash} is paid; a rule holds that under {1:hash}."
    ),
    "payments.invoiceCancelled": Rule(
        Code.EXPIRED, "The invoice {0:hash} was cancelled at {1:time}."
    ),
}
EVENTS: Final = {
    "payments.invoiceCreated": (
        "asset",
        "amount",
        "invoiceId",
        "preimageHash",
        "purpose",
        "expires",
    ),
    "payments.invoiceHeld": ("invoiceId", "holdId"),
    "payments.invoiceOpened": ("invoiceId",),
    "payments.invoicePaid": ("asset", "amount", "invoiceId", "purpose"),
    "payments.invoiceEnded": ("asset", "amount", "invoiceId", "outcome"),
}
