"""Breaks: a log that was restored behind its anchor goes on, if enough officers say so.

Somebody of the log, or an officer, proposes the size and root to go on from; officers approve,
counted as people, the proposer's left out, their role asked again each time. When enough have,
the log stands at the smaller size, and the break stays visible for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from clawpurse.ledger.module_api import OFFICER_ROLE, Context
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.rfc6962 import EMPTY_ROOT
from clawpurse.modules.anchor.actions import APPROVE_BREAK, BREAK
from clawpurse.modules.anchor.records import (
    Break,
    Log,
    Proposal,
    break_key,
    last_break_at,
    log_at,
    log_key,
    proposal_at,
    proposal_key,
)

# Time for officers in other time zones and on leave; then the log has another truth by now.
SPAN_MS_MAX: Final = 14 * DAY_MS
# A log that was broken so often is no evidence of anything.
BREAKS_MAX: Final = 1_000
# Officers who approved and then lost their role count no more but are kept; their number ends.
APPROVALS_MAX: Final = 64


def require_log(context: Context, identity: bytes) -> Log:
    """Return a log, refused if there is none of that id."""
    log = log_at(context.get, identity)
    if log is None:
        raise context.refuse("anchor.unknown", identity)
    return log


def may_write(context: Context, log: Log, account: bytes) -> bool:
    """Tell whether an account may anchor a log."""
    if log.writer is not None:
        return account == log.writer
    return context.has_role(account, log.writer_role)


def propose(context: Context, values: Sequence[Any]) -> None:
    """Propose a break; an earlier proposal of the sender for this log is replaced."""
    identity, size, root, reason, expires_ms = values
    log, sender = require_log(context, identity), context.sender
    of_the_log = sender == log.owner or may_write(context, log, sender)
    if not of_the_log and not context.has_role(sender, OFFICER_ROLE):
        raise context.refuse("kernel.role", sender, OFFICER_ROLE, BREAK.name)
    if not context.time_ms < expires_ms <= context.time_ms + SPAN_MS_MAX:
        raise context.refuse("anchor.span", expires_ms, context.time_ms)
    if size >= log.size:
        raise context.refuse("anchor.notBehind", size, log.size)
    if size == 0 and root != EMPTY_ROOT:
        raise context.refuse("anchor.emptyRoot", root)
    if log.breaks >= BREAKS_MAX:
        raise context.refuse("anchor.breaksFull", log.breaks)
    number = log.proposals + 1
    proposal = Proposal(
        number, log.size, log.root, size, root, reason, expires_ms, context.height, ()
    )
    context.put(proposal_key(identity, sender), proposal.pack())
    context.put(log_key(identity), log._replace(proposals=number).pack())
    facts = identity, number, size, root, reason, expires_ms
    context.emit("anchor.breakProposed", _parties(sender, log), *facts)


def approve(context: Context, values: Sequence[Any]) -> None:
    """Approve a break that says exactly this, and carry it out when enough people have."""
    identity, proposer, number, size, root = values
    officer = context.sender
    if not context.has_role(officer, OFFICER_ROLE):
        raise context.refuse("kernel.role", officer, OFFICER_ROLE, APPROVE_BREAK.name)
    log = require_log(context, identity)
    proposal = proposal_at(context.get, identity, proposer)
    if proposal is None or (number, size, root) != (
        proposal.number,
        proposal.size,
        proposal.root,
    ):
        raise context.refuse("anchor.noProposal", proposer, number, identity)
    if context.time_ms >= proposal.expires_ms:
        raise context.refuse("anchor.late", number, proposal.expires_ms)
    last = last_break_at(context.get, identity, log)
    if not proposal.live(log, context.time_ms, last):
        raise context.refuse("anchor.moved", identity, log.size, proposal.from_size)
    people = _people(context, proposer, proposal.approvals)
    subject = context.subject_of(officer)
    if subject == context.subject_of(proposer):
        raise context.refuse("anchor.ownProposal", officer, proposer)
    if officer not in proposal.approvals:
        if subject in people:
            raise context.refuse("anchor.samePerson", officer, people[subject])
        if len(proposal.approvals) >= APPROVALS_MAX:
            raise context.refuse("anchor.approvalsFull", APPROVALS_MAX)
        approvals = tuple(sorted((*proposal.approvals, officer)))
        people[subject] = officer
        proposal = proposal._replace(approvals=approvals)
    elif len(people) < log.breakers:
        # Approving again only counts again: others may have become officers once more.
        raise context.refuse("anchor.approved", officer, number)
    context.emit(
        "anchor.breakApproved",
        tuple(sorted((officer, proposer))),
        identity,
        number,
        len(people),
        log.breakers,
    )
    if len(people) < log.breakers:
        context.put(proposal_key(identity, proposer), proposal.pack())
    else:
        _carry_out(context, identity, log, proposer, proposal, tuple(sorted(people.values())))


def _people(context: Context, proposer: bytes, approvals: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return the officers who count, each under its subject: not the proposer's."""
    own = context.subject_of(proposer)
    people: dict[bytes, bytes] = {}
    for account in approvals:
        subject = context.subject_of(account)
        if subject != own and context.has_role(account, OFFICER_ROLE):
            people.setdefault(subject, account)
    return people


def _carry_out(
    context: Context,
    identity: bytes,
    log: Log,
    proposer: bytes,
    proposal: Proposal,
    approvals: tuple[bytes, ...],
) -> None:
    """Let the log stand at the proposed size. All other proposals are void by that."""
    done = Break(
        log.size,
        log.root,
        proposal.size,
        proposal.root,
        proposal.reason,
        proposer,
        approvals,
        context.height,
        context.time_ms,
    )
    context.put(break_key(identity, log.breaks), done.pack())
    context.delete(proposal_key(identity, proposer))
    after = log._replace(
        size=proposal.size,
        root=proposal.root,
        height=context.height,
        time_ms=context.time_ms,
        breaks=log.breaks + 1,
    )
    context.put(log_key(identity), after.pack())
    told = dict.fromkeys((*_parties(proposer, log), *approvals))
    facts = identity, log.breaks + 1, log.size, proposal.size, proposal.root, proposal.reason
    context.emit("anchor.broken", tuple(sorted(told)), *facts)


def _parties(account: bytes, log: Log) -> tuple[bytes, ...]:
    """Return in whose history something about a log appears, beside the sender's."""
    return tuple(sorted(dict.fromkeys((account, log.owner))))
