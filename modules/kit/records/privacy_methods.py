"""JSON-RPC about persons and proofs: export, prove, erase, and what persons agreed to.

    desk_exportTickets   desk_proveTicket   desk_eraseTicket
    desk_exportSubject   desk_eraseSubject   desk_giveConsent   desk_withdrawConsent

Whoever exports or erases persons needs the role `<service>.privacy` on the ledger; what is exported
of a list are open values, and of personal ones those that the caller may see anyway.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Final

from pydantic import Field

from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.entities.kinds import Kind
from clawpurse.modules.kit.records.answers import given_values, refusals, shown_values
from clawpurse.modules.kit.records.chores import compact
from clawpurse.modules.kit.records.disclosure import (
    consent_json,
    note_export,
    proof,
    subject_document,
)
from clawpurse.modules.kit.records.model import Actor, Record, parse_id
from clawpurse.modules.kit.records.persons import (
    REASON_CHARS_MAX,
    Erasure,
    categories,
    consent_roles,
    consents_of,
    erase_person,
    erase_record,
    give_consent,
    is_person,
    named_persons,
    privacy_role,
    withdraw_consent,
)
from clawpurse.modules.kit.records.shapes import (
    LIST_DEFAULT,
    Archived,
    Cursor,
    EntryShape,
    Id,
    Json,
    Key,
    Limit,
    Shape,
    Time,
    params_of,
    state_of,
)
from clawpurse.modules.kit.records.transactions import Transactions
from clawpurse.modules.kit.records.work import Work
from clawpurse.modules.kit.store.tables import ACTOR_CHARS_MAX
from clawpurse.modules.kit.web.errors import CONFLICT, FORBIDDEN, NOT_FOUND
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params

READ_COST: Final = 5
EXPORT_COST: Final = 100
ERASE_COST: Final = 200
"""A database is written anew."""
ERASE_DEADLINE_MS: Final = 600_000

Subject = Annotated[
    str,
    Field(max_length=ACTOR_CHARS_MAX, description="The person, as commitments name it: kind/ID"),
]
Reason = Annotated[
    str,
    Field(
        min_length=1,
        max_length=REASON_CHARS_MAX,
        description="Why; kept for ever, so nothing personal",
    ),
]


class SubjectParams(Params):
    """Parameters of the methods about one person."""

    subject: Subject


class ReasonedParams(SubjectParams):
    """Parameters of what is done with a person's data."""

    reason: Reason


class EraseParams(Params):
    """Parameters of erasing a record."""

    id: Id
    reason: Reason
    person: bool = Field(False, description="The whole person whom the record is about")


class ProveParams(Params):
    """Parameters of prove."""

    id: Id
    version: int | None = Field(None, ge=1, description="Which entry; the newest without it")
    openings: bool = Field(False, description="Also what opens the commitments that you may see")


class ConsentParams(SubjectParams):
    """Parameters of what a person says of a category."""

    category: str = Field(max_length=40, description="Which personal data it is about")
    wording: str = Field(
        pattern="^0x[0-9a-f]{64}$", description="SHA-256 of the text that the person was shown"
    )
    idempotency_key: Key = None


class ErasedShape(Shape):
    """What an erasure did. `news`: false when it was done before.

    `compacted`: whether every byte is gone from the database's files already; otherwise the
    service does that as soon as nobody reads old data any more.
    """

    news: bool
    subjects: list[str]
    records: int
    commitments: int
    compacted: bool


class ExportShape(Shape):
    """A page of an export: one record a line, when written to a file."""

    records: list[dict[str, Any]]
    next_cursor: str | None


class HeadShape(Shape):
    """The newest entry's number and chain."""

    number: int
    chain: str


class ChainShape(Shape):
    """`after` is SHA-256 over a one byte, `before` and the leaf."""

    before: str
    after: str
    head: HeadShape


class OpeningShape(Shape):
    """What opens a commitment: HMAC-SHA256 under `key` of subject, topic and value."""

    field: str
    commitment: str
    subject: str
    topic: str
    key: str
    value: Any


class ProofShape(Shape):
    """An entry as it was hashed. The leaf is SHA-256 over a zero byte and `text`.

    `closed`: fields whose commitments are not opened for you, or for nobody any more.
    """

    record: str
    entry: EntryShape
    text: str
    leaf: str
    chain: ChainShape
    openings: list[OpeningShape]
    closed: list[str]
    audit: dict[str, Any] | None


class ConsentShape(Shape):
    """What a person said of a category, and who wrote it down."""

    number: int
    subject: str
    category: str
    verdict: str
    wording: str
    time: Time
    actor: str
    origin: str


class ConsentsShape(Shape):
    """What a person said, oldest first; `now` has what holds by category."""

    consents: list[ConsentShape]
    now: dict[str, bool]


class SubjectShape(Shape):
    """Everything that is known of a person, by category, record, entry and commitment."""

    version: int
    service: str
    subject: str
    made: Time
    erased: Time | None
    categories: dict[str, list[dict[str, Any]]]
    records: list[dict[str, Any]]
    history: list[dict[str, Any]]
    proposals: list[dict[str, Any]]
    consents: list[ConsentShape]
    commitments: list[dict[str, Any]]


class PrivacyMethods:
    """The methods of one service about persons and proofs. `actor_of` as in `RecordMethods`."""

    def __init__(
        self, records: Transactions, actor_of: Callable[[Context], Awaitable[Actor]]
    ) -> None:
        self._records = records
        self._service = records.service
        self._actor_of = actor_of

    def methods(self) -> list[Method]:
        """Return the definitions: for every kind, and for persons where a service knows any."""
        found: list[Method] = []
        for kind in self._records.kinds.values():
            found += self._of_kind(kind)
        if categories(self._records.kinds):
            found += [*self._of_persons(), *self._of_consents()]
        return found

    def _of_kind(self, kind: Kind) -> list[Method]:
        title = kind.title.lower()
        indexed = [field for field, spec in kind.fields.items() if spec.indexed]
        found = [
            Method(
                f"{self._service}_export{kind.nouns}",
                f"Each {title} with its values, archived ones too",
                self._export(kind),
                params_of(
                    kind,
                    "Export",
                    indexed,
                    optional=True,
                    state=(state_of(kind), None),
                    archived=(Archived, True),
                    limit=(Limit, LIST_DEFAULT),
                    cursor=(Cursor, None),
                ),
                ExportShape,
                errors=(FORBIDDEN,),
                cost=EXPORT_COST,
            ),
            Method(
                f"{self._service}_prove{kind.noun}",
                f"What proves an entry in the history of a {title}",
                self._prove(kind),
                ProveParams,
                ProofShape,
                errors=(NOT_FOUND, FORBIDDEN),
                cost=READ_COST,
            ),
        ]
        if any(spec.personal for spec in kind.fields.values()):
            found.append(
                Method(
                    f"{self._service}_erase{kind.noun}",
                    f"Erase what a {title} says of persons",
                    self._erase(kind),
                    EraseParams,
                    ErasedShape,
                    errors=(NOT_FOUND, FORBIDDEN),
                    cost=ERASE_COST,
                    deadline_ms=ERASE_DEADLINE_MS,
                    description="Its history and what commits to it stay, and prove as before.",
                )
            )
        return found

    def _of_persons(self) -> list[Method]:
        named = f"{self._service}_{{}}Subject".format
        return [
            Method(
                named("export"),
                "Everything that is known of a person",
                self._export_subject,
                ReasonedParams,
                SubjectShape,
                errors=(NOT_FOUND, FORBIDDEN),
                cost=EXPORT_COST,
                deadline_ms=ERASE_DEADLINE_MS,
            ),
            Method(
                named("erase"),
                "Erase a person: key, values, openings, here and in services that name it",
                self._erase_subject,
                ReasonedParams,
                ErasedShape,
                errors=(NOT_FOUND, FORBIDDEN),
                cost=ERASE_COST,
                deadline_ms=ERASE_DEADLINE_MS,
            ),
        ]

    def _of_consents(self) -> list[Method]:
        service = self._service
        return [
            Method(
                f"{service}_giveConsent",
                "Write down that a person agreed to a category",
                partial(self._say, give_consent),
                ConsentParams,
                ConsentShape,
                errors=(NOT_FOUND, CONFLICT, FORBIDDEN),
                cost=READ_COST,
            ),
            Method(
                f"{service}_withdrawConsent",
                "Write down that a person takes back what it agreed to",
                partial(self._say, withdraw_consent),
                ConsentParams,
                ConsentShape,
                errors=(NOT_FOUND, CONFLICT, FORBIDDEN),
                cost=READ_COST,
            ),
            Method(
                f"{service}_listConsents",
                "What a person agreed to and took back",
                self._consents,
                SubjectParams,
                ConsentsShape,
                errors=(NOT_FOUND, FORBIDDEN),
                cost=READ_COST,
            ),
        ]

    def _export(self, kind: Kind) -> Callable[[Any, Context], Awaitable[Json]]:
        async def export(params: Any, context: Context) -> Json:
            actor = await self._actor_of(context)
            where = given_values(kind, params)
            if params.state is not None:
                where["state"] = params.state
            after = parse_id(kind, params.cursor) if params.cursor is not None else 0

            def look(work: Work) -> Json:
                work.require(kind.access.read, f"Reading a {kind.title.lower()}")
                found = work.page(
                    kind, where, after=after, limit=params.limit + 1, archived=params.archived
                )
                shown = found[: params.limit]
                hidden = kind.hidden_from(actor.may)
                return {
                    "records": [_line(one, hidden) for one in shown],
                    "nextCursor": shown[-1].id if len(found) > params.limit else None,
                }

            with refusals():
                return await self._records.read(look, actor)

        return export

    def _prove(self, kind: Kind) -> Callable[[Any, Context], Awaitable[Json]]:
        async def prove(params: ProveParams, context: Context) -> Json:
            actor = await self._actor_of(context)
            number = parse_id(kind, params.id)

            def look(work: Work) -> Json:
                work.require(kind.access.read, f"Reading a {kind.title.lower()}")
                hidden = kind.hidden_from(actor.may)
                return proof(work, kind, number, params.version, hidden, params.openings)

            with refusals():
                return await self._records.read(look, actor)

        return prove

    def _erase(self, kind: Kind) -> Callable[[Any, Context], Awaitable[Json]]:
        async def erase(params: EraseParams, context: Context) -> Json:
            number = parse_id(kind, params.id)

            def run(work: Work) -> Erasure:
                if not params.person or is_person(kind):
                    return erase_record(work, kind, number, params.reason)
                work.require(privacy_role(work.service), "Erasing")
                persons = named_persons(work.get(kind, number))
                if len(persons) != 1:
                    raise Malformed("person", f"there are {len(persons)}: erase each by its own id")
                return erase_person(work, persons[0], params.reason)

            return await self._erased(context, run)

        return erase

    async def _erase_subject(self, params: ReasonedParams, context: Context) -> Json:
        return await self._erased(
            context, lambda work: erase_person(work, params.subject, params.reason)
        )

    async def _erased(self, context: Context, run: Callable[[Work], Erasure]) -> Json:
        actor = await self._actor_of(context)
        with refusals():
            done = await self._records.write(actor, run)
        return {
            "news": done.news,
            "subjects": list(done.subjects),
            "records": done.records,
            "commitments": done.commitments,
            "compacted": await compact(self._records),
        }

    async def _export_subject(self, params: ReasonedParams, context: Context) -> Json:
        actor = await self._actor_of(context)
        with refusals():
            await self._records.write(
                actor, lambda work: note_export(work, params.subject, params.reason)
            )
            # Years of somebody's records take a while to open: nobody waits for that.
            return await self._records.read(
                lambda work: subject_document(work, params.subject), actor
            )

    async def _say(self, say: Callable[..., Any], params: ConsentParams, context: Context) -> Json:
        actor = await self._actor_of(context)
        wording = bytes.fromhex(params.wording[2:])

        def run(work: Work) -> Json:
            return consent_json(
                say(work, params.subject, params.category, wording, params.idempotency_key)
            )

        with refusals():
            return await self._records.write(actor, run)

    async def _consents(self, params: SubjectParams, context: Context) -> Json:
        actor = await self._actor_of(context)

        def look(work: Work) -> Json:
            work.require(consent_roles(work.service), "Reading what a person agreed to")
            found = consents_of(work, params.subject)
            return {
                "consents": [consent_json(one) for one in found],
                "now": {one.category: one.verdict == "given" for one in found},
            }

        with refusals():
            return await self._records.read(look, actor)


def _line(record: Record, hidden: frozenset[str]) -> Json:
    """Return a record as a line of an export."""
    kind = record.kind
    return {
        "kind": kind.name,
        "id": record.id,
        "version": record.version,
        "state": record.state,
        "created": time_text(record.created_ms),
        "changed": time_text(record.changed_ms),
        "since": time_text(record.since_ms),
        "archived": None if record.archived_ms is None else time_text(record.archived_ms),
        "values": shown_values(kind, record.values, hidden),
        "erased": sorted(kind.fields[name].wire_name for name in record.erased),
        "hidden": sorted(kind.fields[name].wire_name for name in hidden),
    }
