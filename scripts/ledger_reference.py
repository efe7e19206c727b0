"""Writes docs/reference/ledger.md, every action, refusal and event, from what modules declare."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from clawpurse.ledger.codec import U64_MAX
from clawpurse.ledger.module_api import KERNEL, KERNEL_EVENTS, ActionType, Field, FieldType, Module
from clawpurse.ledger.rules import KERNEL_RULES, Rule
from clawpurse.modules.registry import build_registry

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "ledger.md"
HEAD = """# What the ledger does

Every action, refusal and event of this version, made from the modules' declarations by
`make reference`; a test keeps it true. [The protocol](../protocol.md) says how an action stands in
a transaction, how its cost is counted and what a receipt carries; the pages in
[docs](../README.md) say what each is for.

*Fields* stand in an action's array in this order. A list's items are arrays of the fields below
it, or plain values when there is one. *Cost* counts against block and sender; “+” says that it
grows with what the fields hold. *Session* says that an account can allow it to a session key.
*Signs* says that others than the sender sign, too, as approvers.

"""
_KINDS = {
    FieldType.ACCOUNT: "account",
    FieldType.ASSET: "asset",
    FieldType.AMOUNT: "amount",
    FieldType.INTEGER: "integer",
    FieldType.TEXT: "text",
    FieldType.BYTES: "bytes",
    FieldType.KEY: "key",
    FieldType.TIME: "time",
    FieldType.HASH: "hash",
    FieldType.NAME: "name",
    FieldType.LIST: "list",
    FieldType.ACTIONS: "actions",
}
_SIZED = (FieldType.TEXT, FieldType.BYTES, FieldType.LIST, FieldType.ACTIONS)
_COUNTED = (FieldType.AMOUNT, FieldType.INTEGER, FieldType.TIME)


def _type(spec: Field) -> str:
    text = _KINDS[spec.type]
    if spec.type in _SIZED:
        text += f" {spec.size_min}–{spec.size_max}"
    elif spec.type in _COUNTED and (spec.low or spec.high != U64_MAX):
        text += f" {spec.low}–" + ("" if spec.high == U64_MAX else str(spec.high))
    return text + (" or nil" if spec.optional else "")


def _field_rows(fields: tuple[Field, ...], before: str = "") -> Iterator[str]:
    for number, spec in enumerate(fields, 1):
        place = f"{before}{number}"
        yield f"| {place} | `{spec.name}` | {_type(spec)} | {spec.meaning} |"
        if len(spec.items) == 1:
            item = spec.items[0]
            yield f"| {place}.* | `{item.name}` | {_type(item)} | {item.meaning} |"
        else:
            yield from _field_rows(spec.items, f"{place}.")


def _action(action: ActionType) -> Iterator[str]:
    yield f"### `{action.name}`"
    yield ""
    facts = [f"Cost {action.cost}{'+' if action.cost_of is not None else ''}"]
    if action.session:
        facts.append("session")
    if action.approvers is not None:
        facts.append("signs")
    yield ", ".join(facts) + "."
    yield ""
    if action.fields:
        yield from ("| # | field | type | content |", "|---|---|---|---|")
        yield from _field_rows(action.fields)
        yield ""


def _rules(rules: dict[str, Rule]) -> Iterator[str]:
    if rules:
        yield from ("| refusal | code | sentence |", "|---|---|---|")
        yield from (f"| `{name}` | {r.code.label} | {r.sentence} |" for name, r in rules.items())
        yield ""


def _events(events: dict[str, tuple[str, ...]]) -> Iterator[str]:
    if events:
        yield from ("| event | data |", "|---|---|")
        yield from (f"| `{kind}` | {', '.join(names) or '–'} |" for kind, names in events.items())
        yield ""


def _module(module: Module) -> Iterator[str]:
    yield f"## `{module.name}`, version {module.version}"
    yield ""
    for action in module.actions:
        yield from _action(action)
    yield from _rules(dict(module.rules))
    yield from _events(dict(module.events))


def page() -> str:
    """Return the page."""
    lines = [f"## `{KERNEL}`", ""]
    lines += [*_rules(dict(KERNEL_RULES)), *_events(dict(KERNEL_EVENTS))]
    for module in build_registry().modules:
        lines += _module(module)
    return HEAD + "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """Write the page, or with --check tell whether it is what it should be."""
    text = page()
    if "--check" in sys.argv:
        return int(not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
