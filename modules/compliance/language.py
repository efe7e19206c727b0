"""The language of policies: rules, their conditions and verdicts, and which of them are sound.

A policy is a list of rules, asked in order. A rule applies when all its conditions hold; the
first that applies decides. Integers only; everything is bounded, so that what judging one
payment costs is known before a policy is in force.

On the wire and in state, a condition is [kind, side, name, number, window ms] with names for
kind and side in actions and their numbers in state; a rule is [name, verdict, code, needed,
officers, expires ms, release, conditions].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.module_api import OFFICER_ROLE, Context, VerdictKind
from clawpurse.ledger.params import DAY_MS

# A policy that a person can still read in one sitting.
RULES_MAX: Final = 100
CONDITIONS_MAX: Final = 8
# `compliance.` + policy + `.` + rule fit the 64 characters of a rule in a receipt.
POLICY_NAME_CHARS_MAX: Final = 20
LEVEL_MAX: Final = 255
# A window shorter than this has slots of less than a block; a longer one than this is history.
WINDOW_MS_MIN: Final = 8_000
WINDOW_MS_MAX: Final = 400 * DAY_MS
HOLD_MS_MIN: Final = 60_000
HOLD_MS_MAX: Final = 90 * DAY_MS
# Of one payment at most so many witnesses exist, and more officers than this never meet.
OFFICERS_MAX: Final = 16
RISK_MAX: Final = 1_000_000
# Velocity counters that one policy keeps for each payment: each is a record read and written.
COUNTERS_MAX: Final = 8
# What judging one payment by all policies of its asset may cost, in microseconds on the slowest
# supported machine: a block of five thousand movements, each 25 µs without policies, stays within
# its execution bound.
COST_MAX: Final = 140
# The cost of a policy in tenths of a microsecond: reading it, its rules, their conditions, and
# each different fact about a payment that has to be looked up in state: of each account that may
# have signed whether it holds a role, of each party what sixteen oracles report.
_COST_POLICY: Final = 60
_COST_RULE: Final = 5
_COST_CONDITION: Final = 4
# Reading all that is attested of a party, whatever topics are then looked for.
_COST_ATTESTED: Final = 150


class Kind(IntEnum):
    """What a condition asks."""

    ATTESTED = 1
    NOT_ATTESTED = 2
    AMOUNT_AT_LEAST = 3
    AMOUNT_BELOW = 4
    SUM_AT_LEAST = 5
    COUNT_AT_LEAST = 6
    LISTED = 7
    NOT_LISTED = 8
    NEW_COUNTERPARTY = 9
    APPROVALS_BELOW = 10
    NO_TRAVEL_HASH = 11
    RISK_AT_LEAST = 12
    RISK_MISSING = 13
    PURPOSE = 14


class Side(IntEnum):
    """Of whom a condition speaks. A subject is everybody behind whom the same person stands."""

    NONE = 0
    SOURCE = 1
    TARGET = 2
    EITHER = 3
    BOTH = 4
    SOURCE_SUBJECT = 5
    TARGET_SUBJECT = 6


KIND_NAMES: Final[Mapping[Kind, str]] = {
    Kind.ATTESTED: "attested",
    Kind.NOT_ATTESTED: "not-attested",
    Kind.AMOUNT_AT_LEAST: "amount-at-least",
    Kind.AMOUNT_BELOW: "amount-below",
    Kind.SUM_AT_LEAST: "sum-at-least",
    Kind.COUNT_AT_LEAST: "count-at-least",
    Kind.LISTED: "listed",
    Kind.NOT_LISTED: "not-listed",
    Kind.NEW_COUNTERPARTY: "new-counterparty",
    Kind.APPROVALS_BELOW: "approvals-below",
    Kind.NO_TRAVEL_HASH: "no-travel-hash",
    Kind.RISK_AT_LEAST: "risk-at-least",
    Kind.RISK_MISSING: "risk-missing",
    Kind.PURPOSE: "purpose",
}
SIDE_NAMES: Final[Mapping[Side, str]] = {
    Side.SOURCE: "source",
    Side.TARGET: "target",
    Side.EITHER: "either",
    Side.BOTH: "both",
    Side.SOURCE_SUBJECT: "source-subject",
    Side.TARGET_SUBJECT: "target-subject",
}
VERDICT_NAMES: Final[Mapping[VerdictKind, str]] = {
    VerdictKind.ALLOW: "allow",
    VerdictKind.HOLD: "hold",
    VerdictKind.DENY: "deny",
}
KINDS: Final[Mapping[str, Kind]] = {name: kind for kind, name in KIND_NAMES.items()}
SIDES: Final[Mapping[str, Side]] = {name: side for side, name in SIDE_NAMES.items()}
VERDICTS: Final[Mapping[str, VerdictKind]] = {name: one for one, name in VERDICT_NAMES.items()}

_PARTIES: Final = (Side.SOURCE, Side.TARGET, Side.EITHER, Side.BOTH)
_COUNTED: Final = (Side.SOURCE, Side.TARGET, Side.SOURCE_SUBJECT, Side.TARGET_SUBJECT)
_NOBODY: Final = (Side.NONE,)


class Shape(NamedTuple):
    """What a kind of condition takes.

    `fact` is the cost of looking its fact up, tenths of a microsecond; 0: it is at hand.
    `per_asset` tells that its number is minor units of one asset.
    """

    sides: tuple[Side, ...]
    named: bool
    low: int
    high: int
    windowed: bool = False
    fact: int = 0
    per_asset: bool = False


SHAPES: Final[Mapping[Kind, Shape]] = {
    Kind.ATTESTED: Shape(_PARTIES, True, 0, LEVEL_MAX, fact=60),
    Kind.NOT_ATTESTED: Shape(_PARTIES, True, 0, LEVEL_MAX, fact=60),
    Kind.AMOUNT_AT_LEAST: Shape(_NOBODY, False, 1, codec.U64_MAX, per_asset=True),
    Kind.AMOUNT_BELOW: Shape(_NOBODY, False, 1, codec.U64_MAX, per_asset=True),
    Kind.SUM_AT_LEAST: Shape(_COUNTED, False, 1, codec.U64_MAX, True, 100, True),
    Kind.COUNT_AT_LEAST: Shape(_COUNTED, False, 1, codec.U64_MAX, True, 100),
    Kind.LISTED: Shape(_PARTIES, True, 0, 0, fact=60),
    Kind.NOT_LISTED: Shape(_PARTIES, True, 0, 0, fact=60),
    Kind.NEW_COUNTERPARTY: Shape(_NOBODY, False, 0, 0, fact=120),
    Kind.APPROVALS_BELOW: Shape(_NOBODY, True, 1, OFFICERS_MAX, fact=400),
    Kind.NO_TRAVEL_HASH: Shape(_NOBODY, False, 0, 0),
    Kind.RISK_AT_LEAST: Shape(_PARTIES, False, 0, RISK_MAX, fact=400),
    Kind.RISK_MISSING: Shape(_PARTIES, False, 0, 0, fact=400),
    Kind.PURPOSE: Shape(_NOBODY, True, 0, 0),
}
VELOCITY_KINDS: Final = (Kind.SUM_AT_LEAST, Kind.COUNT_AT_LEAST)
LIST_KINDS: Final = (Kind.LISTED, Kind.NOT_LISTED)
RISK_KINDS: Final = (Kind.RISK_AT_LEAST, Kind.RISK_MISSING)


class Condition(NamedTuple):
    """One condition, as state keeps it: numbers for kind and side, nothing absent."""

    kind: int
    side: int
    name: str
    number: int
    window_ms: int


class Rule(NamedTuple):
    """One rule. `code` is a denial's; `needed`, `officers`, `expires_ms` and `release` a hold's."""

    name: str
    verdict: int
    code: str
    needed: int
    officers: str
    expires_ms: int
    release: int
    conditions: tuple[Condition, ...]


class Counter(NamedTuple):
    """What is counted for velocity: payments of a party, over a window of so many ms."""

    side: int
    window_ms: int


class Problem(NamedTuple):
    """Why a policy is not sound: a rule of this module's table, and its facts."""

    rule: str
    facts: tuple[Wire, ...]


def rule_id(policy: str, rule: str) -> str:
    """Return how receipts call a rule of a policy; at most 64 characters."""
    return f"compliance.{policy}.{rule}"


def policy_id(policy: str) -> str:
    """Return what receipts say when a policy was asked and no rule of it applied."""
    return f"compliance.{policy}"


def read_rules(values: Sequence[Sequence[Any]], asset: str | None) -> tuple[Rule, ...] | Problem:
    """Return the rules of a policy from an action's parsed fields, or what is wrong with them.

    Judges everything that needs no state. `asset` is the policy's scope, None for all assets.
    """
    rules: list[Rule] = []
    for name, verdict, code, needed, officers, expires_ms, release, conditions in values:
        if any(name == other.name for other in rules):
            return Problem("compliance.ruleTwice", (name,))
        read = _read_verdict(name, (verdict, code, needed, officers, expires_ms, release))
        if isinstance(read, Problem):
            return read
        kept: list[Condition] = []
        for condition in conditions:
            one = _read_condition(name, condition, asset)
            if isinstance(one, Problem):
                return one
            if one in kept:
                return Problem("compliance.badCondition", (name, condition[0], "twice"))
            kept.append(one)
        rules.append(read._replace(conditions=tuple(kept)))
    if len(counters_of(rules)) > COUNTERS_MAX:
        return Problem("compliance.countersFull", (len(counters_of(rules)), COUNTERS_MAX))
    return tuple(rules)


def _read_verdict(name: str, values: tuple[Any, ...]) -> Rule | Problem:
    """Return the rule without its conditions; what its verdict does not take must be absent."""
    verdict, code, needed, officers, expires_ms, release = values
    kind = VERDICTS.get(verdict)
    if kind is None:
        return Problem("compliance.badVerdict", (name, "verdict"))
    if (code is not None) != (kind is VerdictKind.DENY):
        return Problem("compliance.badVerdict", (name, "code"))
    if kind is VerdictKind.HOLD:
        if not 1 <= needed <= OFFICERS_MAX:
            return Problem("compliance.badVerdict", (name, "needed"))
        if not HOLD_MS_MIN <= expires_ms <= HOLD_MS_MAX:
            return Problem("compliance.badVerdict", (name, "expiresMs"))
        return Rule(name, kind, "", needed, officers or OFFICER_ROLE, expires_ms, release, ())
    absent = (("needed", needed), ("officers", officers), ("expiresMs", expires_ms))
    for field, value in (*absent, ("release", release)):
        if value:
            return Problem("compliance.badVerdict", (name, field))
    return Rule(name, kind, code or "", 0, "", 0, 0, ())


def _read_condition(rule: str, values: Sequence[Any], asset: str | None) -> Condition | Problem:
    word, side_word, name, number, window_ms = values
    kind = KINDS.get(word)
    side = Side.NONE if side_word is None else SIDES.get(side_word)
    if kind is None:
        return Problem("compliance.badCondition", (rule, word, "kind"))
    shape = SHAPES[kind]
    wrong = None
    if side is None or side not in shape.sides:
        wrong = "side"
    elif (name is not None) != shape.named:
        wrong = "name"
    elif not shape.low <= number <= shape.high:
        wrong = "number"
    elif shape.windowed != bool(window_ms) or (
        window_ms and not WINDOW_MS_MIN <= window_ms <= WINDOW_MS_MAX
    ):
        wrong = "windowMs"
    elif shape.per_asset and asset is None:
        wrong = "asset"
    if wrong is not None or side is None:
        return Problem("compliance.badCondition", (rule, word, wrong or "side"))
    return Condition(kind, side, name or "", number, window_ms)


def conditions_of(rules: Sequence[Rule]) -> Iterator[Condition]:
    """Yield all conditions of a policy, in order."""
    for rule in rules:
        yield from rule.conditions


def counters_of(rules: Sequence[Rule]) -> tuple[Counter, ...]:
    """Return what has to be counted for these rules, each once, ascending."""
    found = {
        Counter(condition.side, condition.window_ms): None
        for condition in conditions_of(rules)
        if condition.kind in VELOCITY_KINDS
    }
    return tuple(sorted(found))


def lists_of(rules: Sequence[Rule]) -> tuple[str, ...]:
    """Return the names of the lists that these rules look into, each once."""
    found = {c.name: None for c in conditions_of(rules) if c.kind in LIST_KINDS}
    return tuple(found)


def asks_counterparty(rules: Sequence[Rule]) -> bool:
    """Tell whether these rules ask whom an account has paid before."""
    return any(c.kind == Kind.NEW_COUNTERPARTY for c in conditions_of(rules))


def asks_risk(rules: Sequence[Rule]) -> bool:
    """Tell whether these rules ask for scores of risk."""
    return any(c.kind in RISK_KINDS for c in conditions_of(rules))


def cost_of(rules: Sequence[Rule]) -> int:
    """Return what judging a payment by these rules costs at most, microseconds, rounded up.

    A fact that several conditions ask for is looked up once for a payment.
    """
    tenths = _COST_POLICY + _COST_RULE * len(rules)
    looked_up: dict[tuple[int, int, str, int], None] = {}
    attested: dict[int, None] = {}
    for condition in conditions_of(rules):
        tenths += _COST_CONDITION
        shape = SHAPES[Kind(condition.kind)]
        # Opposites ask for the same fact; so do a sum and a count over one window.
        fact = condition.kind
        if condition.kind in (Kind.NOT_ATTESTED, Kind.NOT_LISTED, Kind.COUNT_AT_LEAST):
            fact -= 1
        elif condition.kind == Kind.RISK_MISSING:
            fact = Kind.RISK_AT_LEAST
        for side in _sides(condition.side):
            place = (fact, side, condition.name, condition.window_ms)
            if shape.fact and place not in looked_up:
                looked_up[place] = None
                tenths += shape.fact
            if fact == Kind.ATTESTED and side not in attested:
                attested[side] = None
                tenths += _COST_ATTESTED
    return -(-tenths // 10)


def _sides(side: int) -> tuple[int, ...]:
    if side in (Side.EITHER, Side.BOTH):
        return (Side.SOURCE, Side.TARGET)
    return (side,)


def pack_rules(rules: Sequence[Rule]) -> list[Wire]:
    """Return rules as state keeps them."""
    return [[*rule[:7], [list(condition) for condition in rule.conditions]] for rule in rules]


def unpack_rules(wire: Any) -> tuple[Rule, ...]:
    """Read rules that we packed."""
    rules: list[Rule] = []
    for name, verdict, code, needed, officers, expires_ms, release, conditions in wire:
        kept = tuple([Condition(*condition) for condition in conditions])
        rules.append(Rule(name, verdict, code, needed, officers, expires_ms, release, kept))
    return tuple(rules)


def require_sound(context: Context, found: tuple[Rule, ...] | Problem) -> tuple[Rule, ...]:
    """Return the rules, or refuse a policy that is not sound."""
    if isinstance(found, Problem):
        raise context.refuse(found.rule, *found.facts)
    return found
