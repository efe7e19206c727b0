"""JSON-RPC of records, made from their declarations: create, get, list, update, move, approve, ….

    customer_createTicket   customer_listTickets   customer_moveTicket   customer_approveTicket

A method's parameters are described by the declared fields; the values themselves are validated
once, where they are written. Who asks is told by the host (`actor_of`): its roles are the ledger's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from pydantic import WithJsonSchema

from clawpurse.ledger.errors import NotFound
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.entities.flows import Standing, Why
from clawpurse.modules.kit.entities.kinds import Kind
from clawpurse.modules.kit.records.answers import (
    clock_json,
    entry_json,
    given_values,
    number_of,
    refusals,
    shown_values,
)
from clawpurse.modules.kit.records.model import (
    Actor,
    Proposal,
    Record,
    parse_id,
)
from clawpurse.modules.kit.records.presence import Presence
from clawpurse.modules.kit.records.privacy_methods import PrivacyMethods
from clawpurse.modules.kit.records.shapes import (
    LIST_DEFAULT,
    ApproveParams,
    Archived,
    Cursor,
    HistoryShape,
    Id,
    Key,
    Limit,
    ProposalPage,
    ProposalParams,
    ProposalShape,
    ProposalsParams,
    Version,
    Viewing,
    moved_fields,
    moved_shape,
    page_shape,
    params_of,
    record_shape,
    state_of,
)
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.web.errors import CONFLICT, FORBIDDEN, NOT_FOUND
from clawpurse.modules.kit.web.jsonrpc import Context, Method

Json = dict[str, Any]
READ_COST: Final = 5
LIST_COST: Final = 50
WRITE_COST: Final = 20


class RecordMethods:
    """The methods of one service's records.

    `actor_of` tells who a caller is and which roles the ledger gives it; it raises `RpcError` for
    who is nobody.
    """

    def __init__(
        self, records: Transactions, actor_of: Callable[[Context], Awaitable[Actor]]
    ) -> None:
        self._records = records
        self._service = records.service
        self._kinds = records.kinds
        self._actor_of = actor_of
        self._presence = Presence()

    def methods(self) -> list[Method]:
        """Return the definitions, for every kind."""
        found: list[Method] = []
        for kind in self._kinds.values():
            found += [*self._reading(kind), *self._changing(kind)]
            if any(move.approvals for move in kind.flow.moves.values()):
                found += self._deciding(kind)
        return [*found, *PrivacyMethods(self._records, self._actor_of).methods()]

    def _reading(self, kind: Kind) -> list[Method]:
        named, title = f"{self._service}_{{}}{kind.noun}".format, kind.title.lower()
        shape = record_shape(kind)
        return [
            Method(
                named("get"),
                f"A {title} as it is",
                self._get(kind),
                params_of(kind, "Get", [], id=(Id, ...), viewing=(Viewing, False)),
                shape,
                errors=(NOT_FOUND,),
                cost=READ_COST,
            ),
            Method(
                f"{self._service}_list{kind.nouns}",
                f"Each {title}, in order of number",
                self._list(kind),
                params_of(
                    kind,
                    "List",
                    [field for field, spec in kind.fields.items() if spec.indexed],
                    optional=True,
                    state=(state_of(kind), None),
                    archived=(Archived, False),
                    limit=(Limit, LIST_DEFAULT),
                    cursor=(Cursor, None),
                ),
                page_shape(kind),
                cost=LIST_COST,
            ),
            Method(
                named("history"),
                f"What became of a {title}, oldest first",
                self._history(kind),
                params_of(
                    kind,
                    "History",
                    [],
                    id=(Id, ...),
                    limit=(Limit, LIST_DEFAULT),
                    cursor=(Cursor, None),
                ),
                HistoryShape,
                errors=(NOT_FOUND,),
                cost=LIST_COST,
            ),
        ]

    def _changing(self, kind: Kind) -> list[Method]:
        named, title = f"{self._service}_{{}}{kind.noun}".format, kind.title.lower()
        shape = record_shape(kind)
        move_names = WithJsonSchema({"type": "string", "enum": list(kind.flow.moves)})
        return [
            Method(
                named("create"),
                f"Make a {title}",
                self._create(kind),
                params_of(kind, "Create", list(kind.fields), idempotency_key=(Key, None)),
                shape,
                errors=(NOT_FOUND, CONFLICT),
                cost=WRITE_COST,
            ),
            Method(
                named("update"),
                f"Change values of a {title}",
                self._update(kind),
                params_of(
                    kind,
                    "Update",
                    [field for field in kind.fields if field not in moved_fields(kind)],
                    optional=True,
                    first={"id": (Id, ...)},
                    version=(Version, None),
                    idempotency_key=(Key, None),
                ),
                shape,
                errors=(NOT_FOUND, CONFLICT),
                cost=WRITE_COST,
            ),
            Method(
                named("move"),
                f"Make a move of a {title}, or propose one that others must approve",
                self._move(kind),
                params_of(
                    kind,
                    "Move",
                    sorted(moved_fields(kind)),
                    optional=True,
                    first={"id": (Id, ...), "move": (Annotated[str, move_names], ...)},
                    version=(Version, None),
                    idempotency_key=(Key, None),
                ),
                moved_shape(kind),
                errors=(NOT_FOUND, CONFLICT, FORBIDDEN),
                cost=WRITE_COST,
                description="Which moves are possible for you now is in the record's `moves`.",
            ),
        ]

    def _deciding(self, kind: Kind) -> list[Method]:
        title = kind.title.lower()
        return [
            Method(
                f"{self._service}_get{kind.noun}Proposal",
                f"A move of a {title} that waits for others",
                self._proposal(kind),
                ProposalParams,
                ProposalShape,
                errors=(NOT_FOUND, FORBIDDEN),
                cost=READ_COST,
            ),
            Method(
                f"{self._service}_list{kind.noun}Proposals",
                f"Moves of every {title} that wait for others",
                self._proposals(kind),
                ProposalsParams,
                ProposalPage,
                errors=(FORBIDDEN,),
                cost=LIST_COST,
            ),
            Method(
                f"{self._service}_approve{kind.noun}",
                "Approve a move, or reject it; the last approval does it",
                self._approve(kind),
                ApproveParams,
                moved_shape(kind),
                errors=(NOT_FOUND, CONFLICT, FORBIDDEN),
                cost=WRITE_COST,
            ),
        ]

    def _create(self, kind: Kind) -> Callable[[Any, Context], Awaitable[Json]]:
        async def create(params: Any, context: Context) -> Json:
            given = given_values(kind, params)
            key = params.idempotency_key
            return await self._write(context, lambda work: work.create(kind, given, key))

        return create

    def _get(self, kind: Kind) -> Callable[[Any, Context], Awaitable[Json]]:
        async def get(params: Any, context: Context) -> Json:
            number = parse_id(kind, params.id)

            def look(work: Work, actor: Actor) -> Json:
                return {"who": actor.subject, **self._json(work, work.get(kind, number), actor)}

            answer = await self._read(kind, context, look)
            place, who = (kind.name, number), answer.pop("who")
            now_ms = self._records.now_ms()
            if params.viewing:
                self._presence.look(place, who, now_ms)
            return {**answer, "viewers": self._presence.others(place, who, now_ms)}

        return get

    def _list(self, kind: Kind) -> Callable[[Any, Context], Awaitable[Json]]:
        async def page(params: Any, context: Context) -> Json:
            where = given_values(kind, params)
            if params.state is not None:
                where["state"] = params.state
            after = parse_id(kind, params.cursor) if params.cursor is not None else 0

            def look(work: Work, actor: Actor) -> Json:
                found = work.page(
                    kind, where, after=after, limit=params.limit + 1, archived=params.archived
                )
                shown = found[: params.limit]
                return {
                    "records": [self._json(work, one, actor) for one in shown],
                    "nextCursor": shown[-1].id if len(found) > params.limit else None,
                }

            return await self._read(kind, context, look)

        return page

    def _update(self, kind: Kind) -> Callable[[Any, Context], Awaitable[Json]]:
        async def update(params: Any, context: Context) -> Json:
            number, given = parse_id(kind, params.id), given_values(kind, params)
            version, key = params.version, params.idempotency_key
            return await self._write(
                context,
                lambda work: work.update(kind, number, given, version=version, request_key=key),
            )

        return update

    def _move(self, kind: Kind) -> Callable[[Any, Context], Awaitable[Json]]:
        async def move(params: Any, context: Context) -> Json:
            number, given = parse_id(kind, params.id), given_values(kind, params)
            version, key = params.version, params.idempotency_key
            return await self._write(
                context,
                lambda work: work.move(
                    kind, number, params.move, given, version=version, request_key=key
                ),
            )

        return move

    def _history(self, kind: Kind) -> Callable[[Any, Context], Awaitable[Json]]:
        async def history(params: Any, context: Context) -> Json:
            number = parse_id(kind, params.id)
            after = number_of(params.cursor)

            def look(work: Work, _actor: Actor) -> Json:
                work.get(kind, number)
                found = work.history.of_record(kind.name, number, after, params.limit + 1)
                shown = found[: params.limit]
                return {
                    "entries": [entry_json(one) for one in shown],
                    "nextCursor": str(shown[-1].version) if len(found) > params.limit else None,
                }

            return await self._read(kind, context, look)

        return history

    def _proposal(self, kind: Kind) -> Callable[[Any, Context], Awaitable[Json]]:
        async def get(params: ProposalParams, context: Context) -> Json:
            def look(work: Work, actor: Actor) -> Json:
                found = work.proposal(params.proposal)
                if found.kind != kind.name:
                    raise NotFound(f"proposal {params.proposal} of a {kind.title.lower()}")
                return self._proposal_json(work, found, actor)

            return await self._read(kind, context, look)

        return get

    def _proposals(self, kind: Kind) -> Callable[[Any, Context], Awaitable[Json]]:
        async def page(params: ProposalsParams, context: Context) -> Json:
            after = number_of(params.cursor)

            def look(work: Work, actor: Actor) -> Json:
                found = work.proposals(kind, after=after, limit=params.limit + 1)
                shown = found[: params.limit]
                return {
                    "proposals": [self._proposal_json(work, one, actor) for one in shown],
                    "nextCursor": str(shown[-1].number) if len(found) > params.limit else None,
                }

            return await self._read(kind, context, look)

        return page

    def _approve(self, kind: Kind) -> Callable[[Any, Context], Awaitable[Json]]:
        async def approve(params: ApproveParams, context: Context) -> Json:
            def run(work: Work) -> Record | Proposal:
                if work.proposal(params.proposal).kind != kind.name:
                    raise NotFound(f"proposal {params.proposal} of a {kind.title.lower()}")
                return work.approve(
                    params.proposal,
                    approve=params.approve,
                    reason=params.reason,
                    request_key=params.idempotency_key,
                )

            return await self._write(context, run)

        return approve

    async def _write(self, context: Context, run: Callable[[Work], Record | Proposal]) -> Json:
        actor = await self._actor_of(context)

        def told(work: Work) -> Json:
            done = run(work)
            if isinstance(done, Proposal):
                return self._proposal_json(work, done, actor)
            return self._json(work, done, actor)

        with refusals():
            return await self._records.write(actor, told)

    async def _read(
        self, kind: Kind, context: Context, look: Callable[[Work, Actor], Json]
    ) -> Json:
        actor = await self._actor_of(context)

        def run(work: Work) -> Json:
            work.require(kind.access.read, f"Reading a {kind.title.lower()}")
            return look(work, actor)

        with refusals():
            return await self._records.read(run, actor)

    def _json(self, work: Work, record: Record, actor: Actor) -> Json:
        kind, hidden = record.kind, record.kind.hidden_from(actor.may)
        standing = Standing(record.state, record.since_ms, record.values)
        refused = {
            move.name: _refusal(kind, move.name, standing, actor, self._records.now_ms())
            for move in kind.flow.leaving(record.state)
        }
        return {
            "id": record.id,
            "version": record.version,
            "state": record.state,
            "created": time_text(record.created_ms),
            "changed": time_text(record.changed_ms),
            "since": time_text(record.since_ms),
            "values": shown_values(kind, record.values, hidden),
            "erased": sorted(kind.fields[name].wire_name for name in record.erased),
            "hidden": sorted(kind.fields[name].wire_name for name in hidden),
            "moves": [name for name, why in refused.items() if not why],
            "refused": {name: why for name, why in refused.items() if why},
            "clocks": [clock_json(one) for one in work.deadlines.readings(record)],
            "viewers": [],
            "archived": None if record.archived_ms is None else time_text(record.archived_ms),
        }

    def _proposal_json(self, work: Work, proposal: Proposal, actor: Actor) -> Json:
        kind = self._kinds[proposal.kind]
        hidden = kind.hidden_from(actor.may)
        return {
            "proposal": proposal.number,
            "record": f"{kind.prefix}-{proposal.record}",
            "move": proposal.move,
            "askedBy": proposal.asked_by,
            "asked": time_text(proposal.asked_ms),
            "expires": time_text(proposal.expires_ms),
            "status": proposal.status.value,
            "approvedBy": list(proposal.approved_by),
            "missing": proposal.missing,
            "values": shown_values(kind, work.asked(proposal), hidden),
        }


def _refusal(kind: Kind, name: str, at: Standing, actor: Actor, now_ms: int) -> str:
    """Why a caller may not ask for a move now; fields that it needs may come with it."""
    found = kind.flow.refusal(name, at, roles=actor.roles, now_ms=now_ms)
    return "" if found is None or found.why in (Why.MISSING, Why.GUARD) else found.sentence
