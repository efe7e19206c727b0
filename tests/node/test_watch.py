"""Local topics and alerts of whole nodes: trouble is told within seconds, and ends by itself."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import trio

from clawpurse.node.alerts import KINDS
from tests.node.lab import Lab, run_lab
from tests.node.rpc.nodeworld import Running, text_of, until


def listen(lab: Lab, node: Running, topic: str, **matching: Any) -> list[Any]:
    """Collect a topic's events from now on."""
    heard: list[Any] = []

    async def take() -> None:
        async with node.client().subscribe(topic, matching or None) as events:
            async for event in events:
                assert (event.cursor, event.final) == (None, False)
                heard.append(event.data)

    lab.nursery.start_soon(take)
    return heard


def gauge(node: Running) -> dict[str, float]:
    """clawpurse_alert of a node by its labels."""
    lines = node.node.metrics.exposition().decode().splitlines()
    samples = [line for line in lines if line.startswith("clawpurse_alert{")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in samples)}


def test_a_killed_authority_is_an_alert_within_five_seconds_and_ends_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Sentence and alert say the same, everywhere that alerts are told, once each."""
    caplog.set_level(logging.INFO, "clawpurse.alerts")

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        # Several blocks: of one whose vote was never needed nothing is known to miss.
        for _ in range(5):
            await lab.final(nodes[0], lab.pay(lab.alice))
        await trio.sleep(2)
        watched = nodes[0]
        alerts = listen(lab, watched, "alerts", name="AuthoritySilent")
        others = listen(lab, watched, "alerts", name="DiskLow")
        consensus = listen(lab, watched, "consensus")
        peers = listen(lab, watched, "peers", event="disconnected")
        await trio.sleep(1)
        assert (await watched.call("node_getAlerts"))["alerts"] == []
        assert set(gauge(watched).values()) == {0}
        assert len(gauge(watched)) == len(KINDS)
        disk = await lab.crash(nodes[3])
        killed_s = trio.current_time()
        await until(lambda: alerts, 5)
        assert trio.current_time() - killed_s <= 5
        (alert,) = alerts
        assert (alert["event"], alert["severity"]) == ("firing", "warning")
        assert alert["runbook"] == "docs/runbooks/AuthoritySilent.md"
        told = await watched.call("consensus_explain")
        assert [one["authority"] for one in told["missing"]] == [alert["subject"]]
        (listed,) = (await watched.call("node_getAlerts"))["alerts"]
        assert listed == {name: value for name, value in alert.items() if name != "event"}
        label = 'clawpurse_alert{name="AuthoritySilent",severity="warning"}'
        assert gauge(watched)[label] == 1
        await until(lambda: consensus and not consensus[-1]["ok"], 2)
        standings = [one["standing"] for one in consensus[-1]["authorities"]]
        assert standings.count("silent") == 1
        assert [one["peers"] for one in peers] == [2]
        await lab.start("authority-4", disk)
        await until(lambda: len(alerts) == 2, 20)
        assert alerts[1] == {**alert, "event": "ended", "facts": alerts[1]["facts"]}
        assert gauge(watched)[label] == 0
        assert others == []

    run_lab(scenario)
    said = [record.getMessage() for record in caplog.records if "is silent" in record.message]
    firing = [line for line in said if line.startswith("alert firing")]
    # Each of the three that live says it once.
    assert len(firing) == 3
    assert len(said) - len(firing) >= 3


def test_the_pool_tells_what_comes_and_goes() -> None:
    """A page that shows waiting payments need not ask again and again."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        everything = listen(lab, nodes[0], "mempool")
        of_bob = listen(lab, nodes[0], "mempool", account=text_of(lab.bob))
        await trio.sleep(1)
        paid = lab.pay(lab.alice)
        await lab.final(nodes[0], paid, lab.pay(lab.bob))
        await trio.sleep(2)
        tx_id = "0x" + paid.tx_id.hex()
        mine = [one for one in everything if one.get("txId") == tx_id]
        assert [one["event"] for one in mine] == ["accepted", "left"]
        assert mine[0]["sender"] == text_of(lab.alice)
        assert mine[1]["reason"] == "final"
        assert [one["event"] for one in of_bob] == ["accepted"]
        assert json.dumps(everything)

    run_lab(scenario)
