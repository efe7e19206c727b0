"""What became of a payment can always be asked, by its id or by sender and idempotency key."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from clawpurse.modules.kit.web.errors import RpcError
from clawpurse.node import finality
from tests.node.rpc.nodeworld import HOUR_MS, NodeWorld, Running, hexed, text_of, until

SLOW_BLOCKS_MS = 5_000
NOTHING = "0x" + "00" * 32


@pytest.fixture
async def slow_node(make_world: Callable[..., NodeWorld]) -> tuple[NodeWorld, Running]:
    """A node that makes a block every five seconds, so that something is pending."""
    world = make_world(interval_ms=SLOW_BLOCKS_MS)
    return world, await world.node()


async def test_pending_then_final(
    autojump_clock: MockClock, slow_node: tuple[NodeWorld, Running]
) -> None:
    """A wallet shows what is true now, and the same call later the end."""
    world, node = slow_node
    paid = world.pay(world.alice)
    tx_id = hexed(paid.tx_id)
    await node.call("tx_submit", tx=hexed(paid.raw))
    assert await node.call("tx_wait", txId=tx_id, timeoutMs=0) == {
        "txId": tx_id,
        "status": "pending",
    }
    began = trio.current_time()
    assert (await node.call("tx_wait", txId=tx_id, timeoutMs=1000))["status"] == "pending"
    assert trio.current_time() - began == pytest.approx(1, abs=0.1)
    final = await node.call("tx_wait", txId=tx_id)
    assert (final["status"], final["height"], final["index"]) == ("final", 1, 0)
    assert final["receipt"]["txId"] == tx_id
    # Asked again it answers at once.
    assert await node.call("tx_wait", txId=tx_id, timeoutMs=0) == final


async def test_unknown_is_an_answer_and_may_become_final(
    autojump_clock: MockClock,
    slow_node: tuple[NodeWorld, Running],
) -> None:
    """ "Not seen here; may still arrive": who waits is told when it does."""
    world, node = slow_node
    paid = world.pay(world.alice)
    tx_id = hexed(paid.tx_id)
    assert (await node.call("tx_wait", txId=tx_id, timeoutMs=10))["status"] == "unknown"
    answers = []

    async def wait() -> None:
        answers.append(await node.call("tx_wait", txId=tx_id))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(1)
        await node.call("tx_submit", tx=hexed(paid.raw))
    assert answers[0]["status"] == "final"


async def test_by_key_from_before_it_is_submitted_to_after_it_is_final(
    autojump_clock: MockClock,
    slow_node: tuple[NodeWorld, Running],
) -> None:
    """A shop that lost its notes finds an order's payment by the order's own key."""
    world, node = slow_node
    paid = world.pay(world.alice, key=b"order-7")
    asked = {"sender": text_of(world.alice), "idempotencyKey": hexed(b"order-7")}
    assert await node.call("tx_wait", **asked, timeoutMs=5) == {"txId": None, "status": "unknown"}
    answers = []

    async def wait() -> None:
        answers.append(await node.call("tx_wait", **asked))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(1)
        await node.call("tx_submit", tx=hexed(paid.raw))
        pending = await node.call("tx_wait", **asked, timeoutMs=0)
        assert pending == {"txId": hexed(paid.tx_id), "status": "pending"}
    assert (answers[0]["txId"], answers[0]["status"]) == (hexed(paid.tx_id), "final")
    assert (await node.call("tx_wait", **asked, timeoutMs=0))["status"] == "final"


async def test_expired_is_told_when_a_block_makes_it_certain(
    autojump_clock: MockClock,
    slow_node: tuple[NodeWorld, Running],
) -> None:
    """Until then another node may still bring it into a block."""
    world, node = slow_node
    gap = world.pay(world.alice, sequence=3, valid_until_ms=world.clock.now_ms() + 4_000)
    tx_id = hexed(gap.tx_id)
    await node.call("tx_submit", tx=hexed(gap.raw))
    await trio.sleep(4.5)
    assert (await node.call("tx_wait", txId=tx_id, timeoutMs=0))["status"] == "pending"
    await node.call("tx_submit", tx=hexed(world.pay(world.bob).raw))
    expired = await node.call("tx_wait", txId=tx_id)
    assert expired == {"txId": tx_id, "status": "expired", "height": node.height}
    error = await node.refusal("tx_getReceipt", txId=tx_id)
    assert (error.code, error.facts["status"]) == (-32001, "expired")


async def test_replaced_names_the_one_that_took_its_place(
    autojump_clock: MockClock,
    slow_node: tuple[NodeWorld, Running],
) -> None:
    """Whoever waits for the first learns that the second was paid, from finality only."""
    world, node = slow_node
    first = world.pay(world.alice)
    second = world.pay(world.alice, sequence=0, amount=2, attempt=1)
    await node.call("tx_submit", tx=hexed(first.raw))
    await node.call("tx_submit", tx=hexed(second.raw))
    waiting = await node.call("tx_wait", txId=hexed(first.tx_id), timeoutMs=0)
    assert waiting["status"] == "pending"
    ended = await node.call("tx_wait", txId=hexed(first.tx_id))
    assert ended["status"] == "replaced"
    assert ended["replacedBy"] == hexed(second.tx_id)
    assert ended["height"] == (await node.call("tx_wait", txId=hexed(second.tx_id)))["height"]
    answer = await node.call("tx_submit", tx=hexed(second.raw), wait="final")
    assert (answer["status"], answer["duplicate"]) == ("final", True)


async def test_submitting_with_wait_final_tells_of_replacement_too(
    autojump_clock: MockClock,
    slow_node: tuple[NodeWorld, Running],
) -> None:
    """The caller who holds the line gets the end whatever it is."""
    world, node = slow_node
    first = world.pay(world.alice)
    second = world.pay(world.alice, sequence=0, attempt=1)
    answers = []

    async def submit() -> None:
        answers.append(await node.call("tx_submit", tx=hexed(first.raw), wait="final"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(submit)
        await until(lambda: node.node.pool.get(first.tx_id))
        await node.call("tx_submit", tx=hexed(second.raw))
    assert answers[0]["status"] == "replaced"


async def test_waiting_for_finality_gives_up_as_pending(
    autojump_clock: MockClock,
    make_world: Callable[..., NodeWorld],
) -> None:
    """After 30 s the answer is "pending", never an error: the payment may still be final."""
    world = make_world(interval_ms=60_000)
    node = await world.node()
    paid = world.pay(world.alice)
    began = trio.current_time()
    answer = await node.client().call(
        "tx_submit", {"tx": hexed(paid.raw), "wait": "final"}, timeout_ms=40_000
    )
    assert answer["status"] == "pending"
    assert trio.current_time() - began == pytest.approx(30, abs=1)


async def test_too_many_waiters_get_pending_and_the_node_goes_on(
    autojump_clock: MockClock, slow_node: tuple[NodeWorld, Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crowd beyond the bound is answered early; nobody's loop spins meanwhile."""
    world, node = slow_node
    monkeypatch.setattr(finality, "WAITERS_MAX", 0)
    paid = world.pay(world.alice)
    await node.call("tx_submit", tx=hexed(paid.raw))
    answer = await node.call("tx_wait", txId=hexed(paid.tx_id))
    assert answer["status"] == "pending"


async def test_receipt_of_what_has_none_yet_says_where_it_stands(
    autojump_clock: MockClock,
    slow_node: tuple[NodeWorld, Running],
) -> None:
    """-32001 alone would read like "lost"; `data.status` says what `tx_wait` would."""
    world, node = slow_node
    paid = world.pay(world.alice)
    await node.call("tx_submit", tx=hexed(paid.raw))
    for tx_id, status in ((hexed(paid.tx_id), "pending"), (NOTHING, "unknown")):
        for method in ("tx_getReceipt", "tx_get"):
            if (method, status) == ("tx_get", "pending"):
                continue
            error = await node.refusal(method, txId=tx_id)
            assert (error.code, error.facts["status"]) == (-32001, status)
            assert tx_id in error.hint
    shown = await node.call("tx_get", txId=hexed(paid.tx_id))
    assert (shown["status"], shown["raw"]) == ("pending", hexed(paid.raw))


async def test_what_is_asked_must_be_named_one_way(
    autojump_clock: MockClock, node: Running, world: NodeWorld
) -> None:
    """A call that names both, or half, is refused rather than guessed at."""
    account = text_of(world.alice)
    for params in (
        {},
        {"sender": account},
        {"idempotencyKey": "0x01"},
        {"txId": NOTHING, "sender": account, "idempotencyKey": "0x01"},
        {"sender": account, "idempotencyKey": "0x"},
        {"sender": account, "idempotencyKey": "0x" + "01" * 65},
        {"txId": NOTHING, "timeoutMs": -1},
        {"txId": NOTHING, "timeoutMs": 60_001},
        {"txId": "0x01"},
    ):
        assert (await node.refusal("tx_wait", **params)).code == -32602


async def test_accepted_payments_survive_a_restart(
    autojump_clock: MockClock,
    slow_node: tuple[NodeWorld, Running],
) -> None:
    """After a crash the node still pays what it accepted, and finds it by id and by key."""
    world, node = slow_node
    paid = world.pay(world.alice, key=b"k")
    await node.call("tx_submit", tx=hexed(paid.raw))
    disk = await world.stop(node)
    again = await world.node(disk=disk)
    found = await again.call("tx_wait", txId=hexed(paid.tx_id), timeoutMs=0)
    assert found["status"] == "pending"
    ended = await again.call("tx_wait", sender=text_of(world.alice), idempotencyKey=hexed(b"k"))
    assert (ended["status"], ended["txId"]) == ("final", hexed(paid.tx_id))


async def test_waiting_does_not_hold_up_other_calls(
    autojump_clock: MockClock,
    slow_node: tuple[NodeWorld, Running],
) -> None:
    """A batch that waits for a payment still answers everything, in the order of its calls."""
    world, node = slow_node
    paid = world.pay(world.alice, valid_until_ms=world.clock.now_ms() + HOUR_MS)
    await node.call("tx_submit", tx=hexed(paid.raw))
    answers = await node.client().batch(
        [
            ("tx_wait", {"txId": hexed(paid.tx_id)}),
            ("chain_getStatus", None),
            ("tx_getReceipt", {"txId": NOTHING}),
        ]
    )
    assert answers[0]["status"] == "final"
    assert answers[1]["height"] == 0
    assert isinstance(answers[2], RpcError)
