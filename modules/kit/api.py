"""What the author of a module imports, in one place: declarations, work, events, methods.

`docs/how-to/write-a-module.md` shows each of them in use.
"""

from __future__ import annotations

from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.kit.entities.calendars import Calendar, calendar_of
from clawpurse.modules.kit.entities.clocks import Clock
from clawpurse.modules.kit.entities.flows import Flow, Move
from clawpurse.modules.kit.entities.kinds import (
    Access,
    Entity,
    Line,
    Personal,
    Prose,
    Ref,
    Retain,
    Whole,
    entity,
)
from clawpurse.modules.kit.records.model import Actor, Record
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.service.declaration import (
    ChainEvent,
    Head,
    Host,
    Sent,
    Service,
    Settings,
    every,
    on,
    rpc,
)
from clawpurse.modules.kit.store.migrations import Step
from clawpurse.modules.kit.web.jsonrpc import Method, NoParams, Params

__all__ = [
    "Access",
    "Actor",
    "Calendar",
    "ChainEvent",
    "Clock",
    "Entity",
    "Flow",
    "Head",
    "Host",
    "Line",
    "Method",
    "Move",
    "NoParams",
    "Params",
    "Personal",
    "Prose",
    "RawAction",
    "Record",
    "Ref",
    "Retain",
    "Sent",
    "Service",
    "Settings",
    "Step",
    "Whole",
    "Work",
    "account_from_text",
    "account_text",
    "calendar_of",
    "entity",
    "every",
    "on",
    "rpc",
]
