"""The HTTP ports of a node: both or none, and a taken one is named."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from clawpurse.ledger.errors import OperatorError
from tests.node.rpc.nodeworld import node_world


class Listener(trio.abc.Listener[trio.abc.Stream]):
    """A listener to which nobody comes."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.closed = False

    async def accept(self) -> trio.abc.Stream:
        await trio.sleep_forever()
        raise AssertionError("for ever ended")

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


def opener(taken: tuple[int, ...], opened: list[Listener], code: int) -> Callable[..., Any]:
    async def listen(_host: str, port: int) -> Sequence[Listener]:
        await trio.lowlevel.checkpoint()
        if port in taken:
            raise OSError(code, "no")
        opened.append(Listener(port))
        return opened[-1:]

    return listen


@pytest.mark.parametrize("taken", [9641, 9642])
async def test_a_taken_port_is_named_with_a_remedy(autojump_clock: MockClock, taken: int) -> None:
    """The operator learns which of the two it is, and nothing half-open stays behind."""
    opened: list[Listener] = []
    with pytest.RaisesGroup(
        pytest.RaisesExc(OperatorError, match=f"Port {taken} is taken"), flatten_subgroups=True
    ):
        async with node_world() as world:
            await world.node(listen=opener((taken,), opened, errno.EADDRINUSE))
    assert all(listener.closed for listener in opened)
    assert [listener.port for listener in opened] == ([] if taken == 9641 else [9641])


async def test_another_failure_says_what_the_system_said(autojump_clock: MockClock) -> None:
    """Not every port that cannot be opened is taken."""
    with pytest.RaisesGroup(
        pytest.RaisesExc(OperatorError, match="Port 9641 cannot be opened: no"),
        flatten_subgroups=True,
    ):
        async with node_world() as world:
            await world.node(listen=opener((9641,), [], errno.EACCES))


async def test_a_clean_stop_closes_both(autojump_clock: MockClock) -> None:
    """After a stop the ports are free for the next start."""
    opened: list[Listener] = []
    async with node_world() as world:
        node = await world.node(listen=opener((), opened, 0))
        assert [listener.port for listener in opened] == [9641, 9642]
        await world.stop(node)
    assert all(listener.closed for listener in opened)
