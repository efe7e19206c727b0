"""Value on its way: set apart it is still its owner's; no step loses or invents a unit of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from clawpurse.ledger.blocks import Receipt
from clawpurse.ledger.errors import Code
from clawpurse.ledger.kernel.records import TREE, Hold, hold_index_key
from clawpurse.ledger.kernel.value import SUSPENDED_MS
from clawpurse.ledger.module_api import (
    ALLOW,
    RELEASE,
    ActionType,
    Context,
    Field,
    FieldType,
    HoldEnd,
    Module,
    Movement,
    Verdict,
    VerdictKind,
)
from clawpurse.ledger.rules import Rule
from clawpurse.ledger.transactions import RawAction
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, Key, Sandbox, transfer

# The stall: a module that sets apart, pays, gives back, and remembers how holds ended.
FROZEN_KEY = b"f"


def _set(context: Context, values: Sequence[Any]) -> None:
    asset, target, amount = values
    hold_id = context.set_apart(asset, context.sender, target, amount, rule="stall.deal")
    context.put(b"h", hold_id)


def _last(context: Context) -> bytes:
    found = context.get(b"h")
    assert found is not None
    return found


def _step(context: Context, values: Sequence[Any]) -> None:
    what, amount = values
    hold_id = _last(context)
    hold = context.hold(hold_id)
    match what:
        case "pay":
            context.pay_apart(hold_id, amount)
        case "back":
            context.give_back(hold_id, amount)
        case "more":
            context.add_apart(hold_id, amount)
        case "seize":
            assert hold is not None
            context.seize(hold.asset, hold.source, CAROL.account, amount, hold_id)
        case "rob":
            context.seize("EUR", ALICE.account, CAROL.account, amount)
        case "freeze":
            context.put(FROZEN_KEY, b"1")
        case "thaw":
            context.delete(FROZEN_KEY)
        case "suspend":
            refusal = context.attempt(lambda: context.pay_apart(hold_id, amount))
            assert refusal is not None
            context.suspend(hold_id, refusal)
        case "release" | "return":
            context.settle(hold_id, release=what == "release")
        case "perform":
            context.perform(CAROL.account, [transfer(BOB, amount, "EUR")])


def _hook(context: Context, movement: Movement) -> Verdict:
    if context.get(FROZEN_KEY) is not None and movement.purpose == RELEASE:
        return Verdict(VerdictKind.DENY, "stall.frozen", 1, (movement.target,))
    return ALLOW


def _ended(context: Context, end: HoldEnd) -> None:
    context.emit("stall.ended", (end.hold.source,), end.amount, int(end.paid))


SET = ActionType(
    "stall.set",
    (
        Field("asset", FieldType.ASSET, "which"),
        Field("target", FieldType.ACCOUNT, "for whom"),
        Field("amount", FieldType.AMOUNT, "how much"),
    ),
    10,
    lambda fields, words: "Set apart.",
)
STEP = ActionType(
    "stall.step",
    (Field("what", FieldType.TEXT, "step"), Field("amount", FieldType.AMOUNT, "how much")),
    10,
    lambda fields, words: "Go on.",
)
STALL = Module(
    name="stall",
    version=1,
    actions=(SET, STEP),
    handlers={SET.name: _set, STEP.name: _step},
    on_transfer=_hook,
    on_hold_end=_ended,
    rules={"stall.frozen": Rule(Code.FROZEN, "{0:account} is frozen.")},
    events={"stall.ended": ("amount", "paid")},
)


def begin(amount: int, target: Key = BOB, asset: str = "EUR") -> RawAction:
    return RawAction("stall.set", [asset, target.account, amount])


def step(what: str, amount: int = 1) -> RawAction:
    return RawAction("stall.step", [what, amount])


def done(chain: Sandbox, *actions: RawAction, key: Key = ALICE) -> Receipt:
    (receipt,) = chain.pay(key, *actions).receipts
    return receipt


def hold_of(chain: Sandbox) -> Hold | None:
    return chain.books.find_hold(chain.state.records["stall", b"h"])


def indexed(chain: Sandbox, key: Key) -> int:
    return len(chain.state.ordered(TREE, hold_index_key(key.account, b""), 10))


@pytest.fixture
def chain() -> Sandbox:
    chain = Sandbox(STALL)
    assert done(chain, begin(100)).code == 0
    return chain


def test_it_is_the_owner_s_and_cannot_be_spent(chain: Sandbox) -> None:
    assert chain.held(ALICE, "EUR")[:2] == (49_900, 100)
    assert done(chain, transfer(BOB, 50_000, "EUR")).rule == "kernel.balance"
    assert indexed(chain, ALICE) == indexed(chain, BOB) == 1


def test_it_is_paid_and_given_back_in_parts(chain: Sandbox) -> None:
    assert done(chain, step("pay", 30)).code == 0
    assert done(chain, step("back", 20)).code == 0
    assert done(chain, step("more", 5)).code == 0
    hold = hold_of(chain)
    assert hold is not None and hold.amount == 55
    assert done(chain, step("pay", 56)).rule == "kernel.holdLess"
    result = chain.pay(ALICE, step("pay", 55))
    assert [event.kind for event in result.events] == ["assets.transferred", "stall.ended"]
    assert hold_of(chain) is None
    assert chain.balance(BOB, "EUR") == 85 and chain.held(ALICE, "EUR")[:2] == (49_915, 0)
    assert indexed(chain, ALICE) == indexed(chain, BOB) == 0
    assert done(chain, step("pay", 1)).rule == "kernel.holdMissing"


def test_it_opens_the_account_that_it_is_for() -> None:
    chain = Sandbox(STALL)
    assert done(chain, begin(5, ERIN)).code == 0
    assert chain.account(ERIN).key == ERIN.public


@pytest.mark.parametrize(("amount", "rule"), [(0, "kernel.amount"), (50_001, "kernel.balance")])
def test_nothing_is_set_apart_that_is_not_there(amount: int, rule: str) -> None:
    chain = Sandbox(STALL)
    assert done(chain, begin(amount)).rule == rule


def test_a_clawback_reaches_it_and_a_balance(chain: Sandbox) -> None:
    assert done(chain, step("seize", 40)).code == 0
    assert done(chain, step("rob", 7)).code == 0
    hold = hold_of(chain)
    assert hold is not None and hold.amount == 60 and chain.balance(CAROL, "EUR") == 7 + 47
    assert done(chain, step("seize", 61)).rule == "kernel.holdLess"
    assert done(chain, step("seize", 60)).code == 0 and hold_of(chain) is None


def test_a_payout_that_is_refused_when_due_waits_for_officers(chain: Sandbox) -> None:
    done(chain, step("freeze"))
    assert done(chain, step("pay")).rule == "stall.frozen"
    assert done(chain, step("suspend", 100)).code == 0
    hold = hold_of(chain)
    assert hold is not None and (hold.module, hold.officers, hold.needed) == (
        "kernel",
        "compliance",
        1,
    )
    assert hold.rule == "stall.frozen" and hold.amount == 100
    assert chain.account(ALICE).due_count == 1
    assert done(chain, step("release")).rule == "stall.frozen"
    assert hold_of(chain) == hold
    done(chain, step("thaw"))
    result = chain.pay(ALICE, step("release"))
    assert [event.kind for event in result.events][-2:] == ["kernel.holdEnded", "stall.ended"]
    assert chain.balance(BOB, "EUR") == 100 and chain.account(ALICE).due_count == 0


@pytest.mark.parametrize("end", ["return", "time"])
def test_what_nobody_releases_goes_back(chain: Sandbox, end: str) -> None:
    done(chain, step("freeze"))
    done(chain, step("suspend", 100))
    if end == "time":
        chain.block(after_ms=SUSPENDED_MS)
    else:
        assert done(chain, step("return")).code == 0
    assert chain.held(ALICE, "EUR")[:2] == (50_000, 0) and chain.account(ALICE).due_count == 0
    assert hold_of(chain) is None and indexed(chain, BOB) == 0


def test_a_failed_action_takes_all_back(chain: Sandbox) -> None:
    before = dict(chain.state.records)
    receipt = done(chain, step("pay", 10), step("seize", 10), step("pay", 81))
    assert receipt.rule == "kernel.holdLess"
    changed = {place for place, value in chain.state.records.items() if before.get(place) != value}
    assert changed == {("kernel", b"a" + ALICE.account)}


def test_actions_are_performed_in_another_s_name_and_no_others_within(chain: Sandbox) -> None:
    assert done(chain, step("perform", 4), key=DAVE).code == 0
    assert chain.balance(CAROL, "EUR") == 3 and chain.balance(BOB, "EUR") == 4
    assert done(chain, step("perform", 4), key=DAVE).rule == "kernel.balance"


def test_a_module_decides_on_its_own_holds_only(chain: Sandbox) -> None:
    """What a rule held is for officers; a module that could pay it out would be above rules."""
    done(chain, step("freeze"))
    done(chain, step("suspend", 100))
    with pytest.raises(Exception, match="decides on a hold of kernel"):
        done(chain, step("pay", 1))
