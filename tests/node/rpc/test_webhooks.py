"""Webhooks of a whole node: made by a call, posted to a real socket, proven from what they say.

The node runs on memory and the real clock; its receiver listens on loopback.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio
from standardwebhooks.webhooks import Webhook

from clawpurse.modules.kit.web.errors import RpcError
from clawpurse.modules.kit.webhooks.signing import verify
from clawpurse.wallet.receipts import verify_payment
from tests.modules.kit.webhooks.hookworld import OK, Receiver, Request, always, saying, status
from tests.node.rpc.nodeworld import REGISTRY, TOKEN, NodeWorld, Running, hexed, node_world, text_of

pytestmark = pytest.mark.real
SECONDS = 20


class Desk:
    """A node with webhooks, a receiver, and the operator's token."""

    def __init__(self, world: NodeWorld, node: Running, receiver: Receiver) -> None:
        self.world = world
        self.node = node
        self.receiver = receiver

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.receiver.port}/hook"

    async def call(self, method: str, **params: Any) -> Any:
        return await self.node.client(TOKEN).call(method, params)

    async def refused(self, method: str, **params: Any) -> RpcError:
        with pytest.raises(RpcError) as caught:
            await self.call(method, **params)
        return caught.value

    async def create(self, **params: Any) -> Any:
        return await self.call("webhook_create", url=self.url, **params)

    async def until(self, count: int) -> list[Any]:
        """Wait for so many posts; returns their events."""
        with trio.fail_after(SECONDS):
            while len(self.receiver.requests) < count:
                await trio.sleep(0.005)
        return [json.loads(one.body) for one in self.receiver.requests]

    async def until_delivery(self, ident: str, state: str, count: int) -> list[Any]:
        with trio.fail_after(SECONDS):
            while True:
                page = await self.call("webhook_listDeliveries", id=ident, state=state)
                if len(page["deliveries"]) >= count:
                    return list(page["deliveries"])
                await trio.sleep(0.005)


def signed_by(key: str, request: Request) -> bool:
    """Whether the reference library would sign so; its own check goes by the machine's clock."""
    when = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
    made = Webhook(key).sign(request.ident, when, request.body.decode())
    return made in request.headers["webhook-signature"].split(" ")


@asynccontextmanager
async def open_desk(folder: Path, receiver: Receiver | None = None) -> AsyncIterator[Desk]:
    async with node_world() as world:
        world.webhook_folder = folder
        node = await world.node(webhook_allow=("127.0.0.1/32",))
        receiver = receiver or Receiver(always(OK))
        await receiver.start(world.nursery.start_soon)
        yield Desk(world, node, receiver)
        receiver.stop()


async def test_a_payment_reaches_the_receiver_and_can_be_proven(tmp_path: Path) -> None:
    """What arrives is signed, says where the event stands, and leads to its proof."""
    async with open_desk(tmp_path) as desk:
        made = await desk.create()
        transaction = desk.world.pay(desk.world.alice, amount=7)
        await desk.world.final(desk.node, transaction)
        [event] = await desk.until(1)
        request = desk.receiver.requests[0]
        assert signed_by(made["key"], request)
        tx_id = hexed(transaction.tx_id)
        genesis = desk.world.genesis
        height = event["data"]["height"]
        assert event["specversion"] == "1.0"
        assert event["id"] == request.ident
        assert event["type"] == "org.clawpurse.transaction.succeeded"
        assert event["source"] == (
            f"/chains/{genesis.chain_id}/{genesis.hash.hex()[:16]}/blocks/{height}/transactions/0"
        )
        assert event["subject"] == tx_id
        assert event["time"].endswith("Z")
        assert event["datacontenttype"] == "application/json"
        # Thin: whom it concerns, and how much it was, is asked for by who may know.
        text = request.body.decode()
        assert text_of(desk.world.alice) not in text
        assert text_of(desk.world.carol) not in text
        assert "amount" not in text
        fetch = event["data"]["fetch"]
        receipt = await desk.node.call(fetch["method"], **fetch["params"])
        verdict = verify_payment(receipt["proof"], genesis.hash, REGISTRY)
        assert verdict.valid, verdict


async def test_types_filters_and_topics_choose(tmp_path: Path) -> None:
    """A receiver is not woken for what it did not ask for."""
    async with open_desk(tmp_path) as desk:
        world = desk.world
        await desk.create(topic="account", filter={"account": text_of(world.bob)})
        await desk.create(topic="transactions", types=["transaction.failed"])
        await desk.create(topic="blocks", types=["block.*"])
        of_bob = world.pay(world.bob)
        await world.final(desk.node, world.pay(world.alice), of_bob)
        await world.final(desk.node, world.pay(world.alice, amount=10**15))
        with trio.fail_after(SECONDS):
            while True:
                events = await desk.until(3)
                kinds = [one["type"].removeprefix("org.clawpurse.") for one in events]
                if {"block.final", "transaction.failed"} <= set(kinds) and len(events) >= 4:
                    break
                await trio.sleep(0.005)
        accounts = [one for one in events if one["data"]["topic"] == "account"]
        assert accounts
        assert {one["subject"] for one in accounts} == {hexed(of_bob.tx_id)}
        assert "transaction.succeeded" not in kinds
        blocks = [one for one in events if one["type"].endswith("block.final")]
        assert all("blockHash" in one["data"] for one in blocks)
        # One event, one id, whichever webhook brought it.
        by_source: dict[str, set[str]] = {}
        for one in events:
            by_source.setdefault(one["source"], set()).add(one["id"])
        assert all(len(ids) == 1 for ids in by_source.values())


async def test_secrets_are_told_once_and_public_keys_always(tmp_path: Path) -> None:
    """A list that somebody reads over a shoulder must not let them forge events."""
    async with open_desk(tmp_path) as desk:
        symmetric = await desk.create()
        public = await desk.create(scheme="v1a", description="books")
        assert symmetric["key"].startswith("whsec_")
        assert public["key"].startswith("whpk_")
        rotated = await desk.call("webhook_rotate", id=symmetric["id"], overlapMs=60_000)
        shown = json.dumps(
            [
                await desk.call("webhook_list"),
                await desk.call("webhook_get", id=symmetric["id"]),
                await desk.call("webhook_disable", id=symmetric["id"]),
                await desk.call("webhook_enable", id=symmetric["id"]),
            ]
        )
        for key in (symmetric["key"], rotated["key"]):
            assert key not in shown
            assert key.removeprefix("whsec_") not in shown
        assert public["key"] in shown
        assert len(rotated["keys"]) == 2
        assert rotated["keys"][0]["expiresAt"] is not None
        test = await desk.call("webhook_test", id=symmetric["id"])
        assert (test["state"], test["test"]) == ("delivered", True)
        request = desk.receiver.requests[-1]
        for key in (symmetric["key"], rotated["key"]):
            assert signed_by(key, request)
        assert json.loads(request.body)["type"] == "org.clawpurse.webhook.test"
        assert json.loads(request.body)["data"]["test"] is True
        await desk.call("webhook_test", id=public["id"])
        request = desk.receiver.requests[-1]
        now_ms = desk.world.clock.now_ms()
        assert verify([public["key"]], request.headers, request.body, now_ms)[0] == request.ident


async def test_who_may_not_is_told_so_and_mistakes_have_their_codes(tmp_path: Path) -> None:
    """Each mistake is answered by its documented code, and nothing is made of it."""
    async with open_desk(tmp_path) as desk:
        assert (await desk.node.refusal("webhook_list")).code == -32006
        for params, words in (
            ({"url": "http://10.0.0.1/"}, "https"),
            ({"url": "https://127.0.0.9/"}, "loopback"),
            ({"url": desk.url, "topic": "mempool"}, "topic"),
            ({"url": desk.url, "topic": "account", "filter": {"account": "x"}}, "filter"),
            ({"url": desk.url, "fromCursor": "x"}, "cursor"),
            ({"url": desk.url, "types": ["a b"]}, "types"),
            ({"url": desk.url, "concurrency": 0}, "concurrency"),
        ):
            error = await desk.refused("webhook_create", **params)
            assert error.code in (-32602, -32001), params
            assert words in error.reason, error.reason
        assert (await desk.call("webhook_list"))["webhooks"] == []
        missing = "wh_" + "0" * 20
        for method, more in (
            ("webhook_get", {}),
            ("webhook_test", {}),
            ("webhook_rotate", {}),
            ("webhook_enable", {}),
            ("webhook_disable", {}),
            ("webhook_delete", {}),
            ("webhook_listDeliveries", {}),
            ("webhook_getDelivery", {"deliveryId": 1}),
            ("webhook_replay", {"deliveryId": 1}),
            ("webhook_replay", {"fromCursor": "1.0"}),
            ("webhook_replay", {"deadLetters": True}),
        ):
            assert (await desk.refused(method, id=missing, **more)).code == -32001, method
        made = await desk.create()
        both = {"deadLetters": True, "fromCursor": "1.0"}
        assert (await desk.refused("webhook_replay", id=made["id"], **both)).code == -32602


async def test_a_node_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """What happened while nothing was sent arrives after a restart, each event under its id."""
    async with open_desk(tmp_path) as desk:
        world = desk.world
        made = await desk.create()
        await world.final(desk.node, world.pay(world.alice))
        await desk.until(1)
        await desk.call("webhook_disable", id=made["id"])
        await world.final(desk.node, world.pay(world.alice), world.pay(world.bob))
        disk = await world.stop(desk.node)
        desk.node = await world.node(disk=disk, webhook_allow=("127.0.0.1/32",))
        await desk.call("webhook_enable", id=made["id"])
        events = await desk.until(3)
        assert len({one["id"] for one in events}) == 3
        places = [(one["data"]["height"], one["data"]["index"]) for one in events]
        assert places == sorted(places)


async def test_a_receiver_that_is_gone_is_an_alert_until_somebody_looks(tmp_path: Path) -> None:
    """Nobody learns from silence that nothing comes any more."""
    async with open_desk(tmp_path, Receiver(saying(status(410)))) as desk:
        world = desk.world
        made = await desk.create()
        await world.final(desk.node, world.pay(world.alice))
        with trio.fail_after(SECONDS):
            while True:
                alerts = (await desk.node.call("node_getAlerts"))["alerts"]
                found = [one for one in alerts if one["name"] == "WebhookDisabled"]
                if found:
                    break
                await trio.sleep(0.05)
        assert found[0]["facts"]["webhook"] == made["id"]
        assert "410" in found[0]["summary"]
        [waiting] = await desk.until_delivery(made["id"], "pending", 1)
        assert waiting["paused"] is True
        assert waiting["dueAt"] is None
        one = await desk.call("webhook_getDelivery", id=made["id"], deliveryId=waiting["id"])
        assert [each["status"] for each in one["tries"]] == [410]
        await desk.call("webhook_enable", id=made["id"])
        await desk.until_delivery(made["id"], "delivered", 1)
        again = await desk.call("webhook_replay", id=made["id"], fromCursor="beginning")
        assert again["cursor"] == "0.4294967295"
        await desk.until(3)
        assert len(set(desk.receiver.idents)) == 1
        assert await desk.call("webhook_delete", id=made["id"]) == {"deleted": made["id"]}


async def test_a_node_without_a_place_for_webhooks_says_so() -> None:
    """A caller must not believe that it will be told."""
    async with node_world() as world:
        node = await world.node()
        with pytest.raises(RpcError) as caught:
            await node.client(TOKEN).call("webhook_list")
        assert caught.value.code == -32009
