"""What a program may not decide waits for a person: asked once, judged again, signed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Code
from clawpurse.modules.kit.web.errors import (
    CONFIRMATION_REQUIRED,
    FORBIDDEN,
    GUARDRAIL_REFUSED,
    KEY_LOCKED,
    NOT_FOUND,
    WALLET_REFUSED,
    WRONG_PASSPHRASE,
    RpcError,
)
from clawpurse.modules.kit.web.jsonrpc import Context
from clawpurse.wallet.signing_requests import OPEN_MS, OPEN_OF_ONE_MAX
from tests.cli.fakenode import FakeNode
from tests.wallet.servicehouse import PASSPHRASE, House, open_house

BIG = "20000"


async def asked(house: House, number: int, agent: Context, **more: Any) -> dict[str, Any]:
    """Have an agent want 200.00 CLAW for bob, and return what it is told."""
    params = {
        "key": "alice",
        "to": "bob",
        "amount": BIG,
        "memo": "rent",
        "reason": "the 1st",
        **more,
    }
    with pytest.raises(RpcError) as told:
        await house.call("wallet_send", agent, idempotencyKey=f"0x{number:08x}", **params)
    assert told.value.code == CONFIRMATION_REQUIRED, told.value
    return dict(told.value.facts)


async def test_a_person_reads_approves_and_it_is_paid_once(tmp_path: Path) -> None:
    """Two clicks, or an agent that asks again, would pay twice."""
    async with open_house(tmp_path) as house:
        agent = house.caller("wallet_send", keys=("alice",), name="shop agent")
        told = await asked(house, 1, agent)
        assert told["reasons"] == [
            "200.01 CLAW is above 100.00 CLAW, from where you want to be asked."
        ]
        assert await asked(house, 1, agent) == told
        (listed,) = (await house.call("wallet_listRequests", states=["open"]))["requests"]
        detail = await house.call("wallet_getRequest", id=told["requestId"])
        assert {name: detail[name] for name in listed} == listed
        assert (detail["origin"], detail["reason"], detail["unlocked"]) == (
            "shop agent",
            "the 1st",
            False,
        )
        alice, bob = (
            account_text(one.account) for one in (house.node.chain.alice, house.node.chain.bob)
        )
        assert [(one["account"], one["change"]) for one in detail["effects"]] == [
            (alice, "-20001"),
            (bob, "20000"),
        ]
        lines = {one["label"]: one["text"] for one in detail["lines"]}
        assert lines["Pay"] == f"200.00 CLAW to bob ({bob})"
        assert [one["says"] for one in detail["guardrails"]] == ["asks", "passes", "passes"]
        assert (detail["outlook"], detail["problem"]) == ("paid", None)
        with pytest.raises(RpcError) as locked:
            await house.call("wallet_approve", id=told["requestId"])
        assert locked.value.code == KEY_LOCKED
        with pytest.raises(RpcError) as wrong:
            await house.call("wallet_approve", id=told["requestId"], passphrase="no such one")
        assert wrong.value.code == WRONG_PASSPHRASE
        house.clock.time_ms += wrong.value.facts["retryAfterMs"]
        done: list[Any] = []

        async def approve() -> None:
            params = {"id": told["requestId"], "passphrase": PASSPHRASE}
            done.append(await house.call("wallet_approve", **params))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(approve)
            nursery.start_soon(approve)
        assert [one["payment"]["status"] for one in done] == ["final", "final"]
        assert done[0]["request"]["state"] == "approved"
        assert len(house.node.final) == 1
        # The passphrase opened it for this alone.
        assert (await house.call("wallet_getStatus"))["unlocked"] == {}
        params = {"key": "alice", "to": "bob", "amount": BIG, "memo": "rent"}
        paid = await house.call("wallet_send", agent, idempotencyKey="0x00000001", **params)
        assert paid == done[0]["payment"]
        assert (await house.call("wallet_getRequest", id=told["requestId"]))["payment"] == paid
        with pytest.raises(RpcError) as late:
            await house.call("wallet_reject", id=told["requestId"])
        assert late.value.code == Code.DUPLICATE.rpc_code


async def test_a_no_is_told_and_asked_no_more(tmp_path: Path) -> None:
    """A program would go on asking until somebody slips."""
    async with open_house(tmp_path) as house:
        agent = house.caller("wallet_send")
        told = await asked(house, 1, agent)
        await house.unlock()
        no = await house.call("wallet_reject", id=told["requestId"], reason="ask in March")
        assert (no["state"], no["note"]) == ("rejected", "ask in March")
        params = {"key": "alice", "to": "bob", "amount": BIG, "memo": "rent"}
        with pytest.raises(RpcError) as refused:
            await house.call("wallet_send", agent, idempotencyKey="0x00000001", **params)
        assert refused.value.code == WALLET_REFUSED
        assert refused.value.facts["state"] == "rejected"
        assert "ask in March" in refused.value.reason
        with pytest.raises(RpcError) as late:
            await house.call("wallet_approve", id=told["requestId"])
        assert late.value.code == Code.DUPLICATE.rpc_code
        assert not house.node.final


async def test_an_approval_is_judged_again(tmp_path: Path) -> None:
    """Five requests, each within the day's limit, would together be above it."""
    async with open_house(tmp_path) as house:
        await house.unlock()
        kept = (await house.call("wallet_getGuardrails", key="alice"))["policy"]
        kept["assets"][0]["perDay"] = "30000"
        await house.call("wallet_setGuardrails", key="alice", policy=kept)
        agent = house.caller("wallet_send")
        first, second = [(await asked(house, number, agent))["requestId"] for number in (1, 2)]
        assert (await house.call("wallet_approve", id=first))["payment"]["status"] == "final"
        with pytest.raises(RpcError) as over:
            await house.call("wallet_approve", id=second)
        assert (over.value.code, over.value.facts["limit"]) == (GUARDRAIL_REFUSED, "perDay")
        assert over.value.facts["resetsMs"] % 86_400_000 == 0
        detail = await house.call("wallet_getRequest", id=second)
        assert (detail["state"], detail["guardrails"][0]["says"]) == ("open", "refuses")
        house.clock.time_ms += OPEN_MS
        assert (await house.call("wallet_getRequest", id=second))["state"] == "expired"


async def test_an_agent_alone_neither_approves_nor_sees_others(tmp_path: Path) -> None:
    """It would say yes to itself, or read what others of the house want."""
    async with open_house(tmp_path) as house:
        agent = house.caller("wallet_send", keys=("alice",))
        told = await asked(house, 1, agent, confirmed=True)
        other = house.caller("wallet_*", keys=("bob",))
        for method in ("wallet_getRequest", "wallet_approve", "wallet_reject"):
            with pytest.raises(RpcError) as forbidden:
                await house.call(method, agent, id=told["requestId"])
            assert forbidden.value.code == FORBIDDEN
            with pytest.raises(RpcError) as hidden:
                await house.call(method, other, id=told["requestId"])
            assert hidden.value.code == NOT_FOUND
            with pytest.raises(RpcError) as unknown:
                await house.call(method, id="0x" + "00" * 16)
            assert unknown.value.code == NOT_FOUND
        assert (await house.call("wallet_listRequests", other))["requests"] == []
        assert len((await house.call("wallet_listRequests"))["requests"]) == 1


async def test_a_flood_of_requests_ends_at_its_bound(tmp_path: Path) -> None:
    """One agent's wishes would bury the one that matters."""
    async with open_house(tmp_path) as house:
        agent = house.caller("wallet_send", name="mad")
        for number in range(OPEN_OF_ONE_MAX):
            await asked(house, number, agent)
        params = {"key": "alice", "to": "bob", "amount": BIG}
        with pytest.raises(RpcError) as full:
            await house.call("wallet_send", agent, idempotencyKey="0xffff", **params)
        assert full.value.code == Code.POOL_FULL.rpc_code
        await asked(house, 9_999, house.caller("wallet_send", name="sane"))


async def test_a_kill_between_signing_and_noting_leaves_one_payment(tmp_path: Path) -> None:
    """The next start would show a paid request as open, and somebody would pay it again."""
    node = FakeNode()
    async with open_house(tmp_path, node) as house:
        await house.unlock()
        told = await asked(house, 1, house.caller("wallet_send"))
        node.overrides["tx_wait"] = lambda params: {"txId": params["txId"], "status": "pending"}
        with trio.move_on_after(0.2):
            await house.call("wallet_approve", id=told["requestId"], waitMs=30_000)
        with pytest.raises(RpcError) as late:
            await house.call("wallet_reject", id=told["requestId"])
        assert late.value.code == Code.DUPLICATE.rpc_code
    node.overrides.clear()
    async with open_house(tmp_path, node) as house:
        (found,) = (await house.call("wallet_listRequests"))["requests"]
        assert found["state"] == "approved"
        await house.desk.payments.resume(1_000)
        done = await house.call("wallet_approve", id=told["requestId"])
        assert (done["payment"]["status"], len(node.final)) == ("final", 1)


async def test_without_a_node_a_request_is_still_read(tmp_path: Path) -> None:
    """A person would see nothing at all, or an outlook that nobody gave."""
    async with open_house(tmp_path) as house:
        told = await asked(house, 1, house.caller("wallet_send"))
        house.node.down = True
        detail = await house.call("wallet_getRequest", id=told["requestId"])
        assert (detail["outlook"], detail["problem"]) == (None, "No node of the network answers.")
        assert "minor units" in detail["lines"][1]["text"]
