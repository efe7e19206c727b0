"""Topics over the final log: blocks, transactions, events, account, asset, compliance.

A cursor is a place in that log, `height.index`, the same on every node: it survives
reconnecting, restarting, and another node. `blocks` uses index 0, `transactions` the place in
the block, the others the place in the block's events.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from clawpurse.ledger.blocks import Event, Receipt
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import decode_transaction
from clawpurse.modules.kit.web.subscriptions import Topic
from clawpurse.node.chain import BlockView
from clawpurse.node.rpc.event_cache import Candidate, Reader
from clawpurse.node.rpc.event_filters import (
    OFFICERS_FOLLOW,
    AccountFilter,
    AssetFilter,
    BlockFilter,
    ComplianceFilter,
    EventFilter,
    EventJudge,
    TransactionFilter,
    TransactionJudge,
    Wanted,
)
from clawpurse.node.rpc.event_log import BlockLog
from clawpurse.node.rpc.finals import receipt_json
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import hex_of, transaction_json
from clawpurse.wallet.receipts import event_json
from clawpurse.wallet.state_documents import header_json

# The topic of `events_get` where none is named: everything that happened.
DEFAULT_TOPIC: Final = "events"
Json = dict[str, Any]


def log_topics(services: Services) -> list[Topic]:
    """Return the topics of the final log. Made anew, they still share what is encoded."""
    readers = _Readers(services)

    def log(family: str, read: Reader) -> BlockLog:
        return BlockLog(services, family, read)

    return [
        Topic("blocks", "Each final block", log("blocks", readers.blocks), BlockFilter),
        Topic(
            "transactions",
            "Each final transaction with its receipt",
            log("transactions", readers.transactions),
            TransactionFilter,
        ),
        Topic("events", "Each event of the ledger", log("events", readers.events), EventFilter),
        Topic(
            "account",
            "Each event that touches an account",
            log("events", readers.events),
            AccountFilter,
        ),
        Topic(
            "asset",
            "Each event about an asset",
            log("events", readers.events),
            AssetFilter,
        ),
        Topic(
            "compliance",
            "Each event of policies, lists and attestations, and each payment held or ended",
            log("events", readers.compliance),
            ComplianceFilter,
        ),
    ]


class _Readers:
    """Reads one block's events for each topic."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def blocks(self, height: int, matching: BlockFilter) -> Iterator[Candidate]:
        """Yield the block itself."""
        view = self._services.chain.view(height)
        empty = matching.non_empty and not view.block.transactions
        yield Candidate(0, None if empty else partial(_block_json, view))

    def transactions(self, height: int, matching: TransactionFilter) -> Iterator[Candidate]:
        """Yield its transactions."""
        view = self._services.chain.view(height)
        judge = TransactionJudge(matching, self._services.chain.registry)
        for index in range(len(view.block.transactions)):
            if not judge.matches(view, index):
                yield Candidate(index, None)
                continue
            yield Candidate(index, partial(self._transaction_json, view, height, index))

    def events(
        self, height: int, matching: EventFilter | AccountFilter | AssetFilter
    ) -> Iterator[Candidate]:
        """Yield its events."""
        kind = None if matching.kind is None else (matching.kind,)
        wanted = Wanted(kind, matching.account, matching.asset, matching.direction)
        return self._read(height, wanted)

    def compliance(self, height: int, matching: ComplianceFilter) -> Iterator[Candidate]:
        """Yield the events that officers follow."""
        kinds: tuple[str, ...] = OFFICERS_FOLLOW
        if matching.kind is not None:
            # Both must hold: of two beginnings that fit each other, the longer one.
            wanted = matching.kind
            kinds = tuple(
                max(kind, wanted, key=len)
                for kind in OFFICERS_FOLLOW
                if kind.startswith(wanted) or wanted.startswith(kind)
            )
        return self._read(height, Wanted(kinds, matching.account, matching.asset, None))

    def _read(self, height: int, wanted: Wanted) -> Iterator[Candidate]:
        view = self._services.chain.view(height)
        judge = EventJudge(wanted, self._services.chain.registry)
        for index, packed in enumerate(view.events):
            event = judge.read(packed)
            if event is None:
                yield Candidate(index, None)
                continue
            yield Candidate(index, partial(self._event_json, view, event, height, index))

    def _transaction_json(self, view: BlockView, height: int, index: int) -> Json:
        transaction = decode_transaction(view.block.transactions[index])
        shown = transaction_json(transaction, self._services.chain.registry)
        receipt = receipt_json(self._services, height, index)
        return {**shown, "height": height, "index": index, "receipt": receipt}

    def _event_json(self, view: BlockView, event: Event, height: int, index: int) -> Json:
        tx_id = None
        if event.transaction is not None:
            tx_id = hex_of(Receipt.unpack(view.receipts[event.transaction]).tx_id)
        shown = event_json(event, self._services.chain.registry)
        when = time_text(view.block.header.time_ms)
        return {**shown, "txId": tx_id, "height": height, "index": index, "time": when}


def _block_json(view: BlockView) -> Json:
    header = view.block.header
    return {
        "header": header_json(header),
        "height": header.height,
        "hash": hex_of(header.block_id),
        "time": time_text(header.time_ms),
        "transactionCount": len(view.block.transactions),
    }
