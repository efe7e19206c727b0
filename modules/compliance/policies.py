"""Policies: proposed by an officer, approved by enough, in force after a delay, kept for ever.

m → heads: of each policy its scope, newest, present and coming version · p‖name‖/‖version (4) →
version · t‖id → rules · o‖id → proposal · n‖number (8), c → ids in order · xo‖number (8) → id of
one that is open or waits · y‖officer → how many it has open · g → policies in force (judging.py)
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.crypto import message_hash_of
from clawpurse.ledger.module_api import Context
from clawpurse.ledger.params import DAY_MS
from clawpurse.modules.compliance.judging import (
    GOVERNING_KEY,
    Standing,
    governing_at,
    pack_governing,
    rules_key,
)
from clawpurse.modules.compliance.language import (
    COST_MAX,
    POLICY_NAME_CHARS_MAX,
    Rule,
    asks_counterparty,
    asks_risk,
    cost_of,
    counters_of,
    lists_of,
    pack_rules,
    read_rules,
    require_sound,
    unpack_rules,
)
from clawpurse.modules.compliance.lists import list_at
from clawpurse.modules.compliance.officers import join, people, quorum, require_officer
from clawpurse.modules.compliance.records import Get, count_at, own, pack

HEADS_KEY: Final = b"m"
COUNT_KEY: Final = b"c"
OPEN_PREFIX: Final = b"xo"
# Names of policies, ever: those in force stand in one record that every payment reads.
POLICIES_MAX: Final = 64
# Proposals of one officer that are open: each may be 60 KB of rules.
OPEN_PER_OFFICER_MAX: Final = 8
PROPOSAL_MS: Final = 30 * DAY_MS
DUE_EXPIRE: Final = "expire"
DUE_ACTIVATE: Final = "activate"


class Status(IntEnum):
    """Where a proposal stands. WAITING: approved, in force when its delay is over."""

    OPEN = 0
    WAITING = 1
    ACTIVE = 2
    REJECTED = 3
    EXPIRED = 4


STATUS_NAMES: Final = {
    Status.OPEN: "open",
    Status.WAITING: "waiting",
    Status.ACTIVE: "active",
    Status.REJECTED: "rejected",
    Status.EXPIRED: "expired",
}


class Proposal(NamedTuple):
    """A version of a policy that officers decide on. `asset` is empty for all assets.

    `ends_ms` is when it expires, or, once approved, when it comes into force; `due` is the due
    work for that. `version` is 0 until it is approved. `height` is where it came to its status.
    """

    number: int
    policy: str
    asset: str
    meaning: str
    delay_ms: int
    by: bytes
    opened_height: int
    opened_ms: int
    ends_ms: int
    due: bytes
    status: int
    height: int
    version: int
    cost: int
    reason: str
    voters: tuple[bytes, ...]
    against: tuple[bytes, ...]

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Proposal:
        """Read a record that we wrote."""
        found = cls(*own(data, len(cls._fields)))
        return found._replace(voters=tuple(found.voters), against=tuple(found.against))


class Head(NamedTuple):
    """A policy's versions: the newest that was approved, the one in force, the one that waits."""

    name: str
    asset: str
    newest: int
    active: int
    waiting: int
    cost_active: int
    cost_waiting: int


class Version(NamedTuple):
    """One approved version. Heights are 0 for what has not happened: never in force, not ended."""

    id: bytes
    approved_height: int
    approved_ms: int
    active_ms: int
    active_height: int
    ended_height: int
    approved_by: tuple[bytes, ...]

    def pack(self) -> bytes:
        """Return the record's bytes."""
        return pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Version:
        """Read a record that we wrote."""
        found = cls(*own(data, len(cls._fields)))
        return found._replace(approved_by=tuple(found.approved_by))


def proposal_key(policy_id: bytes) -> bytes:
    """Return the key of a proposal."""
    return b"o" + policy_id


def number_key(number: int) -> bytes:
    """Return the key of the id of the proposal of a number, from 1."""
    return b"n" + number.to_bytes(8, "big")


def open_key(number: int) -> bytes:
    """Return the key that lists a proposal while it is open or waits."""
    return OPEN_PREFIX + number.to_bytes(8, "big")


def version_key(name: str, version: int) -> bytes:
    """Return the key of a version of a policy."""
    return b"p" + name.encode("ascii") + b"/" + version.to_bytes(4, "big")


def quota_key(officer: bytes) -> bytes:
    """Return the key of how many proposals of an officer are open."""
    return b"y" + officer


def heads_at(get: Get) -> tuple[Head, ...]:
    """Return all policies, whatever became of them, by name."""
    data = get(HEADS_KEY)
    return () if data is None else tuple([Head(*one) for one in own(data, 1)[0]])


def head_at(get: Get, name: str) -> Head | None:
    """Return a policy, None if none of that name was ever approved."""
    return next((head for head in heads_at(get) if head.name == name), None)


def proposal_at(get: Get, policy_id: bytes) -> Proposal | None:
    """Return a proposal, whatever became of it; None if there is none of that id."""
    data = get(proposal_key(policy_id))
    return None if data is None else Proposal.unpack(data)


def version_at(get: Get, name: str, version: int) -> Version | None:
    """Return a version of a policy, None if it was never approved."""
    data = get(version_key(name, version))
    return None if data is None else Version.unpack(data)


def kept_rules(get: Get, policy_id: bytes) -> tuple[Rule, ...]:
    """Return the rules of a proposal or version; () once a rejected one's were dropped."""
    data = get(rules_key(policy_id))
    return () if data is None else unpack_rules(own(data, 1)[0])


# -- proposing


def propose(context: Context, values: Sequence[Any], action: str) -> None:
    """Propose a version of a policy; the proposer is the first who approves it."""
    name, asset, meaning, delay_ms, wire = values
    require_officer(context, action)
    get = context.get
    if len(name) > POLICY_NAME_CHARS_MAX or "." in name:
        raise context.refuse("compliance.policyName", name, POLICY_NAME_CHARS_MAX)
    if asset is not None and context.query("assets.get", asset) is None:
        raise context.refuse("kernel.asset", asset)
    rules = require_sound(context, read_rules(wire, asset))
    scope = asset or ""
    _require_known(context, rules)
    _require_scope(context, name, scope)
    cost = cost_of(rules) if rules else 0
    _require_room(context, heads_at(get), name, scope, cost)
    held = count_at(get, quota_key(context.sender))
    if held >= OPEN_PER_OFFICER_MAX:
        raise context.refuse("compliance.openFull", context.sender, OPEN_PER_OFFICER_MAX)
    least = quorum(context).delay_ms
    if delay_ms < least:
        raise context.refuse("compliance.delay", delay_ms, least)
    number = count_at(get, COUNT_KEY) + 1
    packed = pack_rules(rules)
    policy_id = _id_of([number, name, scope, meaning, delay_ms, packed])
    ends_ms = context.time_ms + PROPOSAL_MS
    due = context.schedule(ends_ms, context.sender, [DUE_EXPIRE, policy_id])
    proposal = Proposal(
        number,
        name,
        scope,
        meaning,
        delay_ms,
        context.sender,
        context.height,
        context.time_ms,
        ends_ms,
        due,
        Status.OPEN,
        context.height,
        0,
        cost,
        "",
        (),
        (),
    )
    context.put(COUNT_KEY, pack(number))
    context.put(number_key(number), pack(policy_id))
    context.put(open_key(number), pack(policy_id))
    context.put(quota_key(context.sender), pack(held + 1))
    context.put(rules_key(policy_id), pack(packed))
    data = (policy_id, number, name, asset)
    context.emit("compliance.policyProposed", (context.sender,), *data)
    _approved(context, policy_id, proposal)


def _id_of(contents: list[Wire]) -> bytes:
    """Return the id of a proposal, which binds whoever approves it to every word of it."""
    return message_hash_of(b"compliance policy" + codec.pack(contents))


def _require_known(context: Context, rules: Sequence[Rule]) -> None:
    """Refuse lists that are not there, and scores on a chain that has none."""
    for name in lists_of(rules):
        if list_at(context.get, name) is None:
            raise context.refuse("compliance.unknownList", name)
    if asks_risk(rules) and not context.answers("risk.score"):
        raise context.refuse("compliance.noRisk")


def _require_scope(context: Context, name: str, scope: str) -> None:
    """A policy keeps its scope, so that its versions can be compared."""
    heads = heads_at(context.get)
    head = next((one for one in heads if one.name == name), None)
    if head is not None and head.asset != scope:
        raise context.refuse("compliance.scope", name, head.asset or "all")
    if head is None and len(heads) >= POLICIES_MAX:
        raise context.refuse("compliance.policiesFull", POLICIES_MAX)


def _require_room(
    context: Context, heads: Sequence[Head], name: str, scope: str, cost: int
) -> None:
    """Refuse what would make judging a payment too expensive, beside what is there and coming."""
    sums: dict[str, int] = {"": 0, scope: 0}
    sums[scope] += cost
    for head in heads:
        if head.name != name:
            reserved = max(head.cost_active, head.cost_waiting)
            sums[head.asset] = sums.get(head.asset, 0) + reserved
    everywhere = sums.pop("")
    total = everywhere + max(sums.values(), default=0)
    if total > COST_MAX:
        raise context.refuse("compliance.policyCost", total, COST_MAX)


# -- deciding


def approve(context: Context, policy_id: bytes, action: str) -> None:
    """Count an officer's approval; with enough of them the version waits for its time."""
    require_officer(context, action)
    proposal = _undecided(context, policy_id)
    if proposal.status != Status.OPEN:
        raise _over(context, policy_id, proposal)
    against = tuple([one for one in proposal.against if one != context.sender])
    _approved(context, policy_id, proposal._replace(against=against))


def _approved(context: Context, policy_id: bytes, proposal: Proposal) -> None:
    voters = join(context, proposal.voters, policy_id)
    proposal = proposal._replace(voters=voters)
    wanted = quorum(context)
    count = people(context, voters)
    context.emit("compliance.policyApproved", (context.sender,), policy_id, count, wanted.needed)
    if count >= wanted.needed:
        proposal = _schedule_version(context, policy_id, proposal, wanted.delay_ms)
    context.put(proposal_key(policy_id), proposal.pack())


def _schedule_version(
    context: Context, policy_id: bytes, proposal: Proposal, least_ms: int
) -> Proposal:
    """Give an approved proposal its version and its time."""
    heads, name = list(heads_at(context.get)), proposal.policy
    head = next((one for one in heads if one.name == name), None)
    if head is None:
        _require_scope(context, name, proposal.asset)
        head = Head(name, proposal.asset, 0, 0, 0, 0, 0)
    else:
        heads.remove(head)
    if head.asset != proposal.asset:
        raise context.refuse("compliance.scope", name, head.asset or "all")
    if head.waiting:
        raise context.refuse("compliance.waiting", name, head.waiting)
    _require_room(context, heads, name, proposal.asset, proposal.cost)
    version = head.newest + 1
    heads.append(head._replace(newest=version, waiting=version, cost_waiting=proposal.cost))
    _put_heads(context, heads)
    active_ms = context.time_ms + max(proposal.delay_ms, least_ms)
    context.cancel_due(proposal.ends_ms, proposal.due)
    due = context.schedule(active_ms, context.sender, [DUE_ACTIVATE, policy_id])
    record = Version(policy_id, context.height, context.time_ms, active_ms, 0, 0, proposal.voters)
    context.put(version_key(name, version), record.pack())
    _free_quota(context, proposal.by)
    context.emit("compliance.policyWaiting", (context.sender,), policy_id, name, version, active_ms)
    return proposal._replace(
        status=Status.WAITING, height=context.height, version=version, ends_ms=active_ms, due=due
    )


def reject(context: Context, policy_id: bytes, reason: str, action: str) -> None:
    """Count an officer against a proposal, also one that waits; its proposer alone withdraws it.

    As many as approve a policy reject it.
    """
    require_officer(context, action)
    proposal = _undecided(context, policy_id)
    voters = tuple([one for one in proposal.voters if one != context.sender])
    against = join(context, proposal.against, policy_id)
    count, needed = people(context, against), quorum(context).needed
    context.emit("compliance.policyOpposed", (context.sender,), policy_id, count, needed)
    withdrawn = proposal.status == Status.OPEN and context.sender == proposal.by
    if proposal.status == Status.OPEN:
        proposal = proposal._replace(voters=voters)
    proposal = proposal._replace(against=against)
    if withdrawn or count >= needed:
        context.cancel_due(proposal.ends_ms, proposal.due)
        proposal = _closed(context, policy_id, proposal, Status.REJECTED, reason)
    context.put(proposal_key(policy_id), proposal.pack())


def _closed(
    context: Context, policy_id: bytes, proposal: Proposal, status: Status, reason: str
) -> Proposal:
    """End a proposal that does not come into force."""
    context.delete(open_key(proposal.number))
    if proposal.status == Status.WAITING:
        name, version = proposal.policy, proposal.version
        record = version_at(context.get, name, version)
        if record is not None:
            ended = record._replace(ended_height=context.height)
            context.put(version_key(name, version), ended.pack())
        heads = [
            one._replace(waiting=0, cost_waiting=0) if one.name == name else one
            for one in heads_at(context.get)
        ]
        _put_heads(context, heads)
    else:
        context.delete(rules_key(policy_id))
        _free_quota(context, proposal.by)
    accounts = (proposal.by,) if status == Status.EXPIRED else (context.sender, proposal.by)
    context.emit("compliance.policyClosed", accounts, policy_id, int(status), reason)
    return proposal._replace(status=status, height=context.height, reason=reason)


def _undecided(context: Context, policy_id: bytes) -> Proposal:
    proposal = proposal_at(context.get, policy_id)
    if proposal is None:
        raise context.refuse("compliance.noProposal", policy_id)
    late = proposal.status == Status.OPEN and context.time_ms >= proposal.ends_ms
    if proposal.status > Status.WAITING or late:
        raise _over(context, policy_id, proposal)
    return proposal


def _over(context: Context, policy_id: bytes, proposal: Proposal) -> Exception:
    word = STATUS_NAMES[Status(proposal.status)]
    if proposal.status == Status.OPEN:
        word = STATUS_NAMES[Status.EXPIRED]
    return context.refuse("compliance.decided", policy_id, word, proposal.height)


def _free_quota(context: Context, officer: bytes) -> None:
    left = count_at(context.get, quota_key(officer)) - 1
    if left:
        context.put(quota_key(officer), pack(left))
    else:
        context.delete(quota_key(officer))


def _put_heads(context: Context, heads: Sequence[Head]) -> None:
    context.put(HEADS_KEY, pack(sorted(heads)))


# -- due work


def expire(context: Context, policy_id: bytes) -> None:
    """End a proposal that was not decided in time."""
    proposal = proposal_at(context.get, policy_id)
    if proposal is not None and proposal.status == Status.OPEN:
        closed = _closed(context, policy_id, proposal, Status.EXPIRED, "")
        context.put(proposal_key(policy_id), closed.pack())


def activate(context: Context, policy_id: bytes) -> None:
    """Let an approved version be in force from this block on, in place of the one before."""
    proposal = proposal_at(context.get, policy_id)
    if proposal is None or proposal.status != Status.WAITING:
        return
    get, name, version = context.get, proposal.policy, proposal.version
    heads = list(heads_at(get))
    head = next(one for one in heads if one.name == name)
    heads.remove(head)
    before = version_at(get, name, head.active) if head.active else None
    if before is not None:
        ended = before._replace(ended_height=context.height)
        context.put(version_key(name, head.active), ended.pack())
    record = version_at(get, name, version)
    if record is not None:
        started = record._replace(active_height=context.height)
        context.put(version_key(name, version), started.pack())
    changed = head._replace(active=version, waiting=0, cost_active=proposal.cost, cost_waiting=0)
    _put_heads(context, [*heads, changed])
    _govern(context, policy_id, proposal)
    context.delete(open_key(proposal.number))
    done = proposal._replace(status=Status.ACTIVE, height=context.height)
    context.put(proposal_key(policy_id), done.pack())
    context.emit("compliance.policyActive", (proposal.by,), policy_id, name, version)


def _govern(context: Context, policy_id: bytes, proposal: Proposal) -> None:
    """Put a version among the policies in force; one without rules only takes the place."""
    standing = list(governing_at(context.get))
    # What is counted for an asset already goes on being counted: no gap, the same beginning.
    since = {
        (one.asset, side, window_ms): since_ms
        for one in standing
        for side, window_ms, since_ms in one.counters
    }
    kept = [one for one in standing if one.name != proposal.policy]
    rules = kept_rules(context.get, policy_id)
    if rules:
        asset = proposal.asset
        counters = tuple(
            [
                (side, window, since.get((asset, side, window), context.time_ms))
                for side, window in counters_of(rules)
            ]
        )
        pairs = int(asks_counterparty(rules))
        kept.append(Standing(asset, proposal.policy, proposal.version, policy_id, counters, pairs))
    if kept:
        context.put(GOVERNING_KEY, pack_governing(kept))
    elif context.get(GOVERNING_KEY) is not None:
        context.delete(GOVERNING_KEY)
