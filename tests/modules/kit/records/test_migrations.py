"""Yesterday's database under today's program: added to by itself, changed only by a step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.operations import Operations

from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.kit.store.migrations import Step, migrate
from tests.modules.kit.postgres import server
from tests.modules.kit.records.desk import AGENT, KINDS, Customer, Desk, Ticket, customer, ticket

NOW_MS = 1_800_000_000_000


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)], scope="module"
)
def database(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Where the desk is: None is a file of its own."""
    if request.param == "sqlite":
        yield None
        return
    with server() as url:
        yield url


@pytest.fixture
def desk(database: str | None, tmp_path: Path) -> Iterator[Desk]:
    """A desk without any tables."""
    made = Desk(tmp_path / "desk.db" if database is None else database)
    yield made
    made.database.write_now(drop)
    made.database.close()


def drop(db: sa.Connection) -> None:
    found = sa.MetaData()
    found.reflect(db)
    found.drop_all(db)


def bring(desk: Desk, *steps: Step) -> list[str]:
    return desk.database.write_now(lambda db: migrate(db, desk.tables, steps, NOW_MS))


def run(desk: Desk, *statements: str) -> None:
    def execute(db: sa.Connection) -> None:
        for statement in statements:
            db.execute(sa.text(statement))

    desk.database.write_now(execute)


def test_a_new_database_has_every_table_and_nothing_is_done_twice(desk: Desk) -> None:
    """Otherwise a service starts without an index, or makes its tables anew at each start."""
    done = bring(desk)
    assert {f"table {name}" for name in (*KINDS, "kit_history", "kit_outbox")} <= set(done)
    number = ticket(desk, customer(desk))
    assert bring(desk) == []
    assert desk.look(lambda work: work.get(Ticket.kind, number)).state == "new"


def test_what_is_only_added_is_added_and_rows_stay(desk: Desk) -> None:
    """Otherwise every new field of a record needs a person at night."""
    bring(desk)
    of = customer(desk)
    ticket(desk, of)
    run(
        desk,
        "DROP INDEX ix_ticket_priority",
        "ALTER TABLE customer DROP COLUMN born",
        "DROP TABLE kit_outbox",
    )
    assert set(bring(desk)) == {
        "column customer.born",
        "index ix_ticket_priority",
        "table kit_outbox",
        "index ix_kit_outbox_waiting",
        "index ix_kit_outbox_tx_id",
        "index ix_kit_outbox_record",
    }
    changed = desk.do(AGENT, lambda work: work.update(Customer.kind, of, {"born": "1815-12-10"}))
    assert (changed.values["name"], changed.values["born"]) == ("Ada Canary", "1815-12-10")


def test_what_does_more_than_add_is_refused_and_changes_nothing(desk: Desk) -> None:
    """Otherwise a renamed field is an empty column, and what stood in it is gone."""
    bring(desk)
    run(desk, "ALTER TABLE ticket ADD COLUMN colour TEXT", "DROP INDEX ix_ticket_priority")
    with pytest.raises(OperatorError, match="colour"):
        bring(desk)
    with pytest.raises(OperatorError):
        bring(desk)
    found = desk.database.read_now(lambda db: sa.inspect(db).get_indexes("ticket"))
    assert "ix_ticket_priority" not in {one["name"] for one in found}


def test_a_step_runs_once_where_there_is_something_old(desk: Desk) -> None:
    """Otherwise a new installation runs ten years of changes, or an old one a change twice."""
    runs: list[int] = []

    def rename(operations: Operations) -> None:
        runs.append(1)
        with operations.batch_alter_table("ticket") as table:
            table.alter_column("holder", new_column_name="owner")

    step = Step(1, "A ticket's holder is called its owner", rename)
    bring(desk)
    number = ticket(desk, customer(desk))
    desk.do(AGENT, lambda work: work.move(Ticket.kind, number, "assign", {"owner": "anna"}))
    run(desk, "ALTER TABLE ticket RENAME COLUMN owner TO holder")
    assert bring(desk, step) == ["A ticket's holder is called its owner"]
    assert bring(desk, step) == []
    assert runs == [1]
    assert desk.look(lambda work: work.get(Ticket.kind, number)).values["owner"] == "anna"
    with pytest.raises(OperatorError, match="newer program"):
        bring(desk)


def test_a_new_database_runs_no_steps(desk: Desk) -> None:
    """They were written for tables that it never had."""

    def never(_operations: Operations) -> None:
        raise AssertionError("there is nothing old")

    bring(desk, Step(1, "never", never))
    assert bring(desk, Step(1, "never", never)) == []
