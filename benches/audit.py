"""What an audit log of 200,000 entries costs to append to, to search, and to prove from.

    python -m benches.audit [--small] [--entries N] [--queries N] [--url postgresql://…]

Entries are told by eight sources in batches of 500, as services ship them, each batch a
transaction that is synced to disk. Proofs and searches are asked one by one on a snapshot, at
places and for accounts drawn at random. `ratio` is the cost of a proof from all entries over one
from a hundredth of them: a tree that is stored makes it grow with the number of digits only.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clawpurse.benches.report import print_report
from clawpurse.ledger.rfc6962 import verify_consistency, verify_inclusion
from clawpurse.modules.audit.bundles import EXPORT_MAX, Wanted, export
from clawpurse.modules.audit.checkpoints import checkpoint
from clawpurse.modules.audit.entries import BATCH_MAX, append
from clawpurse.modules.audit.review import next_report
from clawpurse.modules.audit.search import search
from clawpurse.modules.audit.tables import AuditTables, declare
from clawpurse.modules.audit.tree import Tree
from clawpurse.modules.kit.privacy.sealing import KeyRing, MasterKey
from clawpurse.modules.kit.records.history import canonical
from clawpurse.modules.kit.store.database import Database
from clawpurse.modules.kit.store.migrations import migrate
from clawpurse.modules.kit.store.tables import tables_of

BAR = "200,000 entries: ≥ 2,000 appended/s, a proof ≤ 5 ms and a page of a search ≤ 25 ms at p99"
APPEND_PER_S_MIN, PROOF_MS_MAX, SEARCH_MS_MAX = 2_000, 5.0, 25.0
BAR_ENTRIES = 200_000
_SOURCES, _ACCOUNTS, _OBJECTS = 8, 400, 20_000
_START_MS, _DAY_MS = 1_800_000_000_000, 86_400_000
_ORIGIN = "clawpurse/bench/audit"


def text_of(source: str, number: int, chance: random.Random) -> str:
    """Return an entry of ordinary size: some 250 bytes."""
    return canonical(
        {
            "service": source.partition("/")[0],
            "number": number,
            "at_ms": _START_MS + number * 400 + chance.randrange(400),
            "actor": f"claw1account{chance.randrange(_ACCOUNTS):054}",
            "origin": f"jwt:{chance.randrange(64)}",
            "what": chance.choice(("auth.signIn", "ticket.move", "user.unlock", "keys.rotate")),
            "result": "refused" if chance.randrange(100) == 0 else "done",
            "object": f"ticket/{chance.randrange(_OBJECTS)}",
        }
    )


def filled(
    database: Database, tables: AuditTables, entries: int, chance: random.Random
) -> dict[str, float]:
    """Append; return how long it took, without making the texts."""
    took: list[float] = []
    numbers = [1] * _SOURCES
    for start in range(0, entries, BATCH_MAX):
        which = start // BATCH_MAX % _SOURCES
        source, first = f"service{which}/calls", numbers[which]
        count = min(BATCH_MAX, entries - start)
        texts = [(n, text_of(source, n, chance)) for n in range(first, first + count)]
        numbers[which] += count
        begun = time.perf_counter()
        now_ms = _START_MS + start * 50

        def work(
            db: Connection,
            source: str = source,
            texts: list[tuple[int, str]] = texts,
            now_ms: int = now_ms,
        ) -> None:
            append(db, tables, source, "claw1writer", texts, now_ms)

        database.write_now(work)
        took.append(time.perf_counter() - begun)
    last = sum(took[-len(took) // 10 :]) / max(1, -(-len(took) // 10))
    first_ones = sum(took[: max(1, len(took) // 10)]) / max(1, len(took) // 10)
    return {
        "append_per_s": entries / sum(took),
        "append_batch_p99_ms": percentile(took, 0.99) * 1000,
        "append_last_over_first_tenth": last / first_ones,
    }


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that this share of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def timed(database: Database, count: int, work: Callable[[Connection], Any]) -> list[float]:
    """Return how long each of some calls took, in ms, each on a snapshot of its own."""
    took: list[float] = []
    for _ in range(count):
        begun = time.perf_counter()
        database.read_now(work)
        took.append((time.perf_counter() - begun) * 1000)
    return took


def proofs(
    database: Database, tables: AuditTables, size: int, count: int, chance: random.Random
) -> dict[str, list[float]]:
    """Time proofs from the first `size` entries; each is checked, outside of the time."""
    root = database.read_now(lambda db: Tree(db, tables).root(size))
    made: list[tuple[int, list[bytes]]] = []
    ways: list[tuple[int, list[bytes]]] = []

    def inclusion(db: Connection) -> None:
        place = chance.randrange(size)
        made.append((place, Tree(db, tables).inclusion([place], size)[0]))

    def consistency(db: Connection) -> None:
        first = chance.randrange(1, size)
        ways.append((first, Tree(db, tables).consistency(first, size)))

    took = {
        "inclusion": timed(database, count, inclusion),
        "consistency": timed(database, count, consistency),
    }

    def check(db: Connection) -> None:
        tree, table = Tree(db, tables), tables.entries
        for place, path in made:
            leaf = db.execute(sa.select(table.c.leaf).where(table.c.place == place)).scalar_one()
            assert verify_inclusion(leaf, place, size, path, root)
        for first, way in ways:
            assert verify_consistency(first, tree.root(first), size, root, way)

    database.read_now(check)
    return took


def searches(
    database: Database, tables: AuditTables, count: int, chance: random.Random
) -> dict[str, list[float]]:
    """Time pages of 50 by one condition, by two of which one is rare, and by time."""

    def by(
        where: Callable[[], dict[str, str]], from_ms: int | None = None, to_ms: int | None = None
    ) -> list[float]:
        return timed(
            database,
            count,
            lambda db: search(db, tables, where(), from_ms=from_ms, to_ms=to_ms, limit=50),
        )

    def who() -> str:
        return f"claw1account{chance.randrange(_ACCOUNTS):054}"

    return {
        "who": by(lambda: {"who": who()}),
        "object": by(lambda: {"object": f"ticket/{chance.randrange(_OBJECTS)}"}),
        "who_refused": by(lambda: {"who": who(), "result": "refused"}),
        "what_refused": by(lambda: {"what": "keys.rotate", "result": "refused"}),
        "hour": by(dict, from_ms=_START_MS, to_ms=_START_MS + 3_600_000),
    }


def measured(database: Database, tables: AuditTables, entries: int, queries: int) -> dict[str, Any]:
    """Fill a log and return its figures."""
    chance = random.Random(7)
    figures: dict[str, Any] = filled(database, tables, entries, chance)
    ring = KeyRing(MasterKey(b"m" * 32))
    begun = time.perf_counter()
    database.write_now(lambda db: checkpoint(db, tables, ring, _ORIGIN, 1, _START_MS))
    figures["checkpoint_ms"] = (time.perf_counter() - begun) * 1000
    few = proofs(database, tables, max(2, entries // 100), queries, chance)
    for name, took in proofs(database, tables, entries, queries, chance).items():
        figures[f"{name}_p50_ms"] = percentile(took, 0.5)
        figures[f"{name}_p99_ms"] = percentile(took, 0.99)
        figures[f"{name}_ratio"] = percentile(took, 0.5) / percentile(few[name], 0.5)
    for name, took in searches(database, tables, queries, chance).items():
        figures[f"search_{name}_p50_ms"] = percentile(took, 0.5)
        figures[f"search_{name}_p99_ms"] = percentile(took, 0.99)
    count = min(EXPORT_MAX, entries)
    took = timed(
        database,
        max(1, queries // 50),
        lambda db: export(db, tables, Wanted(chance.randrange(entries - count + 1), count)),
    )
    figures[f"export_{count}_p50_ms"] = percentile(took, 0.5)
    begun = time.perf_counter()
    report = database.read_now(lambda db: next_report(db, tables, _START_MS + _DAY_MS))
    figures["review_ms"] = (time.perf_counter() - begun) * 1000
    assert report is not None
    figures["review_entries"] = report.stop - report.first
    return {name: round(value, 3) for name, value in figures.items()}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="5,000 entries")
    parser.add_argument("--entries", type=int, default=BAR_ENTRIES)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--url", help="a database's; else SQLite in a temporary folder")
    asked = parser.parse_args()
    entries = 5_000 if asked.small else asked.entries
    queries = 100 if asked.small else asked.queries
    with tempfile.TemporaryDirectory(prefix="claw-audit-") as folder:
        file = Path(folder) / "audit.db"
        database = Database(asked.url or file, "audit_bench")
        kit = tables_of(())
        tables = declare(kit.metadata)
        try:
            database.write_now(lambda db: migrate(db, kit, (), _START_MS))
            figures = measured(database, tables, entries, queries)
            if asked.url is None:
                stored = sum(one.stat().st_size for one in Path(folder).iterdir())
                figures["bytes_per_entry"] = stored // entries
        finally:
            if asked.url is not None:
                database.write_now(kit.metadata.drop_all)
            database.close()
    slowest = max(value for name, value in figures.items() if "search" in name and "p99" in name)
    proof = max(figures["inclusion_p99_ms"], figures["consistency_p99_ms"])
    met = (
        figures["append_per_s"] >= APPEND_PER_S_MIN
        and proof <= PROOF_MS_MAX
        and slowest <= SEARCH_MS_MAX
    )
    figures["ratio"] = figures["inclusion_ratio"]
    config = {
        "entries": entries,
        "queries": queries,
        "batch": BATCH_MAX,
        "database": "sqlite" if asked.url is None else "postgresql",
    }
    print_report("audit", config, figures, BAR, met if entries >= BAR_ENTRIES else None)


if __name__ == "__main__":
    main()
