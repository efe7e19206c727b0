"""What webhook_* returns: shapes as in `shapes.py`."""

from __future__ import annotations

from typing import Literal

from clawpurse.node.rpc.shapes import ABSENT, JsonObject, Shape
from clawpurse.node.rpc.shapes import TimeText as Time


class SigningKeyShown(Shape):
    """A key that signs deliveries, without what is secret of it."""

    scheme: str
    created_at: Time
    expires_at: Time | None
    public_key: str | None


class Webhook(Shape):
    """A webhook; `pending` deliveries wait. `reason` and `why` say what switched it off."""

    id: str
    url: str
    description: str
    topic: str
    filter: JsonObject
    types: list[str]
    concurrency: int
    enabled: bool
    reason: str | None
    why: str | None
    disabled_at: Time | None
    cursor: str | None
    created_at: Time
    last_success_at: Time | None
    last_failure_at: Time | None
    keys: list[SigningKeyShown]
    pending: int


class NewKeyWebhook(Webhook):
    """A webhook whose new `key` is told this once: what the receiver verifies with."""

    key: str


class DeliveryCounts(Shape):
    """How many deliveries are in which state; those of which there are none are left out."""

    pending: int = ABSENT
    delivered: int = ABSENT
    dead: int = ABSENT
    failed: int = ABSENT


class WebhookDetails(Webhook):
    """A webhook with its deliveries by state."""

    deliveries: DeliveryCounts


class WebhookList(Shape):
    """All webhooks of a node, and the topics that there are."""

    webhooks: list[Webhook]
    topics: list[str]


class Delivery(Shape):
    """What became of one event. Paused: it waits at a webhook that is off."""

    id: int
    message_id: str
    type: str
    cursor: str | None
    state: Literal["pending", "delivered", "dead", "failed"]
    paused: bool
    test: bool
    attempts: int
    round: int
    replays: int
    created_at: Time
    due_at: Time | None
    ended_at: Time | None
    status: int | None
    problem: str | None


class Attempt(Shape):
    """One post: HTTP status, or what went wrong."""

    number: int
    at: Time
    took_ms: int
    status: int | None
    problem: str | None


class DeliveryDetails(Delivery):
    """A delivery with its body and its last attempts."""

    body: str
    tries: list[Attempt]


class DeliveryList(Shape):
    """A page of deliveries, the newest first."""

    deliveries: list[Delivery]
    next_cursor: str | None


class Replayed(Shape):
    """How many are queued again, or where the webhook goes on."""

    replayed: int = ABSENT
    cursor: str | None = ABSENT


class Deleted(Shape):
    """The id of what is gone."""

    deleted: str
