"""Webhooks of a module: entries of its history as CloudEvents, by the same courier as the node's.

A body has ids and no values: who receives it fetches the entry with a token of its own. Whoever
makes or changes receivers has the module's `admin` role on the ledger.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

from clawpurse.ledger.errors import Malformed
from clawpurse.modules.kit.service.host import RunningHost
from clawpurse.modules.kit.web.errors import FORBIDDEN, RpcError
from clawpurse.modules.kit.web.jsonrpc import Context, Method
from clawpurse.modules.kit.web.subscriptions import Event
from clawpurse.modules.kit.webhooks.events import Message, event_body, event_id
from clawpurse.node.rpc.webhook_methods import WebhookMethods
from clawpurse.node.webhooks import TYPE_PREFIX, TopicLog, Webhooks, open_webhooks
from clawpurse.node.workers import ThreadLane
from clawpurse.wallet.durable import make_private_directory

FOLDER: Final = "webhooks"


class EntryLog(TopicLog):
    """The history of one service."""

    def __init__(self, host: RunningHost) -> None:
        super().__init__(host.network.chain_id, host.network.genesis_hash)
        self._name = host.name
        self.attach([host.log.topic])

    def check_cursor(self, cursor: str) -> None:
        """See `TopicLog`."""
        if not (cursor.isascii() and cursor.isdigit()):
            raise Malformed("fromCursor", "is no cursor of this topic")

    def message(self, topic: str, event: Event) -> Message:
        """See `TopicLog`."""
        value = from_json(event.data)
        kind = f"{TYPE_PREFIX}{self._name}.{value['kind']}.{value['move']}"
        source = f"{self._root}/modules/{self._name}/entries/{event.cursor}"
        data: dict[str, Any] = {
            "chainId": self._chain_id,
            "genesisHash": self._genesis,
            "topic": topic,
            "cursor": event.cursor,
            "service": self._name,
            "record": value["record"],
            "move": value["move"],
            "state": value["state"],
            "leaf": value["leaf"],
        }
        ident = event_id(source)
        body = event_body(
            source=source,
            ident=ident,
            kind=kind,
            time=value["time"],
            subject=value["record"],
            data=data,
        )
        return Message(ident, kind, event.cursor, body)


def open_hooks(
    folder: Path, host: RunningHost, *, allow: tuple[str, ...], version: str
) -> Webhooks:
    """Return the webhooks of a service, kept in its folder. Raises `StorageFault`."""
    make_private_directory(folder / FOLDER)
    return open_webhooks(
        folder / FOLDER,
        ThreadLane(),
        EntryLog(host),
        allow=allow,
        version=version,
        now_ms=host.now_ms,
        random_bytes=secrets.token_bytes,
    )


def hook_methods(host: RunningHost, hooks: Webhooks) -> list[Method]:
    """Return webhook_… for those who administer the service."""
    role = f"{host.name}.admin"

    def guarded(method: Method) -> Method:
        handler: Callable[[Any, Context], Any] = method.handler

        async def judged(params: Any, context: Context) -> Any:
            actor = await host.actor_of(context)
            if not actor.may(role):
                reason = f"{method.name} needs the role {role}."
                raise RpcError(FORBIDDEN, reason, facts={"roles": [role]})
            answer = handler(params, context)
            return await answer if isinstance(answer, Awaitable) else answer

        return dataclasses.replace(method, handler=judged)

    return [host.trail.watched(guarded(one)) for one in WebhookMethods(hooks).methods()]
