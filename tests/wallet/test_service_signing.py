"""Signing what was built elsewhere: within the guardrails, in words, counted, once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from clawpurse.ledger import crypto
from clawpurse.ledger.address import account_text
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Code
from clawpurse.ledger.transactions import (
    RawAction,
    Role,
    decode_transaction,
    encode_transaction,
    signing_hash,
)
from clawpurse.modules.kit.web.errors import (
    CONFIRMATION_REQUIRED,
    GUARDRAIL_REFUSED,
    INVALID_PARAMS,
    KEY_LOCKED,
    WALLET_REFUSED,
    RpcError,
)
from clawpurse.modules.registry import build_registry
from clawpurse.wallet import signing
from clawpurse.wallet.builder import (
    ChainTerms,
    Slot,
    build_body,
    change_key_action,
    transfer_action,
)
from clawpurse.wallet.delivery import EXPIRY_MARGIN_MS
from clawpurse.wallet.outbox_rows import Status
from clawpurse.wallet.signing import HANDED_OUT_MS_MAX
from tests.cli.fakenode import FakeNode
from tests.wallet.servicehouse import PASSPHRASE, House, open_house
from tests.wallet.test_outflows import MORE, filled

VALID_MS = 600_000


def body(
    house: House,
    actions: Sequence[RawAction] | None = None,
    *,
    amount: int = 1_250,
    genesis: bytes | None = None,
    once: bytes | None = b"once",
    payer: bytes | None = None,
    sender: bytes | None = None,
    lane: int = 0,
    valid_ms: int = VALID_MS,
    sequence: int = 0,
) -> str:
    """Return an unsigned body of alice as hex: 12.50 CLAW to bob, or other actions."""
    chain = house.node.chain
    pay = transfer_action("CLAW", chain.bob.account, amount)
    made = build_body(
        ChainTerms(chain.genesis.chain_id, genesis or chain.genesis.hash),
        build_registry(),
        sender or chain.alice.account,
        Slot(lane, sequence),
        [pay] if actions is None else actions,
        valid_until_ms=house.clock() + valid_ms,
        fee=1,
        payer=payer,
        memo="built elsewhere",
        idempotency_key=once,
    )
    return f"0x{made.pack().hex()}"


async def sign(house: House, data: str, **more: Any) -> Any:
    """Sign by alice."""
    return await house.call("wallet_sign", **{"key": "alice", "body": data, **more})


async def refused(house: House, code: int, data: str, **more: Any) -> RpcError:
    """Sign, and be refused with this code."""
    with pytest.raises(RpcError) as told:
        await sign(house, data, **more)
    assert told.value.code == code, told.value
    return told.value


async def test_a_body_within_limits_is_signed_sent_and_the_same_again(tmp_path: Path) -> None:
    """A page that builds a payment would have it signed twice, or not know what became of it."""
    async with open_house(tmp_path) as house:
        data = body(house)
        await refused(house, KEY_LOCKED, data)
        await house.unlock()
        done = await sign(house, data)
        assert (done["payment"]["status"], done["role"], done["payment"]["memo"]) == (
            "final",
            "sender",
            "built elsewhere",
        )
        again = await sign(house, data)
        assert again == done
        assert (len(house.node.final), again["txId"]) == (1, done["payment"]["txId"])
        lines = {one["label"]: one["text"] for one in done["lines"]}
        assert "12.50 CLAW" in lines["Action"] and "bob" in lines["Action"]
        message = signing_hash(
            house.node.chain.genesis.hash,
            Role.SENDER,
            house.node.chain.alice.account,
            bytes.fromhex(data[2:]),
        )
        key, signature = (bytes.fromhex(done[name][2:]) for name in ("publicKey", "signature"))
        assert crypto.verify(key, message, signature)


async def test_limits_hold_for_bodies_too(tmp_path: Path) -> None:
    """Whoever builds the transaction elsewhere would go around every limit."""
    async with open_house(tmp_path) as house:
        await house.unlock()
        over = await refused(house, GUARDRAIL_REFUSED, body(house, amount=100_000))
        assert (over.facts["limit"], over.facts["asked"]) == ("perTransaction", "100001")
        agent = house.caller("wallet_sign", name="page")
        big = body(house, amount=20_000)
        with pytest.raises(RpcError) as told:
            await house.call("wallet_sign", agent, key="alice", body=big, confirmed=True)
        assert told.value.code == CONFIRMATION_REQUIRED
        done = await house.call("wallet_approve", id=told.value.facts["requestId"])
        assert (done["payment"]["status"], done["signed"]) == ("final", None)
        paid = await house.call("wallet_sign", agent, key="alice", body=big)
        assert paid["payment"] == done["payment"]


async def test_what_limits_cannot_judge_is_for_a_person(tmp_path: Path) -> None:
    """An agent whose payments are capped would hand over the whole account instead."""
    async with open_house(tmp_path) as house:
        await house.unlock()
        agent = house.caller("wallet_sign", name="page")
        data = body(house, [change_key_action(b"\x05" * 32)])
        with pytest.raises(RpcError) as told:
            await house.call("wallet_sign", agent, key="alice", body=data)
        (why,) = told.value.facts["reasons"]
        assert (
            why == "It does account.changeKey, which limits say nothing of." or "changeKey" in why
        )
        detail = await house.call("wallet_getRequest", id=told.value.facts["requestId"])
        assert detail["body"] == data and detail["guardrails"][0]["says"] == "asks"
        assert detail["expiresMs"] == house.clock() + VALID_MS
        assert {one["label"] for one in detail["lines"]} >= {"Action", "Fee", "Valid until"}
        assert not house.node.final
        chain = house.node.chain
        for role, more in (
            ("payer", {"sender": chain.bob.account, "payer": chain.alice.account, "once": b"p"}),
            ("approver", {"sender": chain.bob.account, "once": b"a"}),
        ):
            other = body(house, **more)  # type: ignore[arg-type]
            asked: dict[str, Any] = {"key": "alice", "body": other, "role": role, "submit": False}
            with pytest.raises(RpcError) as needs:
                await house.call("wallet_sign", agent, **asked)
            assert needs.value.code == CONFIRMATION_REQUIRED
            done = await house.call("wallet_approve", id=needs.value.facts["requestId"])
            assert done["signed"]["role"] == role
            assert done["request"]["state"] == "approved"
            # Who asked gets it by asking again.
            assert (await house.call("wallet_sign", agent, **asked)) == done["signed"]


async def test_limits_hold_for_every_way_of_paying(tmp_path: Path) -> None:
    """What may not be sent would be scheduled for the next minute, and waved through."""
    async with open_house(tmp_path) as house:
        await house.unlock()
        bob = house.node.chain.bob.account
        for name in ("payments.schedule", "payments.createEscrow", "payments.openChannel"):
            action = filled(name, recipient=bob, amount=100_000, **MORE.get(name, {}))
            over = await refused(house, GUARDRAIL_REFUSED, body(house, [action]), confirmed=True)
            assert (over.facts["limit"], over.facts["asked"]) == ("perTransaction", "100001")


async def test_a_signature_that_is_handed_out_counts_and_is_not_sent(tmp_path: Path) -> None:
    """A program would collect signatures for many times the day's limit, and send them at once."""
    node = FakeNode()
    async with open_house(tmp_path, node) as house:
        await house.unlock()
        kept = (await house.call("wallet_getGuardrails", key="alice"))["policy"]
        kept["assets"][0]["perDay"] = "2000"
        await house.call("wallet_setGuardrails", key="alice", policy=kept)
        first = body(house)
        done = await sign(house, first, submit=False)
        assert (done["payment"]["status"], node.final) == ("signed", {})
        over = await refused(house, GUARDRAIL_REFUSED, body(house, once=b"two"), submit=False)
        assert (over.facts["limit"], over.facts["spent"]) == ("perDay", "1251")
        again = await sign(house, first, submit=False)
        assert again["transaction"] == done["transaction"]
    # A start of the service does not send it either: that is for who has it.
    async with open_house(tmp_path, node) as house:
        assert [one.status for one in await house.desk.payments.resume(100)] == ["pending"]
        assert not node.final
        raw = bytes.fromhex(done["transaction"][2:])
        node.tx_submit({"tx": done["transaction"]})
        (found,) = await house.desk.payments.resume(100)
        assert (found.status, found.tx_id) == ("paid", decode_transaction(raw).tx_id)


async def test_what_was_handed_out_and_never_sent_is_free_again(tmp_path: Path) -> None:
    """A limit would stay used up by what can never happen; or be free while it still can."""
    async with open_house(tmp_path) as house:
        await house.unlock()
        await sign(house, body(house), submit=False)
        status = house.node.chain_getStatus({})
        # The clock of this machine alone is not believed: it may have been set.
        house.clock.time_ms += VALID_MS + EXPIRY_MARGIN_MS + 1
        assert [one.status for one in await house.desk.payments.resume(100)] == ["pending"]
        house.node.overrides["chain_getStatus"] = lambda _: {**status, "timeMs": house.clock()}
        assert [one.status for one in await house.desk.payments.resume(100)] == ["expired"]
        (row,) = house.outbox.rows()
        assert row.status is Status.EXPIRED
        await house.unlock()
        later = await sign(house, body(house, once=b"later"))
        assert later["payment"]["status"] == "final"


async def test_what_is_handed_out_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program would collect signatures for ever, and the service look after all of them."""
    monkeypatch.setattr(signing, "HANDED_OUT_MAX", 3)
    async with open_house(tmp_path) as house:
        await house.unlock()
        late = body(house, valid_ms=HANDED_OUT_MS_MAX + 1)
        await refused(house, Code.POLICY_REJECTED.rpc_code, late, submit=False)
        datas = [body(house, amount=number, once=bytes([number])) for number in range(1, 5)]
        for data in datas[:3]:
            await sign(house, data, submit=False)
        await refused(house, Code.POOL_FULL.rpc_code, datas[3], submit=False)
        assert (await sign(house, datas[0], submit=False))["payment"]["status"] == "signed"


async def test_what_is_with_others_counts_also_when_a_node_refuses_it(tmp_path: Path) -> None:
    """A program would have it refused on purpose, keep the bytes, and be free to sign more."""
    async with open_house(tmp_path) as house:
        await house.unlock()
        data = body(house)
        done = await sign(house, data, submit=False)
        house.node.refuse("tx_submit", Code.SEQUENCE_GAP, "not yet")
        await refused(house, Code.SEQUENCE_GAP.rpc_code, data, submit=True)
        (row,) = house.outbox.rows()
        assert row.status is Status.HANDED_OUT
        spent = (await house.call("wallet_getGuardrails", key="alice"))["today"][0]["spent"]
        assert spent == "1251"
        assert [one.status for one in await house.desk.payments.resume(100)] == ["pending"]
        del house.node.overrides["tx_submit"]
        again = await sign(house, data, submit=True)
        assert (again["payment"]["status"], again["transaction"]) == ("final", done["transaction"])


async def test_payments_pass_by_what_was_handed_out(tmp_path: Path) -> None:
    """They would wait behind something that is perhaps never sent."""
    async with open_house(tmp_path) as house:
        await house.unlock()
        await sign(house, body(house), submit=False)
        asked: dict[str, Any] = {
            "key": "alice",
            "to": "bob",
            "amount": "5",
            "idempotencyKey": "0x01",
        }
        paid = await house.call("wallet_send", **asked)
        assert (paid["status"], paid["lane"]) == ("final", 1)
        # Who changed his mind sends it after all.
        sent = await sign(house, body(house), submit=True)
        assert sent["payment"]["status"] == "final"


async def test_what_cannot_be_read_or_is_not_ours_is_not_signed(tmp_path: Path) -> None:
    """Somebody would sign what nobody can say in words, or for another network."""
    async with open_house(tmp_path) as house:
        await house.unlock()
        chain = house.node.chain
        await refused(house, INVALID_PARAMS, "0x91")
        await refused(house, INVALID_PARAMS, "0xzz")
        await refused(house, Code.WRONG_CHAIN.rpc_code, body(house, genesis=b"\x09" * 32))
        await refused(house, INVALID_PARAMS, body(house, sender=b"\x31" * 32))
        await refused(house, INVALID_PARAMS, body(house), role="payer")
        old = body(house)
        house.clock.time_ms += VALID_MS
        await house.unlock()
        await refused(house, Code.EXPIRED.rpc_code, old)
        await house.call("wallet_watch", name="friend", account=account_text(chain.bob.account))
        await refused(house, WALLET_REFUSED, body(house), key="friend")
        assert not house.node.final and not house.outbox.rows()


async def test_several_keys_sign_one_body_and_a_session_key_pays_for_its_owner(
    tmp_path: Path,
) -> None:
    """An agent could not be given limits by the service, nor pay within them."""
    async with open_house(tmp_path) as house:
        house.keystore.import_seed("agent", PASSPHRASE, b"\xa9" * 32)
        key = house.keystore.show("agent").public_key
        assert key is not None
        for name in ("alice", "agent"):
            await house.unlock(name)
        expires_ms = house.clock() + 86_400_000
        caps: list[Wire] = [["CLAW", 1_000, 2_000]]
        fields: list[Wire] = [key, "shop", expires_ms, [1], ["assets.transfer"], caps, [], b"", 0]
        data = body(house, [RawAction("accounts.grantSession", fields)])
        asked: dict[str, Any] = {"body": data, "submit": False, "confirmed": True}
        owner = await house.call("wallet_sign", key="alice", **asked)
        approver: dict[str, Any] = {"key": "agent", "role": "approver", "account": "alice"}
        # That one key was allowed to sign it allows no other.
        page = house.caller("wallet_sign", name="page")
        for more in (approver, {"key": "agent", "account": "alice"}):
            with pytest.raises(RpcError) as told:
                await house.call("wallet_sign", page, **{**asked, **more})
            assert told.value.code == CONFIRMATION_REQUIRED
        member = told.value.facts["requestId"]
        yes = await house.call("wallet_approve", id=member)
        assert (yes["request"]["state"], yes["signed"]["payment"]) == ("approved", None)
        both: dict[str, Any] = {**asked, "submit": True}
        with pytest.raises(RpcError) as apart:
            await house.call("wallet_sign", key="agent", account="alice", **both)
        assert apart.value.code == Code.DUPLICATE.rpc_code
        other = await house.call("wallet_sign", **approver, **asked)
        assert (other["payment"], owner["payment"]["status"]) == (None, "signed")
        entries = [
            entry
            for one in (owner, other)
            for entry in decode_transaction(bytes.fromhex(one["transaction"][2:])).witness
        ]
        raw = encode_transaction(bytes.fromhex(data[2:]), entries)
        house.node.tx_submit({"tx": f"0x{raw.hex()}"})
        # The service sees that what it handed out is final, and that the grant holds.
        assert [one.status for one in await house.desk.payments.resume(100)] == ["paid"]
        pay: dict[str, Any] = {"key": "agent", "owner": "alice", "to": "bob", "amount": "500"}
        caller = house.caller("wallet_send", "wallet_getPayment", keys=("agent",))
        paid = await house.call("wallet_send", caller, **pay, idempotencyKey="0xa9")
        assert (paid["status"], paid["lane"], paid["key"]) == ("final", 1, "agent")
        assert paid["account"] == account_text(house.node.chain.alice.account)
        found = await house.call("wallet_getPayment", caller, key="agent", idempotencyKey="0xa9")
        assert found == paid
        mine = body(house, amount=100, once=b"mine", lane=1, sequence=1)
        signed = await house.call("wallet_sign", key="agent", account="alice", body=mine)
        assert signed["payment"]["status"] == "final"
