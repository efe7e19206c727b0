"""A person erased: a word of its own in every personal field, everything done, and every byte read.

Before: no file has a word in the clear, and nothing that leaves the service by itself does (errors,
logs, metrics, events, what goes to the ledger). After: neither the words nor the sealed bytes nor
the person's wrapped key stand anywhere, also not in a backup that is made then, while every entry,
commitment and proof is what it was.
"""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest

from clawpurse.ledger.errors import Bug
from clawpurse.modules.kit.entities.kinds import FieldSpec, Kind, Storage
from clawpurse.modules.kit.records.disclosure import subject_document
from clawpurse.modules.kit.records.history import entry_text
from clawpurse.modules.kit.records.model import Actor, Proposal, Record
from clawpurse.modules.kit.records.persons import privacy_role
from clawpurse.modules.kit.records.values import COMMITMENT
from clawpurse.modules.kit.service.publishing import Counts, HistoryLog, ServiceMetrics
from clawpurse.modules.kit.service.trail import calls_since
from clawpurse.modules.kit.testing.stand import MAKER, Stand, person_of
from clawpurse.modules.kit.web.errors import RpcError

CALLS_MAX: Final = 10_000
CANARY_CHARS: Final = 9
"""Short enough for most fields; what is shorter, or no text, is looked for sealed only."""


@dataclass
class Planted:
    """What is looked for. `words` by place; `sealed`: bytes that only the person's key opens."""

    words: dict[str, str] = field(default_factory=dict)
    persons: set[str] = field(default_factory=set)
    records: list[Record] = field(default_factory=list)
    sealed: set[bytes] = field(default_factory=set)
    said: list[bytes] = field(default_factory=list)

    def found_in(self, content: bytes) -> list[str]:
        """Return the places whose words stand in these bytes, as they are or written otherwise."""
        found = []
        for place, word in self.words.items():
            forms = (word.encode(), word.encode("utf-16-le"), word.encode().hex().encode())
            if any(form in content for form in forms):
                found.append(place)
        return found

    def sealed_in(self, content: bytes) -> int:
        """Return how many sealed values stand in these bytes, as they are or as hex."""
        return sum(one in content or one.hex().encode() in content for one in self.sealed)


def forgotten(stand: Stand, folder: Path) -> Planted:
    """Plant, exercise, erase, and read every byte. The database lies alone in `folder`.

    A server's folder keeps sealed bytes in its own log of changes until that is recycled; there
    only its tables are looked through for them. Raises `Bug` for whatever is found where it must
    not be, or is missing where it must be.
    """
    planted = Planted()
    with _logged(folder / "everything.log"):
        _plant(stand, planted)
        _exercise(stand, planted)
        _nothing_said(planted)
        _no_words(planted, folder)
        documents = _exported(stand, planted)
        entries = _entries(stand)
        planted.sealed = _sealed(stand)
        _erase(stand, planted)
        _exercise(stand, planted)
        _nothing_said(planted)
    _proofs_hold(stand, entries, documents)
    if stand.database.is_sqlite:
        _backed_up(stand, folder)
    _no_words(planted, folder)
    for path in _files(folder):
        if "pg_wal" in path.parts:
            continue
        if number := planted.sealed_in(path.read_bytes()):
            raise Bug(f"{path.name} has {number} sealed values of who was erased")
    return planted


def _plant(stand: Stand, planted: Planted) -> None:
    for kind in stand.kinds.values():
        given = {}
        for spec in kind.fields.values():
            if spec.personal is not None and _takes_words(spec):
                word = f"Zq{len(planted.words):03}jXkw"
                planted.words[f"{kind.name}.{spec.name}"] = word
                given[spec.name] = [word] if spec.holds is Storage.LIST else word
        record = stand.made(kind, **given)
        moved = {name for move in kind.flow.moves.values() for name in move.sets}
        plain = {name: one for name, one in given.items() if name not in moved}
        # A second version of each value: what was once said is looked for, too.
        other = {name: one for name, one in plain.items() if record.values[name] != one}
        if other:
            stand.do(MAKER, lambda work, k=kind, r=record, o=other: work.update(k, r.number, o))  # type: ignore[misc]
        planted.records.append(record)
        _propose(stand, kind, given)
        planted.persons |= {
            person_of(record, spec) for spec in kind.fields.values() if spec.personal is not None
        }


def _propose(stand: Stand, kind: Kind, given: Mapping[str, Any]) -> None:
    """Leave a proposal open that says the words, where a move sets them and needs others."""
    for move in kind.flow.moves.values():
        if move.approvals and set(move.sets) & set(given):
            record = stand.bring(stand.made(kind, **given), kind.flow.sources(move.name)[0])
            said = {name: given.get(name, record.values[name]) for name in move.sets}
            if not isinstance(stand.asked(record, move, said), Proposal):
                raise Bug(f"{move.name} needs approvals and was done at once")


def _exercise(stand: Stand, planted: Planted) -> None:
    """Make every call that reads, and wrong ones with words in them; keep what is said aloud."""
    nobody = Actor("nobody", frozenset(), "test")
    word = next(iter(planted.words.values()), "")
    for record in planted.records:
        kind = record.kind
        for role in stand.roles:
            reader = Actor(f"reader {role}", frozenset([role]), "test")
            for verb in ("get", "history"):
                stand.call(reader, f"{verb}{kind.noun}", id=record.id)
            stand.call(reader, f"prove{kind.noun}", id=record.id, openings=True)
            stand.call(reader, f"list{kind.nouns}")
            stand.call(reader, f"export{kind.nouns}")
        wrong: list[tuple[str, dict[str, Any]]] = [
            (f"create{kind.noun}", dict.fromkeys(("no", *kind.fields), word * 99)),
            (f"create{kind.noun}", {spec.wire_name: word * 9_999 for spec in kind.fields.values()}),
            (f"update{kind.noun}", {"id": record.id, "unknown": word}),
            (f"update{kind.noun}", {"id": word}),
            (f"get{kind.noun}", {"id": [word]}),
            (f"prove{kind.noun}", {"id": word}),
            (f"export{kind.nouns}", {"cursor": word}),
            ("eraseSubject", {"subject": word, "reason": "tried"}),
            ("giveConsent", {"subject": word, "category": word, "wording": word}),
            (f"move{kind.noun}", {"id": record.id, "move": "unknown", "unknown": word}),
        ]
        for method, params in wrong:
            for actor in (nobody, MAKER):
                answer = stand.call(actor, method, **params)
                if not isinstance(answer, RpcError):
                    raise Bug(f"{method} takes what is wrong")
                planted.said.append(str(answer).encode())
    planted.said += _leaving(stand)


def _leaving(stand: Stand) -> list[bytes]:
    """Return what goes elsewhere: events, outbox, metrics."""
    log, counts = HistoryLog(stand.manifest, stand.records), Counts(stand.manifest)
    stand.look(counts.read)
    entries = _entries(stand)
    for entry in entries:
        log.moves[entry.kind, entry.move] += 1
    registry = CollectorRegistry()
    registry.register(ServiceMetrics(lambda: [(stand.manifest.name, log, counts, "")]))
    outbox = stand.manifest.tables.outbox
    sent = stand.database.read_now(lambda db: list(db.execute(outbox.select()).all()))
    return [
        *(json.dumps(log.entry_json(entry)).encode() for entry in entries),
        *(entry_text(stand.manifest.name, entry).encode() for entry in entries),
        *(text.encode() for _, text in stand.look(lambda work: calls_since(work, 0, CALLS_MAX))),
        *(row.payload for row in sent),
        generate_latest(registry),
    ]


def _nothing_said(planted: Planted) -> None:
    for said in planted.said:
        if found := planted.found_in(said):
            raise Bug(f"{', '.join(found)} left the service in {said[:60]!r}…")


def _exported(stand: Stand, planted: Planted) -> dict[str, Any]:
    """Return what each person is told before. Raises `Bug` when a word is missing there."""
    officer = _officer(stand)
    documents = {
        person: stand.do(officer, lambda work, p=person: subject_document(work, p))  # type: ignore[misc]
        for person in sorted(planted.persons)
    }
    told = json.dumps(documents).encode()
    missing = set(planted.words) - set(planted.found_in(told))
    if missing:
        raise Bug(f"a person is not told of {', '.join(sorted(missing))}")
    return documents


def _erase(stand: Stand, planted: Planted) -> None:
    officer = _officer(stand)
    for person in sorted(planted.persons):
        done = stand.call(officer, "eraseSubject", subject=person, reason="tried")
        if isinstance(done, RpcError) or not done["compacted"]:
            raise Bug(f"{person} is not erased: {done}")
        if stand.keys.holds(person):
            raise Bug(f"the key of {person} is in memory still")


def _proofs_hold(stand: Stand, entries: list[Any], documents: Mapping[str, Any]) -> None:
    after = list(stand.look(lambda work: list(work.history.verified())))
    if after[: len(entries)] != entries:
        raise Bug("erasing changed the history")
    table = stand.manifest.tables.commitments
    rows = stand.database.read_now(lambda db: list(db.execute(table.select()).all()))
    held = {"0x" + row.commitment.hex(): row.opening for row in rows}
    for person, document in documents.items():
        for one in document["commitments"]:
            if held.get(one["commitment"], b"") is not None:
                raise Bug(f"a commitment of {person} is gone, or can still be opened")
    said = {
        "0x" + value[COMMITMENT]
        for entry in after
        for value in entry.changes.values()
        if isinstance(value, dict) and COMMITMENT in value
    }
    if not said <= held.keys():
        raise Bug("the history commits to what is nowhere")


def _sealed(stand: Stand) -> set[bytes]:
    """Return every sealed value, opening and wrapped key that the database has."""
    tables = stand.manifest.tables
    columns = [tables.subjects.c.wrapped_key, tables.commitments.c.opening]
    for kind in stand.kinds.values():
        personal = [name for name, spec in kind.fields.items() if spec.personal is not None]
        columns += [tables.records[kind.name].c[name] for name in personal]
    found: set[bytes] = set()
    for column in columns:
        chosen = column.table.select().with_only_columns(column)
        rows = stand.database.read_now(lambda db, c=chosen: list(db.execute(c).scalars()))  # type: ignore[misc]
        found |= {bytes(one) for one in rows if one is not None}
    waiting = tables.proposals.select().with_only_columns(tables.proposals.c.given)
    for given in stand.database.read_now(lambda db: list(db.execute(waiting).scalars())):
        for value in json.loads(given).values():
            if isinstance(value, dict):
                found |= {bytes.fromhex(one) for one in value.values()}
    return found


def _backed_up(stand: Stand, folder: Path) -> None:
    """Make backups as people do: SQLite's own, and a copy of the file."""
    file = Path(str(stand.database.engine.url.database))
    backup = sqlite3.connect(folder / "backup.db")
    with closing(sqlite3.connect(file)) as source, closing(backup) as copy:
        source.backup(copy)
    shutil.copyfile(file, folder / "copy.db")


def _no_words(planted: Planted, folder: Path) -> None:
    for path in _files(folder):
        if found := planted.found_in(path.read_bytes()):
            raise Bug(f"{path.name} has {', '.join(found)} in the clear")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _entries(stand: Stand) -> list[Any]:
    return stand.look(lambda work: list(work.history.verified()))


def _takes_words(spec: FieldSpec) -> bool:
    room = spec.chars_max is None or spec.chars_max >= CANARY_CHARS
    return spec.holds in (Storage.TEXT, Storage.LIST) and not spec.choices and room


def _officer(stand: Stand) -> Actor:
    return Actor("officer", frozenset([privacy_role(stand.manifest.name)]), "test")


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Write down everything that anybody logs."""
    handler = logging.FileHandler(path)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()
