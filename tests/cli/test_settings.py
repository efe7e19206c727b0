"""`config` and `doctor`: settings changed without breaking a file, faults named with their fix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clawpurse.cli import doctor
from clawpurse.cli.network import create_network
from clawpurse.wallet.keystore import Keystore
from tests.cli.conftest import Cli
from tests.cli.fakenode import FakeNode

NODE_FILE = """# our Berlin node
name = "berlin"   # shown to peers
rpc_listen = "127.0.0.1:9641"
"""


@pytest.fixture
def berlin(cli: Cli, tmp_path: Path) -> Path:
    root = tmp_path / "berlin"
    assert cli("init", "--home", str(root)).code == 0
    (root / "config.toml").write_text(NODE_FILE)
    return root


def test_a_node_setting_changes_and_the_rest_stays(cli: Cli, berlin: Path) -> None:
    """Comments are the operator's memory."""
    done = cli("config", "set", "log_level", "debug", "--home", str(berlin))
    assert (done.code, done.out) == (0, "✓ log_level = debug\n")
    text = (berlin / "config.toml").read_text()
    assert text == NODE_FILE + 'log_level = "debug"\n'
    cli("config", "set", "peers", f"{'ab' * 32}@h:1,{'cd' * 32}@h:2", "--home", str(berlin))
    shown = json.loads(cli("config", "show", "--home", str(berlin), "--json").out)
    assert shown["settings"]["peers"] == [f"{'ab' * 32}@h:1", f"{'cd' * 32}@h:2"]
    assert (shown["sources"]["name"], shown["sources"]["authority"]) == ("file", "default")
    assert cli("config", "get", "name", "--home", str(berlin)).out == "berlin\n"
    got = cli(
        "config", "get", "log_level", "--home", str(berlin), env={"CLAWPURSE_LOG_LEVEL": "error"}
    )
    assert got.out == "error\n"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("log_levle", "debug", "Unknown log_levle; nearest: log_level."),
        ("log_level", "loud", "log_level: Input should be 'debug', 'info'"),
        ("min_free_disk_mb", "much", "min_free_disk_mb is a whole number, not 'much'."),
        ("rpc_listen", "9641", "rpc_listen"),
        ("rpc_listen", "0.0.0.0:9641", "is open beyond this machine without TLS."),
        ("authority", "perhaps", "authority is true or false, not 'perhaps'."),
    ],
)
def test_a_wrong_value_is_not_written(
    cli: Cli, berlin: Path, name: str, value: str, words: str
) -> None:
    """A node that no longer starts because of its file is found at the worst time."""
    done = cli("config", "set", name, value, "--home", str(berlin))
    assert done.code in (1, 2)
    assert words in done.err
    assert (berlin / "config.toml").read_text() == NODE_FILE


def test_validate_names_the_line(cli: Cli, berlin: Path) -> None:
    """The sentence of EXPERIENCE, word by word."""
    (berlin / "config.toml").write_text("\n" * 13 + "min_free_dsk = 4\n")
    done = cli("config", "validate", "--home", str(berlin))
    assert done.err.startswith("config.toml:14 unknown min_free_dsk; nearest: min_free_disk")
    assert done.code == 1


def test_client_settings_are_defaults_of_options(cli: Cli, home: Path, node: FakeNode) -> None:
    """What is typed every day is written down once."""
    assert cli("config", "set", "from", "alice").code == 0
    assert cli("config", "set", "timeout", "30").code == 0
    assert cli("config", "set", "networks.main.rpc", "http://10.0.0.7:9641").code == 0
    assert cli("config", "set", "network", "main").code == 0
    assert json.loads(cli("config", "show", "--json").out)["settings"] | {} == {
        "network": "main",
        "networks.main.rpc": ["http://10.0.0.7:9641"],
        **dict.fromkeys(
            (
                "asset",
                "authorities",
                "base_port",
                "ca",
                "debug",
                "json",
                "language",
                "limit",
                "memo",
                "no_color",
                "passphrase_file",
                "rpc",
                "token_file",
                "words",
            )
        ),
        "from": "alice",
        "timeout": 30,
    }
    asked: list[str] = []
    real = node.open

    def opened(url: str) -> object:
        asked.append(url)
        return real(url)

    node.open = opened  # type: ignore[method-assign]
    assert cli("status").code == 0
    assert asked == ["http://10.0.0.7:9641"]
    missing = cli("status", "--network", "mian")
    assert (missing.code, missing.err) == (
        2,
        "No network is named mian; known: main. → clawpurse config show\n",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("network", "nowhere"),
        ("networks.main.rpc", "ftp://x"),
        ("networks.main.genesis_hash", "0x12"),
        ("timeout", "soon"),
        ("json", "yes"),
        ("assets", "EUR"),
        ("yes", "true"),
        ("home", "/elsewhere"),
    ],
)
def test_client_settings_that_make_no_sense_are_refused(
    cli: Cli, home: Path, name: str, value: str
) -> None:
    """A confirmation in a file would stand for ever; a folder would decide where the file is."""
    assert cli("config", "set", name, value).code in (1, 2)
    assert not (home / "config.toml").exists()


def test_doctor_is_content_with_what_is_well(
    cli: Cli, wallet: Keystore, monkeypatch: pytest.MonkeyPatch, clock: object
) -> None:
    """A doctor who always finds something is not asked any more."""
    monkeypatch.setattr(doctor, "_kernel_clock_state", lambda: 0)
    monkeypatch.setattr(doctor, "now_ms", clock)
    done = cli("doctor")
    assert done.code == 0, done.out
    assert done.out.startswith("All ")
    assert all(line.startswith("✓") for line in done.out.splitlines()[2:])


def test_doctor_names_faults_with_their_fix(
    cli: Cli,
    wallet: Keystore,
    node: FakeNode,
    monkeypatch: pytest.MonkeyPatch,
    clock: object,
) -> None:
    """Each line ends with what to type."""
    monkeypatch.setattr(doctor, "now_ms", clock)
    monkeypatch.setattr(doctor, "_kernel_clock_state", lambda: 5)
    (wallet.directory / "alice.json").chmod(0o644)
    (wallet.directory / "bob.json").write_text("{}")
    node.down = True
    done = cli("doctor")
    assert done.code == 1
    assert "! clock " in done.out
    assert f"alice can be read by others → chmod 600 {wallet.directory}/alice.json" in done.out
    assert "→ clawpurse keys import bob" in done.out
    assert "No node answers at 127.0.0.1:9641. → make run, or add --rpc URL" in done.out
    found = json.loads(cli("doctor", "--json").out)
    assert found["ok"] is False
    assert {"level", "check", "what", "fix"} == set(found["findings"][0])


def test_doctor_sees_a_clock_that_is_behind_the_chain(
    cli: Cli, wallet: Keystore, node: FakeNode, clock: object
) -> None:
    """With such a clock every payment is refused as expired or too early."""
    status = node.chain_getStatus({})
    node.overrides["chain_getStatus"] = lambda _: {**status, "timeMs": 4_102_444_800_000}
    done = cli("doctor")
    assert done.code == 1
    assert "in this machine's future → sudo timedatectl set-ntp true" in done.out


def test_doctor_looks_at_a_node(cli: Cli, tmp_path: Path) -> None:
    """Open keys, a lost signing state, a wrong genesis: found before the node refuses."""
    made = create_network(tmp_path / "net", 1, 39_700, 1_800_000_000_000)
    (home,) = made.homes
    well = cli("doctor", "--home", str(home.root))
    assert well.code == 0, well.out
    assert "not running → clawpurse start --home" in well.out
    home.authority_key.chmod(0o644)
    opened = cli("doctor", "--home", str(home.root))
    assert opened.code == 1
    assert f"→ chmod 600 {home.authority_key}" in opened.out
    home.authority_key.chmod(0o600)
    for file in home.signer.iterdir():
        file.unlink()
    lost = cli("doctor", "--home", str(made.folder))
    assert lost.code == 1
    assert "the signing state is missing" in lost.out
    home.genesis.write_text("{}")
    wrong = cli("doctor", "--home", str(home.root))
    assert wrong.code == 1
    assert "is not a genesis" in wrong.out
