"""The daemon: a node on this machine's disk, network and clocks, until it is told to stop."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import secrets
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from clawpurse.ledger import crypto
from clawpurse.ledger.errors import ClawPurseError, Malformed, OperatorError, StorageFault
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.store.leveldb import LevelDbStore
from clawpurse.modules.kit.web.jsonrpc import Dispatcher
from clawpurse.node.app import Keys, Node, Outside, software_version
from clawpurse.node.beside import Beside, load_services, way_to_audit
from clawpurse.node.callers import Callers, open_callers
from clawpurse.node.clock import SystemClock
from clawpurse.node.config import NodeConfig, split_address
from clawpurse.node.config_file import ConfigFile
from clawpurse.node.files import DiskFiles, Files
from clawpurse.node.home import NodeHome
from clawpurse.node.logs import start_logging, stop_logging
from clawpurse.node.memory import collect_when_idle
from clawpurse.node.ports import port_error
from clawpurse.node.signer import FileSigner, Signer, asked_guard, set_floor
from clawpurse.node.signer_link import SignerLink
from clawpurse.node.signer_wire import MAGIC
from clawpurse.node.trail import open_trail
from clawpurse.node.verifier import ChildVerifier
from clawpurse.node.workers import Lane, ThreadLane
from clawpurse.p2p.address import PeerAddress, parse_node_id
from clawpurse.p2p.handshake import Identity
from clawpurse.p2p.pool import PoolConfig
from clawpurse.p2p.transport import TcpTransport, Transport
from clawpurse.wallet.durable import make_private_directory, read_private, replace_private

PEERS_BYTES_MAX: Final = 8_000_000
# 1,000 clients, 64 peers, LevelDB's files; as far as the machine allows.
OPEN_FILES_WANTED: Final = 8_192


class NodeFacts(NamedTuple):
    """What a running node is, for whoever started it."""

    name: str
    home: str
    pid: int
    rpc: str
    p2p: str
    metrics: str
    height: int
    state: str


def run_node(
    home: NodeHome,
    config: NodeConfig,
    *,
    signer_floor: int | None = None,
    on_ready: Callable[[NodeFacts], None] | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> None:
    """Run the node in `home` until SIGTERM, SIGINT or admin_stop; then stop cleanly.

    `signer_floor`: sign nothing below this height, where signing state or consensus log were
    lost or are older than what was signed (R24). `on_ready` is called once, when the ports
    answer. `environment` and `flags` are what `config` was read with, for reading it anew.
    Raises `OperatorError` for what only the operator can mend; its line names the next
    command.
    """
    crypto.refuse_odd_library()
    config.require_whole()
    config.require_safe_listeners()
    limit_process()
    genesis = home.read_genesis()
    lock = home.take_lock()
    handler = start_logging(config.name, config.log_level, config.log_format)
    try:
        keys = _read_keys(home, config, genesis, signer_floor)

        def callers_of(config: NodeConfig) -> Callers:
            token, now_ms = keys.admin_token, SystemClock().now_ms
            return open_callers(home, config, genesis.chain_id, keys.node_seed, token, now_ms)

        file = ConfigFile(home.root, environment or {}, flags, lambda new: _check(new, callers_of))
        callers = callers_of(config)
        with one_error(config.p2p_address[1]):
            trio.run(_main, home, config, genesis, keys, callers, file, on_ready)
    finally:
        stop_logging(handler)
        os.close(lock)


def _check(config: NodeConfig, callers_of: Callable[[NodeConfig], Callers]) -> None:
    """Refuse what a start would refuse beyond the file itself: certificates, callers, peers."""
    callers_of(config)
    _pool_config(config)


def limit_process() -> None:
    """No core dumps, which would hold keys; as many files as we may open."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_WANTED if hard == resource.RLIM_INFINITY else min(OPEN_FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _read_keys(
    home: NodeHome, config: NodeConfig, genesis: Genesis, signer_floor: int | None
) -> Keys:
    node_seed, files, lane = home.read_seed(home.node_key), DiskFiles(home.signer), ThreadLane()
    signers: dict[bytes, Signer] = {}
    link = None
    if config.authority and config.signer_address:
        link = signer_link(config, genesis, node_seed, files, TcpTransport(), lane)
        signers.update(link.signers)
    if config.authority and (home.authority_keys or link is None):
        own = open_signers(home, genesis, files, lane, signer_floor)
        if signers.keys() & own.keys():
            raise OperatorError(
                "An authority key lies in this folder and in the remote signer too.",
                "One key is used from one place only.",
                "clawpurse config set signer_authorities …, or remove the key here",
            )
        signers.update(own)
    return Keys(node_seed, signers, home.read_or_create_token(), link)


def open_signers(
    home: NodeHome, genesis: Genesis, files: Files, lane: Lane, signer_floor: int | None = None
) -> dict[bytes, Signer]:
    """Return the signers of the authority keys in a folder. Raises `OperatorError`."""
    signers: dict[bytes, Signer] = {}
    for path in home.authority_keys or [home.authority_key]:
        seed = home.read_seed(path)
        public_key = crypto.public_key_of(seed)
        if signer_floor is not None:
            set_floor(files, genesis.hash, public_key, signer_floor)
        signers[public_key] = FileSigner(seed, genesis.hash, files, lane)
    return signers


def signer_link(
    config: NodeConfig,
    genesis: Genesis,
    node_seed: bytes,
    files: Files,
    transport: Transport,
    lane: Lane,
) -> SignerLink:
    """Return the link to the remote signer that the configuration names.

    A watermark of this node's own that is not there yet is begun: the signer's counts too, and
    is taken over when it is first reached. Raises `OperatorError`.
    """
    if not config.signer_key or not config.signer_authorities:
        raise OperatorError(
            "signer_address is set, signer_key or signer_authorities is not.",
            "The signer must be known by its key, and its authority by name.",
            "clawpurse authority signer --init prints all three",
        )
    guards = [asked_guard(genesis.hash, key, files) for key in config.signer_keys]
    identity = signer_identity(genesis, node_seed)
    signer_id, place = parse_node_id(config.signer_key), split_address(config.signer_address)
    return SignerLink(transport, place, identity, signer_id, guards, lane, secrets.token_bytes)


def signer_identity(genesis: Genesis, node_seed: bytes) -> Identity:
    """Return who a node, or its signer, is to the other."""
    secret = secrets.token_bytes(32)
    return Identity(genesis.chain_id, genesis.hash, node_seed, secret, magic=MAGIC)


@contextlib.contextmanager
def one_error(port: int) -> Iterator[None]:
    """Turn the groups that nurseries raise into the one error that a person can act on.

    `port` is the one that is meant when an error only says that a port is taken.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        found = _first(group, OperatorError) or _first(group, ClawPurseError)
        taken = _first(group, OSError)
        if found is None and isinstance(taken, OSError) and taken.errno == errno.EADDRINUSE:
            # JSON-RPC and metrics name their own port; what is left is the peer-to-peer one.
            found = port_error(port, taken)
        if found is None:
            raise
        raise found from group


def _first(group: BaseExceptionGroup, kind: type[BaseException]) -> BaseException | None:
    for error in group.exceptions:
        if isinstance(error, kind):
            return error
        if isinstance(error, BaseExceptionGroup):
            found = _first(error, kind)
            if found is not None:
                return found
    return None


async def _main(
    home: NodeHome,
    config: NodeConfig,
    genesis: Genesis,
    keys: Keys,
    callers: Callers,
    file: ConfigFile,
    on_ready: Callable[[NodeFacts], None] | None,
) -> None:
    verifier = ChildVerifier()
    make_private_directory(home.webhooks)
    audit = way_to_audit(config, home.root)
    trail = None
    if audit is not None:
        make_private_directory(home.modules)
        node_id = crypto.public_key_of(keys.node_seed)
        trail = open_trail(home.modules, node_id, ThreadLane(), SystemClock().now_ms)
    services = load_services(config)
    ports: list[Dispatcher] = []
    beside = Beside(
        services,
        home.modules,
        config,
        lambda: ports[0],
        SystemClock().now_ms,
        software_version(),
    )
    outside = Outside(
        store=LevelDbStore.open(str(home.chain)),
        wal_files=DiskFiles(home.wal),
        journal_files=DiskFiles(home.journal),
        lanes=ThreadLane,
        clock=SystemClock(),
        verifier=verifier,
        verifier_runs=verifier.run,
        transport=TcpTransport(),
        random_bytes=secrets.token_bytes,
        keep_peers=lambda saved: replace_private(home.peers, json.dumps(saved).encode()),
        saved_peers=_read_peers(home.peers),
        free_disk_mb=lambda: shutil.disk_usage(home.data).free >> 20,
        callers=callers,
        webhook_folder=home.webhooks,
        config_file=file,
        trail=trail,
        modules=beside.seen,
    )
    node = Node(genesis, config, keys, _pool_config(config), outside)
    ports.append(node.ports.dispatcher)
    node.watch.sources.append(beside.conditions)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, node)
        await nursery.start(node.run)
        nursery.start_soon(
            collect_when_idle,
            lambda: (node.chain.height, node.pool.has_ready(), node.metrics.calls),
        )
        if services:
            nursery.start_soon(beside.run)
        if trail is not None and audit is not None:
            node.watch.sources.append(trail.conditions)
            nursery.start_soon(trail.run, audit)
        if on_ready is not None:
            on_ready(_facts(home, config, node))
        await node.ended.wait()
        nursery.cancel_scope.cancel()


async def _stop_on_signal(node: Node) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            node.stopped.set()


def _facts(home: NodeHome, config: NodeConfig, node: Node) -> NodeFacts:
    rpc_host, rpc_port = config.rpc_address
    metrics_host, metrics_port = config.metrics_address
    return NodeFacts(
        config.name,
        str(home.root),
        os.getpid(),
        f"{config.rpc_scheme}://{rpc_host}:{rpc_port}",
        node.services.network.listen_address,
        f"{config.metrics_scheme}://{metrics_host}:{metrics_port}/metrics",
        node.chain.height,
        "ready" if not node.care.problems() else "syncing",
    )


def _pool_config(config: NodeConfig) -> PoolConfig:
    host, port = config.p2p_address
    try:
        persistent = tuple(PeerAddress.parse(text) for text in config.peers)
        private = frozenset(bytes.fromhex(text) for text in config.private_peers)
        advertise = tuple(split_address(text) for text in config.p2p_advertise)
    except (Malformed, ValueError) as err:
        raise OperatorError(
            f"A peer address in config.toml is wrong: {err}.", "", "clawpurse config validate"
        ) from None
    return PoolConfig(host, port, advertise, persistent, private)


def _read_peers(path: Path) -> dict[str, Any]:
    """Return the kept address book; what cannot be read is told to us again by peers."""
    try:
        saved = json.loads(read_private(path, PEERS_BYTES_MAX))
    except (FileNotFoundError, StorageFault, ValueError):
        return {}
    return saved if isinstance(saved, dict) else {}
