"""A test network's life: made, watched, stopped by Ctrl-C, continued, moved, deleted."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Run, environment_for, free_base_port, runner

pytestmark = pytest.mark.real
DEADLINE_S = 90.0
ROOT = Path(__file__).resolve().parents[2]


class Foreground:
    """`testnet start` without --detach, its stdout read as it comes. Use as `with`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.said = ""

    @classmethod
    def start(cls, client: Path, *arguments: object, **environment: str) -> Foreground:
        """Start the command in a session of its own."""
        command = [sys.executable, "-m", "clawpurse.cli", "testnet", "start"]
        return cls(
            subprocess.Popen(
                [*command, *map(str, arguments)],
                env=environment_for(client) | environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        )

    def __enter__(self) -> Foreground:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate(timeout=DEADLINE_S)

    def until(self, text: str) -> str:
        """Read until `text` was said; return everything so far."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.said:
            left = max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([self.process.stdout], [], [], left)
            piece = os.read(self.process.stdout.fileno(), 65_536) if readable else b""
            assert piece, f"{text!r} was not said within {DEADLINE_S} s:\n{self.said}"
            self.said += piece.decode()
        return self.said

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal, as the terminal does, and return exit code and all that was said."""
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, self.said + out.decode()


@pytest.fixture
def client(tmp_path: Path) -> Path:
    return tmp_path / "client"


@pytest.fixture
def run(client: Path) -> Iterator[Run]:
    """A client whose test network is stopped at the end, whatever happens."""
    call = runner(client)
    try:
        yield call
    finally:
        call("stop", "--home", client / "testnet")


def test_from_nothing_to_ctrl_c_and_on(client: Path, run: Run) -> None:
    """What a newcomer sees first, line by line; Ctrl-C loses nothing; the chain goes on."""
    base = free_base_port(4)
    made = {"CLAWPURSE_UNDER_MAKE": "1", "VENV": ".venv"}
    with Foreground.start(client, "--base-port", base, **made) as first:
        first.until("^C stops, chain kept")
        code, said = first.end(signal.SIGINT)
    assert code == 0
    lines = said.splitlines()
    assert lines[0].startswith("✓ genesis acme-test-")
    assert lines[1].startswith("✓ authority-1…4 ready")
    assert lines[2].startswith("✓ block 1 final, ")
    assert " of 4 signed" in lines[2]
    rpc = f"http://127.0.0.1:{base + 1}"
    chain_id = lines[0].split()[2]
    assert lines[3:13] == [
        "",
        f"  Dashboard  {rpc}",
        f"  JSON-RPC   {rpc}  (others: clawpurse testnet status)",
        "  Faucet     1,000,000.00 CLAW",
        "",
        "Next, in another terminal (source .venv/bin/activate):",
        "  clawpurse keys add alice",
        "  clawpurse faucet alice",
        "  clawpurse wallet send bob 12.5 --asset CLAW --from alice",
        "",
    ]
    assert lines[13].startswith("● block 1, final ")
    assert lines[13].endswith(" 4/4 signing, 0 pending  (^C stops, chain kept)")
    assert lines[-1] == (
        "✓ stopped at block 1. Continue: make run. Delete: clawpurse testnet reset"
    )
    assert all(node["state"] == "stopped" for node in _nodes(run))
    checked = run("db", "check", "--home", client / "testnet/authority-2", "--json").json()
    assert (checked["ok"], checked["height"]) == (True, 1)

    with Foreground.start(client) as second:
        second.until("^C stops, chain kept")
        code, said = second.end(signal.SIGTERM)
    assert code == 0
    assert said.startswith("ClawPurse ")
    assert f"✓ continuing {chain_id} at block " in said
    assert "Continue: clawpurse testnet start." in said

    moved = run("testnet", "start", "--base-port", free_base_port(4), "--detach", "--json").json()
    assert moved["chainId"] == chain_id
    assert moved["nodes"][0]["rpc"] != rpc
    assert run("status", "--json").json()["chainId"] == chain_id
    assert run("stop", "--home", client / "testnet", "--json").json()["stopped"] == 4
    _reset(run, client, chain_id)


def _nodes(run: Run) -> list[dict[str, object]]:
    nodes: list[dict[str, object]] = run("testnet", "status", "--json").json()["nodes"]
    return nodes


def _reset(run: Run, client: Path, chain_id: str) -> None:
    """Deleting asks for the very chain id."""
    asked = run("testnet", "reset")
    assert asked.code == 2
    assert f"add --yes --i-understand {chain_id}" in asked.err
    wrong = run("testnet", "reset", "--yes", "--i-understand", "acme-test")
    assert wrong.code == 2
    assert (client / "testnet").exists()
    assert run("testnet", "reset", "--yes", "--i-understand", chain_id).code == 0
    assert not (client / "testnet").exists()


@pytest.mark.skipif(Path(sys.prefix) != ROOT / ".venv", reason="make would install into .venv")
def test_make_run_is_the_whole_of_it(tmp_path: Path, client: Path, run: Run) -> None:
    """The first command of the README: ticks of make and of the network in one picture."""
    folder, base = client / "testnet", free_base_port(4)
    process = subprocess.Popen(
        ["make", "run", f"BASE_PORT={base}", f"DATA={folder}"],
        cwd=ROOT,
        env=environment_for(client),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    with Foreground(process) as at:
        at.until("^C stops, chain kept")
        # As the terminal does it: to everybody in the foreground.
        os.killpg(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=DEADLINE_S)
    lines = (at.said + out.decode()).splitlines()
    assert lines[0].endswith(f" test network, data {folder}")
    assert lines[1].startswith("✓ Python 3.")
    assert lines[2].startswith("✓ environment .venv, ")
    assert lines[3].startswith("✓ genesis acme-test-")
    assert any(line.startswith("✓ stopped at block 1. Continue: make run") for line in lines)
    assert all(node["state"] == "stopped" for node in _nodes(run))


def test_one_that_dies_is_named_and_started_again(client: Path, run: Run) -> None:
    """Three of four go on; starting again starts only what is down."""
    folder = client / "testnet"
    start = ["testnet", "start", "--base-port", free_base_port(4), "--detach", "--json"]
    before = {node["name"]: node["pid"] for node in run(*start).json()["nodes"]}
    os.kill(before["authority-3"], signal.SIGKILL)
    deadline = time.monotonic() + DEADLINE_S
    while Path(f"/proc/{before['authority-3']}/exe").exists():
        assert time.monotonic() < deadline
    states = {str(node["name"]): node["state"] for node in _nodes(run)}
    assert states["authority-3"] == "stopped"
    words = folder.parent.parent / "passphrase"
    words.write_text("correct horse battery\n")
    assert run("keys", "add", "alice", "--passphrase-file", words).code == 0
    assert run("faucet", "alice").out.startswith("✓ 1,000.00 CLAW to alice, final in block ")
    after = {node["name"]: node["pid"] for node in run(*start).json()["nodes"]}
    assert after["authority-3"] != before["authority-3"]
    assert after["authority-1"] == before["authority-1"]
    assert all(node["state"] == "ready" for node in _nodes(run))


def test_a_node_that_cannot_start_says_why(client: Path, run: Run) -> None:
    """ "It does not start" without a reason costs an evening."""
    made = run("testnet", "init", "--authorities", 1, "--base-port", free_base_port(1), "--json")
    home = Path(made.json()["nodes"][0]["home"])
    (home / "genesis.json").write_text("{}")
    done = run("testnet", "start", "--detach")
    assert done.code == 1
    (line,) = done.err.splitlines()
    assert line.startswith("authority-1 did not start: ")
    assert "is not a genesis" in line
