"""Sign-in beside a real node: invited, bound, let in by roles on the ledger, out without."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.errors import UNAUTHENTICATED, RpcError
from clawpurse.modules.kit.web.http_client import HttpClient
from tests.e2e.conftest import PASSPHRASE, Run, environment_for, free_base_port, runner

pytestmark = [pytest.mark.real, pytest.mark.full]
# By its path: what is installed may be older than what is tested.
MODULE = "clawpurse.modules.auth.service:Auth"
PASSWORD = "seven quiet lanterns drift"
# A block, the event's way to the service, and its look each second; on a busy machine.
BLOCK_S_MAX = 15


def call(url: str, method: str, params: Any = None, token: str | None = None) -> Any:
    """The result, or the error's code."""

    async def ask() -> Any:
        async with RpcClient(url, token=token) as client:
            return await client.call(method, params or {})

    try:
        return trio.run(ask)
    except RpcError as error:
        return error.code


def until(look: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + BLOCK_S_MAX
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@contextmanager
def serving(client: Path, node: str, log: Path) -> Iterator[str]:
    """`module serve auth`; gives its URL."""
    words = ["module", "serve", MODULE, "--node", node, "--listen", "127.0.0.1:0", "--json"]
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "clawpurse.cli", *words],
            env=environment_for(client),
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        told = json.loads(line)
        assert "url" in told, told
        yield str(told["url"])
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def keys_of(url: str) -> bytes:
    async def fetch() -> bytes:
        async with HttpClient(url) as http:
            return (await http.request("GET", "/.well-known/jwks.json")).body

    return trio.run(fetch)


@pytest.fixture
def network(tmp_path: Path) -> Iterator[tuple[Run, str, Path]]:
    """One authority that takes tokens of `clawpurse:auth`."""
    run, folder = runner(tmp_path / "client"), tmp_path / "net"
    base = free_base_port(1)
    start = ("testnet", "start", "--authorities", 1, "--home", folder, "--base-port", base)
    node = run(*start, "--detach", "--json").json()["nodes"][0]
    try:
        yield run, node["rpc"], folder
    finally:
        run("testnet", "stop", "--home", folder)


def test_who_is_let_in_by_a_role_is_out_when_it_is_taken(
    network: tuple[Run, str, Path], tmp_path: Path
) -> None:
    """Otherwise an office goes on after its end, at the service or at a node."""
    run, node, folder = network
    (tmp_path / "pass").write_text(PASSPHRASE + "\n")
    passphrase = ("--passphrase-file", tmp_path / "pass")
    council = ("--authority-home", folder / "authority-1", "--yes")
    run("keys", "add", "alice", *passphrase, "--json").json()
    run("faucet", "alice", "--json").json()
    for role in ("auth.admin", "operator"):
        assert run("role", "grant", role, "alice", *council).code == 0
    with serving(tmp_path / "client", node, tmp_path / "log") as url:
        made = run("module", "token", "create", MODULE, "--account", "alice",
                   "--out", tmp_path / "machine", "--json")  # fmt: skip
        assert made.code == 0, made.err
        machine = (tmp_path / "machine").read_text().strip()
        changes = {"roleScopes": {"operator": ["admin_*"]}}
        changed = call(
            url, "auth_setConfiguration", {"changes": changes, "reason": "operators"}, machine
        )
        assert changed["version"] == 1
        assert call(url, "auth_invite", {"name": "Ada"}) == UNAUTHENTICATED
        invited = call(url, "auth_invite", {"name": "Ada"}, machine)
        asked = {"invitation": invited["invitation"], "password": PASSWORD}
        (tmp_path / "ada").write_text(call(url, "auth_register", asked)["accessToken"])
        (tmp_path / "ada").chmod(0o600)
        at = ("--service", url, *passphrase)
        bound = run("auth", "bind", "alice", *at, "--token-file", tmp_path / "ada", "--json")
        assert bound.json()["roles"] == ["auth.admin", "operator"]
        held = ("auth", "login", "alice", *at, "--out", tmp_path / "session", "--json")
        assert "admin_*" in run(*held).json()["scopes"]
        (folder / "authority-1" / "auth.jwks").write_bytes(keys_of(url))
        taken_over(run, folder)
        token = run("auth", "token", tmp_path / "session", "--json").json()["accessToken"]
        assert "levels" in call(node, "admin_setLogLevel", {"level": "info"}, token)
        assert "user" in call(url, "auth_me", {}, token)
        assert run("role", "revoke", "operator", "alice", "--reason", "left", *council).code == 0
        # The node knows with the block, the service when it has heard of it.
        assert call(node, "chain_getStatus", {}, token) == UNAUTHENTICATED
        until(lambda: call(url, "auth_me", {}, token) == UNAUTHENTICATED, "the token ends")
        token = run("auth", "token", tmp_path / "session", "--json").json()["accessToken"]
        assert call(url, "auth_me", {}, token)["roles"] == ["auth.admin"]
        assert call(node, "chain_getStatus", {}, token)["height"] > 0
        assert run("auth", "logout", tmp_path / "session").code == 0
        assert call(url, "auth_me", {}, token) == UNAUTHENTICATED
    log = (tmp_path / "log").read_text()
    assert "Ada" not in log and token not in log


def taken_over(run: Run, folder: Path) -> None:
    """The node takes tokens of the service from its next start on."""
    run("testnet", "stop", "--home", folder)
    config = folder / "authority-1" / "config.toml"
    said = 'rpc_token_issuer = "clawpurse:auth"\nrpc_token_issuer_keys = "auth.jwks"\n'
    config.write_text(said + config.read_text())
    started = run("testnet", "start", "--home", folder, "--detach", "--json")
    assert started.code == 0, started.err
