"""Clocks over days on which the wall's clocks are set, forwards and back, against counting minutes.

For each promise of each kind a record is made a day before the change, and its deadline must be
what somebody gets who looks at a wall clock each minute. A moment before nothing is broken, a
moment after it is written down once, and however often somebody looks.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any, Final
from zoneinfo import ZoneInfo

from clawpurse.ledger.errors import Bug
from clawpurse.modules.kit.entities.calendars import DAY_MINUTES, MINUTE_MS, Calendar, Hours
from clawpurse.modules.kit.entities.clocks import Clock, Running
from clawpurse.modules.kit.entities.kinds import Kind
from clawpurse.modules.kit.records.chores import find_breaches
from clawpurse.modules.kit.records.deadlines import ALWAYS
from clawpurse.modules.kit.records.model import TIME, Record
from clawpurse.modules.kit.testing.stand import Stand, minutes

ZONE: Final = "Europe/Berlin"
HOURS: Final[Hours] = ((60, 5 * 60), (9 * 60, 17 * 60))
"""Open over the hour that is left out or comes twice, and by day."""

CHANGES: Final = (
    ("forwards", datetime.datetime(2027, 3, 28, 1, tzinfo=datetime.UTC)),
    ("back", datetime.datetime(2027, 10, 31, 1, tzinfo=datetime.UTC)),
)
BEFORE: Final = datetime.timedelta(hours=26)
MINUTES_MAX: Final = 60 * DAY_MINUTES
"""Of a target that is counted: two months pass both no change and no patience."""


def calendars_of(kinds: Mapping[str, Kind]) -> dict[str, Calendar]:
    """Return a calendar with hours over the change for each name that clocks count by."""
    names = {clock.calendar for kind in kinds.values() for clock in kind.clocks} - {ALWAYS}
    return {name: Calendar(ZONE, dict.fromkeys(range(7), HOURS)) for name in names}


def kept_over_changes(make: Callable[[int], Stand]) -> int:
    """Try each clock over both changes; returns how many were. Raises `Bug`.

    `make(start_ms)` opens a stand of its own, with `calendars_of` and a clock that stands.
    """
    tried = 0
    for name, change in CHANGES:
        start_ms = round((change - BEFORE).timestamp() * 1000)
        stand = make(start_ms)
        try:
            for kind in stand.kinds.values():
                for clock in kind.clocks:
                    stand.now_ms = start_ms
                    tried += _kept(stand, kind, clock, name)
        finally:
            stand.close()
    return tried


def _kept(stand: Stand, kind: Kind, clock: Clock, change: str) -> bool:
    record = _running(stand, kind, clock)
    reading = next(one for one in _readings(stand, record) if one.name == clock.name)
    start_ms, due_ms = stand.now_ms, reading.due_ms
    if due_ms is None:
        raise Bug(f"{kind.name}.{clock.name} runs and is never due")
    if minutes(reading.target_ms) <= MINUTES_MAX:
        naive = _counted(start_ms, reading.target_ms, clock.calendar != ALWAYS)
        if naive != due_ms:
            raise Bug(f"{kind.name}.{clock.name} over clocks set {change}: {due_ms}, not {naive}")
    breach = (clock.breach,)
    for at_ms, times in ((due_ms, 0), (due_ms + 1, 1), (due_ms + 1, 1), (due_ms + 86_400_000, 1)):
        stand.now_ms = at_ms
        while stand.do(TIME, find_breaches):
            pass
        entries = stand.look(lambda work: work.history.of_record(kind.name, record.number))
        if sum(one.move in breach for one in entries) != times:
            raise Bug(f"{kind.name}.{clock.name} over clocks set {change} is not noted {times}×")
    return True


def _running(stand: Stand, kind: Kind, clock: Clock) -> Record:
    """Return a record whose clock began to run just now."""
    for state in kind.flow.states:
        if state in kind.flow.ends:
            continue
        record = stand.bring(stand.made(kind), state)
        for one in _readings(stand, record):
            if one.name == clock.name and one.standing is Running.RUNNING:
                return record
    raise Bug(f"{kind.name}.{clock.name} runs in no state")


def _readings(stand: Stand, record: Record) -> list[Any]:
    return stand.look(lambda work: work.deadlines.readings(work.get(record.kind, record.number)))


def _counted(start_ms: int, target_ms: int, by_hours: bool) -> int:
    """Return when a target is over for who looks at the wall each minute."""
    if not by_hours:
        return start_ms + target_ms
    zone, left, at_ms = ZoneInfo(ZONE), target_ms, start_ms
    while True:
        wall = datetime.datetime.fromtimestamp(at_ms / 1000, zone)
        minute = wall.hour * 60 + wall.minute
        if any(opens <= minute < closes for opens, closes in HOURS):
            if left <= MINUTE_MS:
                return at_ms + left
            left -= MINUTE_MS
        at_ms += MINUTE_MS
