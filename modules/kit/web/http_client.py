"""A small HTTP/1.1 client on raw streams: pooled connections, deadlines, typed errors.

Made for many short requests to one origin: about a tenth of the cost of a general client. No
redirects, no cookies, no proxies, no environment. Answers are read by httptools for their
heads and by the same strict body readers as on the server.
"""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from urllib.parse import urlsplit

import httptools
import trio

from clawpurse.ledger.errors import Malformed
from clawpurse.modules.kit.web.errors import BadAnswer, Unreachable
from clawpurse.modules.kit.web.head import ChunkedBody, HttpRefusal
from clawpurse.modules.kit.web.limits import seconds

RECEIVE_BYTES = 64 * 1024
HEAD_BYTES_MAX = 64 * 1024
"""A response head; gateways of others add much."""

CONTENT_TOO_LARGE = 413

INTERIM_MAX = 8
"""1xx responses before the final one."""

Connect = Callable[[], Awaitable[trio.abc.Stream]]


class Origin:
    """A URL taken apart: scheme, host, port and base path. Raises Malformed."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise Malformed("url", str(error)) from None
        if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
            raise Malformed("url", f"{url!r} is not an http:// or https:// URL")
        if parts.username is not None or parts.fragment or not url.isascii():
            raise Malformed("url", "no user information, fragment or non-ASCII text")
        if any(c <= " " or c == "\x7f" for c in url):
            raise Malformed("url", "holds blanks or control characters")
        self.secure = parts.scheme in ("https", "wss")
        self.host = parts.hostname
        self.port = port or (443 if self.secure else 80)
        self.path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        name = f"[{self.host}]" if ":" in self.host else self.host
        default = port is None or port == (443 if self.secure else 80)
        self.authority = name if default else f"{name}:{port}"


def tcp_connector(origin: Origin, context: ssl.SSLContext | None = None) -> Connect:
    """Connect by TCP, with TLS for https and wss (checked against the system's roots unless
    a context is given). The result raises OSError, or BrokenResourceError for bad TLS.
    """

    async def connect() -> trio.abc.Stream:
        if not origin.secure:
            return await trio.open_tcp_stream(origin.host, origin.port)
        stream = await trio.open_ssl_over_tcp_stream(
            origin.host,
            origin.port,
            https_compatible=True,
            ssl_context=context or ssl.create_default_context(),
        )
        try:
            await stream.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    return connect


class ClientResponse:
    """A whole response: `status`, `headers` (lower-case names, list fields joined), `body`."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class _ResponseHead:
    """Receives httptools' callbacks for one response head."""

    __slots__ = ("headers", "status")

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.status = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1").strip(" \t")
        if key in ("content-length", "transfer-encoding") and key in self.headers:
            raise BadAnswer(f"{key} came twice")
        self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text


class _Connection:
    """One connection: sends a request, reads its response, says whether it can be used again."""

    __slots__ = ("_buffer", "reusable", "stream", "used")

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._buffer = bytearray()
        self.reusable = False
        self.used = False

    async def exchange(self, request: bytes, method: str, body_max: int) -> ClientResponse:
        """Raises BadAnswer, or _Gone when the connection ended before a byte of response."""
        self.reusable = False
        try:
            await self.stream.send_all(request)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # The other side may have answered (413, 503) and closed without reading it all.
            pass
        head, keep = await self._head()
        for _ in range(INTERIM_MAX):
            if not 100 <= head.status < 200 or head.status == 101:
                break
            head, keep = await self._head()
        body, delimited = await self._body(head, method, body_max)
        self.reusable = keep and delimited and not self._buffer
        self.used = True
        return ClientResponse(head.status, head.headers, body)

    async def more(self) -> bool:
        """Read once; False at the end."""
        try:
            data = await self.stream.receive_some(RECEIVE_BYTES)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        self._buffer += data
        return bool(data)

    async def _head(self) -> tuple[_ResponseHead, bool]:
        scanned = 0
        while (end := self._buffer.find(b"\r\n\r\n", max(scanned - 3, 0))) < 0:
            scanned = len(self._buffer)
            if scanned > HEAD_BYTES_MAX:
                raise BadAnswer("the response head is too large")
            if not await self.more():
                if not self._buffer:
                    raise _Gone
                raise BadAnswer("the response ended in its head")
        raw = bytes(self._buffer[: end + 4])
        del self._buffer[: end + 4]
        head = _ResponseHead()
        parser = httptools.HttpResponseParser(head)
        try:
            parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            # llhttp stops at 101; the head is whole.
            pass
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, BadAnswer):
                raise error.__context__ from None
            raise
        except httptools.HttpParserError as error:
            raise BadAnswer(f"not an HTTP response: {error}") from None
        head.status = parser.get_status_code()
        options = head.headers.get("connection", "").lower()
        old = not raw.startswith(b"HTTP/1.1")
        return head, "close" not in options and (not old or "keep-alive" in options)

    async def _body(self, head: _ResponseHead, method: str, body_max: int) -> tuple[bytes, bool]:
        """The body (RFC 9112 §6.3), and whether its end was marked by more than the close."""
        if method == "HEAD" or head.status in (101, 204, 304):
            return b"", True
        coding = head.headers.get("transfer-encoding")
        length = head.headers.get("content-length")
        if coding is not None:
            if coding.lower() != "chunked" or length is not None:
                raise BadAnswer("the length of the response is not clear")
            return await self._chunked(head, body_max), True
        if length is None:
            while await self.more():
                if len(self._buffer) > body_max:
                    raise OversizedAnswer(head)
            body, self._buffer = bytes(self._buffer), bytearray()
            return body, False
        if not (length.isascii() and length.isdigit()) or len(length) > 19:
            raise BadAnswer("Content-Length is not a number")
        count = int(length)
        if count > body_max:
            raise OversizedAnswer(head)
        while len(self._buffer) < count:
            if not await self.more():
                raise BadAnswer("the response ended in its body")
        body = bytes(self._buffer[:count])
        del self._buffer[:count]
        return body, True

    async def _chunked(self, head: _ResponseHead, body_max: int) -> bytes:
        reader = ChunkedBody(body_max, HEAD_BYTES_MAX)
        while True:
            try:
                whole, used = reader.feed(bytes(self._buffer))
            except HttpRefusal as error:
                if error.status == CONTENT_TOO_LARGE:
                    raise OversizedAnswer(head) from None
                raise BadAnswer(error.problem) from None
            del self._buffer[:used]
            if whole:
                return reader.body
            if not await self.more():
                raise BadAnswer("the response ended in its body")


class OversizedAnswer(BadAnswer):
    """An answer whose body is larger than wanted; its connection is closed unread.

    Attributes: `status`, `headers`: its head was whole.
    """

    def __init__(self, head: _ResponseHead) -> None:
        super().__init__("the response is too large")
        self.status = head.status
        self.headers = head.headers


class _Gone(BadAnswer):
    """The connection ended without a byte of response."""

    def __init__(self) -> None:
        super().__init__("the connection was closed without a response")


class HttpClient:
    """Requests to one origin over a pool of kept connections.

    `connections_max` requests run at once, more wait their turn. `connect` replaces TCP (for
    in-memory streams). Use as `async with`, or call `aclose`. Safe for many tasks.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_ms: int = 30_000,
        connections_max: int = 8,
        response_bytes_max: int = 64 * 1024 * 1024,
        connect: Connect | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.origin = Origin(url)
        self._timeout_ms = timeout_ms
        self._response_bytes_max = response_bytes_max
        self._connect = connect or tcp_connector(self.origin, ssl_context)
        self._limiter = trio.Semaphore(connections_max)
        self._idle: deque[_Connection] = deque()
        self._closed = False

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the idle connections; those in use close when their request ends."""
        self._closed = True
        # Closing by force waits for nobody; a cancelled caller must not leave the rest open.
        with trio.CancelScope(shield=True):
            while self._idle:
                await trio.aclose_forcefully(self._idle.pop().stream)

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: bytes = b"",
        *,
        timeout_ms: int | None = None,
        retry: bool = True,
    ) -> ClientResponse:
        """Send a request, return its response whatever its status.

        `headers` are whole field lines. With `retry`, a request whose kept connection turns
        out closed, without a byte of response, is sent once more on a new one: right for
        requests that may be carried out twice, such as those of JSON-RPC here.

        Raises Unreachable (`sent` False: it was surely not carried out), BadAnswer.
        Cancellation closes the connection; the request may have been carried out.
        """
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.origin.authority}\r\n".encode()
        length = b"Content-Length: %d\r\n" % len(body) if body or method == "POST" else b""
        data = b"".join((head, headers, length, b"\r\n", body))
        limit_ms = self._timeout_ms if timeout_ms is None else timeout_ms
        sent = False
        with trio.move_on_after(seconds(limit_ms)):
            async with self._limiter:
                while True:
                    connection, kept = await self._take(sent=sent)
                    sent = True
                    try:
                        return await connection.exchange(data, method, self._response_bytes_max)
                    except _Gone as error:
                        if not (kept and retry):
                            raise Unreachable(self.origin.url, error.problem, sent=True) from None
                    finally:
                        await self._give_back(connection)
        problem = f"no answer within {limit_ms} ms" if sent else f"no connection in {limit_ms} ms"
        raise Unreachable(self.origin.url, problem, sent=sent)

    async def _take(self, *, sent: bool) -> tuple[_Connection, bool]:
        """A kept connection, the last used first, or a new one; and whether it was kept."""
        if self._idle and not sent:
            return self._idle.pop(), True
        # A retry never trusts a second kept connection: they tend to end together.
        try:
            return _Connection(await self._connect()), False
        except (OSError, trio.BrokenResourceError) as error:
            raise Unreachable(self.origin.url, _why(error), sent=sent) from None

    async def _give_back(self, connection: _Connection) -> None:
        if connection.reusable and not self._closed:
            self._idle.append(connection)
        else:
            await trio.aclose_forcefully(connection.stream)


def _why(error: BaseException) -> str:
    """The reason for a failed connection in a few words."""
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    text = getattr(cause, "strerror", None) or str(cause)
    return text or type(cause).__name__
