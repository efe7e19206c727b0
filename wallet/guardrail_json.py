"""Guardrails as JSON: what is stored and signed, read back strictly, and the other wallet's list.

Amounts are strings of minor units beside their asset's decimals. What cannot be read whole is
refused: half a policy would be a looser one. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, NoReturn

from clawpurse.ledger import codec
from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.codec import U64_MAX
from clawpurse.ledger.crypto import KEY_BYTES
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.params import DECIMALS_MAX, NATIVE_ASSET, asset_name
from clawpurse.wallet.amounts import parse_amount
from clawpurse.wallet.guardrails import (
    ASSETS_MAX,
    COSIGNERS_MAX,
    LABEL_CHARS_MAX,
    MEMO_BYTES_MAX,
    NOTES_CHARS_MAX,
    RECIPIENTS_MAX,
    AssetRule,
    Cosigner,
    Mode,
    Policy,
    RecipientRule,
    Stance,
)

Json = dict[str, Any]
# A policy with as many recipients as fit, each with notes and two limits.
TEXT_BYTES_MAX: Final = RECIPIENTS_MAX * 1_024
_POLICY: Final = (
    "mode",
    "assets",
    "recipients",
    "unknown",
    "otherAssets",
    "memoRequired",
    "memoPrefix",
    "cosigners",
)
_LIMITS: Final = ("perTransaction", "perDay", "confirmAbove")
_RULE: Final = ("asset", "decimals", *_LIMITS)
_RECIPIENT: Final = ("account", "label", "limits", "memoRequired", "notes")


def policy_json(policy: Policy) -> Json:
    """Return a policy as the object that is stored, shown and signed."""
    return {
        "mode": policy.mode.value,
        "assets": [_rule_json(one) for one in policy.assets],
        "recipients": [
            {
                "account": account_text(one.account),
                "label": one.label,
                "limits": [_rule_json(rule) for rule in one.limits],
                "memoRequired": one.memo_required,
                "notes": one.notes,
            }
            for one in policy.recipients
        ],
        "unknown": policy.unknown.value,
        "otherAssets": policy.other_assets.value,
        "memoRequired": policy.memo_required,
        "memoPrefix": policy.memo_prefix,
        "cosigners": [
            {"label": one.label, "publicKey": f"0x{one.public_key.hex()}"}
            for one in policy.cosigners
        ],
    }


def policy_from(value: object) -> Policy:
    """Read what `policy_json` made. Raises `Malformed` naming the field."""
    top = members(value, "policy", _POLICY)
    people = tuple(_recipient(one) for one in _list(top, "recipients", RECIPIENTS_MAX))
    cosigners = []
    for item in _list(top, "cosigners", COSIGNERS_MAX):
        one = members(item, "policy.cosigners[]", ("label", "publicKey"))
        key = octets(one["publicKey"], "policy.cosigners[].publicKey", KEY_BYTES)
        cosigners.append(Cosigner(label_text(one["label"], "policy.cosigners[].label"), key))
    mode, unknown, other = top["mode"], top["unknown"], top["otherAssets"]
    try:
        stances = Mode(mode), Stance(unknown), Stance(other)
    except ValueError as err:
        raise Malformed("policy", f"has an unknown word: {err}") from err
    return checked(
        Policy(
            stances[0],
            tuple(_rule(one) for one in _list(top, "assets", ASSETS_MAX)),
            people,
            stances[1],
            stances[2],
            _flag(top["memoRequired"], "policy.memoRequired"),
            _text(top["memoPrefix"], "policy.memoPrefix"),
            tuple(cosigners),
        )
    )


def checked(policy: Policy) -> Policy:
    """Return the policy in its one order, if it can be kept. Raises `Malformed` if it cannot."""
    if len(policy.memo_prefix.encode()) > MEMO_BYTES_MAX or not policy.memo_prefix.isprintable():
        raise Malformed("memo", f"is longer than {MEMO_BYTES_MAX} bytes or unprintable")
    people = [
        RecipientRule(
            one.account,
            label_text(one.label, "label"),
            _sorted_rules(one.limits),
            one.memo_required,
            label_text(one.notes, "notes", NOTES_CHARS_MAX),
        )
        for one in policy.recipients
    ]
    people.sort(key=lambda one: one.account)
    cosigners = sorted(policy.cosigners, key=lambda one: one.label)
    for what, distinct, given in (
        ("recipient", {one.account for one in people}, people),
        ("co-signer", {one.label for one in cosigners}, cosigners),
        ("co-signer's key", {one.public_key for one in cosigners}, cosigners),
    ):
        if len(distinct) < len(given):
            raise Malformed("policy", f"names a {what} twice")
    for name, count, most in (
        ("recipients", len(people), RECIPIENTS_MAX),
        ("co-signers", len(cosigners), COSIGNERS_MAX),
        ("assets", len(policy.assets), ASSETS_MAX),
    ):
        if count > most:
            raise Malformed("policy", f"has {count} {name}, at most {most} fit")
    return Policy(
        policy.mode,
        _sorted_rules(policy.assets),
        tuple(people),
        policy.unknown,
        policy.other_assets,
        policy.memo_required,
        policy.memo_prefix,
        tuple(cosigners),
    )


def canonical(document: Json) -> bytes:
    """Return the one form of a JSON object that is hashed and signed."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def parsed(data: bytes, what: str) -> object:
    """Parse JSON without floats and without a member given twice. Raises `Malformed`."""

    def refuse(text: str) -> NoReturn:
        raise Malformed(what, f"has the number {text[:32]}; only integers are possible")

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise Malformed(what, "has a member twice")
        return found

    try:
        return json.loads(
            data.decode(), object_pairs_hook=unique, parse_float=refuse, parse_constant=refuse
        )
    except (ValueError, RecursionError):
        raise Malformed(what, "is not JSON") from None


def members(value: object, field: str, names: Sequence[str]) -> Json:
    """Return an object that has exactly these members. Raises `Malformed`."""
    if type(value) is not dict:
        raise Malformed(field, "is not an object")
    if wrong := sorted(set(names) ^ set(value)):
        how = "is missing" if wrong[0] in names else "is not known in this version"
        raise Malformed(f"{field}.{wrong[0][:32]}", how)
    return value


def octets(value: object, field: str, size: int) -> bytes:
    """Return the bytes of `0x` and lower-case hex digits. Raises `Malformed`."""
    text = codec.ascii_text(value, field, 2 + 2 * size)
    try:
        found = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        found = b""
    if f"0x{found.hex()}" != text or len(found) != size:
        raise Malformed(field, f"is not 0x and {2 * size} lower-case hex digits")
    return found


def label_text(value: object, field: str, chars_max: int = LABEL_CHARS_MAX) -> str:
    """Return words that can stand beside an amount: printable, not too long."""
    text = _text(value, field)
    if len(text) > chars_max or not text.isprintable():
        raise Malformed(field, f"is longer than {chars_max} or has unprintable characters")
    return text


def _rule_json(rule: AssetRule) -> Json:
    limits = (rule.per_transaction, rule.per_day, rule.confirm_above)
    texts = [None if one is None else str(one) for one in limits]
    return {
        "asset": rule.asset,
        "decimals": rule.decimals,
        **dict(zip(_LIMITS, texts, strict=True)),
    }


def _rule(value: object) -> AssetRule:
    one = members(value, "policy.assets[]", _RULE)
    asset = asset_name(codec.ascii_text(one["asset"], "policy.asset", 32), "policy.asset")
    decimals = codec.integer(one["decimals"], f"{asset}.decimals", 0, DECIMALS_MAX)
    limits = [_limit(one[name], f"{asset}.{name}") for name in _LIMITS]
    return AssetRule(asset, decimals, *limits)


def _limit(value: object, field: str) -> int | None:
    if value is None:
        return None
    text = codec.ascii_text(value, field, 20)
    if not text.isdecimal() or text != str(int(text)) or int(text) > U64_MAX:
        raise Malformed(field, "is not minor units in digits")
    return int(text)


def _recipient(value: object) -> RecipientRule:
    one = members(value, "policy.recipients[]", _RECIPIENT)
    account = account_from_text(codec.ascii_text(one["account"], "policy.recipients[].account", 90))
    return RecipientRule(
        account,
        label_text(one["label"], "policy.recipients[].label"),
        tuple(_rule(rule) for rule in _list(one, "limits", ASSETS_MAX)),
        _flag(one["memoRequired"], "policy.recipients[].memoRequired"),
        label_text(one["notes"], "policy.recipients[].notes", NOTES_CHARS_MAX),
    )


def _sorted_rules(rules: Sequence[AssetRule]) -> tuple[AssetRule, ...]:
    if len({one.asset for one in rules}) < len(rules):
        raise Malformed("policy", "names an asset twice")
    return tuple(sorted(rules, key=lambda one: one.asset))


def _list(top: Json, name: str, size_max: int) -> list[object]:
    value = top[name]
    if type(value) is not list or len(value) > size_max:
        raise Malformed(f"policy.{name}", f"is not a list of at most {size_max}")
    return value


def _flag(value: object, field: str) -> bool:
    if type(value) is not bool:
        raise Malformed(field, "is neither true nor false")
    return value


def _text(value: object, field: str) -> str:
    if type(value) is not str:
        raise Malformed(field, "is not a string")
    return value


class Imported(NamedTuple):
    """What an allowlist file of the existing ClawPurse wallet became, and what of it could not."""

    policy: Policy
    told: tuple[str, ...]


def import_allowlist(data: bytes, policy: Policy, decimals: int) -> Imported:
    """Join the existing wallet's allowlist JSON into a policy.

    It has `defaultPolicy {maxAmount, requireMemo, blockUnknown}` and `destinations` by address or
    as a list: `{address, name, maxAmount, needsMemo, notes}`. Amounts are whole units of the
    native asset with `decimals`. An address of another chain is told and left out. Raises
    `Malformed` when the file is no such list.
    """
    if len(data) > TEXT_BYTES_MAX:
        raise Malformed("allowlist", f"is larger than {TEXT_BYTES_MAX} bytes")
    try:
        # Amounts are numbers there: they are read as the digits that were written.
        document = json.loads(data.decode(), parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        raise Malformed("allowlist", "is not JSON") from None
    if type(document) is not dict or type(document.get("destinations")) not in (list, dict):
        raise Malformed("allowlist.destinations", "is neither a list nor an object")
    told: list[str] = []
    given = document["destinations"]
    pairs = list(given.items()) if type(given) is dict else [(None, one) for one in given]
    people = {one.account: one for one in policy.recipients}
    for address, item in pairs:
        found = _destination(address, item, decimals, told)
        if found is not None:
            people[found.account] = found
    general = document.get("defaultPolicy") or {}
    if type(general) is not dict:
        raise Malformed("allowlist.defaultPolicy", "is not an object")
    policy = _general(policy, general, decimals)
    made = Policy(
        policy.mode,
        policy.assets,
        tuple(people.values()),
        policy.unknown,
        policy.other_assets,
        policy.memo_required,
        policy.memo_prefix,
        policy.cosigners,
    )
    return Imported(checked(made), tuple(told))


def _destination(
    address: object, item: object, decimals: int, told: list[str]
) -> RecipientRule | None:
    if type(item) is not dict:
        raise Malformed("allowlist.destinations[]", "is not an object")
    text = address if address is not None else item.get("address")
    name = str(item.get("name") or text or "")[:LABEL_CHARS_MAX]
    try:
        account = account_from_text(_text(text, "allowlist.destinations[].address"))
    except Malformed as err:
        told.append(f"{name or 'A destination'} was left out: its address {err.problem}.")
        return None
    limits: tuple[AssetRule, ...] = ()
    if item.get("maxAmount") is not None:
        most = parse_amount(str(item["maxAmount"]), decimals, NATIVE_ASSET)
        limits = (AssetRule(NATIVE_ASSET, decimals, per_transaction=most),)
    notes = str(item.get("notes") or "")[:NOTES_CHARS_MAX]
    return RecipientRule(account, name, limits, item.get("needsMemo") is True, notes)


def _general(policy: Policy, general: Json, decimals: int) -> Policy:
    """Apply the other wallet's `defaultPolicy`: what is over all destinations."""
    policy = policy.at_decimals(NATIVE_ASSET, decimals)
    before = policy.rule(NATIVE_ASSET) or AssetRule(NATIVE_ASSET, decimals)
    rules = [one for one in policy.assets if one.asset != NATIVE_ASSET]
    most = before.per_transaction
    if general.get("maxAmount") is not None:
        most = parse_amount(str(general["maxAmount"]), decimals, NATIVE_ASSET)
    rule = AssetRule(NATIVE_ASSET, decimals, most, before.per_day, before.confirm_above)
    unknown = policy.unknown
    if type(general.get("blockUnknown")) is bool:
        unknown = Stance.REFUSE if general["blockUnknown"] else Stance.ALLOW
    required = policy.memo_required
    if type(general.get("requireMemo")) is bool:
        required = general["requireMemo"]
    return Policy(
        policy.mode,
        (*rules, rule),
        policy.recipients,
        unknown,
        policy.other_assets,
        required,
        policy.memo_prefix,
        policy.cosigners,
    )
