"""Finding the trees again at start-up, rebuilding what does not add up, checking everything.

Leaves are the truth; page tables, mirror and descriptions are made from them again whenever
they disagree. What cannot be made again is a leaf: then a `StorageFault` names the tree.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from clawpurse.ledger import codec
from clawpurse.ledger.errors import Malformed, StorageFault
from clawpurse.ledger.statetree.nodes import (
    HASH_BYTES,
    key_hash_of,
    leaf_hash_of,
    value_hash_of,
)
from clawpurse.ledger.statetree.page import build_page, node_of_page
from clawpurse.ledger.statetree.tree import Geometry, Levels, PageCache, PagedTree
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.kv import Batch, KeyValue, Reads, prefix_stop
from clawpurse.ledger.store.stored_tree import Leaves, StoredTree, meta_record, ordered_key
from clawpurse.ledger.store.tables import PageTable, TablePlan, chunk_count, fill_table, load_table


@dataclass
class StateHead:
    """The committed height of state, the lowest that can be undone to, the trees by number."""

    height: int | None = None
    undo_floor: int = 0
    names: list[str] = field(default_factory=list)

    def record(self) -> bytes:
        fields = [self.height, self.undo_floor, self.names]
        return schema.pack_record(schema.KEY_STATE_HEAD, fields)


def read_state_head(view: Reads) -> StateHead:
    """Read the state head; of an empty store, a head without height. Raises `StorageFault`."""
    key = schema.KEY_STATE_HEAD
    record = view.get(key)
    if record is None:
        return StateHead()
    height, floor, names = schema.unpack_record(key, record, 3)
    try:
        listed = [codec.ascii_text(name, "tree", 64) for name in codec.items(names, "trees", 1024)]
    except Malformed as err:
        raise schema.damaged(key, f"is malformed ({err})") from err
    return StateHead(schema.unpack_number(key, height), schema.unpack_number(key, floor), listed)


@dataclass
class _Meta:
    depth: int
    leaf_count: int
    root: bytes
    cursor: int
    turn_start: int
    ordered_count: int


def _read_meta(view: Reads, number: int) -> _Meta | None:
    key = schema.of_tree(schema.TREE_META, number)
    record = view.get(key)
    if record is None:
        return None
    fields = schema.unpack_record(key, record, 6)
    try:
        root = codec.digest(fields.pop(2), "root")
    except Malformed as err:
        raise schema.damaged(key, f"is malformed ({err})") from err
    depth, leaf_count, cursor, turn_start, count = (schema.unpack_number(key, f) for f in fields)
    return _Meta(depth, leaf_count, root, cursor, turn_start, count)


def load_tree(
    store: KeyValue,
    name: str,
    number: int,
    ordered: bytes,
    geometry: Geometry,
    pages: PageCache,
    height: int | None,
) -> StoredTree:
    """Load one tree, rebuilding its tables from its leaves where they do not add up.

    Raises `StorageFault`, naming the tree, when the leaves are not those that were committed.
    """
    leaves = Leaves(number, store)
    meta = _read_meta(store, number)
    if meta is None:
        if next(leaves.records(), None) is not None:
            raise _not_committed(name, "It has leaves, but its description is lost.")
        tree = PagedTree.empty(name, number, geometry.depth_min, leaves, pages, geometry)
        return StoredTree(number, tree, PageTable(number, 0, 0, deque()), leaves, ordered, 0)
    mirror_lost = bool(meta.ordered_count) and not _mirror_begins(store, number)
    if geometry.fits(meta.depth, meta.leaf_count) and not mirror_lost:
        try:
            levels, deltas = load_table(store, number, meta.depth)
        except StorageFault:
            levels, deltas = None, deque()
        if levels is not None and bytes(levels.hashes[0]) == meta.root:
            table = PageTable(number, meta.cursor, meta.turn_start, deltas)
            tree = PagedTree(name, number, levels, meta.leaf_count, leaves, pages, geometry)
            return StoredTree(number, tree, table, leaves, ordered, meta.ordered_count)
    levels, leaf_count, ordered_count = _rebuild(
        store, name, number, ordered, geometry, meta, height or 0
    )
    tree = PagedTree(name, number, levels, leaf_count, leaves, pages, geometry)
    table = PageTable(number, 0, height or 0, deque())
    return StoredTree(number, tree, table, leaves, ordered, ordered_count)


def _mirror_begins(view: Reads, number: int) -> bool:
    prefix = ordered_key(number, b"")
    return next(iter(view.iterate(prefix, prefix_stop(prefix))), None) is not None


def _rebuild(
    store: KeyValue,
    name: str,
    number: int,
    ordered: bytes,
    geometry: Geometry,
    meta: _Meta,
    height: int,
) -> tuple[Levels, int, int]:
    """Make table, mirror and description of a tree from its leaves, in one synced batch."""
    depth = min(max(geometry.depth_for(meta.leaf_count), geometry.depth_min), geometry.depth_max)
    scan = LeafScan(Leaves(number, store), depth, ordered)
    for _ in scan.steps():
        pass
    wanted = geometry.depth_for(scan.leaf_count)
    if wanted > depth:
        scan = LeafScan(Leaves(number, store), wanted, ordered)
        for _ in scan.steps():
            pass
    if scan.root != meta.root:
        raise _not_committed(name, "Its leaves do not hash to the root that was committed.")
    levels = scan.levels.cut(wanted)
    batch = Batch()
    _clear(store, batch, schema.of_tree(schema.TABLE, number))
    _clear(store, batch, schema.of_tree(schema.DELTA, number))
    _clear(store, batch, ordered_key(number, b""))
    plan = TablePlan(whole=True)
    for _ in fill_table(plan, levels.hashes[wanted], levels.kinds[wanted], chunk_count(wanted)):
        pass
    PageTable(number, 0, height, deque()).write(plan, height, batch)
    for key in scan.ordered_keys:
        mirror = ordered_key(number, key)
        batch.put(mirror, schema.seal(mirror, b""))
    fields: list[int | bytes] = [
        wanted, scan.leaf_count, scan.root, 0, height, len(scan.ordered_keys)
    ]  # fmt: skip
    batch.put(*meta_record(number, fields))
    store.write(batch, sync=True)
    return levels, scan.leaf_count, len(scan.ordered_keys)


def _clear(view: Reads, batch: Batch, prefix: bytes) -> None:
    for key, _ in view.iterate(prefix, prefix_stop(prefix)):
        batch.delete(key)


def _not_committed(name: str, why: str) -> StorageFault:
    return StorageFault(f"The state tree '{name}' is damaged.", why, "clawpurse db check")


class LeafScan:
    """Hashes a tree from its leaves alone, checking every record on the way.

    Independent of page tables and caches. After `steps`: `leaf_count`, `levels` down to
    `depth`, `root`, and `ordered_keys`, the raw keys whose first byte is in `ordered`.
    """

    def __init__(self, leaves: Leaves, depth: int, ordered: bytes) -> None:
        self.leaf_count = 0
        self.ordered_keys: list[bytes] = []
        self.levels = Levels([], [])
        self._leaves = leaves
        self._depth = depth
        self._ordered = ordered

    @property
    def root(self) -> bytes:
        return bytes(self.levels.hashes[0])

    def steps(self) -> Iterator[int]:
        """Scan, yielding the number of leaves seen about every millisecond.

        Raises `StorageFault` at the first record that is not what was written.
        """
        depth, pages = self._depth, 1 << 4 * self._depth
        hashes, kinds = bytearray(pages * HASH_BYTES), bytearray(pages)
        shift = 32 - 4 * depth
        current, entries = 0, list[bytes]()

        def close_page() -> None:
            kind, digest = node_of_page(build_page(b"".join(entries), depth))
            kinds[current] = kind
            hashes[current * HASH_BYTES : (current + 1) * HASH_BYTES] = digest
            entries.clear()

        for key_hash, leaf_hash, key, value in self._leaves.records():
            if key_hash_of(key) != key_hash:
                raise schema.damaged(schema.LEAF + key_hash, "is filed under another key's hash")
            if leaf_hash_of(key_hash, value_hash_of(value)) != leaf_hash:
                raise schema.damaged(schema.LEAF + key_hash, "does not hash to its leaf hash")
            number = int.from_bytes(key_hash[:4], "big") >> shift
            if number != current:
                close_page()
                current = number
            entries.append(key_hash + leaf_hash)
            self.leaf_count += 1
            if key[:1] in self._ordered and key:
                self.ordered_keys.append(key)
            if self.leaf_count % 256 == 0:
                yield self.leaf_count
        close_page()
        self.levels = Levels.over(depth, hashes, kinds)


@dataclass(frozen=True)
class CheckProgress:
    """How far a check has come in one tree; `problem` is set when it found one there."""

    tree: str
    leaves: int
    problem: StorageFault | None = None


def check_state(
    view: Reads, modules: Sequence[tuple[str, int]], ordered: Callable[[str], bytes]
) -> Iterator[CheckProgress]:
    """Verify every leaf, every tree root, the page tables and the ordered mirror.

    Yields progress about every millisecond and each tree's first problem; raises nothing but
    what reading the state head raises. Works on a snapshot, beside a running node.
    """
    head = read_state_head(view)
    for name, _ in modules:
        if name not in head.names:
            continue
        number = head.names.index(name)
        seen = 0
        try:
            for seen in _check_tree(view, name, number, ordered(name)):
                yield CheckProgress(name, seen)
        except StorageFault as fault:
            yield CheckProgress(name, seen, fault)


def _check_tree(view: Reads, name: str, number: int, ordered: bytes) -> Iterator[int]:
    meta = _read_meta(view, number)
    if meta is None:
        if next(Leaves(number, view).records(), None) is not None:
            raise _not_committed(name, "It has leaves, but its description is lost.")
        return
    scan = LeafScan(Leaves(number, view), meta.depth, ordered)
    yield from scan.steps()
    yield scan.leaf_count
    if scan.root != meta.root or scan.leaf_count != meta.leaf_count:
        raise _not_committed(name, "Its leaves do not hash to the root that was committed.")
    levels, _ = load_table(view, number, meta.depth)
    if levels.hashes != scan.levels.hashes or levels.kinds != scan.levels.kinds:
        raise _not_committed(name, "Its page table does not match its leaves.")
    prefix = ordered_key(number, b"")
    listed = []
    for mirror, record in view.iterate(prefix, prefix_stop(prefix)):
        schema.unseal(mirror, record)
        listed.append(mirror[len(prefix) :])
    if listed != sorted(scan.ordered_keys) or len(listed) != meta.ordered_count:
        raise _not_committed(name, "Its ordered mirror does not match its leaves.")
