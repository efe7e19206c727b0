"""`audit export` and `audit verify`: from a node's answers to a file, from the file to a story."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clawpurse.ledger.address import account_text
from clawpurse.modules.kit.web.errors import NOT_FOUND, PRUNED, RpcError
from tests.cli.conftest import Cli
from tests.cli.fakenode import FakeNode
from tests.wallet.bundleworld import ALICE, Recorded, question, recorded

WHO = account_text(ALICE.account)


@pytest.fixture
def history(node: FakeNode) -> Recorded:
    """The fake node gives the answers of a real one."""
    found = recorded()

    def answering(method: str) -> Callable[[dict[str, Any]], Any]:
        return lambda params: found.answers.get(
            question(method, params), RpcError(NOT_FOUND, f"{method} {params} was not recorded")
        )

    for method in {json.loads(asked)[0] for asked in found.answers}:
        node.overrides[method] = answering(method)
    return found


def trusted(history: Recorded) -> str:
    return f"0x{history.genesis_hash.hex()}"


def test_a_story_is_exported_checked_and_told_offline(
    cli: Cli, node: FakeNode, history: Recorded, tmp_path: Path
) -> None:
    """What an auditor carries home must convince without the node that gave it."""
    file = tmp_path / "story.json"
    done = cli("audit", "export", "--account", WHO, "--out", str(file))
    assert done.code == 0, done.err
    assert done.out.startswith("✓ 8 transactions of ")
    assert f"Next: clawpurse audit verify {file} --genesis-hash {trusted(history)}" in done.err
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text()) == history.bundles["alice"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["story.json"]
    node.down = True
    done = cli("audit", "verify", str(file), "--genesis-hash", trusted(history))
    assert done.code == 0, done.err
    rows = [line.split("\t") for line in done.out.splitlines() if "\t" in line]
    assert len(rows) == 10
    assert rows[0][:3] == ["1", "2027-01-15 08:00:00", WHO]
    assert rows[0][4] == "done"
    assert "✓ Valid for rpc-test: everything above is final" in done.out
    assert f"✓ Proven: All that {WHO} sent up to block {history.height} is here" in done.out
    assert "! Not proven: That everything is here that others did" in done.out
    assert "\x1b" not in done.out


def test_programs_get_one_object(cli: Cli, history: Recorded, tmp_path: Path) -> None:
    file = tmp_path / "story.json"
    done = cli("audit", "export", "--account", WHO, "--out", str(file), "--json")
    said = json.loads(done.out)
    assert (said["file"], said["transactions"], said["due"]) == (str(file), 8, 2)
    assert (said["bytes"], said["notes"]) == (file.stat().st_size, [])
    done = cli("audit", "verify", str(file), "--genesis-hash", trusted(history), "--json")
    story = json.loads(done.out)
    assert done.code == 0
    assert story["valid"] is True
    assert story["completeness"]["sent"] == [
        {
            "account": WHO,
            "complete": True,
            "shown": 7,
            "upToHeight": history.height,
            "missing": 0,
        }
    ]
    refused = [one for one in story["transactions"] if one["code"] != "ok"]
    assert [one["rule"] for one in refused] == ["kernel.balance"]


@pytest.mark.parametrize(
    ("options", "name"),
    [(("--asset", "EUR"), "asset"), (("--heights", "2:LAST"), "heights")],
)
def test_assets_and_ranges_are_exported_too(
    cli: Cli, history: Recorded, tmp_path: Path, options: tuple[str, str], name: str
) -> None:
    file = tmp_path / "story.json"
    value = options[1].replace("LAST", str(history.height))
    done = cli("audit", "export", options[0], value, "--out", str(file))
    assert done.code == 0, done.err
    assert json.loads(file.read_text()) == history.bundles[name]


def test_transactions_are_picked_by_id(cli: Cli, history: Recorded, tmp_path: Path) -> None:
    file, ids = tmp_path / "story.json", history.bundles["ids"]["scope"]["transactions"]
    key = "kernel:0x61" + "13" * 32
    picked = [part for one in reversed(ids) for part in ("--tx", one)]
    done = cli("audit", "export", *picked, "--key", key, "--out", str(file))
    assert done.code == 0, done.err
    assert json.loads(file.read_text()) == history.bundles["ids"]


def test_a_bent_bundle_exits_with_4_and_tells_no_story(
    cli: Cli, history: Recorded, tmp_path: Path
) -> None:
    file = tmp_path / "bent.json"
    document = json.loads(json.dumps(history.bundles["alice"]))
    receipt = document["blocks"][2]["transactions"][0]["receipt"]
    receipt["leaf"] = receipt["leaf"].replace("0f", "00", 1)
    file.write_text(json.dumps(document))
    done = cli("audit", "verify", str(file), "--genesis-hash", trusted(history))
    assert done.code == 4
    assert done.out.startswith("✗ Not valid. block 3: ")
    assert "Pay" not in done.out
    done = cli("audit", "verify", str(file), "--genesis-hash", trusted(history), "--json")
    assert done.code == 4
    said = json.loads(done.out)
    assert (said["valid"], said["step"]) == (False, "block 3")


def test_a_node_that_lies_leaves_no_file(
    cli: Cli, node: FakeNode, history: Recorded, tmp_path: Path
) -> None:
    """An export is checked before it is kept: nobody carries home what will not hold."""
    honest = node.overrides["chain_getInclusion"]

    def lying(params: dict[str, Any]) -> Any:
        answer = json.loads(json.dumps(honest(params)))
        for one in answer["transactions"]:
            one["events"] = []
        return answer

    node.overrides["chain_getInclusion"] = lying
    done = cli("audit", "export", "--account", WHO, "--out", str(tmp_path / "story.json"))
    assert (done.code, done.out) == (1, "")
    assert "cannot be used" in done.err
    assert list(tmp_path.glob("*story*")) == []


def test_state_that_is_not_kept_any_more_is_said(
    cli: Cli, node: FakeNode, history: Recorded, tmp_path: Path
) -> None:
    node.overrides["chain_getProof"] = lambda _params: RpcError(PRUNED, "it is below height 9")
    file = tmp_path / "story.json"
    done = cli("audit", "export", "--account", WHO, "--out", str(file))
    assert done.code == 0
    assert f"State after block {history.height} is not kept any more" in done.err
    done = cli("audit", "verify", str(file), "--genesis-hash", trusted(history))
    assert f"Not proven: That {WHO} sent no more after the last of these 7" in done.out


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        ((), 2, "Name one of --account, --asset, --heights and --tx."),
        (("--asset", "EUR", "--heights", "1:2"), 2, "Name one of"),
        (("--heights", "5"), 2, "--heights is not FIRST:LAST."),
        (("--heights", "5:2"), 2, "--heights is no range of blocks."),
        (("--tx", "0x12"), 2, "--tx is not 0x and 64 hex digits."),
        (("--asset", "EUR", "--key", "kernel"), 2, "--key 'kernel' is not MODULE:HEX."),
        (("--account", "nobody"), 2, "nobody"),
        (("--heights", "1:900"), 1, "Block 900 is not there yet"),
    ],
)
def test_mistakes_get_one_line_and_no_file(
    cli: Cli,
    history: Recorded,
    tmp_path: Path,
    options: tuple[str, ...],
    code: int,
    reason: str,
) -> None:
    file = tmp_path / "story.json"
    done = cli("audit", "export", *options, "--out", str(file))
    assert (done.code, done.out) == (code, ""), done
    assert reason in done.err
    assert not file.exists()


def test_no_file_is_overwritten(cli: Cli, history: Recorded, tmp_path: Path) -> None:
    file = tmp_path / "story.json"
    file.write_text("mine")
    done = cli("audit", "export", "--account", WHO, "--out", str(file))
    assert done.code == 2
    assert "is there already" in done.err
    assert file.read_text() == "mine"


@pytest.mark.parametrize("text", ["", "x", "[" * 100_000])
def test_what_is_no_bundle_is_said_to_be_none(cli: Cli, tmp_path: Path, text: str) -> None:
    file = tmp_path / "no.json"
    file.write_text(text)
    done = cli("audit", "verify", str(file), "--genesis-hash", "0x" + "00" * 32)
    assert done.code == 2
    assert "is not JSON" in done.err
    done = cli("audit", "verify", str(tmp_path / "none"), "--genesis-hash", "0x" + "00" * 32)
    assert done.code == 2
