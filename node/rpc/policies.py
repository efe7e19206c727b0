"""How policies look in JSON-RPC: each rule by names, in words, and what it says of a payment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from clawpurse.ledger.address import account_text
from clawpurse.ledger.module_api import VerdictKind
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.rules import time_text
from clawpurse.modules.compliance import queries
from clawpurse.modules.compliance.language import (
    KIND_NAMES,
    SHAPES,
    SIDE_NAMES,
    VERDICT_NAMES,
    Kind,
    Side,
)
from clawpurse.modules.compliance.officers import Ballot
from clawpurse.modules.compliance.policies import STATUS_NAMES, Head, Proposal, Status
from clawpurse.modules.compliance.queries import Report
from clawpurse.modules.compliance.words import condition_words, rule_words
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import hex_of
from clawpurse.wallet.amounts import amount_text

Json = dict[str, Any]
Show = Callable[[int], str]


def shows(services: Services, asset: str) -> Show:
    """Return how amounts of an asset read; of all assets, as minor units."""
    decimals = services.decimals_of(asset) if asset else None
    if decimals is None:
        return lambda amount: f"{amount} minor units"
    return lambda amount: amount_text(amount, decimals, asset)


def condition_json(condition: Sequence[Any], show: Show) -> Json:
    """Return a condition, as state keeps it: what it takes by name, and in words."""
    kind, side, name, number, window_ms = condition
    shape = SHAPES[Kind(kind)]
    found: Json = {"condition": KIND_NAMES[Kind(kind)]}
    if side:
        found["side"] = SIDE_NAMES[Side(side)]
    if shape.named:
        found["name"] = name
    if shape.high:
        # Amounts are strings everywhere; levels, counts and scores are small.
        found["number"] = str(number) if shape.per_asset else number
    if shape.windowed:
        found["windowMs"] = window_ms
    return {**found, "words": condition_words(condition, show)}


def rule_json(rule: Sequence[Any], show: Show) -> Json:
    """Return a rule, as state keeps it."""
    name, verdict, code, needed, officers, expires_ms, release, conditions = rule
    found: Json = {"rule": name, "verdict": VERDICT_NAMES[VerdictKind(verdict)]}
    if code:
        found["code"] = code
    if verdict == VerdictKind.HOLD:
        found.update(needed=needed, officers=officers, expiresMs=expires_ms)
        found["atExpiry"] = "release" if release else "return"
    return {
        **found,
        "conditions": [condition_json(condition, show) for condition in conditions],
        "words": rule_words(rule, show),
    }


def version_json(services: Services, reader: StateReader, head: Head, version: int) -> Json | None:
    """Return a version of a policy with its rules; None if there is none of that number."""
    record = queries.get_version(reader, head.name, version)
    if record is None:
        return None
    proposal = queries.get_proposal(reader, record.id)
    show = shows(services, head.asset)
    return {
        "policy": head.name,
        "version": version,
        "asset": head.asset or None,
        "meaning": "" if proposal is None else proposal.meaning,
        "state": _state_of(head, version, record.active_height),
        "proposal": hex_of(record.id),
        "approvedBy": [account_text(one) for one in record.approved_by],
        "approvedHeight": record.approved_height,
        "approvedTime": time_text(record.approved_ms),
        "activeFrom": time_text(record.active_ms),
        "activeHeight": record.active_height or None,
        "endedHeight": record.ended_height or None,
        "rules": [rule_json(rule, show) for rule in queries.get_rules(reader, record.id)],
    }


def _state_of(head: Head, version: int, active_height: int) -> str:
    if version == head.active:
        return "active"
    if version == head.waiting:
        return "waiting"
    return "ended" if active_height else "never"


def proposal_json(
    services: Services, reader: StateReader, policy_id: bytes, proposal: Proposal
) -> Json:
    """Return a proposal: what it would do, who is for it and who against it."""
    show = shows(services, proposal.asset)
    rules = queries.get_rules(reader, policy_id)
    return {
        "proposal": hex_of(policy_id),
        "number": proposal.number,
        "policy": proposal.policy,
        "asset": proposal.asset or None,
        "meaning": proposal.meaning,
        "delayMs": proposal.delay_ms,
        "status": STATUS_NAMES[Status(proposal.status)],
        "version": proposal.version or None,
        "by": account_text(proposal.by),
        "openedHeight": proposal.opened_height,
        "openedTime": time_text(proposal.opened_ms),
        "ends": time_text(proposal.ends_ms),
        "approvedBy": [account_text(one) for one in proposal.voters],
        "rejectedBy": [account_text(one) for one in proposal.against],
        "reason": proposal.reason or None,
        "cost": proposal.cost,
        "rules": [rule_json(rule, show) for rule in rules],
    }


def ballot_json(digest: bytes, ballot: Ballot) -> Json:
    """Return what officers have begun to agree on."""
    return {
        "digest": hex_of(digest),
        "action": ballot.action,
        "fields": _plain(ballot.fields),
        "supportedBy": [account_text(one) for one in ballot.voters],
        "ends": time_text(ballot.expires_ms),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return hex_of(value)
    return [_plain(one) for one in value] if isinstance(value, list) else value


def report_json(services: Services, reader: StateReader, report: Report) -> Json:
    """Return what one policy says of a payment: each rule, whether it applies, and why."""
    policy, rules, outcome, asked = report
    show = shows(services, policy.asset)
    proposal = queries.get_proposal(reader, policy.id)
    judged = []
    for number, (rule, (applies, holding)) in enumerate(zip(rules, asked, strict=True)):
        shown = rule_json(rule, show)
        for condition, holds in zip(shown["conditions"], holding, strict=True):
            condition["holds"] = holds
        # Rules after the one that decides are asked for people only.
        decides = number == outcome.rule
        reached = outcome.rule is None or number <= outcome.rule
        judged.append({**shown, "applies": applies, "reached": reached, "decides": decides})
    return {
        "policy": policy.name,
        "version": policy.version,
        "asset": policy.asset or None,
        "meaning": "" if proposal is None else proposal.meaning,
        "verdict": VERDICT_NAMES[outcome.kind],
        "rule": None if outcome.rule is None else rules[outcome.rule][0],
        "words": _outcome_words(report),
        "rules": judged,
    }


def _outcome_words(report: Report) -> str:
    policy, rules, outcome, _ = report
    name = f"{policy.name}, version {policy.version}"
    if outcome.rule is None:
        return f"The policy {name}, lets it pass: none of its {len(rules)} rules applies."
    rule = rules[outcome.rule]
    match outcome.kind:
        case VerdictKind.ALLOW:
            return f"The policy {name}, allows it by its rule {rule[0]}."
        case VerdictKind.HOLD:
            return f"The policy {name}, would hold it by its rule {rule[0]}."
        case VerdictKind.DENY:
            return f"The policy {name}, refuses it by its rule {rule[0]}: {rule[2]}."
