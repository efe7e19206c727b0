"""A statement of an account: what it had, every movement, what it has; sums that must agree.

Movements are read out of events, where all value that moves is told: transfers, seizures, mints,
burns, deposits for accounts that were opened, and the fees of receipts. What became due without a
transaction is asked for apart. A balance is what can be spent and what is held together: holds
change which of the two it is and not how much there is. A statement that does not add up, asset
by asset, is not given: a node that leaves a movement out is found.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from clawpurse.ledger.address import account_text
from clawpurse.ledger.blocks import Event
from clawpurse.ledger.errors import NotFound
from clawpurse.ledger.module_api import Registry
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.modules.kit.web.errors import BadAnswer
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.receipts import event_json
from clawpurse.wallet.verdicts import Verdict, verify_document

PAGE: Final = 200
# 500,000 transactions: more belong into statements of shorter ranges.
PAGES_MAX: Final = 2_500
_AMOUNT: Final = re.compile(r"[0-9]{1,20}")
# Kinds of events that move value: who loses, who gains (places in `accounts`).
_MOVES: Final[Mapping[str, tuple[int | None, int | None]]] = {
    "assets.transferred": (0, 1),
    "kernel.seized": (0, 1),
    "assets.minted": (None, 0),
    "assets.burned": (0, None),
}
_OPENED: Final = "accounts.opened"
# What a movement is that no event tells of.
FEE: Final = "fee"
Json = dict[str, Any]


class Movement(NamedTuple):
    """One change of what an account has, `amount` in minor units with its sign.

    `what` is the kind of event, or `fee`. `tx_id` is None for what became due by itself.
    """

    height: int
    time: str
    tx_id: str | None
    what: str
    asset: str
    amount: int
    counterparty: str | None
    memo: str


class Line(NamedTuple):
    """An asset's balance at both ends, what can be spent and what is held, in minor units."""

    asset: str
    decimals: int
    opening: int
    opening_held: int
    closing: int
    closing_held: int

    @property
    def change(self) -> int:
        """By how much it changed, held or not."""
        return self.closing + self.closing_held - self.opening - self.opening_held


@dataclass(frozen=True)
class Statement:
    """Both ends included. `verdict` is the proof of the balances, None if none was asked for."""

    account: str
    first: int
    last: int
    lines: tuple[Line, ...]
    movements: tuple[Movement, ...]
    verdict: Verdict | None = None


async def statement_of(
    node: NodeClient,
    account: bytes,
    heights: tuple[int, int | None],
    registry: Registry,
    *,
    proven_by: bytes | None = None,
) -> Statement:
    """Ask for a statement over blocks (None: up to the newest) and add it up.

    `proven_by` is the genesis hash by which the balances at both ends shall be proven. Raises
    `BadAnswer` when sums, order or proof do not hold, `RpcError` for blocks that are not there.
    """
    params: Json = {"account": account_text(account), "fromHeight": heights[0]}
    if heights[1] is not None:
        params["toHeight"] = heights[1]
    asked = {**params, "limit": 1, **({} if proven_by is None else {"prove": True})}
    head = await node.call("account_getStatement", asked)
    verdict = None
    if proven_by is not None:
        verdict = _proven(head, proven_by, registry)
    last = head.get("toHeight")
    if type(last) is not int or head.get("account") != params["account"]:
        raise BadAnswer("the statement is of another account or of no range")
    params["toHeight"] = last
    lines = tuple(_line(row) for row in head["balances"])
    movements = [
        one async for entry in _entries(node, params) for one in movements_of(entry, account)
    ]
    movements += [one async for one in _due(node, account, heights[0], last, registry)]
    movements.sort(key=lambda one: (one.height, one.tx_id is not None))
    check_sums(lines, movements)
    return Statement(params["account"], heights[0], last, lines, tuple(movements), verdict)


def movements_of(entry: Mapping[str, Any], account: bytes) -> list[Movement]:
    """Return what a final transaction, as `tx_get` shows it, changed for an account."""
    me, receipt = account_text(account), entry["receipt"]
    tx_id, memo = str(entry["txId"]), str(entry.get("memoText") or "")
    height, time = int(entry["height"]), str(receipt["time"])
    found = [
        Movement(height, time, tx_id, *one, memo)
        for event in receipt["events"]
        for one in _changes(event, me)
    ]
    fee = _minor(receipt["fee"])
    if fee and (entry.get("payer") or entry["sender"]) == me:
        found.append(Movement(height, time, tx_id, FEE, NATIVE_ASSET, -fee, None, memo))
    return found


def check_sums(lines: Sequence[Line], movements: Sequence[Movement]) -> None:
    """Refuse a statement whose movements do not lead from opening to closing: `BadAnswer`."""
    moved: dict[str, int] = {}
    for one in movements:
        moved[one.asset] = moved.get(one.asset, 0) + one.amount
    changes = {line.asset: line.change for line in lines}
    for asset in sorted({*moved, *changes}):
        if moved.get(asset, 0) != changes.get(asset, 0):
            raise BadAnswer(
                f"the statement does not add up: {asset} changed by {changes.get(asset, 0)} minor "
                f"units, its movements make {moved.get(asset, 0)}"
            )


async def height_at(node: NodeClient, time_ms: int) -> int:
    """Return the first block at or after a time (ms UTC), by halving; the node may lack blocks.

    Raises `NotFound` when the newest block is older.
    """
    low, high = 1, (await node.status()).height
    if not high or await _time_of(node, high) < time_ms:
        raise NotFound("a block of that time or later")
    while low < high:
        middle = (low + high) // 2
        if await _time_of(node, middle) >= time_ms:
            high = middle
        else:
            low = middle + 1
    return low


async def _time_of(node: NodeClient, height: int) -> int:
    answer = await node.call("chain_getBlock", {"height": height, "transactions": "ids"})
    time_ms: int = answer["header"]["timeMs"]
    return time_ms


def _changes(event: Mapping[str, Any], me: str) -> list[tuple[str, str, int, str | None]]:
    """Return (what, asset, signed amount, counterparty) of an event for one account."""
    kind, accounts, data = event["kind"], event["accounts"], event["data"]
    if kind == _OPENED:
        deposit = _minor(data["deposit"])
        paid = deposit and accounts[1] == me
        return [(kind, NATIVE_ASSET, -deposit, accounts[0])] if paid else []
    if kind not in _MOVES:
        return []
    loses, gains = (None if place is None else accounts[place] for place in _MOVES[kind])
    asset, amount = str(data["asset"]), _minor(data["amount"])
    found: list[tuple[str, str, int, str | None]] = []
    if loses == me:
        found.append((kind, asset, -amount, gains))
    if gains == me:
        found.append((kind, asset, amount, loses))
    return found


async def _entries(node: NodeClient, params: Json) -> AsyncIterator[Json]:
    cursor: str | None = None
    for _ in range(PAGES_MAX):
        more = {} if cursor is None else {"cursor": cursor}
        answer = await node.call("account_getStatement", {**params, "limit": PAGE, **more})
        for entry in answer["entries"]:
            yield entry
        cursor = answer["nextCursor"]
        if cursor is None:
            return
    raise BadAnswer("the statement is too long; ask for fewer blocks")


async def _due(
    node: NodeClient, account: bytes, first: int, last: int, registry: Registry
) -> AsyncIterator[Movement]:
    """Yield what moved without a transaction: holds, escrows and payments whose time came."""
    me = account_text(account)
    params: Json = {"account": me, "dueOnly": True, "fromHeight": first, "toHeight": last}
    places: dict[int, list[int]] = {}
    for _ in range(PAGES_MAX):
        answer = await node.call("chain_findEvents", params)
        for place in answer["places"]:
            places.setdefault(place["height"], []).append(place["index"])
        if answer["nextCursor"] is None:
            break
        params = {**params, "cursor": answer["nextCursor"]}
    for height, indexes in places.items():
        asked = {"height": height, "transactions": [], "events": indexes}
        block = await node.call("chain_getInclusion", asked)
        time = await node.call("chain_getBlock", {"height": height, "transactions": "ids"})
        for leaf in block["due"]:
            event = Event.unpack(bytes.fromhex(leaf["leaf"][2:]))
            for one in _changes(event_json(event, registry), me):
                yield Movement(height, time["header"]["time"], None, *one, "")


def _proven(head: Json, genesis_hash: bytes, registry: Registry) -> Verdict:
    document = {name: value for name, value in head.items() if name not in _PAGED}
    verdict = verify_document(document, genesis_hash, registry)
    if not verdict.valid:
        raise BadAnswer(f"the statement is not proven: {verdict.reason}")
    return verdict


# Of a page, not of the balances that are proven.
_PAGED: Final = ("entries", "nextCursor")


def _line(row: Mapping[str, Any]) -> Line:
    names = ("opening", "openingHeld", "closing", "closingHeld")
    return Line(str(row["asset"]), int(row["decimals"]), *(_minor(row[name]) for name in names))


def _minor(value: object) -> int:
    if type(value) is int and value >= 0:
        return value
    if type(value) is str and _AMOUNT.fullmatch(value):
        return int(value)
    raise BadAnswer("an amount is not a whole number of minor units")
