"""A service with a bit of everything that pages draw: choices, promises, approvals, persons."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from clawpurse.modules.kit.api import (
    Access,
    Clock,
    Entity,
    Flow,
    Line,
    Move,
    Personal,
    Prose,
    Service,
    Whole,
    entity,
)


class Priority(StrEnum):
    """How soon."""

    LOW = "low"
    HIGH = "high"


@entity("ticket", prefix="T", indexed=["title"])
class Ticket(Entity):
    """Ticket"""

    title: Line
    priority: Priority = Priority.LOW
    pieces: Whole | None = None
    contact: Annotated[Prose | None, Personal("contact")] = None
    outcome: Line | None = None

    flow: ClassVar[Flow] = Flow(
        "new",
        Move("take", "new -> open"),
        Move("resolve", "open -> resolved", needs=("outcome",), sets=("outcome",)),
        Move(
            "refund",
            "new open -> refunded",
            role="counter.clerk",
            approvals=1,
            approver_role="counter.lead",
        ),
        Move("scrap", "new open -> scrapped", role="counter.boss"),
    )
    clocks: ClassVar[tuple[Clock, ...]] = (
        Clock("first_reply", stop="take refund scrap", target=3_600_000),
    )
    access: ClassVar[Access] = Access()


class Counter(Service):
    """A counter where things are asked for."""

    name = "counter"
    entities = (Ticket,)
    title = "The counter"
