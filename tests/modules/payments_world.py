"""A sandbox with the module payments, and a warden who freezes, holds, claws back, and tells who
stands behind an account: what other modules do on a real network, each in one action.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clawpurse.ledger.blocks import Event, Receipt
from clawpurse.ledger.errors import Code
from clawpurse.ledger.genesis import GenesisRole
from clawpurse.ledger.module_api import (
    ALLOW,
    ActionType,
    Context,
    Field,
    FieldType,
    Module,
    Movement,
    Verdict,
    VerdictKind,
)
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.rules import Rule
from clawpurse.ledger.transactions import RawAction
from clawpurse.ledger.transition import ExecutionResult
from clawpurse.modules.payments import chain as payments
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, FRANK, Key
from tests.modules.council import Council

HOUR_MS = 3_600_000
# Payments of this much wait for two compliance officers; at their time they are paid, or return.
HELD_THEN_PAID, HELD_THEN_RETURNED = 500, 400
OPENING = {
    ALICE: {"CLAW": 1_000_000, "EUR": 50_000},
    BOB: {"CLAW": 10_000, "EUR": 1_000},
    CAROL: {"CLAW": 10_000},
    DAVE: {"CLAW": 10_000},
    ERIN: {"CLAW": 10_000},
}


def _freeze(context: Context, values: Sequence[Any]) -> None:
    account, on = values
    if on:
        context.put(b"f" + account, b"\x01")
    else:
        context.delete(b"f" + account)


def _seize(context: Context, values: Sequence[Any]) -> None:
    asset, source, target, amount, hold_id = values
    context.seize(asset, source, target, amount, hold_id)


def _subject(context: Context, values: Sequence[Any]) -> None:
    context.set_subject(values[0], values[1])


def _on_transfer(context: Context, movement: Movement) -> Verdict:
    for party in (movement.source, movement.target):
        if context.get(b"f" + party) is not None:
            return Verdict(VerdictKind.DENY, "warden.frozen", 1, (party,))
    if movement.purpose != "release":
        for amount, released in ((HELD_THEN_PAID, True), (HELD_THEN_RETURNED, False)):
            if movement.amount == amount:
                expires_ms = context.time_ms + DAY_MS
                return Verdict(
                    VerdictKind.HOLD, "warden.large", 1, (), expires_ms, released, needed=2
                )
    return ALLOW


def _words(_fields: object, _words: object) -> str:
    return "Do what a warden does."


ACCOUNT = Field("account", FieldType.ACCOUNT, "whom it is about")
WARDEN = Module(
    name="warden",
    version=1,
    actions=(
        ActionType(
            "warden.freeze", (ACCOUNT, Field("on", FieldType.INTEGER, "1 or 0")), 10, _words
        ),
        ActionType(
            "warden.seize",
            (
                Field("asset", FieldType.ASSET, "which"),
                ACCOUNT,
                Field("target", FieldType.ACCOUNT, "to whom"),
                Field("amount", FieldType.AMOUNT, "how much"),
                Field("hold", FieldType.HASH, "out of which hold", optional=True),
            ),
            10,
            _words,
        ),
        ActionType(
            "warden.subject",
            (ACCOUNT, Field("subject", FieldType.HASH, "who it is", optional=True)),
            10,
            _words,
        ),
    ),
    handlers={"warden.freeze": _freeze, "warden.seize": _seize, "warden.subject": _subject},
    on_transfer=_on_transfer,
    rules={
        "warden.frozen": Rule(Code.FROZEN, "{0:account} is frozen."),
        "warden.large": Rule(Code.POLICY_REJECTED, "Large."),
    },
)


class World(Council):
    """Dave and Erin are compliance officers; invariants of all modules hold after each block."""

    def __init__(self, *modules: Module, **settings: Any) -> None:
        settings.setdefault("opening", OPENING)
        roles = sorted(
            GenesisRole(role, key.account)
            for role, key in (("admin", ALICE), ("compliance", DAVE), ("compliance", ERIN))
        )
        settings.setdefault("roles", tuple(roles))
        super().__init__(payments.MODULE, *modules, WARDEN, **settings)

    def do(self, key: Key, name: str, *values: Any, **fields: Any) -> ExecutionResult:
        """A block with one action of one sender, which must succeed."""
        result = self.pay(key, act(name, *values), **fields)
        assert result.receipts[0].code == 0, result.receipts[0]
        return result

    def refused(self, key: Key, name: str, *values: Any, **fields: Any) -> Receipt:
        """A block with one action, which must be refused; its receipt.

        But for the sender's sequence, quota and fee, the state is as it was.
        """
        before = dict(self.state.records)
        receipt = self.pay(key, act(name, *values), **fields).receipts[0]
        assert receipt.code != 0
        changed = {
            place
            for place in before.keys() | self.state.records.keys()
            if before.get(place) != self.state.records.get(place)
        }
        assert changed <= {("kernel", b"a" + key.account)}, changed
        return receipt

    def freeze(self, key: Key, on: int = 1) -> None:
        self.do(ALICE, "warden.freeze", key.account, on)

    def seize(self, source: Key, amount: int, hold_id: bytes, asset: str = "CLAW") -> None:
        self.do(ALICE, "warden.seize", asset, source.account, FRANK.account, amount, hold_id)

    def one_person(self, *keys: Key, name: bytes = b"s") -> None:
        for key in keys:
            self.do(ALICE, "warden.subject", key.account, name * 32)

    def tree(self, name: str = "payments") -> dict[bytes, bytes]:
        """All records of a module."""
        return {key: value for (tree, key), value in self.state.records.items() if tree == name}

    def queue(self) -> int:
        """How much due work there is."""
        return len([key for key in self.tree("kernel") if key[:1] == b"d"])

    def wait_until(self, time_ms: int) -> ExecutionResult:
        """A block at a time."""
        return self.block(after_ms=time_ms - self.time_ms)


def act(name: str, *values: Any) -> RawAction:
    full = name if "." in name else f"payments.{name}"
    return RawAction(full, [one.account if isinstance(one, Key) else one for one in values])


def told(result: ExecutionResult, kind: str) -> Event:
    found = [one for one in result.events if one.kind == kind]
    assert len(found) == 1, [one.kind for one in result.events]
    return found[0]


def named(event: Event) -> dict[str, Any]:
    """An event's data by the names that the module declares."""
    return dict(zip(payments.MODULE.events[event.kind], event.data, strict=True))
