"""Who is still there: a lock file for each process that holds something, freed by its death.

A process id comes back with another process, a time-out is wrong for who only sleeps; the kernel
drops a lock when its process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

_NAME_BYTES: Final = 8


class Holders:
    """The processes that hold something in a folder. Raises OSError when the disk fails."""

    def __init__(self, directory: Path, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._directory = directory
        self._random_bytes = random_bytes
        self._own = ""
        self._descriptor = -1

    def own(self) -> str:
        """Return the name of this process (of this object), locked from the first call on."""
        if not self._own:
            name = self._random_bytes(_NAME_BYTES).hex()
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._descriptor = os.open(self._file(name), flags, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            self._own = name
        return self._own

    def is_dead(self, name: str) -> bool:
        """Tell whether whoever had that name is gone; its file goes then, too."""
        if name == self._own:
            return False
        file = self._file(name)
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink(missing_ok=True)
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def close(self) -> None:
        """Give the name up."""
        if self._own:
            self._file(self._own).unlink(missing_ok=True)
            os.close(self._descriptor)
            self._own = ""

    def _file(self, name: str) -> Path:
        return self._directory / f"holder-{name}.lock"
