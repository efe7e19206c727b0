"""An account's history: every transaction that touched it, once, in order, page by page."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.node.rpc.nodeworld import NodeWorld, Running, hexed, prune, run_world, text_of


async def pages(node: Running, account: str, limit: int, **params: Any) -> list[Any]:
    """All transactions of an account, read in pages."""
    found: list[Any] = []
    cursor = None
    while True:
        more: dict[str, str] = {} if cursor is None else {"cursor": cursor}
        page = await node.call(
            "account_getTransactions", account=account, limit=limit, **params, **more
        )
        assert page["account"] == account
        found += page["transactions"]
        cursor = page["nextCursor"]
        if cursor is None:
            return found
        assert len(page["transactions"]) == limit


@settings(max_examples=10)
@given(
    blocks=st.lists(
        st.lists(st.sampled_from(["alice", "bob"]), min_size=1, max_size=5), min_size=1, max_size=5
    ),
    limit=st.integers(1, 7),
    newest_first=st.booleans(),
    data=st.data(),
)
def test_paging_never_skips_or_repeats(
    blocks: list[list[str]], limit: int, newest_first: bool, data: st.DataObject
) -> None:
    """A statement with a payment missing, or twice, is worse than none."""
    growing = data.draw(st.booleans(), label="blocks are made while pages are read")

    async def scenario(world: NodeWorld) -> None:
        node = await world.node()
        expected: dict[str, list[tuple[int, int, str]]] = {"alice": [], "bob": [], "carol": []}
        for senders in blocks:
            paid = [world.pay(getattr(world, name)) for name in senders]
            for name, outcome, one in zip(
                senders, await world.final(node, *paid), paid, strict=True
            ):
                place = (outcome["height"], outcome["index"], hexed(one.tx_id))
                expected[name].append(place)
                expected["carol"].append(place)
        for name, places in expected.items():
            wanted = [tx_id for _, _, tx_id in sorted(places, reverse=newest_first)]
            account = text_of(getattr(world, name))
            found = await pages(node, account, limit, newestFirst=newest_first)
            assert [one["txId"] for one in found] == wanted
            if growing:
                # A page's cursor stays good while the chain goes on.
                first = await node.call(
                    "account_getTransactions", account=account, limit=1, newestFirst=True
                )
                await world.final(node, world.pay(world.alice))
                if first["nextCursor"] is not None:
                    rest = await node.call(
                        "account_getTransactions",
                        account=account,
                        limit=500,
                        cursor=first["nextCursor"],
                    )
                    newest = sorted(places, reverse=True)
                    shown = [one["txId"] for one in rest["transactions"]]
                    assert shown == [tx_id for _, _, tx_id in newest[1:]]
                return

    run_world(scenario)


async def test_entries_are_whole_transactions(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """An entry is what `tx_get` answers: no second call for each line of a statement."""
    paid = world.pay(world.alice, memo=b"rent")
    await world.final(node, paid)
    history = await node.call("account_getTransactions", account=text_of(world.carol))
    (entry,) = history["transactions"]
    assert entry == await node.call("tx_get", txId=hexed(paid.tx_id))
    assert (entry["status"], entry["memoText"]) == ("final", "rent")
    assert entry["receipt"] == await node.call("tx_getReceipt", txId=hexed(paid.tx_id))


async def test_a_range_of_heights(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A statement of a month is a range, whichever way it is read."""
    for _ in range(9):
        await world.final(node, world.pay(world.alice))
    account = text_of(world.alice)
    for newest_first in (True, False):
        for first, last, limit in ((3, 7, 2), (1, 9, 4), (5, 5, 1), (9, 20, 50), (7, 3, 5)):
            found = await pages(
                node,
                account,
                limit,
                newestFirst=newest_first,
                fromHeight=first,
                toHeight=last,
            )
            wanted = [height for height in range(1, 10) if first <= height <= last]
            heights = [one["height"] for one in found]
            assert heights == (wanted[::-1] if newest_first else wanted)


async def test_odd_cursors(autojump_clock: MockClock, world: NodeWorld, node: Running) -> None:
    """A cursor that this API never gave is refused; one past the end gives an empty page."""
    await world.final(node, world.pay(world.alice))
    account = text_of(world.alice)
    for wrong in ("", "1", "1.", "x.1", "-1.0", "1.0.0", f"{2**64}.0", f"1.{2**32}", "١.٠"):
        error = await node.refusal("account_getTransactions", account=account, cursor=wrong)
        assert error.code == -32602
    page = await node.call(
        "account_getTransactions", account=account, cursor="99.0", newestFirst=False
    )
    assert page["transactions"] == []


async def test_history_below_what_is_kept_is_pruned(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """The node says that it has no more, not that there was nothing."""
    for _ in range(3):
        await world.final(node, world.pay(world.alice))
    prune(node, below=3)
    account = text_of(world.alice)
    newest = await node.call("account_getTransactions", account=account, limit=1)
    assert [one["height"] for one in newest["transactions"]] == [3]
    error = await node.refusal(
        "account_getTransactions", account=account, cursor=newest["nextCursor"]
    )
    assert (error.code, error.facts["floor"]) == (-32002, 3)


async def test_a_block_that_is_on_disk_and_not_yet_final_is_in_no_page(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Who asks in that moment would be told that a payment of theirs is not known."""
    await world.final(node, world.pay(world.alice))
    lane: Any = node.node.chain._lane
    asked: list[Any] = []
    write = lane.run

    async def run(work: Any) -> Any:
        done = await write(work)
        for newest_first in (True, False):
            params = {"account": text_of(world.carol), "newestFirst": newest_first}
            asked.append(await node.call("account_getTransactions", **params))
        return done

    lane.run = run
    await world.final(node, world.pay(world.alice))
    assert asked
    assert all(len(page["transactions"]) == 1 for page in asked[:2])
