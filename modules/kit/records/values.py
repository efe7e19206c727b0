"""Between what a record says and what its row holds: dates and lists as text, persons sealed.

A personal value stands in its row sealed with the person's key, in the history as a commitment,
and beside that the commitment's opening, sealed too: whoever may see the person can show what any
version said, and once the key is gone nobody can.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from clawpurse.ledger.errors import Bug
from clawpurse.modules.kit.entities.kinds import FieldSpec, Kind, Storage
from clawpurse.modules.kit.privacy.sealing import KEY_BYTES, KeyRing, SubjectCipher, commit, new_key
from clawpurse.modules.kit.records.history import canonical
from clawpurse.modules.kit.records.model import ConsentMissing, Erased, Record, subject_name
from clawpurse.modules.kit.store.tables import Tables

COMMITMENT: Final = "commitment"
GIVEN: Final = "given"
WITHDRAWN: Final = "withdrawn"
"""What a person says of a category."""


class Values:
    """Values of one service's records, within a transaction at `now_ms`."""

    def __init__(
        self, connection: Connection, tables: Tables, service: str, keys: KeyRing, now_ms: int
    ) -> None:
        self._connection = connection
        self._tables = tables
        self._service = service
        self._keys = keys
        self._now_ms = now_ms
        # Within one transaction nobody else makes or erases persons.
        self._persons: dict[str, tuple[bytes | None, int | None] | None] = {}

    def columns(
        self, kind: Kind, record_id: str, values: Mapping[str, Any], names: Iterable[str]
    ) -> dict[str, Any]:
        """Return the columns of these fields.

        Raises `Erased` where the person is, `ConsentMissing` where it has not agreed to that.
        """
        found: dict[str, Any] = {}
        for name in names:
            spec, value = kind.fields[name], values[name]
            if spec.personal is None:
                found[name] = canonical(list(value)) if _is_list(spec, value) else value
            elif value is None:
                found[name] = None
            else:
                subject = subject_of(kind, record_id, spec, values)
                cipher = self.cipher(subject)
                if spec.personal.consent and not self.agreed(subject, spec.personal.category):
                    raise ConsentMissing(subject, spec.personal.category)
                place = (self._service, kind.name, record_id, name)
                found[name] = cipher.seal(canonical(value).encode(), place)
        return found

    def committed(
        self,
        kind: Kind,
        number: int,
        version: int,
        values: Mapping[str, Any],
        names: Iterable[str],
    ) -> dict[str, Any]:
        """Return what the history says of these fields; openings are stored on the way."""
        record_id = f"{kind.prefix}-{number}"
        said: dict[str, Any] = {}
        for name in names:
            spec, value = kind.fields[name], values[name]
            if spec.personal is None or value is None:
                said[name] = value
                continue
            subject = subject_of(kind, record_id, spec, values)
            key, text = new_key(), canonical(value).encode()
            commitment = commit(key, subject, self.topic(kind, name), text)
            opening = self.cipher(subject).seal(key + text, self._opening_place(commitment))
            self._connection.execute(
                self._tables.commitments.insert(),
                {
                    "commitment": commitment,
                    "subject": subject,
                    "kind": kind.name,
                    "record": number,
                    "field": name,
                    "version": version,
                    "opening": opening,
                },
            )
            said[name] = {COMMITMENT: commitment.hex()}
        return said

    def read(self, kind: Kind, row: Row[Any]) -> tuple[dict[str, Any], frozenset[str]]:
        """Return a row's values, and the fields whose person was erased."""
        record_id = f"{kind.prefix}-{row.number}"
        found: dict[str, Any] = {}
        erased = set()
        for name, spec in kind.fields.items():
            stored = getattr(row, name)
            if spec.storage is Storage.LIST and stored is not None:
                stored = json.loads(stored)
            found[name] = stored
        for name, spec in kind.fields.items():
            if spec.personal is None:
                continue
            subject = subject_of(kind, record_id, spec, found)
            if row.erased_ms is not None or self._is_erased(subject):
                found[name] = None
                erased.add(name)
            elif found[name] is not None:
                place = (self._service, kind.name, record_id, name)
                found[name] = json.loads(self.cipher(subject).open(found[name], place))
        return found, frozenset(erased)

    def unsealed(self, record: Record, name: str, sealed: bytes) -> Any:
        """Return a value that `columns` sealed for a record's field. Raises `Erased`."""
        kind = record.kind
        subject = subject_of(kind, record.id, kind.fields[name], record.values)
        place = (self._service, kind.name, record.id, name)
        return json.loads(self.cipher(subject).open(sealed, place))

    def opened(self, commitment: bytes) -> tuple[bytes, Any]:
        """Return the key and the value of a commitment. Raises `Erased`."""
        table = self._tables.commitments
        row = self._connection.execute(table.select().where(table.c.commitment == commitment)).one()
        return self.opened_row(row)

    def opened_row(self, row: Row[Any]) -> tuple[bytes, Any]:
        """`opened` for whoever has read the row."""
        if row.opening is None:
            raise Erased(row.subject)
        plain = self.cipher(row.subject).open(row.opening, self._opening_place(row.commitment))
        return plain[:KEY_BYTES], json.loads(plain[KEY_BYTES:])

    def cipher(self, subject: str) -> SubjectCipher:
        """Return the cipher of a person, made at the first use. Raises `Erased`."""
        known = self._person(subject)
        if known is None:
            wrapped, cipher = self._keys.made(subject)
            self._connection.execute(
                self._tables.subjects.insert(),
                {"subject": subject, "wrapped_key": wrapped, "created_ms": self._now_ms},
            )
            self._persons[subject] = wrapped, None
            return cipher
        if known[0] is None:
            self._keys.forget(subject)
            raise Erased(subject)
        return self._keys.cipher(subject, known[0])

    def agreed(self, subject: str, category: str) -> bool:
        """Whether a person agrees to a category: what it said last counts."""
        table = self._tables.consents
        verdict = self._connection.execute(
            sa.select(table.c.verdict)
            .where((table.c.subject == subject) & (table.c.category == category))
            .order_by(table.c.number.desc())
            .limit(1)
        ).scalar_one_or_none()
        return bool(verdict == GIVEN)

    def told(self, record: Record) -> dict[str, Any]:
        """Return what may leave the service: open values, and commitments to personal ones."""
        table, found = self._tables.commitments, dict(record.values)
        for name, spec in record.kind.fields.items():
            if spec.personal is None or found[name] is None:
                continue
            mine = (table.c.kind == record.kind.name) & (table.c.record == record.number)
            newest = self._connection.execute(
                sa.select(table.c.commitment)
                .where(mine & (table.c.field == name))
                .order_by(table.c.version.desc())
                .limit(1)
            ).scalar_one()
            found[name] = {COMMITMENT: newest.hex()}
        return found

    def destroy(self, subject: str) -> bool:
        """Destroy a person's key and each commitment's opening; False if that was done before.

        What committed to it stays, so that every proof still holds. The file keeps deleted bytes
        until it is compacted, which cannot be done within a transaction.
        """
        subjects, commitments = self._tables.subjects, self._tables.commitments
        known = self._person(subject)
        if known is not None and known[1] is not None:
            return False
        mine = commitments.c.subject == subject
        self._connection.execute(commitments.update().where(mine).values(opening=None))
        gone: dict[str, Any] = {"wrapped_key": None, "erased_ms": self._now_ms}
        if known is None:
            gone |= {"subject": subject, "created_ms": self._now_ms}
            self._connection.execute(subjects.insert(), gone)
        else:
            self._connection.execute(
                subjects.update().where(subjects.c.subject == subject).values(gone)
            )
        self._persons[subject] = None, self._now_ms
        self._keys.forget(subject)
        return True

    def topic(self, kind: Kind, field: str) -> str:
        """Return what a commitment to a field is about."""
        return f"{self._service}/{kind.name}/{field}"

    def _opening_place(self, commitment: bytes) -> tuple[str, ...]:
        return self._service, "opening", commitment.hex()

    def _is_erased(self, subject: str) -> bool:
        known = self._person(subject)
        return known is not None and known[1] is not None

    def _person(self, subject: str) -> tuple[bytes | None, int | None] | None:
        """Return a person's wrapped key and when it was erased; None for who is not known yet."""
        if subject not in self._persons:
            table = self._tables.subjects
            row = self._connection.execute(
                sa.select(table.c.wrapped_key, table.c.erased_ms).where(table.c.subject == subject)
            ).one_or_none()
            self._persons[subject] = None if row is None else (row.wrapped_key, row.erased_ms)
        return self._persons[subject]


def subject_of(kind: Kind, record_id: str, spec: FieldSpec, values: Mapping[str, Any]) -> str:
    """Return the person whom a personal field is about."""
    if spec.personal is None:
        raise Bug(f"{kind.name}.{spec.name} is about nobody")
    named = spec.personal.of
    if not named:
        return subject_name(kind, record_id)
    ref = kind.fields[named].ref
    if ref is None:
        raise Bug(f"{kind.name}.{named} names nobody")
    return f"{ref.kind}/{values[named]}"


def _is_list(spec: FieldSpec, value: Any) -> bool:
    return spec.storage is Storage.LIST and value is not None
