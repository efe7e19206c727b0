"""A fifth node joins with the genesis and one peer address, and serves like the others."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Net, free_base_port

pytestmark = pytest.mark.real
DEADLINE_S = 60.0


def test_a_follower_joins_syncs_serves_and_relays(net: Net, tmp_path: Path) -> None:
    """A bank that only follows must see everything and pay through its own node."""
    net.fund("anna")
    home = tmp_path / "follower"
    genesis, genesis_hash = net.facts["genesis"], net.facts["genesisHash"]
    join = ["join", genesis, "--peer", net.facts["nodes"][1]["p2p"], "--home", home]
    wrong = net.run(*join, "--hash", "0x" + "00" * 32)
    assert wrong.code == 1
    assert "It is another network, or was changed." in wrong.err
    assert not home.exists()
    joined = net.run(*join, "--hash", genesis_hash, "--json").json()
    assert joined["authority"] is False
    base = free_base_port(1)
    start = ["start", "--home", home, "--base-port", base, "--detach", "--json"]
    entry = net.run(*start).json()
    try:
        assert set(entry) == {"name", "home", "pid", "rpc", "p2p", "metrics", "height", "state"}
        assert entry["rpc"] == f"http://127.0.0.1:{base + 1}"
        _caught_up(net, entry["rpc"])
        paid = net.run(
            "wallet",
            "send",
            net.facts["faucet"],
            "7",
            "--from",
            "anna",
            "--rpc",
            entry["rpc"],
            "--passphrase-file",
            net.passphrase_file,
            "--yes",
            "--json",
        ).json()
        for node in (*net.facts["nodes"], entry):
            seen = net.run("tx", "wait", paid["txId"], "--rpc", node["rpc"], "--json").json()
            assert (seen["status"], seen["height"]) == ("final", paid["height"])
        peers = net.run("rpc", "net_getPeers", "--rpc", entry["rpc"]).json()["peers"]
        assert len(peers) >= 1
    finally:
        stopped = net.run("stop", "--home", home, "--json")
    assert stopped.json()["stopped"] == 1
    assert net.run("db", "check", "--home", home).code == 0


def _caught_up(net: Net, rpc: str) -> None:
    """Wait until the follower stands where the network stands."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        theirs = net.run("status", "--rpc", net.rpc, "--json").json()
        mine = net.run("status", "--rpc", rpc, "--json").json()
        if mine["height"] >= theirs["height"]:
            return
        assert time.monotonic() < deadline, mine
