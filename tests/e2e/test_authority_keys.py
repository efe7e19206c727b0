"""An authority's key as its operator handles it: one process only, a signer of its own, a move.

Real processes on real disks, the commands as people type them.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Net, Run, environment_for, free_base_port, runner

pytestmark = pytest.mark.real
DEADLINE_S = 90.0
PASSPHRASE = "correct horse battery"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Net]:
    """Four authorities of this test's own: what happens to them must not hit others."""
    client, folder = tmp_path / "client", tmp_path / "testnet"
    run = runner(client)
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    base = ["--base-port", free_base_port(6)]
    started = run("testnet", "start", "--home", folder, *base, "--detach", "--json")
    try:
        yield Net(run, started.json(), folder, client, str(tmp_path / "passphrase"))
    finally:
        run("stop", "--home", folder)


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def call(run: Run, rpc: str, method: str, *parameters: object) -> Any:
    return run("rpc", method, *parameters, "--rpc", rpc, "--json").json()


def signs(net: Net, rpc: str) -> bool:
    done = net.run("rpc", "consensus_getSignerMetrics", "--rpc", rpc, "--json")
    keys = json.loads(done.out)["keys"] if done.code == 0 else []
    return any(key["state"] == "signing" for key in keys)


def spawned(client: Path, log: Path, *arguments: object) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "clawpurse.cli", *map(str, arguments)],
            env=environment_for(client),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def test_a_second_process_with_one_authority_s_key_refuses(own: Net, tmp_path: Path) -> None:
    """Started in the same folder, or in another one with a copy of key and signing state."""
    run, nodes = own.run, own.facts["nodes"]
    first = Path(nodes[0]["home"])
    again = run("start", "--home", first)
    assert again.code == 1
    assert "is running already" in again.err
    twin = tmp_path / "twin"
    peers = [word for node in nodes for word in ("--peer", node["p2p"])]
    genesis = [own.facts["genesis"], "--hash", own.facts["genesisHash"]]
    assert run("join", *genesis, *peers, "--home", twin).code == 0
    # The key alone is not enough to sign with.
    shutil.copy(first / "authority.key", twin / "authority.key")
    assert run("config", "set", "authority", "true", "--home", twin).code == 0
    refused = run("start", "--home", twin, "--base-port", free_base_port(1))
    assert refused.code == 1
    assert "signing state" in refused.err
    for file in (first / "signer").iterdir():
        shutil.copy(file, twin / "signer" / file.name)
    log = tmp_path / "twin.log"
    start = ["start", "--home", twin, "--base-port", free_base_port(1)]
    second = spawned(own.client, log, *start)
    try:
        own.fund("anna")
        deadline = time.monotonic() + DEADLINE_S
        while second.poll() is None and time.monotonic() < deadline:
            assert run("faucet", "anna", "--json").code in (0, 1)
            time.sleep(0.5)
        assert second.poll() == 1, log.read_text()
    finally:
        if second.poll() is None:
            second.kill()
        second.wait(timeout=30)
    last = log.read_text().splitlines()[-1]
    assert "Another process has the same key" in last
    assert "authority move-out" in last
    # The first one never stopped, and nobody saw anybody sign twice.
    for node in nodes:
        assert call(run, node["rpc"], "consensus_getState")["evidenceSeen"] == 0
        assert signs(own, node["rpc"])
    ids = {call(run, n["rpc"], "chain_getBlock", "height=2")["header"]["hash"] for n in nodes}
    assert len(ids) == 1


def desk(net: Net, rpc: str) -> dict[str, Any]:
    """What a node says of the one key that it may sign with."""
    (found,) = call(net.run, rpc, "consensus_getSignerMetrics")["keys"]
    return dict(found)


@pytest.mark.full
def test_yesterday_s_backup_observes_and_signs_only_when_it_is_safe(
    own: Net, tmp_path: Path
) -> None:
    """Signing again what the restored log has forgotten would be signing twice."""
    run, nodes = own.run, own.facts["nodes"]
    fourth, rpc = Path(nodes[3]["home"]), nodes[3]["rpc"]
    own.fund("anna")
    until(lambda: signs(own, rpc), "the fourth signs")
    assert run("stop", "--home", fourth).code == 0
    shutil.copytree(fourth / "data", tmp_path / "yesterday")
    assert run("start", "--home", fourth, "--detach").code == 0
    until(lambda: signs(own, rpc), "the fourth signs again")
    before = int(call(run, rpc, "chain_getStatus")["height"])
    until(
        lambda: (
            run("faucet", "anna", "--json").code in (0, 1)
            and int(call(run, rpc, "chain_getStatus")["height"]) > before + 3
        ),
        "a day of blocks",
    )
    assert run("stop", "--home", own.home).code == 0
    shutil.rmtree(fourth / "data")
    shutil.copytree(tmp_path / "yesterday", fourth / "data")
    # Alone, it can learn nothing: it waits and signs nothing.
    alone = spawned(own.client, tmp_path / "alone.log", "start", "--home", fourth)
    try:
        until(lambda: run("status", "--rpc", rpc, "--json").code == 0, "the fourth answers")
        waits = desk(own, rpc)
        assert waits["state"] in ("observing", "listening")
        assert int(call(run, rpc, "chain_getStatus")["height"]) <= before
    finally:
        alone.send_signal(signal.SIGTERM)
        alone.wait(timeout=30)
    again = run("testnet", "start", "--home", own.home, "--detach")
    assert again.code == 0, again
    until(lambda: signs(own, rpc), "the fourth has caught up and signs")
    assert int(call(run, rpc, "chain_getStatus")["height"]) > before + 3
    own.fund("bert")
    for node in nodes:
        assert call(run, node["rpc"], "consensus_getState")["evidenceSeen"] == 0


@pytest.mark.full
def test_a_key_moves_into_a_signer_of_its_own_which_may_die(own: Net, tmp_path: Path) -> None:
    """The guided way, end to end: move out, move in, pair, run, kill, run again."""
    run, node = own.run, own.facts["nodes"][0]
    home, vault, bundle = Path(node["home"]), tmp_path / "vault", tmp_path / "key.bundle"
    key_file = ["--passphrase-file", own.passphrase_file]
    chain = own.facts["chainId"]
    node_id = node["p2p"].split("@")[0]
    genesis = ["--genesis", own.facts["genesis"], "--hash", own.facts["genesisHash"]]
    listen = f"127.0.0.1:{free_base_port(1)}"
    init = ["authority", "signer", "--init", "--home", vault, "--client-key", node_id]
    pair = run(*init, *genesis, "--listen", listen, "--json").json()
    assert pair["clientKey"] == node_id and pair["authorities"] == []
    out = ["authority", "move-out", "--to", pair["signerKey"], "--out", bundle, "--home", home]
    sure = ["--yes", "--i-understand", chain]
    running = run(*out, *key_file, *sure)
    assert running.code == 1 and "is running already" in running.err
    assert run("stop", "--home", home).code == 0
    unsure = run(*out, *key_file)
    assert unsure.code == 2 and f"--yes --i-understand {chain}" in unsure.err
    moved = run(*out, *key_file, *sure, "--json").json()
    assert not (home / "authority.key").exists()
    authority = moved["authority"]
    into = run("authority", "move-in", bundle, "--home", vault, *key_file, "--json").json()
    assert into["authority"] == authority
    # The node follows without a key, and is paired.
    for name, value in (
        ("signer_address", listen),
        ("signer_key", pair["signerKey"]),
        ("signer_authorities", authority),
        ("authority", "true"),
    ):
        assert run("config", "set", name, value, "--home", home).code == 0
    log = tmp_path / "signer.log"
    signer = spawned(own.client, log, "authority", "signer", "--home", vault, "--json")
    try:
        assert run("start", "--home", home, "--detach").code == 0
        until(lambda: signs(own, node["rpc"]), "the node does not sign with its signer")
        own.fund("anna")
        signer.send_signal(signal.SIGKILL)
        signer.wait(timeout=30)
        until(lambda: not signs(own, node["rpc"]), "its absence is not noticed")
        health = call(run, node["rpc"], "node_getHealth")
        assert any(listen in problem for problem in health["problems"])
        assert run("faucet", "anna", "--json").code == 0
        assert os.path.exists(f"/proc/{call_pid(home)}")
        signer = spawned(own.client, log, "authority", "signer", "--home", vault, "--json")
        until(lambda: signs(own, node["rpc"]), "the node does not sign again")
        assert run("faucet", "anna", "--json").code == 0
        second = run("authority", "signer", "--home", vault)
        assert second.code == 1 and "is running already" in second.err
    finally:
        signer.terminate()
        signer.wait(timeout=30)
    for one in own.facts["nodes"]:
        assert call(run, one["rpc"], "consensus_getState")["evidenceSeen"] == 0


def call_pid(home: Path) -> str:
    """The process that runs a node."""
    return (home / "node.lock").read_text().strip()
