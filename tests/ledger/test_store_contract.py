"""What every store promises; without it a node reads old, half or foreign data.

The same tests run on LevelDB, on memory and on memory with faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.errors import Bug
from clawpurse.ledger.store.faulty import FaultyDisk
from clawpurse.ledger.store.kv import Batch, KeyValue, prefix_stop
from clawpurse.ledger.store.leveldb import LevelDbStore
from clawpurse.ledger.store.memory import MemoryStore

Opener = Callable[[], KeyValue]


@pytest.fixture(params=["leveldb", "memory", "faulty"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeyValue]:
    opened: KeyValue
    if request.param == "leveldb":
        opened = LevelDbStore.open(str(tmp_path / "db"))
    elif request.param == "memory":
        opened = MemoryStore()
    else:
        opened = FaultyDisk().open()
    yield opened
    opened.close()


def put(store: KeyValue, sync: bool = False, **entries: bytes | None) -> None:
    batch = Batch()
    for key, value in entries.items():
        if value is None:
            batch.delete(key.encode())
        else:
            batch.put(key.encode(), value)
    store.write(batch, sync)


def test_what_was_written_is_read_back(store: KeyValue) -> None:
    put(store, a=b"1", b=b"")
    assert (store.get(b"a"), store.get(b"b"), store.get(b"c")) == (b"1", b"", None)


def test_last_word_of_a_batch_wins(store: KeyValue) -> None:
    batch = Batch()
    batch.put(b"k", b"1")
    batch.delete(b"k")
    batch.put(b"k", b"2")
    batch.put(b"gone", b"x")
    batch.delete(b"gone")
    store.write(batch, sync=True)
    assert (store.get(b"k"), store.get(b"gone")) == (b"2", None)
    assert list(store.iterate()) == [(b"k", b"2")]


def test_keys_are_ordered_as_unsigned_bytes(store: KeyValue) -> None:
    batch = Batch()
    for key in (b"\xff", b"\x00", b"a\x00", b"a", b"\x7f", b"\x80"):
        batch.put(key, key)
    store.write(batch, sync=False)
    rising = [b"\x00", b"a", b"a\x00", b"\x7f", b"\x80", b"\xff"]
    assert [key for key, _ in store.iterate()] == rising
    assert [key for key, _ in store.iterate(reverse=True)] == rising[::-1]


@pytest.mark.parametrize("reverse", [False, True])
def test_ranges_include_start_and_exclude_stop(store: KeyValue, reverse: bool) -> None:
    put(store, a=b"", b=b"", c=b"", d=b"")
    found = [key for key, _ in store.iterate(b"b", b"d", reverse=reverse)]
    assert sorted(found) == [b"b", b"c"]
    assert found == sorted(found, reverse=reverse)
    assert list(store.iterate(b"c", b"c", reverse=reverse)) == []
    assert list(store.iterate(b"d", b"a", reverse=reverse)) == []
    assert [k for k, _ in store.iterate(b"bb", None, reverse=reverse)] == (
        [b"d", b"c"] if reverse else [b"c", b"d"]
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_every_range_holds_what_lies_in_it(store: KeyValue, reverse: bool) -> None:
    """One database gives nothing, backward, when the first key that it meets is the start: then
    no authority set is found, and the network ends at its first block.
    """
    keys = [b"a", b"b", b"ba", b"c", b"d"]
    batch = Batch()
    for key in keys:
        batch.put(key, b"")
    store.write(batch, sync=True)
    edges = [b"", b"a", b"aa", b"b", b"ba", b"bb", b"c", b"d", b"e"]
    for start in edges:
        for stop in (*edges, None):
            expected = [key for key in keys if start <= key and (stop is None or key < stop)]
            found = [key for key, _ in store.iterate(start, stop, reverse=reverse)]
            assert found == (expected[::-1] if reverse else expected), (start, stop)


def test_iteration_shows_the_store_as_it_was_when_it_began(store: KeyValue) -> None:
    put(store, a=b"1", b=b"1", c=b"1")
    entries = store.iterate()
    put(store, a=b"2", b=None, d=b"2")
    assert list(entries) == [(b"a", b"1"), (b"b", b"1"), (b"c", b"1")]
    assert [key for key, _ in store.iterate()] == [b"a", b"c", b"d"]


def test_snapshots_do_not_move(store: KeyValue) -> None:
    put(store, a=b"1", b=b"1")
    first = store.snapshot()
    put(store, a=b"2", b=None, c=b"2")
    second = store.snapshot()
    put(store, a=None, b=b"3", c=b"3")
    assert list(first.iterate()) == [(b"a", b"1"), (b"b", b"1")]
    assert list(second.iterate(reverse=True)) == [(b"c", b"2"), (b"a", b"2")]
    assert (first.get(b"c"), second.get(b"b"), store.get(b"a")) == (None, None, None)
    first.close()
    assert second.get(b"a") == b"2"
    second.close()
    second.close()
    assert list(store.iterate()) == [(b"b", b"3"), (b"c", b"3")]


def test_reading_a_closed_snapshot_is_our_bug(store: KeyValue) -> None:
    snapshot = store.snapshot()
    snapshot.close()
    with pytest.raises(Bug):
        snapshot.get(b"a")
    with pytest.raises(Bug):
        snapshot.iterate()


def test_a_batch_is_a_value_and_can_be_written_twice(store: KeyValue) -> None:
    batch = Batch()
    batch.put(b"a", b"1")
    batch.extend([(b"b", b"2"), (b"c", None)])
    assert (len(batch), batch.size_bytes) == (3, 5)
    store.write(batch, sync=True)
    put(store, a=None)
    store.write(batch, sync=True)
    assert store.get(b"a") == b"1"


keys = st.binary(min_size=1, max_size=2).map(lambda raw: bytes(byte & 0x83 for byte in raw))
writes = st.lists(st.dictionaries(keys, st.none() | st.binary(max_size=3), max_size=5), max_size=12)


@given(writes=writes, at=st.integers(0, 12), start=keys, stop=st.none() | keys)
def test_memory_agrees_with_a_plain_dictionary(
    writes: list[dict[bytes, bytes | None]], at: int, start: bytes, stop: bytes | None
) -> None:
    """Simulations stand on this store; if it erred, they would prove nothing."""
    store, model, then, snapshot = MemoryStore(), dict[bytes, bytes](), dict[bytes, bytes](), None
    moving = store.snapshot()
    for number, changes in enumerate(writes):
        if number == at:
            snapshot, then = store.snapshot(), dict(model)
        batch = Batch()
        for key, value in changes.items():
            if value is None:
                batch.delete(key)
                model.pop(key, None)
            else:
                batch.put(key, value)
                model[key] = value
        store.write(batch, sync=False)
        moving.close()
        moving = store.snapshot()

    def expected(content: dict[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        inside = [k for k in sorted(content) if k >= start and (stop is None or k < stop)]
        return [(key, content[key]) for key in inside]

    assert list(store.iterate(start, stop)) == expected(model)
    assert list(moving.iterate(start, stop, reverse=True)) == expected(model)[::-1]
    if snapshot is not None:
        assert list(snapshot.iterate(start, stop)) == expected(then)
        assert list(snapshot.iterate(start, stop, reverse=True)) == expected(then)[::-1]
        snapshot.close()
    moving.close()
    assert list(store.iterate()) == sorted(model.items())
    assert store.content() == model
    assert (store._keys, store._replaced, list(store._log)) == (sorted(model), {}, [])


def test_an_abandoned_iterator_holds_no_old_values() -> None:
    store = MemoryStore({b"a": b"1", b"b": b"1"})
    untouched, begun = store.iterate(), store.iterate()
    next(begun)
    del untouched, begun
    put(store, a=b"2")
    assert store._replaced == {}


@pytest.mark.parametrize(
    ("prefix", "stop"),
    [(b"a", b"b"), (b"a\xff", b"b"), (b"\xff\xff", None), (b"", None), (b"\x00", b"\x01")],
)
def test_a_prefix_ends_before_the_next_one(prefix: bytes, stop: bytes | None) -> None:
    assert prefix_stop(prefix) == stop
