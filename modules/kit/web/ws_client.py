"""The client's end of a WebSocket (RFC 6455): text messages in and out on any stream.

No task runs behind it: pings are answered while the owner waits for a message, which is how
a slow owner slows its server down instead of filling memory here.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections import deque
from contextlib import suppress

import trio
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection, Ping, TextMessage

from clawpurse.modules.kit.web.errors import BadAnswer, Unreachable
from clawpurse.modules.kit.web.frames import MessageTooBig, TextAssembler
from clawpurse.modules.kit.web.http_client import Connect, Origin
from clawpurse.modules.kit.web.limits import seconds

RECEIVE_BYTES = 64 * 1024
HEAD_BYTES_MAX = 16 * 1024
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class WebSocketClient:
    """One open WebSocket. Made by `connect_websocket`; one task uses it at a time."""

    def __init__(
        self, stream: trio.abc.Stream, url: str, beginning: bytes, message_bytes_max: int
    ) -> None:
        self._stream = stream
        self._url = url
        self._protocol = Connection(ConnectionType.CLIENT, trailing_data=beginning)
        self._text = TextAssembler(message_bytes_max, 1 << 20)
        self._messages: deque[str] = deque()

    async def send(self, message: str) -> None:
        """Send one text message. Raises Unreachable when the connection has ended."""
        if self._protocol.state is not ConnectionState.OPEN:
            raise Unreachable(self._url, "the WebSocket is closed", sent=False)
        await self._send(self._protocol.send(TextMessage(message)))

    async def receive(self, silence_max_ms: int) -> str:
        """The next text message.

        Raises Unreachable when the connection ended, or when nothing at all, not even a
        ping, came for `silence_max_ms`; BadAnswer for what is not WebSocket. Cancellation
        between messages loses nothing.
        """
        while not self._messages:
            data = b""
            with trio.move_on_after(seconds(silence_max_ms)) as scope:
                try:
                    data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    data = b""
            if scope.cancelled_caught:
                raise Unreachable(self._url, f"silent for {silence_max_ms} ms", sent=True)
            if not data:
                raise Unreachable(self._url, "the WebSocket was cut", sent=True)
            self._protocol.receive_data(data)
            await self._take_events()
        return self._messages.popleft()

    async def _take_events(self) -> None:
        for event in self._protocol.events():
            match event:
                case TextMessage():
                    try:
                        message = self._text.add(event)
                    except MessageTooBig:
                        raise BadAnswer("a WebSocket message is too large") from None
                    if message is not None:
                        self._messages.append(message)
                case Ping():
                    await self._send(self._protocol.send(event.response()))
                case CloseConnection():
                    if self._protocol.state is ConnectionState.REMOTE_CLOSING:
                        with suppress(Unreachable):
                            await self._send(self._protocol.send(event.response()))
                    if self._messages:
                        return
                    reason = event.reason or "closed"
                    raise Unreachable(self._url, f"{reason} ({int(event.code)})", sent=True)
                case _:
                    pass

    async def _send(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Unreachable(self._url, "the WebSocket was cut", sent=True) from None

    async def aclose(self) -> None:
        """Say goodbye if that is possible at once, and close."""
        with trio.move_on_after(1.0):
            if self._protocol.state is ConnectionState.OPEN:
                with suppress(Unreachable):
                    await self._send(self._protocol.send(CloseConnection(1000)))
        await trio.aclose_forcefully(self._stream)


async def connect_websocket(
    origin: Origin,
    connect: Connect,
    path: str,
    *,
    headers: bytes = b"",
    timeout_ms: int = 10_000,
    message_bytes_max: int = 16 * 1024 * 1024,
) -> WebSocketClient:
    """Connect and shake hands. Raises Unreachable or BadAnswer."""
    stream: trio.abc.Stream | None = None
    try:
        with trio.move_on_after(seconds(timeout_ms)):
            stream = await connect()
            rest = await _shake_hands(stream, origin, path, headers)
            client = WebSocketClient(stream, origin.url, rest, message_bytes_max)
            stream = None
            return client
        raise Unreachable(origin.url, f"no WebSocket within {timeout_ms} ms", sent=False)
    except (OSError, trio.BrokenResourceError) as error:
        raise Unreachable(origin.url, str(error) or "cut", sent=False) from None
    finally:
        if stream is not None:
            await trio.aclose_forcefully(stream)


async def _shake_hands(stream: trio.abc.Stream, origin: Origin, path: str, headers: bytes) -> bytes:
    """The opening handshake of RFC 6455 §4.1; returns what came behind it."""
    key = base64.b64encode(os.urandom(16))
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {origin.authority}\r\n".encode()
        + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        + b"Sec-WebSocket-Key: "
        + key
        + b"\r\n"
        + headers
        + b"\r\n"
    )
    await stream.send_all(request)
    answer = bytearray()
    while b"\r\n\r\n" not in answer:
        data = await stream.receive_some(RECEIVE_BYTES)
        if not data or len(answer) > HEAD_BYTES_MAX:
            raise BadAnswer("the answer to the WebSocket handshake is cut off or too large")
        answer += data
    head, _, rest = bytes(answer).partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    fields = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip()
    wanted = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
    if status.split(" ")[:2] != ["HTTP/1.1", "101"]:
        raise BadAnswer(f"no WebSocket here: {status[:100]}")
    if fields.get("sec-websocket-accept") != wanted or "sec-websocket-extensions" in fields:
        raise BadAnswer("the answer to the WebSocket handshake is wrong")
    return rest
