"""Actions as people write them into a file: the JSON that `tx_decode` and proposals show.

    {"name": "assets.transfer", "fields": {"asset": "CLAW", "recipient": "bob", "amount": "1250"}}

or a list of such. Accounts may be names that the caller knows; amounts are minor units; times are
RFC 3339 or ms since 1970; bytes are 0x and hexadecimal digits. Optional fields may be left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Malformed, Refused
from clawpurse.ledger.module_api import Field, FieldType, Registry
from clawpurse.ledger.transactions import ACTIONS_MAX, TX_BYTES_MAX, RawAction

# JSON of the largest transaction: two digits a byte, and names.
FILE_BYTES_MAX: Final = 4 * TX_BYTES_MAX
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
AccountOf = Callable[[str], bytes]


def actions_from_text(
    text: str, registry: Registry, account_of: AccountOf
) -> tuple[RawAction, ...]:
    """Return the actions that JSON text describes, each one that the registry can read.

    `account_of` finds an account by what stands in the text. Raises `Malformed` naming the field.
    """
    if len(text.encode()) > FILE_BYTES_MAX:
        raise Malformed("actions", f"are larger than {FILE_BYTES_MAX} bytes")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise Malformed("actions", "are not JSON") from err
    listed = document if isinstance(document, list) else [document]
    if not 1 <= len(listed) <= ACTIONS_MAX:
        raise Malformed("actions", f"are {len(listed)}, 1…{ACTIONS_MAX} are allowed")
    return tuple([action_from_json(one, registry, account_of) for one in listed])


def action_from_json(document: Any, registry: Registry, account_of: AccountOf) -> RawAction:
    """Return one action. Raises `Malformed` naming the field."""
    if not isinstance(document, dict) or set(document) != {"name", "fields"}:
        raise Malformed("action", "is not an object of name and fields")
    name, given = document["name"], document["fields"]
    kind = registry.actions.get(name) if isinstance(name, str) else None
    if kind is None:
        raise Malformed("action.name", f"{name!r} is not an action of this software")
    if not isinstance(given, dict):
        raise Malformed(name, "has fields that are not an object")
    wire = _record(kind.fields, given, name, registry, account_of)
    action = RawAction(name, wire)
    try:
        registry.read_action(action)
    except Refused as err:
        raise Malformed(name, err.reason) from err
    return action


def _record(
    specs: Sequence[Field],
    given: Mapping[str, Any],
    where: str,
    registry: Registry,
    account_of: AccountOf,
) -> list[Wire]:
    names = [spec.name for spec in specs]
    for name in given:
        if name not in names:
            raise Malformed(f"{where}.{name}", f"is none of {', '.join(names)}")
    return [
        _value(spec, given.get(spec.name), f"{where}.{spec.name}", registry, account_of)
        for spec in specs
    ]


def _value(spec: Field, value: Any, where: str, registry: Registry, account_of: AccountOf) -> Wire:
    if value is None:
        if spec.optional:
            return None
        raise Malformed(where, "is missing")
    match spec.type:
        case FieldType.ACCOUNT:
            return account_of(_text(value, where))
        case FieldType.ASSET | FieldType.TEXT | FieldType.NAME:
            return _text(value, where)
        case FieldType.AMOUNT | FieldType.INTEGER:
            return _integer(value, where)
        case FieldType.TIME:
            return _time_ms(value, where)
        case FieldType.BYTES | FieldType.KEY | FieldType.HASH:
            return _octets(value, where)
        case FieldType.ACTIONS:
            nested = [action_from_json(one, registry, account_of) for one in _list(value, where)]
            return [[action.name, action.fields] for action in nested]
        case FieldType.LIST if len(spec.items) == 1:
            item = spec.items[0]
            return [
                _value(item, one, f"{where}[]", registry, account_of) for one in _list(value, where)
            ]
        case FieldType.LIST:
            return [
                _record(spec.items, _object(one, f"{where}[]"), f"{where}[]", registry, account_of)
                for one in _list(value, where)
            ]


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise Malformed(where, "is not text")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise Malformed(where, "is not a list")
    return value


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(where, "is not an object")
    return value


def _integer(value: Any, where: str) -> int:
    if type(value) is int:
        return value
    # 20 digits hold 64 bits; more would only cost time.
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        return int(value)
    raise Malformed(where, "is not a whole number, in minor units if it is an amount")


def _octets(value: Any, where: str) -> bytes:
    text = _text(value, where)
    digits = text.removeprefix("0x")
    try:
        octets = bytes.fromhex(digits)
    except ValueError as err:
        raise Malformed(where, "is not 0x and pairs of hexadecimal digits") from err
    if digits == text:
        raise Malformed(where, "does not begin with 0x")
    return octets


def _time_ms(value: Any, where: str) -> int:
    if type(value) is int:
        return value
    try:
        time = datetime.fromisoformat(_text(value, where))
    except ValueError:
        raise Malformed(where, "is not a time such as 2027-01-31T12:00:00Z") from None
    if time.tzinfo is None:
        raise Malformed(where, "does not say which time zone; end it with Z for UTC")
    return (time - _EPOCH) // timedelta(milliseconds=1)
