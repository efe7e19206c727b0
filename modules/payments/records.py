"""What all parts of `payments` share: the tree, how its records look, and the lists for people.

Tree `payments`; each part's file names the letters of its own records. x‖account‖letter‖id → [1]
lists under an account what it has to do with, in key order: one letter is one kind of object.

How much is left of what was set apart stands in the kernel's hold and nowhere here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.errors import Bug
from clawpurse.ledger.kernel.records import INDEX_PREFIX, Hold, hold_key
from clawpurse.ledger.module_api import KERNEL, Context
from clawpurse.ledger.overlay import StateReader

TREE: Final = "payments"
RECORD_VERSION: Final = 1
# What a payer writes for the payee's books (an order, an invoice number); public for ever.
REFERENCE_BYTES_MAX: Final = 64
# The letters under which objects are listed, and their names in JSON.
ESCROW: Final = b"e"
PLACED_HOLD: Final = b"h"
SCHEDULED: Final = b"s"
BATCH: Final = b"b"
CHANNEL: Final = b"c"
INVOICE: Final = b"i"
PAYMENT: Final = b"p"
# Not listed: which channel a hold belongs to that is not its first one.
REFILL: Final = b"k"
OBJECT_NAMES: Final = {
    BATCH: "batch",
    CHANNEL: "channel",
    ESCROW: "escrow",
    INVOICE: "invoice",
    PAYMENT: "payment",
    PLACED_HOLD: "hold",
    SCHEDULED: "scheduled",
}
# Which record of ours stands for a hold of ours, by the hold's rule; its key ends in the hold's id.
HOLD_RECORDS: Final = {
    "payments.channel": CHANNEL,
    "payments.channelRefill": REFILL,
    "payments.escrow": ESCROW,
    "payments.hold": PLACED_HOLD,
    "payments.scheduled": SCHEDULED,
}
# Rows of an index that a full check reads at once.
_CHECKED_AT_ONCE: Final = 1_000
_LISTED: Final = codec.pack([RECORD_VERSION])


class Listed(NamedTuple):
    """One object of an account: its kind (`OBJECT_NAMES`) and its 32-byte id."""

    kind: str
    id: bytes


def pack(values: Sequence[object]) -> bytes:
    """Return a record's bytes."""
    return codec.pack([RECORD_VERSION, *values])


def unpack(data: bytes, length: int) -> list[Any]:
    """Return the `length` values of a record that we wrote. Raises `Bug` for another format."""
    wire = codec.unpack_own(data)
    if len(wire) != length + 1 or wire[0] != RECORD_VERSION:
        raise Bug("a record of payments has another format than this software writes")
    return wire[1:]


def object_key(account: bytes, letter: bytes, object_id: bytes) -> bytes:
    """Return the key that lists an object under an account."""
    return INDEX_PREFIX + account + letter + object_id


def enlist(context: Context, letter: bytes, object_id: bytes, *accounts: bytes) -> None:
    """List an object under accounts; one that is named twice has it once."""
    for account in accounts:
        context.put(object_key(account, letter, object_id), _LISTED)


def strike(context: Context, letter: bytes, object_id: bytes, *accounts: bytes) -> None:
    """Take an object out of the lists of accounts."""
    for account in accounts:
        key = object_key(account, letter, object_id)
        if context.get(key) is not None:
            context.delete(key)


def list_objects(
    reader: StateReader, account: bytes, after: Listed | None, limit: int, kind: str = ""
) -> list[Listed]:
    """Return up to `limit` objects of an account by kind and id, after one; of `kind` alone.

    Raises `KeyError` for a kind that `OBJECT_NAMES` lacks.
    """
    letters = {name: letter for letter, name in OBJECT_NAMES.items()}
    prefix = INDEX_PREFIX + account + (letters[kind] if kind else b"")
    start = b"" if after is None else object_key(account, letters[after.kind], after.id)
    rows = reader.ordered(TREE, prefix, limit, after=start)
    return [Listed(OBJECT_NAMES[key[33:34]], key[34:]) for key, _ in rows]


def index_rows(reader: StateReader, tree: str) -> Iterator[bytes]:
    """Yield the keys of all lists of a tree, in pieces; for full checks only."""
    after = b""
    while rows := reader.ordered(tree, INDEX_PREFIX, _CHECKED_AT_ONCE, after=after):
        yield from [key for key, _ in rows]
        after = rows[-1][0]


def all_objects(reader: StateReader, letter: bytes) -> Iterator[bytes]:
    """Yield the ids of all objects of a kind, once for each list that one is in."""
    for key in index_rows(reader, TREE):
        if key[33:34] == letter:
            yield key[34:]


def known_holds(reader: StateReader) -> str | None:
    """Check that all value that this module set apart has a record that says what for."""
    for key in index_rows(reader, KERNEL):
        hold_id = key[34:]
        data = reader.get(KERNEL, hold_key(hold_id))
        if data is None:
            return f"a list names the hold 0x{hold_id.hex()}, which is not there"
        hold = Hold.unpack(data)
        if hold.module == TREE:
            letter = HOLD_RECORDS.get(hold.rule)
            if letter is None or reader.get(TREE, letter + hold_id) is None:
                return f"nothing says what 0x{hold_id.hex()} ({hold.rule}) is set apart for"
    return None
