"""`events_get`: the stream of a topic with a log, by long polling over plain HTTP.

The same logs, filters and cursors as subscriptions, for those who cannot hold a WebSocket: each
answer says where the next one begins, so nothing is lost between two calls, nor when the next
call goes to another node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import trio
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from clawpurse.modules.kit.web.errors import INVALID_PARAMS, NOT_FOUND, PRUNED, RpcError
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.modules.kit.web.limits import seconds
from clawpurse.modules.kit.web.replies import RawJson, encode_json
from clawpurse.modules.kit.web.subscriptions import (
    CURSOR_LENGTH_MAX,
    Event,
    Feed,
    LogSource,
    Topic,
    cursor_of,
    filter_of,
    topic_of,
)

WAIT_MAX_MS: Final = 25_000
"""Proxies commonly give an answer 30 s or more."""

ANSWER_BYTES_MAX: Final = 2 * 1024 * 1024
"""Of events in one answer; the first comes whole whatever its size."""

READS_MAX: Final = 16
"""Pieces of the log that a call searches when it may not wait: bounded work for one price."""

GET_COST: Final = 100
"""A page of transactions may stand in many blocks, each of them decoded."""


class LoggedEvent(BaseModel):
    """An event of the log; `data` depends on the topic."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow")

    cursor: str
    topic: str
    final: Literal[True]
    data: dict[str, Any]


class LoggedEvents(BaseModel):
    """Events after a cursor, and from where to go on; further members as in heartbeats.

    A log of a chain says up to which block it is told, and when that was.
    """

    model_config = ConfigDict(alias_generator=to_camel, extra="allow")

    events: list[LoggedEvent]
    next_cursor: str
    # There only sometimes: with a default from a factory a schema shows no default.
    height: int = Field(default_factory=int)
    time: str = Field(default_factory=str)


class EventsGetParams(Params):
    """Parameters of events_get."""

    from_cursor: str | None = Field(
        None,
        description="Events after this cursor (`nextCursor` of the last answer), or `beginning`: "
        "from the oldest kept; without it, or with `now`, only new ones",
        max_length=CURSOR_LENGTH_MAX,
    )
    limit: int = Field(50, ge=1, le=500, description="At most so many events")
    wait_ms: int = Field(
        0, ge=0, le=WAIT_MAX_MS, description="How long to wait for the first event, in ms"
    )
    topic: str | None = Field(
        None, description="A topic with cursors, as listed by sub_listTopics", max_length=64
    )
    filter: dict[str, Any] | None = Field(None, description="What of the topic; see the topic")


class LongPoll:
    """The method over a host's topics; `default` is the topic of calls that name none."""

    def __init__(self, topics: Iterable[Topic], default: str) -> None:
        self._topics: Mapping[str, Topic] = {topic.name: topic for topic in topics}
        self._default = default

    def methods(self) -> list[Method]:
        """The method for the dispatcher."""
        return [
            Method(
                "events_get",
                "Events of a topic after a cursor; waits for the first one",
                self._get,
                EventsGetParams,
                result=LoggedEvents,
                result_description="events[{cursor topic final data}] nextCursor (and what "
                "heartbeats tell: height time)",
                errors=(NOT_FOUND, PRUNED),
                cost=GET_COST,
                waits=True,
                description=(
                    f"The topic is `{self._default}` if none is named. `nextCursor` is always "
                    "there: every match up to it was told, also when `events` is empty, as it is "
                    "after `waitMs`, or when a long history without a match was searched in part."
                ),
            )
        ]

    async def _get(self, params: EventsGetParams, _context: Context) -> RawJson:
        topic = topic_of(self._topics, params.topic or self._default)
        source = topic.source
        if isinstance(source, Feed):
            raise RpcError(
                INVALID_PARAMS,
                f"{topic.name} is a local topic without cursors",
                hint="subscribe to it over the WebSocket at /ws",
            )
        matching = filter_of(topic, params.filter)
        start = cursor_of(source, params.from_cursor)
        found, reached = await _await_events(source, start, matching, params)
        return _answer(topic, source, found, reached)


async def _await_events(
    source: LogSource, start: str, matching: Any, params: EventsGetParams
) -> tuple[Sequence[Event], str]:
    """Read on until there is an event, the time is over, or enough was searched for nothing."""
    deadline = trio.current_time() + seconds(params.wait_ms)
    reached, reads = start, 0
    while True:
        batch = await source.read(reached, matching, params.limit)
        reads += 1
        if batch.events:
            return _cut(batch.events, batch.reached)
        # A log that was searched in part goes on; at its end we wait, or leave.
        moved, reached = batch.reached != reached, batch.reached
        has_time = trio.current_time() < deadline
        if not has_time and (not moved or reads >= READS_MAX):
            return (), reached
        if has_time:
            with trio.move_on_at(deadline):
                await source.wait_beyond(reached)


def _cut(events: Sequence[Event], reached: str) -> tuple[Sequence[Event], str]:
    """Keep as many events as one answer may hold, and say where the next one begins."""
    size = 0
    for index, event in enumerate(events):
        size += len(event.data)
        if index and size > ANSWER_BYTES_MAX:
            return events[:index], events[index - 1].cursor
    return events, reached


def _answer(topic: Topic, source: LogSource, events: Sequence[Event], reached: str) -> RawJson:
    """Put the answer together from what is encoded already."""
    name = encode_json(topic.name)
    listed = b",".join(
        b'{"cursor":%b,"topic":%b,"final":true,"data":%b}'
        % (encode_json(event.cursor), name, event.data)
        for event in events
    )
    rest = encode_json({"nextCursor": reached, **source.status()})
    return RawJson(b'{"events":[%b],%b' % (listed, rest[1:]))
