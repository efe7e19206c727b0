"""A sandbox with an owner, agents with session keys, and a module that tries to get past caps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clawpurse.ledger.blocks import Receipt
from clawpurse.ledger.kernel.entitlements import Session, Sponsorship, day_end_ms
from clawpurse.ledger.module_api import ActionType, Context, Field, FieldType, Module
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.transactions import RawAction
from clawpurse.ledger.transition import ExecutionResult
from clawpurse.modules.accounts.sessions import GRANT
from tests.ledger.sandbox import ALICE, Key, Sandbox

AGENT, ROBOT = Key("agent"), Key("robot")
FEE, DEPOSIT = 10, 100
HOUR_MS = 3_600_000
# What a grant says unless a test says otherwise; in wire order.
TERMS: dict[str, Any] = {
    "key": AGENT.public,
    "label": "shop",
    "expires": None,
    "lanes": [1],
    "actions": ["assets.transfer"],
    "caps": [["CLAW", 1_000, 2_500]],
    "recipients": [],
    "memo": b"",
    "memoRequired": 0,
}


def _type(name: str, *fields: Field, session: bool = True) -> ActionType:
    return ActionType(name, fields, 10, lambda values, words: name, session=session)


_WHOM = Field("whom", FieldType.ACCOUNT, "whom it is about")
_AMOUNT = Field("amount", FieldType.INTEGER, "how much")
_ID = Field("id", FieldType.HASH, "which hold")
_AMOUNTS = Field("amounts", FieldType.LIST, "how much each", 20, items=(_AMOUNT,))


def _put(context: Context, values: Sequence[Any]) -> None:
    """Set value apart, as an escrow does."""
    context.set_apart("CLAW", context.sender, values[0], values[1], rule="till")


def _more(context: Context, values: Sequence[Any]) -> None:
    """Set more apart, as a channel's top-up does."""
    context.add_apart(values[0], values[1])


def _pay(context: Context, values: Sequence[Any]) -> None:
    """Pay out what was set apart, whoever did that."""
    context.pay_apart(values[0], values[1])


def _back(context: Context, values: Sequence[Any]) -> None:
    context.give_back(values[0], values[1])


def _burn(context: Context, values: Sequence[Any]) -> None:
    context.burn("CLAW", context.sender, values[0])


def _batch(context: Context, values: Sequence[Any]) -> None:
    """Pay one account several times, all or nothing."""
    for amount in values[1]:
        context.transfer("CLAW", context.sender, values[0], amount)


def _tries(context: Context, values: Sequence[Any]) -> None:
    """Make each payment that can be made, and go on where one is refused."""
    for amount in values[1]:

        def pay(amount: int = amount) -> None:
            context.transfer("CLAW", context.sender, values[0], amount)

        context.attempt(pay)


def _fails(context: Context, values: Sequence[Any]) -> None:
    """Pay, then fail: nothing may be left of it but the fee."""
    context.transfer("CLAW", context.sender, values[0], values[1])
    raise context.refuse("kernel.policy")


TILL = Module(
    name="till",
    version=1,
    actions=(
        _type("till.put", _WHOM, _AMOUNT),
        _type("till.more", _ID, _AMOUNT),
        _type("till.pay", _ID, _AMOUNT),
        _type("till.back", _ID, _AMOUNT),
        _type("till.burn", _AMOUNT),
        _type("till.batch", _WHOM, _AMOUNTS),
        _type("till.tries", _WHOM, _AMOUNTS),
        _type("till.fails", _WHOM, _AMOUNT),
        _type("till.owners", session=False),
    ),
    handlers={
        "till.put": _put,
        "till.more": _more,
        "till.pay": _pay,
        "till.back": _back,
        "till.burn": _burn,
        "till.batch": _batch,
        "till.tries": _tries,
        "till.fails": _fails,
        "till.owners": lambda context, values: None,
    },
)
EVERYTHING = sorted(
    name
    for name in (
        "assets.transfer",
        "accounts.open",
        "accounts.resignSession",
        *(action.name for action in TILL.actions if action.session),
    )
)


def till(verb: str, *fields: Any) -> RawAction:
    return RawAction(
        f"till.{verb}", [one.account if isinstance(one, Key) else one for one in fields]
    )


class Agents(Sandbox):
    """Alice is the owner; fees and deposits are asked; invariants hold after each block."""

    def __init__(self, *modules: Module, **settings: Any) -> None:
        params = {"fee_min": FEE, "opening_deposit": DEPOSIT, **settings.pop("params", {})}
        super().__init__(TILL, *modules, params=params, **settings)

    def block(self, *raws: bytes, after_ms: int = 1_000) -> ExecutionResult:
        result = super().block(*raws, after_ms=after_ms)
        for module in self.registry.modules:
            for invariant in module.invariants:
                assert invariant(self.state) is None
        return result

    # -- reading

    def session(self, key: Key = AGENT, owner: Key = ALICE) -> Session | None:
        return self.books.entitlements.session(owner.account, key.public)

    def spent(self, asset: str = "CLAW", key: Key = AGENT, owner: Key = ALICE) -> int:
        """What a session key took on the day of the newest record."""
        spent = self.books.entitlements.spent(owner.account, key.public)
        return 0 if spent is None else dict(spent.amounts).get(asset, 0)

    def sponsorship(self, sponsor: Key, account: Key) -> Sponsorship | None:
        return self.books.entitlements.sponsorship(sponsor.account, account.account)

    def query(self, name: str, *args: object) -> Any:
        return self.registry.query(self.state, name, *args)

    def to_midnight(self, after_ms: int = 0) -> int:
        """How long it is until the day ends, and a while more."""
        return day_end_ms(self.time_ms) - self.time_ms + after_ms

    # -- writing

    def terms(self, **changes: Any) -> RawAction:
        """The action that grants a session on these terms."""
        values = {**TERMS, "expires": self.time_ms + 30 * DAY_MS, **changes}
        key = values["key"]
        values["key"] = key.public if isinstance(key, Key) else key
        return RawAction(GRANT.name, list(values.values()))

    def grant_tx(self, owner: Key = ALICE, key: Key = AGENT, **changes: Any) -> bytes:
        """A signed grant, by the owner and the key."""
        action = self.terms(key=key, **changes)
        return self.tx(owner, action, approvers=[(key, owner.account)])

    def grant(self, owner: Key = ALICE, key: Key = AGENT, **changes: Any) -> Receipt:
        return self.block(self.grant_tx(owner, key, **changes)).receipts[0]

    def as_agent(
        self,
        *actions: RawAction,
        key: Key = AGENT,
        owner: Key = ALICE,
        lane: int = 1,
        **fields: Any,
    ) -> bytes:
        """A transaction of the owner that its session key signed."""
        return self.tx(owner, *actions, signer=key, lane=lane, **fields)

    def act(self, *actions: RawAction, after_ms: int = 1_000, **fields: Any) -> Receipt:
        """A block with one transaction by a session key."""
        return self.block(self.as_agent(*actions, **fields), after_ms=after_ms).receipts[0]

    def refused(self, *actions: RawAction, after_ms: int = 1_000, **fields: Any) -> str:
        """The rule by which no block takes a transaction of a session key."""
        return self.refusal(self.as_agent(*actions, **fields), after_ms).rule
