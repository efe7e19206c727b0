"""Configuration: one frozen object, from four places, that says what is wrong in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from clawpurse.ledger.errors import OperatorError
from clawpurse.node.config import (
    NodeConfig,
    config_text,
    load_config,
    read_toml,
    split_address,
    validate,
)

PEER = "ab" * 32 + "@node.example:9640"


def made(**values: Any) -> NodeConfig:
    return NodeConfig.model_validate(values)


def written(tmp_path: Path, text: str) -> Path:
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    return tmp_path


def test_nothing_configured_is_a_safe_follower(tmp_path: Path) -> None:
    config = load_config(tmp_path, {})
    assert config == made()
    assert not config.authority
    config.require_safe_listeners()


def test_later_places_win_defaults_file_environment_flags(tmp_path: Path) -> None:
    home = written(tmp_path, 'name = "file"\nlog_level = "warning"\nmin_free_disk_mb = 100\n')
    environment = {"CLAWPURSE_NAME": "environment", "CLAWPURSE_LOG_LEVEL": "error", "PATH": "/"}
    config = load_config(home, environment, {"name": "flag", "authority": None})
    assert (config.name, config.log_level, config.min_free_disk_mb) == ("flag", "error", 100)
    # Other variables with our prefix belong to the client.
    load_config(home, {"CLAWPURSE_HOME": "/x", "CLAWPURSE_RPC": "http://x"})


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("AUTHORITY", "true", True),
        ("AUTHORITY", "0", False),
        ("MIN_FREE_DISK_MB", "64", 64),
        ("PEERS", f"{PEER}, {PEER}", (PEER, PEER)),
        ("PEERS", "", ()),
    ],
)
def test_the_environment_is_read_by_declared_types(
    name: str, text: str, value: Any, tmp_path: Path
) -> None:
    config = load_config(tmp_path, {f"CLAWPURSE_{name}": text})
    assert getattr(config, name.lower()) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('rpc_listn = "127.0.0.1:1"', "config.toml:2 unknown rpc_listn; nearest: rpc_listen."),
        ("qqq = 1", "config.toml:2 unknown qqq; nearest:"),
        ('authority = "yes"', "config.toml:2 authority:"),
        ("min_free_disk_mb = 1", "config.toml:2 min_free_disk_mb:"),
        ("min_free_disk_mb = 17.5", "config.toml:2 min_free_disk_mb:"),
        ('rpc_listen = "here"', "config.toml:2 rpc_listen: 'here' is not HOST:PORT."),
        ('p2p_listen = "127.0.0.1:99999"', "config.toml:2 p2p_listen: port 99999"),
        ('name = "Has Spaces"', "config.toml:2 name:"),
        ('log_level = "loud"', "config.toml:2 log_level:"),
        ('peers = ["nobody"]', "config.toml:2 peers: 'nobody': peer address: has no @"),
        ('peers = "x"', "config.toml:2 peers:"),
        ('private_peers = ["ab"]', "config.toml:2 private_peers: 'ab': node id"),
        ('p2p_advertise = ["a..b:1"]', "config.toml:2 p2p_advertise: 'a..b:1'"),
        ('p2p_advertise = ["a.example:0"]', "config.toml:2 p2p_advertise:"),
        ("name = ", "is not TOML"),
        ("name = 1\nname = 2", "is not TOML"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(
    text: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(OperatorError) as caught:
        load_config(written(tmp_path, f"# mine\n{text}\n"), {})
    assert says in str(caught.value) and "\n" not in caught.value.what
    assert caught.value.next_command == "clawpurse config validate"


def test_a_file_that_is_no_text_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(OperatorError, match="cannot be read"):
        read_toml(tmp_path / "config.toml")


@pytest.mark.parametrize("name", ["rpc_listen", "metrics_listen"])
@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "[::]", "example.org"])
def test_a_node_never_opens_unprotected_ports_to_others(name: str, host: str) -> None:
    """Anybody in the network could else stop the node or watch its accounts."""
    config = made(**{name: f"{host}:9000"})
    with pytest.raises(OperatorError, match=name):
        config.require_safe_listeners()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "[::1]", "localhost"])
def test_this_machine_may_listen_to_itself(host: str) -> None:
    config = made(rpc_listen=f"{host}:9000", p2p_listen="0.0.0.0:9640")
    config.require_safe_listeners()


def test_configuration_is_frozen() -> None:
    """Read once; nothing changes under a running node."""
    with pytest.raises(ValidationError):
        made().name = "other"


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    values = {
        "name": "node-1",
        "peers": (PEER,),
        "authority": True,
        "allowed_origins": ('https://a.example/"quoted"\\',),
        "min_free_disk_mb": 99,
    }
    home = written(tmp_path, config_text(values))
    assert load_config(home, {}) == made(**values)
    assert validate(read_toml(home / "config.toml"), home / "config.toml").name == "node-1"


def test_addresses_are_split_by_their_last_colon() -> None:
    assert split_address("[::1]:9") == ("::1", 9)
    assert split_address("host:0") == ("host", 0)
    for text in ("", ":1", "host", "host:", "host:x", "host:٣", "host:65536"):
        with pytest.raises(ValueError):
            split_address(text)
