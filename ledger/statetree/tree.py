"""The committed state tree of one module: pages in memory or on call, levels above them whole.

A page is the subtree below `depth` nibbles. Level n of `levels` holds 16ⁿ nodes as flat
bytes; the lowest level holds the page roots. Only page roots and leaves are ever stored;
pages are rebuilt from leaves when they are missed, and checked against their stored root, so
a disk that lies is caught before its lie is hashed further.

Depth follows the leaf count and is not part of the commitment. When pages grow too large the
tree is deepened while it works: every update looks at a few pages of the base, whose children
are the page roots of the next depth (`Deepening`), and the update that is written after the
last of them switches.

Everything here belongs to one thread. An `update` (`TreeUpdate`) computes on the committed
base without changing it; `install` makes a finished one the new base.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from clawpurse.ledger.errors import Bug, StorageFault
from clawpurse.ledger.statetree.cache import TwoGenerations
from clawpurse.ledger.statetree.nodes import (
    ALL_PRESENT,
    BRANCH,
    EMPTY,
    HASH_BYTES,
    LEAF,
    fold,
    fresh_branch_hash,
    nibble,
)
from clawpurse.ledger.statetree.page import (
    EMPTY_PAGE,
    KINDS_BYTES,
    LEAVES_AT,
    PAGE_OVERHEAD_BYTES,
    build_page,
    insertion_point,
    node_of_page,
    patch_page,
)
from clawpurse.ledger.statetree.proof import Step, Walk, walk_page

# Key changes patched between two yields: 64 were measured as about 0.5 ms.
CHANGES_PER_SLICE: Final = 64
# Nodes folded between two yields of a step-wise job: about 0.3 ms.
NODES_PER_SLICE: Final = 64


@dataclass(frozen=True)
class Geometry:
    """How trees are cut into pages. Not part of the commitment; tests use tiny ones.

    `leaves_per_page`: mean above which a tree is deepened; 4–60 were measured as good.
    `depth_min` 1: sixteen pages cost half a kilobyte. `depth_max` 6: 16 million pages, half a
    gigabyte of page roots, a thousand million leaves; beyond it pages grow instead.
    """

    leaves_per_page: int = 60
    depth_min: int = 1
    depth_max: int = 6

    def depth_for(self, leaf_count: int) -> int:
        """Return the depth at which `leaf_count` leaves make pages of the wanted size."""
        depth = self.depth_min
        while depth < self.depth_max and leaf_count > self.leaves_per_page << 4 * depth:
            depth += 1
        return depth

    def fits(self, depth: int, leaf_count: int) -> bool:
        """Tell whether a stored depth may stay: right, or one off and within a factor of 4."""
        if not self.depth_min <= depth <= self.depth_max:
            return False
        if abs(depth - self.depth_for(leaf_count)) > 1:
            return False
        crowded = leaf_count > 4 * self.leaves_per_page << 4 * depth
        return not (crowded and depth < self.depth_max)


class LeafSource(Protocol):
    """Where missed pages come from: the leaves of one tree in the committed base."""

    def entries(self, start: bytes, stop: bytes | None) -> bytes:
        """Return key hash ‖ leaf hash of leaves with `start ≤ key hash < stop`, in order."""


class Levels:
    """The nodes above and at the page roots: per level their hashes and kinds, flat."""

    __slots__ = ("hashes", "kinds")

    def __init__(self, hashes: list[bytearray], kinds: list[bytearray]) -> None:
        self.hashes = hashes
        self.kinds = kinds

    @classmethod
    def over(cls, depth: int, hashes: bytearray, kinds: bytearray) -> Levels:
        """Return the levels over a full table of page roots, hashing every node above it."""
        levels_hashes, levels_kinds = [hashes], [kinds]
        for level in range(depth - 1, -1, -1):
            below_hashes, below_kinds = levels_hashes[0], levels_kinds[0]
            count = 1 << 4 * level
            here_hashes, here_kinds = bytearray(count * HASH_BYTES), bytearray(count)
            for node in range(count):
                of_node = below_kinds[16 * node : 16 * node + 16]
                if of_node.count(EMPTY) == 16:
                    continue
                start = 16 * HASH_BYTES * node
                kind, digest = fold(below_hashes[start : start + 16 * HASH_BYTES], of_node)
                here_kinds[node] = kind
                here_hashes[node * HASH_BYTES : (node + 1) * HASH_BYTES] = digest
            levels_hashes.insert(0, here_hashes)
            levels_kinds.insert(0, here_kinds)
        return cls(levels_hashes, levels_kinds)

    @property
    def depth(self) -> int:
        return len(self.hashes) - 1

    def copy(self) -> Levels:
        return Levels([bytearray(h) for h in self.hashes], [bytearray(k) for k in self.kinds])

    def children(self, level: int, node: int) -> tuple[bytearray, bytearray]:
        """Return copies of the hashes and kinds of the 16 children of a node."""
        start = 16 * node
        return (
            self.hashes[level + 1][start * HASH_BYTES : (start + 16) * HASH_BYTES],
            self.kinds[level + 1][start : start + 16],
        )

    def cut(self, depth: int) -> Levels:
        """Return the levels down to `depth` only: the same tree with larger pages."""
        return Levels(self.hashes[: depth + 1], self.kinds[: depth + 1])


class Deepening:
    """The page roots of the next depth, filled page by page from the committed base."""

    __slots__ = ("done", "hashes", "kinds", "pages")

    def __init__(self, depth: int) -> None:
        self.pages = 1 << 4 * depth
        self.done = 0
        self.hashes = bytearray(16 * self.pages * HASH_BYTES)
        self.kinds = bytearray(16 * self.pages)

    @property
    def ready(self) -> bool:
        return self.done == self.pages

    def take(self, number: int, page: bytes) -> None:
        """Copy the children of base page `number` into their places."""
        start = 16 * number
        self.hashes[start * HASH_BYTES : (start + 16) * HASH_BYTES] = page[KINDS_BYTES:LEAVES_AT]
        self.kinds[start : start + 16] = page[:KINDS_BYTES]


PageCache = TwoGenerations[int]


def page_cache(bytes_max: int) -> PageCache:
    """Return a cache for the pages of any number of trees."""
    return TwoGenerations(bytes_max, PAGE_OVERHEAD_BYTES)


class PagedTree:
    """One committed tree. `number` keeps its pages apart from other trees' in a shared cache."""

    def __init__(
        self,
        name: str,
        number: int,
        levels: Levels,
        leaf_count: int,
        source: LeafSource,
        cache: PageCache,
        geometry: Geometry,
    ) -> None:
        self.name = name
        self.levels = levels
        self.leaf_count = leaf_count
        self.source = source
        self.version = 0
        self.deepening: Deepening | None = None
        self._number = number
        self._cache = cache
        self._geometry = geometry

    @classmethod
    def empty(
        cls,
        name: str,
        number: int,
        depth: int,
        source: LeafSource,
        cache: PageCache,
        geometry: Geometry,
    ) -> PagedTree:
        """Return a tree without leaves."""
        count = 1 << 4 * depth
        levels = Levels.over(depth, bytearray(count * HASH_BYTES), bytearray(count))
        return cls(name, number, levels, 0, source, cache, geometry)

    @property
    def depth(self) -> int:
        return self.levels.depth

    @property
    def root(self) -> bytes:
        return bytes(self.levels.hashes[0])

    def frozen(self, source: LeafSource, cache_bytes: int) -> PagedTree:
        """Return a copy that later installs do not change, reading leaves from `source`."""
        cache = page_cache(cache_bytes)
        return PagedTree(
            self.name, 0, self.levels.copy(), self.leaf_count, source, cache, self._geometry
        )

    def page(self, number: int) -> bytes:
        """Return a page of the base, from the cache or rebuilt from its leaves.

        Raises `StorageFault` when the leaves do not hash to the page root that was stored.
        """
        depth = self.depth
        key = self.cache_prefix | number
        page = self._cache.get(key)
        if page is not None:
            return page
        page = EMPTY_PAGE if self.levels.kinds[depth][number] == EMPTY else self._load(number)
        self._cache.put(key, page)
        return page

    def _load(self, number: int) -> bytes:
        depth = self.depth
        at = number * HASH_BYTES
        committed = self.levels.hashes[depth][at : at + HASH_BYTES]
        start, stop = page_range(number, depth)
        parent = self._cache.get((self._number * 8 + depth - 1) << 32 | number >> 4)
        if parent is not None:
            # Left from before the tree was deepened; good only if nothing changed since.
            low = insertion_point(parent, start)
            high = len(parent) if stop is None else insertion_point(parent, stop)
            page = build_page(parent[low:high], depth)
            if node_of_page(page)[1] == committed:
                return page
        page = build_page(self.source.entries(start, stop), depth)
        if node_of_page(page)[1] != committed:
            raise StorageFault(
                f"The state tree '{self.name}' is damaged in page {number} of depth {depth}.",
                "Its leaves on disk do not hash to the root that was committed.",
                "clawpurse db check",
            )
        return page

    @property
    def cache_prefix(self) -> int:
        """What a page number is added to for its key in the shared cache."""
        return (self._number * 8 + self.depth) << 32

    def deepen(self, pages_max: int) -> Iterator[None]:
        """Look at up to `pages_max` more pages for the next depth, if the tree needs one."""
        crowded = self.leaf_count > self._geometry.leaves_per_page << 4 * self.depth
        if self.deepening is None:
            if not crowded or self.depth >= self._geometry.depth_max:
                return
            self.deepening = Deepening(self.depth)
        work, version = self.deepening, self.version
        for taken in range(min(pages_max, work.pages - work.done)):
            if self.version != version or work.ready:
                return
            work.take(work.done, self.page(work.done))
            work.done += 1
            if taken % 32 == 31:
                yield

    def install(self, update: TreeUpdate) -> None:
        """Make a finished update the base. Raises `Bug` if it was computed on another base."""
        update.refuse_stale()
        if not update.finished:
            raise Bug(f"an unfinished update of tree '{self.name}' was installed")
        self.version += 1
        for kind, digest in update.nodes[0].values():
            self.levels.kinds[0][0] = kind
            self.levels.hashes[0][:] = digest
        for level, families in enumerate(update.families, 1):
            hashes, kinds = self.levels.hashes[level], self.levels.kinds[level]
            for parent, (family_hashes, family_kinds) in families.items():
                start = 16 * parent
                kinds[start : start + 16] = family_kinds
                hashes[start * HASH_BYTES : (start + 16) * HASH_BYTES] = family_hashes
        self._cache.lay_over(update.cached)
        self.leaf_count = update.leaf_count
        work = self.deepening
        if work is not None:
            for number, page in update.pages.items():
                if number < work.done:
                    work.take(number, page)
            if update.deepens:
                self.levels.hashes.append(work.hashes)
                self.levels.kinds.append(work.kinds)
                self.deepening = None

    def update(self, changes: dict[bytes, bytes | None]) -> TreeUpdate:
        """Begin an update: key hash → new leaf hash, or None to delete."""
        return TreeUpdate(self, changes)

    def walk(self, key_hash: bytes) -> Walk:
        """Return the branches from the root towards a key hash, and what is at their end."""
        return _walk(self, None, key_hash)


class TreeUpdate:
    """Changes to one tree, computed on its base without touching it.

    Run `steps` to its end (it yields about every 0.3 ms of work), then read `root`,
    `leaf_count`, `pages` (changed pages by number), `nodes` (per level: changed nodes as
    (kind, hash); the last level holds page roots) and `nodes_touched` (hashes spent above
    the leaves: a measure of cost, not of consensus). Drop it freely; install it once.
    """

    __slots__ = (
        "_changes",
        "_version",
        "cached",
        "deepens",
        "families",
        "finished",
        "leaf_count",
        "nodes",
        "pages",
        "tree",
    )

    def __init__(self, tree: PagedTree, changes: dict[bytes, bytes | None]) -> None:
        self.tree = tree
        self.leaf_count = tree.leaf_count
        self.pages: dict[int, bytes] = {}
        # The same pages as the shared cache will hold them.
        self.cached: dict[int, bytes] = {}
        self.nodes: list[dict[int, tuple[int, bytes]]] = [{} for _ in range(tree.depth + 1)]
        # Per level but the first: parent → the hashes and kinds of its 16 children, patched.
        self.families: list[dict[int, tuple[bytearray, bytearray]]] = [
            {} for _ in range(tree.depth)
        ]
        self.finished = False
        # Set by whoever writes the update down together with the next depth's page table.
        self.deepens = False
        self._changes = changes
        self._version = tree.version

    @property
    def stale(self) -> bool:
        """True when another update was installed since this one began."""
        return self.tree.version != self._version

    @property
    def root(self) -> bytes:
        """The root after the update. Raises `Bug` before `steps` has ended."""
        if not self.finished:
            raise Bug("the root of an unfinished update was asked for")
        changed = self.nodes[0].get(0)
        return self.tree.root if changed is None else changed[1]

    @property
    def nodes_touched(self) -> int:
        return sum(len(nodes) for nodes in self.nodes)

    def refuse_stale(self) -> None:
        """Raise `Bug` if the base has moved on; an owner drops such an update instead."""
        if self.stale:
            raise Bug(f"an update of tree '{self.tree.name}' outlived the base it began on")

    def steps(self) -> Iterator[None]:
        """Compute, yielding between slices. Raises `StorageFault`, or `Bug` when stale."""
        tree = self.tree
        depth = tree.depth
        groups: dict[int, list[tuple[bytes, bytes | None]]] = {}
        shift = 32 - 4 * depth
        for done, change in enumerate(self._changes.items(), 1):
            number = int.from_bytes(change[0][:4], "big") >> shift
            group = groups.get(number)
            if group is None:
                groups[number] = [change]
            else:
                group.append(change)
            if done % 512 == 0:
                yield
                self.refuse_stale()
        yield from self._patch(groups, depth)
        for level in range(depth - 1, -1, -1):
            yield from self._climb(level)
        self._changes = {}
        self.finished = True

    def _patch(
        self, groups: dict[int, list[tuple[bytes, bytes | None]]], depth: int
    ) -> Iterator[None]:
        spent = 0
        roots, pages, cached = self.nodes[depth], self.pages, self.cached
        first, page_of = self.tree.cache_prefix, self.tree.page
        for number, changes in groups.items():
            page = page_of(number)
            new, won = patch_page(page, changes, depth)
            if new is not page:
                self.leaf_count += won
                pages[number] = cached[first | number] = new
                roots[number] = fold(new[KINDS_BYTES:LEAVES_AT], new[:KINDS_BYTES])
            spent += 1 + len(changes)
            if spent >= CHANGES_PER_SLICE:
                spent = 0
                yield
                self.refuse_stale()

    def _climb(self, level: int) -> Iterator[None]:
        """Fold the parents of what changed one level below."""
        below, here, levels = self.nodes[level + 1], self.nodes[level], self.tree.levels
        parents: dict[int, list[int]] = {}
        for child in below:
            parent = child >> 4
            siblings = parents.get(parent)
            if siblings is None:
                parents[parent] = [child]
            else:
                siblings.append(child)
        hashes, kinds = levels.hashes[level + 1], levels.kinds[level + 1]
        families = self.families[level]
        for done, (parent, changed) in enumerate(parents.items(), 1):
            start = parent << 4
            node_hashes = hashes[start * HASH_BYTES : (start + 16) * HASH_BYTES]
            node_kinds = kinds[start : start + 16]
            for child in changed:
                kind, digest = below[child]
                at = (child & 15) * HASH_BYTES
                node_hashes[at : at + HASH_BYTES] = digest
                node_kinds[child & 15] = kind
            families[parent] = (node_hashes, node_kinds)
            if EMPTY in node_kinds:
                here[parent] = fold(node_hashes, node_kinds)
            else:
                # As `fold` does; nearly all nodes of a large tree, so without its calls.
                state = fresh_branch_hash()
                state.update(ALL_PRESENT)
                state.update(node_hashes)
                here[parent] = (BRANCH, state.digest())
            if done % NODES_PER_SLICE == 0:
                yield
                self.refuse_stale()

    def walk(self, key_hash: bytes) -> Walk:
        """As `PagedTree.walk`, in the tree as it is after the update."""
        self.refuse_stale()
        if not self.finished:
            raise Bug("an unfinished update was asked for a path")
        return _walk(self.tree, self, key_hash)


def page_range(number: int, depth: int) -> tuple[bytes, bytes | None]:
    """Return the first key hash of a page and the first after it (None: no other follows)."""
    shift = 32 - 4 * depth
    start = (number << shift).to_bytes(4, "big") + bytes(HASH_BYTES - 4)
    after = (number + 1) << shift
    return start, None if after >> 32 else after.to_bytes(4, "big") + bytes(HASH_BYTES - 4)


def _walk(tree: PagedTree, update: TreeUpdate | None, key_hash: bytes) -> Walk:
    levels, depth = tree.levels, tree.depth
    steps: list[Step] = []
    node = 0
    for level in range(depth):
        kind = levels.kinds[level][node]
        if update is not None and node in update.nodes[level]:
            kind = update.nodes[level][node][0]
        if kind == EMPTY:
            return Walk(steps, None)
        family = update.families[level].get(node) if update is not None else None
        hashes, kinds = family or levels.children(level, node)
        if kind == LEAF:
            # A sole leaf has moved up to here; its page is below the one child that is there.
            node = node << 4 | kinds.find(LEAF)
            continue
        steps.append(Step(bytes(hashes), bytes(kinds)))
        node = node << 4 | nibble(key_hash, level)
    page = update.pages.get(node) if update is not None else None
    return walk_page(page or tree.page(node), depth, key_hash, steps)
