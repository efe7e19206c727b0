"""A bounded cache in two generations: what was used lately stays, the rest goes as a whole.

When the young generation is full it becomes the old one and the old one is dropped; a hit in
the old one moves its entry to the young. So an eviction costs nothing per entry, and no list
of uses is kept.

What a block changed comes in as one dictionary (`lay_over`), in no time, and lies over both
generations until `settle` has moved it into the young one, in slices.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from itertools import islice
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


# Entries moved between two yields: about 0.3 ms, most of it freeing what they replace.
_SETTLED_PER_SLICE: Final = 256
# Entries that may wait outside the byte count; more than any block changes.
_UNSETTLED_MAX: Final = 1 << 16


class TwoGenerations(Generic[K, V]):
    """Maps keys to values of stated size, holding at most `bytes_max` bytes of them."""

    __slots__ = ("_fresh", "_half_bytes", "_old", "_young", "_young_bytes")

    def __init__(self, bytes_max: int) -> None:
        self._half_bytes = bytes_max // 2
        self._young: dict[K, tuple[V, int]] = {}
        self._old: dict[K, tuple[V, int]] = {}
        self._young_bytes = 0
        self._fresh: dict[K, tuple[V, int]] = {}

    def get(self, key: K) -> V | None:
        """Return the value kept for `key`, or None."""
        entry = self._fresh.get(key) or self._young.get(key)
        if entry is None:
            entry = self._old.pop(key, None)
            if entry is None:
                return None
            self._insert(key, entry)
        return entry[0]

    def put(self, key: K, value: V, size_bytes: int) -> None:
        """Keep `value`, counted as `size_bytes`, for a key that is not kept yet."""
        self._insert(key, (value, size_bytes))

    def lay_over(self, entries: dict[K, tuple[V, int]]) -> None:
        """Keep many, key → (value, size in bytes), in place of what was kept for them.

        The dictionary belongs to the cache from now on.
        """
        if len(self._fresh) > _UNSETTLED_MAX:
            for _ in self.settle():
                pass
        # A new dictionary, because a `settle` under way walks through the old one.
        self._fresh = self._fresh | entries if self._fresh else entries

    def settle(self) -> Iterator[None]:
        """Move what `lay_over` brought into the young generation, yielding between slices."""
        fresh = self._fresh
        items = iter(fresh.items())
        while part := list(islice(items, _SETTLED_PER_SLICE)):
            young = self._young
            spent = 0
            for key, entry in part:
                before = young.get(key)
                spent += entry[1] if before is None else entry[1] - before[1]
                young[key] = entry
            self._young_bytes += spent
            if self._young_bytes > self._half_bytes:
                # What the old one still holds for these keys was shadowed, and goes first.
                self._old, self._young, self._young_bytes = young, {}, 0
            yield
            if self._fresh is not fresh:
                return
        if fresh:
            self._fresh = {}

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old, self._fresh, self._young_bytes = {}, {}, {}, 0

    def _insert(self, key: K, entry: tuple[V, int]) -> None:
        if self._young_bytes + entry[1] > self._half_bytes and self._young:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[key] = entry
        self._young_bytes += entry[1]

    def __len__(self) -> int:
        return len(self._young) + len(self._old) + len(self._fresh)
