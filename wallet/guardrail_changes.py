"""Whether a change of guardrails is a weakening: then it needs what an override needs.

Every payment that the new policy lets through must have been let through by the old one; where
that is not plain, it counts as weaker. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from clawpurse.ledger.address import account_text
from clawpurse.wallet.guardrails import AssetRule, Mode, Policy, RecipientRule, Stance

_STRICTNESS: Final = {Stance.ALLOW: 0, Stance.CONFIRM: 1, Stance.REFUSE: 2}


def weakened(old: Policy, new: Policy) -> tuple[str, ...]:
    """Return what `new` loosens, a sentence each; empty when it is at least as strict."""
    return tuple(_weakened(old, new))


def _weakened(old: Policy, new: Policy) -> Iterator[str]:
    if old.mode is Mode.ENFORCE and new.mode is not Mode.ENFORCE:
        yield "The guardrails would only say what they refuse now."
    for rule in old.assets:
        yield from _rule(rule, new.rule(rule.asset), "", new.other_assets)
    for one in new.assets:
        if old.rule(one.asset) is None and old.other_assets is not Stance.ALLOW:
            yield f"{one.asset} would be paid without being asked about."
    if _looser(old.unknown, new.unknown):
        yield f"Strangers: {new.unknown} in place of {old.unknown}."
    if _looser(old.other_assets, new.other_assets):
        yield f"Assets without a rule: {new.other_assets} in place of {old.other_assets}."
    if old.memo_required and not new.memo_required:
        yield "A memo would not be required any more."
    if not new.memo_prefix.startswith(old.memo_prefix):
        yield f"Memos need not begin with “{old.memo_prefix}” any more."
    yield from _recipients(old, new)
    yield from _cosigners(old, new)


def _recipients(old: Policy, new: Policy) -> Iterator[str]:
    for who in new.recipients:
        before = old.recipient(who.account)
        if before is None:
            if old.unknown is not Stance.ALLOW:
                yield f"{_name(who)} would be on the allowlist."
            continue
        for rule in before.limits:
            yield from _rule(rule, who.limit(rule.asset), f" for {_name(who)}", Stance.ALLOW)
        if before.memo_required and not who.memo_required:
            yield f"{_name(who)} would need no memo any more."
    for who in old.recipients:
        if new.recipient(who.account) is not None:
            continue
        # Off the list a recipient is a stranger: stricter, unless strangers may have more.
        narrow = bool(who.limits) or who.memo_required
        if narrow and new.unknown is not Stance.REFUSE:
            yield f"{_name(who)} would have no limits of its own any more."
    if old.recipients and not new.recipients and new.unknown is Stance.CONFIRM:
        yield "With an empty allowlist nobody is a stranger."


def _cosigners(old: Policy, new: Policy) -> Iterator[str]:
    keys = {one.public_key for one in old.cosigners}
    for one in new.cosigners:
        if one.public_key not in keys:
            yield f"{one.label} could lift limits."


def _rule(old: AssetRule, new: AssetRule | None, whom: str, otherwise: Stance) -> Iterator[str]:
    limits = (old.per_transaction, old.per_day, old.confirm_above)
    if new is None:
        if otherwise is not Stance.REFUSE and any(one is not None for one in limits):
            yield f"{old.asset}{whom} would have no limits any more."
        return
    # At the finer decimals of the two nothing is rounded, so that equal limits stay equal.
    decimals = max(old.decimals, new.decimals)
    finer, other = old.at_decimals(decimals), new.at_decimals(decimals)
    pairs = (
        ("at once", finer.per_transaction, other.per_transaction),
        ("a day", finer.per_day, other.per_day),
        ("to be asked from", finer.confirm_above, other.confirm_above),
    )
    for name, before, after in pairs:
        if before is not None and (after is None or after > before):
            yield f"The limit of {old.asset} {name}{whom} would be higher, or gone."


def _looser(old: Stance, new: Stance) -> bool:
    return _STRICTNESS[new] < _STRICTNESS[old]


def _name(who: RecipientRule) -> str:
    return who.label or account_text(who.account)
