"""Changing an authority's key, and what the doctor says of it: no step may lose the office.

A next key without a state could not sign; an old key put away too early would silence the node.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from clawpurse.cli import authority_keys
from clawpurse.cli.authority_keys import RETIRED, SETS_OUTSIDE_MIN
from clawpurse.cli.network import create_network
from clawpurse.ledger.address import authority_text
from clawpurse.ledger.crypto import public_key_of
from clawpurse.node.config import load_config
from clawpurse.node.files import DiskFiles
from clawpurse.node.home import NodeHome
from clawpurse.node.signer import FileSigner, state_name
from clawpurse.node.workers import InlineLane
from tests.cli.conftest import Cli

NOW_MS = 1_800_000_000_000


@pytest.fixture
def seat(tmp_path: Path) -> NodeHome:
    """The folder of an authority that does not run."""
    return create_network(tmp_path / "net", 1, 9700, NOW_MS).homes[0]


def key_of(path: Path, seat: NodeHome) -> bytes:
    return public_key_of(seat.read_seed(path))


def test_the_next_key_is_made_once_and_can_sign(cli: Cli, seat: NodeHome) -> None:
    first = json.loads(cli("authority", "rotate-key", "--home", str(seat.root), "--json").out)
    again = json.loads(cli("authority", "rotate-key", "--home", str(seat.root), "--json").out)
    assert first == again
    new = key_of(seat.next_authority_key, seat)
    assert first["new"] == authority_text(new) != first["old"]
    genesis = seat.read_genesis()
    assert state_name(genesis.hash, new) in DiskFiles(seat.signer).names()
    seed = seat.read_seed(seat.next_authority_key)
    FileSigner(seed, genesis.hash, DiskFiles(seat.signer), InlineLane())
    assert seat.next_authority_key.stat().st_mode & 0o777 == 0o600
    told = cli("authority", "rotate-key", "--home", str(seat.root))
    assert f"propose replace {first['old']} {first['new']}" in told.err + told.out


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (None, "No node answers"),
        ([], "does not have both keys"),
        ([("new", "outside", 0), ("old", "signing", 0)], "is no authority yet"),
        ([("new", "signing", 0), ("old", "outside", 3)], "left the authorities 3 blocks ago"),
    ],
)
def test_an_old_key_is_kept_while_it_may_be_needed(
    keys: list[tuple[str, str, int]] | None,
    problem: str,
    cli: Cli,
    seat: NodeHome,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = json.loads(cli("authority", "rotate-key", "--home", str(seat.root), "--json").out)
    answering(monkeypatch, made, keys)
    sure = ["--yes", "--i-understand", seat.read_genesis().chain_id]
    done = cli("authority", "retire-key", "--home", str(seat.root), *sure)
    assert done.code == 1
    assert problem in done.err
    assert seat.authority_key.exists() and seat.next_authority_key.exists()


def answering(
    monkeypatch: pytest.MonkeyPatch, made: Any, keys: list[tuple[str, str, int]] | None
) -> None:
    """Let the node say this of its keys."""

    async def ask(_url: str, method: str, **_: Any) -> Any:
        assert method == "consensus_getSignerMetrics"
        if keys is None:
            return None
        return {
            "keys": [
                {"authority": made[name], "state": state, "outsideFor": count}
                for name, state, count in keys
            ]
        }

    monkeypatch.setattr(authority_keys, "ask", ask)


@pytest.mark.parametrize("cut", [False, True])
def test_the_old_key_is_put_away_and_the_next_one_takes_its_place(
    cut: bool, cli: Cli, seat: NodeHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the first try was cut off in the middle."""
    made = json.loads(cli("authority", "rotate-key", "--home", str(seat.root), "--json").out)
    old, new = (key_of(path, seat) for path in seat.authority_keys)
    answering(monkeypatch, made, [("new", "signing", 0), ("old", "outside", SETS_OUTSIDE_MIN)])
    chain = seat.read_genesis().chain_id
    retire = ["authority", "retire-key", "--home", str(seat.root)]
    assert cli(*retire).code == 2
    if cut:
        (seat.root / RETIRED).mkdir(mode=0o700)
        os.rename(seat.authority_key, seat.root / RETIRED / f"{authority_text(old)}.key")
    done = json.loads(cli(*retire, "--yes", "--i-understand", chain, "--json").out)
    assert done["authority"] == authority_text(new)
    assert [key_of(path, seat) for path in seat.authority_keys] == [new]
    assert (seat.root / RETIRED / f"{authority_text(old)}.key").exists()
    assert cli(*retire, "--yes", "--i-understand", chain).code == 2


def test_the_doctor_sees_a_lost_state_and_a_key_that_was_moved_away(
    cli: Cli, seat: NodeHome, tmp_path: Path
) -> None:
    fine = cli("doctor", "--home", str(seat.root))
    assert "authority.key and signing state in place" in fine.out
    (tmp_path / "words").write_text("correct horse battery\n")
    key = seat.authority_key.read_bytes()
    moved = cli(
        "authority",
        "move-out",
        "--to",
        "ab" * 32,
        "--out",
        str(tmp_path / "bundle"),
        "--home",
        str(seat.root),
        "--passphrase-file",
        str(tmp_path / "words"),
        "--yes",
        "--i-understand",
        seat.read_genesis().chain_id,
    )
    assert moved.code == 0, moved.err
    assert load_config(seat.root, {}).authority is False
    seat.authority_key.write_bytes(key)
    os.chmod(seat.authority_key, 0o600)
    assert cli("config", "set", "authority", "true", "--home", str(seat.root)).code == 0
    assert "was moved out of this folder" in cli("doctor", "--home", str(seat.root)).out
    for file in seat.signer.iterdir():
        file.unlink()
    assert "signing state is missing" in cli("doctor", "--home", str(seat.root)).out
