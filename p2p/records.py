"""The record layer after the handshake: sealed records, and messages cut into frames within.

A record is length(2) ‖ ChaCha20-Poly1305 of frames, at most 65,535 bytes; nonces count up, and
both sides rekey after the same number of records, long before a nonce could repeat. A frame is
channel(1) ‖ flags(1) ‖ size(2) ‖ bytes; the first frame of a message begins with its whole
length (4) and kind (1), so that an oversized message is refused before it is collected.
Pure: bytes in, bytes out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from clawpurse.ledger.errors import Bug, ProtocolViolation
from clawpurse.p2p.noise import TAG_BYTES, nonce_bytes, rekeyed

RECORD_BYTES_MAX: Final = 65_535
PLAIN_BYTES_MAX: Final = RECORD_BYTES_MAX - TAG_BYTES
# Small enough that a vote never waits long behind a block on the same wire; two of them and
# their heads fill one record.
FRAME_BYTES_MAX: Final = 32_752
# Of a frame that is not its message's last: a message in crumbs costs its receiver far more
# than its sender.
FRAME_BYTES_MIN: Final = 16_384
FRAME_HEAD_BYTES: Final = 4
MESSAGE_HEAD_BYTES: Final = 5
FLAG_START: Final = 1
FLAG_END: Final = 2
# The cipher is safe for far more; a million records bounds what one leaked key reveals.
REKEY_RECORDS: Final = 1 << 20


class Tampered(ProtocolViolation):
    """A record whose tag does not fit. Whoever is on the path can cause it: never a ban."""


class RecordCipher:
    """One direction of a connection: seals or opens records in order."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cipher = ChaCha20Poly1305(key)
        self._count = 0

    def _next(self) -> tuple[ChaCha20Poly1305, bytes]:
        """Return cipher and nonce of the next record; together, so that no pair comes twice."""
        if self._count == REKEY_RECORDS:
            self._key = rekeyed(self._key)
            self._cipher = ChaCha20Poly1305(self._key)
            self._count = 0
        nonce = nonce_bytes(self._count)
        self._count += 1
        return self._cipher, nonce

    def seal(self, plain: bytes) -> bytes:
        """Return the record of at most `PLAIN_BYTES_MAX` bytes."""
        if not 0 < len(plain) <= PLAIN_BYTES_MAX:
            raise Bug(f"a record of {len(plain)} bytes was to be sealed")
        cipher, nonce = self._next()
        sealed = cipher.encrypt(nonce, plain, None)
        return len(sealed).to_bytes(2, "big") + sealed

    def open(self, sealed: bytes) -> bytes:
        """Return a record's content. Raises `Tampered` if it is not what was sealed, in order."""
        cipher, nonce = self._next()
        try:
            return cipher.decrypt(nonce, sealed, None)
        except InvalidTag:
            raise Tampered("a record does not decrypt") from None


class RecordReader:
    """Cuts a byte stream into opened records."""

    def __init__(self, cipher: RecordCipher, data: bytes = b"") -> None:
        self._cipher = cipher
        self._rest = data

    def feed(self, data: bytes) -> list[bytes]:
        """Take received bytes; return the content of every record that is complete.

        Less than one record is kept between calls. Raises `ProtocolViolation`.
        """
        if self._rest:
            data = self._rest + data
        opened: list[bytes] = []
        place = 0
        while len(data) - place >= 2:
            size = int.from_bytes(data[place : place + 2], "big")
            if size <= TAG_BYTES:
                raise Tampered("a record is empty")  # Lengths travel in clear.
            end = place + 2 + size
            if len(data) < end:
                break
            opened.append(self._cipher.open(data[place + 2 : end]))
            place = end
        self._rest = data[place:]
        return opened


class Message(NamedTuple):
    """One message as it was sent: channel, kind within it, payload."""

    channel: int
    kind: int
    payload: bytes


def frame_message(channel: int, kind: int, payload: bytes) -> list[bytes]:
    """Return a message's frames, in order."""
    data = (len(payload) + 1).to_bytes(4, "big") + bytes((kind,)) + payload
    frames = []
    for place in range(0, len(data), FRAME_BYTES_MAX):
        piece = data[place : place + FRAME_BYTES_MAX]
        flags = (FLAG_START if place == 0 else 0) | (
            FLAG_END if place + FRAME_BYTES_MAX >= len(data) else 0
        )
        frames.append(bytes((channel, flags)) + len(piece).to_bytes(2, "big") + piece)
    return frames


class MessageReader:
    """Puts messages together from frames; one unfinished message per channel.

    `size_max(channel, kind)` bounds a payload, and raises `ProtocolViolation` for a channel or
    kind that does not exist. `begins(channel, size)` is told of each message before any of it
    is kept, and raises `ProtocolViolation` when it is one too many.
    """

    def __init__(
        self,
        size_max: Callable[[int, int], int],
        begins: Callable[[int, int], None] = lambda _channel, _size: None,
    ) -> None:
        self._size_max = size_max
        self._begins = begins
        self._open: dict[int, tuple[int, int, bytearray]] = {}

    @property
    def unfinished_bytes(self) -> int:
        """How many bytes of messages that are not complete are held."""
        return sum(len(buffer) for _, _, buffer in self._open.values())

    def feed(self, plain: bytes) -> list[Message]:
        """Take a record's content; return the messages that it completes."""
        done: list[Message] = []
        place = 0
        while place < len(plain):
            head = plain[place : place + FRAME_HEAD_BYTES]
            size = int.from_bytes(head[2:4], "big")
            data = plain[place + FRAME_HEAD_BYTES : place + FRAME_HEAD_BYTES + size]
            if len(head) < FRAME_HEAD_BYTES or len(data) != size or head[1] > 3:
                raise ProtocolViolation("a frame is cut off")
            if size < FRAME_BYTES_MIN and not head[1] & FLAG_END:
                raise ProtocolViolation("a message comes in crumbs")
            place += FRAME_HEAD_BYTES + size
            message = self._frame(head[0], head[1], data)
            if message is not None:
                done.append(message)
        return done

    def _frame(self, channel: int, flags: int, data: bytes) -> Message | None:
        if flags & FLAG_START:
            kind, total, rest = self._begin(channel, data)
            buffer = bytearray(rest)
        else:
            found = self._open.pop(channel, None)
            if found is None:
                raise ProtocolViolation("a frame continues nothing")
            kind, total, buffer = found
            buffer += data
        if len(buffer) > total or (flags & FLAG_END and len(buffer) != total):
            raise ProtocolViolation("a message is not as long as it says")
        if flags & FLAG_END:
            return Message(channel, kind, bytes(buffer))
        self._open[channel] = (kind, total, buffer)
        return None

    def _begin(self, channel: int, data: bytes) -> tuple[int, int, bytes]:
        if channel in self._open or len(data) < MESSAGE_HEAD_BYTES:
            raise ProtocolViolation("a message begins inside another, or without a head")
        total, kind = int.from_bytes(data[:4], "big") - 1, data[4]
        if not 0 <= total <= self._size_max(channel, kind):
            raise ProtocolViolation(f"a message of kind {channel}/{kind} claims {total} bytes")
        self._begins(channel, total)
        return kind, total, data[MESSAGE_HEAD_BYTES:]
