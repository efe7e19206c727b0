"""Any SLIP-0010 tool finds the same keys from the same words; a secret never shows by accident."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest

from clawpurse.ledger import crypto
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.transactions import Role, signing_hash
from clawpurse.wallet.keys import SigningKey, account_path, derive, parse_path
from clawpurse.wallet.mnemonic import seed_of, words_of

VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors" / "slip0010_ed25519.json").read_text()
)
ROWS = [(entry["seed"], *chain) for entry in VECTORS["vectors"] for chain in entry["chains"]]


@pytest.mark.parametrize(("seed", "path", "chain_code", "private", "public"), ROWS)
def test_official_vectors(seed: str, path: str, chain_code: str, private: str, public: str) -> None:
    node = derive(bytes.fromhex(seed), path)
    assert node.chain_code.hex() == chain_code
    assert node.key.hex() == private
    assert SigningKey(node.key).public_key.hex() == public


def test_our_path_is_frozen() -> None:
    """If this changed, words on paper would open other, empty accounts."""
    seed = seed_of(words_of(bytes(32)))
    keys = [SigningKey(derive(seed, account_path(index)).key).public_key for index in (0, 1)]
    assert account_path(1) == "m/44'/7333'/0'/0'/1'"
    assert [key.hex() for key in keys] == [
        "8cb688ac24c55f2ea743bfca1e81d278196684999e1aeffc45926012a91f70b7",
        "0e3d51b562c4b42cf942e46fcc96efef41335e8bd626c0d77760c5f9f5a23ead",
    ]


@pytest.mark.parametrize(
    "path",
    "|m/|44'|m/44|m/44h|m/-1'|m/2147483648'|m/1_0'|m/ 1'|m/²'|m/99999999999999999999'".split("|"),
)
def test_paths_that_would_be_read_differently_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(Malformed, match="path"):
        parse_path(path)


def test_a_path_deeper_than_any_wallet_uses_is_refused() -> None:
    with pytest.raises(Malformed, match="ten levels"):
        parse_path("m" + "/0'" * 11)


@pytest.mark.parametrize("index", [-1, 2**31])
def test_account_index_out_of_range_is_refused(index: int) -> None:
    with pytest.raises(Malformed):
        account_path(index)


def test_a_signing_key_signs_a_body_that_others_verify() -> None:
    key = SigningKey(bytes(32), account=b"\x05" * 32)
    entry = key.sign_body(Role.SENDER, b"\x01" * 32, b"body")
    message = signing_hash(b"\x01" * 32, Role.SENDER, b"\x05" * 32, b"body")
    assert entry.account == b"\x05" * 32 and entry.public_key == key.public_key
    assert crypto.verify(entry.public_key, message, entry.signature)
    assert crypto.verify(key.public_key, b"x", key.sign(b"x"))


def test_secrets_do_not_leave_by_printing_pickling_or_copying() -> None:
    seed = bytes(range(100, 132))
    key = SigningKey(seed)
    node = derive(seed, "m/0'")
    for text in (repr(key), str(key), f"{key}", repr(node), str(node), repr([node])):
        assert seed.hex() not in text and node.key.hex() not in text
        assert repr(seed)[2:-1] not in text and repr(node.key)[2:-1] not in text
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="never pickled"):
            leak(key)
    assert key.reveal_seed() == seed


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_seeds_and_accounts_of_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(Malformed):
        SigningKey(bytes(size))
    with pytest.raises(Malformed):
        SigningKey(bytes(32), bytes(size))
