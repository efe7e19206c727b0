"""Text messages of a WebSocket: framing ours, putting together theirs. For both ends."""

from __future__ import annotations

from wsproto.events import TextMessage

from clawpurse.ledger.errors import CallerError


def text_frame(payload: bytes) -> bytes:
    """One unmasked, unfragmented text frame (§5.2), as servers send them."""
    return text_head(len(payload)) + payload


def text_head(length: int) -> bytes:
    """What comes before the `length` bytes of such a frame's payload."""
    if length < 126:
        return b"\x81%c" % length
    if length < 65536:
        return b"\x81\x7e%b" % length.to_bytes(2, "big")
    return b"\x81\x7f%b" % length.to_bytes(8, "big")


class MessageTooBig(CallerError):
    """The message in progress is beyond the limit on bytes or pieces."""


class TextAssembler:
    """Puts the pieces of a text message together, within bounds on bytes and pieces."""

    __slots__ = ("_bytes", "_bytes_max", "_pieces", "_pieces_max")

    def __init__(self, bytes_max: int, pieces_max: int) -> None:
        self._pieces: list[str] = []
        self._bytes = 0
        self._bytes_max = bytes_max
        self._pieces_max = pieces_max

    @property
    def size(self) -> int:
        """Bytes of the message in progress."""
        return self._bytes

    def add(self, event: TextMessage) -> str | None:
        """Take a piece; return the message when it is whole. Raises MessageTooBig."""
        piece = event.data
        self._bytes += len(piece) if piece.isascii() else len(piece.encode())
        self._pieces.append(piece)
        if self._bytes > self._bytes_max or len(self._pieces) > self._pieces_max:
            raise MessageTooBig
        if not event.message_finished:
            return None
        whole = piece if len(self._pieces) == 1 else "".join(self._pieces)
        self._pieces.clear()
        self._bytes = 0
        return whole
