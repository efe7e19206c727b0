"""Budgets: a client that asks too much waits; the others do not notice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.modules.kit.web.guard import Budgets


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 20)), max_size=60))
def test_no_client_gets_more_than_its_rate_and_one_burst(
    steps: list[tuple[float, int]],
) -> None:
    now = [0.0]
    budgets = Budgets(10, 30, now=lambda: now[0])
    spent = 0
    last = 0
    for pause, cost in steps:
        now[0] += pause
        if not budgets.charge("a", cost):
            spent += cost
            last = cost
    # The last call may run into debt, which the next ones wait for.
    assert spent <= 30 + 10 * now[0] + last


def test_waiting_as_long_as_told_is_enough() -> None:
    now = [0.0]
    budgets = Budgets(10, 5, now=lambda: now[0])
    assert budgets.charge("a", 25) == 0
    wait_s = budgets.charge("a", 1)
    assert wait_s == budgets.wait_s("a") > 0
    now[0] += wait_s
    assert budgets.charge("a", 1) == 0


def test_who_was_refused_last_is_not_forgotten_as_if_it_had_never_called() -> None:
    """Debt does not vanish by asking on: refused calls keep the bucket that refuses them."""
    budgets = Budgets(1, 1, now=lambda: 0.0, clients_max=2)
    assert budgets.charge("a", 50) == 0
    assert budgets.charge("b", 1) == 0
    assert budgets.charge("a", 1) > 0
    assert budgets.charge("c", 1) == 0
    assert budgets.charge("a", 1) == budgets.wait_s("a") == 50


def test_clients_do_not_share_and_some_are_exempt() -> None:
    budgets = Budgets(1, 1, now=lambda: 0.0, exempt=["127.0.0.1"])
    assert budgets.charge("a", 1) == 0
    assert budgets.charge("a", 1) > 0
    assert budgets.charge("b", 1) == 0
    assert not any(budgets.charge("127.0.0.1", 1000) for _ in range(100))
    assert budgets.wait_s("127.0.0.1") == 0


def test_a_million_clients_take_bounded_memory() -> None:
    budgets = Budgets(1, 1, now=lambda: 0.0, clients_max=100)
    for number in range(10_000):
        budgets.charge(str(number), 1)
    assert len(budgets._buckets) == 100
    assert budgets.charge("9999", 1) > 0


def test_budgets_that_never_refill_are_refused() -> None:
    for rate, burst in ((0, 1), (1, 0), (-1, 1)):
        with pytest.raises(ValueError):
            Budgets(rate, burst, now=lambda: 0.0)
