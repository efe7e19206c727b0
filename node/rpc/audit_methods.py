"""chain_findEvents, chain_getInclusion, chain_getAuthorityChanges: what audit bundles are made of.

Every answer is proven by whoever reads it, so nothing here is shown in words.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

from pydantic import Field

from clawpurse.ledger import crypto
from clawpurse.ledger.blocks import Event, Receipt
from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.ledger.store.events import read_events
from clawpurse.modules.kit.web.errors import NOT_FOUND, PRUNED
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.modules.kit.web.turns import next_turn
from clawpurse.node.chain import BlockView
from clawpurse.node.rpc import ledger_shapes
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Account, Asset, Height, hex_of, parse_position, position_text
from clawpurse.wallet.bundle_claims import asset_reader
from clawpurse.wallet.proofs import HashedList

# Events looked at in one call, whatever matches, in pieces of about half a millisecond.
EVENTS_LOOKED_MAX: Final = 4_096
EVENTS_SLICE: Final = 256
# Transactions of one block in one answer; with four kilobytes of paths and hex each, a megabyte.
PARTS_MAX: Final = 256
# Bytes of a whole block in one answer: as hex, with the rest, under half of what may be said.
WHOLE_BYTES_MAX: Final = 1_500_000
CHANGES_MAX: Final = 100
# Leaves written as hex between two turns of the loop: about a millisecond.
PARTS_SLICE: Final = 16
Json = dict[str, Any]


class FindEventsParams(Params):
    """Parameters of chain_findEvents."""

    account: Account | None = Field(None, description="Only events that name this account")
    asset: Asset | None = Field(None, description="Only events about this asset")
    due_only: bool = Field(False, description="Only events of no transaction: due work, evidence")
    from_height: Height = Field(1, description="Not before this block")
    to_height: Height | None = Field(None, description="Not after this block")
    cursor: str | None = Field(None, max_length=48, description="nextCursor of the answer before")


class InclusionParams(Params):
    """Parameters of chain_getInclusion."""

    height: Height = Field(description="The block")
    transactions: list[int] | None = Field(
        None, max_length=PARTS_MAX, description="Indexes, ascending; the whole block if left out"
    )
    events: list[int] = Field(
        [], max_length=PARTS_MAX, description="Indexes of events of no transaction, ascending"
    )
    start: int = Field(0, ge=0, description="Of a whole block: from this transaction on")


class ChangesParams(Params):
    """Parameters of chain_getAuthorityChanges."""

    after: Height = Field(0, description="Only changes in blocks after this one")
    to_height: Height | None = Field(None, description="Only changes in blocks up to this one")


class AuditMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "chain_findEvents",
                "Where events are that name an account or an asset, oldest first",
                self.find_events,
                FindEventsParams,
                errors=(PRUNED,),
                cost=50,
                result=ledger_shapes.EventPlaces,
                result_description=(
                    "places[{height index transaction|null}] nextCursor|null; an answer may be "
                    "empty and not the last"
                ),
            ),
            Method(
                "chain_getInclusion",
                "Parts of a block with their paths to its header, or all of it",
                self.inclusion,
                InclusionParams,
                errors=(NOT_FOUND, PRUNED),
                cost=200,
                result=ledger_shapes.Inclusion,
                result_description=(
                    "header certificate whole due[] transactions[{signed path receipt events[]}] "
                    "evidence[] nextStart|null, as in an audit bundle"
                ),
            ),
            Method(
                "chain_getAuthorityChanges",
                "Blocks after which other authorities decide",
                self.changes,
                ChangesParams,
                cost=50,
                result=ledger_shapes.AuthorityChanges,
                result_description=(
                    "changes[{height header certificate nextAuthorities}] nextAfter|null"
                ),
            ),
        ]

    async def find_events(self, params: FindEventsParams, _context: Context) -> Json:
        """chain_findEvents."""
        chain = self._services.chain
        head = chain.height if params.to_height is None else min(params.to_height, chain.height)
        place = (max(params.from_height, 1), 0)
        if params.cursor is not None:
            place = max(place, parse_position(params.cursor))
        floor, asset_of = chain.blocks.floor(), asset_reader(chain.registry)
        found: list[Json] = []
        for _ in range(EVENTS_LOOKED_MAX // EVENTS_SLICE):
            if place[0] > head:
                break
            page = read_events(chain.store, place, limit=EVENTS_SLICE, floor=floor, head=head)
            for (height, index), packed in page.events:
                event = _matching(params, packed, asset_of)
                if event is not None:
                    found.append(
                        {"height": height, "index": index, "transaction": event.transaction}
                    )
            place = page.next_cursor
            await next_turn()
        more = place[0] <= head
        return {"places": found, "nextCursor": position_text(place) if more else None}

    async def inclusion(self, params: InclusionParams, _context: Context) -> Json:
        """chain_getInclusion."""
        view = self._services.chain.view(params.height)
        answer: Json = {
            "header": hex_of(view.block.header.pack()),
            "certificate": hex_of(view.certificate),
        }
        if params.transactions is None:
            return {**answer, **await _whole(view, params.start)}
        return {**answer, **await _parts(view, params.transactions, params.events)}

    async def changes(self, params: ChangesParams, _context: Context) -> Json:
        """chain_getAuthorityChanges."""
        chain = self._services.chain
        last = chain.height if params.to_height is None else min(params.to_height, chain.height)
        found: list[Json] = []
        # A change that block h makes known is in force from h + 1.
        for in_force, packed in list(chain.blocks.authority_changes(last + 1)):
            height = in_force - 1
            if height <= params.after:
                continue
            if len(found) == CHANGES_MAX:
                return {"changes": found, "nextAfter": found[-1]["height"]}
            header, certificate = chain.blocks.header(height), chain.blocks.certificate(height)
            if header is None or certificate is None:
                raise NotFound(f"block {height}")
            found.append(
                {
                    "height": height,
                    "header": hex_of(header),
                    "certificate": hex_of(certificate),
                    "nextAuthorities": hex_of(packed),
                }
            )
            await next_turn()
        return {"changes": found, "nextAfter": None}


def _matching(
    params: FindEventsParams, packed: bytes, asset_of: Callable[[Event], str | None]
) -> Event | None:
    """Return an event if it is one of those asked for."""
    # Ids and names stand in an event as they are: what lacks them is not decoded.
    if params.account is not None and params.account not in packed:
        return None
    if params.asset is not None and params.asset.encode("ascii") not in packed:
        return None
    event = Event.unpack(packed)
    if params.due_only and event.transaction is not None:
        return None
    if params.account is not None and params.account not in event.accounts:
        return None
    if params.asset is not None and asset_of(event) != params.asset:
        return None
    return event


def _events_of(view: BlockView, receipt: Receipt) -> range:
    return range(receipt.first_event, receipt.first_event + receipt.event_count)


def _due_count(view: BlockView) -> int:
    """Return how many events of a block are no transaction's: they come first."""
    if view.receipts:
        return Receipt.unpack(view.receipts[0]).first_event
    return len(view.events)


async def _whole(view: BlockView, start: int) -> Json:
    """Return a block from transaction `start` on, as much of it as one answer holds."""
    found: list[Json] = []
    size = 0
    due = view.events[: _due_count(view)] if start == 0 else []
    size += sum(map(len, due))
    following = None
    for index in range(start, len(view.receipts)):
        events = [view.events[n] for n in _events_of(view, Receipt.unpack(view.receipts[index]))]
        raw = view.block.transactions[index]
        size += len(raw) + len(view.receipts[index]) + sum(map(len, events))
        if found and size > WHOLE_BYTES_MAX:
            following = index
            break
        found.append(
            {
                "signed": hex_of(raw),
                "path": None,
                "receipt": hex_of(view.receipts[index]),
                "events": [hex_of(event) for event in events],
            }
        )
        if len(found) % PARTS_SLICE == 0:
            await next_turn()
    return {
        "whole": True,
        "due": [hex_of(event) for event in due],
        "transactions": found,
        "evidence": [hex_of(item) for item in view.block.evidence] if start == 0 else [],
        "nextStart": following,
    }


async def _parts(view: BlockView, indexes: list[int], due: list[int]) -> Json:
    """Return transactions and events of no transaction with their paths."""
    count, due_count = len(view.receipts), _due_count(view)
    _ascending(indexes, count, "transaction")
    _ascending(due, due_count, "event of no transaction")
    wtx_ids: list[bytes] = []
    for number, raw in enumerate(view.block.transactions, 1):
        wtx_ids.append(crypto.wtx_id_of(raw))
        if number % EVENTS_SLICE == 0:
            await next_turn()
    ids, receipts, events = (
        HashedList(wtx_ids),
        HashedList(view.receipts),
        HashedList(view.events),
    )
    for hashed in (ids, receipts, events):
        for _ in hashed.steps():
            await next_turn()
    found: list[Json] = []
    for index in indexes:
        places = _events_of(view, Receipt.unpack(view.receipts[index]))
        found.append(
            {
                "signed": hex_of(view.block.transactions[index]),
                "path": ids.leaf(index)["path"],
                "receipt": receipts.leaf(index),
                "events": [events.leaf(place) for place in places],
            }
        )
        if len(found) % PARTS_SLICE == 0:
            await next_turn()
    return {
        "whole": False,
        "due": [events.leaf(place) for place in due],
        "transactions": found,
        "evidence": [],
        "nextStart": None,
    }


def _ascending(indexes: list[int], count: int, what: str) -> None:
    """Refuse indexes that are not there, or not in order."""
    for before, index in pairwise([-1, *indexes]):
        if not before < index:
            raise Malformed("indexes", "are not in ascending order")
        if index >= count:
            raise NotFound(f"{what} {index} of the block")
