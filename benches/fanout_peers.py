"""What a node's fan-out is compared with: the same bytes to as many sockets, and nothing else.

Arguments of its process: `wsproto` or `websockets`, bytes of a message, period in ms.

Each period it sends one message of BYTES to everyone who is connected; the message says when the
period began. `wsproto`: our own frames from one trio task per socket. `websockets`: the package of
that name, whose `broadcast` is meant for this. Prints its port; ends when its input does.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from typing import Any

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Request

from clawpurse.modules.kit.web.frames import text_frame


def message(size: int) -> bytes:
    """Return a message that says when it was made, padded to a size."""
    head = b'{"cursor":"%d.0","sent":%.6f,"pad":"' % (time.time_ns(), time.time())
    return head + b"x" * max(0, size - len(head) - 2) + b'"}'


async def serve_wsproto(size: int, period_s: float) -> None:
    """Broadcast with one task a socket, woken each period."""
    news = [trio.Event()]
    frame = [b""]

    async def handle(stream: trio.SocketStream) -> None:
        protocol = WSConnection(ConnectionType.SERVER)
        while True:
            protocol.receive_data(await stream.receive_some(65536))
            if any(isinstance(event, Request) for event in protocol.events()):
                break
        await stream.send_all(protocol.send(AcceptConnection()))
        try:
            while True:
                await news[0].wait()
                await stream.send_all(frame[0])
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def tick() -> None:
        while True:
            await trio.sleep(period_s)
            frame[0] = text_frame(message(size))
            old, news[0] = news[0], trio.Event()
            old.set()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(trio.serve_tcp, handle, 0, host="127.0.0.1", backlog=2048)
        )
        print(listeners[0].socket.getsockname()[1], flush=True)
        nursery.start_soon(tick)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


def serve_websockets(size: int, period_s: float) -> None:
    """Broadcast with the package `websockets`."""
    import asyncio

    from websockets.asyncio.server import broadcast, serve

    async def main() -> None:
        connected: set[Any] = set()

        async def handle(socket: Any) -> None:
            connected.add(socket)
            await socket.wait_closed()
            connected.discard(socket)

        async with serve(handle, "127.0.0.1", 0, compression=None, backlog=2048) as server:
            print(next(iter(server.sockets)).getsockname()[1], flush=True)
            ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
            while not ended.done():
                await asyncio.sleep(period_s)
                broadcast(connected, message(size).decode("ascii"))

    asyncio.run(main())


def main() -> None:
    """Serve until the input ends."""
    kind, size, period_ms = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if kind == "websockets":
        serve_websockets(size, period_ms / 1000)
    elif kind == "wsproto":
        trio.run(serve_wsproto, size, period_ms / 1000)
    else:
        sys.exit(json.dumps({"error": f"no server {kind}"}))
