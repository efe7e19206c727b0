"""What a node of the state tree hashes to, and the subtrees of sorted leaves.

The commitment (the layout of pages is `tree`'s matter and changes no hash):

- key_hash = H(tree.key, raw key), value_hash = H(tree.value, raw value);
- a leaf is H(tree.leaf, key_hash ‖ value_hash) and sits at the shortest prefix of its key
  hash, in 4-bit nibbles, high nibble first, that no other leaf shares;
- a branch is H(tree.branch, bitmap ‖ hashes of present children, ascending); the bitmap is
  two bytes big-endian, bit i (value 1 << i) set when child i is present; a branch has at
  least two leaves below it, at any depth, so it may have a sole child that is a branch;
- an empty tree is 32 zero bytes; a tree of one leaf is that leaf.

So the root depends on the set of (key, value) pairs only. Inside pages sorted leaves are one
byte string of 64-byte entries (key hash ‖ leaf hash), and the children of a node are 16
hashes of 32 bytes (zeros when absent) beside 16 bytes of kinds.
"""

from __future__ import annotations

from typing import Final

from clawpurse.ledger import crypto

EMPTY: Final = 0
LEAF: Final = 1
BRANCH: Final = 2

HASH_BYTES: Final = crypto.HASH_BYTES
ENTRY_BYTES: Final = 64
DEPTH_MAX: Final = 64
NO_CHILDREN: Final = bytes(16 * HASH_BYTES)
NO_KINDS: Final = bytes(16)
EMPTY_ROOT: Final = crypto.ZERO_HASH

key_hash_of = crypto.hasher(crypto.PERSON_TREE_KEY)
value_hash_of = crypto.hasher(crypto.PERSON_TREE_VALUE)
_hash_leaf = crypto.hasher(crypto.PERSON_TREE_LEAF)
hash_branch = crypto.hasher(crypto.PERSON_TREE_BRANCH)
# Fresh states of them, for the loops that hash every changed key and its branches.
fresh_value_hash = crypto.prepared(crypto.PERSON_TREE_VALUE)
fresh_leaf_hash = crypto.prepared(crypto.PERSON_TREE_LEAF)
fresh_branch_hash = crypto.prepared(crypto.PERSON_TREE_BRANCH)

# The bitmap of a branch with 16 children.
ALL_PRESENT: Final = b"\xff\xff"
# Kind → the binary digit of its bitmap.
_KIND_TO_DIGIT: Final = bytes([48, 49, 49]) + bytes(253)


def leaf_hash_of(key_hash: bytes, value_hash: bytes) -> bytes:
    """Return the hash of a leaf from the hashes of its raw key and value."""
    return _hash_leaf(key_hash + value_hash)


def bitmap_of(kinds: bytes | bytearray) -> int:
    """Return the bitmap of 16 kinds: bit i set when child i is present."""
    return int(kinds.translate(_KIND_TO_DIGIT)[::-1], 2)


def fold(children: bytes | bytearray, kinds: bytes | bytearray) -> tuple[int, bytes]:
    """Return (kind, hash) of the node with these 16 children.

    No child: empty; one child that is a leaf: that leaf moves up; else a branch.
    """
    absent = kinds.count(EMPTY)
    if not absent:
        return BRANCH, hash_branch(ALL_PRESENT + children)
    if absent >= 15:
        if absent == 16:
            return EMPTY, EMPTY_ROOT
        at = kinds.find(LEAF)
        if at >= 0:
            return LEAF, bytes(children[at * HASH_BYTES : (at + 1) * HASH_BYTES])
    # Absent children are 32 zero bytes. `replace` takes 32 zeros at a time out of any run of
    # zeros, so a hash that begins or ends with zeros keeps exactly as many as it had.
    present = children.replace(EMPTY_ROOT, b"")
    return BRANCH, hash_branch(bitmap_of(kinds).to_bytes(2, "big") + present)


def nibble(key_hash: bytes, depth: int) -> int:
    """Return nibble `depth` of a key hash, 0 being the high half of its first byte."""
    byte = key_hash[depth >> 1]
    return byte & 15 if depth & 1 else byte >> 4


def hash_range(leaves: bytes | bytearray, low: int, high: int, depth: int) -> bytes:
    """Return the hash of the branch over entries `low`…`high` (bytes, two entries or more).

    All of them share their first `depth` nibbles.
    """
    at, shift = depth >> 1, 0 if depth & 1 else 4
    if high - low == 2 * ENTRY_BYTES:
        # Two leaves that part here: what most branches below a page's children are.
        first, second = (
            leaves[low + at] >> shift & 15,
            leaves[high - ENTRY_BYTES + at] >> shift & 15,
        )
        if first != second:
            bits = (1 << first | 1 << second).to_bytes(2, "big")
            return hash_branch(bits + leaves[low + 32 : low + 64] + leaves[high - 32 : high])
    bitmap, present, position = 0, [], low
    while position < high:
        slot = leaves[position + at] >> shift & 15
        end = position + ENTRY_BYTES
        while end < high and leaves[end + at] >> shift & 15 == slot:
            end += ENTRY_BYTES
        bitmap |= 1 << slot
        if end - position == ENTRY_BYTES:
            present.append(leaves[position + HASH_BYTES : end])
        else:
            present.append(hash_range(leaves, position, end, depth + 1))
        position = end
    return hash_branch(bitmap.to_bytes(2, "big") + b"".join(present))


def node_of_range(leaves: bytes | bytearray, low: int, high: int, depth: int) -> tuple[int, bytes]:
    """Return (kind, hash) of the node at `depth` over entries `low`…`high` (bytes)."""
    if low == high:
        return EMPTY, EMPTY_ROOT
    if high - low == ENTRY_BYTES:
        return LEAF, bytes(leaves[low + HASH_BYTES : high])
    return BRANCH, hash_range(leaves, low, high, depth)


def children_of_range(
    leaves: bytes | bytearray, low: int, high: int, depth: int
) -> tuple[bytes, bytes]:
    """Return (16 hashes, 16 kinds) of the children of the node at `depth` over a range."""
    children, kinds = bytearray(NO_CHILDREN), bytearray(NO_KINDS)
    for slot, start, end in runs(leaves, low, high, depth):
        kind, digest = node_of_range(leaves, start, end, depth + 1)
        kinds[slot] = kind
        children[slot * HASH_BYTES : (slot + 1) * HASH_BYTES] = digest
    return bytes(children), bytes(kinds)


def runs(leaves: bytes | bytearray, low: int, high: int, depth: int) -> list[tuple[int, int, int]]:
    """Return (nibble at `depth`, start, end) of each run of entries that share that nibble."""
    at, shift = depth >> 1, 0 if depth & 1 else 4
    found, position = [], low
    while position < high:
        slot = leaves[position + at] >> shift & 15
        end = position + ENTRY_BYTES
        while end < high and leaves[end + at] >> shift & 15 == slot:
            end += ENTRY_BYTES
        found.append((slot, position, end))
        position = end
    return found
