"""Saved receipts: found again, and proven without a node; an edited one is told from the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.fakenode import FakeNode

pytestmark = pytest.mark.usefixtures("wallet")


@pytest.fixture
def genesis_hash(cli: Cli, node: FakeNode, passphrase_file: str) -> str:
    """Two payments have receipts; returns whom to trust. From here on no node answers."""
    for amount in ("1", "2"):
        pay = ["wallet", "send", "bob", amount, "--from", "alice", "--yes"]
        assert cli(*pay, "--passphrase-file", passphrase_file).code == 0
    node.down = True
    return f"0x{node.chain.genesis.hash.hex()}"


def test_receipts_are_listed_and_shown(cli: Cli, node: FakeNode, genesis_hash: str) -> None:
    """Who wants to prove a payment of last year must find it."""
    first, second = node.final
    listed = json.loads(cli("receipts", "list", "--json").out)["receipts"]
    assert [one["txId"] for one in listed] == [first, second]
    assert [one["height"] for one in listed] == [1, 2]
    assert first in cli("wallet", "receipts", "list").out
    shown = cli("receipts", "show", first[:12])
    assert shown.code == 0 and first in shown.out and "assets.transferred" in shown.out


def test_all_receipts_are_verified_offline(
    cli: Cli, node: FakeNode, home: Path, genesis_hash: str
) -> None:
    """One edited receipt among many must be named, whatever the others say."""
    first, second = node.final
    trusted = ("--genesis-hash", genesis_hash)
    done = cli("receipts", "verify", "--all", *trusted)
    assert (done.code, done.out.count("✓")) == (0, 2)
    assert done.err == "2 checked, 0 not valid. No node was asked.\n"
    file = home / "receipts" / f"{second}.json"
    document = json.loads(file.read_text())
    document["receipt"]["events"][0]["data"]["amount"] = "1"
    file.write_text(json.dumps(document))
    answer = cli("wallet", "receipts", "verify", "--all", *trusted, "--json")
    verdict = json.loads(answer.out)
    assert (answer.code, verdict["valid"]) == (4, False)
    assert {one["txId"]: one["valid"] for one in verdict["receipts"]} == {
        first: True,
        second: False,
    }
    assert cli("receipts", "verify", first, *trusted).code == 0
    assert cli("receipts", "verify", first, "--genesis-hash", "0x" + "00" * 32).code == 4


def test_what_is_not_said_is_asked_for(cli: Cli, genesis_hash: str) -> None:
    """Without somebody to trust there is nothing to verify."""
    assert cli("receipts", "verify", "--all").code == 2
    assert cli("receipts", "verify").code == 2
