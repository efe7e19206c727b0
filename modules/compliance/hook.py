"""What happens to each payment: policies judge it, velocity counts it, the trace tells of it.

Judged is what moves for the first time, or is set apart for a payment. Payouts of what was set
apart, clawback, fees and deposits never are, so that no policy stands in the way of its own
repair. Several policies may govern a payment: one that denies is enough; of holds, the one
that needs most officers is placed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Refused
from clawpurse.ledger.module_api import (
    ALLOW,
    KERNEL,
    RELEASE,
    Context,
    HoldEnd,
    Movement,
    Verdict,
    VerdictKind,
)
from clawpurse.modules.compliance.attestations import bound_ms
from clawpurse.modules.compliance.judging import (
    GOVERNING_KEY,
    Facts,
    Sight,
    Standing,
    governing_at,
    judge,
    pair_key,
    rules_at,
)
from clawpurse.modules.compliance.language import Kind, Side, policy_id, rule_id
from clawpurse.modules.compliance.records import own, pack
from clawpurse.modules.compliance.rings import (
    COUNTERPARTIES_MAX,
    COUNTERPARTY_RING,
    END_RING,
    ENDS_MAX,
    remember,
)
from clawpurse.modules.compliance.velocity import Slots, counter_key

RULE_PREFIX: Final = "compliance."
# Holds that stopped a payment as a whole; others were set apart for payments in parts.
WHOLE_PREFIXES: Final = (RULE_PREFIX, "risk.")


class End(NamedTuple):
    """How a payment that a policy held ended: paid or not, by whose transaction, when."""

    paid: int
    by: bytes
    height: int
    time_ms: int
    amount: int


def end_key(hold_id: bytes) -> bytes:
    """Return the key of how a held payment ended."""
    return b"h" + hold_id


def sight_of(context: Context) -> Sight:
    """Return what judging sees within a transaction."""
    return Sight(
        context.get,
        context.subject_of,
        context.has_role,
        (lambda account: context.query("risk.score", account, context.time_ms))
        if context.answers("risk.score")
        else _no_score,
        context.time_ms,
        context.sender,
        lambda: context.approvals,
    )


def _no_score(_account: bytes) -> int | None:
    return None


def on_transfer(context: Context, movement: Movement) -> Verdict:
    """Judge a payment by the policies of its asset, and count it."""
    if movement.purpose == RELEASE or context.get(GOVERNING_KEY) is None:
        return ALLOW
    policies = [one for one in governing_at(context.get) if one.asset in ("", movement.asset)]
    if not policies:
        return ALLOW
    facts = Facts(sight_of(context), movement)
    holding: tuple[Standing, Sequence[Any], int] | None = None
    for policy in policies:
        rules = rules_at(context.get, policy.id)
        kind, number = judge(rules, facts, policy.asset)
        if number is None:
            context.note(policy_id(policy.name), policy.version, VerdictKind.ALLOW)
            continue
        if kind is not VerdictKind.ALLOW:
            # Whoever is stopped is told of each rule that was asked.
            for passed in rules[:number]:
                context.note(rule_id(policy.name, passed[0]), policy.version, VerdictKind.ALLOW)
        rule = rules[number]
        if kind is VerdictKind.HOLD and (holding is None or rule[3] > holding[1][3]):
            if holding is not None:
                _note(context, holding[0], holding[1], VerdictKind.HOLD)
            holding = (policy, rule, number)
            continue
        _note(context, policy, rule, kind)
        if kind is VerdictKind.DENY:
            raise _denied(context, policy, rule)
    _count(context, policies, facts, movement)
    if holding is not None:
        return _hold(context, *holding[:2])
    if any(policy.pairs for policy in policies) and facts.is_new():
        _remember_pair(context, movement.source, movement.target)
    return ALLOW


def _note(context: Context, policy: Standing, rule: Sequence[Any], kind: VerdictKind) -> None:
    context.note(rule_id(policy.name, rule[0]), policy.version, kind)


def _denied(context: Context, policy: Standing, rule: Sequence[Any]) -> Refused:
    """Return the refusal; when people's approval is missing, that is what it says."""
    facts: tuple[Wire, ...] = (policy.name, policy.version, rule[0], rule[2])
    missing = any(condition[0] == Kind.APPROVALS_BELOW for condition in rule[7])
    return context.refuse("compliance.approvals" if missing else "compliance.denied", *facts)


def _hold(context: Context, policy: Standing, rule: Sequence[Any]) -> Verdict:
    name, _, _, needed, officers, expires_ms, release, _ = rule
    return Verdict(
        VerdictKind.HOLD,
        rule_id(policy.name, name),
        policy.version,
        (),
        context.time_ms + expires_ms,
        bool(release),
        officers,
        needed,
    )


def _count(
    context: Context, policies: Sequence[Standing], facts: Facts, movement: Movement
) -> None:
    """Count a payment once for each different window that its policies look at."""
    counted: dict[bytes, None] = {}
    for policy in policies:
        for side, window_ms, _ in policy.counters:
            key, slots = facts.counter(policy.asset, side, window_ms)
            if key not in counted:
                counted[key] = None
                after = slots.counted(context.time_ms, window_ms, movement.amount)
                context.put(key, after.pack())


def _remember_pair(context: Context, source: bytes, target: bytes) -> None:
    key = pair_key(source, target)
    remember(context, COUNTERPARTY_RING, source, COUNTERPARTIES_MAX, key, pack(context.height))


def on_hold_end(context: Context, end: HoldEnd) -> None:
    """Take back from velocity what was not paid after all; note how a held payment ended."""
    hold = end.hold
    ended = end.amount == hold.amount
    if hold.module == KERNEL and hold.rule.startswith(RULE_PREFIX) and ended:
        record = End(int(end.paid), context.sender, context.height, context.time_ms, end.amount)
        remember(context, END_RING, hold.source, ENDS_MAX, end_key(end.hold_id), pack(*record))
    if context.get(GOVERNING_KEY) is None:
        return
    policies = [one for one in governing_at(context.get) if one.asset in ("", hold.asset)]
    if not end.paid:
        # A payment as such comes back when what a rule held of it does; of a channel or an
        # escrow, nobody knows here whether some was paid before.
        whole = ended and hold.module == KERNEL and hold.rule.startswith(WHOLE_PREFIXES)
        _uncount(context, policies, end, whole=whole)
        return
    known = context.get(pair_key(hold.source, hold.target)) is not None
    if not known and any(policy.pairs for policy in policies):
        _remember_pair(context, hold.source, hold.target)


def _uncount(context: Context, policies: Sequence[Standing], end: HoldEnd, *, whole: bool) -> None:
    """Take a returned amount from the slot in which it was counted, if it surely was.

    What was set apart before a counter began, or before its party came to be that subject, was
    counted elsewhere or not at all; it stays counted rather than be taken from someone else.
    """
    made_ms, hold = end.hold.made_ms, end.hold
    seen: dict[bytes, None] = {}
    for policy in policies:
        for side, window_ms, since_ms in policy.counters:
            account = hold.source if side in (Side.SOURCE, Side.SOURCE_SUBJECT) else hold.target
            party = account
            if side in (Side.SOURCE_SUBJECT, Side.TARGET_SUBJECT):
                party = context.subject_of(account)
                bound = bound_ms(context.get, account)
                if bound is not None and bound >= made_ms:
                    continue
            key = counter_key(policy.asset, side, window_ms, party)
            if key in seen or made_ms < since_ms:
                continue
            seen[key] = None
            data = context.get(key)
            if data is not None:
                after = Slots.unpack(data).taken_back(made_ms, window_ms, end.amount, whole)
                context.put(key, after.pack())


def end_of(data: bytes) -> End:
    """Read how a held payment ended."""
    return End(*own(data, 5))
