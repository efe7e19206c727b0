"""What `config show|get|set|validate` do, for the client's file and for a node's."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple

from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import counted
from clawpurse.cli.session import CONFIGURABLE, Session, shown
from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.node import config as node_config
from clawpurse.node.config import ENVIRONMENT_PREFIX, NodeConfig
from clawpurse.node.home import NodeHome
from clawpurse.wallet.home import ClientHome, check_rpc_url
from clawpurse.wallet.settings import Value, read_settings, with_value, write_setting

# What `true`, `5` and lists mean in the client's file, by the option's kind.
_FLAGS: Final = ("debug", "json", "no_color")
_NUMBERS: Final = ("authorities", "base_port", "limit", "timeout")


class Setting(NamedTuple):
    """One setting and where its value comes from: default, file, environment."""

    name: str
    value: Any
    source: str


def is_node_folder(root: Path) -> bool:
    """Tell whether a folder is a node's rather than the client's."""
    home = NodeHome(root)
    return home.node_key.exists() or home.genesis.exists()


def _root(session: Session) -> Path:
    return session.home.expanduser()


def settings_of(session: Session) -> tuple[Path, list[Setting]]:
    """Return the file and all settings. Raises `OperatorError` or `Malformed` naming the line."""
    root = _root(session)
    file = root / node_config.CONFIG_NAME
    if is_node_folder(root):
        return file, _node_settings(session, root)
    config = ClientHome(root).config(CONFIGURABLE)
    found = [Setting("network", config.network, "default" if config.network is None else "file")]
    for name, network in config.networks.items():
        found.append(Setting(f"networks.{name}.rpc", list(network.rpc_urls), "file"))
        if network.chain_id is not None:
            found.append(Setting(f"networks.{name}.chain_id", network.chain_id, "file"))
        if network.genesis_hash is not None:
            text = f"0x{network.genesis_hash.hex()}"
            found.append(Setting(f"networks.{name}.genesis_hash", text, "file"))
    for name in CONFIGURABLE:
        from_environment = session.environment.get(ENVIRONMENT_PREFIX + name.upper())
        if from_environment:
            found.append(Setting(name, from_environment, "environment"))
        elif name in config.options:
            found.append(Setting(name, config.options[name], "file"))
        else:
            found.append(Setting(name, None, "default"))
    return file, found


def _node_settings(session: Session, root: Path) -> list[Setting]:
    loaded = node_config.load_config(root, session.environment)
    in_file = node_config.read_toml(root / node_config.CONFIG_NAME)
    found = []
    for name in NodeConfig.model_fields:
        source = "file" if name in in_file else "default"
        if ENVIRONMENT_PREFIX + name.upper() in session.environment:
            source = "environment"
        value = getattr(loaded, name)
        found.append(Setting(name, list(value) if isinstance(value, tuple) else value, source))
    return found


def show(session: Session) -> None:
    """Print all settings."""
    file, found = settings_of(session)
    if session.json_mode:
        session.out.emit(
            {
                "file": str(file.absolute()),
                "settings": {one.name: one.value for one in found},
                "sources": {one.name: one.source for one in found},
            }
        )
        return
    session.out.note(f"{shown(file)}, then {ENVIRONMENT_PREFIX}…, then options")
    rows = [(one.name, _text(one.value), one.source) for one in found]
    session.out.table(("setting", "value", "from"), rows)


def get(session: Session, name: str) -> None:
    """Print one setting's value."""
    _, found = settings_of(session)
    by_name = {one.name: one for one in found}
    if name not in by_name:
        raise _unknown(name, list(by_name))
    value = by_name[name].value
    if session.json_mode:
        session.out.emit({"name": name, "value": value, "source": by_name[name].source})
    else:
        session.out.line(_text(value))


def validate(session: Session) -> None:
    """Check the file and say so."""
    file, found = settings_of(session)
    root = _root(session)
    if is_node_folder(root):
        config = node_config.load_config(root, session.environment)
        config.require_whole()
        config.require_safe_listeners()
    if session.json_mode:
        session.out.emit({"valid": True, "file": str(file.absolute())})
        return
    used = sum(one.source == "file" for one in found)
    session.out.tick(f"{shown(file)}, {counted(used, 'setting')}")


def change(session: Session, name: str, value: str) -> None:
    """Set one value, after checking that the file is valid with it."""
    root = _root(session)
    file = root / node_config.CONFIG_NAME
    if is_node_folder(root):
        _change_node(session, root, name, value)
    else:
        _change_client(root, name, value)
    if session.json_mode:
        session.out.emit({"file": str(file.absolute()), "name": name, "value": value})
        return
    session.out.tick(f"{name} = {value}")
    if is_node_folder(root) and NodeHome(root).lock_holder() is not None:
        session.out.note(f"Next: clawpurse config reload --home {shown(root)}")


def _change_node(session: Session, root: Path, name: str, value: str) -> None:
    if name not in NodeConfig.model_fields:
        raise _unknown(name, list(NodeConfig.model_fields))
    parsed = node_config.parse_value(name, value)
    plain: Value = list(parsed) if isinstance(parsed, tuple) else parsed
    file = root / node_config.CONFIG_NAME
    # The file may be wrong elsewhere: then that is said, and nothing is written.
    values = {**node_config.read_toml(file), name: parsed}
    node_config.validate(values, file).require_safe_listeners()
    write_setting(file, (name,), plain)


def _change_client(root: Path, name: str, value: str) -> None:
    home = ClientHome(root)
    path, parsed = _client_value(home, name, value)
    text = with_value(read_settings(home.config_file).text, path, parsed, home.config_file.name)
    _require_valid(text, home)
    write_setting(home.config_file, path, parsed)


def _client_value(home: ClientHome, name: str, value: str) -> tuple[tuple[str, ...], Value]:
    if name == "network":
        known = list(home.config(CONFIGURABLE).networks)
        if value not in known:
            raise UsageFault(
                f"No network is named {value}; known: {', '.join(known) or 'none'}.",
                "",
                f"clawpurse config set networks.{value}.rpc URL",
            )
        return ("network",), value
    if name.startswith("networks.") and name.count(".") == 2:
        _, network, key = name.split(".")
        if key not in ("rpc", "chain_id", "genesis_hash"):
            raise _unknown(key, ["rpc", "chain_id", "genesis_hash"])
        urls = [check_rpc_url(url.strip()) for url in value.split(",")] if key == "rpc" else []
        return ("networks", network, key), urls or value
    if name not in CONFIGURABLE:
        raise _unknown(name, ["network", *CONFIGURABLE])
    if name in _FLAGS:
        if value.lower() not in ("true", "false"):
            raise UsageFault(f"{name} is true or false, not {value!r}.")
        return (name,), value.lower() == "true"
    if name in _NUMBERS:
        if not value.isdecimal():
            raise UsageFault(f"{name} is a whole number, not {value!r}.")
        return (name,), int(value)
    return (name,), value


def _require_valid(text: str, home: ClientHome) -> None:
    """Refuse a change after which the file would not be read any more."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        trial = ClientHome(Path(folder))
        trial.config_file.write_text(text, encoding="utf-8")
        try:
            trial.config(CONFIGURABLE)
        except Malformed as err:
            raise OperatorError(
                f"{err.field} {err.problem}.", f"{home.config_file.name} was not changed.", ""
            ) from err


def _unknown(name: str, known: list[str]) -> UsageFault:
    near = get_close_matches(name, known, n=1, cutoff=0.0)
    nearest = f"; nearest: {near[0]}" if near else ""
    return UsageFault(f"Unknown {name}{nearest}.", "", "clawpurse config show")


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "–"
    if isinstance(value, Mapping):
        return str(dict(value))
    return str(value)
