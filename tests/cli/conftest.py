"""Runs commands in this process against a node without sockets, keys in a folder of the test."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from clawpurse.cli.main import run
from clawpurse.cli.session import Session
from clawpurse.wallet.home import ClientHome
from clawpurse.wallet.keyfile import KdfCost
from clawpurse.wallet.keystore import Keystore
from clawpurse.wallet.rehearsal import restores
from tests.cli.fakenode import FakeNode
from tests.wallet.smallchain import START_MS

PASSPHRASE = "correct horse battery"


class Done(NamedTuple):
    """What a command left: exit code and what it said where."""

    code: int
    out: str
    err: str


Cli = Callable[..., Done]


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "client"


@pytest.fixture
def passphrase_file(tmp_path: Path) -> str:
    path = tmp_path / "passphrase"
    path.write_text(PASSPHRASE + "\n")
    return str(path)


class SettableClock:
    """A wall clock in ms that only moves when a test moves it."""

    def __init__(self) -> None:
        self.time_ms = START_MS

    def __call__(self) -> int:
        return self.time_ms


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def cli(
    node: FakeNode,
    home: Path,
    clock: SettableClock,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Cli:
    """`cli("wallet", "balance", env={…})`: runs a command line and returns what came of it.

    Its key files cost a guesser little: a quarter of a second a key adds up in tests.
    """
    monkeypatch.setattr(ClientHome.keystore, "__defaults__", (KdfCost(1, 8 * 2**20),))
    monkeypatch.setattr(restores, "__kwdefaults__", {"cost": KdfCost(1, 8 * 2**20)})

    def call(*arguments: str, env: dict[str, str] | None = None) -> Done:
        capsys.readouterr()
        with monkeypatch.context() as patch:
            for name in os.environ:
                if name.startswith("CLAWPURSE_"):
                    patch.delenv(name)
            for name, value in {"CLAWPURSE_HOME": str(home), "TERM": "dumb", **(env or {})}.items():
                patch.setenv(name, value)
            code = run(arguments, Session(open_client=node.open, clock=clock))
        said = capsys.readouterr()
        return Done(code, said.out, said.err)

    return call


@pytest.fixture
def wallet(node: FakeNode, home: Path, clock: SettableClock) -> Keystore:
    """alice and bob, with cheap key files, as the chain knows them."""
    keystore = Keystore(home / "keys", now_ms=clock, cost=KdfCost(1, 8 * 2**20))
    for name, key in (("alice", node.chain.alice), ("bob", node.chain.bob)):
        keystore.import_seed(name, PASSPHRASE, key.reveal_seed())
    return keystore
