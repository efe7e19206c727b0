"""`RpcClient`: JSON-RPC calls, batches and subscriptions to one server.

Errors are typed: `RpcError` is the server's answer, `Unreachable` means no answer (its `sent`
says whether the call may have been carried out), `BadAnswer` an answer that is no JSON-RPC.
"""

from __future__ import annotations

import itertools
import random
import ssl
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import trio
from pydantic_core import from_json, to_json

from clawpurse.modules.kit.web.errors import BadAnswer, RpcError, Unreachable
from clawpurse.modules.kit.web.http_client import Connect, HttpClient, tcp_connector
from clawpurse.modules.kit.web.limits import seconds

if TYPE_CHECKING:
    from clawpurse.modules.kit.web.ws_client import WebSocketClient

SILENCE_MAX_MS = 60_000
"""Servers ping every 20 s; three missed ones mean that the connection is dead."""

RECONNECT_FIRST_MS = 100
RECONNECT_MAX_MS = 5_000
"""Waits between attempts to reconnect: doubled each time, cut at random by up to a half."""

Params = dict[str, Any] | Sequence[Any] | None


class RpcClient:
    """Calls methods of the server at `url` (`http://…` or `https://…`).

    `token` is sent as bearer token. `connect` replaces TCP with other streams. Use as
    `async with`; safe for many tasks.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout_ms: int = 30_000,
        connections_max: int = 8,
        ws_path: str = "/ws",
        connect: Connect | None = None,
        ssl_context: ssl.SSLContext | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._http = HttpClient(
            url,
            timeout_ms=timeout_ms,
            connections_max=connections_max,
            connect=connect,
            ssl_context=ssl_context,
        )
        self._connect = connect or tcp_connector(self._http.origin, ssl_context)
        self._authorization = b"" if token is None else _authorization(token)
        self._headers = b"Content-Type: application/json\r\n" + self._authorization
        self._ws_path = ws_path
        self._jitter = jitter
        self._idents = itertools.count(1)

    @property
    def url(self) -> str:
        return self._http.origin.url

    async def __aenter__(self) -> RpcClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close idle connections."""
        await self._http.aclose()

    async def call(
        self,
        method: str,
        params: Params = None,
        *,
        timeout_ms: int | None = None,
        retry: bool = True,
    ) -> Any:
        """Call a method and return its result.

        Raises RpcError, Unreachable, BadAnswer. `retry` as in `HttpClient.request`.
        """
        ident = next(self._idents)
        answer = await self._post(_request(method, params, ident), timeout_ms, retry=retry)
        return _result(answer, ident)

    async def notify(
        self, method: str, params: Params = None, *, timeout_ms: int | None = None
    ) -> None:
        """Send a notification; the server answers nothing, errors included."""
        request = {"jsonrpc": "2.0", "method": method, "params": params or {}}
        await self._http.request(
            "POST", self._http.origin.path, to_json(request), self._headers, timeout_ms=timeout_ms
        )

    async def batch(
        self, calls: Sequence[tuple[str, Params]], *, timeout_ms: int | None = None
    ) -> list[Any]:
        """Call several methods in one request. Returns, in the order of the calls, each
        result, or the RpcError that is its answer. Raises RpcError when the batch as a whole
        was refused; Unreachable, BadAnswer.
        """
        if not calls:
            return []
        requests = [_request(method, params, next(self._idents)) for method, params in calls]
        answers = await self._post(requests, timeout_ms, retry=True)
        if isinstance(answers, dict) and "error" in answers:
            raise RpcError.from_object(answers["error"])
        if not isinstance(answers, list):
            raise BadAnswer("the answer to a batch is no array")
        by_ident = {}
        for answer in answers:
            ident = answer.get("id") if isinstance(answer, dict) else None
            if type(ident) is int:
                by_ident[ident] = answer
        results: list[Any] = []
        for request in requests:
            try:
                results.append(_result(by_ident.get(request["id"]), request["id"]))
            except RpcError as error:
                results.append(error)
        return results

    def subscribe(
        self,
        topic: str,
        matching: dict[str, Any] | None = None,
        from_cursor: str | None = None,
    ) -> Subscription:
        """Subscribe to a topic; iterate over the result. See `Subscription`."""
        return Subscription(self.open_socket, topic, matching, from_cursor, self._jitter)

    async def open_socket(self) -> WebSocketClient:
        """Open a WebSocket to the server. Raises Unreachable or BadAnswer."""
        # Late, because it takes 50 ms that a command line which only calls can save.
        from clawpurse.modules.kit.web.ws_client import connect_websocket

        return await connect_websocket(
            self._http.origin, self._connect, self._ws_path, headers=self._authorization
        )

    async def _post(self, message: Any, timeout_ms: int | None, *, retry: bool) -> Any:
        response = await self._http.request(
            "POST",
            self._http.origin.path,
            to_json(message),
            self._headers,
            timeout_ms=timeout_ms,
            retry=retry,
        )
        if not response.headers.get("content-type", "").startswith("application/json"):
            words = response.body[:200].decode("utf-8", "replace").strip()
            raise BadAnswer(f"status {response.status}: {words}")
        try:
            return from_json(response.body)
        except ValueError as error:
            raise BadAnswer(f"the answer is not JSON: {error}") from None


class SubscriptionEvent(NamedTuple):
    """One event. `cursor` is None and `final` False for local topics; `gap` is True when
    events may be missing before this one.
    """

    cursor: str | None
    final: bool
    data: Any
    gap: bool


class Subscription:
    """The events of a topic, for ever: reconnects, and resumes at its cursor.

    `async with client.subscribe("blocks") as events: async for event in events: …`. Of a topic
    with cursors no event is missed or repeated, once there is a cursor: with `from_cursor`, or
    after the first heartbeat, which comes at once. Where events may be missing, the next one
    has `gap`.

    `cursor` is the place after the last event given out; keep it to go on after a restart.
    Iteration raises RpcError when the server refuses the subscription (such as -32002 for a
    cursor that it no longer keeps). While the server is unreachable it tries again; bound that
    with a cancel scope. One task iterates.
    """

    def __init__(
        self,
        open_socket: Callable[[], Any],
        topic: str,
        matching: dict[str, Any] | None,
        from_cursor: str | None,
        jitter: Callable[[], float],
    ) -> None:
        self._open_socket = open_socket
        self._topic = topic
        self._matching = matching
        self.cursor = None if from_cursor == "now" else from_cursor
        self._jitter = jitter
        self._socket: WebSocketClient | None = None
        self._ident = ""
        self._gap = False
        self._early: SubscriptionEvent | None = None
        self._attempts = 0
        #: For so long nothing at all may come before the connection counts as dead.
        self.silence_max_ms = SILENCE_MAX_MS

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the subscription by closing its connection."""
        if self._socket is not None:
            socket, self._socket = self._socket, None
            await socket.aclose()

    def __aiter__(self) -> Subscription:
        return self

    async def begin(self) -> str | None:
        """Subscribe now, and return the cursor from which on nothing will be missed.

        None for a topic without cursors. Not needed: iteration subscribes by itself. Raises as
        iteration does; a cancelled call leaves nothing half done.
        """
        while self.cursor is None and self._early is None:
            if self._socket is None:
                await self._connect()
                continue
            try:
                message = from_json(await self._socket.receive(self.silence_max_ms))
            except (Unreachable, BadAnswer, ValueError):
                await self._drop()
                continue
            self._early = await self._take(message)
            if isinstance(message, dict) and message.get("method") == "sub_heartbeat":
                break
        return self.cursor

    async def __anext__(self) -> SubscriptionEvent:
        if self._early is not None:
            early, self._early = self._early, None
            return early
        while True:
            if self._socket is None:
                await self._connect()
                continue
            try:
                message = from_json(await self._socket.receive(self.silence_max_ms))
            except (Unreachable, BadAnswer, ValueError):
                await self._drop()
                continue
            event = await self._take(message)
            if event is not None:
                self._attempts = 0
                return event

    async def _connect(self) -> None:
        """Connect and subscribe once; on failure wait before returning."""
        try:
            self._socket = await self._subscribed()
        except RpcError as error:
            if not error.retryable:
                raise
            await self._pause()
        except (Unreachable, BadAnswer, ValueError):
            await self._drop()

    async def _subscribed(self) -> WebSocketClient:
        """Return a socket on which the subscription runs; any other is closed.

        Also when cancelled: nobody may read on from a socket that was asked and not heard.
        """
        socket: WebSocketClient = await self._open_socket()
        try:
            params: dict[str, Any] = {"topic": self._topic}
            if self._matching is not None:
                params["filter"] = self._matching
            if self.cursor is not None:
                params["fromCursor"] = self.cursor
            await socket.send(to_json(_request("sub_subscribe", params, 1)).decode())
            # The answer is the first message: nothing else was asked on this connection.
            answer = from_json(await socket.receive(self.silence_max_ms))
            self._ident = str(_result(answer, 1))
        except BaseException:
            await socket.aclose()
            raise
        return socket

    async def _drop(self) -> None:
        await self.aclose()
        # Without a cursor nobody knows what happened meanwhile.
        self._gap = self.cursor is None
        await self._pause()

    async def _pause(self) -> None:
        wait_ms = min(RECONNECT_FIRST_MS << min(self._attempts, 10), RECONNECT_MAX_MS)
        self._attempts += 1
        await trio.sleep(seconds(wait_ms) * (1 - self._jitter() / 2))

    async def _take(self, message: Any) -> SubscriptionEvent | None:
        """Act on one notification; return it when it is an event of ours."""
        params = message.get("params") if isinstance(message, dict) else None
        if not isinstance(params, dict) or params.get("id") != self._ident:
            return None
        cursor = params.get("cursor")
        match message.get("method"):
            case "sub_event":
                if isinstance(cursor, str):
                    self.cursor = cursor
                gap, self._gap = self._gap, False
                final = params.get("final") is True
                return SubscriptionEvent(
                    self.cursor if final else None, final, params.get("data"), gap
                )
            case "sub_lagged":
                if isinstance(cursor, str):
                    self.cursor = cursor
                    await self.aclose()
                else:
                    self._gap = True
            case "sub_heartbeat" if isinstance(cursor, str):
                self.cursor = cursor
            case "sub_ended":
                await self.aclose()
                raise RpcError.from_object(params.get("error"))
        return None


def _authorization(token: str) -> bytes:
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("a token is printable ASCII without blanks")
    return f"Authorization: Bearer {token}\r\n".encode()


def _request(method: str, params: Params, ident: int) -> dict[str, Any]:
    request: dict[str, Any] = {"jsonrpc": "2.0", "id": ident, "method": method}
    if params is not None:
        request["params"] = params
    return request


def _result(answer: Any, ident: int) -> Any:
    """The result of an answer to the request with this id, or its error, raised."""
    if not isinstance(answer, dict):
        raise BadAnswer("the answer is no JSON-RPC object")
    if "error" in answer and answer["error"] is not None:
        # An error that kept the server from reading our id carries null.
        raise RpcError.from_object(answer["error"])
    if answer.get("id") != ident or "result" not in answer:
        raise BadAnswer("the answer is to another request")
    return answer["result"]
