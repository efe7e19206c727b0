"""How long rounds wait, when heights start, and what counts as timely."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.consensus.proposer import proposer, rounds_until_turn
from clawpurse.consensus.timeouts import TimeoutParams, pause_ms
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.params import Params
from tests.simulation.values import authorities_of, key_of

DEFAULTS = TimeoutParams()


def test_r17_rounds_grow_linearly_to_their_caps() -> None:
    """Doubling timers drift apart for hours (B#7642); these never differ by more than a round."""
    assert [DEFAULTS.propose_ms(r) for r in (0, 1, 2, 1_000_000)] == [1_000, 1_500, 2_000, 30_000]
    assert [DEFAULTS.prevote_ms(r) for r in (0, 1, 2, 2**31 - 1)] == [500, 750, 1_000, 10_000]
    assert [DEFAULTS.precommit_ms(r) for r in (0, 1, 38, 39)] == [500, 750, 10_000, 10_000]
    assert DEFAULTS.rebroadcast_ms(2) == 2_000 + 1_000 + 1_000


@pytest.mark.parametrize(
    "wrong",
    [
        {"propose_cap_ms": 12_000},
        {"propose_base_ms": 0},
        {"prevote_base_ms": 10_001},
        {"prevote_cap_ms": 1_000},
        {"precommit_cap_ms": 900},
        {"execution_ms": 10_000},
        {"interval_ms": -1},
        {"heartbeat_ms": 2**32},
    ],
)
def test_r17_times_under_which_no_round_could_end_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(Malformed, match="timeouts"):
        TimeoutParams(**wrong)


def test_a_networks_parameters_are_the_ones_used() -> None:
    params = Params(interval_ms=7, execution_bound_ms=13, propose_delta_ms=17)
    taken = TimeoutParams.of(params)
    assert (taken.interval_ms, taken.execution_ms, taken.propose_delta_ms) == (7, 13, 17)
    assert TimeoutParams.of(Params()) == DEFAULTS
    assert TimeoutParams.from_wire(taken.to_wire()) == taken


@pytest.mark.parametrize(
    ("received", "round_", "timely"),
    [
        (10_000 - 500, 0, True),
        (10_000 - 501, 0, False),
        (10_000 + 2_500, 0, True),
        (10_000 + 2_501, 0, False),
        (10_000 + 3_000, 1, True),
        (10_000 + 3_001, 1, False),
        (10_000 + 30_500, 1_000, True),
        (10_000 + 30_501, 1_000, False),
    ],
)
def test_r20_timely_to_the_millisecond(received: int, round_: int, timely: bool) -> None:
    """±PRECISION ± 1 ms: the edge at which honest clocks stop being enough."""
    verdict = DEFAULTS.timely(block_time_ms=10_000, received_ms=received, round_=round_)
    assert verdict is timely


def test_r19_starts_keep_their_interval() -> None:
    assert pause_ms(previous_start_ms=1_000, now_ms=1_050, interval_ms=200) == 150
    assert pause_ms(previous_start_ms=1_000, now_ms=1_700, interval_ms=200) == 0
    assert pause_ms(previous_start_ms=1_000, now_ms=1_050, interval_ms=0) == 0


def test_a_clock_that_ran_backwards_stops_nobody() -> None:
    assert pause_ms(previous_start_ms=9_000_000, now_ms=5, interval_ms=200) == 200


@given(st.integers(1, 100), st.integers(1, 10**9), st.integers(0, 10**6))
def test_r18_everyone_has_a_turn_in_n_rounds(count: int, height: int, round_: int) -> None:
    authorities = authorities_of(count)
    turns = [proposer(authorities, height, round_ + i) for i in range(count)]
    assert sorted(turns) == list(authorities.keys)
    for wait, key in enumerate(turns):
        assert rounds_until_turn(authorities, key, height, round_) == wait


def test_r18_the_first_turn_of_the_first_height_is_the_first_keys() -> None:
    authorities = authorities_of(4)
    assert proposer(authorities, 1, 0) == key_of(0)
    assert proposer(authorities, 2, 0) == proposer(authorities, 1, 1) == key_of(1)
    assert rounds_until_turn(authorities, b"\x00" * 32, 1, 0) == -1
