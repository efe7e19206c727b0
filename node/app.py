"""The whole process on one screen: build every part in order, then one nursery.

`Node` takes everything of the outside world as `Outside`, so that simulation runs this same
file; `run_node` is the daemon.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import trio

from clawpurse.consensus.effects import Effect
from clawpurse.consensus.inputs import Input
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.evidence import DoubleSign
from clawpurse.ledger.errors import BadSignature, Malformed
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.store.index import locate_transaction
from clawpurse.ledger.store.kv import KeyValue
from clawpurse.ledger.store.state import StateLimits
from clawpurse.ledger.transactions import LANE_COUNT
from clawpurse.ledger.transition import Prepared
from clawpurse.modules.faucet.service import Faucet
from clawpurse.modules.kit.web.guard import RefusalLog
from clawpurse.modules.kit.web.limits import Limits
from clawpurse.modules.kit.web.server import open_listeners
from clawpurse.modules.registry import build_registry
from clawpurse.node.bodies import Bodies
from clawpurse.node.callers import Callers, local_callers, tls_conditions
from clawpurse.node.care import Care
from clawpurse.node.chain import Chain, Executed, open_chain
from clawpurse.node.clock import Clock
from clawpurse.node.config import NodeConfig
from clawpurse.node.config_file import ConfigFile
from clawpurse.node.decided import DecidedHeights
from clawpurse.node.engine import Engine
from clawpurse.node.evidence import EvidencePool
from clawpurse.node.evidence_rules import EvidenceRules
from clawpurse.node.explaining import Explainer
from clawpurse.node.files import Files
from clawpurse.node.finality import Finality
from clawpurse.node.gossip import TransactionGossip
from clawpurse.node.host import ConsensusHost
from clawpurse.node.intake import Failure, Intake
from clawpurse.node.journal import Journal
from clawpurse.node.mempool import Mempool, PoolLimits
from clawpurse.node.messages import EvidenceKind, ProposalKind, SyncKind, TransactionKind
from clawpurse.node.metrics import Metrics
from clawpurse.node.network import ChannelOutbox, ConsensusOutbox, NetworkView, Router
from clawpurse.node.operator import Apply, Operator
from clawpurse.node.ports import Listen, Ports
from clawpurse.node.precedence import Precedence
from clawpurse.node.presence import Presence
from clawpurse.node.proposing import Proposing
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.streams import log_topics
from clawpurse.node.signer import Signer
from clawpurse.node.signer_link import SignerLink
from clawpurse.node.signing import Signing
from clawpurse.node.sync import BlockSync
from clawpurse.node.timeline import Timeline
from clawpurse.node.trail import NodeTrail
from clawpurse.node.verifier import Verifier
from clawpurse.node.votes import VoteGossip
from clawpurse.node.wal import Wal
from clawpurse.node.watch import Feeds, Watch
from clawpurse.node.webhooks import FinalLog, Webhooks, open_webhooks
from clawpurse.node.workers import LaneFactory
from clawpurse.p2p.book import AddressBook
from clawpurse.p2p.channels import Channel
from clawpurse.p2p.configured import Configured
from clawpurse.p2p.handshake import Identity
from clawpurse.p2p.pool import PeerPool, PoolConfig
from clawpurse.p2p.standing import Standing
from clawpurse.p2p.transport import Transport


@dataclass(frozen=True)
class Outside:
    """What of the world a node needs; simulation hands in twins.

    `verifier_runs` is the verifier's own task, if it has one. `keep_peers` stores the address
    book and bans (JSON values) and may do nothing. `listen` opens the HTTP ports; `callers` is who
    may use them (None: whoever is on this machine).
    """

    store: KeyValue
    wal_files: Files
    journal_files: Files
    lanes: LaneFactory
    clock: Clock
    verifier: Verifier
    verifier_runs: Callable[..., Awaitable[object]] | None
    transport: Transport
    random_bytes: Callable[[int], bytes]
    keep_peers: Callable[[dict[str, object]], None]
    saved_peers: dict[str, object]
    free_disk_mb: Callable[[], int]
    #: A folder that exists; without it the node has no webhooks.
    webhook_folder: Path | None = None
    #: The node's configuration file; without it peers and settings stay as they were given.
    config_file: ConfigFile | None = None
    listen: Listen = open_listeners
    callers: Callers | None = None
    #: Where privileged calls are written down; without it they stand in the log alone.
    trail: NodeTrail | None = None
    #: The services beside the node, as its dashboard shows them.
    modules: Callable[[], list[dict[str, Any]]] = list


@dataclass(frozen=True)
class Keys:
    """A node's identity: the node key's seed, a signer per authority key, admin token.

    `link` keeps a remote signer connected; None where all keys are in this process.

    The secrets stay out of its representation, and so out of logs and tracebacks.
    """

    node_seed: bytes = field(repr=False)
    signers: Mapping[bytes, Signer]
    admin_token: str = field(repr=False)
    link: SignerLink | None = None


class Node:
    """One node, built and not yet running. Parts are attributes for whoever looks on."""

    def __init__(
        self,
        genesis: Genesis,
        config: NodeConfig,
        keys: Keys,
        pool_config: PoolConfig,
        outside: Outside,
    ) -> None:
        self.outside: Final = outside
        self.config: Final = config
        self.stopped: Final = trio.Event()
        self.ended: Final = trio.Event()
        self.metrics: Final = Metrics()
        self.domain: Final = Domain(genesis.chain_id, genesis.hash, 0)
        self.router: Final = Router()
        self.precedence: Final = Precedence()
        self.feeds: Final = Feeds()
        self.router.on_peer = self.feeds.peer
        self.chain: Final = self._open_chain(genesis)
        self.signing: Final = Signing(keys.signers, self.chain, self.domain, outside.clock)
        self._link: Final = keys.link
        self.pool: Final = Mempool(
            PoolLimits(
                config.mempool_transactions_max,
                config.mempool_bytes_max,
                config.mempool_per_sender_max,
            )
        )
        self.bodies: Final = Bodies(
            self.chain.registry,
            self.pool,
            outside.verifier,
            ChannelOutbox[ProposalKind](self.router, Channel.PROPOSALS),
        )
        self.bodies.committed_block = self._committed_block
        self.bodies.precedence = self.precedence
        self.finality: Final = Finality()
        self.timeline: Final = Timeline(outside.clock)
        self.finality.height = self.chain.height
        self._build_consensus(keys)
        self._build_intake()
        self.peers: Final = self._build_peers(genesis, keys, pool_config)
        self.router.attach(
            self.peers, self.votes, self.bodies, self.evidence, self.gossip, self.sync
        )
        self._build_service(keys)

    @property
    def own_key(self) -> bytes | None:
        """The key of this node that is an authority now, else the first that it holds."""
        return self.signing.own_key

    def _open_chain(self, genesis: Genesis) -> Chain:
        limits = StateLimits(
            page_cache_bytes=self.config.tree_cache_mb << 20,
            value_cache_bytes=self.config.value_cache_mb << 20,
        )
        outside = self.outside
        return open_chain(genesis, build_registry(), outside.store, outside.lanes(), limits)

    def _build_consensus(self, keys: Keys) -> None:
        """Host, votes, engine, sync: what makes blocks final."""
        outside, chain, domain = self.outside, self.chain, self.domain
        genesis = chain.genesis
        rules = EvidenceRules(chain, domain)
        self.evidence = EvidencePool(
            chain,
            rules,
            outside.lanes(),
            ChannelOutbox[EvidenceKind](self.router, Channel.EVIDENCE),
            on_work=self._work_waits,
            count=self.metrics.count_evidence,
        )
        proposing = Proposing(chain, self.pool, outside.clock, domain, self.evidence)
        self.host = ConsensusHost(
            chain,
            proposing,
            self.pool,
            self.finality,
            outside.clock,
            self._committed,
            self.precedence,
        )
        self.votes = VoteGossip(
            chain, self.bodies, domain, outside.clock, ConsensusOutbox(self.router), self.signing
        )
        wal = Wal(
            outside.wal_files,
            outside.lanes(),
            genesis.chain_id,
            genesis.hash,
            outside.random_bytes,
        )
        self.engine = Engine(
            domain,
            self.host,
            self.bodies,
            wal,
            self.signing,
            broadcast=self.votes.broadcast,
            on_rejected=self.router.rejected,
        )
        self.engine.evidence = self.evidence
        self.host.evidence_waits = self.evidence.waits
        self.presence = Presence(self.engine.machine, domain, self.router.rejected)
        self.past = DecidedHeights(
            chain,
            rules,
            domain,
            self.engine.machine,
            on_found=self._convicted,
            on_rejected=self.router.rejected,
        )
        proposing.check_decided = self.past.check
        self.engine.observe = self._stepped
        self.votes.attach(self.engine, self.presence)
        self.bodies.needed = lambda: self.engine.machine.live_blocks
        outbox = ChannelOutbox[SyncKind](self.router, Channel.SYNC)
        self.sync = BlockSync(chain, self.engine, self.bodies, domain, outbox)
        self.sync.past = self.past
        self.signing.is_behind = lambda blocks: self.sync.progress.behind > blocks
        self.signing.changed = self.engine.sign_again
        self.signing.progress = self.engine.machine
        self.host.knows_decided = self.sync.knows_decided

    def _build_intake(self) -> None:
        """Journal, intake, gossip: how transactions come in and spread."""
        outside, chain = self.outside, self.chain
        self.journal = Journal(
            outside.journal_files, outside.lanes(), chain.genesis.hash, outside.random_bytes
        )
        self.intake = Intake(
            chain.registry,
            outside.clock,
            outside.verifier,
            self.pool,
            self.journal,
            lambda: self.host.head,
            lambda tx_id: locate_transaction(chain.store, tx_id) is not None,
            self._accepted,
            self._rejected,
            self.precedence,
        )
        self.gossip = TransactionGossip(
            ChannelOutbox[TransactionKind](self.router, Channel.TRANSACTIONS),
            self.pool.by_wtxid,
            self.intake.knows,
            self.intake.offer,
            self.pool.held,
        )

    def _build_service(self, keys: Keys) -> None:
        """Care, JSON-RPC, metrics: what people and programs see."""
        outside, config, genesis = self.outside, self.config, self.chain.genesis
        self.care = Care(
            config,
            self.chain,
            self.engine,
            self.sync,
            self.peers,
            self.metrics,
            outside.clock,
            signing=self.signing,
            accused=self.evidence.accuses,
            free_disk_mb=outside.free_disk_mb,
            store_peers=outside.keep_peers,
        )
        self._build_watch()
        self.operator = Operator(
            config, self.peers, outside.config_file, outside.lanes(), self.care.keep_peers
        )
        self.services = Services(
            chain=self.chain,
            explainer=self.explainer,
            pool=self.pool,
            intake=self.intake,
            engine=self.engine,
            sync=self.sync,
            finality=self.finality,
            timeline=self.timeline,
            evidence=self.evidence,
            network=NetworkView(self.peers, config.p2p_address[0]),
            clock=outside.clock,
            config=config,
            domain=self.domain,
            version=software_version(),
            started_ms=outside.clock.now_ms(),
            faucet=self._build_faucet(genesis) if genesis.test_network else None,
            signing=self.signing,
            stop=self.stopped.set,
            health=self.care.problems,
            feeds=self.feeds,
            watch=self.watch,
            webhooks=self.webhooks,
            operator=self.operator,
            trail=outside.trail,
            modules=outside.modules,
        )
        if self.webhooks is not None:
            self.webhooks.attach(log_topics(self.services))
            self.watch.sources.append(self.webhooks.conditions)
        refusals = RefusalLog()
        limits = Limits(
            connections_max=config.rpc_connections_max,
            connections_per_client_max=config.rpc_connections_per_client_max,
            body_bytes_max=config.rpc_body_bytes_max,
            response_bytes_max=config.rpc_response_bytes_max,
            batch_calls_max=config.rpc_batch_calls_max,
            subscriptions_max=config.rpc_subscriptions_max,
        )
        callers = outside.callers or local_callers(keys.admin_token)
        callers.role_word.follow(lambda: self.services.chain.reader)
        self.ports = Ports(self.services, callers, refusals, limits, self.metrics, outside.listen)
        if callers.tls is not None:
            self.watch.sources.append(tls_conditions(callers.tls, outside.clock.now_ms))
        self.operator.live = {**self.operator.live, **self._live_settings()}

    def _live_settings(self) -> dict[str, Apply]:
        """Return how settings of these parts change while the node runs, by name."""

        def names(config: NodeConfig) -> None:
            self.explainer.names = config.names

        def disk(config: NodeConfig) -> None:
            self.care.disk_needed_mb = config.min_free_disk_mb

        return {
            "allowed_hosts": self.ports.admit,
            "allowed_origins": self.ports.admit,
            "authority_names": names,
            "min_free_disk_mb": disk,
        }

    def _build_watch(self) -> None:
        """What explains where agreement stands, and what watches for what should not be."""
        outside, config = self.outside, self.config
        self.explainer = Explainer(
            self.chain,
            self.engine,
            self.sync,
            self.presence,
            self.peers,
            outside.clock,
            self.signing,
            self.evidence.convicted,
            config.names,
        )
        self.watch = Watch(
            self.feeds,
            self.explainer,
            self.pool,
            outside.clock,
            lambda: self.care.free_disk_mb,
            lambda: self.care.disk_needed_mb,
        )
        self.webhooks = self._open_webhooks()

    def _open_webhooks(self) -> Webhooks | None:
        outside = self.outside
        if outside.webhook_folder is None:
            return None
        return open_webhooks(
            outside.webhook_folder,
            outside.lanes(),
            FinalLog(self.chain.genesis.chain_id, self.chain.genesis.hash),
            allow=self.config.webhook_allow,
            version=software_version(),
            now_ms=outside.clock.now_ms,
            random_bytes=outside.random_bytes,
        )

    def _build_peers(self, genesis: Genesis, keys: Keys, pool_config: PoolConfig) -> PeerPool:
        outside = self.outside
        identity = Identity(
            genesis.chain_id,
            genesis.hash,
            keys.node_seed,
            outside.random_bytes(32),
            f"clawpurse/{software_version()}",
        )
        salt = _saved_salt(outside) or outside.random_bytes(32)
        book = AddressBook(genesis.hash, identity.node_id, salt, outside.clock.now_ms)
        standing = Standing(outside.clock.now_ms, Configured(pool_config.persistent))
        saved = outside.saved_peers
        if isinstance(saved.get("book"), dict):
            book.restore(saved["book"])  # type: ignore[arg-type]
        if isinstance(saved.get("bans"), list):
            standing.restore(saved["bans"])  # type: ignore[arg-type]
        if isinstance(saved.get("removed"), list):
            standing.configured.restore(saved["removed"])  # type: ignore[arg-type]
        return PeerPool(
            identity,
            pool_config,
            outside.transport,
            self.router,
            book,
            standing,
            random_bytes=outside.random_bytes,
            now_ms=outside.clock.now_ms,
        )

    def _build_faucet(self, genesis: Genesis) -> Faucet:
        async def submit(raw: bytes) -> bytes:
            return (await self.intake.submit(raw)).tx_id

        return Faucet(
            genesis,
            next_sequence=self.next_sequence,
            submit=submit,
            now_ms=self.outside.clock.now_ms,
            lanes=self._faucet_lanes,
        )

    def _faucet_lanes(self) -> list[int]:
        """Return lanes that no other authority pays from; followers share the upper half."""
        half, authorities = LANE_COUNT // 2, list(self.chain.authorities)
        own_key = self.own_key
        if own_key not in authorities:
            first = self.peers.node_id[0]
            return [half + (first + step) % half for step in range(half)]
        return list(range(authorities.index(own_key) % half, half, len(authorities)))

    def next_sequence(self, account: bytes, lane: int) -> int:
        """Return the next sequence of a lane, pooled transactions counted."""
        pooled = self.pool.next_sequence(account, lane)
        if pooled is not None:
            return pooled
        record = self.chain.account(account)
        return 0 if record is None else record.sequence(lane)

    # -- what parts tell each other

    def _accepted(self, prepared: Sequence[Prepared], source: bytes | None) -> None:
        self.timeline.accepted([item.transaction.tx_id for item in prepared])
        self.gossip.accepted(prepared, source)
        self.feeds.accepted(prepared, source)
        self.engine.work_available()

    def _rejected(self, peer: bytes, error: Failure) -> None:
        # A newer version's actions and formats reach us from honest peers too.
        if isinstance(error, BadSignature) or (
            isinstance(error, Malformed) and not error.field.endswith(".version")
        ):
            self.peers.punish(peer, f"bad transaction: {error}")

    def _committed(self, executed: Executed, settled: list[bytes]) -> None:
        included = [item.transaction.tx_id for item in executed.prepared]
        self.journal.settle([*included, *settled])
        self.feeds.left(included, settled)
        self._heard_certificate()
        self.evidence.committed(executed.block)
        self.metrics.observe_block(executed.result.receipts)
        self.timeline.left(settled)
        self.timeline.committed(executed.block.header.time_ms, executed.result.receipts)

    def _stepped(self, event: Input | None, peer: bytes | None, out: Sequence[Effect]) -> None:
        self.presence.stepped(event, peer, out)
        self.past.stepped(event, peer, out)

    def _work_waits(self) -> None:
        self.engine.work_available()

    def _convicted(self, proof: DoubleSign) -> None:
        """A decided height shows a double signing; one of our own key ends this process."""
        self.evidence.found(proof)
        accused = self.signing.accused(proof.authority, proof.height)
        if accused is not None:
            raise accused

    def _heard_certificate(self) -> None:
        """Tell who is in the newest certificate, unless it came by catching up."""
        packed, height = self.chain.tip.certificate, self.chain.height
        if packed is not None and self.sync.progress.behind <= 1:
            self.presence.certified(self.chain.authorities_at(height), packed)

    def _committed_block(self, block_id: bytes) -> bytes | None:
        height = self.chain.blocks.height_of(block_id)
        return None if height is None else self.chain.blocks.block(height)

    # -- running

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until `stopped` is set, then stop cleanly. Raises what must end the process."""
        self.explainer.started()
        restored = self.journal.open()
        self.evidence.load()
        self.engine.open_log()
        try:
            async with trio.open_nursery() as nursery:
                if self.outside.verifier_runs is not None:
                    await nursery.start(self.outside.verifier_runs)
                await nursery.start(self.peers.run)
                await nursery.start(self.intake.run)
                for task in (
                    self.engine.run,
                    self.evidence.run,
                    self.votes.run,
                    self.signing.run,
                    self.gossip.run,
                    self.sync.run,
                    self.care.run,
                    self.watch.run,
                ):
                    nursery.start_soon(task)
                if self.webhooks is not None:
                    nursery.start_soon(self.webhooks.run)
                if self._link is not None:
                    nursery.start_soon(self._link.run, self.signing.signer_is_back)
                await self.intake.restore(restored)
                await nursery.start(self.ports.run)
                task_status.started()
                await self.stopped.wait()
                await self.ports.stop()
                nursery.cancel_scope.cancel()
        finally:
            try:
                with trio.CancelScope(shield=True):
                    await self.journal.close()
                    await self.evidence.flush()
            finally:
                # A disk that fails the journal does not keep the rest open.
                self.engine.close_log()
                self.care.keep_peers()
                if self.webhooks is not None:
                    self.webhooks.close()
                self.chain.close()
                self.ended.set()


def _saved_salt(outside: Outside) -> bytes | None:
    book = outside.saved_peers.get("book")
    salt = book.get("salt") if isinstance(book, dict) else None
    try:
        found = bytes.fromhex(salt) if isinstance(salt, str) else b""
    except ValueError:
        return None
    return found if len(found) == 32 else None


def software_version() -> str:
    """Return the version of the installed distribution."""
    try:
        return version("clawpurse")
    except PackageNotFoundError:
        return "0+checkout"
