"""Persons in a service's records: what they agreed to, what is about them, and how they are erased.

A person is named by whom their key is kept for: `customer/C-3`, or `support.customer/C-3` where the
record is another service's. Erasing destroys the key and every sealed byte; entries of the history
and their commitments stay. Whoever has copies is told by an outbox message which commitments those
were, and other services of the installation erase what they know of the same person.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.modules.kit.entities.kinds import FieldSpec, Kind
from clawpurse.modules.kit.records.history import canonical
from clawpurse.modules.kit.records.model import Conflict, Entry, Record, parse_id, subject_name
from clawpurse.modules.kit.records.values import GIVEN, WITHDRAWN
from clawpurse.modules.kit.records.work import Work

SUBJECTS: Final = "kit_subjects"
CONSENTS: Final = "kit_consents"
"""Under which names entries about persons stand in the history."""

TO_HOLDERS: Final = "erasures"
"""Outbox messages to those who have copies."""

COMMITMENTS_PER_MESSAGE: Final = 500
"""So that a message about somebody with years of history stays below 64 KiB."""

COMPACT_MARK: Final = "compact"
ERASED: Final = "record.erased"
ARCHIVED: Final = "record.archived"
REASON_CHARS_MAX: Final = 500
WORDING_BYTES: Final = 32


def privacy_role(service: str) -> str:
    """Return the role that may export and erase persons."""
    return f"{service}.privacy"


def consent_roles(service: str) -> str:
    """Return the roles that may write down what a person agreed to."""
    return f"{service}.consent {privacy_role(service)}"


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure did. `subjects` whose keys are gone; how many records and commitments.

    `news`: False when all of it was done before.
    """

    news: bool
    subjects: tuple[str, ...]
    records: int
    commitments: int


@dataclass(frozen=True, slots=True)
class Consent:
    """What a person said of a category. `wording` is the hash of the text that was shown."""

    number: int
    subject: str
    category: str
    verdict: str
    wording: bytes
    at_ms: int
    actor: str
    origin: str


def erase_person(work: Work, subject: str, reason: str) -> Erasure:
    """Erase a person whole. `reason` stays for ever, so that nothing personal belongs there.

    Raises `NotPermitted`, `NotFound` for who is not known, `Malformed`. Afterwards the database is
    to be compacted, which the service does by itself (`Transactions.compact`).
    """
    _may_erase(work, reason)
    known_person(work, subject)
    return _erase(work, subject, reason)


def forget_person(work: Work, subject: str, reason: str) -> Erasure:
    """Erase a person because another service did; no error for who is not known here."""
    return _erase(work, subject, reason)


def erase_record(work: Work, kind: Kind, number: int, reason: str) -> Erasure:
    """Erase what one record says of persons; one that is a person is erased whole.

    The record's open values, its history and all commitments stay. Raises as `erase_person` does.
    """
    _may_erase(work, reason)
    record = work.get(kind, number)
    if is_person(kind):
        return _erase(work, record.subject, reason)
    return _erase_record(work, record, reason)


def named_persons(record: Record) -> list[str]:
    """Return the persons whom personal fields of a record are about."""
    return sorted(
        {
            _subject_of(record.kind, record.id, spec, record.values)
            for spec in record.kind.fields.values()
            if spec.personal is not None
        }
    )


def is_person(kind: Kind) -> bool:
    """Whether records of a kind are persons themselves."""
    return any(spec.personal and not spec.personal.of for spec in kind.fields.values())


def records_about(work: Work, subject: str) -> Iterator[tuple[Kind, int]]:
    """Yield each record about a person, by kind and number: itself, and those that name it."""
    named, _, record_id = subject.partition("/")
    own = work.kinds.get(named)
    if own is not None:
        number = parse_id(own, record_id)
        table = work.tables.records[own.name]
        known = sa.select(table.c.number).where(table.c.number == number)
        if work.connection.execute(known).one_or_none() is not None:
            yield own, number
    for kind in work.kinds.values():
        table = work.tables.records[kind.name]
        naming = [spec.name for spec in kind.fields.values() if spec.ref and spec.ref.kind == named]
        seen: set[int] = set()
        for field in naming:
            chosen = sa.select(table.c.number).where(table.c[field] == record_id)
            found = work.connection.execute(chosen.order_by(table.c.number)).scalars().all()
            yield from ((kind, number) for number in found if number not in seen)
            seen |= set(found)


def fields_about(record_id: str, kind: Kind, values: Mapping[str, Any], subject: str) -> list[str]:
    """Return the personal fields of a record that are about a person."""
    return [
        spec.name
        for spec in kind.fields.values()
        if spec.personal is not None and _subject_of(kind, record_id, spec, values) == subject
    ]


def give_consent(
    work: Work, subject: str, category: str, wording: bytes, request_key: str | None = None
) -> Consent:
    """Write down that a person agreed to a category. `wording`: SHA-256 of the text it was shown.

    Raises `NotPermitted`, `Malformed`, `NotFound`, `Conflict` for a key that was used otherwise.
    """
    return _say(work, subject, category, GIVEN, wording, request_key)


def withdraw_consent(
    work: Work, subject: str, category: str, wording: bytes, request_key: str | None = None
) -> Consent:
    """Write down that a person takes back what it agreed to; what is known stays until erased."""
    return _say(work, subject, category, WITHDRAWN, wording, request_key)


def consents_of(work: Work, subject: str) -> list[Consent]:
    """Return everything that a person agreed to or took back, oldest first."""
    table = work.tables.consents
    rows = work.connection.execute(
        table.select().where(table.c.subject == subject).order_by(table.c.number)
    )
    return [Consent(**row._mapping) for row in rows]


def archive(work: Work, record: Record) -> Record:
    """Take a record out of lists; its id, and whoever asks for archived ones, still finds it."""
    done = work.stepped(record, ARCHIVED, work.actor, {"archived_ms": work.now_ms})
    work.deadlines.renew(done)
    return done


def wants_compacting(work: Work) -> bool:
    """Whether something was erased since the database was compacted last."""
    table = work.tables.marks
    mark = sa.select(table.c.name).where(table.c.name == COMPACT_MARK)
    return work.connection.execute(mark).one_or_none() is not None


def compacted(work: Work) -> None:
    """Note that the database was compacted."""
    table = work.tables.marks
    work.connection.execute(table.delete().where(table.c.name == COMPACT_MARK))


def _may_erase(work: Work, reason: str) -> None:
    work.require(privacy_role(work.service), "Erasing")
    if not reason or len(reason) > REASON_CHARS_MAX:
        raise Malformed("reason", f"has 1 to {REASON_CHARS_MAX} characters")


def _erase(work: Work, subject: str, reason: str) -> Erasure:
    commitments = _commitments(work, work.tables.commitments.c.subject == subject)
    if not work.values.destroy(subject):
        return Erasure(False, (subject,), 0, 0)
    records = 0
    for kind, number in records_about(work, subject):
        table = work.tables.records[kind.name]
        naming = {one.name: table.c[one.name] for one in kind.fields.values() if one.ref}
        row = work.connection.execute(
            sa.select(table.c.number, *naming.values()).where(table.c.number == number)
        ).one()
        values = {field: getattr(row, field) for field in naming}
        about = fields_about(f"{kind.prefix}-{number}", kind, values, subject)
        if about:
            _blank(work, kind, number, about)
            records += 1
    facts = {"subject": subject, "reason": reason, "commitments": len(commitments)}
    entry = work.noted_apart(SUBJECTS, "erased", facts)
    _tell(work, entry, {"type": "subject.erased", "subject": subject}, commitments)
    return Erasure(True, (subject,), records, len(commitments))


def _erase_record(work: Work, record: Record, reason: str) -> Erasure:
    kind, number = record.kind, record.number
    table = work.tables.commitments
    mine = (table.c.kind == kind.name) & (table.c.record == number)
    known = work.tables.records[kind.name]
    done = sa.select(known.c.erased_ms).where(known.c.number == number)
    if work.connection.execute(done).scalar_one() is not None:
        return Erasure(False, (), 0, 0)
    commitments = _commitments(work, mine)
    work.connection.execute(table.update().where(mine).values(opening=None))
    personal = [name for name, spec in kind.fields.items() if spec.personal is not None]
    _blank(work, kind, number, personal)
    written = work.stepped(record, ERASED, work.actor, {"erased_ms": work.now_ms})
    facts = {"record": record.id, "reason": reason, "commitments": len(commitments)}
    entry = work.noted_apart(SUBJECTS, "erased", facts)
    _tell(work, entry, {"type": "record.erased", "record": record.id}, commitments)
    work.deadlines.renew(written)
    return Erasure(True, (), 1, len(commitments))


def _blank(work: Work, kind: Kind, number: int, fields: Sequence[str]) -> None:
    """Take every sealed byte of these fields out of a record and of what waits about it."""
    table = work.tables.records[kind.name]
    if fields:
        work.connection.execute(
            table.update().where(table.c.number == number).values(dict.fromkeys(fields))
        )
        work.pending.strip(kind, number, fields)


def _commitments(work: Work, mine: Any) -> list[str]:
    table = work.tables.commitments
    rows = work.connection.execute(sa.select(table.c.commitment).where(mine)).scalars()
    return sorted(one.hex() for one in rows)


def _tell(work: Work, entry: Entry, message: Mapping[str, Any], commitments: Sequence[str]) -> None:
    """Send which commitments nobody opens any more, and let the database be compacted."""
    starts = range(0, max(len(commitments), 1), COMMITMENTS_PER_MESSAGE)
    for start in starts:
        some = commitments[start : start + COMMITMENTS_PER_MESSAGE]
        body = {**message, "service": work.service, "atMs": work.now_ms, "commitments": some}
        key = hashlib.sha256(b"clawpurse/erased/v1" + entry.leaf + start.to_bytes(8, "big"))
        work.send(TO_HOLDERS, canonical(body).encode(), key.digest())
    table = work.tables.marks
    if not wants_compacting(work):
        work.connection.execute(table.insert(), {"name": COMPACT_MARK, "content": "{}"})


def erasure_of(payload: bytes) -> Mapping[str, Any]:
    """Return what a message to holders of copies says."""
    found: dict[str, Any] = json.loads(payload)
    return found


def _say(
    work: Work,
    subject: str,
    category: str,
    verdict: str,
    wording: bytes,
    request_key: str | None,
) -> Consent:
    work.require(consent_roles(work.service), "Writing down what a person agreed to")
    if len(wording) != WORDING_BYTES:
        raise Malformed("wording", "is the SHA-256 of what the person was shown")
    if category not in categories(work.kinds):
        known = ", ".join(sorted(categories(work.kinds))) or "none"
        raise Malformed("category", f"is none of {known}")
    known_person(work, subject)
    said = {"subject": subject, "category": category, "wording": wording.hex()}
    before = request_key and work.history.answered(work.actor.subject, request_key)
    if before:
        if (before.kind, before.move, dict(before.changes)) != (CONSENTS, verdict, said):
            raise Conflict("this key was used for another request")
        return next(one for one in consents_of(work, subject) if one.number == before.record)
    # Who was erased agrees to nothing any more.
    work.values.cipher(subject)
    entry = work.noted_apart(CONSENTS, verdict, said, request_key)
    row = Consent(
        entry.record, subject, category, verdict, wording, entry.at_ms, entry.actor, entry.origin
    )
    columns = {name: getattr(row, name) for name in Consent.__dataclass_fields__}
    work.connection.execute(work.tables.consents.insert(), columns)
    return row


def categories(kinds: Mapping[str, Kind]) -> set[str]:
    """Return every category of personal data that a service has."""
    return {
        spec.personal.category
        for kind in kinds.values()
        for spec in kind.fields.values()
        if spec.personal is not None
    }


def known_person(work: Work, subject: str) -> None:
    """Raise `Malformed` for what names no person, `NotFound` for one that is not there."""
    named, slash, record_id = subject.partition("/")
    own = work.kinds.get(named)
    if own is not None and slash:
        work.get(own, parse_id(own, record_id))
        return
    specs = [spec for kind in work.kinds.values() for spec in kind.fields.values()]
    referred = {spec.ref.kind for spec in specs if spec.ref is not None}
    if named not in referred or not slash or not record_id:
        raise Malformed("subject", "names no person: kind/ID")
    table = work.tables.subjects
    known = sa.select(table.c.subject).where(table.c.subject == subject)
    is_sealed = work.connection.execute(known).one_or_none() is not None
    if not is_sealed and next(records_about(work, subject), None) is None:
        raise NotFound(subject)


def _subject_of(kind: Kind, record_id: str, spec: FieldSpec, values: Mapping[str, Any]) -> str:
    named = spec.personal.of if spec.personal is not None else ""
    ref = kind.fields[named].ref if named else None
    return subject_name(kind, record_id) if ref is None else f"{ref.kind}/{values[named]}"
