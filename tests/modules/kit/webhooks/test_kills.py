"""kill -9 while posts are under way: each event still arrives, under one id, and the table knows.

If this failed, a crash would lose payments that a shop waits for, or have them shipped twice.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import trio

from clawpurse.modules.kit.webhooks.signing import Scheme, verify
from tests.modules.kit.webhooks.hookworld import OK, Receiver, Request, World, message

ROOT = Path(__file__).resolve().parents[4]
PATIENCE_S = 60


async def quick(_receiver: Receiver, _request: Request, stream: trio.SocketStream) -> None:
    await trio.sleep(0.002)
    await stream.send_all(OK)


def start(folder: Path, events: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.modules.kit.webhooks.courier_process"]
    return subprocess.Popen([*command, str(folder), str(events)], cwd=ROOT)


async def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    with trio.fail_after(10):
        while process.poll() is None:
            await trio.sleep(0.005)
    assert process.returncode == -signal.SIGKILL, "it ended by itself"


def counted(folder: Path) -> Counter[tuple[str, str]]:
    """How many deliveries of each endpoint are in each state, as another process sees it."""
    connection = sqlite3.connect(f"file:{folder / 'webhooks.db'}?mode=ro", uri=True)
    try:
        rows = connection.execute(
            "SELECT endpoint, state, count(*) FROM deliveries GROUP BY endpoint, state"
        ).fetchall()
    finally:
        connection.close()
    return Counter({(endpoint, state): count for endpoint, state, count in rows})


async def kill_scenario(folder: Path, *, kills: int, events: int, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    async with trio.open_nursery() as nursery:
        world = World(folder, nursery, count=0, timeout_ms=2_000)
        world.open()
        receivers: dict[str, Receiver] = {}
        for ident, concurrency, scheme in (
            ("wh_one", 1, Scheme.HMAC),
            ("wh_few", 4, Scheme.ED25519),
        ):
            receivers[ident] = await world.receiver(quick)
            url = f"http://127.0.0.1:{receivers[ident].port}/"
            await world.hook(url, ident=ident, concurrency=concurrency, scheme=scheme)
        world.database.close()
        process = start(folder, events)
        try:
            for _ in range(kills):
                before = [len(one.requests) for one in receivers.values()]
                wanted = chance.randrange(1, max(2, events // (kills + 1)))
                with trio.fail_after(PATIENCE_S):
                    while len(receivers["wh_one"].requests) < before[0] + wanted:
                        if len(set(receivers["wh_one"].idents)) == events:
                            break
                        await trio.sleep(0.001)
                await trio.sleep(chance.random() * 0.01)
                await kill(process)
                process = start(folder, events)
            done = {("wh_one", "delivered"): events, ("wh_few", "delivered"): events}
            deadline = time.monotonic() + PATIENCE_S
            while counted(folder) != done:
                assert time.monotonic() < deadline, counted(folder)
                await trio.sleep(0.02)
        finally:
            await kill(process)
        check(world, receivers, events, kills)
        nursery.cancel_scope.cancel()


def check(world: World, receivers: dict[str, Receiver], events: int, kills: int) -> None:
    expected = [message(number) for number in range(1, events + 1)]
    bodies = {one.ident: one.body for one in expected}
    for ident, receiver in receivers.items():
        seen = Counter(receiver.idents)
        assert set(seen) == set(bodies), "an event was lost, or one came that never was"
        for request in receiver.requests:
            assert request.body == bodies[request.ident]
            stamp_ms = int(request.headers["webhook-timestamp"]) * 1000
            verify([world.keys[ident]], request.headers, request.body, stamp_ms)
        again = sum(seen.values()) - events
        assert again <= kills * (1 if ident == "wh_one" else 4), "more came twice than a kill costs"
    # In order: whatever came again, the first of each came in the log's order.
    assert list(dict.fromkeys(receivers["wh_one"].idents)) == [one.ident for one in expected]


@pytest.mark.real
async def test_three_kills_lose_nothing(tmp_path: Path) -> None:
    """Every event at least once, each under its one id, in order where order was asked for."""
    await kill_scenario(tmp_path, kills=3, events=120, seed=int.from_bytes(os.urandom(3), "big"))


@pytest.mark.real
@pytest.mark.full
async def test_twenty_kills_lose_nothing(tmp_path: Path) -> None:
    """The same at twenty moments."""
    await kill_scenario(tmp_path, kills=20, events=1_000, seed=20)
