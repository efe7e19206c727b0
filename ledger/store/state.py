"""Committed state: every module's tree joined with the store that keeps its leaves.

`StateStore` always shows one committed block. `apply` computes an update on it (in slices,
pure, any number side by side), `write` adds the finished update to the block's batch, and
`install` makes it the committed state once that batch is on disk. Everything is read through
one snapshot that moves on only with `install`, so a write under way in another thread is not
seen half. The store object belongs to one thread; its views (`at_height`) may be read in any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from clawpurse.ledger.errors import Bug, Malformed, NotFound, Pruned, StorageFault
from clawpurse.ledger.kernel.records import INDEX_PREFIX
from clawpurse.ledger.kernel.records import ORDERED_PREFIXES as KERNEL_ORDERED
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.statetree.cache import TwoGenerations
from clawpurse.ledger.statetree.nodes import key_hash_of, value_hash_of
from clawpurse.ledger.statetree.proof import encode_proof
from clawpurse.ledger.statetree.state_proof import encode_state_proof, state_root_of
from clawpurse.ledger.statetree.tree import Geometry, PageCache, PagedTree, page_cache
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.kv import Batch, KeyValue, prefix_stop
from clawpurse.ledger.store.recovery import StateHead, load_tree, read_state_head
from clawpurse.ledger.store.state_update import Name, StateUpdate
from clawpurse.ledger.store.state_view import StateView, changes_since
from clawpurse.ledger.store.stored_tree import RAW_KEY_BYTES_MAX, Base, StoredTree, ordered_key

# Blocks that can be undone, read and proven at: 26 s of blocks at the default interval,
# minutes at usual load, and 128 undo records of about a tenth of a megabyte under full load.
UNDO_BLOCKS: Final = 128


@dataclass(frozen=True)
class StateLimits:
    """Bounds of memory and page shape; none of it is part of the commitment.

    Half of a cache is what surely fits: 128 MiB of pages are 1.3 million leaves, 192 MiB
    of values some 600 thousand accounts.
    """

    page_cache_bytes: int = 256 << 20
    value_cache_bytes: int = 384 << 20
    geometry: Geometry = field(default_factory=Geometry)


# What a cached value costs beside its bytes: its key and objects, the dictionary's share.
_VALUE_OVERHEAD_BYTES: Final = 240
# A mirror's key is its prefix, the tree number and the raw key.
_RAW_KEY_IN_MIRROR: Final = 3

_KERNEL_ORDERED: Final = b"".join(KERNEL_ORDERED)


def ordered_prefixes(tree: str) -> bytes:
    """Return the first bytes of raw keys that are also listed in raw key order in a tree.

    The kernel's queues and lists, and of every module's tree its index.
    """
    return _KERNEL_ORDERED if tree == KERNEL else INDEX_PREFIX


class StateStore:
    """See the module. Made by `open`."""

    def __init__(
        self,
        store: KeyValue,
        modules: Sequence[tuple[str, int]],
        head: StateHead,
        trees: dict[str, StoredTree],
        base: Base,
        limits: StateLimits,
        pages: PageCache,
    ) -> None:
        self.modules = tuple(modules)
        self.version = 0
        self._store = store
        self._head = head
        self._trees = trees
        self._base = base
        self._limits = limits
        self._pages = pages
        self._values: TwoGenerations[bytes] = TwoGenerations(
            limits.value_cache_bytes, _VALUE_OVERHEAD_BYTES
        )

    @classmethod
    def open(
        cls,
        store: KeyValue,
        modules: Sequence[tuple[str, int]],
        expected_root: bytes | None,
        *,
        ordered: Callable[[str], bytes] = ordered_prefixes,
        limits: StateLimits | None = None,
    ) -> StateStore:
        """Load the trees of `modules` (name, version; in registry order).

        `expected_root` is the state root in the head's header; None when there is none to
        compare with (an empty store, a tool that looks only). A tree whose page table does
        not add up is rebuilt from its leaves. Raises `StorageFault`, naming the tree, when
        its leaves do not add up either.
        """
        limits = limits or StateLimits()
        head = read_state_head(store)
        for name, _ in modules:
            if name not in head.names:
                head.names.append(name)
        pages = page_cache(limits.page_cache_bytes)
        trees: dict[str, StoredTree] = {}
        for name, _ in modules:
            number = head.names.index(name)
            trees[name] = load_tree(
                store, name, number, ordered(name), limits.geometry, pages, head.height
            )
        base = Base(store.snapshot())
        for stored in trees.values():
            stored.leaves.view = base.snapshot
        opened = cls(store, modules, head, trees, base, limits, pages)
        if expected_root is not None and opened.state_root != expected_root:
            base.release()
            raise StorageFault(
                f"The state on disk has root 0x{opened.state_root.hex()}, "
                f"the head's header says 0x{expected_root.hex()}.",
                "Every tree is whole, but they are not this block's.",
                "clawpurse db check",
            )
        return opened

    @property
    def height(self) -> int | None:
        """The committed height; None while nothing has been written."""
        return self._head.height

    @property
    def undo_floor(self) -> int:
        """The lowest height that `at_height` and `rollback` reach."""
        return self._head.undo_floor

    @property
    def roots(self) -> dict[str, bytes]:
        """Every tree's committed root by name, in registry order."""
        return {name: self._trees[name].tree.root for name, _ in self.modules}

    @property
    def state_root(self) -> bytes:
        """The committed state root."""
        return state_root_of(
            [(name, version, self._trees[name].tree.root) for name, version in self.modules]
        )

    def leaf_count(self, tree: str) -> int:
        """Return how many keys a tree has."""
        return self.stored(tree).tree.leaf_count

    def get(self, tree: str, key: bytes) -> bytes | None:
        """Return the committed value of `key`, or None.

        Raises `StorageFault`, `Malformed` for a key longer than any tree holds.
        """
        stored = self._trees.get(tree) or self.stored(tree)
        place = stored.place + key
        value = self._values.get(place)
        if value is None:
            if len(key) > RAW_KEY_BYTES_MAX:
                raise Malformed("state key", f"is longer than {RAW_KEY_BYTES_MAX} bytes")
            value = stored.leaves.value(key_hash_of(key), key) or b""
            self._values.put(place, value)
        return value or None

    @property
    def cached(self) -> Callable[[bytes], bytes | None]:
        """Look up tree number ‖ raw key: the committed value, empty for none, None: unknown."""
        return self._values.get

    def ordered(
        self, tree: str, start: bytes, stop: bytes | None, limit: int
    ) -> list[tuple[bytes, bytes]]:
        """Return up to `limit` committed (key, value) with `start ≤ key < stop` in key order.

        A seek, never a scan. Only keys whose first byte is registered as ordered for this
        tree are listed; stop None means: to the end of `start`'s first byte. Raises `Bug` for
        an unregistered first byte, `StorageFault` when mirror and leaves disagree.
        """
        stored = self.stored(tree)
        if not start or start[0] not in stored.ordered_prefixes:
            raise Bug(f"keys {start[:1].hex()}… of tree '{tree}' are not listed in order")
        if limit <= 0:
            return []
        floors, first = stored.ordered_floors, start[0]
        floor = floors.get(first)
        from_front = len(start) == 1 or (floor is not None and start <= floor)
        begin = floor if from_front and floor is not None else start
        last = prefix_stop(start[:1]) if stop is None else stop
        after = ordered_key(stored.number, last) if last else stored.ordered_end
        entries: list[tuple[bytes, bytes]] = []
        for mirror, record in self._base.snapshot.iterate(ordered_key(stored.number, begin), after):
            schema.unseal(mirror, record)
            key = mirror[_RAW_KEY_IN_MIRROR:]
            value = self.get(tree, key)
            if value is None:
                raise schema.damaged(mirror, "lists a key that has no leaf")
            entries.append((key, value))
            if len(entries) >= limit:
                break
        if from_front and (entries or last):
            floors[first] = entries[0][0] if entries else max(begin, last or b"")
        return entries

    def first_ordered(
        self, tree: str, prefix: bytes, limit: int, after: bytes = b""
    ) -> list[tuple[bytes, bytes]]:
        """Return the first `limit` committed (key, value) whose key begins with `prefix`.

        Only those above the key `after`, if one is given.
        """
        start = max(prefix, after + b"\0") if after else prefix
        stop = prefix_stop(prefix)
        if stop is not None and start >= stop:
            return []
        return self.ordered(tree, start, stop, limit)

    def settle(self) -> Iterator[None]:
        """Move what the last block changed to its place in the caches, in slices."""
        yield from self._values.settle()
        yield from self._pages.settle()

    def apply(self, changes: Mapping[Name, bytes | None]) -> StateUpdate:
        """Begin an update: (tree, key) → new value, or None to delete. Pure; see `StateUpdate`.

        The mapping is read while the update computes and must not change meanwhile.
        """
        if self._head.height is None:
            self._reserve(changes)
        return StateUpdate(self, changes, None)

    def rollback(self, height: int) -> StateUpdate:
        """Begin the update that restores the state after block `height`.

        Write and install it like a block, `write(update, height, batch)`. Raises `Pruned` below
        the undo floor, `NotFound` above the head.
        """
        self._refuse_unreachable(height)
        changes = changes_since(self._base.snapshot, height, self._head)
        return StateUpdate(self, changes, height)

    def write(self, update: StateUpdate, height: int, batch: Batch) -> None:
        """Add a finished update as block `height` to the block's batch, with its undo record.

        Raises `Bug` when stale, unfinished, or not the next height.
        """
        update.refuse_stale()
        if not update.finished:
            raise Bug("an unfinished state update was written")
        head = self._next_head(update, height)
        batch.extend(update.operations)
        for name, part in update.parts.items():
            stored, tree_update = self._trees[name], part.finished_update
            depth = stored.tree.depth + (1 if tree_update.deepens else 0)
            ordered_count = stored.ordered_count + part.ordered_won
            stored.table.write(part.plan, height, batch)
            key, record = stored.meta_record(
                depth, tree_update.leaf_count, tree_update.root, ordered_count, part.plan, height
            )
            batch.put(key, record)
        self._write_undo(update, height, head, batch)
        batch.put(schema.KEY_STATE_HEAD, head.record())

    def _next_head(self, update: StateUpdate, height: int) -> StateHead:
        before = self._head.height
        if update.rollback_to is not None:
            if update.rollback_to != height:
                raise Bug("a rollback was written at another height than its own")
            return StateHead(height, self._head.undo_floor, self._head.names)
        if before is None:
            return StateHead(height, height, self._head.names)
        if height != before + 1:
            raise Bug(f"state of block {height} was written after block {before}")
        return StateHead(height, max(self._head.undo_floor, height - UNDO_BLOCKS), self._head.names)

    def _write_undo(self, update: StateUpdate, height: int, head: StateHead, batch: Batch) -> None:
        before = self._head.height
        if update.rollback_to is not None:
            for undone in range(height + 1, (before or 0) + 1):
                batch.delete(schema.at_height(schema.UNDO, undone))
            return
        if before is None:
            return
        key = schema.at_height(schema.UNDO, height)
        batch.put(key, schema.seal(key, update.undo_body))
        for dropped in range(self._head.undo_floor + 1, head.undo_floor + 1):
            batch.delete(schema.at_height(schema.UNDO, dropped))

    def install(self, update: StateUpdate, height: int) -> None:
        """Make a written update the committed state; its batch is on disk.

        Raises `Bug` when it is stale or was not written as `height`.
        """
        update.refuse_stale()
        head = self._next_head(update, height)
        base = Base(self._store.snapshot())
        for name, part in update.parts.items():
            stored = self._trees[name]
            stored.tree.install(part.finished_update)
            stored.table.install(part.plan, height)
            stored.ordered_count += part.ordered_won
            stored.lower_ordered_floors(part.ordered_lowest)
        for stored in self._trees.values():
            stored.leaves.view = base.snapshot
        self._values.lay_over(update.values)
        self._base.release()
        self._base, self._head = base, head
        self.version += 1

    def prove(self, tree: str, key: bytes) -> bytes:
        """Return the proof that `key` has its committed value, or none; see `state_proof`."""
        stored = self.stored(tree)
        key_hash = key_hash_of(key)
        walk = stored.tree.walk(key_hash)
        tree_proof = encode_proof(walk, key_hash, lambda other: self._value_hash(stored, other))
        modules = [(name, version, self._trees[name].tree.root) for name, version in self.modules]
        index = [name for name, _ in self.modules].index(tree)
        return encode_state_proof(modules, index, tree_proof)

    def at_height(self, height: int, *, proofs: bool = False) -> StateView:
        """Return a view of the state after block `height`, to be closed by the caller.

        It stays as it is while the chain goes on, and may be read in any thread. With `proofs`
        it can prove too: that copies the page roots (2 MB at a million keys). Raises `Pruned`
        below the undo floor, `NotFound` above the head.
        """
        self._refuse_unreachable(height)
        return StateView(self._base, self.modules, self._trees, self._head, height, proofs)

    def stored(self, tree: str) -> StoredTree:
        """Return a tree with its place on disk. Raises `Bug` for a name not opened."""
        found = self._trees.get(tree)
        if found is None:
            raise Bug(f"there is no state tree '{tree}'")
        return found

    def close(self) -> None:
        """Let go of the snapshot; views stay readable until they are closed."""
        self._base.release()

    def _value_hash(self, stored: StoredTree, key_hash: bytes) -> bytes:
        value = stored.leaves.value(key_hash, None)
        if value is None:
            raise StorageFault(
                f"A leaf of the state tree '{stored.tree.name}' is missing.",
                "",
                "clawpurse db check",
            )
        return value_hash_of(value)

    def _refuse_unreachable(self, height: int) -> None:
        head = self._head.height
        if head is None or height > head:
            raise NotFound(f"state at height {height}")
        if height < self._head.undo_floor:
            raise Pruned(f"state at height {height}", self._head.undo_floor)

    def _reserve(self, changes: Mapping[Name, bytes | None]) -> None:
        """Cut the trees of an empty store for what its first block brings (genesis)."""
        counts: dict[str, int] = {}
        for tree, _ in changes:
            counts[tree] = counts.get(tree, 0) + 1
        for name, count in counts.items():
            stored = self.stored(name)
            depth = self._limits.geometry.depth_for(count)
            if depth != stored.tree.depth and not stored.tree.leaf_count:
                stored.tree.version += 1
                stored.tree = PagedTree.empty(
                    name, stored.number, depth, stored.leaves, self._pages, self._limits.geometry
                )
