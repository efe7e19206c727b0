"""On-chain half of the module `governance`: votes of authorities, and what a quorum decides.

Tree `governance`: see `records`. What can be decided stands in `changes`, the life of a proposal
in `proposals`. A removed authority's votes no longer count, and new ones are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from clawpurse.ledger import amendments
from clawpurse.ledger.errors import Bug, Code
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.module_api import Context, Handler, Module
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.rules import Rule
from clawpurse.modules.governance.actions import ACTIONS, OPENINGS, VOTE, WITHDRAW
from clawpurse.modules.governance.changes import OWN_ACCOUNT, Change, Kind, arguments_of
from clawpurse.modules.governance.evidence import (
    EVIDENCE_EVENTS,
    EVIDENCE_RULES,
    on_evidence,
)
from clawpurse.modules.governance.proposals import (
    DUE_CHANGE,
    DUE_EXPIRY,
    expire,
    fail,
    open_proposal,
    perform,
    require_member,
    require_open,
    vote,
    withdraw,
)
from clawpurse.modules.governance.records import (
    COUNT_KEY,
    OPEN_COUNT_KEY,
    TREE,
    Get,
    Proposal,
    Status,
    count_at,
    index_key,
    open_key,
    proposal_at,
    quota_key,
    value_at,
)

# -- actions


def _opens(kind: Kind) -> Handler:
    """Return the handler of a vote by contents: it opens the proposal if there is none."""

    def handle(context: Context, values: Sequence[Any]) -> None:
        authority, expires_ms = values[0], values[1]
        require_member(context, authority)
        change = Change(kind, arguments_of(values))
        if proposal_at(context.get, change.id(expires_ms)) is None:
            proposal = open_proposal(context, change, expires_ms, authority)
        else:
            proposal = require_open(context, change.id(expires_ms))
        vote(context, authority, proposal)

    return handle


def _vote(context: Context, values: Sequence[Any]) -> None:
    authority, proposal_id = values
    require_member(context, authority)
    vote(context, authority, require_open(context, proposal_id))


def _withdraw(context: Context, values: Sequence[Any]) -> None:
    authority, proposal_id = values
    require_member(context, authority)
    withdraw(context, authority, require_open(context, proposal_id))


def _on_due(context: Context, payload: Sequence[Any]) -> None:
    """End what found no quorum; carry out what waited for its height."""
    proposal = proposal_at(context.get, payload[1])
    if proposal is None:
        raise Bug("a proposal in the queue has no record")
    if payload[0] == DUE_EXPIRY and proposal.status == Status.OPEN:
        expire(context, proposal)
    elif payload[0] == DUE_CHANGE and proposal.status == Status.WAITING:
        problem = context.attempt(lambda: perform(context, proposal, payload[2]))
        if problem is not None:
            fail(context, proposal, problem)  # It could not even wait.


def _genesis(context: Context, genesis: Genesis) -> None:
    """Open the account in whose name drafts and waiting changes stand in the queue."""
    context.open_account(OWN_ACCOUNT)


# -- queries


def _get_of(reader: StateReader) -> Get:
    return lambda key: reader.get(TREE, key)


def get_proposal(reader: StateReader, proposal_id: bytes) -> Proposal | None:
    """Return a proposal, over or not; None if there is none of that id."""
    return proposal_at(_get_of(reader), proposal_id)


def _listed(get: Get, key: bytes) -> Proposal:
    found = proposal_at(get, value_at(get, key))
    if found is None:
        raise Bug("the index of proposals names one that has no record")
    return found


def list_open(reader: StateReader, start: int, limit: int) -> list[Proposal]:
    """Return up to `limit` proposals that are open or wait, from place `start`."""
    get = _get_of(reader)
    end = min(count_at(get, OPEN_COUNT_KEY), start + limit)
    return [_listed(get, open_key(place)) for place in range(start, end)]


def list_before(
    reader: StateReader, limit: int, before: int | None = None
) -> tuple[list[Proposal], int]:
    """Return up to `limit` proposals, over or not, newest first, and the number of the last one.

    Numbers are given once, from 0, so a page begins where the last one ended however many were
    opened in between: `before` is the number that one returned.
    """
    get = _get_of(reader)
    first = count_at(get, COUNT_KEY) if before is None else min(before, count_at(get, COUNT_KEY))
    last = max(0, first - limit)
    return [_listed(get, index_key(at)) for at in range(first - 1, last - 1, -1)], last


def list_newest(reader: StateReader, start: int, limit: int) -> list[Proposal]:
    """Return up to `limit` proposals, over or not, newest first, after `start` newer ones."""
    get = _get_of(reader)
    first = count_at(get, COUNT_KEY) - 1 - start
    return [_listed(get, index_key(at)) for at in range(first, max(-1, first - limit), -1)]


# -- invariants


def lists_hold(reader: StateReader) -> str | None:
    """Check that the lists of open proposals and their records say the same."""
    get = _get_of(reader)
    opened: dict[bytes, int] = {}
    count = count_at(get, OPEN_COUNT_KEY)
    for place, proposal in enumerate(list_open(reader, 0, count)):
        if not proposal.live or proposal.place != place:
            return f"the proposal at place {place} of the open ones is over, or elsewhere"
        if proposal.opener is not None:
            opened[proposal.opener] = opened.get(proposal.opener, 0) + 1
    for opener, number in opened.items():
        if count_at(get, quota_key(opener)) != number:
            return f"0x{opener.hex()} has {number} open proposals, its count is another"
    total = count_at(get, COUNT_KEY)
    live = sum(one.live for one in list_newest(reader, 0, total))
    return None if live == count else f"{live} proposals are open, the list has {count}"


RULES: Final = {
    "governance.notMember": Rule(
        Code.NOT_AUTHORISED,
        "The key {0:text} is no authority at height {1:number}; it has no vote.",
    ),
    "governance.unknown": Rule(Code.NOT_FOUND, "There is no proposal {0:hash}."),
    "governance.over": Rule(
        Code.DUPLICATE, "The proposal {0:hash} is {1:text} since height {2:number}."
    ),
    "governance.late": Rule(Code.EXPIRED, "The proposal {0:hash} ended at {1:time}."),
    "governance.span": Rule(
        Code.MALFORMED, "A proposal cannot end at {0:time}, only from {1:time} to {2:time}."
    ),
    "governance.openFull": Rule(
        Code.LIMIT_EXCEEDED,
        "The authority {0:text} has {1:number} open proposals, the most allowed.",
    ),
    "governance.voted": Rule(Code.DUPLICATE, "The authority {0:text} voted for {1:hash} already."),
    "governance.notVoted": Rule(Code.NOT_FOUND, "The authority {0:text} has no vote for {1:hash}."),
    "governance.isAuthority": Rule(Code.DUPLICATE, "The key {0:text} is an authority already."),
    "governance.noAuthority": Rule(Code.NOT_FOUND, "The key {0:text} is no authority."),
    "governance.lastAuthority": Rule(
        Code.POLICY_REJECTED, "The last authority cannot be removed, only replaced."
    ),
    "governance.authoritiesFull": Rule(
        Code.LIMIT_EXCEEDED, "There are {0:number} authorities, the most allowed."
    ),
    "governance.parameters": Rule(
        Code.POLICY_REJECTED, "No network can run with those parameters: {0:text}."
    ),
    "governance.notVotable": Rule(
        Code.POLICY_REJECTED,
        "No vote can set {0:text} to {1:number}, only from {2:number} to {3:number}.",
    ),
    "governance.sameParameters": Rule(Code.DUPLICATE, "The parameters have those values already."),
    "governance.roleHeld": Rule(Code.DUPLICATE, "{0:account} holds the role {1:text} already."),
    "governance.roleNotHeld": Rule(Code.NOT_FOUND, "{0:account} does not hold the role {1:text}."),
    "governance.amendmentKnown": Rule(
        Code.DUPLICATE, "The amendment {0:text} was adopted already."
    ),
    "governance.amendmentsFull": Rule(
        Code.LIMIT_EXCEEDED, "There are {0:number} amendments, the most allowed."
    ),
    "governance.amendmentSoon": Rule(
        Code.POLICY_REJECTED, "An amendment cannot be in force from {0:number}, before {1:number}."
    ),
    "governance.noAmendment": Rule(Code.NOT_FOUND, "The amendment {0:text} was never adopted."),
    "governance.amendmentActive": Rule(
        Code.POLICY_REJECTED, "The amendment {0:text} is in force; it cannot be called off."
    ),
    **EVIDENCE_RULES,
}
EVENTS: Final = {
    "governance.proposed": ("proposal", "kind", "authority", "expires"),
    "governance.voted": ("proposal", "authority", "votes", "quorum"),
    "governance.withdrawn": ("proposal", "authority", "votes"),
    "governance.waiting": ("proposal", "height"),
    "governance.passed": ("proposal", "inForce"),
    "governance.failed": ("proposal", "code", "rule"),
    "governance.expired": ("proposal", "votes"),
    **EVIDENCE_EVENTS,
}
MODULE: Final = Module(
    name=TREE,
    version=1,
    actions=ACTIONS,
    handlers={
        **{action.name: _opens(kind) for kind, action in OPENINGS.items()},
        VOTE.name: _vote,
        WITHDRAW.name: _withdraw,
    },
    on_due=_on_due,
    on_evidence=on_evidence,
    queries={
        "proposal": get_proposal,
        "open": list_open,
        "newest": list_newest,
        "amendments": amendments.adopted,
        "active": amendments.active,
    },
    invariants=(lists_hold,),
    rules=RULES,
    events=EVENTS,
    genesis=_genesis,
)
