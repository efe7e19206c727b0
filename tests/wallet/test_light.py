"""Following a chain by one node and watching it by others: nobody is believed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing

from clawpurse.ledger.agreement.light import LightBlock, Rules
from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.wallet.light import Cause, Checkpoint
from clawpurse.wallet.light_compare import Standing
from clawpurse.wallet.light_store import TrustedBlocks
from tests.ledger.lightworld import DAY_MS, START_MS, LightWorld, keys_of
from tests.wallet.lightnodes import (
    FakeSource,
    P,
    V,
    W,
    client,
    forked,
    lie_about,
    not_verified,
    standings,
    verified,
)

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
    honest = FakeSource(world, P), FakeSource(world, W)
    below = client(world, *honest, checkpoint=checkpoint)
    not_verified(await below.follow(39), Cause.BELOW)
    assert verified(await below.follow(40)).steps == 0
    pinned = client(world, *honest, checkpoint=checkpoint, genesis_hash=b"\1" * 32)
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
    for wanted in (50, 55, None):
        assert verified(await one.follow(wanted)).block == world.blocks[wanted or 60]
