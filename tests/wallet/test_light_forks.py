"""Two certified histories: a client follows neither, shows where they part and whom to blame."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import trio.testing

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.evidence import DoubleSign
from clawpurse.ledger.agreement.light import LightBlock
from clawpurse.wallet.light import Cause, Checkpoint
from clawpurse.wallet.light_store import TrustedBlocks
from tests.ledger.lightworld import LightWorld, certify, keys_of
from tests.wallet.lightnodes import (
    FakeSource,
    P,
    V,
    W,
    client,
    forked,
    lie_about,
    not_verified,
    verified,
)


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


async def test_a_fork_is_shown_though_one_side_vanishes(
    autojump_clock: trio.testing.MockClock, world: LightWorld
) -> None:
    """Two blocks that one set decided convict, whatever else their servers can or will show."""
    other = world.fork(50, 60)
    for answers in range(1, 12):
        shy = FakeSource(other, W, gone_after=answers)
        found = forked(await client(world, FakeSource(world, P), shy).follow())
        assert found.fork.signed_both
        assert found.fork.height == (50 if found.fork.is_exact else 60)


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
