"""The register of tokens: durable before it is shown, live without restart, never too generous."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.kit.web.scopes import read_scopes
from clawpurse.modules.kit.web.tokens import Claims
from clawpurse.node.callers import open_callers
from clawpurse.node.config import NodeConfig, validate
from clawpurse.node.home import NodeHome
from clawpurse.node.tokens import (
    FOREIGN_LIFETIME_MAX_MS,
    KEPT_AFTER_END_MS,
    TOKEN,
    TOKENS_MAX,
    Entry,
    TokenRegister,
    _plain,
)

NOW_MS = 1_800_000_000_000
SCOPES = read_scopes(["chain_*"])


def entry(ident: str, expires_ms: int = NOW_MS + 1000) -> Entry:
    return Entry(ident, TOKEN, "shop", SCOPES, NOW_MS, expires_ms)


def claims(ident: str) -> Claims:
    return Claims("us", ("a",), ident, "shop", SCOPES, 0, 1)


def test_a_running_node_sees_what_the_command_wrote(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    node = TokenRegister(path)
    node.load()
    assert not node.stands(claims("t-1"))
    TokenRegister(path).add(entry("t-1"), NOW_MS)
    assert path.stat().st_mode & 0o777 == 0o600
    # At once: whoever made it uses it in the next command.
    assert node.stands(claims("t-1"))
    TokenRegister(path).revoke("t-1", NOW_MS + 5)
    node.refresh()
    assert not node.stands(claims("t-1"))
    assert node.entries["t-1"].revoked_ms == NOW_MS + 5
    assert TokenRegister(path).revoke("t-1", NOW_MS + 9).revoked_ms == NOW_MS + 5


def test_another_issuers_token_can_be_refused_for_as_long_as_it_can_live(tmp_path: Path) -> None:
    register = TokenRegister(tmp_path / "tokens.json")
    register.load()
    assert register.foreign_stands(claims("x-1"))
    register.revoke("x-1", NOW_MS)
    assert not register.foreign_stands(claims("x-1"))
    register.add(entry("t-1"), NOW_MS + FOREIGN_LIFETIME_MAX_MS + 1)
    assert list(register.entries) == ["t-1"]


def test_a_lost_or_damaged_register_admits_nobody(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    register = TokenRegister(path)
    register.add(entry("t-1"), NOW_MS)
    for bad in (b"", b"{}", b'{"version":2,"tokens":[]}', path.read_bytes()[:-40]):
        path.write_bytes(bad)
        register.refresh()
        assert not register.stands(claims("t-1"))
        with pytest.raises(OperatorError):
            TokenRegister(path).load()
    path.unlink()
    register.refresh()
    assert not register.entries


def test_the_register_is_bounded_and_forgets_what_ended_long_ago(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    register = TokenRegister(path)
    register.add(entry("t-1"), NOW_MS)
    later_ms = NOW_MS + 1000 + KEPT_AFTER_END_MS
    register.add(entry("t-2", later_ms + 9), later_ms)
    assert list(register.entries) == ["t-2"]
    import json

    many = [_plain(entry(f"t-{n}")) for n in range(TOKENS_MAX)]
    path.write_text(json.dumps({"version": 1, "tokens": many}))
    with pytest.raises(OperatorError, match="already"):
        register.add(entry("t-x"), NOW_MS)


WRITER = """
import sys
from pathlib import Path
from clawpurse.modules.kit.web.scopes import read_scopes
from clawpurse.node.tokens import TOKEN, Entry, TokenRegister
register = TokenRegister(Path(sys.argv[1]))
for n in range(10_000):
    register.add(Entry(f"t-{n}", TOKEN, "x", read_scopes(["*"]), 0, 10**15), 1)
    print(n, flush=True)
"""


@pytest.mark.real
def test_a_token_that_was_shown_is_there_after_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        shown = [int(child.stdout.readline()) for _ in range(10)]
        os.kill(child.pid, signal.SIGKILL)
        shown += [int(line) for line in child.stdout.read().split()]
    register = TokenRegister(path)
    register.load()
    assert {f"t-{n}" for n in shown} <= set(register.entries)
    register.add(entry("t-after"), NOW_MS)
    assert not [one for one in tmp_path.iterdir() if "unfinished" in one.name]


def configured(**values: object) -> NodeConfig:
    return validate(values, Path("config.toml"))


def test_a_node_open_beyond_this_machine_needs_tls_and_somebody_with_a_token(
    tmp_path: Path,
) -> None:
    """Each refusal is one line that names the command which comes next."""
    wide = {"rpc_listen": "0.0.0.0:9641"}
    with pytest.raises(OperatorError, match="rpc_tls_certificate"):
        configured(**wide).require_safe_listeners()
    with pytest.raises(OperatorError, match="metrics_listen"):
        configured(metrics_listen="[::]:9642").require_safe_listeners()
    proxied = configured(**wide, rpc_tls_by_proxy=True)
    proxied.require_safe_listeners()
    assert proxied.rpc_is_closed
    assert configured(rpc_tls_by_proxy=True).rpc_is_closed, "a proxy opens loopback, too"
    assert not configured().rpc_is_closed
    home = NodeHome(tmp_path)

    def opened(config: NodeConfig) -> None:
        open_callers(home, config, "net", bytes(32), "an-admin-token-of-some-length", lambda: 0)

    with pytest.raises(OperatorError, match="clawpurse token create") as caught:
        opened(proxied)
    assert "\n" not in str(caught.value)
    opened(configured())
    assert home.token_key.stat().st_mode & 0o777 == 0o600
    TokenRegister(home.tokens).add(entry("t-1"), NOW_MS)
    opened(proxied)


@pytest.mark.parametrize(
    "values",
    [
        {"rpc_tls_certificate": "a.pem"},
        {"rpc_token_issuer": "auth"},
        {"rpc_token_issuer": "auth", "rpc_token_issuer_keys": "http://auth.example/jwks"},
        {"rpc_client_ca": "ca.pem"},
        {"rpc_client_certificates": ["cn:shop chain_*"]},
        {"rpc_method_limits": ["asset_getHolders"]},
        {"rpc_method_limits": ["asset_getHolders=0/1"]},
        {"rpc_body_bytes_max": 1},
    ],
)
def test_settings_that_do_not_go_together_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(OperatorError):
        configured(**values).require_whole()


@pytest.mark.parametrize("rule", ["shop chain_*", "sha256:ab chain_*", "cn:shop", "cn: *", ""])
def test_rules_for_certificates_are_checked(rule: str) -> None:
    files = {"rpc_tls_certificate": "a", "rpc_tls_key": "b", "rpc_client_ca": "c"}
    configured(**files, rpc_client_certificates=["cn:shop chain_* tx_submit"])
    with pytest.raises(OperatorError):
        configured(**files, rpc_client_certificates=[rule])
