"""Webhooks of a node: the final log as CloudEvents, and the courier that sends them.

A node without a place on disk for them (in simulation) has none. A fault of theirs ends them and
is an alarm; it does not end the node, whose first work is another.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from pydantic import ValidationError
from pydantic_core import from_json

from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.web.subscriptions import Event, Feed, LogSource, Topic, cursor_of
from clawpurse.modules.kit.webhooks.addresses import Allowed
from clawpurse.modules.kit.webhooks.courier import Courier, Found, LoopTimer, Timer
from clawpurse.modules.kit.webhooks.database import Lane, open_database
from clawpurse.modules.kit.webhooks.deliveries import Deliveries
from clawpurse.modules.kit.webhooks.endpoints import Endpoints
from clawpurse.modules.kit.webhooks.events import ID_PREFIX, Message, event_body, event_id
from clawpurse.modules.kit.webhooks.posting import Poster
from clawpurse.modules.kit.webhooks.tables import BY_OPERATOR, SCHEMA, VERSION, Endpoint
from clawpurse.node.alerts import Condition
from clawpurse.node.rpc.values import parse_position

LOG = logging.getLogger("clawpurse.webhooks")

FILE_NAME: Final = "webhooks.db"
TYPE_PREFIX: Final = "org.clawpurse."
TEST_KIND: Final = "webhook.test"
# Enough of a genesis hash that no two networks of one name are taken for each other.
GENESIS_HEX_CHARS: Final = 16
SCALE: Final = 2**32
Json = dict[str, Any]


class Webhooks:
    """A node's webhooks. `attach` comes before `run`; methods use the parts."""

    def __init__(
        self,
        folder: Path,
        lane: Lane,
        log: TopicLog,
        poster: Poster,
        timer: Timer,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """Open what is kept in `folder`. Raises `StorageFault`."""
        self._database = open_database(folder / FILE_NAME, lane, SCHEMA, VERSION)
        self.endpoints: Final = Endpoints(self._database)
        self.deliveries: Final = Deliveries(self._database)
        self.poster: Final = poster
        self.timer: Final = timer
        self.random_bytes: Final = random_bytes
        self.log: Final = log
        self.fault: str | None = None
        self.courier: Final = Courier(
            self.endpoints,
            self.deliveries,
            self.log,
            poster,
            timer,
            lambda: int.from_bytes(random_bytes(4), "big") / SCALE,
        )

    def attach(self, topics: Iterable[Topic]) -> None:
        """Say what can be subscribed to."""
        self.log.attach(topics)

    async def run(self) -> None:
        """Send until cancelled. A fault is logged, kept in `fault`, and ends the sending."""
        try:
            await self.courier.run()
        except* Exception as group:
            first: BaseException = group
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            self.fault = f"{type(first).__name__}: {first}"
            LOG.error("webhooks stopped: %s", self.fault, exc_info=group)

    def close(self) -> None:
        """Close the file; `run` has ended."""
        self._database.close()

    def conditions(self) -> Iterator[Condition]:
        """Yield what somebody should look at: endpoints that were switched off, and a fault."""
        if self.fault is not None:
            summary = f"No webhook is delivered any more: {self.fault}."
            yield Condition("WebhooksStopped", "", summary, {"fault": self.fault})
        for endpoint, _ in self.courier.endpoints.values():
            if not endpoint.enabled and endpoint.reason != BY_OPERATOR:
                facts = {
                    "webhook": endpoint.id,
                    "reason": endpoint.reason,
                    "why": endpoint.why,
                    "since": time_text(endpoint.disabled_ms or 0),
                }
                summary = f"Webhook {endpoint.id} was switched off: {endpoint.why}."
                yield Condition("WebhookDisabled", endpoint.id, summary, facts)

    @property
    def pending(self) -> int:
        """How many deliveries wait, of all endpoints."""
        return sum(pending for _, pending in self.courier.endpoints.values())

    @property
    def resting(self) -> int:
        """How many endpoints are switched off, by whomever."""
        return sum(not endpoint.enabled for endpoint, _ in self.courier.endpoints.values())


class TopicLog(ABC):
    """Topics with logs as an endpoint sees them; `courier.Log`. `source` begins every source of
    an event, and tells whose log it is.
    """

    def __init__(self, chain_id: str, genesis_hash: bytes) -> None:
        self._chain_id = chain_id
        self._genesis = "0x" + genesis_hash.hex()
        prefix = genesis_hash.hex()[:GENESIS_HEX_CHARS]
        self._root = f"/chains/{quote(chain_id, safe='')}/{prefix}"
        self._topics: Mapping[str, Topic] = {}

    @abstractmethod
    def check_cursor(self, cursor: str) -> None:
        """Raise `Malformed` for what is no cursor of these topics."""

    @abstractmethod
    def message(self, topic: str, event: Event) -> Message:
        """Turn an event of a topic into what is sent: ids, and how to fetch the rest."""

    def attach(self, topics: Iterable[Topic]) -> None:
        """See `Webhooks.attach`. Topics without a log cannot be delivered later, so not at all."""
        self._topics = {one.name: one for one in topics if not isinstance(one.source, Feed)}

    @property
    def names(self) -> list[str]:
        """The topics that a webhook can have."""
        return list(self._topics)

    def cursor_of(self, topic: str, given: str | None) -> str:
        """Return the cursor that a caller means: given, or in words, or none for `now`.

        Raises `NotFound` for a topic that is none, `Malformed` for a cursor that is none.
        """
        cursor = cursor_of(self._source(topic), given)
        self.check_cursor(cursor)
        return cursor

    def filter_of(self, topic: str, given: Json) -> Any:
        """Read a filter by the topic's own model. Raises `Malformed`, `NotFound`."""
        self._source(topic)
        try:
            return self._topics[topic].filter.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(str(part)[:64] for part in first["loc"])
            raise Malformed(f"filter.{place}", first["msg"]) from None

    async def read(self, endpoint: Endpoint, after: str, limit: int) -> Found:
        """See `courier.Log.read`."""
        matching = self.filter_of(endpoint.topic, endpoint.filter)
        batch = await self._source(endpoint.topic).read(after, matching, limit)
        found = (self.message(endpoint.topic, event) for event in batch.events)
        wanted = [one for one in found if wants(endpoint.types, one.kind)]
        return Found(wanted, batch.reached)

    async def wait_beyond(self, endpoint: Endpoint, cursor: str) -> None:
        """See `courier.Log.wait_beyond`."""
        await self._source(endpoint.topic).wait_beyond(cursor)

    def test_message(self, endpoint: Endpoint, token: str, now_ms: int) -> Message:
        """Return a ping: it says by its type, its source and its data that it is a test."""
        source = f"{self._root}/webhooks/{endpoint.id}/tests/{token}"
        ident, kind = f"{ID_PREFIX}test_{token}", TYPE_PREFIX + TEST_KIND
        data = {
            "test": True,
            "webhook": endpoint.id,
            "chainId": self._chain_id,
            "genesisHash": self._genesis,
        }
        body = event_body(
            source=source, ident=ident, kind=kind, time=time_text(now_ms), subject=None, data=data
        )
        return Message(ident, kind, endpoint.cursor, body)

    def _source(self, topic: str) -> LogSource:
        found = self._topics.get(topic)
        if found is None or isinstance(found.source, Feed):
            raise NotFound(f"topic {topic} (webhooks have: {', '.join(self._topics)})")
        return found.source


class FinalLog(TopicLog):
    """The topics of the ledger's final log."""

    def check_cursor(self, cursor: str) -> None:
        """See `TopicLog`."""
        parse_position(cursor)

    def message(self, topic: str, event: Event) -> Message:
        """See `TopicLog`."""
        value = from_json(event.data)
        height, index = parse_position(event.cursor)
        block = f"{self._root}/blocks/{height}"
        tx_id, when = value.get("txId"), value.get("time")
        data: Json = {
            "chainId": self._chain_id,
            "genesisHash": self._genesis,
            "topic": topic,
            "cursor": event.cursor,
            "height": height,
        }
        if topic == "blocks":
            kind, source, subject = "block.final", block, value["hash"]
            data |= {"blockHash": value["hash"], "fetch": _call("chain_getBlock", height=height)}
        elif topic == "transactions":
            code, when = value["receipt"]["code"], value["receipt"]["time"]
            kind = "transaction.succeeded" if code == "ok" else "transaction.failed"
            source, subject = f"{block}/transactions/{index}", tx_id
            data |= {"index": index, "txId": tx_id, "code": code}
        else:
            kind, source, subject = value["kind"], f"{block}/events/{index}", tx_id
            data |= {"index": index, "txId": tx_id}
        if topic != "blocks":
            data["fetch"] = (
                _call("chain_getInclusion", height=height, transactions=[], events=[index])
                if tx_id is None
                else _call("tx_getReceipt", txId=tx_id, prove=True)
            )
        ident, kind = event_id(source), TYPE_PREFIX + kind
        body = event_body(
            source=source,
            ident=ident,
            kind=kind,
            time=when,
            subject=subject,
            data=data,
        )
        return Message(ident, kind, event.cursor, body)


def _call(method: str, **params: Any) -> Json:
    """Return the call that fetches what the body leaves out, with its proof."""
    return {"method": method, "params": params}


def wants(types: tuple[str, ...], kind: str) -> bool:
    """Tell whether an endpoint takes a kind of event; no types means all."""
    plain = kind.removeprefix(TYPE_PREFIX)
    return not types or any(
        plain.startswith(one[:-1]) if one.endswith("*") else plain == one for one in types
    )


def open_webhooks(
    folder: Path,
    lane: Lane,
    log: TopicLog,
    *,
    allow: tuple[str, ...],
    version: str,
    now_ms: Callable[[], int],
    random_bytes: Callable[[int], bytes],
) -> Webhooks:
    """Return the webhooks kept in a folder, over a log. Raises `StorageFault`."""
    poster = Poster(Allowed(allow), software=version)
    return Webhooks(folder, lane, log, poster, LoopTimer(now_ms), random_bytes)
