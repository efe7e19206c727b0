"""Records: nothing happens without its history, twice, or past the flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from clawpurse.ledger.errors import Malformed, NotFound, StorageFault
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.kit.entities.flows import Why
from clawpurse.modules.kit.records.actions import unpack_actions
from clawpurse.modules.kit.records.history import replayed
from clawpurse.modules.kit.records.model import (
    Actor,
    Conflict,
    Erased,
    MoveRefused,
    Proposal,
    ProposalStatus,
    Record,
)
from clawpurse.modules.kit.records.work import Work
from tests.modules.kit.records.desk import (
    AGENT,
    FINANCE,
    LEAD,
    OTHER_LEAD,
    STRANGER,
    Customer,
    Desk,
    Ticket,
    customer,
    forget,
    ticket,
)

T = Ticket.kind


def making(given: dict[str, Any]) -> Callable[[Work], Record]:
    return lambda work: work.create(T, given)


def moving(number: int, move: str, given: dict[str, Any]) -> Callable[[Work], Record | Proposal]:
    return lambda work: work.move(T, number, move, given)


def approving(number: int) -> Callable[[Work], Record | Proposal]:
    return lambda work: work.approve(number, approve=True)


def test_a_record_says_what_was_given_and_its_history_what_happened(desk: Desk) -> None:
    """Otherwise an officer cannot tell months later who changed what."""
    number = ticket(desk, customer(desk), priority="high", tags=["a", "b"])
    desk.do(AGENT, lambda work: work.move(T, number, "assign", {"owner": "anna"}))
    desk.do(AGENT, lambda work: work.update(T, number, {"tags": ["c"]}))
    found = desk.look(lambda work: work.get(T, number))
    assert (found.id, found.state, found.version) == ("T-1", "open", 3)
    assert found.values["tags"] == ["c"]
    assert found.values["subject"] == "Where is my canary?"
    entries = desk.look(lambda work: work.history.of_record("ticket", number))
    assert [(one.move, one.state, one.actor) for one in entries] == [
        ("created", "new", "anna"),
        ("assign", "open", "anna"),
        ("updated", "open", "anna"),
    ]
    assert entries[1].changes == {"owner": "anna"}
    state, version, values = replayed(entries)
    assert (state, version, values["owner"], values["tags"]) == ("open", 3, "anna", ["c"])


def test_what_the_flow_forbids_changes_nothing(desk: Desk) -> None:
    """Otherwise a stranger resolves a ticket, or one without an answer is called resolved."""
    number = ticket(desk, customer(desk))
    tries: list[tuple[Actor, str, dict[str, Any], Why]] = [
        (AGENT, "fly", {}, Why.UNKNOWN),
        (STRANGER, "assign", {}, Why.ROLE),
        (AGENT, "resolve", {"answer": "Soon."}, Why.STATE),
        (AGENT, "assign", {"answer": "Soon."}, Why.UNASKED),
    ]
    for actor, move, given, why in tries:
        with pytest.raises(MoveRefused) as refused:
            desk.do(actor, moving(number, move, given))
        assert refused.value.found.why is why
    assert desk.look(lambda work: work.get(T, number)).version == 1
    assert len(desk.look(lambda work: work.history.since(0))) == 2


def test_bad_values_are_named_and_not_repeated(desk: Desk) -> None:
    """Otherwise a log holds what a person typed into the wrong field."""
    of = customer(desk)
    bad: list[tuple[dict[str, Any], str]] = [
        ({"customer": "C-1", "subject": "x", "priority": "secret-canary"}, "priority"),
        ({"customer": "C-1", "subject": "x", "colour": "secret-canary"}, "colour"),
        ({"customer": "X-1", "subject": "x"}, "id"),
        ({"customer": f"C-{of}"}, "subject"),
        ({"customer": f"C-{of}", "subject": "a\x00b"}, "subject"),
    ]
    for given, field in bad:
        with pytest.raises(Malformed) as refused:
            desk.do(AGENT, making(given))
        assert refused.value.field == field
        assert "canary" not in str(refused.value)
    with pytest.raises(NotFound):
        desk.do(AGENT, lambda work: work.create(T, {"customer": "C-9", "subject": "x"}))


def test_the_same_request_is_answered_and_not_done_again(desk: Desk) -> None:
    """Otherwise a client that asks again after a broken connection makes two tickets."""
    of = customer(desk)
    given = {"customer": f"C-{of}", "subject": "Again"}
    first = desk.do(AGENT, lambda work: work.create(T, given, "key-1"))
    again = desk.do(AGENT, lambda work: work.create(T, given, "key-1"))
    assert again == first
    other = desk.do(LEAD, lambda work: work.create(T, given, "key-1"))
    assert other.number != first.number
    for _ in range(2):
        moved = desk.do(AGENT, lambda work: work.move(T, 1, "assign", {}, request_key="key-2"))
        assert isinstance(moved, Record)
        assert moved.version == 2
    with pytest.raises(Conflict):
        desk.do(AGENT, lambda work: work.move(T, 2, "assign", {}, request_key="key-2"))


def test_who_looked_at_an_older_version_is_told(desk: Desk) -> None:
    """Otherwise the second of two people undoes what the first did without seeing it."""
    number = ticket(desk, customer(desk))
    desk.do(AGENT, lambda work: work.update(T, number, {"priority": "high"}, version=1))
    with pytest.raises(Conflict):
        desk.do(LEAD, lambda work: work.update(T, number, {"priority": "low"}, version=1))
    with pytest.raises(Malformed):
        desk.do(AGENT, lambda work: work.update(T, number, {"answer": "by the back door"}))
    with pytest.raises(Malformed):
        other = customer(desk)
        desk.do(AGENT, lambda work: work.update(T, number, {"customer": f"C-{other}"}))


def propose(desk: Desk, of: int) -> tuple[int, int]:
    number = ticket(desk, of)
    desk.do(AGENT, lambda work: work.move(T, number, "assign", {"owner": "anna"}))
    asked = desk.do(LEAD, lambda work: work.move(T, number, "pay_back", {"refund": "120"}))
    assert isinstance(asked, Proposal)
    assert asked.missing == 2
    return number, asked.number


def test_what_others_must_approve_is_done_by_the_last_of_them(desk: Desk) -> None:
    """Otherwise one person alone pays money back, or it is paid twice."""
    number, proposal = propose(desk, customer(desk))
    with pytest.raises(MoveRefused):
        desk.do(LEAD, lambda work: work.approve(proposal, approve=True))
    with pytest.raises(MoveRefused):
        desk.do(AGENT, lambda work: work.approve(proposal, approve=True))
    first = desk.do(FINANCE, lambda work: work.approve(proposal, approve=True))
    assert isinstance(first, Proposal)
    assert (first.missing, first.approved_by) == (1, ("fred",))
    with pytest.raises(Conflict):
        desk.do(FINANCE, lambda work: work.approve(proposal, approve=True))
    done = desk.do(OTHER_LEAD, lambda work: work.approve(proposal, approve=True))
    assert isinstance(done, Record)
    assert (done.state, done.values["refund"]) == ("waiting", "120")
    with pytest.raises(Conflict):
        desk.do(OTHER_LEAD, lambda work: work.approve(proposal, approve=True))
    sent = desk.database.read_now(lambda db: db.execute(desk.tables.outbox.select()).all())
    assert [unpack_actions(row.payload) for row in sent] == [[RawAction("kernel.nothing", ["120"])]]
    moves = [one.move for one in desk.look(lambda work: work.history.of_record("ticket", number))]
    assert moves[-4:] == [
        "pay_back.asked",
        "pay_back.approved",
        "pay_back.approved",
        "pay_back",
    ]


def test_a_proposal_ends_by_rejection_time_or_change(desk: Desk) -> None:
    """Otherwise something is done that nobody agreed to as it is now."""
    of = customer(desk)
    _, rejected = propose(desk, of)
    ended = desk.do(FINANCE, lambda work: work.approve(rejected, approve=False, reason="No."))
    assert isinstance(ended, Proposal)
    assert ended.status is ProposalStatus.REJECTED
    number, stale = propose(desk, of)
    desk.do(AGENT, lambda work: work.update(T, number, {"priority": "high"}))
    _, late = propose(desk, of)
    desk.now_ms += 8 * 86_400_000
    for over in (rejected, stale, late):
        with pytest.raises(Conflict):
            desk.do(FINANCE, approving(over))


def test_a_person_erased_is_gone_and_every_proof_holds(desk: Desk) -> None:
    """Otherwise a promise to forget is not kept, or the history stops proving anything."""
    of = customer(desk)
    kept = customer(desk, name="Bob Other")
    number = ticket(desk, of)
    entries = desk.look(lambda work: work.history.since(0))
    head = desk.look(lambda work: work.history.head())
    commitment = bytes.fromhex(entries[0].changes["name"]["commitment"])
    _, told = desk.look(lambda work: work.values.opened(commitment))
    assert told == "Ada Canary"
    assert forget(desk, f"customer/C-{of}").news
    assert not forget(desk, f"customer/C-{of}").news
    desk.database.compact()
    files = b"".join(path.read_bytes() for path in desk.database_files() if path.exists())
    assert b"canary" not in files.lower()
    after = desk.look(lambda work: work.history.since(0))
    assert (after[:-1], after[-2].chain) == (entries, head[1])
    assert (after[-1].kind, after[-1].move, after[-1].changes) == (
        "kit_subjects",
        "erased",
        {"subject": f"customer/C-{of}", "reason": "asked for it", "commitments": 3},
    )
    assert desk.look(lambda work: len(list(work.history.verified()))) == len(after)
    with pytest.raises(Erased):
        desk.look(lambda work: work.values.opened(commitment))
    gone = desk.look(lambda work: work.get(T, number))
    assert gone.values["subject"] is None
    assert gone.erased == {"subject", "answer"}
    with pytest.raises(Erased):
        desk.do(AGENT, lambda work: work.create(T, {"customer": f"C-{of}", "subject": "x"}))
    moved = desk.do(LEAD, lambda work: work.move(T, number, "drop"))
    assert isinstance(moved, Record)
    assert moved.state == "dropped"
    assert desk.look(lambda work: work.get(Customer.kind, kept)).values["name"] == "Bob Other"


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE kit_history SET actor = 'mallory' WHERE number = 2",
        "UPDATE kit_history SET changes = '{}' WHERE number = 1",
        "DELETE FROM kit_history WHERE number = 2",
        "UPDATE kit_history SET number = 99 WHERE number = 3",
    ],
)
def test_a_history_that_was_changed_is_found(desk: Desk, damage: str) -> None:
    """Otherwise whoever reaches the database rewrites what happened."""
    number = ticket(desk, customer(desk))
    desk.do(AGENT, lambda work: work.move(T, number, "assign", {}))
    desk.database.write_now(lambda db: db.execute(sa.text(damage)))
    with pytest.raises(StorageFault):
        desk.look(lambda work: list(work.history.verified()))


def test_pages_begin_at_a_number_and_look_up_what_is_indexed(desk: Desk) -> None:
    """Otherwise a list of a hundred thousand tickets is read whole for one page."""
    of = customer(desk)
    for place in range(5):
        ticket(desk, of, priority="high" if place % 2 else "low")

    def page(work: Work) -> list[int]:
        return [one.number for one in work.page(T, {"priority": "low"}, after=1, limit=2)]

    assert desk.look(page) == [3, 5]
    with pytest.raises(Malformed):
        desk.look(lambda work: work.page(T, {"owner": "anna"}))
