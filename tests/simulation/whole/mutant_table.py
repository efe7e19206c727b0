"""Writes docs/mutants.md: which rules are broken on purpose, and which property notices.

`python -m tests.simulation.whole.mutant_table` runs every hunt and writes the page; a test
compares all of it but the last column, which a change of any schedule moves.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from tests.simulation import mutants as pure
from tests.simulation.properties import Violation
from tests.simulation.schedules import plan_of
from tests.simulation.whole import mutants as whole
from tests.simulation.whole.checkers import CHECKERS, Court

PAGE = Path(__file__).resolve().parents[3] / "docs" / "mutants.md"
HEAD = """# Rules broken on purpose

A simulation that finds nothing proves something only if it would have found it. So single rules
are broken, one at a time, and the simulation must notice by a property that it names. The first
table breaks the pure machine and its simulated host; the second breaks the daemon's own code in
networks of whole nodes, on simulated disks and links, some with an authority in wrong hands. A
mutant that survives as many seeds as the fourth column says fails the tests; the last column says
how many it took when this page was written.

`python -m tests.simulation.whole.mutant_table` writes this page.
"""
COLUMNS = (
    "| mutant | what is broken | caught by | seeds at most | seeds needed |\n|---|---|---|---|---|"
)


class Row(NamedTuple):
    """One mutant of the page."""

    name: str
    rule: str
    properties: str
    seeds: int

    def line(self, needed: str) -> str:
        """Return the row, with what goes into its last column."""
        return f"| `{self.name}` | {self.rule} | {self.properties} | {self.seeds} | {needed} |"


def property_names() -> dict[int, str]:
    """Return what the properties are called, by number."""
    court = Court()
    return {made.number: made.name for made in (checker(court) for checker in CHECKERS)}


def _named(numbers: tuple[int, ...]) -> str:
    names = property_names()
    return ", ".join(f"{number} {names[number]}" for number in numbers)


def pure_rows() -> list[Row]:
    """The mutants of the pure simulator."""
    return [Row(m.name, m.rule, _named(m.properties), m.seeds) for m in pure.MUTANTS]


def whole_rows() -> list[Row]:
    """The mutants of whole nodes."""
    return [Row(m.name, m.rule, _named(m.properties), m.seeds) for m in whole.MUTANTS]


def hunt_pure(mutant: pure.Mutant) -> int | None:
    """Return how many seeds it takes to catch a pure mutant; None when it survives."""
    for seed in range(mutant.seeds):
        try:
            mutant.cluster(plan_of(seed, mutant.nodes)).run()
        except Violation as violation:
            if violation.number in mutant.properties:
                return seed + 1
    return None


def page() -> str:
    """Run every hunt and return the page."""
    logging.disable(logging.CRITICAL)
    lines = [HEAD, "## The machine and its host\n", COLUMNS]
    for row, mutant in zip(pure_rows(), pure.MUTANTS, strict=True):
        lines.append(row.line(str(hunt_pure(mutant))))
    lines += ["\n## Whole nodes\n", COLUMNS]
    for row, broken in zip(whole_rows(), whole.MUTANTS, strict=True):
        catch = whole.hunt(broken)
        lines.append(row.line("none" if catch is None else str(catch.seeds)))
    return "\n".join(lines) + "\n"


def stripped(text: str) -> list[str]:
    """Return the page's rows without their last column."""
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    return [row.rsplit("|", 2)[0] for row in rows]


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
