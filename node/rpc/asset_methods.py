"""asset_*: which assets there are, who issues and controls them, and who has how much of each."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.ledger.kernel.records import Balance
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.params import NATIVE_ASSET, asset_name
from clawpurse.ledger.rules import time_text
from clawpurse.modules.assets.records import (
    AUTHORISATION_REQUIRED,
    DUTIES,
    FREEZABLE,
    FREEZE_NAMES,
    LEVEL_NAMES,
    Reserve,
    flag_names,
    get_asset,
    get_freeze,
    get_holding,
    get_metadata,
    get_reserve,
    get_supply,
    level_of,
    list_assets,
    list_freezes,
    list_holders,
    list_issued,
    role_of,
)
from clawpurse.modules.assets.records import Asset as AssetRecord
from clawpurse.modules.kit.web.errors import NOT_FOUND, PRUNED
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.modules.roles.chain import list_holders as list_role_holders
from clawpurse.node.rpc import shapes
from clawpurse.node.rpc.past import AtHeight, state_after
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Account, Asset, Limit, hex_of

# The index counts in four bytes.
START_MAX: Final = 2**32
# Agents of a duty that are shown with an asset; `role_list` has all of them.
AGENTS_SHOWN_MAX: Final = 50
_ASSET_RESULT: Final = (
    "asset decimals title supply issuer|null flags[] cap|null frozen issued metadata "
    "metadataHash|null"
)
_HOLDER_RESULT: Final = (
    "account amount held freeze authorisation|null frozenBy{height by reason|null}|null"
)
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
    issuer: Account | None = Field(None, description="Only assets that this account created")


class HolderListParams(Params):
    """Parameters of asset_getHolders."""

    asset: Asset = Field(description="The asset's name; not the native one")
    frozen: bool = Field(False, description="Only holders that are frozen")
    limit: Limit = Field(50, description="At most so many")
    cursor: str | None = Field(None, max_length=100, description="nextCursor of the page before")


class HoldingParams(Params):
    """Parameters of asset_getHolding."""

    asset: Asset = Field(description="The asset's name; not the native one")
    account: Account = Field(description="The holder")
    at_height: AtHeight = None


class AssetMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "asset_get",
                "One asset: what it is, who issues it and acts for its issuer, what backs it",
                self.asset,
                AssetParams,
                errors=(NOT_FOUND,),
                cost=5,
                result=shapes.AssetDetails,
                result_description=(
                    f"{_ASSET_RESULT} agents[{{duty accounts[]}}] "
                    "reserve{amount asOf documentHash validUntil by height valid}|null"
                ),
            ),
            Method(
                "asset_list",
                "All assets, oldest first; of one issuer, by name",
                self.assets,
                AssetListParams,
                cost=5,
                result=shapes.AssetList,
                result_description=f"assets[{{{_ASSET_RESULT}}}] nextCursor|null",
            ),
            Method(
                "asset_getSupply",
                "What exists of an asset",
                self.supply,
                AssetAtParams,
                errors=(NOT_FOUND, PRUNED),
                result=shapes.AssetSupply,
                result_description="asset supply decimals height",
            ),
            *self._holder_methods(),
        ]

    def _holder_methods(self) -> list[Method]:
        return [
            Method(
                "asset_getHolders",
                "Who has some of an asset, or is authorised or frozen; in order of key",
                self.holders,
                HolderListParams,
                errors=(NOT_FOUND,),
                cost=10,
                result=shapes.AssetHolders,
                result_description=f"asset decimals holders[{{{_HOLDER_RESULT}}}] nextCursor|null",
            ),
            Method(
                "asset_getHolding",
                "What one account has of an asset, and may do with it",
                self.holding,
                HoldingParams,
                errors=(NOT_FOUND, PRUNED),
                result=shapes.AssetHolding,
                result_description=f"asset decimals height {_HOLDER_RESULT}",
            ),
        ]

    def asset(self, params: AssetParams, _context: Context) -> Json:
        """asset_get."""
        chain = self._services.chain
        asset = _existing(chain.reader, params.asset)
        reserve = get_reserve(chain.reader, asset.name)
        return {
            **_asset_json(chain.reader, asset),
            "agents": _agents(chain.reader, asset),
            "reserve": None if reserve is None else _reserve_json(reserve, chain.tip.time_ms),
        }

    def assets(self, params: AssetListParams, _context: Context) -> Json:
        """asset_list."""
        state = self._services.chain.reader
        if params.issuer is not None:
            return self._issued(state, params.issuer, params.limit, params.cursor)
        start = 0
        if params.cursor is not None:
            if not (params.cursor.isascii() and params.cursor.isdigit()):
                raise Malformed("cursor", "is not one that this API gave")
            start = min(int(params.cursor), START_MAX)
        found = list_assets(state, start, params.limit + 1)
        more = len(found) > params.limit
        return {
            "assets": [_asset_json(state, asset) for asset in found[: params.limit]],
            "nextCursor": str(start + params.limit) if more else None,
        }

    def _issued(self, state: StateReader, issuer: bytes, limit: int, cursor: str | None) -> Json:
        """List an issuer's assets by name. It has at most a hundred, so all names are read."""
        after = "" if cursor is None else asset_name(cursor, "cursor")
        names = [name for name in sorted(list_issued(state, issuer)) if name > after]
        found = [_existing(state, name) for name in names[:limit]]
        return {
            "assets": [_asset_json(state, one) for one in found],
            "nextCursor": names[limit - 1] if len(names) > limit else None,
        }

    def supply(self, params: AssetAtParams, _context: Context) -> Json:
        """asset_getSupply."""
        with state_after(self._services, params.at_height) as (state, height):
            asset = _existing(state, params.asset)
            supply = get_supply(state, asset.name)
        return {
            "asset": asset.name,
            "supply": str(supply),
            "decimals": asset.decimals,
            "height": height,
        }

    def holders(self, params: HolderListParams, _context: Context) -> Json:
        """asset_getHolders."""
        state, limit = self._services.chain.reader, params.limit
        asset = _listed(state, params.asset)
        after = b"" if params.cursor is None else account_from_text(params.cursor)
        if params.frozen:
            freezes = list_freezes(state, asset.name, limit + 1, after)
            found = [(one, get_holding(state, asset.name, one)) for one, _ in freezes]
        else:
            found = list_holders(state, asset.name, limit + 1, after)
        page = found[:limit]
        return {
            "asset": asset.name,
            "decimals": asset.decimals,
            "holders": [_holder_json(state, asset, *holder) for holder in page],
            "nextCursor": account_text(page[-1][0]) if len(found) > limit else None,
        }

    def holding(self, params: HoldingParams, _context: Context) -> Json:
        """asset_getHolding."""
        with state_after(self._services, params.at_height) as (state, height):
            asset = _listed(state, params.asset)
            balance = get_holding(state, asset.name, params.account)
            shown = _holder_json(state, asset, params.account, balance)
        return {"asset": asset.name, "decimals": asset.decimals, "height": height, **shown}


def _existing(state: StateReader, name: str) -> AssetRecord:
    found = get_asset(state, name)
    if found is None:
        raise NotFound(f"asset {name}")
    return found


def _listed(state: StateReader, name: str) -> AssetRecord:
    """Return an asset whose balances have records of their own."""
    if name == NATIVE_ASSET:
        raise Malformed("asset", "is the native one; see account_getBalances")
    return _existing(state, name)


def _asset_json(state: StateReader, asset: AssetRecord) -> Json:
    said = get_metadata(state, asset.name)
    return {
        "asset": asset.name,
        "decimals": asset.decimals,
        "title": asset.title,
        "supply": str(get_supply(state, asset.name)),
        "issuer": None if asset.issuer is None else account_text(asset.issuer),
        "flags": flag_names(asset.flags),
        "cap": None if asset.cap is None else str(asset.cap),
        "frozen": bool(asset.frozen),
        "issued": bool(asset.issued),
        "metadata": said.text,
        "metadataHash": None if said.hash is None else hex_of(said.hash),
    }


def _agents(state: StateReader, asset: AssetRecord) -> list[Json]:
    if asset.issuer is None:
        return []
    shown = []
    for duty in DUTIES:
        found = list_role_holders(state, role_of(asset.name, duty), 0, AGENTS_SHOWN_MAX)
        if found:
            shown.append({"duty": duty, "accounts": [account_text(one) for one in found]})
    return shown


def _reserve_json(reserve: Reserve, now_ms: int) -> Json:
    return {
        "amount": str(reserve.amount),
        "asOf": time_text(reserve.as_of_ms),
        "documentHash": hex_of(reserve.document),
        "validUntil": time_text(reserve.valid_until_ms),
        "by": account_text(reserve.by),
        "height": reserve.height,
        "valid": now_ms <= reserve.valid_until_ms,
    }


def _holder_json(state: StateReader, asset: AssetRecord, account: bytes, balance: Balance) -> Json:
    """Return what a holder has and may; a power that the issuer gave up does nothing."""
    freeze = get_freeze(state, asset.name, account) if asset.has(FREEZABLE) else None
    guarded = asset.has(AUTHORISATION_REQUIRED) and account != asset.issuer
    return {
        "account": account_text(account),
        "amount": str(balance.amount),
        "held": str(balance.held),
        "freeze": FREEZE_NAMES[0 if freeze is None else freeze.level],
        "authorisation": LEVEL_NAMES[level_of(balance.flags)] if guarded else None,
        "frozenBy": None
        if freeze is None
        else {
            "height": freeze.height,
            "by": account_text(freeze.by),
            "reason": freeze.reason,
        },
    }
