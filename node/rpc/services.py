"""What JSON-RPC methods stand on: the parts of one node, handed in once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.blocks import Header
from clawpurse.ledger.errors import NotFound
from clawpurse.modules.assets.chain import get_asset
from clawpurse.node.chain import Chain
from clawpurse.node.clock import Clock
from clawpurse.node.config import NodeConfig
from clawpurse.node.engine import Engine
from clawpurse.node.finality import Finality
from clawpurse.node.intake import Intake
from clawpurse.node.mempool import Mempool
from clawpurse.node.sync import BlockSync


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
    """

    chain: Chain
    pool: Mempool
    intake: Intake
    engine: Engine
    sync: BlockSync
    finality: Finality
    network: Network
    clock: Clock
    config: NodeConfig
    domain: Domain
    version: str
    started_ms: int
    faucet: Any | None
    own_key: bytes | None
    stop: Callable[[], None]
    health: Callable[[], list[str]]

    def header(self, height: int) -> Header:
        """Return the header of a final block. Raises `NotFound` above the tip and at 0."""
        packed = self.chain.blocks.header(height) if height else None
        if packed is None:
            raise NotFound(f"block {height}")
        return Header.unpack(packed)

    def decimals_of(self, asset: str) -> int | None:
        """Return an asset's decimals, or None when there is no such asset."""
        found = get_asset(self.chain.reader, asset)
        return None if found is None else found.decimals
