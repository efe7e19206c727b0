"""Whose turn it is: of all dear calls one slice runs in a turn of the loop.

A handler that gives the loop a turn every two milliseconds delays others by that, and thirty of
them side by side by sixty. So whoever works in slices stands in one queue with all others who do:
answers of blocks, pages of lists, batches, encodings. What must not wait, such as a vote, waits
for one slice however many ask.
"""

from __future__ import annotations

from typing import Final

import trio

_QUEUE: Final[trio.lowlevel.RunVar[trio.StrictFIFOLock]] = trio.lowlevel.RunVar("dear work")


def own_turn() -> trio.StrictFIFOLock:
    """Return what is held while a slice runs that awaits nothing; fair to all who want it."""
    try:
        return _QUEUE.get()
    except LookupError:
        queue = trio.StrictFIFOLock()
        _QUEUE.set(queue)
        return queue


async def next_turn() -> None:
    """Between two slices: give the loop a turn, and go on when those before have had theirs.

    A checkpoint. Not for who holds `own_turn`.
    """
    async with own_turn():
        # Handing on wakes the next one in the loop's next turn: the caller has this one.
        pass
