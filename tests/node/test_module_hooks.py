"""What a module's webhooks say: where an entry stands, and nothing about persons."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clawpurse.ledger.errors import Malformed
from clawpurse.modules.kit.service.host import Place, open_host
from clawpurse.modules.kit.service.publishing import RecordFilter
from clawpurse.modules.kit.web.errors import FORBIDDEN, RpcError
from clawpurse.node.module_hooks import EntryLog, hook_methods, open_hooks
from tests.modules.kit.service.fakeledger import GENESIS, FakeLedger
from tests.modules.kit.service.test_host import CLERK, NOW_MS, OWNER, Shop, call, caller


@pytest.fixture
def ledger() -> Iterator[FakeLedger]:
    made = FakeLedger()
    made.roles = {CLERK: ["shop.clerk"], OWNER: ["shop.admin"]}
    yield made


async def test_an_entry_is_a_cloud_event_with_ids_and_no_values(
    tmp_path: Path, ledger: FakeLedger
) -> None:
    """Otherwise a receiver learns values that its owner has no role for."""
    host = await open_host(Shop(), Place(tmp_path), ledger, lambda: NOW_MS)
    await call(host, CLERK, "createOrder", amount=987_654)
    log = EntryLog(host)
    [event] = (await host.log.read("0", RecordFilter(), 10)).events
    sent = log.message("shop", event)
    body = json.loads(sent.body)
    assert body["type"] == sent.kind == "org.clawpurse.shop.order.created"
    assert body["source"] == f"/chains/fake/{GENESIS.hex()[:16]}/modules/shop/entries/1"
    assert (body["subject"], body["data"]["move"], body["specversion"]) == ("O-1", "created", "1.0")
    assert b"987654" not in sent.body
    assert log.message("shop", event) == sent
    with pytest.raises(Malformed):
        log.check_cursor("1.0")
    await host.close()


async def test_only_its_administrators_make_receivers(tmp_path: Path, ledger: FakeLedger) -> None:
    """Otherwise whoever may pack parcels sends the shop's events elsewhere."""
    host = await open_host(Shop(), Place(tmp_path), ledger, lambda: NOW_MS)
    hooks = open_hooks(tmp_path, host, allow=("127.0.0.0/8",), version="1")
    methods: dict[str, Any] = {one.name: one for one in hook_methods(host, hooks)}
    create = methods["webhook_create"]
    wanted = create.params(url="http://127.0.0.1:9/x", topic="shop")
    with pytest.raises(RpcError) as refused:
        await create.handler(wanted, caller(CLERK))
    assert refused.value.code == FORBIDDEN
    made = await create.handler(wanted, caller(OWNER))
    assert (made["topic"], made["cursor"]) == ("shop", "0")
    hooks.close()
    await host.close()
