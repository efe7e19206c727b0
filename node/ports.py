"""The node's two HTTP listeners, opened, served and stopped together."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from clawpurse.ledger.errors import OperatorError, StorageFault
from clawpurse.modules.kit.web.guard import RefusalLog
from clawpurse.modules.kit.web.jsonrpc import Dispatcher
from clawpurse.modules.kit.web.limits import Limits
from clawpurse.modules.kit.web.server import WebServer, open_listeners
from clawpurse.modules.kit.web.tls import secured
from clawpurse.node.callers import Callers
from clawpurse.node.config import NodeConfig
from clawpurse.node.metrics import Metrics
from clawpurse.node.rpc.server import (
    build_metrics_app,
    build_rpc_app,
    metrics_access,
    rpc_access,
)
from clawpurse.node.rpc.services import Services

Listen = Callable[[str, int], Awaitable[Sequence[trio.abc.Listener[trio.abc.Stream]]]]


class Ports:
    """JSON-RPC and metrics. `run` serves until cancelled or `stop`."""

    def __init__(
        self,
        services: Services,
        callers: Callers,
        refusals: RefusalLog,
        limits: Limits,
        metrics: Metrics,
        listen: Listen = open_listeners,
    ) -> None:
        """`listen(host, port)` opens listeners; a simulation's opens none."""
        self._listen = listen
        config, clock = services.config, services.clock
        self._addresses = (config.rpc_address, config.metrics_address)
        self._callers = callers
        self._metrics_tls = callers.tls if config.metrics_are_closed else None
        self.refusals: Final = refusals
        self._fault: StorageFault | None = None
        self._broken = trio.Event()
        self._rpc_app: Final = build_rpc_app(
            services, callers, refusals, limits, metrics, self._on_fault
        )
        self._metrics_app: Final = build_metrics_app(services, callers, metrics, refusals, limits)
        self.rpc: Final = WebServer(
            self._rpc_app,
            log=refusals,
            limits=limits,
            wall_time_s=lambda: clock.now_ms() / 1000,
        )
        self.metrics: Final = WebServer(
            self._metrics_app,
            log=refusals,
            limits=limits,
        )
        self._ended = trio.Event()

    @property
    def dispatcher(self) -> Dispatcher:
        """What answers JSON-RPC, for callers of this process."""
        found = self._rpc_app.dispatcher
        assert found is not None
        return found

    def admit(self, config: NodeConfig) -> None:
        """Judge requests by this configuration's hosts and origins from now on.

        What is no list of names (listeners, TLS, who needs a token) must be as it was.
        """
        self._rpc_app.access = rpc_access(config, self._callers)
        self._metrics_app.access = metrics_access(config, self._callers)

    def _on_fault(self, error: BaseException) -> None:
        """Note that a read found the database damaged; other faults end their call only."""
        if isinstance(error, StorageFault):
            self._fault = error
            self._broken.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen on both. Raises `OperatorError` when a port is taken, and `StorageFault` when
        a call met damage: what cannot be read must not be built upon.
        """
        rpc = secured(await self._open(*self._addresses[0]), self._callers.tls)
        try:
            metrics = secured(await self._open(*self._addresses[1]), self._metrics_tls)
        except BaseException:
            for listener in rpc:
                await trio.aclose_forcefully(listener)
            raise
        try:
            async with trio.open_nursery() as watch:
                watch.start_soon(self._end_when_broken)
                watch.start_soon(self._callers.run)
                async with trio.open_nursery() as nursery:
                    await nursery.start(self.rpc.run, rpc)
                    await nursery.start(self.metrics.run, metrics)
                    task_status.started()
                watch.cancel_scope.cancel()
        finally:
            self._ended.set()

    async def _open(self, host: str, port: int) -> Sequence[trio.abc.Listener[trio.abc.Stream]]:
        try:
            return await self._listen(host, port)
        except OSError as err:
            raise port_error(port, err) from err

    async def _end_when_broken(self) -> None:
        await self._broken.wait()
        assert self._fault is not None
        raise self._fault

    async def stop(self) -> None:
        """Stop accepting, let requests under way finish (bounded), return when they have."""
        self.rpc.stop()
        self.metrics.stop()
        await self._ended.wait()


def port_error(port: int, err: OSError) -> OperatorError:
    """Return what an operator is told when a port cannot be had."""
    if err.errno == errno.EADDRINUSE:
        return OperatorError(
            f"Port {port} is taken by another process.",
            "",
            "clawpurse start --base-port 9700, or stop the other process",
        )
    return OperatorError(f"Port {port} cannot be opened: {err.strerror}.", "", "clawpurse doctor")
