"""A kill between any two steps: what lies on the disk at each moment must open as before or after.

While something is done, the database's files are copied before each statement and after each
commit, and once more with the write-ahead file cut anywhere within what the commit wrote. That is
what a process leaves that is killed there. Each copy is opened as a new process would, and the
same request is made again: in the end it is done exactly once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import sqlalchemy as sa

from clawpurse.ledger.errors import Bug
from clawpurse.modules.kit.testing.stand import Stand, rows_of

Step = Callable[[Stand], Any]


def killed_everywhere(
    make: Callable[[Path, bool], Stand],
    folder: Path,
    steps_of: Callable[[Stand], list[Step]],
    random: Random,
    cuts: int,
) -> tuple[int, int]:
    """Do steps on a fresh stand, and kill each at every place; returns how many of both there were.

    `make` opens a stand on a file, one of a killed service where it is told so. `cuts`: at how
    many places within the bytes of one commit. A step is one transaction, and a request that may be
    made again (by a key of its own); `steps_of` makes what they need. Raises `Bug` where a copy
    opens as something in between, or where a step that is done again is done twice.
    """
    stand = make(folder / "life" / "records.db", False)
    tried = 0
    steps = steps_of(stand)
    for number, step in enumerate(steps):
        before = rows_of(stand)
        with _copies(stand, random, cuts) as copies:
            step(stand)
        after = rows_of(stand)
        for place, files in enumerate(copies.values()):
            tried += 1
            name = folder / f"death-{number}-{place}" / "records.db"
            _check(make, name, files, step, before, after, stand.now_ms)
    stand.close()
    return len(steps), tried


def _check(
    make: Callable[[Path, bool], Stand],
    name: Path,
    files: dict[str, bytes],
    step: Step,
    before: dict[str, list[Any]],
    after: dict[str, list[Any]],
    now_ms: int,
) -> None:
    name.parent.mkdir(parents=True)
    for suffix, content in files.items():
        name.with_name(name.name + suffix).write_bytes(content)
    risen = make(name, True)
    try:
        found = rows_of(risen)
        if found not in (before, after):
            raise Bug(f"a kill left something in between: {_difference(found, before, after)}")
        risen.now_ms = now_ms
        step(risen)
        again = rows_of(risen)
        counts = {table: len(rows) for table, rows in again.items()}
        if counts != {table: len(rows) for table, rows in after.items()}:
            raise Bug(f"done again after a kill it is not done once: {_difference(again, after)}")
        for _ in risen.look(lambda work: list(work.history.verified())):
            pass
    finally:
        risen.close()


@contextmanager
def _copies(stand: Stand, random: Random, cuts: int) -> Iterator[dict[str, dict[str, bytes]]]:
    """Collect what lies on the disk at each moment, each content once."""
    file = Path(str(stand.database.engine.url.database))
    wal = file.with_name(file.name + "-wal")
    found: dict[str, dict[str, bytes]] = {}

    def keep(content: dict[str, bytes]) -> None:
        digest = hashlib.sha256()
        for suffix in sorted(content):
            digest.update(suffix.encode() + b"\0" + content[suffix] + b"\1")
        found.setdefault(digest.hexdigest(), content)

    def copy() -> dict[str, bytes]:
        content = {"": file.read_bytes()}
        if wal.exists():
            content["-wal"] = wal.read_bytes()
        return content

    def touched() -> tuple[Any, ...]:
        some = [path.stat() for path in (file, wal) if path.exists()]
        return tuple((one.st_size, one.st_mtime_ns) for one in some)

    def statement(*_: Any) -> None:
        # Most statements write nothing to the disk before their commit.
        if touched() != seen[-1]:
            seen.append(touched())
            keep(copy())

    def commit(_: Any) -> None:
        start = len(held["-wal"]) if (held := copy()).get("-wal") is not None else 0
        starts.append(start)
        keep(held)

    starts: list[int] = []
    seen: list[tuple[Any, ...]] = [()]
    engine = stand.database.engine
    sa.event.listen(engine, "before_cursor_execute", statement)
    sa.event.listen(engine, "commit", commit)
    try:
        yield found
    finally:
        sa.event.remove(engine, "before_cursor_execute", statement)
        sa.event.remove(engine, "commit", commit)
        last = copy()
        keep(last)
        whole = last.get("-wal", b"")
        start = starts[-1] if starts else 0
        if len(whole) > start:
            for _ in range(cuts):
                keep({**last, "-wal": whole[: random.randrange(start, len(whole))]})


def _difference(found: dict[str, list[Any]], *others: dict[str, list[Any]]) -> str:
    """Return in which tables something differs, without any value."""
    return ", ".join(
        f"{table} has {len(rows)} rows"
        for table, rows in found.items()
        if all(rows != other.get(table) for other in others)
    )
