"""Subscription topics over the final log: blocks, transactions, account.

A cursor is a place in that log, `height.index`, the same on every node: it survives
reconnecting, restarting, and another node. `blocks` uses index 0, `transactions` the place in
the block, `account` the place in the block's events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from pydantic import Field

from clawpurse.ledger.address import account_text
from clawpurse.ledger.blocks import Block, Event
from clawpurse.ledger.errors import Pruned
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import decode_transaction
from clawpurse.modules.kit.web.jsonrpc import NoParams, Params, encode_json
from clawpurse.modules.kit.web.subscriptions import Batch, Topic
from clawpurse.modules.kit.web.subscriptions import Event as LogEvent
from clawpurse.node.rpc.account_methods import receipt_json
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import (
    Account,
    event_json,
    header_json,
    hex_of,
    parse_position,
    position_text,
    transaction_json,
)

# Blocks looked at in one go: a bounded piece of work whatever the filter matches.
BLOCKS_PER_READ_MAX: Final = 64
INDEX_MAX: Final = 2**32 - 1
Json = dict[str, Any]
# (index within the block, JSON value) of a block's events on a topic that match.
Reader = Callable[[int, Any], Iterator[tuple[int, Json]]]


class TransactionFilter(Params):
    """Filter of `transactions`."""

    account: Account | None = Field(None, description="Only those that this account took part in")


class AccountFilter(Params):
    """Filter of `account`."""

    account: Account = Field(description="Whose events")


class BlockLog:
    """A topic's log read from final blocks; `subscriptions.LogSource`."""

    def __init__(self, services: Services, read_block: Reader) -> None:
        self._services = services
        self._read_block = read_block

    def head(self) -> str:
        """Return the cursor after the newest event."""
        return position_text((self._services.finality.height, INDEX_MAX))

    async def read(self, after: str, matching: Any, limit: int) -> Batch:
        """Return up to about `limit` events after a cursor; see `LogSource.read`."""
        height, index = parse_position(after)
        floor = self._services.chain.blocks.floor()
        if height < floor - 1:
            raise Pruned("the event log", floor)
        last = min(self._services.finality.height, height + BLOCKS_PER_READ_MAX)
        found: list[LogEvent] = []
        reached = after
        for at in range(max(height, 1), last + 1):
            for place, value in self._read_block(at, matching):
                if at == height and place <= index:
                    continue
                cursor = position_text((at, place))
                found.append(LogEvent(cursor, encode_json(value)))
                if len(found) >= limit:
                    return Batch(found, cursor)
            reached = position_text((at, INDEX_MAX))
        return Batch(found, reached)

    async def wait_beyond(self, cursor: str) -> None:
        """Return when there may be events after a cursor."""
        height, index = parse_position(cursor)
        await self._services.finality.wait_block(height + 1 if index == INDEX_MAX else height)


def topics(services: Services) -> list[Topic]:
    """Return the topics of the final log."""
    readers = _Readers(services)
    return [
        Topic("blocks", "Each final block", BlockLog(services, readers.blocks), NoParams),
        Topic(
            "transactions",
            "Each final transaction with its receipt",
            BlockLog(services, readers.transactions),
            TransactionFilter,
        ),
        Topic(
            "account",
            "Each event that touches an account",
            BlockLog(services, readers.account),
            AccountFilter,
        ),
    ]


class _Readers:
    """Reads one block's events for each topic."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def _block(self, height: int) -> Block:
        packed = self._services.chain.blocks.block(height)
        if packed is None:
            raise Pruned(f"block {height}", self._services.chain.blocks.floor())
        return Block.unpack(packed)

    def blocks(self, height: int, _matching: Any) -> Iterator[tuple[int, Json]]:
        """Yield the block itself."""
        block = self._block(height)
        yield (
            0,
            {
                "header": header_json(block.header),
                "height": height,
                "hash": hex_of(block.header.block_id),
                "time": time_text(block.header.time_ms),
                "transactionCount": len(block.transactions),
            },
        )

    def transactions(self, height: int, matching: Any) -> Iterator[tuple[int, Json]]:
        """Yield its transactions, or those that an account took part in."""
        registry = self._services.chain.registry
        wanted = None if matching.account is None else account_text(matching.account)
        for index, raw in enumerate(self._block(height).transactions):
            transaction = decode_transaction(raw)
            receipt = receipt_json(self._services, height, index)
            shown = transaction_json(transaction, registry)
            if wanted is not None:
                parties = {shown["sender"], shown["payer"]}
                parties.update(name for event in receipt["events"] for name in event["accounts"])
                if wanted not in parties:
                    continue
            yield index, {**shown, "height": height, "index": index, "receipt": receipt}

    def account(self, height: int, matching: Any) -> Iterator[tuple[int, Json]]:
        """Yield the events that touch an account, with their transaction's id."""
        services = self._services
        receipts = None
        for index, packed in enumerate(services.chain.events_at(height)):
            event = Event.unpack(packed)
            if matching.account not in event.accounts:
                continue
            if receipts is None:
                receipts = services.chain.blocks.receipts(height) or []
            tx_id = None
            if event.transaction is not None:
                tx_id = hex_of(_tx_id_of(receipts[event.transaction]))
            shown = event_json(event, services.chain.registry)
            yield index, {**shown, "txId": tx_id, "height": height, "index": index}


def _tx_id_of(packed_receipt: bytes) -> bytes:
    """Return the tx id of a packed receipt: its first field, 32 bytes after two heads."""
    return packed_receipt[3:35]
