"""A small disk for one node of `testnet chaos`: a tmpfs of a fixed size, filled on purpose.

Mounting needs root and a system that allows it; elsewhere the fault is left out and the report
says why. Only what was mounted here is unmounted here.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Final

from clawpurse.ledger.errors import OperatorError

# LevelDB, a log, a journal and some hours of small blocks; filling it takes a moment.
DISK_MB: Final = 192
# What the node with the small disk wants free, the least that it may be told.
MIN_FREE_MB: Final = 16
FILLER_NAME: Final = "chaos-filler"
_MNT_DETACH: Final = 2
_CHUNK: Final = bytes(65_536)


class SmallDisk:
    """A tmpfs at `folder`. `mount` makes it, `unmount` takes it away."""

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder
        self._filler: Final = folder / FILLER_NAME
        self._mounted = False

    def mount(self) -> None:
        """Mount. Raises `OperatorError` that says why this system does not."""
        if sys.platform != "linux":
            raise OperatorError(f"A small disk needs Linux, this is {sys.platform}.", "", "")
        if os.geteuid() != 0:
            raise OperatorError("A small disk needs root, to mount a tmpfs.", "", "")
        options = f"size={DISK_MB}m,mode=0700".encode()
        libc = ctypes.CDLL(None, use_errno=True)
        place = os.fsencode(self.folder)
        if libc.mount(b"clawpurse-chaos", place, b"tmpfs", 0, options) != 0:
            why = os.strerror(ctypes.get_errno())
            raise OperatorError(f"This system mounts no tmpfs: {why}.", "", "")
        self._mounted = True

    def fill(self, left_mb: int) -> None:
        """Leave `left_mb` of the disk free; 0 leaves nothing at all."""
        with open(self._filler, "ab", buffering=0) as file:
            while self.free_bytes() > left_mb << 20:
                size = min(len(_CHUNK), self.free_bytes() - (left_mb << 20))
                try:
                    file.write(_CHUNK[:size])
                except OSError:
                    return  # Full: somebody else took the last of it.

    def free_bytes(self) -> int:
        """Return what is free."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def empty(self) -> None:
        """Give the space back."""
        self._filler.unlink(missing_ok=True)

    def unmount(self) -> None:
        """Take it away with what is on it, also while somebody still has a file open."""
        if not self._mounted:
            return
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.umount2(os.fsencode(self.folder), _MNT_DETACH) != 0:
            why = os.strerror(ctypes.get_errno())
            raise OperatorError(f"{self.folder} stays mounted: {why}.", "", f"umount {self.folder}")
        self._mounted = False
