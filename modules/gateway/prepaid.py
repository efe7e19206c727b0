"""Requests that are paid by vouchers of a channel: reserved before the upstream is asked, served
after, released where it failed.

A voucher promises so much in all. What was reserved and served is never more than the newest one
promises, so nobody pays more than they signed; what is claimed on the ledger is the newest voucher
that promises no more than was served, so nobody pays for what they did not get. A restart
releases what was only reserved.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.vouchers import Terms, verify
from clawpurse.modules.gateway.store import channels, insert_new, uses

RESERVED, SERVED, RELEASED = "reserved", "served", "released"
AMOUNT_MAX: Final = (1 << 63) - 1
_HEX: Final = frozenset("0123456789abcdef")


class Shown(NamedTuple):
    """A voucher as a request shows it: `CHANNEL.AMOUNT.SIGNATURE`."""

    channel: str
    amount: int
    signature: str


class Channel(NamedTuple):
    """What the ledger says of a channel: `capacity` is all that was ever put into it."""

    channel: str
    payer: str
    asset: str
    key: str
    capacity: int
    claimed: int
    closes_ms: int


class Reserved(NamedTuple):
    """What came of a reservation. `problem`: "" | replayed | tooLittle | overdrawn | closing;
    `needed` is what the next voucher must promise in all.
    """

    problem: str
    needed: int


class Claim(NamedTuple):
    """A voucher that is worth claiming."""

    channel: str
    amount: int
    signature: str


def read_voucher(text: str) -> Shown:
    """Read what a request shows. Raises `Malformed`."""
    parts = text.strip().split(".")
    if len(parts) != 3:
        raise Malformed("voucher", "is CHANNEL.AMOUNT.SIGNATURE")
    channel, amount, signature = parts
    if not _is_hex(channel, 32) or not _is_hex(signature, 64):
        raise Malformed("voucher", "has a channel of 32 and a signature of 64 bytes, as 0x…")
    if not (amount.isascii() and amount.isdigit()) or amount[:1] == "0" or len(amount) > 19:
        raise Malformed("voucher.amount", "is a positive whole number without leading zeros")
    if int(amount) > AMOUNT_MAX:
        raise Malformed("voucher.amount", "is too large")
    return Shown(channel, int(amount), signature)


def is_signed(shown: Shown, genesis_hash: bytes, channel: Channel, payee: bytes) -> bool:
    """Tell whether the channel's key signed a voucher."""
    terms = Terms(genesis_hash, bytes.fromhex(shown.channel[2:]), channel.asset, payee)
    key, signature = bytes.fromhex(channel.key[2:]), bytes.fromhex(shown.signature[2:])
    return verify(key, terms, shown.amount, signature)


def know(db: Connection, channel: Channel, now_ms: int) -> None:
    """Write down what the ledger says of a channel now."""
    facts = {**channel._asdict(), "seen_ms": now_ms, "open": True}
    counted = {"promised": channel.claimed, "spent": channel.claimed, "served": channel.claimed}
    if not insert_new(db, channels, {**facts, **counted}):
        db.execute(channels.update().where(channels.c.channel == channel.channel).values(facts))


_RESERVE: Final = sa.text(
    "UPDATE gateway_channels SET spent = spent + :price,"
    " promised = CASE WHEN promised < :amount THEN :amount ELSE promised END"
    " WHERE channel = :channel AND open AND capacity >= :amount"
    " AND spent + :price <= CASE WHEN promised < :amount THEN :amount ELSE promised END"
)
_USE: Final = sa.text(
    "INSERT INTO gateway_uses"
    " (channel, request, price, amount, signature, state, route, gateway, at_ms) VALUES"
    " (:channel, :request, :price, :amount, :signature, :state, :route, :gateway, :at_ms)"
    " ON CONFLICT DO NOTHING"
)
_STATE: Final = sa.text(
    "SELECT spent, promised, capacity, open FROM gateway_channels WHERE channel = :channel"
)
_FREE: Final = sa.text(
    "UPDATE gateway_channels SET spent = spent - :price WHERE channel = :channel"
)
_EARN: Final = sa.text(
    "UPDATE gateway_channels SET served = served + :price WHERE channel = :channel"
)
_MOVE: Final = sa.text(
    "UPDATE gateway_uses SET state = :state"
    " WHERE channel = :channel AND request = :request AND state = 'reserved'"
)


def reserve(
    db: Connection, shown: Shown, price: int, request: str, route: str, gateway: str, now_ms: int
) -> Reserved:
    """Set a request's price apart from what its channel's payer promised."""
    done = db.execute(
        _RESERVE, {"channel": shown.channel, "price": price, "amount": shown.amount}
    ).rowcount
    if not done:
        return _refused(db, shown, price)
    row = {
        **shown._asdict(),
        "request": request,
        "price": price,
        "state": RESERVED,
        "route": route,
        "gateway": gateway,
        "at_ms": now_ms,
    }
    if db.execute(_USE, row).rowcount:
        return Reserved("", 0)
    # The same request once more, after it came to nothing.
    mine = (uses.c.channel == shown.channel) & (uses.c.request == request)
    again = uses.update().where(mine & (uses.c.state == RELEASED)).values(row)
    if db.execute(again).rowcount:
        return Reserved("", 0)
    db.execute(_FREE, {"channel": shown.channel, "price": price})
    return Reserved("replayed", _needed(db, shown.channel, price))


def serve(db: Connection, channel: str, request: str, price: int) -> None:
    """The request was served: its price is earned."""
    if db.execute(_MOVE, {"channel": channel, "request": request, "state": SERVED}).rowcount:
        db.execute(_EARN, {"channel": channel, "price": price})


def release(db: Connection, channel: str, request: str, price: int) -> None:
    """The request was not served: its price is the payer's again."""
    if db.execute(_MOVE, {"channel": channel, "request": request, "state": RELEASED}).rowcount:
        db.execute(_FREE, {"channel": channel, "price": price})


def release_unserved(db: Connection, gateway: str) -> int:
    """After a start: release what this gateway had only reserved; return how many."""
    mine = (uses.c.gateway == gateway) & (uses.c.state == RESERVED)
    rows = db.execute(sa.select(uses.c.channel, uses.c.request, uses.c.price).where(mine)).all()
    for channel, request, price in rows:
        release(db, channel, request, price)
    return len(rows)


def claims(db: Connection, limit: int) -> list[Claim]:
    """Return for each channel the newest voucher that promises no more than was served, where that
    is more than was claimed.
    """
    best = (
        sa.select(sa.func.max(uses.c.amount))
        .where((uses.c.channel == channels.c.channel) & (uses.c.amount <= channels.c.served))
        .scalar_subquery()
    )
    rows = db.execute(
        sa.select(channels.c.channel, best.label("amount"))
        .where(channels.c.open & (channels.c.served > channels.c.claimed))
        # What has no voucher key was paid in already.
        .where(channels.c.key != "")
        .where(best > channels.c.claimed)
        .limit(limit)
    ).all()
    found = []
    for channel, amount in rows:
        mine = (uses.c.channel == channel) & (uses.c.amount == amount)
        signature = db.execute(sa.select(uses.c.signature).where(mine).limit(1)).scalar_one()
        found.append(Claim(channel, amount, signature))
    return found


def claimed(db: Connection, channel: str, amount: int) -> None:
    """The ledger paid a channel out up to an amount."""
    mine = (channels.c.channel == channel) & (channels.c.claimed < amount)
    db.execute(channels.update().where(mine).values(claimed=amount))


def closed(db: Connection, channel: str) -> None:
    """The ledger has no such channel any more."""
    db.execute(channels.update().where(channels.c.channel == channel).values(open=False))


def _refused(db: Connection, shown: Shown, price: int) -> Reserved:
    row = db.execute(_STATE, {"channel": shown.channel}).one_or_none()
    if row is None or not row.open:
        return Reserved("closing", 0)
    needed = row.spent + price
    if needed > row.capacity or shown.amount > row.capacity:
        return Reserved("overdrawn", needed)
    return Reserved("tooLittle", needed)


def _needed(db: Connection, channel: str, price: int) -> int:
    return int(db.execute(_STATE, {"channel": channel}).one().spent) + price


def _is_hex(text: str, size: int) -> bool:
    return text[:2] == "0x" and len(text) == 2 + 2 * size and _HEX.issuperset(text[2:])
