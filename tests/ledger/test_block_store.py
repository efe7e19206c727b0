"""Blocks, receipts, events and histories: found by a seek, whole or refused, never partly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.errors import Bug, Pruned, StorageFault
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.blocks import INDEX_LISTS_KEPT, BlockStore, CommitRecord, check_blocks
from clawpurse.ledger.store.events import read_events
from clawpurse.ledger.store.faulty import FaultyDisk
from clawpurse.ledger.store.index import account_history, locate_transaction
from clawpurse.ledger.store.kv import Batch, KeyValue
from clawpurse.ledger.store.memory import MemoryStore

ALICE, BOB = b"a" * 32, b"b" * 32


def block_id(height: int, fork: bytes = b"") -> bytes:
    return (b"id%d" % height + fork).ljust(32, b".")


def record(height: int, txs: int = 2, events: int = 1, fork: bytes = b"") -> CommitRecord:
    return CommitRecord(
        height=height,
        block_id=block_id(height, fork),
        header=b"header%d" % height,
        block=b"block%d" % height,
        certificate=b"certificate%d" % height,
        receipts=[b"receipt%d-%d" % (height, n) for n in range(txs)],
        events=[b"event%d-%d" % (height, n) for n in range(events)],
        tx_ids=[(b"tx%d-%d" % (height, n) + fork).ljust(32, b".") for n in range(txs)],
        touched=[(ALICE, n) for n in range(txs)] + [(BOB, 0)] * (1 if txs else 0),
        authorities=b"set%d" % height if height % 10 == 0 else None,
    )


def commit(store: KeyValue, *records: CommitRecord) -> BlockStore:
    blocks = BlockStore(store)
    for one in records:
        batch = Batch()
        blocks.add(one, batch)
        store.write(batch, sync=True)
    return blocks


def test_an_empty_store_has_no_head() -> None:
    blocks = BlockStore(MemoryStore())
    blocks.verify_tip()
    assert (blocks.head(), blocks.floor(), blocks.block(3), blocks.authorities(3)) == (
        None, 0, None, None,
    )  # fmt: skip


def test_everything_of_a_block_is_found_again() -> None:
    store = MemoryStore()
    blocks = commit(store, *[record(height) for height in range(25)])
    assert blocks.head() == (24, block_id(24))
    blocks.verify_tip()
    assert (blocks.header(7), blocks.block(7)) == (b"header7", b"block7")
    assert blocks.certificate(7) == b"certificate7"
    assert blocks.receipts(7) == [b"receipt7-0", b"receipt7-1"]
    assert blocks.receipt((7, 1)) == b"receipt7-1"
    assert (blocks.receipt((7, 2)), blocks.receipt((99, 0))) == (None, None)
    assert (blocks.height_of(block_id(7)), blocks.height_of(b"?" * 32)) == (7, None)
    assert locate_transaction(store, b"tx7-1".ljust(32, b".")) == (7, 1)
    assert locate_transaction(store, b"?" * 32) is None
    assert check_blocks(store, 0, 24) == []


def test_the_authority_set_of_a_height_is_the_last_one_before_it() -> None:
    blocks = commit(MemoryStore(), *[record(height) for height in range(25)])
    found = [blocks.authorities(height) for height in (2, 11, 12, 21, 22, 1000)]
    assert found == [b"set0", b"set0", b"set10", b"set10", b"set20", b"set20"]


def test_the_changes_up_to_a_height_are_all_those_in_force_there() -> None:
    """A payment proof with one change too few, or too many, proves nothing to anybody."""
    blocks = commit(MemoryStore(), *[record(height) for height in range(1, 25)])
    assert list(blocks.authority_changes(11)) == []
    assert list(blocks.authority_changes(12)) == [(12, b"set10")]
    assert list(blocks.authority_changes(21)) == [(12, b"set10")]
    assert list(blocks.authority_changes(24)) == [(12, b"set10"), (22, b"set20")]


@given(
    touched=st.lists(st.sets(st.integers(0, 5), max_size=4), max_size=12),
    limit=st.integers(1, 5),
    newest_first=st.booleans(),
)
def test_account_history_pages_through_everything_once(
    touched: list[set[int]], limit: int, newest_first: bool
) -> None:
    """A statement that skipped or repeated a payment between pages would not add up."""
    store = MemoryStore()
    expected = []
    for height, indexes in enumerate(touched):
        one = record(height, txs=0)
        places = sorted(indexes)
        commit(store, CommitRecord(**{**vars(one), "touched": [(ALICE, n) for n in places]}))
        expected += [(height, n) for n in places]
    found, cursor = [], None
    for _ in range(len(expected) + 1):
        page = account_history(store, ALICE, limit=limit, cursor=cursor, newest_first=newest_first)
        assert len(page.positions) <= limit
        found += page.positions
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == (expected[::-1] if newest_first else expected)
    assert account_history(store, BOB, limit=5).positions == []


def test_a_history_cursor_of_another_account_shows_nothing_of_it() -> None:
    store = MemoryStore()
    commit(store, record(0), record(1))
    page = account_history(store, BOB, limit=9, cursor=(2**64 - 1, 2**32 - 1))
    assert page.positions == [(1, 0), (0, 0)]
    first = account_history(store, ALICE, limit=9, cursor=(1, 0), newest_first=False)
    assert first.positions == [(1, 0), (1, 1)]


def test_events_are_read_from_a_cursor_across_empty_blocks() -> None:
    store = MemoryStore()
    commit(store, *[record(height, events=(0, 3, 0, 0, 2)[height % 5]) for height in range(10)])
    seen, cursor = [], (0, 0)
    while True:
        page = read_events(store, cursor, limit=2, floor=0, head=9)
        seen += page.events
        cursor = page.next_cursor
        if not page.events:
            break
    assert [position for position, _ in seen] == [
        (h, n) for h in range(10) for n in range((0, 3, 0, 0, 2)[h % 5])
    ]
    assert seen[0] == ((1, 0), b"event1-0")
    assert cursor == (10, 0)
    commit(store, record(10))
    assert read_events(store, cursor, limit=2, floor=0, head=10).events[0][0] == (10, 0)
    assert read_events(store, (12, 3), limit=2, floor=0, head=10) == ([], (12, 3))


def test_events_below_the_floor_are_refused_not_skipped() -> None:
    store = MemoryStore()
    commit(store, record(5))
    with pytest.raises(Pruned) as caught:
        read_events(store, (4, 0), limit=9, floor=5, head=5)
    assert caught.value.floor == 5


def test_blocks_below_the_floor_are_pruned_not_unknown() -> None:
    store = MemoryStore()
    blocks = commit(store, record(50))
    batch = Batch()
    blocks.set_floor(50, batch)
    store.write(batch, sync=True)
    assert blocks.floor() == 50
    for ask in (
        lambda: blocks.block(49),
        lambda: blocks.receipts(0),
        lambda: blocks.receipt((3, 0)),
    ):
        with pytest.raises(Pruned):
            ask()
    assert blocks.block(51) is None
    assert blocks.block(50) == b"block50"


def test_rollback_leaves_no_trace_of_later_blocks() -> None:
    """After a rollback another history is built; an old index entry would point into it."""
    plain, rolled = MemoryStore(), MemoryStore()
    last = INDEX_LISTS_KEPT + 20
    commit(plain, *[record(height) for height in range(21)])
    blocks = commit(rolled, *[record(height) for height in range(last)])
    deepest = last - INDEX_LISTS_KEPT
    batch = Batch()
    blocks.rollback(deepest, batch)
    rolled.write(batch, sync=True)
    assert blocks.head() == (deepest, block_id(deepest))
    blocks.verify_tip()
    lists = schema.INDEX_KEYS
    kept = {k: v for k, v in plain.content().items() if not k.startswith(lists)}
    assert {k: v for k, v in rolled.content().items() if not k.startswith(lists)} == kept
    commit(rolled, record(deepest + 1, fork=b"'"))
    assert locate_transaction(rolled, (b"tx%d-0" % (deepest + 1)).ljust(32, b".")) is None
    for height in (deepest - 5, last):
        with pytest.raises(Bug):
            blocks.rollback(height, Batch())


def test_a_damaged_block_is_found_by_the_check_and_never_served() -> None:
    disk = FaultyDisk()
    store = disk.open()
    commit(store, *[record(height) for height in range(4)])
    store.close()
    disk.flip_bit(schema.at_height(schema.BLOCK, 2), 50)
    disk.flip_bit(schema.at_height(schema.EVENTS, 3), 5)
    store = disk.open()
    batch = Batch()
    batch.delete(schema.at_height(schema.HEADER, 1))
    store.write(batch, sync=True)
    blocks = BlockStore(store)
    with pytest.raises(StorageFault, match="block record"):
        blocks.block(2)
    problems = [str(problem) for problem in check_blocks(store, 0, 3)]
    assert [("header" in p, "block" in p, "events" in p) for p in problems] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]


@pytest.mark.parametrize("prefix", [schema.HEADER, schema.CERTIFICATE, schema.BLOCK_ID])
def test_a_tip_with_a_hole_stops_the_start(prefix: bytes) -> None:
    store = MemoryStore()
    blocks = commit(store, record(0), record(1))
    key = prefix + block_id(1) if prefix == schema.BLOCK_ID else schema.at_height(prefix, 1)
    batch = Batch()
    batch.delete(key)
    store.write(batch, sync=True)
    with pytest.raises(StorageFault):
        blocks.verify_tip()


@given(items=st.lists(st.binary(max_size=5), max_size=6))
def test_items_are_found_alone_and_together(items: list[bytes]) -> None:
    body = schema.pack_items(items)
    assert schema.unpack_items(b"R", body) == items
    assert [schema.item_at(b"R", body, n) for n in range(len(items))] == items
    assert schema.item_at(b"R", body, len(items)) is None
    with pytest.raises(StorageFault):
        schema.unpack_items(b"R", body + b"x")
