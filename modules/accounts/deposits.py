"""Deposit authorisation: accounts that take payments only from those whom they named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from clawpurse.ledger.module_api import (
    ALLOW,
    ActionType,
    Context,
    Handler,
    Movement,
    Query,
    Verdict,
)
from clawpurse.ledger.rules import Rule

ACTIONS: Final[tuple[ActionType, ...]] = ()
HANDLERS: Final[Mapping[str, Handler]] = {}
RULES: Final[Mapping[str, Rule]] = {}
EVENTS: Final[Mapping[str, tuple[str, ...]]] = {}
QUERIES: Final[Mapping[str, Query]] = {}


def on_transfer(context: Context, movement: Movement) -> Verdict:
    """Let every payment pass: no account asks for more yet."""
    return ALLOW
