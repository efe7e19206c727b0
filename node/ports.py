"""The node's two HTTP listeners, opened, served and stopped together."""

from __future__ import annotations

import errno
from typing import Final

import trio

from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.kit.web.guard import RefusalLog
from clawpurse.modules.kit.web.limits import Limits
from clawpurse.modules.kit.web.server import WebServer, open_listeners
from clawpurse.node.metrics import Metrics
from clawpurse.node.rpc.server import build_metrics_app, build_rpc_app
from clawpurse.node.rpc.services import Services


class Ports:
    """JSON-RPC and metrics. `run` serves until cancelled or `stop`."""

    def __init__(
        self,
        services: Services,
        token: str,
        refusals: RefusalLog,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        config, clock = services.config, services.clock
        self._addresses = (config.rpc_address, config.metrics_address)
        self.refusals: Final = refusals
        self.rpc: Final = WebServer(
            build_rpc_app(services, token, refusals, limits, metrics),
            log=refusals,
            limits=limits,
            wall_time_s=lambda: clock.now_ms() / 1000,
        )
        self.metrics: Final = WebServer(
            build_metrics_app(metrics, refusals, limits), log=refusals, limits=limits
        )
        self._ended = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen on both. Raises `OperatorError` when a port is taken."""
        rpc, metrics = [await _listen(*address) for address in self._addresses]
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.rpc.run, rpc)
                await nursery.start(self.metrics.run, metrics)
                task_status.started()
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Stop accepting, let requests under way finish (bounded), return when they have."""
        self.rpc.stop()
        self.metrics.stop()
        await self._ended.wait()


async def _listen(host: str, port: int) -> list[trio.SocketListener]:
    try:
        return await open_listeners(host, port)
    except OSError as err:
        raise port_error(port, err) from err


def port_error(port: int, err: OSError) -> OperatorError:
    """Return what an operator is told when a port cannot be had."""
    if err.errno == errno.EADDRINUSE:
        return OperatorError(
            f"Port {port} is taken by another process.",
            "",
            "clawpurse start --base-port 9700, or stop the other process",
        )
    return OperatorError(f"Port {port} cannot be opened: {err.strerror}.", "", "clawpurse doctor")
