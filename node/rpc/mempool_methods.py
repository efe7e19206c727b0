"""mempool_*: what waits for a block."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from clawpurse.ledger.address import account_text
from clawpurse.modules.kit.web.errors import INVALID_PARAMS, RpcError
from clawpurse.modules.kit.web.jsonrpc import Context, Method, NoParams, Params
from clawpurse.modules.kit.web.turns import next_turn
from clawpurse.node.rpc import ledger_shapes, shapes
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Account, Limit, transaction_json

# Transactions turned into JSON between two turns of the loop: about a millisecond.
SHOWN_SLICE: Final = 16
SENDER_SHOWN_MAX: Final = 500
Json = dict[str, Any]


class PoolParams(Params):
    """Parameters of mempool_getTransactions."""

    limit: Limit = Field(50, description="At most so many")
    cursor: str | None = Field(None, max_length=64, description="nextCursor of the page before")


class SenderParams(Params):
    """Parameters that name a sender."""

    account: Account = Field(description="The sender, claw1…")


class MempoolMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "mempool_getStatus",
                "How full the mempool is",
                self.pool_status,
                result=shapes.MempoolStatus,
                result_description=(
                    "transactions bytes ready gaps senders transactionsMax bytesMax evicted "
                    "oldestMs|null: for how long the oldest waits"
                ),
            ),
            Method(
                "mempool_getTransactions",
                "Pending transactions in proposal order",
                self.pool_transactions,
                PoolParams,
                cost=20,
                result=shapes.MempoolTransactions,
                result_description="transactions[] nextCursor|null",
            ),
            Method(
                "mempool_getBySender",
                "A sender's pending transactions, waiting ones too",
                self.pool_by_sender,
                SenderParams,
                cost=5,
                result=ledger_shapes.SenderTransactions,
                result_description="account transactions[] each with ready",
            ),
        ]

    def pool_status(self, _params: NoParams, _context: Context) -> Json:
        """mempool_getStatus."""
        status = self._services.pool.status()
        oldest = self._services.pool.oldest_accepted_ms()
        return {
            "transactions": status.transactions,
            "bytes": status.bytes,
            "ready": status.ready,
            "gaps": status.gaps,
            "senders": status.senders,
            "transactionsMax": status.transactions_max,
            "bytesMax": status.bytes_max,
            "evicted": status.evicted,
            "oldestMs": None if oldest is None else max(0, self._services.clock.now_ms() - oldest),
        }

    async def pool_transactions(self, params: PoolParams, _context: Context) -> Json:
        """mempool_getTransactions."""
        after = None if params.cursor is None else _parse_place(params.cursor)
        found, following = self._services.pool.page(params.limit, after)
        registry = self._services.chain.registry
        shown = []
        for number, prepared in enumerate(found, 1):
            shown.append(transaction_json(prepared.transaction, registry))
            if number % SHOWN_SLICE == 0:
                await next_turn()
        return {
            "transactions": shown,
            "nextCursor": None if following is None else f"{-following[0]}.{following[1]}",
        }

    async def pool_by_sender(self, params: SenderParams, _context: Context) -> Json:
        """mempool_getBySender."""
        registry = self._services.chain.registry
        shown = []
        found = self._services.pool.by_sender(params.account)[:SENDER_SHOWN_MAX]
        for number, (prepared, ready) in enumerate(found, 1):
            shown.append({**transaction_json(prepared.transaction, registry), "ready": ready})
            if number % SHOWN_SLICE == 0:
                await next_turn()
        return {"account": account_text(params.account), "transactions": shown}


PLACE_DIGITS_MAX: Final = 40


def _parse_place(cursor: str) -> tuple[int, int]:
    rate, separator, arrival = cursor.partition(".")
    digits = rate + arrival
    if not separator or not digits.isascii() or not digits.isdigit():
        raise RpcError(INVALID_PARAMS, "cursor is not one that this API gave")
    if len(digits) > PLACE_DIGITS_MAX or not rate or not arrival:
        raise RpcError(INVALID_PARAMS, "cursor is not one that this API gave")
    return -int(rate), int(arrival)
