"""Watches a running node: its alerts every second, and what the local topics tell of it.

Local topics (`consensus`, `mempool`, `peers`, `alerts`) are this node's own view, not final and
without cursor. Nothing is worked out for a topic that nobody listens to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import trio

from clawpurse.ledger.address import account_text, authority_text
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transition import Prepared
from clawpurse.modules.kit.web.subscriptions import Feed
from clawpurse.node.alerts import KINDS, Alert, AlertBook, Checked, Condition, evaluate
from clawpurse.node.clock import Clock
from clawpurse.node.explaining import Explainer
from clawpurse.node.explanation import explain
from clawpurse.node.mempool import Mempool

# An authority that was killed is told of within five seconds: three of silence, and one of these.
LOOK_PERIOD_S: Final = 1.0
# How often the place in consensus is told at most: eyes follow no faster.
PLACE_PERIOD_S: Final = 0.25
Json = dict[str, Any]
Source = Callable[[], Iterable[Condition]]
log = logging.getLogger("clawpurse.alerts")


def _matches(matching: Any, value: Json) -> bool:
    return bool(matching.matches(value))


class Feeds:
    """The local topics of one node. Whoever notices something publishes it here."""

    def __init__(self) -> None:
        self.consensus: Final = Feed(_matches)
        self.mempool: Final = Feed(_matches)
        self.peers: Final = Feed(_matches)
        self.alerts: Final = Feed(_matches)

    def accepted(self, prepareds: Sequence[Prepared], source: bytes | None) -> None:
        """Transactions came into the pool, from a peer or (None) from a caller."""
        if not self.mempool.is_heard:
            return
        for prepared in prepareds:
            body = prepared.transaction.body
            self.mempool.publish(
                {
                    "event": "accepted",
                    "txId": "0x" + prepared.transaction.tx_id.hex(),
                    "sender": account_text(body.sender),
                    "lane": body.lane,
                    "sequence": body.sequence,
                    "fee": str(body.fee),
                    "bytes": len(prepared.transaction.raw),
                    "fromPeer": None if source is None else source.hex(),
                }
            )

    def left(self, included: Sequence[bytes], settled: Sequence[bytes]) -> None:
        """Transactions left the pool with a block: in it, or because they can never be."""
        if not self.mempool.is_heard:
            return
        for reason, ids in (("final", included), ("dropped", settled)):
            for tx_id in ids:
                self.mempool.publish(
                    {"event": "left", "txId": "0x" + tx_id.hex(), "reason": reason}
                )

    def peer(self, event: str, node_id: bytes, count: int) -> None:
        """A connection began (`connected`) or ended (`disconnected`); `count` are left."""
        if self.peers.is_heard:
            self.peers.publish({"event": event, "nodeId": node_id.hex(), "peers": count})


class Watch:
    """See the module. `sources` give conditions that other parts of the node find themselves."""

    def __init__(
        self,
        feeds: Feeds,
        explainer: Explainer,
        pool: Mempool,
        clock: Clock,
        disk_free_mb: Callable[[], int | None],
        disk_needed_mb: Callable[[], int],
    ) -> None:
        self._feeds = feeds
        self._explainer = explainer
        self._pool = pool
        self._clock = clock
        self._disk_free_mb = disk_free_mb
        self._disk_needed_mb = disk_needed_mb
        self._book = AlertBook()
        self._place: object = None
        self._pool_told: object = None
        self.sources: Final[list[Source]] = []

    @property
    def disk_free_mb(self) -> int | None:
        """How much disk was free when somebody last looked, in MB; None before that."""
        return self._disk_free_mb()

    async def run(self) -> None:
        """Watch until cancelled."""
        look_s = trio.current_time()
        while True:
            now_s = trio.current_time()
            if now_s >= look_s:
                look_s = now_s + LOOK_PERIOD_S
                self.look()
                self._tell_pool()
            self._tell_place()
            await trio.sleep(PLACE_PERIOD_S)

    def look(self) -> None:
        """Judge this moment: publish and log what began and what ended."""
        facts, pool = self._explainer.facts(), self._pool.status()
        checked = Checked(
            facts,
            explain(facts),
            self._disk_free_mb(),
            self._disk_needed_mb(),
            pool.transactions,
            pool.transactions_max,
            pool.bytes,
            pool.bytes_max,
            tuple(condition for source in self.sources for condition in source()),
        )
        conditions = evaluate(checked, self._book.keys)
        begun, ended = self._book.update(conditions, self._clock.now_ms())
        for event, alerts in (("firing", begun), ("ended", ended)):
            for alert in alerts:
                self._tell(event, alert)

    def _tell(self, event: str, alert: Alert) -> None:
        shown = alert_json(alert)
        log.log(
            logging.WARNING if event == "firing" else logging.INFO,
            "alert %s: %s",
            event,
            alert.condition.summary,
            extra={"alert": alert.condition.name, "subject": alert.condition.subject},
        )
        self._feeds.alerts.publish({"event": event, **shown})

    def alerts_json(self) -> list[Json]:
        """Return what fires, the critical ones first."""
        return [alert_json(alert) for alert in self._book.firing]

    def samples(self) -> dict[tuple[str, ...], float]:
        """Return how many alerts of each name and severity fire; 0 for those that do not."""
        found: dict[tuple[str, ...], float] = {
            (name, str(kind.severity)): 0.0 for name, kind in KINDS.items()
        }
        for alert in self._book.firing:
            found[alert.condition.name, str(alert.kind.severity)] += 1
        return found

    def _tell_pool(self) -> None:
        status = self._pool.status()
        told = status.transactions, status.bytes, status.ready, status.gaps
        if self._feeds.mempool.is_heard and told != self._pool_told:
            names = ("transactions", "bytes", "ready", "gaps")
            counts = dict(zip(names, told, strict=True))
            self._feeds.mempool.publish({"event": "status", **counts})
        self._pool_told = told

    def _tell_place(self) -> None:
        """Tell where consensus is, when it moved or somebody's standing changed."""
        if not self._feeds.consensus.is_heard:
            return
        facts = self._explainer.facts()
        found = explain(facts)
        place = facts.tip, facts.height, facts.round, facts.step, found.state, found.standings
        if place == self._place:
            return
        self._place = place
        self._feeds.consensus.publish(
            {
                "height": facts.height,
                "round": facts.round,
                "step": facts.step,
                "newest": facts.tip,
                "state": str(found.state),
                "ok": found.well,
                "sentence": found.sentence,
                "proposer": None if facts.proposer is None else authority_text(facts.proposer),
                "quorum": {"have": found.have, "need": found.need, "of": len(facts.authorities)},
                "authorities": [
                    {"authority": authority_text(one.key), "name": one.name, "standing": str(is_)}
                    for one, is_ in zip(facts.authorities, found.standings, strict=True)
                ],
            }
        )


def alert_json(alert: Alert) -> Json:
    """Return an alert as JSON."""
    condition, kind = alert.condition, alert.kind
    return {
        "name": condition.name,
        "subject": condition.subject or None,
        "severity": str(kind.severity),
        "since": time_text(alert.since_ms),
        "summary": condition.summary,
        "meaning": kind.meaning,
        "runbook": alert.runbook,
        "facts": dict(condition.facts),
    }
