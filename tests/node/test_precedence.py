"""Under a flood of new transactions, blocks that take twice as long would never become final."""

from __future__ import annotations

import trio

from clawpurse.node.precedence import Precedence


async def test_who_gives_way_waits_for_every_holder(autojump_clock: trio.abc.Clock) -> None:
    """Two blocks may be under judgement at once: the first to end must not let intake back in."""
    precedence = Precedence()
    passed: list[str] = []

    async def gives_way() -> None:
        await precedence.give_way()
        passed.append("intake")

    async with trio.open_nursery() as nursery:
        with precedence:
            with precedence:
                nursery.start_soon(gives_way)
                await trio.sleep(1)
            await trio.sleep(1)
            passed.append("consensus")
        assert not precedence.is_held
    assert passed == ["consensus", "intake"]


async def test_nobody_holds_what_was_cancelled() -> None:
    """A height that ends in the middle of a judgement must not stop intake for ever."""
    precedence = Precedence()
    with trio.CancelScope() as scope, precedence:
        scope.cancel()
        await trio.sleep_forever()
    await precedence.give_way()
    assert not precedence.is_held
