"""A crash, a full disk or a second process never costs a file that was already saved."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clawpurse.ledger.errors import StorageFault
from clawpurse.wallet import durable
from clawpurse.wallet.durable import (
    create_private,
    locked,
    make_private_directory,
    move_private,
    read_private,
    remove_private,
    remove_unfinished,
    replace_private,
)

ROOT = Path(__file__).resolve().parent.parent.parent
# Makes `clawpurse` this checkout in a fresh interpreter, as tests/conftest.py does here.
PRELUDE = """
import importlib.machinery, importlib.util, sys
spec = importlib.machinery.ModuleSpec("clawpurse", None, is_package=True)
spec.submodule_search_locations = [sys.argv[1]]
sys.modules["clawpurse"] = importlib.util.module_from_spec(spec)
from pathlib import Path
from clawpurse.wallet import durable
target = Path(sys.argv[2])
"""


def child(code: str, target: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + code, str(ROOT), str(target)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def only_files(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_a_saved_file_is_private_and_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "deep" / "a.json"
    make_private_directory(file.parent)
    os.umask(os.umask(0))
    create_private(file, b"one")
    replace_private(file, b"two")
    assert read_private(file, 10) == b"two"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert only_files(file.parent) == ["a.json"]


def test_an_open_directory_is_closed_to_others(tmp_path: Path) -> None:
    loose = tmp_path / "keys"
    loose.mkdir(mode=0o755)
    make_private_directory(loose)
    assert loose.stat().st_mode & 0o777 == 0o700


def test_a_file_in_the_place_of_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("")
    with pytest.raises(StorageFault, match="keys is not a directory"):
        make_private_directory(tmp_path / "keys")


def test_creating_never_overwrites(tmp_path: Path) -> None:
    file = tmp_path / "a"
    create_private(file, b"first")
    with pytest.raises(FileExistsError):
        create_private(file, b"second")
    assert file.read_bytes() == b"first" and only_files(tmp_path) == ["a"]


def test_moving_never_overwrites(tmp_path: Path) -> None:
    create_private(tmp_path / "a", b"a")
    create_private(tmp_path / "b", b"b")
    with pytest.raises(FileExistsError):
        move_private(tmp_path / "a", tmp_path / "b")
    move_private(tmp_path / "a", tmp_path / "c")
    assert only_files(tmp_path) == ["b", "c"]


def test_removing_twice_is_no_error(tmp_path: Path) -> None:
    create_private(tmp_path / "a", b"a")
    remove_private(tmp_path / "a")
    remove_private(tmp_path / "a")
    assert only_files(tmp_path) == []


def test_a_huge_file_is_not_read_into_memory(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 11)
    with pytest.raises(StorageFault, match="larger than 10 bytes"):
        read_private(tmp_path / "a", 10)


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_disk_that_fails_at_any_step_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    file = tmp_path / "a"
    create_private(file, b"old")

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(StorageFault, match=r"No space left on device.*free some space"):
            replace_private(file, b"new")
    assert file.read_bytes() == b"old" and only_files(tmp_path) == ["a"]


def test_a_disk_that_takes_only_part_of_a_write_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real_write(fd, bytes(data)[:3]))
    replace_private(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


@pytest.mark.real
def test_a_real_size_limit_while_saving_keeps_the_old_file(tmp_path: Path) -> None:
    """A file-size limit fails the write in the kernel, as a full disk does."""
    file = tmp_path / "a"
    create_private(file, b"old")
    limit = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.getrlimit(resource.RLIMIT_FSIZE)[1]}))
from clawpurse.ledger.errors import StorageFault
try:
    durable.replace_private(target, b"n" * 5000)
except StorageFault as err:
    print(err)
"""
    out, err = child(limit, file).communicate(timeout=60)
    assert b"File too large" in out and b"ulimit" in out, (out, err)
    assert file.read_bytes() == b"old" and only_files(tmp_path) == ["a"]


@pytest.mark.real
def test_kill_9_while_saving_leaves_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "a"
    size = 200_000
    create_private(file, b"0" * size)
    loop = f"""
print("ready", flush=True)
for number in range(1_000_000):
    durable.replace_private(target, b"%d" % (number % 10) * {size})
"""
    kills = 8
    for _ in range(kills):
        process = child(loop, file)
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"ready\n"
        before = file.stat().st_ino
        deadline = time.monotonic() + 30
        while file.stat().st_ino == before and time.monotonic() < deadline:
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
        process.stdout.close()
        process.stderr.close()
        data = file.read_bytes()
        assert len(data) == size and len(set(data)) == 1
    with locked(tmp_path / ".lock", "busy"):
        remove_unfinished(file)
    assert only_files(tmp_path) == [".lock", "a"]


@pytest.fixture
def quick_lock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(durable, "LOCK_TRIES_MAX", 3)
    yield


def test_a_lock_keeps_another_thread_out_and_says_so(tmp_path: Path, quick_lock: None) -> None:
    with (
        locked(tmp_path / "l", "first"),
        pytest.raises(StorageFault, match="alice is in use"),
        locked(tmp_path / "l", "alice is in use."),
    ):
        pass
    with locked(tmp_path / "l", "free again"):
        pass


@pytest.mark.real
def test_a_lock_keeps_another_process_out_until_it_dies(tmp_path: Path, quick_lock: None) -> None:
    file = tmp_path / "l"
    hold = """
import signal
with durable.locked(target, "busy"):
    print("held", flush=True)
    signal.pause()
"""
    process = child(hold, file)
    assert process.stdout is not None and process.stderr is not None
    try:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(StorageFault, match="in use"), locked(file, "in use."):
            pass
    finally:
        process.kill()
        process.wait(timeout=30)
        process.stdout.close()
        process.stderr.close()
    with locked(file, "the kernel frees the lock of the dead"):
        pass


def test_a_lock_file_that_was_deleted_does_not_let_two_in(tmp_path: Path) -> None:
    """The second waits on the first's file, which is deleted: it must take the new one."""
    file, order = tmp_path / "l", []
    entered = threading.Event()

    def second() -> None:
        entered.set()
        with locked(file, "busy"):
            order.append("second")

    with locked(file, "busy"):
        thread = threading.Thread(target=second)
        thread.start()
        entered.wait(10)
        remove_private(file)
        with locked(file, "busy"):
            order.append("first")
    thread.join(30)
    assert sorted(order) == ["first", "second"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_of_somebody_else_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageFault, match="check who owns"):
        replace_private(tmp_path / "a", b"x")


def test_a_file_written_in_pieces_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """An export that breaks off must not leave half a story under its name."""
    target = tmp_path / "story"
    with pytest.raises(ValueError, match="broken off"), durable.writing_private(target) as file:
        file.write(b"half")
        raise ValueError("broken off")
    assert list(tmp_path.iterdir()) == []
    with durable.writing_private(target) as file:
        file.write(b"whole")
        file.seek(0)
        assert file.read() == b"whole"
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"whole", 0o600)
    with pytest.raises(FileExistsError), durable.writing_private(target) as file:
        file.write(b"other")
    assert target.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [target]
