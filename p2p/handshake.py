"""The handshake that a connection starts with: Noise XX, bound to node key, chain and genesis.

On the wire, integers big-endian:

    → preface                      8 bytes magic, 2 bytes protocol version
    → length(2) message 1          e; empty payload
    ← preface
    ← length(2) message 2          e, ee, s, es; identity
    → length(2) message 3          s, se; identity

    identity = msgpack [1, chain id, genesis hash, node key, signature, agent]

The preface is the Noise prologue, so both sides prove that they speak one version. The
signature, by the Ed25519 node key, covers domain ‖ length(1) ‖ chain id ‖ genesis hash ‖
handshake hash before the payload ‖ own Noise static key: a node key vouches for this session
on this network only. A peer of another network is told so: message 2 names the responder's
network, message 3 is sent even if it is not the initiator's, and `refusal` says what differs.
A responder of another version answers with its preface.

Pure: bytes in, bytes out. Deadlines and budgets are the caller's (`p2p/pool.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.errors import Bug, Malformed, ProtocolViolation, WrongNetwork
from clawpurse.p2p.noise import DH_BYTES, NoiseXX

PROTOCOL_VERSION: Final = 1
MAGIC: Final = b"clawp2p\x00"
PREFACE_BYTES: Final = len(MAGIC) + 2
DOMAIN: Final = b"clawpurse/p2p/handshake/1"
CHAIN_ID_CHARS_MAX: Final = 64
AGENT_CHARS_MAX: Final = 64
_IDENTITY_VERSION: Final = 1
# Identity: 64 + 32 + 32 + 64 + 64 bytes and msgpack heads, rounded up.
IDENTITY_BYTES_MAX: Final = 512
# e (32), encrypted s (48), encrypted identity: the longest message of the three.
MESSAGE_BYTES_MAX: Final = 32 + 48 + IDENTITY_BYTES_MAX + 16


@dataclass(frozen=True)
class Identity:
    """Who this node is on which network. `node_seed` and `static_secret` are secret 32 bytes.

    The Noise static key lives as long as the process: the node key vouches for it per session.
    """

    chain_id: str
    genesis_hash: bytes
    node_seed: bytes = field(repr=False)
    static_secret: bytes = field(repr=False)
    agent: str = "clawpurse"
    version: int = PROTOCOL_VERSION
    #: What the first bytes say that this connection is for: a use never answers another's.
    magic: bytes = MAGIC

    def __post_init__(self) -> None:
        codec.ascii_text(self.chain_id, "chain id", CHAIN_ID_CHARS_MAX)
        codec.digest(self.genesis_hash, "genesis hash")
        codec.ascii_text(self.agent, "agent", AGENT_CHARS_MAX)
        codec.binary(self.magic, "magic", len(MAGIC), len(MAGIC))

    @property
    def node_id(self) -> bytes:
        """The public node key, 32 bytes."""
        return crypto.public_key_of(self.node_seed)

    @property
    def preface(self) -> bytes:
        """Magic and version; also the Noise prologue."""
        return self.magic + self.version.to_bytes(2, "big")


@dataclass(frozen=True)
class Secured:
    """What a finished handshake yields. The keys are secret."""

    node_id: bytes
    agent: str
    send_key: bytes = field(repr=False)
    receive_key: bytes = field(repr=False)
    session: bytes = b""


def signed_bytes(chain_id: str, genesis_hash: bytes, transcript: bytes, static: bytes) -> bytes:
    """Return what a node key signs in messages 2 and 3 (see the module's docstring)."""
    name = chain_id.encode("ascii")
    return DOMAIN + bytes([len(name)]) + name + genesis_hash + transcript + static


class Handshake:
    """One side's state. Feed what arrives, `advance` while `ready`, send what that returns.

    `feed` and `advance` raise `ProtocolViolation` for anything no honest node sends, and
    `WrongNetwork` for another protocol version; the connection is then of no further use.
    After the end `secured` is set, and `refusal` too if the peer serves another network.
    `leftover` are bytes that came behind the last message.
    """

    def __init__(self, identity: Identity, *, initiator: bool, ephemeral_secret: bytes) -> None:
        self._identity = identity
        self._initiator = initiator
        self._noise = NoiseXX(
            initiator=initiator,
            prologue=identity.preface,
            static_secret=identity.static_secret,
            ephemeral_secret=ephemeral_secret,
        )
        self._buffer = bytearray()
        self._preface_seen = False
        self.secured: Secured | None = None
        self.refusal: WrongNetwork | None = None

    def start(self) -> bytes:
        """Return the initiator's first bytes."""
        if not self._initiator:
            raise Bug("a responder does not speak first")
        return self._identity.preface + _framed(self._noise.write(b""))

    def feed(self, data: bytes) -> None:
        """Buffer received bytes; the preface and the length are judged at once."""
        self._buffer += data
        if not self._preface_seen:
            self._judge_preface()
        if self._preface_seen and len(self._buffer) >= 2:
            size = int.from_bytes(self._buffer[:2], "big")
            if size > MESSAGE_BYTES_MAX or (self._first and size != DH_BYTES):
                raise ProtocolViolation(f"handshake message claims {size} bytes")

    @property
    def ready(self) -> bool:
        """True when a whole message waits; the Diffie-Hellman of `advance` costs 0.1 ms."""
        if self.secured is not None or not self._preface_seen or len(self._buffer) < 2:
            return False
        return len(self._buffer) >= 2 + int.from_bytes(self._buffer[:2], "big")

    @property
    def _first(self) -> bool:
        return not self._initiator and not self._noise.started

    @property
    def leftover(self) -> bytes:
        """Bytes received behind the last handshake message."""
        return bytes(self._buffer)

    def advance(self) -> bytes:
        """Process the waiting message and return the bytes to send (empty at the very end)."""
        if not self.ready:
            raise Bug("handshake advanced without a message")
        size = int.from_bytes(self._buffer[:2], "big")
        message = bytes(self._buffer[2 : 2 + size])
        del self._buffer[: 2 + size]
        if self._first:
            payload, _ = self._noise.read(message)
            if payload:
                raise ProtocolViolation("handshake message 1 has a payload")
            return self._identity.preface + _framed(self._noise.write(self._own_identity))
        payload, transcript = self._noise.read(message)
        node_id, agent = self._judge_identity(payload, transcript)
        answer = _framed(self._noise.write(self._own_identity)) if self._initiator else b""
        send_key, receive_key = self._noise.split()
        self.secured = Secured(node_id, agent, send_key, receive_key, self._noise.handshake_hash)
        return answer

    def _judge_preface(self) -> None:
        """Refuse another protocol on its first differing byte, before any arithmetic."""
        magic = self._identity.magic
        seen = bytes(self._buffer[: len(magic)])
        if seen != magic[: len(seen)]:
            raise ProtocolViolation("first bytes are not this protocol's")
        if len(self._buffer) < PREFACE_BYTES:
            return
        version = int.from_bytes(self._buffer[len(magic) : PREFACE_BYTES], "big")
        if version != self._identity.version:
            raise WrongNetwork("protocol version", str(self._identity.version), str(version))
        del self._buffer[:PREFACE_BYTES]
        self._preface_seen = True

    def _own_identity(self, transcript: bytes) -> bytes:
        own = self._identity
        message = signed_bytes(
            own.chain_id, own.genesis_hash, transcript, self._noise.static_public
        )
        signature = crypto.sign(own.node_seed, message)
        return codec.pack(
            [_IDENTITY_VERSION, own.chain_id, own.genesis_hash, own.node_id, signature, own.agent]
        )

    def _judge_identity(self, payload: bytes, transcript: bytes) -> tuple[bytes, str]:
        """Check the peer's claim by its own terms first, then compare the terms with ours."""
        try:
            fields = codec.unpack(payload, size_max=IDENTITY_BYTES_MAX, field="identity")
            fields = codec.array(fields, "identity", 6)
            codec.version(fields[0], "identity.version", (_IDENTITY_VERSION,))
            chain_id = codec.ascii_text(fields[1], "identity.chain_id", CHAIN_ID_CHARS_MAX)
            genesis_hash = codec.digest(fields[2], "identity.genesis_hash")
            node_id = codec.digest(fields[3], "identity.node_key")
            signature = codec.binary(fields[4], "identity.signature", 64, 64)
            agent = codec.ascii_text(fields[5], "identity.agent", AGENT_CHARS_MAX)
        except Malformed as err:
            raise ProtocolViolation(f"handshake {err}") from None
        message = signed_bytes(chain_id, genesis_hash, transcript, self._noise.remote_static)
        if not crypto.verify(node_id, message, signature):
            raise ProtocolViolation("handshake signature does not fit the node key")
        own = self._identity
        if chain_id != own.chain_id:
            self.refusal = WrongNetwork("chain id", own.chain_id, chain_id)
        elif genesis_hash != own.genesis_hash:
            self.refusal = WrongNetwork(
                "genesis hash", "0x" + own.genesis_hash.hex(), "0x" + genesis_hash.hex()
            )
        return node_id, agent


def _framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message
