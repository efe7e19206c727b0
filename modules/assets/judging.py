"""Who may send an asset to whom: freezes, authorisation, transferability.

Asked for every movement by the kernel, what was set apart before included (`RELEASE`), and by
this module before it hands value to somebody. The native asset and assets without an issuer are
nobody's to control. What each state allows, and why: decision 0028.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Code
from clawpurse.ledger.module_api import (
    ALLOW,
    RELEASE,
    Context,
    Movement,
    Verdict,
    VerdictKind,
)
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.rules import Rule
from clawpurse.modules.assets.records import (
    AUTHORISATION_REQUIRED,
    DEEP,
    FREEZABLE,
    FULL,
    NOT_AUTHORISED,
    TRANSFERABLE,
    Asset,
    asset_key,
    freeze_of,
    level_of,
    unpack,
)

RULE_VERSION: Final = 1
# A rule and its facts.
Refusal = tuple[str, tuple[Wire, ...]]

RULES: Final[Mapping[str, Rule]] = {
    "assets.frozen": Rule(
        Code.FROZEN, "{0:account} is frozen: it can send {1:asset} to nobody but the issuer."
    ),
    "assets.deepFrozen": Rule(
        Code.FROZEN, "{0:account} is frozen: it can neither send nor receive {1:asset}."
    ),
    "assets.allFrozen": Rule(
        Code.FROZEN, "All {0:asset} is frozen: it moves only to and from its issuer."
    ),
    "assets.notAuthorised": Rule(
        Code.NOT_AUTHORISED, "{0:account} is not authorised to hold {1:asset}."
    ),
    "assets.limited": Rule(
        Code.NOT_AUTHORISED,
        "{0:account} may keep its {1:asset} or return it to the issuer, no more.",
    ),
    "assets.notTransferable": Rule(
        Code.NOT_AUTHORISED, "{0:asset} goes only to and from its issuer."
    ),
}


def on_transfer(context: Context, movement: Movement) -> Verdict:
    """Judge a movement; silent unless it is refused."""
    if movement.asset == NATIVE_ASSET:
        return ALLOW
    data = context.get(asset_key(movement.asset))
    if data is None:
        return ALLOW  # Another module's asset: nothing here says who controls it.
    asset = Asset(*unpack(data, 8))
    if asset.issuer is None:
        return ALLOW
    refusal = _refusal(context, asset, movement)
    if refusal is None:
        return ALLOW
    rule, facts = refusal
    return Verdict(VerdictKind.DENY, rule, RULE_VERSION, facts)


def _refusal(context: Context, asset: Asset, movement: Movement) -> Refusal | None:
    """Return the first rule that forbids it: freezes, then authorisation, then transferability."""
    source, target, issuer = movement.source, movement.target, asset.issuer
    between = issuer not in (source, target)
    if asset.has(FREEZABLE):
        found = _frozen(context, asset, source, target)
        if found is not None:
            return found
    if asset.has(AUTHORISATION_REQUIRED):
        # What was owed before somebody's authorisation was limited is still paid.
        owed = movement.purpose == RELEASE
        for account, settles in ((source, owed or target == issuer), (target, owed)):
            if account != issuer:
                found = _unauthorised(context, asset.name, account, settles=settles)
                if found is not None:
                    return found
    if between and not asset.has(TRANSFERABLE):
        return "assets.notTransferable", (asset.name,)
    return None


def _frozen(context: Context, asset: Asset, source: bytes, target: bytes) -> Refusal | None:
    freezes = {}
    for account in (source, target):
        # An issuer is never frozen: what it has is no claim on anybody.
        if account != asset.issuer:
            freezes[account] = freeze_of(context.holding(asset.name, account).flags)
            if freezes[account] == DEEP:
                return "assets.deepFrozen", (account, asset.name)
    if asset.issuer in (source, target):
        return None
    if asset.frozen:
        return "assets.allFrozen", (asset.name,)
    return ("assets.frozen", (source, asset.name)) if freezes[source] else None


def _unauthorised(
    context: Context, name: str, account: bytes, *, settles: bool
) -> Refusal | None:  # fmt: skip
    level = level_of(context.holding(name, account).flags)
    if level == NOT_AUTHORISED:
        return "assets.notAuthorised", (account, name)
    return None if level == FULL or settles else ("assets.limited", (account, name))


def refusal_to_take(context: Context, asset: Asset, account: bytes) -> Refusal | None:
    """Return why an account may not be handed an asset by its issuer, None if it may."""
    issuer = asset.issuer
    if issuer is None or account == issuer:
        return None
    return _refusal(context, asset, Movement(asset.name, issuer, account, 1, "assets"))
