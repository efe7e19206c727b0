"""Guardrails as a session key's limits on the ledger, where no client can get around them. Pure.

The ledger caps assets by transaction and day (fees included, a day is UTC, as here), lists whom
alone a key may pay, and asks for memos. What it has no words for is named in `left_out`, a
sentence each; what would make the key freer than the policy without such words is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from clawpurse.ledger.codec import U64_MAX
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.kernel.entitlements import (
    SESSION_ASSETS_MAX,
    SESSION_MEMO_BYTES_MAX,
    SESSION_RECIPIENTS_MAX,
    Cap,
)
from clawpurse.wallet.amounts import amount_text
from clawpurse.wallet.guardrails import AssetRule, Mode, Policy, RecipientRule, Stance


class Compiled(NamedTuple):
    """What `accounts.grantSession` is given, and what of the policy stays with the client."""

    caps: tuple[Cap, ...]
    recipients: tuple[bytes, ...]
    memo: bytes
    memo_required: bool
    left_out: tuple[str, ...]


def compile_session(policy: Policy, decimals_of: Callable[[str], int]) -> Compiled:
    """Return a policy as limits of a session key; `decimals_of` are those of the network.

    Raises `Malformed` where the ledger would let the key do more: an allowlist that is too long
    for it, or empty while strangers are refused (on the ledger an empty list is anybody).
    """
    for rule in policy.assets:
        policy = policy.at_decimals(rule.asset, decimals_of(rule.asset))
    if len(policy.assets) > SESSION_ASSETS_MAX:
        raise Malformed("guardrails", f"have more than {SESSION_ASSETS_MAX} assets")
    caps = tuple(cap for cap in map(_cap, policy.assets) if cap is not None)
    recipients: tuple[bytes, ...] = ()
    if policy.unknown is Stance.REFUSE:
        recipients = tuple(one.account for one in policy.recipients)
        if not recipients:
            raise Malformed("guardrails", "refuse everybody: put whom it may pay on the allowlist")
        if len(recipients) > SESSION_RECIPIENTS_MAX:
            problem = f"have an allowlist of {len(recipients)}, the ledger takes "
            raise Malformed("guardrails", f"{problem}{SESSION_RECIPIENTS_MAX} of a session key")
    memo = policy.memo_prefix.encode()
    if len(memo) > SESSION_MEMO_BYTES_MAX:
        raise Malformed("guardrails", f"want memos to begin with {len(memo)} bytes")
    required = policy.memo_required or bool(memo)
    return Compiled(caps, recipients, memo, required, tuple(_left_out(policy)))


def _cap(rule: AssetRule) -> Cap | None:
    """Return the cap of an asset; None where nothing may be taken, as an absent cap says."""
    daily = U64_MAX if rule.per_day is None else rule.per_day
    once = daily if rule.per_transaction is None else min(rule.per_transaction, daily)
    return Cap(rule.asset, once, daily) if once else None


def _left_out(policy: Policy) -> Iterator[str]:
    if policy.mode is not Mode.ENFORCE:
        yield "These guardrails only say what is beyond a limit; the ledger refuses it."
    for rule in policy.assets:
        if rule.confirm_above is not None:
            above = amount_text(rule.confirm_above, rule.decimals, rule.asset)
            yield f"Nobody is asked above {above}: the ledger asks nobody."
    if policy.unknown is Stance.CONFIRM and policy.recipients:
        yield "It may pay anybody: the ledger cannot ask about strangers."
    elif policy.unknown is not Stance.REFUSE:
        yield "It may pay anybody: no allowlist is enforced."
    if policy.other_assets is not Stance.REFUSE:
        yield "Of assets without a limit it may take nothing: the ledger knows no other default."
    for who in policy.recipients:
        yield from _of_recipient(who)
    if policy.cosigners:
        yield "No co-signer lifts its limits: revoke it, or grant another one."


def _of_recipient(who: RecipientRule) -> Iterator[str]:
    name = who.label or f"0x{who.account.hex()}"
    for rule in who.limits:
        for limit, of in ((rule.per_transaction, "at once"), (rule.per_day, "a day")):
            if limit is not None:
                amount = amount_text(limit, rule.decimals, rule.asset)
                yield f"The limit of {amount} {of} for {name} alone is not on the ledger."
    if who.memo_required:
        yield f"That {name} needs a memo is not on the ledger."
