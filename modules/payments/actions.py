"""All actions of the module `payments`; each part's file says what they do."""

from __future__ import annotations

from typing import Final

from clawpurse.modules.payments import (
    batches,
    channels,
    escrows,
    invoices,
    pay,
    placed,
    schedules,
    votes,
)

ACTIONS: Final = (
    *pay.ACTIONS,
    *escrows.ACTIONS,
    *placed.ACTIONS,
    *votes.ACTIONS,
    *schedules.ACTIONS,
    *batches.ACTIONS,
    *invoices.ACTIONS,
    *channels.ACTIONS,
)
