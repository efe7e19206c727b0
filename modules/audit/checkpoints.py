"""Checkpoints: signed sizes and roots, by a key that the log itself names.

The public key stands in an entry of the log before it signs anything. So whoever trusts an
anchored root trusts the key, and a bundle needs nothing from elsewhere. The seed lies sealed in
the database, under the installation's master key.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from clawpurse.ledger.crypto import KEY_BYTES, public_key_of
from clawpurse.ledger.errors import NotFound
from clawpurse.modules.audit.entries import OWN, note
from clawpurse.modules.audit.notes import Checkpoint, NoteKey, sign_note
from clawpurse.modules.audit.tables import AuditTables
from clawpurse.modules.audit.tree import Tree
from clawpurse.modules.kit.privacy.sealing import KeyRing

KEY_NAMED: Final = "audit.key"
"""What an entry says that names the key of the checkpoints after it; its object is the key."""

_SUBJECT: Final = "audit/notary"
_PLACE: Final = ("audit", "keys", "seed")


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint as it was signed. `height`: the newest block that was final then."""

    size: int
    root: bytes
    note: str
    height: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Cadence:
    """When a checkpoint is made: once something is new, and either of both came since the last."""

    blocks: int
    entries: int


def make_key(
    connection: Connection, tables: AuditTables, ring: KeyRing, origin: str, now_ms: int
) -> NoteKey:
    """Make a key, name it in the log, and sign with it from now on."""
    seed = secrets.token_bytes(KEY_BYTES)
    wrapped, cipher = ring.made(_SUBJECT)
    key = NoteKey(origin, public_key_of(seed))
    newest = connection.execute(sa.select(sa.func.max(tables.keys.c.number))).scalar()
    connection.execute(
        tables.keys.insert(),
        {
            "number": 1 if newest is None else newest + 1,
            "public_key": key.public_key,
            "wrapped_key": wrapped,
            "sealed_seed": cipher.seal(seed, _PLACE),
            "made_ms": now_ms,
        },
    )
    note(connection, tables, now_ms, KEY_NAMED, key.text)
    return key


def checkpoint(
    connection: Connection,
    tables: AuditTables,
    ring: KeyRing,
    origin: str,
    height: int,
    now_ms: int,
) -> Signed:
    """Sign where the log stands now; the same as before where nothing came since."""
    seed = _seed(connection, tables, ring)
    if seed is None:
        make_key(connection, tables, ring, origin, now_ms)
        seed = _seed(connection, tables, ring)
        assert seed is not None
    tree = Tree(connection, tables)
    size = tree.size()
    last = newest(connection, tables)
    if last is not None and last.size == size:
        return last
    root = tree.root(size)
    key = NoteKey(origin, public_key_of(seed))
    made = Signed(
        size, root, sign_note(Checkpoint(origin, size, root).text(), key, seed), height, now_ms
    )
    columns = {name: getattr(made, name) for name in Signed.__dataclass_fields__}
    connection.execute(tables.checkpoints.insert(), columns)
    return made


def is_due(connection: Connection, tables: AuditTables, cadence: Cadence, height: int) -> bool:
    """Tell whether a checkpoint is to be made at this height."""
    size, last = Tree(connection, tables).size(), newest(connection, tables)
    if last is None:
        return size > 0
    fresh = size - last.size
    return fresh > 0 and (fresh >= cadence.entries or height - last.height >= cadence.blocks)


def newest(connection: Connection, tables: AuditTables) -> Signed | None:
    """Return the largest checkpoint, None before the first."""
    table = tables.checkpoints
    row = connection.execute(table.select().order_by(table.c.size.desc()).limit(1)).one_or_none()
    return None if row is None else _signed(row)


def at_least(connection: Connection, tables: AuditTables, size: int) -> Signed:
    """Return the smallest checkpoint of this size or more. Raises `NotFound`."""
    table = tables.checkpoints
    row = connection.execute(
        table.select().where(table.c.size >= size).order_by(table.c.size).limit(1)
    ).one_or_none()
    if row is None:
        raise NotFound(f"a checkpoint of {size} entries; the next one is made soon, and it")
    return _signed(row)


def exactly(connection: Connection, tables: AuditTables, size: int) -> Signed:
    """Return the checkpoint of this size. Raises `NotFound`."""
    found = at_least(connection, tables, size)
    if found.size != size:
        raise NotFound(f"a checkpoint of {size} entries")
    return found


def listed(
    connection: Connection, tables: AuditTables, limit: int, below: int | None = None
) -> list[Signed]:
    """Return checkpoints, the largest first, below a size."""
    table = tables.checkpoints
    query = table.select().order_by(table.c.size.desc()).limit(limit)
    if below is not None:
        query = query.where(table.c.size < below)
    return [_signed(row) for row in connection.execute(query)]


def key_places(connection: Connection, tables: AuditTables, size: int) -> Sequence[int]:
    """Return where keys are named among the first `size` entries, in order."""
    table = tables.entries
    named = (table.c.what == KEY_NAMED) & (table.c.source == OWN) & (table.c.place < size)
    return list(
        connection.execute(sa.select(table.c.place).where(named).order_by(table.c.place)).scalars()
    )


def _seed(connection: Connection, tables: AuditTables, ring: KeyRing) -> bytes | None:
    table = tables.keys
    row = connection.execute(table.select().order_by(table.c.number.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    return ring.cipher(_SUBJECT, row.wrapped_key).open(row.sealed_seed, _PLACE)


def _signed(row: Row[Any]) -> Signed:
    return Signed(row.size, row.root, row.note, row.height, row.at_ms)
