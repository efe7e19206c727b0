"""What a server answers: JSON-RPC by POST, WebSocket upgrades, and the host's own pages.

Before anything else the gate: host and origin lists, then who the caller is. Its verdict is
a function of the head and the lists, so it is worked out once per distinct head of a
connection, and again when a token ends. The order of checks is fixed: a stranger learns
nothing about paths or methods.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from clawpurse.modules.kit.web.errors import (
    FORBIDDEN,
    RATE_LIMITED,
    UNAUTHENTICATED,
    RpcError,
    rate_limited,
)
from clawpurse.modules.kit.web.grants import Grant, NotAuthentic
from clawpurse.modules.kit.web.guard import LOOPBACK_CLIENTS, Access, RefusalLog
from clawpurse.modules.kit.web.head import Head
from clawpurse.modules.kit.web.http import Answer, Upgrade
from clawpurse.modules.kit.web.jsonrpc import Context, Dispatcher, Pending, TurnedAway
from clawpurse.modules.kit.web.limits import Limits
from clawpurse.modules.kit.web.memory import WORKING_FACTOR
from clawpurse.modules.kit.web.messages import (
    JSON,
    Peer,
    Request,
    Response,
    refusal_response,
    text_response,
)
from clawpurse.modules.kit.web.replies import encode_error
from clawpurse.modules.kit.web.watch import WatchedSession
from clawpurse.modules.kit.web.websocket import WebSocketSession

RouteHandler = Callable[[Request], Response | Awaitable[Response]]

UNMETERED = frozenset(("/healthz", "/readyz"))
"""Paths outside budgets: a probe that shares its address with a busy client must not fail."""

WS_PROTOCOL = "clawpurse.v1"
"""The subprotocol of our WebSocket. Browsers cannot set fields, so beside it they may offer
`bearer.<token>`; only this one is ever answered, so the token is not sent back."""

BEARER_PROTOCOL = "bearer."

FAILED_PROOF_COST = 100
"""What a token that proves nothing costs its sender's budget: a signature and a log line."""

_STATUS_OF = MappingProxyType({RATE_LIMITED: 429, UNAUTHENTICATED: 401, FORBIDDEN: 403})

_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class _Gate:
    """The verdict on a head: a refusal, or the context and fields of its answers."""

    __slots__ = ("context", "cors", "is_rpc", "refusal", "slug")

    def __init__(self) -> None:
        self.refusal: Response | None = None
        self.slug = ""
        self.context = Context()
        self.cors: tuple[tuple[str, str], ...] = ()
        self.is_rpc = False

    def refuse(self, status: int, slug: str, problem: str) -> _Gate:
        self.refusal = refusal_response(status, problem)
        self.slug = slug
        return self


class App:
    """The application of a server.

    `routes`: (method, path) → handler of a Request, plain or async, returning a Response; a
    GET route answers HEAD too. `dispatcher` answers POST at `rpc_path` and WebSockets at
    `ws_path`; without one there is neither. `fallback` takes every request that no route has
    (the gateway's proxy). `guarded`: path → the scope that a caller needs there when `access`
    is closed; other paths are for everybody.
    """

    def __init__(
        self,
        *,
        log: RefusalLog,
        dispatcher: Dispatcher | None = None,
        routes: Mapping[tuple[str, str], RouteHandler] | None = None,
        access: Access | None = None,
        limits: Limits | None = None,
        rpc_path: str = "/",
        ws_path: str = "/ws",
        fallback: RouteHandler | None = None,
        guarded: Mapping[str, str] | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._routes = dict(routes or {})
        #: Whom it lets in; may be replaced while it serves.
        self.access = access or Access()
        self._limits = limits or Limits()
        self._log = log
        self._rpc_path = rpc_path
        self._ws_path = ws_path
        self._fallback = fallback
        self._guarded = dict(guarded or {})
        self._budgets = dispatcher.budgets if dispatcher is not None else None

    @property
    def dispatcher(self) -> Dispatcher | None:
        """What answers JSON-RPC, if anything does."""
        return self._dispatcher

    def answer(self, request: Request) -> Answer:
        """Answer one request; see `http.Application`."""
        head = request.head
        gate = head.gate
        if gate is None or _is_stale(gate):
            gate = head.gate = self._judge(head, request.peer)
        if gate.refusal is not None:
            self._log.refuse(request.peer.address, request.peer.client, gate.slug)
            return gate.refusal  # type: ignore[no-any-return]
        if self._budgets is not None and head.path not in UNMETERED:
            wait_s = self._budgets.wait_s(gate.context.client)
            if wait_s:
                return self._too_fast(request.peer, wait_s)
        if not gate.is_rpc:
            if self._budgets is not None and head.path not in UNMETERED:
                self._budgets.charge(gate.context.client, 1)
            return self._other(request, gate)
        dispatcher = self._dispatcher
        assert dispatcher is not None
        reply = dispatcher.answer(request.body, gate.context)
        if type(reply) is bytes:
            return Response(200, reply, JSON, gate.cors)
        if reply is None:
            return Response(204, b"", JSON, gate.cors)
        if isinstance(reply, TurnedAway):
            return self._turned_away(reply, gate)
        return self._later(reply, request, gate)  # type: ignore[arg-type]

    def precheck(self, head: Head, peer: Peer) -> Response | None:
        """The refusal that a head alone deserves; see `http.Application`."""
        if head.gate is None:
            head.gate = self._judge(head, peer)
        gate: _Gate = head.gate
        if gate.refusal is not None:
            self._log.refuse(peer.address, peer.client, gate.slug)
            return gate.refusal
        denied = gate.context.denied
        return None if denied is None else _denied_response(denied, gate.cors)

    async def _later(self, pending: Pending, request: Request, gate: _Gate) -> Response:
        # What the calls were parsed into stays while their answers grow.
        working = len(request.body) * WORKING_FACTOR
        reply = await pending.run(lambda size: request.hold(working + size))
        if isinstance(reply, TurnedAway):
            return self._turned_away(reply, gate)
        return Response(204 if reply is None else 200, reply or b"", JSON, gate.cors)

    def _judge(self, head: Head, peer: Peer) -> _Gate:
        """Work out the gate of a head."""
        gate = _Gate()
        origin = _text(head.headers.get(b"origin"))
        if not self.access.host_allowed(head.host):
            return gate.refuse(403, "host", "this server has no such host name")
        if not self.access.origin_allowed(origin, head.host):
            return gate.refuse(403, "origin", "this origin may not call")
        if origin is not None:
            gate.cors = (("Access-Control-Allow-Origin", origin), ("Vary", "Origin"))
        if self._dispatcher is not None and head.path == self._rpc_path and head.method == "POST":
            gate.is_rpc = True
            _judge_media(head, gate)
        gate.context = self._identify(head, peer)
        return gate

    def _identify(self, head: Head, peer: Peer) -> Context:
        """Find out who calls. A token that proves nothing denies every call, and costs."""
        grant: Grant | None = None
        denied: RpcError | None = None
        closed = self.access.closed and not self.access.strangers
        try:
            grant = self.access.grant_of(self._presented(head), peer.certificate)
        except NotAuthentic as error:
            self._log.refuse(peer.address, peer.client, error.slug)
            if self._budgets is not None:
                self._budgets.charge(peer.client, FAILED_PROOF_COST)
            denied = RpcError(UNAUTHENTICATED, error.problem)
        else:
            if self.access.certificate_needed and not _is_known(peer):
                denied = RpcError(UNAUTHENTICATED, "this server wants a client certificate")
            elif closed and grant is None:
                denied = RpcError(UNAUTHENTICATED, "this server answers nobody without a token")
        client = peer.client if grant is None else f"token:{grant.ident}"
        return Context(client, peer.address, grant, closed, denied)

    def _presented(self, head: Head) -> str | None:
        """The credential in a head: a bearer token, as field or as WebSocket subprotocol."""
        authorization = _text(head.headers.get(b"authorization"))
        if authorization is not None:
            scheme, _, presented = authorization.partition(" ")
            return presented.strip() if scheme.lower() == "bearer" else ""
        if head.path == self._ws_path:
            for protocol in _protocols(head):
                if protocol.startswith(BEARER_PROTOCOL):
                    return protocol[len(BEARER_PROTOCOL) :]
        return None

    def _turned_away(self, reply: TurnedAway, gate: _Gate) -> Response:
        """A single call that was refused before it ran, in HTTP's words too."""
        fields = gate.cors + _fields_of(reply.error)
        return Response(_STATUS_OF[reply.error.code], bytes(reply), JSON, fields)

    def _refuse(self, peer: Peer, status: int, slug: str, problem: str) -> Response:
        self._log.refuse(peer.address, peer.client, slug)
        return refusal_response(status, problem)

    def _too_fast(self, peer: Peer, wait_s: float) -> Response:
        self._log.refuse(peer.address, peer.client, "rate-limited")
        error = encode_error(None, rate_limited(wait_s))
        return Response(429, error, JSON, (("Retry-After", str(math.ceil(wait_s))),))

    def _other(self, request: Request, gate: _Gate) -> Answer:
        """Everything that is not JSON-RPC by POST."""
        head = request.head
        method = "GET" if head.method == "HEAD" else head.method
        if self._dispatcher is not None and head.path == self._ws_path and method == "GET":
            if gate.context.denied is not None:
                return _denied_response(gate.context.denied, gate.cors)
            return self._upgrade(request, gate)
        needed = self._guarded.get(head.path) if self.access.closed else None
        if needed is not None and not gate.context.allows(needed):
            return _denied_response(
                gate.context.denied or RpcError(FORBIDDEN, f"the token does not reach {needed}"),
                gate.cors,
            )
        handler = self._routes.get((method, head.path))
        if handler is not None:
            return self._call(handler, request, gate)
        allowed = self._allowed(head.path)
        if head.method == "OPTIONS" and (allowed or head.path == "*"):
            return _options(head, gate, allowed)
        if self._fallback is not None:
            return self._call(self._fallback, request, gate)
        if allowed:
            return text_response(405, f"use {', '.join(allowed)}", (("Allow", ", ".join(allowed)),))
        return text_response(404, "there is nothing at this path")

    def _allowed(self, path: str) -> list[str]:
        methods = {method for method, route in self._routes if route == path}
        if self._dispatcher is not None:
            methods |= {"POST"} if path == self._rpc_path else set()
            methods |= {"GET"} if path == self._ws_path else set()
        methods |= {"HEAD"} if "GET" in methods else set()
        return sorted(methods | {"OPTIONS"}) if methods else []

    def _call(
        self, handler: RouteHandler, request: Request, gate: _Gate
    ) -> Response | Awaitable[Response]:
        """Run a route; its faults become 500 with an incident id, and nothing leaks."""
        try:
            answer = handler(request)
        except Exception as error:
            return self._fault(request, error)
        if isinstance(answer, Response):
            return _with_fields(answer, gate.cors)
        return self._call_later(answer, request, gate)

    async def _call_later(
        self, answer: Awaitable[Response], request: Request, gate: _Gate
    ) -> Response:
        try:
            return _with_fields(await answer, gate.cors)
        except Exception as error:
            return self._fault(request, error)

    def _fault(self, request: Request, error: Exception) -> Response:
        incident = self._log.incident(error, f"{request.method} route", request.peer.address)
        return text_response(500, f"this server failed; incident {incident}")

    def _upgrade(self, request: Request, gate: _Gate) -> Answer:
        """The opening handshake of RFC 6455 §4.2."""
        head = request.head
        if head.method != "GET" or head.upgrade != "websocket" or head.body_length:
            fields = (("Upgrade", "websocket"), ("Connection", "Upgrade"))
            return text_response(426, "this path speaks WebSocket", fields)
        if head.headers.get(b"sec-websocket-version") != b"13":
            self._log.refuse(request.peer.address, request.peer.client, "websocket-version")
            return text_response(
                426, "this server speaks WebSocket 13", (("Sec-WebSocket-Version", "13"),)
            )
        key = head.headers.get(b"sec-websocket-key", b"")
        if not _key_is_good(key):
            return self._refuse(request.peer, 400, "websocket-key", "Sec-WebSocket-Key is wrong")
        digest = hashlib.sha1(key + _ACCEPT_GUID, usedforsecurity=False).digest()
        answer = (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n"
        )
        if WS_PROTOCOL in _protocols(head):
            answer += f"Sec-WebSocket-Protocol: {WS_PROTOCOL}\r\n".encode()
        answer += b"\r\n"
        assert self._dispatcher is not None
        session = WebSocketSession(
            self._dispatcher, request.peer, gate.context, self._limits, self._log
        )
        grant = gate.context.grant
        if grant is None:
            return Upgrade(answer, session)
        return Upgrade(answer, WatchedSession(session, grant, request.peer, self._log))


def _is_stale(gate: _Gate) -> bool:
    """Whether who calls must be found out again: a token ended, or a bad one may be known now."""
    context = gate.context
    if context.denied is not None:
        return True
    return context.grant is not None and not context.grant.alive()


def _is_known(peer: Peer) -> bool:
    """Whether TLS verified who this is, or it sits on this machine."""
    return peer.certificate is not None or peer.client in LOOPBACK_CLIENTS


def _denied_response(error: RpcError, cors: tuple[tuple[str, str], ...]) -> Response:
    """The refusal of a request whose calls were not even read."""
    body = encode_error(None, error)
    return Response(_STATUS_OF[error.code], body, JSON, cors + _fields_of(error))


def _fields_of(error: RpcError) -> tuple[tuple[str, str], ...]:
    """What HTTP says of a refusal beside its status (RFC 6750 §3, RFC 9110 §10.2.3)."""
    if error.code == RATE_LIMITED:
        wait_ms = error.facts.get("retryAfterMs", 1_000)
        return (("Retry-After", str(math.ceil(wait_ms / 1000))),)
    problem = "invalid_token" if error.code == UNAUTHENTICATED else "insufficient_scope"
    return (("WWW-Authenticate", f'Bearer realm="clawpurse", error="{problem}"'),)


def _protocols(head: Head) -> list[str]:
    """The subprotocols that a WebSocket handshake offers (RFC 6455 §11.3.4)."""
    offered = _text(head.headers.get(b"sec-websocket-protocol")) or ""
    return [protocol.strip() for protocol in offered.split(",")]


def _judge_media(head: Head, gate: _Gate) -> None:
    """Only JSON, plainly coded: forms of other pages cannot send that unasked."""
    media = (_text(head.headers.get(b"content-type")) or "").lower()
    kind, _, parameters = media.partition(";")
    charset = parameters.replace(" ", "").replace('"', "")
    if kind.strip() != JSON or charset not in ("", "charset=utf-8"):
        gate.refuse(415, "content-type", "send Content-Type: application/json")
    elif head.headers.get(b"content-encoding", b"identity").lower() != b"identity":
        gate.refuse(415, "content-encoding", "send the body uncompressed")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _key_is_good(key: bytes) -> bool:
    """Base64 of exactly 16 bytes."""
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        return False


def _with_fields(response: Response, fields: tuple[tuple[str, str], ...]) -> Response:
    if fields:
        return Response(
            response.status,
            response.body,
            response.content_type,
            response.headers + fields,
            close=response.close,
        )
    return response


def _options(head: Head, gate: _Gate, allowed: list[str]) -> Response:
    """OPTIONS, and the preflight by which browsers ask for allowed origins."""
    fields: tuple[Any, ...] = (("Allow", ", ".join(allowed or ["OPTIONS"])), *gate.cors)
    if gate.cors and b"access-control-request-method" in head.headers:
        fields += (
            ("Access-Control-Allow-Methods", ", ".join(allowed)),
            ("Access-Control-Allow-Headers", "content-type, authorization"),
            ("Access-Control-Max-Age", "600"),
        )
    return Response(204, b"", JSON, fields)
