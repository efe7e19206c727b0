"""An agent that tries to take more than it was allowed, in every way that we could think of.

If these failed, a stolen session key would cost its owner more than the caps say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clawpurse.ledger.errors import BadSignature, Code, Refused
from clawpurse.ledger.kernel.entitlements import day_end_ms
from clawpurse.ledger.kernel.records import FEE_ACCOUNT
from clawpurse.ledger.module_api import (
    ALLOW,
    Context,
    Module,
    Movement,
    Verdict,
    VerdictKind,
)
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.transactions import RawAction, decode_transaction, encode_transaction
from clawpurse.ledger.transition import prepare
from clawpurse.modules.accounts.sessions import REVOKE
from clawpurse.modules.accounts.sponsorship import END, SPONSOR
from tests.ledger.sandbox import (
    ALICE,
    BOB,
    CAROL,
    ERIN,
    FRANK,
    change_key,
    open_account,
    transfer,
)
from tests.modules.agents import AGENT, DEPOSIT, EVERYTHING, FEE, HOUR_MS, ROBOT, Agents, till
from tests.modules.council import event
from tests.modules.signing import signed_by


def chain_with(**terms: Any) -> Agents:
    """Alice let the agent take 1,000 CLAW at once and 2,500 a day, unless said otherwise."""
    chain = Agents()
    assert chain.grant(**{"actions": EVERYTHING, **terms}).code == 0
    return chain


# -- at once


def test_fee_and_payment_together_fit_into_what_may_be_taken_at_once() -> None:
    chain = chain_with()
    assert chain.act(transfer(BOB, 1_000 - FEE)).code == 0
    receipt = chain.act(transfer(BOB, 1_000 - FEE + 1))
    assert (receipt.code, receipt.rule) == (Code.QUOTA_EXCEEDED, "kernel.sessionPayment")
    assert receipt.facts == (ALICE.account, 1_001, 1_000, "CLAW")


def test_a_higher_fee_leaves_less_for_the_payment() -> None:
    chain = chain_with()
    assert chain.act(transfer(BOB, 501), fee=500).rule == "kernel.sessionPayment"
    assert chain.act(transfer(BOB, 500), fee=500).code == 0


def test_a_fee_above_the_cap_is_in_no_block() -> None:
    """Else a stolen key could burn everything as fees."""
    chain = chain_with()
    assert chain.refused(transfer(BOB, 1), fee=1_001) == "kernel.sessionPayment"
    assert chain.refused(transfer(BOB, 1), fee=2**60) == "kernel.sessionPayment"
    assert chain.spent() == 0


@pytest.mark.parametrize(
    "actions",
    [
        (transfer(BOB, 500), transfer(BOB, 500)),
        (transfer(BOB, 500), transfer(CAROL, 500)),
        (transfer(BOB, 500), till("put", BOB, 500)),
        (till("put", BOB, 500), till("burn", 500)),
        (transfer(BOB, 990), open_account(ERIN)),
        (till("batch", BOB, [495, 495]), transfer(BOB, 1)),
        (transfer(ALICE, 995),),
        (transfer(ERIN, 1_000 - FEE - DEPOSIT + 1),),
        (till("batch", BOB, [100] * 10),),
        (till("put", BOB, 991),),
        (till("burn", 991),),
        tuple(transfer(BOB, 62) for _ in range(16)),
    ],
    ids=lambda actions: "+".join(action.name for action in actions[:3]),
)
def test_no_form_of_taking_goes_past_what_may_be_taken_at_once(
    actions: tuple[RawAction, ...],
) -> None:
    chain = chain_with()
    before = chain.balance(ALICE)
    receipt = chain.act(*actions)
    assert receipt.rule == "kernel.sessionPayment", receipt
    assert chain.balance(ALICE) == before - FEE
    assert chain.spent() == FEE


def test_a_deposit_for_a_new_account_counts() -> None:
    chain = chain_with()
    assert chain.act(transfer(ERIN, 1_000 - FEE - DEPOSIT)).code == 0
    assert chain.spent() == 1_000
    assert chain.act(open_account(FRANK)).code == 0
    assert chain.spent() == 1_000 + FEE + DEPOSIT


def test_payments_that_were_tried_and_undone_do_not_count_those_that_were_made_do() -> None:
    chain = chain_with()
    receipt = chain.act(till("tries", BOB, [900, 900, 90, 90, 0]))
    assert receipt.code == 0
    assert chain.balance(BOB) == 1_000 + 990
    assert chain.spent() == 1_000


def test_a_payment_that_was_undone_after_it_counted_leaves_its_room() -> None:
    """Bob has too little for the first, which counts before that is found out."""
    chain = Agents()
    chain.grant(owner=BOB, actions=EVERYTHING, caps=[["CLAW", 5_500, 5_500]])
    receipt = chain.act(till("tries", CAROL, [5_000, 900]), owner=BOB)
    assert receipt.code == 0
    assert (chain.balance(CAROL), chain.spent(owner=BOB)) == (900, 910)


# -- a day


def test_a_day_s_cap_counts_fees_and_says_what_is_left_and_when_it_begins_anew() -> None:
    chain = chain_with()
    for _ in range(2):
        chain.act(transfer(BOB, 990))
    receipt = chain.act(transfer(BOB, 491))
    assert (receipt.code, receipt.rule) == (Code.QUOTA_EXCEEDED, "kernel.sessionDay")
    # Its own fee is charged first, so 490 are left for it.
    assert receipt.facts == (ALICE.account, 491, 490, "CLAW", day_end_ms(chain.time_ms))
    assert chain.act(transfer(BOB, 480)).code == 0
    assert chain.spent() == 2_500
    refusal = chain.refusal(chain.as_agent(transfer(BOB, 1)))
    assert refusal.rule == "kernel.sessionDay"
    assert refusal.wire_facts == (ALICE.account, FEE, 0, "CLAW", day_end_ms(chain.time_ms))


def test_failed_transactions_use_up_the_day_by_their_fees() -> None:
    chain = chain_with(caps=[["CLAW", 100, 105]])
    before = chain.balance(ALICE)
    for _ in range(10):
        assert chain.act(till("fails", BOB, 5)).rule == "kernel.policy"
    assert chain.spent() == 100 == before - chain.balance(ALICE)
    assert chain.refused(till("fails", BOB, 5)) == "kernel.sessionDay"
    assert chain.refused(transfer(BOB, 1)) == "kernel.sessionDay"


def test_a_used_idempotency_key_costs_a_fee_that_counts() -> None:
    chain = chain_with(caps=[["CLAW", 40, 40]])
    assert chain.act(transfer(BOB, 1), idempotency_key=b"once").code == 0
    assert chain.act(transfer(BOB, 1), idempotency_key=b"once").rule == "kernel.duplicateKey"
    assert chain.spent() == 2 * FEE + 1


def test_lanes_share_one_day() -> None:
    chain = chain_with(lanes=[1, 2, 3])
    raws = [chain.as_agent(transfer(BOB, 890), lane=lane) for lane in (1, 2)]
    raws.append(chain.as_agent(transfer(BOB, 890), lane=3))
    result = chain.block(*raws)
    assert [receipt.rule for receipt in result.receipts] == ["", "", "kernel.sessionDay"]
    assert chain.spent() == 1_800 + FEE


def test_a_day_ends_at_midnight_and_not_a_millisecond_before() -> None:
    chain = chain_with(caps=[["CLAW", 1_000, 1_000]])
    chain.block(after_ms=chain.to_midnight(-2))
    midnight_ms = day_end_ms(chain.time_ms)
    assert chain.act(transfer(BOB, 990), after_ms=1).code == 0
    assert chain.time_ms == midnight_ms - 1
    again = chain.as_agent(transfer(BOB, 990))
    assert chain.refusal(again, after_ms=0).rule == "kernel.sessionDay"
    assert chain.block(again, after_ms=1).receipts[0].code == 0
    assert chain.time_ms == midnight_ms
    assert chain.spent() == 1_000
    late = chain.as_agent(transfer(BOB, 1), valid_until_ms=chain.time_ms + DAY_MS)
    assert chain.refusal(late, after_ms=DAY_MS - 1).rule == "kernel.sessionDay"
    assert chain.block(late, after_ms=DAY_MS).receipts[0].code == 0


def test_each_asset_has_its_own_caps_and_one_without_any_is_out_of_reach() -> None:
    chain = chain_with(caps=[["CLAW", 50, 50], ["EUR", 5, 8]])
    assert chain.act(transfer(CAROL, 6, "EUR")).rule == "kernel.sessionPayment"
    assert chain.act(transfer(CAROL, 5, "EUR")).code == 0
    assert chain.act(transfer(CAROL, 4, "EUR")).rule == "kernel.sessionDay"
    assert chain.act(transfer(CAROL, 3, "EUR")).code == 0
    assert (chain.spent("EUR"), chain.spent()) == (8, 4 * FEE)
    chain.grant(key=ROBOT, lanes=[2], caps=[["CLAW", 100, 100]])
    receipt = chain.act(transfer(CAROL, 1, "EUR"), key=ROBOT, lane=2)
    assert (receipt.rule, receipt.facts) == ("kernel.sessionAsset", (ALICE.account, "EUR"))


def test_a_session_key_without_a_cap_on_the_native_asset_pays_no_fee_itself() -> None:
    chain = chain_with(caps=[["EUR", 5, 5]])
    assert chain.refused(transfer(CAROL, 1, "EUR")) == "kernel.sessionAsset"
    assert chain.act(transfer(CAROL, 1, "EUR"), payer=BOB).code == 0
    assert chain.balance(BOB) == 1_000 - FEE


def test_a_key_that_gave_itself_up_takes_nothing_more_in_the_same_transaction() -> None:
    """What it took today is forgotten with it, so a payment behind that would be beyond its cap."""
    chain = chain_with()
    for _ in range(2):
        chain.act(transfer(BOB, 990))
    approves = [(AGENT, ALICE.account)]
    resign = RawAction("accounts.resignSession", [ALICE.account, AGENT.public])
    receipt = chain.act(resign, transfer(BOB, 900), approvers=approves)
    assert receipt.rule == "kernel.key"
    assert chain.spent() == 2_010
    assert chain.act(transfer(BOB, 400), resign, approvers=approves).code == 0
    assert (chain.session(), chain.spent()) == (None, 0)
    assert not [key for (tree, key) in chain.state.records if tree == "kernel" and key[:1] == b"t"]


# -- what is set apart, held, destroyed


def hold_id(receipt_events: Any) -> bytes:
    found = next(one.data[2] for one in receipt_events if one.kind == "kernel.setApart")
    assert isinstance(found, bytes)
    return found


def test_what_is_set_apart_is_taken_at_once() -> None:
    chain = chain_with(caps=[["CLAW", 600, 1_000]])
    made = hold_id(chain.block(chain.as_agent(till("put", BOB, 500))).events)
    assert chain.spent() == 510
    assert chain.act(till("more", made, 591)).rule == "kernel.sessionPayment"
    assert chain.act(till("more", made, 480)).rule == "kernel.sessionDay"
    assert chain.act(till("more", made, 450)).code == 0
    assert chain.spent() == 510 + 2 * FEE + 460


def test_what_is_given_back_is_not_given_back_to_the_agent() -> None:
    """Else it could set apart and take back until a day's cap meant nothing."""
    chain = chain_with(caps=[["CLAW", 600, 1_000]])
    made = hold_id(chain.block(chain.as_agent(till("put", BOB, 500))).events)
    assert chain.act(till("back", made, 500)).code == 0
    assert chain.spent() == 500 + 2 * FEE
    assert chain.act(till("put", BOB, 500)).rule == "kernel.sessionDay"


def test_what_the_owner_set_apart_is_paid_out_within_the_caps_too() -> None:
    chain = chain_with(caps=[["CLAW", 600, 1_000]])
    made = hold_id(chain.pay(ALICE, till("put", BOB, 50_000)).events)
    assert chain.act(till("pay", made, 50_000)).rule == "kernel.sessionPayment"
    assert chain.act(till("pay", made, 590)).code == 0
    assert chain.act(till("pay", made, 590)).rule == "kernel.sessionDay"
    assert chain.pay(ALICE, till("pay", made, 40_000)).receipts[0].code == 0


def test_what_others_set_apart_for_somebody_is_not_the_agent_s_affair() -> None:
    chain = chain_with(caps=[["CLAW", 100, 100]])
    made = hold_id(chain.pay(BOB, till("put", CAROL, 700)).events)
    assert chain.act(till("pay", made, 700)).code == 0
    assert chain.spent() == FEE


def test_a_payment_that_a_rule_holds_counts_when_it_is_held() -> None:
    def hook(context: Context, movement: Movement) -> Verdict:
        if movement.target != CAROL.account:
            return ALLOW
        return Verdict(VerdictKind.HOLD, "desk.hold", 1, (), context.time_ms + HOUR_MS)

    desk = Module("desk", 1, (), {}, on_transfer=hook)
    chain = Agents(desk)
    chain.grant(caps=[["CLAW", 600, 1_000]])
    result = chain.block(chain.as_agent(transfer(CAROL, 500)))
    assert event(result, "kernel.held").data[1] == 500
    assert chain.spent() == 510
    assert chain.act(transfer(CAROL, 500)).rule == "kernel.sessionDay"
    chain.block(after_ms=HOUR_MS)
    assert chain.held(ALICE).held == 0
    # It came back to the owner; the day's sum stays, or a hold would be a way around it.
    assert chain.spent() == 520


# -- to whom, for what, where


def test_a_stranger_is_paid_in_no_way() -> None:
    chain = chain_with(recipients=[BOB.account])
    for action in (
        transfer(CAROL, 1),
        transfer(ERIN, 1),
        transfer(ALICE, 1),
        till("put", CAROL, 1),
        till("batch", CAROL, [1]),
    ):
        receipt = chain.act(action)
        assert (receipt.code, receipt.rule) == (Code.NOT_AUTHORISED, "kernel.sessionRecipient")
    receipt = chain.act(transfer(BOB, 1), transfer(CAROL, 1))
    assert receipt.rule == "kernel.sessionRecipient"
    assert chain.act(transfer(BOB, 1)).code == 0
    made = hold_id(chain.pay(ALICE, till("put", CAROL, 50)).events)
    assert chain.act(till("pay", made, 1)).rule == "kernel.sessionRecipient"
    # Fees, deposits and burning go to nobody.
    assert chain.act(till("burn", 1)).code == 0
    assert chain.act(open_account(FRANK)).code == 0


@pytest.mark.parametrize(
    ("memo", "taken"),
    [
        (b"", False),
        (b"order", False),
        (b"Order 7", False),
        (b" order 7", False),
        (b"order ", True),
        (b"order 7", True),
    ],
)
def test_a_memo_begins_as_it_must(memo: bytes, taken: bool) -> None:
    chain = chain_with(memo=b"order ")
    if taken:
        assert chain.act(transfer(BOB, 1), memo=memo).code == 0
    else:
        rule = "kernel.sessionMemo" if memo else "kernel.sessionNoMemo"
        assert chain.refused(transfer(BOB, 1), memo=memo) == rule


def test_a_memo_that_must_be_there_may_say_anything() -> None:
    chain = chain_with(memoRequired=1)
    assert chain.refused(transfer(BOB, 1)) == "kernel.sessionNoMemo"
    assert chain.act(transfer(BOB, 1), memo=b"x").code == 0


def test_only_what_it_was_allowed_and_in_its_lanes() -> None:
    chain = chain_with(actions=["assets.transfer"], lanes=[3])
    for lane in (0, 1, 2, 4, 63):
        assert chain.refused(transfer(BOB, 1), lane=lane) == "kernel.sessionLane"
    for actions in (
        (till("burn", 1),),
        (transfer(BOB, 1), till("burn", 1)),
        (open_account(ERIN),),
    ):
        refusal = chain.refusal(chain.as_agent(*actions, lane=3))
        assert (refusal.code, refusal.rule) == (Code.NOT_AUTHORISED, "kernel.sessionAction")
    assert chain.act(transfer(BOB, 1), lane=3).code == 0


@pytest.mark.parametrize(
    "action",
    [
        lambda chain: change_key(AGENT),
        lambda chain: chain.terms(key=ROBOT, lanes=[9]),
        lambda chain: chain.terms(),
        lambda chain: RawAction(REVOKE.name, [AGENT.public]),
        lambda chain: RawAction(SPONSOR.name, [BOB.account, 1, 1, 1, [], chain.time_ms + DAY_MS]),
        lambda chain: RawAction(END.name, [BOB.account]),
        lambda chain: till("owners"),
    ],
    ids=["changeKey", "grant", "grantItself", "revoke", "sponsor", "endSponsorship", "owners"],
)
def test_a_session_key_does_not_change_who_may_act(action: Callable[[Agents], RawAction]) -> None:
    chain = chain_with()
    raw = action(chain)
    named = chain.registry.actions[raw.name]
    values = named.read(raw.fields)
    approvers = []
    if named.approvers is not None:
        pairs = named.approvers(values, chain.body(ALICE, raw))
        keys = {key.public: key for key in (AGENT, ROBOT)}
        approvers = [(keys[public], account) for account, public in pairs]
    assert chain.refused(raw, approvers=approvers) == "kernel.sessionAction"
    # Hidden behind what it may do, it is refused the same.
    assert chain.refused(transfer(BOB, 1), raw, approvers=approvers) == "kernel.sessionAction"


# -- signatures


def test_a_session_key_signs_only_as_sender_and_only_for_its_account() -> None:
    chain = chain_with()
    # As payer of somebody's fees:
    body = chain.body(BOB, transfer(CAROL, 1), payer=ALICE.account)
    raw = signed_by(body, senders=[BOB], payers=[AGENT])
    assert chain.refusal(raw).rule == "kernel.key"
    # For an account that granted it nothing:
    assert chain.refused(transfer(CAROL, 1), owner=BOB) == "kernel.key"
    # Beside the owner's signature, as if two were more than one:
    body = chain.body(ALICE, transfer(BOB, 1), lane=1)
    assert chain.refusal(signed_by(body, senders=[ALICE, AGENT])).rule == "kernel.key"
    # In no role that nobody asked for:
    body = chain.body(ALICE, transfer(BOB, 1))
    with pytest.raises(BadSignature):
        prepare(
            signed_by(body, senders=[ALICE], approvers=[(AGENT, ALICE.account)]), chain.registry
        )


def test_a_session_key_s_signature_approves_nothing_for_its_account() -> None:
    """Bob may ask the key to give itself up; that is no approval by Alice of anything else."""
    seen: list[tuple[bytes, ...]] = []

    def look(context: Context, movement: Movement) -> Verdict:
        seen.append(context.approvals)
        return ALLOW

    chain = Agents(Module("eyes", 1, (), {}, on_transfer=look))
    chain.grant()
    resign = RawAction("accounts.resignSession", [ALICE.account, AGENT.public])
    raw = chain.tx(BOB, transfer(CAROL, 1), resign, approvers=[(AGENT, ALICE.account)])
    assert chain.block(raw).receipts[0].code == 0
    assert seen == [()]


def test_nothing_is_done_twice() -> None:
    chain = chain_with(lanes=[1, 2])
    raw = chain.as_agent(transfer(BOB, 100))
    chain.block(raw)
    assert chain.refusal(raw).rule == "kernel.sequenceLow"
    # Signed for another account, lane or network it is another transaction.
    moved = chain.body(ALICE, transfer(BOB, 100), lane=2)
    copied = encode_transaction(moved.pack(), list(decode_transaction(raw).witness))
    with pytest.raises(AssertionError):  # The sandbox checks each signature.
        chain.block(copied)
    other = Agents(chain_id="sandbox-2")
    other.grant()
    assert other.refusal(raw).rule == "kernel.chain"


def test_the_owner_s_own_key_has_no_limits_and_may_take_over_a_lane() -> None:
    """What an agent sent and nobody wants is replaced by its owner, in the agent's own lane."""
    chain = chain_with()
    waiting = chain.as_agent(transfer(BOB, 900))
    receipt = chain.pay(ALICE, transfer(ALICE, 1), lane=1).receipts[0]
    assert receipt.code == 0
    assert chain.refusal(waiting).rule == "kernel.sequenceLow"
    assert chain.pay(ALICE, transfer(BOB, 50_000)).receipts[0].code == 0
    assert chain.spent() == 0


def test_a_changed_key_of_the_owner_changes_nothing_for_sessions() -> None:
    chain = chain_with()
    chain.pay(ALICE, change_key(ROBOT), approvers=[(ROBOT, ALICE.account)])
    assert chain.act(transfer(BOB, 1)).code == 0
    assert chain.refused(transfer(BOB, 1), key=ALICE) == "kernel.key"
    revoked = chain.pay(ALICE, RawAction(REVOKE.name, [AGENT.public]), signer=ROBOT)
    assert revoked.receipts[0].code == 0
    assert chain.refused(transfer(BOB, 1)) == "kernel.key"


# -- the owner is never locked out


def test_a_stolen_session_key_leaves_its_owner_half_of_the_quota() -> None:
    """Somebody else pays the fees of a flood; the owner must still be able to revoke."""
    chain = Agents(params={"quota_cost_max": 3_000, "fee_min": 0})
    chain.grant(caps=[])
    chain.block(after_ms=HOUR_MS)
    count = 0
    while True:
        raw = chain.as_agent(transfer(BOB, 1), fee=0)
        try:
            chain.block(raw, after_ms=1)
        except Refused as err:
            assert err.rule == "kernel.quota"
            break
        count += 1
    assert count >= 3
    assert chain.account(ALICE).quota_used <= 1_500
    revoked = chain.block(chain.tx(ALICE, RawAction(REVOKE.name, [AGENT.public])), after_ms=1)
    assert revoked.receipts[0].code == 0


def test_a_stolen_session_key_leaves_its_owner_half_of_the_idempotency_keys() -> None:
    """Wallets send each payment under such a key, a revocation too."""
    chain = Agents(params={"idempotency_per_sender_max": 6, "fee_min": 0})
    chain.grant(caps=[])
    rules = [
        chain.act(transfer(BOB, 1), fee=0, idempotency_key=bytes([number])).rule
        for number in range(5)
    ]
    assert rules == ["kernel.sessionAsset"] * 3 + ["kernel.keysFull"] * 2
    revoke = RawAction(REVOKE.name, [AGENT.public])
    assert chain.pay(ALICE, revoke, idempotency_key=b"mine").receipts[0].code == 0


def test_grants_are_bounded_by_what_an_account_may_schedule() -> None:
    chain = Agents(params={"due_per_creator_max": 1})
    assert chain.grant().code == 0
    assert chain.grant(key=ROBOT, lanes=[2]).rule == "kernel.dueFull"
    assert chain.session(ROBOT) is None


def test_a_failed_transaction_leaves_the_fee_and_the_day_s_sum_and_nothing_else() -> None:
    chain = chain_with()
    before = dict(chain.state.records)
    receipt = chain.act(till("fails", ERIN, 5))
    assert receipt.rule == "kernel.policy"
    changed = {
        key[:1] + key[1:33]
        for (tree, key), value in chain.state.records.items()
        if before.get((tree, key)) != value
    }
    assert changed == {b"a" + ALICE.account, b"a" + FEE_ACCOUNT, b"t" + ALICE.account}
