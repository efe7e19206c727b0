"""Memory for secrets: not in swap, not in core dumps, empty in a forked child, wiped when done.

As far as Python allows: a secret passes through ordinary objects on its way in and whenever it is
used, and the interpreter does not wipe those. What stays for minutes stays here. Where the
system refuses to lock memory (`ulimit -l`), the rest still holds and `is_locked` says so.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Final

from clawpurse.ledger.errors import OperatorError

# Thirty-two KiB: within the 64 KiB that old systems let every user lock.
SLOTS_MAX: Final = 1_024
SLOT_BYTES: Final = 32
# Linux 4.14 and later; Python has no name for it.
_MADV_WIPEONFORK: Final = 18


class LockedMemory:
    """Slots of 32 bytes in one private mapping. Not safe for threads: its owner has a lock."""

    def __init__(self) -> None:
        size = SLOTS_MAX * SLOT_BYTES
        self._map = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._free = set(range(SLOTS_MAX))
        self.is_locked = _lock(self._map)
        for advice in (getattr(mmap, "MADV_DONTDUMP", None), _MADV_WIPEONFORK):
            try:
                if advice is not None:
                    self._map.madvise(advice)
            except OSError:
                # An older kernel, or another system: the memory is as private as any other.
                self.is_locked = False

    def store(self, secret: bytes) -> int:
        """Keep 32 bytes; return the slot. Raises `OperatorError` when all slots are taken."""
        if len(secret) != SLOT_BYTES:
            raise ValueError(f"a slot holds {SLOT_BYTES} bytes, not {len(secret)}")
        if not self._free:
            raise OperatorError(f"{SLOTS_MAX} keys are unlocked.", "", "lock some of them")
        slot = self._free.pop()
        self._map[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES] = secret
        return slot

    def read(self, slot: int) -> bytes:
        """Return what a slot holds, as ordinary bytes: use them and let them go."""
        return self._map[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES]

    def wipe(self, slot: int) -> None:
        """Overwrite a slot and give it back."""
        self._map[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES] = bytes(SLOT_BYTES)
        self._free.add(slot)

    def close(self) -> None:
        """Overwrite everything and give the memory back."""
        if not self._map.closed:
            self._map[:] = bytes(len(self._map))
            self._map.close()


def _lock(memory: mmap.mmap) -> bool:
    """Keep the pages out of swap; tell whether the system did."""
    library = ctypes.CDLL(None, use_errno=True)
    view = (ctypes.c_char * len(memory)).from_buffer(memory)
    try:
        done: int = library.mlock(
            ctypes.c_void_p(ctypes.addressof(view)), ctypes.c_size_t(len(memory))
        )
    finally:
        # The view would keep the mapping from being closed.
        del view
    return done == 0
