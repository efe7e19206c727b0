"""Bodies that are passed on as they come: read strictly on one side, framed anew on the other.

A body's end is decided once, here, by RFC 9112 §6.3, and written in one way; what the sender
wrote about it goes no further. That leaves nothing for two readers to disagree about.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final, NamedTuple

import httptools
import trio

from clawpurse.ledger.errors import PeerError
from clawpurse.modules.kit.web.head import CHUNKED, ChunkedBody, HttpRefusal

RECEIVE_BYTES: Final = 64 * 1024
HEAD_BYTES_MAX: Final = 64 * 1024
"""An answer's head; what other gateways add is much."""

FIELDS_MAX: Final = 256
INTERIM_MAX: Final = 8
"""Heads of 1xx before the final one."""

OVERHEAD_MAX: Final = 64 * 1024
CHUNKS_MAX: Final = 1 << 24
"""Of a stream: what keeps a body of single bytes from being free is its size and its time."""

UNTIL_CLOSE: Final = -2
"""The length of an answer that ends with its connection."""

_HOP_BY_HOP: Final = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization"),
        *(b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
        b"content-length",
    )
)
"""RFC 9110 §7.6.1, and the length, which is written anew."""


class UpstreamFault(PeerError):
    """An upstream that does not answer, or not in HTTP. `sent`: it may have done what was asked."""

    def __init__(self, problem: str, *, sent: bool) -> None:
        super().__init__(problem)
        self.problem = problem
        self.sent = sent


class Flow:
    """A stream with what was read from it and not used yet."""

    __slots__ = ("buffer", "stream")

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.buffer = bytearray()

    async def more(self) -> bool:
        """Read once; False at the end. Raises `trio.BrokenResourceError`."""
        data = await self.stream.receive_some(RECEIVE_BYTES)
        self.buffer += data
        return bool(data)

    async def pieces(self, length: int, body_max: int) -> AsyncGenerator[bytes, None]:
        """Yield a body of a length as it comes (CHUNKED, UNTIL_CLOSE, or bytes).

        Raises `HttpRefusal` for a body that is malformed, cut off (400 cut-off) or larger than
        `body_max` (413).
        """
        if length == CHUNKED:
            reader = ChunkedBody(body_max, OVERHEAD_MAX, CHUNKS_MAX)
            whole = False
            while not whole:
                if not self.buffer and not await self.more():
                    raise HttpRefusal(400, "cut-off", "the body ended in the middle")
                whole, used = reader.feed(bytes(self.buffer))
                del self.buffer[:used]
                content = reader.drain()
                if content:
                    yield content
            return
        left = length
        if left > body_max:
            raise HttpRefusal(413, "body-too-large", f"a body may have {body_max} bytes")
        while left:
            if not self.buffer and not await self.more():
                if length == UNTIL_CLOSE:
                    return
                raise HttpRefusal(400, "cut-off", "the body ended in the middle")
            piece = bytes(self.buffer[:left]) if left > 0 else bytes(self.buffer)
            del self.buffer[: len(piece)]
            if left > 0:
                left -= len(piece)
            yield piece


def chunk(piece: bytes) -> bytes:
    """Return a piece as a chunk; an empty one is no piece."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


LAST_CHUNK: Final = b"0\r\n\r\n"


class AnswerHead(NamedTuple):
    """An upstream's head. `fields` are as sent, each by itself; `length` as in `Flow.pieces`."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    length: int
    keeps: bool
    """Whether the connection can be used again after the body."""

    def get(self, name: bytes) -> bytes | None:
        """The value of the first field of a name (small letters)."""
        return next((value for one, value in self.fields if one.lower() == name), None)


class _Parsed:
    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.fields) >= FIELDS_MAX:
            raise UpstreamFault("its answer has too many fields", sent=True)
        self.fields.append((name, value.strip(b" \t")))


async def read_answer(flow: Flow, method: str) -> AnswerHead:
    """Read the head of an answer to a request of `method`; interim ones are passed over.

    Raises `UpstreamFault`: nothing came, or not HTTP/1.x.
    """
    for _ in range(INTERIM_MAX):
        head = parse_answer(await _raw_head(flow), method)
        if head.status >= 200 or head.status == 101:
            return head
    raise UpstreamFault("it says only that an answer will come", sent=True)


async def _raw_head(flow: Flow) -> bytes:
    scanned = 0
    while (end := flow.buffer.find(b"\r\n\r\n", max(scanned - 3, 0))) < 0:
        scanned = len(flow.buffer)
        if scanned > HEAD_BYTES_MAX:
            raise UpstreamFault("the head of its answer is too large", sent=True)
        try:
            more = await flow.more()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            more = False
        if not more:
            began = bool(flow.buffer)
            problem = "its answer ended in the head" if began else "it closed without an answer"
            raise UpstreamFault(problem, sent=True)
    if end > HEAD_BYTES_MAX:
        raise UpstreamFault("the head of its answer is too large", sent=True)
    raw = bytes(flow.buffer[: end + 4])
    del flow.buffer[: end + 4]
    return raw


def parse_answer(raw: bytes, method: str) -> AnswerHead:
    """Read a head, `raw` being all up to and with its empty line. Raises `UpstreamFault`."""
    parsed = _Parsed()
    parser = httptools.HttpResponseParser(parsed)
    if raw.count(b"\n") != raw.count(b"\r\n") or b"\r\n " in raw or b"\r\n\t" in raw:
        raise UpstreamFault("its answer has bare or folded lines", sent=True)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        # llhttp stops at 101; the head is whole.
        pass
    except httptools.HttpParserCallbackError as error:
        if isinstance(error.__context__, UpstreamFault):
            raise error.__context__ from None
        raise
    except httptools.HttpParserError as error:
        raise UpstreamFault(f"its answer is no HTTP: {error}", sent=True) from None
    status = parser.get_status_code()
    if not 100 <= status <= 599:
        raise UpstreamFault(f"its status is {status}", sent=True)
    lengths = [value for name, value in parsed.fields if name.lower() == b"content-length"]
    codings = [v.lower() for n, v in parsed.fields if n.lower() == b"transfer-encoding"]
    options = b",".join(v for n, v in parsed.fields if n.lower() == b"connection").lower()
    old = not raw.startswith(b"HTTP/1.1")
    keeps = b"close" not in options and (not old or b"keep-alive" in options)
    length = _length(status, method, lengths, codings)
    return AnswerHead(status, tuple(parsed.fields), length, keeps and length != UNTIL_CLOSE)


def _length(status: int, method: str, lengths: list[bytes], codings: list[bytes]) -> int:
    if method == "HEAD" or status in (204, 304) or status < 200:
        return 0
    if codings:
        if codings != [b"chunked"] or lengths:
            raise UpstreamFault("the length of its answer is not clear", sent=True)
        return CHUNKED
    if not lengths:
        return UNTIL_CLOSE
    if len(set(lengths)) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 19:
        raise UpstreamFault("the length of its answer is not clear", sent=True)
    return int(lengths[0])


def end_to_end(
    fields: tuple[tuple[bytes, bytes], ...], left_out: frozenset[bytes] = frozenset()
) -> list[tuple[bytes, bytes]]:
    """Return the fields that are meant for the other end: all but those of one connection, and
    those that `Connection` names.
    """
    named = {
        option.strip().lower()
        for name, value in fields
        if name.lower() == b"connection"
        for option in value.split(b",")
    }
    dropped = _HOP_BY_HOP | left_out | named
    return [(name, value) for name, value in fields if name.lower() not in dropped]
