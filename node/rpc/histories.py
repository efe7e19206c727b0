"""An account's balances in a state, and pages of its history: what several methods show."""

from __future__ import annotations

from typing import Any, Final

from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.kernel.records import BALANCE_PREFIX
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.store.index import Position, account_history
from clawpurse.modules.assets.records import Asset, count_assets, get_asset, list_assets
from clawpurse.modules.kit.web.turns import next_turn
from clawpurse.node.rpc.event_log import INDEX_MAX
from clawpurse.node.rpc.finals import final_transaction
from clawpurse.node.rpc.past import state_after
from clawpurse.node.rpc.services import Services
from clawpurse.wallet.state_documents import balance_rows

# Balances of so many assets are looked up in one answer, one seek each.
ASSETS_LISTED_MAX: Final = 256
Json = dict[str, Any]


async def history_page(
    services: Services,
    account: bytes,
    limit: int,
    start: Position | None,
    heights: tuple[int, int],
    *,
    newest_first: bool = False,
) -> tuple[list[Json], Position | None]:
    """Return up to `limit` final transactions from `start` on within `heights`, both included.

    And where the next page begins, None after the last. Raises `Pruned`.
    """
    # A block is on disk a moment before it is final here; its transactions are not told before.
    head = services.chain.height
    first, last = heights[0], min(heights[1], head)
    if newest_first and (start is None or start[0] > head):
        start = (head, INDEX_MAX)
    page = account_history(
        services.chain.store, account, limit=limit, cursor=start, newest_first=newest_first
    )
    shown = []
    following = page.next_cursor
    if following is not None and not first <= following[0] <= last:
        following = None
    for place in page.positions:
        if not first <= place[0] <= last:
            following = None
            break
        shown.append(final_transaction(services, place))
        # Each may need another block decoded; others have their turn in between.
        await next_turn()
    return shown, following


def balances_in(state: StateReader, account: bytes, *, newest: bool) -> list[Json]:
    """Return what an account has; its list of balances is of the newest state alone."""
    assets = _assets_of(state, account) if newest else _all_assets(state)
    return balance_rows(state, account, assets)


def listed_assets(services: Services, at_height: int | None, account: bytes) -> list[Asset]:
    """Return the assets of which an account may have a balance after a block, None: the newest."""
    with state_after(services, at_height) as (state, height):
        newest = height == services.chain.height
        return _assets_of(state, account) if newest else _all_assets(state)


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
