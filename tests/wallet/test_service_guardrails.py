"""Guardrails by the wallet service: read with the day's sums, loosened never by a token alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clawpurse.ledger.errors import Code
from clawpurse.modules.kit.web.errors import (
    GUARDRAIL_REFUSED,
    INVALID_PARAMS,
    KEY_LOCKED,
    WALLET_REFUSED,
    RpcError,
)
from clawpurse.wallet import approvals
from clawpurse.wallet.guardrail_changes import weakened
from clawpurse.wallet.guardrail_json import policy_from
from clawpurse.wallet.second_factor import STEP_MS, hotp, step_of
from tests.wallet.servicehouse import DAY_MS, PASSPHRASE, House, open_house


async def policy_of(house: House, key: str = "alice") -> dict[str, Any]:
    """Return a policy to change."""
    found: dict[str, Any] = (await house.call("wallet_getGuardrails", key=key))["policy"]
    return found


async def refused(house: House, wanted: int, /, **params: Any) -> RpcError:
    """Try to change guardrails, and be refused with this code."""
    with pytest.raises(RpcError) as told:
        await house.call("wallet_setGuardrails", key="alice", **params)
    assert told.value.code == wanted, told.value
    return told.value


async def test_an_agent_reads_what_is_left_of_today(tmp_path: Path) -> None:
    """It would find out by being refused, again and again."""
    async with open_house(tmp_path) as house:
        await house.unlock()
        asked: dict[str, Any] = {
            "key": "alice",
            "to": "bob",
            "amount": "1250",
            "idempotencyKey": "0x01",
        }
        await house.call("wallet_send", **asked)
        found = await house.call("wallet_getGuardrails", key="alice")
        assert (found["revision"], found["codes"], found["changedAt"]) == (0, False, None)
        assert found["today"] == [
            {
                "asset": "CLAW",
                "spent": "1251",
                "perDay": "500000",
                "left": "498749",
                "resetsMs": house.clock() // DAY_MS * DAY_MS + DAY_MS,
            }
        ]
        house.node.down = True
        assert (await house.call("wallet_getGuardrails", key="alice"))["today"] == []


async def test_tightening_needs_the_open_key_alone(tmp_path: Path) -> None:
    """Somebody in a hurry to stop an agent would look for a phone first."""
    async with open_house(tmp_path) as house:
        policy = await policy_of(house)
        policy["assets"][0]["perTransaction"] = "1000"
        await refused(house, KEY_LOCKED, policy=policy)
        done = await house.call(
            "wallet_setGuardrails", key="alice", policy=policy, passphrase=PASSPHRASE
        )
        assert (done["revision"], done["weakened"]) == (1, [])
        await house.unlock()
        with pytest.raises(RpcError) as over:
            asked: dict[str, Any] = {
                "key": "alice",
                "to": "bob",
                "amount": "1250",
                "idempotencyKey": "0x01",
            }
            await house.call("wallet_send", **asked)
        assert (over.value.code, over.value.facts["allowed"]) == (GUARDRAIL_REFUSED, "1000")
        policy["recipients"] = []
        stale = await refused(house, Code.DUPLICATE.rpc_code, policy=policy, revision=0)
        assert "revision 1" in stale.reason


async def test_loosening_is_refused_without_a_second_factor(tmp_path: Path) -> None:
    """A program with a token would raise its own limit, then spend."""
    async with open_house(tmp_path) as house:
        await house.unlock()
        policy = await policy_of(house)
        policy["assets"][0]["perTransaction"] = None
        told = await refused(house, Code.APPROVAL_REQUIRED.rpc_code, policy=policy)
        assert told.facts["weaker"] == ["The limit of CLAW at once would be higher, or gone."]
        await refused(house, WALLET_REFUSED, policy=policy, words="abandon " * 24)
        await refused(house, INVALID_PARAMS, policy=policy, code="123456")
        wrong: dict[str, Any] = {"policy": policy, "code": "123456", "passphrase": PASSPHRASE}
        await refused(house, Code.NOT_AUTHORISED.rpc_code, **wrong)
        await refused(house, INVALID_PARAMS, policy=policy, code="1", words="x")
        await refused(house, INVALID_PARAMS, policy=policy, approval="{}")
        assert await policy_of(house) != policy


async def test_a_code_a_cosigner_or_the_words_loosen(tmp_path: Path) -> None:
    """The owner could not change a limit from the page, and would turn guardrails off instead."""
    async with open_house(tmp_path) as house:
        made = await house.call(
            "wallet_create", name="carol", passphrase=PASSPHRASE, revealWords=True
        )
        info = house.keystore.show("carol")
        carol = house.keystore.unlock("carol", PASSPHRASE).signer
        assert info.public_key == carol.public_key
        store = house.desk.guardrails
        everything: dict[str, Any] = {"key": "carol", "passphrase": PASSPHRASE}

        policy = await policy_of(house, "carol")
        bob = house.keystore.unlock("bob", PASSPHRASE).signer
        policy["cosigners"] = [{"label": "bob", "publicKey": f"0x{bob.public_key.hex()}"}]
        words = " ".join(made["words"])
        done = await house.call("wallet_setGuardrails", policy=policy, words=words, **everything)
        assert done["weakened"] == ["bob could lift limits."]

        policy["assets"][0]["perDay"] = "900000"
        kept = store.show(info.public_key)
        after = policy_from(policy)
        subject = approvals.change_subject(kept.digest, policy, weakened(kept.policy, after))
        word = store.request(info.public_key, approvals.CHANGE, subject).signed_by(bob)
        text = word.encode().decode()
        done = await house.call("wallet_setGuardrails", policy=policy, approval=text, **everything)
        assert done["revision"] == 2

        secret = store.enrol(carol)
        store.confirm(carol, hotp(secret, step_of(house.clock())))
        house.clock.time_ms += STEP_MS
        policy["unknown"] = "allow"
        code = hotp(secret, step_of(house.clock()))
        done = await house.call("wallet_setGuardrails", policy=policy, code=code, **everything)
        assert (done["revision"], done["codes"], done["policy"]["unknown"]) == (3, True, "allow")
        changes = [line for line in store.log(info.public_key) if line.what == "change"]
        assert [line.by["factor"] for line in changes] == ["words", "cosigner", "code"]


async def test_recipients_may_be_named_and_nonsense_is_refused(tmp_path: Path) -> None:
    """A slip in a policy would be kept as no limit at all."""
    async with open_house(tmp_path) as house:
        await house.unlock()
        policy = await policy_of(house)
        for nonsense in (
            {"mode": "sometimes"},
            {"assets": [{"asset": "CLAW", "decimals": 2, "perDay": 5}]},
            {"assets": [{"asset": "CLAW", "decimals": 2, "perDay": "-5"}]},
            {"assets": policy["assets"] * 2},
            {"more": 1},
            {"memoPrefix": "\u0007"},
        ):
            await refused(house, INVALID_PARAMS, policy={**policy, **nonsense})
        unknown = {**policy, "recipients": [{"account": "nobody"}]}
        with pytest.raises(RpcError):
            await house.call("wallet_setGuardrails", key="alice", policy=unknown)
        strict = {**policy, "unknown": "refuse"}
        done = await house.call("wallet_setGuardrails", key="alice", policy=strict)
        assert json.dumps(done["policy"])
        with pytest.raises(RpcError) as stranger:
            asked: dict[str, Any] = {
                "key": "alice",
                "to": "bob",
                "amount": "1",
                "idempotencyKey": "0x01",
            }
            await house.call("wallet_send", **asked)
        assert stranger.value.facts["limit"] == "unknownRecipient"
        friend = {**strict, "recipients": [{"account": "bob", "label": "Bob"}]}
        told = await refused(house, Code.APPROVAL_REQUIRED.rpc_code, policy=friend)
        assert told.facts["weaker"] == ["Bob would be on the allowlist."]
        await house.call("wallet_watch", name="friend", account="bob")
        with pytest.raises(RpcError) as watched:
            await house.call("wallet_getGuardrails", key="friend")
        assert watched.value.code == WALLET_REFUSED
