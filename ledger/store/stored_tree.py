"""One module's tree with its place on disk: number, leaves, page table, ordered mirror, meta."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from clawpurse.ledger.errors import Bug
from clawpurse.ledger.statetree.nodes import HASH_BYTES
from clawpurse.ledger.statetree.tree import PagedTree
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.kv import Reads, Snapshot, prefix_stop
from clawpurse.ledger.store.tables import PageTable, TablePlan

# A leaf's body: leaf hash, key length, raw key, raw value.
_KEY_AT: Final = HASH_BYTES + 2
# In a leaf's record the leaf hash follows the checksum; in its key the key hash comes fourth.
_HASH_IN_RECORD: Final = slice(4, 4 + HASH_BYTES)
_HASH_IN_KEY: Final = 3
# Two bytes hold a key's length.
RAW_KEY_BYTES_MAX: Final = 0xFFFF


class Base:
    """The snapshot of the committed state, shared by the store and its views.

    Counted, because a view may outlive the block in which it was made. `retain` and `release`
    belong to the thread of the store.
    """

    __slots__ = ("_users", "snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._users = 1

    def retain(self) -> Base:
        if not self._users:
            raise Bug("a released view of the state was used")
        self._users += 1
        return self

    def release(self) -> None:
        self._users -= 1
        if not self._users:
            self.snapshot.close()


class Leaves:
    """The leaves of one tree, as records in a view of the store."""

    __slots__ = ("_prefix", "_stop", "view")

    def __init__(self, number: int, view: Reads) -> None:
        self._prefix = schema.of_tree(schema.LEAF, number)
        self._stop = prefix_stop(self._prefix)
        self.view = view

    def entries(self, start: bytes, stop: bytes | None) -> bytes:
        """Return key hash ‖ leaf hash of leaves with `start ≤ key hash < stop`, in order.

        Checksums are left to the caller: it hashes what it gets and compares with a root.
        """
        last = self._stop if stop is None else self._prefix + stop
        return b"".join(
            [
                key[_HASH_IN_KEY:] + record[_HASH_IN_RECORD]
                for key, record in self.view.iterate(self._prefix + start, last)
            ]
        )

    def value(self, key_hash: bytes, key: bytes | None) -> bytes | None:
        """Return the raw value under a key hash, or None.

        Raises `StorageFault` if the record is damaged or belongs to another raw key than `key`.
        """
        name = self._prefix + key_hash
        record = self.view.get(name)
        if record is None:
            return None
        body = schema.unseal(name, record)
        end = _KEY_AT + int.from_bytes(body[HASH_BYTES:_KEY_AT], "big")
        if len(body) <= end or (key is not None and body[_KEY_AT:end] != key):
            raise schema.damaged(name, "does not hold the key that it is filed under")
        return body[end:]

    def records(self) -> Iterator[tuple[bytes, bytes, bytes, bytes]]:
        """Yield (key hash, leaf hash, raw key, raw value) of every leaf, in key hash order.

        Raises `StorageFault` at a damaged record.
        """
        for name, record in self.view.iterate(self._prefix, self._stop):
            body = schema.unseal(name, record)
            end = _KEY_AT + int.from_bytes(body[HASH_BYTES:_KEY_AT], "big")
            if len(body) <= end:
                raise schema.damaged(name, "is too short")
            yield name[_HASH_IN_KEY:], body[:HASH_BYTES], body[_KEY_AT:end], body[end:]


class StoredTree:
    """A committed tree and everything that finds it again after a restart."""

    __slots__ = (
        "leaves",
        "number",
        "ordered_count",
        "ordered_floors",
        "ordered_prefixes",
        "place",
        "table",
        "tree",
    )

    def __init__(
        self,
        number: int,
        tree: PagedTree,
        table: PageTable,
        leaves: Leaves,
        ordered_prefixes: bytes,
        ordered_count: int,
    ) -> None:
        self.number = number
        # How the names of its values begin in the cache that all trees share.
        self.place = number.to_bytes(2, "big")
        self.tree = tree
        self.table = table
        self.leaves = leaves
        # Each byte is a first byte of raw keys that the ordered mirror lists.
        self.ordered_prefixes = ordered_prefixes
        self.ordered_count = ordered_count
        # First byte → a raw key below which the mirror lists none with that byte. A queue is
        # emptied at its front, and a seek from its very beginning would wade through what
        # LevelDB has deleted and not yet compacted.
        self.ordered_floors: dict[int, bytes] = {}

    @property
    def ordered_end(self) -> bytes | None:
        """The first key after all of the tree's mirror."""
        return prefix_stop(ordered_key(self.number, b""))

    def lower_ordered_floors(self, lowest: dict[int, bytes]) -> None:
        """Take note of the lowest keys, by first byte, that a block has added to the mirror."""
        for first, key in lowest.items():
            floor = self.ordered_floors.get(first)
            if floor is not None and key < floor:
                self.ordered_floors[first] = key

    def meta_record(
        self,
        depth: int,
        leaf_count: int,
        root: bytes,
        ordered_count: int,
        plan: TablePlan,
        height: int,
    ) -> tuple[bytes, bytes]:
        """Return key and record that describe the tree after an update at `height`."""
        cursor, turn_start = self.table.standing(plan, height)
        return meta_record(
            self.number, [depth, leaf_count, root, cursor, turn_start, ordered_count]
        )


def meta_record(number: int, fields: list[int | bytes]) -> tuple[bytes, bytes]:
    """Return key and record of a tree's description."""
    key = schema.of_tree(schema.TREE_META, number)
    return key, schema.pack_record(key, fields)


def ordered_key(number: int, key: bytes) -> bytes:
    """Return the key of the mirror entry of a raw key."""
    return schema.of_tree(schema.ORDERED, number, key)
