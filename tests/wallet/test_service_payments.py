"""Paying by the wallet service: once for each idempotency key, within guardrails, found again."""

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
    INVALID_PARAMS,
    KEY_LOCKED,
    NODE_UNREACHABLE,
    NOT_FOUND,
    UNAUTHENTICATED,
    WALLET_REFUSED,
    RpcError,
    Unreachable,
)
from clawpurse.modules.kit.web.jsonrpc import Context
from clawpurse.wallet.receipts import verify_payment
from clawpurse.wallet.unlocked import TIMEOUT_MS_DEFAULT
from tests.cli.fakenode import FakeNode
from tests.wallet.servicehouse import House, open_house

STRANGER = account_text(b"\x77" * 32)


async def pay(house: House, number: int, caller: Context | None = None, **more: Any) -> Any:
    """Pay bob 12.50 CLAW under a key made of a number."""
    asked = {"key": "alice", "to": "bob", "amount": "1250", **more}
    return await house.call("wallet_send", caller, idempotencyKey=f"0x{number:08x}", **asked)


async def refused(house: House, code: int, number: int = 99, **more: Any) -> RpcError:
    """Pay, and be refused with this code."""
    with pytest.raises(RpcError) as told:
        await pay(house, number, **more)
    assert told.value.code == code, told.value
    return told.value


async def test_a_payment_is_paid_proved_and_found_again(tmp_path: Path) -> None:
    """An agent that loses its answer asks again with the same key, and pays once."""
    async with open_house(tmp_path) as house:
        await house.unlock()
        paid = await pay(house, 1, memo="lunch")
        assert (paid["status"], paid["height"], paid["fee"]) == ("final", 1, "1")
        assert paid["payments"] == [
            {"to": account_text(house.node.chain.bob.account), "asset": "CLAW", "amount": "1250"}
        ]
        assert await pay(house, 1, memo="lunch") == paid
        assert len(house.node.final) == 1
        by_key = await house.call("wallet_getPayment", key="alice", idempotencyKey="0x00000001")
        by_id = await house.call("wallet_getPayment", txId=paid["txId"])
        assert by_key == by_id == paid
        document = await house.call("wallet_getReceipt", txId=paid["txId"])
        genesis = house.node.chain.genesis.hash
        assert verify_payment(document, genesis, house.desk.registry).valid
        assert (await refused(house, Code.DUPLICATE.rpc_code, 1, amount="7", memo="lunch")).facts
        unknowns: tuple[dict[str, Any], ...] = (
            {"txId": "0x" + "00" * 32},
            {"key": "alice", "idempotencyKey": "0x02"},
        )
        for unknown in unknowns:
            with pytest.raises(RpcError) as missing:
                await house.call("wallet_getPayment", **unknown)
            assert missing.value.code == NOT_FOUND
        with pytest.raises(RpcError) as vague:
            await house.call("wallet_getPayment", key="alice")
        assert vague.value.code == INVALID_PARAMS


async def test_a_locked_key_pays_nothing(tmp_path: Path) -> None:
    """A service that was left alone would spend."""
    async with open_house(tmp_path) as house:
        error = await refused(house, KEY_LOCKED)
        assert error.facts["key"] == "alice"
        await house.unlock()
        house.clock.time_ms += TIMEOUT_MS_DEFAULT
        await refused(house, KEY_LOCKED)
        assert not house.node.final


async def test_a_refusal_says_which_limit_and_when_it_resets(tmp_path: Path) -> None:
    """An agent that cannot read why would try again for ever, or give up for ever."""
    node = FakeNode()
    async with open_house(tmp_path, node) as house:
        await house.unlock()
        over = await refused(house, GUARDRAIL_REFUSED, amount="100001", to=STRANGER)
        assert over.facts["limit"] == "perTransaction"
        wanted = ("asset", "allowed", "asked", "spent", "resetsMs", "remedy")
        assert [over.facts[name] for name in wanted] == [
            "CLAW",
            "100000",
            "100002",
            "0",
            None,
            "clawpurse wallet guardrails",
        ]
        assert over.facts["refusals"][0]["limit"] == "perTransaction"
        assert not node.final
        assert (await house.call("wallet_listPayments"))["payments"] == []


async def test_what_a_person_is_asked_is_not_paid_by_an_agent(tmp_path: Path) -> None:
    """Above the threshold, or to a stranger, a program alone would decide."""
    async with open_house(tmp_path) as house:
        await house.unlock()
        agent = house.caller("wallet_send", keys=("alice",))
        for number, more in ((3, {"amount": "20000"}), (6, {"to": STRANGER})):
            with pytest.raises(RpcError) as told:
                await pay(house, number, agent, confirmed=True, **more)
            assert told.value.code == CONFIRMATION_REQUIRED
            assert told.value.facts["reasons"]
        assert not house.node.final
        paid = await pay(house, 4, amount="20000", confirmed=True)
        assert paid["status"] == "final"
        assert (await pay(house, 5, agent, to=STRANGER, allowNewRecipient=True))["height"] == 2


async def test_a_batch_is_one_transaction(tmp_path: Path) -> None:
    """Half a payroll would be paid."""
    async with open_house(tmp_path) as house:
        await house.unlock()
        payments = [{"to": "bob", "amount": "5"}, {"to": "bob", "amount": "7", "asset": "EUR"}]
        asked: dict[str, Any] = {"key": "alice", "payments": payments, "memo": "both"}
        quote = await house.call("wallet_quote", **asked)
        assert (quote["outlook"], quote["allowed"], quote["fee"]) == ("paid", True, "1")
        assert quote["left"] == {"CLAW": "99994", "EUR": "499993"}
        assert quote["confirm"] == ["Your guardrails say nothing of EUR."]
        done = await house.call("wallet_batch", **asked, idempotencyKey="0x0b", confirmed=True)
        assert (done["status"], len(done["payments"])) == ("final", 2)
        assert len(house.node.final) == 1


async def test_many_at_once_on_one_account_are_each_paid_once(tmp_path: Path) -> None:
    """Agents that share a key would overtake each other's sequence, or pay twice."""
    async with open_house(tmp_path) as house:
        await house.unlock()
        results: dict[int, list[Any]] = {}

        async def one(number: int) -> None:
            results.setdefault(number, []).append(await pay(house, number, amount="1"))

        async with trio.open_nursery() as nursery:
            for number in range(1, 17):
                nursery.start_soon(one, number)
                nursery.start_soon(one, number)
        assert len(house.node.final) == 16
        for answers in results.values():
            assert [one["status"] for one in answers] == ["final", "final"]
            assert answers[0]["txId"] == answers[1]["txId"]
        page = await house.call("wallet_listPayments", limit=10)
        rest = await house.call("wallet_listPayments", limit=10, cursor=page["nextCursor"])
        ids = [one["txId"] for one in page["payments"] + rest["payments"]]
        assert (len(set(ids)), rest["nextCursor"]) == (16, None)


async def test_a_payment_goes_on_when_its_caller_goes(tmp_path: Path) -> None:
    """A dropped connection would leave a payment half done."""
    node = FakeNode()
    async with open_house(tmp_path, node) as house:
        await house.unlock()
        honest, gate = node.tx_wait, {"open": False}

        def wait(params: dict[str, Any]) -> Any:
            return honest(params) if gate["open"] else {"txId": params["txId"], "status": "pending"}

        node.overrides["tx_wait"] = wait
        told = await pay(house, 1, waitMs=50)
        assert told["status"] == "pending"
        with trio.move_on_after(0.05):
            await pay(house, 2)
        gate["open"] = True
        with trio.fail_after(10):
            both = [await pay(house, number) for number in (1, 2)]
        assert [one["status"] for one in both] == ["final", "final"]
        assert len(node.final) == 2


async def test_what_a_killed_service_left_is_finished_by_the_next(tmp_path: Path) -> None:
    """Killed between submitting and the receipt: paid twice, or lost from sight."""
    node = FakeNode()
    async with open_house(tmp_path, node) as house:
        await house.unlock()
        submit = node.tx_submit

        def answer_is_lost(params: dict[str, Any]) -> Any:
            submit(params)
            return Unreachable("http://small", "reset", sent=True)

        node.overrides["tx_submit"] = answer_is_lost
        node.overrides["tx_wait"] = lambda params: {"txId": params["txId"], "status": "pending"}
        assert (await pay(house, 1, waitMs=50))["status"] == "pending"
    node.overrides.clear()
    async with open_house(tmp_path, node) as house:
        with trio.fail_after(10):
            (payment,) = await house.desk.payments.resume(1_000)
        assert payment.status == "paid"
        again = await pay(house, 1)
        assert (again["status"], len(node.final)) == ("final", 1)


async def test_a_token_sees_the_payments_of_its_keys_only(tmp_path: Path) -> None:
    """An agent would read what its owner pays elsewhere."""
    async with open_house(tmp_path) as house:
        await house.unlock()
        paid = await pay(house, 1)
        other = house.caller("wallet_*", keys=("bob",))
        assert (await house.call("wallet_listPayments", other))["payments"] == []
        for method in ("wallet_getPayment", "wallet_getReceipt"):
            with pytest.raises(RpcError) as hidden:
                await house.call(method, other, txId=paid["txId"])
            assert hidden.value.code == NOT_FOUND
        with pytest.raises(RpcError) as forbidden:
            await pay(house, 2, other)
        assert forbidden.value.code == FORBIDDEN


async def test_a_node_that_is_down_or_refuses_is_told_as_that(tmp_path: Path) -> None:
    """A program could not tell a slip of its own from a network that is away."""
    async with open_house(tmp_path) as house:
        await house.unlock()
        house.node.down = True
        await refused(house, NODE_UNREACHABLE)
        assert (await house.call("wallet_getStatus"))["reachable"] is False
        house.node.down = False
        # A node that does not let this home in is no matter of the caller's own token.
        house.node.overrides["chain_getStatus"] = lambda _: RpcError(UNAUTHENTICATED, "who?")
        closed = await refused(house, NODE_UNREACHABLE)
        assert closed.facts["nodeCode"] == UNAUTHENTICATED
        del house.node.overrides["chain_getStatus"]
        house.node.refuse("tx_submit", Code.FROZEN, "asset is frozen")
        await refused(house, Code.FROZEN.rpc_code, 5)
        lost = await house.call("wallet_getPayment", key="alice", idempotencyKey="0x00000005")
        assert lost["status"] == "refused"
        del house.node.overrides["tx_submit"]
        assert (await pay(house, 5))["status"] == "final"
        poor = await refused(house, Code.INSUFFICIENT_FUNDS.rpc_code, amount="99000")
        assert poor.facts["asset"] == "CLAW"
        await refused(house, NOT_FOUND, asset="NONE")
        await refused(house, Code.POLICY_REJECTED.rpc_code, fee="0")
        await house.call("wallet_watch", name="friend", account=STRANGER)
        await refused(house, WALLET_REFUSED, key="friend")
