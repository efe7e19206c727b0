"""Single rules of the event streams broken on purpose: what holds a stream notices each.

Whoever follows events rests on four things: a cursor is strict, every match comes, nothing else
comes, and no event is told twice. `follow` reads streams in pages of every size and holds them
against the ledger's own blocks; a mutant that passes it would be one that a subscriber meets.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from trio.testing import MockClock

from clawpurse.ledger.address import account_text
from clawpurse.ledger.blocks import Event
from clawpurse.node.rpc import event_filters, event_log
from clawpurse.node.rpc.event_cache import EventCache
from clawpurse.node.rpc.event_filters import EventJudge, Wanted
from tests.node.rpc.nodeworld import NodeWorld, Running, text_of

Json = dict[str, Any]
Mutant = Callable[[], Any]
BEGINNING = "0.4294967295"
# A sender's places among the accounts of a transfer, by direction.
SIDES = {"out": 0, "in": 1}


def wanted_of(node: Running, matching: Json) -> list[str]:
    """The cursors that a filter must give, from the blocks themselves."""
    found = []
    for height in range(1, node.height + 1):
        for index, packed in enumerate(node.node.chain.view(height).events):
            event = Event.unpack(packed)
            accounts = [account_text(one) for one in event.accounts]
            fits = event.kind.startswith(matching.get("kind", ""))
            if "account" in matching:
                fits = fits and matching["account"] in accounts
            if "asset" in matching:
                fits = fits and event.data[:1] == (matching["asset"],)
            if "direction" in matching:
                side = SIDES[matching["direction"]]
                moved = event.kind == "assets.transferred" and len(accounts) > side
                fits = fits and moved and accounts[side] == matching["account"]
            if fits:
                found.append(f"{height}.{index}")
    return found


async def follow(world: NodeWorld, node: Running) -> None:
    """Read the stream by each filter in pages of each size; raise when it is not as it must be."""
    alice, bob = text_of(world.alice), text_of(world.bob)
    filters: list[Json] = [
        {},
        {"kind": "assets.transferred"},
        {"account": bob},
        {"account": alice, "direction": "out"},
        {"account": alice, "direction": "in"},
        {"asset": "EUR"},
        {"account": bob, "asset": "CLAW"},
    ]
    for matching in filters:
        wanted = wanted_of(node, matching)
        assert len(wanted) > 1, "there is nothing to tell apart"
        for limit in (1, 2, 3, 500):
            cursor, seen = BEGINNING, []
            for _ in range(200):
                answer = await node.call(
                    "events_get", fromCursor=cursor, limit=limit, waitMs=0, filter=matching
                )
                seen += [one["cursor"] for one in answer["events"]]
                if answer["nextCursor"] == cursor or not answer["events"]:
                    break
                cursor = answer["nextCursor"]
            assert seen == wanted, matching


@pytest.fixture
async def busy(make_world: Callable[..., NodeWorld]) -> tuple[NodeWorld, Running]:
    """A node with payments both ways, in two assets, several to a block."""
    world = make_world()
    node = await world.node()
    alice, bob = world.alice, world.bob
    for number in range(3):
        asset = ("CLAW", "EUR")[number % 2]
        await world.final(
            node,
            world.pay(alice, sequence=2 * number, target=bob.account, asset=asset),
            world.pay(alice, sequence=2 * number + 1, target=bob.account, asset="CLAW"),
            world.pay(bob, sequence=number, target=alice.account, asset=asset),
        )
    await world.final(node, world.pay(alice, sequence=6, target=bob.account, asset="EUR"))
    return world, node


def not_strict() -> Any:
    """A cursor gives its own event again."""
    return mock.patch.object(event_log, "_following", lambda place: place)


def skips_a_block() -> Any:
    """After an event within a block the next block follows, whatever else the block holds."""
    return mock.patch.object(event_log, "_following", lambda place: (place[0] + 1, 0))


def one_too_far() -> Any:
    """In the block where a page begins, the first event after the cursor is left out."""
    return mock.patch.object(event_log, "bisect_left", lambda a, x: bisect_left(a, x) + 1)


def prefix_anywhere() -> Any:
    """Marks are believed: whatever has the bytes of the wanted account or asset matches."""

    def read(self: EventJudge, packed: bytes) -> Event | None:
        there = all(mark in packed for mark in self._marks)
        return Event.unpack(packed) if there else None

    return mock.patch.object(EventJudge, "read", read)


def sides_exchanged() -> Any:
    """What an account gave is told as what it got."""
    true = event_filters._moves

    def moves(event: Event, account: bytes | None, direction: str) -> bool:
        return true(event, account, "in" if direction == "out" else "out")

    return mock.patch.object(event_filters, "_moves", moves)


def asset_ignored() -> Any:
    """A filter by asset and account forgets the asset."""
    true = EventJudge.__init__

    def init(self: EventJudge, wanted: Wanted, registry: Any) -> None:
        true(self, wanted if wanted.account is None else wanted._replace(asset=None), registry)

    return mock.patch.object(EventJudge, "__init__", init)


def shared_among_filters() -> Any:
    """What one filter picked from a block is given to every other."""
    true = EventCache.select

    async def select(self: EventCache, family: str, height: int, matching: Any, read: Any) -> Any:
        kept = self.__dict__.setdefault("first", {})
        if (family, height) not in kept:
            kept[family, height] = await true(self, family, height, matching, read)
        return kept[family, height]

    return mock.patch.object(EventCache, "select", select)


MUTANTS: tuple[Mutant, ...] = (
    not_strict,
    skips_a_block,
    one_too_far,
    prefix_anywhere,
    sides_exchanged,
    asset_ignored,
    shared_among_filters,
)


async def test_a_stream_is_what_the_blocks_hold(
    autojump_clock: MockClock, busy: tuple[NodeWorld, Running]
) -> None:
    """Each match once, in order, whatever the filter and the size of a page."""
    await follow(*busy)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.__name__)
async def test_a_broken_rule_of_the_stream_is_noticed(
    autojump_clock: MockClock, busy: tuple[NodeWorld, Running], mutant: Mutant
) -> None:
    """One rule is broken; the check above must not pass."""
    with mutant(), pytest.raises(AssertionError):
        await follow(*busy)
