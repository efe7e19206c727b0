"""What is final, as JSON: receipts with their events, and transactions with their receipts."""

from __future__ import annotations

from typing import Any

from clawpurse.ledger.blocks import Event, Receipt
from clawpurse.ledger.errors import NotFound
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import decode_transaction
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import (
    code_label,
    hex_of,
    reason_of,
    trace_json,
    transaction_json,
)
from clawpurse.wallet.receipts import event_json

Json = dict[str, Any]


def receipt_json(services: Services, height: int, index: int) -> Json:
    """Return the receipt at a place, with its events. Raises `NotFound` or `Pruned`."""
    view = services.chain.view(height)
    if index >= len(view.receipts):
        raise NotFound(f"transaction {index} of block {height}")
    receipt = Receipt.unpack(view.receipts[index])
    registry = services.chain.registry
    places = view.events[receipt.first_event : receipt.first_event + receipt.event_count]
    return {
        "txId": hex_of(receipt.tx_id),
        "height": height,
        "index": index,
        "code": code_label(receipt.code),
        "reason": reason_of(receipt, registry, services.decimals_of),
        "rule": receipt.rule or None,
        "fee": str(receipt.fee),
        "cost": receipt.cost,
        "events": [event_json(Event.unpack(item), registry) for item in places],
        "trace": trace_json(receipt),
        "time": time_text(view.block.header.time_ms),
    }


def final_transaction(services: Services, place: tuple[int, int]) -> Json:
    """Return a final transaction with its receipt. Raises `NotFound` or `Pruned`."""
    height, index = place
    receipt = receipt_json(services, height, index)
    transaction = decode_transaction(services.chain.view(height).block.transactions[index])
    return {
        **transaction_json(transaction, services.chain.registry),
        "status": "final",
        "height": height,
        "index": index,
        "receipt": receipt,
    }
