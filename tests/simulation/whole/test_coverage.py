"""A simulation that reaches nothing finds nothing: every line of the algorithm, every crash point.

One test runs everything that is staged and a number of storms, so that it can judge the whole of
it in one process; `make test-full` prints what it found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from clawpurse.consensus.round import BRANCHES
from tests.simulation.whole.crashes import CRASH_POINTS, HOWS
from tests.simulation.whole.storm import run
from tests.simulation.whole.test_crashes import visited
from tests.simulation.whole.test_locks import dissolved_locks, late_polka, wrong_proposer

#: Never reached by whole nodes. A true polka is invalid only where executions differ, which takes
#: more than f faults; the engine drops the timers of a round as it leaves it, so that none of them
#: runs out afterwards (the pure simulation lets them run, and reaches it).
UNREACHABLE = ("P32:invalid", "P66:stale")
#: This many storms are run in any case; what is rare and not staged may take more of them, since
#: each change of timing moves it to another seed.
STORMS = 40
STORMS_MAX = 160


def missing(lines: Counter[str], points: Counter[str]) -> list[str]:
    """Name what nothing has reached yet."""
    wanted = [name for name in BRANCHES if not lines[name] and name not in UNREACHABLE]
    return wanted + [name for name in CRASH_POINTS if not points[name]]


@pytest.mark.full
def test_a_full_run_reaches_every_line_and_every_crash_point(
    record_property: Callable[[str, object], None],
) -> None:
    lines: Counter[str] = Counter()
    points: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    virtual_s = 0.0
    lines += dissolved_locks()
    lines += late_polka().lines
    lines += wrong_proposer().lines
    for point in HOWS:
        world = visited(point)
        lines += world.lines
        points += world.crash_points
    storms = 0
    while storms < STORMS or (storms < STORMS_MAX and missing(lines, points)):
        seed, storms = storms, storms + 1
        report = run(seed, 7 if seed % 10 == 9 else 4)
        lines += report.lines
        points += report.crash_points
        faults += report.faults
        virtual_s += report.virtual_s
    told = [f"{storms} storms of {virtual_s / 3600:.1f} virtual hours in all, and what is staged"]
    told += [f"lines: {', '.join(f'{name} {lines[name]}' for name in BRANCHES)}"]
    told += [f"crash points: {', '.join(f'{name} {points[name]}' for name in CRASH_POINTS)}"]
    told += [f"faults: {', '.join(f'{name} {count}' for name, count in sorted(faults.items()))}"]
    record_property("whole-node coverage", "\n".join(told))
    assert missing(lines, points) == []
    # And should one of these be reached after all, the reason above is wrong.
    assert [name for name in UNREACHABLE if lines[name]] == []
