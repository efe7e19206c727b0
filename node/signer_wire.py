"""What a node and its remote signer say to each other, and how both know who speaks (R25).

The p2p handshake with a magic of its own (Noise XX, bound to network and node keys), then sealed
records of one message each:

    kind(1) ‖ msgpack payload, at most 1,024 bytes together

    node → signer                            signer → node
    1 state wanted  []                       1 state    [[key, height, round, kind, bytes] …]
    2 sign          [key, sign bytes]        2 signed   [signature]
    3 raise         [key, h, r, kind]        3 refused  [height, round, kind]
    4 ping          []                       4 fault    [text]
                                             5 pong     []

`bytes` are the sign bytes at the watermark, empty where nothing was signed there. One question is
open at a time, and answered in order. Either side that gets anything else ends the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Final, NamedTuple

import trio

from clawpurse.ledger import codec
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import ProtocolViolation
from clawpurse.node.signer import Order
from clawpurse.p2p.handshake import Handshake, Identity
from clawpurse.p2p.records import RecordCipher, RecordReader

MAGIC: Final = b"clawsig\x00"
# A handshake is four flights; whoever needs longer than this is not on our network.
HANDSHAKE_TIMEOUT_S: Final = 5.0
MESSAGE_BYTES_MAX: Final = 1_024
RECEIVE_BYTES: Final = 4_096
# The key in force, the next one, and as many again for a signer that serves while keys change.
KEYS_MAX: Final = 4
SIGN_BYTES_MAX: Final = 256
FAULT_CHARS_MAX: Final = 200


class Ask(IntEnum):
    """What a node asks its signer."""

    STATE = 1
    SIGN = 2
    RAISE = 3
    PING = 4


class Say(IntEnum):
    """What a signer answers."""

    STATE = 1
    SIGNED = 2
    REFUSED = 3
    FAULT = 4
    PONG = 5


class KeyState(NamedTuple):
    """One key of a signer and its watermark."""

    key: bytes
    order: Order
    sign_bytes: bytes


class Gone(Exception):
    """The other side ended the connection, or the network did."""


class SecureLine:
    """An authenticated connection that carries messages of one record each."""

    def __init__(self, stream: trio.abc.Stream, handshake: Handshake) -> None:
        secured = handshake.secured
        assert secured is not None
        self.peer: Final = secured.node_id
        self._stream = stream
        self._seal = RecordCipher(secured.send_key)
        self._reader = RecordReader(RecordCipher(secured.receive_key))
        self._opened: list[bytes] = []
        self._first = handshake.leftover

    async def send(self, kind: int, payload: Wire) -> None:
        """Send a message. Raises `Gone`."""
        plain = bytes((kind,)) + codec.pack(payload)
        try:
            await self._stream.send_all(self._seal.seal(plain))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as err:
            raise Gone("the connection broke") from err

    async def receive(self) -> tuple[int, list[Wire]]:
        """Return the next message. Raises `Gone`, `ProtocolViolation` or `Malformed`."""
        while not self._opened:
            data, self._first = self._first or await self._more(), b""
            self._opened += self._reader.feed(data)
        plain = self._opened.pop(0)
        if len(plain) > MESSAGE_BYTES_MAX:
            raise ProtocolViolation(f"a message of {len(plain)} bytes")
        wire = codec.unpack(plain[1:], size_max=MESSAGE_BYTES_MAX, field="message")
        return plain[0], codec.items(wire, "message", KEYS_MAX)

    async def _more(self) -> bytes:
        try:
            data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as err:
            raise Gone("the connection broke") from err
        if not data:
            raise Gone("the other side closed the connection")
        return data

    async def close(self) -> None:
        """Let go of the connection at once."""
        await trio.aclose_forcefully(self._stream)


async def secure(
    stream: trio.abc.Stream,
    identity: Identity,
    random_bytes: Callable[[int], bytes],
    expected: bytes,
    *,
    initiator: bool,
) -> SecureLine:
    """Shake hands and make sure that the other side has the node key `expected`.

    Raises `ProtocolViolation`, `WrongNetwork` or `Gone`, after five seconds at most.
    """
    handshake = Handshake(identity, initiator=initiator, ephemeral_secret=random_bytes(32))
    try:
        with trio.fail_after(HANDSHAKE_TIMEOUT_S):
            if initiator:
                await stream.send_all(handshake.start())
            while handshake.secured is None:
                if handshake.ready:
                    answer = handshake.advance()
                    if answer:
                        await stream.send_all(answer)
                    continue
                data = bytes(await stream.receive_some(RECEIVE_BYTES))
                if not data:
                    raise Gone("the other side broke the handshake off")
                handshake.feed(data)
    except trio.TooSlowError:
        raise Gone("the handshake took too long") from None
    except (trio.BrokenResourceError, trio.ClosedResourceError) as err:
        raise Gone("the connection broke in the handshake") from err
    if handshake.refusal is not None:
        raise handshake.refusal
    if handshake.secured.node_id != expected:
        raise ProtocolViolation(f"0x{handshake.secured.node_id.hex()} is not the key to talk to")
    return SecureLine(stream, handshake)


def pack_state(states: list[KeyState]) -> Wire:
    """Return the payload of a state message."""
    return [[state.key, *state.order, state.sign_bytes] for state in states[:KEYS_MAX]]


def unpack_state(items: list[Wire]) -> list[KeyState]:
    """Read the payload of a state message. Raises `Malformed`."""
    found = []
    for item in items:
        key, height, round_, kind, sign_bytes = codec.array(item, "state", 5)
        found.append(
            KeyState(
                codec.digest(key, "state.key"),
                order_of([height, round_, kind]),
                codec.binary(sign_bytes, "state.signBytes", SIGN_BYTES_MAX),
            )
        )
    return found


def order_of(items: list[Wire]) -> Order:
    """Read a position. Raises `Malformed`."""
    height, round_, kind = codec.array(items, "position", 3)
    return (
        codec.integer(height, "position.height"),
        codec.integer(round_, "position.round"),
        codec.integer(kind, "position.kind"),
    )
