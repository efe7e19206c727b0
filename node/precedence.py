"""Who computes first: while a block is built, judged or taken in, new transactions wait.

All of a node computes on one loop. If intake took every other slice of it, a block would take
twice as long, its round would time out, and under a flood nothing would become final; what
intake loses it gets back between blocks. Waiting callers are slowed down, nobody is turned away.
"""

from __future__ import annotations

from types import TracebackType

import trio


class Precedence:
    """Held by consensus work as a context manager, as often as it likes; respected by intake."""

    def __init__(self) -> None:
        self._holders = 0
        self._free = trio.Event()

    @property
    def is_held(self) -> bool:
        """Whether consensus work is under way."""
        return self._holders > 0

    def __enter__(self) -> None:
        self._holders += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._holders -= 1
        if not self._holders:
            free, self._free = self._free, trio.Event()
            free.set()

    async def give_way(self) -> None:
        """Return when nobody holds it; at once, without a checkpoint, when nobody does."""
        while self._holders:
            await self._free.wait()
