"""On-chain half of the module `payments`: joins its parts, which do the work.

Each part is a file that declares its actions and handlers, what it does when its due work comes
(by the first item of the payload) and when value is no longer set apart, its queries, rules,
events and invariants. Records: `records` and each part's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from clawpurse.ledger.errors import Bug
from clawpurse.ledger.module_api import (
    ActionType,
    Context,
    DueHandler,
    Handler,
    HoldEnd,
    HoldHandler,
    Module,
    Query,
)
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.rules import Rule
from clawpurse.modules.payments import (
    batches,
    channels,
    common,
    escrows,
    invoices,
    pay,
    placed,
    schedules,
    votes,
)
from clawpurse.modules.payments.records import TREE, known_holds, list_objects


class Part(Protocol):
    """What a part's file declares; `DUES` by the first item of a payload."""

    @property
    def ACTIONS(self) -> tuple[ActionType, ...]: ...  # noqa: N802 — a file's constant

    @property
    def HANDLERS(self) -> Mapping[str, Handler]: ...  # noqa: N802

    @property
    def DUES(self) -> Mapping[str, DueHandler]: ...  # noqa: N802

    @property
    def HOLD_ENDS(self) -> tuple[HoldHandler, ...]: ...  # noqa: N802

    @property
    def QUERIES(self) -> Mapping[str, Query]: ...  # noqa: N802

    @property
    def INVARIANTS(self) -> tuple[Callable[[StateReader], str | None], ...]: ...  # noqa: N802

    @property
    def RULES(self) -> Mapping[str, Rule]: ...  # noqa: N802

    @property
    def EVENTS(self) -> Mapping[str, tuple[str, ...]]: ...  # noqa: N802


# The order is that of the page in docs/modules/; nothing in consensus depends on it.
_PARTS: Final[tuple[Part, ...]] = (
    pay,
    escrows,
    placed,
    votes,
    schedules,
    batches,
    invoices,
    channels,
)
_DUES: Final = {kind: handler for part in _PARTS for kind, handler in part.DUES.items()}
_HOLD_ENDS: Final = tuple([handler for part in _PARTS for handler in part.HOLD_ENDS])


def _on_due(context: Context, payload: Sequence[Any]) -> None:
    handler = _DUES.get(payload[0])
    if handler is None:
        raise Bug(f"payments has due work of the unknown kind {payload[0]}")
    handler(context, payload[1:])


def _on_hold_end(context: Context, end: HoldEnd) -> None:
    for handler in _HOLD_ENDS:
        handler(context, end)


MODULE: Final = Module(
    name=TREE,
    version=1,
    actions=tuple([action for part in _PARTS for action in part.ACTIONS]),
    handlers={name: handler for part in _PARTS for name, handler in part.HANDLERS.items()},
    on_due=_on_due,
    on_hold_end=_on_hold_end,
    queries={
        "objects": list_objects,
        **{noun: query for part in _PARTS for noun, query in part.QUERIES.items()},
    },
    invariants=(known_holds, *[check for part in _PARTS for check in part.INVARIANTS]),
    rules={
        **common.RULES,
        **{name: rule for part in _PARTS for name, rule in part.RULES.items()},
    },
    events={kind: names for part in _PARTS for kind, names in part.EVENTS.items()},
)
