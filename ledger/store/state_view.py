"""The state as it was after one of the last blocks, unchanging, readable in any thread.

A view reads the newest leaves through the snapshot it was made with, and what later blocks
replaced from their undo records. To prove, it undoes those blocks on a copy of the trees:
`steps` does that in slices, and costs what the undone blocks cost; proofs at the head cost
nothing extra. The view never touches the living trees or their caches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from clawpurse.ledger.errors import Bug
from clawpurse.ledger.statetree.nodes import key_hash_of, leaf_hash_of, value_hash_of
from clawpurse.ledger.statetree.proof import encode_proof
from clawpurse.ledger.statetree.state_proof import encode_state_proof, state_root_of
from clawpurse.ledger.statetree.tree import TreeUpdate
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.kv import Reads
from clawpurse.ledger.store.recovery import StateHead
from clawpurse.ledger.store.stored_tree import Base, Leaves, StoredTree
from clawpurse.ledger.store.undo import UndoRecord

# Pages that one view may hold while it proves: enough for the paths of thousands of keys.
_VIEW_CACHE_BYTES: Final = 16 << 20
_KEYS_PER_SLICE: Final = 64


def undo_record(view: Reads, height: int) -> UndoRecord:
    """Read the undo record of a height. Raises `StorageFault` when missing or damaged."""
    key = schema.at_height(schema.UNDO, height)
    record = view.get(key)
    if record is None:
        raise schema.damaged(key, "is missing")
    return UndoRecord(key, schema.unseal(key, record))


def changes_since(
    view: Reads, height: int, head: StateHead
) -> dict[tuple[str, bytes], bytes | None]:
    """Return (tree, key) → value after block `height` for every key changed since."""
    changes: dict[tuple[str, bytes], bytes | None] = {}
    for later in range(height + 1, (head.height or 0) + 1):
        for leaf_key, key, before in undo_record(view, later).items():
            name = head.names[int.from_bytes(leaf_key[1:3], "big")]
            changes.setdefault((name, key), before)
    return changes


class StateView:
    """See the module. Made by `StateStore.at_height`; closed by whoever asked for it."""

    def __init__(
        self,
        base: Base,
        modules: Sequence[tuple[str, int]],
        trees: Mapping[str, StoredTree],
        head: StateHead,
        height: int,
        proofs: bool,
    ) -> None:
        self.height = height
        self._head_height = head.height or 0
        self._modules = tuple(modules)
        self._base: Base | None = base.retain()
        self._leaves = {name: Leaves(trees[name].number, base.snapshot) for name, _ in modules}
        self._prefixes = {
            name: schema.of_tree(schema.LEAF, trees[name].number) for name, _ in modules
        }
        self._proving = proofs
        self._updates: dict[str, TreeUpdate] = {}
        self._steps_ended = False
        if proofs:
            for name, _ in modules:
                copy = trees[name].tree.frozen(self._leaves[name], _VIEW_CACHE_BYTES)
                self._updates[name] = copy.update({})

    def get(self, tree: str, key: bytes) -> bytes | None:
        """Return the value of `key` at this height, or None. Raises `StorageFault`."""
        return self._value(tree, key_hash_of(key), key)

    def steps(self) -> Iterator[None]:
        """Make ready to prove, yielding about every half millisecond; once, before `prove`.

        Raises `Bug` if the view was not made for proofs.
        """
        if not self._proving:
            raise Bug("a view was asked for proofs that was not made for them")
        if self._steps_ended:
            return
        changes: dict[str, dict[bytes, bytes | None]] = {name: {} for name, _ in self._modules}
        names = {prefix: name for name, prefix in self._prefixes.items()}
        for later in range(self.height + 1, self._head_height + 1):
            record = undo_record(self._snapshot(), later)
            for done, (leaf_key, _, before) in enumerate(record.items(), 1):
                of_tree, key_hash = changes[names[leaf_key[:3]]], leaf_key[3:]
                if key_hash not in of_tree:
                    of_tree[key_hash] = (
                        None if before is None else leaf_hash_of(key_hash, value_hash_of(before))
                    )
                if done % _KEYS_PER_SLICE == 0:
                    yield
            yield
        for name, of_tree in changes.items():
            self._updates[name] = self._updates[name].tree.update(of_tree)
            yield from self._updates[name].steps()
        self._steps_ended = True

    @property
    def state_root(self) -> bytes:
        """The state root at this height. Raises `Bug` before `steps` has ended."""
        return state_root_of(self._roots())

    def prove(self, tree: str, key: bytes) -> bytes:
        """Return the proof for `key` at this height; see `state_proof`.

        Raises `Bug` before `steps` has ended, `StorageFault` when the disk fails or lies.
        """
        modules = self._roots()
        key_hash = key_hash_of(key)
        walk = self._updates[tree].walk(key_hash)
        tree_proof = encode_proof(walk, key_hash, lambda other: self._value_hash(tree, other))
        index = [name for name, _ in self._modules].index(tree)
        return encode_state_proof(modules, index, tree_proof)

    def close(self) -> None:
        """Let go of the snapshot, in the thread of the store; closing twice is harmless."""
        if self._base is not None:
            self._base.release()
            self._base = None

    def _snapshot(self) -> Reads:
        if self._base is None:
            raise Bug("a closed view of the state was read")
        return self._base.snapshot

    def _roots(self) -> list[tuple[str, int, bytes]]:
        if not self._steps_ended:
            raise Bug("a view was asked for proofs before its steps had ended")
        return [(name, version, self._updates[name].root) for name, version in self._modules]

    def _value(self, tree: str, key_hash: bytes, key: bytes | None) -> bytes | None:
        snapshot = self._snapshot()
        leaves = self._leaves.get(tree)
        if leaves is None:
            raise Bug(f"there is no state tree '{tree}'")
        leaf_key = self._prefixes[tree] + key_hash
        for later in range(self.height + 1, self._head_height + 1):
            found, before = undo_record(snapshot, later).find(leaf_key)
            if found:
                return before
        return leaves.value(key_hash, key)

    def _value_hash(self, tree: str, key_hash: bytes) -> bytes:
        value = self._value(tree, key_hash, None)
        if value is None:
            raise schema.damaged(self._prefixes[tree] + key_hash, "is missing")
        return value_hash_of(value)
