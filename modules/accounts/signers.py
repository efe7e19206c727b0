"""Multisignature policies: signers with weights in place of an account's key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from clawpurse.ledger.module_api import ActionType, Handler, Query
from clawpurse.ledger.rules import Rule

ACTIONS: Final[tuple[ActionType, ...]] = ()
HANDLERS: Final[Mapping[str, Handler]] = {}
RULES: Final[Mapping[str, Rule]] = {}
EVENTS: Final[Mapping[str, tuple[str, ...]]] = {}
QUERIES: Final[Mapping[str, Query]] = {}
