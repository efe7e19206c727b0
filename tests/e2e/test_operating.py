"""An operator at work on real processes: TLS by a CA of one's own, tokens, peers, settings."""

from __future__ import annotations

import json
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from clawpurse.cli.network import Ports
from tests.certificates import Ca, make_ca
from tests.e2e.conftest import Done, Run, free_base_port, runner

pytestmark = pytest.mark.real
DEADLINE_S = 60.0


class Guarded(NamedTuple):
    """One authority behind TLS that wants a token of everybody, and who calls it."""

    run: Run
    node: Path
    url: str
    ca: Ca
    base_port: int
    genesis: str
    genesis_hash: str
    p2p: str
    account: str

    def create(self, name: str, *scopes: str, **options: object) -> tuple[dict[str, Any], Path]:
        """A token in a file of its own."""
        out = self.node.parent / f"{name}.token"
        words = [word for scope in scopes for word in ("--scope", scope)]
        words += [str(word) for pair in options.items() for word in (f"--{pair[0]}", pair[1])]
        home = ("--home", self.node, "--out", out, "--json")
        return self.run("token", "create", "--name", name, *words, *home).json(), out

    def call(self, method: str, token: Path, *more: object) -> Done:
        return self.run(
            "rpc", method, *more, "--rpc", self.url, "--ca", self.ca.file, "--token-file", token,
            "--json",
        )  # fmt: skip


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    root = tmp_path_factory.mktemp("guarded")
    run, folder, base = runner(root / "client"), root / "net", free_base_port(2)
    ca = make_ca(root)
    made = run(
        "testnet", "start", "--authorities", 1, "--home", folder, "--base-port", base, "--detach",
        "--json",
    ).json()  # fmt: skip
    run("testnet", "stop", "--home", folder)
    node = folder / "authority-1"
    ca.serve(node, "tls")
    for name, value in (
        ("rpc_tls_certificate", "tls.pem"),
        ("rpc_tls_key", "tls.key"),
        ("rpc_closed", "true"),
    ):
        run("config", "set", name, value, "--home", node, "--json").json()
    try:
        started = run("start", "--home", node, "--detach", "--json").json()
        facts = made["genesis"], made["genesisHash"], started["p2p"], made["faucet"]
        yield Guarded(run, node, started["rpc"], ca, base, *facts)
    finally:
        run("stop", "--home", node)


@pytest.mark.parametrize("way", ["option", "environment", "file"])
def test_a_client_trusts_the_ca_that_it_is_given(
    guarded: Guarded, way: str, tmp_path: Path
) -> None:
    """A consortium has a CA of its own; without a way to name it everybody would turn TLS off."""
    _, token = guarded.create(f"reader-{way}", "*")
    run = runner(tmp_path / "client")
    assert guarded.url.startswith("https://")
    words = ["status", "--rpc", guarded.url, "--json"]
    bare = run(*words, "--token-file", token)
    assert (bare.code, json.loads(bare.out)["error"]["name"]) == (3, "untrusted")
    assert "--ca FILE" in bare.out
    if way == "option":
        found = run(*words, "--token-file", token, "--ca", guarded.ca.file)
    elif way == "environment":
        variables = {"CLAWPURSE_TOKEN_FILE": str(token), "CLAWPURSE_CA": str(guarded.ca.file)}
        found = run(*words, **variables)
    else:
        for name, value in (("ca", guarded.ca.file), ("token_file", token)):
            run("config", "set", name, value, "--json").json()
        found = run(*words)
    assert found.json()["authorities"] == 1
    other = make_ca(tmp_path, "other")
    wrong = run(*words, "--ca", other.file)
    assert (wrong.code, json.loads(wrong.out)["error"]["name"]) == (3, "untrusted")
    missing = run(*words, "--ca", tmp_path / "none.pem")
    assert (missing.code, "cannot be used as --ca" in missing.out) == (2, True)


def test_paying_reading_and_following_go_through_tls(guarded: Guarded) -> None:
    """One command that forgot the CA would be the one that people need."""
    _, token = guarded.create("all", "*")
    way = ("--rpc", guarded.url, "--ca", guarded.ca.file, "--token-file", token, "--json")
    paid = guarded.run("faucet", guarded.account, *way)
    assert paid.code == 0, paid.err + paid.out
    balance = guarded.run("wallet", "balance", guarded.account, *way).json()
    assert balance["account"] == guarded.account
    followed = guarded.run("events", "--topic", "blocks", "--from", "beginning", "--count", 1, *way)
    assert json.loads(followed.out.splitlines()[0])["topic"] == "blocks"
    found = guarded.run("wallet", "history", guarded.account, *way)
    assert found.code == 0, found.err + found.out


def test_a_token_opens_what_its_scopes_say_until_it_is_revoked(guarded: Guarded) -> None:
    """Whoever gives a shop a token must be able to take it back, and to give it no more."""
    made, token = guarded.create("shop", "chain_*", expires="2h")
    assert (made["state"], made["scopes"], made["file"]) == ("valid", ["chain_*"], str(token))
    assert "token" not in made
    for path in (token, guarded.node / "tokens.json", guarded.node / "token.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    _until(lambda: guarded.call("chain_getStatus", token).code == 0)
    beyond = guarded.call("mempool_getStatus", token)
    assert (beyond.code, json.loads(beyond.out)["error"]["code"]) == (1, -32007)
    assert json.loads(guarded.call("admin_stop", token).out)["error"]["code"] == -32007
    key, key_file = guarded.create("till", "chain_getStatus", kind="api-key")
    secret = key_file.read_text().strip()
    assert secret.startswith("cpk_")
    assert secret not in (guarded.node / "tokens.json").read_text()
    _until(lambda: guarded.call("chain_getStatus", key_file).code == 0)
    listed = guarded.run("token", "list", "--home", guarded.node, "--json").json()["tokens"]
    states = {one["id"]: one["state"] for one in listed}
    assert (states[made["id"]], states[key["id"]]) == ("valid", "valid")
    for one, file in ((made, token), (key, key_file)):
        gone = guarded.run("token", "revoke", one["id"], "--home", guarded.node, "--json").json()
        assert gone["state"] == "revoked"
        _until(lambda file=file: guarded.call("chain_getStatus", file).code != 0)
        refused = json.loads(guarded.call("chain_getStatus", file).out)["error"]
        assert refused["code"] == -32006


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--name", "x", "--scope", "chain_ *"), "--scope"),
        (("--name", "x", "--scope", "*", "--expires", "367d"), "--expires"),
        (("--name", "x", "--scope", "*", "--expires", "soon"), "--expires"),
        (("--name", "", "--scope", "*"), "--name"),
    ],
)
def test_what_is_no_token_is_refused_and_not_listed(
    guarded: Guarded, words: tuple[str, ...], why: str
) -> None:
    """A mistyped scope must not become a token that opens nothing, or everything."""
    register = guarded.node / "tokens.json"
    before = register.read_bytes() if register.exists() else b""
    done = guarded.run("token", "create", *words, "--home", guarded.node)
    assert (done.code, why in done.err) == (2, True), done.err
    assert (register.read_bytes() if register.exists() else b"") == before
    missing = guarded.run("token", "show", "t-0000", "--home", guarded.node)
    assert (missing.code, "There is no token t-0000" in missing.err) == (2, True)


def test_the_doctor_sees_tls_tokens_and_the_end_of_a_certificate(guarded: Guarded) -> None:
    """Where strangers can call, somebody looks at who may, before they do."""
    _, token = guarded.create("known", "chain_*")

    def lines() -> dict[str, dict[str, Any]]:
        done = guarded.run("doctor", "--home", guarded.node, "--json")
        return {one["check"]: one for one in json.loads(done.out)["findings"]}

    found = lines()
    callers, certificate = found["authority-1 callers"], found["authority-1 certificate"]
    assert (callers["level"], certificate["level"]) == ("ok", "ok")
    # How many depends on which tests ran before on this network.
    assert re.search(r"\b(1 token or key|\d+ tokens and keys), TLS", callers["what"])
    assert certificate["what"].startswith("ends in ")
    soon = int(time.time() * 1000) + 3 * 86_400_000
    guarded.ca.serve(guarded.node, "tls", ends_ms=soon)
    try:
        assert lines()["authority-1 certificate"]["level"] == "warning"
        guarded.ca.serve(guarded.node, "tls", ends_ms=soon - 10 * 86_400_000)
        ended = lines()["authority-1 certificate"]
        assert (ended["level"], "nobody trusts" in ended["what"]) == ("failed", True)
    finally:
        guarded.ca.serve(guarded.node, "tls")
        # The node may have taken the ended one over; who calls next has done nothing wrong.
        _until(lambda: guarded.call("chain_getStatus", token).code == 0)


def test_peers_are_added_and_removed_at_a_running_node_and_a_standing_one(
    guarded: Guarded, tmp_path: Path
) -> None:
    """A member that moves, leaves or joins costs nobody a restart, and no restart forgets it."""
    run, home = guarded.run, tmp_path / "follower"
    join = ["join", guarded.genesis, "--hash", guarded.genesis_hash, "--peer", guarded.p2p]
    run(*join, "--home", home, "--json").json()
    ident = guarded.p2p.partition("@")[0]
    at = ("--home", home, "--base-port", Ports.of(guarded.base_port, 1).p2p, "--json")

    def peers() -> Any:
        return run("peer", "list", *at).json()

    assert peers() == {"configured": [guarded.p2p], "connected": [], "bans": []}
    removed = run("peer", "remove", ident, *at).json()
    assert (removed["removed"], peers()["configured"]) == (True, [])
    assert run("peer", "remove", ident, *at).code == 2
    assert run("peer", "add", guarded.p2p, *at).json()["added"] is True
    run("start", *at, "--detach").json()
    try:
        assert [one["nodeId"] for one in peers()["connected"]] == [ident]
        banned = run("peer", "ban", ident, *at).json()
        assert (banned["removed"], banned["disconnected"]) == (True, True)
        _until(lambda: not peers()["connected"])
        assert [one["subject"] for one in peers()["bans"]] == [ident]
        added = run("peer", "add", guarded.p2p, *at).json()
        assert (added["connected"], peers()["bans"]) == (True, [])
        assert run("peer", "add", "nobody", *at).code == 2
        run("stop", "--home", home, "--json").json()
        run("start", *at, "--detach").json()
        assert [one["nodeId"] for one in peers()["connected"]] == [ident]
    finally:
        run("stop", "--home", home)


def test_a_running_node_reads_its_file_anew_when_told(guarded: Guarded) -> None:
    """The command that changes a setting names the one that makes it count."""
    run, node = guarded.run, guarded.node
    told = run("config", "set", "min_free_disk_mb", "100", "--home", node)
    assert "clawpurse config reload --home" in told.out + told.err
    run("config", "set", "tree_cache_mb", "128", "--home", node, "--json").json()
    done = run("config", "reload", "--home", node, "--json").json()
    assert done == {"changed": ["min_free_disk_mb"], "needsRestart": ["tree_cache_mb"]}
    file = node / "config.toml"
    good = file.read_text()
    file.write_text(good + "log_levl = 'info'\n")
    try:
        refused = run("config", "reload", "--home", node, "--json")
        assert (refused.code, "nearest: log_level" in refused.out) == (1, True)
    finally:
        file.write_text(good)


def _until(condition: Any) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
