"""The daemon around a node: what operators meet when something is not as it should be."""

from __future__ import annotations

import errno
import gc
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from clawpurse.ledger.errors import Bug, OperatorError, ProtocolViolation, StorageFault
from clawpurse.node import daemon
from clawpurse.node.config import NodeConfig, config_text, load_config
from clawpurse.node.daemon import NodeFacts, run_node
from clawpurse.node.files import DiskFiles
from clawpurse.node.home import NodeHome
from clawpurse.node.signer import create_sign_state
from tests.node.rpc.nodeworld import START_MS, NodeWorld
from tests.seeded import run_seeded


def config(**values: object) -> NodeConfig:
    return NodeConfig.model_validate(values)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NodeHome]:
    """A node's folder on a network of one authority."""
    made = NodeHome(tmp_path / "node")
    made.make()
    made.create_key(made.node_key)
    key = made.create_key(made.authority_key)

    async def genesis() -> str:
        async with trio.open_nursery() as nursery:
            world = NodeWorld(nursery)
            changed = world.genesis.__class__(
                world.genesis.chain_id,
                START_MS,
                (key,),
                world.genesis.params,
                world.genesis.assets,
                world.genesis.accounts,
                world.genesis.modules,
                test_network=True,
            )
            create_sign_state(DiskFiles(made.signer), changed.hash, key)
            return str(changed.to_json())

    made.genesis.write_text(run_seeded(genesis, 0), encoding="utf-8")
    values = {"name": "test", "authority": True, "p2p_listen": "127.0.0.1:0"}
    ports = {"rpc_listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0"}
    made.config.write_text(config_text(values | ports), encoding="utf-8")
    # The limits are for a process of its own; this one runs other tests after.
    monkeypatch.setattr(daemon, "limit_process", lambda: None)
    yield made
    gc.enable()
    gc.unfreeze()


def test_of_many_errors_the_operator_s_is_told() -> None:
    """One line that can be acted on, not a tree of groups."""
    mine = OperatorError("The disk is full.", "", "df -h")
    with pytest.raises(OperatorError, match="disk is full"), daemon.one_error(9640):
        raise ExceptionGroup("a", [Bug("b"), ExceptionGroup("c", [mine])])
    with pytest.raises(Bug), daemon.one_error(9640):
        raise ExceptionGroup("a", [ValueError(), ExceptionGroup("c", [Bug("b")])])
    taken = OSError(errno.EADDRINUSE, "in use")
    with pytest.raises(OperatorError, match="Port 9640 is taken"), daemon.one_error(9640):
        raise ExceptionGroup("a", [taken])
    with pytest.raises(ExceptionGroup), daemon.one_error(9640):
        raise ExceptionGroup("a", [ValueError("unknown")])
    with pytest.raises(ProtocolViolation), daemon.one_error(9640):
        raise ExceptionGroup("a", [ProtocolViolation("p")])


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"{", b"5", b'{"book": 5, "bans": {}}'])
def test_a_damaged_address_book_is_done_without(tmp_path: Path, content: bytes) -> None:
    """Peers tell it again; refusing to start would be worse than forgetting."""
    path = tmp_path / "peers.json"
    path.write_bytes(content)
    os.chmod(path, 0o600)
    assert isinstance(daemon._read_peers(path), dict)
    assert daemon._read_peers(tmp_path / "none.json") == {}


def test_a_peer_address_that_cannot_be_read_names_the_command_that_helps() -> None:
    broken = config().model_copy(update={"peers": ("nobody",)})
    with pytest.raises(OperatorError, match="config validate"):
        daemon._pool_config(broken)


@pytest.mark.real
def test_a_node_runs_stops_cleanly_and_continues(home: NodeHome) -> None:
    """Ports are really open when it says so, and nothing is lost by stopping."""
    facts: list[NodeFacts] = []

    def ready(fact: NodeFacts) -> None:
        facts.append(fact)
        assert home.lock_holder() == os.getpid()
        os.kill(os.getpid(), 15)

    for _ in range(2):
        run_node(home, load_config(home.root, {}), on_ready=ready)
    assert [fact.pid for fact in facts] == [os.getpid()] * 2
    assert facts[0].name == "test" and facts[0].home == str(home.root)
    assert home.lock_holder() is None
    assert "salt" in json.loads(home.peers.read_bytes())["book"]
    # The salt of the address book is a secret that is kept.
    assert json.loads(home.peers.read_bytes())["book"]["salt"]


@pytest.mark.real
@pytest.mark.parametrize("name", ["p2p_listen", "rpc_listen", "metrics_listen"])
def test_a_taken_port_is_named_in_one_line(home: NodeHome, name: str) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        taken = load_config(home.root, {}, {name: f"127.0.0.1:{port}"})
        with pytest.raises(OperatorError, match=f"Port {port} is taken") as caught:
            run_node(home, taken)
    assert caught.value.next_command
    assert home.lock_holder() is None


@pytest.mark.real
def test_what_the_operator_must_mend_first_is_said_before_anything_opens(home: NodeHome) -> None:
    plain = load_config(home.root, {})
    with pytest.raises(OperatorError, match="open beyond this machine"):
        run_node(home, plain.model_copy(update={"rpc_listen": "0.0.0.0:1"}))
    held = home.take_lock()
    with pytest.raises(OperatorError, match="running already"):
        run_node(home, plain)
    os.close(held)
    for path in home.signer.iterdir():
        path.unlink()
    with pytest.raises(OperatorError, match="signing state"):
        run_node(home, plain)
    assert not home.chain.exists()


@pytest.mark.real
def test_a_full_disk_stops_a_node_before_it_harms(home: NodeHome) -> None:
    full = load_config(home.root, {}, {"min_free_disk_mb": 10**9})
    with pytest.raises(StorageFault, match="MB of disk are free"):
        run_node(home, full)
    assert home.lock_holder() is None
