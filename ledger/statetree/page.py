"""A page: the part of a state tree below one prefix, as immutable bytes.

`leaves` are its entries sorted by key hash; `children` and `kinds` describe the 16 children
of the page's own node, so that a change of one leaf hashes one child again and then the node.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from clawpurse.ledger.statetree.nodes import (
    BRANCH,
    EMPTY,
    ENTRY_BYTES,
    HASH_BYTES,
    LEAF,
    NO_CHILDREN,
    NO_KINDS,
    children_of_range,
    hash_range,
    node_of_range,
    runs,
)

# What Python spends on a page beside its leaves: a tuple, three byte strings, 16 hashes.
PAGE_OVERHEAD_BYTES: Final = 700
# Up to here changes are patched into a copy of the page; beyond, it is merged in one pass.
_PATCHES_MAX: Final = 64

Change = tuple[bytes, bytes | None]


class Page(NamedTuple):
    """One page; see the module."""

    leaves: bytes
    children: bytes
    kinds: bytes


EMPTY_PAGE: Final = Page(b"", NO_CHILDREN, NO_KINDS)


def build_page(leaves: bytes, depth: int) -> Page:
    """Return the page over sorted entries that share their first `depth` nibbles."""
    if not leaves:
        return EMPTY_PAGE
    children, kinds = children_of_range(leaves, 0, len(leaves), depth)
    return Page(leaves, children, kinds)


def find_entry(leaves: bytes | bytearray, key_hash: bytes) -> int:
    """Return where the entry of `key_hash` begins, or −1."""
    at = leaves.find(key_hash)
    while at > 0 and at & 63:
        # 32 bytes equal across entry borders: no hash does that, hostile bytes might.
        at = leaves.find(key_hash, at + 1)
    return at


def insertion_point(leaves: bytes | bytearray, key_hash: bytes) -> int:
    """Return the position (bytes) at which an entry for an absent `key_hash` belongs."""
    low, high = 0, len(leaves) // ENTRY_BYTES
    while low < high:
        middle = (low + high) // 2
        at = middle * ENTRY_BYTES
        if leaves[at : at + HASH_BYTES] < key_hash:
            low = middle + 1
        else:
            high = middle
    return low * ENTRY_BYTES


def patch_page(page: Page, changes: Sequence[Change], depth: int) -> tuple[Page, int]:
    """Return the page after `changes` (key hash, leaf hash or None) and how many leaves it won.

    All key hashes lie under the page's prefix of `depth` nibbles, each at most once. The same
    page object comes back when nothing changed.
    """
    count = len(changes)
    if count == 1:
        return _patch_one(page, *changes[0], depth)
    if count > _PATCHES_MAX:
        return _merge(page, changes, depth)
    return _patch_some(page, changes, depth)


def _patch_one(
    page: Page, key_hash: bytes, leaf_hash: bytes | None, depth: int
) -> tuple[Page, int]:
    leaves, children, kinds = page
    at = find_entry(leaves, key_hash)
    byte = key_hash[depth >> 1]
    slot = byte & 15 if depth & 1 else byte >> 4
    from_byte = slot * HASH_BYTES
    if at >= 0:
        if leaf_hash is None:
            leaves, won = leaves[:at] + leaves[at + ENTRY_BYTES :], -1
        else:
            middle = at + HASH_BYTES
            if leaves[middle : at + ENTRY_BYTES] == leaf_hash:
                return page, 0
            leaves = leaves[:middle] + leaf_hash + leaves[at + ENTRY_BYTES :]
            if kinds[slot] == LEAF:
                children = children[:from_byte] + leaf_hash + children[from_byte + HASH_BYTES :]
                return Page(leaves, children, kinds), 0
            won = 0
    elif leaf_hash is None:
        return page, 0
    else:
        at = insertion_point(leaves, key_hash)
        leaves, won = leaves[:at] + key_hash + leaf_hash + leaves[at:], 1
    low, high = slot_range(leaves, at, slot, depth)
    kind, digest = node_of_range(leaves, low, high, depth + 1)
    children = children[:from_byte] + digest + children[from_byte + HASH_BYTES :]
    if kinds[slot] != kind:
        kinds = kinds[:slot] + bytes([kind]) + kinds[slot + 1 :]
    return Page(leaves, children, kinds), won


def slot_range(leaves: bytes, near: int, slot: int, depth: int) -> tuple[int, int]:
    """Return start and end (bytes) of the entries of child `slot`, which lie around `near`."""
    at, shift = depth >> 1, 0 if depth & 1 else 4
    low = high = near
    while low and leaves[low - ENTRY_BYTES + at] >> shift & 15 == slot:
        low -= ENTRY_BYTES
    size = len(leaves)
    while high < size and leaves[high + at] >> shift & 15 == slot:
        high += ENTRY_BYTES
    return low, high


def _patch_some(page: Page, changes: Sequence[Change], depth: int) -> tuple[Page, int]:
    """Patch a few changes into copies, then hash each touched child once."""
    entries = bytearray(page.leaves)
    before = len(entries)
    # Touched child → a key hash that is, or would be, among its leaves.
    touched: dict[int, bytes] = {}
    at, shift = depth >> 1, 0 if depth & 1 else 4
    for key_hash, leaf_hash in changes:
        place = find_entry(entries, key_hash)
        if place >= 0:
            middle, end = place + HASH_BYTES, place + ENTRY_BYTES
            if leaf_hash is None:
                del entries[place:end]
            elif entries[middle:end] == leaf_hash:
                continue
            else:
                entries[middle:end] = leaf_hash
        elif leaf_hash is None:
            continue
        else:
            place = insertion_point(entries, key_hash)
            entries[place:place] = key_hash + leaf_hash
        touched[key_hash[at] >> shift & 15] = key_hash
    if not touched:
        return page, 0
    leaves = bytes(entries)
    children, kinds = bytearray(page.children), bytearray(page.kinds)
    for slot, key_hash in touched.items():
        near = find_entry(leaves, key_hash)
        if near < 0:
            near = insertion_point(leaves, key_hash)
        low, high = slot_range(leaves, near, slot, depth)
        kind, digest = node_of_range(leaves, low, high, depth + 1)
        kinds[slot] = kind
        children[slot * HASH_BYTES : (slot + 1) * HASH_BYTES] = digest
    won = (len(leaves) - before) // ENTRY_BYTES
    return Page(leaves, bytes(children), bytes(kinds)), won


def _merge(page: Page, changes: Sequence[Change], depth: int) -> tuple[Page, int]:
    """Take many changes at once: one pass over the leaves, each touched child hashed once."""
    before = page.leaves
    table = {
        before[at : at + HASH_BYTES]: before[at + HASH_BYTES : at + ENTRY_BYTES]
        for at in range(0, len(before), ENTRY_BYTES)
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
    children, kinds = bytearray(page.children), bytearray(page.kinds)
    gone = touched
    for slot, low, high in runs(leaves, 0, len(leaves), depth):
        if not touched >> slot & 1:
            continue
        gone &= ~(1 << slot)
        start = slot * HASH_BYTES
        if high - low == ENTRY_BYTES:
            kinds[slot] = LEAF
            children[start : start + HASH_BYTES] = leaves[low + HASH_BYTES : high]
        else:
            kinds[slot] = BRANCH
            children[start : start + HASH_BYTES] = hash_range(leaves, low, high, depth + 1)
    for slot in range(16):
        if gone >> slot & 1:
            kinds[slot] = EMPTY
            children[slot * HASH_BYTES : (slot + 1) * HASH_BYTES] = bytes(HASH_BYTES)
    return Page(leaves, bytes(children), bytes(kinds)), len(table) - count
