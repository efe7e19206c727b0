"""SQLite in a lane: one connection, one job at a time, commits shared by whoever waits.

WAL with `synchronous=FULL`: what `write` has returned from survives kill -9 and a power cut.
While one commit is on its way to the disk, further writes gather and go together in the next.
The file is made 0600 before SQLite opens it, and what SQLite puts beside it inherits that.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

import trio

from clawpurse.ledger.errors import StorageFault

T = TypeVar("T")

FILE_MODE: Final = 0o600
BUSY_TIMEOUT_MS: Final = 5_000
"""For whoever looks into the file with other tools; we never have two writers."""

_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    # What is deleted is overwritten: an old signing key is gone when it is gone.
    "PRAGMA secure_delete=ON",
    "PRAGMA journal_size_limit=16777216",
)


class Lane(Protocol):
    """Runs blocking jobs one at a time, in the order in which they were handed in."""

    async def run(self, job: Callable[[], T]) -> T:
        """Run `job` and return its result or raise its error; not cancellable once begun."""


class _Waiting(Generic[T]):
    """A write that waits for its commit."""

    def __init__(self, job: Callable[[sqlite3.Connection], T]) -> None:
        self.job = job
        self.done = False
        self.result: T | None = None
        self.error: Exception | None = None


class Database:
    """One file. Made by `open_database`."""

    def __init__(self, connection: sqlite3.Connection, path: Path, lane: Lane) -> None:
        self._connection = connection
        self._path = path
        self._lane = lane
        self._turn = trio.Lock()
        self._queue: list[_Waiting[Any]] = []

    async def read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run a job that only reads. Raises what it raises, or `StorageFault`."""
        return await self._lane.run(lambda: self._guarded(lambda: job(self._connection)))

    async def write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run a job in a transaction; it is on disk when this returns.

        A job that raises changes nothing, and its error comes out here; jobs that share its
        commit are untouched. Raises `StorageFault` when the disk fails. A cancelled write may
        have been done.
        """
        waiting = _Waiting(job)
        self._queue.append(waiting)
        async with self._turn:
            if not waiting.done:
                batch, self._queue = self._queue, []
                # Others' writes are in it: who leads them to the disk must not leave half way.
                with trio.CancelScope(shield=True):
                    await self._lead(batch)
        if waiting.error is not None:
            raise waiting.error
        return waiting.result  # type: ignore[return-value]

    def close(self) -> None:
        """Close the file; nothing may run any more."""
        self._guarded(self._connection.close)

    async def _lead(self, batch: list[_Waiting[Any]]) -> None:
        try:
            await self._lane.run(lambda: self._guarded(lambda: self._commit(batch)))
        except Exception as error:
            for waiting in batch:
                waiting.error = error
        for waiting in batch:
            waiting.done = True

    def _commit(self, batch: list[_Waiting[Any]]) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for waiting in batch:
                connection.execute("SAVEPOINT job")
                try:
                    waiting.result = waiting.job(connection)
                except sqlite3.Error:
                    raise
                except Exception as error:
                    # The caller's own refusal: its part is undone, the others go on.
                    connection.execute("ROLLBACK TO job")
                    waiting.error = error
                connection.execute("RELEASE job")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _guarded(self, job: Callable[[], T]) -> T:
        try:
            return job()
        except sqlite3.Error as error:
            raise _fault(self._path, error) from error


def open_database(path: Path, lane: Lane, schema: str, version: int) -> Database:
    """Open or make the file at `path`; its folder must be there.

    `schema` makes the tables of an empty file. Raises `StorageFault` when the file is damaged,
    cannot be opened, or was written by newer software.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE))
        path.chmod(FILE_MODE)
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_MS / 1000
        )
    except (OSError, sqlite3.Error) as error:
        raise _fault(path, error) from error
    try:
        for pragma in _PRAGMAS:
            connection.execute(pragma)
        found = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if found == 0:
            connection.executescript(
                f"BEGIN IMMEDIATE; {schema} PRAGMA user_version={version}; COMMIT;"
            )
        elif found != version:
            raise StorageFault(
                f"{path} is of version {found}, this software knows {version}.",
                "It was written by newer software.",
                "clawpurse version",
            )
    except sqlite3.Error as error:
        connection.close()
        raise _fault(path, error) from error
    except BaseException:
        connection.close()
        raise
    connection.row_factory = sqlite3.Row
    return Database(connection, path, lane)


def _fault(path: Path, error: Exception) -> StorageFault:
    return StorageFault(
        f"{path} cannot be used: {error}.",
        "What is still to be sent is kept there.",
        "clawpurse doctor",
    )
