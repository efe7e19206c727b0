"""On-chain half of the module `compliance`: attestations, lists, policies, and their hook.

Each part has a file: `attesting`, `lists`, `officers` and `policies` change state when people
ask; `hook` judges payments; `language` is what a policy may say. Records: `records.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Bug
from clawpurse.ledger.module_api import Context, Module
from clawpurse.ledger.overlay import StateReader
from clawpurse.modules.compliance import attesting, hook, officers, policies, queries
from clawpurse.modules.compliance.actions import (
    ACCEPT,
    ACTIONS,
    ADD_TO_LIST,
    APPROVE,
    ATTEST,
    PROPOSE,
    REJECT,
    REMOVE_FROM_LIST,
    REMOVE_ISSUER,
    REVOKE,
    SET_ISSUER,
    SET_LIST,
    SET_QUORUM,
    SET_SUBJECT,
)
from clawpurse.modules.compliance.attestations import ISSUER_COUNT_KEY, ISSUERS_MAX, level
from clawpurse.modules.compliance.lists import (
    ADDED,
    LIST_COUNT_KEY,
    LISTS_MAX,
    REMOVED,
    change_entries,
    check_entries,
    list_at,
    set_list,
)
from clawpurse.modules.compliance.policies import (
    DUE_ACTIVATE,
    DUE_EXPIRE,
    POLICIES_MAX,
    Status,
    proposal_at,
    quota_key,
    version_at,
)
from clawpurse.modules.compliance.records import TREE, count_at
from clawpurse.modules.compliance.rules import EVENTS, RULES

# -- actions


def _set_issuer(context: Context, values: Sequence[Any]) -> None:
    issuer, topics = values
    attesting.set_issuer(context, issuer, topics, SET_ISSUER.name)


def _remove_issuer(context: Context, values: Sequence[Any]) -> None:
    issuer, reason = values
    attesting.remove_issuer(context, issuer, reason, REMOVE_ISSUER.name)


def _accept(context: Context, values: Sequence[Any]) -> None:
    attesting.accept(context, *values)


def _set_subject(context: Context, values: Sequence[Any]) -> None:
    account, subject, reason = values
    attesting.set_subject(context, account, subject, reason, SET_SUBJECT.name)


def _set_quorum(context: Context, values: Sequence[Any]) -> None:
    needed, delay_ms = values
    officers.set_quorum(context, needed, delay_ms, SET_QUORUM.name)


def _propose(context: Context, values: Sequence[Any]) -> None:
    policies.propose(context, values, PROPOSE.name)


def _approve(context: Context, values: Sequence[Any]) -> None:
    policies.approve(context, values[0], APPROVE.name)


def _reject(context: Context, values: Sequence[Any]) -> None:
    policy_id, reason = values
    policies.reject(context, policy_id, reason, REJECT.name)


def _set_list(context: Context, values: Sequence[Any]) -> None:
    name, title, needed = values
    officers.require_officer(context, SET_LIST.name)
    found = list_at(context.get, name)
    if found is not None and (found.title, found.officers) == (title, needed):
        raise context.refuse("compliance.sameList", name)
    if found is None and count_at(context.get, LIST_COUNT_KEY) >= LISTS_MAX:
        raise context.refuse("compliance.listsFull", LISTS_MAX)
    there = officers.officer_count(context)
    if needed > there:
        raise context.refuse("compliance.tooFewOfficers", needed, there)
    if officers.agree(context, SET_LIST.name, values, officers.quorum(context).needed):
        set_list(context, name, title, needed)
        context.emit("compliance.listSet", (context.sender,), name, title, needed)


def _add_to_list(context: Context, values: Sequence[Any]) -> None:
    _change_list(context, values, ADDED, ADD_TO_LIST.name)


def _remove_from_list(context: Context, values: Sequence[Any]) -> None:
    _change_list(context, values, REMOVED, REMOVE_FROM_LIST.name)


def _change_list(context: Context, values: Sequence[Any], added: int, action: str) -> None:
    name, entries, reason = values
    officers.require_officer(context, action)
    found = check_entries(context, name, entries, added)
    # The reason is the last one's; what is agreed on are the entries.
    if officers.agree(context, action, [name, list(entries)], found.officers):
        version = change_entries(context, name, entries, added, reason)
        data = (name, version, added, len(entries), reason)
        context.emit("compliance.listChanged", (context.sender, *entries), *data)


# -- due work


def _on_due(context: Context, payload: Sequence[Wire]) -> None:
    work: Any = _DUES.get(payload[0])
    if work is None:
        raise Bug(f"compliance has no due work {payload[0]!r}")
    work(context, payload[1])


_DUES: Final[Any] = {
    officers.DUE_BALLOT: officers.forget_ballot,
    DUE_EXPIRE: policies.expire,
    DUE_ACTIVATE: policies.activate,
}


# -- invariants


def lists_hold(reader: StateReader) -> str | None:
    """Check that counts and what they count say the same: issuers and lists with entries."""
    get = queries.get_of(reader)
    issuers = queries.list_issuers(reader, ISSUERS_MAX + 1)
    if len(issuers) != count_at(get, ISSUER_COUNT_KEY):
        return f"{len(issuers)} issuers are there, their count is another"
    lists = queries.list_lists(reader, LISTS_MAX + 1)
    if len(lists) != count_at(get, LIST_COUNT_KEY):
        return f"{len(lists)} lists are there, their count is another"
    for name, found in lists:
        entries = queries.list_entries(reader, name, found.entries + 1)
        if len(entries) != found.entries:
            return f"the list {name} has {len(entries)} entries or more, its count is another"
        if any(queries.get_change(reader, name, since) is None for _, since in entries):
            return f"an entry of the list {name} is in it since a version that it never had"
    return None


def policies_hold(reader: StateReader) -> str | None:
    """Check that heads, versions, open proposals and what is in force say the same."""
    get = queries.get_of(reader)
    heads = queries.list_policies(reader)
    for standing in queries.list_governing(reader):
        head = next((one for one in heads if one.name == standing.name), None)
        if head is None or (head.active, head.asset) != (standing.version, standing.asset):
            return f"the policy {standing.name} is in force in a version that is not the active one"
        if not queries.get_rules(reader, standing.id):
            return f"the policy {standing.name} is in force without rules"
    for head in heads:
        for version in range(1, head.newest + 1):
            record = version_at(get, head.name, version)
            if record is None or proposal_at(get, record.id) is None:
                return f"version {version} of the policy {head.name} is not there"
    opened: dict[bytes, int] = {}
    for _, proposal in queries.list_proposals(reader, 16 * POLICIES_MAX):
        if proposal.status > Status.WAITING:
            return f"proposal {proposal.number} is over and stands among the open ones"
        if proposal.status == Status.OPEN:
            opened[proposal.by] = opened.get(proposal.by, 0) + 1
    for officer, number in opened.items():
        if count_at(get, quota_key(officer)) != number:
            return f"0x{officer.hex()} has {number} open proposals, its count is another"
    return None


MODULE: Final = Module(
    name=TREE,
    version=1,
    actions=ACTIONS,
    handlers={
        SET_ISSUER.name: _set_issuer,
        REMOVE_ISSUER.name: _remove_issuer,
        ATTEST.name: attesting.attest,
        ACCEPT.name: _accept,
        REVOKE.name: attesting.revoke,
        SET_SUBJECT.name: _set_subject,
        SET_QUORUM.name: _set_quorum,
        PROPOSE.name: _propose,
        APPROVE.name: _approve,
        REJECT.name: _reject,
        SET_LIST.name: _set_list,
        ADD_TO_LIST.name: _add_to_list,
        REMOVE_FROM_LIST.name: _remove_from_list,
    },
    on_transfer=hook.on_transfer,
    on_due=_on_due,
    on_hold_end=hook.on_hold_end,
    queries={
        "level": level,
        "attestations": queries.list_attestations,
        "issuer": queries.get_issuer,
        "issuers": queries.list_issuers,
        "list": queries.get_list,
        "lists": queries.list_lists,
        "entries": queries.list_entries,
        "listed": queries.is_listed,
        "change": queries.get_change,
        "quorum": queries.get_quorum,
        "ballots": queries.list_ballots,
        "policies": queries.list_policies,
        "version": queries.get_version,
        "rules": queries.get_rules,
        "proposal": queries.get_proposal,
        "proposals": queries.list_proposals,
        "governing": queries.list_governing,
        "end": queries.get_end,
        "subject": queries.subject_at,
    },
    invariants=(lists_hold, policies_hold),
    rules=RULES,
    events=EVENTS,
)
