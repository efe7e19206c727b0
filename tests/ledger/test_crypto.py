"""Hashes with one meaning each, signatures that every node judges alike, lists that prove."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import nacl.signing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger import crypto
from clawpurse.ledger.errors import Bug

TAGS = {name: value for name, value in vars(crypto).items() if name.startswith("PERSON_")}
seeds = st.binary(min_size=32, max_size=32)


def test_every_use_of_the_hash_has_a_tag_of_its_own() -> None:
    """Or a signed body could be taken for a header, and a leaf for a branch."""
    assert len(set(TAGS.values())) == len(TAGS) >= 18
    for tag in TAGS.values():
        assert len(tag) <= 16 and tag.startswith(b"claw.") and not tag.endswith(b"\x00")


@given(st.sampled_from(sorted(TAGS)), st.binary(max_size=300))
def test_a_prepared_hasher_is_plain_blake2b(name: str, data: bytes) -> None:
    digest = crypto.hasher(TAGS[name])
    plain = hashlib.blake2b(data, digest_size=32, person=TAGS[name]).digest()
    assert digest(data) == digest(data) == plain


@pytest.mark.parametrize(
    ("digest", "tag"),
    [
        (crypto.tx_id_of, b"claw.txid"),
        (crypto.wtx_id_of, b"claw.wtxid"),
        (crypto.tx_sign_hash, b"claw.txsign"),
        (crypto.block_id_of, b"claw.block"),
        (crypto.genesis_hash_of, b"claw.genesis"),
        (crypto.certificate_hash_of, b"claw.cert"),
        (crypto.authorities_hash_of, b"claw.authset"),
        (crypto.params_hash_of, b"claw.params"),
        (crypto.account_hash_of, b"claw.account"),
        (crypto.idempotency_hash_of, b"claw.idemkey"),
        (crypto.due_hash_of, b"claw.due"),
    ],
)
def test_each_id_uses_its_own_tag(digest: Callable[[bytes], bytes], tag: bytes) -> None:
    assert digest(b"abc") == hashlib.blake2b(b"abc", digest_size=32, person=tag).digest()


# -- signatures

# RFC 8032 §7.1, tests 1 to 3: seed, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bac"
        "c61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e"
        "458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290"
        "ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize("case", RFC_8032)
def test_published_signatures(case: tuple[str, str, str, str]) -> None:
    seed, public, message, signature = (bytes.fromhex(part) for part in case)
    assert crypto.public_key_of(seed) == public
    assert crypto.sign(seed, message) == signature
    assert crypto.verify(public, message, signature)


@given(seeds, st.binary(max_size=200), st.data())
def test_any_change_breaks_a_signature(seed: bytes, message: bytes, data: st.DataObject) -> None:
    public, signature = crypto.public_key_of(seed), crypto.sign(seed, message)
    assert signature == nacl.signing.SigningKey(seed).sign(message).signature
    assert crypto.verify(public, message, signature)
    wrong = bytearray(signature)
    wrong[data.draw(st.integers(0, 63))] ^= 1 << data.draw(st.integers(0, 7))
    assert not crypto.verify(public, message, bytes(wrong))
    assert not crypto.verify(public, message + b"\x00", signature)
    assert not crypto.verify(crypto.public_key_of(signature[:32]), message, signature)


@given(st.binary(max_size=70), st.binary(max_size=70), st.binary(max_size=70))
def test_judging_never_raises_on_bytes_of_any_shape(key: bytes, text: bytes, sig: bytes) -> None:
    assert crypto.verify(key, text, sig) is False


def test_small_order_keys_sign_nothing() -> None:
    """An account whose id is such a point would be anybody's under a lenient library."""
    for point in ("01" + "00" * 31, "00" * 32, "ecffffff" + "ff" * 27 + "7f"):
        assert not crypto.verify(bytes.fromhex(point), b"any", bytes(64))
        assert not crypto.verify(bytes.fromhex(point), b"any", bytes.fromhex(point) + bytes(32))


def test_a_library_that_judges_otherwise_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    crypto.refuse_odd_library()
    monkeypatch.setattr(crypto, "verify", lambda key, message, signature: True)
    with pytest.raises(Bug, match="edge-case"):
        crypto.refuse_odd_library()
    monkeypatch.setattr(crypto, "verify", lambda key, message, signature: False)
    with pytest.raises(Bug, match="its own signature"):
        crypto.refuse_odd_library()


# -- lists


def reference_root(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1 as it is written: split at the largest power of two below the size."""

    def digest(data: bytes) -> bytes:
        return hashlib.blake2b(data, digest_size=32, person=b"claw.list").digest()

    if not leaves:
        return bytes(32)
    if len(leaves) == 1:
        return digest(b"\x00" + leaves[0])
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return digest(b"\x01" + reference_root(leaves[:split]) + reference_root(leaves[split:]))


LEAVES = [bytes([number]) * (number % 5) for number in range(70)]


@pytest.mark.parametrize("size", range(70))
def test_list_roots_and_paths_are_those_of_rfc_6962(size: int) -> None:
    leaves = LEAVES[:size]
    root = crypto.list_root(leaves)
    assert root == reference_root(leaves)
    assert crypto.list_root_of_hashes([crypto.list_leaf_hash(leaf) for leaf in leaves]) == root
    for index, leaf in enumerate(leaves):
        path = crypto.list_path(leaves, index)
        assert crypto.list_root_from_path(leaf, index, size, path) == root


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=20), st.data())
def test_a_path_proves_one_leaf_at_one_place_only(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    path, root = crypto.list_path(leaves, index), crypto.list_root(leaves)
    size = len(leaves)
    for place in range(-1, size + 2):
        found = crypto.list_root_from_path(leaves[index], place, size, path)
        assert found != root or place == index or leaves[place] == leaves[index]
    assert crypto.list_root_from_path(leaves[index] + b"x", index, size, path) != root
    assert crypto.list_root_from_path(leaves[index], index, size, [*path, bytes(32)]) is None
    if path:
        assert crypto.list_root_from_path(leaves[index], index, size, path[1:]) is None
        assert (
            crypto.list_root_from_path(leaves[index], index, size, [*path[:-1], b"short"]) is None
        )


def test_a_branch_cannot_pass_for_a_leaf_nor_a_list_for_the_state() -> None:
    left, right = crypto.list_leaf_hash(b"a"), crypto.list_leaf_hash(b"b")
    assert crypto.list_root([left + right]) != crypto.list_root([b"a", b"b"])
    assert crypto.state_list_root([b"a", b"b"]) != crypto.list_root([b"a", b"b"])
    for index, leaf in enumerate((b"a", b"b", b"c")):
        path = crypto.state_list_path([b"a", b"b", b"c"], index)
        root = crypto.state_list_root([b"a", b"b", b"c"])
        assert crypto.state_root_from_path(leaf, index, 3, path) == root
        assert crypto.list_root_from_path(leaf, index, 3, path) != root
