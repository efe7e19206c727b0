"""A page: the part of a state tree below one prefix, as one immutable byte string.

    kinds (16) ‖ children (16 × 32) ‖ leaves (64 each: key hash ‖ leaf hash, ascending)

Kinds and children are those of the page's own node, so that a change of one leaf hashes one
child again and then the node. One string and not a tuple of three: with a million leaves
what costs is the number of places in memory that an update visits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from clawpurse.ledger.statetree.nodes import (
    BRANCH,
    EMPTY,
    ENTRY_BYTES,
    HASH_BYTES,
    LEAF,
    NO_CHILDREN,
    NO_KINDS,
    children_of_range,
    fold,
    hash_range,
    node_of_range,
    runs,
)

# What Python and the cache's dictionary spend on a page beside its bytes.
PAGE_OVERHEAD_BYTES: Final = 150
KINDS_BYTES: Final = 16
# Where the leaves begin.
LEAVES_AT: Final = KINDS_BYTES + 16 * HASH_BYTES
# Entries begin at multiples of 64 from there.
_ENTRY_MASK: Final = ENTRY_BYTES - 1
_ENTRY_PHASE: Final = LEAVES_AT & _ENTRY_MASK
# Up to here changes are patched into a copy of the page; beyond, it is merged in one pass.
_PATCHES_MAX: Final = 64

Change = tuple[bytes, bytes | None]
EMPTY_PAGE: Final = NO_KINDS + NO_CHILDREN


def build_page(leaves: bytes, depth: int) -> bytes:
    """Return the page over sorted entries that share their first `depth` nibbles."""
    if not leaves:
        return EMPTY_PAGE
    children, kinds = children_of_range(leaves, 0, len(leaves), depth)
    return kinds + children + leaves


def node_of_page(page: bytes) -> tuple[int, bytes]:
    """Return (kind, hash) of the page's own node."""
    return fold(page[KINDS_BYTES:LEAVES_AT], page[:KINDS_BYTES])


def page_leaves(page: bytes) -> bytes:
    """Return the entries of a page."""
    return page[LEAVES_AT:]


def find_entry(page: bytes | bytearray, key_hash: bytes) -> int:
    """Return where the entry of `key_hash` begins, or −1."""
    at = page.find(key_hash, LEAVES_AT)
    while at >= 0 and at & _ENTRY_MASK != _ENTRY_PHASE:
        # 32 bytes equal across entry borders: no hash does that, hostile bytes might.
        at = page.find(key_hash, at + 1)
    return at


def insertion_point(page: bytes | bytearray, key_hash: bytes) -> int:
    """Return where an entry for an absent `key_hash` belongs."""
    low, high = 0, (len(page) - LEAVES_AT) // ENTRY_BYTES
    while low < high:
        middle = (low + high) // 2
        at = LEAVES_AT + middle * ENTRY_BYTES
        if page[at : at + HASH_BYTES] < key_hash:
            low = middle + 1
        else:
            high = middle
    return LEAVES_AT + low * ENTRY_BYTES


def patch_page(page: bytes, changes: Sequence[Change], depth: int) -> tuple[bytes, int]:
    """Return the page after `changes` (key hash, leaf hash or None) and how many leaves it won.

    All key hashes lie under the page's prefix of `depth` nibbles, each at most once. The same
    page object comes back when nothing changed.
    """
    if len(changes) == 1:
        key_hash, leaf_hash = changes[0]
        place = find_entry(page, key_hash)
        if place >= 0 and leaf_hash is not None:
            return _replace(page, place, key_hash, leaf_hash, depth), 0
    elif len(changes) > _PATCHES_MAX:
        return _merge(page, changes, depth)
    patched = bytearray(page)
    # Touched child → a key hash that is, or would be, among its leaves.
    touched: dict[int, bytes] = {}
    at, shift = depth >> 1, 0 if depth & 1 else 4
    for key_hash, leaf_hash in changes:
        place = find_entry(patched, key_hash)
        if place >= 0:
            middle, end = place + HASH_BYTES, place + ENTRY_BYTES
            if leaf_hash is None:
                del patched[place:end]
            elif patched[middle:end] == leaf_hash:
                continue
            else:
                patched[middle:end] = leaf_hash
        elif leaf_hash is None:
            continue
        else:
            place = insertion_point(patched, key_hash)
            patched[place:place] = key_hash + leaf_hash
        touched[key_hash[at] >> shift & 15] = key_hash
    if not touched:
        return page, 0
    for slot, key_hash in touched.items():
        near = find_entry(patched, key_hash)
        if near < 0:
            near = insertion_point(patched, key_hash)
        low, high = _slot_range(patched, near, slot, depth)
        kind, digest = node_of_range(patched, low, high, depth + 1)
        patched[slot] = kind
        start = KINDS_BYTES + slot * HASH_BYTES
        patched[start : start + HASH_BYTES] = digest
    return bytes(patched), (len(patched) - len(page)) // ENTRY_BYTES


def _replace(page: bytes, place: int, key_hash: bytes, leaf_hash: bytes, depth: int) -> bytes:
    """Return the page with another hash for the leaf at `place`: what most updates do."""
    middle, end = place + HASH_BYTES, place + ENTRY_BYTES
    if page[middle:end] == leaf_hash:
        return page
    byte = key_hash[depth >> 1]
    slot = byte & 15 if depth & 1 else byte >> 4
    patched = bytearray(page)
    patched[middle:end] = leaf_hash
    start = KINDS_BYTES + slot * HASH_BYTES
    if page[slot] == LEAF:
        patched[start : start + HASH_BYTES] = leaf_hash
    else:
        low, high = _slot_range(page, place, slot, depth)
        patched[start : start + HASH_BYTES] = hash_range(patched, low, high, depth + 1)
    return bytes(patched)


def _slot_range(page: bytes | bytearray, near: int, slot: int, depth: int) -> tuple[int, int]:
    """Return start and end of the entries of child `slot`, which lie around `near`."""
    at, shift = depth >> 1, 0 if depth & 1 else 4
    low = high = near
    while low > LEAVES_AT and page[low - ENTRY_BYTES + at] >> shift & 15 == slot:
        low -= ENTRY_BYTES
    size = len(page)
    while high < size and page[high + at] >> shift & 15 == slot:
        high += ENTRY_BYTES
    return low, high


def _merge(page: bytes, changes: Sequence[Change], depth: int) -> tuple[bytes, int]:
    """Take many changes at once: one pass over the leaves, each touched child hashed once."""
    table = {
        page[at : at + HASH_BYTES]: page[at + HASH_BYTES : at + ENTRY_BYTES]
        for at in range(LEAVES_AT, len(page), ENTRY_BYTES)
    }
    count, inserted, touched = len(table), False, 0
    at, shift = depth >> 1, 0 if depth & 1 else 4
    for key_hash, leaf_hash in changes:
        if leaf_hash is None:
            if table.pop(key_hash, None) is None:
                continue
        else:
            old = table.get(key_hash)
            if old == leaf_hash:
                continue
            inserted = inserted or old is None
            table[key_hash] = leaf_hash
        touched |= 1 << (key_hash[at] >> shift & 15)
    if not touched:
        return page, 0
    entries = sorted(table.items()) if inserted else list(table.items())
    leaves = b"".join([part for entry in entries for part in entry])
    head = bytearray(page[:LEAVES_AT])
    gone = touched
    for slot, low, high in runs(leaves, 0, len(leaves), depth):
        if not touched >> slot & 1:
            continue
        gone &= ~(1 << slot)
        start = KINDS_BYTES + slot * HASH_BYTES
        if high - low == ENTRY_BYTES:
            head[slot] = LEAF
            head[start : start + HASH_BYTES] = leaves[low + HASH_BYTES : high]
        else:
            head[slot] = BRANCH
            head[start : start + HASH_BYTES] = hash_range(leaves, low, high, depth + 1)
    for slot in range(16):
        if gone >> slot & 1:
            head[slot] = EMPTY
            start = KINDS_BYTES + slot * HASH_BYTES
            head[start : start + HASH_BYTES] = bytes(HASH_BYTES)
    return bytes(head) + leaves, len(table) - count
