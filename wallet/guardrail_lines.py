"""What guardrails say of payments, line by line: also what passes, for whoever is asked. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from clawpurse.ledger.address import account_text
from clawpurse.ledger.params import DAY_MS, NATIVE_ASSET
from clawpurse.wallet.amounts import amount_text, number_text
from clawpurse.wallet.guardrails import (
    AssetRule,
    Journal,
    Mode,
    Paying,
    Policy,
    Spent,
    day_start_ms,
    judge,
)


class Says(StrEnum):
    """What a line says of the payment."""

    PASSES = "passes"
    ASKS = "asks"
    REFUSES = "refuses"


class GuardrailLine(NamedTuple):
    """One line, a sentence with amounts in the asset's own decimals."""

    says: Says
    text: str


class SpentToday(NamedTuple):
    """What is spent of a daily limit, minor units at `decimals`; `left` is None without one."""

    asset: str
    decimals: int
    spent: int
    per_day: int | None
    left: int | None
    resets_ms: int


def spent_today(
    policy: Policy, account: bytes, journal: Journal, now_ms: int
) -> tuple[SpentToday, ...]:
    """Return what an account spent today of each asset that the policy names; fees count."""
    start_ms = day_start_ms(now_ms, journal.latest_ms())
    found = []
    for rule in policy.assets:
        spent = journal.spent(account, rule.asset, start_ms)
        left = None if rule.per_day is None else max(rule.per_day - spent, 0)
        found.append(
            SpentToday(rule.asset, rule.decimals, spent, rule.per_day, left, start_ms + DAY_MS)
        )
    return tuple(found)


def guardrail_lines(
    policy: Policy, payments: Sequence[Paying], spent: Spent, now_ms: int
) -> list[GuardrailLine]:
    """Return what a policy says of one transaction's payments, `now_ms` as `judge` takes it."""
    verdict = judge(policy, payments, spent, now_ms)
    lines = [GuardrailLine(Says.REFUSES, one.sentence) for one in verdict.refusals]
    if policy.mode is Mode.ALLOW:
        # Said, not enforced: there they stand among the questions.
        lines = []
    lines += [GuardrailLine(Says.ASKS, one) for one in verdict.needs_confirmation]
    refused = {(one.limit, one.asset) for one in verdict.refusals}
    for asset, amount in sorted(_totals(payments).items()):
        rule = policy.rule(asset)
        if rule is not None:
            lines += _passing(rule, amount, spent.assets.get(asset, 0), refused)
    listed = {one.recipient: policy.recipient(one.recipient) for one in payments}
    for account, who in sorted(listed.items()):
        if who is not None:
            name = who.label or account_text(account)
            lines.append(GuardrailLine(Says.PASSES, f"{name} is on your allowlist."))
    return lines


def _totals(payments: Sequence[Paying]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for one in payments:
        totals[one.asset] = totals.get(one.asset, 0) + one.amount
        totals[NATIVE_ASSET] = totals.get(NATIVE_ASSET, 0) + one.fee
    return {asset: amount for asset, amount in totals.items() if amount}


def _passing(
    rule: AssetRule, amount: int, before: int, refused: set[tuple[str, str]]
) -> list[GuardrailLine]:
    found = []
    asked = amount_text(amount, rule.decimals, rule.asset)
    if rule.per_transaction is not None and ("perTransaction", rule.asset) not in refused:
        most = number_text(rule.per_transaction, rule.decimals)
        found.append(f"{asked} is within {most} at once.")
    if rule.per_day is not None and ("perDay", rule.asset) not in refused:
        total = amount_text(before + amount, rule.decimals, rule.asset)
        most = number_text(rule.per_day, rule.decimals)
        found.append(f"{total} today with this is within {most} a day.")
    return [GuardrailLine(Says.PASSES, one) for one in found]
