"""Changes to state, computed on the committed base in slices, without touching it.

An update prepares every record it will write while it computes, so that writing it down is
only a matter of adding them to a batch. Drop an update at any time; a stale one (another was
installed since) refuses to go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol
from zlib import crc32

from clawpurse.ledger.errors import Bug, Malformed, StorageFault
from clawpurse.ledger.statetree.nodes import fresh_leaf_hash, fresh_value_hash, key_hash_of
from clawpurse.ledger.statetree.state_proof import state_root_of
from clawpurse.ledger.statetree.tree import TreeUpdate
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.stored_tree import StoredTree, ordered_key
from clawpurse.ledger.store.tables import TablePlan
from clawpurse.ledger.store.undo import undo_body

Name = tuple[str, bytes]


# Keys encoded between two yields: 64 were measured as about 0.4 ms.
_KEYS_PER_SLICE: Final = 64
# Pages of a tree that needs deepening looked at per update: four times as many as it has
# changes, so that growth cannot outrun it, and 16 at least (half a millisecond if missed).
_DEEPEN_PER_CHANGE: Final = 4
_DEEPEN_MIN: Final = 16


class CommittedState(Protocol):
    """What an update reads of the base that it is computed on."""

    modules: tuple[tuple[str, int], ...]
    version: int

    @property
    def roots(self) -> dict[str, bytes]:
        """Every tree's committed root, by name."""

    def get(self, tree: str, key: bytes) -> bytes | None:
        """Return the committed value, or None."""

    @property
    def cached(self) -> Callable[[bytes], bytes | None]:
        """Look up tree number ‖ raw key: the committed value, empty for none, None: unknown."""

    def stored(self, tree: str) -> StoredTree:
        """Return a tree by name; `Bug` for an unknown one."""

    def settle(self) -> Iterator[None]:
        """Move what the last block changed to its place in the caches, in slices."""


class TreePart:
    """What an update does to one tree."""

    __slots__ = (
        "changes",
        "leaf_prefix",
        "number",
        "ordered_lowest",
        "ordered_won",
        "plan",
        "stored",
        "update",
        "won",
    )

    def __init__(self, stored: StoredTree) -> None:
        self.stored = stored
        self.number = stored.number.to_bytes(2, "big")
        self.leaf_prefix = schema.LEAF + self.number
        self.changes: dict[bytes, bytes | None] = {}
        self.won = 0
        self.ordered_won = 0
        # First byte → lowest raw key added to the ordered mirror.
        self.ordered_lowest: dict[int, bytes] = {}
        self.plan = TablePlan()
        self.update: TreeUpdate | None = None

    @property
    def finished_update(self) -> TreeUpdate:
        if self.update is None:
            raise Bug("an unfinished update was used")
        return self.update


class StateUpdate:
    """See the module. Run `steps` to its end, then `state_root`, `roots` and the rest hold.

    `operations` are the leaf and mirror records, `undo` the undo record's body; `rollback_to`
    is the height that a rollback restores, None for a block.
    """

    def __init__(
        self, store: CommittedState, changes: Mapping[Name, bytes | None], rollback_to: int | None
    ) -> None:
        self.finished = False
        self.rollback_to = rollback_to
        self.operations: list[tuple[bytes, bytes | None]] = []
        self.parts: dict[str, TreePart] = {}
        # Tree number ‖ raw key → new value, empty for none: as the value cache keeps them.
        self.values: dict[bytes, bytes] = {}
        self.undo_body = b""
        self._store = store
        self._version = store.version
        self._changes = changes
        self._names: list[bytes] = []
        self._entries: list[bytes] = []
        self._roots: dict[str, bytes] = {}
        self._state_root = b""

    @property
    def stale(self) -> bool:
        """True when another update was installed since this one began: drop it."""
        return self._store.version != self._version

    @property
    def state_root(self) -> bytes:
        """The state root after the update. Raises `Bug` before `steps` has ended."""
        self._refuse_unfinished()
        return self._state_root

    @property
    def roots(self) -> dict[str, bytes]:
        """Every tree's root after the update, by name, in registry order."""
        self._refuse_unfinished()
        return dict(self._roots)

    @property
    def changed_count(self) -> int:
        """How many keys have another value than before."""
        return len(self.values)

    @property
    def nodes_touched(self) -> int:
        """Tree nodes hashed above the leaves: a measure of cost, not of consensus."""
        return sum(part.finished_update.nodes_touched for part in self.parts.values())

    def finish(self) -> StateUpdate:
        """Run all steps at once, for callers that hold nobody up. Returns itself."""
        for _ in self.steps():
            pass
        return self

    def steps(self) -> Iterator[None]:
        """Compute, yielding about every half millisecond.

        Raises `Malformed` for an empty value or an over-long key, `StorageFault` when the
        disk fails or lies, `Bug` for an unknown tree or a stale base.
        """
        if self.finished:
            return
        self.refuse_stale()
        for _ in self._store.settle():
            yield
            self.refuse_stale()
        yield from self._encode()
        self._changes = {}
        for part in self.parts.values():
            for _ in self._compute(part):
                yield
                self.refuse_stale()
        yield
        self.refuse_stale()
        self.undo_body = undo_body(self._names, self._entries)
        self._names, self._entries = [], []
        self._roots = self._store.roots
        for name, part in self.parts.items():
            self._roots[name] = part.finished_update.root
        self._state_root = state_root_of(
            [(name, version, self._roots[name]) for name, version in self._store.modules]
        )
        self.finished = True

    def refuse_stale(self) -> None:
        """Raise `Bug` if the base has moved on; an owner drops such an update instead."""
        if self.stale:
            raise Bug("a state update outlived the base it began on")

    def _refuse_unfinished(self) -> None:
        if not self.finished:
            raise Bug("the result of an unfinished state update was asked for")

    def _encode(self) -> Iterator[None]:
        """Hash keys and values, prepare records, note what was there before.

        The hot loop of a commit: local names and no calls that can be spared.
        """
        store, parts, values, entries = self._store, self.parts, self.values, self._entries
        if self.rollback_to is not None:
            for tree, _ in store.modules:
                parts[tree] = TreePart(store.stored(tree))
        operations, cached, names = self.operations, store.cached, self._names
        part, part_tree, number = None, None, b""
        for done, ((tree, key), value) in enumerate(self._changes.items(), 1):
            if tree != part_tree:
                part_tree, part = tree, parts.get(tree)
                number = store.stored(tree).number.to_bytes(2, "big")
            place = number + key
            before = cached(place)
            if before is None:
                before = store.get(tree, key)
            if (before or None) != value:
                if part is None:
                    part = parts[tree] = TreePart(store.stored(tree))
                key_hash = key_hash_of(key)
                leaf_key = part.leaf_prefix + key_hash
                head = len(key).to_bytes(2, "big") + key
                if value is None:
                    part.changes[key_hash] = None
                    operations.append((leaf_key, None))
                else:
                    if not value:
                        raise Malformed("state", "has an empty value")
                    state = fresh_value_hash()
                    state.update(value)
                    value_hash = state.digest()
                    state = fresh_leaf_hash()
                    state.update(key_hash + value_hash)
                    part.changes[key_hash] = leaf_hash = state.digest()
                    body = leaf_hash + head + value
                    checksum = crc32(body, crc32(leaf_key)).to_bytes(4, "big")
                    operations.append((leaf_key, checksum + body))
                values[place] = value or b""
                names.append(leaf_key)
                if not before:
                    entries.append(head)
                    part.won += 1
                    self._mirror(part, key, True)
                else:
                    entries.append(head + before)
                    if value is None:
                        part.won -= 1
                        self._mirror(part, key, False)
            if done % _KEYS_PER_SLICE == 0:
                yield
                self.refuse_stale()

    def _mirror(self, part: TreePart, key: bytes, listed: bool) -> None:
        """List a key that appears, or unlist one that goes, if its first byte is ordered."""
        if not key or key[0] not in part.stored.ordered_prefixes:
            return
        mirror = ordered_key(part.stored.number, key)
        if not listed:
            part.ordered_won -= 1
            self.operations.append((mirror, None))
            return
        part.ordered_won += 1
        self.operations.append((mirror, schema.seal(mirror, b"")))
        lowest = part.ordered_lowest.get(key[0])
        if lowest is None or key < lowest:
            part.ordered_lowest[key[0]] = key

    def _compute(self, part: TreePart) -> Iterator[None]:
        stored = part.stored
        count = len(part.changes)
        yield from stored.tree.deepen(max(_DEEPEN_MIN, _DEEPEN_PER_CHANGE * count))
        update = stored.tree.update(part.changes)
        yield from update.steps()
        if update.leaf_count != stored.tree.leaf_count + part.won:
            raise StorageFault(
                f"The state tree '{stored.tree.name}' and its leaves on disk disagree.",
                "A leaf is missing, or one is there that was never committed.",
                "clawpurse db check",
            )
        yield from stored.table.plan(update, part.plan, self.rollback_to is not None)
        part.update = update
