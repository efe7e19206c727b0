"""The commitment: one root per set of entries, and proofs that nobody can bend.

A root that depended on history would fork honest nodes; a proof that could be bent would let
anybody show a balance that is not there. The reference below is written from the rules alone,
shares no code with the tree and knows no pages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger.errors import Bug, StorageFault
from clawpurse.ledger.statetree import nodes
from clawpurse.ledger.statetree.cache import TwoGenerations
from clawpurse.ledger.statetree.page import (
    EMPTY_PAGE,
    LEAVES_AT,
    build_page,
    find_entry,
    node_of_page,
    page_leaves,
    patch_page,
)
from clawpurse.ledger.statetree.proof import (
    PROOF_BYTES_MAX,
    encode_proof,
    proof_root,
    verify_proof,
)
from clawpurse.ledger.statetree.tree import Geometry, Levels, PagedTree, TreeUpdate, page_cache


def blake(person: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32, person=person).digest()


def reference_root(content: dict[bytes, bytes]) -> bytes:
    """Build the root from (key → value) by the rules, with digits and recursion only."""
    leaves = []
    for key, value in content.items():
        key_hash = blake(b"claw.tree.key", key)
        leaf = blake(b"claw.tree.leaf", key_hash + blake(b"claw.tree.value", value))
        leaves.append((key_hash.hex(), leaf))

    def node(below: list[tuple[str, bytes]], depth: int) -> bytes:
        if len(below) == 1:
            return below[0][1]
        bitmap, children = 0, b""
        for slot, digit in enumerate("0123456789abcdef"):
            group = [leaf for leaf in below if leaf[0][depth] == digit]
            if group:
                bitmap |= 1 << slot
                children += node(group, depth + 1)
        return blake(b"claw.tree.branch", bytes([bitmap >> 8, bitmap & 255]) + children)

    return node(leaves, 0) if leaves else bytes(32)


class FakeLeaves:
    """Leaves as a disk would hold them, fed by what updates changed."""

    def __init__(self) -> None:
        self.content: dict[bytes, bytes] = {}

    def entries(self, start: bytes, stop: bytes | None) -> bytes:
        inside = [k for k in sorted(self.content) if k >= start and (stop is None or k < stop)]
        return b"".join(key + self.content[key] for key in inside)


class Bench:
    """A tree with its fake disk and a model of its content."""

    def __init__(self, geometry: Geometry, depth: int, cache_bytes: int) -> None:
        self.leaves = FakeLeaves()
        self.cache = page_cache(cache_bytes)
        self.tree = PagedTree.empty("test", 3, depth, self.leaves, self.cache, geometry)
        self.model: dict[bytes, bytes] = {}

    def hashed(self, changes: dict[bytes, bytes | None]) -> dict[bytes, bytes | None]:
        hashed: dict[bytes, bytes | None] = {}
        for key, value in changes.items():
            key_hash = nodes.key_hash_of(key)
            hashed[key_hash] = (
                None if value is None else nodes.leaf_hash_of(key_hash, nodes.value_hash_of(value))
            )
        return hashed

    def compute(self, changes: dict[bytes, bytes | None]) -> TreeUpdate:
        for _ in self.tree.deepen(8):
            pass
        update = self.tree.update(self.hashed(changes))
        for _ in update.steps():
            pass
        return update

    def apply(self, changes: dict[bytes, bytes | None]) -> TreeUpdate:
        update = self.compute(changes)
        work = self.tree.deepening
        update.deepens = work is not None and work.ready
        for key_hash, leaf_hash in self.hashed(changes).items():
            if leaf_hash is None:
                self.leaves.content.pop(key_hash, None)
            else:
                self.leaves.content[key_hash] = leaf_hash
        for key, value in changes.items():
            if value is None:
                self.model.pop(key, None)
            else:
                self.model[key] = value
        self.tree.install(update)
        return update

    def proof(self, key: bytes, update: TreeUpdate | None = None) -> bytes:
        key_hash = nodes.key_hash_of(key)
        walk = (update or self.tree).walk(key_hash)
        hashes = {nodes.key_hash_of(k): nodes.value_hash_of(v) for k, v in self.model.items()}
        return encode_proof(walk, key_hash, hashes.__getitem__)


# Tiny pages, so that a few dozen keys cross every border: levels, pages, slots, deepening.
GEOMETRIES = [
    Geometry(leaves_per_page=1, depth_min=1, depth_max=3),
    Geometry(leaves_per_page=2, depth_min=1, depth_max=2),
    Geometry(leaves_per_page=3, depth_min=2, depth_max=3),
    Geometry(),
]
keys = st.integers(0, 60).map(lambda number: b"key%d" % number)
changes = st.dictionaries(keys, st.none() | st.binary(min_size=1, max_size=3), max_size=30)
histories = st.lists(changes, max_size=8)
cache_sizes = st.sampled_from([0, 5_000, 1 << 20])


@given(
    history=histories,
    geometry=st.sampled_from(GEOMETRIES),
    cache_bytes=cache_sizes,
)
@settings(max_examples=150)
def test_root_follows_the_content_and_nothing_else(
    history: list[dict[bytes, bytes | None]], geometry: Geometry, cache_bytes: int
) -> None:
    """Two nodes with the same entries but another past must agree, or the chain stops."""
    bench = Bench(geometry, geometry.depth_min, cache_bytes)
    for step in history:
        before = bench.tree.root
        dropped = bench.compute(step)
        assert bench.tree.root == before
        update = bench.apply(step)
        assert update.root == bench.tree.root == reference_root(bench.model) == dropped.root
        assert bench.tree.leaf_count == len(bench.model)
        whole = Levels.over(
            bench.tree.depth, bench.tree.levels.hashes[-1], bench.tree.levels.kinds[-1]
        )
        assert whole.hashes == bench.tree.levels.hashes
        assert whole.kinds == bench.tree.levels.kinds


@given(content=st.dictionaries(keys, st.binary(min_size=1, max_size=3)), seed=st.randoms())
def test_root_does_not_depend_on_order_or_on_what_was_deleted(
    content: dict[bytes, bytes], seed: object
) -> None:
    geometry = GEOMETRIES[0]
    one, other = Bench(geometry, 1, 0), Bench(geometry, 1, 1 << 20)
    one.apply(dict(content))
    order = sorted(content)
    seed.shuffle(order)  # type: ignore[attr-defined]
    for key in order:
        other.apply({key: b"old", key + b"!": b"passing"})
    for key in order:
        other.apply({key: content[key], key + b"!": None})
    assert one.tree.root == other.tree.root == reference_root(content)


@given(
    content=st.dictionaries(keys, st.binary(min_size=1, max_size=3)),
    key=keys,
    geometry=st.sampled_from(GEOMETRIES),
    change=changes,
)
def test_proofs_of_presence_and_absence_verify_offline(
    content: dict[bytes, bytes],
    key: bytes,
    geometry: Geometry,
    change: dict[bytes, bytes | None],
) -> None:
    bench = Bench(geometry, geometry.depth_min, 1 << 20)
    bench.apply(dict(content))
    root = reference_root(bench.model)
    proof = bench.proof(key)
    value = content.get(key)
    assert verify_proof(root, key, value, proof)
    assert len(proof) <= PROOF_BYTES_MAX
    for wrong in (None, b"wrong", (value or b"") + b"x", b""):
        if wrong != value:
            assert not verify_proof(root, key, wrong, proof)
    assert not verify_proof(bytes(32) if content else b"\x01" * 32, key, value, proof)
    pending = bench.compute(change)
    after = {**content, **change}
    bench.model = {k: v for k, v in after.items() if v is not None}
    assert verify_proof(pending.root, key, bench.model.get(key), bench.proof(key, pending))
    assert pending.root == reference_root(bench.model)


@given(
    content=st.dictionaries(keys, st.binary(min_size=1, max_size=3), min_size=1),
    key=keys,
    data=st.data(),
)
@settings(max_examples=200)
def test_a_bent_proof_is_refused(
    content: dict[bytes, bytes], key: bytes, data: st.DataObject
) -> None:
    """No byte of a proof is free: one statement has one proof."""
    bench = Bench(GEOMETRIES[0], 1, 1 << 20)
    bench.apply(dict(content))
    root, proof, value = bench.tree.root, bench.proof(key), content.get(key)
    at = data.draw(st.integers(0, len(proof) - 1))
    bent = bytearray(proof)
    bent[at] ^= data.draw(st.integers(1, 255))
    assert not verify_proof(root, key, value, bytes(bent))
    assert not verify_proof(root, key, value, proof[:at])
    assert not verify_proof(root, key, value, proof + b"\x00")
    other = data.draw(keys)
    if other != key:
        assert not verify_proof(root, other, value, proof) or (
            value is None and other not in content
        )
        if other in content:
            assert not verify_proof(root, other, None, proof)


@given(proof=st.binary(max_size=200), key=st.binary(max_size=8), value=st.none() | st.binary())
def test_hostile_proofs_never_raise(proof: bytes, key: bytes, value: bytes | None) -> None:
    assert not verify_proof(b"\x01" * 32, key, value, proof)
    for head in (b"\x01\x00", b"\x01\x01", b"\x01\x02"):
        verify_proof(b"\x01" * 32, key, value, head + proof)
        verify_proof(b"\x01" * 32, key, value, head + b"\x40" + b"\xff" * 500 + proof)


@pytest.mark.parametrize("odd", [None, 1, "text", [b""], bytearray(32), True])
def test_arguments_of_any_type_are_refused_quietly(odd: object) -> None:
    assert not verify_proof(odd, b"k", b"v", b"\x01\x00\x00")  # type: ignore[arg-type]
    assert not verify_proof(bytes(32), odd, None, b"\x01\x01\x00")  # type: ignore[arg-type]
    assert not verify_proof(bytes(32), b"k", None, odd)  # type: ignore[arg-type]
    if odd is not None:
        assert not verify_proof(bytes(32), b"k", odd, b"\x01\x01\x00")  # type: ignore[arg-type]


def test_the_empty_tree_proves_that_it_is_empty() -> None:
    bench = Bench(Geometry(), 1, 0)
    assert bench.tree.root == bytes(32)
    assert verify_proof(bytes(32), b"k", None, bench.proof(b"k"))
    assert proof_root(b"k", b"v", bench.proof(b"k")) is None


def test_one_leaf_is_the_root_itself() -> None:
    bench = Bench(Geometry(), 1, 0)
    bench.apply({b"k": b"v"})
    key_hash = nodes.key_hash_of(b"k")
    assert bench.tree.root == nodes.leaf_hash_of(key_hash, nodes.value_hash_of(b"v"))
    assert verify_proof(bench.tree.root, b"k", b"v", bench.proof(b"k"))
    assert verify_proof(bench.tree.root, b"other", None, bench.proof(b"other"))


def entries(*prefixes: str) -> bytes:
    """Return sorted page entries whose key hashes begin with these hex digits."""
    made = sorted(bytes.fromhex(prefix.ljust(64, "0")) for prefix in prefixes)
    return b"".join(key + hashlib.sha256(key).digest() for key in made)


def test_deep_common_prefixes_make_a_chain_of_single_branches() -> None:
    """Ground keys that share 20 digits cost their depth, and are still proven and deleted."""
    leaves = entries("a" * 20 + "1", "a" * 20 + "2")
    page = build_page(leaves, 1)
    digest = nodes.hash_branch(b"\x00\x06" + leaves[32:64] + leaves[96:128])
    for _ in range(19):
        digest = nodes.hash_branch(b"\x04\x00" + digest)
    kind, root = node_of_page(page)
    assert (kind, root) == (nodes.BRANCH, digest)
    alone, won = patch_page(page, [(leaves[:32], None)], 1)
    assert won == -1
    assert node_of_page(alone) == (nodes.LEAF, leaves[96:128])


def test_a_key_is_not_found_across_the_borders_of_entries() -> None:
    """A leaf hash could, byte for byte, look like another key: positions decide."""
    key = bytes(range(32))
    page = EMPTY_PAGE + entries("0")[:32] + key + entries("1")
    assert find_entry(page, key) == -1
    assert find_entry(page + key + bytes(32), key) == LEAVES_AT + 128
    second = page[LEAVES_AT + 64 : LEAVES_AT + 96]
    assert find_entry(page, second) == LEAVES_AT + 64
    assert find_entry(page, bytes(32)) == LEAVES_AT


def page_changes() -> st.SearchStrategy[list[tuple[bytes, bytes | None]]]:
    digits = st.text("01f", min_size=3, max_size=3).map(lambda d: bytes.fromhex(("a" + d) * 16))
    hashes = st.none() | st.binary(min_size=32, max_size=32)
    return st.dictionaries(digits, hashes, max_size=12).map(lambda found: list(found.items()))


@given(first=page_changes(), second=page_changes(), third=page_changes())
def test_patching_a_page_equals_building_it(
    first: Sequence[tuple[bytes, bytes | None]],
    second: Sequence[tuple[bytes, bytes | None]],
    third: Sequence[tuple[bytes, bytes | None]],
) -> None:
    page, model = EMPTY_PAGE, dict[bytes, bytes]()
    for step in (first, second, third):
        before = dict(model)
        for key, value in step:
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
        patched, won = patch_page(page, step, 1)
        assert won == len(model) - len(before)
        if model == before:
            assert patched is page
        page = patched
        leaves = b"".join(key + model[key] for key in sorted(model))
        assert page == build_page(leaves, 1)
        assert page_leaves(page) == leaves
        one_by_one = page
        for change in step:
            one_by_one, _ = patch_page(one_by_one, [change], 1)
        assert one_by_one == page


def test_zero_bytes_at_the_edges_of_hashes_survive() -> None:
    """Absent children are removed as 32 zeros at a time; a hash may begin or end with some.

    Only 32 zeros around one gap would be too many, and that is a preimage search of 256 bits.
    """
    children, kinds = bytearray(512), bytearray(16)
    hashes = {0: b"\x01" * 17 + bytes(15), 3: bytes(16) + b"\x02" * 16, 9: bytes(15) + b"\x03" * 17}
    for slot, digest in hashes.items():
        kinds[slot] = nodes.BRANCH
        children[slot * 32 : slot * 32 + 32] = digest
    expected = nodes.hash_branch(b"\x02\x09" + b"".join(hashes.values()))
    assert nodes.fold(children, kinds) == (nodes.BRANCH, expected)


def test_an_update_outlived_by_another_refuses_to_be_used() -> None:
    bench = Bench(Geometry(), 1, 0)
    late = bench.compute({b"a": b"1"})
    halfway = bench.tree.update(bench.hashed({b"k%d" % n: b"v" for n in range(300)}))
    steps = halfway.steps()
    next(steps)
    with pytest.raises(Bug):
        _ = halfway.root
    with pytest.raises(Bug):
        bench.tree.install(halfway)
    bench.apply({b"b": b"2"})
    assert late.stale
    assert halfway.stale
    with pytest.raises(Bug):
        bench.tree.install(late)
    with pytest.raises(Bug):
        list(steps)


def test_a_large_update_yields_between_slices() -> None:
    """A block of thousands of keys must not hold up votes and clients in one go."""
    bench = Bench(Geometry(), 2, 1 << 20)
    update = bench.tree.update(bench.hashed({b"k%d" % n: b"v" for n in range(3000)}))
    assert sum(1 for _ in update.steps()) > 15
    assert update.nodes_touched == 256 + 16 + 1


def test_leaves_that_do_not_hash_to_the_page_root_are_a_storage_fault() -> None:
    """A disk that lies is caught before its lie becomes a root that others do not share."""
    bench = Bench(Geometry(), 1, 0)
    bench.apply({b"k%d" % n: b"v" for n in range(40)})
    victim = nodes.key_hash_of(b"k7")
    bench.leaves.content[victim] = bytes(32)
    bench.cache.clear()
    with pytest.raises(StorageFault, match=r"'test'.*db check"):
        bench.compute({b"k7": b"w"})


def test_depth_follows_the_leaf_count() -> None:
    geometry = Geometry()
    depths = [geometry.depth_for(n) for n in (0, 10_000, 100_000, 1_000_000, 14_000_000)]
    assert depths == [1, 2, 3, 4, 5]
    assert geometry.fits(3, 200_000)
    assert not geometry.fits(1, 200_000)
    assert not geometry.fits(2, 10 * 61_440)


def test_a_growing_tree_deepens_while_it_works() -> None:
    """A network that starts with ten accounts must not slow down at ten thousand."""
    geometry = Geometry(leaves_per_page=4, depth_min=1, depth_max=3)
    bench = Bench(geometry, 1, 1 << 16)
    for block in range(160):
        bench.apply({b"k%d-%d" % (block, n): b"v" for n in range(10)})
    assert bench.tree.depth == 3
    assert bench.tree.root == reference_root(bench.model)
    for number in range(1 << 12):
        bench.tree.page(number)


def test_the_cache_keeps_what_is_used_within_its_bytes() -> None:
    cache: TwoGenerations[int] = TwoGenerations(100, 7)
    cache.put(0, b"hot")
    for number in range(1, 50):
        cache.put(number, b"old")
        assert cache.get(0) == b"hot"
        assert len(cache) <= 10
    assert cache.get(1) is None
    cache.lay_over(dict.fromkeys(range(100, 104), b"new"))
    cache.lay_over({103: b"newer", 0: b""})
    assert [cache.get(number) for number in (0, 101, 103)] == [b"", b"new", b"newer"]
    begun = cache.settle()
    next(begun)
    cache.lay_over({103: b"newest"})
    assert list(begun) == []
    assert cache.get(103) == b"newest"
    for number in range(200, 260):
        cache.lay_over({number: b"new", 0: b"hot"})
        list(cache.settle())
        assert (cache.get(0), cache.get(number)) == (b"hot", b"new")
        assert len(cache) <= 12
    cache.lay_over({})
    cache.clear()
    assert (len(cache), cache.get(0)) == (0, None)
