"""A gateway for `gateway` to measure: the real front, selling and payments' database.

    python -m benches.gateway_server UPSTREAM-PORT FOLDER CHANNEL-FILE

Prints its port, then serves until its standard input ends. What a node would say of the channels
stands in the file; everything else is what `clawpurse gateway serve` runs.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import trio

from clawpurse.modules.gateway import store as tables
from clawpurse.modules.gateway.calls import OpenGuard
from clawpurse.modules.gateway.config import GatewayConfig
from clawpurse.modules.gateway.front import Front, State
from clawpurse.modules.gateway.ledger_words import Ledger
from clawpurse.modules.gateway.routing import Router
from clawpurse.modules.gateway.selling import Selling
from clawpurse.modules.gateway.store import Store
from clawpurse.modules.gateway.upstreams import Upstream
from clawpurse.modules.kit.web.guard import RefusalLog


class Node:
    """Channels out of a file."""

    def __init__(self, channels: dict[str, Any]) -> None:
        self._channels = channels

    async def call(self, _method: str, params: Any = None, /) -> Any:
        """Answer payment_getChannel."""
        await trio.lowlevel.checkpoint()
        return self._channels[params["channel"]]


async def serve(upstream_port: int, folder: Path, facts: dict[str, Any]) -> None:
    """Serve until standard input ends."""
    routes = (
        {"name": "free", "path": "/free/*", "upstream": "up"},
        {"name": "paid", "path": "/paid/*", "upstream": "up", "prices": ({"amount": 1},)},
    )
    upstream = {"targets": (f"http://127.0.0.1:{upstream_port}",)}
    config = GatewayConfig.model_validate(
        {"payee": facts["payee"], "upstreams": {"up": upstream}, "routes": routes}
    )
    store = Store(folder / "payments.db")
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        secret = await store.write(tables.secret)
        genesis = bytes.fromhex(facts["genesisHash"])
        ledger = Ledger(Node(facts["channels"]), facts["payee"], "bench-1", genesis)

        def now_ms() -> int:
            return time.time_ns() // 1_000_000

        selling = Selling(config, OpenGuard(), store, ledger, secret, "bench", now_ms)
        upstreams = {"up": Upstream("up", config.upstreams["up"], trio.current_time)}
        state = State(config, Router(config.routes), upstreams, selling)
        front = Front(state, RefusalLog(), trio.current_time)
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(front.run, listeners)
        print(listeners[0].socket.getsockname()[1], flush=True)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()
    store.close()


if __name__ == "__main__":
    trio.run(serve, int(sys.argv[1]), Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text()))
