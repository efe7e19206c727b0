"""The OpenRPC document and the reference say what the methods really take."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from clawpurse.modules.kit.web.errors import ERROR_KINDS, RpcError
from clawpurse.modules.kit.web.grants import Grant
from clawpurse.modules.kit.web.guard import RefusalLog
from clawpurse.modules.kit.web.jsonrpc import Context, Dispatcher, Method, Params
from clawpurse.modules.kit.web.openrpc import (
    discover_method,
    openrpc_document,
    reference_markdown,
)
from clawpurse.modules.kit.web.scopes import ALL_SCOPES


class Amount(BaseModel):
    asset: str
    amount: str


class GetBlock(Params):
    height: int | None = Field(None, ge=0, description="Height of the block")
    block_hash: str | None = None
    transactions: Literal["ids", "full"] = "ids"
    amounts: list[Amount] = Field(default_factory=list)


class Send(Params):
    tx: str = Field(description="Signed bytes | hex")


METHODS = [
    Method(
        "chain_getBlock",
        "A block",
        lambda _p, _c: {},
        GetBlock,
        dict[str, Amount],
        "block",
        errors=(-32001, -32002),
        description="By height or hash.",
    ),
    Method("tx_submit", "Submit", lambda _p, _c: {}, Send, {"type": "object"}, role="admin"),
    Method("a_none", "Nothing", lambda _p, _c: None),
]


def walk(value: Any) -> list[Any]:
    found = [value]
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    ):
        found += walk(inner)
    return found


def test_the_document_has_what_openrpc_asks_for() -> None:
    document = openrpc_document(METHODS, title="ClawPurse", version="1.0.0", description="x")
    assert document["openrpc"] == "1.3.2"
    assert document["info"] == {"title": "ClawPurse", "version": "1.0.0", "description": "x"}
    assert [m["name"] for m in document["methods"]] == ["a_none", "chain_getBlock", "tx_submit"]
    for method in document["methods"]:
        assert {"name", "params", "result", "errors", "summary"} <= set(method)
        assert method["paramStructure"] == "either"
        assert {"name", "schema"} <= set(method["result"])
        for param in method["params"]:
            assert {"name", "schema", "required"} <= set(param)
        for error in method["errors"]:
            assert {"code", "message"} <= set(error)
    # Required parameters come first, or positional calls would be ambiguous to readers.
    block = document["methods"][1]
    assert [p["name"] for p in block["params"]] == [
        "height", "blockHash", "transactions", "amounts",
    ]  # fmt: skip
    assert block["params"][0]["description"] == "Height of the block"
    assert block["params"][2]["schema"]["enum"] == ["ids", "full"]
    # Every reference has its target in the document.
    references = {v["$ref"] for v in walk(document) if isinstance(v, dict) and "$ref" in v}
    assert references == {"#/components/schemas/Amount"}
    assert set(document["components"]["schemas"]) == {"Amount"}


def test_documented_parameters_are_those_that_are_taken() -> None:
    """The document is checked against the validator: same names, same required ones."""
    dispatcher = Dispatcher(METHODS, log=RefusalLog(lambda: 0.0))
    for method in openrpc_document(METHODS, title="x", version="1")["methods"]:
        for param in method["params"]:
            others = {p["name"]: "x" for p in method["params"] if p["required"] and p is not param}
            call = {"jsonrpc": "2.0", "id": 1, "method": method["name"]}
            message = json.dumps({**call, "params": {**others, param["name"]: {"bad": 1}}})
            reply = dispatcher.answer(message, Context(grant=Grant("t", "t", ALL_SCOPES)))
            data = json.loads(reply)["error"]["data"]  # type: ignore[arg-type]
            assert {p["field"].split(".")[0] for p in data["problems"]} == {param["name"]}


def test_discover_returns_the_document_itself_included() -> None:
    discover = discover_method(METHODS, title="ClawPurse", version="1.0.0")
    dispatcher = Dispatcher([*METHODS, discover], log=RefusalLog(lambda: 0.0))
    reply = dispatcher.answer(b'{"jsonrpc":"2.0","id":1,"method":"rpc_discover"}', Context())
    document = json.loads(reply)["result"]  # type: ignore[arg-type]
    assert {m["name"] for m in document["methods"]} == set(dispatcher.methods)


def test_models_that_share_a_name_and_differ_are_refused() -> None:
    one = Method("a_one", "x", lambda _p, _c: 1, GetBlock)
    other_amount = type("Amount", (BaseModel,), {"__annotations__": {"x": int}})
    two = Method("a_two", "x", lambda _p, _c: 1, result=list[other_amount])  # type: ignore[valid-type]
    with pytest.raises(ValueError, match="Amount"):
        openrpc_document([one, two], title="x", version="1")


def test_the_reference_names_every_method_parameter_and_code() -> None:
    text = reference_markdown(METHODS)
    for method in METHODS:
        assert f"### {method.name}\n" in text
    for name in (
        "`blockHash`",
        "`ids` or `full`",
        "list of [Amount](#amount)",
        "Signed bytes \\| hex",
    ):
        assert name in text
    for code, kind in ERROR_KINDS.items():
        assert f"| {code} | {kind.message} |" in text


PUBLISHED = {
    -32700: "Parse error", -32600: "Invalid Request", -32601: "Method not found",
    -32602: "Invalid params", -32603: "Internal error",
    -32001: "notFound", -32002: "pruned", -32003: "syncing", -32004: "limitExceeded",
    -32005: "rateLimited", -32006: "unauthenticated", -32007: "forbidden", -32008: "timeout",
    -32009: "methodDisabled", -32010: "malformed", -32011: "badSignature",
    -32012: "sequenceLow", -32013: "sequenceGap", -32014: "expired",
    -32015: "insufficientFunds", -32016: "duplicate", -32017: "poolFull", -32018: "frozen",
    -32019: "notAuthorised", -32020: "policyRejected", -32021: "approvalRequired",
    -32022: "wrongChain", -32023: "quotaExceeded", -32024: "badConfiguration",
    -32025: "keyLocked", -32026: "wrongPassphrase", -32027: "guardrailRefused",
    -32028: "confirmationRequired", -32029: "walletRefused", -32030: "nodeUnreachable",
    -32031: "storageFault",
    -32032: "conflict",
}  # fmt: skip


def test_the_published_error_codes_have_their_names_and_advice() -> None:
    assert {code: kind.message for code, kind in ERROR_KINDS.items()} == PUBLISHED
    for kind in ERROR_KINDS.values():
        assert kind.error_class in ("malformed", "failed", "local", "retry")
        assert kind.hint
        assert kind.retryable == (kind.error_class == "retry")


def test_an_error_survives_the_wire() -> None:
    sent = RpcError(-32015, "has 5, needs 12", facts={"needs": "12", "reason": "hidden"})
    read = RpcError.from_object(json.loads(json.dumps(sent.as_object())))
    assert read.as_object() == sent.as_object()
    assert read.as_object()["data"]["reason"] == "has 5, needs 12"
    foreign = RpcError.from_object({"code": 3, "message": "execution reverted", "data": "0x"})
    assert (foreign.code, foreign.message, foreign.facts) == (
        3,
        "execution reverted",
        {"data": "0x"},
    )
