"""net_*, node_*, faucet_*: this node, its peers, its test money."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from clawpurse.ledger.address import authority_text
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.web.errors import METHOD_DISABLED, RATE_LIMITED, SYNCING, RpcError
from clawpurse.modules.kit.web.jsonrpc import Context, Method, NoParams, Params
from clawpurse.node.alerts import KINDS
from clawpurse.node.amendments import alarms
from clawpurse.node.rpc import consensus_shapes, shapes
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Account, hex_of

Json = dict[str, Any]


class FaucetParams(Params):
    """Parameters of faucet_request."""

    account: Account = Field(description="Whom to pay, claw1…")


class NodeMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "net_getPeers",
                "Connected peers, and bans with their reasons",
                self.peers,
                result=shapes.NetworkPeers,
                result_description=(
                    "nodeId listen peers[{nodeId address direction agent …}] bans[{subject "
                    "reason until}]"
                ),
            ),
            Method(
                "node_getInfo",
                "What this node is",
                self.info,
                result=shapes.NodeInfo,
                result_description=(
                    "name nodeId listen authority isAuthority signing chainId genesisHash "
                    "modules rpc metrics startedAt version"
                ),
            ),
            Method(
                "node_getHealth",
                "Whether this node can be relied on now",
                self.health,
                result=shapes.NodeHealth,
                result_description="ready problems[] alarms[] height behind peers",
            ),
            Method(
                "node_getAlerts",
                "What somebody should look at, by this node's own checks",
                self.alerts,
                result=consensus_shapes.Alerts,
                result_description=(
                    "alerts[{name subject severity since summary meaning runbook facts}], the "
                    "critical ones first; checks[{name severity meaning}]: all that can fire"
                ),
            ),
            Method(
                "node_getModules",
                "The services in this node's process, with what they keep",
                self.modules,
                result=shapes.NodeModules,
                result_description="modules[{name title url problem kinds[{name states missed}]}]",
            ),
            Method(
                "node_getVersion",
                "The version of the software",
                self.version,
                result=shapes.NodeVersion,
                result_description="version protocol",
            ),
            Method(
                "faucet_request",
                "Get test money; on test networks only",
                self.faucet,
                FaucetParams,
                errors=(SYNCING, RATE_LIMITED, METHOD_DISABLED),
                cost=50,
                result=shapes.FaucetPayment,
                result_description="txId asset amount",
            ),
        ]

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
        key = services.signing.own_key
        return {
            "name": services.config.name,
            "nodeId": services.network.node_id,
            "listen": services.network.listen_address,
            "authority": None if key is None else authority_text(key),
            "isAuthority": services.signing.is_authority,
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
        problems, chain = self._services.health(), self._services.chain
        return {
            "ready": not problems,
            "problems": problems,
            "alarms": [
                *self._services.evidence.alarms(),
                *alarms(chain.amendments, chain.known_amendments),
            ],
            "height": self._services.chain.height,
            "behind": self._services.sync.progress.behind,
            "peers": self._services.network.count,
        }

    def alerts(self, _params: NoParams, _context: Context) -> Json:
        """node_getAlerts."""
        return {
            "alerts": self._services.watch.alerts_json(),
            "checks": [
                {"name": name, "severity": str(kind.severity), "meaning": kind.meaning}
                for name, kind in KINDS.items()
            ],
            "time": time_text(self._services.clock.now_ms()),
        }

    def modules(self, _params: NoParams, _context: Context) -> Json:
        """node_getModules."""
        return {"modules": self._services.modules()}

    def version(self, _params: NoParams, _context: Context) -> Json:
        """node_getVersion."""
        return {"version": self._services.version, "protocol": 1}

    async def faucet(self, params: FaucetParams, _context: Context) -> Json:
        """faucet_request."""
        faucet = self._services.faucet
        if faucet is None:
            raise RpcError(METHOD_DISABLED, "this is no test network, it has no faucet")
        self._services.require_recent()
        answer: Json = await faucet.request(params.account)
        return answer
