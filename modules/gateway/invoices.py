"""Invoices that are written down when they are paid, and not before: whoever asks costs nothing.

An invoice is what a client gets with 402: its terms, sealed by a secret of the gateway. Its id is
for the client alone and proves that it was asked here; the memo that is paid under is a hash of
the id, so that whoever reads the ledger cannot have what was bought. One payment buys one request,
of the client, route, method and path that asked, at the price of then.

    id   = "inv_" base64url(nonce 16 ‖ expiry u64 ms ‖ MAC 16 over these and the purpose)
    memo = "cpg-" 32 hexadecimal digits of SHA-256(id)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clawpurse.modules.gateway.config import Price
from clawpurse.modules.gateway.store import insert_new, payments

START: Final = "inv_"
MEMO_START: Final = "cpg-"
NONCE_BYTES: Final = 16
MAC_BYTES: Final = 16
ID_BYTES: Final = NONCE_BYTES + 8 + MAC_BYTES
ID_CHARS: Final = len(START) + 4 * ((ID_BYTES + 2) // 3)
OPEN, USED, KEPT, REFUNDING, REFUNDED = "open", "used", "kept", "refunding", "refunded"


class Purpose(NamedTuple):
    """What an invoice is for. `client` is who was let in, empty for strangers: then the id alone
    says who they are.
    """

    payee: str
    route: str
    method: str
    target: str
    client: str
    prices: tuple[tuple[str, int], ...]

    @property
    def digest(self) -> bytes:
        """What the seal covers: each part with its length, so that no two read alike."""
        parts = [self.payee, self.route, self.method, self.target, self.client]
        parts += [f"{asset} {amount}" for asset, amount in self.prices]
        data = b"".join(struct.pack(">I", len(part.encode())) + part.encode() for part in parts)
        return hashlib.sha256(data).digest()


class Invoice(NamedTuple):
    """An invoice that was sealed here."""

    ident: str
    expires_ms: int

    @property
    def memo(self) -> str:
        """What it is paid under."""
        return memo_of(self.ident)


class Paid(NamedTuple):
    """A payment that came in: at `place` among the events of a transaction."""

    tx_id: str
    place: int
    payer: str
    asset: str
    amount: int
    memo: str
    at_ms: int


def prices_of(prices: Sequence[Price]) -> tuple[tuple[str, int], ...]:
    """Return prices as a purpose has them."""
    return tuple((price.asset, price.amount) for price in prices)


def memo_of(ident: str) -> str:
    """Return the memo of an invoice's id."""
    return MEMO_START + hashlib.sha256(ident.encode()).hexdigest()[:32]


def issue(secret: bytes, purpose: Purpose, expires_ms: int) -> Invoice:
    """Make an invoice."""
    head = secrets.token_bytes(NONCE_BYTES) + struct.pack(">Q", expires_ms)
    raw = head + _seal(secret, head, purpose)
    return Invoice(START + base64.urlsafe_b64encode(raw).rstrip(b"=").decode(), expires_ms)


def opened(secret: bytes, purpose: Purpose, ident: str) -> Invoice | None:
    """Return the invoice of an id, if it was sealed here for this purpose."""
    raw = _raw(ident)
    if raw is None:
        return None
    head, seal = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
    if not hmac.compare_digest(seal, _seal(secret, head, purpose)):
        return None
    return Invoice(ident, struct.unpack(">Q", head[NONCE_BYTES:])[0])


def expiry_of(ident: str) -> int | None:
    """Return until when an id says that it can be paid; None for what is no id."""
    raw = _raw(ident)
    return None if raw is None else int(struct.unpack(">Q", raw[NONCE_BYTES:-MAC_BYTES])[0])


def note_payment(db: Connection, paid: Paid) -> bool:
    """Write down a payment that is final; False when it was known."""
    return insert_new(db, payments, {**paid._asdict(), "state": OPEN})


class Redeemed(NamedTuple):
    """What came of showing an invoice: the payment that is used up for it, or why there is none:
    unpaid | used | late | wrongAmount.
    """

    paid: Paid | None
    problem: str = ""


def redeem(
    db: Connection,
    invoice: Invoice,
    purpose: Purpose,
    *,
    request: str,
    gateway: str,
    now_ms: int,
) -> Redeemed:
    """Use up one payment for an invoice: the first that is open, in time and of an exact price."""
    asked = payments.select().where(payments.c.memo == invoice.memo)
    problem = "unpaid"
    for row in db.execute(asked.order_by(payments.c.at_ms, payments.c.tx_id)):
        if row.state in (USED, KEPT):
            # An invoice buys once, however often it is paid.
            return Redeemed(None, "used")
        if row.at_ms > invoice.expires_ms:
            problem = "late"
        elif (row.asset, row.amount) not in purpose.prices:
            problem = "wrongAmount"
        elif row.state == OPEN and _use(db, row, purpose, request, gateway, now_ms):
            paid = Paid(*(getattr(row, name) for name in Paid._fields))
            return Redeemed(paid)
        else:
            problem = "used" if row.state == OPEN else "late"
    return Redeemed(None, problem)


def _use(
    db: Connection,
    row: sa.Row[tuple[object, ...]],
    purpose: Purpose,
    request: str,
    gateway: str,
    now_ms: int,
) -> bool:
    mine = (payments.c.tx_id == row.tx_id) & (payments.c.place == row.place)
    # Of two gateways that see the same open row, the row decides who has it.
    done = db.execute(
        payments.update()
        .where(mine & (payments.c.state == OPEN))
        .values(
            state=USED,
            route=purpose.route,
            client=purpose.client or row.payer,
            request=request,
            gateway=gateway,
            used_ms=now_ms,
        )
    )
    return bool(done.rowcount)


def keep(db: Connection, paid: Paid) -> None:
    """What it bought was served: it is earned."""
    _move(db, paid, USED, KEPT)


def give_back(db: Connection, paid: Paid) -> None:
    """What it bought was not served: the invoice can be shown again, until it is refunded."""
    _move(db, paid, USED, OPEN)


def release_unserved(db: Connection, gateway: str) -> int:
    """After a start: what this gateway had used up and not served is open again."""
    return db.execute(
        payments.update()
        .where((payments.c.gateway == gateway) & (payments.c.state == USED))
        .values(state=OPEN)
    ).rowcount


def due_refunds(db: Connection, before_ms: int, limit: int) -> list[Paid]:
    """Mark payments from before a time that bought nothing; return them, and those marked before
    whose refund is not final yet.
    """
    old = sa.select(payments.c.tx_id, payments.c.place).where(
        (payments.c.state == OPEN) & (payments.c.at_ms < before_ms)
    )
    for tx_id, place in db.execute(old.order_by(payments.c.at_ms).limit(limit)).all():
        db.execute(
            payments.update()
            .where(
                (payments.c.tx_id == tx_id)
                & (payments.c.place == place)
                & (payments.c.state == OPEN)
            )
            .values(state=REFUNDING)
        )
    rows = db.execute(
        payments.select()
        .where(payments.c.state == REFUNDING)
        .order_by(payments.c.at_ms)
        .limit(limit)
    )
    return [Paid(*(getattr(row, name) for name in Paid._fields)) for row in rows]


def refunded(db: Connection, tx_id: str, place: int) -> None:
    """The refund is final."""
    mine = (payments.c.tx_id == tx_id) & (payments.c.place == place)
    db.execute(payments.update().where(mine).values(state=REFUNDED))


def _move(db: Connection, paid: Paid, before: str, after: str) -> None:
    mine = (payments.c.tx_id == paid.tx_id) & (payments.c.place == paid.place)
    db.execute(payments.update().where(mine & (payments.c.state == before)).values(state=after))


def _raw(ident: str) -> bytes | None:
    if not ident.startswith(START) or len(ident) > ID_CHARS:
        return None
    text = ident[len(START) :]
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    spelt = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return raw if len(raw) == ID_BYTES and spelt == text else None


def _seal(secret: bytes, head: bytes, purpose: Purpose) -> bytes:
    return hmac.digest(secret, b"clawpurse/invoice" + head + purpose.digest, "sha256")[:MAC_BYTES]
