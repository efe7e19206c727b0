"""Working time: a promise in business hours must not gain or lose an hour when clocks are set."""

from __future__ import annotations

import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.modules.kit.entities.calendars import DAYS_MAX, Calendar, TooFar, always

HOUR = 3_600_000
DAY = 24 * HOUR
OFFICE = Calendar(
    "Europe/Berlin",
    dict.fromkeys(range(5), ((9 * 60, 12 * 60), (13 * 60, 17 * 60))),
    frozenset({datetime.date(2026, 12, 25)}),
)


def at(text: str, zone: str = "Europe/Berlin", fold: int = 0) -> int:
    wall = datetime.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return round(wall.timestamp() * 1000)


@pytest.mark.parametrize(
    ("start", "hours", "end"),
    [
        ("2026-11-23T09:00", 2, "2026-11-23T11:00"),
        ("2026-11-23T11:00", 2, "2026-11-23T14:00"),
        ("2026-11-20T16:00", 2, "2026-11-23T10:00"),
        ("2026-11-21T12:00", 7, "2026-11-23T17:00"),
        ("2026-12-24T16:30", 1, "2026-12-28T09:30"),
        # Clocks go back on Sunday 25 October and forward on Sunday 29 March.
        ("2026-10-23T16:00", 2, "2026-10-26T10:00"),
        ("2026-03-27T16:00", 2, "2026-03-30T10:00"),
    ],
)
def test_a_promise_ends_at_the_hour_that_the_wall_shows(start: str, hours: int, end: str) -> None:
    """Lunch, nights, weekends, holidays and set clocks are nobody's working time."""
    assert OFFICE.after(at(start), hours * HOUR) == at(end)
    assert OFFICE.worked_ms(at(start), at(end)) == hours * HOUR


@pytest.mark.parametrize(
    ("day", "hours", "worked"),
    [
        # 02:00 to 03:00 is left out on that night.
        ("2026-03-29", (0, 360), 5),
        ("2026-03-29", (150, 360), 3),
        ("2026-03-29", (60, 150), 1),
        ("2026-03-29", (130, 170), 0),
        # 02:00 to 03:00 comes twice on that one.
        ("2026-10-25", (0, 360), 7),
        ("2026-10-25", (150, 360), 4.5),
        ("2026-10-25", (60, 150), 2.5),
    ],
)
def test_a_night_on_which_clocks_are_set_has_the_hours_that_it_has(
    day: str, hours: tuple[int, int], worked: float
) -> None:
    """A night shift is five or seven hours long then, whoever counts it."""
    night = Calendar("Europe/Berlin", dict.fromkeys(range(7), (hours,)))
    start, end = at(f"{day}T00:00"), at(f"{day}T12:00")
    assert night.worked_ms(start, end) == worked * HOUR


def test_shifts_that_meet_in_a_doubled_hour_are_counted_once() -> None:
    """Two shifts that both claim the second 02:30 would make a day of 25 hours and a half."""
    shifts = Calendar("Europe/Berlin", dict.fromkeys(range(7), ((0, 150), (150, 1440))))
    assert shifts.worked_ms(at("2026-10-25T00:00"), at("2026-10-26T00:00")) == 25 * HOUR
    assert shifts.worked_ms(at("2026-03-29T00:00"), at("2026-03-30T00:00")) == 23 * HOUR


def test_around_the_clock_is_plain_time() -> None:
    """Whoever promises 24 hours means 24 hours."""
    start = at("2026-03-28T22:15")
    assert always().after(start, 400 * DAY) == start + 400 * DAY
    assert always().worked_ms(start, start + 400 * DAY) == 400 * DAY
    assert always().after(start, 0) == start


def test_what_never_opens_is_said_and_not_searched_for_ever() -> None:
    """A calendar without hours would else hang the service that reads it."""
    for closed in (Calendar("UTC", {}), Calendar("UTC", {0: ()})):
        with pytest.raises(TooFar):
            closed.after(0, 1)
        assert closed.worked_ms(0, 365 * DAY) == 0
    with pytest.raises(TooFar):
        OFFICE.worked_ms(0, (DAYS_MAX + 1) * DAY)
    assert OFFICE.worked_ms(DAY, 0) == 0


@pytest.mark.parametrize(
    ("zone", "hours"),
    [
        ("Europe/Atlantis", {}),
        ("../../etc/passwd", {}),
        ("UTC", {7: ((0, 60),)}),
        ("UTC", {0: ((60, 60),)}),
        ("UTC", {0: ((0, 1441),)}),
        ("UTC", {0: ((0, 120), (60, 180))}),
        ("UTC", {0: ((-1, 60),)}),
    ],
)
def test_hours_that_cannot_be_are_refused(
    zone: str, hours: dict[int, tuple[tuple[int, int], ...]]
) -> None:
    """A mistyped calendar must not become a promise that nobody keeps."""
    with pytest.raises(ValueError, match=r"no time zone|day of the week|overlap"):
        Calendar(zone, hours)


ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
)
MOMENTS = st.integers(at("2026-01-01T00:00"), at("2027-12-31T00:00"))


@st.composite
def calendars(draw: st.DrawFn) -> Calendar:
    hours = {}
    for weekday in draw(st.sets(st.integers(0, 6), min_size=1)):
        marks = sorted(draw(st.sets(st.integers(0, 1440), min_size=2, max_size=6)))
        hours[weekday] = tuple(zip(marks[::2], marks[1::2], strict=False))
    return Calendar(draw(ZONES), hours)


@given(calendars(), MOMENTS, st.integers(1, 60 * HOUR))
def test_what_is_promised_and_what_is_counted_agree(
    calendar: Calendar, start: int, work: int
) -> None:
    """`after` and `worked_ms` are each other's inverse, in every zone and over every change."""
    end = calendar.after(start, work)
    assert calendar.worked_ms(start, end) == work
    assert calendar.worked_ms(start, end - 1) == work - 1
    assert calendar.is_open(end - 1)


@given(calendars(), MOMENTS, st.integers(0, 40 * DAY), st.integers(0, 40 * DAY))
def test_counting_in_two_parts_counts_the_same(
    calendar: Calendar, start: int, first: int, second: int
) -> None:
    """A pause in the middle must not make or lose time."""
    middle, end = start + first, start + first + second
    whole = calendar.worked_ms(start, end)
    assert calendar.worked_ms(start, middle) + calendar.worked_ms(middle, end) == whole
    assert 0 <= whole <= end - start
