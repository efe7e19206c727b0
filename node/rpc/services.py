"""What JSON-RPC methods stand on: the parts of one node, handed in once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.blocks import Header
from clawpurse.ledger.errors import NotFound
from clawpurse.modules.assets.records import get_asset
from clawpurse.modules.kit.web.errors import SYNCING, RpcError
from clawpurse.node.care import BEHIND_MAX
from clawpurse.node.chain import Chain
from clawpurse.node.clock import Clock
from clawpurse.node.config import NodeConfig
from clawpurse.node.engine import Engine
from clawpurse.node.evidence import EvidencePool
from clawpurse.node.explaining import Explainer
from clawpurse.node.finality import Finality
from clawpurse.node.intake import Intake
from clawpurse.node.mempool import Mempool
from clawpurse.node.operator import Operator
from clawpurse.node.rpc.event_cache import EventCache
from clawpurse.node.signing import Signing
from clawpurse.node.sync import BlockSync
from clawpurse.node.timeline import Timeline
from clawpurse.node.trail import NodeTrail
from clawpurse.node.watch import Feeds, Watch
from clawpurse.node.webhooks import Webhooks

# An idle network makes a block each heartbeat; one may be late.
OLD_HEARTBEATS: Final = 2


class Network(Protocol):
    """What methods ask of the peer-to-peer side."""

    @property
    def node_id(self) -> str:
        """The id of this node, hexadecimal."""

    @property
    def listen_address(self) -> str:
        """`<node-id>@host:port` under which others reach it."""

    def peers_json(self) -> list[dict[str, Any]]:
        """One object a connected peer."""

    def bans_json(self) -> list[dict[str, Any]]:
        """One object a ban in force, with its reason."""

    @property
    def count(self) -> int:
        """How many peers are connected."""


@dataclass(frozen=True)
class Services:
    """One node's parts. `faucet` pays an account and returns the tx id; None: no test network.

    `stop` asks for a clean stop; `health` returns problems that make this node not ready.
    `feeds` are the local topics, `watch` knows the alerts; `events` keeps what readers of the
    final log share; `operator` changes what runs. `webhooks` are None where a node has no place
    for them, `trail` where it tells no audit log. `modules` are the
    services beside the node.
    """

    chain: Chain
    explainer: Explainer
    pool: Mempool
    intake: Intake
    engine: Engine
    sync: BlockSync
    finality: Finality
    timeline: Timeline
    evidence: EvidencePool
    network: Network
    clock: Clock
    config: NodeConfig
    domain: Domain
    version: str
    started_ms: int
    faucet: Any | None
    signing: Signing
    stop: Callable[[], None]
    health: Callable[[], list[str]]
    feeds: Feeds
    watch: Watch
    operator: Operator
    events: EventCache = field(default_factory=EventCache)
    webhooks: Webhooks | None = None
    trail: NodeTrail | None = None
    modules: Callable[[], list[dict[str, Any]]] = list

    def header(self, height: int) -> Header:
        """Return the header of a final block. Raises `NotFound` above the tip and at 0."""
        packed = self.chain.blocks.header(height) if height else None
        if packed is None:
            raise NotFound(f"block {height}")
        return Header.unpack(packed)

    def syncing_error(self) -> RpcError | None:
        """Return what a caller is told while blocks are missing here, None when they are not."""
        progress = self.sync.progress
        if progress.behind <= BEHIND_MAX:
            return None
        return RpcError(
            SYNCING,
            f"syncing {progress.height}/{progress.best} ({progress.behind} behind)",
            facts={"height": progress.height, "best": progress.best, "behind": progress.behind},
        )

    def require_recent(self) -> None:
        """Raise `RpcError` (syncing) where state is too old to judge a transaction by.

        What peers say of their height is a hint that a liar can give too, so the newest block
        must also be older than an idle network's blocks are.
        """
        age_ms = self.clock.now_ms() - self.chain.tip.time_ms
        if age_ms > OLD_HEARTBEATS * self.chain.params.heartbeat_ms:
            error = self.syncing_error()
            if error is not None:
                raise error

    def decimals_of(self, asset: str) -> int | None:
        """Return an asset's decimals, or None when there is no such asset."""
        found = get_asset(self.chain.reader, asset)
        return None if found is None else found.decimals
