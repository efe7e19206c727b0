"""The tables of a service: one for each kind of record, and those that the kit itself keeps.

The same SQL serves both databases. Times are UTC milliseconds, amounts and counts whole numbers,
what is about a person is sealed bytes; JSON is canonical text, so that a hash of it is stable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa

from clawpurse.modules.kit.entities.flows import NAME_MAX
from clawpurse.modules.kit.entities.kinds import FieldSpec, Kind, Storage

ID_CHARS_MAX: Final = 32
ACTOR_CHARS_MAX: Final = 128
WHAT_CHARS_MAX: Final = 2 * NAME_MAX + 32
"""A method: the service, a verb, a noun."""

OBJECT_CHARS_MAX: Final = 64
KEY_CHARS_MAX: Final = 128
"""An idempotency key: whoever sends one makes it up."""

STEP_MAX: Final = NAME_MAX + len(".approved")
"""A move, or a step towards it: `refund.asked`, `refund.approved`, `first_reply.breached`."""

NAMES: Final = MappingProxyType(
    {
        # Constraints have names on both databases, so that a migration can speak of them.
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


@dataclass(frozen=True)
class Tables:
    """Every table of a service. `records` is by kind's name."""

    metadata: sa.MetaData
    records: dict[str, sa.Table]
    counters: sa.Table
    history: sa.Table
    proposals: sa.Table
    approvals: sa.Table
    subjects: sa.Table
    commitments: sa.Table
    outbox: sa.Table
    cursor: sa.Table
    configuration: sa.Table
    own: Mapping[str, sa.Table]
    deadlines: sa.Table
    breaches: sa.Table
    calendars: sa.Table
    marks: sa.Table
    consents: sa.Table
    calls: sa.Table


def _none(_metadata: sa.MetaData) -> None:
    return None


def tables_of(kinds: Iterable[Kind], describe: Callable[[sa.MetaData], None] = _none) -> Tables:
    """Describe the tables of a service with these kinds, and those that it describes itself."""
    own = sa.MetaData(naming_convention=dict(NAMES))
    describe(own)
    metadata = sa.MetaData(naming_convention=dict(NAMES))
    return Tables(
        metadata,
        {kind.name: _records(metadata, kind) for kind in kinds},
        _counters(metadata),
        _history(metadata),
        _proposals(metadata),
        _approvals(metadata),
        _subjects(metadata),
        _commitments(metadata),
        _outbox(metadata),
        _cursor(metadata),
        _configuration(metadata),
        {name: table.to_metadata(metadata) for name, table in own.tables.items()},
        _deadlines(metadata),
        _breaches(metadata),
        _calendars(metadata),
        _marks(metadata),
        _consents(metadata),
        _calls(metadata),
    )


def _records(metadata: sa.MetaData, kind: Kind) -> sa.Table:
    columns = [_column(spec) for spec in kind.fields.values()]
    return sa.Table(
        kind.name,
        metadata,
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(NAME_MAX), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("changed_ms", sa.BigInteger, nullable=False),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
        sa.Column("archived_ms", sa.BigInteger),
        sa.Column("erased_ms", sa.BigInteger),
        *columns,
        # Lists are asked for by state, and walked by number: a page is one seek.
        sa.Index(f"ix_{kind.name}_state", "state", "number"),
        *(
            sa.Index(f"ix_{kind.name}_{spec.name}", spec.name, "number")
            for spec in kind.fields.values()
            if spec.indexed
        ),
        *(_kept_apart(kind) if kind.retain is not None else ()),
    )


def _kept_apart(kind: Kind) -> list[sa.Index]:
    """A list without what was archived is one seek, however much was."""
    return [
        sa.Index(f"ix_{kind.name}_archived", "archived_ms", "number"),
        sa.Index(f"ix_{kind.name}_state_archived", "state", "archived_ms", "number"),
    ]


def _column(spec: FieldSpec) -> sa.Column[Any]:
    kinds: dict[Storage, sa.types.TypeEngine[Any]] = {
        Storage.TEXT: sa.Text(),
        Storage.INTEGER: sa.BigInteger(),
        Storage.BOOLEAN: sa.Boolean(),
        # ISO 8601: sorts as text, and is the same on both databases.
        Storage.DATE: sa.String(10),
        Storage.LIST: sa.Text(),
        Storage.SEALED: sa.LargeBinary(),
    }
    column: sa.Column[Any] = sa.Column(
        spec.name, kinds[spec.storage], nullable=spec.nullable or spec.storage is Storage.SEALED
    )
    return column


def _counters(metadata: sa.MetaData) -> sa.Table:
    """The last number given to each kind: numbers are never given twice, also after erasing."""
    return sa.Table(
        "kit_counters",
        metadata,
        sa.Column("kind", sa.String(NAME_MAX), primary_key=True),
        sa.Column("last", sa.BigInteger, nullable=False),
    )


def _history(metadata: sa.MetaData) -> sa.Table:
    """What became of each record, by whom. `leaf` is the entry's hash, `chain` covers all before.

    `changes` is canonical JSON of what changed: open values as they are, personal ones as their
    commitments.
    """
    return sa.Table(
        "kit_history",
        metadata,
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(NAME_MAX), nullable=False),
        sa.Column("record", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String(ACTOR_CHARS_MAX), nullable=False),
        sa.Column("origin", sa.String(ACTOR_CHARS_MAX), nullable=False),
        sa.Column("move", sa.String(STEP_MAX), nullable=False),
        sa.Column("state", sa.String(NAME_MAX), nullable=False),
        sa.Column("changes", sa.Text, nullable=False),
        sa.Column("request_key", sa.String(KEY_CHARS_MAX)),
        sa.Column("leaf", sa.LargeBinary(32), nullable=False),
        sa.Column("chain", sa.LargeBinary(32), nullable=False),
        sa.UniqueConstraint("kind", "record", "version"),
        sa.UniqueConstraint("actor", "request_key"),
    )


def _proposals(metadata: sa.MetaData) -> sa.Table:
    """Moves that wait for others to agree."""
    return sa.Table(
        "kit_proposals",
        metadata,
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(NAME_MAX), nullable=False),
        sa.Column("record", sa.BigInteger, nullable=False),
        # The record's version when it was asked for, and the one that the last approval left.
        sa.Column("asked_version", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("move", sa.String(NAME_MAX), nullable=False),
        sa.Column("needed", sa.BigInteger, nullable=False),
        sa.Column("given", sa.Text, nullable=False),
        sa.Column("asked_by", sa.String(ACTOR_CHARS_MAX), nullable=False),
        sa.Column("asked_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(NAME_MAX), nullable=False),
        sa.Index("ix_kit_proposals_record", "kind", "record", "status"),
        sa.Index("ix_kit_proposals_expires_ms", "status", "expires_ms"),
    )


def _approvals(metadata: sa.MetaData) -> sa.Table:
    return sa.Table(
        "kit_approvals",
        metadata,
        sa.Column("proposal", sa.BigInteger, primary_key=True, autoincrement=False),
        # A person, not a key: whoever has two keys still counts once.
        sa.Column("subject", sa.String(ACTOR_CHARS_MAX), primary_key=True),
        sa.Column("verdict", sa.String(NAME_MAX), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )


def _subjects(metadata: sa.MetaData) -> sa.Table:
    """Persons: each with a data key of its own, wrapped. Without the key nothing can be read."""
    return sa.Table(
        "kit_subjects",
        metadata,
        sa.Column("subject", sa.String(ACTOR_CHARS_MAX), primary_key=True),
        sa.Column("wrapped_key", sa.LargeBinary),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("erased_ms", sa.BigInteger),
    )


def _commitments(metadata: sa.MetaData) -> sa.Table:
    """What stands for a personal value in history and on the ledger; its key lies sealed."""
    return sa.Table(
        "kit_commitments",
        metadata,
        sa.Column("commitment", sa.LargeBinary(32), primary_key=True),
        sa.Column("subject", sa.String(ACTOR_CHARS_MAX), nullable=False),
        sa.Column("kind", sa.String(NAME_MAX), nullable=False),
        sa.Column("record", sa.BigInteger, nullable=False),
        sa.Column("field", sa.String(NAME_MAX), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("opening", sa.LargeBinary),
        sa.Index("ix_kit_commitments_subject", "subject"),
        sa.Index("ix_kit_commitments_record", "kind", "record", "field", "version"),
    )


def _outbox(metadata: sa.MetaData) -> sa.Table:
    """What is to happen elsewhere because of what was committed here, in order."""
    return sa.Table(
        "kit_outbox",
        metadata,
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("target", sa.String(NAME_MAX), nullable=False),
        sa.Column("idempotency_key", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("not_before_ms", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(NAME_MAX), nullable=False),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("raw", sa.LargeBinary),
        sa.Column("tx_id", sa.LargeBinary(32)),
        sa.Column("outcome", sa.Text),
        sa.Column("settled_ms", sa.BigInteger),
        # Which record it is about, where it is about one.
        sa.Column("kind", sa.String(NAME_MAX)),
        sa.Column("record", sa.BigInteger),
        sa.Column("problem", sa.Text),
        sa.Index("ix_kit_outbox_record", "kind", "record"),
        sa.Index("ix_kit_outbox_waiting", "status", "target", "not_before_ms", "number"),
        sa.Index("ix_kit_outbox_tx_id", "tx_id"),
    )


def _cursor(metadata: sa.MetaData) -> sa.Table:
    """How far the chain's events are taken in; one row."""
    return sa.Table(
        "kit_cursor",
        metadata,
        sa.Column("genesis_hash", sa.LargeBinary(32), primary_key=True),
        sa.Column("cursor", sa.String(KEY_CHARS_MAX), nullable=False),
        sa.Column("taken_ms", sa.BigInteger, nullable=False),
    )


def _configuration(metadata: sa.MetaData) -> sa.Table:
    """Every configuration that the service had, the newest last."""
    return sa.Table(
        "kit_configuration",
        metadata,
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String(ACTOR_CHARS_MAX), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )


def _deadlines(metadata: sa.MetaData) -> sa.Table:
    """What comes due, derived from histories: clocks that run, and records kept for a time.

    `purpose` says which of both, `clock` is empty for the latter. A row may be early or late where
    a declaration changed; whoever finds it due looks at the history before anything is done.
    """
    return sa.Table(
        "kit_deadlines",
        metadata,
        sa.Column("kind", sa.String(NAME_MAX), primary_key=True),
        sa.Column("record", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("clock", sa.String(NAME_MAX), primary_key=True),
        sa.Column("purpose", sa.String(NAME_MAX), nullable=False),
        sa.Column("due_ms", sa.BigInteger, nullable=False),
        sa.Index("ix_kit_deadlines_due_ms", "purpose", "due_ms", "kind", "record"),
    )


def _breaches(metadata: sa.MetaData) -> sa.Table:
    """How often each clock was breached."""
    return sa.Table(
        "kit_breaches",
        metadata,
        sa.Column("kind", sa.String(NAME_MAX), primary_key=True),
        sa.Column("clock", sa.String(NAME_MAX), primary_key=True),
        sa.Column("total", sa.BigInteger, nullable=False),
    )


def _calendars(metadata: sa.MetaData) -> sa.Table:
    """The calendars that clocks count by, as they are configured now."""
    return sa.Table(
        "kit_calendars",
        metadata,
        sa.Column("name", sa.String(NAME_MAX), primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )


def _marks(metadata: sa.MetaData) -> sa.Table:
    """How far the kit's own work came that takes more than one transaction."""
    return sa.Table(
        "kit_marks",
        metadata,
        sa.Column("name", sa.String(NAME_MAX), primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
    )


def _consents(metadata: sa.MetaData) -> sa.Table:
    """What persons agreed to, or took back: only added to, each row with its entry in the history.

    `wording` is the hash of the text that they were shown.
    """
    return sa.Table(
        "kit_consents",
        metadata,
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("subject", sa.String(ACTOR_CHARS_MAX), nullable=False),
        sa.Column("category", sa.String(NAME_MAX), nullable=False),
        sa.Column("verdict", sa.String(NAME_MAX), nullable=False),
        sa.Column("wording", sa.LargeBinary(32), nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String(ACTOR_CHARS_MAX), nullable=False),
        sa.Column("origin", sa.String(ACTOR_CHARS_MAX), nullable=False),
        sa.Index("ix_kit_consents_subject", "subject", "category", "number"),
    )


def _calls(metadata: sa.MetaData) -> sa.Table:
    """Privileged calls: the part of the audit log that no history of a record tells."""
    return sa.Table(
        "kit_calls",
        metadata,
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String(ACTOR_CHARS_MAX), nullable=False),
        sa.Column("origin", sa.String(ACTOR_CHARS_MAX), nullable=False),
        sa.Column("what", sa.String(WHAT_CHARS_MAX), nullable=False),
        sa.Column("result", sa.String(NAME_MAX), nullable=False),
        sa.Column("object", sa.String(OBJECT_CHARS_MAX), nullable=False),
    )
