"""asset_*: which assets there are, and how much of each."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from clawpurse.ledger.errors import Bug, Malformed, NotFound
from clawpurse.ledger.kernel.records import supply_key, unpack_supply
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.overlay import StateReader
from clawpurse.modules.assets.records import Asset as AssetRecord
from clawpurse.modules.assets.records import get_asset, list_assets
from clawpurse.modules.kit.web.errors import NOT_FOUND, PRUNED
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.node.rpc.past import AtHeight, state_after
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Asset, Limit

# The index counts in four bytes.
START_MAX: Final = 2**32
Json = dict[str, Any]


class AssetParams(Params):
    """Parameters that name an asset."""

    asset: Asset = Field(description="The asset's name")


class AssetAtParams(Params):
    """Parameters that name an asset, at a height within kept history."""

    asset: Asset = Field(description="The asset's name")
    at_height: AtHeight = None


class AssetListParams(Params):
    """Parameters of asset_list."""

    limit: Limit = Field(50, description="At most so many")
    cursor: str | None = Field(None, max_length=32, description="nextCursor of the page before")


class AssetMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "asset_get",
                "One asset",
                self.asset,
                AssetParams,
                errors=(NOT_FOUND,),
                result=dict[str, Any],
                result_description="asset decimals title supply",
            ),
            Method(
                "asset_list",
                "All assets, oldest first",
                self.assets,
                AssetListParams,
                cost=5,
                result=dict[str, Any],
                result_description="assets[{asset decimals title supply}] nextCursor|null",
            ),
            Method(
                "asset_getSupply",
                "What exists of an asset",
                self.supply,
                AssetAtParams,
                errors=(NOT_FOUND, PRUNED),
                result=dict[str, Any],
                result_description="asset supply decimals height",
            ),
        ]

    def asset(self, params: AssetParams, _context: Context) -> Json:
        """asset_get."""
        state = self._services.chain.reader
        return _asset_json(state, _existing(state, params.asset))

    def assets(self, params: AssetListParams, _context: Context) -> Json:
        """asset_list."""
        start = 0
        if params.cursor is not None:
            if not (params.cursor.isascii() and params.cursor.isdigit()):
                raise Malformed("cursor", "is not one that this API gave")
            start = min(int(params.cursor), START_MAX)
        state = self._services.chain.reader
        found = list_assets(state, start, params.limit + 1)
        more = len(found) > params.limit
        return {
            "assets": [_asset_json(state, asset) for asset in found[: params.limit]],
            "nextCursor": str(start + params.limit) if more else None,
        }

    def supply(self, params: AssetAtParams, _context: Context) -> Json:
        """asset_getSupply."""
        with state_after(self._services, params.at_height) as (state, height):
            shown = _asset_json(state, _existing(state, params.asset))
        return {
            "asset": shown["asset"],
            "supply": shown["supply"],
            "decimals": shown["decimals"],
            "height": height,
        }


def _existing(state: StateReader, name: str) -> AssetRecord:
    found = get_asset(state, name)
    if found is None:
        raise NotFound(f"asset {name}")
    return found


def _asset_json(state: StateReader, asset: AssetRecord) -> Json:
    data = state.get(KERNEL, supply_key(asset.name))
    if data is None:
        raise Bug(f"the asset {asset.name} has no supply record")
    return {
        "asset": asset.name,
        "decimals": asset.decimals,
        "title": asset.title,
        "supply": str(unpack_supply(data)),
    }
