"""What a payment meets at the desk: a module that pays in every way, tellers, scores of risk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clawpurse.ledger.blocks import Receipt
from clawpurse.ledger.genesis import GenesisRole
from clawpurse.ledger.module_api import ActionType, Context, Field, FieldType, Module
from clawpurse.ledger.transactions import RawAction
from clawpurse.ledger.transition import ExecutionResult
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, Key
from tests.modules.council import event
from tests.modules.officers_world import OFFICERS, OTHER_ISSUER, Desk

ONE, TWO, *_ = OFFICERS
TELLER, SECOND_TELLER = Key("teller"), Key("second teller")
TRAVEL = bytes(range(32))


def _words(_fields: Any, _words: Any) -> str:
    return "A test's own action."


def _approvers(values: Sequence[Any], _body: Any) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((account, key) for account, key in values[4])


_PAIRS = (Field("account", FieldType.ACCOUNT, ""), Field("key", FieldType.KEY, ""))
_PAY = ActionType(
    "counter.pay",
    (
        Field("asset", FieldType.ASSET, ""),
        Field("recipient", FieldType.ACCOUNT, ""),
        Field("amount", FieldType.AMOUNT, ""),
        Field("travelHash", FieldType.HASH, "", optional=True),
        Field("approvers", FieldType.LIST, "", 8, items=_PAIRS),
    ),
    100,
    _words,
    approvers=_approvers,
)
_APART = ActionType("counter.setApart", _PAY.fields[:3], 100, _words)
_HASH = (Field("hold", FieldType.HASH, ""), Field("amount", FieldType.AMOUNT, ""))
_PAID = ActionType("counter.payApart", _HASH, 100, _words)
_BACK = ActionType("counter.giveBack", _HASH, 100, _words)
_SETTLE = ActionType(
    "counter.settle",
    (Field("hold", FieldType.HASH, ""), Field("release", FieldType.INTEGER, "")),
    100,
    _words,
)
_SEIZE = ActionType(
    "counter.seize",
    (
        Field("asset", FieldType.ASSET, ""),
        Field("source", FieldType.ACCOUNT, ""),
        Field("amount", FieldType.AMOUNT, ""),
        Field("hold", FieldType.HASH, "", optional=True),
    ),
    100,
    _words,
)


def _pay(context: Context, values: Sequence[Any]) -> None:
    asset, target, amount, travel_hash, _ = values
    context.transfer(asset, context.sender, target, amount, holdable=True, travel_hash=travel_hash)


def _apart(context: Context, values: Sequence[Any]) -> None:
    asset, target, amount = values
    context.set_apart(asset, context.sender, target, amount, rule="counter.apart")


def _settle(context: Context, values: Sequence[Any]) -> None:
    context.settle(values[0], release=bool(values[1]))


def _seize(context: Context, values: Sequence[Any]) -> None:
    asset, source, amount, hold_id = values
    context.seize(asset, source, context.sender, amount, hold_id)


COUNTER = Module(
    "counter",
    1,
    (_PAY, _APART, _PAID, _BACK, _SETTLE, _SEIZE),
    {
        "counter.pay": _pay,
        "counter.setApart": _apart,
        "counter.payApart": lambda context, values: context.pay_apart(*values),
        "counter.giveBack": lambda context, values: context.give_back(*values),
        "counter.settle": _settle,
        "counter.seize": _seize,
    },
)
SCORES: dict[bytes, int] = {ALICE.account: 40, BOB.account: 70}
RISK = Module(
    "risk", 1, (), {}, queries={"score": lambda _reader, account, _time_ms: SCORES.get(account)}
)
OPENED = {
    ALICE: {"CLAW": 1_000_000, "EUR": 1_000_000},
    BOB: {"CLAW": 1_000_000, "EUR": 1_000_000},
    CAROL: {"EUR": 1_000_000},
    DAVE: {},
    TELLER: {},
    SECOND_TELLER: {},
    **{key: {} for key in (Key("admin"), Key("issuer"), OTHER_ISSUER, ONE, TWO)},
}


def desk() -> Desk:
    roles = [GenesisRole("admin", Key("admin").account)]
    roles += [GenesisRole("compliance", one.account) for one in (ONE, TWO)]
    roles += [GenesisRole("teller", one.account) for one in (TELLER, SECOND_TELLER)]
    return Desk(COUNTER, RISK, opening=OPENED, roles=tuple(sorted(roles)))


def pay_for(
    chain: Desk,
    amount: int = 100,
    *,
    source: Key = ALICE,
    target: Key = BOB,
    travel_hash: bytes | None = None,
    approvers: Sequence[Key] = (),
) -> Receipt:
    pairs: list[Any] = sorted([one.account, one.public] for one in approvers)
    action = RawAction("counter.pay", ["EUR", target.account, amount, travel_hash, pairs])
    signed = [(one, one.account) for one in approvers]
    return chain.pay(source, action, approvers=signed).receipts[0]


def set_apart(chain: Desk, amount: int, source: Key = ALICE, target: Key = BOB) -> bytes:
    action = RawAction("counter.setApart", ["EUR", target.account, amount])
    result = chain.pay(source, action)
    assert result.receipts[0].code == 0, result.receipts[0]
    hold_id: bytes = event(result, "kernel.setApart")[3][2]  # type: ignore[assignment]
    return hold_id


def held_id(result: ExecutionResult) -> bytes:
    hold_id: bytes = event(result, "kernel.held")[3][2]  # type: ignore[assignment]
    return hold_id


def denied(receipt: Receipt) -> bool:
    if receipt.code == 0:
        return False
    assert receipt.rule in ("compliance.denied", "compliance.approvals"), receipt
    return True
