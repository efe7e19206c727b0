"""A small help desk: customers with personal data, tickets with a flow, approvals and clocks."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, TypeVar

from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.kit.entities.calendars import Calendar
from clawpurse.modules.kit.entities.clocks import Clock
from clawpurse.modules.kit.entities.flows import Flow, Move
from clawpurse.modules.kit.entities.kinds import (
    Access,
    Entity,
    Kind,
    Line,
    Personal,
    Prose,
    Ref,
    Retain,
    entity,
)
from clawpurse.modules.kit.privacy.sealing import KeyRing, MasterKey
from clawpurse.modules.kit.records.model import Actor
from clawpurse.modules.kit.records.persons import Erasure, erase_person
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.service.declaration import Service, Settings, rpc
from clawpurse.modules.kit.store.database import Database
from clawpurse.modules.kit.store.tables import Tables, tables_of
from clawpurse.modules.kit.testing.stand import unsynced
from clawpurse.modules.kit.web.jsonrpc import NoParams

HOUR_MS = 3_600_000
T = TypeVar("T")


class Priority(StrEnum):
    LOW = "low"
    HIGH = "high"


@entity("customer", prefix="C")
class Customer(Entity):
    """Customer"""

    name: Annotated[Line, Personal("contact")]
    mail: Annotated[Line | None, Personal("contact")] = None
    born: datetime.date | None = None

    flow: ClassVar[Flow] = Flow("active", Move("close", "active -> closed", role="support.lead"))


@entity("ticket", prefix="T", indexed=["priority"])
class Ticket(Entity):
    """Ticket"""

    customer: Annotated[str, Ref("customer")]
    subject: Annotated[Line, Personal("contact", of="customer")]
    priority: Priority = Priority.LOW
    tags: tuple[Line, ...] = ()
    owner: Line | None = None
    answer: Annotated[Prose | None, Personal("contact", of="customer")] = None
    refund: Line | None = None

    flow: ClassVar[Flow] = Flow(
        "new",
        Move("assign", "new open -> open", role="support.agent", sets=("owner",)),
        Move(
            "resolve",
            "open waiting -> resolved",
            role="support.agent",
            sets=("answer",),
            needs=("answer",),
        ),
        Move(
            "pay_back",
            "open -> waiting",
            role="support.lead",
            approver_role="support.lead finance",
            approvals=2,
            sets=("refund", "answer"),
            needs=("refund",),
            chain=lambda values: [RawAction("kernel.nothing", [values["refund"]])],
        ),
        Move("reopen", "resolved -> open", within_ms=14 * 24 * HOUR_MS),
        Move("drop", "* -> dropped", role="support.lead"),
    )
    clocks: ClassVar[Sequence[Clock]] = (Clock("first_reply", "assign", 4 * HOUR_MS),)
    retain: ClassVar[Retain | None] = Retain(365 * 24 * HOUR_MS, then="erase")


@entity("visit", prefix="V")
class Visit(Entity):
    """Visit"""

    customer: Annotated[str, Ref("customer")]
    urgent: bool = False
    room: Line | None = None
    needs: Annotated[Prose | None, Personal("health", of="customer", consent=True)] = None

    flow: ClassVar[Flow] = Flow(
        "asked",
        Move("plan", "asked -> planned", role="support.agent", sets=("room",)),
        Move("wait", "planned -> waiting", role="support.agent"),
        Move("go_on", "waiting -> planned", role="support.agent"),
        Move("hold", "planned -> held", role="support.agent"),
    )
    clocks: ClassVar[Sequence[Clock]] = (
        Clock("answer", "plan", lambda values: (2 if values["urgent"] else 8) * HOUR_MS),
        Clock("held", "hold", 20 * HOUR_MS, start="planned", pause="waiting", calendar="office"),
    )
    retain: ClassVar[Retain | None] = Retain(30 * 24 * HOUR_MS, then="archive")
    access: ClassVar[Access] = Access(personal={"health": "support.lead"})


class HelpDesk(Service):
    """The desk as a service."""

    name = "desk"
    entities = (Customer, Ticket, Visit)
    permissions = ("kernel.nothing",)

    def calendars(self, settings: Settings) -> Mapping[str, Calendar]:
        return CALENDARS

    @rpc("countVisits", "How many visits there are", role="support.lead")
    def count_visits(self, work: Work, params: NoParams) -> int:
        return len(work.page(Visit.kind))


KINDS = MappingProxyType({kind.name: kind for kind in (Customer.kind, Ticket.kind, Visit.kind)})
OFFICE = Calendar("Europe/Berlin", dict.fromkeys(range(5), ((9 * 60, 17 * 60),)))
CALENDARS = MappingProxyType({"office": OFFICE})
AGENT = Actor("anna", frozenset({"support.agent"}), "test")
LEAD = Actor("leo", frozenset({"support.lead"}), "test")
OTHER_LEAD = Actor("lena", frozenset({"support.lead"}), "test")
FINANCE = Actor("fred", frozenset({"finance"}), "test")
OFFICER = Actor("olga", frozenset({"desk.privacy"}), "test")
CLERK = Actor("carl", frozenset({"desk.consent"}), "test")
STRANGER = Actor("sam", frozenset(), "test")
MASTER = MasterKey(b"m" * 32)


class Desk:
    """The desk on one database. `do` runs one transaction for an actor."""

    def __init__(self, url: str | Path) -> None:
        self.tables: Tables = tables_of(KINDS.values())
        self.database = unsynced(Database(url, "desk"))
        self.keys = KeyRing(MASTER)
        self.now_ms = 1_800_000_000_000

    def database_files(self) -> list[Path]:
        """Every file that SQLite keeps."""
        folder = Path(str(self.database.engine.url.database)).parent
        return sorted(folder.iterdir())

    def make(self) -> None:
        """Create the tables."""
        self.database.write_now(self.tables.metadata.create_all)
        self.do(AGENT, lambda work: work.deadlines.declare(KINDS, CALENDARS))

    def empty(self) -> None:
        """Drop the tables."""
        self.database.write_now(self.tables.metadata.drop_all)

    def do(self, actor: Actor, work: Callable[[Work], T]) -> T:
        """Work in a transaction, a second after the one before."""
        self.now_ms += 1_000
        return self.database.write_now(lambda db: work(self.work(db, actor)))

    def look(self, work: Callable[[Work], T]) -> T:
        """Look without writing."""
        return self.database.read_now(lambda db: work(self.work(db, STRANGER)))

    def work(self, connection: Any, actor: Actor) -> Work:
        """A work within a transaction."""
        return Work(connection, "desk", self.tables, KINDS, self.keys, actor, self.now_ms)


def customer(desk: Desk, **values: Any) -> int:
    """Make a customer; return its number."""
    given = {"name": "Ada Canary", "mail": "ada@example.org", **values}
    return desk.do(AGENT, lambda work: work.create(Customer.kind, given)).number


def ticket(desk: Desk, of: int, **values: Any) -> int:
    """Make a ticket of a customer; return its number."""
    given = {"customer": f"C-{of}", "subject": "Where is my canary?", **values}
    return desk.do(AGENT, lambda work: work.create(Ticket.kind, given)).number


def forget(desk: Desk, subject: str) -> Erasure:
    """Erase a person."""
    return desk.do(OFFICER, lambda work: erase_person(work, subject, "asked for it"))


KIND: Kind = Ticket.kind
