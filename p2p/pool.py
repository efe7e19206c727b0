"""All connections of one node: who is let in, who is dialled, and who is told what happened.

Before any arithmetic: caps on unauthenticated connections, per network and in all, and a token
bucket. Then a handshake with a deadline. Of two connections to one node one stays, chosen alike
on both sides. Persistent peers are dialled for ever with pauses; others from the address book
until enough outbound connections stand, which inbound ones never take.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import trio

from clawpurse.ledger.errors import (
    ClawPurseError,
    Malformed,
    ProtocolViolation,
    WrongNetwork,
)
from clawpurse.p2p.address import Endpoint, PeerAddress, is_loopback, subnet
from clawpurse.p2p.book import (
    ANSWER_BYTES_MAX,
    RECORDS_PER_ANSWER_MAX,
    VALID_FOR_MS,
    AddressBook,
    PeerRecord,
    pack_records,
    unpack_records,
)
from clawpurse.p2p.channels import Channel, TokenBucket
from clawpurse.p2p.connection import Connection, fault_of
from clawpurse.p2p.handshake import Handshake, Identity, Secured
from clawpurse.p2p.standing import Standing
from clawpurse.p2p.transport import Transport

HANDSHAKE_TIMEOUT_S: Final = 5.0
DIAL_TIMEOUT_S: Final = 5.0
UNAUTHENTICATED_MAX: Final = 32
UNAUTHENTICATED_PER_SUBNET_MAX: Final = 4
# A Diffie-Hellman costs 0.1 ms: a hundred handshakes a second are 3 % of a core.
HANDSHAKES_PER_S: Final = 100
HANDSHAKES_BURST: Final = 200
INBOUND_MAX: Final = 64
OUTBOUND_TARGET: Final = 8
RETRY_MIN_S: Final = 0.25
RETRY_MAX_S: Final = 30.0
# A connection that stood so long makes the next failure the first again.
STEADY_S: Final = 30.0
DISCOVERY_PERIOD_S: Final = 10.0
RECORDS_WANTED, RECORDS = 1, 2
HANDSHAKE_RECEIVE_BYTES: Final = 4_096
FAILED_HANDSHAKE_POINTS: Final = 2.0
# Listening everywhere says nothing about where others can reach this node.
_ANY_HOST: Final = frozenset(("0.0.0.0", "::"))  # noqa: S104
log = logging.getLogger("clawpurse.p2p")


class Handler(Protocol):
    """What the pool's owner is told."""

    def size_max(self, channel: int, kind: int) -> int:
        """Return the largest payload of a kind. Raises `ProtocolViolation` if there is none."""

    def connected(self, node_id: bytes) -> None:
        """A peer is there."""

    def disconnected(self, node_id: bytes) -> None:
        """A peer is gone."""

    async def on_message(self, node_id: bytes, channel: Channel, kind: int, payload: bytes) -> None:
        """A message came. Raises `Malformed` or `ProtocolViolation` for what a peer did wrong."""


@dataclass(frozen=True)
class PoolConfig:
    """What an operator decides. `advertise` is where others can dial this node."""

    listen_host: str
    listen_port: int
    advertise: tuple[tuple[str, int], ...] = ()
    persistent: tuple[PeerAddress, ...] = ()
    private_ids: frozenset[bytes] = field(default_factory=frozenset)


class PeerPool:
    """See the module. `run` serves until cancelled."""

    def __init__(
        self,
        identity: Identity,
        config: PoolConfig,
        transport: Transport,
        handler: Handler,
        book: AddressBook,
        standing: Standing,
        *,
        random_bytes: Callable[[int], bytes],
        now_ms: Callable[[], int],
    ) -> None:
        self.identity: Final = identity
        self.node_id: Final = identity.node_id
        self.book: Final = book
        self.standing: Final = standing
        self.port = config.listen_port
        self._config = config
        self._transport = transport
        self._handler = handler
        self._random = random_bytes
        self._now_ms = now_ms
        self._connections: dict[bytes, Connection] = {}
        self._unauthenticated: dict[str, int] = {}
        self._dialling: dict[bytes, None] = {}
        self._handshakes: TokenBucket | None = None
        self._changed = trio.Event()
        self.refused: dict[str, int] = {}

    # -- what owners use

    def ids(self) -> list[bytes]:
        """Return the ids of connected peers."""
        return list(self._connections)

    def send(self, node_id: bytes, channel: Channel, kind: int, payload: bytes) -> bool:
        """Queue a message to a peer; False when it is gone or its channel is full."""
        connection = self._connections.get(node_id)
        return connection is not None and connection.send(channel, kind, payload)

    def punish(self, node_id: bytes, reason: str) -> None:
        """Ban a peer for what no honest node does, and disconnect it."""
        connection = self._connections.get(node_id)
        if connection is not None:
            self._ban(connection, reason)
            connection.close(reason)

    def describe(self) -> list[dict[str, Any]]:
        """Return one JSON object for each connected peer."""
        now = trio.current_time()
        return [
            {
                "nodeId": connection.node_id.hex(),
                "address": str(connection.endpoint),
                "direction": "outbound" if connection.outbound else "inbound",
                "agent": connection.agent,
                "connectedSeconds": int(now - connection.since_s),
                "silentSeconds": int(now - connection.last_seen_s),
                "bytesIn": connection.bytes_in,
                "bytesOut": connection.bytes_out,
                "droppedIn": connection.dropped_in,
                "queued": connection.queued,
            }
            for connection in self._connections.values()
        ]

    # -- serving

    async def run(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and dial until cancelled. Raises OSError when the port is taken."""
        now = trio.current_time()
        self._handshakes = TokenBucket(HANDSHAKES_PER_S, HANDSHAKES_BURST, now)
        async with trio.open_nursery() as nursery:
            self.port = await nursery.start(
                self._transport.serve,
                self._config.listen_host,
                self._config.listen_port,
                self._accept,
            )
            for address in self._config.persistent:
                if address.node_id != self.node_id:
                    nursery.start_soon(self._keep_dialling, address)
            nursery.start_soon(self._discover, nursery)
            task_status.started(self.port)

    async def _accept(self, stream: trio.abc.Stream, endpoint: Endpoint) -> None:
        why = self._reason_to_refuse(endpoint)
        if why is not None:
            self._refuse(endpoint, why)
            await trio.aclose_forcefully(stream)
            return
        group = subnet(endpoint.host)
        self._unauthenticated[group] = self._unauthenticated.get(group, 0) + 1
        try:
            found = await self._shake_hands(stream, endpoint, None)
        finally:
            self._unauthenticated[group] -= 1
            if not self._unauthenticated[group]:
                del self._unauthenticated[group]
        if found is not None:
            await self._serve(stream, endpoint, *found, outbound=False)

    def _reason_to_refuse(self, endpoint: Endpoint) -> str | None:
        """Judge a new connection before it costs anything."""
        assert self._handshakes is not None
        host = endpoint.host
        if self.standing.banned(None, host) is not None:
            return "banned address"
        inbound = sum(not connection.outbound for connection in self._connections.values())
        if inbound >= INBOUND_MAX:
            return "inbound slots are full"
        if sum(self._unauthenticated.values()) >= UNAUTHENTICATED_MAX:
            return "too many unauthenticated connections"
        known = is_loopback(host) or host in {a.host for a in self._config.persistent}
        in_group = self._unauthenticated.get(subnet(host), 0)
        if not known and in_group >= UNAUTHENTICATED_PER_SUBNET_MAX:
            return "too many unauthenticated connections of one network"
        if self._handshakes.take(1, trio.current_time()):
            return "too many handshakes"
        return None

    def _refuse(self, endpoint: Endpoint, why: str) -> None:
        self.refused[why] = self.refused.get(why, 0) + 1
        log.warning("peer refused", extra={"peer": str(endpoint), "reason": why})

    async def _shake_hands(
        self, stream: trio.abc.Stream, endpoint: Endpoint, expected: bytes | None
    ) -> tuple[Secured, bytes] | None:
        """Return what the handshake yields, or None after closing the stream."""
        why = "handshake timed out"
        with trio.move_on_after(HANDSHAKE_TIMEOUT_S):
            try:
                found = await self._handshake(stream, initiator=expected is not None)
                why = self._judge_peer(found[0], endpoint, expected)
                if not why:
                    return found
            except (ProtocolViolation, WrongNetwork, Malformed) as err:
                why = str(err)
                self.standing.annoy(endpoint.host, FAILED_HANDSHAKE_POINTS, why)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                why = "connection broke in the handshake"
        self._refuse(endpoint, why)
        await trio.aclose_forcefully(stream)
        return None

    async def _handshake(
        self, stream: trio.abc.Stream, *, initiator: bool
    ) -> tuple[Secured, bytes]:
        secret = self._random(32)
        shake = Handshake(self.identity, initiator=initiator, ephemeral_secret=secret)
        if initiator:
            await stream.send_all(shake.start())
        while shake.secured is None:
            if not shake.ready:
                data = await stream.receive_some(HANDSHAKE_RECEIVE_BYTES)
                if not data:
                    raise ProtocolViolation("the peer hung up in the handshake")
                shake.feed(bytes(data))
                continue
            answer = shake.advance()
            if answer:
                await stream.send_all(answer)
        if shake.refusal is not None:
            raise shake.refusal
        return shake.secured, shake.leftover

    def _judge_peer(self, secured: Secured, endpoint: Endpoint, expected: bytes | None) -> str:
        """Return why an authenticated peer is not wanted, or an empty string."""
        if secured.node_id == self.node_id:
            return "connected to itself"
        if expected is not None and secured.node_id != expected:
            return "another node answers there"
        if self.standing.banned(secured.node_id, endpoint.host) is not None:
            return "banned"
        return ""

    async def _serve(
        self,
        stream: trio.abc.Stream,
        endpoint: Endpoint,
        secured: Secured,
        leftover: bytes,
        *,
        outbound: bool,
    ) -> None:
        connection = Connection(
            stream,
            secured,
            leftover,
            endpoint,
            outbound=outbound,
            size_max=self._size_max,
        )
        if not self._take_place(connection):
            await trio.aclose_forcefully(stream)
            return
        node_id = connection.node_id
        log.info(
            "peer connected",
            extra={"peer": node_id.hex(), "address": str(endpoint), "outbound": outbound},
        )
        try:
            await self._serve_connection(connection)
        finally:
            if self._connections.get(node_id) is connection:
                del self._connections[node_id]
                self._handler.disconnected(node_id)
            self._notify()
            log.info(
                "peer disconnected",
                extra={"peer": node_id.hex(), "reason": connection.closed_because},
            )

    async def _serve_connection(self, connection: Connection) -> None:
        self.book.connected(connection.node_id)
        self._notify()
        connection.send(Channel.PEERS, RECORDS, pack_records(self._own_record()))
        connection.send(Channel.PEERS, RECORDS_WANTED, b"")
        self._handler.connected(connection.node_id)
        try:
            await connection.run(self._consume)
        except* ClawPurseError as group:
            fault = fault_of(group)
            if fault is None:
                raise
            self._ban(connection, fault)
            connection.closed_because = fault

    def _size_max(self, channel: int, kind: int) -> int:
        if channel == Channel.CONTROL:
            return 0
        if channel == Channel.PEERS:
            return ANSWER_BYTES_MAX if kind == RECORDS else 0
        return self._handler.size_max(channel, kind)

    def _take_place(self, connection: Connection) -> bool:
        """Decide between two connections to one node, alike on both sides.

        The one that the node with the smaller id opened stays; of two in the same direction
        the newer, because the older one's peer has given it up.
        """
        held = self._connections.get(connection.node_id)
        if held is not None:
            mine_first = self.node_id < connection.node_id
            if connection.outbound not in (held.outbound, mine_first):
                return False
            held.close("replaced by another connection to the same node")
            self._handler.disconnected(connection.node_id)
        self._connections[connection.node_id] = connection
        return True

    async def _consume(
        self, connection: Connection, channel: Channel, kind: int, payload: bytes
    ) -> None:
        if channel is Channel.PEERS:
            self._on_records(connection, kind, payload)
        else:
            await self._handler.on_message(connection.node_id, channel, kind, payload)

    def _ban(self, connection: Connection, reason: str) -> None:
        self.standing.ban(connection.node_id, connection.endpoint.host, reason)
        log.warning(
            "peer banned",
            extra={
                "peer": connection.node_id.hex(),
                "address": str(connection.endpoint),
                "reason": reason,
            },
        )

    def _notify(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    # -- dialling

    async def _keep_dialling(self, address: PeerAddress) -> None:
        """Stay connected to a persistent peer, whoever opened the connection."""
        pause_s = RETRY_MIN_S
        while True:
            while address.node_id in self._connections:
                await self._changed.wait()
            began = trio.current_time()
            await self._dial(address)
            if trio.current_time() - began > STEADY_S:
                pause_s = RETRY_MIN_S
            await trio.sleep(pause_s * self._jitter())
            pause_s = min(2 * pause_s, RETRY_MAX_S)

    def _jitter(self) -> float:
        """Return 0.5…1.5, so that nodes that lost each other do not dial in step."""
        return 0.5 + int.from_bytes(self._random(2), "big") / 65_535

    async def _dial(self, address: PeerAddress) -> None:
        """Connect to an address and serve the connection to its end."""
        if address.node_id in self._connections or address.node_id in self._dialling:
            return
        if self.standing.banned(address.node_id, address.host) is not None:
            return
        self._dialling[address.node_id] = None
        stream = None
        try:
            with trio.move_on_after(DIAL_TIMEOUT_S):
                stream, endpoint = await self._transport.open_stream(address.host, address.port)
        except OSError as err:
            log.debug("dial failed", extra={"peer": str(address), "reason": str(err)})
        if stream is None:
            del self._dialling[address.node_id]
            return
        try:
            found = await self._shake_hands(stream, endpoint, address.node_id)
        finally:
            del self._dialling[address.node_id]
        if found is not None:
            await self._serve(stream, endpoint, *found, outbound=True)

    async def _discover(self, nursery: trio.Nursery) -> None:
        """Dial from the book until enough outbound connections stand; ask for more records."""
        while True:
            persistent = {address.node_id for address in self._config.persistent}
            outbound = sum(c.outbound for c in self._connections.values())
            for address in self.book.addresses():
                if outbound >= OUTBOUND_TARGET:
                    break
                known = address.node_id in self._connections or address.node_id in persistent
                if not known and address.node_id not in self._dialling:
                    nursery.start_soon(self._dial, address)
                    outbound += 1
            with trio.move_on_after(DISCOVERY_PERIOD_S * self._jitter()):
                await self._changed.wait()
                # Records follow a new connection; let a burst of them arrive.
                await trio.sleep(RETRY_MIN_S)
            for connection in list(self._connections.values()):
                connection.send(Channel.PEERS, RECORDS_WANTED, b"")

    # -- peer exchange

    def _own_record(self) -> list[PeerRecord]:
        addresses = self._config.advertise
        if not addresses and self._config.listen_host not in _ANY_HOST:
            addresses = ((self._config.listen_host, self.port),)
        if not addresses:
            return []
        now = self._now_ms()
        record = PeerRecord(self.node_id, addresses, now, now + VALID_FOR_MS)
        return [record.signed(self.identity.node_seed, self.identity.genesis_hash)]

    def _on_records(self, connection: Connection, kind: int, payload: bytes) -> None:
        if kind not in (RECORDS_WANTED, RECORDS):
            raise ProtocolViolation(f"kind {kind} does not exist on the peers channel")
        if kind == RECORDS_WANTED:
            known = {connection.node_id} | self._config.private_ids
            shared = [record for record in self.book.records() if record.node_id not in known]
            answer = [*self._own_record(), *shared][:RECORDS_PER_ANSWER_MAX]
            connection.send(Channel.PEERS, RECORDS, pack_records(answer))
        else:
            before = len(self.book.records())
            for record in unpack_records(payload):
                self.book.add(record, connection.endpoint.host)
                if record.node_id in self._connections:
                    self.book.connected(record.node_id)
            if len(self.book.records()) != before:
                self._notify()
