"""Actions of the module `accounts`, in the order of the documentation; each part declares its own.

A part is a file with `ACTIONS`, `HANDLERS`, `RULES`, `EVENTS` and `QUERIES`, joined here and in
`chain.py`.
"""

from __future__ import annotations

from typing import Final

from clawpurse.ledger.module_api import ActionType
from clawpurse.modules.accounts import (
    deposits,
    opening,
    proposals,
    sessions,
    signers,
    sponsorship,
)
from clawpurse.modules.accounts.opening import CHANGE_KEY, OPEN

__all__ = ["ACTIONS", "CHANGE_KEY", "OPEN"]

ACTIONS: Final[tuple[ActionType, ...]] = (
    *opening.ACTIONS,
    *signers.ACTIONS,
    *proposals.ACTIONS,
    *deposits.ACTIONS,
    *sessions.ACTIONS,
    *sponsorship.ACTIONS,
)
