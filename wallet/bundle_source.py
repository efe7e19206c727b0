"""Gathering an audit bundle from a network's nodes: which blocks, and of each the parts needed.

Nothing is believed here: whoever writes a bundle checks it (`bundles.check_bundle`) before it is
called one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, NamedTuple

from clawpurse.ledger.address import account_text
from clawpurse.ledger.blocks import EVENT_BYTES_MAX, Event
from clawpurse.ledger.errors import OperatorError
from clawpurse.ledger.genesis import GENESIS_BYTES_MAX, Genesis
from clawpurse.ledger.kernel.records import account_key, balance_key, supply_key
from clawpurse.ledger.module_api import KERNEL, Registry
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.modules.assets.records import TREE as ASSETS_TREE
from clawpurse.modules.assets.records import asset_key
from clawpurse.modules.kit.web.errors import PRUNED, BadAnswer, RpcError
from clawpurse.wallet.bundle_claims import asset_reader
from clawpurse.wallet.bundles import (
    BLOCKS_MAX,
    BUNDLE_FORMAT,
    BUNDLE_VERSION,
    STATE_MAX,
    Scope,
    scope_json,
)
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.proof_steps import hexed, octets

# What one bundle tells of; more is several bundles.
TRANSACTIONS_MAX: Final = 20_000
# As many of one block as a node hands out in one answer.
_PARTS_MAX: Final = 256
# Whole transactions as JSON are large; a page of these fits an answer.
_HISTORY_PAGE: Final = 100

Json = dict[str, Any]
StateKey = tuple[str, bytes]


class Wanted(NamedTuple):
    """What shall be exported. `first` and `last` bound the blocks, None for all there are.

    `keys` are further (module, raw key) whose value after the last block is proven.
    """

    scope: Scope
    first: int = 1
    last: int | None = None
    keys: tuple[StateKey, ...] = ()


class BundleSource:
    """One export. `head` first, then `blocks` to its end; `notes` says what could not be had."""

    def __init__(self, node: NodeClient, registry: Registry, wanted: Wanted) -> None:
        self._node = node
        self._wanted = wanted
        self._asset_of = asset_reader(registry)
        self._indexes: dict[int, tuple[set[int], set[int]]] = {}
        self._count = 0
        self._assets: set[str] = set()
        self._genesis: Genesis | None = None
        self.last = 0
        self.notes: list[str] = []

    async def head(self, genesis_hash: bytes, genesis: bytes | None = None) -> Json:
        """Return the bundle's members before `blocks`.

        `genesis`: its bytes, if they are at hand; nodes do not hand out a large one.
        """
        status = await self._node.status()
        scope, last = self._wanted.scope, self._wanted.last
        self.last = status.height if last is None else last
        if scope.kind == "heights":
            self.last = scope.heights[1]
        if self.last > status.height:
            raise OperatorError(
                f"Block {self.last} is not there yet, the newest is {status.height}.",
                "Nothing was written.",
                "name an earlier one",
            )
        if genesis is None:
            answer = await self._node.call("chain_getGenesis")
            genesis = octets(answer.get("raw"), "genesis", GENESIS_BYTES_MAX)
        self._genesis = Genesis.unpack(genesis)
        if self._genesis.hash != genesis_hash:
            raise BadAnswer("the genesis has another hash than the network")
        return {
            "format": BUNDLE_FORMAT,
            "version": BUNDLE_VERSION,
            "scope": scope_json(scope, account_text),
            "genesis": hexed(genesis),
        }

    async def blocks(self) -> AsyncIterator[Json]:
        """Give the blocks of the bundle, ascending.

        Raises `OperatorError` when there is nothing, or too much.
        """
        scope = self._wanted.scope
        await self._find(scope)
        changes = await self._changes()
        heights = set(self._indexes)
        if scope.kind == "heights":
            heights.update(range(scope.heights[0], scope.heights[1] + 1))
        self._bound(len(heights), BLOCKS_MAX, "blocks")
        if not heights and scope.kind != "accounts":
            raise OperatorError("There is nothing to export.", "Nothing was written.", "")
        heights.update(changes)
        heights.add(self.last)
        for height in sorted(heights):
            block = await self._block(height)
            block["nextAuthorities"] = changes.get(height)
            block["state"] = await self._state() if height == self.last else []
            yield block

    # -- what there is

    async def _find(self, scope: Scope) -> None:
        match scope.kind:
            case "accounts":
                for account in scope.accounts:
                    await self._history(account)
                    await self._events({"account": account_text(account), "dueOnly": True})
            case "asset":
                await self._events({"asset": scope.asset})
            case "transactions":
                for tx_id in scope.ids:
                    found = await self._node.receipt(tx_id)
                    self._add(found.get("height"), found.get("index"), None)

    async def _history(self, account: bytes) -> None:
        cursor: str | None = None
        while True:
            params: Json = {
                "account": account_text(account),
                "newestFirst": False,
                "limit": _HISTORY_PAGE,
                "fromHeight": self._wanted.first,
                "toHeight": self.last,
            }
            if cursor is not None:
                params["cursor"] = cursor
            answer = await self._node.call("account_getTransactions", params)
            for entry in answer["transactions"]:
                self._add(entry.get("height"), entry.get("index"), None)
            cursor = answer.get("nextCursor")
            if cursor is None:
                return

    async def _events(self, matching: Json) -> None:
        cursor: str | None = None
        while True:
            params = {**matching, "fromHeight": self._wanted.first, "toHeight": self.last}
            if cursor is not None:
                params["cursor"] = cursor
            answer = await self._node.call("chain_findEvents", params)
            for place in answer["places"]:
                of = place.get("transaction")
                self._add(place.get("height"), of, None if of is not None else place.get("index"))
            cursor = answer.get("nextCursor")
            if cursor is None:
                return

    def _add(self, height: object, index: object, due: object) -> None:
        if type(height) is not int or not 1 <= height <= self.last:
            raise BadAnswer("a transaction's height is none of this chain")
        transactions, events = self._indexes.setdefault(height, (set(), set()))
        for value, places in ((index, transactions), (due, events)):
            if value is not None:
                if type(value) is not int or value < 0:
                    raise BadAnswer("a transaction's index is no number from 0")
                self._count += value not in places
                places.add(value)
        self._bound(self._count, TRANSACTIONS_MAX, "transactions")

    def _bound(self, count: int, most: int, what: str) -> None:
        if count > most:
            raise OperatorError(
                f"There are more than {most} {what} to export.",
                "Nothing was written.",
                "export a part: --from-height, --to-height or --heights",
            )

    async def _changes(self) -> dict[int, str]:
        found: dict[int, str] = {}
        after: int | None = 0
        while after is not None:
            answer = await self._node.call(
                "chain_getAuthorityChanges", {"after": after, "toHeight": self.last}
            )
            for change in answer["changes"]:
                found[change["height"]] = change["nextAuthorities"]
            after = answer.get("nextAfter")
        return found

    # -- its parts

    async def _block(self, height: int) -> Json:
        scope = self._wanted.scope
        if scope.kind == "heights" and height >= scope.heights[0]:
            return await self._whole(height)
        transactions, due = map(sorted, self._indexes.get(height, (set(), set())))
        block: Json | None = None
        while block is None or transactions or due:
            part = await self._node.call(
                "chain_getInclusion",
                {
                    "height": height,
                    "transactions": transactions[:_PARTS_MAX],
                    "events": due[:_PARTS_MAX],
                },
            )
            transactions, due = transactions[_PARTS_MAX:], due[_PARTS_MAX:]
            block = _joined(block, part)
        self._see(item["leaf"] for item in block["due"])
        for one in block["transactions"]:
            self._see(item["leaf"] for item in one["events"])
        return block

    async def _whole(self, height: int) -> Json:
        block: Json | None = None
        start: int | None = 0
        while start is not None:
            part = await self._node.call("chain_getInclusion", {"height": height, "start": start})
            start = part.get("nextStart")
            block = _joined(block, part)
        assert block is not None
        self._see(block["due"])
        for one in block["transactions"]:
            self._see(one["events"])
        return block

    def _see(self, events: Any) -> None:
        """Note which assets events are about: how many decimals they have is proven too."""
        for packed in events:
            asset = self._asset_of(Event.unpack(octets(packed, "event", EVENT_BYTES_MAX)))
            if asset is not None:
                self._assets.add(asset)

    async def _state(self) -> list[Json]:
        """Return proven values after the last block, if the node still has that state."""
        found: list[Json] = []
        for module, key in dict.fromkeys([*self._wanted.keys, *await self._own_keys()]):
            try:
                proven = await self._node.call(
                    "chain_getProof",
                    {"module": module, "path": hexed(key), "atHeight": self.last},
                )
            except RpcError as err:
                if err.code != PRUNED:
                    raise
                self.notes.append(
                    f"State after block {self.last} is not kept any more: values of state, and so "
                    "completeness, are not proven."
                )
                return []
            found.append(
                {
                    "module": module,
                    "key": hexed(key),
                    "value": proven["value"],
                    "proof": proven["proof"],
                }
            )
        self._bound(len(found), STATE_MAX, "values of state")
        return found

    async def _own_keys(self) -> list[StateKey]:
        scope = self._wanted.scope
        keys: list[StateKey] = []
        for account in scope.accounts:
            keys.append((KERNEL, account_key(account)))
            for asset in sorted(self._assets - {NATIVE_ASSET}):
                keys.append((KERNEL, balance_key(account, asset)))
        if scope.kind == "asset":
            keys.append((KERNEL, supply_key(scope.asset)))
        assert self._genesis is not None
        known = self._genesis.decimals
        return keys + [
            (ASSETS_TREE, asset_key(asset)) for asset in sorted(self._assets) if asset not in known
        ]


def _joined(block: Json | None, part: Mapping[str, Any]) -> Json:
    """Return a block with one more part of it."""
    fresh = {
        name: part[name]
        for name in ("header", "certificate", "whole", "due", "transactions", "evidence")
    }
    if block is None:
        return fresh
    for name in ("due", "transactions", "evidence"):
        block[name] = [*block[name], *fresh[name]]
    return block
