"""All actions of the module `payments`; each part's file says what they do."""

from __future__ import annotations

from typing import Final

from clawpurse.modules.payments import pay

ACTIONS: Final = (*pay.ACTIONS,)
