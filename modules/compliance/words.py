"""Policies as people read them: a sentence for each rule and each condition."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from clawpurse.ledger.module_api import OFFICER_ROLE, VerdictKind
from clawpurse.modules.compliance.language import Kind, Side

_UNITS: Final = (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000), ("second", 1_000))
_SIDES: Final[Mapping[int, str]] = {
    Side.SOURCE: "the payer",
    Side.TARGET: "the payee",
    Side.EITHER: "payer or payee",
    Side.BOTH: "payer and payee each",
    Side.SOURCE_SUBJECT: "the person who pays",
    Side.TARGET_SUBJECT: "the person who is paid",
}
# Shows an amount of the policy's asset.
Show = Callable[[int], str]


def for_ms(span_ms: int) -> str:
    """Return `2 days`, `90 minutes`, `250 ms`: a span in the largest unit that fits it."""
    for name, unit_ms in _UNITS:
        if span_ms >= unit_ms and span_ms % unit_ms == 0:
            count = span_ms // unit_ms
            return f"{count} {name}" if count == 1 else f"{count} {name}s"
    return f"{span_ms} ms"


def condition_words(condition: Sequence[Any], show: Show) -> str:
    """Return what a condition, as state keeps it, asks."""
    kind, side, name, number, window_ms = condition
    who = _SIDES.get(side, "")
    over = f"over {for_ms(window_ms)}"
    counted = "pays" if side in (Side.SOURCE, Side.SOURCE_SUBJECT) else "receives"
    match Kind(kind):
        case Kind.ATTESTED:
            return f"{who} is attested {name} at level {number} or above"
        case Kind.NOT_ATTESTED:
            return f"{who} is not attested {name} at level {number} or above"
        case Kind.AMOUNT_AT_LEAST:
            return f"the amount is {show(number)} or more"
        case Kind.AMOUNT_BELOW:
            return f"the amount is below {show(number)}"
        case Kind.SUM_AT_LEAST:
            return f"with this payment {who} {counted} {show(number)} or more {over}"
        case Kind.COUNT_AT_LEAST:
            return f"it is payment {number} or a later one that {who} {counted} {over}"
        case Kind.LISTED:
            return f"{who} is on the list {name}"
        case Kind.NOT_LISTED:
            return f"{who} is not on the list {name}"
        case Kind.NEW_COUNTERPARTY:
            return "the payer has not paid the payee before"
        case Kind.APPROVALS_BELOW:
            return f"fewer than {number} people with the role {name}, beside the sender, approve it"
        case Kind.NO_TRAVEL_HASH:
            return "it has no travel-rule hash"
        case Kind.RISK_AT_LEAST:
            return f"{who} has a risk score of {number} or above"
        case Kind.RISK_MISSING:
            return f"{who} has no risk score"
        case Kind.PURPOSE:
            return f"it is made by {name}"


def verdict_words(rule: Sequence[Any]) -> str:
    """Return what a rule, as state keeps it, does when it applies."""
    _, verdict, code, needed, officers, expires_ms, release, _ = rule
    match VerdictKind(verdict):
        case VerdictKind.ALLOW:
            return "allow it, and ask no further rule"
        case VerdictKind.DENY:
            return f"refuse it: {code}"
        case VerdictKind.HOLD:
            holders = "holder" if needed == 1 else "holders"
            who = f"{needed} {holders} of the role {officers}"
            if officers == OFFICER_ROLE:
                who = f"{needed} of the officers"
            end = "pay it" if release else "return it"
            return f"hold it for {who} to decide, and {end} after {for_ms(expires_ms)} without them"


def rule_words(rule: Sequence[Any], show: Show) -> str:
    """Return a rule as a sentence."""
    conditions = [condition_words(condition, show) for condition in rule[7]]
    when = " and ".join(conditions)
    said = verdict_words(rule)
    return f"If {when}: {said}." if when else f"In any case: {said}."
