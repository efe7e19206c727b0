"""If these failed, the pool would forget payments, offer them in disorder or end them early."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.errors import Bug
from clawpurse.node.pool_fates import Deadlines
from clawpurse.node.pool_order import PIECE_MAX, Entry, Lane, ProposalOrder


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=60), st.integers(1, 4))
def test_the_order_is_a_sorted_list(steps: list[tuple[int, bool]], step: int) -> None:
    """Proposals would miss payments, or offer the cheap before the dear."""
    order, lane = ProposalOrder(), Lane(b"", 0, 0)
    model: list[Entry] = []
    arrival = 0
    for number, is_removal in steps:
        for _ in range(97 * step):
            if is_removal and model:
                order.remove(model.pop((number * 131) % len(model)))
            else:
                entry = Entry.__new__(Entry)
                entry.place = (-((number * 7 + arrival * 3) % 5), arrival)
                entry.lane = lane
                arrival += 1
                order.add(entry)
                model.append(entry)
                model.sort(key=lambda one: one.place)
            if len(model) > 6 * PIECE_MAX:
                break
        assert len(order) == len(model)
    walked: list[Entry] = []
    place = None
    while piece := order.after(place):
        walked.extend(piece)
        place = piece[-1].place
    assert walked == model
    assert list(order.backwards()) == model[::-1]
    if model:
        order.remove(model[0])
        with pytest.raises(Bug):
            order.remove(model[0])


@given(
    st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=80),
    st.integers(1, 5),
    st.integers(1, 9),
)
def test_deadlines_are_reached_once_and_never_early(
    adds: list[tuple[int, bool]], width: int, limit: int
) -> None:
    """A payment would expire before its time, twice, or never."""
    deadlines = Deadlines(width)
    alive: dict[bytes, int] = {}
    for number, (deadline, keep) in enumerate(adds):
        tx_id = bytes([number])
        deadlines.add(tx_id, deadline)
        alive[tx_id] = deadline
        if not keep:
            deadlines.remove(tx_id, deadline)
            deadlines.remove(tx_id, deadline)
            del alive[tx_id]
    for now in range(50 + 2 * width):
        for _ in range(len(adds) + 1):
            for tx_id in deadlines.reached(now, limit):
                assert alive.pop(tx_id) <= now
        assert all(deadline > now - width for deadline in alive.values())
    assert not alive
