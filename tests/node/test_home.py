"""A node's folder: keys that others cannot read, one process at a time, errors that help."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.errors import OperatorError
from clawpurse.node.home import NodeHome
from tests.node.poolworld import PoolWorld


@pytest.fixture
def home(tmp_path: Path) -> NodeHome:
    made = NodeHome(tmp_path / "node")
    made.make()
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_and_keys_are_private(home: NodeHome) -> None:
    """Whoever reads the authority's key can speak for it."""
    home.create_key(home.node_key)
    home.create_key(home.authority_key)
    home.read_or_create_token()
    for folder in (home.root, home.signer, home.data, home.wal, home.journal):
        assert mode(folder) == 0o700
    for file in (home.node_key, home.authority_key, home.admin_token):
        assert mode(file) == 0o600


def test_a_key_is_read_back_and_never_overwritten(home: NodeHome) -> None:
    public = home.create_key(home.node_key)
    seed = home.read_seed(home.node_key)
    assert public_key_of(seed) == public
    with pytest.raises((OperatorError, FileExistsError)):
        home.create_key(home.node_key)
    assert home.read_seed(home.node_key) == seed


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a key file"),
        (b"{}", "not a key file"),
        (b'{"seed": 5}', "not a key file"),
        (b'{"seed": "zz"}', "not a key file"),
        (b"[1]", "not a key file"),
        (b'{"seed": "00"}', "damaged"),
        (json.dumps({"seed": "11" * 32, "publicKey": "22" * 32}).encode(), "damaged"),
    ],
)
def test_a_damaged_key_is_refused_in_one_line(home: NodeHome, content: bytes, says: str) -> None:
    """Signing with half a key would be signing as nobody."""
    home.create_key(home.node_key)
    os.chmod(home.node_key, 0o600)
    home.node_key.write_bytes(content)
    with pytest.raises(OperatorError, match=says):
        home.read_seed(home.node_key)


def test_a_missing_key_is_named(home: NodeHome) -> None:
    with pytest.raises(OperatorError, match=r"node\.key is missing"):
        home.read_seed(home.node_key)


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(home: NodeHome, bits: int) -> None:
    home.create_key(home.node_key)
    os.chmod(home.node_key, bits)
    with pytest.raises(OperatorError) as caught:
        home.read_seed(home.node_key)
    assert "chmod 600" in caught.value.next_command or "chmod" in str(caught.value)


def test_one_process_holds_the_folder(home: NodeHome) -> None:
    """Two nodes on one folder would sign twice."""
    assert home.lock_holder() is None
    held = home.take_lock()
    try:
        with pytest.raises(OperatorError, match=f"running already \\(process {os.getpid()}\\)"):
            home.take_lock()
        assert home.lock_holder() == os.getpid()
    finally:
        os.close(held)
    # A process that died holds nothing, whatever its file says.
    assert home.lock.exists() and home.lock_holder() is None
    os.close(home.take_lock())


def test_the_token_is_made_once(home: NodeHome) -> None:
    token = home.read_or_create_token()
    assert len(token) >= 32 and home.read_or_create_token() == token


def test_genesis_is_read_and_its_faults_are_named(home: NodeHome) -> None:
    with pytest.raises(OperatorError, match=r"no genesis\.json"):
        home.read_genesis()
    genesis = PoolWorld().genesis
    home.genesis.write_text(genesis.to_json(), encoding="utf-8")
    assert home.read_genesis().hash == genesis.hash
    for content in ("", "{}", genesis.to_json()[:-20], "x" * 40_000_000):
        home.genesis.write_text(content, encoding="utf-8")
        with pytest.raises(OperatorError):
            home.read_genesis()
