"""account_*: what an account is, has, may do next, and took part in."""

from __future__ import annotations

from typing import Any, Final

import trio
from pydantic import Field

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.ledger.kernel.books import Books
from clawpurse.ledger.kernel.records import ACCOUNT_DEPOSIT_AUTH, BALANCE_PREFIX, account_key
from clawpurse.ledger.kernel.records import Account as AccountRecord
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.overlay import Overlay, StateReader
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.store.index import account_history
from clawpurse.ledger.transactions import LANE_COUNT
from clawpurse.modules.assets.records import Asset, count_assets, get_asset, list_assets
from clawpurse.modules.kit.web.errors import NOT_FOUND, PRUNED
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.node.rpc.finals import final_transaction
from clawpurse.node.rpc.past import AtHeight, state_after
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Account, Height, Limit, hex_of, parse_position, position_text

# Balances of so many assets are looked up in one answer, one seek each.
ASSETS_LISTED_MAX: Final = 256
HEIGHT_MAX: Final = 2**64 - 1
INDEX_MAX: Final = 2**32 - 1
Json = dict[str, Any]


class AccountParams(Params):
    """Parameters that name an account."""

    account: Account = Field(description="The account, claw1…")


class AccountAtParams(Params):
    """Parameters that name an account, at a height within kept history."""

    account: Account = Field(description="The account, claw1…")
    at_height: AtHeight = None


class SequenceParams(Params):
    """Parameters of account_getSequence."""

    account: Account = Field(description="The account, claw1…")
    lane: int = Field(0, ge=0, lt=LANE_COUNT, description="The lane, 0…63")


class HistoryParams(Params):
    """Parameters of account_getTransactions."""

    account: Account = Field(description="The account, claw1…")
    limit: Limit = Field(50, description="At most so many")
    cursor: str | None = Field(None, max_length=48, description="nextCursor of the page before")
    newest_first: bool = Field(True, description="Direction of time")
    from_height: Height | None = Field(None, description="Not before this block")
    to_height: Height | None = Field(None, description="Not after this block")


class AccountMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "account_get",
                "An account's key, lanes and quota",
                self.get,
                AccountAtParams,
                errors=(NOT_FOUND, PRUNED),
                result=dict[str, Any],
                result_description=(
                    "account key|null multisig depositAuth lanes[{lane nextSequence}] quota "
                    "idempotencyKeys scheduled height"
                ),
            ),
            Method(
                "account_getBalances",
                "What an account has of each asset; all zero for one that is not open",
                self.balances,
                AccountAtParams,
                errors=(PRUNED,),
                cost=2,
                result=dict[str, Any],
                result_description="account balances[{asset amount held decimals}] height",
            ),
            Method(
                "account_getSequence",
                "The next sequence to use in a lane, pooled transactions counted",
                self.sequence,
                SequenceParams,
                result=dict[str, Any],
                result_description="account lane sequence finalSequence open",
            ),
            Method(
                "account_getTransactions",
                "The final transactions that touched an account",
                self.transactions,
                HistoryParams,
                errors=(PRUNED,),
                # Each entry may stand in a large block of its own.
                cost=500,
                result=dict[str, Any],
                result_description="account transactions[] (as tx_get) nextCursor|null",
            ),
        ]

    def get(self, params: AccountAtParams, _context: Context) -> Json:
        """account_get."""
        with state_after(self._services, params.at_height) as (state, height):
            data = state.get(KERNEL, account_key(params.account))
        if data is None:
            raise NotFound(account_text(params.account))
        record = AccountRecord.unpack(data)
        lanes = [
            {"lane": lane, "nextSequence": record.sequence(lane)}
            for lane in range(len(record.lanes) // 8)
            if record.sequence(lane)
        ]
        terms = self._services.chain.params
        return {
            "account": account_text(params.account),
            "key": None if record.key is None else hex_of(record.key),
            "multisig": record.policy is not None,
            "depositAuth": bool(record.flags & ACCOUNT_DEPOSIT_AUTH),
            "lanes": lanes,
            "quota": {
                "window": record.quota_window,
                "used": record.quota_used,
                "max": terms.quota_cost_max,
                "windowMs": terms.quota_window_ms,
            },
            "idempotencyKeys": record.idempotency_count,
            "scheduled": record.due_count,
            "height": height,
        }

    def balances(self, params: AccountAtParams, _context: Context) -> Json:
        """account_getBalances."""
        with state_after(self._services, params.at_height) as (state, height):
            newest = height == self._services.chain.height
            found = _balances(state, params.account, newest=newest)
        return {"account": account_text(params.account), "balances": found, "height": height}

    def sequence(self, params: SequenceParams, _context: Context) -> Json:
        """account_getSequence."""
        data = self._services.chain.reader.get(KERNEL, account_key(params.account))
        final = 0 if data is None else AccountRecord.unpack(data).sequence(params.lane)
        pooled = self._services.pool.next_sequence(params.account, params.lane)
        return {
            "account": account_text(params.account),
            "lane": params.lane,
            "sequence": max(final, pooled if pooled is not None else 0),
            "finalSequence": final,
            "open": data is not None,
        }

    async def transactions(self, params: HistoryParams, _context: Context) -> Json:
        """account_getTransactions."""
        page = account_history(
            self._services.chain.store,
            params.account,
            limit=params.limit,
            cursor=_first_place(params),
            newest_first=params.newest_first,
        )
        shown = []
        following = page.next_cursor
        first, last = (
            params.from_height or 0,
            HEIGHT_MAX if params.to_height is None else params.to_height,
        )
        if following is not None and not first <= following[0] <= last:
            following = None
        for place in page.positions:
            if not first <= place[0] <= last:
                following = None
                break
            shown.append(final_transaction(self._services, place))
            # Each may need another block decoded; others have their turn in between.
            await trio.lowlevel.checkpoint()
        return {
            "account": account_text(params.account),
            "transactions": shown,
            "nextCursor": None if following is None else position_text(following),
        }


def _first_place(params: HistoryParams) -> tuple[int, int] | None:
    """Return where a page begins: at its cursor, or at the range's near end."""
    if params.cursor is not None:
        return parse_position(params.cursor)
    if params.newest_first:
        return None if params.to_height is None else (params.to_height, INDEX_MAX)
    return None if params.from_height is None else (params.from_height, 0)


def _balances(state: StateReader, account: bytes, *, newest: bool) -> list[Json]:
    """Return what an account has; its list of balances is of the newest state alone."""
    books = Books(Overlay(state))
    shown = []
    for asset in _assets_of(state, account) if newest else _all_assets(state):
        balance = books.balance(asset.name, account)
        if balance.amount or balance.held or asset.name == NATIVE_ASSET:
            shown.append(
                {
                    "asset": asset.name,
                    "amount": str(balance.amount),
                    "held": str(balance.held),
                    "decimals": asset.decimals,
                }
            )
    return shown


def _assets_of(state: StateReader, account: bytes) -> list[Asset]:
    """Return the native asset and those of which an account has a balance, in order of name."""
    prefix = BALANCE_PREFIX + account
    rows = state.ordered(KERNEL, prefix, ASSETS_LISTED_MAX)
    names = [NATIVE_ASSET, *(key[len(prefix) :].decode("ascii") for key, _ in rows)]
    return [asset for name in names if (asset := get_asset(state, name)) is not None]


def _all_assets(state: StateReader) -> list[Asset]:
    if count_assets(state) > ASSETS_LISTED_MAX:
        raise Malformed("atHeight", "there are too many assets; ask asset_getHolding for each")
    return list_assets(state, 0, ASSETS_LISTED_MAX)
