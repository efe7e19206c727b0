"""Wrong clocks: off by so much, jumping, standing still, running fast or slow."""

from __future__ import annotations

from clawpurse.node.clock import LoopClock


class BadClock(LoopClock):
    """A machine's wall clock. The loop's own time, for measuring spans, is never wrong.

    `frozen_ms` is what it shows while it stands still.
    """

    def __init__(self, start_ms: int) -> None:
        super().__init__(start_ms)
        self.frozen_ms: int | None = None

    def now_ms(self) -> int:
        """Return what the clock shows."""
        return super().now_ms() if self.frozen_ms is None else self.frozen_ms

    def freeze(self) -> None:
        """Stand still from now on."""
        self.frozen_ms = self.now_ms()

    def jump(self, by_ms: int) -> None:
        """Step, as when an operator or a time service corrects it."""
        if self.frozen_ms is not None:
            self.frozen_ms += by_ms
        self.offset_ms += by_ms

    def correct(self, offset_ms: int = 0) -> None:
        """Run, and be off by so much from the true time."""
        self.frozen_ms = None
        self.offset_ms = offset_ms
