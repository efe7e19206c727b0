"""Records over JSON-RPC: what is declared is what a program can call, and what it gets back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from jsonschema import Draft7Validator

from clawpurse.modules.kit.entities.flows import Flow, Move
from clawpurse.modules.kit.entities.kinds import Entity, Line, entity
from clawpurse.modules.kit.records.methods import RecordMethods
from clawpurse.modules.kit.records.model import Actor
from clawpurse.modules.kit.records.presence import (
    RECORDS_MAX,
    SEEN_MS,
    VIEWERS_MAX,
    Presence,
)
from clawpurse.modules.kit.records.shapes import params_of
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.web.errors import CONFLICT, FORBIDDEN, INVALID_PARAMS, NOT_FOUND
from clawpurse.modules.kit.web.guard import RefusalLog
from clawpurse.modules.kit.web.jsonrpc import Context, Dispatcher, Pending
from clawpurse.modules.kit.web.openrpc import openrpc_document
from tests.modules.kit.records.desk import (
    AGENT,
    CLERK,
    FINANCE,
    KINDS,
    LEAD,
    OFFICER,
    OTHER_LEAD,
    STRANGER,
    Desk,
    forget,
)

PEOPLE = {one.subject: one for one in (AGENT, LEAD, OTHER_LEAD, FINANCE, OFFICER, CLERK, STRANGER)}


class Office:
    """The desk's methods, called as people."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

        async def actor_of(context: Context) -> Actor:
            return PEOPLE[context.client]

        def now_ms() -> int:
            desk.now_ms += 1_000
            return desk.now_ms

        records = Transactions("desk", desk.tables, KINDS, desk.database, desk.keys, now_ms)
        self.records = records
        made = RecordMethods(records, actor_of).methods()
        self.dispatcher = Dispatcher(made, log=RefusalLog())
        document = openrpc_document(made, title="t", version="1")
        shared = {"components": document["components"]}
        self.schemas = {
            one["name"]: Draft7Validator({**one["result"]["schema"], **shared})
            for one in document["methods"]
        }

    async def call(self, who: str, method: str, **params: Any) -> Any:
        """Call; the answer must fit what is published. Errors come as their object."""
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        reply: Any = self.dispatcher.answer(json.dumps(message).encode(), Context(who))
        if isinstance(reply, Pending):
            reply = await reply.run()
        answer = json.loads(bytes(reply))
        if "error" in answer:
            return answer["error"]
        problems = [error.message for error in self.schemas[method].iter_errors(answer["result"])]
        assert problems == [], (method, problems)
        return answer["result"]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """An office with an empty database."""
    desk = Desk(tmp_path / "desk.db")
    desk.make()
    yield Office(desk)
    desk.database.close()


async def opened(office: Office) -> str:
    made = await office.call("anna", "desk_createCustomer", name="Ada Canary", born="1815-12-10")
    ticket = await office.call(
        "anna", "desk_createTicket", customer=made["id"], subject="Late", priority="high"
    )
    return str(ticket["id"])


async def test_a_ticket_is_made_moved_and_told(office: Office) -> None:
    """Otherwise a service that is declared cannot be used."""
    ident = await opened(office)
    found = await office.call("anna", "desk_getTicket", id=ident)
    assert (found["state"], found["values"]["priority"], found["moves"]) == (
        "new",
        "high",
        ["assign"],
    )
    # Whoever may not is told why, and how long there is.
    seen = await office.call("sam", "desk_getTicket", id=ident)
    assert seen["moves"] == [] and "support.agent" in seen["refused"]["assign"]
    assert {one["standing"] for one in seen["clocks"]} <= {"running", "waiting"} != set()
    moved = await office.call("anna", "desk_moveTicket", id=ident, move="assign", owner="anna")
    assert (moved["state"], moved["values"]["owner"], moved["version"]) == ("open", "anna", 2)
    changed = await office.call("anna", "desk_updateTicket", id=ident, tags=["x"], version=2)
    assert changed["values"]["tags"] == ["x"]
    told = await office.call("sam", "desk_historyTicket", id=ident, limit=2)
    assert [one["move"] for one in told["entries"]] == ["created", "assign"]
    rest = await office.call("sam", "desk_historyTicket", id=ident, cursor=told["nextCursor"])
    assert ([one["move"] for one in rest["entries"]], rest["nextCursor"]) == (["updated"], None)
    assert "Late" not in json.dumps([told, rest])


async def test_refusals_say_which_kind_they_are(office: Office) -> None:
    """Otherwise a program cannot tell a missing role from a bad value or an old version."""
    ident = await opened(office)
    refused = await office.call("sam", "desk_moveTicket", id=ident, move="assign")
    assert (refused["code"], refused["data"]["why"]) == (FORBIDDEN, "role")
    refused = await office.call("anna", "desk_moveTicket", id=ident, move="resolve")
    assert (refused["code"], refused["data"]["why"]) == (CONFLICT, "state")
    refused = await office.call("anna", "desk_updateTicket", id=ident, version=9, tags=[])
    assert refused["code"] == CONFLICT
    for bad in ({"id": "T-99"}, {"id": "C-1"}, {"id": "T-0"}, {"id": "nonsense"}):
        assert (await office.call("anna", "desk_getTicket", **bad))["code"] in (
            NOT_FOUND,
            INVALID_PARAMS,
        )
    for values in ({"priority": "huge"}, {"colour": "red"}, {"subject": None}, {"tags": "x"}):
        given = {"customer": "C-1", "subject": "x", **values}
        assert (await office.call("anna", "desk_createTicket", **given))["code"] == INVALID_PARAMS


async def test_a_call_that_is_repeated_is_one_call(office: Office) -> None:
    """Otherwise a client that lost its connection makes everything twice."""
    first = await office.call("anna", "desk_createCustomer", name="A", idempotencyKey="abcdefgh")
    again = await office.call("anna", "desk_createCustomer", name="A", idempotencyKey="abcdefgh")
    assert first == again
    listed = await office.call("anna", "desk_listCustomers")
    assert [one["id"] for one in listed["records"]] == [first["id"]]


async def test_what_needs_others_waits_for_them(office: Office) -> None:
    """Otherwise an approval exists in the database only."""
    ident = await opened(office)
    await office.call("anna", "desk_moveTicket", id=ident, move="assign")
    asked = await office.call("leo", "desk_moveTicket", id=ident, move="pay_back", refund="5")
    assert (asked["status"], asked["missing"], asked["record"]) == ("open", 2, ident)
    number = asked["proposal"]
    own = await office.call("leo", "desk_approveTicket", proposal=number, approve=True)
    assert own["code"] == FORBIDDEN
    await office.call("fred", "desk_approveTicket", proposal=number, approve=True)
    seen = await office.call("sam", "desk_getTicketProposal", proposal=number)
    assert (seen["approvedBy"], seen["missing"], seen["values"]) == (["fred"], 1, {"refund": "5"})
    waiting = await office.call("sam", "desk_listTicketProposals")
    assert waiting == {"proposals": [seen], "nextCursor": None}
    done = await office.call("lena", "desk_approveTicket", proposal=number, approve=True)
    assert (done["state"], done["values"]["refund"]) == ("waiting", "5")
    assert (await office.call("sam", "desk_listTicketProposals"))["proposals"] == []


async def test_lists_are_walked_and_looked_up(office: Office) -> None:
    """Otherwise the second page holds what the first one had."""
    await opened(office)
    for number in range(6):
        await office.call(
            "anna",
            "desk_createTicket",
            customer="C-1",
            subject=f"{number}",
            priority="low" if number % 2 else "high",
        )
    seen: list[str] = []
    cursor = None
    while True:
        page = await office.call(
            "anna", "desk_listTickets", priority="high", limit=2, cursor=cursor
        )
        seen += [one["id"] for one in page["records"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert seen == ["T-1", "T-2", "T-4", "T-6"]
    none = await office.call("anna", "desk_listTickets", state="open")
    assert none == {"records": [], "nextCursor": None}
    bad = await office.call("anna", "desk_listTickets", state="nowhere")
    assert bad["code"] == INVALID_PARAMS


async def test_who_was_erased_is_shown_as_that(office: Office) -> None:
    """Otherwise a page breaks on every ticket of a person who was forgotten."""
    ident = await opened(office)
    forget(office.desk, "customer/C-1")
    found = await office.call("anna", "desk_getTicket", id=ident)
    assert found["values"]["subject"] is None
    assert found["erased"] == ["answer", "subject"]


def test_a_field_may_be_called_as_schemas_call_their_words() -> None:
    """Otherwise a module with a title cannot start, or its title is published as anything."""

    @entity("book", prefix="B")
    class Book(Entity):
        """Book"""

        title: Line
        flow: ClassVar[Flow] = Flow("new", Move("end", "new -> over"))

    published = params_of(Book.kind, "Create", ["title"]).model_json_schema()
    assert published["properties"]["title"]["type"] == "string"
    assert published["required"] == ["title"]


async def test_whoever_looks_sees_who_else_does_until_they_have_gone(office: Office) -> None:
    """Otherwise two people answer the same customer."""
    ident = await opened(office)
    assert (await office.call("anna", "desk_getTicket", id=ident, viewing=True))["viewers"] == []
    seen = await office.call("leo", "desk_getTicket", id=ident)
    assert seen["viewers"] == ["anna"]
    # A program that reads is nobody's company.
    assert (await office.call("anna", "desk_getTicket", id=ident))["viewers"] == []
    office.desk.now_ms += SEEN_MS + 1
    assert (await office.call("leo", "desk_getTicket", id=ident))["viewers"] == []


def test_presence_is_bounded() -> None:
    """Otherwise whoever looks at everything fills the memory."""
    seen = Presence()
    for number in range(RECORDS_MAX + 5):
        seen.look(("ticket", number), "anna", 0)
    for number in range(VIEWERS_MAX + 5):
        seen.look(("ticket", 2_000), f"p{number:02}", 0)
    assert seen.others(("ticket", 0), "leo", 0) == []
    assert seen.others(("ticket", RECORDS_MAX + 4), "leo", 0) == ["anna"]
    assert len(seen.others(("ticket", 2_000), "leo", 0)) == VIEWERS_MAX
