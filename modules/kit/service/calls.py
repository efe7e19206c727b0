"""Methods that a service declares with `@rpc`: one transaction each, for whoever has the role."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from clawpurse.modules.kit.records.answers import refusals
from clawpurse.modules.kit.records.model import Actor
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.service.declaration import Call
from clawpurse.modules.kit.web.errors import CONFLICT, FORBIDDEN, NOT_FOUND
from clawpurse.modules.kit.web.jsonrpc import Context, Method


def call_method(
    call: Call, records: Transactions, actor_of: Callable[[Context], Awaitable[Actor]]
) -> Method:
    """Return the method of a call: on a snapshot, or writing where it says so."""

    async def answer(params: Any, context: Context) -> Any:
        actor = await actor_of(context)

        def run(work: Work) -> Any:
            work.require(call.role, call.name)
            return call.run(work, params)

        with refusals():
            if call.writes:
                return await records.write(actor, run)
            return await records.read(run, actor)

    named = f"It needs the role {' or '.join(sorted(call.role.split()))}." if call.role else ""
    return Method(
        f"{records.service}_{call.name}",
        call.summary,
        answer,
        call.params,
        call.result,
        errors=(NOT_FOUND, CONFLICT, FORBIDDEN),
        cost=call.cost,
        description=" ".join(part for part in (call.description, named) if part),
    )
