"""What passes between a connection and the application: `Peer`, `Request`, `Response`."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic_core import to_json

from clawpurse.modules.kit.web.errors import (
    FORBIDDEN,
    INVALID_REQUEST,
    LIMIT_EXCEEDED,
    RATE_LIMITED,
    TIMEOUT,
    RpcError,
)
from clawpurse.modules.kit.web.grants import Certificate
from clawpurse.modules.kit.web.head import Head
from clawpurse.modules.kit.web.pieces import PIECE_BYTES, Reply

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


class Peer(NamedTuple):
    """Who is at the other end: `address` for logs, `client` as the key of budgets, and the
    `certificate` that TLS verified, if it showed one.
    """

    address: str
    client: str
    certificate: Certificate | None = None


def peer_of(socket_address: object) -> Peer:
    """The peer behind what `getpeername` returned.

    The budget key is the IPv4 address, or the /64 of an IPv6 address: one subscriber has
    them all.
    """
    if not isinstance(socket_address, tuple) or len(socket_address) < 2:
        return Peer("local", "local")
    host, port = str(socket_address[0]), socket_address[1]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return Peer(f"{host}:{port}", host)
    if isinstance(address, ipaddress.IPv4Address):
        return Peer(f"{host}:{port}", host)
    if address.ipv4_mapped is not None:
        return Peer(f"{address.ipv4_mapped}:{port}", str(address.ipv4_mapped))
    network = ipaddress.ip_network((address, 64), strict=False)
    client = str(address) if address.is_loopback else str(network)
    return Peer(f"[{host}]:{port}", client)


class Request:
    """One request with its whole body. `head` may be shared by requests with equal heads.

    `hold(size)`: an answer in the making that takes `size` bytes says so; False when the
    server is short of memory.
    """

    __slots__ = ("body", "head", "hold", "peer")

    def __init__(
        self, head: Head, body: bytes, peer: Peer, hold: Callable[[int], bool] = lambda _size: True
    ) -> None:
        self.head = head
        self.body = body
        self.peer = peer
        self.hold = hold

    @property
    def method(self) -> str:
        return self.head.method

    @property
    def path(self) -> str:
        return self.head.path

    @property
    def query(self) -> str:
        return self.head.query

    def header(self, name: str) -> str | None:
        """The value of a header field, or None; repeated list fields come joined by commas."""
        value = self.head.headers.get(name.lower().encode())
        return None if value is None else value.decode("latin-1")


class Response:
    """A response with its body, whole or in pieces. `headers` are further fields, names as sent."""

    __slots__ = ("body", "close", "content_type", "headers", "status")

    def __init__(
        self,
        status: int = 200,
        body: Reply = b"",
        content_type: str = JSON,
        headers: tuple[tuple[str, str], ...] = (),
        *,
        close: bool = False,
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers
        self.close = close


def text_response(status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """A plain sentence as response, with a newline for people who use curl."""
    return Response(status, text.encode() + b"\n", TEXT, headers)


BUSY_RETRY_AFTER_S = "1"
"""What a server that is busy with others asks for: large requests are answered within a second."""

_CODES = MappingProxyType(
    {
        403: FORBIDDEN,
        408: TIMEOUT,
        413: LIMIT_EXCEEDED,
        414: LIMIT_EXCEEDED,
        431: LIMIT_EXCEEDED,
        429: RATE_LIMITED,
        503: RATE_LIMITED,
    }
)


def refusal_response(
    status: int, problem: str, headers: tuple[tuple[str, str], ...] = ()
) -> Response:
    """A refusal at the level of HTTP, with a JSON-RPC error as body: one shape for clients."""
    code = _CODES.get(status, INVALID_REQUEST)
    facts: dict[str, Any] = {}
    if code == RATE_LIMITED:
        # Whoever is told to wait is told for how long, in the field and in the body.
        wait_s = dict(headers).setdefault("Retry-After", BUSY_RETRY_AFTER_S)
        headers = (*(one for one in headers if one[0] != "Retry-After"), ("Retry-After", wait_s))
        facts = {"retryAfterMs": int(wait_s) * 1000}
    error = RpcError(code, problem, facts=facts)
    body = to_json({"jsonrpc": "2.0", "id": None, "error": error.as_object()})
    return Response(status, body, JSON, headers)


_STATUS_LINES = MappingProxyType(
    {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}
)
_JSON_START = _STATUS_LINES[200] + b"Content-Type: application/json\r\nContent-Length: "
_NO_BODY = frozenset((204, 304))

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def has_long_body(response: Response, head: Head | None) -> bool:
    """Return whether a response has so much to say that its body is sent on its own."""
    return (
        len(response.body) > PIECE_BYTES
        and response.status not in _NO_BODY
        and (head is None or head.method != "HEAD")
    )


def render(response: Response, head: Head | None, *, keep_alive: bool, date: bytes = b"") -> bytes:
    """The bytes of a response to the request of `head` (None when that could not be read).

    Without its body where that is long (`has_long_body`): nobody copies it for this.
    `date` is a whole Date field line, or empty. Header values are checked: a line end in one
    would split the response in two.
    """
    body = b"" if has_long_body(response, head) else bytes(response.body)
    size = len(response.body)
    if (
        response.status == 200
        and not response.headers
        and keep_alive
        and response.content_type == JSON
        and head is not None
        and head.version == "1.1"
        and head.method == "POST"
    ):
        return b"%b%d\r\n%b\r\n%b" % (_JSON_START, size, date, body)
    lines = [_STATUS_LINES[response.status]]
    if response.status >= 200 and response.status not in _NO_BODY:
        lines.append(f"Content-Type: {response.content_type}\r\n".encode("latin-1"))
        lines.append(b"Content-Length: %d\r\nX-Content-Type-Options: nosniff\r\n" % size)
    for name, value in response.headers:
        line = f"{name}: {value}".encode("latin-1")
        if b"\r" in line or b"\n" in line or b"\0" in line:
            raise ValueError(f"the header {name!r} holds a line end")
        lines.append(line + b"\r\n")
    if not keep_alive:
        lines.append(b"Connection: close\r\n")
    elif head is not None and head.version == "1.0":
        lines.append(b"Connection: keep-alive\r\n")
    lines.append(date)
    lines.append(b"\r\n")
    if head is None or head.method != "HEAD":
        lines.append(body if response.status not in _NO_BODY else b"")
    return b"".join(lines)
