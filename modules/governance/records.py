"""The records of the tree `governance`, and what can be read from them.

p‖id → proposal · n‖index (4) → id, in order of opening · c → how many were opened ·
o‖place (4) → id of one that is open · l → how many are open · q‖authority → how many it has
open · d‖hash of contents → id of the open draft with them · a → amendments (ledger/amendments.py) ·
E, e → evidence (evidence.py)

A proposal stays when it is over, so that what became of it can be asked and proven.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Bug
from clawpurse.modules.governance.changes import Change

TREE: Final = "governance"
RECORD_VERSION: Final = 1
COUNT_KEY: Final = b"c"
OPEN_COUNT_KEY: Final = b"l"
Get = Callable[[bytes], bytes | None]


class Status(IntEnum):
    """Where a proposal stands. WAITING: passed, and carried out when its turn comes."""

    OPEN = 0
    WAITING = 1
    PASSED = 2
    FAILED = 3
    EXPIRED = 4

    @property
    def label(self) -> str:
        """The name that users see."""
        return _LABELS[self]


_LABELS: Final = {
    Status.OPEN: "open",
    Status.WAITING: "waiting",
    Status.PASSED: "passed",
    Status.FAILED: "failed",
    Status.EXPIRED: "expired",
}


class Proposal(NamedTuple):
    """A change that authorities vote on.

    `opener` is the authority whose vote opened it (None: a draft, see `reason`). `place` is its
    place among the open ones, 0 when it is over. `votes` are authorities, ascending. `height`
    is where it came to its status; `in_force` the height from which on the change holds, and
    `rule` what refused to carry it out.
    """

    change: Change
    expires_ms: int
    opener: bytes | None
    opened_height: int
    reason: str
    status: int
    place: int
    votes: tuple[bytes, ...]
    height: int
    in_force: int
    rule: str

    @property
    def id(self) -> bytes:
        """Its 32-byte id."""
        return self.change.id(self.expires_ms)

    @property
    def live(self) -> bool:
        """Whether it is among the open ones."""
        return self.status <= Status.WAITING

    def counted(self, authorities: AuthoritySet) -> tuple[bytes, ...]:
        """Return the votes that count: those of members."""
        return tuple([key for key in self.votes if key in authorities])

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return codec.pack([RECORD_VERSION, self.change.to_wire(), *self[1:]])

    @classmethod
    def unpack(cls, data: bytes) -> Proposal:
        """Read a record that we wrote."""
        wire = _own(data, len(cls._fields) + 1)
        fields: list[Any] = wire[1:]
        fields[0], fields[7] = Change.from_wire(fields[0]), tuple(fields[7])
        return cls(*fields)


def proposal_key(proposal_id: bytes) -> bytes:
    """Return the key of a proposal."""
    return b"p" + proposal_id


def index_key(index: int) -> bytes:
    """Return the key of the id of the proposal that was opened as number `index`, from 0."""
    return b"n" + index.to_bytes(4, "big")


def open_key(place: int) -> bytes:
    """Return the key of the id at a place among the open ones."""
    return b"o" + place.to_bytes(4, "big")


def quota_key(authority: bytes) -> bytes:
    """Return the key of how many proposals of an authority are open; absent when none."""
    return b"q" + authority


def draft_key(change: Change) -> bytes:
    """Return the key of the id of the open draft of a change."""
    return b"d" + change.hash


def pack(value: Wire) -> bytes:
    """Return the bytes of a record of one value."""
    return codec.pack([RECORD_VERSION, value])


def value_at(get: Get, key: bytes) -> Any:
    """Return the value of a record of one value. Raises `Bug` if it is missing."""
    data = get(key)
    if data is None:
        raise Bug("an index of proposals has a hole")
    return _own(data, 2)[1]


def count_at(get: Get, key: bytes) -> int:
    """Return a count; 0 when there is no record."""
    return 0 if get(key) is None else codec.integer(value_at(get, key), "governance.count")


def proposal_at(get: Get, proposal_id: bytes) -> Proposal | None:
    """Return a proposal, or None if there is none of that id."""
    data = get(proposal_key(proposal_id))
    return None if data is None else Proposal.unpack(data)


def _own(data: bytes, length: int) -> list[Any]:
    wire = codec.unpack_own(data)
    if len(wire) != length or wire[0] != RECORD_VERSION:
        raise Bug("a record of governance has another format than this software writes")
    return wire
