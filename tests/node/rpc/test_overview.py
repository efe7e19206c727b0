"""What pages show beside the rest: settings, storage, how long payments wait, sums of supplies."""

from __future__ import annotations

import pytest
from trio.testing import MockClock

from clawpurse.ledger.errors import CallerError
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError
from tests.node.rpc.nodeworld import NodeWorld, Running


async def test_a_supply_is_the_sum_of_its_parts(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Who looks at an asset sees that nothing of it is missing and nothing was made up."""
    await world.final(node, world.pay(world.bob, asset="EUR", target=world.carol.account))
    found = await node.call("asset_getSupplyParts", asset="EUR")
    assert sum(map(int, found["parts"].values())) == int(found["supply"])
    assert found["why"] is None
    native = await node.call("asset_getSupplyParts", asset="CLAW")
    assert native["parts"] is None
    assert native["why"]
    with pytest.raises((RpcError, CallerError)) as refusal:
        await node.call("asset_getSupplyParts", asset="NOPE")
    assert getattr(refusal.value, "code", None) == NOT_FOUND


async def test_settings_are_shown_without_what_opens_something(
    autojump_clock: MockClock, node: Running
) -> None:
    """A page may show how a node is set to anybody who may ask at all, and betrays nothing."""
    settings = {one["name"]: one for one in (await node.call("node_getConfig"))["settings"]}
    assert settings["min_free_disk_mb"]["value"] == 512
    for name, one in settings.items():
        if any(part in name for part in ("token", "secret", "private")):
            assert one["isSecret"], name
            assert one["value"] is None


async def test_a_missing_figure_is_null_and_not_zero(
    autojump_clock: MockClock, node: Running
) -> None:
    """An empty pool has no oldest payment; a page shows a gap then, not "0 s"."""
    assert (await node.call("mempool_getStatus"))["oldestMs"] is None
    storage = await node.call("node_getStorage")
    assert storage["backup"] is None
    assert storage["firstHeight"] == 1
