"""Whole nodes in memory: the daemon's own `Node` on memory files, links and a mock clock.

A world has one authority by default, so that it makes blocks by itself; further nodes follow it.
Programs talk to a node through its real JSON-RPC application, over streams in memory.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import trio
import trio.testing

from clawpurse.ledger import crypto
from clawpurse.ledger.address import account_text
from clawpurse.ledger.genesis import Genesis, GenesisAccount, GenesisAsset, GenesisRole
from clawpurse.ledger.params import Params
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.kv import Batch
from clawpurse.ledger.store.memory import MemoryStore
from clawpurse.ledger.transactions import Body, RawAction, Role, Transaction
from clawpurse.modules.faucet.keys import faucet_seed
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.errors import RpcError
from clawpurse.modules.kit.web.messages import Peer
from clawpurse.modules.registry import build_registry
from clawpurse.node.app import Keys, Node, Outside
from clawpurse.node.callers import Callers
from clawpurse.node.clock import LoopClock
from clawpurse.node.config import CONFIG_NAME, NodeConfig, config_text, load_config
from clawpurse.node.config_file import ConfigFile
from clawpurse.node.files import MemoryFiles
from clawpurse.node.ports import Listen
from clawpurse.node.signer import FileSigner, Signer, create_sign_state
from clawpurse.node.verifier import InlineVerifier
from clawpurse.node.workers import InlineLane
from clawpurse.p2p.address import PeerAddress
from clawpurse.p2p.pool import PoolConfig
from clawpurse.p2p.transport import MemoryNetwork
from clawpurse.wallet.builder import sign_body, transfer_action
from clawpurse.wallet.keys import SigningKey
from tests.node.rpc.once import made_once
from tests.node.rpc.published import CheckingClient

START_MS = 1_800_000_000_000
HOUR_MS = 3_600_000
REGISTRY = build_registry()
TOKEN = "0123456789abcdef-admin"
CHAIN_ID = "rpc-test"
PORT = 9640


@dataclass
class Disk:
    """What outlives a node's process."""

    store: dict[bytes, bytes] = field(default_factory=dict)
    wal: MemoryFiles = field(default_factory=MemoryFiles)
    journal: MemoryFiles = field(default_factory=MemoryFiles)
    signer: MemoryFiles = field(default_factory=MemoryFiles)


class Running:
    """One node that runs, and how to talk to it."""

    def __init__(self, name: str, node: Node, store: MemoryStore, disk: Disk) -> None:
        self.name = name
        self.node = node
        self.store = store
        self.disk = disk
        self.scope = trio.CancelScope()
        self.nursery: trio.Nursery | None = None

    @property
    def address(self) -> PeerAddress:
        return PeerAddress(self.node.peers.node_id, self.name, PORT)

    @property
    def height(self) -> int:
        return self.node.chain.height

    async def stream(
        self,
        peer: Peer | None = None,
        pair: Callable[[], Any] = trio.testing.memory_stream_pair,
    ) -> trio.abc.Stream:
        """Connect to the JSON-RPC port. `pair` makes the two ends of the connection."""
        assert self.nursery is not None
        ours, theirs = pair()
        self.nursery.start_soon(self.node.ports.rpc.serve_stream, theirs, peer)
        await trio.lowlevel.checkpoint()
        stream: trio.abc.Stream = ours
        return stream

    def client(self, token: str | None = None) -> RpcClient:
        """A client that holds every answer against what the node publishes about it."""
        made = CheckingClient(
            "http://localhost", token=token, connect=self.stream, jitter=lambda: 0.0
        )
        dispatcher = self.node.ports._rpc_app._dispatcher
        assert dispatcher is not None
        made.methods = dispatcher.methods
        return made

    async def call(self, method: str, *positional: Any, **params: Any) -> Any:
        """Call over HTTP; positional parameters, or named ones in camelCase."""
        return await self.client().call(method, list(positional) if positional else params)

    async def refusal(self, method: str, *positional: Any, **params: Any) -> RpcError:
        """The error of a call that must fail, after checking the shape that every error has."""
        try:
            result = await self.call(method, *positional, **params)
        except RpcError as error:
            data = error.as_object()["data"]
            assert isinstance(data["reason"], str)
            assert data["reason"]
            assert data["class"] in ("malformed", "failed", "local", "retry")
            assert isinstance(data["retryable"], bool)
            assert isinstance(data["hint"], str)
            return error
        raise AssertionError(f"{method} answered {result}")


class NodeWorld:
    """Genesis, keys, and the nodes of one network. Made by `node_world`."""

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        authorities: int = 1,
        test_network: bool = True,
        assets: int = 2,
        offset_ms: int = 0,
        roles: Sequence[tuple[str, str]] = (),
        **params: int,
    ) -> None:
        """`roles` are (role, who: alice, bob or carol)."""
        self.nursery = nursery
        self.seeds = [bytes([number]) * 32 for number in range(1, authorities + 1)]
        self.alice, self.bob, self.carol = (SigningKey(bytes([n]) * 32) for n in (0xA1, 0xB0, 0xC0))
        self.faucet_seed = faucet_seed(CHAIN_ID, START_MS)
        extra = [GenesisAsset(f"X{number:03}", number % 19, "Extra") for number in range(2, assets)]
        self.assets = (GenesisAsset("CLAW", 2, "Claw"), GenesisAsset("EUR", 3, "Euro"), *extra)
        funded = [key.account for key in (self.alice, self.bob)]
        if test_network:
            funded.append(crypto.public_key_of(self.faucet_seed))
        balances = (("CLAW", 100_000_000), ("EUR", 500_000))
        self.genesis = Genesis(
            CHAIN_ID,
            START_MS,
            tuple(sorted(crypto.public_key_of(seed) for seed in self.seeds)),
            replace(Params(interval_ms=0), **params),
            tuple(sorted(self.assets)),
            tuple(sorted(GenesisAccount(account, balances) for account in funded)),
            tuple((module.name, module.version) for module in REGISTRY.modules),
            roles=tuple(
                sorted(GenesisRole(role, getattr(self, who).account) for role, who in roles)
            ),
            test_network=test_network,
        )
        self.links = MemoryNetwork()
        self.clock = LoopClock(START_MS, offset_ms)
        self.nodes: dict[str, Running] = {}
        #: Where a node keeps webhooks; none in a world on memory alone.
        self.webhook_folder: Path | None = None
        #: Who may call the nodes: whoever is on this machine, unless a test says otherwise.
        self.callers: Callers | None = None
        #: Where nodes have their configuration files, a folder each; else they have none.
        self.config_folder: Path | None = None
        self._sequences: dict[tuple[bytes, int], int] = {}

    # -- nodes

    async def node(
        self,
        name: str = "authority-1",
        *known: Running,
        seed: bytes | None = None,
        disk: Disk | None = None,
        clock: LoopClock | None = None,
        listen: Listen | None = None,
        **config: Any,
    ) -> Running:
        """Start a node; `authority-N` signs with the Nth seed, others follow. `known` are peers."""
        disk = disk or Disk()
        if seed is None and name.startswith("authority-"):
            seed = self.seeds[int(name.removeprefix("authority-")) - 1]
        chance = random.Random(name)
        outside = self._outside(name, disk, clock or self.clock, chance, listen or _no_listeners)
        values = {"name": name, "rpc_cost_per_second": 10_000_000, **config}
        addresses = tuple(other.address for other in known)
        if outside.config_file is not None:
            values = self._filed(name, {**values, "peers": tuple(map(str, addresses))})
            addresses = tuple(map(PeerAddress.parse, values["peers"]))
        keys = self._keys(name, chance.randbytes(32), seed, disk)
        pool = PoolConfig(name, PORT, (), addresses)
        with made_once():
            node = Node(self.genesis, NodeConfig(**values), keys, pool, outside)
        running = self.nodes[name] = Running(name, node, cast(MemoryStore, outside.store), disk)
        self._built(running)
        await self.nursery.start(self._run, running)
        return running

    def _outside(
        self, name: str, disk: Disk, clock: LoopClock, chance: random.Random, listen: Listen
    ) -> Outside:
        """The world of one node, on this disk and this clock."""
        return Outside(
            store=MemoryStore(disk.store),
            wal_files=disk.wal,
            journal_files=disk.journal,
            lanes=InlineLane,
            clock=clock,
            verifier=InlineVerifier(),
            verifier_runs=None,
            transport=self.links.transport(name),
            random_bytes=chance.randbytes,
            keep_peers=lambda _saved: None,
            saved_peers={},
            free_disk_mb=lambda: 1_000_000,
            listen=listen,
            webhook_folder=self.webhook_folder,
            callers=self.callers,
            config_file=(
                None if self.config_folder is None else ConfigFile(self.config_folder / name, {})
            ),
        )

    def _filed(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        """The settings in a node's file, which is written when it is not there yet."""
        assert self.config_folder is not None
        path = self.config_folder / name / CONFIG_NAME
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(config_text(values))
            path.chmod(0o600)
        return load_config(path.parent, {}).model_dump()

    def _built(self, running: Running) -> None:
        """A node is built and does not run yet: the place to look into it from."""

    def _keys(self, name: str, node_seed: bytes, seed: bytes | None, disk: Disk) -> Keys:
        """Who a node is: an authority with the key of `seed`, a follower without."""
        signers: dict[bytes, Signer] = {}
        if seed is not None:
            signers[crypto.public_key_of(seed)] = self._signer(seed, disk)
        return Keys(node_seed, signers, TOKEN)

    def _signer(self, seed: bytes, disk: Disk) -> FileSigner:
        if not disk.signer.names():
            create_sign_state(disk.signer, self.genesis.hash, crypto.public_key_of(seed))
        return FileSigner(seed, self.genesis.hash, disk.signer, InlineLane())

    async def _run(
        self, running: Running, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        with running.scope:
            async with trio.open_nursery() as nursery:
                running.nursery = nursery
                await nursery.start(running.node.run)
                task_status.started()
                await running.node.ended.wait()
                nursery.cancel_scope.cancel()

    async def stop(self, running: Running) -> Disk:
        """Stop a node cleanly; returns its disk, for starting it again."""
        running.node.stopped.set()
        await running.node.ended.wait()
        del self.nodes[running.name]
        running.disk.store = running.store.content()
        return running.disk

    # -- transactions

    def body(self, sender: SigningKey, *actions: RawAction, **terms: Any) -> Body:
        """A body of `sender`; unless `sequence` is given, the next one of its lane."""
        lane = terms.pop("lane", 0)
        slot = sender.account, lane
        sequence = terms.pop("sequence", None)
        if sequence is None:
            sequence = self._sequences.get(slot, 0)
            self._sequences[slot] = sequence + 1
        payer = terms.pop("payer", None)
        return Body(
            terms.pop("chain_id", self.genesis.chain_id),
            terms.pop("genesis_hash", self.genesis.hash),
            terms.pop("account", sender.account),
            lane,
            sequence,
            terms.pop("attempt", 0),
            terms.pop("valid_until_ms", self.clock.now_ms() + HOUR_MS),
            terms.pop("height_max", None),
            terms.pop("fee", 0),
            payer,
            actions or (transfer_action("CLAW", self.carol.account, terms.pop("amount", 1)),),
            terms.pop("memo", b""),
            terms.pop("key", None),
        )

    def pay(self, sender: SigningKey, **terms: Any) -> Transaction:
        """A signed payment of one minor unit to carol; terms as of `body`, and `target`."""
        target = terms.pop("target", None)
        if target is None:
            return sign_body(self.body(sender, **terms), [(Role.SENDER, sender)])
        action = transfer_action(terms.pop("asset", "CLAW"), target, terms.pop("amount", 1))
        return sign_body(self.body(sender, action, **terms), [(Role.SENDER, sender)])

    async def final(self, running: Running, *transactions: Transaction) -> list[Any]:
        """Submit and wait until they are final; returns what `tx_wait` says of each."""
        txs = [hexed(transaction.raw) for transaction in transactions]
        entries = (await running.call("tx_submitBatch", txs=txs))["results"]
        assert all("error" not in entry for entry in entries), entries
        return [await running.call("tx_wait", txId=entry["txId"]) for entry in entries]


async def _no_listeners(_host: str, _port: int) -> Sequence[trio.abc.Listener[trio.abc.Stream]]:
    await trio.lowlevel.checkpoint()
    return []


@asynccontextmanager
async def node_world(**settings: Any) -> AsyncIterator[NodeWorld]:
    """Give a world; its nodes end with it."""
    async with trio.open_nursery() as nursery:
        yield NodeWorld(nursery, **settings)
        nursery.cancel_scope.cancel()


def run_world(scenario: Callable[[NodeWorld], Awaitable[Any]], **settings: Any) -> Any:
    """Run `scenario(world)` in a loop of its own on a clock that jumps over waiting."""

    async def main() -> Any:
        async with node_world(**settings) as world:
            return await scenario(world)

    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def prune(running: Running, below: int) -> None:
    """Remove what pruning removes: bodies and receipts; headers and certificates stay."""
    batch = Batch()
    running.node.chain.blocks.set_floor(below, batch)
    for height in range(1, below):
        for prefix in (schema.BLOCK, schema.RECEIPTS):
            batch.delete(schema.at_height(prefix, height))
    running.store.write(batch, sync=True)
    running.node.chain._views.clear()


def hexed(data: bytes) -> str:
    return "0x" + data.hex()


def octets(text: str) -> bytes:
    assert text.startswith("0x")
    return bytes.fromhex(text[2:])


def text_of(key: SigningKey) -> str:
    """The account of a key as people write it."""
    return account_text(key.account)


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for a condition, at most so many seconds of the loop's time."""
    with trio.move_on_after(seconds):
        while not condition():
            await trio.sleep(0.01)
        return
    raise AssertionError(f"it did not come true within {seconds} s")
