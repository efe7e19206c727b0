"""node_getConfig, node_getStorage and asset_getSupplyParts: what pages show beside the rest.

Settings without secrets, what the node stands on, and a supply added up from all that makes it.
"""

from __future__ import annotations

import re
from typing import Any, Final

from pydantic import Field
from pydantic_core import to_jsonable_python

from clawpurse.ledger.errors import Bug, NotFound
from clawpurse.ledger.kernel.records import INDEX_PREFIX, Hold, hold_key
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.modules.assets.records import get_asset, get_supply, list_holders
from clawpurse.modules.kit.web.errors import NOT_FOUND
from clawpurse.modules.kit.web.jsonrpc import Context, Method, NoParams, Params
from clawpurse.modules.kit.web.turns import next_turn
from clawpurse.node.config import NodeConfig
from clawpurse.node.rpc import consensus_shapes
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Asset

Json = dict[str, Any]
# Settings whose names say that they open something.
_SECRET: Final = re.compile(r"token|secret|passw|seed|hash(es)?$")
# No secrets, and yet nobody's business: whom this node keeps to itself, and where its signer is.
PRIVATE_SETTINGS: Final = frozenset({"private_peers", "signer_address", "signer_client"})
# Holders added up for a page; of more a page says that it did not.
HOLDERS_MAX: Final = 10_000
# Between two turns of the loop: about a millisecond.
HOLDERS_SLICE: Final = 32
HOLDS_PER_HOLDER_MAX: Final = 1_000
# A block in between makes a sum of two states: begun anew, and given up on a busy chain.
ATTEMPTS_MAX: Final = 4
_PARTS: Final = {
    "payments.channel": "channels",
    "payments.channelRefill": "channels",
    "payments.escrow": "escrows",
    "payments.scheduled": "scheduled",
}


class SupplyPartsParams(Params):
    """Parameters of asset_getSupplyParts."""

    asset: Asset = Field(description="The asset's name")


class OverviewMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "node_getConfig",
                "This node's settings, without what is secret or private",
                self.settings,
                result=consensus_shapes.Settings,
                result_description="settings[{name value|null isDefault isSecret}]",
            ),
            Method(
                "node_getStorage",
                "How much disk is free, and which blocks are kept",
                self.storage,
                result=consensus_shapes.Storage,
                result_description=(
                    "freeMb|null minFreeMb firstHeight height backup: null, a node makes none"
                ),
            ),
            Method(
                "asset_getSupplyParts",
                "A supply added up from all balances and all that is set apart",
                self.supply_parts,
                SupplyPartsParams,
                errors=(NOT_FOUND,),
                cost=1_000,
                result=consensus_shapes.SupplyParts,
                result_description=(
                    "asset supply decimals height parts{balances holds escrows channels "
                    "scheduled}|null why|null: parts are null for the native asset, whose holders "
                    f"no index lists, and for more than {HOLDERS_MAX} holders"
                ),
            ),
        ]

    def settings(self, _params: NoParams, _context: Context) -> Json:
        """node_getConfig."""
        config, shown = self._services.operator.config, []
        for name, field in NodeConfig.model_fields.items():
            value = getattr(config, name)
            hidden = name in PRIVATE_SETTINGS or _SECRET.search(name) is not None
            shown.append(
                {
                    "name": name,
                    "value": None if hidden else to_jsonable_python(value),
                    "isDefault": value == field.get_default(call_default_factory=True),
                    "isSecret": hidden,
                }
            )
        return {"settings": shown}

    def storage(self, _params: NoParams, _context: Context) -> Json:
        """node_getStorage."""
        services = self._services
        return {
            "freeMb": services.watch.disk_free_mb,
            "minFreeMb": services.operator.config.min_free_disk_mb,
            "firstHeight": max(1, services.chain.blocks.floor()),
            "height": services.chain.height,
            "backup": None,
        }

    async def supply_parts(self, params: SupplyPartsParams, _context: Context) -> Json:
        """asset_getSupplyParts."""
        chain = self._services.chain
        asset = get_asset(chain.reader, params.asset)
        if asset is None:
            raise NotFound(params.asset)
        parts: dict[str, int] | None = None
        why: str | None = "no index lists who has some of the native asset"
        for _ in range(ATTEMPTS_MAX):
            height, supply = chain.height, get_supply(chain.reader, asset.name)
            if asset.name == NATIVE_ASSET:
                break
            parts = await self._parts(asset.name, height)
            why = f"there are more than {HOLDERS_MAX} holders" if parts is None else None
            if chain.height == height:
                break
            parts, why = None, "blocks came faster than the sum could be made"
        return {
            "asset": asset.name,
            "supply": str(supply),
            "decimals": asset.decimals,
            "height": height,
            "parts": None if parts is None else {name: str(sum_) for name, sum_ in parts.items()},
            "why": why,
        }

    async def _parts(self, asset: str, height: int) -> dict[str, int] | None:
        """Return the sums, of no use once the chain has left `height`; None for too many."""
        state = self._services.chain.reader
        parts = dict.fromkeys(("balances", "holds", "escrows", "channels", "scheduled"), 0)
        after, count = b"", 0
        while page := list_holders(state, asset, HOLDERS_SLICE, after):
            count += len(page)
            if count > HOLDERS_MAX:
                return None
            for account, balance in page:
                parts["balances"] += balance.amount
                for part, amount in _apart(state, asset, account) if balance.held else ():
                    parts[part] += amount
            after = page[-1][0]
            await next_turn()
            if self._services.chain.height != height:
                break
        return parts


def _apart(state: StateReader, asset: str, account: bytes) -> list[tuple[str, int]]:
    """Return under which parts how much of an account's is set apart."""
    prefix = INDEX_PREFIX + account + b"h"
    found = []
    for key, _ in state.ordered(KERNEL, prefix, HOLDS_PER_HOLDER_MAX):
        record = state.get(KERNEL, hold_key(key[len(prefix) :]))
        if record is None:
            raise Bug("a list of holds names one that is not there")
        hold = Hold.unpack(record)
        if hold.source == account and hold.asset == asset:
            part = "holds" if hold.module == KERNEL else _PARTS.get(hold.rule, "holds")
            found.append((part, hold.amount))
    return found
