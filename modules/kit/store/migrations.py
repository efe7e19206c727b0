"""From the tables that a database has to those that a service declares.

What only adds (a table, a column that may be empty, an index) is done at the start, by itself:
old programs and new ones read the same rows. Everything else is a step that the service's author
wrote, with a number; steps run once, in order, and are noted. When the tables still differ then,
nothing is started: a service never guesses what a renamed column was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.engine import Connection

from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.kit.store.tables import Tables

_NOTED: Final = "kit_migrations"
_ADDED: Final = ("add_table", "add_column", "add_index")


@dataclass(frozen=True, slots=True)
class Step:
    """What an author does to old tables. `says`: one sentence, for the log and for people.

    `apply` gets Alembic's operations; on SQLite a change of a column is a copy of its table
    (`with operations.batch_alter_table(…)`).
    """

    number: int
    says: str
    apply: Callable[[Operations], None]


def migrate(
    connection: Connection, tables: Tables, steps: Sequence[Step], now_ms: int
) -> list[str]:
    """Bring the tables to what is declared, within a transaction; return what was done, in words.

    Raises `OperatorError` when the database is newer than the program, or when the tables differ
    in more than what can be added.
    """
    noted = sa.Table(
        _NOTED,
        sa.MetaData(),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("says", sa.Text, nullable=False),
    )
    context = MigrationContext.configure(
        connection,
        opts={
            "compare_type": True,
            "include_object": lambda _object, name, kind, _reflected, _other: (
                kind != "table" or name != _NOTED
            ),
        },
    )
    operations = Operations(context)
    is_new = not sa.inspect(connection).has_table(_NOTED)
    noted.create(connection, checkfirst=True)
    known = set(connection.execute(sa.select(noted.c.number)).scalars())
    done: list[str] = []
    _check(steps, known, connection)
    for step in steps:
        if step.number in known:
            continue
        # A new database has today's tables at once: nothing in it is old.
        if not is_new:
            step.apply(operations)
            done.append(step.says)
        connection.execute(
            noted.insert(), {"number": step.number, "at_ms": now_ms, "says": step.says}
        )
    for change in _differences(context, tables):
        done.append(_add(operations, change, connection))
    left = _differences(context, tables)
    if left:
        raise _too_different(left[0], connection)
    return done


def _check(steps: Sequence[Step], known: set[int], connection: Connection) -> None:
    numbers = [step.number for step in steps]
    if numbers != sorted(set(numbers)) or any(number < 1 for number in numbers):
        raise ValueError("steps have ascending numbers from 1")
    newer = known - set(numbers)
    if newer:
        raise OperatorError(
            f"The database was migrated by a newer program (step {max(newer)}).",
            "This one does not know what that did.",
            "use the newer program, or the backup from before",
        )


def _differences(context: MigrationContext, tables: Tables) -> list[Any]:
    found: list[Any] = []
    for change in compare_metadata(context, tables.metadata):
        # Several changes of one column come as a list.
        found += change if isinstance(change, list) else [change]
    return found


def _add(operations: Operations, change: Any, connection: Connection) -> str:
    kind = change[0]
    if kind not in _ADDED:
        raise _too_different(change, connection)
    if kind == "add_table":
        change[1].create(connection)
        return f"table {change[1].name}"
    if kind == "add_index":
        change[1].create(connection)
        return f"index {change[1].name}"
    _, _, table, column = change
    if not column.nullable:
        raise OperatorError(
            f"The new column {table}.{column.name} may not be empty, and old rows have none.",
            "",
            "write a step that fills it",
        )
    operations.add_column(table, _copied(column))
    return f"column {table}.{column.name}"


def _copied(column: sa.Column[Any]) -> sa.Column[Any]:
    return sa.Column(column.name, column.type, nullable=True)


def _too_different(change: Any, _connection: Connection) -> OperatorError:
    return OperatorError(
        f"The tables are not those that the service declares: {_words(change)}.",
        "What does more than add is written by the service's author, as a step.",
        "read docs/how-to/write-a-module.md",
    )


def _words(change: Any) -> str:
    names: Iterable[str] = (
        str(getattr(part, "name", part))
        for part in change[1:4]
        if part is not None and not isinstance(part, dict)
    )
    return f"{str(change[0]).replace('_', ' ')} {'.'.join(names)}"
