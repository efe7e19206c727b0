"""What is told of a person to that person, and what proves an entry of a history to anybody."""

from __future__ import annotations

import sqlalchemy as sa

from clawpurse.ledger.errors import NotFound
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.entities.kinds import Kind
from clawpurse.modules.kit.records.answers import entry_json
from clawpurse.modules.kit.records.history import GENESIS, PAGE, entry_text
from clawpurse.modules.kit.records.model import Entry, Erased, Record
from clawpurse.modules.kit.records.persons import (
    SUBJECTS,
    Consent,
    consents_of,
    fields_about,
    known_person,
    privacy_role,
    records_about,
)
from clawpurse.modules.kit.records.shapes import Json
from clawpurse.modules.kit.records.values import COMMITMENT
from clawpurse.modules.kit.records.work import Work

VERSION = 1
"""Of the document's form."""


def note_export(work: Work, subject: str, reason: str) -> None:
    """Write down that a person's data is exported, and why; `reason` holds nothing personal.

    Before `subject_document`, which only reads and may take long. Raises `NotPermitted`,
    `Malformed`, `NotFound`.
    """
    work.require(privacy_role(work.service), "Exporting what is known of a person")
    known_person(work, subject)
    work.noted_apart(SUBJECTS, "exported", {"subject": subject, "reason": reason})


def subject_document(work: Work, subject: str) -> Json:
    """Return everything that a service knows of a person, as one JSON document.

    What the same records say of others stays out; their open values are in. Raises `NotPermitted`,
    `Malformed`, `NotFound`.
    """
    work.require(privacy_role(work.service), "Exporting what is known of a person")
    known_person(work, subject)
    records, history, proposals = list[Json](), list[Json](), list[Json]()
    categories: dict[str, list[Json]] = {}
    for kind, number in records_about(work, subject):
        record = work.get(kind, number)
        about = fields_about(record.id, kind, record.values, subject)
        values: Json = {}
        for name, spec in kind.fields.items():
            if spec.personal is not None and name not in about:
                continue
            value = record.values[name]
            values[spec.wire_name] = value
            if spec.personal is not None and value is not None:
                entry = {"record": record.id, "field": spec.wire_name, "value": value}
                categories.setdefault(spec.personal.category, []).append(
                    {"kind": kind.name, **entry}
                )
        records.append(
            {
                "kind": kind.name,
                "id": record.id,
                "version": record.version,
                "state": record.state,
                "created": time_text(record.created_ms),
                "changed": time_text(record.changed_ms),
                "archived": _time(record.archived_ms),
                "values": values,
                "erased": sorted(kind.fields[name].wire_name for name in record.erased),
            }
        )
        history += [
            {"record": record.id, **entry_json(one)} for one in _entries(work, kind, number)
        ]
        proposals += _proposals(work, record, about)
    return {
        "version": VERSION,
        "service": work.service,
        "subject": subject,
        "made": time_text(work.now_ms),
        "erased": _erased(work, subject),
        "categories": categories,
        "records": records,
        "history": history,
        "proposals": proposals,
        "consents": [consent_json(one) for one in consents_of(work, subject)],
        "commitments": _commitments(work, subject),
    }


def proof(
    work: Work, kind: Kind, number: int, version: int | None, hidden: frozenset[str], show: bool
) -> Json:
    """Return an entry as it was hashed, with its place in the chain; the newest without `version`.

    With `show`, the openings of its commitments to fields that are not `hidden`: key and value, by
    which anybody can compute the commitment. `audit` is None until an audit log has the entry.
    Raises `NotFound`.
    """
    record = work.get(kind, number)
    wanted = record.version if version is None else version
    found = work.history.of_record(kind.name, number, wanted - 1, 1)
    if not found or found[0].version != wanted:
        raise NotFound(f"version {wanted} of {record.id}")
    entry = found[0]
    newest, head = work.history.head()
    openings, closed = _openings(work, kind, entry, hidden) if show else ([], [])
    return {
        "record": record.id,
        "entry": entry_json(entry),
        "text": entry_text(work.service, entry),
        "leaf": "0x" + entry.leaf.hex(),
        "chain": {
            "before": "0x" + _chain_before(work, entry).hex(),
            "after": "0x" + entry.chain.hex(),
            "head": {"number": newest, "chain": "0x" + head.hex()},
        },
        "openings": openings,
        "closed": closed,
        "audit": None,
    }


def _openings(
    work: Work, kind: Kind, entry: Entry, hidden: frozenset[str]
) -> tuple[list[Json], list[str]]:
    table = work.tables.commitments
    found, closed = list[Json](), list[str]()
    for name, said in entry.changes.items():
        if not isinstance(said, dict):
            continue
        wire_name = kind.fields[name].wire_name
        commitment = bytes.fromhex(said[COMMITMENT])
        subject = work.connection.execute(
            sa.select(table.c.subject).where(table.c.commitment == commitment)
        ).scalar_one()
        try:
            key, value = work.values.opened(commitment)
        except Erased:
            closed.append(wire_name)
            continue
        if name in hidden:
            closed.append(wire_name)
            continue
        found.append(
            {
                "field": wire_name,
                "commitment": "0x" + commitment.hex(),
                "subject": subject,
                "topic": work.values.topic(kind, name),
                "key": "0x" + key.hex(),
                "value": value,
            }
        )
    return found, sorted(closed)


def _chain_before(work: Work, entry: Entry) -> bytes:
    table = work.tables.history
    before = sa.select(table.c.chain).where(table.c.number == entry.number - 1)
    found = work.connection.execute(before).scalar_one_or_none()
    return GENESIS if found is None else bytes(found)


def _entries(work: Work, kind: Kind, number: int) -> list[Entry]:
    found: list[Entry] = []
    while len(found) % PAGE == 0:
        page = work.history.of_record(kind.name, number, found[-1].version if found else 0)
        if not page:
            break
        found += page
    return found


def _proposals(work: Work, record: Record, about: list[str]) -> list[Json]:
    kind = record.kind
    others = {name for name, spec in kind.fields.items() if spec.personal} - set(about)
    told = []
    for one in work.pending.of_record(kind, record.number):
        asked = work.pending.asked(one, record)
        told.append(
            {
                "proposal": one.number,
                "record": record.id,
                "move": one.move,
                "asked": time_text(one.asked_ms),
                "status": one.status.value,
                "values": {
                    kind.fields[name].wire_name: value
                    for name, value in asked.items()
                    if name not in others
                },
            }
        )
    return told


def _commitments(work: Work, subject: str) -> list[Json]:
    table = work.tables.commitments
    rows = work.connection.execute(
        table.select()
        .where(table.c.subject == subject)
        .order_by(table.c.kind, table.c.record, table.c.version, table.c.field)
    ).all()
    told = []
    for row in rows:
        kind = work.kinds[row.kind]
        key, value = (None, None) if row.opening is None else work.values.opened_row(row)
        told.append(
            {
                "commitment": "0x" + row.commitment.hex(),
                "record": f"{kind.prefix}-{row.record}",
                "version": row.version,
                "field": kind.fields[row.field].wire_name,
                "topic": work.values.topic(kind, row.field),
                "key": None if key is None else "0x" + key.hex(),
                "value": value,
            }
        )
    return told


def _erased(work: Work, subject: str) -> str | None:
    table = work.tables.subjects
    at_ms = work.connection.execute(
        sa.select(table.c.erased_ms).where(table.c.subject == subject)
    ).scalar_one_or_none()
    return _time(at_ms)


def consent_json(one: Consent) -> Json:
    """Return what a person said of a category."""
    return {
        "number": one.number,
        "subject": one.subject,
        "category": one.category,
        "verdict": one.verdict,
        "wording": "0x" + one.wording.hex(),
        "time": time_text(one.at_ms),
        "actor": one.actor,
        "origin": one.origin,
    }


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else time_text(at_ms)
