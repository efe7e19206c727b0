"""The store that simulations run on: ordered, atomic, with cheap snapshots, all in memory.

Old values are kept only while a snapshot may ask for them: every write notes what it
replaced under its sequence number, and notes that no open snapshot can see are dropped.
One thread at a time.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator
from typing import Final

from clawpurse.ledger.errors import Bug
from clawpurse.ledger.store.kv import Batch

# Up to here inserting one by one into the sorted key list is cheaper than sorting it again.
_INSERTS_ONE_BY_ONE_MAX: Final = 32


class MemorySnapshot:
    """An unchanging view of a memory store."""

    __slots__ = ("_sequence", "_store")

    def __init__(self, store: MemoryStore, sequence: int) -> None:
        self._store: MemoryStore | None = store
        self._sequence = sequence

    def get(self, key: bytes) -> bytes | None:
        if self._store is None:
            raise Bug("a closed snapshot was read")
        return self._store._value_at(key, self._sequence)

    def iterate(
        self, start: bytes = b"", stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        if self._store is None:
            raise Bug("a closed snapshot was read")
        return self._store._entries_at(self._sequence, start, stop, reverse)

    def close(self) -> None:
        if self._store is not None:
            self._store._release(self._sequence)
            self._store = None


class MemoryStore:
    """An ordered store in memory; `content` (copied) is what it starts with."""

    def __init__(self, content: dict[bytes, bytes] | None = None) -> None:
        self._values: dict[bytes, bytes] = dict(content or {})
        # Every key with a value now or in the view of an open snapshot, sorted.
        self._keys = sorted(self._values)
        self._sequence = 0
        # Per key: (sequence of the write that replaced it, value before), oldest first.
        self._replaced: dict[bytes, list[tuple[int, bytes | None]]] = {}
        self._log: deque[tuple[int, list[bytes]]] = deque()
        self._open_views: dict[int, int] = {}
        self._closed = False

    def get(self, key: bytes) -> bytes | None:
        self._refuse_closed()
        return self._values.get(key)

    def iterate(
        self, start: bytes = b"", stop: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        self._refuse_closed()
        entries = self._entries_held(self._hold(), start, stop, reverse)
        # Started here: only a generator that has begun releases its view when it is dropped.
        next(entries)
        return entries

    def write(self, batch: Batch, sync: bool) -> None:
        self._refuse_closed()
        self._sequence += 1
        final = dict(batch.operations)
        if self._open_views:
            for key in final:
                note = (self._sequence, self._values.get(key))
                self._replaced.setdefault(key, []).append(note)
            self._log.append((self._sequence, list(final)))
        fresh = [key for key, value in final.items() if value is not None and self._is_new(key)]
        for key, value in final.items():
            if value is not None:
                self._values[key] = value
            elif self._values.pop(key, None) is not None and key not in self._replaced:
                self._forget_key(key)
        self._add_keys(fresh)

    def snapshot(self) -> MemorySnapshot:
        self._refuse_closed()
        return MemorySnapshot(self, self._hold())

    def content(self) -> dict[bytes, bytes]:
        """Return a copy of everything stored."""
        return dict(self._values)

    def close(self) -> None:
        self._closed = True

    def _refuse_closed(self) -> None:
        if self._closed:
            raise Bug("a closed store was used")

    def _is_new(self, key: bytes) -> bool:
        if key in self._values:
            return False
        at = bisect_left(self._keys, key)
        return at == len(self._keys) or self._keys[at] != key

    def _add_keys(self, fresh: list[bytes]) -> None:
        if len(fresh) > _INSERTS_ONE_BY_ONE_MAX:
            self._keys.extend(fresh)
            self._keys.sort()
            return
        for key in fresh:
            insort(self._keys, key)

    def _forget_key(self, key: bytes) -> None:
        del self._keys[bisect_left(self._keys, key)]

    def _hold(self) -> int:
        self._open_views[self._sequence] = self._open_views.get(self._sequence, 0) + 1
        return self._sequence

    def _release(self, sequence: int) -> None:
        """Close one view and drop the notes that no open view can see."""
        self._open_views[sequence] -= 1
        if not self._open_views[sequence]:
            del self._open_views[sequence]
        oldest = min(self._open_views, default=self._sequence)
        while self._log and self._log[0][0] <= oldest:
            noted, keys = self._log.popleft()
            for key in keys:
                notes = self._replaced[key]
                if notes.pop(0)[0] != noted:
                    raise Bug("the notes of replaced values are out of order")
                if not notes:
                    del self._replaced[key]
                    if key not in self._values and not self._is_new(key):
                        self._forget_key(key)

    def _value_at(self, key: bytes, sequence: int) -> bytes | None:
        self._refuse_closed()
        for noted, before in self._replaced.get(key, ()):
            if noted > sequence:
                return before
        return self._values.get(key)

    def _entries_at(
        self, sequence: int, start: bytes, stop: bytes | None, reverse: bool
    ) -> Iterator[tuple[bytes, bytes]]:
        """Step from key to key, so that a short look into a long range stays cheap."""
        bound = stop if reverse else start
        while True:
            if reverse:
                at = (len(self._keys) if bound is None else bisect_left(self._keys, bound)) - 1
                if at < 0 or self._keys[at] < start:
                    return
            else:
                at = bisect_left(self._keys, bound or b"")
                if at == len(self._keys) or (stop is not None and self._keys[at] >= stop):
                    return
            key = self._keys[at]
            value = self._value_at(key, sequence)
            if value is not None:
                yield key, value
            bound = key if reverse else key + b"\x00"

    def _entries_held(
        self, sequence: int, start: bytes, stop: bytes | None, reverse: bool
    ) -> Iterator[tuple[bytes, bytes]]:
        try:
            yield b"", b""
            yield from self._entries_at(sequence, start, stop, reverse)
        finally:
            self._release(sequence)
