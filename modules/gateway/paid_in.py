"""Money that was paid in beforehand, as the existing gateway knows it: by account, not by name.

A deposit is a final payment to the payee; it counts once, for the account that made it. What is
left is that account's: it is spent by requests that prove who they are, and goes back when the
account asks. Kept as a channel without a voucher key, so that reserving, serving and releasing are
the same as for vouchers. Whoever pays in trusts the gateway with what is left; vouchers do not.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clawpurse.modules.gateway import invoices
from clawpurse.modules.gateway.invoices import Paid
from clawpurse.modules.gateway.prepaid import Reserved, Shown, reserve
from clawpurse.modules.gateway.store import channels, insert_new, payments

DEPOSITED: Final = "deposited"
NO_KEY: Final = ""
FOREVER_MS: Final = 1 << 60


class Credit(NamedTuple):
    """What an account has here, in minor units of one asset."""

    asset: str
    left: int


def deposit(db: Connection, paid: Paid, now_ms: int) -> str:
    """Count a payment for its payer; return why not, or nothing."""
    invoices.note_payment(db, paid)
    mine = (payments.c.tx_id == paid.tx_id) & (payments.c.place == paid.place)
    free = mine & (payments.c.state == invoices.OPEN)
    known = credit_of(db, paid.payer)
    if known is not None and known.asset != paid.asset:
        return f"this account keeps {known.asset} here"
    if not db.execute(payments.update().where(free).values(state=DEPOSITED)).rowcount:
        return "this payment was counted already"
    row = {
        "channel": paid.payer,
        "payer": paid.payer,
        "asset": paid.asset,
        "key": NO_KEY,
        "closes_ms": FOREVER_MS,
        "seen_ms": now_ms,
        "open": True,
        **dict.fromkeys(("capacity", "promised", "spent", "served", "claimed"), 0),
    }
    insert_new(db, channels, row)
    _change(db, paid.payer, paid.amount)
    return ""


def credit_of(db: Connection, account: str) -> Credit | None:
    """Return what an account has; None if it never paid in."""
    asked = sa.select(channels.c.asset, channels.c.promised, channels.c.spent)
    row = db.execute(asked.where(_mine(account))).one_or_none()
    return None if row is None else Credit(row.asset, row.promised - row.spent)


def spend(
    db: Connection, account: str, price: int, request: str, route: str, gateway: str, now_ms: int
) -> Reserved:
    """Set the price of a request apart. Served and released as vouchers' are."""
    return reserve(db, Shown(account, 0, ""), price, request, route, gateway, now_ms)


def withdraw(db: Connection, account: str, now_ms: int) -> Credit | None:
    """Let all that is left go back to its account; return it, None where nothing is."""
    found = credit_of(db, account)
    if found is None or found.left <= 0:
        return None
    _change(db, account, -found.left)
    text = f"withdrawal {account} {now_ms}"
    tx_id = "0x" + hashlib.sha256(b"clawpurse/gateway/" + text.encode()).hexdigest()
    paid = Paid(tx_id, 0, account, found.asset, found.left, "withdrawal", now_ms)
    insert_new(db, payments, {**paid._asdict(), "state": invoices.REFUNDING})
    return found


def _change(db: Connection, account: str, amount: int) -> None:
    db.execute(
        channels.update()
        .where(_mine(account))
        .values(capacity=channels.c.capacity + amount, promised=channels.c.promised + amount)
    )


def _mine(account: str) -> sa.ColumnElement[bool]:
    return (channels.c.channel == account) & (channels.c.key == NO_KEY)
