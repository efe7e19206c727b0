"""The light client as people type it, against real nodes: no options, then each kind of trust."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Net

pytestmark = pytest.mark.real


def test_light_verify_needs_no_options_after_testnet_start(net: Net) -> None:
    """The client knows the nodes and the genesis hash; one is asked and three confirm."""
    net.fund("lara")
    done = net.run("light", "verify")
    assert done.code == 0, done
    # From genesis the first time; then from what was verified before.
    assert "from genesis" in done.out or "from block" in done.out
    assert "3 of 3 witnesses agree." in done.out
    answer = net.run("light", "verify", "--json").json()
    assert answer["verified"] is True
    block = net.run("rpc", "chain_getBlock", f"height={answer['height']}").json()
    assert block["header"]["hash"] == answer["hash"]
    assert block["header"]["stateRoot"] == answer["stateRoot"]


def test_light_verify_from_a_checkpoint_and_from_a_wrong_one(net: Net) -> None:
    net.fund("luis")
    nodes = [str(node["rpc"]) for node in net.facts["nodes"]]
    block = net.run("rpc", "chain_getBlock", "height=1").json()["header"]
    where = ("--primary", nodes[2], "--witness", nodes[0])
    trust = ("--trusted-height", 1, "--trusted-hash")
    answer = net.run("light", "verify", *where, *trust, block["hash"], "--json").json()
    assert answer["verified"] is True
    assert [one["standing"] for one in answer["witnesses"]] == ["agrees"]
    wrong = net.run("light", "verify", *where, *trust, "0x" + "11" * 32)
    assert wrong.code == 4
    assert "is not the trusted 0x1111" in wrong.out


def test_light_verify_says_who_does_not_answer(net: Net) -> None:
    nodes = [str(node["rpc"]) for node in net.facts["nodes"]]
    dead = "http://127.0.0.1:9"
    down = net.run("light", "verify", "--primary", dead, "--witness", nodes[0],
                   "--genesis-hash", net.facts["genesisHash"])  # fmt: skip
    assert down.code == 3
    one = net.run("light", "verify", "--primary", nodes[0], "--witness", dead,
                  "--witness", nodes[1])  # fmt: skip
    assert one.code == 0, one
    assert f"{dead} is unreachable." in one.err
    none = net.run("light", "verify", "--primary", nodes[0], "--witness", dead)
    assert none.code == 3
