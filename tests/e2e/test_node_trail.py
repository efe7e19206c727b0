"""What an operator does to a node stands in the audit log: who, what, when, with which result."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import PASSPHRASE, environment_for, free_base_port, runner

pytestmark = [pytest.mark.real, pytest.mark.full]
MODULE = "clawpurse.modules.audit.service:AuditService"
WAIT_S_MAX = 30


def test_an_operators_calls_are_found_in_the_audit_log(tmp_path: Path) -> None:
    """Otherwise whoever has the node's token does what he likes, and nobody finds out."""
    run, folder = runner(tmp_path / "client"), tmp_path / "net"
    start = ("testnet", "start", "--authorities", 1, "--home", folder, "--detach", "--json")
    node = run(*start, "--base-port", free_base_port(1)).json()["nodes"][0]
    home = folder / "authority-1"
    (tmp_path / "pass").write_text(PASSPHRASE + "\n")
    run("keys", "add", "teller", "--passphrase-file", tmp_path / "pass", "--json").json()
    run("faucet", "teller", "--json").json()
    for role in ("audit.source", "auditor"):
        granted = run("role", "grant", role, "teller", "--authority-home", home, "--yes")
        assert granted.code == 0, granted.err
    token = tmp_path / "teller.token"
    named = ("--account", "teller", "--out", token)
    assert run("module", "token", "create", MODULE, *named).code == 0
    words = ["module", "serve", MODULE, "--node", node["rpc"], "--listen", "127.0.0.1:0", "--json"]
    with (tmp_path / "log").open("w") as log:
        service = subprocess.Popen(
            [sys.executable, "-m", "clawpurse.cli", *words],
            env=environment_for(tmp_path / "client"),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert service.stdout is not None
    try:
        told = json.loads(service.stdout.readline())
        assert "url" in told, told
        run("testnet", "stop", "--home", folder)
        run("config", "set", "modules_audit", told["url"], "--home", home, "--json").json()
        keep = ("config", "set", "modules_audit_token_file", token, "--home", home, "--json")
        run(*keep).json()
        run(*start).json()
        reloaded = run("config", "reload", "--home", home, "--json")
        assert reloaded.code == 0, reloaded.err
        asked = ("rpc", "audit_search", "--rpc", told["url"], "--token-file", token, "--json")
        deadline = time.monotonic() + WAIT_S_MAX
        found: list[dict[str, str]] = []
        while not found and time.monotonic() < deadline:
            entries = run(*asked, "what=admin_reloadConfig").json()["entries"]
            found = [json.loads(one["text"]) for one in entries]
            time.sleep(0.2)
        assert [(one["result"], one["actor"]) for one in found] == [("done", "admin")]
        assert found[0]["service"].startswith("node-")
    finally:
        service.terminate()
        service.wait(WAIT_S_MAX)
        service.stdout.close()
        run("testnet", "stop", "--home", folder)
