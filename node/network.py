"""The node's side of the peer pool: which message goes to which part, and how each part sends.

One place knows all channels; the parts see only their own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum
from typing import Any, Final, Generic, NamedTuple, TypeVar

import trio

from clawpurse.ledger.errors import ProtocolViolation
from clawpurse.ledger.rules import time_text
from clawpurse.node import messages
from clawpurse.node.bodies import Bodies
from clawpurse.node.evidence import EvidencePool
from clawpurse.node.gossip import TransactionGossip
from clawpurse.node.messages import (
    ConsensusKind,
    EvidenceKind,
    ProposalKind,
    SyncKind,
    TransactionKind,
)
from clawpurse.node.sync import BlockSync
from clawpurse.node.votes import VoteGossip
from clawpurse.p2p.address import Endpoint
from clawpurse.p2p.channels import Channel
from clawpurse.p2p.pool import PeerPool

_SIZES: Final[Mapping[Channel, Mapping[int, int]]] = {
    Channel.CONSENSUS: {int(k): v for k, v in messages.CONSENSUS_SIZE_MAX.items()},
    Channel.PROPOSALS: {int(k): v for k, v in messages.PROPOSAL_SIZE_MAX.items()},
    Channel.EVIDENCE: {int(k): v for k, v in messages.EVIDENCE_SIZE_MAX.items()},
    Channel.TRANSACTIONS: {int(k): v for k, v in messages.TRANSACTION_SIZE_MAX.items()},
    Channel.SYNC: {int(k): v for k, v in messages.SYNC_SIZE_MAX.items()},
}
log = logging.getLogger("clawpurse.p2p")


KindT_contra = TypeVar("KindT_contra", bound=IntEnum, contravariant=True)


class ChannelOutbox(Generic[KindT_contra]):
    """One channel's way out: what `bodies`, `gossip` and `sync` call their outbox."""

    def __init__(self, router: Router, channel: Channel) -> None:
        self._router = router
        self._channel = channel

    def peers(self) -> Sequence[bytes]:
        """Return the ids of connected peers."""
        return self._router.pool.ids()

    def send(self, peer: bytes, kind: KindT_contra, payload: bytes) -> bool:
        """Queue a message; False when it could not be queued."""
        return self._router.pool.send(peer, self._channel, int(kind), payload)

    def punish(self, peer: bytes, reason: str) -> None:
        """A peer sent what no honest node sends."""
        self._router.pool.punish(peer, reason)


class ConsensusOutbox:
    """The way out for votes, and for the compact bodies that go with proposals."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def peers(self) -> Sequence[bytes]:
        """Return the ids of connected peers."""
        return self._router.pool.ids()

    def send_consensus(self, peer: bytes, kind: ConsensusKind, payload: bytes) -> bool:
        """Queue a message on the consensus channel."""
        return self._router.pool.send(peer, Channel.CONSENSUS, int(kind), payload)

    def send_proposal(self, peer: bytes, kind: ProposalKind, payload: bytes) -> bool:
        """Queue a message on the proposals channel."""
        return self._router.pool.send(peer, Channel.PROPOSALS, int(kind), payload)


class Parts(NamedTuple):
    """The parts that messages are handed to, one a channel."""

    votes: VoteGossip
    bodies: Bodies
    evidence: EvidencePool
    gossip: TransactionGossip
    sync: BlockSync


class Router:
    """The pool's handler. Parts are attached once, before the pool runs."""

    def __init__(self) -> None:
        self._pool: PeerPool | None = None
        self._parts: Parts | None = None
        #: Told (`connected` or `disconnected`, node id, how many are connected now).
        self.on_peer: Callable[[str, bytes, int], None] = lambda _event, _node, _count: None
        self.changed = trio.Event()

    def attach(
        self,
        pool: PeerPool,
        votes: VoteGossip,
        bodies: Bodies,
        evidence: EvidencePool,
        gossip: TransactionGossip,
        sync: BlockSync,
    ) -> None:
        """Say which parts there are."""
        self._pool = pool
        self._parts = Parts(votes, bodies, evidence, gossip, sync)

    @property
    def pool(self) -> PeerPool:
        """The peer pool."""
        assert self._pool is not None
        return self._pool

    @property
    def parts(self) -> Parts:
        """What messages are handed to."""
        assert self._parts is not None
        return self._parts

    def size_max(self, channel: int, kind: int) -> int:
        """Return the largest payload of a kind. Raises `ProtocolViolation` if there is none."""
        sizes = _SIZES.get(Channel(channel)) if channel in _CHANNELS else None
        if sizes is None or kind not in sizes:
            raise ProtocolViolation(f"there is no kind {kind} on channel {channel}")
        return sizes[kind]

    def connected(self, node_id: bytes) -> None:
        """Greet a peer."""
        votes, _, evidence, gossip, sync = self.parts
        votes.connected(node_id)
        evidence.connected(node_id)
        gossip.connected(node_id)
        sync.announce([node_id])
        self._notify()
        self.on_peer("connected", node_id, len(self.pool.ids()))

    def disconnected(self, node_id: bytes) -> None:
        """Forget a peer."""
        votes, bodies, _, gossip, sync = self.parts
        votes.forget_peer(node_id)
        bodies.forget_peer(node_id)
        gossip.forget_peer(node_id)
        sync.forget_peer(node_id)
        self._notify()
        self.on_peer("disconnected", node_id, len(self.pool.ids()))

    def _notify(self) -> None:
        changed, self.changed = self.changed, trio.Event()
        changed.set()

    async def on_message(self, node_id: bytes, channel: Channel, kind: int, payload: bytes) -> None:
        """Hand a message to its part. Raises `Malformed` or `ProtocolViolation`."""
        votes, bodies, evidence, gossip, sync = self.parts
        match channel:
            case Channel.CONSENSUS:
                await votes.on_message(node_id, ConsensusKind(kind), payload)
            case Channel.PROPOSALS:
                bodies.on_message(node_id, ProposalKind(kind), payload)
            case Channel.EVIDENCE:
                evidence.on_message(node_id, EvidenceKind(kind), payload)
            case Channel.TRANSACTIONS:
                gossip.on_message(node_id, TransactionKind(kind), payload)
            case Channel.SYNC:
                sync.on_message(node_id, SyncKind(kind), payload)
            case _:
                raise ProtocolViolation(f"channel {channel} carries nothing yet")

    def rejected(self, node_id: bytes, problem: str) -> None:
        """Consensus says that a peer sent what no honest node sends."""
        self.pool.punish(node_id, problem)


_CHANNELS: Final = frozenset(int(channel) for channel in Channel)


class NetworkView:
    """What JSON-RPC shows of the network."""

    def __init__(self, pool: PeerPool, host: str) -> None:
        self._pool = pool
        self._host = host

    @property
    def node_id(self) -> str:
        """The id of this node."""
        return self._pool.node_id.hex()

    @property
    def listen_address(self) -> str:
        """Where others reach this node."""
        return f"{self.node_id}@{Endpoint(self._host, self._pool.port)}"

    @property
    def count(self) -> int:
        """How many peers are connected."""
        return len(self._pool.ids())

    def peers_json(self) -> list[dict[str, Any]]:
        """One object a peer."""
        return self._pool.describe()

    def bans_json(self) -> list[dict[str, Any]]:
        """One object a ban in force."""
        return [
            {"subject": ban.subject, "reason": ban.reason, "until": time_text(ban.until_ms)}
            for ban in self._pool.standing.bans()
        ]
