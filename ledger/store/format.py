"""The gate to a database: its format version, and the marker of work that spans batches.

Nothing else may touch a database before `enter` has let it. Work that needs several batches
(repair, restore, import) sets the marker with its first and clears it with its last, both
synced; a start-up that finds it standing refuses and names the command that finishes the work.
"""

from __future__ import annotations

from clawpurse.ledger.errors import OperatorError
from clawpurse.ledger.store import schema
from clawpurse.ledger.store.kv import Batch, KeyValue


def enter(store: KeyValue) -> None:
    """Check that this software may work on `store`; mark an empty one with our version.

    Raises `OperatorError` for a foreign version, for content without one, and for unfinished
    work; `StorageFault` when the disk fails.
    """
    record = store.get(schema.KEY_FORMAT)
    if record is None:
        if next(iter(store.iterate()), None) is not None:
            raise OperatorError(
                "The database has content but no format version.",
                "It is not a ClawPurse database, or its first record was lost.",
                "move the folder data away; the chain comes again from the peers",
            )
        batch = Batch()
        fresh = schema.pack_record(schema.KEY_FORMAT, [schema.FORMAT_VERSION])
        batch.put(schema.KEY_FORMAT, fresh)
        store.write(batch, sync=True)
        return
    (found,) = schema.unpack_record(schema.KEY_FORMAT, record, 1)
    if found != schema.FORMAT_VERSION:
        raise OperatorError(
            f"The database has format {found!r}, this software reads {schema.FORMAT_VERSION}.",
            "It was written by another version of ClawPurse.",
            "clawpurse version",
        )
    standing = unfinished_work(store)
    if standing is not None:
        name, command = standing
        raise OperatorError(
            f"The work '{name}' on this database was not finished.",
            "Its data may be half old and half new.",
            command,
        )


def unfinished_work(store: KeyValue) -> tuple[str, str] | None:
    """Return (name, command that finishes it) of work that was begun and not ended, or None."""
    record = store.get(schema.KEY_WORK)
    if record is None:
        return None
    name, command = schema.unpack_record(schema.KEY_WORK, record, 2)
    return (
        schema.unpack_text(schema.KEY_WORK, name),
        schema.unpack_text(schema.KEY_WORK, command),
    )


def begin_work(batch: Batch, name: str, command: str) -> None:
    """Add to the first batch of a work the marker that names it and the command to finish it."""
    batch.put(schema.KEY_WORK, schema.pack_record(schema.KEY_WORK, [name, command]))


def end_work(batch: Batch) -> None:
    """Add to the last batch of a work the removal of its marker."""
    batch.delete(schema.KEY_WORK)
