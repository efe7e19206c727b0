"""One allowance of bytes that all connections of a server share.

Limits per connection alone do not bound a server: two thousand connections with one mebibyte
each are two gibibytes. So what a connection holds beyond a small free part is taken out of
one allowance, and who would overdraw it is refused, while small requests go on.
"""

from __future__ import annotations

FREE_BYTES = 64 * 1024
"""What every connection may hold unasked: their number is bounded too."""

WORKING_FACTOR = 8
"""A parsed body takes several times its size while its calls run."""


class Memory:
    """The allowance. Not for threads."""

    __slots__ = ("bytes_max", "bytes_used")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes_used = 0


class Share:
    """What one holder has taken. `release` it at the end."""

    __slots__ = ("_held", "_memory")

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._held = 0

    def resize(self, size: int) -> bool:
        """Hold `size` bytes from now on. False, and nothing changed, when that is too much.

        What was granted may always be exceeded by the free part, so that an answer that was
        cut to fit finds room for its last words.
        """
        counted = size if size > FREE_BYTES else 0
        more = counted - self._held
        if more > 0 and self._memory.bytes_used + more > self._memory.bytes_max:
            return more <= FREE_BYTES
        self._memory.bytes_used += more
        self._held = counted
        return True

    def release(self) -> None:
        """Give everything back."""
        self._memory.bytes_used -= self._held
        self._held = 0
