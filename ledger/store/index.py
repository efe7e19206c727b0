"""Where a transaction is, and which transactions touched an account.

Side indexes: written with their block, never read by consensus, and made again from blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from clawpurse.ledger.store import schema
from clawpurse.ledger.store.kv import Reads

# (height, index in the block): the same on every node, so it serves as a cursor.
Position = tuple[int, int]


class HistoryPage(NamedTuple):
    """Some positions of an account's history, and the cursor for the next page, if any."""

    positions: list[Position]
    next_cursor: Position | None


def index_keys(
    height: int, tx_ids: Sequence[bytes], touched: Sequence[tuple[bytes, int]]
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the (key, body) pairs that index one block."""
    place = height.to_bytes(8, "big")
    for index, tx_id in enumerate(tx_ids):
        yield schema.TRANSACTION + tx_id, place + index.to_bytes(4, "big")
    for account, index in touched:
        yield schema.history_key(account, height, index), b""


def locate_transaction(view: Reads, tx_id: bytes) -> Position | None:
    """Return where a final transaction is, or None. Raises `StorageFault`."""
    key = schema.TRANSACTION + tx_id
    record = view.get(key)
    if record is None:
        return None
    body = schema.unseal(key, record)
    return int.from_bytes(body[:8], "big"), int.from_bytes(body[8:], "big")


def account_history(
    view: Reads,
    account: bytes,
    *,
    limit: int,
    cursor: Position | None = None,
    newest_first: bool = True,
) -> HistoryPage:
    """Return up to `limit` transactions that touched a 32-byte account, from `cursor` on.

    `cursor` is where to begin, inclusive, as `next_cursor` of the page before gave it; None
    begins at the newest, or the oldest. One seek, whatever the length of the history.
    """
    start = schema.HISTORY + account
    stop = schema.history_key(account, 2**64 - 1, 2**32 - 1) + b"\x00"
    if cursor is not None:
        at = schema.history_key(account, *cursor)
        start, stop = (start, at + b"\x00") if newest_first else (at, stop)
    positions: list[Position] = []
    for key, record in view.iterate(start, stop, newest_first):
        schema.unseal(key, record)
        position = int.from_bytes(key[33:41], "big"), int.from_bytes(key[41:], "big")
        if len(positions) >= limit:
            return HistoryPage(positions, position)
        positions.append(position)
    return HistoryPage(positions, None)
