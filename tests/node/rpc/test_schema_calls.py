"""Calls made from the published schemas: each is answered as the document says, or refused so.

`test_hostile.py` throws stones; here a careful program reads `/openrpc.json` and believes it.
"""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from clawpurse.modules.kit.web.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_DISABLED,
)
from clawpurse.modules.kit.web.grants import Grant
from clawpurse.modules.kit.web.openrpc import GENERAL_ERRORS
from clawpurse.modules.kit.web.scopes import read_scopes
from tests.node.rpc.nodeworld import TOKEN, NodeWorld, Running, hexed, run_world, text_of
from tests.node.rpc.schema_values import Values
from tests.node.rpc.stock import ROLES, stocked
from tests.node.rpc.test_hostile import AGENT, ask

CALLS = 1_000
CALLS_FULL = 20_000
# Stopping is what may not be done here. The others need a WebSocket, or who may propose.
LEFT_OUT = ("admin_stop", "rpc_discover")
NEVER_RIGHT = ("sub_subscribe", "sub_unsubscribe")
PAYMENT_PERIOD = 400
# Everything is open to this caller, as to a node's own operator.
OPERATOR_GRANT = Grant("t-operator", "operator", read_scopes(["*"]))


async def known_values(world: NodeWorld, node: Running) -> dict[str, list[Any]]:
    """Return values that exist, by the names of the parameters that take them."""
    await world.final(node, world.pay(world.bob))
    known = await stocked(world, node, AGENT)
    paid = world.pay(world.alice, key=b"k")
    await world.final(node, paid)
    accounts = [text_of(world.alice), text_of(world.carol)]
    for name in ("account", "sender", "from", "to"):
        known[name] = accounts
    known |= {
        "tx": [hexed(paid.raw), hexed(world.body(world.alice).pack())],
        "txs": [[hexed(paid.raw)], []],
        "txId": [hexed(paid.tx_id)],
        "hash": [hexed(world.genesis.hash)],
        "path": [hexed(b"c")],
        "key": [hexed(b"a" + world.alice.account), *known["key"]],
        "height": [1, 2],
        "atHeight": [0, 1, 2],
        "fromHeight": [1, 2],
        "amount": ["1", "7"],
        "asset": ["CLAW", "EUR"],
        "cursor": ["1.0", "0"],
        "timeoutMs": [0],
        "waitMs": [0],
        # Nobody listens there: what is delivered fails, and is tried again.
        "url": ["http://127.0.0.1:1/hook"],
        "topic": ["transactions", "account"],
        "filter": [{"account": text_of(world.alice)}, {}],
        "deliveryId": [1, 2, 3],
        "fromCursor": ["1.0", "beginning"],
        "deadLetters": [True],
        "peer": [f"{'ab' * 32}@127.0.0.1:9640"],
        "logger": ["p2p"],
    }
    made = await node.client(TOKEN).call("webhook_create", {"url": known["url"][0]})
    known["id"] = [made["id"]]
    return known


async def follow_the_document(world: NodeWorld, calls: int, seed: int) -> dict[str, list[int]]:
    """Make calls; return how many of each method were answered and refused."""
    node = await world.node(webhook_allow=("127.0.0.1/32",))
    known = await known_values(world, node)
    document = await node.call("rpc_discover")
    chance = random.Random(seed)
    values = Values(chance, document["components"], known)
    methods = [method for method in document["methods"] if method["name"] not in LEFT_OUT]
    results = {
        method["name"]: Draft7Validator(
            {**method["result"]["schema"], "components": document["components"]}
        )
        for method in methods
    }
    counts: dict[str, list[int]] = {method["name"]: [0, 0] for method in methods}
    for number in range(calls):
        method = methods[number % len(methods)]
        name = method["name"]
        params, allowed = values.call(method)
        for wait in ("timeoutMs", "waitMs"):
            if isinstance(params, dict) and isinstance(params.get(wait), int) and params[wait] > 0:
                params[wait], allowed = 0, True
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": number, "method": name, "params": params}
        answer = await ask(node, message, OPERATOR_GRANT)
        if "result" in answer:
            if name == "webhook_create":
                # The newest few: others are deleted by now, or are none that a delivery is of.
                known["id"][:] = [*known["id"][-2:], answer["result"]["id"]]
            if name == "webhook_listDeliveries" and answer["result"]["deliveries"]:
                found = answer["result"]["deliveries"]
                known["deliveryId"][:] = [one["id"] for one in found[:2]]
                of = params["id"] if isinstance(params, dict) else params[0]
                known["id"][:] = [*known["id"][-1:], of, of]
            problems = [
                error.message[:200] for error in results[name].iter_errors(answer["result"])
            ]
            assert problems == [], (message, problems)
            counts[name][0] += 1
        else:
            code = answer["error"]["code"]
            declared = {error["code"] for error in method["errors"]}
            assert code != INTERNAL_ERROR, (message, answer)
            assert code in declared or code in GENERAL_ERRORS, (message, answer)
            counts[name][1] += 1
        if not allowed:
            assert "error" in answer, (message, "is what the schema forbids")
            # Who may not call this way is told so whatever the parameters are.
            refused = (INVALID_PARAMS, METHOD_DISABLED)
            assert answer["error"]["code"] in refused, (message, answer)
        if number % PAYMENT_PERIOD == 0:
            await world.final(node, world.pay(world.bob))
    assert "incident" not in node.node.ports.refusals.counts
    return counts


@pytest.mark.parametrize(
    ("calls", "seed"),
    [(CALLS, 1), *(pytest.param(CALLS_FULL // 2, seed, marks=pytest.mark.full) for seed in (2, 5))],
)
def test_every_method_keeps_to_its_schema(
    calls: int, seed: int, caplog: pytest.LogCaptureFixture, tmp_path: Path, levels: None
) -> None:
    """No internal error, no traceback, no code that is not declared, no result of another shape."""

    async def run(world: NodeWorld) -> Any:
        world.webhook_folder = tmp_path / "webhooks"
        world.webhook_folder.mkdir()
        world.config_folder = tmp_path
        return await follow_the_document(world, calls, seed)

    with caplog.at_level(logging.INFO):
        counts = run_world(run, quota_cost_max=10**12, roles=ROLES)
    assert [r for r in caplog.records if r.exc_info or r.levelno >= logging.ERROR] == []
    if calls > CALLS:
        silent = {name for name, (answered, _) in counts.items() if not answered}
        assert silent <= {*NEVER_RIGHT, "governance_getProposal"}
