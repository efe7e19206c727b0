"""Makes `clawpurse.*` mean this checkout, whatever else is installed on the machine.

pytest from a bare checkout has no installed distribution, and in a second checkout it
would silently test the first one's editable install. So a namespace module is registered
whose path is this root, before any test module is imported.
"""

from __future__ import annotations

import gc
import importlib.machinery
import importlib.util
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

if "clawpurse" not in sys.modules:
    spec = importlib.machinery.ModuleSpec("clawpurse", None, is_package=True)
    spec.submodule_search_locations = [str(ROOT)]
    sys.modules["clawpurse"] = importlib.util.module_from_spec(spec)

import clawpurse.ledger  # noqa: E402

if Path(str(clawpurse.ledger.__file__)).resolve().parent.parent != ROOT:
    raise RuntimeError(f"clawpurse is imported from {clawpurse.ledger.__file__}, not from {ROOT}")

# Two shared cores: a slow example is the machine's fault, a wrong one is ours.
settings.register_profile(
    "clawpurse", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("repeatable", settings.get_profile("clawpurse"), derandomize=True)
settings.load_profile("clawpurse")
os.environ.setdefault("PYTHONWARNINGS", "error")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Split a soak test into as many as run side by side, each with its share of the seeds."""
    if "soak_seeds" in metafunc.fixturenames:
        shares = int(os.environ.get("SOAK_JOBS") or 1)
        metafunc.parametrize(
            "soak_seeds",
            [(share, shares) for share in range(shares)],
            indirect=True,
            ids=lambda pair: f"{pair[0] + 1}-of-{pair[1]}",
        )


@pytest.fixture
def soak_seeds(request: pytest.FixtureRequest) -> Iterator[int]:
    """Seeds for a test marked `soak`: SOAK_SEEDS of them, or as many as fit into SOAK_MINUTES.

    They count upward from SOAK_FIRST (else from a random number), every SOAK_JOBS-th one for each
    of the tests that run side by side. The one in use is printed before it is handed out, so that
    a failure shows the seed that repeats it. Minutes are shared evenly between the soak tests.
    """
    count = int(os.environ.get("SOAK_SEEDS") or 0)
    minutes = float(os.environ.get("SOAK_MINUTES") or 0)
    first = int(os.environ.get("SOAK_FIRST") or int.from_bytes(os.urandom(4), "big"))
    share, shares = getattr(request, "param", (0, 1))
    sharing = sum(item.get_closest_marker("soak") is not None for item in request.session.items)
    deadline = time.monotonic() + 60 * minutes * shares / max(sharing, 1)

    def seeds() -> Iterator[int]:
        seed = first + share
        while seed < first + count or (not count and time.monotonic() < deadline):
            print(f"seed {seed} (repeat: make soak SEEDS=1 SOAK_FIRST={seed})", flush=True)
            yield seed
            seed += shares

    return seeds()


def pytest_collection_finish() -> None:
    """Leave alone what lives until the end: ten thousand tests and every module.

    A full collection that goes over them takes half a second, and there are hundreds.
    """
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what passing tests recorded for people: what a simulation reached."""
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name.endswith("coverage"):
                terminalreporter.section(name)
                terminalreporter.write_line(str(text))
