"""`testnet chaos` as it is typed: it breaks its own network, keeps promises, leaves nothing behind.

A chaos run that left processes, mounts or folders would be the worst fault of all.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clawpurse.cli.chaos_plan import Kind, plan
from clawpurse.cli.network import open_network

#: What is drawn: kills, of all too, a pause, cuts both ways, delays, and a full disk.
SEED = 7
MINUTES = 0.6
SECONDS_MAX = 240


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "clawpurse.cli", "testnet", "chaos", *map(str, arguments)]


def environment(home: Path) -> dict[str, str]:
    dropped = ("CLAWPURSE_", "PYTHONWARNINGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "CLAWPURSE_HOME": str(home / "client"), "TMPDIR": str(home)}


def mounts_below(folder: Path) -> list[str]:
    return [line for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line]


@pytest.mark.real
@pytest.mark.full
def test_a_short_storm_over_real_processes_breaks_no_promise(tmp_path: Path) -> None:
    done = subprocess.run(
        command("--seed", SEED, "--minutes", MINUTES, "--json"),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["problems"] == []
    assert (done.returncode, report["ok"], report["seed"]) == (0, True, SEED)
    planned = plan(SEED, MINUTES * 60, 4, SEED % 4)
    for kind in Kind:
        wanted = 0 if kind in report["skipped"] else sum(one.kind is kind for one in planned)
        assert report["faults"][kind] == wanted
    assert report["payments"]["final"] > 0
    assert report["blocks"] > 0
    assert len(report["checks"]) == 6
    # It worked in a folder of its own, and took it away.
    assert [path.name for path in tmp_path.iterdir() if "chaos" in path.name] == []
    assert mounts_below(tmp_path) == []


@pytest.mark.real
@pytest.mark.full
def test_ctrl_c_ends_every_process_and_keeps_the_logs(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen(
        command("--seed", 1, "--minutes", 5, "--home", folder),
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        assert child.stdout is not None
        # In the middle of something: a fault has begun.
        for line in child.stdout:
            if " s  " in line:
                break
        child.send_signal(signal.SIGINT)
        rest = child.stdout.read()
        assert child.wait(60) == 1
    assert "Broken off before the end" in rest
    network = open_network(folder / "net")
    deadline = time.monotonic() + 10
    while network.running() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert network.running() == []
    assert mounts_below(tmp_path) == []
    assert all(home.log.exists() for home in network.homes)
    # The same folder serves again: chaos knows what it made.
    assert (folder / "chaos.json").exists()
