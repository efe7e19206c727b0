"""Daily reviews and retention: each entry is looked at once, and texts go when their time is over.

If these failed, what came late would never be reviewed, a usual day would be full of alarms, or
texts would be dropped that the law wants kept.
"""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.modules.audit import retention
from clawpurse.modules.audit.anchoring import Anchored, keep_anchor
from clawpurse.modules.audit.retention import drop_old, dropped_before
from clawpurse.modules.audit.review import keep_report, next_report, review_of
from tests.modules.audit.auditworld import DAY_MS, START_MS, Log

SOURCE = "auth/calls"


def review(log: Log) -> Any:
    """Review the next day, if it is over."""
    report = log.look(lambda db: next_report(db, log.tables, log.now_ms))
    if report is None:
        return None
    for _ in range(2):
        # A second one that was on its way changes nothing.
        log.do(lambda db: keep_report(db, log.tables, report, log.now_ms))
    return log.look(lambda db: review_of(db, log.tables, report.day))[0]


def day(log: Log, number: int, **changed: Any) -> int:
    """Keep entries of one day from `number`, then let it end; return the next number."""
    count: int = changed.pop("count", 3)
    log.tell(SOURCE, number, count, **changed)
    log.now_ms += DAY_MS
    return number + count


def test_every_entry_is_in_one_review(log: Log) -> None:
    """Also what a source told late, and what came while a clock was set back."""
    assert review(log) is None
    number = day(log, 1)
    first = review(log)
    assert (first["first"], first["stop"], first["entries"]) == (0, 3, 3)
    number = day(log, number)
    log.now_ms -= 2 * DAY_MS
    number = day(log, number, at_ms=START_MS - 90 * DAY_MS)
    log.now_ms += 3 * DAY_MS
    stop, days = 3, [first["day"]]
    while (found := review(log)) is not None:
        assert found["first"] == stop
        stop = found["stop"]
        days.append(found["day"])
        if len(days) > 5:
            break
    assert days == sorted(set(days))
    assert stop >= number


def test_a_day_is_compared_with_the_days_before(log: Log) -> None:
    """A report that always alarms is read by nobody, one that never does by nobody either."""
    number = 1
    for _ in range(8):
        number = day(log, number, count=7)
        usual = review(log)
    # What the log says of its own reviews is new on the second day; after a week nothing is.
    assert (usual["unusual"], usual["comparedDays"]) == ([], 7)
    log.tell(SOURCE, number, 15)
    number += 15
    log.tell(SOURCE, number, 25, what="auth.export", actor="claw1mallory")
    log.now_ms += DAY_MS
    found = review(log)["unusual"]
    assert {(one["why"], one["kind"], one["name"]) for one in found} == {
        ("new", "what", "auth.export"),
        ("new", "who", "claw1mallory"),
    }
    number += 25
    log.tell(SOURCE, number, 60)
    log.now_ms += DAY_MS
    found = review(log)["unusual"]
    assert [(one["why"], one["kind"], one["count"], one["usual"]) for one in found] == [
        ("more", "what", 60, 15),
        ("more", "who", 60, 15),
    ]


def test_failures_and_the_log_s_own_troubles_are_listed(log: Log) -> None:
    log.tell(SOURCE, 1, 2, result="failed", what="backup.make")
    log.tell("customer", 1, 1)
    log.now_ms += DAY_MS
    found = review(log)
    assert (found["failures"], found["calls"], found["entries"]) == (2, 2, 3)
    assert [one["what"] for one in found["failed"]] == ["backup.make"] * 2
    assert found["bySource"] == [
        {"name": SOURCE, "count": 2},
        {"name": "customer", "count": 1},
    ]


@pytest.mark.parametrize("text", ["", "2027-1-1", "2027-02-30", "2027-W01-1", "x" * 10])
def test_what_is_no_day_is_refused(log: Log, text: str) -> None:
    with pytest.raises(Malformed):
        log.look(lambda db: review_of(db, log.tables, text))
    for missing in (None, "2027-01-01"):
        with pytest.raises(NotFound):
            log.look(lambda db, missing=missing: review_of(db, log.tables, missing))  # type: ignore[misc]


def test_only_what_is_anchored_and_old_loses_its_text(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve months are promised, and what nobody vouches for yet is not dropped."""
    monkeypatch.setattr(retention, "DROPPED_AT_ONCE", 2)
    log.tell(SOURCE, 1, 5)
    log.now_ms += 300 * DAY_MS
    log.tell(SOURCE, 6, 5)

    def drop() -> int:
        total = 0
        while count := log.do(lambda db: drop_old(db, log.tables, 366, log.now_ms)):
            total += count
        return total

    log.now_ms += 65 * DAY_MS
    assert drop() == 0
    log.now_ms += 2 * DAY_MS
    assert drop() == 0, "nothing is anchored"
    log.do(lambda db: keep_anchor(db, log.tables, Anchored(5, 4, bytes(32), 0, "{}"), 1))
    assert drop() == 4
    log.do(lambda db: keep_anchor(db, log.tables, Anchored(6, 9, bytes(32), 0, "{}"), 1))
    assert drop() == 1
    assert drop() == 0
    table = log.tables.entries
    rows = log.look(lambda db: db.execute(table.select().order_by(table.c.place)).all())
    assert [row.text is None for row in rows] == [True] * 5 + [False] * 7
    assert {row.who for row in rows[:5]} == {""}
    assert [row.what for row in rows[10:]] == ["audit.dropped"] * 2
    assert log.look(lambda db: dropped_before(db, log.tables)) == 5
    with pytest.raises(ValueError, match="366 days"):
        log.do(lambda db: drop_old(db, log.tables, 365, log.now_ms))
    assert log.look(lambda db: db.execute(sa.select(sa.func.max(table.c.place))).scalar()) == 11
