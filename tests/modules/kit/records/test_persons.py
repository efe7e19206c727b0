"""Persons: what they agreed to, how long they are kept, and that erasing them is all of it."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import Annotated, Any

import pytest
import sqlalchemy as sa

from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.modules.kit.entities.flows import Flow, Move
from clawpurse.modules.kit.entities.kinds import Entity, Line, Personal, entity
from clawpurse.modules.kit.records.chores import carry_out_retention
from clawpurse.modules.kit.records.model import (
    TIME,
    Actor,
    Conflict,
    ConsentMissing,
    Erased,
    NotPermitted,
    Proposal,
    Record,
)
from clawpurse.modules.kit.records.persons import (
    consents_of,
    erase_person,
    erase_record,
    forget_person,
    give_consent,
    records_about,
    wants_compacting,
    withdraw_consent,
)
from clawpurse.modules.kit.records.work import Work
from tests.modules.kit.records.desk import (
    AGENT,
    CLERK,
    HOUR_MS,
    LEAD,
    OFFICER,
    STRANGER,
    Customer,
    Desk,
    Ticket,
    Visit,
    customer,
    forget,
    ticket,
)

C, T, V = Customer.kind, Ticket.kind, Visit.kind
WORDING = hashlib.sha256(b"We keep what you need when you visit us.").digest()
DAY_MS = 24 * HOUR_MS


def agree(desk: Desk, subject: str, category: str = "health", **more: Any) -> None:
    desk.do(CLERK, lambda work: give_consent(work, subject, category, WORDING, **more))


def visit(desk: Desk, of: int, **values: Any) -> int:
    given = {"customer": f"C-{of}", **values}
    return desk.do(AGENT, lambda work: work.create(V, given)).number


def outbox(desk: Desk) -> list[dict[str, Any]]:
    table = desk.tables.outbox
    rows = desk.database.read_now(
        lambda db: list(db.execute(table.select().order_by(table.c.number)).all())
    )
    return [json.loads(row.payload) for row in rows if row.target == "erasures"]


def test_what_needs_consent_is_written_only_with_it(desk: Desk) -> None:
    """Otherwise somebody's health is on file because a form had a box for it."""
    of = customer(desk)
    subject = f"customer/C-{of}"
    with pytest.raises(ConsentMissing) as refused:
        visit(desk, of, needs="a chair")
    assert (refused.value.subject, refused.value.category) == (subject, "health")
    assert "chair" not in str(refused.value)
    number = visit(desk, of)
    agree(desk, subject)
    desk.do(AGENT, lambda work: work.update(V, number, {"needs": "a chair"}))
    desk.do(CLERK, lambda work: withdraw_consent(work, subject, "health", WORDING))
    with pytest.raises(ConsentMissing):
        desk.do(AGENT, lambda work: work.update(V, number, {"needs": "two chairs"}))
    desk.do(AGENT, lambda work: work.update(V, number, {"urgent": True}))
    assert desk.look(lambda work: work.get(V, number)).values["needs"] == "a chair"
    told = desk.look(lambda work: consents_of(work, subject))
    assert [(one.verdict, one.actor, one.wording) for one in told] == [
        ("given", "carl", WORDING),
        ("withdrawn", "carl", WORDING),
    ]
    entries = [
        one for one in desk.look(lambda work: work.history.since(0)) if one.kind == "kit_consents"
    ]
    assert [(one.move, one.changes["subject"]) for one in entries] == [
        ("given", subject),
        ("withdrawn", subject),
    ]
    desk.look(lambda work: list(work.history.verified()))


def test_a_consent_is_of_somebody_to_something_by_who_may(desk: Desk) -> None:
    """Otherwise anybody agrees for everybody, or twice because a connection broke."""
    of = customer(desk)
    subject = f"customer/C-{of}"
    bad: list[tuple[Actor, str, str, bytes, type[Exception]]] = [
        (STRANGER, subject, "health", WORDING, NotPermitted),
        (AGENT, subject, "health", WORDING, NotPermitted),
        (CLERK, subject, "shoes", WORDING, Malformed),
        (CLERK, subject, "health", b"short", Malformed),
        (CLERK, "customer/C-99", "health", WORDING, NotFound),
        (CLERK, "nobody", "health", WORDING, Malformed),
        (CLERK, "ticket", "health", WORDING, Malformed),
    ]
    for actor, who, category, wording, error in bad:
        with pytest.raises(error):
            desk.do(actor, partial(give_consent, subject=who, category=category, wording=wording))
    for _ in range(2):
        agree(desk, subject, request_key="the-same-1")
    with pytest.raises(Conflict):
        agree(desk, subject, category="contact", request_key="the-same-1")
    assert len(desk.look(lambda work: consents_of(work, subject))) == 1
    forget(desk, subject)
    with pytest.raises(Erased):
        agree(desk, subject)


def test_erasing_takes_every_value_and_what_waits_for_approval(desk: Desk) -> None:
    """Otherwise a proposal that nobody decided keeps what a person asked us to forget."""
    of = customer(desk)
    number = ticket(desk, of)

    def proposed(work: Work) -> Proposal:
        record = work.get(T, number)
        move = Move("answering", "new -> open", role="a", approvals=1, sets=("answer",))
        given = {"answer": "The canary is at home.", "owner": "anna"}
        return work.pending.open(work.next_number("kit_proposals"), record, move, given, "leo")

    made = desk.do(LEAD, proposed)
    assert desk.look(lambda work: work.asked(made))["answer"] == "The canary is at home."
    done = forget(desk, f"customer/C-{of}")
    assert (done.news, done.records, done.commitments) == (True, 2, 3)
    assert desk.look(lambda work: work.asked(made)) == {"answer": None, "owner": "anna"}
    rows = desk.database.read_now(
        lambda db: db.execute(sa.select(desk.tables.proposals.c.given)).scalars().all()
    )
    assert "sealed" not in str(rows)
    assert desk.look(wants_compacting)


def test_who_has_copies_is_told_which_commitments_are_gone(desk: Desk) -> None:
    """Otherwise a partner keeps for ever what we erased."""
    of = customer(desk)
    ticket(desk, of)
    told = [
        said["commitment"]
        for entry in desk.look(lambda work: work.history.since(0))
        for said in entry.changes.values()
        if isinstance(said, dict)
    ]
    forget(desk, f"customer/C-{of}")
    (message,) = outbox(desk)
    assert (message["type"], message["subject"], message["service"]) == (
        "subject.erased",
        f"customer/C-{of}",
        "desk",
    )
    assert sorted(told) == message["commitments"]
    assert not forget(desk, f"customer/C-{of}").news
    assert len(outbox(desk)) == 1


def test_only_the_privacy_officer_erases_and_says_why(desk: Desk) -> None:
    """Otherwise whoever may work with tickets may make evidence disappear."""
    of = customer(desk)
    number = ticket(desk, of)
    for actor in (STRANGER, AGENT, LEAD, CLERK):
        with pytest.raises(NotPermitted):
            desk.do(actor, lambda work: erase_person(work, f"customer/C-{of}", "why not"))
        with pytest.raises(NotPermitted):
            desk.do(actor, lambda work: erase_record(work, T, number, "why not"))
    for reason in ("", "x" * 501):
        with pytest.raises(Malformed):
            desk.do(OFFICER, partial(erase_record, kind=T, number=number, reason=reason))
    with pytest.raises(NotFound):
        desk.do(OFFICER, lambda work: erase_person(work, "customer/C-99", "asked"))
    assert desk.look(lambda work: work.get(T, number)).values["subject"] == "Where is my canary?"


def test_one_record_is_erased_and_the_person_stays(desk: Desk) -> None:
    """Otherwise a ticket that is too old takes the whole customer with it."""
    of = customer(desk)
    number, other = ticket(desk, of), ticket(desk, of, subject="Another")
    done = desk.do(OFFICER, lambda work: erase_record(work, T, number, "asked"))
    assert (done.news, done.subjects, done.records, done.commitments) == (True, (), 1, 1)
    gone = desk.look(lambda work: work.get(T, number))
    assert (gone.values["subject"], sorted(gone.erased)) == (None, ["answer", "subject"])
    assert desk.look(lambda work: work.get(T, other)).values["subject"] == "Another"
    assert desk.look(lambda work: work.get(C, of)).values["name"] == "Ada Canary"
    assert not desk.do(OFFICER, lambda work: erase_record(work, T, number, "asked")).news
    with pytest.raises(Erased):
        desk.do(AGENT, lambda work: work.update(T, number, {"subject": "x"}))
    desk.do(LEAD, lambda work: work.move(T, number, "drop"))
    desk.look(lambda work: list(work.history.verified()))


def test_what_was_kept_long_enough_is_erased_or_archived_in_batches(desk: Desk) -> None:
    """Otherwise what is to be kept for a year is kept until somebody remembers."""
    of = customer(desk)
    tickets = [ticket(desk, of) for _ in range(5)]
    kept = ticket(desk, of, subject="Still open")
    visits = [visit(desk, of) for _ in range(2)]
    for number in tickets:
        drop(desk, number)
    for number in visits:
        for move in ("plan", "hold"):
            go(desk, number, move)
    desk.now_ms += 31 * DAY_MS
    assert desk.do(TIME, carry_out_retention) == 2
    assert desk.look(lambda work: work.page(V)) == []
    assert len(desk.look(lambda work: work.page(V, archived=True))) == 2
    assert desk.look(lambda work: work.get(V, visits[0])).archived_ms is not None
    desk.now_ms += 365 * DAY_MS
    batches = []
    while done := desk.do(TIME, lambda work: carry_out_retention(work, 2)):
        batches.append(done)
    assert batches == [2, 2, 1]
    assert [one.number for one in desk.look(lambda work: work.page(T))] == [kept]
    assert [one.number for one in desk.look(lambda work: work.page(T, {"state": "dropped"}))] == []
    gone = desk.look(lambda work: work.get(T, tickets[0]))
    assert (gone.values["subject"], gone.state) == (None, "dropped")
    moves = [one.move for one in desk.look(lambda work: work.history.of_record("ticket", 1))]
    assert moves == ["created", "drop", "record.erased", "record.archived"]
    assert desk.look(lambda work: work.get(T, kept)).values["subject"] == "Still open"
    desk.look(lambda work: list(work.history.verified()))


def drop(desk: Desk, number: int) -> None:
    desk.do(LEAD, lambda work: work.move(T, number, "drop"))


def go(desk: Desk, number: int, move: str) -> None:
    done = desk.do(AGENT, lambda work: work.move(V, number, move))
    assert isinstance(done, Record)


def test_a_list_without_what_was_archived_is_one_seek(desk: Desk) -> None:
    """Otherwise ten years of archived records are read for each page of today's."""
    table = desk.tables.records["visit"]

    def plan(db: sa.Connection, *where: Any) -> str:
        chosen = (
            sa.select(table.c.number)
            .where(table.c.number > 5, table.c.archived_ms.is_(None), *where)
            .order_by(table.c.archived_ms, table.c.number)
            .limit(3)
        )
        text = str(chosen.compile(db, compile_kwargs={"literal_binds": True}))
        return str(db.exec_driver_sql("EXPLAIN QUERY PLAN " + text).all())

    for told in (
        desk.database.read_now(plan),
        desk.database.read_now(lambda db: plan(db, table.c.state == "asked")),
    ):
        assert "SEARCH visit USING" in told
        assert "(archived_ms=?" in told or "state=? AND archived_ms=?" in told
        assert "TEMP B-TREE" not in told


def test_what_goes_to_the_ledger_has_commitments_for_persons(desk: Desk) -> None:
    """Otherwise an author who passes a record on writes a name into a ledger for ever."""
    number = ticket(desk, customer(desk))

    def look(work: Work) -> tuple[dict[str, Any], Record]:
        record = work.get(T, number)
        return work.values.told(record), record

    told, record = desk.look(look)
    assert set(told) == set(record.values)
    assert told["priority"] == "low"
    assert "canary" not in str(told)
    _, value = desk.look(lambda w: w.values.opened(bytes.fromhex(told["subject"]["commitment"])))
    assert value == "Where is my canary?"


def test_a_person_of_another_service_is_forgotten_here_too(desk: Desk) -> None:
    """Otherwise the copy next door outlives the person."""
    of = customer(desk)
    found = desk.look(
        lambda work: [(k.name, n) for k, n in records_about(work, f"customer/C-{of}")]
    )
    assert found == [("customer", of)]
    done = desk.do(TIME, lambda work: forget_person(work, "hr.employee/E-7", "erased by hr"))
    assert (done.news, done.records) == (True, 0)
    assert not desk.do(TIME, lambda work: forget_person(work, "hr.employee/E-7", "again")).news


def test_a_declaration_that_asks_consent_of_nobody_is_refused() -> None:
    """Otherwise a customer could never be made, or one is made without being asked."""
    with pytest.raises(ValueError, match="consent"):

        @entity("patient", prefix="P")
        class Patient(Entity):
            """Patient"""

            illness: Annotated[Line, Personal("health", consent=True)]
            flow = Flow("new")
