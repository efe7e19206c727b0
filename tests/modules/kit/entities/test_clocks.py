"""Clocks: what was promised is measured from history, so no restart or repair can bend it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.modules.kit.entities.calendars import DAYS_MAX, Calendar, always
from clawpurse.modules.kit.entities.clocks import Change, Clock, Running
from clawpurse.modules.kit.entities.flows import Flow, Move

HOUR = 3_600_000
FLOW = Flow(
    "new",
    Move("assign", "new open -> open"),
    Move("wait", "open -> waiting"),
    Move("answer", "waiting -> open"),
    Move("resolve", "open waiting -> resolved"),
    Move("reopen", "resolved -> open"),
)
FIRST = Clock("first_reply", stop="assign", target=4 * HOUR)
WHOLE = Clock("resolution", stop="resolve", target=8 * HOUR, pause="waiting")
AGAIN = Clock("next_reply", stop="wait resolve", target=2 * HOUR, start="open")


def changes(*entries: tuple[float, str, str]) -> list[Change]:
    return [Change(int(hours * HOUR), move, state) for hours, move, state in entries]


NEW = (0.0, "create", "new")
STORY = changes(NEW, (1, "assign", "open"), (3, "wait", "waiting"), (9, "answer", "open"))


def reading(clock: Clock, history: list[Change], hours: float, **values: Any) -> Any:
    found = clock.read(history, values, always(), int(hours * HOUR))
    return found.standing.value, found.used_ms / HOUR, found.left_ms / HOUR


@pytest.mark.parametrize(
    ("clock", "history", "hours", "expected"),
    [
        (FIRST, changes(NEW), 3, ("running", 3, 1)),
        (FIRST, changes(NEW), 4, ("running", 4, 0)),
        (FIRST, changes(NEW), 5, ("breached", 5, -1)),
        (FIRST, STORY, 99, ("met", 1, 3)),
        (FIRST, changes(NEW, (6, "assign", "open")), 99, ("breached", 6, -2)),
        (WHOLE, STORY[:3], 5, ("paused", 3, 5)),
        (WHOLE, STORY[:3], 500, ("paused", 3, 5)),
        (WHOLE, STORY, 10, ("running", 4, 4)),
        (WHOLE, [*STORY, *changes((11, "resolve", "resolved"))], 99, ("met", 5, 3)),
        (AGAIN, changes(NEW), 99, ("waiting", 0, 2)),
        (AGAIN, STORY[:2], 2, ("running", 1, 1)),
        (AGAIN, STORY[:3], 99, ("met", 2, 0)),
        (AGAIN, STORY, 12, ("breached", 3, -1)),
    ],
)
def test_a_clock_counts_what_was_promised(
    clock: Clock, history: list[Change], hours: float, expected: tuple[str, float, float]
) -> None:
    """Whoever waits for the customer is not late, and whoever was late stays so."""
    assert reading(clock, history, hours) == expected


def test_a_running_clock_says_when_it_will_breach() -> None:
    """A list sorted by what is due next is the one that an agent works from."""
    office = Calendar("UTC", dict.fromkeys(range(5), ((540, 1020),)))
    monday_16 = (4 * 24 + 16) * HOUR  # 5 January 1970 was a Monday.
    found = FIRST.read([Change(monday_16, "create", "new")], {}, office, monday_16)
    assert found.due_ms == monday_16 + 20 * HOUR
    assert WHOLE.read(STORY[:3], {}, always(), 5 * HOUR).due_ms is None
    never = Calendar("UTC", {})
    found = FIRST.read(changes(NEW), {}, never, 5 * HOUR)
    assert (found.standing, found.due_ms) == (Running.RUNNING, None)


def test_a_target_may_depend_on_the_record() -> None:
    """Urgent means something only if its clock is shorter."""
    clock = Clock("reply", "assign", lambda values: values["level"] * HOUR)
    assert reading(clock, changes(NEW), 2, level=1)[0] == "breached"
    assert reading(clock, changes(NEW), 2, level=3)[0] == "running"


def test_a_record_that_lay_for_decades_is_late_and_no_error() -> None:
    """One forgotten record must not break the list that would have shown it."""
    found = FIRST.read(changes(NEW), {}, always(), 10 * DAYS_MAX * 24 * HOUR)
    assert found.standing is Running.BREACHED


@pytest.mark.parametrize(
    "clock",
    [
        Clock("late", stop="vanish", target=HOUR),
        Clock("late", stop="assign", target=HOUR, pause="gone"),
        Clock("late", stop="assign", target=HOUR, start="gone"),
    ],
)
def test_a_clock_of_what_the_flow_does_not_have_is_refused(clock: Clock) -> None:
    """It would never start, or never stop, and nobody would know."""
    with pytest.raises(ValueError, match="the flow has no"):
        clock.check(FLOW)
    AGAIN.check(FLOW)
    with pytest.raises(ValueError, match="nothing stops it"):
        Clock("late", stop=" ", target=HOUR)
    with pytest.raises(ValueError, match="above 0"):
        Clock("late", stop="assign", target=0)


STEPS = st.lists(
    st.tuples(st.integers(0, 5 * HOUR), st.sampled_from(sorted(FLOW.moves))), max_size=12
)


@given(STEPS, st.integers(0, 5 * HOUR), st.sampled_from([FIRST, WHOLE, AGAIN]))
def test_reading_often_or_once_tells_the_same(
    steps: list[tuple[int, str]], later: int, clock: Clock
) -> None:
    """A naive counter, moved on millisecond by millisecond of story, agrees with every reading."""
    history, now, state = [Change(0, "create", "new")], 0, "new"
    used, running, kept = 0, not clock.starts, False
    started = running
    for wait, name in steps:
        if state not in FLOW.sources(name):
            continue
        now += wait
        used += wait if running else 0
        state = FLOW.moves[name].target
        history.append(Change(now, name, state))
        if started and not kept and name in clock.stops:
            kept = True
        if clock.starts and state in clock.starts and (kept or not started):
            started, kept, used = True, False, 0
        running = started and not kept and state not in clock.pauses
    used += later if running else 0
    found = clock.read(history, {}, always(), now + later)
    assert found.used_ms == used
    assert (found.standing is Running.BREACHED) == (used > found.target_ms)
