"""The tables of the audit log: entries, the tree above them, and what was signed and anchored.

Places count entries from 0, in the order in which they were kept. Times are UTC milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

SOURCE_CHARS_MAX: Final = 64
WHO_CHARS_MAX: Final = 128
"""As long as the kit's own actors and origins."""

WHAT_CHARS_MAX: Final = 160
OBJECT_CHARS_MAX: Final = 200
RESULT_CHARS_MAX: Final = 32
DAY_CHARS: Final = 10
SEARCHED: Final = ("who", "what", "result", "origin", "object", "source")
"""The columns that entries are looked for by; each has an index that ends in time and place."""


@dataclass(frozen=True)
class AuditTables:
    """The tables by what is in them."""

    entries: sa.Table
    nodes: sa.Table
    sources: sa.Table
    keys: sa.Table
    checkpoints: sa.Table
    anchors: sa.Table
    reviews: sa.Table
    counts: sa.Table
    marks: sa.Table

    @classmethod
    def of(cls, metadata: sa.MetaData) -> AuditTables:
        """Return those that `declare` put into a description of a database."""
        found = (metadata.tables[f"audit_{name}"] for name in cls.__dataclass_fields__)
        return cls(*found)


def declare(metadata: sa.MetaData) -> AuditTables:
    """Describe the tables, beside whatever else the service has."""
    return AuditTables(
        _entries(metadata),
        _nodes(metadata),
        _sources(metadata),
        _keys(metadata),
        _checkpoints(metadata),
        _anchors(metadata),
        _reviews(metadata),
        _counts(metadata),
        _marks(metadata),
    )


def _entries(metadata: sa.MetaData) -> sa.Table:
    """What was told. `text` is None where it was kept long enough; `leaf` stays for ever."""
    return sa.Table(
        "audit_entries",
        metadata,
        sa.Column("place", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("source", sa.String(SOURCE_CHARS_MAX), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("kept_ms", sa.BigInteger, nullable=False),
        sa.Column("who", sa.String(WHO_CHARS_MAX), nullable=False),
        sa.Column("what", sa.String(WHAT_CHARS_MAX), nullable=False),
        sa.Column("result", sa.String(RESULT_CHARS_MAX), nullable=False),
        sa.Column("origin", sa.String(WHO_CHARS_MAX), nullable=False),
        sa.Column("object", sa.String(OBJECT_CHARS_MAX), nullable=False),
        sa.Column("text", sa.Text),
        sa.Column("leaf", sa.LargeBinary(32), nullable=False),
        sa.UniqueConstraint("source", "number"),
        sa.Index("ix_audit_entries_at_ms", "at_ms", "place"),
        sa.Index("ix_audit_entries_kept_ms", "kept_ms", "place"),
        *(sa.Index(f"ix_audit_entries_{name}", name, "at_ms", "place") for name in SEARCHED),
    )


def _nodes(metadata: sa.MetaData) -> sa.Table:
    """Roots of complete subtrees of two leaves and more, numbered as RFC 7574 §4.2 has it."""
    return sa.Table(
        "audit_nodes",
        metadata,
        sa.Column("bin", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
    )


def _sources(metadata: sa.MetaData) -> sa.Table:
    """Who tells: how far that came, by whom, and where it first told something else than before."""
    return sa.Table(
        "audit_sources",
        metadata,
        sa.Column("source", sa.String(SOURCE_CHARS_MAX), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("writer", sa.String(WHO_CHARS_MAX), nullable=False),
        sa.Column("kept_ms", sa.BigInteger, nullable=False),
        sa.Column("forked_number", sa.BigInteger),
    )


def _keys(metadata: sa.MetaData) -> sa.Table:
    """The keys that sign checkpoints, sealed; the newest signs."""
    return sa.Table(
        "audit_keys",
        metadata,
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("public_key", sa.LargeBinary(32), nullable=False),
        sa.Column("wrapped_key", sa.LargeBinary, nullable=False),
        sa.Column("sealed_seed", sa.LargeBinary, nullable=False),
        sa.Column("made_ms", sa.BigInteger, nullable=False),
    )


def _checkpoints(metadata: sa.MetaData) -> sa.Table:
    """Signed sizes and roots. `height`: the newest block that was final then."""
    return sa.Table(
        "audit_checkpoints",
        metadata,
        sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("root", sa.LargeBinary(32), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("height", sa.BigInteger, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )


def _anchors(metadata: sa.MetaData) -> sa.Table:
    """What the ledger has of the log after a block, with the node's proof of it, as it came."""
    return sa.Table(
        "audit_anchors",
        metadata,
        sa.Column("height", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("root", sa.LargeBinary(32), nullable=False),
        sa.Column("proof", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Index("ix_audit_anchors_size", "size", "height"),
    )


def _reviews(metadata: sa.MetaData) -> sa.Table:
    """One report for each day (UTC) on which something was kept, over places [first, stop)."""
    return sa.Table(
        "audit_reviews",
        metadata,
        sa.Column("day", sa.String(DAY_CHARS), primary_key=True),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("stop", sa.BigInteger, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("made_ms", sa.BigInteger, nullable=False),
    )


def _counts(metadata: sa.MetaData) -> sa.Table:
    """How often each `what` and each `who` occurred on a day that was reviewed."""
    return sa.Table(
        "audit_counts",
        metadata,
        sa.Column("day", sa.String(DAY_CHARS), primary_key=True),
        sa.Column("kind", sa.String(RESULT_CHARS_MAX), primary_key=True),
        sa.Column("name", sa.String(WHAT_CHARS_MAX), primary_key=True),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Index("ix_audit_counts_name", "kind", "name", "day"),
    )


def _marks(metadata: sa.MetaData) -> sa.Table:
    """How far work came that takes more than one transaction, and what is wrong with the log."""
    return sa.Table(
        "audit_marks",
        metadata,
        sa.Column("name", sa.String(RESULT_CHARS_MAX), primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
    )
