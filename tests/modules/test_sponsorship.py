"""Sponsored fees: who pays them without signing, within which limits, and for nothing else.

If these failed, a sponsor could lose more than it gave, or be taken for somebody who approved.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger.errors import BadSignature, Code, Malformed, Refused
from clawpurse.ledger.kernel.entitlements import SPONSORSHIPS_MAX, day_end_ms, day_of
from clawpurse.ledger.module_api import ALLOW, Context, Module, Movement, Verdict, Words
from clawpurse.ledger.params import DAY_MS, NATIVE_ASSET
from clawpurse.ledger.transactions import RawAction, decode_transaction
from clawpurse.ledger.transition import prepare
from clawpurse.modules.accounts.sponsorship import (
    END,
    SPONSOR,
    SPONSORSHIP_MS_MAX,
    count_key,
    count_of,
)
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, START_MS, Key, change_key, transfer
from tests.modules.agents import AGENT, FEE, HOUR_MS, Agents, till
from tests.modules.council import event
from tests.modules.signing import signed_by


def sponsor(chain: Agents, of: Key = CAROL, **changes: Any) -> RawAction:
    values = {
        "account": of.account,
        "perTransaction": 20,
        "perDay": 45,
        "total": 100,
        "actions": [],
        "expires": chain.time_ms + 30 * DAY_MS,
        **changes,
    }
    return RawAction(SPONSOR.name, list(values.values()))


def chain_with(**changes: Any) -> Agents:
    """Alice pays Carol's fees: 20 at once, 45 a day, 100 altogether, unless said otherwise."""
    chain = Agents()
    assert chain.pay(ALICE, sponsor(chain, **changes)).receipts[0].code == 0
    return chain


def sponsored(chain: Agents, *actions: RawAction, key: Key = CAROL, **fields: Any) -> bytes:
    """A transaction that names Alice as payer, without her signature."""
    wish = actions or (transfer(BOB, 1, "EUR"),)
    body = chain.body(key, *wish, payer=ALICE.account, **fields)
    return signed_by(body, senders=[fields.pop("signer", key)])


def end(of: Key = CAROL) -> RawAction:
    return RawAction(END.name, [of.account])


def nothing_left(chain: Agents, of: Key = ALICE) -> None:
    assert chain.account(of).due_count == 0
    left = [(tree, key[:1]) for (tree, key) in chain.state.records]
    assert not {("kernel", b"f"), ("kernel", b"d")}.intersection(left)
    assert "accounts" not in [tree for tree, _ in left]


def test_a_sponsor_pays_the_fee_and_nothing_else() -> None:
    chain = chain_with()
    result = chain.block(sponsored(chain, transfer(BOB, 3, "EUR"), fee=12))
    assert result.receipts[0].code == 0
    assert chain.balance(CAROL, "EUR") == 4
    terms = chain.sponsorship(ALICE, CAROL)
    assert terms is not None
    assert (terms.total, terms.spent, terms.day) == (88, 12, day_of(chain.time_ms))
    assert chain.balance(ALICE) == 1_000_000 - FEE - 12


def test_a_fee_is_charged_to_the_sponsorship_even_if_the_transaction_fails() -> None:
    chain = chain_with()
    receipt = chain.block(sponsored(chain, transfer(BOB, 1_000, "EUR"))).receipts[0]
    assert receipt.rule == "kernel.balance"
    terms = chain.sponsorship(ALICE, CAROL)
    assert terms is not None and (terms.total, terms.spent) == (90, 10)
    assert chain.balance(ALICE) == 1_000_000 - 2 * FEE


def test_each_limit_refuses_by_its_name_and_says_what_is_left_and_until_when() -> None:
    chain = chain_with()
    refusal = chain.refusal(sponsored(chain, fee=21))
    assert (refusal.code, refusal.rule) == (Code.QUOTA_EXCEEDED, "kernel.sponsorFee")
    assert refusal.wire_facts == (ALICE.account, 21, 20, NATIVE_ASSET)
    for _ in range(2):
        chain.block(sponsored(chain, fee=20))
    refusal = chain.refusal(sponsored(chain, fee=10))
    assert refusal.rule == "kernel.sponsorDay"
    midnight_ms = day_end_ms(chain.time_ms)
    assert refusal.wire_facts == (ALICE.account, 10, 5, NATIVE_ASSET, midnight_ms)
    late = sponsored(chain, fee=20, valid_until_ms=midnight_ms + 1)
    assert chain.refusal(late, after_ms=midnight_ms - chain.time_ms - 1).rule == "kernel.sponsorDay"
    chain.block(late, after_ms=midnight_ms - chain.time_ms)
    chain.block(sponsored(chain, fee=20))
    chain.block(after_ms=DAY_MS)
    chain.block(sponsored(chain, fee=15))
    refusal = chain.refusal(sponsored(chain, fee=10))
    assert refusal.rule == "kernel.sponsorSpent"
    assert refusal.wire_facts == (ALICE.account, 10, 5, NATIVE_ASSET)
    assert chain.balance(ALICE) == 1_000_000 - FEE - 95


def test_only_the_named_account_is_sponsored_and_only_for_the_named_actions() -> None:
    chain = chain_with(actions=["till.burn", "assets.transfer"])
    refusal = chain.refusal(sponsored(chain, key=BOB))
    assert (refusal.code, refusal.rule) == (Code.NOT_AUTHORISED, "kernel.sponsor")
    refusal = chain.refusal(sponsored(chain, transfer(BOB, 1, "EUR"), till("put", BOB, 1)))
    assert (refusal.rule, refusal.wire_facts) == (
        "kernel.sponsorAction",
        (ALICE.account, "till.put"),
    )
    assert chain.block(sponsored(chain)).receipts[0].code == 0
    # A sponsorship is no right of the other side.
    body = chain.body(ALICE, transfer(BOB, 1), payer=CAROL.account)
    assert chain.refusal(signed_by(body, senders=[ALICE])).rule == "kernel.sponsor"


def test_without_a_sponsorship_a_payer_signs() -> None:
    chain = Agents()
    assert chain.refusal(sponsored(chain)).rule == "kernel.sponsor"
    assert chain.pay(CAROL, transfer(BOB, 1, "EUR"), payer=ALICE).receipts[0].code == 0


def test_a_payer_who_signs_is_charged_beside_its_sponsorship() -> None:
    chain = chain_with()
    assert chain.pay(CAROL, transfer(BOB, 1, "EUR"), payer=ALICE, fee=500).receipts[0].code == 0
    terms = chain.sponsorship(ALICE, CAROL)
    assert terms is not None and (terms.total, terms.spent) == (100, 0)


def test_a_wrong_signature_of_the_payer_is_not_mended_by_a_sponsorship() -> None:
    chain = chain_with()
    body = chain.body(CAROL, transfer(BOB, 1, "EUR"), payer=ALICE.account)
    assert chain.refusal(signed_by(body, senders=[CAROL], payers=[BOB])).rule == "kernel.key"


def test_a_sponsor_without_the_money_pays_nothing() -> None:
    chain = Agents()
    chain.pay(BOB, sponsor(chain, perTransaction=5_000, perDay=5_000, total=5_000))
    body = chain.body(CAROL, transfer(BOB, 1, "EUR"), payer=BOB.account, fee=2_000)
    assert chain.refusal(signed_by(body, senders=[CAROL])).rule == "kernel.feeFunds"


def test_a_sponsor_is_no_approver_whether_it_signs_or_not() -> None:
    """Who pays a fee has not agreed to what it pays for."""
    seen: list[tuple[bytes, ...]] = []

    def look(context: Context, movement: Movement) -> Verdict:
        seen.append(context.approvals)
        return ALLOW

    chain = Agents(Module("eyes", 1, (), {}, on_transfer=look))
    chain.pay(ALICE, sponsor(chain))
    chain.block(sponsored(chain))
    chain.pay(CAROL, transfer(BOB, 1, "EUR"), payer=ALICE)
    assert seen == [(), ()]
    # Where a signature as approver is asked for, a payer's does not count as one.
    body = chain.body(CAROL, change_key(ERIN), payer=ERIN.account)
    with pytest.raises(BadSignature):
        prepare(signed_by(body, senders=[CAROL], payers=[ERIN]), chain.registry)


def test_a_session_key_may_have_its_fees_sponsored_and_its_caps_stay() -> None:
    chain = chain_with()
    chain.pay(ALICE, transfer(CAROL, FEE))
    assert chain.grant(owner=CAROL, caps=[["EUR", 3, 5]]).code == 0
    body = chain.body(CAROL, transfer(BOB, 3, "EUR"), payer=ALICE.account, lane=1)
    assert chain.block(signed_by(body, senders=[AGENT])).receipts[0].code == 0
    body = chain.body(CAROL, transfer(BOB, 3, "EUR"), payer=ALICE.account, lane=1)
    assert chain.block(signed_by(body, senders=[AGENT])).receipts[0].rule == "kernel.sessionDay"
    # What it takes of the native asset as a deposit is not the sponsor's.
    body = chain.body(CAROL, transfer(ERIN, 1, "EUR"), payer=ALICE.account, lane=1)
    assert chain.block(signed_by(body, senders=[AGENT])).receipts[0].rule == "kernel.sessionAsset"
    terms = chain.sponsorship(ALICE, CAROL)
    assert terms is not None and terms.total == 100 - 3 * FEE


INVALID: list[tuple[str, dict[str, Any], str]] = [
    ("oneself", {"account": ALICE.account}, "accounts.sponsorSelf"),
    ("what is no account", {"account": ERIN.account}, "kernel.sender"),
    ("a payment above a day", {"perTransaction": 46}, "accounts.sponsorLimits"),
    ("a day above the total", {"perDay": 101}, "accounts.sponsorLimits"),
    ("an end in the past", {"expires": START_MS}, "accounts.sponsorExpiry"),
    ("an end now", {"expires": START_MS + 1_000}, "accounts.sponsorExpiry"),
    ("a long end", {"expires": START_MS + 1_001 + SPONSORSHIP_MS_MAX}, "accounts.sponsorExpiry"),
    ("an unknown action", {"actions": ["till.nothing"]}, "kernel.action"),
    ("an action twice", {"actions": ["till.burn"] * 2}, "accounts.sponsorTwice"),
]


@pytest.mark.parametrize(
    ("terms", "rule"), [row[1:] for row in INVALID], ids=[row[0] for row in INVALID]
)
def test_a_sponsorship_that_makes_no_sense_is_refused(terms: dict[str, Any], rule: str) -> None:
    chain = Agents()
    assert chain.pay(ALICE, sponsor(chain, **terms)).receipts[0].rule == rule
    nothing_left(chain)


@pytest.mark.parametrize(
    "terms",
    [
        {"perTransaction": 0},
        {"perDay": 0},
        {"total": 0},
        {"actions": ["till.burn"] * 33},
        {"actions": [""]},
        {"account": bytes(31)},
        {"expires": -1},
    ],
    ids=str,
)
def test_a_sponsorship_that_breaks_its_format_is_no_transaction(terms: dict[str, Any]) -> None:
    chain = Agents()
    with pytest.raises(Malformed):
        chain.pay(ALICE, sponsor(chain, **terms))


def test_a_live_sponsorship_is_ended_before_another_one() -> None:
    chain = chain_with()
    receipt = chain.pay(ALICE, sponsor(chain, total=5_000)).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "accounts.sponsorExists")
    terms = chain.sponsorship(ALICE, CAROL)
    assert terms is not None and terms.total == 100
    result = chain.pay(ALICE, end())
    ended = event(result, "accounts.sponsorshipEnded")
    assert (ended.accounts, ended.data) == ((ALICE.account, CAROL.account), (100, "ended"))
    nothing_left(chain)
    assert chain.refusal(sponsored(chain)).rule == "kernel.sponsor"
    assert chain.pay(ALICE, sponsor(chain, total=5_000)).receipts[0].code == 0


def test_only_the_sponsor_ends_its_sponsorship() -> None:
    chain = chain_with()
    receipt = chain.pay(BOB, end()).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.NOT_FOUND, "accounts.sponsorMissing")
    assert chain.pay(BOB, end(ALICE)).receipts[0].rule == "accounts.sponsorMissing"
    assert chain.sponsorship(ALICE, CAROL) is not None


def test_a_sponsorship_ends_by_itself() -> None:
    chain = chain_with(expires=START_MS + HOUR_MS)
    late = sponsored(chain, valid_until_ms=chain.time_ms + 2 * HOUR_MS)
    result = chain.block(after_ms=HOUR_MS)
    assert event(result, "accounts.sponsorshipEnded").data == (100, "expired")
    nothing_left(chain)
    assert chain.refusal(late).rule == "kernel.sponsor"


def test_an_ended_sponsorship_that_waits_to_be_forgotten_can_be_made_anew() -> None:
    chain = Agents(params={"due_per_block_max": 1})
    for account in (BOB, CAROL):
        chain.pay(ALICE, sponsor(chain, account, expires=START_MS + HOUR_MS))
    chain.block(after_ms=HOUR_MS)
    left = [key for key in (BOB, CAROL) if chain.sponsorship(ALICE, key) is not None]
    assert len(left) == 1
    raws = [
        chain.tx(ALICE, sponsor(chain, account), sequence=chain.sequence(ALICE) + number)
        for number, account in enumerate((BOB, CAROL))
    ]
    assert [receipt.code for receipt in chain.block(*raws).receipts] == [0, 0]
    assert chain.query("accounts.sponsorsOf", left[0].account, 10) == [ALICE.account]


def test_who_sponsors_whom_is_listed_from_both_sides() -> None:
    chain = chain_with()
    chain.pay(BOB, sponsor(chain, CAROL))
    chain.pay(ALICE, sponsor(chain, DAVE))
    both = sorted((ALICE.account, BOB.account))
    assert chain.query("accounts.sponsorsOf", CAROL.account, 10) == both
    assert chain.query("accounts.sponsorsOf", CAROL.account, 10, both[0]) == both[1:]
    assert chain.query("accounts.sponsorsOf", DAVE.account, 10) == [ALICE.account]
    listed = chain.books.entitlements.sponsorships(ALICE.account, 10)
    assert [account for account, _ in listed] == sorted((CAROL.account, DAVE.account))
    assert count_of(lambda key: chain.state.get("accounts", key), ALICE.account) == 2


def test_one_account_sponsors_only_so_many() -> None:
    chain = Agents(params={"due_per_creator_max": 5_000})
    full = chain_with()
    record = full.state.records[("accounts", count_key(ALICE.account))]
    chain.state.records[("accounts", count_key(ALICE.account))] = record[:-1] + (
        b"\xcd" + SPONSORSHIPS_MAX.to_bytes(2, "big")
    )
    execution = chain.execution()
    receipt = execution.apply(prepare(chain.tx(ALICE, sponsor(chain)), chain.registry))
    assert (receipt.code, receipt.rule) == (Code.LIMIT_EXCEEDED, "accounts.sponsorFull")


def test_a_sponsorship_in_words_says_everything() -> None:
    words = Words(lambda account: account.hex()[:4], lambda asset, amount: f"{amount} {asset}")
    chain = Agents()
    raw = sponsor(chain, actions=["assets.transfer"])
    text = SPONSOR.words(SPONSOR.named(SPONSOR.read(raw.fields)), words)
    for part in (
        CAROL.account.hex()[:4],
        "assets.transfer",
        "20 CLAW",
        "45 CLAW",
        "100 CLAW",
        "2027-",
    ):
        assert part in text, part
    assert CAROL.account.hex()[:4] in END.words(END.named((CAROL.account,)), words)


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([CAROL, DAVE]),
            st.sampled_from([10, 11, 15, 20, 21]),
            st.sampled_from([1, HOUR_MS, 9 * HOUR_MS]),
            st.sampled_from(["sponsored"] * 5 + ["signed", "fails"]),
        ),
        max_size=25,
    )
)
def test_no_day_and_no_agent_costs_a_sponsor_more_than_it_gave(steps: list[Any]) -> None:
    chain = Agents()
    for account in (CAROL, DAVE):
        chain.pay(ALICE, sponsor(chain, account))
    paid: dict[tuple[Key, int], int] = defaultdict(int)
    for key, fee, after_ms, manner in steps:
        before = chain.balance(ALICE)
        action = transfer(BOB, 10**6 if manner == "fails" else 1, "EUR")
        body = chain.body(key, action, payer=ALICE.account, fee=fee)._replace(
            valid_until_ms=chain.time_ms + DAY_MS
        )
        payers = [ALICE] if manner == "signed" else []
        try:
            chain.block(signed_by(body, senders=[key], payers=payers), after_ms=after_ms)
        except Refused as err:
            assert err.code is Code.QUOTA_EXCEEDED
            chain.block(after_ms=after_ms)
        cost = before - chain.balance(ALICE)
        if manner != "signed":
            assert cost <= 20
            paid[key, day_of(chain.time_ms)] += cost
            assert paid[key, day_of(chain.time_ms)] <= 45
            assert sum(cost for (whom, _), cost in paid.items() if whom is key) <= 100


def test_a_stripped_signature_of_the_payer_is_another_form_of_the_same_transaction() -> None:
    """Whoever relays it cannot make it happen twice by leaving the payer's signature out."""
    chain = chain_with()
    body = chain.body(CAROL, transfer(BOB, 1, "EUR"), payer=ALICE.account)
    signed = signed_by(body, senders=[CAROL], payers=[ALICE])
    stripped = signed_by(body, senders=[CAROL])
    assert decode_transaction(signed).tx_id == decode_transaction(stripped).tx_id
    chain.block(stripped)
    assert chain.refusal(signed).rule == "kernel.sequenceLow"
