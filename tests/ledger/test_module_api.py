"""What a module declares is checked once, when the registry is built, and not by a broken chain."""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.ledger.errors import Bug, Code, Malformed
from clawpurse.ledger.kernel.records import ORDERED_PREFIXES, module_account
from clawpurse.ledger.module_api import (
    KERNEL_EVENTS,
    ActionType,
    Field,
    FieldType,
    Module,
    Registry,
    read_field,
)
from clawpurse.ledger.rules import Rule
from clawpurse.ledger.store import state as state_store
from clawpurse.modules.registry import build_registry

KEY = bytes(range(32))
GOOD: list[tuple[FieldType, Any]] = [
    (FieldType.ACCOUNT, KEY),
    (FieldType.KEY, KEY),
    (FieldType.ASSET, "CLAW"),
    (FieldType.AMOUNT, 2**64 - 1),
    (FieldType.INTEGER, 0),
    (FieldType.TIME, 5),
    (FieldType.TEXT, ""),
    (FieldType.TEXT, "x" * 32),
    (FieldType.BYTES, b""),
    (FieldType.BYTES, b"x" * 32),
]
BAD: list[tuple[FieldType, Any]] = [
    (FieldType.ACCOUNT, KEY[1:]),
    (FieldType.KEY, "x" * 32),
    (FieldType.ASSET, "claw"),
    (FieldType.AMOUNT, -1),
    (FieldType.INTEGER, True),
    (FieldType.TIME, 2**64),
    (FieldType.TEXT, "x" * 33),
    (FieldType.TEXT, "\n"),
    (FieldType.BYTES, b"x" * 33),
    (FieldType.BYTES, "x"),
]


@pytest.mark.parametrize(("kind", "value"), GOOD)
def test_a_field_is_read_as_its_type(kind: FieldType, value: Any) -> None:
    assert read_field(Field("f", kind, ""), value, "m.do") == value


@pytest.mark.parametrize(("kind", "value"), BAD)
def test_a_field_of_another_type_is_refused_by_name(kind: FieldType, value: Any) -> None:
    with pytest.raises(Malformed) as caught:
        read_field(Field("f", kind, ""), value, "m.do")
    assert caught.value.field == "m.do.f"


@pytest.mark.parametrize("kind", FieldType)
def test_only_an_optional_field_may_be_left_out(kind: FieldType) -> None:
    assert read_field(Field("f", kind, "", optional=True), None, "m.do") is None
    with pytest.raises(Malformed):
        read_field(Field("f", kind, ""), None, "m.do")


def action(name: str) -> ActionType:
    return ActionType(name, (), 1, lambda values, words: name)


def nothing(*args: object) -> None:
    return None


BROKEN = {
    "two of one name": [Module("a", 1, (), {}), Module("a", 2, (), {})],
    "one called kernel": [Module("kernel", 1, (), {})],
    "an action without handler": [Module("a", 1, (action("a.x"),), {})],
    "a handler without action": [Module("a", 1, (), {"a.x": nothing})],
    "an action declared twice": [Module("a", 1, (action("a.x"),) * 2, {"a.x": nothing})],
    "an action in another's name": [Module("a", 1, (action("b.x"),), {"b.x": nothing})],
    "an action with too long a name": [
        Module("a", 1, (action("a." + "x" * 47),), {"a." + "x" * 47: nothing})
    ],
    "a rule of the kernel's": [Module("a", 1, (), {}, rules={"kernel.chain": Rule(Code.OK, "")})],
    "an event of another's": [Module("a", 1, (), {}, events={"assets.transferred": ()})],
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_registry_is_not_built_of(name: str) -> None:
    with pytest.raises(Bug):
        Registry(BROKEN[name])


def test_the_order_of_trees_is_the_registry_s_with_the_kernel_first() -> None:
    registry = build_registry()
    names = [module.name for module in registry.modules]
    assert names[:4] == ["accounts", "assets", "roles", "governance"]
    assert registry.trees == (("kernel", 1), *((m.name, m.version) for m in registry.modules))
    assert registry.module_accounts == {module_account(name) for name in names}


def test_every_kind_of_event_is_declared_with_its_fields() -> None:
    events = build_registry().events
    assert events["assets.transferred"] == ("asset", "amount")
    assert events["accounts.opened"] == ("deposit",)
    assert set(KERNEL_EVENTS) <= set(events)


@pytest.mark.parametrize("name", ["assets.nothing", "nobody.get", "assets", ""])
def test_a_query_that_no_module_has_is_a_bug_of_who_asks(name: str) -> None:
    with pytest.raises(Bug, match="there is no query"):
        build_registry().query(None, name)  # type: ignore[arg-type]


def test_the_store_keeps_the_kernel_s_queues_in_order() -> None:
    """Without it no block could begin on a real disk."""
    assert state_store.ordered_prefixes("kernel") == b"".join(ORDERED_PREFIXES)
    assert state_store.ordered_prefixes("assets") == b"x"
