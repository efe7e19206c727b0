"""/openrpc.json: what generators of clients read, held against the official meta-schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7
from trio.testing import MockClock

from clawpurse.modules.kit.web.errors import ERROR_KINDS
from clawpurse.wallet.keys import SigningKey
from tests.node.rpc.nodeworld import NodeWorld, Running, hexed, text_of
from tests.node.rpc.stock import ROLES, stocked

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "openrpc"


def schemas() -> tuple[dict[str, Any], Registry]:
    """The meta-schema of OpenRPC, and a registry that has the other which it refers to."""
    meta = json.loads((VECTORS / "meta-schema.json").read_text(encoding="utf-8"))
    inner = DRAFT7.create_resource(
        json.loads((VECTORS / "json-schema.json").read_text(encoding="utf-8"))
    )
    where = "https://meta.json-schema.tools"
    return meta, Registry().with_resources([(where, inner), (where + "/", inner)])


def references(value: Any) -> set[str]:
    """Every `$ref` of a document."""
    found: set[str] = set()
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            found.add(value["$ref"])
        value = list(value.values())
    if isinstance(value, list):
        found = found.union(*(references(one) for one in value))
    return found


async def test_the_document_is_what_openrpc_says_one_is(
    autojump_clock: MockClock, node: Running
) -> None:
    """A generator that reads OpenRPC would stop at the first thing that is not."""
    document = await node.call("rpc_discover")
    meta, registry = schemas()
    validator = Draft7Validator(meta, registry=registry)
    assert [str(error.message)[:300] for error in validator.iter_errors(document)] == []
    # The check checks: each of these is refused.
    for broken in (
        {**document, "openrpc": 1},
        {**document, "methods": [{"name": "x"}]},
        {**document, "info": {}},
        {**document, "unheardOf": 1},
    ):
        assert not validator.is_valid(broken)


async def test_every_reference_resolves_and_every_schema_is_one(
    autojump_clock: MockClock, node: Running
) -> None:
    """One dangling reference fails a whole generated client."""
    document = await node.call("rpc_discover")
    names = document["components"]["schemas"]
    for reference in references(document):
        prefix, _, name = reference.rpartition("/")
        assert (prefix, name in names) == ("#/components/schemas", True), reference
    for schema in names.values():
        Draft7Validator.check_schema(schema)
    for method in document["methods"]:
        Draft7Validator.check_schema(method["result"]["schema"])
        for param in method["params"]:
            Draft7Validator.check_schema(param["schema"])
        for error in method["errors"]:
            assert error["message"] == ERROR_KINDS[error["code"]].message


Params = Callable[[NodeWorld, str], dict[str, Any]]
EXAMPLES: dict[str, Params] = {
    "chain_getStatus": lambda _w, _t: {},
    "chain_getBlock": lambda _w, _t: {"height": 1, "transactions": "full"},
    "chain_getLightBlock": lambda _w, _t: {"height": 1},
    "chain_getGenesis": lambda _w, _t: {},
    "chain_getProof": lambda w, _t: {"key": hexed(b"a" + w.alice.account)},
    "account_get": lambda w, _t: {"account": text_of(w.alice)},
    "account_getBalances": lambda w, _t: {"account": text_of(w.alice), "atHeight": 1},
    "account_getSequence": lambda w, _t: {"account": text_of(w.alice), "lane": 2},
    "account_getTransactions": lambda w, _t: {"account": text_of(w.alice), "limit": 500},
    "account_getStatement": lambda w, _t: {"account": text_of(w.alice), "fromHeight": 1},
    "asset_get": lambda _w, _t: {"asset": "EUR"},
    "asset_list": lambda _w, _t: {},
    "asset_getSupply": lambda _w, _t: {"asset": "CLAW"},
    "asset_getHolders": lambda _w, _t: {"asset": "EUR"},
    "mempool_getStatus": lambda _w, _t: {},
    "mempool_getTransactions": lambda _w, _t: {},
    "consensus_getAuthorities": lambda _w, _t: {},
    "net_getPeers": lambda _w, _t: {},
    "node_getInfo": lambda _w, _t: {},
    "node_getHealth": lambda _w, _t: {},
    "node_getVersion": lambda _w, _t: {},
    "tx_get": lambda _w, t: {"txId": t},
    "tx_getReceipt": lambda _w, t: {"txId": t, "prove": True},
    "tx_wait": lambda _w, t: {"txId": t},
    "tx_submit": lambda w, _t: {"tx": hexed(w.pay(w.alice).raw), "wait": "final"},
    "tx_simulate": lambda w, _t: {"tx": hexed(w.body(w.bob).pack())},
    "tx_decode": lambda w, _t: {"tx": hexed(w.pay(w.bob, sequence=9).raw)},
}


async def test_core_calls_and_their_answers_fit_the_published_schemas(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A typed client would send what is refused, or trip over what it gets."""
    document = await node.call("rpc_discover")
    methods = {method["name"]: method for method in document["methods"]}
    (paid,) = await world.final(node, world.pay(world.alice))
    for name, make in EXAMPLES.items():
        method, params = methods[name], make(world, paid["txId"])
        described = {param["name"]: param for param in method["params"]}
        assert params.keys() <= described.keys()
        for key, value in params.items():
            fits(document, described[key]["schema"], value)
        # The core's results say what they are: no object without members, nothing unsaid.
        assert "$ref" in method["result"]["schema"] or method["result"]["schema"].get("properties")
        fits(document, method["result"]["schema"], await node.call(name, **params))


async def test_no_method_answers_an_object_that_says_nothing(
    autojump_clock: MockClock, node: Running
) -> None:
    """A generated client has a type for each answer."""
    document = await node.call("rpc_discover")
    untyped = {
        method["name"]
        for method in document["methods"]
        if method["result"]["schema"].get("type") == "object"
        and not method["result"]["schema"].get("properties")
    }
    # The document is OpenRPC's, which has a schema of its own.
    assert untyped == {"rpc_discover"}


async def test_payments_sessions_and_roles_answer_in_their_shapes(
    autojump_clock: MockClock, make_world: Callable[..., NodeWorld]
) -> None:
    """Every member that is answered is described, and every one that is described fits."""
    world = make_world(roles=ROLES)
    node, agent = await world.node(), SigningKey(bytes([0xA9]) * 32)
    known = await stocked(world, node, agent)
    document = await node.call("rpc_discover")
    methods = {method["name"]: method for method in document["methods"]}
    me = {"account": text_of(world.alice)}
    names = {"escrow": "Escrow", "hold": "Hold", "scheduled": "Scheduled", "batch": "Batch"}
    names |= {"invoice": "Invoice", "channel": "Channel"}
    calls: list[tuple[str, dict[str, Any]]] = [
        *((f"payment_get{name}", {one: known[one][0]}) for one, name in names.items()),
        ("payment_getRefunds", {"payment": known["payment"][0]}),
        ("payment_listHolds", me),
        ("payment_listBatches", me),
        ("payment_listObjects", me),
        (
            "payment_verifyVoucher",
            {"channel": known["channel"][0], "amount": "1", "signature": hexed(bytes(64))},
        ),
        ("session_get", {**me, "key": known["key"][0]}),
        ("session_list", me),
        ("sponsorship_list", {"sponsor": me["account"]}),
        ("role_list", {}),
        ("role_list", me),
        ("role_list", {"role": "compliance"}),
        ("role_check", {**me, "role": "compliance"}),
        ("role_getHistory", {**me, "role": "compliance"}),
    ]
    for name, params in calls:
        schema, answer = methods[name]["result"]["schema"], await node.call(name, **params)
        fits(document, schema, answer)
        assert set(answer) <= set(schema["properties"]), name


def fits(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    """Hold a value against a schema of a document."""
    validator = Draft7Validator({**schema, "components": document["components"]})
    problems = [f"{list(e.path)}: {e.message}"[:300] for e in validator.iter_errors(value)]
    assert problems == []
