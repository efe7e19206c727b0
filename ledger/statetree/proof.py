"""Proofs that a key has a value in a state tree, or has none, and their offline verifier.

A proof holds the branches from the root towards the key, each without the child on the path:

    version (1) ‖ kind (1) ‖ count (1) ‖ count × (bitmap (2) ‖ other present children (32 each))
    kind 0, inclusion: nothing more
    kind 1, exclusion, empty slot: nothing more; the last branch has no child on the path,
            or, with no branch at all, the tree is empty
    kind 2, exclusion, another leaf sits on the path: its key hash (32) ‖ its value hash (32)

One statement has one proof: lengths are exact, a branch above a leaf has another child, the
other leaf shares the path walked. See `nodes` for what is hashed and for the bitmap's order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from clawpurse.ledger.errors import Bug
from clawpurse.ledger.statetree.nodes import (
    DEPTH_MAX,
    EMPTY_ROOT,
    ENTRY_BYTES,
    HASH_BYTES,
    bitmap_of,
    children_of_range,
    hash_branch,
    key_hash_of,
    leaf_hash_of,
    nibble,
    runs,
    value_hash_of,
)
from clawpurse.ledger.statetree.page import KINDS_BYTES, LEAVES_AT

PROOF_VERSION: Final = 1
# 64 full branches; a real proof in a tree of a million keys has about 2.4 KB.
PROOF_BYTES_MAX: Final = 3 + DEPTH_MAX * (2 + 15 * HASH_BYTES) + 2 * HASH_BYTES

_INCLUSION: Final = 0
_EMPTY_SLOT: Final = 1
_OTHER_LEAF: Final = 2
_HEAD_BYTES: Final = 3


class Step(NamedTuple):
    """One branch on a path: its 16 child hashes and 16 kinds."""

    children: bytes
    kinds: bytes


class Walk(NamedTuple):
    """A path: its branches from the root, and the (key hash, leaf hash) at its end, if any."""

    steps: list[Step]
    leaf: tuple[bytes, bytes] | None


def walk_page(page: bytes, depth: int, key_hash: bytes, steps: list[Step]) -> Walk:
    """Continue a path, `steps` long so far, through the page at its end."""
    leaves, low, high = page, LEAVES_AT, len(page)
    children, kinds = page[KINDS_BYTES:LEAVES_AT], page[:KINDS_BYTES]
    while high - low > ENTRY_BYTES:
        steps.append(Step(children, kinds))
        wanted = nibble(key_hash, depth)
        found = [run for run in runs(leaves, low, high, depth) if run[0] == wanted]
        if not found:
            return Walk(steps, None)
        _, low, high = found[0]
        depth += 1
        if high - low > ENTRY_BYTES:
            children, kinds = children_of_range(leaves, low, high, depth)
    if low == high:
        return Walk(steps, None)
    return Walk(steps, (leaves[low : low + HASH_BYTES], leaves[low + HASH_BYTES : high]))


def encode_proof(walk: Walk, key_hash: bytes, value_hash_at: Callable[[bytes], bytes]) -> bytes:
    """Return the proof for `key_hash` from its path.

    `value_hash_at` gives the value hash of another leaf (by key hash) that sits on the path.
    """
    parts = [b""]
    for depth, (children, kinds) in enumerate(walk.steps):
        on_path = nibble(key_hash, depth)
        parts.append(bitmap_of(kinds).to_bytes(2, "big"))
        parts.extend(
            children[slot * HASH_BYTES : (slot + 1) * HASH_BYTES]
            for slot in range(16)
            if kinds[slot] and slot != on_path
        )
    if walk.leaf is None:
        kind = _EMPTY_SLOT
    elif walk.leaf[0] == key_hash:
        kind = _INCLUSION
    else:
        kind = _OTHER_LEAF
        other, leaf_hash = walk.leaf
        value_hash = value_hash_at(other)
        if leaf_hash_of(other, value_hash) != leaf_hash:
            raise Bug("the leaf on a path does not hash to what its page says")
        parts.append(other + value_hash)
    parts[0] = bytes([PROOF_VERSION, kind, len(walk.steps)])
    return b"".join(parts)


def proof_root(key: bytes, value: bytes | None, proof: bytes) -> bytes | None:
    """Return the root of the tree in which `proof` shows `key` → `value` (None: no value).

    None when the proof shows nothing of the kind. Never raises on bytes of any shape.
    """
    if type(key) is not bytes or type(proof) is not bytes or not _is_value(value):
        return None
    if not _HEAD_BYTES <= len(proof) <= PROOF_BYTES_MAX or proof[0] != PROOF_VERSION:
        return None
    kind, count = proof[1], proof[2]
    if kind > _OTHER_LEAF or count > DEPTH_MAX or (kind == _INCLUSION) != (value is not None):
        return None
    key_hash = key_hash_of(key)
    read = _read_branches(proof, key_hash, kind, count)
    if read is None:
        return None
    branches, tail = read
    if len(tail) != (2 * HASH_BYTES if kind == _OTHER_LEAF else 0):
        return None
    if kind == _EMPTY_SLOT:
        if not branches:
            return EMPTY_ROOT
        bitmap, _, others = branches.pop()
        digest = hash_branch(bitmap + others)
    elif value is not None:
        digest = leaf_hash_of(key_hash, value_hash_of(value))
    else:
        other = tail[:HASH_BYTES]
        if other == key_hash or any(nibble(other, d) != nibble(key_hash, d) for d in range(count)):
            return None
        digest = leaf_hash_of(other, tail[HASH_BYTES:])
    for bitmap, before, others in reversed(branches):
        at = before * HASH_BYTES
        digest = hash_branch(bitmap + others[:at] + digest + others[at:])
    return digest


def verify_proof(root: bytes, key: bytes, value: bytes | None, proof: bytes) -> bool:
    """Tell whether `proof` shows that `key` has `value` (None: no value) under `root`.

    Needs nothing but its arguments. Never raises on bytes of any shape.
    """
    return type(root) is bytes and proof_root(key, value, proof) == root


def _is_value(value: object) -> bool:
    return value is None or (type(value) is bytes and len(value) > 0)


def _read_branches(
    proof: bytes, key_hash: bytes, kind: int, count: int
) -> tuple[list[tuple[bytes, int, bytes]], bytes] | None:
    """Return (bitmap, present children before the path, other children) each, and the rest."""
    branches: list[tuple[bytes, int, bytes]] = []
    at = _HEAD_BYTES
    for depth in range(count):
        bits = int.from_bytes(proof[at : at + 2], "big")
        slot = nibble(key_hash, depth)
        on_path, last = bits >> slot & 1, depth == count - 1
        if on_path == (last and kind == _EMPTY_SLOT):
            return None
        others = bits.bit_count() - on_path
        if last and not others:
            # A leaf alone below a branch would have moved up; an empty slot needs neighbours.
            return None
        end = at + 2 + others * HASH_BYTES
        if end > len(proof):
            return None
        before = (bits & ((1 << slot) - 1)).bit_count()
        branches.append((proof[at : at + 2], before, proof[at + 2 : end]))
        at = end
    return branches, proof[at:]
