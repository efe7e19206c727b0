"""A bounded cache in two generations: what was used lately stays, the rest goes as a whole.

When the young generation is full it becomes the old one and the old one is dropped; a hit in
the old one moves its entry to the young. So an eviction costs nothing per entry, and no list
of uses is kept.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TwoGenerations(Generic[K, V]):
    """Maps keys to values of stated size, holding at most `bytes_max` bytes of them."""

    __slots__ = ("_half_bytes", "_old", "_young", "_young_bytes")

    def __init__(self, bytes_max: int) -> None:
        self._half_bytes = bytes_max // 2
        self._young: dict[K, tuple[V, int]] = {}
        self._old: dict[K, tuple[V, int]] = {}
        self._young_bytes = 0

    def get(self, key: K) -> V | None:
        """Return the value kept for `key`, or None."""
        entry = self._young.get(key)
        if entry is None:
            entry = self._old.pop(key, None)
            if entry is None:
                return None
            self._insert(key, entry)
        return entry[0]

    def put(self, key: K, value: V, size_bytes: int) -> None:
        """Keep `value`, counted as `size_bytes`, in place of what was kept for `key`."""
        before = self._young.pop(key, None)
        if before is not None:
            self._young_bytes -= before[1]
        else:
            self._old.pop(key, None)
        self._insert(key, (value, size_bytes))

    def put_all(self, entries: dict[K, tuple[V, int]], growth_bytes: int) -> None:
        """Keep many at once: key → (value, size in bytes).

        `growth_bytes` is by how much these values are larger than those they replace. Keys
        that the young generation lacks are counted at the mean size of `entries`.
        """
        if not entries:
            return
        young = self._young
        if self._young_bytes > self._half_bytes:
            self._old, self._young, self._young_bytes = young, {}, 0
            young = self._young
        count = len(young)
        # What the old generation still holds for these keys is shadowed, and goes before them.
        young.update(entries)
        fresh = len(young) - count
        if fresh:
            total = sum([entry[1] for entry in entries.values()])
            self._young_bytes += total * fresh // len(entries)
        self._young_bytes += growth_bytes * (len(entries) - fresh) // len(entries)

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old, self._young_bytes = {}, {}, 0

    def _insert(self, key: K, entry: tuple[V, int]) -> None:
        if self._young_bytes + entry[1] > self._half_bytes and self._young:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[key] = entry
        self._young_bytes += entry[1]

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
