"""The courier: reads each endpoint's log, posts what stands in it, tries again, gives up.

Every endpoint has a line of its own: a reader, which turns the log into rows while there is
room, and a sender, which posts the rows that are due. Lines share nothing but the database,
whose jobs are short, so a slow receiver holds up its own line only. What waits, waits in the
log and in rows; nothing is queued in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import trio

from clawpurse.ledger.errors import CallerError, Code, NotFound, Pruned, Refused, StorageFault
from clawpurse.modules.kit.webhooks.deliveries import PENDING_MAX, Deliveries, Kept, Outcome
from clawpurse.modules.kit.webhooks.endpoints import Endpoints
from clawpurse.modules.kit.webhooks.events import Message
from clawpurse.modules.kit.webhooks.posting import GONE, Answer, Poster, Way
from clawpurse.modules.kit.webhooks.schedule import next_delay_ms, rest_ms
from clawpurse.modules.kit.webhooks.tables import PRUNED, UNREADABLE, Attempt, Delivery, Endpoint

LOG = logging.getLogger("clawpurse.webhooks")

READ_MAX: Final = 64
"""Events taken from the log, and rows made, in one transaction."""

SAVE_PERIOD_MS: Final = 60_000
"""How often a cursor is kept that passed no event: the log is searched again from there."""

SWEEP_PERIOD_MS: Final = 10 * 60_000
WAIT_MS_MAX: Final = 30_000
"""Due times are of the wall clock, which an operator may set: it is looked at this often."""


class Found(NamedTuple):
    """What a log gave: messages in order, and the cursor up to which it was searched."""

    messages: Sequence[Message]
    reached: str


class Log(Protocol):
    """The host's durable log, as an endpoint sees it."""

    async def read(self, endpoint: Endpoint, after: str, limit: int) -> Found:
        """Return about `limit` messages after a cursor that the endpoint wants.

        Looks at a bounded number of events. Raises `Pruned` below what is kept, and another
        `CallerError` where the endpoint's topic, filter or cursor cannot be read any more.
        """

    async def wait_beyond(self, endpoint: Endpoint, cursor: str) -> None:
        """Return when there may be events after the cursor; at once if there are."""


class Timer(Protocol):
    """Tells and awaits wall-clock time; tests hand in one that they turn by hand."""

    def now_ms(self) -> int:
        """Return ms UTC since 1970."""

    async def wait(self, wakeup: trio.Event, until_ms: int | None) -> None:
        """Return when `wakeup` is set or the time has come, whichever is first; or earlier."""


class LoopTimer:
    """The loop's own waiting, by the host's wall clock."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms

    async def wait(self, wakeup: trio.Event, until_ms: int | None) -> None:
        """See `Timer.wait`."""
        if until_ms is None:
            await wakeup.wait()
            return
        left_ms = min(max(until_ms - self.now_ms(), 0), WAIT_MS_MAX)
        with trio.move_on_after(left_ms / 1000):
            await wakeup.wait()


class _Bell:
    """Wakes one task. Take `event` before looking, then wait for it: no ring is missed."""

    def __init__(self) -> None:
        self.event = trio.Event()

    def ring(self) -> None:
        event, self.event = self.event, trio.Event()
        event.set()


class _Line:
    """One endpoint while the courier runs."""

    def __init__(self, endpoint: Endpoint, way: Way) -> None:
        self.endpoint = endpoint
        self.way = way
        self.scope = trio.CancelScope()
        self.for_reader = _Bell()
        self.for_sender = _Bell()
        self.under_way: set[int] = set()
        self.pending = 0

    def ring(self) -> None:
        """Say that something about the endpoint changed."""
        self.for_reader.ring()
        self.for_sender.ring()


class Courier:
    """Runs every endpoint. Whoever changes one says so by `changed`.

    `random` gives a number in [0, 1). `counts` are of attempts and what followed since the
    start: taken, failed, dead, disabled.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        deliveries: Deliveries,
        log: Log,
        poster: Poster,
        timer: Timer,
        random: Callable[[], float],
        kept: Kept | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._deliveries = deliveries
        self._log = log
        self._poster = poster
        self._timer = timer
        self._random = random
        self._kept = kept or Kept()
        self._lines: dict[str, _Line] = {}
        self._testing: set[str] = set()
        self._bell = _Bell()
        self.counts: dict[str, int] = {"taken": 0, "failed": 0, "dead": 0, "disabled": 0}

    @property
    def endpoints(self) -> Mapping[str, tuple[Endpoint, int]]:
        """Each endpoint as last seen, and how many of its deliveries wait."""
        return {line.endpoint.id: (line.endpoint, line.pending) for line in self._lines.values()}

    def changed(self, ident: str) -> None:
        """Say that an endpoint was added, switched on or off, or set to another place."""
        line = self._lines.get(ident)
        if line is None:
            self._bell.ring()
        else:
            line.ring()

    def deleted(self, ident: str) -> None:
        """End an endpoint's line; posts under way are cut off."""
        line = self._lines.get(ident)
        if line is not None:
            line.scope.cancel()

    async def run(self) -> None:
        """Run every endpoint until cancelled. Raises `StorageFault` when the disk fails."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep_often)
            while True:
                event = self._bell.event
                for endpoint in await self._endpoints.all():
                    if endpoint.id not in self._lines:
                        line = _Line(endpoint, self._poster.way(endpoint.concurrency))
                        self._lines[endpoint.id] = line
                        nursery.start_soon(self._serve, line)
                await event.wait()

    async def test(self, endpoint: Endpoint, message: Message) -> Delivery:
        """Post a message once, now, also to an endpoint that is off; keep what came of it.

        Raises `Refused` while another test of that endpoint is under way.
        """
        if endpoint.id in self._testing:
            raise Refused(Code.LIMIT_EXCEEDED, "a test of this webhook is under way")
        self._testing.add(endpoint.id)
        way = self._poster.way(1)
        try:
            attempt, _ = await self._attempt(way, endpoint, message)
        finally:
            self._testing.discard(endpoint.id)
            await way.close()
        return await self._deliveries.note_test(endpoint.id, message, attempt, attempt.at_ms)

    async def _serve(self, line: _Line) -> None:
        ident = line.endpoint.id
        try:
            with line.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read, line)
                    await self._send(line, nursery)
        except* NotFound:
            LOG.info("webhook %s was deleted", ident)
        finally:
            del self._lines[ident]
            await line.way.close()

    # -- from the log to rows

    async def _read(self, line: _Line) -> None:
        """Turn the log into rows, as far as there is room."""
        reached, epoch, saved_ms = "", -1, 0
        while True:
            event = line.for_reader.event
            endpoint = await self._endpoints.get(line.endpoint.id)
            if not endpoint.enabled or line.pending >= PENDING_MAX:
                await event.wait()
                continue
            if endpoint.epoch != epoch:
                reached, epoch, saved_ms = endpoint.cursor, endpoint.epoch, self._timer.now_ms()
            limit = min(READ_MAX, PENDING_MAX - line.pending)
            try:
                found = await self._log.read(endpoint, reached, limit)
            except CallerError as error:
                await self._cannot_read(endpoint, reached, error)
                continue
            now_ms = self._timer.now_ms()
            stale = found.reached != endpoint.cursor and now_ms - saved_ms >= SAVE_PERIOD_MS
            if found.messages or stale:
                kept = await self._deliveries.enqueue(
                    endpoint.id, epoch, found.messages, found.reached, now_ms
                )
                if not kept:
                    continue
                saved_ms = now_ms
            reached = found.reached
            if found.messages:
                line.pending += len(found.messages)
                line.for_sender.ring()
            else:
                await self._until_more(event, endpoint, reached)

    async def _until_more(self, event: trio.Event, endpoint: Endpoint, reached: str) -> None:
        """Wait until the log has grown, or until something about the endpoint changes."""

        async def changed(scope: trio.CancelScope) -> None:
            await event.wait()
            scope.cancel()

        async with trio.open_nursery() as race:
            race.start_soon(changed, race.cancel_scope)
            await self._log.wait_beyond(endpoint, reached)
            race.cancel_scope.cancel()

    async def _cannot_read(self, endpoint: Endpoint, reached: str, error: CallerError) -> None:
        """Events that can no longer be had are never passed over in silence."""
        reason = PRUNED if isinstance(error, Pruned) else UNREADABLE
        why = f"the log cannot be read after {reached}: {error}"
        await self._endpoints.disable(endpoint.id, reason, why, self._timer.now_ms())
        self._disabled(endpoint.id, why)

    # -- from rows to the receiver

    async def _send(self, line: _Line, nursery: trio.Nursery) -> None:
        """Post rows that are due: one at a time in order, or a few at once."""
        while True:
            event = line.for_sender.event
            endpoint = line.endpoint = await self._endpoints.get(line.endpoint.id)
            now_ms = self._timer.now_ms()
            pace = await self._deliveries.pace(
                endpoint.id,
                now_ms,
                endpoint.concurrency - len(line.under_way),
                in_order=endpoint.concurrency == 1,
                under_way=tuple(line.under_way),
            )
            was_full, line.pending = line.pending >= PENDING_MAX, pace.pending
            if was_full and line.pending < PENDING_MAX:
                line.for_reader.ring()
            until_ms = pace.next_due_ms
            if not endpoint.enabled:
                until_ms = None
            elif endpoint.rest_until_ms > now_ms:
                until_ms = endpoint.rest_until_ms
            else:
                for delivery in pace.ready:
                    line.under_way.add(delivery.id)
                    nursery.start_soon(self._deliver, line, endpoint, delivery)
            if not line.under_way:
                await line.way.close()
            await self._timer.wait(event, until_ms)

    async def _deliver(self, line: _Line, endpoint: Endpoint, delivery: Delivery) -> None:
        message = Message(delivery.message, delivery.kind, delivery.cursor, delivery.body)
        attempt, answer = await self._attempt(line.way, endpoint, message)
        ended_ms = attempt.at_ms + attempt.took_ms
        due_ms = None
        if attempt.problem is not None:
            delay_ms = next_delay_ms(delivery.round + 1, answer.retry_after_ms, self._random)
            due_ms = None if delay_ms is None else ended_ms + delay_ms
        rest = rest_ms(answer.status, answer.retry_after_ms)
        outcome = Outcome(
            attempt, due_ms, ended_ms + rest if rest else 0, gone=answer.status == GONE
        )
        why = await self._deliveries.settle(delivery, outcome)
        self.counts["taken" if attempt.problem is None else "failed"] += 1
        if attempt.problem is not None and due_ms is None and not outcome.gone:
            self.counts["dead"] += 1
            LOG.warning(
                "webhook %s: %s is a dead letter: %s",
                endpoint.id,
                delivery.message,
                attempt.problem,
            )
        if why is not None:
            self._disabled(endpoint.id, why)
        line.under_way.discard(delivery.id)
        line.for_sender.ring()

    async def _attempt(
        self, way: Way, endpoint: Endpoint, message: Message
    ) -> tuple[Attempt, Answer]:
        """Post once. A fault of ours in it is told, and counts as a failure of this attempt."""
        at_ms, began = self._timer.now_ms(), trio.current_time()
        try:
            answer = await way.post(endpoint, message, at_ms)
        except StorageFault:
            raise
        except Exception as error:
            LOG.exception("webhook %s: an attempt failed here", endpoint.id)
            answer = Answer(None, f"this node failed: {type(error).__name__}")
        took_ms = round((trio.current_time() - began) * 1000)
        return Attempt(0, at_ms, took_ms, answer.status, answer.problem), answer

    def _disabled(self, ident: str, why: str) -> None:
        self.counts["disabled"] += 1
        LOG.error("webhook %s was disabled: %s", ident, why)
        line = self._lines.get(ident)
        if line is not None:
            line.ring()

    # -- keeping the tables small

    async def _sweep_often(self) -> None:
        never = trio.Event()
        while True:
            now_ms = self._timer.now_ms()
            await self._endpoints.forget_expired(now_ms)
            for endpoint in await self._endpoints.all():
                while await self._deliveries.prune(endpoint.id, now_ms, self._kept):
                    await trio.lowlevel.checkpoint()
            due_ms = now_ms + SWEEP_PERIOD_MS
            while self._timer.now_ms() < due_ms:
                await self._timer.wait(never, due_ms)
