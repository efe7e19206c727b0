"""Disks that fail must be noticed, never worked around: else the node forgets what is final."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clawpurse.ledger.errors import Bug, OperatorError, StorageFault
from clawpurse.ledger.store import format as store_format
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.faulty import FaultyDisk
from clawpurse.ledger.store.kv import Batch, KeyValue
from clawpurse.ledger.store.leveldb import LevelDbStore
from clawpurse.ledger.store.memory import MemoryStore

# The child process sees this checkout, not what is installed (see tests/conftest.py).
BOOT = """
import importlib.machinery, importlib.util, sys
spec = importlib.machinery.ModuleSpec("clawpurse", None, is_package=True)
spec.submodule_search_locations = [sys.argv[2]]
sys.modules["clawpurse"] = importlib.util.module_from_spec(spec)
"""
ROOT = str(Path(__file__).resolve().parents[2])


def write(store: KeyValue, key: bytes, value: bytes, sync: bool) -> None:
    batch = Batch()
    batch.put(key, value)
    store.write(batch, sync)


def test_a_power_cut_takes_unsynced_writes_and_nothing_else() -> None:
    disk = FaultyDisk()
    store = disk.open()
    write(store, b"a", b"1", sync=False)
    write(store, b"b", b"1", sync=True)
    write(store, b"c", b"1", sync=False)
    write(store, b"d", b"1", sync=False)
    disk.crash(keep_unsynced=1)
    assert [key for key, _ in disk.open().iterate()] == [b"a", b"b", b"c"]


def test_kill_9_takes_nothing_that_was_written() -> None:
    disk = FaultyDisk()
    write(disk.open(), b"a", b"1", sync=False)
    disk.crash(keep_unsynced=None)
    assert disk.open().get(b"a") == b"1"


def test_a_crashed_process_reads_and_writes_no_more() -> None:
    disk = FaultyDisk()
    store = disk.open()
    snapshot = store.snapshot()
    disk.crash()
    for use in (lambda: store.get(b"a"), lambda: snapshot.get(b"a"), store.snapshot):
        with pytest.raises(StorageFault):
            use()
    with pytest.raises(StorageFault):
        write(store, b"a", b"1", sync=True)
    store.close()
    assert disk.open().get(b"a") is None


@pytest.mark.parametrize("survives", [False, True])
def test_a_failed_write_is_whole_or_absent_and_stops_the_store(survives: bool) -> None:
    disk = FaultyDisk()
    store = disk.open()
    disk.fail_write_in, disk.failed_write_survives = 2, survives
    write(store, b"a", b"1", sync=True)
    batch = Batch()
    batch.put(b"b", b"1")
    batch.put(b"c", b"1")
    with pytest.raises(StorageFault):
        store.write(batch, sync=True)
    with pytest.raises(StorageFault):
        write(store, b"d", b"1", sync=True)
    disk.crash()
    kept = [key for key, _ in disk.open().iterate()]
    assert kept == ([b"a", b"b", b"c"] if survives else [b"a"])


def test_a_full_disk_says_so() -> None:
    disk = FaultyDisk(capacity_bytes=10)
    store = disk.open()
    write(store, b"a", b"12345678", sync=True)
    with pytest.raises(StorageFault, match="free disk space"):
        write(store, b"b", b"12", sync=True)


def test_a_lying_sync_loses_what_it_acknowledged() -> None:
    disk = FaultyDisk(lying_sync=True)
    write(disk.open(), b"a", b"1", sync=True)
    disk.crash()
    assert disk.open().get(b"a") is None


def test_a_read_error_is_raised_once() -> None:
    disk = FaultyDisk(fail_read_in=1)
    store = disk.open()
    with pytest.raises(StorageFault):
        store.get(b"a")
    assert store.get(b"a") is None


def test_a_flipped_bit_fails_the_checksum() -> None:
    disk = FaultyDisk()
    store = disk.open()
    write(store, b"Hkey", schema.seal(b"Hkey", b"body"), sync=True)
    store.close()
    for bit in range(64):
        disk.flip_bit(b"Hkey", bit)
        store = disk.open()
        record = store.get(b"Hkey")
        assert record is not None
        with pytest.raises(StorageFault, match="header"):
            schema.unseal(b"Hkey", record)
        store.close()
        disk.flip_bit(b"Hkey", bit)
    with pytest.raises(Bug):
        disk.flip_bit(b"Hkey", 64)


def test_a_record_under_a_foreign_key_fails_the_checksum() -> None:
    record = schema.seal(b"B" + bytes(8), b"block")
    assert schema.unseal(b"B" + bytes(8), record) == b"block"
    with pytest.raises(StorageFault):
        schema.unseal(b"B" + bytes(7) + b"\x01", record)


def test_one_process_at_a_time_is_told_to_stop_the_other(tmp_path: Path) -> None:
    path = str(tmp_path / "db")
    first = LevelDbStore.open(path)
    with pytest.raises(OperatorError, match="clawpurse stop"):
        LevelDbStore.open(path)
    first.close()
    LevelDbStore.open(path).close()
    disk = FaultyDisk()
    disk.open()
    with pytest.raises(OperatorError, match="clawpurse stop"):
        disk.open()


@pytest.mark.real
def test_another_process_is_told_to_stop_the_other(tmp_path: Path) -> None:
    path = str(tmp_path / "db")
    first = LevelDbStore.open(path)
    script = (
        "from clawpurse.ledger.store.leveldb import LevelDbStore\n"
        "try: LevelDbStore.open(sys.argv[1])\n"
        "except Exception as err: print(type(err).__name__, err)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", BOOT + script, path, ROOT],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    first.close()
    assert done.stdout.startswith("OperatorError")
    assert "clawpurse stop" in done.stdout


def test_a_missing_database_is_not_made_by_accident(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="holds no database"):
        LevelDbStore.open(str(tmp_path / "db"), create=False)
    assert not (tmp_path / "db").exists()


def test_a_damaged_leveldb_directory_is_a_storage_fault(tmp_path: Path) -> None:
    path = tmp_path / "db"
    store = LevelDbStore.open(str(path))
    write(store, b"a", b"1", sync=True)
    store.close()
    (path / "CURRENT").write_text("MANIFEST-999999\n")
    with pytest.raises(StorageFault):
        LevelDbStore.open(str(path))


def test_a_damaged_log_is_not_silently_dropped(tmp_path: Path) -> None:
    """LevelDB's default forgets acknowledged writes from a damaged log without a word."""
    path = tmp_path / "db"
    store = LevelDbStore.open(str(path))
    for number in range(50):
        write(store, b"k%d" % number, bytes(100), sync=True)
    store.close()
    (log,) = path.glob("*.log")
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    with pytest.raises(StorageFault):
        LevelDbStore.open(str(path))


def test_using_a_closed_leveldb_is_our_bug(tmp_path: Path) -> None:
    store = LevelDbStore.open(str(tmp_path / "db"))
    snapshot = store.snapshot()
    store.close()
    store.close()
    for use in (
        lambda: store.get(b"a"),
        lambda: list(store.iterate()),
        lambda: snapshot.get(b"a"),
        store.snapshot,
        lambda: write(store, b"a", b"1", sync=True),
    ):
        with pytest.raises(Bug):
            use()
    snapshot.close()


def test_a_fresh_database_gets_our_format_and_keeps_it() -> None:
    store = MemoryStore()
    store_format.enter(store)
    store_format.enter(store)
    assert store.get(schema.KEY_FORMAT) is not None


def test_foreign_content_is_refused() -> None:
    store = MemoryStore({b"x": b"y"})
    with pytest.raises(OperatorError, match="no format version"):
        store_format.enter(store)


def test_another_format_is_refused() -> None:
    key = schema.KEY_FORMAT
    store = MemoryStore({key: schema.pack_record(key, [schema.FORMAT_VERSION + 1])})
    with pytest.raises(OperatorError, match="format 2"):
        store_format.enter(store)


def test_unfinished_work_stops_the_start_and_names_the_command() -> None:
    store = MemoryStore()
    store_format.enter(store)
    batch = Batch()
    store_format.begin_work(batch, "restore", "clawpurse snapshot restore")
    store.write(batch, sync=True)
    with pytest.raises(OperatorError, match="clawpurse snapshot restore"):
        store_format.enter(store)
    batch = Batch()
    store_format.end_work(batch)
    store.write(batch, sync=True)
    store_format.enter(store)
