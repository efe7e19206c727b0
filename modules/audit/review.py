"""The daily review: what was done with privilege, what failed, who got a role, what is unusual.

A day (UTC) is reviewed once it is over, over the entries that were kept on it: each entry is in
exactly one review, also one that came late. PCI DSS 4.0.1, 10.4.1.1, asks for automated reviews.
What is unusual is said by counts alone, each with the numbers that it was judged by.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.modules.audit.entries import FAILED, OWN, REFUSED, note
from clawpurse.modules.audit.retention import DAY_MS
from clawpurse.modules.audit.tables import AuditTables
from clawpurse.modules.kit.records.history import canonical

COMPARED_DAYS: Final = 30
"""Days that a day is compared with."""

KNOWN_DAYS_MIN: Final = 7
"""Before so many days were reviewed, everything would be new."""

MORE_THAN_MOST: Final = 3
"""So many times the most of any compared day is unusual…"""

MORE_FROM: Final = 20
"""…from so many on: twice and seven times happen by themselves."""

REFUSED_FROM: Final = 5
"""Refusals of one account a day that are worth a look: more than mistyping."""

SHOWN_MAX: Final = 100
"""Rows of each list of a report; what is left out is counted."""

COUNTED_MAX: Final = 5_000
"""Names of a kind that a day's counts keep, the most frequent first."""

ROLE_CHANGES: Final = ("roles.granted", "roles.revoked")
CALLS: Final = "/calls"
"""How sources of privileged calls end: `auth/calls`."""

_EPOCH: Final = date(1970, 1, 1)

Json = dict[str, Any]


def _day(time_ms: int) -> date:
    return _EPOCH + timedelta(days=time_ms // DAY_MS)


def checked_day(text: str) -> str:
    """Return a day of the calendar. Raises `Malformed`."""
    try:
        found: str | None = date.fromisoformat(text).isoformat()
    except ValueError:
        found = None
    if found != text:
        raise Malformed("day", "is no day such as 2027-03-31")
    return text


@dataclass(frozen=True, slots=True)
class Report:
    """A review that is worked out and not kept yet. `counts`: kind and name to how often."""

    day: str
    first: int
    stop: int
    content: Json
    counts: Mapping[str, Mapping[str, int]]


def next_report(connection: Connection, tables: AuditTables, now_ms: int) -> Report | None:
    """Work out the review of the oldest day that is over and has none; None for none.

    It only reads, for some seconds where a day had many entries: what it reads never changes.
    """
    last = connection.execute(
        tables.reviews.select().order_by(tables.reviews.c.stop.desc()).limit(1)
    ).one_or_none()
    first = 0 if last is None else int(last.stop)
    table = tables.entries
    kept_ms = connection.execute(sa.select(table.c.kept_ms).where(table.c.place == first)).scalar()
    if kept_ms is None:
        return None
    day = _day(kept_ms)
    if last is not None:
        # What a clock that was set back brings to a day that was reviewed is of the next one.
        day = max(day, date.fromisoformat(last.day) + timedelta(days=1))
    end_ms = (day - _EPOCH).days * DAY_MS + DAY_MS
    if now_ms < end_ms:
        return None
    # Places and times rise together, so the day's entries lie side by side.
    following = connection.execute(
        sa.select(table.c.place)
        .where(table.c.kept_ms >= end_ms)
        .order_by(table.c.kept_ms, table.c.place)
        .limit(1)
    ).scalar()
    if following is None:
        following = connection.execute(sa.select(sa.func.max(table.c.place))).scalar_one() + 1
    return _report(connection, tables, day.isoformat(), first, int(following))


def keep_report(connection: Connection, tables: AuditTables, report: Report, now_ms: int) -> None:
    """Keep a review, and its hash as an entry of the log; nothing where it is kept already."""
    known = tables.reviews.c.day == report.day
    if connection.execute(tables.reviews.select().where(known)).one_or_none() is not None:
        return
    text = canonical(report.content)
    first, stop = report.first, report.stop
    connection.execute(
        tables.reviews.insert(),
        {"day": report.day, "first": first, "stop": stop, "content": text, "made_ms": now_ms},
    )
    for kind, counts in report.counts.items():
        _keep_counts(connection, tables, report.day, kind, counts)
    facts = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "first": first, "stop": stop}
    note(connection, tables, now_ms, "audit.reviewed", f"review/{report.day}", facts=facts)


def review_of(connection: Connection, tables: AuditTables, day: str | None) -> tuple[Json, int]:
    """Return the report of a day, or the newest, and when it was made (UTC ms).

    Raises `NotFound`, `Malformed`.
    """
    table = tables.reviews
    query = table.select().order_by(table.c.day.desc()).limit(1)
    if day is not None:
        query = query.where(table.c.day == checked_day(day))
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound("a review of any day" if day is None else f"a review of {day}")
    return json.loads(row.content), row.made_ms


def _report(connection: Connection, tables: AuditTables, day: str, first: int, stop: int) -> Report:
    table = tables.entries
    inside = (table.c.place >= first) & (table.c.place < stop)
    others = inside & (table.c.source != OWN)
    by_what = _counted(connection, table.c.what, inside)
    by_who = _counted(connection, table.c.who, others)
    refused = _counted(connection, table.c.who, others & (table.c.result == REFUSED))
    earlier = list(
        connection.execute(
            sa.select(tables.reviews.c.day)
            .order_by(tables.reviews.c.day.desc())
            .limit(COMPARED_DAYS)
        ).scalars()
    )
    unusual = [
        {"why": "refused", "kind": "who", "name": name, "count": count, "usual": REFUSED_FROM - 1}
        for name, count in refused.items()
        if count >= REFUSED_FROM
    ]
    for kind, counts in (("what", by_what), ("who", by_who)):
        unusual += _unusual(connection, tables, kind, counts, earlier)
    by_result = _counted(connection, table.c.result, others)
    calls = others & table.c.source.like(f"%{CALLS}")
    content = {
        "day": day,
        "first": first,
        "stop": stop,
        "entries": stop - first,
        "calls": _count(connection, calls),
        "refusals": by_result.get(REFUSED, 0),
        "failures": by_result.get(FAILED, 0),
        "bySource": _top(_counted(connection, table.c.source, inside)),
        "byResult": _top(by_result),
        "byWhat": _top(by_what),
        "roles": _listed(connection, tables, inside & table.c.what.in_(ROLE_CHANGES)),
        "refused": _listed(connection, tables, others & (table.c.result == REFUSED)),
        "failed": _listed(connection, tables, inside & (table.c.result == FAILED)),
        "trouble": _listed(
            connection,
            tables,
            inside & (table.c.source == OWN) & table.c.result.in_((FAILED, REFUSED)),
        ),
        "unusual": unusual[:SHOWN_MAX],
        "unusualCount": len(unusual),
        "comparedDays": len(earlier),
    }
    return Report(day, first, stop, content, {"what": by_what, "who": by_who})


def _counted(
    connection: Connection, column: sa.Column[Any], where: sa.ColumnElement[bool]
) -> dict[str, int]:
    """How often each value occurs, the most frequent first."""
    total = sa.func.count()
    rows = connection.execute(
        sa.select(column, total)
        .where(where)
        .group_by(column)
        .order_by(total.desc(), column)
        .limit(COUNTED_MAX)
    )
    return {name: int(count) for name, count in rows}


def _count(connection: Connection, where: sa.ColumnElement[bool]) -> int:
    return int(connection.execute(sa.select(sa.func.count()).where(where)).scalar_one())


def _top(counts: dict[str, int]) -> list[Json]:
    return [{"name": name, "count": count} for name, count in list(counts.items())[:SHOWN_MAX]]


def _listed(
    connection: Connection, tables: AuditTables, where: sa.ColumnElement[bool]
) -> list[Json]:
    table = tables.entries
    columns = (table.c.place, table.c.at_ms, table.c.who, table.c.what, table.c.object)
    rows = connection.execute(
        sa.select(*columns).where(where).order_by(table.c.place).limit(SHOWN_MAX)
    )
    return [
        {
            "place": row.place,
            "atMs": row.at_ms,
            "who": row.who,
            "what": row.what,
            "object": row.object,
        }
        for row in rows
    ]


def _unusual(
    connection: Connection,
    tables: AuditTables,
    kind: str,
    counts: Mapping[str, int],
    earlier: list[str],
) -> list[Json]:
    """What never occurred before, and what occurred far more often than on any day before."""
    if len(earlier) < KNOWN_DAYS_MIN:
        return []
    table = tables.counts
    rows = connection.execute(
        sa.select(table.c.name, sa.func.max(table.c.total))
        .where((table.c.kind == kind) & (table.c.day >= earlier[-1]))
        .group_by(table.c.name)
    )
    most = {name: int(total) for name, total in rows}
    found: list[Json] = []
    for name, count in counts.items():
        usual = most.get(name, 0)
        if usual == 0:
            why = "new"
        elif count >= MORE_FROM and count > MORE_THAN_MOST * usual:
            why = "more"
        else:
            continue
        found.append({"why": why, "kind": kind, "name": name, "count": count, "usual": usual})
    return found


def _keep_counts(
    connection: Connection, tables: AuditTables, day: str, kind: str, counts: Mapping[str, int]
) -> None:
    rows = [
        {"day": day, "kind": kind, "name": name, "total": count} for name, count in counts.items()
    ]
    if rows:
        connection.execute(tables.counts.insert(), rows)
    # Older counts are compared with nothing any more.
    oldest = (date.fromisoformat(day) - timedelta(days=4 * COMPARED_DAYS)).isoformat()
    connection.execute(tables.counts.delete().where(tables.counts.c.day < oldest))
