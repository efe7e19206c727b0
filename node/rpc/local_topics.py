"""Local topics: what this node itself sees of consensus, pool, peers and its alerts.

Not final, without cursors: events exist for those who are subscribed when they happen.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema

from clawpurse.ledger.address import account_from_text
from clawpurse.ledger.errors import Malformed
from clawpurse.modules.kit.web.jsonrpc import Params
from clawpurse.modules.kit.web.subscriptions import Topic
from clawpurse.node.watch import Feeds

Json = dict[str, Any]


def _account_text(value: str) -> str:
    try:
        account_from_text(value)
    except Malformed as err:
        raise ValueError(err.problem) from None
    return value


# Events carry accounts as text, so they are compared as text.
AccountText = Annotated[
    str,
    AfterValidator(_account_text),
    WithJsonSchema({"type": "string", "pattern": "^claw1[02-9ac-hj-np-z]{58}$"}),
]


class ConsensusFilter(Params):
    """Filter of `consensus`."""

    ok: bool | None = Field(None, description="true: only while all is well; false: only trouble")

    def matches(self, value: Json) -> bool:
        """Tell whether an event matches."""
        return self.ok is None or value["ok"] is self.ok


class MempoolFilter(Params):
    """Filter of `mempool`."""

    event: Literal["accepted", "left", "status"] | None = Field(None, description="Only these")
    account: AccountText | None = Field(None, description="Only what this account sends")

    def matches(self, value: Json) -> bool:
        """Tell whether an event matches."""
        return (self.event is None or value["event"] == self.event) and (
            self.account is None or value.get("sender") == self.account
        )


class PeersFilter(Params):
    """Filter of `peers`."""

    event: Literal["connected", "disconnected"] | None = Field(None, description="Only these")
    node_id: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="Only this node's connections"
    )

    def matches(self, value: Json) -> bool:
        """Tell whether an event matches."""
        return (self.event is None or value["event"] == self.event) and (
            self.node_id is None or value["nodeId"] == self.node_id
        )


class AlertsFilter(Params):
    """Filter of `alerts`."""

    name: str | None = Field(None, max_length=64, description="Only alerts of this name")
    severity: Literal["warning", "critical"] | None = Field(None, description="Only these")

    def matches(self, value: Json) -> bool:
        """Tell whether an event matches."""
        return (self.name is None or value["name"] == self.name) and (
            self.severity is None or value["severity"] == self.severity
        )


def local_topics(feeds: Feeds) -> list[Topic]:
    """Return the topics of a node's own view."""
    return [
        Topic(
            "consensus",
            "Where agreement stands, whenever it moves; at most four times a second",
            feeds.consensus,
            ConsensusFilter,
        ),
        Topic(
            "mempool",
            "Payments accepted into this node's pool, those that left it, and its figures",
            feeds.mempool,
            MempoolFilter,
        ),
        Topic("peers", "Connections that began or ended", feeds.peers, PeersFilter),
        Topic(
            "alerts", "Alerts of this node that begin to fire or end", feeds.alerts, AlertsFilter
        ),
    ]
