"""What a block replaced in state: enough to read, prove and restore the state before it.

One record per height, written with the block that it undoes:

    count (4) ‖ count × leaf key (35) ‖ count × end offset (4) ‖ entries
    entry: key length (2) ‖ raw key ‖ raw value before; no value: the key was absent

The leaf key is the key of the leaf's record (tree and key hash); an entry ends at its offset
from the first entry, and begins where the one before it ends. Names are fixed-width, so that
one key is found without parsing the record; values are never empty, so none can mean absent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from clawpurse.ledger.store.schema import damaged

_COUNT_BYTES: Final = 4
# `S`, tree number, key hash: the key of a leaf's record.
_NAME_BYTES: Final = 35
_OFFSET_BYTES: Final = 4


def undo_body(names: list[bytes], entries: list[bytes]) -> bytes:
    """Return the record's body from leaf keys and entries, in any order, each key once."""
    ends = list(accumulate(map(len, entries)))
    offsets = struct.pack(f">{len(ends)}I", *ends)
    return b"".join([len(names).to_bytes(_COUNT_BYTES, "big"), *names, offsets, *entries])


class UndoRecord:
    """One height's record, read."""

    __slots__ = ("_body", "_entries", "_key", "_offsets", "count")

    def __init__(self, key: bytes, body: bytes) -> None:
        """Take a record's body; `key` names it. Raises `StorageFault` if it is too short."""
        self.count = int.from_bytes(body[:_COUNT_BYTES], "big")
        self._key = key
        self._body = body
        self._offsets = _COUNT_BYTES + self.count * _NAME_BYTES
        self._entries = self._offsets + self.count * _OFFSET_BYTES
        if len(body) < max(self._entries, _COUNT_BYTES):
            raise damaged(key, "is too short")

    def find(self, leaf_key: bytes) -> tuple[bool, bytes | None]:
        """Return (True, value before or None for absent) if the block changed that leaf."""
        at = self._body.find(leaf_key, _COUNT_BYTES, self._offsets)
        while at >= 0 and (at - _COUNT_BYTES) % _NAME_BYTES:
            at = self._body.find(leaf_key, at + 1, self._offsets)
        if at < 0:
            return False, None
        return True, self._entry((at - _COUNT_BYTES) // _NAME_BYTES)[1]

    def items(self) -> Iterator[tuple[bytes, bytes, bytes | None]]:
        """Yield (leaf key, raw key, value before or None) of every change."""
        for index in range(self.count):
            at = _COUNT_BYTES + index * _NAME_BYTES
            yield self._body[at : at + _NAME_BYTES], *self._entry(index)

    def _entry(self, index: int) -> tuple[bytes, bytes | None]:
        at = self._offsets + index * _OFFSET_BYTES
        end = self._entries + int.from_bytes(self._body[at : at + _OFFSET_BYTES], "big")
        start = self._entries
        if index:
            start += int.from_bytes(self._body[at - _OFFSET_BYTES : at], "big")
        middle = start + 2 + int.from_bytes(self._body[start : start + 2], "big")
        if not start < middle <= end <= len(self._body):
            raise damaged(self._key, "is too short")
        return self._body[start + 2 : middle], self._body[middle:end] or None
