"""Velocity: what counts over windows, what comes back, and that nobody gains by it.

If these failed, a limit for a day could be passed by splitting, by waiting for midnight, or by
taking back what was never counted.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.codec import U64_MAX
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.compliance.velocity import SLOTS, Slots, slot_of
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, transfer
from tests.modules.counter_world import ONE, denied, desk, held_id, pay_for, set_apart
from tests.modules.officers_world import DAY_MS, HOUR_MS, SUBJECT, deny, hold, set_subject, when


def test_sums_count_this_payment_too_and_only_of_the_one_who_pays() -> None:
    chain = desk()
    chain.enact(deny("day", when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)))
    assert not denied(chain.try_pay(amount=999))
    assert denied(chain.try_pay(amount=1))
    assert not denied(chain.try_pay(source=BOB, target=ALICE, amount=999))
    chain.do(ALICE, transfer(BOB, 5_000, "CLAW"))  # Another asset's payments are no matter.


def test_what_is_refused_is_not_counted() -> None:
    chain = desk()
    chain.enact(deny("day", when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)))
    for _ in range(3):
        assert denied(chain.try_pay(amount=1_000))
    failing = chain.pay(ALICE, transfer(BOB, 900, "EUR"), transfer(BOB, 10**9)).receipts[0]
    assert failing.rule == "kernel.balance"
    assert not denied(chain.try_pay(amount=999))


@pytest.mark.parametrize(
    ("side", "allowed"),
    [
        # Alice and Carol are one person; Bob pays and is paid too.
        ("source", [True, True, False, True, False]),
        ("source-subject", [True, True, False, False, False]),
        ("target", [True, True, False, False, True]),
        ("target-subject", [True, True, False, False, True]),
    ],
)
def test_counts_of_accounts_and_of_people(side: str, allowed: list[bool]) -> None:
    chain = desk()
    for account in (ALICE, CAROL):
        chain.agree(set_subject(account, SUBJECT))
    chain.enact(deny("third", when("count-at-least", side, number=3, window_ms=DAY_MS)))
    payments = [(ALICE, BOB), (ALICE, BOB), (ALICE, BOB), (CAROL, BOB), (ALICE, DAVE)]
    found = [not denied(pay_for(chain, 1, source=s, target=t)) for s, t in payments]
    assert found == allowed


def test_a_window_rolls_by_eighths_and_forgets_nothing_too_early() -> None:
    chain = desk()
    chain.enact(deny("day", when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)))
    slot_ms = DAY_MS // SLOTS
    chain.block(after_ms=slot_ms - chain.time_ms % slot_ms)  # The first moment of a slot.
    assert not denied(
        chain.pay(
            ALICE,
            transfer(BOB, 600, "EUR"),
        ).receipts[0]
    )
    paid_ms = chain.time_ms
    assert not denied(chain.try_pay(amount=399))
    # A whole window later the first payment still counts: it is in the slot that is just in.
    chain.block(after_ms=paid_ms + DAY_MS - 1 - chain.time_ms)
    assert denied(chain.try_pay(amount=1_000 - 999))
    end_ms = (paid_ms // slot_ms + SLOTS + 1) * slot_ms
    chain.block(after_ms=end_ms - 1_000 - chain.time_ms)
    result = chain.block(chain.tx(ALICE, transfer(BOB, 999, "EUR")), after_ms=1_000)
    assert chain.time_ms == end_ms and result.receipts[0].code == 0
    key = next(k for t, k in chain.state.records if t == "compliance" and k[:1] == b"v")
    kept = Slots.unpack(chain.state.get("compliance", key))
    assert len(kept.slots) == 1  # The old ones are gone.


def test_a_held_payment_counts_at_once_and_no_longer_when_it_returns() -> None:
    chain = desk()
    chain.enact(
        deny("day", when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)),
        deny("times", when("count-at-least", "source", number=3, window_ms=DAY_MS)),
        hold("large", when("amount-at-least", number=500)),
    )
    hold_id = held_id(chain.pay(ALICE, transfer(BOB, 600, "EUR")))
    assert denied(chain.try_pay(amount=400))
    chain.do(ONE, RawAction("counter.settle", [hold_id, 0]))
    assert not denied(chain.try_pay(amount=400))
    hold_id = held_id(chain.pay(ALICE, transfer(BOB, 599, "EUR")))
    assert denied(chain.try_pay(amount=1))
    chain.do(ONE, RawAction("counter.settle", [hold_id, 1]))
    assert denied(chain.try_pay(amount=1))  # What was paid stays counted.


def test_a_hold_that_expires_is_taken_back_from_the_slot_of_its_making() -> None:
    chain = desk()
    chain.enact(
        deny("day", when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)),
        hold("large", when("amount-at-least", number=500), expires_ms=10 * HOUR_MS),
    )
    held_id(chain.pay(ALICE, transfer(BOB, 600, "EUR")))
    chain.block(after_ms=9 * HOUR_MS)
    assert not denied(chain.try_pay(amount=399))
    chain.block(after_ms=HOUR_MS)
    assert not denied(chain.try_pay(amount=400))
    assert denied(chain.try_pay(amount=400 - 199))


def test_what_comes_back_after_its_window_takes_nothing_from_today() -> None:
    """Otherwise a returned escrow of last week would be a free allowance today."""
    chain = desk()
    chain.enact(deny("day", when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)))
    hold_id = set_apart(chain, 900)
    chain.block(after_ms=7 * DAY_MS)
    assert not denied(chain.try_pay(amount=900))
    chain.do(ALICE, RawAction("counter.giveBack", [hold_id, 900]))
    assert denied(chain.try_pay(amount=100))


def test_what_was_set_apart_before_the_counting_began_takes_nothing_back() -> None:
    chain = desk()
    hold_id = set_apart(chain, 900)
    chain.enact(deny("day", when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)))
    assert not denied(chain.try_pay(amount=900))
    chain.do(ALICE, RawAction("counter.giveBack", [hold_id, 900]))
    assert denied(chain.try_pay(amount=100))


def test_who_becomes_a_known_person_meanwhile_takes_nothing_from_that_person() -> None:
    chain = desk()
    limit = when("sum-at-least", "source-subject", number=1_000, window_ms=DAY_MS)
    chain.enact(deny("day", limit))
    chain.agree(set_subject(CAROL, SUBJECT))
    hold_id = set_apart(chain, 900)
    assert not denied(pay_for(chain, 900, source=CAROL))
    chain.agree(set_subject(ALICE, SUBJECT))
    chain.do(ALICE, RawAction("counter.giveBack", [hold_id, 900]))
    assert denied(pay_for(chain, 100, source=CAROL))


def test_a_part_that_was_clawed_back_no_longer_counts() -> None:
    chain = desk()
    chain.enact(deny("day", when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)))
    hold_id = set_apart(chain, 900)
    chain.do(ONE, RawAction("counter.seize", ["EUR", ALICE.account, 500, hold_id]))
    assert not denied(chain.try_pay(amount=599))
    assert denied(chain.try_pay(amount=1))


def test_counting_goes_on_over_versions_of_a_policy() -> None:
    chain = desk()
    limit = when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)
    chain.enact(deny("day", limit))
    hold_id = set_apart(chain, 300)
    assert not denied(chain.try_pay(amount=600))
    chain.enact(deny("same-window", limit))
    assert denied(chain.try_pay(amount=100))
    chain.do(ALICE, RawAction("counter.giveBack", [hold_id, 300]))
    assert not denied(chain.try_pay(amount=399))


def test_policies_that_look_at_one_window_count_a_payment_once() -> None:
    chain = desk()
    limit = when("sum-at-least", "source", number=1_000, window_ms=DAY_MS)
    chain.enact(deny("a", limit), policy="a")
    chain.enact(deny("b", limit), policy="b")
    times = when("count-at-least", "source", number=3, window_ms=DAY_MS)
    chain.enact(deny("c", times), policy="c", asset=None)
    assert not denied(chain.try_pay(amount=500))
    assert not denied(chain.try_pay(amount=499))
    assert chain.try_pay(amount=1, asset="CLAW").facts[0] == "c"


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3 * 8_000),
            st.integers(0, 1_000),
            st.booleans(),
            st.integers(0, 40_000),
        ),
        max_size=30,
    ),
    st.sampled_from([8_000, 10_000, 8_001, 24_000]),
)
def test_slots_never_count_less_than_a_window_nor_more_than_a_ninth_slot(
    payments: list[tuple[int, int, bool, int]], window_ms: int
) -> None:
    """Against a plain list of payments; some come back later, and none takes another's place."""
    slots, now_ms = Slots(()), 10**12
    kept: list[tuple[int, int]] = []
    for wait_ms, amount, back, later_ms in payments:
        now_ms += wait_ms
        slots = Slots.unpack(slots.counted(now_ms, window_ms, amount).pack())
        if back:
            slots = slots.taken_back(now_ms, window_ms, amount, True)
        else:
            kept.append((now_ms, amount))
        total, count = slots.at(now_ms, window_ms)
        newest = [one for one in kept if one[0] > now_ms - window_ms]
        first = (slot_of(now_ms, window_ms) - SLOTS) * window_ms / SLOTS
        longest = [one for one in kept if one[0] >= first]
        assert sum(a for _, a in newest) <= total <= sum(a for _, a in longest)
        assert len(newest) <= count <= len(longest)
        assert len(slots.slots) <= SLOTS + 1
        later, _ = slots.at(now_ms + later_ms, window_ms)
        assert later <= total


def test_a_sum_that_reaches_the_largest_number_stays_there() -> None:
    slots = Slots(()).counted(0, 8_000, U64_MAX).counted(1, 8_000, 10)
    assert slots.at(1, 8_000) == (U64_MAX, 2)
    assert slots.taken_back(0, 8_000, U64_MAX, True) == slots
    assert slots.counted(2_000, 8_000, 10).at(2_000, 8_000)[0] == U64_MAX
