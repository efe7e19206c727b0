"""State on disk: what a block wrote is there after any crash, provable, and can be undone.

If these failed, a restarted node would vote on another state than the one it called final.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger.errors import Bug, Malformed, NotFound, Pruned, StorageFault
from clawpurse.ledger.statetree import nodes
from clawpurse.ledger.statetree.state_proof import state_root_of, verify_state_proof
from clawpurse.ledger.statetree.tree import Geometry
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.faulty import FaultyDisk
from clawpurse.ledger.store.kv import Batch, KeyValue
from clawpurse.ledger.store.leveldb import LevelDbStore
from clawpurse.ledger.store.memory import MemoryStore
from clawpurse.ledger.store.recovery import check_state
from clawpurse.ledger.store.state import UNDO_BLOCKS, StateLimits, StateStore
from clawpurse.ledger.store.state_update import Name, StateUpdate

MODULES = [("kernel", 1), ("accounts", 2), ("assets", 1)]


def listed_first(tree: str) -> bytes:
    return b"d" if tree == "kernel" else b""


Content = dict[Name, bytes]
Changes = dict[Name, bytes | None]

# A table of 32 chunks under a few dozen keys, and one that deepens: every way to write tables.
WIDE = StateLimits(0, 2_000, Geometry(leaves_per_page=1, depth_min=3, depth_max=3))
GROWING = StateLimits(1 << 20, 1 << 20, Geometry(leaves_per_page=1, depth_min=1, depth_max=3))
USUAL = StateLimits(1 << 20, 1 << 20)
ALL_LIMITS = [WIDE, GROWING, USUAL]

# The geometry matters only to speed, so the root of a model comes from a tree without pages.


def model_root(content: Content) -> bytes:
    store = MemoryStore()
    state = StateStore.open(store, MODULES, None, ordered=lambda tree: b"", limits=USUAL)
    changes: Changes = dict(content)
    return state.apply(changes).finish().state_root


def after(content: Content, changes: Changes) -> Content:
    merged: Changes = {**content, **changes}
    return {name: value for name, value in merged.items() if value is not None}


def open_state(
    store: KeyValue, expected: bytes | None = None, limits: StateLimits = USUAL
) -> StateStore:
    return StateStore.open(store, MODULES, expected, ordered=listed_first, limits=limits)


def commit(state: StateStore, store: KeyValue, changes: Changes, height: int) -> StateUpdate:
    update = state.apply(changes).finish()
    batch = Batch()
    state.write(update, height, batch)
    store.write(batch, sync=True)
    state.install(update, height)
    return update


trees = st.sampled_from([name for name, _ in MODULES])
raw_keys = st.integers(0, 25).map(lambda n: (b"d%02d" if n % 3 else b"k%02d") % n)
values = st.none() | st.binary(min_size=1, max_size=4)
block_changes = st.dictionaries(st.tuples(trees, raw_keys), values, max_size=10)
chains = st.lists(block_changes, min_size=1, max_size=12)


@given(chain=chains, limits=st.sampled_from(ALL_LIMITS), data=st.data())
@settings(max_examples=60)
def test_every_recent_height_is_read_proven_and_restored_as_it_was(
    chain: list[Changes], limits: StateLimits, data: st.DataObject
) -> None:
    store = MemoryStore()
    state = open_state(store, limits=limits)
    contents: list[Content] = []
    content: Content = {}
    for height, changes in enumerate(chain):
        content = after(content, changes)
        contents.append(content)
        commit(state, store, changes, height)
        assert state.state_root == model_root(content)
    height = data.draw(st.integers(0, len(chain) - 1))
    then = contents[height]
    view = state.at_height(height, proofs=True)
    list(view.steps())
    list(view.steps())
    assert view.state_root == model_root(then)
    for tree in ("kernel", "assets"):
        for number in range(0, 26, 5):
            key = (b"d%02d" if number % 3 else b"k%02d") % number
            assert view.get(tree, key) == then.get((tree, key))
            assert state.get(tree, key) == content.get((tree, key))
            old, new = view.prove(tree, key), state.prove(tree, key)
            assert verify_state_proof(view.state_root, tree, key, then.get((tree, key)), old)
            assert verify_state_proof(state.state_root, tree, key, content.get((tree, key)), new)
            assert not verify_state_proof(state.state_root, "accounts", key, b"no", new)
    view.close()

    restored = state.rollback(height).finish()
    batch = Batch()
    state.write(restored, height, batch)
    store.write(batch, sync=True)
    state.install(restored, height)
    assert state.state_root == model_root(then)
    commit(state, store, {("assets", b"again"): b"1"}, height + 1)
    content = after(then, {("assets", b"again"): b"1"})
    reopened = open_state(store, model_root(content), limits)
    assert reopened.height == height + 1
    assert [p for p in check_state(store, MODULES, listed_first) if p.problem] == []
    for name, value in content.items():
        assert reopened.get(*name) == value


@given(
    chain=chains,
    limits=st.sampled_from(ALL_LIMITS),
    crash_at=st.integers(1, 12),
    survives=st.booleans(),
)
@settings(max_examples=100)
def test_a_crash_at_any_write_leaves_exactly_the_acknowledged_blocks(
    chain: list[Changes], limits: StateLimits, crash_at: int, survives: bool
) -> None:
    disk = FaultyDisk(failed_write_survives=survives)
    store = disk.open()
    state = open_state(store, limits=limits)
    contents: list[Content] = [{}]
    disk.fail_write_in = crash_at
    acknowledged = 0
    for height, changes in enumerate(chain):
        contents.append(after(contents[-1], changes))
        try:
            commit(state, store, changes, height)
        except StorageFault:
            break
        acknowledged = height + 1
    disk.crash()
    disk.fail_write_in = None
    store = disk.open()
    found = open_state(store, limits=limits)
    blocks = 0 if found.height is None else found.height + 1
    assert acknowledged <= blocks <= acknowledged + 1
    assert survives or blocks == acknowledged
    again = open_state(store, model_root(contents[blocks]), limits)
    for name, value in contents[blocks].items():
        assert again.get(*name) == value
    for height, changes in enumerate(chain[blocks:], blocks):
        commit(again, store, changes, height)
    whole: Content = {}
    for changes in chain:
        whole = after(whole, changes)
    assert again.state_root == model_root(whole)


@pytest.mark.parametrize("limits", ALL_LIMITS)
def test_long_chains_reopen_to_the_same_root(limits: StateLimits) -> None:
    """Many turns of the page table, deletions of deltas and deepenings later."""
    disk = FaultyDisk()
    store = disk.open()
    state = open_state(store, limits=limits)
    content: Content = {}
    for height in range(150):
        changes: Changes = {
            ("assets", b"a%d" % (height * 7 % 90)): b"v%d" % height,
            ("kernel", b"d%d" % height): b"due",
            ("kernel", b"d%d" % (height - 5)): None,
            ("accounts", b"new%d" % height): b"1",
        }
        content = after(content, changes)
        commit(state, store, changes, height)
        if height % 13 == 12:
            root = state.state_root
            disk.crash()
            store = disk.open()
            state = open_state(store, root, limits)
    assert state.state_root == model_root(content)
    problems = [progress.problem for progress in check_state(store, MODULES, listed_first)]
    assert [problem for problem in problems if problem] == []
    deltas = [key for key, _ in store.iterate(schema.DELTA, schema.DELTA + b"\xff")]
    assert len(deltas) <= 3 * 2 * 32
    undo = [key for key, _ in store.iterate(schema.UNDO, schema.UNDO + b"\xff")]
    assert len(undo) == UNDO_BLOCKS
    assert state.undo_floor == 149 - UNDO_BLOCKS
    with pytest.raises(Pruned):
        state.at_height(149 - UNDO_BLOCKS - 1)
    with pytest.raises(Pruned):
        state.rollback(149 - UNDO_BLOCKS - 1)
    with pytest.raises(NotFound):
        state.at_height(150)
    state.at_height(149 - UNDO_BLOCKS).close()


def grown(limits: StateLimits = WIDE, blocks: int = 6) -> tuple[FaultyDisk, bytes]:
    disk = FaultyDisk()
    store = disk.open()
    state = open_state(store, limits=limits)
    for height in range(blocks):
        changes: Changes = {("assets", b"a%d" % n): b"v%d" % height for n in range(40)}
        changes.update({("kernel", b"d%d" % n): b"x" for n in range(height, height + 3)})
        commit(state, store, changes, height)
    state.close()
    store.close()
    return disk, state.state_root


def keys_with(disk: FaultyDisk, prefix: bytes) -> list[bytes]:
    return [key for key in disk.record_keys() if key.startswith(prefix)]


def test_a_damaged_leaf_is_named_and_never_served() -> None:
    disk, root = grown()
    for key in keys_with(disk, schema.LEAF)[:4]:
        for bit in (0, 33, 40, 300):
            disk.flip_bit(key, bit)
            store = disk.open()
            state = open_state(store, root, WIDE)
            problems = [p for p in check_state(store, MODULES, listed_first) if p.problem]
            assert len(problems) == 1
            assert "db check" in str(problems[0].problem)
            with pytest.raises(StorageFault):
                for number in range(40):
                    state.get("assets", b"a%d" % number)
                state.first_ordered("kernel", b"d", 100)
            store.close()
            disk.flip_bit(key, bit)


@pytest.mark.parametrize("prefix", [schema.TABLE, schema.DELTA, schema.ORDERED])
def test_what_can_be_rebuilt_is_rebuilt(prefix: bytes) -> None:
    """A bit that decays in a table costs a scan of the leaves, not the chain."""
    disk, root = grown(blocks=10)
    keys = keys_with(disk, prefix)
    assert keys
    store = disk.open()
    batch = Batch()
    for key in keys:
        batch.delete(key)
    store.write(batch, sync=True)
    store.close()
    store = disk.open()
    state = open_state(store, root, WIDE)
    assert [p for p in check_state(store, MODULES, listed_first) if p.problem] == []
    assert state.first_ordered("kernel", b"d", 1) == [(b"d0", b"x")]
    commit(state, store, {("assets", b"a1"): b"more"}, 10)
    assert open_state(store, state.state_root, WIDE).get("assets", b"a1") == b"more"


def test_a_damaged_table_record_is_rebuilt() -> None:
    disk, root = grown()
    disk.flip_bit(keys_with(disk, schema.TABLE)[3], 900)
    disk.flip_bit(keys_with(disk, schema.DELTA)[0], 90)
    store = disk.open()
    assert open_state(store, root, WIDE).state_root == root


def test_a_lost_leaf_names_its_tree() -> None:
    disk, root = grown()
    store = disk.open()
    batch = Batch()
    batch.delete(keys_with(disk, schema.LEAF)[-1])
    for key in keys_with(disk, schema.TABLE) + keys_with(disk, schema.DELTA):
        batch.delete(key)
    store.write(batch, sync=True)
    with pytest.raises(StorageFault, match=r"'assets'.*clawpurse db check"):
        open_state(store, root, WIDE)


def test_a_lost_leaf_is_found_before_it_is_overwritten() -> None:
    disk, root = grown(USUAL)
    store = disk.open()
    batch = Batch()
    leaf = schema.of_tree(schema.LEAF, 2, nodes.key_hash_of(b"a7"))
    batch.delete(leaf)
    store.write(batch, sync=True)
    state = open_state(store, root, USUAL)
    with pytest.raises(StorageFault, match="'assets'"):
        state.apply({("assets", b"a7"): b"again"}).finish()


def test_another_blocks_state_is_refused_by_its_root() -> None:
    disk, root = grown()
    with pytest.raises(StorageFault, match="the head's header says"):
        open_state(disk.open(), root[::-1], WIDE)
    disk.crash()
    assert open_state(disk.open(), root, WIDE).height == 5


def test_a_lost_description_or_undo_record_is_a_storage_fault() -> None:
    disk, root = grown()
    store = disk.open()
    state = open_state(store, root, WIDE)
    batch = Batch()
    batch.delete(schema.at_height(schema.UNDO, 4))
    store.write(batch, sync=True)
    late = open_state(store, root, WIDE)
    assert state.at_height(3).get("assets", b"a1") == b"v3"
    with pytest.raises(StorageFault, match="undo"):
        late.at_height(3).get("assets", b"zzz")
    batch = Batch()
    batch.delete(schema.of_tree(schema.TREE_META, 2))
    store.write(batch, sync=True)
    with pytest.raises(StorageFault, match="description"):
        open_state(store, root, WIDE)


def test_the_due_queue_is_read_in_order_by_seeks() -> None:
    """The kernel asks for what is due first; a scan of state would grow with the network."""
    store = MemoryStore()
    state = open_state(store)
    times = [7, 300, 5, 256, 1]
    changes: Changes = {("kernel", b"d" + t.to_bytes(8, "big")): b"t%d" % t for t in times}
    changes["kernel", b"e"] = b"not due"
    changes["assets", b"d"] = b"not listed"
    commit(state, store, changes, 0)
    assert [v for _, v in state.first_ordered("kernel", b"d", 3)] == [b"t1", b"t5", b"t7"]
    stop = b"d" + (256).to_bytes(8, "big")
    assert [v for _, v in state.ordered("kernel", b"d", stop, 9)] == [b"t1", b"t5", b"t7"]
    assert state.ordered("kernel", b"d", stop, 0) == []
    late = state.ordered("kernel", stop, None, 9)
    assert [v for _, v in late] == [b"t256", b"t300"]
    pending = state.apply({("kernel", b"d" + (1).to_bytes(8, "big")): None}).finish()
    assert state.first_ordered("kernel", b"d", 1)[0][1] == b"t1"
    batch = Batch()
    state.write(pending, 1, batch)
    store.write(batch, sync=True)
    assert state.first_ordered("kernel", b"d", 1)[0][1] == b"t1"
    state.install(pending, 1)
    assert state.first_ordered("kernel", b"d", 1)[0][1] == b"t5"
    for tree, start in (("kernel", b"e"), ("assets", b"d"), ("kernel", b"")):
        with pytest.raises(Bug):
            state.ordered(tree, start, None, 1)


@given(
    blocks=st.lists(
        st.tuples(
            st.dictionaries(st.integers(0, 40), st.booleans(), max_size=5),
            st.lists(st.tuples(st.integers(0, 45), st.none() | st.integers(0, 45)), max_size=3),
        ),
        max_size=12,
    )
)
def test_the_due_queue_forgets_nothing_where_it_was_emptied(
    blocks: list[tuple[dict[int, bool], list[tuple[int, int | None]]]],
) -> None:
    """The store remembers where the queue begins; a payment put before that must still be due."""
    store = MemoryStore()
    state = open_state(store)
    model: set[bytes] = set()
    for height, (changes, queries) in enumerate(blocks):
        written: Changes = {}
        for number, present in changes.items():
            key = b"d%02d" % number
            written["kernel", key] = b"x" if present else None
            (model.add if present else model.discard)(key)
        commit(state, store, written, height)
        assert [k for k, _ in state.first_ordered("kernel", b"d", 3)] == sorted(model)[:3]
        for low, high in queries:
            start = b"d%02d" % low
            stop = None if high is None else b"d%02d" % high
            inside = [k for k in sorted(model) if k >= start and (stop is None or k < stop)]
            assert [k for k, _ in state.ordered("kernel", start, stop, 2)] == inside[:2]
            early = [k for k in sorted(model) if stop is None or k < stop]
            assert [k for k, _ in state.ordered("kernel", b"d", stop, 9)] == early[:9]


def test_a_mirror_entry_without_a_leaf_is_a_storage_fault() -> None:
    disk, root = grown()
    store = disk.open()
    state = open_state(store, root, WIDE)
    batch = Batch()
    stray = schema.of_tree(schema.ORDERED, 0, b"d!")
    batch.put(stray, schema.seal(stray, b""))
    store.write(batch, sync=True)
    assert state.first_ordered("kernel", b"d", 1)[0][0] == b"d0"
    late = open_state(store, root, WIDE)
    with pytest.raises(StorageFault, match="no leaf"):
        late.first_ordered("kernel", b"d", 1)
    assert any(p.problem for p in check_state(store, MODULES, listed_first))


def test_several_proposals_are_computed_side_by_side_and_one_wins() -> None:
    """A node that waits for one round's block may have computed another round's: no mix-up."""
    store = MemoryStore()
    state = open_state(store)
    commit(state, store, {("assets", b"a%d" % n): b"0" for n in range(500)}, 0)
    one = state.apply({("assets", b"a%d" % n): b"1" for n in range(300)})
    two = state.apply({("assets", b"a%d" % n): b"2" for n in range(200, 500)})
    running = [one.steps(), two.steps()]
    while running:
        running = [steps for steps in running if next(steps, "end") is None]
    base: Content = {("assets", b"a%d" % n): b"0" for n in range(500)}
    assert one.state_root == model_root(
        {**base, **{("assets", b"a%d" % n): b"1" for n in range(300)}}
    )
    batch = Batch()
    state.write(two, 1, batch)
    store.write(batch, sync=True)
    state.install(two, 1)
    assert state.get("assets", b"a250") == b"2"
    assert one.stale
    with pytest.raises(Bug):
        state.write(one, 2, Batch())
    with pytest.raises(Bug):
        state.install(one, 2)


def test_an_update_that_changes_nothing_keeps_the_root() -> None:
    store = MemoryStore()
    state = open_state(store)
    commit(state, store, {("assets", b"a"): b"1"}, 0)
    root = state.state_root
    update = commit(state, store, {("assets", b"a"): b"1", ("assets", b"b"): None}, 1)
    assert (update.changed_count, update.nodes_touched, update.state_root) == (0, 0, root)
    assert open_state(store, root).height == 1


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({("assets", b"a"): b""}, Malformed),
        ({("assets", bytes(70_000)): b"v"}, Malformed),
        ({("nowhere", b"a"): b"v"}, Bug),
    ],
)
def test_what_no_tree_can_hold_is_refused(changes: Changes, error: type[Exception]) -> None:
    state = open_state(MemoryStore())
    with pytest.raises(error):
        state.apply(changes).finish()


def test_misuse_is_refused_before_it_reaches_the_disk() -> None:
    store = MemoryStore()
    state = open_state(store)
    commit(state, store, {("assets", b"a"): b"1"}, 5)
    assert state.undo_floor == 5
    update = state.apply({("assets", b"a"): b"2"})
    with pytest.raises(Bug):
        state.write(update, 6, Batch())
    with pytest.raises(Bug):
        _ = update.state_root
    update.finish()
    for height in (5, 7):
        with pytest.raises(Bug):
            state.write(update, height, Batch())
    with pytest.raises(Bug):
        state.write(state.rollback(5).finish(), 6, Batch())
    view = state.at_height(5)
    with pytest.raises(Bug):
        list(view.steps())
    with pytest.raises(Bug):
        view.get("nowhere", b"a")
    view.close()
    view.close()
    with pytest.raises(Bug):
        view.get("assets", b"a")
    proving = state.at_height(5, proofs=True)
    with pytest.raises(Bug):
        proving.prove("assets", b"a")
    proving.close()


def test_a_tree_that_appears_later_gets_its_own_place() -> None:
    store = MemoryStore()
    first = StateStore.open(store, [("assets", 1)], None)
    commit(first, store, {("assets", b"a"): b"1"}, 0)
    second = StateStore.open(store, [("accounts", 1), ("assets", 2)], None)
    commit(second, store, {("accounts", b"a"): b"2"}, 1)
    third = StateStore.open(store, [("accounts", 1), ("assets", 2)], second.state_root)
    assert (third.get("assets", b"a"), third.get("accounts", b"a")) == (b"1", b"2")
    roots = third.roots
    assert third.state_root == state_root_of(
        [("accounts", 1, roots["accounts"]), ("assets", 2, roots["assets"])]
    )


def test_state_proofs_bind_module_version_and_place() -> None:
    store = MemoryStore()
    state = open_state(store)
    commit(state, store, {("assets", b"a"): b"1", ("accounts", b"a"): b"1"}, 0)
    proof = state.prove("assets", b"a")
    assert verify_state_proof(state.state_root, "assets", b"a", b"1", proof)
    for at in range(len(proof)):
        bent = bytearray(proof)
        bent[at] ^= 1
        assert not verify_state_proof(state.state_root, "assets", b"a", b"1", bytes(bent))
    assert not verify_state_proof(state.state_root, "accounts", b"a", b"1", proof)
    assert not verify_state_proof(state.state_root, "assets", b"a", None, proof)
    odd: Any
    for odd in (None, 1, b"", "x" * 100, []):
        assert not verify_state_proof(odd, "assets", b"a", b"1", proof)
        assert not verify_state_proof(state.state_root, odd, b"a", b"1", proof)
        assert not verify_state_proof(state.state_root, "assets", b"a", b"1", odd)


@given(noise=st.binary(max_size=60))
def test_hostile_state_proofs_never_raise(noise: bytes) -> None:
    assert not verify_state_proof(bytes(32), "assets", b"k", b"v", noise)
    assert not verify_state_proof(bytes(32), "assets", b"k", None, b"\x96\x01\x01\x00\x01" + noise)


@pytest.mark.real
def test_views_stay_as_they_were_while_another_thread_reads_them(tmp_path: Path) -> None:
    """Queries run beside commits; a reader that saw half a block would show wrong balances."""
    store = LevelDbStore.open(str(tmp_path / "db"))
    state = open_state(store)
    names = [("assets", b"a%d" % n) for n in range(20)]
    commit(state, store, dict.fromkeys(names, b"0"), 0)
    seen: list[set[bytes | None]] = []
    failures: list[BaseException] = []
    height_seen = threading.Event()

    def read(view: Any) -> None:
        try:
            for _ in range(3):
                seen.append({view.get(*name) for name in names})
                height_seen.set()
        except BaseException as err:
            failures.append(err)

    for height in range(1, 40):
        view = state.at_height(max(0, height - 3), proofs=True)
        reader = threading.Thread(target=read, args=(view,))
        reader.start()
        commit(state, store, dict.fromkeys(names, b"%d" % height), height)
        list(view.steps())
        assert view.get("assets", b"a1") == b"%d" % max(0, height - 3)
        reader.join(timeout=30)
        assert not reader.is_alive()
        view.close()
    assert failures == []
    assert height_seen.is_set()
    assert all(len(found) == 1 for found in seen)
    state.close()
    store.close()
