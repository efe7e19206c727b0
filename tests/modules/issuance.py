"""A network where Carol issues assets, Dave acts for her, and a stall sets value apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clawpurse.ledger.blocks import Receipt
from clawpurse.ledger.genesis import GenesisRole
from clawpurse.ledger.kernel.records import account_key
from clawpurse.ledger.module_api import KERNEL, ActionType, Context, Field, FieldType, Module
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.assets.records import (
    AUTHORISATION_REQUIRED,
    CLAWBACK,
    FREEZABLE,
    IMMUTABLE,
    RESERVE,
    TRANSFERABLE,
    Asset,
)
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, Key, transfer
from tests.modules.council import Council

ISSUER, AGENT = CAROL, DAVE
CONTROLS = FREEZABLE | CLAWBACK | TRANSFERABLE
EVERYTHING = CONTROLS | AUTHORISATION_REQUIRED | RESERVE | IMMUTABLE


def _stall_set(context: Context, values: Sequence[Any]) -> None:
    asset, target, amount = values
    context.put(b"h", context.set_apart(asset, context.sender, target, amount, rule="stall.deal"))


def _stall_step(context: Context, values: Sequence[Any]) -> None:
    what, amount = values
    hold_id = context.get(b"h")
    assert hold_id is not None
    if what == "pay":
        context.pay_apart(hold_id, amount)
    else:
        context.give_back(hold_id, amount)


# Sets value apart and pays it out or gives it back: what escrows and channels are made of.
STALL = Module(
    name="stall",
    version=1,
    actions=(
        ActionType(
            "stall.set",
            (
                Field("asset", FieldType.ASSET, ""),
                Field("target", FieldType.ACCOUNT, ""),
                Field("amount", FieldType.AMOUNT, ""),
            ),
            100,
            lambda fields, words: "Set apart.",
        ),
        ActionType(
            "stall.step",
            (Field("what", FieldType.NAME, ""), Field("amount", FieldType.AMOUNT, "")),
            100,
            lambda fields, words: "Go on.",
        ),
    ),
    handlers={"stall.set": _stall_set, "stall.step": _stall_step},
)


def act(verb: str, *fields: Any) -> RawAction:
    """An action of `assets`; keys stand for their accounts."""
    wire = [field.account if isinstance(field, Key) else field for field in fields]
    return RawAction(f"assets.{verb}", wire)


def create(
    name: str = "EURX",
    flags: int = CONTROLS,
    cap: int | None = None,
    *,
    decimals: int = 2,
    title: str = "Euro X",
    text: str = "",
    digest: bytes | None = None,
) -> RawAction:
    return act("create", name, decimals, title, flags, cap, text, digest)


def mint(to: Key, amount: int, asset: str = "EURX") -> RawAction:
    return act("mint", asset, to, amount)


def pay(to: Key, amount: int, asset: str = "EURX") -> RawAction:
    return transfer(to, amount, asset)


class Issuance(Council):
    """Carol holds the role `issuer`; `flags` None leaves it to the test to create an asset."""

    def __init__(self, flags: int | None = CONTROLS, cap: int | None = None, **settings: Any):
        settings.setdefault(
            "roles",
            tuple(
                sorted((GenesisRole("admin", ALICE.account), GenesisRole("issuer", ISSUER.account)))
            ),
        )
        super().__init__(STALL, **settings)
        if flags is not None:
            self.done(ISSUER, create(flags=flags, cap=cap))

    def asset(self, name: str = "EURX") -> Asset:
        found = self.query("assets.get", name)
        assert found is not None
        return found  # type: ignore[no-any-return]

    def done(self, key: Key, *actions: RawAction) -> Receipt:
        """Perform actions that are expected to succeed."""
        receipt = self.pay(key, *actions).receipts[0]
        assert receipt.code == 0, (receipt.rule, receipt.facts)
        return receipt

    def refused(self, key: Key, *actions: RawAction) -> Receipt:
        """Perform actions that must fail, and leave nothing but the sender's used sequence."""
        before = dict(self.state.records)
        receipt = self.pay(key, *actions).receipts[0]
        assert receipt.code != 0
        after = dict(self.state.records)
        own = (KERNEL, account_key(key.account))
        assert before.pop(own) != after.pop(own)
        assert before == after
        return receipt

    def hand_out(self, **amounts: int) -> None:
        """Mint to Alice and Bob: `alice=5`."""
        keys = {"alice": ALICE, "bob": BOB}
        for name, amount in amounts.items():
            self.done(ISSUER, mint(keys[name], amount))
