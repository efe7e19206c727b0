"""Blocks and what belongs to them: headers, certificates, receipts, events, indexes.

Contents are opaque bytes that the caller packs. `add` puts all of one block into the batch
that also carries its state; every getter is a seek. Rows below the floor are gone for good
(this node was state-synced, or pruned): asking for them raises `Pruned`, never a partial answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from clawpurse.ledger.errors import Bug, Pruned, StorageFault
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.index import Position, index_keys
from clawpurse.ledger.store.kv import Batch, Reads

# As many blocks as state can be rolled back, and the one rolled back to, whose id stands
# first in its list: beyond, nobody needs to know what a block indexed.
INDEX_LISTS_KEPT: Final = 129
# Index entries made between two yields: about half a millisecond.
_INDEXED_PER_SLICE: Final = 512
_BY_HEIGHT: Final = (
    schema.HEADER, schema.BLOCK, schema.CERTIFICATE, schema.RECEIPTS, schema.EVENTS,
    schema.INDEX_KEYS,
)  # fmt: skip

# A set that block h decides on is in force at h + 2 (R29).
AUTHORITIES_AHEAD: Final = 2


@dataclass(frozen=True)
class CommitRecord:
    """Everything that one decided block leaves behind, beside state.

    `touched` lists (account, transaction index) for the accounts' histories;
    `authorities` is a packed set that this block puts in force two heights on (R29).
    """

    height: int
    block_id: bytes
    header: bytes
    block: bytes
    certificate: bytes
    receipts: Sequence[bytes]
    events: Sequence[bytes]
    tx_ids: Sequence[bytes]
    touched: Sequence[tuple[bytes, int]]
    authorities: bytes | None = None


class BlockStore:
    """Blocks by height and id, over a store or a snapshot of one. Getters run in any thread."""

    def __init__(self, store: Reads) -> None:
        self._store = store

    def add(self, record: CommitRecord, batch: Batch) -> None:
        """Add a block and its indexes to its batch, and move the head to it."""
        for _ in self.adding(record, batch):
            pass

    def adding(self, record: CommitRecord, batch: Batch) -> Iterator[None]:
        """As `add`, yielding about every half millisecond; the batch is whole at the end."""
        height = record.height
        for prefix, body in (
            (schema.HEADER, record.header),
            (schema.BLOCK, record.block),
            (schema.CERTIFICATE, record.certificate),
        ):
            _put(batch, schema.at_height(prefix, height), body)
        yield
        receipts = schema.at_height(schema.RECEIPTS, height)
        _put(batch, receipts, schema.pack_items(record.receipts))
        yield
        if record.events:
            key = schema.at_height(schema.EVENTS, height)
            _put(batch, key, schema.pack_items(record.events))
            yield
        if record.authorities is not None:
            self.put_authorities(height + AUTHORITIES_AHEAD, record.authorities, batch)
        _put(batch, schema.BLOCK_ID + record.block_id, height.to_bytes(8, "big"))
        added = [schema.BLOCK_ID + record.block_id]
        for done, (key, body) in enumerate(index_keys(height, record.tx_ids, record.touched), 1):
            _put(batch, key, body)
            added.append(key)
            if done % _INDEXED_PER_SLICE == 0:
                yield
        _put(batch, schema.at_height(schema.INDEX_KEYS, height), schema.pack_items(added))
        if height >= INDEX_LISTS_KEPT:
            batch.delete(schema.at_height(schema.INDEX_KEYS, height - INDEX_LISTS_KEPT))
        head = schema.pack_record(schema.KEY_HEAD, [height, record.block_id])
        batch.put(schema.KEY_HEAD, head)

    def put_authorities(self, height: int, packed: bytes, batch: Batch) -> None:
        """Add the authority set that is in force from `height` on."""
        _put(batch, schema.at_height(schema.AUTHORITIES, height), packed)

    def head(self) -> tuple[int, bytes] | None:
        """Return (height, block id) of the last committed block; None in an empty store."""
        record = self._store.get(schema.KEY_HEAD)
        if record is None:
            return None
        height, block_id = schema.unpack_record(schema.KEY_HEAD, record, 2)
        if type(block_id) is not bytes:
            raise schema.damaged(schema.KEY_HEAD, "holds no block id")
        return schema.unpack_number(schema.KEY_HEAD, height), block_id

    def floor(self) -> int:
        """Return the lowest height whose block, receipts and events are kept."""
        record = self._store.get(schema.KEY_FLOOR)
        if record is None:
            return 0
        (floor,) = schema.unpack_record(schema.KEY_FLOOR, record, 1)
        return schema.unpack_number(schema.KEY_FLOOR, floor)

    def set_floor(self, height: int, batch: Batch) -> None:
        """Add that nothing below `height` is kept (state sync, pruning)."""
        batch.put(schema.KEY_FLOOR, schema.pack_record(schema.KEY_FLOOR, [height]))

    def header(self, height: int) -> bytes | None:
        """Return a header; None above the head. Headers and certificates outlive pruning."""
        return self._body(schema.HEADER, height)

    def certificate(self, height: int) -> bytes | None:
        """Return the certificate that decided `height`; None above the head."""
        return self._body(schema.CERTIFICATE, height)

    def block(self, height: int) -> bytes | None:
        """Return a block's body; None above the head. Raises `Pruned` below the floor."""
        return self._kept(schema.BLOCK, height)

    def receipts(self, height: int) -> list[bytes] | None:
        """Return a block's receipts; None above the head. Raises `Pruned` below the floor."""
        body = self._kept(schema.RECEIPTS, height)
        return None if body is None else schema.unpack_items(schema.RECEIPTS, body)

    def receipt(self, position: Position) -> bytes | None:
        """Return one receipt; None when there is none there. Raises `Pruned`."""
        body = self._kept(schema.RECEIPTS, position[0])
        return None if body is None else schema.item_at(schema.RECEIPTS, body, position[1])

    def height_of(self, block_id: bytes) -> int | None:
        """Return the height of a block id, or None."""
        key = schema.BLOCK_ID + block_id
        record = self._store.get(key)
        return None if record is None else int.from_bytes(schema.unseal(key, record), "big")

    def authorities(self, height: int) -> bytes | None:
        """Return the packed authority set in force at `height`: the last one put at or below."""
        start, stop = schema.at_height(schema.AUTHORITIES, 0), height + 1
        last = schema.at_height(schema.AUTHORITIES, stop)
        for key, record in self._store.iterate(start, last, reverse=True):
            return schema.unseal(key, record)
        return None

    def authority_changes(self, height: int) -> Iterator[tuple[int, bytes]]:
        """Give each change of the authorities that is in force at `height`, ascending.

        As (height from which it is in force, packed set); header height − 1 names its hash. The
        set of genesis is no change.
        """
        first, last = schema.at_height(schema.AUTHORITIES, 1), height + 1
        for key, record in self._store.iterate(first, schema.at_height(schema.AUTHORITIES, last)):
            yield int.from_bytes(key[1:], "big"), schema.unseal(key, record)

    def verify_tip(self) -> None:
        """Read the head's records. Raises `StorageFault` when one is missing or damaged."""
        head = self.head()
        if head is None:
            return
        height, block_id = head
        if self.height_of(block_id) != height:
            raise schema.damaged(schema.BLOCK_ID + block_id, "does not lead to the head")
        for prefix in (schema.HEADER, schema.BLOCK, schema.CERTIFICATE, schema.RECEIPTS):
            if self._body(prefix, height) is None:
                raise schema.damaged(schema.at_height(prefix, height), "is missing")

    def rollback(self, height: int, batch: Batch) -> None:
        """Add the removal of every block above `height` and of what it indexed.

        Raises `StorageFault` when a list of index keys is missing: it is further than 128
        blocks back, which `StateStore.rollback` has refused before.
        """
        head = self.head()
        header_id = self._id_at(height)
        if head is None or height > head[0] or header_id is None:
            raise Bug(f"a rollback to height {height}, which is not a block here")
        for undone in range(height + 1, head[0] + 1):
            key = schema.at_height(schema.INDEX_KEYS, undone)
            body = self._body(schema.INDEX_KEYS, undone)
            if body is None:
                raise schema.damaged(key, "is missing")
            for indexed in schema.unpack_items(key, body):
                batch.delete(indexed)
            for prefix in _BY_HEIGHT:
                batch.delete(schema.at_height(prefix, undone))
            in_force = undone + AUTHORITIES_AHEAD
            batch.delete(schema.at_height(schema.AUTHORITIES, in_force))
        batch.put(schema.KEY_HEAD, schema.pack_record(schema.KEY_HEAD, [height, header_id]))

    def _id_at(self, height: int) -> bytes | None:
        """Return the id of a recent block, from the first of the keys that it indexed."""
        body = self._body(schema.INDEX_KEYS, height)
        if body is None:
            return None
        key = schema.item_at(schema.INDEX_KEYS, body, 0)
        return None if key is None else key[1:]

    def _kept(self, prefix: bytes, height: int) -> bytes | None:
        body = self._body(prefix, height)
        if body is None:
            floor = self.floor()
            if height < floor:
                raise Pruned(f"block {height}", floor)
        return body

    def _body(self, prefix: bytes, height: int) -> bytes | None:
        return read_body(self._store, schema.at_height(prefix, height))


def read_body(view: Reads, key: bytes) -> bytes | None:
    """Return the body of a record, or None. Raises `StorageFault` if it is damaged."""
    record = view.get(key)
    return None if record is None else schema.unseal(key, record)


def _put(batch: Batch, key: bytes, body: bytes) -> None:
    batch.put(key, schema.seal(key, body))


def check_blocks(view: Reads, first: int, last: int) -> list[StorageFault]:
    """Read every record of blocks `first`…`last`; return what is missing or damaged."""
    problems: list[StorageFault] = []
    for height in range(first, last + 1):
        for prefix in _BY_HEIGHT[:5]:
            key = schema.at_height(prefix, height)
            try:
                body = read_body(view, key)
                if body is None and prefix != schema.EVENTS:
                    problems.append(schema.damaged(key, "is missing"))
            except StorageFault as fault:
                problems.append(fault)
    return problems


def check_indexes(view: Reads) -> Iterator[StorageFault]:
    """Yield the damaged records that neither `check_blocks` nor the check of state reads.

    Indexes, undo records, authority sets: a node reads most of them only when somebody asks.
    """
    read_elsewhere = frozenset((*_BY_HEIGHT[:5], schema.LEAF))
    for key, record in view.iterate():
        if key[:1] not in read_elsewhere:
            try:
                schema.unseal(key, record)
            except StorageFault as fault:
                yield fault
