"""The few things that logs and watermarks need of a disk, as a seam for simulation.

`DiskFiles` is the real one; `MemoryFiles` keeps bytes in a dictionary and can forget what was
not synced, as a crash does.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final, Protocol

from clawpurse.ledger.errors import NotFound, StorageFault

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700


class AppendFile(Protocol):
    """A file that only grows."""

    def append(self, data: bytes) -> None:
        """Append and make durable, both before returning. Raises `StorageFault`."""

    def close(self) -> None:
        """Close it; closing twice is harmless."""


class Files(Protocol):
    """A folder of private files. Names are plain names within it."""

    def where(self, name: str) -> str:
        """Return a file's full path, for messages to the operator."""

    def names(self) -> list[str]:
        """Return the names that are there, ascending."""

    def read(self, name: str) -> bytes:
        """Return a file's bytes. Raises `NotFound` or `StorageFault`."""

    def create(self, name: str, data: bytes) -> AppendFile:
        """Make a new file with first content, durable with its name, open for appending."""

    def open(self, name: str, size_bytes: int) -> AppendFile:
        """Open a file for appending after its first `size_bytes`; the rest is cut off."""

    def write_slot(self, name: str, offset: int, data: bytes) -> None:
        """Overwrite bytes in place and make them durable (for two-slot records)."""

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there is fine."""


def storage_fault(doing: str, path: Path, err: OSError) -> StorageFault:
    """Return the operator's error for a disk that failed."""
    if err.errno == errno.ENOSPC:
        return StorageFault(f"The disk is full: could not {doing} {path}.", "", "df -h")
    why = os.strerror(err.errno) if err.errno else str(err)
    return StorageFault(f"Could not {doing} {path}.", why + ".", "clawpurse doctor")


class DiskAppendFile:
    """A file opened for synchronous writing: an append is on the medium when it returns."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def append(self, data: bytes) -> None:
        """Append durably (O_DSYNC)."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as err:
            raise storage_fault("write", self._path, err) from err

    def close(self) -> None:
        """Close the descriptor."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class DiskFiles:
    """A real folder, made with mode 0700."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            self._sync_folder()
        except OSError as err:
            raise storage_fault("make", folder, err) from err

    def where(self, name: str) -> str:
        """Return the path."""
        return str(self._folder / name)

    def names(self) -> list[str]:
        """Return the names in the folder."""
        return sorted(entry.name for entry in self._folder.iterdir() if entry.is_file())

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        path = self._folder / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise NotFound(str(path)) from None
        except OSError as err:
            raise storage_fault("read", path, err) from err

    def create(self, name: str, data: bytes) -> AppendFile:
        """Make a file, its content and its name durable."""
        path = self._folder / name
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_DSYNC | os.O_CLOEXEC
        try:
            file = DiskAppendFile(path, os.open(path, flags, FILE_MODE))
        except OSError as err:
            raise storage_fault("create", path, err) from err
        try:
            file.append(data)
            self._sync_folder()
        except BaseException:
            file.close()
            raise
        return file

    def open(self, name: str, size_bytes: int) -> AppendFile:
        """Open for appending, cut to a size."""
        path = self._folder / name
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_DSYNC | os.O_CLOEXEC
            descriptor = os.open(path, flags)
            if os.fstat(descriptor).st_size != size_bytes:
                os.ftruncate(descriptor, size_bytes)
                os.fsync(descriptor)
        except OSError as err:
            raise storage_fault("open", path, err) from err
        return DiskAppendFile(path, descriptor)

    def write_slot(self, name: str, offset: int, data: bytes) -> None:
        """Overwrite in place, durably."""
        path = self._folder / name
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_DSYNC | os.O_CLOEXEC)
            try:
                if os.pwrite(descriptor, data, offset) != len(data):
                    raise OSError(errno.EIO, "short write")
            finally:
                os.close(descriptor)
        except OSError as err:
            raise storage_fault("write", path, err) from err

    def remove(self, name: str) -> None:
        """Remove a file and sync the folder."""
        path = self._folder / name
        try:
            path.unlink(missing_ok=True)
            self._sync_folder()
        except OSError as err:
            raise storage_fault("remove", path, err) from err

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class MemoryAppendFile:
    """An append file of `MemoryFiles`."""

    def __init__(self, contents: dict[str, bytes], name: str) -> None:
        self._contents = contents
        self._name = name

    def append(self, data: bytes) -> None:
        """Append."""
        self._contents[self._name] = self._contents.get(self._name, b"") + data

    def close(self) -> None:
        """Nothing to close."""


class MemoryFiles:
    """Files in memory: what is appended is durable at once, as with `DiskFiles`."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def where(self, name: str) -> str:
        """Return a path that says where it is not."""
        return f"memory/{name}"

    def names(self) -> list[str]:
        """Return the names."""
        return sorted(self.contents)

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        if name not in self.contents:
            raise NotFound(name)
        return self.contents[name]

    def create(self, name: str, data: bytes) -> AppendFile:
        """Make a file."""
        self.contents[name] = data
        return MemoryAppendFile(self.contents, name)

    def open(self, name: str, size_bytes: int) -> AppendFile:
        """Open for appending, cut to a size."""
        self.contents[name] = self.read(name)[:size_bytes]
        return MemoryAppendFile(self.contents, name)

    def write_slot(self, name: str, offset: int, data: bytes) -> None:
        """Overwrite in place."""
        old = self.read(name)
        self.contents[name] = old[:offset] + data + old[offset + len(data) :]

    def remove(self, name: str) -> None:
        """Remove a file."""
        self.contents.pop(name, None)
