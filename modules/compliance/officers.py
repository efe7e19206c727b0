"""Officers: how many people must agree before something about everybody's payments changes.

An officer agrees by saying the same thing: the action that the last of them sends is the one
that is carried out. People count, not accounts: two accounts of one subject are one officer.

Until officers set another number, two of them must agree, or one while there is but one.

q → quorum · xb‖digest → what officers have begun to agree on
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.crypto import message_hash_of
from clawpurse.ledger.module_api import OFFICER_ROLE, Context
from clawpurse.ledger.params import DAY_MS
from clawpurse.modules.compliance.records import own, pack

QUORUM_KEY: Final = b"q"
BALLOT_PREFIX: Final = b"xb"
# What nobody joined for so long was not meant.
BALLOT_MS: Final = 7 * DAY_MS
# Officers who are looked at when they are counted: more than a network has, few enough to read.
COUNTED_MAX: Final = 64
# Time in which a payment that was checked under the old policy becomes final, and in which
# everybody can see what is coming; officers set a longer one.
DELAY_MS_DEFAULT: Final = 10_000
DELAY_MS_MAX: Final = 90 * DAY_MS
_NEEDED_DEFAULT: Final = 2
DUE_BALLOT: Final = "ballot"


class Quorum(NamedTuple):
    """How many officers must agree, and how long a policy waits at least before it is in force."""

    needed: int
    delay_ms: int


class Ballot(NamedTuple):
    """What officers have begun to agree on: an action and its fields, and who said it so far."""

    action: str
    fields: list[Wire]
    opened_by: bytes
    expires_ms: int
    due: bytes
    voters: tuple[bytes, ...]

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Ballot:
        """Read a record that we wrote."""
        action, fields, by, expires_ms, due, voters = own(data, 6)
        return cls(action, fields, by, expires_ms, due, tuple(voters))


def require_officer(context: Context, action: str) -> None:
    """Refuse who is no officer."""
    if not context.has_role(context.sender, OFFICER_ROLE):
        raise context.refuse("kernel.role", context.sender, OFFICER_ROLE, action)


def people(context: Context, voters: Sequence[bytes]) -> int:
    """Return how many people these are who hold the officers' role now."""
    subjects = [context.subject_of(one) for one in voters if context.has_role(one, OFFICER_ROLE)]
    return len(dict.fromkeys(subjects))


def officer_count(context: Context) -> int:
    """Return how many people are officers now; of very many, no more than `COUNTED_MAX`."""
    holders: list[bytes] = context.query("roles.holders", OFFICER_ROLE, 0, COUNTED_MAX)
    return people(context, holders)


def quorum(context: Context) -> Quorum:
    """Return how many officers must agree now, and for how long policies wait."""
    data = context.get(QUORUM_KEY)
    if data is not None:
        return Quorum(*own(data, 2))
    return Quorum(max(1, min(_NEEDED_DEFAULT, officer_count(context))), DELAY_MS_DEFAULT)


def set_quorum(context: Context, needed: int, delay_ms: int, action: str) -> None:
    """Change how many must agree, if that many do now; more than there are is refused."""
    require_officer(context, action)
    there = officer_count(context)
    if needed > there:
        raise context.refuse("compliance.tooFewOfficers", needed, there)
    if not agree(context, action, [needed, delay_ms], quorum(context).needed):
        return
    context.put(QUORUM_KEY, pack(needed, delay_ms))
    context.emit("compliance.quorumSet", (context.sender,), needed, delay_ms)


def join(context: Context, voters: tuple[bytes, ...], what: bytes) -> tuple[bytes, ...]:
    """Return the voters with the sender; refused when that adds no person."""
    sender = context.sender
    if sender in voters:
        raise context.refuse("compliance.agreed", sender, what)
    after = (*voters, sender)
    if people(context, after) == people(context, voters):
        raise context.refuse("compliance.samePerson", sender, what)
    if len(after) > COUNTED_MAX:
        raise context.refuse("compliance.votersFull", COUNTED_MAX)
    return after


def agree(context: Context, action: str, fields: Sequence[Any], needed: int) -> bool:
    """Count the sender's word; tell whether with it enough officers have said the same.

    What is not agreed on in time is forgotten.
    """
    require_officer(context, action)
    digest = message_hash_of(b"compliance ballot" + codec.pack([action, fields]))
    key = BALLOT_PREFIX + digest
    data = context.get(key)
    found = None if data is None else Ballot.unpack(data)
    if found is not None and context.time_ms >= found.expires_ms:
        # The queue that forgets it is capped per block, so it may come later than its time.
        context.cancel_due(found.expires_ms, found.due)
        found = None
    voters = join(context, () if found is None else found.voters, digest)
    count = people(context, voters)
    if count >= needed:
        if found is not None:
            context.cancel_due(found.expires_ms, found.due)
        if data is not None:
            context.delete(key)
        return True
    if found is None:
        expires_ms = context.time_ms + BALLOT_MS
        due = context.schedule(expires_ms, context.sender, [DUE_BALLOT, digest])
        found = Ballot(action, list(fields), context.sender, expires_ms, due, ())
    context.put(key, found._replace(voters=voters).pack())
    context.emit("compliance.supported", (context.sender,), action, digest, count, needed)
    return False


def forget_ballot(context: Context, digest: bytes) -> None:
    """Forget what was not agreed on in time."""
    data = context.get(BALLOT_PREFIX + digest)
    if data is not None:
        context.delete(BALLOT_PREFIX + digest)
        context.emit("compliance.ballotExpired", (), Ballot.unpack(data).action, digest)
