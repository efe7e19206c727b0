"""Guardrails against a naive model: if these failed, a wallet would pay above its own limits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.params import DAY_MS, NATIVE_ASSET
from clawpurse.wallet.guardrail_changes import weakened
from clawpurse.wallet.guardrails import (
    DEFAULT_POLICY,
    AssetRule,
    Cosigner,
    GuardrailRefused,
    Mode,
    Policy,
    RecipientRule,
    Spent,
    Stance,
    judge,
    spent_of,
)

ME, BOB, EVE = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32
NOON_MS = 20_000 * DAY_MS + DAY_MS // 2


@dataclass(frozen=True)
class Pay:
    """A payment as `Intent` has it."""

    amount: int
    recipient: bytes = BOB
    asset: str = NATIVE_ASSET
    memo: str = ""
    fee: int = 0
    account: bytes = ME


class Book:
    """A naive journal: all payments in a list, added up each time."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, Pay]] = []

    def latest_ms(self) -> int:
        return max((at_ms for at_ms, _ in self.rows), default=0)

    def spent(self, account: bytes, asset: str, day_start_ms: int) -> int:
        total = 0
        for at_ms, one in self.rows:
            if at_ms // DAY_MS * DAY_MS == day_start_ms and one.account == account:
                total += one.amount if one.asset == asset else 0
                total += one.fee if asset == NATIVE_ASSET else 0
        return total

    def spent_to(self, account: bytes, recipient: bytes, asset: str, day_start_ms: int) -> int:
        return sum(
            one.amount
            for at_ms, one in self.rows
            if at_ms // DAY_MS * DAY_MS == day_start_ms
            and (one.account, one.recipient, one.asset) == (account, recipient, asset)
        )


def limits_of(policy: Policy, payment: Pay, spent: Spent | None = None) -> list[str]:
    return [one.limit for one in judge(policy, payment, spent or Spent(), NOON_MS).refusals]


def test_a_payment_over_the_limit_is_refused_in_words_and_in_data() -> None:
    verdict = judge(DEFAULT_POLICY, Pay(12_000_00), Spent(), NOON_MS)
    assert not verdict.allowed
    err = GuardrailRefused(verdict.refusals)
    assert str(err) == (
        "12,000.00 CLAW is over your 1,000.00 CLAW limit. Nothing was sent. "
        "→ clawpurse wallet guardrails"
    )
    data = verdict.refusals[0].data()
    assert data["limit"] == "perTransaction" and data["resetsAt"] is None
    assert (data["allowed"], data["asked"], data["spent"]) == ("100000", "1200000", "0")


def test_a_daily_refusal_says_when_it_resets_unless_waiting_is_no_help() -> None:
    spent = Spent({NATIVE_ASSET: 4_900_00})
    refusal = judge(DEFAULT_POLICY, Pay(200_00), spent, NOON_MS).refusals[0]
    assert refusal.limit == "perDay" and refusal.resets_ms == 20_001 * DAY_MS
    assert "until 2024-10-05T00:00:00" in refusal.sentence and "4,900.00 of it" in refusal.sentence
    both = judge(DEFAULT_POLICY, Pay(6_000_00), spent, NOON_MS).refusals
    assert [one.resets_ms for one in both] == [None, None]


def test_fees_count_as_they_do_on_the_ledger() -> None:
    assert limits_of(DEFAULT_POLICY, Pay(1_000_00)) == []
    assert limits_of(DEFAULT_POLICY, Pay(1_000_00, fee=1)) == ["perTransaction"]
    other = replace(DEFAULT_POLICY, other_assets=Stance.ALLOW)
    assert limits_of(other, Pay(5, asset="EUR", fee=1), Spent({NATIVE_ASSET: 5_000_00})) == [
        "perDay"
    ]


def test_strangers_assets_and_memos_are_judged_as_the_policy_says() -> None:
    bob = RecipientRule(BOB, "bob", (AssetRule(NATIVE_ASSET, 2, 10_00, 20_00),), True)
    policy = Policy(recipients=(bob,), unknown=Stance.REFUSE, other_assets=Stance.REFUSE)
    assert limits_of(policy, Pay(1, EVE)) == ["otherAsset", "unknownRecipient"]
    policy = replace(policy, assets=DEFAULT_POLICY.assets)
    assert limits_of(policy, Pay(1, EVE)) == ["unknownRecipient"]
    assert limits_of(policy, Pay(1, ME)) == []
    assert limits_of(policy, Pay(10_01)) == ["recipientPerTransaction", "memo"]
    spent = Spent(recipients={(BOB, NATIVE_ASSET): 15_00})
    assert limits_of(policy, Pay(10_00, memo="x"), spent) == ["recipientPerDay"]
    prefixed = replace(policy, memo_prefix="order ")
    assert limits_of(prefixed, Pay(1, memo="gift")) == ["memo"]
    assert limits_of(prefixed, Pay(1, memo="order 7")) == []


def test_asking_first_is_asked_for_and_no_refusal() -> None:
    verdict = judge(DEFAULT_POLICY, Pay(100_01), Spent(), NOON_MS)
    assert verdict.allowed and "100.00 CLAW" in verdict.needs_confirmation[0]
    verdict = judge(DEFAULT_POLICY, Pay(5, asset="EUR"), Spent(), NOON_MS)
    assert verdict.allowed and verdict.needs_confirmation == (
        "Your guardrails say nothing of EUR.",
    )
    listed = replace(DEFAULT_POLICY, recipients=(RecipientRule(BOB, "bob"),))
    assert "allowlist" in judge(listed, Pay(5, EVE), Spent(), NOON_MS).needs_confirmation[0]


def test_in_mode_allow_what_would_be_refused_is_said_and_paid() -> None:
    policy = replace(DEFAULT_POLICY, mode=Mode.ALLOW)
    verdict = judge(policy, Pay(2_000_00), Spent(), NOON_MS)
    assert verdict.allowed and len(verdict.refusals) == 1
    assert "only say so" in verdict.needs_confirmation[0]


def test_a_batch_is_judged_as_what_it_takes_together() -> None:
    legs = [Pay(600_00), Pay(600_00, EVE)]
    assert [one.limit for one in judge(DEFAULT_POLICY, legs, Spent(), NOON_MS).refusals] == [
        "perTransaction"
    ]


@given(
    st.lists(
        st.tuples(
            st.integers(-3 * DAY_MS, 3 * DAY_MS),
            st.integers(1, 80),
            st.sampled_from([BOB, EVE]),
            st.sampled_from([NATIVE_ASSET, "EUR"]),
            st.integers(0, 3),
        ),
        max_size=30,
    )
)
def test_no_day_and_no_clock_lets_more_through_than_the_limits(
    wishes: list[tuple[int, int, bytes, str, int]],
) -> None:
    """The clock jumps back and forth; after all, each real day's sums are within the limits."""
    bob = RecipientRule(BOB, "bob", (AssetRule(NATIVE_ASSET, 2, 50, 90),))
    policy = Policy(
        assets=(AssetRule("CLAW", 2, 70, 150), AssetRule("EUR", 2, 40, 60)), recipients=(bob,)
    )
    book, reached_ms = Book(), 0
    for shift_ms, amount, recipient, asset, fee in wishes:
        now_ms = NOON_MS + shift_ms
        payment = Pay(amount, recipient, asset, fee=fee)
        verdict = judge(policy, payment, spent_of(book, [payment], now_ms), now_ms)
        at_ms = max(now_ms, reached_ms)
        day = at_ms // DAY_MS
        native = [row for row in book.rows if row[0] // DAY_MS == day]
        totals = {
            name: sum(one.amount for _, one in native if one.asset == name)
            + (sum(one.fee for _, one in native) if name == NATIVE_ASSET else 0)
            for name in ("CLAW", "EUR")
        }
        to_bob = sum(
            one.amount for _, one in native if one.recipient == BOB and one.asset == NATIVE_ASSET
        )
        takes = {asset: amount}
        takes[NATIVE_ASSET] = takes.get(NATIVE_ASSET, 0) + fee
        once, daily = {"CLAW": 70, "EUR": 40}, {"CLAW": 150, "EUR": 60}
        good = all(
            not took or (took <= once[name] and totals[name] + took <= daily[name])
            for name, took in takes.items()
        )
        if recipient == BOB and asset == NATIVE_ASSET:
            good = good and amount <= 50 and to_bob + amount <= 90
        assert verdict.allowed == good
        if verdict.allowed:
            # The journal keeps the wall clock as it was; only the newest time holds it up.
            book.rows.append((at_ms, payment))
            reached_ms = at_ms


@given(st.integers(0, 18), st.integers(0, 18), st.integers(1, 10**12))
def test_other_decimals_never_loosen_a_limit(mine: int, theirs: int, limit: int) -> None:
    policy = Policy(assets=(AssetRule(NATIVE_ASSET, mine, limit),))
    moved = policy.at_decimals(NATIVE_ASSET, theirs).rule(NATIVE_ASSET)
    assert moved is not None and moved.per_transaction is not None
    assert moved.per_transaction * 10**mine <= limit * 10**theirs


LIMIT = st.none() | st.integers(1, 6)
POLICIES = st.builds(
    Policy,
    st.sampled_from(Mode),
    st.sampled_from([(), ("CLAW",), ("CLAW", "EUR")]).flatmap(
        lambda names: st.tuples(
            *(st.builds(AssetRule, st.just(n), st.just(0), LIMIT, LIMIT, LIMIT) for n in names)
        )
    ),
    st.sampled_from([(), (BOB,), (BOB, EVE)]).flatmap(
        lambda whom: st.tuples(
            *(
                st.builds(
                    RecipientRule,
                    st.just(account),
                    st.just("x"),
                    st.lists(
                        st.builds(AssetRule, st.just("CLAW"), st.just(0), LIMIT, LIMIT), max_size=1
                    ).map(tuple),
                    st.booleans(),
                )
                for account in whom
            )
        )
    ),
    st.sampled_from(Stance),
    st.sampled_from(Stance),
    st.booleans(),
    st.sampled_from(["", "a", "ab"]),
)


@given(
    POLICIES,
    POLICIES,
    st.builds(
        Pay,
        st.integers(1, 8),
        st.sampled_from([BOB, EVE]),
        st.sampled_from(["CLAW", "EUR"]),
        st.sampled_from(["", "a", "abc"]),
        st.integers(0, 2),
    ),
    st.integers(0, 6),
)
def test_what_is_no_weakening_lets_nothing_more_through(
    old: Policy, new: Policy, payment: Pay, before: int
) -> None:
    """A stricter-looking change that let one more payment through would need no second factor."""
    if weakened(old, new):
        return
    spent = Spent(
        {"CLAW": before, "EUR": before}, {(payment.recipient, payment.asset): min(before, 3)}
    )
    was, becomes = (judge(one, payment, spent, NOON_MS) for one in (old, new))
    if becomes.allowed:
        assert was.allowed
        assert becomes.needs_confirmation or not was.needs_confirmation


@pytest.mark.parametrize(
    ("change", "is_weaker"),
    [
        ({"mode": Mode.ALLOW}, True),
        ({"unknown": Stance.REFUSE}, False),
        ({"unknown": Stance.ALLOW}, True),
        ({"memo_required": True}, False),
        ({"cosigners": (Cosigner("eve", EVE),)}, True),
        (
            {"assets": (AssetRule(NATIVE_ASSET, 6, 1_000_000_000, 5_000_000_000, 100_000_000),)},
            False,
        ),
        ({"assets": (AssetRule(NATIVE_ASSET, 2, 1_000_01, 5_000_00, 100_00),)}, True),
        ({"assets": ()}, True),
    ],
)
def test_a_loosened_limit_is_named(change: dict[str, object], is_weaker: bool) -> None:
    new = replace(DEFAULT_POLICY, **change)  # type: ignore[arg-type]
    assert bool(weakened(DEFAULT_POLICY, new)) is is_weaker
    assert weakened(new, new) == ()
