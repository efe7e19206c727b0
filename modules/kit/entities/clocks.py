"""Clocks of a record: promises such as "first answer within four working hours".

A reading is worked out from the record's history each time. Nothing is counted along, so a clock
that was declared late, a calendar that was mended or a service that slept cannot leave a wrong
number behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from clawpurse.modules.kit.entities.calendars import DAY_MS, DAYS_MAX, Calendar, TooFar
from clawpurse.modules.kit.entities.flows import Flow, checked_name

BREACH: Final = ".breached"
"""Behind a clock's name: the entry of a history which says that its time is over."""

CLOCKS_MAX: Final = 8
"""Of one kind of record: more promises than that nobody can read."""


class Running(StrEnum):
    """How a clock stands."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    MET = "met"
    BREACHED = "breached"
    """Its time is over, whether or not what it waits for has come since."""


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of a record's history: when (UTC ms), by which move, into which state."""

    at_ms: int
    move: str
    state: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A clock now. Times are UTC ms, or spans of counted time.

    `due_ms` is when it breaches if nothing changes; None while it waits or is paused, and where
    that is too far away to tell. `left_ms` is below 0 by how much it is over. `noted`: the history
    says already that it was breached since it began.
    """

    name: str
    standing: Running
    target_ms: int
    used_ms: int
    due_ms: int | None = None
    stopped_ms: int | None = None
    noted: bool = False

    @property
    def left_ms(self) -> int:
        return self.target_ms - self.used_ms


@dataclass(frozen=True)
class Clock:
    """A promise. `stop`: the moves that keep it; `target`: its counted time, or how to tell it.

    `start`: states that begin it ("" is creation, "*" every state); coming back into one after
    it was kept begins it anew. `pause`: states in which it stands still. `calendar`: the name of
    what counts as time; the service's configuration says which that is.
    """

    name: str
    stop: str
    target: int | Callable[[Mapping[str, Any]], int]
    start: str = ""
    pause: str = ""
    calendar: str = "always"

    def __post_init__(self) -> None:
        checked_name("clock", self.name)
        if not self.stops:
            raise ValueError(f"{self.name}: nothing stops it")
        if isinstance(self.target, int) and self.target <= 0:
            raise ValueError(f"{self.name}: its target is a time above 0")

    @property
    def breach(self) -> str:
        """What a history calls it when its time is over."""
        return self.name + BREACH

    @property
    def stops(self) -> frozenset[str]:
        return frozenset(self.stop.split())

    @property
    def starts(self) -> frozenset[str]:
        return frozenset(self.start.split())

    @property
    def pauses(self) -> frozenset[str]:
        return frozenset(self.pause.split())

    def check(self, flow: Flow) -> None:
        """Raises `ValueError` when it speaks of moves or states that `flow` does not have."""
        unknown = (self.stops - set(flow.moves)) | (
            (self.starts | self.pauses) - set(flow.states) - {"*"}
        )
        if unknown:
            raise ValueError(f"{self.name}: the flow has no {', '.join(sorted(unknown))}")

    def target_ms(self, values: Mapping[str, Any]) -> int:
        """How much counted time it has, for a record with these values."""
        return self.target(values) if callable(self.target) else self.target

    def read(
        self,
        history: Sequence[Change],
        values: Mapping[str, Any],
        calendar: Calendar,
        now_ms: int,
    ) -> Reading:
        """How it stands at `now_ms`, for a history in order, its first entry the creation."""
        target = self.target_ms(values)
        used, since, stopped = 0, None, None
        waiting, noted = True, False
        for change in history:
            if since is not None:
                used += _counted(calendar, since, change.at_ms)
                since = None
            if not waiting and change.move in self.stops and stopped is None:
                stopped = change.at_ms
            noted = noted or change.move == self.breach
            if self._begins(change, change is history[0]) and (waiting or stopped is not None):
                used, stopped, waiting, noted = 0, None, False, False
            if not waiting and stopped is None and change.state not in self.pauses:
                since = change.at_ms
        if since is not None:
            used += _counted(calendar, since, now_ms)
        over = used > target
        if waiting:
            return Reading(self.name, Running.WAITING, target, 0)
        if stopped is not None:
            standing = Running.BREACHED if over else Running.MET
            return Reading(self.name, standing, target, used, stopped_ms=stopped, noted=noted)
        if over:
            return Reading(self.name, Running.BREACHED, target, used, noted=noted)
        if since is None:
            return Reading(self.name, Running.PAUSED, target, used, noted=noted)
        due = _due(calendar, now_ms, target - used)
        return Reading(self.name, Running.RUNNING, target, used, due_ms=due, noted=noted)

    def _begins(self, change: Change, created: bool) -> bool:
        if not self.starts:
            return created
        return "*" in self.starts or change.state in self.starts


def _counted(calendar: Calendar, start_ms: int, end_ms: int) -> int:
    # A record that lay untouched for ten years has broken every promise by then.
    return calendar.worked_ms(start_ms, min(end_ms, start_ms + DAYS_MAX * DAY_MS))


def _due(calendar: Calendar, now_ms: int, left_ms: int) -> int | None:
    try:
        return calendar.after(now_ms, left_ms)
    except TooFar:
        return None
