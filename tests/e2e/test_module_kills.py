"""A module beside a real network, killed -9 at random: each payment taken in and answered once."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Net, environment_for
from tests.modules.kit.postgres import server

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
WAIT_S_MAX = 120
PENDING = 5
MODULE = "tests.e2e.mill:Mill"


class Sidecar:
    """The mill on a folder and a database; `start` as often as it was killed."""

    def __init__(self, net: Net, folder: Path, account: str, *database: str) -> None:
        self.net, self.folder, self.database = net, folder, database
        self.environment = {**environment_for(net.client), "MILL_ACCOUNT": account}
        self.environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *sys.path])
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """Return the URL once it answers."""
        words = ["module", "serve", MODULE, "--node", self.net.rpc, "--data", str(self.folder)]
        words += ["--listen", "127.0.0.1:0", "--passphrase-file", self.net.passphrase_file]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "clawpurse.cli", *words, *self.database, "--json"],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (self.folder / "log").read_text()[-2_000:]
        told = json.loads(line)
        assert "url" in told, told
        return str(told["url"])

    def kill(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def killed(net: Net, folder: Path, name: str, kills: int, payments: int, *database: str) -> None:
    """Pay while it is killed again and again; every payment must come back as one cent, once."""
    folder.mkdir(mode=0o700)
    payer = net.fund(name)["account"]
    key = net.run("module", "key", MODULE, "--data", folder,
                  "--passphrase-file", net.passphrase_file, "--json")  # fmt: skip
    account = key.json()["account"] if key.code == 0 else pytest.fail(key.err)
    token = net.run("module", "token", "create", MODULE, "--name", "counter", "--data", folder,
                    "--out", folder / "token", "--json")  # fmt: skip
    assert token.code == 0, token.err

    words = ["--from", name, "--yes", "--allow-new-recipient"]
    words += ["--passphrase-file", net.passphrase_file]

    def send(amount: str) -> None:
        done = net.run("wallet", "send", account, amount, *words)
        # On a busy machine it may still be on its way when the command ends: sent all the same.
        assert done.code in (0, PENDING), done.err

    send("20")
    draw, side = random.Random(kills), Sidecar(net, folder, account, *database)

    def pay() -> None:
        for _ in range(payments):
            send("1")

    paying = threading.Thread(target=pay)
    paying.start()
    for _ in range(kills):
        side.start()
        time.sleep(draw.random() * 1.5)
        side.kill()
    paying.join()
    url = side.start()
    try:
        count: Any = {}
        deadline = time.monotonic() + WAIT_S_MAX
        while count.get("done") != payments + 1 and time.monotonic() < deadline:
            time.sleep(0.2)
            counted = net.run("rpc", "mill_count", "--rpc", url, "--json",
                              "--token-file", folder / "token")  # fmt: skip
            count = counted.json()
        assert count == {"in": 0, "out": 0, "done": payments + 1}
    finally:
        side.kill()
    balances = net.run("wallet", "balance", account, "--json").json()["balances"]
    left = int(next(one["amount"] for one in balances if one["asset"] == "CLAW"))
    fee = int(net.run("rpc", "chain_getParameters", "--json").json()["parameters"]["fee_min"])
    assert left == 2_000 + 100 * payments - (1 + fee) * (payments + 1)
    page = net.run("rpc", "account_getTransactions", f"account={payer}", "limit=200", "--json")
    assert page.code == 0


def test_a_module_that_is_killed_loses_nothing_and_sends_nothing_twice(
    net: Net, tmp_path: Path
) -> None:
    """Otherwise a server that loses its power loses an order, or pays a refund twice."""
    killed(net, tmp_path / "mill", "miller", kills=3, payments=3)


@pytest.mark.full
def test_thirty_kills(net: Net, tmp_path: Path) -> None:
    """The same, thirty times."""
    killed(net, tmp_path / "mill", "miller30", kills=30, payments=12)


@pytest.mark.full
def test_kills_with_postgresql(net: Net, tmp_path: Path) -> None:
    """The same, on the other database."""
    with server() as url:
        killed(net, tmp_path / "mill", "millerpg", 5, 4, "--database", url)
