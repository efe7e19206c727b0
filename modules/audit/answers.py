"""Answers of the audit log's methods, as JSON: each a function of a snapshot and parameters."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.ledger.rules import time_text
from clawpurse.modules.audit import shapes
from clawpurse.modules.audit.anchoring import ON_ITS_WAY, TROUBLE, Terms, anchored_size
from clawpurse.modules.audit.bundles import Wanted, export, hexed, prove
from clawpurse.modules.audit.checkpoints import Signed, listed, newest
from clawpurse.modules.audit.marks import read_mark, write_mark
from clawpurse.modules.audit.notes import parse_checkpoint
from clawpurse.modules.audit.retention import dropped_before
from clawpurse.modules.audit.review import review_of
from clawpurse.modules.audit.search import Found, parse_cursor, place_of, search
from clawpurse.modules.audit.tables import AuditTables
from clawpurse.modules.audit.tree import SIZE_MAX, Tree

Json = dict[str, Any]
TERMS: Final = "terms"


def search_page(db: Connection, tables: AuditTables, params: shapes.SearchParams) -> Json:
    """Return a page of entries."""
    after = None if params.cursor is None else parse_cursor(params.cursor)
    found, going_on = search(
        db,
        tables,
        params.columns(),
        from_ms=params.from_ms,
        to_ms=params.to_ms,
        after=after,
        limit=params.limit,
    )
    return {
        "entries": [_entry(one) for one in found],
        "nextCursor": None if going_on is None else going_on.text(),
    }


def proof(db: Connection, tables: AuditTables, params: shapes.ProveParams) -> Json:
    """Return an entry's proof, and the bundle of it."""
    by_number = params.source is not None and params.number is not None
    if (params.place is not None) == by_number:
        raise Malformed("place", "is named, or source and number")
    if params.place is not None:
        place = params.place
    else:
        assert params.source is not None and params.number is not None
        place = place_of(db, tables, params.source, params.number)
    bundle = prove(db, tables, place, params.size)
    (entry,) = bundle["entries"]
    head = bundle["checkpoints"][-1]["note"]
    point = parse_checkpoint(head.partition("\n\n")[0] + "\n")
    return {
        "place": place,
        "leaf": entry["leaf"],
        "size": point.size,
        "root": hexed(point.root),
        "path": entry["path"],
        "checkpoint": head,
        "bundle": bundle,
    }


def consistency(db: Connection, tables: AuditTables, params: shapes.ConsistencyParams) -> Json:
    """Return the proof from one size to another. Raises `Malformed`, `NotFound`."""
    tree = Tree(db, tables)
    if params.first > params.second:
        raise Malformed("first", "is larger than second")
    if params.second > tree.size():
        raise NotFound(f"a log of {params.second} entries")
    return {
        "first": params.first,
        "firstRoot": hexed(tree.root(params.first)),
        "second": params.second,
        "secondRoot": hexed(tree.root(params.second)),
        "path": [hexed(one) for one in tree.consistency(params.first, params.second)],
    }


def bundle(db: Connection, tables: AuditTables, params: shapes.ExportParams) -> Json:
    """Return a bundle of a range."""
    wanted = Wanted(
        params.first, params.count, params.size, params.columns(), frozenset(params.redact)
    )
    return export(db, tables, wanted)


def checkpoint_page(db: Connection, tables: AuditTables, params: shapes.CheckpointsParams) -> Json:
    """Return a page of checkpoints."""
    below = None
    if params.cursor is not None:
        plain = params.cursor.isascii() and params.cursor.isdigit()
        if not plain or int(params.cursor) > SIZE_MAX:
            raise Malformed("cursor", "is none of this list")
        below = int(params.cursor)
    found = listed(db, tables, params.limit + 1, below)
    shown, anchored = found[: params.limit], anchored_size(db, tables)
    return {
        "checkpoints": [_checkpoint(one, anchored) for one in shown],
        "nextCursor": str(shown[-1].size) if len(found) > params.limit else None,
    }


def review(db: Connection, tables: AuditTables, params: shapes.ReviewParams) -> Json:
    """Return a daily review."""
    content, made_ms = review_of(db, tables, params.day)
    return {**content, "made": time_text(made_ms)}


def status(db: Connection, tables: AuditTables) -> Json:
    """Return where the log stands."""
    tree, terms = Tree(db, tables), read_mark(db, tables, TERMS)
    size, last = tree.size(), newest(db, tables)
    anchor = db.execute(
        sa.select(tables.anchors.c.size, tables.anchors.c.height)
        .order_by(tables.anchors.c.height.desc())
        .limit(1)
    ).one_or_none()
    sources = db.execute(tables.sources.select().order_by(tables.sources.c.source)).all()
    reviewed = db.execute(sa.select(sa.func.max(tables.reviews.c.day))).scalar()
    return {
        "log": None if terms is None else terms["log"],
        "origin": None if terms is None else terms["origin"],
        "size": size,
        "root": hexed(tree.root(size)),
        "checkpoint": None if last is None else last.size,
        "anchored": 0 if anchor is None else anchor.size,
        "anchoredHeight": None if anchor is None else anchor.height,
        "trouble": read_mark(db, tables, TROUBLE),
        "waiting": read_mark(db, tables, ON_ITS_WAY),
        "droppedBefore": dropped_before(db, tables),
        "reviewed": reviewed,
        "sources": [
            {
                "source": row.source,
                "number": row.number,
                "writer": row.writer,
                "kept": time_text(row.kept_ms),
                "forked": row.forked_number,
            }
            for row in sources
        ],
    }


def remember_terms(db: Connection, tables: AuditTables, terms: Terms) -> None:
    """Keep which log this is, for whoever asks."""
    now = {"log": hexed(terms.log), "origin": terms.origin}
    if read_mark(db, tables, TERMS) != now:
        write_mark(db, tables, TERMS, now)


def _entry(one: Found) -> Json:
    return {
        "place": one.place,
        "source": one.source,
        "number": one.number,
        "time": time_text(one.at_ms),
        "kept": time_text(one.kept_ms),
        "who": one.who,
        "what": one.what,
        "result": one.result,
        "origin": one.origin,
        "object": one.object,
        "leaf": hexed(one.leaf),
        "text": one.text,
    }


def _checkpoint(one: Signed, anchored: int) -> Json:
    return {
        "size": one.size,
        "root": hexed(one.root),
        "note": one.note,
        "height": one.height,
        "time": time_text(one.at_ms),
        "anchored": one.size <= anchored,
    }
