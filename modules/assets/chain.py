"""On-chain half of the module `assets`: which assets there are, who issues and controls them, and
paying with them. Joins its parts: `issuing`, `controls`, `judging`; `records` is its state.
"""

from __future__ import annotations

from typing import Final

from clawpurse.ledger.module_api import Module
from clawpurse.modules.assets import controls, issuing, judging
from clawpurse.modules.assets.actions import ACTIONS
from clawpurse.modules.assets.records import (
    TREE,
    assets_hold,
    get_asset,
    get_freeze,
    get_holding,
    get_metadata,
    get_reserve,
    get_supply,
    list_assets,
    list_freezes,
    list_holders,
    list_issued,
)

MODULE: Final = Module(
    name=TREE,
    version=2,
    actions=ACTIONS,
    handlers={**issuing.HANDLERS, **controls.HANDLERS},
    on_transfer=judging.on_transfer,
    on_role=controls.on_role,
    queries={
        "get": get_asset,
        "list": list_assets,
        "supply": get_supply,
        "metadata": get_metadata,
        "reserve": get_reserve,
        "issued": list_issued,
        "holding": get_holding,
        "holders": list_holders,
        "freeze": get_freeze,
        "freezes": list_freezes,
    },
    invariants=(assets_hold,),
    rules={**issuing.RULES, **controls.RULES, **judging.RULES},
    events={**issuing.EVENTS, **controls.EVENTS},
    genesis=issuing.write_genesis,
)
