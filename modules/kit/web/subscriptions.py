"""`sub_subscribe` and `sub_unsubscribe`: topics of the host, pushed over a WebSocket.

A topic with a log (`LogSource`) is pulled: the subscription reads on from its own cursor
whenever the log grows and the client has room. So nothing is buffered per client, a
reconnecting client goes on at its cursor, and one that is too slow is told the cursor of the
last event that it was sent (`sub_lagged`) and subscribes again from there.

A topic without a log (`Feed`: mempool, peers, …) is pushed through a short queue. When a
client is too slow the oldest events go and the client is told how many: `sub_lagged` with
`cursor` null and `lost`. Never a silent loss.

Pushes are notifications: `sub_event {id, cursor, final, data}`, `sub_lagged {id, cursor,
lost}` and, when the host can no longer serve the subscription, `sub_ended {id, cursor, error}`.
A subscription that has nothing to say sends `sub_heartbeat {id, cursor, …}`, so that silence is
told from death; of a topic with a log its cursor is how far the log was searched, with every
match sent. One that begins "now" sends it at once: then its client can resume from the start.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import trio
from pydantic import BaseModel, Field, ValidationError

from clawpurse.modules.kit.web.errors import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    LIMIT_EXCEEDED,
    METHOD_DISABLED,
    NOT_FOUND,
    PRUNED,
    RpcError,
    as_rpc_error,
)
from clawpurse.modules.kit.web.jsonrpc import Context, Method, NoParams, Params
from clawpurse.modules.kit.web.replies import encode_json
from clawpurse.modules.kit.web.websocket import WebSocketSession

CURSOR_LENGTH_MAX = 128
"""Cursors are short opaque strings, such as `1204:3`."""

NOW = "now"
BEGINNING = "beginning"
"""Words in the place of a cursor: only what is new, and all that is kept."""


class Event(NamedTuple):
    """One event of a log: its place, and its data as JSON bytes, encoded once for everyone."""

    cursor: str
    data: bytes


class Batch(NamedTuple):
    """What a log gave: matching events in order, and the cursor up to which it was searched."""

    events: Sequence[Event]
    reached: str


@runtime_checkable
class LogSource(Protocol):
    """A topic's log, supplied by the host."""

    def head(self) -> str:
        """The cursor after the newest event: a subscription from here sees only new ones."""

    def beginning(self) -> str:
        """The cursor before the oldest event that is kept."""

    def status(self) -> Mapping[str, Any]:
        """What heartbeats tell of the log beside a cursor, such as how far it has come."""

    async def read(self, after: str, matching: Any, limit: int) -> Batch:
        """Up to `limit` events strictly after a cursor that match the filter (a model instance).

        Must look at a bounded number of events a call, and may return none with `reached`
        moved on. Raises Malformed for a cursor that is none, Pruned below what is kept.
        """

    async def wait_beyond(self, cursor: str) -> None:
        """Return when there may be events after the cursor; at once if there are."""


class Wakeup:
    """Wakes everyone who waits for a log to grow. A host calls `notify` after each append."""

    __slots__ = ("_lot",)

    def __init__(self) -> None:
        self._lot = trio.lowlevel.ParkingLot()

    def notify(self) -> None:
        self._lot.unpark_all()

    async def wait(self) -> None:
        """Wait for the next `notify`. Check the log first, without a checkpoint between."""
        await self._lot.park()


class Feed:
    """A topic without a log: events exist for those who are subscribed when they happen."""

    def __init__(self, matches: Callable[[Any, Any], bool] = lambda _filter, _value: True) -> None:
        self._matches = matches
        self._listeners: dict[_Listener, None] = {}

    @property
    def is_heard(self) -> bool:
        """Whether anybody is subscribed: what nobody hears need not be worked out."""
        return bool(self._listeners)

    def publish(self, value: Any) -> None:
        """Push a JSON value to every subscription whose filter matches. Never blocks."""
        data: bytes | None = None
        for listener in self._listeners:
            if self._matches(listener.matching, value):
                data = encode_json(value) if data is None else data
                listener.push(data)

    def attach(self, matching: Any, queued_max: int) -> _Listener:
        listener = _Listener(matching, queued_max)
        self._listeners[listener] = None
        return listener

    def detach(self, listener: _Listener) -> None:
        self._listeners.pop(listener, None)


class _Listener:
    """The bounded queue of one subscription to a feed."""

    def __init__(self, matching: Any, queued_max: int) -> None:
        self.matching = matching
        self.events: deque[bytes] = deque()
        self.lost = 0
        self._queued_max = queued_max
        self._wakeup = trio.lowlevel.ParkingLot()

    def push(self, data: bytes) -> None:
        if len(self.events) >= self._queued_max:
            self.events.popleft()
            self.lost += 1
        self.events.append(data)
        self._wakeup.unpark_all()

    async def wait(self) -> None:
        while not self.events:
            await self._wakeup.park()


@dataclass(frozen=True, slots=True)
class Topic:
    """Something to subscribe to. `source` decides whether it has cursors and is final."""

    name: str
    summary: str
    source: LogSource | Feed
    filter: type[BaseModel] = NoParams


class SubscribeParams(Params):
    """Parameters of sub_subscribe."""

    topic: str = Field(description="The topic, as listed by sub_listTopics", max_length=64)
    filter: dict[str, Any] | None = Field(None, description="What of the topic; see the topic")
    from_cursor: str | None = Field(
        None,
        description="Events after this cursor, or `beginning`: from the oldest kept; without it, "
        "or with `now`, only new ones",
        max_length=CURSOR_LENGTH_MAX,
    )


class UnsubscribeParams(Params):
    """Parameters of sub_unsubscribe."""

    id: str = Field(description="What sub_subscribe returned", max_length=CURSOR_LENGTH_MAX)


class _Subscription:
    """One subscription while it lives: pumps events from its topic to its connection."""

    def __init__(self, ident: str, topic: Topic, matching: Any, session: WebSocketSession) -> None:
        self.ident = ident
        self._topic = topic
        self._matching = matching
        self._session = session
        self._scope = trio.CancelScope()
        self._quoted = encode_json(ident)
        # Everything that matches up to here was sent; None for a topic without a log.
        self._reached: str | None = None
        self._spoke = False

    def cancel(self) -> None:
        self._scope.cancel()

    def beat(self) -> None:
        """Send a heartbeat, unless something was sent since the last one, or is stuck."""
        if self._spoke:
            self._spoke = False
        elif self._session.has_room():
            self._heartbeat()

    def _heartbeat(self) -> None:
        source = self._topic.source
        facts = {} if isinstance(source, Feed) else source.status()
        self._notify("sub_heartbeat", {"id": self.ident, "cursor": self._reached, **facts})

    async def run_log(self, source: LogSource, start: str, first: Batch, *, greet: bool) -> None:
        """Pump from a log until cancelled, lagging, or the log gives up.

        `first` is what the log held after the cursor `start`; `greet` tells the client of it.
        """
        batch = first
        self._reached = start
        with self._scope:
            try:
                if greet:
                    self._heartbeat()
                while True:
                    for event in batch.events:
                        if not await self._session.room(self._session.limits.ws_stall_ms):
                            self._lagging()
                            return
                        self._send_event(encode_json(event.cursor), b"true", event.data)
                        self._reached = event.cursor
                    self._reached = batch.reached
                    # Returns at once while there is more; saves reading the log for nothing.
                    await source.wait_beyond(batch.reached)
                    batch = await source.read(
                        batch.reached, self._matching, self._session.limits.replay_events_max
                    )
            except Exception as error:
                self._ended(error)
        self._session.subscriptions.pop(self.ident, None)

    async def run_feed(self, feed: Feed) -> None:
        """Pump from a feed until cancelled."""
        limits = self._session.limits
        listener = feed.attach(self._matching, limits.local_events_queued_max)
        try:
            with self._scope:
                while True:
                    await listener.wait()
                    await self._session.room()
                    if listener.lost:
                        lost, listener.lost = listener.lost, 0
                        self._session.slow(self._topic.name)
                        self._notify("sub_lagged", {"id": self.ident, "cursor": None, "lost": lost})
                    self._send_event(b"null", b"false", listener.events.popleft())
        finally:
            feed.detach(listener)
            self._session.subscriptions.pop(self.ident, None)

    def _send_event(self, cursor: bytes, final: bytes, data: bytes) -> None:
        self._spoke = True
        self._session.send_json(
            b'{"jsonrpc":"2.0","method":"sub_event","params":{"id":%b,"cursor":%b,"final":%b,'
            b'"data":%b}}' % (self._quoted, cursor, final, data)
        )

    def _lagging(self) -> None:
        self._session.slow(self._topic.name)
        self._notify("sub_lagged", {"id": self.ident, "cursor": self._reached, "lost": 0})
        self._session.subscriptions.pop(self.ident, None)

    def _ended(self, error: Exception) -> None:
        answer = as_rpc_error(error)
        if answer is None:
            incident = self._session.incident(error, f"topic {self._topic.name}")
            reason = f"this node failed; incident {incident}"
            answer = RpcError(INTERNAL_ERROR, reason, facts={"incident": incident})
        params = {"id": self.ident, "cursor": self._reached, "error": answer.as_object()}
        self._notify("sub_ended", params)

    def _notify(self, method: str, params: dict[str, Any]) -> None:
        self._session.send_json(encode_json({"jsonrpc": "2.0", "method": method, "params": params}))


class Subscriptions:
    """The subscription methods of a server, over the host's topics."""

    def __init__(self, topics: Iterable[Topic]) -> None:
        self._topics: Mapping[str, Topic] = {topic.name: topic for topic in topics}
        self._idents = itertools.count(1)

    def methods(self) -> list[Method]:
        """The methods for the dispatcher."""
        return [
            Method(
                "sub_subscribe",
                "Subscribe to a topic over WebSocket",
                self._subscribe,
                SubscribeParams,
                str,
                "id",
                errors=(NOT_FOUND, PRUNED, LIMIT_EXCEEDED, METHOD_DISABLED),
                cost=5,
                description=(
                    "Events come as notifications `sub_event {id, cursor, final, data}`. A client "
                    "that is too slow gets `sub_lagged {id, cursor, lost}`: with a cursor the "
                    "subscription is over and goes on with `fromCursor`; without one `lost` "
                    "events of a local topic are gone. `sub_ended {id, cursor, error}` ends it. "
                    "`sub_heartbeat {id, cursor, height, time}` comes at once without a cursor, "
                    "and after 5 to 10 s without an event; resume from its cursor."
                ),
            ),
            Method(
                "sub_unsubscribe",
                "End a subscription",
                self._unsubscribe,
                UnsubscribeParams,
                bool,
                "ended",
                errors=(METHOD_DISABLED,),
                result_description="whether there was such a subscription",
            ),
            Method(
                "sub_listTopics",
                "List the topics that can be subscribed to",
                self._list,
                result=list[dict[str, Any]],
                result_name="topics",
            ),
        ]

    async def _subscribe(self, params: SubscribeParams, context: Context) -> str:
        session = _session_of(context)
        if len(session.subscriptions) >= session.limits.subscriptions_max:
            reason = f"a connection has at most {session.limits.subscriptions_max} subscriptions"
            raise RpcError(LIMIT_EXCEEDED, reason, hint="end one, or open another connection")
        topic = topic_of(self._topics, params.topic)
        matching = filter_of(topic, params.filter)
        ident = f"s{next(self._idents)}"
        subscription = _Subscription(ident, topic, matching, session)
        source = topic.source
        if isinstance(source, Feed):
            if params.from_cursor is not None:
                raise RpcError(INVALID_PARAMS, f"{topic.name} is a local topic without cursors")
            session.subscriptions[ident] = subscription
            session.after_answer(lambda: subscription.run_feed(source))
            return ident
        is_new = params.from_cursor in (None, NOW)
        start = cursor_of(source, params.from_cursor)
        first = Batch((), start)
        if not is_new:
            # Reading once now turns a bad or pruned cursor into an answer.
            first = await source.read(start, matching, session.limits.replay_events_max)
        session.subscriptions[ident] = subscription
        session.after_answer(lambda: subscription.run_log(source, start, first, greet=is_new))
        return ident

    def _unsubscribe(self, params: UnsubscribeParams, context: Context) -> bool:
        subscription = _session_of(context).subscriptions.pop(params.id, None)
        if not isinstance(subscription, _Subscription):
            return False
        subscription.cancel()
        return True

    def _list(self, _params: NoParams, _context: Context) -> list[dict[str, Any]]:
        return [
            {
                "name": topic.name,
                "summary": topic.summary,
                "final": not isinstance(topic.source, Feed),
                "filter": topic.filter.model_json_schema(by_alias=True),
            }
            for topic in self._topics.values()
        ]


def _session_of(context: Context) -> WebSocketSession:
    if not isinstance(context.connection, WebSocketSession):
        reason = "subscriptions need a connection that stays"
        raise RpcError(METHOD_DISABLED, reason, hint="connect to the WebSocket at /ws")
    return context.connection


def topic_of(topics: Mapping[str, Topic], name: str) -> Topic:
    """Return a topic by its name. Raises RpcError (notFound)."""
    topic = topics.get(name)
    if topic is None:
        raise RpcError(NOT_FOUND, f"there is no topic {name}", hint=f"topics: {', '.join(topics)}")
    return topic


def filter_of(topic: Topic, given: Mapping[str, Any] | None) -> Any:
    """Return a topic's filter from its JSON form. Raises RpcError (invalid parameters)."""
    try:
        return topic.filter.model_validate(given or {})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(["filter", *(str(part)[:64] for part in first["loc"])])
        raise RpcError(INVALID_PARAMS, f"{place}: {first['msg']}") from None


def cursor_of(source: LogSource, given: str | None) -> str:
    """Return the cursor that a caller means: given, or in words, or none for `now`."""
    if given is None or given == NOW:
        return source.head()
    return source.beginning() if given == BEGINNING else given
