"""A SQLite file of a home: private, durable at every commit, shared by threads and processes."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clawpurse.ledger.errors import StorageFault
from clawpurse.wallet.durable import create_private, make_private_directory

# Another process writes for milliseconds at a time; 32 of them are waited for, a stuck one is told.
BUSY_MS: Final = 30_000
# How often a lock is asked for that SQLite does not wait for: it is held for a few writes.
RETRY_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Layout:
    """What a file holds. `what` is what people call it, `remedy` what helps when it is damaged."""

    what: str
    version: int
    create: Sequence[str]
    remedy: str


class PrivateDatabase:
    """One file, made 0600 at the first use. Calls block for disk.

    Whatever SQLite or the disk says comes as `StorageFault`: then nothing may be signed.
    """

    def __init__(self, file: Path, layout: Layout) -> None:
        self.file: Final = file
        self._layout = layout
        self._mutex = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    @property
    def exists(self) -> bool:
        """Whether anything was ever written."""
        return self.file.exists()

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One snapshot, rolled back at the end."""
        with self._mutex, self._told():
            db = self._open()
            db.execute("BEGIN")
            try:
                yield db
            finally:
                db.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on disk when this returns, or undone when anything is raised."""
        with self._mutex, self._told():
            db = self._open()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        make_private_directory(self.file.parent)
        # Made by us, so that it (and the files that SQLite puts beside it) are 0600; never opened
        # by us again: closing it would drop the locks that SQLite has on it in this process.
        if not self.file.exists():
            with suppress(FileExistsError):
                create_private(self.file, b"")
        db = sqlite3.connect(
            self.file, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        self._connection = db
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        layout = self._layout
        _write_ahead(db)
        # FULL syncs the log at every commit: what was returned from is on disk.
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN IMMEDIATE")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in layout.create:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {layout.version}")
        db.execute("COMMIT")
        if version not in (0, layout.version):
            raise StorageFault(
                f"{self.file} is of version {version}, and this program reads {layout.version}.",
                "Nothing was signed.",
                "use a newer clawpurse",
            )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what SQLite and the disk say into a fault that people can read."""
        try:
            yield
        except (sqlite3.Error, OSError) as err:
            raise StorageFault(
                f"{self._layout.what} {self.file} cannot be used: {err}.",
                "Nothing was signed.",
                self._layout.remedy,
            ) from err


def _write_ahead(db: sqlite3.Connection) -> None:
    """Turn the write-ahead log on, once for each file.

    SQLite asks nobody to wait here: it says at once that the file is locked when another process
    is turning it on, or looks at the same new file. So the waiting is ours.
    """
    deadline = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as err:
            if err.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(RETRY_S)
