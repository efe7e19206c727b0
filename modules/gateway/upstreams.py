"""Upstreams: which target gets a request, kept connections, breakers, health, retries in number.

A target rests after so many failures in a row, is tried by one request, and is back with its first
answer. Kept connections are used last in, first out; one that ended meanwhile is no failure.
"""

from __future__ import annotations

import select
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import trio

from clawpurse.modules.gateway.config import UpstreamConfig
from clawpurse.modules.gateway.framing import Flow, UpstreamFault, read_answer
from clawpurse.modules.kit.web.http_client import Origin, tcp_connector
from clawpurse.modules.kit.web.limits import seconds

KEPT_MS: Final = 30_000
"""A connection unused for longer is closed: servers commonly end theirs after a minute."""

WINDOW: Final = 1_000
"""Requests over which retries are counted."""

HEALTHY: Final = range(200, 400)


class Target:
    """One address of an upstream. Not for threads."""

    def __init__(
        self,
        url: str,
        config: UpstreamConfig,
        now: Callable[[], float],
        trust: ssl.SSLContext | None,
    ) -> None:
        self.origin: Final = Origin(url)
        self.url: Final = url
        self._config = config
        self._now = now
        self._connect = tcp_connector(self.origin, trust)
        self._kept: deque[tuple[Flow, float]] = deque()
        self._failures = 0
        self._rests_until = 0.0
        self._trying = False
        self._checks = 0
        self._closed = False
        self.in_use = 0
        self.well = True
        #: Why it failed last; empty after an answer.
        self.problem = ""

    @property
    def is_open(self) -> bool:
        """Whether the breaker keeps requests from it."""
        if self._failures < self._config.breaker.failures:
            return False
        return self._trying or self._now() < self._rests_until

    @property
    def is_usable(self) -> bool:
        """Whether it may get a request now."""
        return self.well and not self.is_open and self.in_use < self._config.connections_max

    async def take(self) -> tuple[Flow, bool]:
        """Return a connection, and whether it was kept. Raises `UpstreamFault` (not sent)."""
        oldest = self._now() - seconds(KEPT_MS)
        while self._kept:
            flow, since = self._kept.pop()
            if since >= oldest and not _has_news(flow.stream):
                self.in_use += 1
                return flow, True
            await trio.aclose_forcefully(flow.stream)
        if self._failures >= self._config.breaker.failures:
            self._trying = True
        self.in_use += 1
        try:
            with trio.fail_after(seconds(self._config.connect_ms)):
                return Flow(await self._connect()), False
        except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
            self.in_use -= 1
            self.failed(f"no connection: {_why(error)}")
            raise UpstreamFault(self.problem, sent=False) from None
        except BaseException:
            self.in_use -= 1
            raise

    async def give_back(self, flow: Flow, *, keep: bool) -> None:
        """Return a connection; it is kept where it can be used again."""
        self.in_use -= 1
        if keep and not flow.buffer and not self._closed:
            self._kept.append((flow, self._now()))
        else:
            await trio.aclose_forcefully(flow.stream)

    def answered(self) -> None:
        """Note an answer: the target works."""
        self._failures, self._trying, self.problem = 0, False, ""

    def failed(self, problem: str) -> None:
        """Note that a request got no answer, or that its server failed."""
        self._failures += 1
        self._trying = False
        self.problem = problem
        if self._failures >= self._config.breaker.failures:
            self._rests_until = self._now() + seconds(self._config.breaker.rest_ms)

    async def check(self) -> None:
        """Ask for its health once."""
        health = self._config.health
        if health is None:
            return
        good = False
        try:
            with trio.fail_after(seconds(health.timeout_ms)):
                flow = Flow(await self._connect())
                try:
                    await flow.stream.send_all(
                        f"GET {health.path} HTTP/1.1\r\nHost: {self.origin.authority}\r\n"
                        "Connection: close\r\n\r\n".encode()
                    )
                    good = (await read_answer(flow, "GET")).status in HEALTHY
                finally:
                    await trio.aclose_forcefully(flow.stream)
        except (OSError, trio.BrokenResourceError, trio.TooSlowError, UpstreamFault) as error:
            self.problem = f"unwell: {_why(error)}"
        self._checks = max(self._checks, 0) + 1 if good else min(self._checks, 0) - 1
        if self._checks >= health.well_after:
            self.well = True
        elif self._checks <= -health.unwell_after:
            self.well = False

    async def close(self) -> None:
        """Close what is kept, and keep nothing more: requests under way end as they would."""
        self._closed = True
        with trio.CancelScope(shield=True):
            while self._kept:
                await trio.aclose_forcefully(self._kept.pop()[0].stream)


class Upstream:
    """Targets that are all the same. `found` of a registry replaces them while it runs."""

    def __init__(
        self,
        name: str,
        config: UpstreamConfig,
        now: Callable[[], float],
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self.name: Final = name
        self.config: Final = config
        self._now = now
        self._trust = trust
        self._next = 0
        self._requests = 0
        self._retries = 0
        self.targets: list[Target] = []
        self.set_targets(config.targets)

    def set_targets(self, urls: Sequence[str]) -> list[Target]:
        """Take addresses over; return the targets that are gone, to be closed."""
        known = {target.url: target for target in self.targets}
        gone = [target for url, target in known.items() if url not in urls]
        self.targets = [
            known.get(url) or Target(url, self.config, self._now, self._trust) for url in urls
        ]
        return gone

    def pick(self, but: Sequence[Target] = ()) -> Target | None:
        """Return the usable target with the fewest requests, in turn among equals; None: no one."""
        usable = [target for target in self.targets if target.is_usable and target not in but]
        if not usable:
            return None
        self._next += 1
        fewest = min(target.in_use for target in usable)
        best = [target for target in usable if target.in_use == fewest]
        return best[self._next % len(best)]

    def count(self) -> None:
        """Note a request; old ones weigh half from time to time."""
        self._requests += 1
        if self._requests >= WINDOW:
            self._requests //= 2
            self._retries //= 2

    def may_retry(self, attempts: int) -> bool:
        """Tell whether one more attempt is within the budget, and count it. Ten are always free,
        so that a quiet upstream's only request is tried again.
        """
        retries = self.config.retries
        allowed = 10 + self._requests * retries.budget_percent // 100
        if attempts >= retries.attempts or not retries.budget_percent or self._retries >= allowed:
            return False
        self._retries += 1
        return True

    async def run(self) -> None:
        """Ask all targets for their health until cancelled."""
        health = self.config.health
        if health is None:
            return
        while True:
            async with trio.open_nursery() as nursery:
                for target in self.targets:
                    nursery.start_soon(target.check)
            await trio.sleep(seconds(health.every_ms))

    async def close(self) -> None:
        """Close what its targets keep."""
        for target in self.targets:
            await target.close()


def trust_of(config: UpstreamConfig) -> ssl.SSLContext | None:
    """Return what https targets are checked against. Raises OSError, ssl.SSLError."""
    return ssl.create_default_context(cafile=config.ca) if config.ca else None


def _has_news(stream: trio.abc.Stream) -> bool:
    """Tell whether something came on a connection that waits: its end, or what nobody asked for."""
    inner = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    if not isinstance(inner, trio.SocketStream):
        return False
    poll = select.poll()
    poll.register(inner.socket.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _why(error: BaseException) -> str:
    if isinstance(error, trio.TooSlowError):
        return "too slow"
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    return str(getattr(cause, "strerror", None) or cause or type(cause).__name__)
