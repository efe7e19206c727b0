"""The page that shows how to write a module, done word by word: its file, its commands, its end."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.conftest import Done, Net, environment_for, free_base_port
from tests.modules.kit.postgres import server

pytestmark = pytest.mark.real
GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-module.md"
WAIT_S_MAX = 60
LINES_MAX = 50
"""About thirty that say something, and what a formatter makes of them."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text("utf-8"), re.S)


def until(check: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + WAIT_S_MAX
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"never happened: {what}")


class Shop(NamedTuple):
    """A network, the installed module, and commands as the guide types them."""

    net: Net
    folder: Path
    site: Path

    def environment(self) -> dict[str, str]:
        variables = environment_for(self.net.client)
        variables["PYTHONPATH"] = os.pathsep.join([str(self.site), *sys.path])
        return variables

    def type(self, line: str, *more: str) -> Done:
        """Type one line of the guide; the test network lies elsewhere than the guide says."""
        line = line.replace("~/.clawpurse/testnet", str(self.net.home))
        words = [*shlex.split(line)[1:], *more]
        done = subprocess.run(
            [sys.executable, "-m", "clawpurse.cli", *words],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def serve(self, *more: str) -> subprocess.Popen[str]:
        """Run the module as the guide says, on any port, at this network's node."""
        words = ["module", "serve", "shop", "--node", self.net.rpc, "--listen", "127.0.0.1:0"]
        if not more:
            words += ["--passphrase-file", "passphrase"]
        words.append("--json")
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "clawpurse.cli", *words, *more],
                cwd=self.folder,
                env=self.environment(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (self.folder / "log").read_text()
        return process


@pytest.fixture(scope="module")
def shop(net: Net, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The guide's files, installed as the guide says (into a folder of its own)."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "acme_shop.py").write_text(blocks("python")[0])
    (folder / "pyproject.toml").write_text(blocks("toml")[0])
    (folder / "passphrase").write_text(Path(net.passphrase_file).read_text())
    site = folder / "site"
    install = next(line for line in blocks("sh")[0].splitlines() if line.startswith("pip "))
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(install), "--target", str(site), "--quiet"],
        cwd=folder,
        # pip's own warnings are no fault of ours.
        env={**os.environ, "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = Shop(net, folder, site)
    for line in blocks("sh")[1].splitlines():
        told = made.type(line)
        assert told.code == 0, (line, told.err)
    return made


def test_the_module_is_about_thirty_lines() -> None:
    """Otherwise the guide grew into a program."""
    said = [line for line in blocks("python")[0].splitlines() if line.strip()]
    assert len(said) <= LINES_MAX


def test_the_guide_word_by_word(shop: Shop) -> None:
    """Otherwise whoever follows it is left alone with an error."""
    for line in blocks("sh")[0].splitlines()[1:]:
        told = shop.type(line)
        assert told.code == 0 and "order" in told.out, (line, told.err)
    token_lines = [line for line in blocks("sh")[2].splitlines() if " token " in line]
    for line in token_lines:
        assert shop.type(line).code == 0, line
    account = shop.net.run("rpc", "role_list", "role=shop.admin", "--json").json()["holders"]
    assert len(account) == 1
    process = shop.serve()
    try:
        story(shop)
    finally:
        assert end(process) == 0
    process = shop.serve()
    try:
        kept = shop.type("clawpurse shop order get O-1 --token-file packer.token", "--json")
        assert kept.json()["state"] == "refunded"
    finally:
        assert end(process) == 0


def end(process: subprocess.Popen[str]) -> int:
    """Stop it as an operator does; return its exit code."""
    process.terminate()
    code = process.wait(WAIT_S_MAX)
    assert process.stdout is not None
    process.stdout.close()
    return code


def story(shop: Shop) -> None:
    """Set its account, pay it, look, ask for a refund, approve it: the payer has it back."""
    shop_account = shop_address(shop)
    for line in blocks("sh")[3].splitlines():
        told = shop.type(line.replace("SHOP", shop_account))
        assert told.code == 0, (line, told.err)
    for line in blocks("sh")[4].splitlines():
        paid = shop.type(line.replace("SHOP", shop_account))
        assert paid.code == 0, (line, paid.err)
    first = "clawpurse shop order get O-1 --token-file packer.token"
    until(lambda: shop.type(first).code == 0, "the payment opened an order")
    # The refund is a transaction of its own: the shop needs money for its fee.
    shop.type(
        f"clawpurse wallet send {shop_account} 1 --from keeper --passphrase-file passphrase",
        "--allow-new-recipient",
        "--yes",
    )
    before = balance(shop)
    for line in blocks("sh")[5].splitlines():
        told = shop.type(line)
        assert told.code == 0, (line, told.err)
    shown = shop.type(first, "--json").json()
    assert (shown["state"], shown["values"]["amount"]) == ("refunded", 1250)

    until(lambda: balance(shop) == before + 1250, "the payer has it back")
    refused = shop.type("clawpurse shop order move O-1 ship --token-file packer.token")
    assert refused.code == 4 and "not possible in state refunded" in refused.err


def balance(shop: Shop) -> int:
    told = shop.net.run("wallet", "balance", "packer", "--json").json()
    return int(next(one["amount"] for one in told["balances"] if one["asset"] == "CLAW"))


def shop_address(shop: Shop) -> str:
    """The account that `module key` printed; asking for another one is refused and names it."""
    keys = shop.net.client / "modules" / "shop" / "keys"
    file = json.loads((keys / "service.json").read_text())
    return str(file["account"])


@pytest.mark.full
def test_the_same_module_in_a_node_s_process(shop: Shop, tmp_path: Path) -> None:
    """Otherwise an operator needs a second process for each service."""
    home, base = tmp_path / "testnet", str(free_base_port(2))
    start = ["clawpurse testnet start --authorities 1 --detach --json", "--home", str(home)]
    started = shop.type(*start, "--base-port", base)
    assert started.code == 0, started.err
    node = started.json()["nodes"][0]
    place, passphrase = Path(node["home"]) / "modules" / "shop", shop.folder / "passphrase"
    try:
        for line in (
            f"clawpurse module key shop --data {place} --passphrase-file {passphrase}",
            f"clawpurse config set modules shop --home {node['home']}",
            f"clawpurse config set modules_passphrase_file {passphrase} --home {node['home']}",
            f"clawpurse stop --home {home}",
        ):
            told = shop.type(line)
            assert told.code == 0, (line, told.err)
        again = shop.type(*start)
        assert again.code == 0, again.err
        until((place / "service.json").exists, "the module serves in the node's process")
        url = json.loads((place / "service.json").read_text())["url"]
        pid = json.loads((place / "service.json").read_text())["pid"]
        assert pid == again.json()["nodes"][0]["pid"]
        made = f"clawpurse module token create shop --account packer --data {place} --out"
        assert shop.type(made, str(tmp_path / "token")).code == 0
        listed = shop.type("clawpurse shop order list --json", "--rpc", url,
                           "--token-file", str(tmp_path / "token"))  # fmt: skip
        assert listed.json() == {"records": [], "nextCursor": None}
        health = shop.type("clawpurse rpc node_getHealth --json", "--rpc", node["rpc"])
        assert "Module" not in json.dumps(health.json())
    finally:
        shop.type(f"clawpurse testnet stop --home {home}")


@pytest.mark.full
def test_the_guide_with_postgresql(shop: Shop) -> None:
    """Otherwise the guide's second database is a promise."""
    with server() as url:
        process = shop.serve("--data", str(shop.folder / "second"), "--database", url)
        try:
            place = shop.folder / "second"
            made = f"clawpurse module token create shop --account packer --data {place} --out"
            assert shop.type(made, str(place / "token")).code == 0
            told = json.loads((place / "service.json").read_text())
            listed = shop.type("clawpurse shop order list --json", "--rpc", told["url"],
                               "--token-file", str(place / "token"))  # fmt: skip
            assert listed.json()["records"] == []
            described = shop.type("clawpurse rpc shop_describe --json", "--rpc", told["url"],
                                  "--token-file", str(place / "token"))  # fmt: skip
            assert described.json()["kinds"][0]["prefix"] == "O"
        finally:
            assert end(process) == 0
