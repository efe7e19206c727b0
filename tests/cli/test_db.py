"""`db check` finds what a disk did to a chain, and praises only what is as it was signed."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from clawpurse.cli import db
from clawpurse.cli.network import create_network
from clawpurse.ledger.module_api import Registry
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.kv import Batch
from clawpurse.ledger.store.leveldb import LevelDbStore
from clawpurse.modules.registry import build_registry
from clawpurse.node.chain import open_chain
from clawpurse.node.home import NodeHome
from clawpurse.node.workers import ThreadLane
from tests.cli.conftest import Cli


@pytest.fixture
def node_home(tmp_path: Path) -> NodeHome:
    """A node with a database at genesis."""
    (made,) = create_network(tmp_path / "net", 1, 39_800, 1_800_000_000_000).homes
    store = LevelDbStore.open(str(made.chain))
    open_chain(made.read_genesis(), build_registry(), store, ThreadLane()).close()
    return made


def _damage(node_home: NodeHome, prefix: bytes) -> None:
    """Flip a bit in the first record under a prefix, as a bad disk does."""
    store = LevelDbStore.open(str(node_home.chain))
    key, record = next(store.iterate(prefix, None))
    assert key.startswith(prefix)
    batch = Batch()
    batch.put(key, record[:-1] + bytes([record[-1] ^ 1]))
    store.write(batch, sync=True)
    store.close()


def test_a_whole_database_is_praised(cli: Cli, node_home: NodeHome) -> None:
    """A check that never says "well" tells nothing when it says "broken"."""
    done = cli("db", "check", "--home", str(node_home.root), "--json")
    assert done.code == 0, done.out
    found = json.loads(done.out)
    assert (found["ok"], found["height"]) == (True, 0)
    assert found["leaves"] > 0
    assert cli("db", "check", "--home", str(node_home.root)).out.startswith("✓ 0 blocks, ")


def test_a_flipped_bit_in_state_is_found(cli: Cli, node_home: NodeHome) -> None:
    """Otherwise a node would vote for a wrong root, and stand alone without knowing why."""
    _damage(node_home, schema.LEAF)
    done = cli("db", "check", "--home", str(node_home.root))
    assert done.code == 1
    line = done.err.splitlines()[-1]
    assert line.startswith(f"1 problem in {node_home.chain}; the first: ")
    assert f" → move {node_home.data} away and start: " in line
    assert json.loads(cli("db", "check", "--home", str(node_home.root), "--json").out)["error"]


def test_records_that_contradict_each_other_are_found(
    cli: Cli, node_home: NodeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What no disk did, a slip of ours may have done; nobody else would ever look."""
    registry = build_registry()
    modules = list(registry.modules)
    odd = replace(modules[1], invariants=(lambda _reader: "two lists differ",))
    monkeypatch.setattr(db, "build_registry", lambda: Registry([modules[0], odd, *modules[2:]]))
    done = cli("db", "check", "--home", str(node_home.root))
    assert done.code == 1 and "state assets: two lists differ" in done.err


def test_a_network_of_other_modules_is_not_called_damaged(
    cli: Cli, node_home: NodeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody would move a whole database away."""
    monkeypatch.setattr(db, "build_registry", lambda: Registry(build_registry().modules[:2]))
    done = cli("db", "check", "--home", str(node_home.root))
    assert done.code == 1 and "other modules" in done.err and "clawpurse doctor" in done.err


def test_a_running_node_is_left_alone(cli: Cli, node_home: NodeHome) -> None:
    """Two processes on one database would damage it."""
    lock = node_home.take_lock()
    done = cli("db", "check", "--home", str(node_home.root))
    assert done.code == 1
    assert "is running already" in done.err
    os.close(lock)


def test_no_database_is_an_answer_too(cli: Cli, tmp_path: Path) -> None:
    """A node that never ran has nothing to check."""
    (made,) = create_network(tmp_path / "new", 1, 39_800, 1_800_000_000_000).homes
    done = cli("db", "check", "--home", str(made.root))
    assert done.code == 1
    assert "holds no database" in done.err
