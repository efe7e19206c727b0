"""kill -9 at a random moment: whatever a node had called final is there after the restart."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clawpurse.ledger.store import format as store_format
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.blocks import BlockStore, check_blocks
from clawpurse.ledger.store.leveldb import LevelDbStore
from clawpurse.ledger.store.recovery import check_state
from clawpurse.ledger.store.state import StateStore

MODULES = [("kernel", 1), ("assets", 1)]

# The child process sees this checkout, not what is installed (see tests/conftest.py).
BOOT = """
import importlib.machinery, importlib.util, sys
spec = importlib.machinery.ModuleSpec("clawpurse", None, is_package=True)
spec.submodule_search_locations = [sys.argv[2]]
sys.modules["clawpurse"] = importlib.util.module_from_spec(spec)
"""
ROOT = str(Path(__file__).resolve().parents[2])

# Commits blocks for ever, block and state in one synced batch, and prints each afterwards.
CHILD = """
from clawpurse.ledger.store import format as store_format
from clawpurse.ledger.store.blocks import BlockStore, CommitRecord
from clawpurse.ledger.store.kv import Batch
from clawpurse.ledger.store.leveldb import LevelDbStore
from clawpurse.ledger.store.state import StateStore

store = LevelDbStore.open(sys.argv[1])
store_format.enter(store)
blocks = BlockStore(store)
head = blocks.head()
expected = blocks.header(head[0])[:32] if head else None
state = StateStore.open(store, [("kernel", 1), ("assets", 1)], expected)
height = head[0] + 1 if head else 0
while True:
    changes = {("assets", b"a%d" % (height * 37 % 5000 + n)): b"%d" % height for n in range(60)}
    changes["kernel", b"d%d" % height] = b"due"
    changes["kernel", b"d%d" % (height - 9)] = None
    update = state.apply(changes).finish()
    header = update.state_root + height.to_bytes(8, "big")
    batch = Batch()
    state.write(update, height, batch)
    blocks.add(CommitRecord(height, header[::-1], header, b"b" * 9000, b"c", [b"r"], [b"e"],
                            [header[:32]], [(bytes(32), 0)]), batch)
    store.write(batch, sync=True)
    state.install(update, height)
    print(height, update.state_root.hex(), flush=True)
    height += 1
"""


def kill_while_committing(path: str, delay_ms: int) -> tuple[int, str]:
    """Run the child, kill it `delay_ms` after its first report; return its last report."""
    child = subprocess.Popen(
        [sys.executable, "-c", BOOT + CHILD, path, ROOT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        first = child.stdout.readline()
        assert first, child.stderr.read()
        deadline = time.monotonic() + delay_ms / 1000
        lines = [first]
        while time.monotonic() < deadline:
            lines.append(child.stdout.readline())
        child.kill()
        lines += child.stdout.read().splitlines(keepends=True)
    finally:
        child.kill()
        child.communicate()
    reported = [line for line in lines if line.endswith("\n")]
    height, root = reported[-1].split()
    return int(height), root


def kill_and_check(path: Path, kills: int, seed: int) -> None:
    chosen = random.Random(seed)
    last = -1
    for _ in range(kills):
        height, root = kill_while_committing(str(path), chosen.randrange(5, 400))
        assert height > last
        store = LevelDbStore.open(str(path), create=False)
        store_format.enter(store)
        blocks = BlockStore(store)
        blocks.verify_tip()
        head = blocks.head()
        assert head is not None
        last = head[0]
        assert height <= last <= height + 1, "a reported block is gone, or one came from nowhere"
        header = blocks.header(height)
        assert header is not None
        assert header[:32].hex() == root
        tip = blocks.header(last)
        assert tip is not None
        state = StateStore.open(store, MODULES, tip[:32])
        assert state.height == last
        assert state.get("kernel", b"d%d" % last) == b"due"
        progress = check_state(store, MODULES, lambda tree: b"d")
        assert [done.problem for done in progress if done.problem] == []
        assert check_blocks(store, 0, last) == []
        assert store.get(schema.at_height(schema.BLOCK, last + 1)) is None
        state.close()
        store.close()


@pytest.mark.real
def test_kill_9_loses_nothing_that_was_reported(tmp_path: Path) -> None:
    kill_and_check(tmp_path / "db", kills=3, seed=1)


@pytest.mark.real
@pytest.mark.full
def test_kill_9_many_times_loses_nothing_that_was_reported(tmp_path: Path) -> None:
    kill_and_check(tmp_path / "db", kills=20, seed=2)
