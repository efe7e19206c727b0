"""What the gateway writes down of payments: shared by all gateways of a payee, decided by rows.

Many small changes that come at once are committed together: each waits for one fsync, and all of
them for the same one. A change looks and writes in one transaction and says what it found; what
is refused is an answer, not an error, so that one refusal undoes nobody else's change.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import sqlalchemy as sa
import trio
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.kit.store.database import Database

LOG: Final = logging.getLogger("clawpurse.gateway")
NAME: Final = "gateway_payments"
GROUP_MAX: Final = 256
"""Changes of one commit: some 50 ms of work, which the first of them waits for."""

SECRET_BYTES: Final = 32
_ID: Final = 66
_ACCOUNT: Final = 90
WORD_CHARS_MAX: Final = 64
T = TypeVar("T")

metadata: Final = sa.MetaData()


def _count(name: str, *, null: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=null)


known: Final = sa.Table(
    "gateway_known",
    metadata,
    sa.Column("name", sa.String(WORD_CHARS_MAX), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
"""Cursors of the ledger's events, the network, and the secret that invoices are sealed by."""

payments: Final = sa.Table(
    "gateway_payments",
    metadata,
    sa.Column("tx_id", sa.String(_ID), primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True),
    sa.Column("payer", sa.String(_ACCOUNT), nullable=False),
    sa.Column("asset", sa.String(16), nullable=False),
    _count("amount"),
    sa.Column("memo", sa.String(WORD_CHARS_MAX), nullable=False),
    _count("at_ms"),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("route", sa.String(WORD_CHARS_MAX), nullable=False, server_default=""),
    sa.Column("client", sa.String(_ACCOUNT), nullable=False, server_default=""),
    sa.Column("request", sa.String(WORD_CHARS_MAX), nullable=False, server_default=""),
    sa.Column("gateway", sa.String(WORD_CHARS_MAX), nullable=False, server_default=""),
    _count("used_ms", null=True),
    sa.Index("ix_gateway_payments_memo", "memo"),
    sa.Index("ix_gateway_payments_state", "state", "at_ms"),
)
"""What came in under a memo of ours. `state`: open | used | kept | refunding | refunded."""

channels: Final = sa.Table(
    "gateway_channels",
    metadata,
    sa.Column("channel", sa.String(_ID), primary_key=True),
    sa.Column("payer", sa.String(_ACCOUNT), nullable=False),
    sa.Column("asset", sa.String(16), nullable=False),
    sa.Column("key", sa.String(_ID), nullable=False),
    _count("capacity"),
    _count("promised"),
    _count("spent"),
    _count("served"),
    _count("claimed"),
    _count("seen_ms"),
    _count("closes_ms"),
    sa.Column("open", sa.Boolean, nullable=False),
)
"""Channels that vouchers came of. `spent` is reserved or served, never more than `promised`."""

uses: Final = sa.Table(
    "gateway_uses",
    metadata,
    sa.Column("channel", sa.String(_ID), primary_key=True),
    sa.Column("request", sa.String(WORD_CHARS_MAX), primary_key=True),
    _count("price"),
    _count("amount"),
    sa.Column("signature", sa.String(132), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("route", sa.String(WORD_CHARS_MAX), nullable=False),
    sa.Column("gateway", sa.String(WORD_CHARS_MAX), nullable=False),
    _count("at_ms"),
    sa.Index("ix_gateway_uses_amount", "channel", "amount"),
    sa.Index("ix_gateway_uses_state", "state", "at_ms"),
)
"""Requests that vouchers paid for. `state`: reserved | served | released."""

settled: Final = sa.Table(
    "gateway_settled",
    metadata,
    sa.Column("tx_id", sa.String(_ID), primary_key=True),
    _count("at_ms"),
)
"""Transactions that were settled for others: each counts once."""


services: Final = sa.Table(
    "gateway_services",
    metadata,
    sa.Column("service", sa.String(WORD_CHARS_MAX), primary_key=True),
    sa.Column("url", sa.String(300), primary_key=True),
    sa.Column("tags", sa.Text, nullable=False),
    sa.Column("account", sa.String(_ACCOUNT), nullable=False),
    _count("number"),
    _count("until_ms"),
)
"""Addresses that services registered, until when."""


@dataclass(slots=True)
class _Change(Generic[T]):
    run: Callable[[Connection], T]
    done: trio.Event = field(default_factory=trio.Event)
    result: Any = None
    error: BaseException | None = None


class Store:
    """The payments' database. `run` writes, until cancelled; without it nothing is written.

    `url` as `Database`'s. Raises as it does.
    """

    def __init__(self, url: str | Path) -> None:
        self.database: Final = Database(url, NAME, shared=True)
        self._waiting: list[_Change[Any]] = []
        self._news = trio.Event()
        self._holder: Connection | None = None
        self.database.write_now(metadata.create_all)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Commit what waits, group by group; at the end what still waits."""
        task_status.started()
        try:
            while True:
                if not self._waiting:
                    self._news = trio.Event()
                    await self._news.wait()
                await self._commit_some()
        finally:
            while self._waiting:
                await self._commit_some()

    async def _commit_some(self) -> None:
        group, self._waiting = self._waiting[:GROUP_MAX], self._waiting[GROUP_MAX:]
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._commit, group)
        for change in group:
            change.done.set()

    async def write(self, run: Callable[[Connection], T]) -> T:
        """Run a change; it is on the disk when this returns. Raises `StorageFault`, and then nobody
        knows whether it is.
        """
        change = _Change(run)
        self._waiting.append(change)
        self._news.set()
        await change.done.wait()
        if change.error is not None:
            raise change.error
        found: T = change.result
        return found

    def soon(self, run: Callable[[Connection], None]) -> None:
        """Run a change with the next group. Nobody waits for it: only for what may be lost when
        the process dies at this moment.
        """
        self._waiting.append(_Change(run))
        self._news.set()

    async def read(self, run: Callable[[Connection], T]) -> T:
        """Run a question on one snapshot."""
        return await self.database.read(run)

    def hold(self, name: str) -> None:
        """Be the gateway of this name, until `close`. Raises `OperatorError` when another one is:
        what that one had under way would be given back as if it had died.
        """
        if self.database.is_sqlite:
            return
        holder = self.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        question = sa.text("SELECT pg_try_advisory_lock(hashtextextended(:name, 1))")
        if holder.execute(question, {"name": f"gateway {name}"}).scalar_one():
            self._holder = holder
        else:
            holder.close()
            raise OperatorError(
                f"A gateway called {name} runs already on {self.database.place}.",
                "",
                "give each a name of its own: name = … in gateway.toml",
            )

    def close(self) -> None:
        """Let go of the database."""
        if self._holder is not None:
            self._holder.close()
        self.database.close()

    def _commit(self, group: list[_Change[Any]]) -> None:
        def within(db: Connection) -> None:
            for change in group:
                change.result = change.run(db)

        try:
            self.database.write_now(within)
        except Exception as error:
            LOG.error("payments could not be written", extra={"problem": str(error)})
            for change in group:
                change.error = error


def secret(db: Connection) -> bytes:
    """Return the secret that all gateways of this database seal invoices by."""
    return bytes.fromhex(remembered(db, "secret", secrets.token_hex(SECRET_BYTES)))


def remembered(db: Connection, name: str, otherwise: str) -> str:
    """Return what is known under a name; from now on `otherwise` where nothing was."""
    insert_new(db, known, {"name": name, "value": otherwise})
    return str(db.execute(sa.select(known.c.value).where(known.c.name == name)).scalar_one())


def remember(db: Connection, name: str, value: str) -> None:
    """Put a value in place of another one."""
    remembered(db, name, value)
    db.execute(known.update().where(known.c.name == name).values(value=value))


def insert_new(db: Connection, table: sa.Table, row: dict[str, Any]) -> bool:
    """Insert a row unless its key is there; tell whether it was new."""
    insert: Any = sqlite.insert if db.dialect.name == "sqlite" else postgresql.insert
    return bool(db.execute(insert(table).values(row).on_conflict_do_nothing()).rowcount)


def found(db: Connection, name: str) -> str | None:
    """Return what is known under a name, if anything is."""
    return db.execute(sa.select(known.c.value).where(known.c.name == name)).scalar_one_or_none()
