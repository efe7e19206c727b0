"""Light clients at a node: every height is served whole, and it is what the chain decided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trio.testing import MockClock

from clawpurse.ledger.address import authority_text
from clawpurse.ledger.agreement.light import (
    SUCCESS,
    LightBlock,
    Trusted,
    check_alone,
    verify,
)
from tests.node.rpc.nodeworld import NodeWorld, Running, hexed, octets, prune


def block_of(answer: Any) -> LightBlock:
    """The light block that a node answers with."""
    names = ("header", "certificate", "authorities", "nextAuthorities")
    return LightBlock.of_parts(*(octets(answer[name]["raw"]) for name in names))


async def test_every_height_is_served_with_all_that_judging_it_needs(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    for _ in range(3):
        await world.final(node, world.pay(world.alice))
    trusted = Trusted.at_genesis(world.genesis)
    for height in (1, 2, 3):
        answer = await node.call("chain_getLightBlock", height=height)
        block = block_of(answer)
        assert block.height == height
        assert check_alone(block) is None
        assert verify(trusted, block, world.clock.now_ms()) is SUCCESS
        trusted = Trusted.of(block)
        assert answer["header"]["hash"] == hexed(block.block_id)
        assert answer["authorities"] == {
            "hash": answer["header"]["authoritiesHash"],
            "authorities": [authority_text(key) for key in world.genesis.authorities],
            "raw": hexed(block.authorities.pack()),
        }
        assert answer["nextAuthorities"]["hash"] == answer["header"]["nextAuthoritiesHash"]
    assert await node.call("chain_getLightBlock") == answer
    assert await node.call("chain_getLightBlock", 3) == answer


async def test_heights_that_are_not_there_are_said_to_be_missing(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Genesis has no certificate; before the first block there is no newest one."""
    assert (await node.refusal("chain_getLightBlock")).code == -32001
    await world.final(node, world.pay(world.alice))
    for height in (0, 2, 2**64 - 1):
        assert (await node.refusal("chain_getLightBlock", height=height)).code == -32001
    for wrong in (-1, 2**64, "1", 1.5):
        assert (await node.refusal("chain_getLightBlock", height=wrong)).code == -32602


async def test_pruned_blocks_can_still_be_judged(
    autojump_clock: MockClock, make_world: Callable[..., NodeWorld]
) -> None:
    """A client that was away for a week starts at a block whose body nobody keeps any more."""
    world = make_world()
    node = await world.node()
    for _ in range(4):
        await world.final(node, world.pay(world.alice))
    before = await node.call("chain_getLightBlock", height=1)
    prune(node, 4)
    assert (await node.refusal("chain_getBlock", height=1)).code == -32002
    assert await node.call("chain_getLightBlock", height=1) == before
