"""The trail of privileged calls: who called what, when, with which result, from where, on what.

What changes a record is in its history. Here stands the rest that an auditor asks for: what was
refused for want of a role, and what shows or does more than records show (exports, erasures,
configurations, a service's own methods that ask for a role). Parameters are not kept: they may be
about persons; of the record only its id is.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import sqlalchemy as sa
import trio

from clawpurse.ledger.errors import ClawPurseError
from clawpurse.modules.kit.records.history import canonical
from clawpurse.modules.kit.records.model import Actor
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.store.tables import ACTOR_CHARS_MAX, OBJECT_CHARS_MAX
from clawpurse.modules.kit.web.errors import FORBIDDEN, UNAUTHENTICATED, as_rpc_error
from clawpurse.modules.kit.web.jsonrpc import Context, Method

DONE, REFUSED, FAILED = "done", "refused", "failed"
NOTED_PER_MINUTE_MAX: Final = 120
"""What programs without the role, or that try their luck, write at most; how many more there were
is one entry."""

_ID: Final = re.compile(r"[A-Z]{1,4}-[0-9]{1,19}")
NOBODY_YET: Final = "nobody"
MINUTE_MS: Final = 60_000
PLAIN: Final = ("get", "list", "history", "describe", "create", "update", "move", "approve")
"""Verbs whose doing is in a history, or that show what everybody with the role for it sees."""


class Trail:
    """The calls of one service. `actor_of` tells who calls."""

    def __init__(
        self, records: Transactions, actor_of: Callable[[Context], Awaitable[Actor]]
    ) -> None:
        self._records = records
        self._actor_of = actor_of
        self._minute = 0
        self._refused = 0
        self._hidden = 0

    def watched(self, method: Method) -> Method:
        """Return the method as it is, noting calls of it that belong into the trail."""
        verb = method.name.partition("_")[2]
        plain = verb.startswith(PLAIN) and not verb.endswith(("Configuration", "Configurations"))
        handler: Callable[[Any, Context], Any] = method.handler

        async def watching(params: Any, context: Context) -> Any:
            try:
                answer = handler(params, context)
                if isinstance(answer, Awaitable):
                    answer = await answer
            except Exception as error:
                told = as_rpc_error(error)
                code = None if told is None else told.code
                if code == FORBIDDEN:
                    await self._note(method.name, REFUSED, params, context)
                elif not plain and code != UNAUTHENTICATED:
                    await self._note(method.name, FAILED, params, context)
                raise
            if not plain:
                await self._note(method.name, DONE, params, context)
            return answer

        return dataclasses.replace(method, handler=watching)

    async def _note(self, what: str, result: str, params: Any, context: Context) -> None:
        now_ms = self._records.now_ms()
        minute = now_ms // MINUTE_MS
        if minute != self._minute:
            self._minute, self._refused = minute, 0
        if result != DONE:
            self._refused += 1
            if self._refused > NOTED_PER_MINUTE_MAX:
                self._hidden += 1
                return
        with trio.CancelScope(shield=True):
            # What was done is written down, also when the caller has gone.
            try:
                actor = await self._actor_of(context)
            except ClawPurseError:
                # Who signs in is nobody yet; and whoever calls while the node is away is unknown.
                actor = Actor(NOBODY_YET, frozenset(), context.client)
            hidden, self._hidden = self._hidden, 0
            await self._records.write(
                actor, lambda work: note(work, what, result, _object_of(params), hidden)
            )


def note(work: Work, what: str, result: str, thing: str, hidden: int = 0) -> None:
    """Write one call down; before it, how many refused ones were not."""
    if hidden:
        note(work, "kit.notNoted", REFUSED, f"{hidden} calls")
    work.connection.execute(
        work.tables.calls.insert(),
        {
            "number": work.next_number("kit_calls"),
            "at_ms": work.now_ms,
            "actor": work.actor.subject[:ACTOR_CHARS_MAX],
            "origin": work.actor.origin[:ACTOR_CHARS_MAX],
            "what": what,
            "result": result,
            "object": thing[:OBJECT_CHARS_MAX],
        },
    )


def calls_since(work: Work, number: int, limit: int) -> list[tuple[int, str]]:
    """Return calls above a number, oldest first, as the texts that the audit log keeps."""
    table = work.tables.calls
    rows = work.connection.execute(
        table.select().where(table.c.number > number).order_by(table.c.number).limit(limit)
    )
    return [
        (row.number, canonical({"service": work.service, **dict(row._mapping)})) for row in rows
    ]


def newest_call(work: Work) -> int:
    """Return the number of the newest call; 0 for none."""
    table = work.tables.calls
    found = work.connection.execute(sa.select(sa.func.max(table.c.number))).scalar_one()
    return int(found or 0)


def _object_of(params: Any) -> str:
    """Return what a call was about, where that is a record's id or a version: never free text."""
    for name in ("id", "proposal", "version"):
        value = getattr(params, name, None)
        # What somebody sent as an id may be anything, a name too.
        is_id = isinstance(value, str) and _ID.fullmatch(value) is not None
        if is_id or (isinstance(value, int) and not isinstance(value, bool)):
            return str(value)
    return ""
