"""Subscription topics over the final log: blocks, transactions, account, compliance.

A cursor is a place in that log, `height.index`, the same on every node: it survives
reconnecting, restarting, and another node. `blocks` uses index 0, `transactions` the place in
the block, `account` the place in the block's events.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import trio
from pydantic import Field

from clawpurse.ledger.blocks import Event, Receipt
from clawpurse.ledger.errors import Pruned
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import decode_transaction
from clawpurse.modules.kit.web.jsonrpc import NoParams, Params, encode_json
from clawpurse.modules.kit.web.subscriptions import Batch, Topic
from clawpurse.modules.kit.web.subscriptions import Event as LogEvent
from clawpurse.node.chain import BlockView
from clawpurse.node.rpc.finals import receipt_json
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import (
    Account,
    header_json,
    hex_of,
    parse_position,
    position_text,
    transaction_json,
)
from clawpurse.wallet.receipts import event_json

# Blocks looked at in one go: a bounded piece of work whatever the filter matches.
BLOCKS_PER_READ_MAX: Final = 64
INDEX_MAX: Final = 2**32 - 1
# Events turned into JSON between two turns of the loop: about a millisecond.
EVENTS_SLICE: Final = 16
# How the kinds of event begin that officers follow.
_OFFICERS_FOLLOW: Final = (b"compliance.", b"kernel.held", b"kernel.holdEnded")
Json = dict[str, Any]
# (height, filter, first index) → (index within the block, JSON value) of the events that match.
Reader = Callable[[int, Any, int], Iterator[tuple[int, Json]]]


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
        first, start = _following(parse_position(after))
        floor = self._services.chain.blocks.floor()
        if first < floor:
            raise Pruned("the event log", floor)
        last = min(self._services.finality.height, first + BLOCKS_PER_READ_MAX)
        found: list[LogEvent] = []
        reached = after
        for height in range(max(first, 1), last + 1):
            begin = start if height == first else 0
            for place, value in self._read_block(height, matching, begin):
                cursor = position_text((height, place))
                found.append(LogEvent(cursor, encode_json(value)))
                if len(found) >= limit:
                    return Batch(found, cursor)
                if len(found) % EVENTS_SLICE == 0:
                    await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            reached = position_text((height, INDEX_MAX))
        return Batch(found, reached)

    async def wait_beyond(self, cursor: str) -> None:
        """Return when there may be events after a cursor."""
        height, _ = _following(parse_position(cursor))
        await self._services.finality.wait_block(height)


def _following(place: tuple[int, int]) -> tuple[int, int]:
    """Return the first place after one; the last of a block is followed by the next block."""
    height, index = place
    return (height + 1, 0) if index == INDEX_MAX else (height, index + 1)


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
        Topic(
            "compliance",
            "Each event of policies, lists and attestations, and each payment held or ended",
            BlockLog(services, readers.compliance),
            NoParams,
        ),
    ]


class _Readers:
    """Reads one block's events for each topic."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def blocks(self, height: int, _matching: Any, first: int) -> Iterator[tuple[int, Json]]:
        """Yield the block itself."""
        if first:
            return
        view = self._services.chain.view(height)
        header = view.block.header
        yield (
            0,
            {
                "header": header_json(header),
                "height": height,
                "hash": hex_of(header.block_id),
                "time": time_text(header.time_ms),
                "transactionCount": len(view.block.transactions),
            },
        )

    def transactions(self, height: int, matching: Any, first: int) -> Iterator[tuple[int, Json]]:
        """Yield its transactions, or those that an account took part in."""
        view = self._services.chain.view(height)
        for index, raw in enumerate(view.block.transactions[first:], first):
            if matching.account is not None and not _takes_part(view, index, raw, matching.account):
                continue
            shown = transaction_json(decode_transaction(raw), self._services.chain.registry)
            receipt = receipt_json(self._services, height, index)
            yield index, {**shown, "height": height, "index": index, "receipt": receipt}

    def account(self, height: int, matching: Any, first: int) -> Iterator[tuple[int, Json]]:
        """Yield the events that touch an account, with their transaction's id."""
        view = self._services.chain.view(height)
        for index, packed in enumerate(view.events[first:], first):
            # Ids stand in an event as they are: what does not hold the bytes is not decoded.
            if matching.account not in packed:
                continue
            event = Event.unpack(packed)
            if matching.account in event.accounts:
                yield index, self._event_json(view, event, height, index)

    def compliance(self, height: int, _matching: Any, first: int) -> Iterator[tuple[int, Json]]:
        """Yield the events that officers follow, with their transaction's id."""
        view = self._services.chain.view(height)
        for index, packed in enumerate(view.events[first:], first):
            # As above: the kind stands in an event as it is.
            if not any(part in packed for part in _OFFICERS_FOLLOW):
                continue
            event = Event.unpack(packed)
            if event.kind.encode("ascii").startswith(_OFFICERS_FOLLOW):
                yield index, self._event_json(view, event, height, index)

    def _event_json(self, view: BlockView, event: Event, height: int, index: int) -> Json:
        tx_id = None
        if event.transaction is not None:
            tx_id = hex_of(Receipt.unpack(view.receipts[event.transaction]).tx_id)
        shown = event_json(event, self._services.chain.registry)
        return {**shown, "txId": tx_id, "height": height, "index": index}


def _takes_part(view: BlockView, index: int, raw: bytes, account: bytes) -> bool:
    """Tell whether an account is sender, payer, or in an event of a transaction."""
    receipt = Receipt.unpack(view.receipts[index])
    events = view.events[receipt.first_event : receipt.first_event + receipt.event_count]
    for packed in events:
        if account in packed and account in Event.unpack(packed).accounts:
            return True
    if account not in raw:
        return False
    body = decode_transaction(raw).body
    return account in (body.sender, body.payer)
