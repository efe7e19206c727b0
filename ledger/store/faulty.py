"""Memory that fails the way disks do, for simulations: deterministic, told what to do.

A `FaultyDisk` is the medium; `open()` gives a store on it, as a restarted process would get.
Nothing here draws a random number: the simulation decides, from its seed, what breaks when.
A batch is never half applied, because LevelDB checks its log by checksum: a write that tore is
there whole after the restart, or not at all, and both happen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from clawpurse.ledger.errors import Bug, OperatorError, StorageFault
from clawpurse.ledger.store.kv import Batch
from clawpurse.ledger.store.memory import MemorySnapshot, MemoryStore


@dataclass
class FaultyDisk:
    """A medium with a plan of faults; all attributes may be changed while a store is open.

    `fail_write_in`: the n-th write from now raises (1 = the next), None never;
    `failed_write_survives`: whether that write is found after the restart;
    `fail_read_in`: the same for reads;
    `capacity_bytes`: a write that would exceed it raises as a full disk;
    `lying_sync`: syncs are acknowledged and not performed.
    """

    fail_write_in: int | None = None
    failed_write_survives: bool = False
    fail_read_in: int | None = None
    capacity_bytes: int | None = None
    lying_sync: bool = False
    writes: int = 0
    syncs: int = 0
    _durable: dict[bytes, bytes] = field(default_factory=dict)
    _pending: list[Batch] = field(default_factory=list)
    _store: FaultyStore | None = None

    def open(self) -> FaultyStore:
        """Open the medium as a started process would. Raises `OperatorError` if it is open."""
        if self._store is not None:
            raise OperatorError(
                "The database is in use.",
                "Another ClawPurse process has this database open.",
                "clawpurse stop",
            )
        content = dict(self._durable)
        for batch in self._pending:
            _apply(content, batch)
        self._store = FaultyStore(self, MemoryStore(content))
        return self._store

    def crash(self, keep_unsynced: int | None = 0) -> None:
        """Stop the process that has it open; unsynced writes are lost but the first few.

        `keep_unsynced` None keeps them all: that is kill -9, where the system still holds
        what the process wrote. 0 and more is a power cut.
        """
        if self._store is not None:
            self._store._dead = True
            self._store = None
        kept = self._pending if keep_unsynced is None else self._pending[:keep_unsynced]
        for batch in kept:
            _apply(self._durable, batch)
        self._pending = []

    def flip_bit(self, key: bytes, bit: int) -> None:
        """Flip one bit of a stored value, as decay does; seen after the next `open`.

        Raises `Bug` if the medium is open or the record is not there.
        """
        if self._store is not None:
            raise Bug("bits are flipped while the medium is closed")
        for batch in self._pending:
            _apply(self._durable, batch)
        self._pending = []
        value = bytearray(self._durable.get(key, b""))
        if bit >= 8 * len(value):
            raise Bug(f"record {key.hex()} has no bit {bit}")
        value[bit // 8] ^= 1 << (bit % 8)
        self._durable[key] = bytes(value)

    def record_keys(self) -> list[bytes]:
        """Return every key on the medium, sorted."""
        return sorted(self._durable)

    def _before_read(self) -> None:
        if self.fail_read_in is not None:
            self.fail_read_in -= 1
            if self.fail_read_in <= 0:
                self.fail_read_in = None
                raise StorageFault("The database failed: read error.", "", "clawpurse db check")

    def _before_write(self, batch: Batch) -> None:
        self.writes += 1
        if self.fail_write_in is not None:
            self.fail_write_in -= 1
            if self.fail_write_in <= 0:
                self.fail_write_in = None
                if self.failed_write_survives:
                    self._pending.append(batch)
                    self._flush()
                raise StorageFault("The database failed: write error.", "", "clawpurse db check")
        if self.capacity_bytes is not None:
            used = sum(len(key) + len(value) for key, value in self._durable.items())
            used += sum(waiting.size_bytes for waiting in self._pending)
            if used + batch.size_bytes > self.capacity_bytes:
                raise StorageFault(
                    "The database failed: No space left on device.",
                    "The disk is full.",
                    "free disk space, then clawpurse start",
                )

    def _after_write(self, batch: Batch, sync: bool) -> None:
        self._pending.append(batch)
        if sync:
            self.syncs += 1
            if not self.lying_sync:
                self._flush()

    def _flush(self) -> None:
        for batch in self._pending:
            _apply(self._durable, batch)
        self._pending = []

    def _closed(self) -> None:
        self._store = None


class FaultySnapshot:
    """An unchanging view of a faulty store."""

    __slots__ = ("_inner", "_store")

    def __init__(self, store: FaultyStore, inner: MemorySnapshot) -> None:
        self._store = store
        self._inner = inner

    def get(self, key: bytes) -> bytes | None:
        self._store._read()
        return self._inner.get(key)

    def iterate(
        self, start: bytes = b"", stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        self._store._read()
        return self._inner.iterate(start, stop, reverse)

    def close(self) -> None:
        self._inner.close()


class FaultyStore:
    """A store on a `FaultyDisk`. After a crash or a failed write it refuses, as LevelDB does."""

    def __init__(self, disk: FaultyDisk, inner: MemoryStore) -> None:
        self._disk = disk
        self._inner = inner
        self._dead = False
        self._write_failed = False

    def get(self, key: bytes) -> bytes | None:
        self._read()
        return self._inner.get(key)

    def iterate(
        self, start: bytes = b"", stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        self._read()
        return self._inner.iterate(start, stop, reverse)

    def write(self, batch: Batch, sync: bool) -> None:
        self._refuse_dead()
        if self._write_failed:
            raise StorageFault(
                "The database failed earlier.",
                "No write is taken until a restart.",
                "clawpurse start",
            )
        kept = Batch()
        kept.extend(batch.operations)
        try:
            self._disk._before_write(kept)
        except StorageFault:
            self._write_failed = True
            raise
        self._inner.write(kept, sync)
        self._disk._after_write(kept, sync)

    def snapshot(self) -> FaultySnapshot:
        self._refuse_dead()
        return FaultySnapshot(self, self._inner.snapshot())

    def close(self) -> None:
        self._inner.close()
        if not self._dead:
            self._dead = True
            self._disk._closed()

    def _refuse_dead(self) -> None:
        if self._dead:
            raise StorageFault(
                "The database is gone: its process was stopped.", "", "clawpurse start"
            )

    def _read(self) -> None:
        self._refuse_dead()
        self._disk._before_read()


def _apply(content: dict[bytes, bytes], batch: Batch) -> None:
    for key, value in batch.operations:
        if value is None:
            content.pop(key, None)
        else:
            content[key] = value
