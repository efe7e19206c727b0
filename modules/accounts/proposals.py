"""Proposals on the ledger: actions that wait until enough signers of an account approved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from clawpurse.ledger.module_api import ActionType, DueHandler, Handler, Query
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.rules import Rule

ACTIONS: Final[tuple[ActionType, ...]] = ()
HANDLERS: Final[Mapping[str, Handler]] = {}
RULES: Final[Mapping[str, Rule]] = {}
EVENTS: Final[Mapping[str, tuple[str, ...]]] = {}
QUERIES: Final[Mapping[str, Query]] = {}
DUE: Final[Mapping[str, DueHandler]] = {}
INVARIANTS: Final[tuple[Callable[[StateReader], str | None], ...]] = ()
