"""A real node killed again and again while it posts: whoever waits for a payment hears of it.

If this failed, a shop would not ship what was paid for, because the machine lost power meanwhile.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio

from clawpurse.cli.authority_keys import set_config
from clawpurse.cli.network import create_network
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.webhooks.signing import verify
from tests.e2e.killing import Ledgerbook, Payer, Processes, free_base_port
from tests.modules.kit.webhooks.hookworld import OK, Receiver, always

PATIENCE_S = 60.0


async def _table(operator: RpcClient, ident: str) -> list[dict[str, Any]]:
    """Every delivery, page by page."""
    rows: list[dict[str, Any]] = []
    params: dict[str, Any] = {"id": ident, "limit": 500}
    while True:
        page = await operator.call("webhook_listDeliveries", params)
        rows += page["deliveries"]
        if page["nextCursor"] is None:
            return rows
        params = {**params, "cursor": page["nextCursor"]}


async def _all_delivered(operator: RpcClient, ident: str, count: int) -> list[dict[str, Any]]:
    """Wait until the table says of every event that it was taken; returns the table."""
    rows: list[dict[str, Any]] = []
    with trio.fail_after(PATIENCE_S):
        while len(rows) != count or {one["state"] for one in rows} != {"delivered"}:
            await trio.sleep(0.1)
            rows = await _table(operator, ident)
    return rows


async def _final_places(client: RpcClient) -> list[tuple[int, int]]:
    """Where every transaction of the chain stands."""
    height = (await client.call("chain_getStatus"))["height"]
    places = []
    for at in range(1, height + 1):
        block = await client.call("chain_getBlock", {"height": at})
        places += [(at, index) for index in range(len(block["transactions"]))]
    return places


@pytest.mark.real
@pytest.mark.full
async def test_twelve_kills_of_a_node_lose_no_event(tmp_path: Path) -> None:
    """Every transaction of the chain arrives, in order, under one id, and the table says so."""
    chance = random.Random(12)
    network = create_network(tmp_path / "net", 1, free_base_port(1), int(time.time() * 1000))
    set_config(network.homes[0], webhook_allow=("127.0.0.1/32",))
    nodes, receiver = Processes(network), Receiver(always(OK))
    try:
        async with trio.open_nursery() as nursery:
            await receiver.start(nursery.start_soon)
            await nodes.start([0])
            token = network.homes[0].admin_token.read_text().strip()
            operator = RpcClient(nodes.url(0), token=token, timeout_ms=20_000)
            url = f"http://127.0.0.1:{receiver.port}/"
            params = {"url": url, "fromCursor": "beginning"}
            made = await operator.call("webhook_create", params)
            paying = trio.CancelScope()
            nursery.start_soon(_pay, Payer(nodes, 0, Ledgerbook()), paying)
            for _ in range(12):
                before = len(set(receiver.idents))
                with trio.fail_after(PATIENCE_S):
                    while len(set(receiver.idents)) < before + 5:
                        await trio.sleep(0.01)
                await trio.sleep(chance.random() * 0.2)
                await nodes.kill([0])
                await nodes.start([0])
            paying.cancel()
            # What the payer had submitted may still become final: the chain says when it is over.
            with trio.fail_after(PATIENCE_S):
                while True:
                    waiting = (await operator.call("mempool_getStatus"))["transactions"]
                    places = await _final_places(operator)
                    if not waiting and len(set(receiver.idents)) == len(places):
                        break
                    await trio.sleep(0.2)
            rows = await _all_delivered(operator, made["id"], len(set(receiver.idents)))
            _check(receiver, made["key"], places, rows)
            await operator.aclose()
            nursery.cancel_scope.cancel()
    finally:
        await nodes.close()


async def _pay(payer: Payer, scope: trio.CancelScope) -> None:
    with scope:
        await payer.run(0.02)


def _check(
    receiver: Receiver, key: str, places: list[tuple[int, int]], rows: list[dict[str, Any]]
) -> None:
    first: dict[str, bytes] = {}
    for request in receiver.requests:
        stamp_ms = int(request.headers["webhook-timestamp"]) * 1000
        verify([key], request.headers, request.body, stamp_ms)
        assert first.setdefault(request.ident, request.body) == request.body
    events = [json.loads(body)["data"] for body in first.values()]
    assert [(one["height"], one["index"]) for one in events] == places
    assert Counter(one["messageId"] for one in rows) == Counter(list(first))
    assert len(receiver.requests) - len(first) <= 12, "more came twice than a kill costs"
