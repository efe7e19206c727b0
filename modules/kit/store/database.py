"""A service's database: one writer, several readers, SQLite by default and PostgreSQL by URL.

Handlers are plain functions of a connection and run in threads, one at a time when they write;
what they did is committed whole or not at all. On either database a committed change survives
the machine's power: SQLite syncs each commit, and a PostgreSQL server that was told not to is
refused. Two processes never write for one service: the second one stops at its start.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlalchemy as sa
import trio
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from clawpurse.ledger.errors import OperatorError, StorageFault

READERS_MAX: Final = 4
"""Reads that run side by side; each holds a thread and a connection."""

BUSY_TIMEOUT_MS: Final = 5_000
"""How long a reader of SQLite waits for a checkpoint. Writers never wait: there is one."""

CONNECT_TIMEOUT_S: Final = 5
STATEMENT_TIMEOUT_MS: Final = 30_000
"""A statement of a server that takes longer holds up everything behind it."""

WAL_BYTES_KEPT: Final = 16 * 1024 * 1024
"""SQLite shrinks its write-ahead file to that, so that what was erased does not stay in it."""

T = TypeVar("T")
Work = Callable[[Connection], T]


class Database:
    """The database of one service, held alone until `close`.

    `url`: a path, `sqlite:///…` or `postgresql://user@host/name`; a password may stand in it, and
    is never shown. `service` names the PostgreSQL schema and the lock. `shared`: on PostgreSQL
    several processes have it at once, and see to it themselves that rows decide. Raises
    `OperatorError` when it is in use, cannot be reached or is not safe to write to.
    """

    def __init__(self, url: str | Path, service: str, *, shared: bool = False) -> None:
        self.service: Final = service
        self._shared = shared
        self._url = _parsed(url)
        self._lock: int | None = None
        self._limiter = trio.CapacityLimiter(1)
        self._readers = trio.CapacityLimiter(READERS_MAX)
        self._engine = self._made()
        self._writer: Connection | None = None
        try:
            with _told(self.place):
                self._writer = self._opened()
        except BaseException:
            self.close()
            raise

    @property
    def is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @property
    def place(self) -> str:
        """What people are told: never a password."""
        return self._url.render_as_string(hide_password=True)

    @property
    def engine(self) -> Engine:
        """For migrations and tests; services use `write` and `read`."""
        return self._engine

    async def write(self, work: Work[T]) -> T:
        """Run `work` in the writer's turn, in a transaction that is committed when it returns.

        What it raises rolls everything back and goes on to the caller. A caller that is cancelled
        while it runs learns of that when it has ended. Raises `StorageFault` when the database
        cannot take it; whether it did is then told by what is in it.
        """
        return await trio.to_thread.run_sync(
            self.write_now, work, limiter=self._limiter, abandon_on_cancel=False
        )

    async def read(self, work: Work[T]) -> T:
        """Run `work` on one snapshot, beside others. It may not write."""
        return await trio.to_thread.run_sync(
            self.read_now, work, limiter=self._readers, abandon_on_cancel=False
        )

    def write_now(self, work: Work[T]) -> T:
        """`write` for whoever has the thread: migrations, commands, tests."""
        with _told(self.place):
            connection = self._connection()
            with connection.begin():
                return work(connection)

    def read_now(self, work: Work[T]) -> T:
        """`read` for whoever has the thread."""
        with _told(self.place), self._engine.connect() as connection:
            options: dict[str, Any] = {}
            if not self.is_sqlite:
                options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            with connection.execution_options(**options, reads_only=True).begin():
                return work(connection)

    async def alone(self, run: Callable[[], T]) -> T:
        """Call `run` in the writer's turn and outside of any transaction: for `compact`."""
        return await trio.to_thread.run_sync(run, limiter=self._limiter, abandon_on_cancel=False)

    def compact(self) -> bool:
        """Give back the space of what was deleted, so that no page holds its bytes any more.

        Within the writer's turn. Returns False when somebody reads an older snapshot, whose bytes
        stay in the write-ahead file until then: it is to be called again.
        """
        if self.is_sqlite:
            with _told(self.place):
                connection = self._connection()
                with contextlib.closing(connection.connection.cursor()) as cursor:
                    cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                    cursor.execute("VACUUM")
                    busy, *_ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                    return not busy
        with (
            _told(self.place),
            self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as apart,
        ):
            # A large table takes as long as it takes; nobody waits for it but the next writer.
            apart.exec_driver_sql("SET statement_timeout = 0")
            try:
                for name in sa.inspect(apart).get_table_names(schema=self.service):
                    # VACUUM FULL writes it anew; plain VACUUM leaves old bytes in its pages.
                    apart.exec_driver_sql(f'VACUUM FULL "{self.service}"."{name}"')
            finally:
                apart.exec_driver_sql(f"SET statement_timeout = {STATEMENT_TIMEOUT_MS}")
        return True

    def close(self) -> None:
        """Let go of everything. Work that is running must have ended."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._engine.dispose()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _connection(self) -> Connection:
        if self._writer is None or self._writer.closed:
            raise StorageFault(f"{self.place} is closed.", "", f"start {self.service} again")
        if self._writer.invalidated:
            # The server went away and may be back: the lock is taken anew before anything else.
            self._writer.close()
            self._writer = self._opened()
        return self._writer

    def _made(self) -> Engine:
        if not self.is_sqlite:
            return sa.create_engine(
                self._url,
                pool_size=READERS_MAX + 1,
                max_overflow=0,
                pool_pre_ping=True,
                hide_parameters=True,
                connect_args={
                    "connect_timeout": CONNECT_TIMEOUT_S,
                    "options": f"-c search_path={self.service} -c timezone=UTC "
                    f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c synchronous_commit=on",
                },
            )
        engine = sa.create_engine(
            self._url,
            pool_size=READERS_MAX + 1,
            max_overflow=0,
            hide_parameters=True,
            connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000},
        )
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _opened(self) -> Connection:
        if self.is_sqlite:
            self._lock = _locked(Path(str(self._url.database)), self.service)
            return self._engine.connect()
        connection = self._engine.connect()
        try:
            self._take_schema(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _take_schema(self, connection: Connection) -> None:
        # Whoever shares it stands in line for as long as the schema is made.
        take = "SELECT pg_try_advisory_lock(hashtextextended(:name, 0))"
        if self._shared:
            take = "SELECT pg_advisory_xact_lock(hashtextextended(:name, 0)) IS NOT NULL"
        with connection.begin():
            taken = connection.execute(
                sa.text(take), {"name": f"clawpurse {self.service}"}
            ).scalar_one()
            if not taken:
                raise OperatorError(
                    f"{self.place} is in use by another {self.service}.",
                    "One writes, so that nothing is done twice.",
                    "stop the other one",
                )
            for setting in ("fsync", "full_page_writes"):
                if connection.exec_driver_sql(f"SHOW {setting}").scalar_one() != "on":
                    raise OperatorError(
                        f"{self.place} has {setting} off.",
                        "It could lose what it acknowledged.",
                        f"ALTER SYSTEM SET {setting} = on",
                    )
            connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{self.service}"')


def _parsed(url: str | Path) -> URL:
    if isinstance(url, Path):
        return URL.create("sqlite", database=str(url))
    text = url if "://" in url else f"sqlite:///{url}"
    try:
        found = make_url(text)
    except ArgumentError:
        found = None
    backend = found.get_backend_name() if found is not None else ""
    if found is None or backend not in ("sqlite", "postgresql"):
        raise OperatorError(
            "The database is no path and no sqlite:// or postgresql:// URL.",
            "",
            "clawpurse config set modules.database PATH",
        )
    if backend == "postgresql":
        return found.set(drivername="postgresql+psycopg")
    if not found.database or found.database == ":memory:":
        raise OperatorError(
            "A database in memory forgets.", "", "clawpurse config set modules.database PATH"
        )
    return found


def _locked(file: Path, service: str) -> int:
    """Make the file for its owner alone, and hold a lock beside it. Returns the descriptor."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(made, stat.S_IRUSR | stat.S_IWUSR)
    finally:
        os.close(made)
    lock = os.open(
        file.with_name(file.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise OperatorError(
            f"{file} is in use by another {service}.",
            "One writes, so that nothing is done twice.",
            "stop the other one",
        ) from None
    return lock


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    assert isinstance(connection, sqlite3.Connection)
    # Transactions begin where `_begin_sqlite` says, not where the driver guesses.
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "secure_delete=ON",
        "trusted_schema=OFF",
        f"journal_size_limit={WAL_BYTES_KEPT}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    reads = connection.get_execution_options().get("reads_only", False)
    connection.exec_driver_sql(f"PRAGMA query_only={'ON' if reads else 'OFF'}")
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


@contextlib.contextmanager
def _told(place: str) -> Iterator[None]:
    """What a disk or a server did to us becomes one line; what we asked wrongly stays a bug."""
    try:
        yield
    except OperationalError as error:
        raise StorageFault(
            f"{place} failed: {_reason(error)}.", "Nothing was half done.", "clawpurse doctor"
        ) from None
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise StorageFault(
            f"{place} went away: {_reason(error)}.", "Nothing was half done.", "clawpurse doctor"
        ) from None
    except OSError as error:
        raise StorageFault(f"{place}: {error.strerror}.", "", "clawpurse doctor") from None


def _reason(error: DBAPIError) -> str:
    """The first line of what the driver says: later ones repeat statements and values."""
    return str(error.orig).strip().split("\n", 1)[0][:200] if error.orig else "no reason given"
