"""An auditor with a file and a hash: a real network's story, checked where no node answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Net

pytestmark = pytest.mark.real


def test_a_real_story_convinces_without_the_network(net: Net, tmp_path: Path) -> None:
    """Exported from one node, verified with no node: who paid whom, what failed, nothing hidden."""
    ann = net.fund("ann")["account"]
    ben = net.run("keys", "add", "ben", "--passphrase-file", net.passphrase_file, "--json").json()
    ok = ["--from", "ann", "--passphrase-file", net.passphrase_file, "--yes", "--json"]
    paid = [net.run("wallet", "send", "ben", amount, *ok).json() for amount in ("1.25", "2.50")]
    file, whole = tmp_path / "ann.json", tmp_path / "whole.json"
    said = net.run("audit", "export", "--account", "ann", "--out", file, "--json").json()
    assert said["transactions"] == 3
    genesis_hash = net.facts["genesisHash"]
    nowhere = {"CLAWPURSE_RPC": "http://127.0.0.1:1"}
    verify = ["audit", "verify", file, "--genesis-hash"]
    story = net.run(*verify, genesis_hash, "--json", **nowhere).json()
    assert story["valid"] is True
    mine = [one for one in story["transactions"] if one["sender"] == ann]
    assert [one["txId"] for one in mine] == [one["txId"] for one in paid]
    assert all(ben["account"] in one["words"] for one in mine)
    (sent,) = story["completeness"]["sent"]
    assert (sent["complete"], sent["shown"]) == (True, 2)
    spoken = net.run(*verify, genesis_hash, **nowhere)
    assert (spoken.code, spoken.err) == (0, "")
    assert "Proven: All that ann sent up to block" in spoken.out
    assert net.run(*verify, "0x" + "00" * 32, **nowhere).code == 4
    last = paid[-1]["height"]
    net.run("audit", "export", "--heights", f"1:{last}", "--out", whole, "--json").json()
    everything = net.run(
        "audit", "verify", whole, "--genesis-hash", genesis_hash, "--json", **nowhere
    ).json()
    assert f"Blocks 1 to {last} are here whole" in everything["completeness"]["proven"][0]
    bent = json.loads(whole.read_text())
    bent["blocks"][last - 1]["transactions"].pop()
    whole.write_text(json.dumps(bent))
    refused = net.run("audit", "verify", whole, "--genesis-hash", genesis_hash, **nowhere)
    assert refused.code == 4
    assert refused.out.startswith(f"✗ Not valid. block {last}: ")
