"""What an issuer, or who acts for it, does about holders: freeze, authorise, claw back, appoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from clawpurse.ledger.errors import Code
from clawpurse.ledger.module_api import Context, Handler, RoleChange
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.rules import Rule
from clawpurse.modules.assets.actions import (
    APPOINT,
    ATTEST_RESERVE,
    AUTHORISE,
    CLAWBACK,
    DISMISS,
    FREEZE,
    FREEZE_ALL,
    UNFREEZE,
    UNFREEZE_ALL,
)
from clawpurse.modules.assets.issuing import load_for_duty, load_for_issuer, store
from clawpurse.modules.assets.judging import refusal_to_take
from clawpurse.modules.assets.records import (
    AUTHORISATION_REQUIRED,
    FREEZABLE,
    RESERVE,
    Asset,
    Reserve,
    asset_key,
    duty_of,
    freeze_of,
    freezes_prefix,
    level_of,
    pack,
    reserve_key,
    role_of,
    unpack,
    with_freeze,
    with_level,
)
from clawpurse.modules.assets.records import CLAWBACK as CLAWBACK_FLAG

# A report on a reserve is believed for a year and a quarter at most: one a year, and some delay.
RESERVE_VALID_MS_MAX: Final = 456 * DAY_MS

RULES: Final[Mapping[str, Rule]] = {
    "assets.lacksFlag": Rule(Code.NOT_AUTHORISED, "{0:asset} is issued without the flag {1:text}."),
    "assets.issuerHolder": Rule(
        Code.MALFORMED, "{0:account} is the issuer of {1:asset}, which is no holder of it."
    ),
    "assets.holderUnchanged": Rule(
        Code.DUPLICATE, "That is so of {0:account} and {1:asset} already."
    ),
    "assets.notFrozen": Rule(Code.NOT_FOUND, "{0:account} is not frozen in {1:asset}."),
    "assets.sameParty": Rule(
        Code.MALFORMED, "{0:account} cannot be who {1:asset} is taken from and who gets it."
    ),
    "assets.appointed": Rule(
        Code.DUPLICATE, "{0:account} is appointed to {2:text} of {1:asset} already."
    ),
    "assets.notAppointed": Rule(
        Code.NOT_FOUND, "{0:account} is not appointed to {2:text} of {1:asset}."
    ),
    "assets.dutyRole": Rule(
        Code.NOT_AUTHORISED,
        "The role {0:text} is a duty over an asset; only that asset's issuer appoints to it.",
    ),
    "assets.reserveTime": Rule(
        Code.MALFORMED,
        "A reserve as of {0:time}, valid until {1:time}, cannot be attested at {2:time}.",
    ),
    "assets.reserveOlder": Rule(
        Code.DUPLICATE, "The reserve of {0:asset} was attested as of {1:time} already."
    ),
}


def _require_flag(context: Context, asset: Asset, flag: int, name: str) -> None:
    if not asset.has(flag):
        raise context.refuse("assets.lacksFlag", asset.name, name)


def _require_holder(context: Context, asset: Asset, account: bytes) -> None:
    """Refuse the issuer itself, and an account that is not open: a mistyped one, most likely."""
    if account == asset.issuer:
        raise context.refuse("assets.issuerHolder", account, asset.name)
    context.key_of(account)


# -- freezes


def _freeze(context: Context, values: Sequence[Any]) -> None:
    name, account, level, reason = values
    asset = load_for_duty(context, name, "freeze", FREEZE.name)
    _require_flag(context, asset, FREEZABLE, "freezable")
    _require_holder(context, asset, account)
    flags = context.holding(name, account).flags
    if freeze_of(flags) == level:
        raise context.refuse("assets.holderUnchanged", account, name)
    context.set_holding_flags(name, account, with_freeze(flags, level))
    record = pack(level, context.height, context.sender, reason)
    context.put(freezes_prefix(name) + account, record)
    context.emit("assets.frozen", (account, context.sender), name, level, reason)


def _unfreeze(context: Context, values: Sequence[Any]) -> None:
    name, account, reason = values
    load_for_duty(context, name, "freeze", UNFREEZE.name)
    flags = context.holding(name, account).flags
    if not freeze_of(flags):
        raise context.refuse("assets.notFrozen", account, name)
    context.set_holding_flags(name, account, with_freeze(flags, 0))
    context.delete(freezes_prefix(name) + account)
    context.emit("assets.unfrozen", (account, context.sender), name, reason)


def _freeze_all(context: Context, values: Sequence[Any]) -> None:
    name, reason = values
    asset = load_for_duty(context, name, "freeze", FREEZE_ALL.name)
    _require_flag(context, asset, FREEZABLE, "freezable")
    if asset.frozen:
        raise context.refuse("assets.unchanged", name)
    store(context, asset._replace(frozen=1))
    context.emit("assets.allFrozen", (context.sender,), name, reason)


def _unfreeze_all(context: Context, values: Sequence[Any]) -> None:
    name, reason = values
    asset = load_for_duty(context, name, "freeze", UNFREEZE_ALL.name)
    if not asset.frozen:
        raise context.refuse("assets.unchanged", name)
    store(context, asset._replace(frozen=0))
    context.emit("assets.allUnfrozen", (context.sender,), name, reason)


# -- holders


def _authorise(context: Context, values: Sequence[Any]) -> None:
    name, account, level = values
    asset = load_for_duty(context, name, "authorise", AUTHORISE.name)
    _require_flag(context, asset, AUTHORISATION_REQUIRED, "authorisationRequired")
    _require_holder(context, asset, account)
    flags = context.holding(name, account).flags
    if level_of(flags) == level:
        raise context.refuse("assets.holderUnchanged", account, name)
    context.set_holding_flags(name, account, with_level(flags, level))
    context.emit("assets.authorised", (account, context.sender), name, level)


def _clawback(context: Context, values: Sequence[Any]) -> None:
    name, account, amount, target, reason, hold_id = values
    asset = load_for_duty(context, name, "clawback", CLAWBACK.name)
    _require_flag(context, asset, CLAWBACK_FLAG, "clawback")
    if account == asset.issuer:
        raise context.refuse("assets.issuerHolder", account, name)
    if account == target:
        raise context.refuse("assets.sameParty", account, name)
    refusal = refusal_to_take(context, asset, target)
    if refusal is not None:
        rule, facts = refusal
        raise context.refuse(rule, *facts)
    context.seize(name, account, target, amount, hold_id)
    parties = (account, target, context.sender)
    context.emit("assets.clawedBack", parties, name, amount, reason, hold_id)


# -- agents


def _appoint(context: Context, values: Sequence[Any]) -> None:
    name, duty, account = values
    asset = load_for_issuer(context, name)
    _require_holder(context, asset, account)
    role = role_of(name, duty)
    if context.has_role(account, role):
        raise context.refuse("assets.appointed", account, name, duty)
    context.grant_role(account, role, context.sender)
    context.emit("assets.appointed", (account, context.sender), name, duty)


def _dismiss(context: Context, values: Sequence[Any]) -> None:
    name, duty, account = values
    load_for_issuer(context, name)
    role = role_of(name, duty)
    if not context.has_role(account, role):
        raise context.refuse("assets.notAppointed", account, name, duty)
    context.revoke_role(account, role, context.sender, "")
    context.emit("assets.dismissed", (account, context.sender), name, duty)


def on_role(context: Context, change: RoleChange) -> None:
    """Let nobody but its issuer appoint to an asset's duties; not before there is the asset either.

    Taking one is not refused: administrators and authorities can stop an agent that went astray.
    """
    found = duty_of(change.role)
    if found is None or not change.held:
        return
    data = context.get(asset_key(found[0]))
    if data is None or Asset(*unpack(data, 8)).issuer != change.by:
        raise context.refuse("assets.dutyRole", change.role)


# -- reserves


def _attest_reserve(context: Context, values: Sequence[Any]) -> None:
    name, amount, as_of_ms, document, valid_until_ms = values
    asset = load_for_duty(context, name, "reserve", ATTEST_RESERVE.name)
    _require_flag(context, asset, RESERVE, "reserve")
    now_ms = context.time_ms
    if as_of_ms > now_ms or not now_ms < valid_until_ms <= as_of_ms + RESERVE_VALID_MS_MAX:
        raise context.refuse("assets.reserveTime", as_of_ms, valid_until_ms, now_ms)
    data = context.get(reserve_key(name))
    if data is not None:
        before = Reserve(*unpack(data, 6))
        if before.as_of_ms >= as_of_ms:
            raise context.refuse("assets.reserveOlder", name, before.as_of_ms)
    said = Reserve(amount, as_of_ms, document, valid_until_ms, context.sender, context.height)
    context.put(reserve_key(name), pack(*said))
    context.emit(
        "assets.reserveAttested", (context.sender,), name, amount, as_of_ms, document,
        valid_until_ms,
    )  # fmt: skip


HANDLERS: Final[Mapping[str, Handler]] = {
    FREEZE.name: _freeze,
    UNFREEZE.name: _unfreeze,
    FREEZE_ALL.name: _freeze_all,
    UNFREEZE_ALL.name: _unfreeze_all,
    AUTHORISE.name: _authorise,
    CLAWBACK.name: _clawback,
    APPOINT.name: _appoint,
    DISMISS.name: _dismiss,
    ATTEST_RESERVE.name: _attest_reserve,
}
EVENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "assets.frozen": ("asset", "level", "reason"),
    "assets.unfrozen": ("asset", "reason"),
    "assets.allFrozen": ("asset", "reason"),
    "assets.allUnfrozen": ("asset", "reason"),
    "assets.authorised": ("asset", "level"),
    "assets.clawedBack": ("asset", "amount", "reason", "holdId"),
    "assets.appointed": ("asset", "duty"),
    "assets.dismissed": ("asset", "duty"),
    "assets.reserveAttested": ("asset", "amount", "asOf", "documentHash", "validUntil"),
}
