"""The canary of seeded runs: a printed seed is worth something only if it repeats a failure."""

from __future__ import annotations

import random

import trio

from tests.seeded import run_seeded


def trace(seed: int) -> list[tuple[int, float]]:
    """Many tasks that wait, wake each other and note who came when."""
    chance, noted = random.Random(seed), list[tuple[int, float]]()

    async def main() -> None:
        send, receive = trio.open_memory_channel[int](3)

        async def worker(number: int) -> None:
            for _ in range(10):
                await trio.sleep(chance.choice((0, 0, 0.001)))
                await send.send(number)
                noted.append((number, trio.current_time()))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(worker, number)
            for _ in range(200):
                await receive.receive()

    run_seeded(main, seed)
    return noted


def test_equal_seeds_give_equal_runs_and_others_differ() -> None:
    assert trace(1) == trace(1)
    assert trace(1) != trace(2)
