"""The first five minutes, by program: a network, keys, a payment, its proof, the mistakes."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest

from clawpurse.ledger.address import account_from_text
from tests.e2e.conftest import Net, runner

pytestmark = pytest.mark.real


def test_the_start_says_where_everything_is(net: Net) -> None:
    """A program that starts a network must find its nodes, genesis and faucet in the answer."""
    facts = net.facts
    assert set(facts) == {"home", "chainId", "genesisHash", "genesis", "faucet", "nodes"}
    assert facts["chainId"].startswith("acme-test-")
    assert json.loads(Path(facts["genesis"]).read_text())["chainId"] == facts["chainId"]
    account_from_text(facts["faucet"])
    assert [node["name"] for node in facts["nodes"]] == [f"authority-{i}" for i in range(1, 5)]
    for node in facts["nodes"]:
        assert set(node) == {"name", "home", "pid", "rpc", "p2p", "metrics", "height", "state"}
        assert (node["state"], node["height"]) == ("ready", 1)
        assert node["rpc"].startswith("http://127.0.0.1:")
        assert Path(f"/proc/{node['pid']}").exists()
    again = net.run("testnet", "status", "--home", net.home, "--json").json()
    assert set(again) == {*facts, "explanation"}


def test_a_payment_is_final_and_proved_offline(net: Net) -> None:
    """The whole promise in one go: paid, final, and anyone can check it from the genesis hash."""
    net.fund("alice")
    bob = net.run("keys", "add", "bob", "--passphrase-file", net.passphrase_file, "--json").json()
    paid = net.run(
        "wallet",
        "send",
        "bob",
        "12.5",
        "--from",
        "alice",
        "--passphrase-file",
        net.passphrase_file,
        "--yes",
        "--json",
    )
    document = paid.json()
    assert list(document) == ["txId", "status", "height", "index", "fee", "receipt", "proof"]
    assert document["status"] == "final"
    balances = net.run("wallet", "balance", "bob", "--json").json()
    assert balances["account"] == bob["account"]
    entry = {"asset": "CLAW", "amount": "1250", "held": "0", "decimals": 2}
    assert balances["balances"] == [entry]
    mine = net.run("wallet", "balance", "alice", "--json").json()["balances"][0]
    assert int(mine["amount"]) == 100_000 - 1250 - int(document["fee"])
    # Offline: no node is asked.
    nowhere = {"CLAWPURSE_RPC": "http://127.0.0.1:1"}
    genesis_hash = net.facts["genesisHash"]
    verdict = net.run(
        "tx", "verify", "-", "--genesis-hash", genesis_hash, "--json", stdin=paid.out, **nowhere
    )
    assert verdict.json()["valid"] is True
    assert verdict.json()["txId"] == document["txId"]
    other = "0x" + "00" * 32
    wrong = net.run("tx", "verify", "-", "--genesis-hash", other, stdin=paid.out, **nowhere)
    assert wrong.code == 4
    history = net.run("wallet", "history", "bob", "--json").json()
    assert [entry["txId"] for entry in history["transactions"]] == [document["txId"]]
    for node in net.facts["nodes"]:
        waited = net.run("tx", "wait", document["txId"], "--rpc", node["rpc"], "--json").json()
        assert waited["height"] == document["height"]


def test_one_idempotency_key_pays_once(net: Net) -> None:
    """A script that lost the answer may run again without paying twice."""
    net.fund("ida")
    command = ["wallet", "send", net.facts["faucet"], "5", "--from", "ida", "--json", "--yes"]
    command += ["--passphrase-file", net.passphrase_file, "--idempotency-key", "0x0123456789"]
    first = net.run(*command).json()
    second = net.run(*command)
    assert second.code == 4
    assert first["txId"] in json.loads(second.out)["error"]["reason"]
    left = net.run("wallet", "balance", "ida", "--json").json()["balances"][0]
    assert int(left["amount"]) == 100_000 - 500 - int(first["fee"])


def test_the_commonest_mistakes_get_one_line_each(net: Net, tmp_path: Path) -> None:
    """Whoever is lost in the first five minutes reads one line and knows the next command."""
    poor = net.run("keys", "add", "poor", "--passphrase-file", net.passphrase_file, "--json").json()
    net.fund("rich")
    send = ["wallet", "send", "poor", "3", "--from", "rich", "--yes"]
    net.run(*send, "--passphrase-file", net.passphrase_file, "--json").json()
    bad_passphrase = tmp_path / "bad"
    bad_passphrase.write_text("another horse battery\n")
    account = poor["account"]
    mistyped = account[:-1] + ("q" if account[-1] != "q" else "p")
    other = tmp_path / "other"
    other.mkdir()
    for name in ("keys",):
        (other / name).mkdir(mode=0o700)
        for file in (net.client / name).glob("*.json"):
            copy = other / name / file.name
            copy.write_bytes(file.read_bytes())
    (other / "config.toml").write_text(
        f'network = "main"\n[networks.main]\nrpc = "{net.rpc}"\nchain_id = "acme-main"\n'
    )
    ok = ["--passphrase-file", net.passphrase_file, "--yes"]
    pay = ["wallet", "send", "rich"]
    cases = [
        (
            net.run(*pay, "1", "--from", "poor", "--rpc", "http://127.0.0.1:1", *ok),
            3,
            "No node answers at 127.0.0.1:1. → make run, or add --rpc URL",
        ),
        (
            net.run(*pay, "12.5", "--from", "poor", *ok),
            4,
            "poor has 3.00 CLAW, needs 12.51. Nothing was sent. → clawpurse faucet poor",
        ),
        (
            net.run(*pay, "1", "--from", "poor", "--passphrase-file", bad_passphrase, "--yes"),
            1,
            "Wrong passphrase for poor. Next try in 4 s. → clawpurse keys import poor",
        ),
        (
            net.run("wallet", "send", mistyped, "1", "--from", "rich", *ok),
            2,
            f"{mistyped[:8]}… is mistyped (checksum). Nothing was sent. "
            "→ clawpurse wallet contacts",
        ),
        (
            net.run(*pay, "12.345", "--from", "rich", *ok),
            2,
            "12.345 has 3 decimals, CLAW has 2. Nothing was sent. → use 12.34 or 12.35",
        ),
        (
            runner(other)(*pay, "1", "--from", "poor", *ok),
            4,
            f"Signed for acme-main, node runs {net.facts['chainId']}. Nothing was sent. "
            "→ add --rpc URL",
        ),
    ]
    for done, code, line in cases:
        assert (done.code, done.out) == (code, ""), done
        assert done.err == line + "\n"


def test_a_taken_port_names_who_has_it(net: Net, tmp_path: Path) -> None:
    """The remedy must work as it is printed: other ports, by make or by hand."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        start = ["testnet", "start", "--home", tmp_path / "net", "--base-port", port - 1]
        done = net.run(*start, "--authorities", 1)
        assert done.code == 1
        line = done.err.splitlines()[-1]
        assert line.startswith(f"Port {port} is taken by process ")
        assert re.search(r"\. → make run BASE_PORT=(\d+), or add --base-port \1$", line)
        assert not (tmp_path / "net").exists()
        made = net.run(*start, "--authorities", 1, CLAWPURSE_UNDER_MAKE="1")
        assert " → make run DATA=" in made.err


def test_status_methods_and_rpc_answer(net: Net) -> None:
    """What people type when they look around must work on a healthy network."""
    status = net.run("status", "--json").json()
    names = (
        "chainId genesisHash height hash time stateRoot syncing behind peers authorities version"
    )
    assert set(names.split()) <= set(status)
    assert net.run("status").out.startswith("✓ All is well: block ")
    block = net.run("rpc", "chain_getBlock", "height=1").json()
    assert block["header"]["height"] == 1
    methods = net.run("methods", "--json").json()["methods"]
    assert {"chain_getStatus", "tx_submit", "faucet_request"} <= {one["name"] for one in methods}
    near = net.run("rpc", "chain_getBlok", "height=1")
    assert (near.code, near.err) == (
        2,
        "No method chain_getBlok; nearest: chain_getBlock. → clawpurse methods\n",
    )
    assert len(net.run("validators", "--json").json()["authorities"]) == 4
    assert net.run("consensus", "state").code == 0
    assert net.run("doctor").code == 0
    assert net.run("doctor", "--home", net.home / "authority-1").code == 0


def test_a_destructive_command_refuses_while_nodes_run(net: Net) -> None:
    """A chain that is in use is never deleted under its nodes."""
    name = net.facts["chainId"]
    done = net.run("testnet", "reset", "--home", net.home, "--yes", "--i-understand", name)
    assert done.code == 1
    assert "still run. Nothing was deleted. → clawpurse testnet stop" in done.err
    running = net.run("db", "check", "--home", net.home / "authority-1")
    assert running.code == 1
    assert "is running already" in running.err
