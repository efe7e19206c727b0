"""What stands in the outbox: its tables, its rows as values, and what counts as spent."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, Final

from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.transactions import LANE_COUNT
from clawpurse.wallet.intent import Intent

VERSION: Final = 1
LANES: Final = LANE_COUNT


class Status(IntEnum):
    """How far a payment came. Numbers are in the file: never renumber. Below 10 it is not over."""

    RESERVED = 1
    SIGNED = 2
    SUBMITTED = 3
    #: Signed and given to who asked, who may send it or not: counted, and never sent from here.
    HANDED_OUT = 4
    PAID = 11
    HELD = 12
    FAILED = 13
    EXPIRED = 14
    REPLACED = 15
    CANCELLED = 16
    REFUSED = 17

    @property
    def label(self) -> str:
        """The word for JSON and people."""
        return self.name.lower().replace("_", " ")


# Between what may still happen and what is over; in the statements of outbox.py it stands as 10.
UNSETTLED: Final = 10

# How what was signed can have ended without anything having happened.
VOID: Final = (Status.EXPIRED, Status.REPLACED, Status.REFUSED)

CREATE: Final = (
    "CREATE TABLE wishes (number INTEGER PRIMARY KEY AUTOINCREMENT, genesis BLOB NOT NULL,"
    " account BLOB NOT NULL, signer BLOB NOT NULL, sponsor BLOB NOT NULL, key BLOB NOT NULL,"
    " lane INTEGER NOT NULL, fee INTEGER NOT NULL, memo TEXT NOT NULL, what TEXT NOT NULL,"
    " status INTEGER NOT NULL, created_ms INTEGER NOT NULL, settled_ms INTEGER,"
    " override TEXT NOT NULL, holder TEXT NOT NULL) STRICT",
    "CREATE TABLE payments (wish INTEGER NOT NULL, recipient BLOB NOT NULL, asset TEXT NOT NULL,"
    " amount TEXT NOT NULL) STRICT",
    "CREATE TABLE attempts (wish INTEGER NOT NULL, tx_id BLOB NOT NULL UNIQUE, raw BLOB NOT NULL,"
    " sequence INTEGER NOT NULL, fee INTEGER NOT NULL, cancels INTEGER NOT NULL) STRICT",
    "CREATE INDEX by_key ON wishes (genesis, account, key)",
    "CREATE INDEX by_day ON wishes (genesis, signer, created_ms)",
    "CREATE INDEX unsettled ON wishes (genesis, account) WHERE status < 10",
    "CREATE INDEX by_wish ON payments (wish)",
    "CREATE INDEX tries ON attempts (wish)",
)


@dataclass(frozen=True)
class Claim:
    """What is to be reserved. `signer` is the key whose guardrails judge, `lanes` None for any.

    `what` says in words what a transaction does that is no payment. `fee` in minor units.
    """

    genesis_hash: bytes
    account: bytes
    signer: bytes
    key: bytes
    fee: int
    intents: tuple[Intent, ...] = ()
    lanes: tuple[int, ...] | None = None
    sponsor: bytes = b""
    what: str = ""
    override: str = ""

    @property
    def memo(self) -> str:
        """The memo of the transaction."""
        return self.intents[0].memo if self.intents else ""

    @property
    def payments(self) -> tuple[tuple[bytes, str, int], ...]:
        """Recipient, asset and amount of each payment."""
        return tuple((one.recipient, one.asset, one.amount) for one in self.intents)


@dataclass(frozen=True)
class Attempt:
    """Signed bytes for a row. `cancels`: it takes the row's place in its lane and pays nobody."""

    tx_id: bytes
    raw: bytes
    sequence: int
    fee: int
    cancels: bool


@dataclass(frozen=True)
class Row:
    """One transaction of this home. `payments` are (recipient, asset, minor units); times ms UTC.

    `attempts` hold the bytes that were signed for it, the newest last: at most one of them can
    ever be final, because they share a place in a lane or an idempotency key.
    """

    number: int
    genesis_hash: bytes
    account: bytes
    signer: bytes
    sponsor: bytes
    key: bytes
    lane: int
    fee: int
    memo: str
    what: str
    status: Status
    created_ms: int
    settled_ms: int | None
    override: str
    holder: str
    payments: tuple[tuple[bytes, str, int], ...]
    attempts: tuple[Attempt, ...]

    @property
    def is_settled(self) -> bool:
        """Whether its end is certain."""
        return self.status > UNSETTLED

    @property
    def is_void(self) -> bool:
        """Whether it was without effect for certain: its idempotency key is free again."""
        return self.status in VOID

    @property
    def newest(self) -> Attempt:
        """The bytes that were signed last; a row that is only reserved has none."""
        return self.attempts[-1]

    @property
    def day(self) -> int:
        """The UTC day for which it counts, ms div 86,400,000."""
        return self.created_ms // DAY_MS


def attempt_of(line: tuple[Any, ...]) -> Attempt:
    """Return an attempt from its columns."""
    tx_id, raw, sequence, fee, cancels = line
    return Attempt(tx_id, raw, sequence, fee, bool(cancels))


def row_of(
    line: tuple[Any, ...], payments: list[tuple[Any, ...]], attempts: tuple[Attempt, ...]
) -> Row:
    """Return a row from its columns and what belongs to it."""
    names = [field.name for field in fields(Row)]
    values = dict(zip(names, line, strict=False))
    values["status"] = Status(values["status"])
    paid = tuple((recipient, asset, int(amount)) for recipient, asset, amount in payments)
    return Row(**values, payments=paid, attempts=attempts)
