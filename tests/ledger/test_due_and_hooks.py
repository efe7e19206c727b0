"""Rules that allow, hold or refuse payments, and work that waits for its time.

Whatever a module does here, value is never lost, stuck or half moved: a hold ends by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from clawpurse.ledger.blocks import TRACE_MAX, Receipt
from clawpurse.ledger.errors import Bug, Code
from clawpurse.ledger.kernel.records import (
    FEE_ACCOUNT,
    Hold,
    due_id,
    module_account,
    queue_time_ms,
)
from clawpurse.ledger.module_api import (
    ALLOW,
    KERNEL,
    RELEASE,
    ActionType,
    Context,
    Field,
    FieldType,
    Handler,
    Module,
    Movement,
    Verdict,
    VerdictKind,
)
from clawpurse.ledger.rules import Rule
from clawpurse.ledger.transactions import RawAction, decode_transaction
from clawpurse.ledger.transition import Execution
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, START_MS, Key, Sandbox, transfer

HOUR_MS = 3_600_000
RULES = {
    "desk.large": Rule(
        Code.POLICY_REJECTED, "{0:amount} {1:asset} is more than the desk lets out."
    ),
    "desk.frozen": Rule(Code.FROZEN, "{0:account} is frozen."),
    "desk.late": Rule(Code.POLICY_REJECTED, "Too late."),
}
# Amounts that the desk has an opinion on.
DENIED, HELD_THEN_RELEASED, HELD_THEN_RETURNED, NAMELESS_DENIAL = 666, 500, 400, 13


def verdict(movement: Movement, now_ms: int) -> Verdict:
    facts = (movement.amount, movement.asset)
    match movement.amount:
        case 666:
            return Verdict(VerdictKind.DENY, "desk.large", 3, facts)
        case 500:
            return Verdict(VerdictKind.HOLD, "desk.large", 3, facts, now_ms + HOUR_MS, True)
        case 400:
            return Verdict(VerdictKind.HOLD, "desk.large", 3, facts, now_ms + HOUR_MS, False)
        case 13:
            return Verdict(VerdictKind.DENY)
        case 200:
            return Verdict(VerdictKind.ALLOW, "desk.large", 3)
    return ALLOW


def desk_hook(context: Context, movement: Movement) -> Verdict:
    """Judge by amount; freeze a target that is named in state; count what was asked."""
    if context.get(b"frozen") == movement.target:
        return Verdict(VerdictKind.DENY, "desk.frozen", 1, (movement.target,))
    asked = int.from_bytes(context.get(b"asked") or b"\x00", "big") + 1
    context.put(b"asked", asked.to_bytes(4, "big"))
    context.put(b"purpose", movement.purpose.encode())
    return verdict(movement, context.time_ms)


def action(name: str, *fields: Field) -> ActionType:
    return ActionType(name, fields, 10, lambda values, words: name)


WHOM = Field("whom", FieldType.ACCOUNT, "whom it is about")
AMOUNT = Field("amount", FieldType.INTEGER, "how much")
WHEN = Field("when", FieldType.INTEGER, "when, in ms")


def freeze(context: Context, values: Sequence[Any]) -> None:
    context.put(b"frozen", values[0])


def twice(context: Context, values: Sequence[Any]) -> None:
    """Two payments in one action, as a batch or a swap has them."""
    for amount in (1, values[1]):
        context.transfer("CLAW", context.sender, values[0], amount, holdable=True)


def held_first(context: Context, values: Sequence[Any]) -> None:
    for amount in (values[1], 1):
        context.transfer("CLAW", context.sender, values[0], amount, holdable=True)


def fixed(context: Context, values: Sequence[Any]) -> None:
    """A payment whose action goes on as if it were done, so that it cannot be held."""
    context.transfer("CLAW", context.sender, values[0], values[1])
    context.put(b"delivered", b"yes")


def hold_then_mint(context: Context, values: Sequence[Any]) -> None:
    context.transfer("CLAW", context.sender, values[0], values[1], holdable=True)
    context.mint("EUR", context.sender, 1)


def later(context: Context, values: Sequence[Any]) -> None:
    """Pay from the sender at a time."""
    context.schedule(values[2], context.sender, [context.sender, *values[:2]])


def supply(context: Context, values: Sequence[Any]) -> None:
    """Mint to someone and burn the same from the sender."""
    context.mint("EUR", values[0], values[1])
    context.burn("EUR", context.sender, values[1])


def perform(context: Context, payload: Sequence[Any]) -> None:
    source, target, amount = payload
    context.transfer("CLAW", source, target, amount, holdable=True)
    context.emit("desk.paid", (source, target), amount, context.sender)


HANDLERS: Mapping[str, Handler] = {
    "desk.freeze": freeze,
    "desk.twice": twice,
    "desk.heldFirst": held_first,
    "desk.fixed": fixed,
    "desk.holdThenMint": hold_then_mint,
    "desk.later": later,
    "desk.supply": supply,
}
DESK = Module(
    name="desk",
    version=1,
    actions=tuple(
        action(name, WHOM, AMOUNT, WHEN) if name == "desk.later" else action(name, WHOM, AMOUNT)
        for name in HANDLERS
    ),
    handlers=HANDLERS,
    on_transfer=desk_hook,
    on_due=perform,
    rules=RULES,
    events={"desk.paid": ("amount", "sender")},
)


def desk(name: str, *values: Any) -> RawAction:
    return RawAction(f"desk.{name}", list(values))


def totals(chain: Sandbox) -> dict[str, int]:
    """Per asset, all balances and held amounts together."""
    found: dict[str, int] = {}
    for asset in ("CLAW", "EUR"):
        accounts = [
            key[1:] for tree, key in chain.state.records if tree == KERNEL and key[:1] == b"a"
        ]
        found[asset] = sum(sum(chain.held(account, asset)[:2]) for account in accounts)
        assert found[asset] == chain.books.supply(asset)
    return found


def only_receipt(chain: Sandbox, *actions: RawAction, key: Key = ALICE, **fields: Any) -> Receipt:
    """The receipt of a block of one transaction, after which the books still balance."""
    before = totals(chain)
    receipt = chain.pay(key, *actions, **fields).receipts[0]
    assert totals(chain)["CLAW"] == before["CLAW"]
    return receipt


# -- verdicts


def test_what_is_allowed_moves_and_a_named_rule_is_in_the_trace() -> None:
    chain = Sandbox(DESK)
    assert only_receipt(chain, transfer(BOB, 100)).trace == ()
    assert only_receipt(chain, transfer(BOB, 200)).trace == (("desk.large", 3, 0),)
    assert chain.balance(BOB) == 1_300


def test_a_denial_fails_the_transaction_with_the_rule_s_code_and_facts() -> None:
    chain = Sandbox(DESK)
    receipt = only_receipt(chain, transfer(BOB, 200), transfer(BOB, DENIED))
    assert (receipt.code, receipt.rule) == (Code.POLICY_REJECTED, "desk.large")
    assert receipt.facts == (DENIED, "CLAW")
    assert receipt.trace == (("desk.large", 3, 0), ("desk.large", 3, 2))
    assert chain.balance(BOB) == 1_000
    assert chain.state.get("desk", b"asked") is None, "a hook's writes are undone with the rest"


def test_a_denial_without_a_rule_still_has_a_reason() -> None:
    receipt = only_receipt(Sandbox(DESK), transfer(BOB, NAMELESS_DENIAL))
    assert (receipt.code, receipt.rule) == (Code.POLICY_REJECTED, "kernel.policy")


def test_a_hook_hears_who_moves_and_for_whom() -> None:
    chain = Sandbox(DESK)
    only_receipt(chain, transfer(BOB, 1))
    assert chain.state.get("desk", b"purpose") == b"assets"
    only_receipt(chain, desk("fixed", BOB.account, 1))
    assert chain.state.get("desk", b"purpose") == b"desk"
    assert chain.state.get("desk", b"asked") == (2).to_bytes(4, "big")


def test_fees_and_deposits_are_outside_what_hooks_judge() -> None:
    """Or a policy could block the payment that repairs it."""
    chain = Sandbox(DESK, params={"opening_deposit": DENIED, "fee_min": DENIED})
    assert only_receipt(chain, transfer(ERIN, 1)).code == 0
    assert chain.balance(FEE_ACCOUNT) == 2 * DENIED
    assert chain.state.get("desk", b"asked") == (1).to_bytes(4, "big")


# -- holds


def the_hold(chain: Sandbox) -> tuple[bytes, Hold]:
    ((key, value),) = [
        (key[1:], value)
        for (tree, key), value in chain.state.records.items()
        if tree == KERNEL and key[:1] == b"h"
    ]
    return key, Hold.unpack(value)


@pytest.mark.parametrize("asset", ["CLAW", "EUR"])
@pytest.mark.parametrize("amount", [HELD_THEN_RELEASED, HELD_THEN_RETURNED])
def test_a_held_payment_is_the_source_s_and_nobody_s_to_spend(asset: str, amount: int) -> None:
    chain = Sandbox(DESK)
    had = chain.balance(ALICE, asset)
    raw = chain.tx(ALICE, transfer(BOB, amount, asset))
    result = chain.block(raw)
    (receipt,) = result.receipts
    assert receipt.code == 0 and receipt.trace == (("desk.large", 3, 1),)
    held = chain.held(ALICE, asset)
    assert (held.amount, held.held) == (had - amount, amount)
    hold_id, hold = the_hold(chain)
    assert hold_id == due_id(decode_transaction(raw).tx_id, 1)
    due = due_id(decode_transaction(raw).tx_id, 2)
    assert hold == Hold(
        asset, ALICE.account, BOB.account, amount, "desk.large", 3,
        START_MS + 1_000 + HOUR_MS, int(amount == HELD_THEN_RELEASED),
        "kernel", "compliance", 1, ALICE.account, due, START_MS + 1_000,
    )  # fmt: skip
    assert result.events == (
        (0, "kernel.held", (ALICE.account, BOB.account), (asset, amount, hold_id, "desk.large")),
    )
    spend = only_receipt(chain, transfer(BOB, had, asset))
    assert spend.rule == "kernel.balance"
    assert chain.account(ALICE).due_count == 1
    totals(chain)


@pytest.mark.parametrize("asset", ["CLAW", "EUR"])
@pytest.mark.parametrize("amount", [HELD_THEN_RELEASED, HELD_THEN_RETURNED])
def test_a_hold_ends_at_its_time_without_anyone_s_doing(asset: str, amount: int) -> None:
    chain = Sandbox(DESK)
    had = chain.balance(ALICE, asset), chain.balance(BOB, asset)
    chain.pay(ALICE, transfer(BOB, amount, asset))
    hold_id, _ = the_hold(chain)
    assert chain.block(after_ms=HOUR_MS - 1).changes == {}
    result = chain.block(after_ms=1)
    released = amount == HELD_THEN_RELEASED
    moved = amount if released else 0
    assert (chain.balance(ALICE, asset), chain.balance(BOB, asset)) == (
        had[0] - moved,
        had[1] + moved,
    )
    assert chain.held(ALICE, asset).held == 0 and chain.account(ALICE).due_count == 0
    ended = (None, "kernel.holdEnded", (ALICE.account, BOB.account),
             (asset, amount, hold_id, int(released), ""))  # fmt: skip
    assert result.events[-1] == ended
    assert len(result.events) == 1 + released
    if released:
        assert chain.state.get("desk", b"purpose") == RELEASE.encode()
    totals(chain)
    assert chain.block(after_ms=HOUR_MS).changes == {}


def test_a_release_that_a_rule_refuses_goes_back_instead_of_staying_held_for_ever() -> None:
    chain = Sandbox(DESK)
    chain.pay(ALICE, transfer(BOB, HELD_THEN_RELEASED))
    chain.pay(CAROL, desk("freeze", BOB.account, 0))
    hold_id, _ = the_hold(chain)
    result = chain.block(after_ms=HOUR_MS)
    assert result.events == (
        (None, "kernel.holdEnded", (ALICE.account, BOB.account),
         ("CLAW", HELD_THEN_RELEASED, hold_id, 0, "desk.frozen")),
    )  # fmt: skip
    assert (chain.balance(ALICE), chain.held(ALICE).held) == (1_000_000, 0)
    assert chain.balance(BOB) == 1_000
    totals(chain)


def test_a_payment_is_held_once_so_a_standing_rule_cannot_hold_it_for_ever() -> None:
    chain = Sandbox(DESK)
    chain.pay(ALICE, transfer(BOB, HELD_THEN_RELEASED))
    chain.block(after_ms=HOUR_MS)
    assert chain.balance(BOB) == 1_000 + HELD_THEN_RELEASED
    assert not [key for tree, key in chain.state.records if tree == KERNEL and key[:1] == b"h"]


@pytest.mark.parametrize(
    "actions",
    [
        (transfer(BOB, HELD_THEN_RELEASED), transfer(BOB, 1)),
        (transfer(BOB, 1), transfer(BOB, HELD_THEN_RELEASED)),
        (desk("twice", BOB.account, HELD_THEN_RELEASED),),
        (desk("heldFirst", BOB.account, HELD_THEN_RELEASED),),
        (desk("fixed", BOB.account, HELD_THEN_RELEASED),),
        (desk("holdThenMint", BOB.account, HELD_THEN_RELEASED),),
        (transfer(BOB, HELD_THEN_RELEASED), desk("freeze", BOB.account, 0)),
    ],
)
def test_nothing_is_ever_half_held(actions: tuple[RawAction, ...]) -> None:
    """A swap of which one leg waits would hand the other leg away for nothing."""
    chain = Sandbox(DESK)
    receipt = only_receipt(chain, *actions)
    assert (receipt.code, receipt.rule) == (Code.POLICY_REJECTED, "kernel.hold")
    assert chain.balance(BOB) == 1_000 and chain.held(ALICE).held == 0
    assert chain.state.get("desk", b"delivered") is None


def test_a_hold_needs_the_money_now() -> None:
    chain = Sandbox(DESK)
    receipt = only_receipt(chain, transfer(BOB, HELD_THEN_RELEASED), key=DAVE)
    assert receipt.rule == "kernel.balance"


def test_a_denial_outranks_a_hold_whatever_module_speaks_first() -> None:
    def hook(context: Context, movement: Movement) -> Verdict:
        return Verdict(VerdictKind.DENY, "clerk.no")

    frozen = Module("clerk", 1, (), {}, hook, rules={"clerk.no": Rule(Code.FROZEN, "No.")})
    for modules in ((DESK, frozen), (frozen, DESK)):
        chain = Sandbox(*modules)
        receipt = only_receipt(chain, transfer(BOB, HELD_THEN_RELEASED))
        assert (receipt.code, receipt.rule) == (Code.FROZEN, "clerk.no")


def test_of_two_holds_the_first_module_s_counts() -> None:
    def hook(context: Context, movement: Movement) -> Verdict:
        return Verdict(VerdictKind.HOLD, "clerk.wait", 1, (), context.time_ms + 1, False)

    clerk = Module(
        "clerk", 1, (), {}, on_transfer=hook, rules={"clerk.wait": Rule(Code.FROZEN, "")}
    )
    chain = Sandbox(DESK, clerk)
    receipt = only_receipt(chain, transfer(BOB, HELD_THEN_RELEASED))
    assert receipt.trace == (("desk.large", 3, 1), ("clerk.wait", 1, 1))
    assert the_hold(chain)[1].rule == "desk.large"


def test_a_hold_counts_against_what_its_source_may_have_pending() -> None:
    chain = Sandbox(DESK, params={"due_per_creator_max": 1})
    assert only_receipt(chain, transfer(BOB, HELD_THEN_RELEASED)).code == 0
    receipt = only_receipt(chain, transfer(CAROL, HELD_THEN_RELEASED))
    assert (receipt.code, receipt.rule) == (Code.LIMIT_EXCEEDED, "kernel.dueFull")
    chain.block(after_ms=HOUR_MS)
    assert only_receipt(chain, transfer(BOB, HELD_THEN_RELEASED)).code == 0


def test_a_hold_for_a_new_recipient_opens_and_charges_the_account_once() -> None:
    chain = Sandbox(DESK, params={"opening_deposit": 9})
    assert only_receipt(chain, transfer(ERIN, HELD_THEN_RELEASED)).code == 0
    chain.block(after_ms=HOUR_MS)
    assert chain.balance(ERIN) == HELD_THEN_RELEASED and chain.balance(FEE_ACCOUNT) == 9


def test_the_trace_of_a_large_batch_keeps_its_bounds_and_the_last_word() -> None:
    def pay_many(context: Context, values: Sequence[Any]) -> None:
        for _ in range(100):
            context.transfer("CLAW", context.sender, BOB.account, 200)
        context.transfer("CLAW", context.sender, BOB.account, DENIED)

    many = Module("many", 1, (action("many.pay"),), {"many.pay": pay_many})
    receipt = only_receipt(Sandbox(DESK, many), RawAction("many.pay", []))
    assert len(receipt.trace) == TRACE_MAX and receipt.trace[-1] == ("desk.large", 3, 2)
    assert Receipt.unpack(receipt.pack()) == receipt


@pytest.mark.parametrize("misuse", ["transfer", "mint", "burn", "open_account"])
def test_a_hook_that_moves_value_is_a_bug_not_a_loop(misuse: str) -> None:
    def hook(context: Context, movement: Movement) -> Verdict:
        match misuse:
            case "transfer":
                context.transfer("CLAW", ALICE.account, BOB.account, 1)
            case "mint":
                context.mint("CLAW", BOB.account, 1)
            case "burn":
                context.burn("CLAW", ALICE.account, 1)
            case _:
                context.open_account(ERIN.account)
        return ALLOW

    with pytest.raises(Bug, match="hook of module thief"):
        Sandbox(Module("thief", 1, (), {}, on_transfer=hook)).pay(ALICE, transfer(BOB, 1))


# -- the due queue


def queue(chain: Sandbox) -> list[int]:
    return [queue_time_ms(key) for key, _ in chain.state.ordered(KERNEL, b"d", 10_000)]


def test_due_work_runs_in_the_first_block_at_or_after_its_time() -> None:
    chain = Sandbox(DESK)
    when = START_MS + HOUR_MS
    assert only_receipt(chain, desk("later", BOB.account, 30, when)).code == 0
    assert queue(chain) == [when] and chain.account(ALICE).due_count == 1
    assert chain.block(after_ms=when - chain.time_ms - 1).changes == {}
    result = chain.block()
    assert [event.kind for event in result.events] == ["assets.transferred", "desk.paid"]
    assert result.events[1].data == (30, module_account("desk"))
    assert all(event.transaction is None for event in result.events)
    assert chain.balance(BOB) == 1_030
    assert queue(chain) == [] and chain.account(ALICE).due_count == 0


def test_due_work_comes_before_the_block_s_transactions() -> None:
    chain = Sandbox(DESK, opening={ALICE: {"CLAW": 10}, BOB: {}, CAROL: {}})
    chain.pay(ALICE, desk("later", BOB.account, 10, START_MS + 2_000))
    result = chain.pay(ALICE, transfer(CAROL, 10))
    assert result.receipts[0].code == Code.INSUFFICIENT_FUNDS
    assert result.receipts[0].first_event == 2
    assert (chain.balance(BOB), chain.balance(CAROL)) == (10, 0)


def test_due_work_runs_in_order_of_time_then_id() -> None:
    chain = Sandbox(DESK)
    times = [5_000, 3_000, 3_000, 4_000, 0, 5_000]
    raws = [
        chain.tx(ALICE, desk("later", BOB.account, 1 + number, START_MS + after), sequence=number)
        for number, after in enumerate(times)
    ]
    chain.block(*raws)
    ids = [due_id(decode_transaction(raw).tx_id, 1) for raw in raws]
    expected = [1 + n for n in sorted(range(6), key=lambda n: (times[n], ids[n]))]
    result = chain.block(after_ms=9_000)
    assert [e.data[0] for e in result.events if e.kind == "desk.paid"] == expected


def test_a_block_performs_no_more_than_its_share_and_the_rest_follows() -> None:
    chain = Sandbox(DESK, params={"due_per_block_max": 2})
    chain.block(
        *(
            chain.tx(ALICE, desk("later", BOB.account, n + 1, START_MS), sequence=n)
            for n in range(5)
        )
    )
    counts = []
    for _ in range(4):
        result = chain.block()
        counts.append(len([event for event in result.events if event.kind == "desk.paid"]))
    assert counts == [2, 2, 1, 0]
    assert chain.balance(BOB) == 1_015


def test_one_sender_cannot_fill_the_queue() -> None:
    chain = Sandbox(DESK, params={"due_per_creator_max": 2})
    far = START_MS + HOUR_MS
    codes = [only_receipt(chain, desk("later", BOB.account, 1, far)).code for _ in range(3)]
    assert codes == [0, 0, Code.LIMIT_EXCEEDED]
    receipt = only_receipt(chain, desk("later", BOB.account, 1, far), key=CAROL)
    assert receipt.code == 0


@pytest.mark.parametrize("when", [0, START_MS, 2**64 - 1])
def test_any_time_can_be_waited_for(when: int) -> None:
    chain = Sandbox(DESK)
    assert only_receipt(chain, desk("later", BOB.account, 1, when)).code == 0
    assert queue(chain) == [when]


def test_times_beyond_64_bits_are_refused_not_a_crash() -> None:
    for delay in (2**64, -START_MS - 10**9):

        def handler(context: Context, values: Sequence[Any], delay: int = delay) -> None:
            context.schedule(context.time_ms + delay, context.sender, [])

        odd = Module("odd", 1, (action("odd.go"),), {"odd.go": handler})
        assert only_receipt(Sandbox(odd), RawAction("odd.go", [])).rule == "kernel.dueTime"


def test_due_work_that_is_refused_is_undone_reported_and_gone() -> None:
    chain = Sandbox(DESK, opening={ALICE: {"CLAW": 10}, BOB: {}})
    raw = chain.tx(ALICE, desk("later", ERIN.account, 11, START_MS))
    chain.block(raw)
    result = chain.block()
    entry_id = due_id(decode_transaction(raw).tx_id, 1)
    assert result.events == (
        (None, "kernel.dueFailed", (ALICE.account,),
         ("desk", entry_id, Code.INSUFFICIENT_FUNDS, "kernel.balance")),
    )  # fmt: skip
    assert chain.books.account(ERIN.account) is None
    assert queue(chain) == [] and chain.account(ALICE).due_count == 0


def test_who_wants_due_work_pays_for_the_account_that_it_opens() -> None:
    chain = Sandbox(DESK, params={"opening_deposit": 7})
    chain.pay(ALICE, desk("later", ERIN.account, 30, START_MS))
    result = chain.block()
    assert chain.balance(ALICE) == 1_000_000 - 37 and chain.balance(ERIN) == 30
    assert result.events[0] == (None, "accounts.opened", (ERIN.account, ALICE.account), (7,))


def test_due_work_can_be_held_like_any_payment() -> None:
    chain = Sandbox(DESK)
    chain.pay(ALICE, desk("later", BOB.account, HELD_THEN_RELEASED, START_MS))
    chain.block()
    assert chain.held(ALICE).held == HELD_THEN_RELEASED
    chain.block(after_ms=HOUR_MS)
    assert chain.balance(BOB) == 1_000 + HELD_THEN_RELEASED


def test_work_made_by_due_work_waits_for_the_next_block() -> None:
    """Or one entry that renews itself would never let a block end."""

    def again(context: Context, payload: Sequence[Any]) -> None:
        context.emit("loop.ran", (), payload[0])
        context.schedule(0, ALICE.account, [payload[0] + 1])

    def start(context: Context, values: Sequence[Any]) -> None:
        context.schedule(0, context.sender, [0])

    loop = Module("loop", 1, (action("loop.start"),), {"loop.start": start}, on_due=again,
                  events={"loop.ran": ("turn",)})  # fmt: skip
    chain = Sandbox(loop)
    chain.pay(ALICE, RawAction("loop.start", []))
    turns = [event.data for _ in range(3) for event in chain.block().events]
    assert turns == [(0,), (1,), (2,)]


def test_ids_of_due_work_are_unique_within_a_transaction_and_genesis() -> None:
    chain = Sandbox(DESK)
    chain.pay(ALICE, *(desk("later", BOB.account, 1, START_MS + HOUR_MS) for _ in range(16)))
    assert len(queue(chain)) == 16

    def seed(context: Context, genesis: Any) -> None:
        context.schedule(START_MS, ALICE.account, [])

    twins = [Module(name, 1, (), {}, genesis=seed, on_due=lambda c, p: None) for name in ("a", "b")]
    assert len(queue(Sandbox(*twins))) == 2


def test_due_work_of_a_module_that_cannot_do_it_stops_the_block() -> None:
    def seed(context: Context, genesis: Any) -> None:
        context.schedule(START_MS, ALICE.account, [])

    with pytest.raises(Bug, match="has due work but no handler"):
        Sandbox(Module("mute", 1, (), {}, genesis=seed)).block()


def test_the_host_may_go_on_between_pieces_of_due_work_and_of_the_audit() -> None:
    """A thousand expiries in one go would stop votes for as long."""
    chain, twin = Sandbox(DESK), Sandbox(DESK)
    for one in (chain, twin):
        for number in range(4):
            one.pay(ALICE, desk("later", BOB.account, 1, START_MS + 9_000), lane=number)
            one.pay(ALICE, idempotency_key=bytes([number]))
    execution = Execution(
        chain.state, chain.registry, chain.execution()._env._replace(time_ms=START_MS + 10**8)
    )
    assert sum(1 for _ in execution.begin_in_steps()) == 8
    changes: dict[tuple[str, bytes], bytes | None] = {}
    for _ in execution.finish_in_steps(changes):
        pass
    assert execution.result(changes) == twin.block(after_ms=START_MS + 10**8 - twin.time_ms)


# -- supply


def test_minting_and_burning_move_supply_and_are_told() -> None:
    chain = Sandbox(DESK)
    result = chain.pay(ALICE, desk("supply", ERIN.account, 40))
    kinds = [event.kind for event in result.events]
    assert kinds == ["accounts.opened", "assets.minted", "assets.burned"]
    assert chain.balance(ERIN, "EUR") == 40 and chain.balance(ALICE, "EUR") == 50_000 - 40
    assert totals(chain)["EUR"] == 50_007


@pytest.mark.parametrize(
    ("amount", "rule"),
    [(0, "kernel.amount"), (50_001, "kernel.balance"), (2**64 - 1, "kernel.overflow")],
)
def test_supply_is_bounded_by_64_bits_and_burning_by_what_is_there(amount: int, rule: str) -> None:
    chain = Sandbox(DESK)
    assert only_receipt(chain, desk("supply", BOB.account, amount)).rule == rule
    assert totals(chain)["EUR"] == 50_007
