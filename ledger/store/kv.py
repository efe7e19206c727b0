"""The one interface between the ledger and whatever keeps its bytes.

Three implementations pass one contract suite: `leveldb` (what nodes run on), `memory` (what
simulations run on) and `faulty` (memory that crashes, lies and fills up). Semantics:

- Keys are ordered as unsigned bytes. `iterate` yields keys in `start ≤ key < stop`, rising, or
  falling with `reverse`; it shows the store as it was when `iterate` was called.
- `write` is atomic: after a crash all of a batch is there or none of it. With `sync` it is on
  the medium when the call returns; without, a power cut may take it, and everything after it.
- A snapshot never changes. It is closed before its store is.
- Whatever the medium does wrong is raised as `StorageFault`; after a failed write the store
  refuses further writes until it is opened again, because nobody knows what was kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Protocol


class Batch:
    """Puts and deletes that become visible together, in order; the last word on a key wins.

    A plain value: it belongs to no store and may be dropped at any time.
    """

    __slots__ = ("operations",)

    def __init__(self) -> None:
        self.operations: list[tuple[bytes, bytes | None]] = []

    def put(self, key: bytes, value: bytes) -> None:
        self.operations.append((key, value))

    def delete(self, key: bytes) -> None:
        self.operations.append((key, None))

    def extend(self, operations: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Add prepared operations; None deletes."""
        self.operations.extend(operations)

    @property
    def size_bytes(self) -> int:
        """The bytes of all keys and values."""
        return sum(len(key) + len(value or b"") for key, value in self.operations)

    def __len__(self) -> int:
        return len(self.operations)


class Reads(Protocol):
    """What a store and a snapshot of it have in common."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or None. Raises `StorageFault`."""

    def iterate(
        self, start: bytes = b"", stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) for `start ≤ key < stop` in order. Raises `StorageFault`."""


class Snapshot(Reads, Protocol):
    """An unchanging view. `get` and `iterate` may run in any thread."""

    def close(self) -> None:
        """Let go of the view; closing twice is harmless, reading afterwards is a `Bug`."""


class KeyValue(Reads, Protocol):
    """An ordered store of bytes with atomic batches."""

    def write(self, batch: Batch, sync: bool) -> None:
        """Apply `batch` atomically. Raises `StorageFault`; blocks as long as the disk does."""

    def snapshot(self) -> Snapshot:
        """Return an unchanging view of now."""

    def close(self) -> None:
        """Let go of the medium; closing twice is harmless."""


_LAST_BYTE: Final = 0xFF


def prefix_stop(prefix: bytes) -> bytes | None:
    """Return the first key after every key that begins with `prefix`; None when none is."""
    trimmed = prefix.rstrip(bytes([_LAST_BYTE]))
    if not trimmed:
        return None
    return trimmed[:-1] + bytes([trimmed[-1] + 1])
