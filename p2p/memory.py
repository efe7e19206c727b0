"""What all peers together may make this node keep in memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

# All messages on their way in or out: a few of the largest for each of several peers, and little
# beside what a node needs anyway.
HELD_BYTES_MAX: Final = 256_000_000

OwnerT = TypeVar("OwnerT", bound=Hashable)


class MemoryBudget(Generic[OwnerT]):
    """Bytes held for all owners together. Above the bound the one who holds most is given up."""

    def __init__(self, give_up: Callable[[OwnerT], None], bytes_max: int = HELD_BYTES_MAX) -> None:
        self._give_up = give_up
        self._bytes_max = bytes_max
        self._held: dict[OwnerT, int] = {}
        self.total = 0

    def hold(self, owner: OwnerT, size: int) -> None:
        """Say that `owner` makes this node keep `size` bytes now."""
        self.total += size - self._held.pop(owner, 0)
        if size:
            self._held[owner] = size
        while self.total > self._bytes_max:
            most = max(self._held, key=lambda one: self._held[one])
            self.total -= self._held.pop(most)
            self._give_up(most)
