"""node_*, net_*, mempool_*, faucet_*, admin_*: this node, its peers, its pool, its operator."""

from __future__ import annotations

from typing import Any, Final

import trio
from pydantic import Field

from clawpurse.ledger.address import account_text, authority_text
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.web.errors import INVALID_PARAMS, METHOD_DISABLED, RATE_LIMITED, RpcError
from clawpurse.modules.kit.web.guard import ADMIN
from clawpurse.modules.kit.web.jsonrpc import Context, Method, NoParams, Params
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Account, Limit, hex_of, transaction_json

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


class NodeMethods:
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
                result=dict[str, Any],
                result_description=(
                    "transactions bytes ready gaps senders transactionsMax bytesMax evicted"
                ),
            ),
            Method(
                "mempool_getTransactions",
                "Pending transactions in proposal order",
                self.pool_transactions,
                PoolParams,
                cost=20,
                result=dict[str, Any],
                result_description="transactions[] nextCursor|null",
            ),
            Method(
                "mempool_getBySender",
                "A sender's pending transactions, waiting ones too",
                self.pool_by_sender,
                SenderParams,
                cost=5,
                result=dict[str, Any],
                result_description="account transactions[] each with ready",
            ),
            Method(
                "net_getPeers",
                "Connected peers, and bans with their reasons",
                self.peers,
                result=dict[str, Any],
                result_description=(
                    "nodeId listen peers[{nodeId address direction agent …}] bans[{subject "
                    "reason until}]"
                ),
            ),
            Method(
                "node_getInfo",
                "What this node is",
                self.info,
                result=dict[str, Any],
                result_description=(
                    "name nodeId listen authority isAuthority signing chainId genesisHash "
                    "modules rpc metrics startedAt version"
                ),
            ),
            Method(
                "node_getHealth",
                "Whether this node can be relied on now",
                self.health,
                result=dict[str, Any],
                result_description="ready problems[] height behind peers",
            ),
            Method(
                "node_getVersion",
                "The version of the software",
                self.version,
                result=dict[str, Any],
                result_description="version protocol",
            ),
            Method(
                "faucet_request",
                "Get test money; on test networks only",
                self.faucet,
                SenderParams,
                errors=(METHOD_DISABLED, RATE_LIMITED),
                cost=50,
                result=dict[str, Any],
                result_description="txId asset amount",
            ),
            Method(
                "admin_stop",
                "Stop this node cleanly",
                self.stop,
                role=ADMIN,
                result=dict[str, Any],
                result_description="stopping",
            ),
        ]

    def pool_status(self, _params: NoParams, _context: Context) -> Json:
        """mempool_getStatus."""
        status = self._services.pool.status()
        return {
            "transactions": status.transactions,
            "bytes": status.bytes,
            "ready": status.ready,
            "gaps": status.gaps,
            "senders": status.senders,
            "transactionsMax": status.transactions_max,
            "bytesMax": status.bytes_max,
            "evicted": status.evicted,
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
                await trio.lowlevel.checkpoint()
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
                await trio.lowlevel.checkpoint()
        return {"account": account_text(params.account), "transactions": shown}

    def peers(self, _params: NoParams, _context: Context) -> Json:
        """net_getPeers."""
        network = self._services.network
        return {
            "nodeId": network.node_id,
            "listen": network.listen_address,
            "peers": network.peers_json(),
            "bans": network.bans_json(),
        }

    def info(self, _params: NoParams, _context: Context) -> Json:
        """node_getInfo."""
        services = self._services
        key = services.own_key
        return {
            "name": services.config.name,
            "nodeId": services.network.node_id,
            "listen": services.network.listen_address,
            "authority": None if key is None else authority_text(key),
            "isAuthority": key is not None and key in services.chain.authorities,
            "signing": services.engine.may_sign,
            "chainId": services.chain.genesis.chain_id,
            "genesisHash": hex_of(services.chain.genesis.hash),
            "modules": [
                {"name": name, "version": version}
                for name, version in services.chain.registry.trees
            ],
            "rpc": f"http://{services.config.rpc_listen}",
            "metrics": f"http://{services.config.metrics_listen}/metrics",
            "startedAt": time_text(services.started_ms),
            "version": services.version,
        }

    def health(self, _params: NoParams, _context: Context) -> Json:
        """node_getHealth."""
        problems = self._services.health()
        return {
            "ready": not problems,
            "problems": problems,
            "height": self._services.chain.height,
            "behind": self._services.sync.progress.behind,
            "peers": self._services.network.count,
        }

    def version(self, _params: NoParams, _context: Context) -> Json:
        """node_getVersion."""
        return {"version": self._services.version, "protocol": 1}

    async def faucet(self, params: SenderParams, _context: Context) -> Json:
        """faucet_request."""
        faucet = self._services.faucet
        if faucet is None:
            raise RpcError(METHOD_DISABLED, "this is no test network, it has no faucet")
        answer: Json = await faucet.request(params.account)
        return answer

    def stop(self, _params: NoParams, _context: Context) -> Json:
        """admin_stop."""
        self._services.stop()
        return {"stopping": True}


PLACE_DIGITS_MAX: Final = 40


def _parse_place(cursor: str) -> tuple[int, int]:
    rate, separator, arrival = cursor.partition(".")
    digits = rate + arrival
    if not separator or not digits.isascii() or not digits.isdigit():
        raise RpcError(INVALID_PARAMS, "cursor is not one that this API gave")
    if len(digits) > PLACE_DIGITS_MAX or not rate or not arrival:
        raise RpcError(INVALID_PARAMS, "cursor is not one that this API gave")
    return -int(rate), int(arrival)
