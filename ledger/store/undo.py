"""What a block replaced in state: enough to read, prove and restore the state before it.

One record per height, written with the block that it undoes:

    count (4) ‖ count × (tree (2) ‖ key hash (32) ‖ offset (4)) ‖ entries
    entry: key length (2) ‖ raw key ‖ value length (4) ‖ raw value before; length 0: was absent

`offset` counts from the first entry. The index is fixed-width so that one key is found
without parsing the record; values are never empty, so length 0 can mean absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from clawpurse.ledger.store.schema import damaged

_COUNT_BYTES: Final = 4
_NAME_BYTES: Final = 34
_INDEX_BYTES: Final = _NAME_BYTES + 4


class UndoWriter:
    """Collects what a block replaces, in any order, each key once."""

    __slots__ = ("_entries", "_index", "_offset")

    def __init__(self) -> None:
        self._index: list[bytes] = []
        self._entries: list[bytes] = []
        self._offset = 0

    def add(self, tree: bytes, key_hash: bytes, key: bytes, before: bytes | None) -> None:
        """Note that `key` of tree number `tree` (2 bytes) had the value `before`."""
        value = before or b""
        self._index.append(tree + key_hash + self._offset.to_bytes(4, "big"))
        entry = len(key).to_bytes(2, "big") + key + len(value).to_bytes(4, "big") + value
        self._entries.append(entry)
        self._offset += len(entry)

    def body(self) -> bytes:
        """Return the record's body."""
        count = len(self._index).to_bytes(_COUNT_BYTES, "big")
        return b"".join([count, *self._index, *self._entries])


class UndoRecord:
    """One height's record, read."""

    __slots__ = ("_body", "_entries", "_key", "count")

    def __init__(self, key: bytes, body: bytes) -> None:
        """Take a record's body; `key` names it. Raises `StorageFault` if it is too short."""
        self.count = int.from_bytes(body[:_COUNT_BYTES], "big")
        self._key = key
        self._body = body
        self._entries = _COUNT_BYTES + self.count * _INDEX_BYTES
        if len(body) < max(self._entries, _COUNT_BYTES):
            raise damaged(key, "is too short")

    def find(self, tree: bytes, key_hash: bytes) -> tuple[bool, bytes | None]:
        """Return (True, value before or None for absent) if the block changed that key."""
        name = tree + key_hash
        at = self._body.find(name, _COUNT_BYTES, self._entries)
        while at >= 0 and (at - _COUNT_BYTES) % _INDEX_BYTES:
            at = self._body.find(name, at + 1, self._entries)
        if at < 0:
            return False, None
        return True, self._entry(at)[1]

    def items(self) -> Iterator[tuple[bytes, bytes, bytes, bytes | None]]:
        """Yield (tree number, key hash, raw key, value before or None) of every change."""
        for at in range(_COUNT_BYTES, self._entries, _INDEX_BYTES):
            name = self._body[at : at + _NAME_BYTES]
            key, value = self._entry(at)
            yield name[:2], name[2:], key, value

    def _entry(self, at: int) -> tuple[bytes, bytes | None]:
        offset = int.from_bytes(self._body[at + _NAME_BYTES : at + _INDEX_BYTES], "big")
        start = self._entries + offset + 2
        middle = start + int.from_bytes(self._body[start - 2 : start], "big")
        length = int.from_bytes(self._body[middle : middle + 4], "big")
        end = middle + 4 + length
        if end > len(self._body):
            raise damaged(self._key, "is too short")
        return self._body[start:middle], self._body[middle + 4 : end] if length else None
