"""Every field of every action at its extremes: a typed refusal, or a block that all agree on.

If these failed, one number at 2^64 could stop every node, or make value out of nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from clawpurse.ledger import codec
from clawpurse.ledger.errors import BadSignature, Malformed, Refused
from clawpurse.ledger.kernel.records import FEE_ACCOUNT, account_key
from clawpurse.ledger.module_api import KERNEL, Field, FieldType
from clawpurse.ledger.transactions import RawAction
from clawpurse.ledger.transition import prepare
from tests.ledger import malice_cases_payments, malice_cases_people, malice_cases_rules
from tests.ledger.malice_costs import CASES, Job, Town
from tests.ledger.malice_world import MOST

MODULES = (malice_cases_payments, malice_cases_people, malice_cases_rules)
NUMBERS = (FieldType.AMOUNT, FieldType.INTEGER, FieldType.TIME)
WRONG: tuple[Any, ...] = (None, -1, True, 1.5, "", b"", [], {}, b"\xff" * 33, "\x00", [[]], [None])
# One case of each action is enough for its fields.
NAMES = tuple({name.partition(",")[0].partition(" ")[0]: name for name in reversed(CASES)}.values())
VOID = {"assets.freezeAll and unfreezeAll"}


@pytest.fixture(autouse=True)
def _records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Town, "in_trees", False)
    monkeypatch.setattr(Town, "policy", _quick_policy)


def _quick_policy(self: Town, *rules: Any, **more: Any) -> None:
    """No case of a policy is needed here."""


def replaced(value: Any, path: tuple[int, ...], new: Any) -> Any:
    if not path:
        return new
    made = list(value)
    made[path[0]] = replaced(made[path[0]], path[1:], new)
    return made


def places(specs: tuple[Field, ...], values: list[Any]) -> Iterator[tuple[tuple[int, ...], Field]]:
    """Every field of an action, and of the first item of each of its lists."""
    for number, (spec, value) in enumerate(zip(specs, values, strict=True)):
        yield (number,), spec
        if spec.type is FieldType.LIST and value:
            if len(spec.items) == 1:
                yield (number, 0), spec.items[0]
            else:
                for path, inner in places(spec.items, value[0]):
                    yield (number, 0, *path), inner


def extremes(spec: Field) -> tuple[Any, ...]:
    if spec.type in NUMBERS:
        edges = (0, 1, spec.low, spec.high, 2**63, MOST - 1, MOST)
        return (*WRONG, *edges, *[edge for edge in (spec.low - 1, spec.high + 1) if edge <= MOST])
    if spec.type is FieldType.LIST:
        return (*WRONG, [b"\x00" * 32] * (spec.size_max + 1))
    if spec.type in (FieldType.ACCOUNT, FieldType.HASH, FieldType.KEY):
        return (*WRONG, bytes(32), b"\xff" * 32, FEE_ACCOUNT)
    return (*WRONG, "x" * (spec.size_max + 1), b"x" * (spec.size_max + 1), "\u00e9")


def variants(town: Town, one: Job) -> Iterator[Job]:
    for number, action in enumerate(one.actions):
        specs = town.registry.actions[action.name].fields
        for path, spec in places(specs, list(action.fields)):
            for new in extremes(spec):
                changed = RawAction(action.name, replaced(action.fields, path, new))
                actions = (*one.actions[:number], changed, *one.actions[number + 1 :])
                yield one._replace(actions=actions)


def unchanged_but_terms(town: Town, before: dict[Any, bytes], by: bytes) -> None:
    after = town.everything()
    changed = {
        place for place in before.keys() | after.keys() if before.get(place) != after.get(place)
    }
    assert changed <= {(KERNEL, account_key(by)), (KERNEL, account_key(FEE_ACCOUNT))}


@pytest.mark.parametrize("name", NAMES)
def test_no_field_of_an_action_breaks_a_block(name: str) -> None:
    town, jobs = CASES[name](3)
    town.checks = False
    start, height, time_ms = dict(town.state.records), town.height, town.time_ms
    tried = refused = 0
    for variant in variants(town, jobs[0]):
        tried += 1
        try:
            (raw,) = town.transactions([variant])
            prepared = prepare(raw, town.registry)
        except (Malformed, BadSignature, Refused):
            refused += 1
            continue
        execution = town.execution()
        try:
            receipt = execution.apply(prepared)
        except Refused as err:
            assert err.rule in ("kernel.cost", "kernel.quota"), err.rule
            refused += 1
            continue
        result = execution.finish()
        if receipt.code:
            refused += 1
            town.state.apply(result.changes)
            unchanged_but_terms(town, start, variant.by.account)
            town.state.records = dict(start)
            assert receipt.rule in town.registry.rules
            town.registry.rules[receipt.rule]
        else:
            town.state.apply(result.changes)
            for module in town.registry.modules:
                for invariant in module.invariants:
                    assert invariant(town.state) is None, (name, variant)
            town.state.records = dict(start)
    assert (town.height, town.time_ms) == (height, time_ms)
    assert tried and refused >= tried // 2


@pytest.mark.parametrize("name", NAMES)
def test_no_number_of_fields_breaks_a_node(name: str) -> None:
    town, jobs = CASES[name](3)
    (action, *_) = jobs[0].actions
    for fields in ([], action.fields[:-1], [*action.fields, None], [action.fields], [None] * 40):
        if fields == action.fields:
            continue
        with pytest.raises(Malformed):
            town.registry.read_action(RawAction(action.name, list(fields)))


def test_a_number_above_2_64_has_no_encoding() -> None:
    with pytest.raises((Malformed, OverflowError)):
        codec.pack([MOST + 1])
