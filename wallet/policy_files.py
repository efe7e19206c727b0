"""Policies as people write them into a file: JSON that reads like the rules.

    {"policy": "eurx", "asset": "EURX", "meaning": "Customers must be attested.", "delay": "1h",
     "rules": [{"rule": "large", "verdict": "hold", "needed": 2, "within": "2d", "then": "return",
                "when": [{"condition": "amount-at-least", "amount": "10000.00"}]}]}

Amounts are in units of the asset, spans are `90s`, `30m`, `36h`, `7d`. Each kind of condition takes
its own words: a topic and a level, a list, a role and approvals, a score, a purpose.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from clawpurse.ledger.codec import U64_MAX, Wire
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.module_api import OFFICER_ROLE
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.transactions import TX_BYTES_MAX
from clawpurse.modules.compliance.language import KIND_NAMES, KINDS, SHAPES, Kind
from clawpurse.wallet.amounts import number_text, parse_amount

Json = dict[str, Any]
# JSON of the largest policy that a transaction can carry, with names and blanks.
FILE_BYTES_MAX: Final = 8 * TX_BYTES_MAX
_UNITS_MS: Final = {"d": DAY_MS, "h": 3_600_000, "m": 60_000, "s": 1_000}
_SPAN_DIGITS_MAX: Final = 9
# What a kind calls its name, and its number.
_NAMES: Final[Mapping[Kind, str]] = {
    Kind.ATTESTED: "topic",
    Kind.NOT_ATTESTED: "topic",
    Kind.LISTED: "list",
    Kind.NOT_LISTED: "list",
    Kind.APPROVALS_BELOW: "role",
    Kind.PURPOSE: "purpose",
}
_NUMBERS: Final[Mapping[Kind, str]] = {
    Kind.ATTESTED: "level",
    Kind.NOT_ATTESTED: "level",
    Kind.AMOUNT_AT_LEAST: "amount",
    Kind.AMOUNT_BELOW: "amount",
    Kind.SUM_AT_LEAST: "amount",
    Kind.COUNT_AT_LEAST: "count",
    Kind.APPROVALS_BELOW: "approvals",
    Kind.RISK_AT_LEAST: "score",
}
_THEN: Final = ("return", "release")
# What people write of a rule's verdict: its own words.
_OF_VERDICT: Final[Mapping[str, tuple[str, ...]]] = {
    "allow": (),
    "deny": ("code",),
    "hold": ("needed", "officers", "within", "then"),
}


def read_policy_file(text: str) -> Json:
    """Return the document, its outer shape checked. Raises `Malformed` naming the field."""
    if len(text.encode()) > FILE_BYTES_MAX:
        raise Malformed("policy", f"is larger than {FILE_BYTES_MAX} bytes")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise Malformed("policy", f"is not JSON: {err}") from err
    document = _object(document, "policy", ("policy", "meaning", "delay", "rules"), ("asset",))
    if document.get("asset") is not None:
        _text(document["asset"], "asset")
    for name in ("policy", "meaning"):
        _text(document[name], name)
    return document


def policy_fields(document: Json, decimals: int | None) -> list[Wire]:
    """Return the fields of `compliance.proposePolicy` for a document that was read.

    `decimals` are those of its asset, None for all assets. Raises `Malformed` naming the field;
    what only the ledger knows (lists, names, limits) is left to it.
    """
    rules: list[Wire] = []
    for number, rule in enumerate(_list(document["rules"], "rules")):
        rules.append(_rule(rule, f"rules[{number}]", document.get("asset") or "", decimals))
    delay_ms = span_ms(document["delay"], "delay")
    return [document["policy"], document.get("asset"), document["meaning"], delay_ms, rules]


def _rule(value: Any, where: str, asset: str, decimals: int | None) -> Wire:
    if not isinstance(value, dict):
        raise Malformed(where, "is not an object")
    verdict = value.get("verdict")
    if not isinstance(verdict, str) or verdict not in _OF_VERDICT:
        raise Malformed(f"{where}.verdict", f"is none of {', '.join(_OF_VERDICT)}")
    own = _OF_VERDICT[verdict]
    optional = tuple(name for name in own if name == "officers")
    required = tuple(name for name in own if name not in optional)
    rule = _object(value, where, ("rule", "verdict", "when", *required), optional)
    conditions: list[Wire] = [
        _condition(one, f"{where}.when[{place}]", asset, decimals)
        for place, one in enumerate(_list(rule["when"], f"{where}.when"))
    ]
    code, needed, officers, expires_ms, release = None, 0, None, 0, 0
    if verdict == "deny":
        code = _text(rule["code"], f"{where}.code")
    if verdict == "hold":
        needed = _integer(rule["needed"], f"{where}.needed")
        officers = rule.get("officers")
        if officers is not None:
            officers = _text(officers, f"{where}.officers")
        expires_ms = span_ms(rule["within"], f"{where}.within")
        if rule["then"] not in _THEN:
            raise Malformed(f"{where}.then", f"is none of {', '.join(_THEN)}")
        release = _THEN.index(rule["then"])
    name = _text(rule["rule"], f"{where}.rule")
    return [name, verdict, code, needed, officers, expires_ms, release, conditions]


def _condition(value: Any, where: str, asset: str, decimals: int | None) -> Wire:
    word = value.get("condition") if isinstance(value, dict) else None
    kind = KINDS.get(word) if isinstance(word, str) else None
    if kind is None:
        raise Malformed(f"{where}.condition", f"is none of {', '.join(KINDS)}")
    shape = SHAPES[kind]
    names = ["condition"]
    if 0 not in shape.sides:
        names.append("side")
    if shape.named:
        names.append(_NAMES[kind])
    if kind in _NUMBERS:
        names.append(_NUMBERS[kind])
    if shape.windowed:
        names.append("window")
    given = _object(value, where, tuple(names), ())
    number = 0
    if kind in _NUMBERS:
        field = _NUMBERS[kind]
        number = _number(given[field], f"{where}.{field}", field == "amount", asset, decimals)
    return [
        KIND_NAMES[kind],
        _text(given["side"], f"{where}.side") if "side" in names else None,
        _text(given[_NAMES[kind]], f"{where}.{_NAMES[kind]}") if shape.named else None,
        number,
        span_ms(given["window"], f"{where}.window") if shape.windowed else 0,
    ]


def _number(value: Any, where: str, is_amount: bool, asset: str, decimals: int | None) -> int:
    if not is_amount:
        return _integer(value, where)
    if decimals is None:
        raise Malformed(where, "needs a policy for one asset: assets count in units of their own")
    try:
        return parse_amount(_text(value, where), decimals, asset)
    except Malformed as err:
        raise Malformed(where, err.problem) from err


def span_ms(value: Any, where: str) -> int:
    """Return the ms that `90s`, `30m`, `36h` or `7d` mean. Raises `Malformed`."""
    text = _text(value, where)
    digits, unit = text[:-1], text[-1:]
    plain = digits.isascii() and digits.isdigit() and len(digits) <= _SPAN_DIGITS_MAX
    if unit in _UNITS_MS and plain:
        return int(digits) * _UNITS_MS[unit]
    raise Malformed(where, f"{text!r} is no span of time such as 90s, 30m, 36h or 7d")


def span_text(ms: int) -> str:
    """Return a span as a file says it; parts of a second are rounded up."""
    for unit, unit_ms in _UNITS_MS.items():
        if ms >= unit_ms and ms % unit_ms == 0:
            return f"{ms // unit_ms}{unit}"
    return f"{-(-ms // 1_000)}s"


def policy_file(shown: Json, delay_ms: int, decimals: int | None) -> Json:
    """Return the file of a policy that a node showed (`compliance_getRules`), to be amended."""
    return {
        "policy": shown["policy"],
        "asset": shown["asset"],
        "meaning": shown["meaning"],
        "delay": span_text(delay_ms),
        "rules": [_rule_file(rule, decimals) for rule in shown["rules"]],
    }


def _rule_file(rule: Json, decimals: int | None) -> Json:
    found: Json = {"rule": rule["rule"], "verdict": rule["verdict"]}
    if rule["verdict"] == "deny":
        found["code"] = rule["code"]
    if rule["verdict"] == "hold":
        found["needed"] = rule["needed"]
        if rule["officers"] != OFFICER_ROLE:
            found["officers"] = rule["officers"]
        found["within"] = span_text(rule["expiresMs"])
        found["then"] = rule["atExpiry"]
    found["when"] = [_condition_file(one, decimals) for one in rule["conditions"]]
    return found


def _condition_file(condition: Json, decimals: int | None) -> Json:
    kind = KINDS[condition["condition"]]
    found: Json = {"condition": condition["condition"]}
    if "side" in condition:
        found["side"] = condition["side"]
    if "name" in condition:
        found[_NAMES[kind]] = condition["name"]
    if kind in _NUMBERS:
        number = condition["number"]
        if _NUMBERS[kind] == "amount":
            number = number_text(int(number), decimals or 0, marks=False)
        found[_NUMBERS[kind]] = number
    if "windowMs" in condition:
        found["window"] = span_text(condition["windowMs"])
    return found


def _object(value: Any, where: str, required: Sequence[str], optional: Sequence[str]) -> Json:
    if not isinstance(value, dict):
        raise Malformed(where, "is not an object")
    for name in value:
        if name not in required and name not in optional:
            known = ", ".join((*required, *optional))
            raise Malformed(f"{where}.{name}", f"is none of {known}")
    for name in required:
        if value.get(name) is None:
            raise Malformed(f"{where}.{name}", "is missing")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise Malformed(where, "is not a list")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise Malformed(where, "is not a text")
    return value


def _integer(value: Any, where: str) -> int:
    if type(value) is not int or not 0 <= value <= U64_MAX:
        raise Malformed(where, "is not a whole number")
    return value
