"""All connections of one node: who is let in, who is dialled, and who is told what happened.

A new connection passes the gate, then a handshake with a deadline. Of two connections to one
node one stays, chosen alike on both sides. Persistent peers are dialled for ever with pauses;
others from the address book until enough outbound connections stand, which inbound ones never
take; and strangers never take the places of configured peers.
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
from clawpurse.p2p.address import Endpoint, PeerAddress
from clawpurse.p2p.book import ANSWER_BYTES_MAX, AddressBook, PeerRecord, pack_records
from clawpurse.p2p.channels import Channel
from clawpurse.p2p.configured import Configured
from clawpurse.p2p.connection import Connection, dismiss, fault_of
from clawpurse.p2p.discovery import (
    ANSWER_PERIOD_S,
    ASK_PERIOD_S,
    RECORDS,
    RECORDS_WANTED,
    Discovery,
    refuse_kind,
)
from clawpurse.p2p.gate import Gate, Place
from clawpurse.p2p.handshake import Handshake, Identity, Secured
from clawpurse.p2p.memory import MemoryBudget
from clawpurse.p2p.standing import Standing
from clawpurse.p2p.transport import Transport

HANDSHAKE_TIMEOUT_S: Final = 5.0
DIAL_TIMEOUT_S: Final = 5.0
# Inbound connections of nodes that are not configured here.
STRANGERS_MAX: Final = 64
OUTBOUND_TARGET: Final = 8
RETRY_MIN_S: Final = 0.25
RETRY_MAX_S: Final = 30.0
# A connection that stood so long makes the next failure the first again.
STEADY_S: Final = 30.0
# A connection so silent may be dead; a peer that dials anew has begun anew.
STALE_S: Final = 15.0
DISCOVERY_PERIOD_S: Final = 10.0
# How often a node of which we only heard is dialled to see whether it is there.
FEELER_PERIOD_S: Final = 120.0
HANDSHAKE_RECEIVE_BYTES: Final = 4_096
FAILED_HANDSHAKE_POINTS: Final = 2.0
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
    """What an operator decides. `advertise` is where others can dial this node.

    `persistent` are the peers that are configured at the start; see `configured.Configured`.
    """

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
        self._discovery = Discovery(
            identity, book, config.private_ids, random_bytes=random_bytes, now_ms=now_ms
        )
        self._configured = standing.configured
        for address in config.persistent:
            self._configured.add(address)
        self._connections: dict[bytes, Connection] = {}
        self._dialling: dict[bytes, None] = {}
        self._budget: MemoryBudget[Connection] = MemoryBudget(_give_up)
        self._gate: Gate | None = None
        self._feeler_s = 0.0
        self._changed = trio.Event()

    # -- what owners use

    def ids(self) -> list[bytes]:
        """Return the ids of connected peers."""
        return list(self._connections)

    async def wait_connected(self, node_id: bytes) -> None:
        """Return when a peer is connected."""
        while node_id not in self._connections:
            await self._changed.wait()

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

    @property
    def configured(self) -> Configured:
        """The peers that the operator chose."""
        return self._configured

    def keep(self, address: PeerAddress) -> None:
        """Stay connected to a peer from now on; a former address and a ban of it are forgotten."""
        self.standing.lift(address.node_id)
        if not self._configured.holds(address):
            self._configured.add(address)

    def drop(self, node_id: bytes, *, ban_reason: str = "") -> bool:
        """Keep a peer no more: disconnect it and do not dial it; with a reason, ban its key.

        Returns whether a connection ended. Without a ban it may come again by itself, as any
        stranger may.
        """
        self._configured.remove(node_id)
        connection = self._connections.get(node_id)
        if ban_reason:
            self.standing.ban_key_of(node_id, ban_reason)
        if connection is not None:
            connection.close("removed by the operator")
        return connection is not None

    @property
    def refused(self) -> dict[str, int]:
        """How many connections were turned away, by kind of reason."""
        return {} if self._gate is None else self._gate.refused

    def describe(self) -> list[dict[str, Any]]:
        """Return one JSON object for each connected peer."""
        now = trio.current_time()
        return [
            {
                "nodeId": connection.node_id.hex(),
                "address": str(connection.endpoint),
                "direction": "outbound" if connection.outbound else "inbound",
                "persistent": connection.node_id in self._configured,
                "agent": connection.agent,
                "connectedSeconds": int(now - connection.since_s),
                "silentSeconds": int(now - connection.last_seen_s),
                "bytesIn": connection.bytes_in,
                "bytesOut": connection.bytes_out,
                "messagesIn": connection.messages_in,
                "messagesOut": connection.messages_out,
                "queued": connection.queued,
                "dropped": connection.dropped,
                "score": round(self.standing.score(connection.endpoint.host), 1),
            }
            for connection in self._connections.values()
        ]

    # -- serving

    async def run(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and dial until cancelled. Raises OSError when the port is taken."""
        self._gate = Gate(self.standing)
        self._feeler_s = trio.current_time() + FEELER_PERIOD_S
        async with trio.open_nursery() as nursery:
            self.port = await nursery.start(
                self._transport.serve,
                self._config.listen_host,
                self._config.listen_port,
                self._accept,
            )
            nursery.start_soon(self._keep_configured, nursery)
            nursery.start_soon(self._discover, nursery)
            task_status.started(self.port)

    @property
    def _at_gate(self) -> Gate:
        assert self._gate is not None
        return self._gate

    async def _accept(self, stream: trio.abc.Stream, endpoint: Endpoint) -> None:
        why = self._at_gate.reason_to_refuse(endpoint)
        if why is not None:
            self._at_gate.turned_away(endpoint, why)
            await trio.aclose_forcefully(stream)
            return
        found = None
        with self._at_gate.unauthenticated(endpoint) as place:
            with place.scope:
                found = await self._shake_hands(stream, endpoint, None, place)
            if place.scope.cancelled_caught:
                self._at_gate.turned_away(endpoint, "said nothing while others waited")
        if found is not None:
            await self._serve(stream, endpoint, *found, outbound=False)

    async def _shake_hands(
        self,
        stream: trio.abc.Stream,
        endpoint: Endpoint,
        expected: bytes | None,
        place: Place | None = None,
    ) -> tuple[Secured, bytes] | None:
        """Return what the handshake yields, or None after closing the stream.

        `expected` is who must answer a dial; `place` is at the gate, for who dialled us.
        """
        found, kind, detail = None, "handshake timed out", ""
        try:
            with trio.move_on_after(HANDSHAKE_TIMEOUT_S):
                try:
                    outcome = await self._handshake(stream, endpoint, place)
                    found = None if isinstance(outcome, str) else outcome
                    kind = outcome if isinstance(outcome, str) else ""
                except WrongNetwork as err:
                    kind, detail = "wrong network", str(err)
                    if expected is None:
                        await self._tell_version(stream, err)
                except (ProtocolViolation, Malformed) as err:
                    kind, detail = "bad handshake", str(err)
                    if expected is None:
                        self.standing.annoy(endpoint.host, FAILED_HANDSHAKE_POINTS, detail)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    kind = "handshake broken off"
            if found is not None:
                kind = self._judge_peer(found[0], endpoint, expected)
                if not kind:
                    return found
                await dismiss(stream, found[0], kind)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        self._at_gate.turned_away(endpoint, kind, detail)
        await trio.aclose_forcefully(stream)
        return None

    async def _tell_version(self, stream: trio.abc.Stream, error: WrongNetwork) -> None:
        """Answer a peer of another version with our preface, so that it can say what differs.

        A peer of another chain knows already: the handshake has told it.
        """
        if error.what == "protocol version":
            try:
                await stream.send_all(self.identity.preface)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def _handshake(
        self, stream: trio.abc.Stream, endpoint: Endpoint, place: Place | None
    ) -> tuple[Secured, bytes] | str:
        """Return what was agreed on, or why nothing was, which is no crime."""
        secret = self._random(32)
        shake = Handshake(self.identity, initiator=place is None, ephemeral_secret=secret)
        if place is None:
            await stream.send_all(shake.start())
        while shake.secured is None:
            if not shake.ready:
                data = await stream.receive_some(HANDSHAKE_RECEIVE_BYTES)
                if not data:
                    return "handshake broken off"
                shake.feed(bytes(data))
                continue
            if place is not None and not place.spoke:
                place.spoke = True
                if not self._at_gate.may_compute(endpoint):
                    return "too many handshakes"
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
        if expected is not None and self._configured.is_removed(secured.node_id):
            return "removed"
        if expected is None and secured.node_id not in self._configured:
            strangers = sum(
                not c.outbound
                and c.node_id != secured.node_id
                and c.node_id not in self._configured
                for c in self._connections.values()
            )
            if strangers >= STRANGERS_MAX:
                return "inbound slots are full"
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
            budget=self._budget,
        )
        if not self._take_place(connection):
            await dismiss(stream, secured, "there is another connection to the same node")
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
                extra={
                    "peer": node_id.hex(),
                    "address": str(endpoint),
                    "reason": connection.closed_because,
                },
            )

    async def _serve_connection(self, connection: Connection) -> None:
        if connection.outbound:
            self._discovery.reached(connection.node_id)
        self._notify()
        connection.send(Channel.PEERS, RECORDS, pack_records(self._own_record()))
        self._ask_for_records(connection)
        self._handler.connected(connection.node_id)
        try:
            await connection.run(self._consume)
        except* ClawPurseError as group:
            fault = fault_of(group)
            if fault is None:
                raise
            self._ban(connection, fault)

    def _size_max(self, channel: int, kind: int) -> int:
        if channel == Channel.PEERS:
            return ANSWER_BYTES_MAX if kind == RECORDS else 0
        return self._handler.size_max(channel, kind)

    def _take_place(self, connection: Connection) -> bool:
        """Decide between two connections to one node, alike on both sides.

        The one that the node with the smaller id opened stays; of two in the same direction
        the newer, because the older one's peer has given it up. A connection that has been
        silent for long yields to any: who still has it does not dial.
        """
        held = self._connections.get(connection.node_id)
        if held is not None:
            mine_first = self.node_id < connection.node_id
            is_stale = trio.current_time() - held.last_seen_s > STALE_S
            if not is_stale and connection.outbound not in (held.outbound, mine_first):
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
        banned = self.standing.ban(connection.node_id, connection.endpoint.host, reason)
        log.warning(
            "peer banned" if banned else "configured peer disconnected for a fault",
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

    async def _keep_configured(self, nursery: trio.Nursery) -> None:
        """Dial every configured peer, those too that are added later."""
        dialled: set[PeerAddress] = set()
        while True:
            addresses = self._configured.addresses
            for address in addresses:
                if address not in dialled and address.node_id != self.node_id:
                    nursery.start_soon(self._keep_dialling, address)
            dialled = set(addresses)
            await self._configured.wait_changed()

    async def _keep_dialling(self, address: PeerAddress) -> None:
        """Stay connected to a configured peer, whoever opened the connection."""
        pause_s = RETRY_MIN_S
        while self._configured.holds(address):
            began = trio.current_time()
            await self._dial(address)
            while address.node_id in self._connections:
                await self._changed.wait()
            if trio.current_time() - began > STEADY_S:
                pause_s = RETRY_MIN_S
            await trio.sleep(pause_s * self._jitter())
            pause_s = min(2 * pause_s, RETRY_MAX_S)

    def _jitter(self) -> float:
        """Return 0.5…1.5, so that nodes that lost each other do not dial in step."""
        return 0.5 + int.from_bytes(self._random(2), "big") / 65_535

    async def _dial(self, address: PeerAddress) -> None:
        """Connect to an address and serve the connection to its end."""
        found = await self._connect(address)
        if found is not None:
            await self._serve(*found, outbound=True)

    async def _connect(
        self, address: PeerAddress
    ) -> tuple[trio.abc.Stream, Endpoint, Secured, bytes] | None:
        """Dial and shake hands; None when that is not wanted now, or fails."""
        if address.node_id in self._connections or address.node_id in self._dialling:
            return None
        if self.standing.banned(address.node_id, address.host) is not None:
            return None
        self._dialling[address.node_id] = None
        try:
            with trio.move_on_after(DIAL_TIMEOUT_S) as waiting:
                stream, endpoint = await self._transport.open_stream(address.host, address.port)
            if waiting.cancelled_caught:
                return None
            found = await self._shake_hands(stream, endpoint, address.node_id)
        except OSError as err:
            log.debug("dial failed", extra={"peer": str(address), "reason": str(err)})
            return None
        finally:
            del self._dialling[address.node_id]
        return None if found is None else (stream, endpoint, *found)

    async def _discover(self, nursery: trio.Nursery) -> None:
        """Dial from the book until enough outbound connections stand; ask for more records."""
        while True:
            outbound = [c.endpoint.host for c in self._connections.values() if c.outbound]
            now_s = trio.current_time()
            wanted = OUTBOUND_TARGET - len(outbound)
            for address in self._discovery.choose(wanted, self._taken(), outbound, now_s):
                nursery.start_soon(self._dial, address)
            if wanted <= 0 and now_s >= self._feeler_s:
                self._feeler_s = now_s + FEELER_PERIOD_S * self._jitter()
                nursery.start_soon(self._feel)
            for connection in list(self._connections.values()):
                self._ask_for_records(connection)
            with trio.move_on_after(DISCOVERY_PERIOD_S * self._jitter()):
                await self._changed.wait()
                # Records follow a new connection; let a burst of them arrive.
                await trio.sleep(RETRY_MIN_S)

    def _taken(self) -> list[bytes]:
        kept = [address.node_id for address in self._configured.addresses]
        away = self._configured.removed
        return [*self._connections, *self._dialling, *kept, *away, self.node_id]

    async def _feel(self) -> None:
        """Dial a node that was only heard of; if it is there, the book knows from now on."""
        address = self._discovery.feeler(self._taken(), trio.current_time())
        found = None if address is None else await self._connect(address)
        if found is not None:
            stream, _, secured, _ = found
            self._discovery.reached(secured.node_id)
            await dismiss(stream, secured, "it was only asked whether it is there")

    # -- peer exchange

    def _own_record(self) -> list[PeerRecord]:
        config = self._config
        return self._discovery.own_record(config.advertise, config.listen_host, self.port)

    def _ask_for_records(self, connection: Connection) -> None:
        now_s = trio.current_time()
        if now_s - connection.records_asked_s >= ASK_PERIOD_S:
            connection.records_asked_s = now_s
            connection.send(Channel.PEERS, RECORDS_WANTED, b"")

    def _on_records(self, connection: Connection, kind: int, payload: bytes) -> None:
        refuse_kind(kind)
        if kind == RECORDS_WANTED:
            now_s = trio.current_time()
            if now_s - connection.records_told_s >= ANSWER_PERIOD_S:
                connection.records_told_s = now_s
                answer = self._discovery.answer(connection.node_id, self._own_record())
                connection.send(Channel.PEERS, RECORDS, answer)
            return
        learned, has_grown = self._discovery.learn(payload, connection.endpoint.host)
        for node_id in learned:
            held = self._connections.get(node_id)
            if held is not None and held.outbound:
                self._discovery.reached(node_id)
        if has_grown:
            self._notify()


def _give_up(connection: Connection) -> None:
    connection.close("too much memory is held for peers, and for this one most")
