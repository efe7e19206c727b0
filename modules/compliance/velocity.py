"""Velocity: how much, and how often, an account or a person paid or was paid lately.

A window is rolling, in slots of an eighth of it: a counter has the slot of now and the eight
whole ones before, so that it covers at least the window and at most an eighth more. Nobody gains
by waiting for midnight, and a counter is one record of bounded size, whose old slots drop out
whenever it is written.

What is held or set apart counts from then on, and is taken back from its slot when it returns.
Taking back never takes more than what was counted since: see `taken_back`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from clawpurse.ledger.codec import U64_MAX
from clawpurse.modules.compliance.records import own, pack

SLOTS: Final = 8


def counter_key(asset: str, side: int, window_ms: int, party: bytes) -> bytes:
    """Return the key of a counter; `asset` is empty for what counts payments of all assets."""
    return b"v" + bytes((side,)) + window_ms.to_bytes(8, "big") + party + asset.encode("ascii")


class Slots(NamedTuple):
    """(number of the slot, sum, count) of the slots in which something was counted, ascending.

    Sums stop at 2^64 − 1; a slot that stopped there stays, and nothing is taken back from it.
    """

    slots: tuple[tuple[int, int, int], ...]

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return pack(self.slots)

    @classmethod
    def unpack(cls, data: bytes | None) -> Slots:
        """Read a record that we wrote; None: nothing was counted."""
        if data is None:
            return cls(())
        return cls(tuple([(number, total, count) for number, total, count in own(data, 1)[0]]))

    def at(self, time_ms: int, window_ms: int) -> tuple[int, int]:
        """Return (sum, count) over the window that ends at a block time."""
        first = slot_of(time_ms, window_ms) - SLOTS
        total = count = 0
        for number, some, times in self.slots:
            if number >= first:
                total += some
                count += times
        return min(total, U64_MAX), count

    def counted(self, time_ms: int, window_ms: int, amount: int) -> Slots:
        """Return it with one more payment at a block time, without slots that are too old."""
        now = slot_of(time_ms, window_ms)
        kept = [slot for slot in self.slots if slot[0] >= now - SLOTS]
        total = count = 0
        if kept and kept[-1][0] == now:
            _, total, count = kept.pop()
        kept.append((now, min(total + amount, U64_MAX), count + 1))
        return Slots(tuple(kept))

    def taken_back(self, time_ms: int, window_ms: int, amount: int, whole: bool) -> Slots:
        """Return it without what was counted at a block time and has come back since.

        Takes at most what that slot has. `whole` tells whether the payment as such came back.
        """
        number = slot_of(time_ms, window_ms)
        return Slots(
            tuple(
                [
                    (slot, max(0, total - amount), max(0, count - whole))
                    if slot == number and total < U64_MAX
                    else (slot, total, count)
                    for slot, total, count in self.slots
                ]
            )
        )


def slot_of(time_ms: int, window_ms: int) -> int:
    """Return the number of the slot, an eighth of the window, that a block time is in."""
    return time_ms * SLOTS // window_ms
