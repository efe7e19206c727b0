"""The store that nodes run on: LevelDB through plyvel. The only impure file of the ledger.

Every error of the library becomes a `StorageFault` that names the directory. Options were
measured for the state tree's load (synced batches of leaves): a 16 MB write buffer, no
compression (hashes do not compress), a 32 MB block cache. `paranoid_checks` makes a damaged
log an error instead of silently dropping what was acknowledged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

import plyvel

from clawpurse.ledger.errors import Bug, OperatorError, StorageFault
from clawpurse.ledger.store.kv import Batch

WRITE_BUFFER_BYTES: Final = 16 << 20
BLOCK_CACHE_BYTES: Final = 32 << 20
# 2 MB a file: enough for 2 GB without reopening files, well below the usual limit of 1,024.
OPEN_FILES_MAX: Final = 512


class LevelDbSnapshot:
    """An unchanging view of a LevelDB store."""

    __slots__ = ("_path", "_snapshot")

    def __init__(self, path: str, snapshot: plyvel.Snapshot) -> None:
        self._path = path
        self._snapshot: plyvel.Snapshot | None = snapshot

    def get(self, key: bytes) -> bytes | None:
        if self._snapshot is None:
            raise Bug("a closed snapshot was read")
        try:
            return self._snapshot.get(key)
        except (plyvel.Error, RuntimeError) as err:
            raise _fault(self._path, err) from err

    def iterate(
        self, start: bytes = b"", stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        if self._snapshot is None:
            raise Bug("a closed snapshot was read")
        return _entries(self._path, self._snapshot, start, stop, reverse)

    def close(self) -> None:
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = None


class LevelDbStore:
    """An ordered store on disk, locked by this process while open.

    `get`, `iterate`, `write` and `snapshot` may run in any thread; `close` only when no other
    call is under way.
    """

    def __init__(self, path: str, database: plyvel.DB) -> None:
        self._path = path
        self._database = database

    @classmethod
    def open(cls, path: str, *, create: bool = True) -> LevelDbStore:
        """Open the directory `path`, making it if `create`.

        Raises `OperatorError` when another process holds it, or it does not exist and may not
        be made; `StorageFault` when it is damaged.
        """
        if not create and not os.path.exists(os.path.join(path, "CURRENT")):
            raise OperatorError(f"{path} holds no database.", "", "clawpurse init")
        try:
            database = plyvel.DB(
                path,
                create_if_missing=create,
                paranoid_checks=True,
                write_buffer_size=WRITE_BUFFER_BYTES,
                lru_cache_size=BLOCK_CACHE_BYTES,
                max_open_files=OPEN_FILES_MAX,
                compression=None,
            )
        except plyvel.IOError as err:
            if "lock" in str(err).lower():
                raise OperatorError(
                    f"{path} is in use.",
                    "Another ClawPurse process has this database open.",
                    "clawpurse stop",
                ) from err
            raise _fault(path, err) from err
        except plyvel.Error as err:
            raise _fault(path, err) from err
        return cls(path, database)

    def get(self, key: bytes) -> bytes | None:
        try:
            return self._database.get(key)
        except (plyvel.Error, RuntimeError) as err:
            raise _fault(self._path, err) from err

    def iterate(
        self, start: bytes = b"", stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return _entries(self._path, self._database, start, stop, reverse)

    def write(self, batch: Batch, sync: bool) -> None:
        try:
            native = self._database.write_batch(sync=sync)
            put, delete = native.put, native.delete
            for key, value in batch.operations:
                if value is None:
                    delete(key)
                else:
                    put(key, value)
            native.write()
        except (plyvel.Error, RuntimeError) as err:
            raise _fault(self._path, err) from err

    def snapshot(self) -> LevelDbSnapshot:
        try:
            return LevelDbSnapshot(self._path, self._database.snapshot())
        except (plyvel.Error, RuntimeError) as err:
            raise _fault(self._path, err) from err

    def compact(self) -> None:
        """Rewrite the whole store without what was deleted; takes as long as the disk does."""
        try:
            self._database.compact_range()
        except (plyvel.Error, RuntimeError) as err:
            raise _fault(self._path, err) from err

    def close(self) -> None:
        self._database.close()


def _entries(
    path: str,
    source: plyvel.DB | plyvel.Snapshot,
    start: bytes,
    stop: bytes | None,
    reverse: bool,
) -> Iterator[tuple[bytes, bytes]]:
    """Open the iterator now, so that later writes are not seen, and translate its errors."""
    if stop is not None and stop <= start:
        return iter(())
    try:
        # plyvel 1.5.1 gives nothing in reverse when the first key that it meets is `start` itself:
        # so it is not told of it, and the walk ends here.
        native = source.iterator(start=None if reverse else start, stop=stop, reverse=reverse)
    except (plyvel.Error, RuntimeError) as err:
        raise _fault(path, err) from err
    return _translated(path, native, start if reverse else None)


def _translated(
    path: str, native: Iterator[tuple[bytes, bytes]], start: bytes | None
) -> Iterator[tuple[bytes, bytes]]:
    try:
        if start is None:
            yield from native
            return
        for entry in native:
            if entry[0] < start:
                return
            yield entry
    except (plyvel.Error, RuntimeError) as err:
        raise _fault(path, err) from err


def _fault(path: str, err: Exception) -> StorageFault | Bug:
    """Translate an error of the library; its `RuntimeError` means that we closed it before."""
    if isinstance(err, RuntimeError):
        return Bug(f"the database in {path} was used after it was closed")
    text = str(err)
    full = "No space left" in text
    return StorageFault(
        f"The database in {path} failed: {text}.",
        "The disk is full." if full else "",
        "free disk space, then clawpurse start" if full else "clawpurse db check",
    )
