"""A bounded cache of byte strings in two generations: what was used lately stays.

When the young generation is full it becomes the old one and the old one is dropped; a hit in
the old one moves its entry to the young. So an eviction costs nothing per entry, and no list
of uses is kept. Entries are bare byte strings: with a million of them every further object
would be another miss of the processor's caches.

What a block changed comes in as one dictionary (`lay_over`), in no time, and lies over both
generations until `settle` has moved it into the young one, in slices.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from itertools import islice
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

# Entries moved between two yields: about 0.3 ms, most of it freeing what they replace.
_SETTLED_PER_SLICE: Final = 256
# Entries that may wait outside the byte count; more than any block changes.
_UNSETTLED_MAX: Final = 1 << 16


class TwoGenerations(Generic[K]):
    """Maps keys to byte strings, holding at most about `bytes_max` bytes.

    An entry counts as its length and `overhead_bytes` for key, objects and dictionary.
    """

    __slots__ = ("_fresh", "_half_bytes", "_old", "_overhead_bytes", "_young", "_young_bytes")

    def __init__(self, bytes_max: int, overhead_bytes: int) -> None:
        self._half_bytes = bytes_max // 2
        self._overhead_bytes = overhead_bytes
        self._young: dict[K, bytes] = {}
        self._old: dict[K, bytes] = {}
        self._young_bytes = 0
        self._fresh: dict[K, bytes] = {}

    def get(self, key: K) -> bytes | None:
        """Return the value kept for `key`, or None."""
        value = self._fresh.get(key)
        if value is None:
            value = self._young.get(key)
            if value is None:
                value = self._old.pop(key, None)
                if value is not None:
                    self.put(key, value)
        return value

    def put(self, key: K, value: bytes) -> None:
        """Keep `value` for a key that is not kept yet."""
        size = len(value) + self._overhead_bytes
        if self._young_bytes + size > self._half_bytes and self._young:
            self._old, self._young, self._young_bytes = self._young, {}, 0
        self._young[key] = value
        self._young_bytes += size

    def lay_over(self, entries: dict[K, bytes]) -> None:
        """Keep many in place of what was kept for them.

        The dictionary belongs to the cache from now on.
        """
        if len(self._fresh) > _UNSETTLED_MAX:
            for _ in self.settle():
                pass
        # A new dictionary, because a `settle` under way walks through the old one.
        self._fresh = self._fresh | entries if self._fresh else entries

    def settle(self) -> Iterator[None]:
        """Move what `lay_over` brought into the young generation, yielding between slices."""
        fresh, overhead = self._fresh, self._overhead_bytes
        items = iter(fresh.items())
        while part := list(islice(items, _SETTLED_PER_SLICE)):
            young = self._young
            spent = 0
            for key, value in part:
                before = young.get(key)
                spent += len(value) + overhead if before is None else len(value) - len(before)
                young[key] = value
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

    def __len__(self) -> int:
        return len(self._young) + len(self._old) + len(self._fresh)
