"""A server that answers every POST with one constant balance: what `rpc` is measured beside.

    python -m benches.constant_server httptools|uvicorn

Prints its port, then serves one process on one loop until its standard input ends. `httptools` is
the least that a Python server can do: a trio loop of its own around a C parser. `uvicorn` is a
server that many Python programs run on (an ASGI application that parses the call and answers it).
"""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

import httptools
import trio

ANSWER = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "result": {
            "account": "claw1" + "q" * 58,
            "balances": [{"asset": "CLAW", "amount": "1000000", "held": "0", "decimals": 6}],
            "height": 1,
        },
    }
).encode()
RECEIVE_BYTES = 65_536


class _Counts:
    """Receives the parser's callbacks: how many requests have ended."""

    def __init__(self) -> None:
        self.ended = 0

    def on_message_complete(self) -> None:
        self.ended += 1


async def answer_all(stream: trio.SocketStream) -> None:
    """Answer each request of a connection with the constant."""
    counts = _Counts()
    parser = httptools.HttpRequestParser(counts)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    whole = head % len(ANSWER) + ANSWER
    while data := await stream.receive_some(RECEIVE_BYTES):
        parser.feed_data(bytes(data))
        if counts.ended:
            await stream.send_all(whole * counts.ended)
            counts.ended = 0


async def serve_httptools() -> None:
    """Serve until standard input ends."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    print(listeners[0].socket.getsockname()[1], flush=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer_all, listeners)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """An ASGI application: read the call, answer the constant with its id."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        event = await receive()
        body += event.get("body", b"")
        if not event.get("more_body"):
            break
    json.loads(body)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


def serve_uvicorn() -> None:
    """Serve until the process is ended. Raises ImportError without the package."""
    import uvicorn

    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    # Callers may connect before the loop runs; they wait in the backlog.
    listener.listen(256)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(application, log_level="error", access_log=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    if sys.argv[1:] == ["uvicorn"]:
        serve_uvicorn()
    else:
        trio.run(serve_httptools)
