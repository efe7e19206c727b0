"""The life of a proposal: opened, voted on, counted, carried out or not, over.

Only a quorum of the authorities of the block's own height carries anything out (R29): more than
half would let f Byzantine ones and a few others capture the set step by step.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from clawpurse.ledger.address import authority_text
from clawpurse.ledger.errors import Bug, Refused
from clawpurse.ledger.module_api import Context
from clawpurse.modules.governance.changes import (
    AUTHORITY_KINDS,
    KIND_NAMES,
    OWN_ACCOUNT,
    Change,
    Kind,
    carry_out,
    check,
)
from clawpurse.modules.governance.records import (
    COUNT_KEY,
    OPEN_COUNT_KEY,
    Proposal,
    Status,
    count_at,
    draft_key,
    index_key,
    open_key,
    pack,
    proposal_at,
    proposal_key,
    quota_key,
    value_at,
)

# Open proposals that one authority may have: what one person can follow, and nobody can bury
# the others' proposals under its own.
OPEN_PER_AUTHORITY_MAX: Final = 16
# Long enough to be seen and discussed; a proposal without an end would be a trap in a drawer.
SPAN_MIN_MS: Final = 60_000
SPAN_MAX_MS: Final = 30 * 86_400_000
# As long as evidence counts by default.
DRAFT_SPAN_MS: Final = 14 * 86_400_000
DRAFT_REASON_CHARS_MAX: Final = 128
# What the module's due work is about: the first item of its payload.
DUE_EXPIRY: Final = 0
DUE_CHANGE: Final = 1
_PLACE_OF_NONE: Final = 0


def require_member(context: Context, authority: bytes) -> None:
    """Refuse the vote of a key that is no authority in this block."""
    if authority not in context.authorities:
        raise context.refuse("governance.notMember", authority_text(authority), context.height)


def require_open(context: Context, proposal_id: bytes) -> Proposal:
    """Return a proposal that can be voted on."""
    proposal = proposal_at(context.get, proposal_id)
    if proposal is None:
        raise context.refuse("governance.unknown", proposal_id)
    if proposal.status != Status.OPEN:
        label = Status(proposal.status).label
        raise context.refuse("governance.over", proposal_id, label, proposal.height)
    if context.time_ms >= proposal.expires_ms:
        # The queue that ends it is capped per block, so it may come later than its time.
        raise context.refuse("governance.late", proposal_id, proposal.expires_ms)
    return proposal


def vote(context: Context, authority: bytes, proposal: Proposal) -> None:
    """Add a vote and count. A vote again only counts: the others may have left meanwhile."""
    votes = proposal.counted(context.authorities)
    again = authority in votes
    if not again:
        votes = tuple(sorted((*votes, authority)))
    proposal = proposal._replace(votes=votes)
    passes = context.authorities.quorum(len(votes))
    if again and not passes:
        raise context.refuse("governance.voted", authority_text(authority), proposal.id)
    context.put(proposal_key(proposal.id), proposal.pack())
    facts = proposal.id, authority, len(votes), context.authorities.quorum_size
    context.emit("governance.voted", (context.sender,), *facts)
    if passes:
        perform(context, proposal, context.time_ms)


def withdraw(context: Context, authority: bytes, proposal: Proposal) -> None:
    """Take a vote back. A proposal without votes stays open until its time."""
    votes = proposal.counted(context.authorities)
    if authority not in votes:
        raise context.refuse("governance.notVoted", authority_text(authority), proposal.id)
    left = tuple([key for key in votes if key != authority])
    context.put(proposal_key(proposal.id), proposal._replace(votes=left).pack())
    context.emit("governance.withdrawn", (context.sender,), proposal.id, authority, len(left))


def open_proposal(
    context: Context, change: Change, expires_ms: int, opener: bytes | None, reason: str = ""
) -> Proposal:
    """Open a proposal without votes. Raises `Refused`; the change must be one that could be made.

    An authority's place among its open ones is free again when it has passed or failed by
    votes, otherwise at its time: who opens and withdraws gains nothing.
    """
    low, high = context.time_ms + SPAN_MIN_MS, context.time_ms + SPAN_MAX_MS
    if not low <= expires_ms <= high:
        raise context.refuse("governance.span", expires_ms, low, high)
    check(context, change)
    if opener is not None:
        opened = count_at(context.get, quota_key(opener))
        if opened >= OPEN_PER_AUTHORITY_MAX:
            raise context.refuse("governance.openFull", authority_text(opener), opened)
        context.put(quota_key(opener), pack(opened + 1))
    count, place = count_at(context.get, COUNT_KEY), count_at(context.get, OPEN_COUNT_KEY)
    made = Proposal(
        change, expires_ms, opener, context.height, reason, Status.OPEN, place, (), 0, 0, ""
    )
    context.put(proposal_key(made.id), made.pack())
    context.put(index_key(count), pack(made.id))
    context.put(COUNT_KEY, pack(count + 1))
    context.put(open_key(place), pack(made.id))
    context.put(OPEN_COUNT_KEY, pack(place + 1))
    # Who opens it answers for the queue's entry too, so that nobody fills another's queue.
    creator = context.sender if opener is not None else OWN_ACCOUNT
    context.schedule(expires_ms, creator, [DUE_EXPIRY, made.id])
    kind = KIND_NAMES[Kind(change.kind)]
    context.emit("governance.proposed", (context.sender,), made.id, kind, opener, expires_ms)
    return made


def open_draft(context: Context, change: Change, reason: str) -> bytes | None:
    """Open a proposal that nobody voted for yet, for authorities to judge; returns its id.

    For work without a sender, such as evidence. Never raises `Refused`: None when the change
    could not be made (the authority has left, or is the last one); the open draft of the same
    change if there is one. `reason` is at most 128 printable ASCII characters.
    """
    if len(reason) > DRAFT_REASON_CHARS_MAX:
        raise Bug(f"the reason of a draft is {len(reason)} characters")
    if context.get(draft_key(change)) is not None:
        known: bytes = value_at(context.get, draft_key(change))
        return known
    expires_ms = context.time_ms + DRAFT_SPAN_MS
    made = change.id(expires_ms)
    if context.get(proposal_key(made)) is not None:
        return None  # An authority opened exactly this before, and it is over.

    def deed() -> None:
        open_proposal(context, change, expires_ms, None, reason)
        context.put(draft_key(change), pack(made))

    return None if context.attempt(deed) is not None else made


def perform(context: Context, proposal: Proposal, passed_ms: int) -> None:
    """Carry out what a quorum decided, or let it wait: one change of authorities a height."""
    if proposal.change.kind in AUTHORITY_KINDS and context.authorities_change:
        _wait(context, proposal, passed_ms)
        return
    in_force = [0]

    def deed() -> None:
        in_force[0] = carry_out(context, proposal.change)

    problem = context.attempt(deed)
    if problem is None:
        close(context, proposal._replace(in_force=in_force[0]), Status.PASSED)
        context.emit("governance.passed", (context.sender,), proposal.id, in_force[0])
    else:
        fail(context, proposal, problem)


def _wait(context: Context, proposal: Proposal, passed_ms: int) -> None:
    """Wait for the next block. What passed first is first in the queue, however often it waits."""
    put = partial(context.put, proposal_key(proposal.id))
    waiting = proposal._replace(status=Status.WAITING, height=context.height)
    put(waiting.pack())
    context.schedule(passed_ms, OWN_ACCOUNT, [DUE_CHANGE, proposal.id, passed_ms])
    if proposal.status == Status.OPEN:
        context.emit("governance.waiting", (context.sender,), proposal.id, context.height)


def fail(context: Context, proposal: Proposal, problem: Refused) -> None:
    """End a proposal that a quorum wanted and the ledger refuses; never silently."""
    close(context, proposal._replace(rule=problem.rule), Status.FAILED)
    code = int(problem.code)
    context.emit("governance.failed", (context.sender,), proposal.id, code, problem.rule)


def expire(context: Context, proposal: Proposal) -> None:
    """End a proposal that found no quorum in its time."""
    close(context, proposal, Status.EXPIRED)
    votes = len(proposal.counted(context.authorities))
    context.emit("governance.expired", (context.sender,), proposal.id, votes)


def close(context: Context, proposal: Proposal, status: Status) -> None:
    """Take a proposal out of the lists of open ones; its record stays."""
    last = count_at(context.get, OPEN_COUNT_KEY) - 1
    if proposal.place != last:
        moved = proposal_at(context.get, value_at(context.get, open_key(last)))
        if moved is None:
            raise Bug("an open proposal has no record")
        context.put(open_key(proposal.place), pack(moved.id))
        context.put(proposal_key(moved.id), moved._replace(place=proposal.place).pack())
    context.delete(open_key(last))
    context.put(OPEN_COUNT_KEY, pack(last))
    if proposal.opener is None:
        context.delete(draft_key(proposal.change))
    else:
        _free_quota(context, proposal.opener)
    over = proposal._replace(status=status, place=_PLACE_OF_NONE, height=context.height)
    context.put(proposal_key(proposal.id), over.pack())


def _free_quota(context: Context, opener: bytes) -> None:
    left = count_at(context.get, quota_key(opener)) - 1
    if left:
        context.put(quota_key(opener), pack(left))
    else:
        context.delete(quota_key(opener))
