"""What is kept, and what is refused: once, whole, in order, never changed.

If these failed, an entry could be lost between a service and its log, or told anew after the fact.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger.errors import Malformed, StorageFault
from clawpurse.ledger.rfc6962 import (
    EMPTY_ROOT,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from clawpurse.modules.audit import entries
from clawpurse.modules.audit.entries import (
    Fork,
    Gap,
    OtherWriter,
    checked_source,
    note,
    note_fork,
    read_entry,
)
from clawpurse.modules.audit.search import LIMIT_MAX, Found, parse_cursor, search
from clawpurse.modules.audit.tree import Tree, bin_of, subtrees
from clawpurse.modules.kit.records.history import canonical, leaf_of
from clawpurse.modules.kit.records.model import Conflict
from tests.modules.audit.auditworld import START_MS, Log, call_text

# The inputs and roots of the reference implementation's tree of eight leaves: every tool for
# RFC 6962 is tested with them.
VECTOR_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243",
        "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
VECTOR_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def grow(log: Log, leaves: list[bytes], step: int = 1) -> None:
    """Put leaf hashes into the tree, as `keep` does."""
    start = log.size

    def work(db: Any) -> None:
        for first in range(0, len(leaves), step):
            some, size = leaves[first : first + step], start + first
            Tree(db, log.tables).extend(size, some)
            columns = dict.fromkeys(("who", "result", "origin", "object", "text"), "")
            db.execute(
                log.tables.entries.insert(),
                [
                    {"place": place, "source": "x", "number": place, "at_ms": place, "what": "x"}
                    | {"kept_ms": 0, "leaf": leaf, **columns}
                    for place, leaf in enumerate(some, size)
                ],
            )

    log.do(work)


# -- the tree


def test_the_public_vectors_of_rfc_6962_come_out(log: Log) -> None:
    """Otherwise no other tool could check what we prove."""
    assert log.look(lambda db: Tree(db, log.tables).root(0)) == EMPTY_ROOT
    for count, entry in enumerate(VECTOR_LEAVES, 1):
        grow(log, [leaf_hash(entry)])
        root = log.look(lambda db, count=count: Tree(db, log.tables).root(count))  # type: ignore[misc]
        assert root.hex() == VECTOR_ROOTS[count - 1]
    path = log.look(lambda db: Tree(db, log.tables).inclusion([5], 8))[0]
    assert [one.hex()[:8] for one in path] == ["bc1a0643", "ca854ea1", "d37ee418"]
    way = log.look(lambda db: Tree(db, log.tables).consistency(6, 8))
    assert [one.hex()[:8] for one in way] == ["0ebc5d34", "ca854ea1", "d37ee418"]


def test_in_order_numbers_are_those_of_rfc_7574() -> None:
    """Two subtrees under one number would overwrite each other."""
    assert [bin_of((0, n)) for n in range(4)] == [0, 2, 4, 6]
    assert [bin_of((1, 0)), bin_of((1, 1)), bin_of((2, 0)), bin_of((3, 0))] == [1, 5, 3, 7]
    numbers = [bin_of((level, n)) for level in range(7) for n in range(64 >> level)]
    assert sorted(numbers) == list(range(127))


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_stored_proofs_are_those_of_the_whole_tree(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A proof that differs from the definition's convinces nobody, or of something else."""
    log = Log(tmp_path_factory.mktemp("tree") / "audit.db")
    try:
        steps = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=6))
        leaves: list[bytes] = []
        for step in steps:
            fresh = [leaf_hash(b"%d" % n) for n in range(len(leaves), len(leaves) + step)]
            grow(log, fresh, step)
            leaves += fresh
        size = data.draw(st.integers(1, len(leaves)))
        first = data.draw(st.integers(0, size))
        places = sorted(data.draw(st.sets(st.integers(0, size - 1), max_size=10)))

        def look(db: Any) -> None:
            tree = Tree(db, log.tables)
            assert tree.size() == len(leaves)
            assert tree.root(size) == root_of(leaves[:size])
            paths = tree.inclusion(places, size)
            for place, path in zip(places, paths, strict=True):
                assert path == inclusion_proof(leaves[:size], place)
                assert verify_inclusion(leaves[place], place, size, path, tree.root(size))
            way = tree.consistency(first, size)
            assert way == consistency_proof(leaves[:size], first)
            assert verify_consistency(first, tree.root(first), size, tree.root(size), way)

        log.look(look)
    finally:
        log.database.close()


@given(start=st.integers(0, 2**40), count=st.integers(1, 2**40))
def test_a_range_is_covered_by_few_subtrees(start: int, count: int) -> None:
    """A proof of a large log must not read much more than of a small one."""
    parts = list(subtrees(start, start + count))
    assert len(parts) <= 2 * count.bit_length()
    place = start
    for level, index in parts:
        assert index << level == place
        place += 1 << level
    assert place == start + count


def test_a_row_that_was_taken_out_of_the_tree_is_found(log: Log) -> None:
    """A proof over a hole would be made of what somebody put there."""
    grow(log, [leaf_hash(b"%d" % n) for n in range(9)], 9)
    log.do(lambda db: db.execute(log.tables.nodes.delete().where(log.tables.nodes.c.bin == 3)))
    with pytest.raises(StorageFault, match="hole at entry 0"):
        log.look(lambda db: Tree(db, log.tables).root(6))
    assert log.look(lambda db: Tree(db, log.tables).root(2)) != EMPTY_ROOT


# -- reading what is told


def test_the_entries_of_histories_are_read_and_have_their_leaf() -> None:
    """The leaf in a service's own history is the one that the log proves."""
    columns = {
        "number": 7, "kind": "ticket", "record": 14, "version": 2, "at_ms": START_MS,
        "actor": "claw1x", "origin": "cli", "move": "resolve", "state": "resolved",
        "changes": canonical({"answer": "ß"}),
    }  # fmt: skip
    found = read_entry("customer", 7, canonical({"service": "customer", **columns}))
    assert found.leaf == leaf_of("customer", columns)
    assert (found.who, found.what, found.object) == ("claw1x", "ticket.resolve", "ticket/14")
    assert (found.result, found.origin, found.at_ms) == ("done", "cli", START_MS)


GOOD = call_text("auth/calls", 1)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "text"),
        ("[]", "text"),
        ("{" * 100_000, "text"),
        (GOOD[:-1], "text"),
        (GOOD.replace(":", ": ", 1), "text"),
        (GOOD.replace("claw1alice", "\\ud800"), "text"),
        (GOOD.replace('"claw1alice"', "1.5"), "text"),
        (GOOD.replace('"claw1alice"', "NaN"), "text"),
        (GOOD.replace('"claw1alice"', "7"), "text.actor"),
        (GOOD.replace("claw1alice", "a" * 129), "text.actor"),
        (GOOD.replace("claw1alice", "\\u0000"), "text.actor"),
        (GOOD.replace("claw1alice", "\u009b2J"), "text.actor"),
        (GOOD.replace('"auth"', '"other"'), "text.service"),
        (call_text("auth", 2), "text.number"),
        (GOOD.replace('"number":1', '"number":true'), "text.number"),
        (call_text("auth", 1, at_ms=-1), "text.at_ms"),
        (call_text("auth", 1, at_ms=2**60), "text.at_ms"),
        (call_text("auth", 1, what=""), "text.what"),
        (call_text("auth", 1, result=None), "text.result"),
        (call_text("auth", 1, object={"a": 1}), "text.object"),
        (canonical({"service": "auth", "number": 1, "at_ms": 1}), "text"),
        (call_text("auth", 1, more="x" * entries.TEXT_BYTES_MAX), "text"),
    ],
)
def test_what_is_no_entry_is_refused_by_name(text: str, field: str) -> None:
    """An entry that is read in two ways is evidence of neither."""
    assert read_entry("auth/calls", 1, GOOD).leaf == leaf_hash(GOOD.encode())
    with pytest.raises(Malformed) as caught:
        read_entry("auth/calls", 1, text)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "source", ["", "audit", "audit/x", "A", "a/", "/a", "a//b", "a b", "é", "a" * 65]
)
def test_names_of_sources_are_plain_and_not_the_log_s_own(source: str) -> None:
    with pytest.raises(Malformed):
        checked_source(source)
    assert checked_source("customer/calls") == "customer/calls"


# -- appending


def test_what_was_told_is_kept_once_and_told_again_for_nothing(log: Log) -> None:
    """A source that got no answer tells again; the log must not have it twice."""
    kept = log.tell("auth/calls", 1, 3)
    assert (kept.number, kept.size, kept.added) == (3, 3, 3)
    kept = log.tell("auth/calls", 1, 3)
    assert (kept.number, kept.size, kept.added) == (3, 3, 0)
    kept = log.tell("auth/calls", 2, 4)
    assert (kept.number, kept.size, kept.added) == (5, 5, 2)
    assert log.tell("customer", 1, 1).size == 6
    table = log.tables.entries
    rows = log.look(lambda db: db.execute(table.select().order_by(table.c.place)).all())
    assert [(row.source, row.number) for row in rows][-2:] == [("auth/calls", 5), ("customer", 1)]
    assert log.look(lambda db: Tree(db, log.tables).root(6)) == root_of(
        [leaf_hash(row.text.encode()) for row in rows]
    )


def test_gaps_other_writers_and_disorder_are_refused_and_change_nothing(log: Log) -> None:
    """A number that is left out is an entry that somebody did not want to be read."""
    with pytest.raises(Gap, match="goes on with number 1"):
        log.tell("auth", 2, 1)
    log.tell("auth", 1, 2)
    with pytest.raises(Gap, match="goes on with number 3"):
        log.tell("auth", 4, 1)
    with pytest.raises(OtherWriter):
        log.append("auth", [(3, call_text("auth", 3))], writer="claw1mallory")
    for numbers in ([3, 5], [4, 3], [3, 3], []):
        with pytest.raises(Malformed, match="entries"):
            log.append("auth", [(n, call_text("auth", n)) for n in numbers])
    with pytest.raises(Malformed, match="at once"):
        log.tell("auth", 3, entries.BATCH_MAX + 1)
    with pytest.raises(Malformed, match="from 1"):
        log.append("auth", [(0, call_text("auth", 0))])
    assert log.size == 2


def test_a_source_that_tells_another_past_is_refused_and_this_is_written_down(log: Log) -> None:
    """Who rewrites a service's history must be seen in the log, once and not a thousand times."""
    log.tell("auth", 1, 3)
    with pytest.raises(Fork, match="told something else as number 2") as caught:
        log.append("auth", [(2, call_text("auth", 2, actor="claw1eve")), (3, call_text("auth", 3))])
    assert (caught.value.source, caught.value.number, log.size) == ("auth", 2, 3)
    for _ in range(2):
        log.do(lambda db: note_fork(db, log.tables, caught.value, "claw1desk", log.now_ms))
    assert log.size == 4
    found, _ = log.look(lambda db: search(db, log.tables, {"what": "audit.fork"}))
    assert [(one.who, one.object, one.result) for one in found] == [
        ("claw1desk", "auth/2", "refused")
    ]


def test_what_a_log_takes_is_bounded(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source under a new name for each entry would fill tables that are read whole."""
    monkeypatch.setattr(entries, "SOURCES_MAX", 1)
    log.tell("auth", 1, 1)
    with pytest.raises(Conflict, match="sources tell already"):
        log.tell("other", 1, 1)
    monkeypatch.setattr(entries, "SIZE_MAX", 2)
    with pytest.raises(Conflict, match="full"):
        log.tell("auth", 2, 2)


def test_a_clock_that_is_set_back_does_not_bend_the_order(log: Log) -> None:
    """Reviews and retention go by the order in which entries were kept."""
    log.tell("auth", 1, 1)
    log.now_ms -= 5_000
    log.tell("auth", 2, 1)
    table = log.tables.entries
    times = log.look(lambda db: list(db.execute(sa.select(table.c.kept_ms)).scalars()))
    assert times == [START_MS, START_MS]


def test_the_log_tells_of_itself_in_its_own_numbers(log: Log) -> None:
    assert log.do(lambda db: note(db, log.tables, log.now_ms, "audit.x", "audit/1")) == 0
    log.tell("auth", 1, 1)
    assert log.do(lambda db: note(db, log.tables, log.now_ms, "audit.y", "audit/2")) == 2
    found, _ = log.look(lambda db: search(db, log.tables, {"source": "audit"}))
    assert [(one.number, one.what) for one in found] == [(2, "audit.y"), (1, "audit.x")]


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.modules.audit.auditworld import Log
log = Log(Path(sys.argv[1]))
kept = log.tell("auth/calls", int(sys.argv[2]), 5)
os.kill(os.getpid(), signal.SIGKILL)  # After the commit, before anybody hears of it.
"""


@pytest.mark.real
def test_a_log_killed_before_it_answers_keeps_what_it_kept_once(tmp_path: Path) -> None:
    """The source hears nothing, tells again, and the log must be what it was."""
    file = tmp_path / "audit.db"
    words = [sys.executable, "-c", KILLED, str(file), "1"]
    done = subprocess.run(words, timeout=60, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == -signal.SIGKILL
    log = Log(file)
    try:
        assert log.size == 5
        root = log.look(lambda db: Tree(db, log.tables).root(5))
        assert log.tell("auth/calls", 1, 5).added == 0
        assert log.tell("auth/calls", 1, 7).added == 2
        assert log.look(lambda db: Tree(db, log.tables).root(5)) == root
        assert log.look(lambda db: Tree(db, log.tables).root(7)) == root_of(log.leaves())
    finally:
        log.database.close()


# -- searching


def every(log: Log, where: dict[str, str], limit: int, **times: int) -> list[Found]:
    """All pages together."""
    found: list[Found] = []
    after = None
    for _ in range(1_000):
        page, after = log.look(
            lambda db, after=after: search(  # type: ignore[misc]
                db, log.tables, where, after=after, limit=limit, **times
            )
        )
        assert len(page) <= limit
        found += page
        if after is None:
            return found
        assert parse_cursor(after.text()) == after
    raise AssertionError("pages without an end")


@pytest.mark.parametrize("walked", [3, 7, 2_000])
def test_every_search_finds_exactly_what_is_so(
    log: Log, monkeypatch: pytest.MonkeyPatch, walked: int
) -> None:
    """An entry that a search leaves out was never there for whoever asks."""
    monkeypatch.setattr("clawpurse.modules.audit.search.WALKED_MAX", walked)
    for number in range(1, 41):
        log.tell(
            "auth/calls",
            number,
            1,
            at_ms=START_MS + number // 3 * 1_000,
            actor=f"claw1{number % 3}",
            result="refused" if number % 5 == 0 else "done",
            object=f"user/{number % 4}",
        )
    log.tell("customer", 1, 3, at_ms=START_MS + 2_000)
    kept = sorted(every(log, {}, 500), key=lambda one: one.place)
    assert len(kept) == 43
    for where in (
        {},
        {"who": "claw11"},
        {"result": "refused"},
        {"who": "claw10", "result": "refused"},
        {"who": "claw12", "object": "user/2", "origin": "token:desk"},
        {"source": "customer", "what": "auth.unlock"},
        {"who": "nobody"},
    ):
        for times in ({}, {"from_ms": START_MS + 2_000, "to_ms": START_MS + 9_000}):
            expected = [
                one
                for one in kept
                if all(getattr(one, name) == value for name, value in where.items())
                and times.get("from_ms", 0) <= one.at_ms < times.get("to_ms", 2**62)
            ]
            expected.sort(key=lambda one: (one.at_ms, one.place), reverse=True)
            for limit in (1, 4, LIMIT_MAX):
                assert every(log, dict(where), limit, **times) == expected


@pytest.mark.parametrize("text", ["", "1", "1.", ".1", "-1.2", "1.2.3", "1.²", f"{2**63}.1"])
def test_a_cursor_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_cursor(text)


@pytest.mark.parametrize("columns", [{}, {"who": "x"}, {"who": "x", "result": "done"}])
def test_a_search_seeks_in_an_index(log: Log, columns: dict[str, str]) -> None:
    """Reading all of a log for one page of it stops everybody else."""
    plans: list[str] = []

    def look(db: Any) -> None:
        def note_it(_c: Any, cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
            if statement.startswith("SELECT"):
                rows = cursor.connection.execute("EXPLAIN QUERY PLAN " + statement, parameters)
                plans.extend(row[-1] for row in rows)

        sa.event.listen(log.database.engine, "before_cursor_execute", note_it)
        try:
            after = parse_cursor(f"{START_MS}.5")
            search(db, log.tables, columns, from_ms=1, to_ms=START_MS + 9, after=after)
        finally:
            sa.event.remove(log.database.engine, "before_cursor_execute", note_it)

    log.look(look)
    name = next(iter(columns), "at_ms")
    assert any(f"USING INDEX ix_audit_entries_{name}" in plan for plan in plans), plans
    assert not any(plan.startswith("SCAN audit_entries") for plan in plans), plans


# -- the other database


@pytest.mark.real
def test_postgresql_keeps_and_proves_the_same(log: Log, post: Log) -> None:
    """Otherwise a log that moves to a server is another log."""
    for one in (log, post):
        for number in range(1, 30, 7):
            one.tell("auth/calls", number, 7, result="done" if number % 2 else "refused")
        with pytest.raises(Fork):
            one.append("auth/calls", [(3, call_text("auth/calls", 3, actor="ß"))])
        one.do(lambda db, one=one: note(db, one.tables, START_MS, "audit.x", "audit/1"))  # type: ignore[misc]
    assert log.leaves() == post.leaves()

    def told(one: Log) -> Any:
        tree_told = one.look(
            lambda db: (
                Tree(db, one.tables).root(36),
                Tree(db, one.tables).inclusion([0, 17, 35], 36),
                Tree(db, one.tables).consistency(11, 36),
            )
        )
        return (
            tree_told,
            every(one, {"result": "refused", "who": "claw1alice"}, 4),
            every(one, {}, 5),
        )

    assert told(log) == told(post)
