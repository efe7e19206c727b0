"""The key space: every key, every record format and its version, in one place.

Keys begin with one byte that says what they are. Heights are 8 bytes big-endian, so that key
order is height order; indexes are 4 bytes; a tree number is 2 bytes and is given to a tree's
name once, for ever, when the name is first seen. Every record is

    CRC-32 (4 bytes, big-endian, of key ‖ body) ‖ body

The checksum covers the key, so a record that strays to another key is found too. CRC-32
(ISO 3309, `zlib.crc32`) and not CRC-32C: the standard library has only the first, both find
every burst of 32 bits, and hashes guard against malice.

| key | body |
|---|---|
| `v` | [FORMAT_VERSION] packed; the layout of everything below |
| `w` | [name, command] packed: work of several batches under way; cleared last |
| `h` | [height, block id] packed: the head |
| `f` | [block floor] packed: lowest height whose block, receipts and events are here |
| `H` height | header bytes |
| `B` height | block body bytes: transactions, evidence, parent certificate |
| `C` height | bytes of the certificate that decided this height |
| `R` height | items: receipts |
| `E` height | items: events; absent when the block emitted none |
| `A` height | bytes of the authority set that is in force from this height |
| `i` block id | height |
| `t` transaction id | height ‖ index |
| `a` account, height, index | empty: this transaction touched the account |
| `x` height | items: index keys that this block added, dropped after 128 blocks |
| `T` | [height, undo floor, [tree name…]] packed: state head; tree n is the n-th name |
| `M` tree | [depth, leaf count, root, chunk cursor, turn start, ordered count] packed |
| `S` tree, key hash | leaf hash (32) ‖ key length (2) ‖ raw key ‖ raw value |
| `O` tree, raw key | empty: mirror, in raw key order, of leaves with a registered prefix |
| `P` tree, chunk (4) | kinds (1 each) ‖ hashes (32 each) of `chunk_pages` page roots |
| `D` tree, height | (page (4) ‖ kind (1) ‖ hash (32))…: page roots that this block changed |
| `U` height | undo: see `ledger/store/undo.py`; dropped after 128 blocks |
| `V` slot | 1 if found here, else 0 (1 byte) ‖ evidence that waits for a block |

*Items* are a count, as many end offsets (4 bytes each) and the bytes, so that one item is
read without parsing the others. `H` `B` `C` `R` `E` `A` are opaque here: whoever writes them
versions them. All else is version 1 of this layout; a change to any of it raises
`FORMAT_VERSION` and brings a migration.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate
from typing import Final
from zlib import crc32

from clawpurse.ledger import codec
from clawpurse.ledger.errors import Malformed, StorageFault

FORMAT_VERSION: Final = 1

KEY_FORMAT: Final = b"v"
KEY_WORK: Final = b"w"
KEY_HEAD: Final = b"h"
KEY_FLOOR: Final = b"f"
KEY_STATE_HEAD: Final = b"T"

HEADER: Final = b"H"
BLOCK: Final = b"B"
CERTIFICATE: Final = b"C"
RECEIPTS: Final = b"R"
EVENTS: Final = b"E"
AUTHORITIES: Final = b"A"
BLOCK_ID: Final = b"i"
TRANSACTION: Final = b"t"
HISTORY: Final = b"a"
INDEX_KEYS: Final = b"x"
UNDO: Final = b"U"
EVIDENCE: Final = b"V"

TREE_META: Final = b"M"
LEAF: Final = b"S"
ORDERED: Final = b"O"
TABLE: Final = b"P"
DELTA: Final = b"D"

# Small packed records: far above what a state head with a hundred trees needs.
_PACKED_BYTES_MAX: Final = 1 << 20
_CRC_BYTES: Final = 4
_OFFSET_BYTES: Final = 4

# What a person calls the records, for messages.
_NAMES: Final = {
    KEY_FORMAT: "format version",
    KEY_WORK: "work marker",
    KEY_HEAD: "chain head",
    KEY_FLOOR: "block floor",
    KEY_STATE_HEAD: "state head",
    HEADER: "header",
    BLOCK: "block",
    CERTIFICATE: "certificate",
    RECEIPTS: "receipts",
    EVENTS: "events",
    AUTHORITIES: "authority set",
    BLOCK_ID: "block id",
    TRANSACTION: "transaction index",
    HISTORY: "account history",
    INDEX_KEYS: "list of index keys",
    UNDO: "undo record",
    EVIDENCE: "pending evidence",
    TREE_META: "tree description",
    LEAF: "state leaf",
    ORDERED: "ordered mirror",
    TABLE: "page table",
    DELTA: "page delta",
}


def damaged(key: bytes, problem: str) -> StorageFault:
    """Return the fault for a record that cannot be what was written."""
    name = _NAMES.get(key[:1], "record")
    return StorageFault(
        f"The {name} record {key.hex()} {problem}.",
        "The disk does not hold what was written to it.",
        "clawpurse db check",
    )


def seal(key: bytes, body: bytes) -> bytes:
    """Return the record for `body` under `key`: checksum, then body."""
    return crc32(body, crc32(key)).to_bytes(_CRC_BYTES, "big") + body


def unseal(key: bytes, record: bytes) -> bytes:
    """Return the body of a record. Raises `StorageFault` if its checksum does not fit."""
    body = record[_CRC_BYTES:]
    if crc32(body, crc32(key)).to_bytes(_CRC_BYTES, "big") != record[:_CRC_BYTES]:
        raise damaged(key, "fails its checksum")
    return body


def at_height(prefix: bytes, height: int) -> bytes:
    """Return the key of what `prefix` keeps per height."""
    return prefix + height.to_bytes(8, "big")


def height_of(key: bytes) -> int:
    """Return the height at the end of a key made by `at_height` or `of_tree`."""
    return int.from_bytes(key[-8:], "big")


def of_tree(prefix: bytes, tree: int, suffix: bytes = b"") -> bytes:
    """Return the key of what `prefix` keeps per tree: tree number, then `suffix`."""
    return prefix + tree.to_bytes(2, "big") + suffix


def history_key(account: bytes, height: int, index: int) -> bytes:
    """Return the key that lists transaction (`height`, `index`) under a 32-byte account."""
    return HISTORY + account + height.to_bytes(8, "big") + index.to_bytes(4, "big")


def pack_record(key: bytes, value: object) -> bytes:
    """Return the record of a small packed array."""
    return seal(key, codec.pack(value))


def unpack_record(key: bytes, record: bytes, length: int) -> list[codec.Wire]:
    """Return the array of `length` items in a packed record. Raises `StorageFault`."""
    body = unseal(key, record)
    try:
        return codec.array(codec.unpack(body, size_max=_PACKED_BYTES_MAX), "record", length)
    except Malformed as err:
        raise damaged(key, f"is malformed ({err})") from err


def unpack_number(key: bytes, value: codec.Wire) -> int:
    """Return a field of a packed record as an integer. Raises `StorageFault`."""
    try:
        return codec.integer(value, "field")
    except Malformed as err:
        raise damaged(key, f"is malformed ({err})") from err


def unpack_text(key: bytes, value: codec.Wire) -> str:
    """Return a field of a packed record as printable ASCII. Raises `StorageFault`."""
    try:
        return codec.ascii_text(value, "field", _PACKED_BYTES_MAX, size_min=0)
    except Malformed as err:
        raise damaged(key, f"is malformed ({err})") from err


def pack_items(items: Sequence[bytes]) -> bytes:
    """Return the body of a list of byte strings, any of which `item_at` finds directly."""
    ends = struct.pack(f">I{len(items)}I", len(items), *accumulate(map(len, items)))
    return ends + b"".join(items)


def item_count(key: bytes, body: bytes) -> int:
    """Return how many items a body holds. Raises `StorageFault` if it is not such a body."""
    count = int.from_bytes(body[:_OFFSET_BYTES], "big")
    start = _OFFSET_BYTES * (count + 1)
    last = int.from_bytes(body[start - _OFFSET_BYTES : start], "big") if count else 0
    if len(body) != start + last:
        raise damaged(key, "is not a list of items")
    return count


def item_at(key: bytes, body: bytes, index: int) -> bytes | None:
    """Return item `index` of a body; None past its end. Raises `StorageFault`."""
    count = item_count(key, body)
    if not 0 <= index < count:
        return None
    start = _OFFSET_BYTES * (count + 1)
    at = _OFFSET_BYTES * (index + 1)
    end = int.from_bytes(body[at : at + _OFFSET_BYTES], "big")
    begin = int.from_bytes(body[at - _OFFSET_BYTES : at], "big") if index else 0
    return body[start + begin : start + end]


def unpack_items(key: bytes, body: bytes) -> list[bytes]:
    """Return all items of a body. Raises `StorageFault`."""
    count = item_count(key, body)
    start = _OFFSET_BYTES * (count + 1)
    items, begin = [], start
    for at in range(_OFFSET_BYTES, start, _OFFSET_BYTES):
        end = start + int.from_bytes(body[at : at + _OFFSET_BYTES], "big")
        items.append(body[begin:end])
        begin = end
    return items
