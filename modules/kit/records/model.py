"""What callers of records get and give: who acts, a record, an entry of its history, a proposal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from clawpurse.ledger.errors import CallerError, Malformed, NotFound
from clawpurse.modules.kit.entities.clocks import Change
from clawpurse.modules.kit.entities.flows import NotAllowed
from clawpurse.modules.kit.entities.kinds import INTEGER_MAX, Kind

_ID: Final = re.compile(r"([A-Z]{1,4})-([1-9][0-9]{0,18})")
SYSTEM: Final = "system"
"""Who acts when nobody does: clocks, events of the chain, retention."""


class MoveRefused(CallerError):
    """A move that the flow does not allow now. Attributes: `found` (why, in words and fields)."""

    def __init__(self, found: NotAllowed) -> None:
        super().__init__(found.sentence)
        self.found = found


class NotPermitted(CallerError):
    """The caller lacks a role. Attributes: `roles`, any of which would do. Nothing changed."""

    def __init__(self, deed: str, roles: str) -> None:
        super().__init__(f"{deed} needs the role {' or '.join(sorted(roles.split()))}.")
        self.roles = tuple(roles.split())


class Conflict(CallerError):
    """Somebody was faster, or said something else under the same key. Nothing changed."""


class ConsentMissing(Conflict):
    """A person has not agreed to that, or took it back. Attributes: `subject`, `category`."""

    def __init__(self, subject: str, category: str) -> None:
        super().__init__(f"{subject} has not agreed to {category}: nothing of it is written down.")
        self.subject = subject
        self.category = category


class Erased(NotFound):
    """What is asked for was about a person who was erased. Attributes: `subject`."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"what was known of {subject}; it was erased")
        self.subject = subject


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks. `subject` is a person or a service, `roles` what the ledger says they are.

    `origin`: by which way it came (a token's prefix, a command, the chain), for history. `system`:
    the service itself, by its own code; it needs no role, and no caller ever is that.
    """

    subject: str
    roles: frozenset[str] = frozenset()
    origin: str = ""
    system: bool = False

    def may(self, roles: str) -> bool:
        """Whether it has any of these roles, separated by spaces; everybody where none is named."""
        return self.system or not roles or bool(self.roles & set(roles.split()))


NOBODY: Final = Actor(SYSTEM, frozenset(), SYSTEM)
TIME: Final = Actor(SYSTEM, frozenset(), "time", system=True)
"""What happens because time passed: promises that were not kept, records kept long enough."""
CHAIN: Final = Actor(SYSTEM, frozenset(), "chain", system=True)
"""Handlers of events and blocks."""


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it is. `values` by field name, None where a person was erased (`erased`)."""

    kind: Kind
    number: int
    version: int
    state: str
    created_ms: int
    changed_ms: int
    since_ms: int
    archived_ms: int | None
    values: Mapping[str, Any]
    erased: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        """What people call it: T-14."""
        return f"{self.kind.prefix}-{self.number}"

    @property
    def subject(self) -> str:
        """The person that it is, where it is one."""
        return subject_name(self.kind, self.id)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a history. `changes`: open values as they are, personal ones by commitment.

    `leaf` is the entry's hash as a leaf of the audit log; `chain` covers all entries up to it.
    """

    number: int
    kind: str
    record: int
    version: int
    at_ms: int
    actor: str
    origin: str
    move: str
    state: str
    changes: Mapping[str, Any]
    leaf: bytes
    chain: bytes

    @property
    def change(self) -> Change:
        """What clocks read."""
        return Change(self.at_ms, self.move, self.state)


class ProposalStatus(StrEnum):
    """What became of a move that others must approve."""

    OPEN = "open"
    DONE = "done"
    REJECTED = "rejected"
    EXPIRED = "expired"
    STALE = "stale"
    """The record changed meanwhile: what was approved is no longer what would be done."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A move that waits for others to approve it. `missing`: how many more."""

    number: int
    kind: str
    record: int
    move: str
    asked_by: str
    asked_ms: int
    expires_ms: int
    status: ProposalStatus
    approved_by: tuple[str, ...]
    missing: int


def subject_name(kind: Kind, record_id: str) -> str:
    """Return what a person is called by whom keys are kept: customer/C-3."""
    return f"{kind.name}/{record_id}"


def parse_id(kind: Kind, text: str) -> int:
    """Return the number of a record's id. Raises `Malformed`."""
    found = _ID.fullmatch(text)
    if found is None or found[1] != kind.prefix or int(found[2]) > INTEGER_MAX:
        raise Malformed("id", f"is no {kind.name}: {kind.prefix}- and a number")
    return int(found[2])
