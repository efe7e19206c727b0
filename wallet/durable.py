"""Private files that survive a crash: the one place where the wallet writes to disk.

A file is written beside its target (0600), synced, put in place in one step, and its directory
synced: after kill -9 or a power cut there is the old file or the new one, never half of one.
A disk that fails or is full leaves the old file and raises `StorageFault`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from clawpurse.ledger.errors import StorageFault

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700
# The mark of our unfinished files; whoever holds the lock of a name may remove its leftovers.
_UNFINISHED: Final = ".unfinished-"
# Another process may be hashing a passphrase (a quarter of a second) under the lock; a queue
# of forty of them is waited for, a stuck one is reported.
LOCK_TRIES_MAX: Final = 200
_LOCK_PAUSE_S: Final = 0.05


def make_private_directory(path: Path) -> None:
    """Make `path` and missing parents with mode 0700, durably; tighten `path` if it is ours.

    Raises `StorageFault` when that fails or when something else stands there.
    """
    missing = []
    place = path
    while not place.exists() and place != place.parent:
        missing.append(place)
        place = place.parent
    try:
        for directory in reversed(missing):
            directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
            _sync_directory(directory.parent)
        if not path.is_dir():
            raise StorageFault(f"{path} is not a directory.", "", "choose another --home")
        if path.stat().st_mode & 0o077:
            path.chmod(DIRECTORY_MODE)
    except OSError as err:
        raise _fault("make the directory", path, err) from err


def read_private(path: Path, size_max: int) -> bytes:
    """Return the bytes of a file of at most `size_max` bytes.

    Raises `FileNotFoundError` (which callers turn into their own words) or `StorageFault`.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(size_max + 1)
    except FileNotFoundError:
        raise
    except OSError as err:
        raise _fault("read", path, err) from err
    if len(data) > size_max:
        raise StorageFault(f"{path} is larger than {size_max} bytes.", "It is not ours.", "")
    return data


def replace_private(path: Path, data: bytes) -> None:
    """Write `data` to `path`, replacing what is there, in one durable step.

    Raises `StorageFault`; the old content then still stands, and nothing unfinished remains.
    """
    unfinished = _write_unfinished(path, data)
    try:
        os.replace(unfinished, path)
        _sync_directory(path.parent)
    except OSError as err:
        _drop(unfinished)
        raise _fault("save", path, err) from err


@contextmanager
def writing_private(path: Path) -> Iterator[BinaryIO]:
    """Give a file (0600) to write in pieces and read again; at the end it stands at `path`.

    Only if nothing is there; what does not end well leaves nothing. Raises `FileExistsError` or
    `StorageFault`.
    """
    unfinished = path.with_name(f".{path.name}{_UNFINISHED}{secrets.token_hex(8)}")
    try:
        descriptor = os.open(
            unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE
        )
        with os.fdopen(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.link(unfinished, path)
        _sync_directory(path.parent)
    except FileExistsError:
        raise
    except OSError as err:
        raise _fault("save", path, err) from err
    finally:
        _drop(unfinished)


def create_private(path: Path, data: bytes) -> None:
    """Write `data` to `path` in one durable step, only if nothing is there.

    A hard link refuses an existing name in the same step that makes it, so that no race of two
    processes overwrites a key. Raises `FileExistsError` or `StorageFault`.
    """
    unfinished = _write_unfinished(path, data)
    try:
        os.link(unfinished, path)
    except FileExistsError:
        raise
    except OSError as err:
        raise _fault("save", path, err) from err
    finally:
        _drop(unfinished)
    try:
        _sync_directory(path.parent)
    except OSError as err:
        raise _fault("save", path, err) from err


def move_private(path: Path, target: Path) -> None:
    """Give a file another name, durably. Raises `FileExistsError` or `StorageFault`.

    A crash in between leaves the file under both names, never under none.
    """
    try:
        os.link(path, target)
        path.unlink()
        _sync_directory(path.parent)
    except FileExistsError:
        raise
    except OSError as err:
        raise _fault("move", path, err) from err


def remove_private(path: Path) -> None:
    """Remove `path` durably; a missing one is no error. Raises `StorageFault`."""
    try:
        path.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as err:
        raise _fault("remove", path, err) from err


def remove_unfinished(path: Path) -> None:
    """Remove what an earlier, killed process left of writing `path`. Call it under the lock."""
    try:
        for entry in path.parent.iterdir():
            if entry.name.startswith(f".{path.name}{_UNFINISHED}"):
                entry.unlink(missing_ok=True)
    except OSError as err:
        raise _fault("clean up beside", path, err) from err


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold the lock file `path` against other processes and threads for a `with` block.

    Waits up to `LOCK_TRIES_MAX` × 50 ms, then raises `StorageFault` with `busy` as its first
    sentence. The kernel frees the lock when the process dies, however it dies.
    """
    descriptor = None
    for _ in range(LOCK_TRIES_MAX):
        descriptor = _open_locked(path)
        if descriptor is not None:
            break
        time.sleep(_LOCK_PAUSE_S)
    if descriptor is None:
        raise StorageFault(busy, "Its lock is held.", "try again when the other one has ended")
    try:
        yield
    finally:
        os.close(descriptor)


def _open_locked(path: Path) -> int | None:
    """Open and lock `path`; None while somebody else holds it or has just deleted it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        try:
            if _try_lock(descriptor) and _is_same_file(descriptor, path):
                return descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)
    except OSError as err:
        raise _fault("lock", path, err) from err
    return None


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_same_file(descriptor: int, path: Path) -> bool:
    """Tell whether the locked file still stands at `path`: it may have been deleted meanwhile."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _write_unfinished(path: Path, data: bytes) -> Path:
    unfinished = path.with_name(f".{path.name}{_UNFINISHED}{secrets.token_hex(8)}")
    try:
        descriptor = os.open(
            unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE
        )
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as err:
        _drop(unfinished)
        raise _fault("save", path, err) from err
    return unfinished


def _drop(unfinished: Path) -> None:
    # Only tidiness: the error that brought us here is the one to report, and whoever locks
    # this name next removes what is left.
    with suppress(OSError):
        unfinished.unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fault(verb: str, path: Path, err: OSError) -> StorageFault:
    why = err.strerror or type(err).__name__
    remedy = {
        errno.ENOSPC: "free some space and repeat the command",
        errno.EDQUOT: "free some of your quota and repeat the command",
        errno.EFBIG: "raise the file size limit (ulimit -f) and repeat the command",
        errno.EACCES: f"check who owns {path.parent}",
        errno.EPERM: f"check who owns {path.parent}",
        errno.EROFS: "choose a --home that can be written",
    }.get(err.errno or 0, "clawpurse doctor")
    return StorageFault(f"Could not {verb} {path}:", f"{why}. Nothing there was changed.", remedy)
