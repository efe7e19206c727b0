"""webhook_*: receivers that this node posts final events to, their keys, and what became of it.

A secret is in one answer only: that of the call that made it. No answer holds a private key.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.web.errors import (
    INVALID_PARAMS,
    LIMIT_EXCEEDED,
    METHOD_DISABLED,
    NOT_FOUND,
    RpcError,
)
from clawpurse.modules.kit.web.guard import OPERATOR
from clawpurse.modules.kit.web.jsonrpc import Context, Method, NoParams, Params
from clawpurse.modules.kit.webhooks.addresses import URL_CHARS_MAX, read_url
from clawpurse.modules.kit.webhooks.signing import Scheme, Secret, new_secret
from clawpurse.modules.kit.webhooks.tables import (
    BY_OPERATOR,
    PENDING,
    Attempt,
    Delivery,
    Endpoint,
)
from clawpurse.node.rpc import webhook_shapes
from clawpurse.node.rpc.values import Limit
from clawpurse.node.webhooks import Webhooks

CONCURRENCY_MAX: Final = 16
TYPES_MAX: Final = 64
OVERLAP_DEFAULT_MS: Final = 24 * 3_600_000
OVERLAP_MAX_MS: Final = 30 * 24 * 3_600_000
ID_BYTES: Final = 10
TOKEN_BYTES: Final = 12
TEST_COST: Final = 50
# A test waits for the receiver, which has 20 s.
TEST_DEADLINE_MS: Final = 28_000
Json = dict[str, Any]

Ident = Annotated[str, Field(pattern=r"^wh_[0-9a-f]{20}$", description="The webhook, wh_…")]
Kind = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{0,63}[A-Za-z0-9_*]$")]
Cursor = Annotated[str, Field(max_length=48)]
SchemeName = Literal["v1", "v1a"]


class CreateParams(Params):
    """Parameters of webhook_create."""

    url: str = Field(description="Where to post, https://…", max_length=URL_CHARS_MAX)
    topic: str = Field("transactions", description="A topic of the final log", max_length=64)
    filter: Json | None = Field(None, description="What of the topic; see sub_listTopics")
    types: list[Kind] = Field(
        [],
        description="Kinds of event (`payments.held`, `transaction.failed`, `compliance.*`); "
        "all if left out",
        max_length=TYPES_MAX,
    )
    description: str = Field("", description="For people; no personal data", max_length=200)
    concurrency: int = Field(
        1,
        ge=1,
        le=CONCURRENCY_MAX,
        description="Posts under way at once; 1: in order, a failing one holds up the rest",
    )
    scheme: SchemeName = Field("v1", description="v1: HMAC-SHA256, v1a: Ed25519")
    from_cursor: Cursor | None = Field(
        None, description="Events after this cursor, or `beginning`; without it only new ones"
    )


class IdParams(Params):
    """Parameters of methods about one webhook."""

    id: Ident


class EnableParams(IdParams):
    """Parameters of webhook_enable."""

    from_cursor: Cursor | None = Field(
        None, description="Go on after this cursor; without it where it stopped"
    )


class RotateParams(IdParams):
    """Parameters of webhook_rotate."""

    overlap_ms: int = Field(
        OVERLAP_DEFAULT_MS,
        ge=0,
        le=OVERLAP_MAX_MS,
        description="How long the former key signs too, in ms",
    )
    scheme: SchemeName | None = Field(None, description="Of the new key; as before if left out")


class DeliveriesParams(IdParams):
    """Parameters of webhook_listDeliveries."""

    state: Literal["pending", "delivered", "dead", "failed"] | None = Field(
        None, description="Only these; dead: given up, failed: a test that was not taken"
    )
    limit: Limit = Field(50, description="At most so many, the newest first")
    cursor: Annotated[str, Field(pattern=r"^[0-9]{1,18}$")] | None = Field(
        None, description="nextCursor of the answer before"
    )


class DeliveryParams(IdParams):
    """Parameters of webhook_getDelivery."""

    delivery_id: int = Field(ge=1, le=2**53, description="The delivery")


class ReplayParams(IdParams):
    """Parameters of webhook_replay: exactly one of the three."""

    delivery_id: int | None = Field(None, ge=1, le=2**53, description="This delivery again")
    from_cursor: Cursor | None = Field(
        None, description="Every event after this cursor again, in order"
    )
    dead_letters: bool = Field(False, description="All dead letters again (at most 1,000 a call)")


class WebhookMethods:
    """See the module."""

    def __init__(self, webhooks: Webhooks | None) -> None:
        self._webhooks = webhooks

    def methods(self) -> list[Method]:
        """Return the definitions."""
        shape = (
            "id url topic filter types concurrency enabled reason why cursor keys[{scheme "
            "createdAt expiresAt publicKey}] lastSuccessAt lastFailureAt pending"
        )
        return [
            Method(
                "webhook_create",
                "Post final events to a URL, signed",
                self.create,
                CreateParams,
                result=webhook_shapes.NewKeyWebhook,
                result_description=f"{shape} and, this once, key: what the receiver verifies with",
                errors=(NOT_FOUND, LIMIT_EXCEEDED, METHOD_DISABLED),
                role=OPERATOR,
                cost=20,
            ),
            Method(
                "webhook_list",
                "Webhooks of this node",
                self.list,
                result=webhook_shapes.WebhookList,
                result_description=f"webhooks[{{{shape}}}] topics[]",
                errors=(METHOD_DISABLED,),
                role=OPERATOR,
                cost=10,
            ),
            Method(
                "webhook_get",
                "One webhook, and how many of its deliveries are in which state",
                self.get,
                IdParams,
                result=webhook_shapes.WebhookDetails,
                result_description=f"{shape} deliveries{{pending delivered dead failed}}",
                errors=(NOT_FOUND, METHOD_DISABLED),
                role=OPERATOR,
                cost=10,
            ),
            Method(
                "webhook_test",
                "Post a ping now, once, and tell what came of it",
                self.test,
                IdParams,
                result=webhook_shapes.Delivery,
                result_description="a delivery; its state is delivered or failed",
                errors=(NOT_FOUND, LIMIT_EXCEEDED, METHOD_DISABLED),
                role=OPERATOR,
                cost=TEST_COST,
                deadline_ms=TEST_DEADLINE_MS,
                waits=True,
            ),
            *self._delivery_methods(),
            *self._changing_methods(shape),
        ]

    def _delivery_methods(self) -> list[Method]:
        shape = (
            "id messageId type cursor state attempts round replays test createdAt dueAt endedAt "
            "status problem"
        )
        return [
            Method(
                "webhook_listDeliveries",
                "What became of events, the newest first; dead letters by state: dead",
                self.deliveries,
                DeliveriesParams,
                result=webhook_shapes.DeliveryList,
                result_description=f"deliveries[{{{shape}}}] nextCursor",
                errors=(NOT_FOUND, METHOD_DISABLED),
                role=OPERATOR,
                cost=20,
            ),
            Method(
                "webhook_getDelivery",
                "One delivery with its body and its last attempts",
                self.delivery,
                DeliveryParams,
                result=webhook_shapes.DeliveryDetails,
                result_description=f"{shape} body tries[{{number at tookMs status problem}}]",
                errors=(NOT_FOUND, METHOD_DISABLED),
                role=OPERATOR,
                cost=10,
            ),
            Method(
                "webhook_replay",
                "Send again: one delivery, all dead letters, or everything after a cursor",
                self.replay,
                ReplayParams,
                result=webhook_shapes.Replayed,
                result_description="replayed (how many are queued) or cursor (where it goes on)",
                errors=(NOT_FOUND, METHOD_DISABLED),
                role=OPERATOR,
                cost=50,
                description="An event keeps its webhook-id; receivers that remember ids are safe.",
            ),
        ]

    def _changing_methods(self, shape: str) -> list[Method]:
        return [
            Method(
                "webhook_rotate",
                "Sign with a new key; the former one signs too until the overlap ends",
                self.rotate,
                RotateParams,
                result=webhook_shapes.NewKeyWebhook,
                result_description=f"{shape} and, this once, key",
                errors=(NOT_FOUND, METHOD_DISABLED),
                role=OPERATOR,
                cost=20,
            ),
            Method(
                "webhook_enable",
                "Send again to a webhook that is off; what waits is tried at once",
                self.enable,
                EnableParams,
                result=webhook_shapes.Webhook,
                result_description=shape,
                errors=(NOT_FOUND, METHOD_DISABLED),
                role=OPERATOR,
                cost=20,
            ),
            Method(
                "webhook_disable",
                "Stop sending; events wait in the log",
                self.disable,
                IdParams,
                result=webhook_shapes.Webhook,
                result_description=shape,
                errors=(NOT_FOUND, METHOD_DISABLED),
                role=OPERATOR,
                cost=20,
            ),
            Method(
                "webhook_delete",
                "Forget a webhook, its keys and its deliveries",
                self.delete,
                IdParams,
                result=webhook_shapes.Deleted,
                result_description="deleted",
                errors=(NOT_FOUND, METHOD_DISABLED),
                role=OPERATOR,
                cost=20,
            ),
        ]

    # -- one webhook

    async def create(self, params: CreateParams, _context: Context) -> Json:
        """webhook_create."""
        hooks = self._hooks()
        read_url(params.url, hooks.poster.allowed)
        given = params.filter or {}
        hooks.log.filter_of(params.topic, given)
        cursor = hooks.log.cursor_of(params.topic, params.from_cursor)
        now_ms = hooks.timer.now_ms()
        secret = new_secret(Scheme(params.scheme), now_ms, hooks.random_bytes)
        made = await hooks.endpoints.add(
            Endpoint(
                id=f"wh_{hooks.random_bytes(ID_BYTES).hex()}",
                url=params.url,
                description=params.description,
                topic=params.topic,
                filter=given,
                types=tuple(params.types),
                concurrency=params.concurrency,
                created_ms=now_ms,
                enabled=True,
                reason=None,
                why=None,
                disabled_ms=None,
                cursor=cursor,
                epoch=0,
                rest_until_ms=0,
                last_success_ms=None,
                last_failure_ms=None,
                secrets=(secret,),
            )
        )
        hooks.courier.changed(made.id)
        return {**self._json(made), "key": secret.receiver_text}

    async def list(self, _params: NoParams, _context: Context) -> Json:
        """webhook_list."""
        hooks = self._hooks()
        found = await hooks.endpoints.all()
        return {"webhooks": [self._json(one) for one in found], "topics": hooks.log.names}

    async def get(self, params: IdParams, _context: Context) -> Json:
        """webhook_get."""
        hooks = self._hooks()
        found = await hooks.endpoints.get(params.id)
        counts = await hooks.deliveries.counts(params.id)
        return {**self._json(found), "deliveries": counts, "pending": counts.get(PENDING, 0)}

    async def test(self, params: IdParams, _context: Context) -> Json:
        """webhook_test."""
        hooks = self._hooks()
        found = await hooks.endpoints.get(params.id)
        token = hooks.random_bytes(TOKEN_BYTES).hex()
        message = hooks.log.test_message(found, token, hooks.timer.now_ms())
        return delivery_json(await hooks.courier.test(found, message), found)

    async def rotate(self, params: RotateParams, _context: Context) -> Json:
        """webhook_rotate."""
        hooks = self._hooks()
        scheme = params.scheme or (await hooks.endpoints.get(params.id)).current.scheme
        secret = new_secret(Scheme(scheme), hooks.timer.now_ms(), hooks.random_bytes)
        changed = await hooks.endpoints.rotate(params.id, secret, params.overlap_ms)
        hooks.courier.changed(params.id)
        return {**self._json(changed), "key": secret.receiver_text}

    async def enable(self, params: EnableParams, _context: Context) -> Json:
        """webhook_enable."""
        hooks = self._hooks()
        cursor = None
        if params.from_cursor is not None:
            found = await hooks.endpoints.get(params.id)
            cursor = hooks.log.cursor_of(found.topic, params.from_cursor)
        changed = await hooks.endpoints.enable(params.id, cursor, hooks.timer.now_ms())
        hooks.courier.changed(params.id)
        return self._json(changed)

    async def disable(self, params: IdParams, _context: Context) -> Json:
        """webhook_disable."""
        hooks = self._hooks()
        why = "an operator switched it off"
        now_ms = hooks.timer.now_ms()
        changed = await hooks.endpoints.disable(params.id, BY_OPERATOR, why, now_ms)
        hooks.courier.changed(params.id)
        return self._json(changed)

    async def delete(self, params: IdParams, _context: Context) -> Json:
        """webhook_delete."""
        hooks = self._hooks()
        await hooks.endpoints.delete(params.id)
        hooks.courier.deleted(params.id)
        return {"deleted": params.id}

    # -- deliveries

    async def deliveries(self, params: DeliveriesParams, _context: Context) -> Json:
        """webhook_listDeliveries."""
        hooks = self._hooks()
        endpoint = await hooks.endpoints.get(params.id)
        before = None if params.cursor is None else int(params.cursor)
        found = await hooks.deliveries.page(params.id, params.state, before, params.limit)
        full = len(found) == params.limit
        return {
            "deliveries": [delivery_json(one, endpoint) for one in found],
            "nextCursor": str(found[-1].id) if full else None,
        }

    async def delivery(self, params: DeliveryParams, _context: Context) -> Json:
        """webhook_getDelivery."""
        hooks = self._hooks()
        endpoint = await hooks.endpoints.get(params.id)
        found, tries = await hooks.deliveries.get(params.id, params.delivery_id)
        return {
            **delivery_json(found, endpoint),
            "body": found.body.decode("utf-8"),
            "tries": [_attempt_json(one) for one in tries],
        }

    async def replay(self, params: ReplayParams, _context: Context) -> Json:
        """webhook_replay."""
        hooks = self._hooks()
        asked = (params.delivery_id, params.from_cursor, params.dead_letters or None)
        if sum(one is not None for one in asked) != 1:
            reason = "give exactly one of deliveryId, fromCursor and deadLetters"
            raise RpcError(INVALID_PARAMS, reason)
        now_ms = hooks.timer.now_ms()
        answer: Json
        if params.from_cursor is not None:
            found = await hooks.endpoints.get(params.id)
            cursor = hooks.log.cursor_of(found.topic, params.from_cursor)
            changed = await hooks.endpoints.rewind(params.id, cursor)
            answer = {"cursor": changed.cursor}
        elif params.delivery_id is not None:
            await hooks.deliveries.replay_one(params.id, params.delivery_id, now_ms)
            answer = {"replayed": 1}
        else:
            answer = {"replayed": await hooks.deliveries.replay_dead(params.id, now_ms)}
        hooks.courier.changed(params.id)
        return answer

    def _hooks(self) -> Webhooks:
        """Return this node's webhooks. Raises RpcError where they do not run."""
        hooks = self._webhooks
        if hooks is None:
            raise RpcError(METHOD_DISABLED, "this node keeps no webhooks")
        if hooks.fault is not None:
            reason = f"webhooks stopped: {hooks.fault}"
            raise RpcError(METHOD_DISABLED, reason, hint="mend the cause, then restart the node")
        return hooks

    def _json(self, endpoint: Endpoint) -> Json:
        hooks = self._webhooks
        seen = None if hooks is None else hooks.courier.endpoints.get(endpoint.id)
        return {**endpoint_json(endpoint), "pending": 0 if seen is None else seen[1]}


def endpoint_json(endpoint: Endpoint) -> Json:
    """Return a webhook without its secrets."""
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "description": endpoint.description,
        "topic": endpoint.topic,
        "filter": endpoint.filter,
        "types": list(endpoint.types),
        "concurrency": endpoint.concurrency,
        "enabled": endpoint.enabled,
        "reason": endpoint.reason,
        "why": endpoint.why,
        "disabledAt": _time(endpoint.disabled_ms),
        "cursor": endpoint.cursor,
        "createdAt": time_text(endpoint.created_ms),
        "lastSuccessAt": _time(endpoint.last_success_ms),
        "lastFailureAt": _time(endpoint.last_failure_ms),
        "keys": [_key_json(one) for one in endpoint.secrets],
    }


def delivery_json(delivery: Delivery, endpoint: Endpoint) -> Json:
    """Return a delivery; one that waits at an endpoint that is off is paused."""
    paused = delivery.state == PENDING and not endpoint.enabled
    return {
        "id": delivery.id,
        "messageId": delivery.message,
        "type": delivery.kind,
        "cursor": delivery.cursor,
        "state": delivery.state,
        "paused": paused,
        "test": delivery.test,
        "attempts": delivery.attempts,
        "round": delivery.round,
        "replays": delivery.replays,
        "createdAt": time_text(delivery.created_ms),
        "dueAt": time_text(delivery.due_ms) if delivery.state == PENDING and not paused else None,
        "endedAt": _time(delivery.ended_ms),
        "status": delivery.status,
        "problem": delivery.problem,
    }


def _attempt_json(attempt: Attempt) -> Json:
    return {
        "number": attempt.number,
        "at": time_text(attempt.at_ms),
        "tookMs": attempt.took_ms,
        "status": attempt.status,
        "problem": attempt.problem,
    }


def _key_json(secret: Secret) -> Json:
    return {
        "scheme": str(secret.scheme),
        "createdAt": time_text(secret.created_ms),
        "expiresAt": _time(secret.expires_ms),
        "publicKey": secret.public_text,
    }


def _time(time_ms: int | None) -> str | None:
    return None if time_ms is None else time_text(time_ms)
