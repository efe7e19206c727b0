"""A real network of four processes, started and stopped by the commands that people type."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from clawpurse.cli.network import Ports
from clawpurse.cli.ports import is_free
from tests.e2e.tutorial import Reader

PASSPHRASE = "correct horse battery"
COMMAND_SECONDS_MAX = 120


class Done(NamedTuple):
    """What a command left: exit code and what it said where."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one object on stdout."""
        assert self.code == 0, self.err
        return json.loads(self.out)


Run = Callable[..., Done]


def environment_for(home: Path) -> dict[str, str]:
    """The caller's environment without what would steer the command."""
    dropped = ("CLAWPURSE_", "MAKE", "PYTHONWARNINGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return {**kept, "CLAWPURSE_HOME": str(home), "TERM": "dumb"}


def runner(home: Path) -> Run:
    """Return how to run a command line of the client in `home`."""

    def run(*arguments: object, stdin: str | None = None, **environment: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "clawpurse.cli", *map(str, arguments)],
            env=environment_for(home) | environment,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


def free_base_port(nodes: int) -> int:
    """Return a base port above which nobody listens now."""
    for base in random.Random(time.time_ns()).sample(range(20_000, 32_000, 100), 100):
        ports = [port for index in range(nodes) for port in Ports.of(base, index)]
        if all(is_free("127.0.0.1", port) for port in ports):
            return base
    raise AssertionError("no range of free ports")


class Net(NamedTuple):
    """A running network: what `testnet start --json` said, and a client for it."""

    run: Run
    facts: Any
    home: Path
    client: Path
    passphrase_file: str

    @property
    def rpc(self) -> str:
        return str(self.facts["nodes"][0]["rpc"])

    def fund(self, name: str) -> Any:
        """A new key with money of the faucet."""
        key = self.run("keys", "add", name, "--passphrase-file", self.passphrase_file, "--json")
        self.run("faucet", name, "--json").json()
        return key.json()


@contextmanager
def network(root: Path, authorities: int = 4) -> Iterator[Net]:
    """Authorities, from nothing, until the block ends."""
    client, folder = root / "client", root / "testnet"
    run = runner(client)
    (root / "passphrase").write_text(PASSPHRASE + "\n")
    start = (
        "testnet",
        "start",
        "--authorities",
        authorities,
        "--home",
        folder,
        "--detach",
        "--json",
    )
    started = run(*start, "--base-port", free_base_port(5))
    try:
        yield Net(run, started.json(), folder, client, str(root / "passphrase"))
    finally:
        run("stop", "--home", folder)


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    """Four authorities for all tests that only look and pay."""
    with network(tmp_path_factory.mktemp("net")) as made:
        yield made


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Somebody who follows a tutorial: an empty home, our command and our Python on the path."""
    home = tmp_path / ".clawpurse"  # Where it is for somebody who says nothing.
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, words in (("clawpurse", " -m clawpurse.cli"), ("python3", "")):
        command = commands / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n')
        command.chmod(0o755)
    variables = environment_for(home)
    variables["PATH"] = f"{commands}:{os.environ['PATH']}"
    variables["HOME"] = str(tmp_path)
    del variables["CLAWPURSE_HOME"]
    variables["CLAWPURSE_BASE_PORT"] = str(free_base_port(4))
    try:
        yield Reader(tmp_path, variables)
    finally:
        runner(home)("testnet", "stop")
