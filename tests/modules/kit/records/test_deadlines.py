"""Promised times: every breach is found once, whoever comes first, and none is made up."""

from __future__ import annotations

import datetime
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any

import pytest
import sqlalchemy as sa

from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.kit.entities.calendars import Calendar, always, calendar_of, content_of
from clawpurse.modules.kit.entities.clocks import Running
from clawpurse.modules.kit.records.chores import find_breaches, rebuild_deadlines
from clawpurse.modules.kit.records.deadlines import PROMISE
from clawpurse.modules.kit.records.model import Conflict, Proposal, ProposalStatus, Record
from clawpurse.modules.kit.records.work import Work
from tests.modules.kit.records.desk import (
    AGENT,
    CALENDARS,
    HOUR_MS,
    KINDS,
    LEAD,
    OFFICE,
    Desk,
    Ticket,
    Visit,
    customer,
    ticket,
)

T, V = Ticket.kind, Visit.kind


def moves(desk: Desk, kind: str, number: int) -> list[str]:
    return [one.move for one in desk.look(lambda work: work.history.of_record(kind, number))]


def look(desk: Desk) -> int:
    return desk.do(AGENT, find_breaches)


def visit(desk: Desk, of: int, **values: Any) -> int:
    given = {"customer": f"C-{of}", **values}
    return desk.do(AGENT, lambda work: work.create(V, given)).number


def go(desk: Desk, number: int, move: str) -> None:
    desk.do(AGENT, lambda work: work.move(V, number, move))


def change(desk: Desk, number: int, version: int) -> None:
    given = {"urgent": version == 1}
    desk.do(AGENT, lambda work: work.update(V, number, given, version=version))


def test_a_breach_is_written_down_once_and_counted(desk: Desk) -> None:
    """Otherwise nobody is told of a customer who waits, or everybody each second."""
    number = ticket(desk, customer(desk))
    desk.now_ms += 4 * HOUR_MS - 1_000
    assert (look(desk), moves(desk, "ticket", number)) == (0, ["created"])
    assert look(desk) == 1
    assert look(desk) == 0
    assert moves(desk, "ticket", number) == ["created", "first_reply.breached"]
    entry = desk.look(lambda work: work.history.of_record("ticket", number))[1]
    assert (entry.actor, entry.origin, entry.state) == ("system", "time", "new")
    desk.do(AGENT, lambda work: work.move(T, number, "assign", {"owner": "anna"}))
    assert moves(desk, "ticket", number)[2:] == ["assign"]
    assert desk.look(lambda work: work.deadlines.breaches()) == {("ticket", "first_reply"): 1}
    (reading,) = desk.look(lambda work: work.deadlines.readings(work.get(T, number)))
    assert (reading.standing, reading.noted) == (Running.BREACHED, True)


def test_who_comes_late_but_before_the_service_looked_writes_it_down(desk: Desk) -> None:
    """Otherwise a promise that was broken while the service slept was never broken."""
    number = ticket(desk, customer(desk))
    kept = ticket(desk, 1)
    desk.do(AGENT, lambda work: work.move(T, kept, "assign", {"owner": "anna"}))
    desk.now_ms += 5 * HOUR_MS
    moved = desk.do(AGENT, lambda work: work.move(T, number, "assign", {}, version=1))
    assert isinstance(moved, Record)
    assert moved.version == 3
    assert moves(desk, "ticket", number) == ["created", "first_reply.breached", "assign"]
    assert look(desk) == 0
    assert moves(desk, "ticket", kept) == ["created", "assign"]


def test_a_clock_that_stands_still_or_ended_breaks_no_promise(desk: Desk) -> None:
    """Otherwise whoever waits for the customer is called late, and a dropped ticket for ever."""
    of = customer(desk)
    dropped = ticket(desk, of)
    desk.do(LEAD, lambda work: work.move(T, dropped, "drop"))
    waiting = visit(desk, of)
    for move in ("plan", "wait"):
        go(desk, waiting, move)
    desk.now_ms += 90 * 24 * HOUR_MS
    assert look(desk) == 0
    (reading,) = desk.look(lambda work: work.deadlines.readings(work.get(T, dropped)))
    assert reading.used_ms == 1_000
    desk.do(AGENT, lambda work: work.move(V, waiting, "go_on"))
    desk.now_ms += 4 * 24 * HOUR_MS + 24 * HOUR_MS
    assert look(desk) == 1
    assert moves(desk, "visit", waiting)[-1] == "held.breached"


def test_a_clock_that_begins_anew_may_be_breached_anew(desk: Desk) -> None:
    """Otherwise the second promise of a record may be broken in silence."""
    number = visit(desk, customer(desk), urgent=True)
    desk.now_ms += 3 * HOUR_MS
    look(desk)
    assert moves(desk, "visit", number) == ["created", "answer.breached"]
    desk.do(AGENT, lambda work: work.update(V, number, {"urgent": False}))
    assert look(desk) == 0
    (answer, _) = desk.look(lambda work: work.deadlines.readings(work.get(V, number)))
    # It was breached by what was promised then; what is promised now is another matter.
    assert (answer.standing, answer.noted) == (Running.RUNNING, True)


def test_what_a_change_makes_late_is_late_at_once(desk: Desk) -> None:
    """Otherwise a visit that is called urgent keeps the time of one that is not."""
    number = visit(desk, customer(desk))
    desk.now_ms += 3 * HOUR_MS
    assert look(desk) == 0
    desk.do(AGENT, lambda work: work.update(V, number, {"urgent": True}))
    assert look(desk) == 1
    assert moves(desk, "visit", number) == ["created", "updated", "answer.breached"]


def test_time_alone_makes_no_conflict(desk: Desk) -> None:
    """Otherwise a late visit cannot be changed by whoever looked at it a minute ago."""
    number = visit(desk, customer(desk))
    desk.now_ms += 9 * HOUR_MS
    assert look(desk) == 1
    change(desk, number, 1)
    for version in (1, 2, 9):
        with pytest.raises(Conflict):
            change(desk, number, version)


def test_a_breach_leaves_an_open_proposal_as_it_was(desk: Desk) -> None:
    """Otherwise what two people approved is forgotten because a third came late."""
    number = ticket(desk, customer(desk))

    def proposed(work: Any) -> Proposal:
        made: Proposal = work.pending.open(
            work.next_number("kit_proposals"),
            work.get(T, number),
            T.flow.moves["pay_back"],
            {"refund": "5"},
            "leo",
        )
        return made

    made = desk.do(LEAD, proposed)
    desk.now_ms += 5 * HOUR_MS
    assert look(desk) == 1
    found = desk.look(lambda work: work.proposal(made.number))
    assert found.status is ProposalStatus.OPEN
    desk.do(AGENT, lambda work: work.update(T, number, {"tags": ["x"]}))
    found = desk.look(lambda work: work.proposal(made.number))
    assert found.status is ProposalStatus.STALE


def test_what_is_due_is_one_seek(desk: Desk) -> None:
    """Otherwise each second reads a hundred thousand tickets."""

    def plans(db: sa.Connection) -> str:
        table = desk.tables.deadlines
        chosen = (
            sa.select(table.c.kind, table.c.record)
            .where((table.c.purpose == PROMISE) & (table.c.due_ms < 5))
            .order_by(table.c.due_ms, table.c.kind, table.c.record)
            .limit(3)
        )
        text = str(chosen.compile(db, compile_kwargs={"literal_binds": True}))
        return str(db.exec_driver_sql("EXPLAIN QUERY PLAN " + text).all())

    told = desk.database.read_now(plans)
    assert "SEARCH kit_deadlines USING COVERING INDEX ix_kit_deadlines_due_ms" in told
    assert "TEMP B-TREE" not in told


def rows(desk: Desk) -> list[Any]:
    table = desk.tables.deadlines
    return desk.database.read_now(
        lambda db: list(db.execute(table.select().order_by(*table.primary_key.columns)).all())
    )


def test_the_table_is_what_histories_say_after_any_walk(desk: Desk) -> None:
    """Otherwise a clock is forgotten by some order of steps, and its breach never found."""
    random = Random(5)
    of = customer(desk)
    numbers = [visit(desk, of) for _ in range(4)]
    for _ in range(120):
        number = random.choice(numbers)
        move = random.choice([*V.flow.moves, ""])
        desk.now_ms += random.randrange(5 * HOUR_MS)

        def step(work: Any, number: int = number, move: str = move) -> None:
            state = work.get(V, number).state
            if not move:
                if state not in V.flow.ends:
                    work.update(V, number, {"urgent": random.random() < 0.5})
            elif state in V.flow.sources(move):
                work.move(V, number, move)

        desk.do(AGENT, step)
        if random.random() < 0.3:
            while look(desk):
                pass
    before = rows(desk)
    desk.database.write_now(lambda db: db.execute(desk.tables.deadlines.delete()))

    def renew(work: Work) -> None:
        for number in numbers:
            work.deadlines.renew(work.get(V, number))

    desk.do(AGENT, renew)
    again = rows(desk)
    late = {row for row in again if row.due_ms >= desk.now_ms - 1_000} ^ set(again)
    assert {row for row in before if row not in late} == set(again) - late
    told = [moves(desk, "visit", number) for number in numbers]
    assert any("answer.breached" in one for one in told)
    assert any("held.breached" in one for one in told)


def test_another_calendar_moves_every_deadline(desk: Desk) -> None:
    """Otherwise a holiday that was entered in time makes people late anyway."""
    of = customer(desk)
    numbers = [visit(desk, of) for _ in range(7)]
    for number in numbers:
        go(desk, number, "plan")
    before = {row.record: row.due_ms for row in rows(desk) if row.clock == "held"}
    assert len(before) == 7
    while desk.do(AGENT, rebuild_deadlines):
        pass
    assert not desk.do(AGENT, lambda work: work.deadlines.declare(KINDS, CALENDARS))
    closed = frozenset(datetime.date(2027, 1, 15) + datetime.timedelta(days) for days in range(10))
    holidays = MappingProxyType({"office": Calendar(OFFICE.zone, OFFICE.hours, closed)})
    assert desk.do(AGENT, lambda work: work.deadlines.declare(KINDS, holidays))
    batches = 0
    while desk.do(AGENT, lambda work: rebuild_deadlines(work, 3)) == 3:
        batches += 1
    assert batches >= 2
    assert not desk.do(AGENT, lambda work: work.deadlines.declare(KINDS, holidays))
    after = {row.record: row.due_ms for row in rows(desk) if row.clock == "held"}
    assert after.keys() == before.keys()
    assert all(after[one] > before[one] + 24 * HOUR_MS for one in after)


def test_a_hint_that_is_wrong_makes_up_no_breach(desk: Desk) -> None:
    """Otherwise an old calendar accuses somebody of a promise that was kept."""
    number = ticket(desk, customer(desk))
    table = desk.tables.deadlines
    desk.database.write_now(lambda db: db.execute(table.update().values(due_ms=1)))
    assert look(desk) == 1
    assert moves(desk, "ticket", number) == ["created"]
    assert look(desk) == 0
    (reading,) = desk.look(lambda work: work.deadlines.readings(work.get(T, number)))
    assert [row.due_ms for row in rows(desk) if row.record == number] == [reading.due_ms]


def test_a_clock_by_a_calendar_that_nobody_configured_is_refused(tmp_path: Path) -> None:
    """Otherwise it silently counts nights and Sundays."""
    desk = Desk(tmp_path / "bare.db")
    desk.database.write_now(desk.tables.metadata.create_all)
    with pytest.raises(OperatorError, match="no calendar office"):
        desk.do(AGENT, lambda work: work.deadlines.declare(KINDS, {}))
    desk.database.close()


def test_a_calendar_is_json_and_comes_back() -> None:
    """Otherwise what people configure is not what counts."""
    days = frozenset([datetime.date(2026, 12, 25)])
    for one in (OFFICE, always(), Calendar("UTC", {6: ((0, 60), (120, 1440))}, days)):
        assert calendar_of(content_of(one)) == one
    for bad in (
        {},
        {"zone": "UTC", "hours": {"0": [[1]]}},
        {"zone": "UTC", "hours": {}, "colour": 1},
        {"zone": "Nowhere/City", "hours": {}},
        {"zone": "UTC", "hours": {}, "holidays": ["soon"]},
    ):
        with pytest.raises(ValueError, match=r"is no calendar|is no time zone"):
            calendar_of(bad)
