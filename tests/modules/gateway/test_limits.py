"""Limits of several gateways on a real Redis; and what happens without it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio

from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.gateway.config import Rate
from clawpurse.modules.gateway.limits import (
    DAY_MS,
    REST_S,
    LimitsGone,
    LocalLimits,
    RedisLimits,
    WhenGone,
)
from tests.need import lacking

RATE = Rate(requests=5, per_s=3600)
START_S_MAX = 20.0


class Server:
    """A Redis of a test's own, that can be ended and started again."""

    def __init__(self, folder: Path) -> None:
        self.program = shutil.which("redis-server") or lacking(
            "Redis is not installed; needed to share limits", "sudo apt install redis-server"
        )
        self.folder = folder
        with closing(socket.socket()) as found:
            found.bind(("127.0.0.1", 0))
            self.port = int(found.getsockname()[1])
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        words = (
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        )
        self.process = subprocess.Popen(
            [str(self.program), *words, "--dir", str(self.folder)], stdout=subprocess.DEVNULL
        )
        until = time.monotonic() + START_S_MAX
        while time.monotonic() < until:
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("Redis did not start")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(START_S_MAX)
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.start()
    yield made
    made.stop()


def limits_of(server: Server, gone: WhenGone = "local") -> RedisLimits:
    return RedisLimits(server.url, gone, LocalLimits(trio.current_time))


@pytest.mark.real
async def test_two_gateways_count_together(server: Server) -> None:
    """Else a second gateway doubles what a customer may do."""
    with closing(limits_of(server)) as one, closing(limits_of(server)) as two:
        waits = [await gate.wait_s("x", "ann", RATE) for gate in (one, two) * 4]
        assert [wait > 0 for wait in waits] == [False] * 5 + [True] * 3
        assert 700 < waits[-1] <= 721
        assert await two.wait_s("x", "bob", RATE) == 0
        assert await two.wait_s("y", "ann", RATE) == 0
        days = [await gate.left_today("x", "ann", 3, 5 * DAY_MS) for gate in (one, two) * 2]
        assert days == [True, True, True, False]
        assert await one.left_today("x", "ann", 3, 6 * DAY_MS)
        assert await one.is_new("n-1", 60)
        assert not await two.is_new("n-1", 60)


@pytest.mark.real
async def test_many_at_once_get_what_there_is_and_no_more(server: Server) -> None:
    """Reading and writing a counter are one step."""
    with closing(limits_of(server)) as one, closing(limits_of(server)) as two:
        let: list[bool] = []

        async def ask(gate: RedisLimits) -> None:
            let.append(await gate.left_today("x", "ann", 20, DAY_MS))

        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(ask, (one, two)[number % 2])
        assert let.count(True) == 20


@pytest.mark.real
async def test_while_it_is_gone_each_counts_by_itself_and_then_together_again(
    server: Server,
) -> None:
    """An outage of a counter is no outage of the shop; nor does each request wait for it."""
    with closing(limits_of(server)) as one, closing(limits_of(server)) as two:
        server.stop()
        began = trio.current_time()
        waits = [await one.wait_s("x", "ann", RATE) for _ in range(50)]
        assert [wait > 0 for wait in waits] == [False] * 5 + [True] * 45
        assert trio.current_time() - began < 5
        assert one.problem
        # Nothing that counts once counts twice here.
        assert await one.is_new("n-2", 60)
        assert not await one.is_new("n-2", 60)
        server.start()
        await trio.sleep(REST_S + 0.1)
        assert await one.wait_s("x", "ann", RATE) == 0
        assert not one.problem
        assert await two.wait_s("x", "ann", RATE) == 0


@pytest.mark.real
async def test_where_it_must_be_there_nothing_goes_without_it(server: Server) -> None:
    """Some would rather sell nothing than too much."""
    with closing(limits_of(server, "refuse")) as one:
        assert await one.wait_s("x", "ann", RATE) == 0
        server.stop()
        for _ in range(3):
            with pytest.raises(LimitsGone):
                await one.wait_s("x", "ann", RATE)
        with pytest.raises(LimitsGone):
            await one.left_today("x", "ann", 3, DAY_MS)
        with pytest.raises(LimitsGone):
            await one.is_new("n-3", 60)


def test_a_url_that_is_none_is_said_to_be() -> None:
    """At the start, and not at the first customer."""
    with pytest.raises(OperatorError, match="redis"):
        RedisLimits("http://localhost", "local", LocalLimits(trio.current_time))
