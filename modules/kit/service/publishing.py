"""A service's history as a log that others follow: events, metrics, webhooks, the audit log.

The newest entry's number is the cursor. Whoever commits something wakes the follower, which reads
on from where it was; nothing is announced that is not committed, and nothing twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Annotated, Any, Final

import sqlalchemy as sa
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from pydantic import Field

from clawpurse.ledger.errors import Malformed
from clawpurse.modules.kit.entities.kinds import INTEGER_MAX
from clawpurse.modules.kit.records.answers import entry_json
from clawpurse.modules.kit.records.model import Entry
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.service.declaration import Manifest
from clawpurse.modules.kit.web.jsonrpc import Params
from clawpurse.modules.kit.web.replies import encode_json
from clawpurse.modules.kit.web.subscriptions import Batch, Event, Topic, Wakeup

PAGE: Final = 200
"""Entries that one look reads; their JSON has some 100 KB."""

LIMITS_S: Final = (1, 10, 60, 600, 3_600, 6 * 3_600, 86_400, 7 * 86_400, 30 * 86_400)
"""From what a program does to what people leave lying: seconds to a month."""

NAME_CHARS_MAX: Final = 64
Name = Annotated[str | None, Field(max_length=NAME_CHARS_MAX)]


class RecordFilter(Params):
    """Which entries a subscriber wants; what is left out does not narrow."""

    kind: Name = None
    record: Name = None
    move: Name = None


class Times:
    """How many spans were within each limit, and their sum: a histogram of Prometheus."""

    def __init__(self) -> None:
        self._within = [0] * (len(LIMITS_S) + 1)
        self._sum_ms = 0

    def note(self, span_ms: int) -> None:
        """Count one more."""
        place = next((at for at, most in enumerate(LIMITS_S) if span_ms <= most * 1_000), -1)
        self._within[place] += 1
        self._sum_ms += span_ms

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """Each limit in seconds with how many spans were not longer."""
        limits = [*(str(float(one)) for one in LIMITS_S), "+Inf"]
        return list(zip(limits, accumulate(self._within), strict=True))

    @property
    def sum_s(self) -> float:
        """All spans together, in seconds."""
        return self._sum_ms / 1_000


class HistoryLog:
    """The history of one service as the log of a topic (`subscriptions.LogSource`)."""

    def __init__(self, manifest: Manifest, records: Transactions) -> None:
        self._manifest = manifest
        self._records = records
        self._grown = Wakeup()
        self._head = 0
        self._followed = 0
        #: How often each move was made since the service runs, by (kind, move).
        self.moves: Counter[tuple[str, str]] = Counter()
        #: How long records stood before each move, likewise.
        self.times: dict[tuple[str, str], Times] = {}

    @property
    def topic(self) -> Topic:
        """What is subscribed to: named as the service."""
        return Topic(
            self._manifest.name,
            f"What becomes of the records of {self._manifest.name}, entry by entry",
            self,
            RecordFilter,
        )

    async def open(self) -> None:
        """Find the newest entry. Before anything else is asked."""
        self._head, _ = await self._records.read(lambda work: work.history.head())
        self._followed = self._head

    async def look(self) -> bool:
        """Read on; True when there was something new. Called after commits."""
        after = self._followed

        def read(work: Work) -> list[tuple[Entry, int | None]]:
            return [(entry, _stood_ms(work, entry)) for entry in work.history.since(after, PAGE)]

        found = await self._records.read(read)
        for entry, stood_ms in found:
            self.moves[entry.kind, entry.move] += 1
            if stood_ms is not None:
                self.times.setdefault((entry.kind, entry.move), Times()).note(stood_ms)
            self._followed = entry.number
        if not found:
            return False
        self._head = self._followed
        self._grown.notify()
        return True

    def head(self) -> str:
        """See `LogSource`."""
        return str(self._head)

    def beginning(self) -> str:
        """See `LogSource`."""
        return "0"

    def status(self) -> Mapping[str, Any]:
        """See `LogSource`."""
        return {"number": self._head}

    async def read(self, after: str, matching: Any, limit: int) -> Batch:
        """See `LogSource`."""
        number = _number(after)
        found = await self._records.read(lambda work: work.history.since(number, min(limit, PAGE)))
        wanted = [
            Event(str(entry.number), encode_json(self.entry_json(entry)))
            for entry in found
            if self._matches(entry, matching)
        ]
        return Batch(wanted, str(found[-1].number) if found else after)

    async def wait_beyond(self, cursor: str) -> None:
        """See `LogSource`."""
        number = _number(cursor)
        while self._head <= number:
            await self._grown.wait()

    def entry_json(self, entry: Entry) -> dict[str, Any]:
        """Return an entry as subscribers get it."""
        kind = self._manifest.kinds.get(entry.kind)
        return {
            **entry_json(entry),
            "service": self._manifest.name,
            "kind": entry.kind,
            "record": None if kind is None else f"{kind.prefix}-{entry.record}",
        }

    def _matches(self, entry: Entry, wanted: RecordFilter) -> bool:
        kind = self._manifest.kinds.get(entry.kind)
        ident = "" if kind is None else f"{kind.prefix}-{entry.record}"
        return (
            wanted.kind in (None, entry.kind)
            and wanted.record in (None, ident)
            and wanted.move in (None, entry.move)
        )


class Counts:
    """What is counted in the database from time to time, for metrics: a scrape never waits."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self.states: Mapping[tuple[str, str], int] = {}
        self.breaches: Mapping[tuple[str, str], int] = {}
        self.waiting = 0

    def read(self, work: Work) -> None:
        """Count anew, within a transaction that only reads."""
        from clawpurse.modules.kit.service.sending import count_waiting

        states: dict[tuple[str, str], int] = {}
        for kind in self._manifest.kinds.values():
            table = work.tables.records[kind.name]
            rows = work.connection.execute(
                sa.select(table.c.state, sa.func.count()).group_by(table.c.state)
            )
            states.update({(kind.name, state): 0 for state in kind.flow.states})
            states.update({(kind.name, row[0]): row[1] for row in rows})
        self.states = states
        self.breaches = work.deadlines.breaches()
        self.waiting = count_waiting(work)


class ServiceMetrics:
    """A collector for services of one process (`prometheus_client.registry.Collector`).

    `seen`: of each service its name, its log, and its counts.
    """

    def __init__(self, seen: Callable[[], Iterable[tuple[str, HistoryLog, Counts, str]]]) -> None:
        self._seen = seen

    def describe(self) -> Iterator[Metric]:
        """Name them without reading."""
        yield from self._families()

    def collect(self) -> Iterator[Metric]:
        """Read what there is now."""
        state, moves, times, breaches, waiting, up = self._families()
        for name, log, counts, problem in self._seen():
            for (kind, at), number in counts.states.items():
                state.add_metric((name, kind, at), number)
            for (kind, move), number in log.moves.items():
                moves.add_metric((name, kind, move), number)
            for (kind, move), spans in log.times.items():
                times.add_metric((name, kind, move), spans.buckets, spans.sum_s)
            for (kind, clock), number in counts.breaches.items():
                breaches.add_metric((name, kind, clock), number)
            waiting.add_metric((name,), counts.waiting)
            up.add_metric((name,), 0 if problem else 1)
        yield from (state, moves, times, breaches, waiting, up)

    @staticmethod
    def _families() -> tuple[Any, ...]:
        return (
            GaugeMetricFamily(
                "clawpurse_module_state",
                "Records in each state.",
                labels=("module", "kind", "state"),
            ),
            CounterMetricFamily(
                "clawpurse_module_moves",
                "Entries written to histories since the start.",
                labels=("module", "kind", "move"),
            ),
            HistogramMetricFamily(
                "clawpurse_module_move_seconds",
                "How long a record stood unchanged before a move, since the start.",
                labels=("module", "kind", "move"),
            ),
            CounterMetricFamily(
                "clawpurse_module_clock_breach",
                "Promised times that ran out, ever.",
                labels=("module", "kind", "clock"),
            ),
            GaugeMetricFamily(
                "clawpurse_module_waiting_transactions",
                "Transactions for the ledger without an end yet.",
                labels=("module",),
            ),
            GaugeMetricFamily(
                "clawpurse_module_well",
                "1 while nothing keeps the module from its work.",
                labels=("module",),
            ),
        )


def _stood_ms(work: Work, entry: Entry) -> int | None:
    """Return how long a record stood as it was before an entry; None for its first."""
    if entry.version < 2:
        return None
    before = work.history.of_record(entry.kind, entry.record, entry.version - 2, 1)
    return entry.at_ms - before[0].at_ms if before and before[0].version < entry.version else None


def _number(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit()) or int(cursor) > INTEGER_MAX:
        raise Malformed("fromCursor", "is no cursor of this topic")
    return int(cursor)
