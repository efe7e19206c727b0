"""Services in the node's process: each on a port of its own, asking the node without a network.

A service that cannot start or fails is an alarm and is started again; the node, whose first work
is another, goes on. Their folders are `modules/NAME` in the node's home.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import trio

from clawpurse.ledger.errors import ClawPurseError, OperatorError
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.service.declaration import Service
from clawpurse.modules.kit.service.host import Place
from clawpurse.modules.kit.service.signin import ISSUER, SignInWay
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.errors import BadAnswer, RpcError
from clawpurse.modules.kit.web.jsonrpc import Context, Dispatcher, Pending
from clawpurse.node.alerts import Condition
from clawpurse.node.config import NodeConfig
from clawpurse.node.hosting import Listening, Sending, Settings, load_service, serve
from clawpurse.wallet.durable import read_private

LOG: Final = logging.getLogger("clawpurse.modules")
AGAIN_S_MIN, AGAIN_S_MAX = 2.0, 60.0
MISSED_MS: Final = 15 * 60_000
"""How long a broken promise is an alert: until somebody had time to see it."""

PASSPHRASE_BYTES_MAX: Final = 4_096
AUDIT: Final = "audit"
AUTH: Final = "auth"
# Behind JSON-RPC and metrics: nine ports belong to a node, these to its modules.
PORTS_BEHIND: Final = range(2, 9)


class LocalNode:
    """The node of this process, asked as a client asks one over the network.

    `dispatcher` answers; `name` is the caller's in budgets. Raises `RpcError`, `BadAnswer`.
    """

    def __init__(self, dispatcher: Dispatcher, name: str) -> None:
        self._dispatcher = dispatcher
        self._context = Context(f"module:{name}", f"module {name}")
        self._idents = itertools.count(1)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    async def call(self, method: str, params: Any = None) -> Any:
        """Return the result of a method."""
        message = {
            "jsonrpc": "2.0",
            "id": next(self._idents),
            "method": method,
            "params": params or {},
        }
        reply: Any = self._dispatcher.answer(json.dumps(message).encode(), self._context)
        if isinstance(reply, Pending):
            reply = await reply.run()
        else:
            await trio.lowlevel.checkpoint()
        answer = json.loads(bytes(reply or b"{}"))
        if "error" in answer:
            raise RpcError.from_object(answer["error"])
        if "result" not in answer:
            raise BadAnswer("the node gave no result")
        return answer["result"]


class Beside:
    """The services of one node. `run` keeps them running until cancelled; `dispatcher` is asked for
    when the first one starts.
    """

    def __init__(
        self,
        services: Sequence[Service],
        folder: Path,
        config: NodeConfig,
        dispatcher: Callable[[], Dispatcher],
        now_ms: Callable[[], int],
        version: str,
    ) -> None:
        self._services = tuple(services)
        self._folder = folder
        self._config = config
        self._dispatcher = dispatcher
        self._now_ms = now_ms
        self._version = version
        self._running: dict[str, Listening] = {}
        self._faults: dict[str, str] = {}
        # (service, kind, clock) → (breaches ever, when there was a new one; None: not since start)
        self._missed: dict[tuple[str, str, str], tuple[int, int | None]] = {}

    async def run(self) -> None:
        """Keep every service running."""
        async with trio.open_nursery() as nursery:
            for service in self._services:
                nursery.start_soon(self._keep, service)

    def conditions(self) -> Iterator[Condition]:
        """Yield what keeps services from their work."""
        for service in self._services:
            problem, fault = self._problem(service.name), service.name in self._faults
            if problem:
                yield Condition(
                    "ModuleStopped" if fault else "ModuleWaits",
                    service.name,
                    f"The module {service.name} does not work: {problem}.",
                    {"module": service.name, "problem": problem},
                )
        yield from self._missed_lately()

    def seen(self) -> list[dict[str, Any]]:
        """Return the services as a dashboard shows them: where, how well, what they keep."""
        return [self._seen(service) for service in self._services]

    def _seen(self, service: Service) -> dict[str, Any]:
        listening = self._running.get(service.name)
        found: dict[str, Any] = {
            "name": service.name,
            "title": service.title or service.name,
            "url": None if listening is None else listening.url,
            "problem": self._problem(service.name) or None,
            "kinds": [],
        }
        if listening is not None:
            host = listening.host
            missed: Counter[str] = Counter()
            for (kind_name, _), number in host.counts.breaches.items():
                missed[kind_name] += number
            found["kinds"] = [
                {
                    "name": kind.name,
                    "states": {
                        state: host.counts.states.get((kind.name, state), 0)
                        for state in kind.flow.states
                    },
                    "missed": missed.get(kind.name, 0),
                }
                for kind in host.manifest.kinds.values()
            ]
        return found

    def _problem(self, name: str) -> str:
        listening = self._running.get(name)
        return self._faults.get(name, "") or (listening.host.problem if listening else "")

    def _missed_lately(self) -> Iterator[Condition]:
        """Yield the promises that ran out a short time ago; counts from before are old news."""
        now_ms = self._now_ms()
        for name, listening in self._running.items():
            for (kind, clock), number in listening.host.counts.breaches.items():
                key = (name, kind, clock)
                before, at_ms = self._missed.get(key, (number, None))
                if number > before:
                    at_ms = now_ms
                self._missed[key] = (number, at_ms)
                if at_ms is not None and now_ms - at_ms < MISSED_MS:
                    yield Condition(
                        "ModulePromiseMissed",
                        f"{name}.{kind}.{clock}",
                        f"{name}: the promise {clock} of a {kind} ran out.",
                        {"module": name, "kind": kind, "clock": clock, "ever": number},
                    )

    async def _keep(self, service: Service) -> None:
        wait_s = AGAIN_S_MIN
        while True:
            try:
                await self._serve(service)
                self._faults[service.name] = "it ended"
            except* ClawPurseError as group:
                first: BaseException = group
                while isinstance(first, BaseExceptionGroup):
                    first = first.exceptions[0]
                self._faults[service.name] = str(first)
            self._running.pop(service.name, None)
            LOG.error(
                "a module stopped",
                extra={"service": service.name, "problem": self._faults[service.name]},
            )
            await trio.sleep(wait_s)
            wait_s = min(2 * wait_s, AGAIN_S_MAX)

    async def _serve(self, service: Service) -> None:
        settings = await trio.to_thread.run_sync(self._settings, service)
        async with trio.open_nursery() as nursery:

            async def run(*, task_status: trio.TaskStatus[Listening]) -> None:
                await serve(settings, task_status=task_status)

            listening: Listening = await nursery.start(run)
            self._running[service.name] = listening
            self._faults.pop(service.name, None)
            LOG.info("a module serves", extra={"service": service.name, "url": listening.url})
            await listening.host.ended.wait()
            raise OperatorError(listening.host.problem, "", "")

    def _settings(self, service: Service) -> Settings:
        config, folder = self._config, self._folder / service.name
        sending = None
        if (folder / "keys").exists() and config.modules_passphrase_file:
            file = self._folder.parent / config.modules_passphrase_file
            passphrase = read_private(file, PASSPHRASE_BYTES_MAX).decode().rstrip("\r\n")
            sending = Sending(passphrase)
        _, rpc_port = config.rpc_address
        ports = tuple(rpc_port + step for step in PORTS_BEHIND) if rpc_port else (0,)
        return Settings(
            service,
            Place(folder, config.modules_database, None, config.modules_master_key_command),
            lambda: LocalNode(self._dispatcher(), service.name),
            self._now_ms,
            self._version,
            host="127.0.0.1",
            ports=ports,
            sending=sending,
            webhook_allow=config.webhook_allow,
            audit=self._audit(service),
            others=partial(self._others, service),
            # Whoever signs others in signs nobody in elsewhere.
            sign_in=SignInWay(config.rpc_sign_in)
            if config.rpc_sign_in and service.name != AUTH
            else None,
            issuer=config.rpc_token_issuer or ISSUER,
        )

    def _others(self, service: Service) -> list[Transactions]:
        """Return the records of the other services here: they erase whom one of them erased."""
        return [one.host.records for name, one in self._running.items() if name != service.name]

    def _audit(self, service: Service) -> Callable[[], RpcClient] | None:
        """Return the way to the audit log; the log itself tells itself nothing."""
        return None if service.name == AUDIT else way_to_audit(self._config, self._folder.parent)


def way_to_audit(config: NodeConfig, home: Path) -> Callable[[], RpcClient] | None:
    """Return the way to the audit log that a node is told of; None without one."""
    url = config.modules_audit
    if not url:
        return None
    token = None
    if config.modules_audit_token_file:
        file = home / config.modules_audit_token_file
        token = read_private(file, PASSPHRASE_BYTES_MAX).decode("ascii", "replace").strip()
    return lambda: RpcClient(url, token=token)


def load_services(config: NodeConfig) -> list[Service]:
    """Return the services that a node is told to run. Raises `OperatorError`."""
    return [load_service(name) for name in config.modules]
