"""Nodes in memory, on a clock that jumps over waiting."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import trio
import trio.testing

from tests.node.rpc.nodeworld import NodeWorld, Running, collect_again


@pytest.fixture(autouse=True)
def garbage() -> Iterator[None]:
    """This process goes on after its nodes."""
    yield
    collect_again()


@pytest.fixture
async def make_world(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> AsyncIterator[Callable[..., NodeWorld]]:
    """Makes worlds; settings are those of `NodeWorld`."""
    yield lambda **settings: NodeWorld(nursery, **settings)
    nursery.cancel_scope.cancel()


@pytest.fixture
async def world(make_world: Callable[..., NodeWorld]) -> NodeWorld:
    """A test network with one authority, not yet running."""
    return make_world()


@pytest.fixture
async def node(world: NodeWorld) -> Running:
    """Its authority, running."""
    return await world.node()
