"""What an operator changes while the node runs: peers, log levels, settings; and never halfway."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from clawpurse.modules.kit.web.errors import RpcError
from clawpurse.node import operator
from clawpurse.node.config import read_toml
from tests.node.rpc.nodeworld import PORT, TOKEN, NodeWorld, Running, until
from tests.node.rpc.test_access import send

BAD_CONFIGURATION = -32024
pytestmark = pytest.mark.usefixtures("levels")


@pytest.fixture
def world(make_world: Callable[..., NodeWorld], tmp_path: Path) -> NodeWorld:
    """A network whose nodes have configuration files."""
    made = make_world()
    made.config_folder = tmp_path
    return made


async def admin(node: Running, method: str, **params: Any) -> Any:
    return await node.client(TOKEN).call(f"admin_{method}", params)


async def refused(node: Running, method: str, **params: Any) -> RpcError:
    with pytest.raises(RpcError) as caught:
        await admin(node, method, **params)
    return caught.value


def file_of(node: Running, tmp_path: Path) -> Path:
    return tmp_path / node.name / "config.toml"


def peers_in(path: Path) -> list[str]:
    found: list[str] = read_toml(path)["peers"]
    return found


@pytest.mark.parametrize("method", ["addPeer", "removePeer", "setLogLevel", "reloadConfig"])
async def test_nobody_changes_a_node_without_the_operators_token(
    autojump_clock: MockClock, world: NodeWorld, method: str
) -> None:
    """Whoever shares the machine could else lead a node to peers of his own."""
    node = await world.node()
    assert (await node.refusal(f"admin_{method}")).code == -32006


async def test_an_added_peer_is_connected_at_once_and_after_a_restart(
    autojump_clock: MockClock, world: NodeWorld, tmp_path: Path
) -> None:
    """A follower that was given no peer gets one without losing a block of its uptime."""
    authority = await world.node("authority-1")
    follower = await world.node("follower")
    path = file_of(follower, tmp_path)
    path.write_text("# ours\n" + path.read_text())
    answer = await admin(follower, "addPeer", peer=str(authority.address))
    assert answer == {
        "peer": str(authority.address),
        "nodeId": authority.address.node_id.hex(),
        "added": True,
        "connected": True,
        "peers": [str(authority.address)],
    }
    assert (await follower.call("net_getPeers"))["peers"][0]["persistent"] is True
    assert peers_in(path) == [str(authority.address)]
    assert path.read_text().startswith("# ours\n")
    assert (await admin(follower, "addPeer", peer=str(authority.address)))["added"] is False
    await world.final(authority, world.pay(world.alice))
    await until(lambda: follower.height == authority.height)
    disk = await world.stop(follower)
    again = await world.node("follower", disk=disk)
    await until(lambda: again.node.peers.ids() == [authority.address.node_id])


async def test_a_moved_peer_takes_the_place_of_its_former_address(
    autojump_clock: MockClock, world: NodeWorld, tmp_path: Path
) -> None:
    """Two lines for one node would dial the dead address for ever."""
    authority = await world.node("authority-1")
    follower = await world.node("follower")
    dead = f"{authority.address.node_id.hex()}@nowhere.example:{PORT}"
    assert (await admin(follower, "addPeer", peer=dead))["connected"] is False
    answer = await admin(follower, "addPeer", peer=str(authority.address))
    assert (answer["added"], answer["connected"]) == (True, True)
    assert peers_in(file_of(follower, tmp_path)) == [str(authority.address)]


async def test_what_is_no_peer_is_refused_and_nothing_is_written(
    autojump_clock: MockClock, world: NodeWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A typing error must not end in a file that stops the next start."""
    node = await world.node()
    before = file_of(node, tmp_path).read_bytes()
    own = str(node.address)
    for peer in ("", "x@h:1", f"{'a' * 64}@h", f"{'a' * 64}@h:0", f"{'a' * 64}@h_!:1", own, 5):
        assert (await refused(node, "addPeer", peer=peer)).code == -32602, peer
    assert (await refused(node, "removePeer", peer="ab" * 32)).code == -32001
    assert (await refused(node, "removePeer", peer="ab")).code == -32602
    monkeypatch.setattr(operator, "PEERS_MAX", 0)
    full = await refused(node, "addPeer", peer=f"{'a' * 64}@h:1")
    assert (full.code, full.hint) == (-32004, "remove a peer first")
    assert file_of(node, tmp_path).read_bytes() == before


async def test_a_removed_peer_is_gone_now_and_after_a_restart(
    autojump_clock: MockClock, world: NodeWorld, tmp_path: Path
) -> None:
    """A member that left the consortium is not dialled for ever."""
    authority = await world.node("authority-1")
    follower = await world.node("follower", authority)
    await until(follower.node.peers.ids)
    answer = await admin(follower, "removePeer", peer=str(authority.address))
    assert answer == {
        "nodeId": authority.address.node_id.hex(),
        "removed": True,
        "disconnected": True,
        "bannedUntil": None,
        "peers": [],
    }
    await until(lambda: not follower.node.peers.ids())
    # Neither the list nor what others tell of it brings it back by this node's own doing.
    await world.final(authority, *[world.pay(world.alice) for _ in range(3)])
    assert follower.node.peers.ids() == []
    disk = await world.stop(follower)
    again = await world.node("follower", disk=disk)
    assert peers_in(file_of(again, tmp_path)) == []
    assert again.node.peers.configured.addresses == []


async def test_a_banned_peer_cannot_come_by_itself_until_it_is_added_again(
    autojump_clock: MockClock, world: NodeWorld
) -> None:
    """The other side goes on dialling: it is not asked whether it was removed."""
    authority = await world.node("authority-1")
    follower = await world.node("follower", authority)
    await until(authority.node.peers.ids)
    ident = follower.address.node_id.hex()
    answer = await admin(authority, "removePeer", peer=ident, ban=True)
    assert (answer["removed"], answer["disconnected"]) == (False, True)
    assert answer["bannedUntil"] is not None
    bans = (await authority.call("net_getPeers"))["bans"]
    assert [(ban["subject"], ban["reason"]) for ban in bans] == [(ident, "banned by the operator")]
    await until(lambda: authority.node.peers.refused.get("banned", 0) > 1)
    assert authority.node.peers.ids() == []
    added = await admin(authority, "addPeer", peer=str(follower.address))
    assert (added["connected"], (await authority.call("net_getPeers"))["bans"]) == (True, [])


async def test_a_level_changes_for_one_part_or_for_all(
    autojump_clock: MockClock, world: NodeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody who looks for a fault sees one part's details, and not all parts' noise."""
    node = await world.node()
    assert (await admin(node, "setLogLevel", level="warning"))["levels"] == {"all": "warning"}
    found = await admin(node, "setLogLevel", level="debug", logger="p2p")
    assert found["levels"] == {"all": "warning", "p2p": "debug"}
    assert logging.getLogger("clawpurse.p2p").isEnabledFor(logging.DEBUG)
    assert not logging.getLogger("clawpurse.chain").isEnabledFor(logging.INFO)
    assert (await admin(node, "setLogLevel", level="info"))["levels"] == {"all": "info"}
    assert not logging.getLogger("clawpurse.p2p").isEnabledFor(logging.DEBUG)
    for wrong in ({"level": "all"}, {"level": "info", "logger": "root"}, {"level": 10}, {}):
        assert (await refused(node, "setLogLevel", **wrong)).code == -32602, wrong


async def test_a_file_that_is_read_anew_changes_what_it_can_and_says_the_rest(
    autojump_clock: MockClock, world: NodeWorld, tmp_path: Path
) -> None:
    """An operator who changed a file knows what counts already, and what still waits."""
    authority = await world.node("authority-1")
    node = await world.node("follower")
    assert await admin(node, "reloadConfig") == {"changed": [], "needsRestart": []}
    wanted = {
        "allowed_hosts": ["pay.example"],
        "allowed_origins": ["https://shop.example"],
        "log_level": "warning",
        "mempool_transactions_max": 777,
        "min_free_disk_mb": 1_024,
        "peers": [str(authority.address)],
    }
    path = file_of(node, tmp_path)
    lines = [line for line in path.read_text().splitlines() if not line.startswith("peers")]
    lines += [f"{name} = {json.dumps(value)}" for name, value in wanted.items()]
    assert (await send(node, "GET", "/healthz", host="pay.example")).status == 403
    path.write_text("\n".join(lines))
    live = set(wanted) - {"mempool_transactions_max"}
    for _ in range(2):
        answer = await admin(node, "reloadConfig")
        assert set(answer["changed"]) == live
        assert answer["needsRestart"] == ["mempool_transactions_max"]
        live = set()
    await until(lambda: node.node.peers.ids() == [authority.address.node_id])
    assert (await send(node, "GET", "/healthz", host="pay.example")).status == 200
    page = "Origin: https://shop.example\r\n"
    assert (await send(node, "GET", "/healthz", fields=page)).status == 200
    assert (await node.call("node_getStorage"))["minFreeMb"] == 1_024
    assert logging.getLogger("clawpurse").level == logging.WARNING
    shown = {one["name"]: one["value"] for one in (await node.call("node_getConfig"))["settings"]}
    assert (shown["log_level"], shown["mempool_transactions_max"]) == ("warning", 50_000)
    path.write_text("\n".join(line for line in lines if not line.startswith("peers")))
    assert (await admin(node, "reloadConfig"))["changed"] == ["peers"]
    await until(lambda: not node.node.peers.ids())


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("log_levl = 'info'", "unknown log_levl; nearest: log_level"),
        ("log_level = 'loud'", "log_level"),
        ("min_free_disk_mb = 1", "min_free_disk_mb"),
        ("peers = ['nobody']", "peers"),
        ("rpc_tls_key = 'x'", "rpc_tls_certificate is not"),
        ("rpc_listen = '0.0.0.0:1'", "without TLS"),
        ("= 3", "is not TOML"),
    ],
)
async def test_a_bad_file_changes_nothing(
    autojump_clock: MockClock, world: NodeWorld, tmp_path: Path, line: str, why: str
) -> None:
    """Half a configuration is none that anybody wrote."""
    node = await world.node()
    path, before = file_of(node, tmp_path), node.node.operator.config
    text = path.read_text()
    path.write_text(f"{text}authority_names = []\nallowed_hosts = ['pay.example']\n{line}\n")
    if line.startswith("peers"):
        path.write_text(path.read_text().replace("peers = []\n", ""))
    error = await refused(node, "reloadConfig")
    assert error.code == BAD_CONFIGURATION
    assert why in error.reason
    assert node.node.operator.config == before
    assert (await send(node, "GET", "/healthz", host="pay.example")).status == 403
    # A file that cannot be read is not written to either.
    broken = path.read_bytes()
    assert (await refused(node, "addPeer", peer=f"{'a' * 64}@h:1")).code == BAD_CONFIGURATION
    assert path.read_bytes() == broken
    path.write_text(text)
    assert await admin(node, "reloadConfig") == {"changed": [], "needsRestart": []}


async def test_a_node_without_a_file_says_so(
    autojump_clock: MockClock, make_world: Callable[..., NodeWorld]
) -> None:
    """A change that the next start forgets would be a trap."""
    node = await make_world().node()
    error = await refused(node, "addPeer", peer=f"{'a' * 64}@h:1")
    assert (error.code, error.reason) == (
        BAD_CONFIGURATION,
        "This node has no configuration file.",
    )
