"""What `init`, `join`, `start` and `stop` do with one node's folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from clawpurse.cli import genesis as genesis_file
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.network import BASE_PORT_DEFAULT, Ports, is_network, open_network
from clawpurse.cli.output import OK
from clawpurse.cli.ports import holder_of, is_free
from clawpurse.cli.processes import (
    NodeState,
    node_config,
    probe,
    spawn,
    stop_all,
    wait_ready,
)
from clawpurse.cli.session import Session, shown
from clawpurse.cli.testnet import stop_network
from clawpurse.ledger.address import authority_text
from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.ledger.genesis import GENESIS_BYTES_MAX, Genesis
from clawpurse.node.config import config_text, load_config, read_toml, validate
from clawpurse.node.files import DiskFiles
from clawpurse.node.home import NodeHome
from clawpurse.node.signer import create_sign_state, state_name
from clawpurse.p2p.address import PeerAddress
from clawpurse.wallet.durable import create_private, remove_private, replace_private
from clawpurse.wallet.names import check_name

if TYPE_CHECKING:
    from clawpurse.node.daemon import NodeFacts

# Beside the signing state: this key was made in this folder and has never signed. Whoever copies
# an authority's key into a new folder does not have it, and is asked for --signer-floor.
_UNUSED: Final = "never-signed"
_FETCH_TIMEOUT_S: Final = 60.0


def init(
    session: Session, root: Path, name: str | None, base_port: int | None, *, authority: bool
) -> None:
    """Make a node's folder. What is there already stays as it is."""
    home = prepare_folder(root, name, base_port, authority=authority)
    node_id = public_key_of(home.read_seed(home.node_key)).hex()
    config = load_config(root, {})
    key = None
    if home.authority_key.exists():
        key = authority_text(public_key_of(home.read_seed(home.authority_key)))
    host, port = config.p2p_address
    if session.json_mode:
        session.out.emit(
            {
                "name": config.name,
                "home": str(root.absolute()),
                "nodeId": node_id,
                "authority": key,
                "p2p": f"{node_id}@{host}:{port}",
                "rpc": f"http://{config.rpc_listen}",
            }
        )
        return
    session.out.tick(f"{config.name} in {shown(root)}")
    pairs = [("Node", f"{node_id}@{host}:{port}"), ("JSON-RPC", f"http://{config.rpc_listen}")]
    if key is not None:
        pairs.append(("Authority", key))
    session.out.fields(pairs)
    if key is not None and not home.genesis.exists():
        session.out.note(
            f"Next: clawpurse genesis create genesis.json --chain-id ID --authority {key}"
        )
    session.out.note(f"Then: clawpurse join genesis.json --hash 0x… --home {shown(root)}")


def prepare_folder(
    root: Path, name: str | None, base_port: int | None, *, authority: bool
) -> NodeHome:
    """Make what a node's folder lacks: keys, token, configuration."""
    if is_network(root):
        raise UsageFault(f"{root} is a test network.", "", "clawpurse testnet start")
    home = NodeHome(root)
    home.make()
    if not home.node_key.exists():
        home.create_key(home.node_key)
    if authority and not home.authority_key.exists():
        home.create_key(home.authority_key)
        create_private(home.signer / _UNUSED, b"")
    home.read_or_create_token()
    if not home.config.exists():
        ports = Ports.of(base_port or BASE_PORT_DEFAULT)
        values = {
            "name": name or _folder_name(root),
            "p2p_listen": f"127.0.0.1:{ports.p2p}",
            "rpc_listen": f"127.0.0.1:{ports.rpc}",
            "metrics_listen": f"127.0.0.1:{ports.metrics}",
            "authority": home.authority_key.exists(),
        }
        _write_config(home, values)
    return home


def _folder_name(root: Path) -> str:
    """Return the folder's name where it may name a node, else `node`."""
    try:
        return check_name(root.absolute().name.lower())
    except Malformed:
        return "node"


def _write_config(home: NodeHome, values: Mapping[str, Any]) -> None:
    validate(values, home.config)
    replace_private(home.config, config_text(values).encode())


def join(
    session: Session,
    source: str,
    expected: str,
    peers: Sequence[str],
    root: Path,
    name: str | None,
    base_port: int | None,
) -> None:
    """Put a network's genesis and peers into a node's folder, made first if need be.

    Joining again with more peers adds them. Raises `OperatorError` when the hash is another
    one, or the folder belongs to another network.
    """
    addresses = [str(PeerAddress.parse(text)) for text in peers]
    data = fetch_genesis(source)
    genesis = Genesis.from_json(data)
    genesis_file.require_hash(source, genesis, expected)
    home = prepare_folder(root, name, base_port, authority=False)
    if home.genesis.exists() and home.read_genesis().hash != genesis.hash:
        raise OperatorError(
            f"{root} is a node of {home.read_genesis().chain_id} already.",
            "It was not touched.",
            "choose another --home",
        )
    if not addresses and not read_toml(home.config).get("peers") and len(genesis.authorities) > 1:
        raise UsageFault("Without a peer the node finds nobody.", "", "add --peer ID@HOST:PORT")
    if not home.genesis.exists():
        create_private(home.genesis, genesis.to_json().encode())
    has_key = take_office(home, genesis)
    values = read_toml(home.config)
    known = [str(one) for one in values.get("peers", ())]
    values["peers"] = (*known, *(one for one in addresses if one not in known))
    values["authority"] = has_key
    _write_config(home, {key: _plain(value) for key, value in values.items()})
    _tell_joined(session, home, genesis, is_authority=_is_founder(home, genesis))


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def take_office(home: NodeHome, genesis: Genesis) -> bool:
    """Tell whether this node has a key to sign with; prepare it if so.

    A key that was made here and never signed gets its signing state; if the founding authorities
    are others, it signs once it was voted in. Any other key might have signed elsewhere: then
    `start` refuses until the operator names a height above all of that.
    """
    if not home.authority_key.exists():
        return False
    key = public_key_of(home.read_seed(home.authority_key))
    files = DiskFiles(home.signer)
    if state_name(genesis.hash, key) not in files.names() and _UNUSED in files.names():
        create_sign_state(files, genesis.hash, key)
        remove_private(home.signer / _UNUSED)
    return key in genesis.authorities or state_name(genesis.hash, key) in files.names()


def _is_founder(home: NodeHome, genesis: Genesis) -> bool:
    keys = [public_key_of(home.read_seed(path)) for path in home.authority_keys]
    return any(key in genesis.authorities for key in keys)


def _tell_joined(session: Session, home: NodeHome, genesis: Genesis, *, is_authority: bool) -> None:
    if session.json_mode:
        session.out.emit(
            {
                "home": str(home.root.absolute()),
                "chainId": genesis.chain_id,
                "genesisHash": f"0x{genesis.hash.hex()}",
                "authority": is_authority,
                "peers": list(load_config(home.root, {}).peers),
            }
        )
        return
    office = "an authority" if is_authority else "a follower"
    session.out.tick(f"{genesis.chain_id}, as {office}")
    session.out.note(f"Next: clawpurse start --home {shown(home.root)}")


def fetch_genesis(source: str) -> bytes:
    """Return a genesis file from disk or from an http(s) URL; the hash is checked afterwards."""
    if not source.startswith(("http://", "https://")):
        try:
            with open(source, "rb") as file:
                data = file.read(GENESIS_BYTES_MAX + 1)
        except OSError as err:
            raise UsageFault(
                f"{source} cannot be read: {err.strerror}.", "", "check the name"
            ) from err
    else:
        data = _download(source)
    if len(data) > GENESIS_BYTES_MAX:
        raise OperatorError(f"{source} is too large for a genesis file.", "", "")
    return data


def _download(url: str) -> bytes:
    import httpx

    received = bytearray()
    try:
        with httpx.stream("GET", url, timeout=_FETCH_TIMEOUT_S, follow_redirects=True) as answer:
            answer.raise_for_status()
            for chunk in answer.iter_bytes():
                received += chunk
                if len(received) > GENESIS_BYTES_MAX:
                    break
    except httpx.HTTPError as err:
        raise OperatorError(f"{url} gave no genesis: {err}.", "", "check the URL") from err
    return bytes(received)


def start(
    session: Session, root: Path, base_port: int | None, *, detach: bool, signer_floor: int | None
) -> None:
    """Run a node; with `detach` start a process that does, and wait until it is ready."""
    if is_network(root):
        raise UsageFault(
            f"{shown(root)} is a test network.", "", f"clawpurse testnet start --home {shown(root)}"
        )
    home = NodeHome(root)
    home.read_genesis()
    if detach:
        _start_detached(session, home, base_port, signer_floor)
        return
    from clawpurse.node.daemon import run_node

    flags: dict[str, Any] = {}
    if base_port is not None:
        ported = node_config(home, base_port)
        flags = {name: getattr(ported, name) for name in _LISTENERS}
    config = load_config(root, os.environ, flags)
    ready = partial(_ready, session)
    try:
        run_node(
            home,
            config,
            signer_floor=signer_floor,
            on_ready=ready,
            environment=os.environ,
            flags=flags,
        )
    except OperatorError as err:
        raise _with_home(err, root) from err


_LISTENERS: Final = ("p2p_listen", "rpc_listen", "metrics_listen")


def _with_home(err: OperatorError, root: Path) -> OperatorError:
    """Return the error with this node's folder in the command that comes next.

    The node's parts know what mends a fault, not where they lie.
    """
    command = err.next_command
    if not command.startswith(_COMMANDS_OF_A_FOLDER) or "--home" in command:
        return err
    return OperatorError(err.what, err.why, f"{command} --home {shown(root)}")


_COMMANDS_OF_A_FOLDER: Final = (
    "clawpurse doctor",
    "clawpurse db check",
    "clawpurse config validate",
    "clawpurse stop",
)


def _ready(session: Session, facts: NodeFacts) -> None:
    """Say that the node answers: one `nodes` entry."""
    if session.json_mode:
        session.out.emit(facts._asdict())
        return
    session.out.tick(f"{facts.name} {facts.state} at block {facts.height}")
    session.out.fields([("JSON-RPC", facts.rpc), ("Peers reach it at", facts.p2p)])
    session.out.note(f"Next: clawpurse status --rpc {facts.rpc}")


def _start_detached(
    session: Session, home: NodeHome, base_port: int | None, signer_floor: int | None
) -> None:
    async def run() -> NodeState:
        if home.lock_holder() is None:
            config = node_config(home, base_port)
            for host, port in (config.p2p_address, config.rpc_address, config.metrics_address):
                if not is_free(host, port):
                    raise OperatorError(
                        f"Port {port} is taken by {holder_of(port)}.",
                        "",
                        f"clawpurse start --home {shown(home.root)} --base-port 9700",
                    )
            options = [] if base_port is None else ["--base-port", str(base_port)]
            if signer_floor is not None:
                options += ["--signer-floor", str(signer_floor)]
            child = spawn(home, options)
            try:
                await wait_ready({child: home}, base_port)
            except BaseException:
                with trio.CancelScope(shield=True):
                    await stop_all([home])
                raise
        return await probe(home, base_port)

    state = trio.run(run)
    if session.json_mode:
        session.out.emit(state.as_json())
        return
    session.out.tick(f"{state.config.name} {state.state} at block {state.height}")
    session.out.fields([("JSON-RPC", state.rpc), ("Log", shown(home.log))])
    session.out.note(f"Next: clawpurse status --rpc {state.rpc}")


def stop(session: Session, root: Path) -> None:
    """Stop a node or a test network, and wait until it has ended."""
    if is_network(root):
        stop_network(session, open_network(root))
        return
    home = NodeHome(root)
    home.read_genesis()
    count = trio.run(stop_all, [home])
    if session.json_mode:
        session.out.emit({"home": str(root.absolute()), "stopped": count})
        return
    what = "stopped" if count else "it was not running"
    session.out.line(
        f"{session.out.mark(OK)} {what}. Continue: clawpurse start --home {shown(root)}"
    )
