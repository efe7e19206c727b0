"""Calls made from the wallet service's published schemas: answered as it says, or refused so."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from clawpurse.ledger.address import account_text
from clawpurse.modules.kit.web.errors import INTERNAL_ERROR, INVALID_PARAMS
from clawpurse.modules.kit.web.openrpc import GENERAL_ERRORS, openrpc_document
from tests.node.rpc.published import undescribed
from tests.node.rpc.schema_values import Values
from tests.wallet.servicehouse import PASSPHRASE, House, open_house
from tests.wallet.test_service_signing import body

CALLS = 400
CALLS_FULL = 8_000
# Wrong passphrases make the next ones wait, and every one is a hash: drawn less often.
# Longer than any wait after wrong passphrases; a body's time has to outlast all of them.
PAUSE_MS, BODY_MS = 301_000, 20 * 3_600_000
RARELY = ("wallet_create", "wallet_import", "wallet_unlock")


async def known_values(house: House) -> dict[str, list[Any]]:
    """Return values that exist, by the names of the parameters that take them."""
    await house.unlock()
    paid = await house.call("wallet_send", key="alice", to="bob", amount="5", idempotencyKey="0x01")
    policy = (await house.call("wallet_getGuardrails", key="alice"))["policy"]
    agent = house.caller("wallet_send")
    requests = []
    for number in range(2, 12):
        params = {"key": "alice", "to": "bob", "amount": "20000"}
        answer = await house.raw(
            "wallet_send", {**params, "idempotencyKey": f"0x{number:02x}"}, agent
        )
        requests.append(answer["error"]["data"]["requestId"])
    bob = account_text(house.node.chain.bob.account)
    return {
        "key": ["alice"],
        "name": ["alice"] * 30 + [f"fresh{number}" for number in range(90)],
        "to": ["bob", bob],
        "account": ["bob", bob],
        "owner": [None],
        "passphrase": [PASSPHRASE],
        "amount": ["1", "7"],
        "asset": ["CLAW"],
        "fee": [None, "1"],
        "payments": [[{"to": "bob", "amount": "3"}]],
        "idempotencyKey": ["0x01", *(f"0x99{number:02x}" for number in range(40))],
        "txId": [paid["txId"]],
        "id": requests,
        "body": [body(house, amount=amount, valid_ms=BODY_MS) for amount in (2, 20_000)],
        "policy": [policy],
        "memo": ["", "lunch"],
        "waitMs": [0, 10],
        "cursor": ["1", None],
        "seed": ["0x" + f"{number:02x}" * 32 for number in range(1, 90)],
        "actions": [[{"name": "accounts.approve", "fields": {"proposal": "0x" + "00" * 32}}]],
        "reason": ["for lunch"],
    }


async def follow_the_document(house: House, calls: int, seed: int) -> Mapping[str, list[int]]:
    """Make calls; return how many of each method were answered and refused."""
    known = await known_values(house)
    document = openrpc_document(house.methods, title="wallet", version="1")
    chance = random.Random(seed)
    values = Values(chance, document["components"], known)
    validators = {
        one["name"]: Draft7Validator(
            {**one["result"]["schema"], "components": document["components"]}
        )
        for one in document["methods"]
    }
    counts: dict[str, list[int]] = {one["name"]: [0, 0] for one in document["methods"]}
    for number in range(calls):
        method = document["methods"][number % len(document["methods"])]
        name = method["name"]
        if name in RARELY:
            if chance.random() < 0.8:
                continue
            # Whoever was wrong before may try again by now.
            house.clock.time_ms += PAUSE_MS
        params, allowed = values.call(method)
        if name == "wallet_setGuardrails" and isinstance(params, dict) and "key" in params:
            # Drawn limits only ever tighten: alice has to go on paying.
            params["key"] = "bob" if params["key"] == "alice" else params["key"]
        if name == "wallet_import" and allowed and "seed" in params:
            # It takes one of three; most draws have more.
            params = {key: params[key] for key in params if key not in ("words", "keyFile")}
        answer = await house.raw(name, params)
        if "result" in answer:
            validator = validators[name]
            problems = [one.message[:200] for one in validator.iter_errors(answer["result"])]
            unsaid = list(undescribed(validator.schema, validator.schema, answer["result"]))
            assert (problems, unsaid) == ([], []), (name, params)
            assert allowed, (name, params, "is what the schema forbids")
            counts[name][0] += 1
            continue
        code = answer["error"]["code"]
        declared = {error["code"] for error in method["errors"]}
        assert code != INTERNAL_ERROR, (name, params, answer)
        assert code in declared or code in GENERAL_ERRORS, (name, params, answer)
        assert allowed or code == INVALID_PARAMS, (name, params, answer)
        counts[name][1] += 1
        house.clock.time_ms += 1
        if code == -32025:
            await house.raw("wallet_unlock", {"name": "alice", "passphrase": PASSPHRASE})
    assert "incident" not in house.log.counts
    return counts


@pytest.mark.parametrize(
    ("calls", "seed"),
    [(CALLS, 1), *(pytest.param(CALLS_FULL, seed, marks=pytest.mark.full) for seed in (2, 3))],
)
async def test_every_method_keeps_to_its_schema(
    calls: int, seed: int, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """No internal error, no code that is not declared, no result of another shape, no secret."""
    with caplog.at_level(logging.DEBUG):
        async with open_house(tmp_path) as house:
            counts = await follow_the_document(house, calls, seed)
    assert [one for one in caplog.records if one.exc_info or one.levelno >= logging.ERROR] == []
    assert PASSPHRASE not in caplog.text
    if calls > CALLS:
        silent = {name for name, (answered, _) in counts.items() if not answered}
        assert silent == set()
