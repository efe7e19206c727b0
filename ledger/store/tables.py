"""How the page roots of one tree are kept: a table in chunks, and deltas between its turns.

Every block that changes the tree writes a delta (the page roots it changed) and then, round
robin, as many chunks of the table as hold twice the roots it changed, at least one. When all
chunks have been rewritten, a turn is over: deltas older than its start say nothing that the
chunks do not, and are deleted. Start-up reads the chunks, then the deltas in height order:
whatever chunk was last written when, the last delta that names a page has its newest root,
and a page that no delta names has not changed since its chunk was written.
A block that would rewrite the whole table writes no delta and deletes all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from clawpurse.ledger.statetree.nodes import BRANCH, HASH_BYTES
from clawpurse.ledger.statetree.page import KINDS_BYTES, LEAVES_AT
from clawpurse.ledger.statetree.tree import Levels, TreeUpdate
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.kv import Batch, Reads, prefix_stop

# Page roots in one chunk: 4.2 KB, the least that one block rewrites.
CHUNK_PAGES: Final = 128
_DELTA_BYTES: Final = 4 + 1 + HASH_BYTES
# Chunks made between two yields of a step-wise job: about 0.2 ms.
_CHUNKS_PER_SLICE: Final = 16


@dataclass
class TablePlan:
    """What one update writes to the table, and where the table stands afterwards."""

    chunks: list[tuple[int, bytes]] = field(default_factory=list)
    delta: bytes = b""
    cursor: int = 0
    whole: bool = False
    turn_over: bool = False


class PageTable:
    """The table of one tree on disk: its cursor, its turn and the heights of its deltas."""

    __slots__ = ("_number", "cursor", "deltas", "turn_start")

    def __init__(self, number: int, cursor: int, turn_start: int, deltas: deque[int]) -> None:
        self._number = number
        self.cursor = cursor
        self.turn_start = turn_start
        self.deltas = deltas

    def plan(self, update: TreeUpdate, out: TablePlan, rewrite: bool) -> Iterator[None]:
        """Fill `out` for a finished update, in slices; `rewrite` asks for the whole table.

        Decides here whether the update takes the tree to its next depth.
        """
        tree = update.tree
        work = tree.deepening
        if work is not None and work.ready:
            update.deepens = out.whole = True
            hashes, kinds = bytearray(work.hashes), bytearray(work.kinds)
            for number, page in update.pages.items():
                start = 16 * number
                hashes[start * HASH_BYTES : (start + 16) * HASH_BYTES] = page[KINDS_BYTES:LEAVES_AT]
                kinds[start : start + 16] = page[:KINDS_BYTES]
            yield
            yield from fill_table(out, hashes, kinds, chunk_count(tree.depth + 1))
            return
        depth, changed = tree.depth, update.nodes[tree.depth]
        total = chunk_count(depth)
        count = max(1, (2 * len(changed) + CHUNK_PAGES - 1) // CHUNK_PAGES)
        out.whole = rewrite or count >= total
        first = 0 if out.whole else self.cursor
        last = total if out.whole else first + count
        by_chunk: dict[int, list[tuple[int, int, bytes]]] = {}
        parts = []
        for done, (number, (kind, digest)) in enumerate(changed.items(), 1):
            chunk = number // CHUNK_PAGES
            if (chunk - first) % total < last - first:
                by_chunk.setdefault(chunk, []).append((number, kind, digest))
            parts.append(number.to_bytes(4, "big") + bytes((kind,)) + digest)
            if done % 256 == 0:
                yield
        levels = tree.levels
        yield from _fill(out, levels.hashes[depth], levels.kinds[depth], by_chunk, first, last)
        if not out.whole:
            out.delta = b"".join(parts)
            out.cursor, out.turn_over = last % total, last >= total

    def write(self, plan: TablePlan, height: int, batch: Batch) -> None:
        """Add what `plan` says to the batch of block `height`."""
        for chunk, body in plan.chunks:
            key = schema.of_tree(schema.TABLE, self._number, chunk.to_bytes(4, "big"))
            batch.put(key, schema.seal(key, body))
        for old in self._outlived(plan):
            batch.delete(self._delta_key(old))
        if plan.delta:
            key = self._delta_key(height)
            batch.put(key, schema.seal(key, plan.delta))

    def standing(self, plan: TablePlan, height: int) -> tuple[int, int]:
        """Return (cursor, turn start) as they are after `plan` at `height`."""
        if plan.whole:
            return 0, height
        return plan.cursor, height if plan.turn_over else self.turn_start

    def install(self, plan: TablePlan, height: int) -> None:
        """Take over what was written; the batch of `write` is on disk."""
        for _ in range(len(self._outlived(plan))):
            self.deltas.popleft()
        self.cursor, self.turn_start = self.standing(plan, height)
        if plan.delta:
            self.deltas.append(height)

    def _outlived(self, plan: TablePlan) -> list[int]:
        """Return the heights of deltas that the chunks make superfluous, oldest first."""
        if plan.whole:
            return list(self.deltas)
        if not plan.turn_over:
            return []
        return [height for height in self.deltas if height < self.turn_start]

    def _delta_key(self, height: int) -> bytes:
        return schema.of_tree(schema.DELTA, self._number, height.to_bytes(8, "big"))


def chunk_count(depth: int) -> int:
    """Return how many chunks the table of a tree of `depth` has."""
    return max(1, (1 << 4 * depth) // CHUNK_PAGES)


def fill_table(out: TablePlan, hashes: bytearray, kinds: bytearray, chunks: int) -> Iterator[None]:
    """Append every chunk of a table to a plan, in slices."""
    yield from _fill(out, hashes, kinds, {}, 0, chunks)


def _fill(
    out: TablePlan,
    hashes: bytearray,
    kinds: bytearray,
    by_chunk: dict[int, list[tuple[int, int, bytes]]],
    first: int,
    last: int,
) -> Iterator[None]:
    """Append chunks `first`…`last`, wrapping round, with the changed roots patched in."""
    total = max(1, len(kinds) // CHUNK_PAGES)
    for done in range(first, last):
        chunk = done % total
        start = chunk * CHUNK_PAGES
        part_hashes = hashes[start * HASH_BYTES : (start + CHUNK_PAGES) * HASH_BYTES]
        part_kinds = kinds[start : start + CHUNK_PAGES]
        for number, kind, digest in by_chunk.get(chunk, ()):
            at = number - start
            part_kinds[at] = kind
            part_hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES] = digest
        out.chunks.append((chunk, bytes(part_kinds + part_hashes)))
        if done % _CHUNKS_PER_SLICE == _CHUNKS_PER_SLICE - 1:
            yield


def load_table(view: Reads, number: int, depth: int) -> tuple[Levels, deque[int]]:
    """Read the page roots of a tree and the heights of its deltas.

    Raises `StorageFault` when a record is damaged. A missing chunk reads as empty pages: the
    caller compares the root and rebuilds.
    """
    pages = 1 << 4 * depth
    hashes, kinds = bytearray(pages * HASH_BYTES), bytearray(pages)
    size = min(pages, CHUNK_PAGES)
    prefix = schema.of_tree(schema.TABLE, number)
    for key, record in view.iterate(prefix, prefix_stop(prefix)):
        body = schema.unseal(key, record)
        start = int.from_bytes(key[-4:], "big") * CHUNK_PAGES
        if len(body) != size * (1 + HASH_BYTES) or start + size > pages:
            raise schema.damaged(key, "does not fit its tree's depth")
        kinds[start : start + size] = body[:size]
        hashes[start * HASH_BYTES : (start + size) * HASH_BYTES] = body[size:]
    deltas: deque[int] = deque()
    prefix = schema.of_tree(schema.DELTA, number)
    for key, record in view.iterate(prefix, prefix_stop(prefix)):
        body = schema.unseal(key, record)
        deltas.append(schema.height_of(key))
        for at in range(0, len(body), _DELTA_BYTES):
            page, kind = int.from_bytes(body[at : at + 4], "big"), body[at + 4]
            if page >= pages or len(body) % _DELTA_BYTES:
                raise schema.damaged(key, "does not fit its tree's depth")
            kinds[page] = kind
            hashes[page * HASH_BYTES : (page + 1) * HASH_BYTES] = body[at + 5 : at + _DELTA_BYTES]
    if max(kinds) > BRANCH:
        raise schema.damaged(prefix, "names a kind of node that does not exist")
    return Levels.over(depth, hashes, kinds), deltas
