"""Working time: which moments count for a promise like "answered within four hours".

A calendar is opening hours on the wall of one time zone, without holidays. Everything that goes
in or out is UTC milliseconds; the zone's changes of offset are met only here.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo

DAY_MINUTES: Final = 1_440
MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000

DAYS_MAX: Final = 3_660
"""Ten years: a clock that has not ended by then was declared by mistake. A day costs about
10 µs, so that the longest search takes less than a tenth of a second."""

_DAY: Final = datetime.timedelta(days=1)

Hours = tuple[tuple[int, int], ...]
"""Opening and closing, in minutes since local midnight; 1,440 is the end of the day."""


class TooFar(ValueError):
    """The moment asked for lies more than `DAYS_MAX` days away, or never comes."""


@dataclass(frozen=True)
class Calendar:
    """Opening hours by weekday (0 is Monday), in `zone`, except on `holidays`.

    A day on which clocks are set has the hours that its wall shows: an opening in the hour that
    is left out begins when that hour would have; where an hour comes twice, it opens at the
    first and closes at the last. Raises `ValueError` for hours that overlap, run backwards or
    leave the day, and for zones that are unknown.
    """

    zone: str
    hours: Mapping[int, Hours]
    holidays: frozenset[datetime.date] = frozenset()
    _zone: ZoneInfo = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "_zone", ZoneInfo(self.zone))
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{self.zone!r} is no time zone") from None
        for weekday, spans in self.hours.items():
            if weekday not in range(7):
                raise ValueError(f"{weekday} is no day of the week: Monday is 0, Sunday 6")
            end = 0
            for opens, closes in spans:
                if not end <= opens < closes <= DAY_MINUTES:
                    raise ValueError(f"hours {opens}–{closes} overlap or run backwards")
                end = closes
        object.__setattr__(self, "hours", MappingProxyType(dict(self.hours)))

    def is_open(self, at_ms: int) -> bool:
        """Whether `at_ms` counts."""
        day = self._day_of(at_ms)
        return any(
            start <= at_ms < end
            for near in (day - _DAY, day, day + _DAY)
            for start, end in self._spans(near)
        )

    def worked_ms(self, start_ms: int, end_ms: int) -> int:
        """How much of the time from `start_ms` up to `end_ms` counts; 0 when it runs backwards.

        Raises `TooFar` when they lie more than `DAYS_MAX` days apart.
        """
        if end_ms - start_ms > DAYS_MAX * DAY_MS:
            raise TooFar(f"{(end_ms - start_ms) // DAY_MS} days are more than {DAYS_MAX}")
        worked = 0
        for opens, closes in self._from(start_ms):
            if opens >= end_ms:
                break
            worked += max(min(closes, end_ms) - max(opens, start_ms), 0)
        return worked

    def after(self, start_ms: int, work_ms: int) -> int:
        """The moment at which `work_ms` of counted time have passed since `start_ms`.

        With nothing to pass that is `start_ms` itself. Raises `TooFar` when it does not come
        within `DAYS_MAX` days.
        """
        left = work_ms
        if left <= 0:
            return start_ms
        for opens, closes in self._from(start_ms):
            begins = max(opens, start_ms)
            if closes - begins >= left:
                return begins + left
            left -= closes - begins
        raise TooFar(f"{work_ms} ms of working time do not pass within {DAYS_MAX} days")

    def _from(self, start_ms: int) -> Iterator[tuple[int, int]]:
        """Spans in order that end after `start_ms`, joined where they touch or overlap."""
        first = self._day_of(start_ms) - _DAY
        held: tuple[int, int] | None = None
        for number in range(DAYS_MAX + 3):
            for opens, closes in self._spans(first + number * _DAY):
                if held is None:
                    held = opens, closes
                elif opens <= held[1]:
                    held = held[0], max(held[1], closes)
                else:
                    if held[1] > start_ms:
                        yield held
                    held = opens, closes
            # What is open for months on end must not wait for its end to be counted.
            if held is not None and held[1] - held[0] > 7 * DAY_MS:
                if held[1] > start_ms:
                    yield held
                held = held[1], held[1]
        if held is not None and held[1] > start_ms:
            yield held

    def _spans(self, day: datetime.date) -> Iterator[tuple[int, int]]:
        if day in self.holidays:
            return
        for opens, closes in self.hours.get(day.weekday(), ()):
            start, end = self._opening(day, opens), self._closing(day, closes)
            if start < end:
                yield start, end

    def _opening(self, day: datetime.date, minute: int) -> int:
        early, late = self._both(day, minute)
        if late < early:  # The wall skips this time: folds are exchanged there (PEP 495).
            return self._change_ms(late, early)
        return early

    def _closing(self, day: datetime.date, minute: int) -> int:
        early, late = self._both(day, minute)
        if late < early:
            return self._change_ms(late, early)
        return late

    def _both(self, day: datetime.date, minute: int) -> tuple[int, int]:
        days, minute = divmod(minute, DAY_MINUTES)
        wall = datetime.datetime.combine(
            day + days * _DAY, datetime.time(minute // 60, minute % 60), self._zone
        )
        return _ms(wall), _ms(wall.replace(fold=1))

    def _change_ms(self, before_ms: int, after_ms: int) -> int:
        """The moment between two at which the zone's offset changes."""
        offset = self._local(before_ms).utcoffset()
        while after_ms - before_ms > 1:
            middle = (before_ms + after_ms) // 2
            if self._local(middle).utcoffset() == offset:
                before_ms = middle
            else:
                after_ms = middle
        return after_ms

    def _day_of(self, at_ms: int) -> datetime.date:
        return self._local(at_ms).date()

    def _local(self, at_ms: int) -> datetime.datetime:
        return (_EPOCH + datetime.timedelta(milliseconds=at_ms)).astimezone(self._zone)


_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MS: Final = datetime.timedelta(milliseconds=1)


def _ms(at: datetime.datetime) -> int:
    return (at.astimezone(datetime.UTC) - _EPOCH) // _MS


def calendar_of(content: Mapping[str, Any]) -> Calendar:
    """Return the calendar that JSON says.

        {"zone": "Europe/Berlin", "hours": {"0": [[540, 1020]]}, "holidays": ["2026-12-25"]}

    Raises `ValueError` for what is none.
    """
    try:
        unknown = set(content) - {"zone", "hours", "holidays"}
        hours = {
            int(weekday): tuple((int(opens), int(closes)) for opens, closes in spans)
            for weekday, spans in content["hours"].items()
        }
        days = frozenset(map(datetime.date.fromisoformat, content.get("holidays", ())))
        zone = str(content["zone"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"is no calendar: {error}") from None
    if unknown:
        raise ValueError(f"is no calendar: {', '.join(sorted(unknown))} is nothing of one")
    return Calendar(zone, hours, days)


def content_of(calendar: Calendar) -> dict[str, Any]:
    """Return what `calendar_of` makes the same calendar from."""
    hours = calendar.hours.items()
    return {
        "zone": calendar.zone,
        "hours": {str(weekday): [list(span) for span in spans] for weekday, spans in hours},
        "holidays": sorted(day.isoformat() for day in calendar.holidays),
    }


def always() -> Calendar:
    """Every moment counts: 24 hours, seven days."""
    return Calendar("UTC", dict.fromkeys(range(7), ((0, DAY_MINUTES),)))
