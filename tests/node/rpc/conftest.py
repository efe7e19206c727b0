"""Nodes in memory, on a clock that jumps over waiting."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import trio
import trio.testing

from tests.node.rpc.nodeworld import NodeWorld, Running


@pytest.fixture
def levels() -> Iterator[None]:
    """Levels belong to the process, which runs other tests after."""

    def loggers() -> list[logging.Logger]:
        return [
            log
            for name, log in logging.root.manager.loggerDict.items()
            if isinstance(log, logging.Logger) and name.startswith("clawpurse")
        ]

    before = {log: log.level for log in loggers()}
    yield
    # Those too that nobody had asked for before.
    for log in loggers():
        log.setLevel(before.get(log, logging.NOTSET))


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
