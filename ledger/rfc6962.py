"""The Merkle tree of append-only logs: RFC 6962 §2.1, RFC 9162 §2.1, with SHA-256.

Whoever keeps a log hashes its entries (`leaf_hash`), tells its size and root, and proves two
things with a few hashes: that an entry stands at a place (inclusion), and that an older log is
the beginning of a newer one (consistency). Checking takes time that grows as the number of the
size's bits. Which hashes a proof consists of is told as ranges of leaves (`inclusion_ranges`,
`consistency_ranges`), so that a log which stores its subtrees makes proofs without reading all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from clawpurse.ledger.errors import Bug

HASH_BYTES: Final = 32
# MTH({}) of RFC 9162 §2.1.1.
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
# Larger logs would need proofs of more hashes than `PROOF_HASHES_MAX`; no log gets there.
SIZE_MAX: Final = 2**63 - 1
PROOF_HASHES_MAX: Final = 64

Range = tuple[int, int]


def leaf_hash(entry: bytes) -> bytes:
    """Return the 32-byte hash of an entry of any length."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the 32-byte hash of two subtrees' roots."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root of a tree of leaf hashes, `EMPTY_ROOT` of none."""
    level = list(leaves)
    while len(level) > 1:
        # A lone last one rises as it is, which is the shape that the RFC's largest power of two
        # makes from above.
        above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0] if level else EMPTY_ROOT


# -- making proofs


def inclusion_ranges(index: int, size: int) -> tuple[Range, ...]:
    """Return the ranges [start, stop) of leaves whose roots prove that `index` is in the tree.

    In the order of the proof (RFC 9162 §2.1.3.1). A `Bug` unless 0 ≤ index < size.
    """
    if not 0 <= index < size <= SIZE_MAX:
        raise Bug(f"no entry {index} in a log of {size}")
    found: list[Range] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            found.append((middle, stop))
            stop = middle
        else:
            found.append((start, middle))
            start = middle
    return tuple(reversed(found))


def consistency_ranges(old_size: int, size: int) -> tuple[Range, ...]:
    """Return the ranges [start, stop) of leaves whose roots prove that a log only grew.

    In the order of the proof (RFC 9162 §2.1.4.1); none when nothing needs proof: from an empty
    log, or to the same size. A `Bug` unless 0 ≤ old_size ≤ size.
    """
    if not 0 <= old_size <= size <= SIZE_MAX:
        raise Bug(f"a log of {size} has no older one of {old_size}")
    if old_size in (0, size):
        return ()
    found: list[Range] = []
    start, stop = 0, size
    # Invariant: start < old_size ≤ stop, and start is where a subtree begins.
    while stop != old_size:
        middle = start + _split(stop - start)
        if old_size <= middle:
            found.append((middle, stop))
            stop = middle
        else:
            found.append((start, middle))
            start = middle
    if start:
        # The verifier knows the old root; what ends at old_size is not it, so it is told.
        found.append((start, stop))
    return tuple(reversed(found))


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the proof that leaf hash `index` is in the tree of these leaf hashes."""
    return _roots(leaves, inclusion_ranges(index, len(leaves)))


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """Return the proof that the first `old_size` of these leaf hashes were the log before."""
    return _roots(leaves, consistency_ranges(old_size, len(leaves)))


def _roots(leaves: Sequence[bytes], ranges: Sequence[Range]) -> list[bytes]:
    return [root_of(leaves[start:stop]) for start, stop in ranges]


def _split(size: int) -> int:
    """Return the largest power of two below a size of at least two."""
    return 1 << ((size - 1).bit_length() - 1)


# -- checking proofs


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Tell whether a leaf hash stands at `index` in the log of that size and root.

    RFC 9162 §2.1.3.2. Never raises on hashes and numbers of any kind.
    """
    if not 0 <= index < size <= SIZE_MAX or not _sound(proof, leaf, root):
        return False
    place, last, digest = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            digest = node_hash(sibling, digest)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            digest = node_hash(digest, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and digest == root


def verify_consistency(
    old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> bool:
    """Tell whether the log of `size` and `root` begins with the one of `old_size` and `old_root`.

    RFC 9162 §2.1.4.2; beyond it, an empty log (whose root is `EMPTY_ROOT`) is the beginning of
    every log, and equal sizes have equal roots, both without proof. Never raises on hashes and
    numbers of any kind.
    """
    if not 0 <= old_size <= size <= SIZE_MAX or not _sound(proof, old_root, root):
        return False
    if old_size == 0:
        return not proof and old_root == EMPTY_ROOT and (size > 0 or root == EMPTY_ROOT)
    if old_size == size:
        return not proof and old_root == root
    return _same_beginning(old_size, old_root, size, root, proof)


def _same_beginning(
    old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> bool:
    """Judge a proof from a size to a larger one, neither empty: both roots come out of it."""
    # A size that is a power of two is a whole subtree, and the verifier knows its root already.
    path = (old_root, *proof) if old_size & (old_size - 1) == 0 else tuple(proof)
    if len(path) < 2:
        return False
    place, last = old_size - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and old == old_root and new == root


def _sound(proof: Sequence[bytes], *roots: bytes) -> bool:
    """Tell whether everything has a hash's length, and there is not too much of it."""
    if len(proof) > PROOF_HASHES_MAX:
        return False
    return all(len(one) == HASH_BYTES for one in (*roots, *proof))
