"""Figures that nobody can obtain again, or whose report no program can read, convince nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from clawpurse.benches.lag import Look, lag_ms
from clawpurse.benches.limits import verify_cpu_us, verify_per_s
from clawpurse.benches.link import answer_end
from clawpurse.benches.network import percentile

SECONDS_MAX = 60


def bench(*arguments: str) -> Any:
    """Run a bench as people do, and return its last line as an object."""
    # Told to end rather than killed when it takes too long: it has nodes to take with it.
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, err = process.communicate(timeout=SECONDS_MAX)
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate()
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


@pytest.mark.real
def test_a_short_load_ends_with_a_report_that_a_program_can_read() -> None:
    """Also the end of a run: nodes agree, nothing is lost, and the books balance, or no report."""
    report = bench(
        "clawpurse.benches.throughput", "--authorities=1", "--transfers=200", "--accounts=10"
    )
    assert list(report) == ["bench", "config", "figures", "bar", "met", "commit"]
    figures = report["figures"]
    assert report["config"] == {"authorities": 1, "transfers": 200, "accounts": 10}
    assert figures["supply"] == 10 * 10**9
    assert figures["ratio"] == pytest.approx(
        figures["tx_per_s"] / figures["verify_per_s"], abs=0.001
    )
    for name in ("tx_per_s", "cpu_s_per_node", "rss_mb_per_node", "loop_lag_max_ms"):
        assert figures[name] > 0
    # So few transfers say nothing about the bar, and the report does not pretend otherwise.
    assert report["met"] is None


def test_limits_of_the_machine_are_measured() -> None:
    """A ratio over a limit of nothing would be any number at all."""
    assert verify_per_s(1) > 0
    assert verify_per_s(2) > 0
    assert verify_cpu_us() > 0


def test_percentiles_are_values_that_occurred() -> None:
    """A percentile that is off by one makes a tail look better than it is."""
    values = [float(number) for number in range(100, 0, -1)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile(values, 1.0) == 100
    assert percentile([7.0], 0.5) == 7


def test_loop_lag_is_read_out_of_the_difference_of_two_looks() -> None:
    """Lag from before the load would hide, or be blamed for, what the load did."""
    infinity = float("inf")
    before = Look(((0.01, 50), (0.02, 60), (infinity, 60)), 0.0)
    after = Look(((0.01, 140), (0.02, 160), (infinity, 160)), 0.0)
    assert lag_ms([before], [after], 0.9) == pytest.approx(10)
    assert lag_ms([before], [after], 0.95) == pytest.approx(15)


def test_an_answer_is_cut_off_where_it_ends() -> None:
    """A client that loses its place in the stream measures somebody else's answer."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP"
    assert answer_end(answer[:20]) is None
    span = answer_end(answer)
    assert span is not None
    assert answer[slice(*span)] == b"{}"
