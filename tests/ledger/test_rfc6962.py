"""Logs that only grow: the tree of RFC 6962 and RFC 9162, its proofs, and what is no proof.

If these failed, somebody could rewrite a log and still prove that nothing was changed, or an
honest log would be taken for a rewritten one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.errors import Bug
from clawpurse.ledger.rfc6962 import (
    EMPTY_ROOT,
    PROOF_HASHES_MAX,
    SIZE_MAX,
    consistency_proof,
    consistency_ranges,
    inclusion_proof,
    inclusion_ranges,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

SIZES = 64
# The eight entries that implementations of certificate transparency test with, and the roots of
# logs of zero to eight of them, as published with them.
PUBLISHED_ENTRIES = (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
)  # fmt: skip
PUBLISHED_ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
# Published proof that the log of one of these entries is the beginning of that of eight.
PUBLISHED_ONE_TO_EIGHT = (
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
)


def octets(texts: Sequence[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


LEAVES = [leaf_hash(entry) for entry in octets(PUBLISHED_ENTRIES)]
MANY = [leaf_hash(b"entry %d" % number) for number in range(SIZES)]
ROOTS = [root_of(MANY[:size]) for size in range(SIZES + 1)]
OTHER = hashlib.sha256(b"other").digest()


# -- the definitions of the RFC, word for word and slow


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 9162 §2.1.1, over leaf hashes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = largest_power_below(len(leaves))
    joined = b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])
    return hashlib.sha256(joined).digest()


def largest_power_below(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def naive_path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 9162 §2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = largest_power_below(len(leaves))
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(m: int, leaves: Sequence[bytes], known: bool) -> list[bytes]:
    """SUBPROOF of RFC 9162 §2.1.4.1."""
    if m == len(leaves):
        return [] if known else [naive_root(leaves)]
    k = largest_power_below(len(leaves))
    if m <= k:
        return [*naive_subproof(m, leaves[:k], known), naive_root(leaves[k:])]
    return [*naive_subproof(m - k, leaves[k:], False), naive_root(leaves[:k])]


# -- agreement with what is published and with the definitions


def test_the_published_hashes_and_roots() -> None:
    assert leaf_hash(b"L123456").hex() == (
        "395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56"
    )
    assert node_hash(b"N123", b"N456").hex() == (
        "aa217fe888e47007fa15edab33c2b492a722cb106c64667fc2b044444de66bbb"
    )
    for size, root in enumerate(PUBLISHED_ROOTS):
        assert root_of(LEAVES[:size]).hex() == root
    proof = octets(PUBLISHED_ONE_TO_EIGHT)
    assert consistency_proof(LEAVES, 1) == proof == inclusion_proof(LEAVES, 0)
    roots = octets(PUBLISHED_ROOTS)
    assert verify_consistency(1, roots[1], 8, roots[8], proof)


@pytest.mark.parametrize("size", range(1, SIZES + 1))
def test_every_entry_of_every_size_is_proven_as_the_definition_says(size: int) -> None:
    leaves = MANY[:size]
    assert root_of(leaves) == naive_root(leaves)
    for index in range(size):
        proof = inclusion_proof(leaves, index)
        assert proof == naive_path(index, leaves)
        assert verify_inclusion(leaves[index], index, size, proof, ROOTS[size])
        assert not verify_inclusion(OTHER, index, size, proof, ROOTS[size])
        assert not verify_inclusion(leaves[index], index, size, proof, OTHER)


@pytest.mark.parametrize("size", range(SIZES + 1))
def test_every_older_size_of_every_size_is_its_beginning(size: int) -> None:
    leaves = MANY[:size]
    for old in range(size + 1):
        proof = consistency_proof(leaves, old)
        if old:
            assert proof == naive_subproof(old, leaves, True)
        else:
            assert proof == []
        assert verify_consistency(old, ROOTS[old], size, ROOTS[size], proof)


# -- what is no proof


def spoiled(proof: list[bytes]) -> list[list[bytes]]:
    """Proofs that differ from this one in one thing."""
    found = [[*proof, OTHER], [OTHER, *proof], [*proof, bytes(31)], [*proof, b""]]
    for place in range(len(proof)):
        changed = list(proof)
        changed[place] = bytes([changed[place][0] ^ 1]) + changed[place][1:]
        found += [changed, proof[:place] + proof[place + 1 :], [*proof, proof[place]]]
        for length in (0, 31, 33):
            found.append([*proof[:place], bytes(length), *proof[place + 1 :]])
    if len(proof) > 1:
        found += [proof[::-1], [*proof[1:], proof[0]]]
    return [one for one in found if one != proof]


@pytest.mark.parametrize("size", range(SIZES + 1))
def test_a_rewritten_log_is_told_from_a_grown_one(size: int) -> None:
    """Every older size: wrong roots, wrong proofs, the proof of another size."""
    for old in range(size + 1):
        proof = consistency_proof(MANY[:size], old)
        old_root, root = ROOTS[old], ROOTS[size]
        assert not verify_consistency(old, OTHER, size, root, proof)
        if old:
            assert not verify_consistency(old, old_root, size, OTHER, proof)
            if old != size:
                assert not verify_consistency(old, root, size, old_root, proof)
                assert not verify_consistency(size, root, old, old_root, proof)
        for wrong in spoiled(proof):
            assert not verify_consistency(old, old_root, size, root, wrong)
        for other in (old - 1, old + 1):
            if other != size or old_root != root:
                assert not verify_consistency(other, old_root, size, root, proof)


def test_a_change_of_any_older_entry_is_seen() -> None:
    for size in range(2, 20):
        for old in range(1, size):
            for place in range(old):
                rewritten = [*MANY[:place], OTHER, *MANY[place + 1 : size]]
                proof, root = consistency_proof(rewritten, old), root_of(rewritten)
                assert not verify_consistency(old, ROOTS[old], size, root, proof)


@pytest.mark.parametrize("size", range(1, 34))
def test_a_hostile_proof_of_an_entry_is_refused(size: int) -> None:
    for index in range(size):
        proof, leaf = inclusion_proof(MANY[:size], index), MANY[index]
        for wrong in spoiled(proof):
            assert not verify_inclusion(leaf, index, size, wrong, ROOTS[size])
        for place in (*range(index), *range(index + 1, size + 2), -1):
            assert not verify_inclusion(leaf, place, size, proof, ROOTS[size])


def test_empty_logs() -> None:
    assert root_of([]) == EMPTY_ROOT
    assert verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, [])
    assert verify_consistency(0, EMPTY_ROOT, 5, ROOTS[5], [])
    assert not verify_consistency(0, EMPTY_ROOT, 0, OTHER, [])
    assert not verify_consistency(0, OTHER, 5, ROOTS[5], [])
    assert not verify_consistency(0, EMPTY_ROOT, 5, ROOTS[5], [OTHER])
    assert not verify_consistency(5, ROOTS[5], 0, EMPTY_ROOT, [])
    assert not verify_inclusion(MANY[0], 0, 0, [], EMPTY_ROOT)
    assert verify_inclusion(MANY[0], 0, 1, [], MANY[0])


def test_no_proof_is_longer_than_its_bound_and_longer_ones_are_refused_unread() -> None:
    """Wherever in the largest log: ranges are computed, so this takes no leaves."""
    for old in (1, 2, 3, SIZE_MAX // 3, 2**62 - 1, 2**62, 2**62 + 1, SIZE_MAX - 1):
        assert len(consistency_ranges(old, SIZE_MAX)) <= PROOF_HASHES_MAX
        assert len(inclusion_ranges(old, SIZE_MAX)) <= PROOF_HASHES_MAX
    hostile = [OTHER] * (PROOF_HASHES_MAX + 1)
    assert not verify_consistency(1, OTHER, SIZE_MAX, OTHER, hostile)
    assert not verify_consistency(1, OTHER, SIZE_MAX, OTHER, hostile[1:])
    assert not verify_consistency(1, OTHER, SIZE_MAX + 1, OTHER, [])
    assert not verify_inclusion(OTHER, 0, SIZE_MAX + 1, [], OTHER)


@pytest.mark.parametrize(
    ("old", "size"), [(2, 1), (-1, 1), (0, -1), (0, SIZE_MAX + 1), (SIZE_MAX + 1, SIZE_MAX + 1)]
)
def test_there_is_no_proof_between_sizes_that_no_log_has(old: int, size: int) -> None:
    with pytest.raises(Bug):
        consistency_ranges(old, size)
    with pytest.raises(Bug):
        inclusion_ranges(max(old, 1), size)
    assert not verify_consistency(old, EMPTY_ROOT, size, EMPTY_ROOT, [])


@given(
    size=st.integers(1, 300),
    old=st.integers(0, 300),
    place=st.integers(0, 299),
    proof=st.lists(st.binary(min_size=32, max_size=32), max_size=12),
)
def test_larger_logs_and_invented_proofs(
    size: int, old: int, place: int, proof: list[bytes]
) -> None:
    old, place = min(old, size), place % size
    leaves = [leaf_hash(b"%d" % number) for number in range(size)]
    root, old_root = root_of(leaves), root_of(leaves[:old])
    assert verify_consistency(old, old_root, size, root, consistency_proof(leaves, old))
    assert verify_inclusion(leaves[place], place, size, inclusion_proof(leaves, place), root)
    if proof:
        assert not verify_consistency(old, old_root, size, root, proof)
        assert not verify_inclusion(leaves[place], place, size, proof, root)
