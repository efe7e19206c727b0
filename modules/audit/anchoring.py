"""The way of a checkpoint to the ledger, and what the ledger has of the log.

Consensus takes a longer log only with the proof that what was anchored is its beginning. So before
anything is sent, what the node tells of the log is compared with what is kept here: a log that is
behind its anchor lost entries, one with another root there was rewritten. Both are written down
and nothing is sent; officers can let a log go on (`clawpurse anchor log break`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clawpurse.ledger import codec
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Malformed, PeerError
from clawpurse.ledger.kernel.records import INDEX_PREFIX
from clawpurse.ledger.rfc6962 import HASH_BYTES
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.audit.checkpoints import Cadence, Signed, checkpoint, is_due, newest
from clawpurse.modules.audit.entries import FAILED, note
from clawpurse.modules.audit.marks import read_mark, write_mark
from clawpurse.modules.audit.notes import origin_of
from clawpurse.modules.audit.tables import AuditTables
from clawpurse.modules.audit.tree import Tree
from clawpurse.modules.kit.privacy.sealing import KeyRing
from clawpurse.modules.kit.records.history import canonical

ANCHOR_TREE: Final = "anchor"
ANCHOR_ACTION: Final = "anchor.log"
LOG_PREFIX: Final = INDEX_PREFIX + b"l"
_RECORD_VERSION: Final = 1
_RECORD_FIELDS: Final = 15
"""Of a log's record, with its version: docs/protocol.md, "Anchors"."""

PROOF_BYTES_MAX: Final = 4 * 1024 * 1024
RESEND_BLOCKS: Final = 50
"""An anchor that is not there after so many blocks was lost or refused: another one is sent."""

TROUBLE: Final = "trouble"
ON_ITS_WAY: Final = "sent"


class Standing(StrEnum):
    """What the log here is to the log as it is anchored."""

    UNOPENED = "unopened"
    """There is no such log on the ledger: `clawpurse anchor log create`."""
    GROWN = "grown"
    """What is anchored is its beginning, or all of it."""
    TRUNCATED = "truncated"
    """It has fewer entries than are anchored."""
    FORKED = "forked"
    """It has another root where it is anchored."""


@dataclass(frozen=True, slots=True)
class Anchored:
    """What the ledger has of the log after block `height`, and the node's proof of it."""

    height: int
    size: int
    root: bytes
    breaks: int
    proof: str


@dataclass(frozen=True, slots=True)
class Terms:
    """Which log this is, and when it is signed and anchored. `log`: its 32-byte id."""

    genesis_hash: bytes
    log: bytes
    cadence: Cadence

    @property
    def origin(self) -> str:
        """What the log is called in its checkpoints."""
        return origin_of(self.genesis_hash, self.log)


def record_key(log: bytes) -> bytes:
    """Return the key of a log's record in the tree of the module anchor."""
    return LOG_PREFIX + log


def read_answer(answer: Any) -> tuple[int, Anchored | None]:
    """Read a node's `chain_getProof` of a log: height, and what is anchored, if it is open.

    Raises `PeerError` for what is no such answer. The proof itself is checked by who relies on it.
    """
    try:
        height = answer["header"]["height"]
        value, proof = answer["value"], canonical(answer["bundle"])
        if type(height) is not int or height < 1 or len(proof) > PROOF_BYTES_MAX:
            raise ValueError("height")
        if value is None:
            return height, None
        wire = codec.unpack_own(bytes.fromhex(value.removeprefix("0x")))
        if wire[0] != _RECORD_VERSION or len(wire) != _RECORD_FIELDS:
            raise ValueError("record")
        size, root, breaks = wire[9], wire[10], wire[13]
        if type(size) is not int or type(breaks) is not int:
            raise ValueError("record")
        if type(root) is not bytes or len(root) != HASH_BYTES:
            raise ValueError("record")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, Malformed) as error:
        raise PeerError(f"the node's proof of the log is none: {type(error).__name__}") from None
    return height, Anchored(height, size, root, breaks, proof)


def compare(connection: Connection, tables: AuditTables, anchored: Anchored | None) -> Standing:
    """Return what the log here is to what is anchored."""
    if anchored is None:
        return Standing.UNOPENED
    tree = Tree(connection, tables)
    if tree.size() < anchored.size:
        return Standing.TRUNCATED
    return Standing.GROWN if tree.root(anchored.size) == anchored.root else Standing.FORKED


def anchor_action(
    connection: Connection, tables: AuditTables, log: bytes, anchored: Anchored, to: Signed
) -> RawAction:
    """Return the action that anchors a checkpoint, with the proof that consensus checks."""
    proof: list[Wire] = [*Tree(connection, tables).consistency(anchored.size, to.size)]
    return RawAction(ANCHOR_ACTION, [log, to.size, to.root, proof])


def keep_anchor(
    connection: Connection, tables: AuditTables, anchored: Anchored, now_ms: int
) -> bool:
    """Keep the proof of an anchor that is not kept yet; tell whether it was new."""
    table = tables.anchors
    last = connection.execute(table.select().order_by(table.c.height.desc()).limit(1)).one_or_none()
    if last is not None and (
        last.height >= anchored.height or (last.size, last.root) == (anchored.size, anchored.root)
    ):
        return False
    columns = {name: getattr(anchored, name) for name in ("height", "size", "root", "proof")}
    connection.execute(table.insert(), {**columns, "at_ms": now_ms})
    return True


def anchors_for(
    connection: Connection, tables: AuditTables, stop: int, size_max: int | None = None
) -> list[Anchored]:
    """Return the first anchor of at least `stop` entries, and the newest; none, one or two.

    `size_max`: none of more entries than that.
    """
    table = tables.anchors
    small = sa.true() if size_max is None else table.c.size <= size_max
    covers = table.select().where((table.c.size >= stop) & small)
    found = {
        row.height: Anchored(row.height, row.size, row.root, 0, row.proof)
        for query in (
            covers.order_by(table.c.height).limit(1),
            table.select().where(small).order_by(table.c.height.desc()).limit(1),
        )
        for row in connection.execute(query)
    }
    return [found[height] for height in sorted(found)]


def anchored_size(connection: Connection, tables: AuditTables) -> int:
    """Return how many entries are anchored, as far as is kept here."""
    newest_one = sa.select(tables.anchors.c.size).order_by(tables.anchors.c.height.desc()).limit(1)
    size = connection.execute(newest_one).scalar()
    return 0 if size is None else int(size)


def notarise(
    connection: Connection,
    tables: AuditTables,
    ring: KeyRing,
    terms: Terms,
    height: int,
    anchored: Anchored | None,
    now_ms: int,
) -> tuple[Standing, RawAction | None]:
    """Compare with what the ledger had after a block, sign what is due; return what is to be sent.

    What is returned is sent in the same transaction. A step that is repeated sends nothing twice.
    """
    standing = compare(connection, tables, anchored)
    _tell_trouble(connection, tables, standing, anchored, now_ms)
    if anchored is not None and anchored.size and standing is Standing.GROWN:
        keep_anchor(connection, tables, anchored, now_ms)
    if is_due(connection, tables, terms.cadence, height):
        checkpoint(connection, tables, ring, terms.origin, height, now_ms)
    last = newest(connection, tables)
    if anchored is None or last is None or standing is not Standing.GROWN:
        return standing, None
    sent = read_mark(connection, tables, ON_ITS_WAY)
    waits = sent is not None and sent["from"] == anchored.size
    if last.size <= anchored.size or (waits and height < sent["height"] + RESEND_BLOCKS):
        return standing, None
    mark = {"from": anchored.size, "size": last.size, "height": height, "problem": ""}
    write_mark(connection, tables, ON_ITS_WAY, mark)
    return standing, anchor_action(connection, tables, terms.log, anchored, last)


def note_refusal(
    connection: Connection, tables: AuditTables, code: str, reason: str, now_ms: int
) -> None:
    """Write down that the ledger refused an anchor; another one is sent after some blocks."""
    sent = read_mark(connection, tables, ON_ITS_WAY)
    if sent is not None:
        write_mark(connection, tables, ON_ITS_WAY, {**sent, "problem": f"{code}: {reason}"})
    facts = {"code": code, "reason": reason}
    note(connection, tables, now_ms, "audit.anchor", "audit/log", result=FAILED, facts=facts)


def _tell_trouble(
    db: Connection,
    tables: AuditTables,
    standing: Standing,
    anchored: Anchored | None,
    now_ms: int,
) -> None:
    """Write down, once, that the log is not what is anchored, and that it is again."""
    bad = standing in (Standing.TRUNCATED, Standing.FORKED)
    before = read_mark(db, tables, TROUBLE)
    if (None if before is None else before["standing"]) == (standing.value if bad else None):
        return
    if not bad or anchored is None:
        write_mark(db, tables, TROUBLE, None)
        return
    facts = {
        "standing": standing.value,
        "size": Tree(db, tables).size(),
        "anchoredSize": anchored.size,
        "anchoredRoot": _hexed(anchored.root),
        "height": anchored.height,
    }
    write_mark(db, tables, TROUBLE, facts)
    # The log still tells what happened to it: whoever reads it must see the gap.
    note(db, tables, now_ms, f"audit.{standing.value}", "audit/log", result=FAILED, facts=facts)


def _hexed(data: bytes) -> str:
    return f"0x{data.hex()}"
