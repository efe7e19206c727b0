"""Following a chain by one node and watching it by others: nobody is believed, forks stop all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.evidence import DoubleSign
from clawpurse.ledger.agreement.light import LightBlock, Rules
from clawpurse.ledger.errors import Malformed, OperatorError, StorageFault
from clawpurse.modules.kit.web.errors import RATE_LIMITED, RpcError
from clawpurse.wallet.light import (
    Cause,
    Checkpoint,
    Forked,
    LightClient,
    NotVerified,
    Outcome,
    Standing,
    Verified,
    follow_chain,
)
from clawpurse.wallet.light_source import NodeSource
from clawpurse.wallet.light_store import BLOCKS_MAX, TrustedBlocks
from tests.ledger.lightworld import DAY_MS, START_MS, LightWorld, certify, keys_of
from tests.wallet.lightnodes import FakeRpc, FakeSource

P, W, V = "http://primary", "http://witness", "http://other"


@pytest.fixture(scope="module")
def world() -> LightWorld:
    """Sixty blocks; the authorities change step by step until nobody of the first ones is left."""
    return LightWorld({1: range(4), 20: range(1, 5), 30: range(2, 6), 40: range(4, 8)}, 60)


@pytest.fixture
def store(tmp_path: Path) -> TrustedBlocks:
    return TrustedBlocks(tmp_path / "light")


def client(world: LightWorld, *sources: FakeSource, **options: Any) -> LightClient:
    """A client of the first source, watched by the others; it trusts the genesis hash."""
    if "checkpoint" not in options:
        options.setdefault("genesis_hash", world.genesis.hash)
    now_ms = options.pop("now_ms", world.now_ms)
    return LightClient(sources[0], sources[1:], lambda: now_ms, **options)


def verified(outcome: Outcome) -> Verified:
    assert isinstance(outcome, Verified), outcome
    return outcome


def forked(outcome: Outcome) -> Forked:
    assert isinstance(outcome, Forked), outcome
    return outcome


def not_verified(outcome: Outcome, cause: Cause) -> NotVerified:
    assert isinstance(outcome, NotVerified), outcome
    assert outcome.cause is cause, outcome
    assert outcome.problem.endswith("."), outcome.problem
    return outcome


def standings(outcome: Verified | NotVerified) -> list[Standing]:
    return [report.standing for report in outcome.witnesses]


# -- an honest network


async def test_the_newest_block_is_verified_from_genesis_across_changes(
    autojump_clock: trio.testing.MockClock, world: LightWorld
) -> None:
    primary, witness = FakeSource(world, P), FakeSource(world, W)
    found = verified(await client(world, primary, witness).follow())
    assert found.block == world.blocks[60]
    assert found.root.height == 0
    assert (found.agreed, standings(found)) == (1, [Standing.AGREES])
    assert found.steps >= 2, "one step over a wholly new set would be no verification"
    assert found.requests == len(primary.asked) + len(witness.asked) + 1  # the genesis
    assert found.requests < 20


async def test_any_height_can_be_asked_for(
    autojump_clock: trio.testing.MockClock, world: LightWorld
) -> None:
    for height in (1, 19, 20, 39, 40, 41, 59):
        one = client(world, FakeSource(world, P), FakeSource(world, W))
        assert verified(await one.follow(height)).block == world.blocks[height]


async def test_the_next_run_begins_where_the_last_one_ended(
    autojump_clock: trio.testing.MockClock, world: LightWorld, store: TrustedBlocks
) -> None:
    """Who looks every day asks for two blocks, not for a history."""
    sources = FakeSource(world, P, height=40), FakeSource(world, W, height=40)
    await client(world, *sources, store=store).follow()
    primary, witness = FakeSource(world, P), FakeSource(world, W)
    found = verified(await client(world, primary, witness, store=store).follow())
    assert (found.root.height, found.steps) == (40, 1)
    assert primary.asked == [None, 40]
    assert witness.asked == [60]
    file = store.file_of(world.genesis.hash)
    assert file.stat().st_mode & 0o777 == 0o600
    again = verified(await client(world, primary, witness, store=store).follow())
    assert (again.root.height, again.steps, again.block) == (60, 0, world.blocks[60])


async def test_a_lower_height_than_trusted_is_verified_from_what_lies_below(
    autojump_clock: trio.testing.MockClock, world: LightWorld, store: TrustedBlocks
) -> None:
    for height in (15, 45, 30):
        one = client(world, FakeSource(world, P), FakeSource(world, W), store=store)
        found = verified(await one.follow(height))
        assert found.root.height == {15: 0, 45: 15, 30: 15}[height]
    kept = store.load(world.genesis.hash)
    assert [block.height for block in kept.blocks] == [15, 30, 45]


async def test_only_so_many_blocks_are_kept(store: TrustedBlocks) -> None:
    world = LightWorld(height=BLOCKS_MAX + 5)
    for height in range(1, world.height + 1):
        store.keep(world.genesis.hash, world.blocks[height])
    kept = store.load(world.genesis.hash)
    assert [block.height for block in kept.blocks] == list(range(6, BLOCKS_MAX + 6))


async def test_many_witnesses_are_all_asked(
    autojump_clock: trio.testing.MockClock, world: LightWorld
) -> None:
    others = [FakeSource(world, f"http://w{number}") for number in range(16)]
    found = verified(await client(world, FakeSource(world, P), *others).follow())
    assert found.agreed == 16
    assert all(other.asked == [60] for other in others)


async def test_without_a_witness_nothing_is_begun(world: LightWorld) -> None:
    """R30: two views at least; a node that vouches for itself is one."""
    with pytest.raises(Malformed, match="witness"):
        client(world, FakeSource(world, P))
    with pytest.raises(Malformed, match="twice"):
        client(world, FakeSource(world, P), FakeSource(world, P))
    with pytest.raises(Malformed, match="16"):
        client(world, *[FakeSource(world, f"http://w{number}") for number in range(18)])
    with pytest.raises(Malformed, match="trust"):
        client(world, FakeSource(world, P), FakeSource(world, W), genesis_hash=None)


# -- nodes that fail


async def test_a_witness_that_is_down_is_told_and_another_one_is_enough(
    autojump_clock: trio.testing.MockClock, world: LightWorld
) -> None:
    down, up = FakeSource(world, W, down=True), FakeSource(world, V)
    found = verified(await client(world, FakeSource(world, P), down, up).follow())
    assert standings(found) == [Standing.UNREACHABLE, Standing.AGREES]


@pytest.mark.parametrize(
    ("witness", "cause", "standing"),
    [
        ({"down": True}, Cause.UNREACHABLE, Standing.UNREACHABLE),
        ({"height": 50}, Cause.NOT_YET, Standing.BEHIND),
        ({"height": 0}, Cause.NOT_YET, Standing.BEHIND),
    ],
)
async def test_a_block_that_nobody_else_has_is_not_trusted(
    autojump_clock: trio.testing.MockClock,
    world: LightWorld,
    store: TrustedBlocks,
    witness: dict[str, Any],
    cause: Cause,
    standing: Standing,
) -> None:
    sources = FakeSource(world, P), FakeSource(world, W, **witness)
    found = not_verified(await client(world, *sources, store=store).follow(), cause)
    assert standings(found) == [standing]
    assert store.load(world.genesis.hash).blocks == ()


async def test_a_witness_that_is_a_moment_behind_is_waited_for(
    autojump_clock: trio.testing.MockClock, world: LightWorld
) -> None:
    late = FakeSource(world, W, height=59)
    async with trio.open_nursery() as nursery:

        async def catch_up() -> None:
            await trio.sleep(3)
            late.height = 60

        nursery.start_soon(catch_up)
        found = verified(await client(world, FakeSource(world, P), late).follow())
    assert standings(found) == [Standing.AGREES]


async def test_a_primary_that_is_down_or_empty_or_behind_is_told(
    autojump_clock: trio.testing.MockClock, world: LightWorld, store: TrustedBlocks
) -> None:
    witness = FakeSource(world, W)
    down = client(world, FakeSource(world, P, down=True), witness)
    not_verified(await down.follow(), Cause.UNREACHABLE)
    empty = client(world, FakeSource(world, P, height=0), witness)
    not_verified(await empty.follow(), Cause.NOT_YET)
    ahead = client(world, FakeSource(world, P), witness)
    not_verified(await ahead.follow(61), Cause.NOT_YET)
    await client(world, FakeSource(world, P), witness, store=store).follow()
    behind = client(world, FakeSource(world, P, height=50), witness, store=store)
    found = not_verified(await behind.follow(), Cause.NOT_YET)
    assert "block 50, trusted is 60" in found.problem


async def test_a_search_without_end_is_given_up(
    autojump_clock: trio.testing.MockClock, world: LightWorld
) -> None:
    primary = FakeSource(world, P)
    with pytest.raises(OperatorError, match="was asked 2 times"):
        await client(world, primary, FakeSource(world, W), requests_max=2).follow()
    assert len(primary.asked) == 1, "and the genesis"


# -- a primary that lies


def lie_about(world: LightWorld, height: int) -> LightBlock:
    """A block decided by authorities of the liar's own making."""
    liars = keys_of(range(20, 24))
    header = replace(
        world.blocks[height].header,
        authorities_hash=liars.hash,
        next_authorities_hash=liars.hash,
        state_root=b"\x66" * 32,
    )
    return LightBlock(header, certify(header, liars), liars, liars)


async def test_a_lying_primary_is_found_out_and_nothing_is_kept(
    autojump_clock: trio.testing.MockClock, world: LightWorld, store: TrustedBlocks
) -> None:
    for lies in (
        {60: lie_about(world, 60)},
        {height: lie_about(world, height) for height in range(1, 61)},
        {60: replace(world.blocks[60], certificate=world.blocks[59].certificate)},
        {60: replace(world.blocks[60], authorities=keys_of(range(4)))},
        {60: world.make(60, time_ms=world.now_ms + 10_000)},
        {60: world.make(60, recovery_epoch=1)},
        {60: world.make(60, chain_id="elsewhere")},
        {60: world.blocks[59], 59: world.blocks[59]},
        {30: lie_about(world, 30), 60: world.blocks[60]},
    ):
        primary = FakeSource(world, P, lies=lies)
        found = await client(world, primary, FakeSource(world, W), store=store).follow(60)
        problem = not_verified(found, Cause.PRIMARY).problem
        assert P in problem
        assert store.load(world.genesis.hash).blocks == ()


async def test_a_primary_of_another_network_is_found_out_at_once(
    autojump_clock: trio.testing.MockClock, world: LightWorld
) -> None:
    twin = LightWorld({1: range(4)}, 5, fee_min=1)
    one = client(world, FakeSource(twin, P), FakeSource(world, W))
    found = not_verified(await one.follow(), Cause.PRIMARY)
    assert "another network" in found.problem


async def test_a_primary_that_hides_what_lies_between_is_found_out(
    autojump_clock: trio.testing.MockClock, world: LightWorld
) -> None:
    class Hiding(FakeSource):
        async def block(self, height: int | None) -> LightBlock:
            return await super().block(height if height in (None, 60) else 1_000)

    one = client(world, Hiding(world, P), FakeSource(world, W))
    found = not_verified(await one.follow(), Cause.PRIMARY)
    assert "not those below" in found.problem


# -- a witness that lies


async def test_a_witness_cannot_stop_a_client_by_lying(
    autojump_clock: trio.testing.MockClock, world: LightWorld
) -> None:
    """A liar that is not certified is told, named, and outvoted by one honest witness."""
    for lies in (
        {60: lie_about(world, 60)},
        {height: lie_about(world, height) for height in range(1, 61)},
        {height: lie_about(world, height) for height in range(40, 61)},
        {60: replace(lie_about(world, 60), certificate=world.blocks[60].certificate)},
        {60: world.make(60, chain_id="elsewhere")},
        {60: world.make(60, signers=world.members(60).keys[:2], state_root=b"\1" * 32)},
    ):
        liar, honest = FakeSource(world, W, lies=lies), FakeSource(world, V)
        found = verified(await client(world, FakeSource(world, P), liar, honest).follow())
        assert standings(found) == [Standing.FAULTY, Standing.AGREES], lies
        assert "another block" in found.witnesses[0].detail
        alone = await client(world, FakeSource(world, P), liar).follow()
        not_verified(alone, Cause.UNWITNESSED)


async def test_a_witness_that_says_otherwise_and_vanishes_confirms_nothing(
    autojump_clock: trio.testing.MockClock, world: LightWorld
) -> None:
    other = world.fork(50, 60)
    for patience in (1, 2, 3):
        shy = FakeSource(other, W, gone_after=patience)
        found = await client(world, FakeSource(world, P), shy).follow()
        assert not isinstance(found, Verified)


# -- a fork


async def test_a_fork_stops_everything_and_names_who_signed_both(
    autojump_clock: trio.testing.MockClock, world: LightWorld, store: TrustedBlocks
) -> None:
    """Two certified histories: the client follows neither, and shows where they part."""
    other = world.fork(50, 60)
    for primary, witness in ((world, other), (other, world)):
        sources = FakeSource(primary, P), FakeSource(witness, W), FakeSource(world, V)
        found = forked(await client(world, *sources).follow())
        fork = found.fork
        assert (fork.height, fork.is_exact) == (50, True)
        assert fork.common is not None
        assert fork.common.block_id == world.blocks[49].block_id
        assert fork.primary.block == primary.blocks[50]
        assert fork.witness.block == witness.blocks[50]
        assert set(fork.signed_both) == set(world.members(50).keys[:3])
    assert store.load(world.genesis.hash).blocks == ()


async def test_evidence_of_a_fork_convicts_by_itself(
    autojump_clock: trio.testing.MockClock, world: LightWorld, store: TrustedBlocks
) -> None:
    other = world.fork(50, 60)
    sources = FakeSource(world, P), FakeSource(other, W)
    found = forked(await client(world, *sources, store=store).follow())
    assert found.path is not None
    assert found.path.stat().st_mode & 0o777 == 0o600
    document = json.loads(found.path.read_text())
    assert document == found.fork.evidence()
    assert document["height"] == 50
    assert document["exact"] is True
    assert document["common"]["hash"] == "0x" + world.blocks[49].block_id.hex()
    assert [side["source"] for side in document["blocks"]] == [P, W]
    assert len(document["doubleSigns"]) == len(document["signedBoth"]) == 3
    for text in document["doubleSigns"]:
        proof = DoubleSign.unpack(bytes.fromhex(text[2:]))
        proof.verify(world.root.domain, world.members(50), crypto.verify)
    for side, at in zip(document["blocks"], (world, other), strict=True):
        parts = ("header", "certificate", "authorities", "nextAuthorities")
        block = LightBlock.of_parts(*(bytes.fromhex(side[name][2:]) for name in parts))
        assert block == at.blocks[50]


async def test_a_fork_in_another_round_shows_both_certificates(
    autojump_clock: trio.testing.MockClock, world: LightWorld
) -> None:
    """Nobody is convicted by two rounds alone, but who signed in both is known."""
    other = world.fork(50, 60, round_=1)
    sources = FakeSource(world, P), FakeSource(other, W)
    document = forked(await client(world, *sources).follow()).fork.evidence()
    assert document["doubleSigns"] == []
    assert len(document["signedBoth"]) == 3
    assert [side["round"] for side in document["blocks"]] == [0, 1]


async def test_after_a_fork_nothing_is_followed_until_somebody_decides(
    autojump_clock: trio.testing.MockClock, world: LightWorld, store: TrustedBlocks
) -> None:
    """Else the next run, with the honest witness left out, would follow the liars after all."""
    honest, liars = (FakeSource(world, url) for url in (P, V))
    before = FakeSource(world, P, height=30), FakeSource(world, V, height=30)
    await client(world, *before, store=store).follow()
    other = world.fork(50, 60)
    await client(world, honest, FakeSource(other, W), store=store).follow()
    found = not_verified(await client(world, honest, liars, store=store).follow(), Cause.HALTED)
    assert "block 50" in found.problem
    assert "fork-" in found.problem
    low = Checkpoint(30, world.blocks[30].block_id)
    kept = client(world, honest, liars, store=store, checkpoint=low)
    not_verified(await kept.follow(), Cause.HALTED)
    decided = Checkpoint(50, world.blocks[50].block_id)
    for checkpoint in (decided, None):
        options: dict[str, Any] = {"store": store, "genesis_hash": world.genesis.hash}
        one = client(world, honest, liars, checkpoint=checkpoint, **options)
        assert verified(await one.follow()).block == world.blocks[60]


async def test_a_fork_is_found_also_where_a_witness_is_behind(
    autojump_clock: trio.testing.MockClock, world: LightWorld
) -> None:
    """A primary that runs ahead on a history of its own must not pass for merely faster."""
    other = world.fork(45, 55)
    sources = FakeSource(world, P), FakeSource(other, W)
    found = forked(await client(world, *sources).follow())
    assert (found.fork.height, found.fork.is_exact) == (45, True)


async def test_a_fork_below_what_was_verified_before_is_found(
    autojump_clock: trio.testing.MockClock, world: LightWorld, store: TrustedBlocks
) -> None:
    """The history that the client followed for weeks may be the false one."""
    for height in (20, 50):
        sources = FakeSource(world, P, height=height), FakeSource(world, V, height=height)
        await client(world, *sources, store=store).follow()
    other = world.fork(35, 60)
    sources = FakeSource(world, P), FakeSource(other, W)
    found = forked(await client(world, *sources, store=store).follow())
    assert (found.fork.height, found.fork.is_exact) == (35, True)
    # The same, with the primary on the other side: what it shows is not what was verified.
    fresh = TrustedBlocks(store.directory.parent / "second")
    fresh.keep(world.genesis.hash, world.blocks[50])
    sources = FakeSource(other, P), FakeSource(world, W)
    found = forked(await client(world, *sources, store=fresh).follow())
    assert found.fork.height == 50


async def test_another_block_at_a_trusted_height_is_a_fork_if_the_same_set_decided_it(
    autojump_clock: trio.testing.MockClock, world: LightWorld, store: TrustedBlocks
) -> None:
    store.keep(world.genesis.hash, world.blocks[60])
    other = world.fork(60, 60)
    sources = FakeSource(other, P), FakeSource(world, W)
    found = forked(await client(world, *sources, store=store).follow())
    assert found.fork.primary.url == "verified before"
    lies = {60: lie_about(world, 60)}
    fresh = TrustedBlocks(store.directory.parent / "second")
    fresh.keep(world.genesis.hash, world.blocks[60])
    sources = FakeSource(world, P, lies=lies), FakeSource(world, W)
    not_verified(await client(world, *sources, store=fresh).follow(), Cause.CONTRADICTS)


async def test_an_attack_by_skipping_is_shown_even_if_its_steps_cannot_be(
    autojump_clock: trio.testing.MockClock, world: LightWorld
) -> None:
    """More than a third of an old set sells its keys: the forged block is accepted by skipping,
    has no history below it, and the honest witness still stops the client.
    """
    sold = world.members(10).keys[:2]
    liars = AuthoritySet([*sold, *keys_of([30]).keys])
    header = replace(
        world.blocks[60].header,
        authorities_hash=liars.hash,
        next_authorities_hash=liars.hash,
        state_root=b"\x66" * 32,
    )
    forged = LightBlock(header, certify(header, liars, 3), liars, liars)
    primary = FakeSource(world, P, lies={60: forged})
    checkpoint = Checkpoint(10, world.blocks[10].block_id)
    sources = primary, FakeSource(world, W)
    found = forked(await client(world, *sources, checkpoint=checkpoint).follow())
    assert found.fork.height == 60
    assert not found.fork.is_exact
    assert found.fork.common is not None
    assert found.fork.common.height == 10


# -- checkpoints and the trusting period


async def test_outside_the_trusting_period_a_checkpoint_is_required(
    autojump_clock: trio.testing.MockClock, world: LightWorld, store: TrustedBlocks
) -> None:
    """R32: authorities of long ago, whose keys are anybody's now, could show any history."""
    late = START_MS + 14 * DAY_MS
    sources = FakeSource(world, P), FakeSource(world, W)
    not_verified(await client(world, *sources, now_ms=late).follow(), Cause.EXPIRED)
    await client(world, *sources, store=store).follow(20)
    late = world.blocks[20].header.time_ms + 14 * DAY_MS
    expired = client(world, *sources, now_ms=late, store=store)
    not_verified(await expired.follow(), Cause.EXPIRED)
    checkpoint = Checkpoint(40, world.blocks[40].block_id)
    one = client(world, *sources, now_ms=late, store=store, checkpoint=checkpoint)
    assert verified(await one.follow()).root.height == 40
    assert verified(await client(world, *sources, now_ms=late, store=store).follow()).steps == 0


async def test_a_checkpoint_that_is_too_old_itself_helps_nobody(
    autojump_clock: trio.testing.MockClock, world: LightWorld
) -> None:
    sources = FakeSource(world, P), FakeSource(world, W)
    rules = Rules(trusting_period_ms=30_000)
    for height, expected in ((30, Cause.EXPIRED), (31, None)):
        checkpoint = Checkpoint(height, world.blocks[height].block_id)
        now_ms = START_MS + 60_000
        one = client(world, *sources, checkpoint=checkpoint, rules=rules, now_ms=now_ms)
        found = await one.follow()
        if expected is None:
            verified(found)
        else:
            not_verified(found, expected)


async def test_a_chain_that_contradicts_the_checkpoint_is_never_followed(
    autojump_clock: trio.testing.MockClock, world: LightWorld
) -> None:
    """R32: however many nodes and signatures stand for the other history."""
    other = world.fork(35, 60)
    checkpoint = Checkpoint(40, world.blocks[40].block_id)
    sources = FakeSource(other, P), FakeSource(other, W), FakeSource(other, V)
    found = await client(world, *sources, checkpoint=checkpoint).follow()
    not_verified(found, Cause.CONTRADICTS)
    missing = FakeSource(world, P, height=39), FakeSource(world, W)
    not_verified(await client(world, *missing, checkpoint=checkpoint).follow(), Cause.NOT_YET)
    sources = FakeSource(world, P), FakeSource(world, W)
    below = client(world, *sources, checkpoint=checkpoint)
    not_verified(await below.follow(39), Cause.BELOW)
    assert verified(await below.follow(40)).steps == 0
    pinned = client(world, *sources, checkpoint=checkpoint, genesis_hash=b"\1" * 32)
    not_verified(await pinned.follow(), Cause.PRIMARY)


async def test_a_checkpoint_must_fit_what_was_verified_before(
    autojump_clock: trio.testing.MockClock, world: LightWorld, store: TrustedBlocks
) -> None:
    """A person who is handed the hash of a false history is told, not obeyed."""
    other = world.fork(35, 60)
    for number, height in enumerate((36, 40, 50, 55, 60)):
        own = TrustedBlocks(store.directory.parent / str(number))
        own.keep(world.genesis.hash, world.blocks[36], world.blocks[50])
        checkpoint = Checkpoint(height, other.blocks[height].block_id)
        sources = FakeSource(other, P), FakeSource(other, W)
        found = await client(world, *sources, store=own, checkpoint=checkpoint).follow()
        if height in (36, 50):
            not_verified(found, Cause.CONTRADICTS)
        else:
            assert forked(found).fork.primary.url == "verified before"
    store.keep(world.genesis.hash, world.blocks[36], world.blocks[50])
    checkpoint = Checkpoint(37, world.blocks[37].block_id)
    sources = FakeSource(world, P), FakeSource(world, W)
    one = client(world, *sources, store=store, checkpoint=checkpoint)
    for height in (50, 55, None):
        assert verified(await one.follow(height)).block == world.blocks[height or 60]


# -- the store


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"version": 1', '"version": 2'),
        lambda text: text.replace('"genesisHash": "0x', '"genesisHash": "0x00'),
        lambda text: text.replace("0x94c5", "0x94c6"),
        lambda text: text.replace('"fork": null', '"fork": [1]'),
        lambda text: text.replace('"blocks": [', '"blocks": ["zz",'),
        lambda text: "[]",
    ],
)
def test_a_damaged_store_is_reported_and_not_believed(
    world: LightWorld, store: TrustedBlocks, damage: Callable[[str], str]
) -> None:
    store.keep(world.genesis.hash, world.blocks[5], world.blocks[6])
    path = store.file_of(world.genesis.hash)
    before = path.read_text()
    path.write_text(damage(before))
    if path.read_text() == before:
        # Nothing to replace there: bend a byte of the first block instead.
        path.write_text(before.replace("6c69676874", "6c69676875", 1))
    assert path.read_text() != before
    with pytest.raises(StorageFault, match="damaged"):
        store.load(world.genesis.hash)


def test_networks_are_kept_apart(store: TrustedBlocks) -> None:
    first, second = LightWorld(height=3), LightWorld(height=3, fee_min=1)
    store.keep(first.genesis.hash, first.blocks[3])
    assert store.load(second.genesis.hash).blocks == ()
    store.file_of(first.genesis.hash).rename(store.file_of(second.genesis.hash))
    with pytest.raises(StorageFault, match="another network"):
        store.load(second.genesis.hash)


# -- over JSON-RPC


async def test_programs_follow_a_chain_with_one_call(
    autojump_clock: trio.testing.MockClock, world: LightWorld, store: TrustedBlocks
) -> None:
    opened: list[FakeRpc] = []

    def open_client(url: str) -> Any:
        opened.append(FakeRpc(FakeSource(world, url)))
        return opened[-1]

    found = await follow_chain(
        P,
        [W, V],
        lambda: world.now_ms,
        genesis_hash=world.genesis.hash,
        store=store,
        open_client=open_client,
    )
    assert verified(found).agreed == 2
    assert [client.closed for client in opened] == [True] * 3


BENT: list[Callable[[Any], Any]] = [
    lambda answer: None,
    lambda answer: [],
    lambda answer: {},
    lambda answer: {**answer, "header": None},
    lambda answer: {**answer, "header": {"raw": 5}},
    lambda answer: {**answer, "header": {"raw": "0x" + "00" * 5_000}},
    lambda answer: {**answer, "header": {"raw": answer["header"]["raw"].upper()}},
    lambda answer: {**answer, "header": {"raw": "0xzz"}},
    lambda answer: {**answer, "certificate": {"raw": "0x"}},
    lambda answer: {**answer, "authorities": answer["header"]},
]


@pytest.mark.parametrize("number", range(len(BENT)))
async def test_whatever_a_node_answers_it_is_no_block_or_told(
    autojump_clock: trio.testing.MockClock, world: LightWorld, number: int
) -> None:
    bent = NodeSource(FakeRpc(FakeSource(world, P), BENT[number]))  # type: ignore[arg-type]
    honest = FakeSource(world, W)
    one = LightClient(bent, [honest], lambda: world.now_ms, genesis_hash=world.genesis.hash)
    not_verified(await one.follow(), Cause.PRIMARY)
    two = LightClient(honest, [bent], lambda: world.now_ms, genesis_hash=world.genesis.hash)
    found = not_verified(await two.follow(), Cause.UNWITNESSED)
    assert standings(found) == [Standing.FAULTY]


async def test_a_busy_node_is_given_time(
    autojump_clock: trio.testing.MockClock, world: LightWorld
) -> None:
    """A node's budget for one client must not look like a lie or an outage."""

    class Busy(FakeRpc):
        refused = 0

        async def call(self, method: str, params: Any = None, **options: Any) -> Any:
            if self.refused < 3:
                self.refused += 1
                raise RpcError(RATE_LIMITED, "too much", facts={"retryAfterMs": 700})
            return await super().call(method, params, **options)

    busy = NodeSource(Busy(FakeSource(world, P)))  # type: ignore[arg-type]
    before = trio.current_time()
    assert await busy.block(3) == world.blocks[3]
    assert trio.current_time() - before == pytest.approx(2.1)
