"""Nodes as processes: started in sessions of their own, asked how they are, stopped by signal.

Whether a node runs is what its lock says, never a remembered number: the kernel drops the lock
when the process dies, however it dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import trio

from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.errors import OperatorError, PeerError
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.errors import RpcError, Unreachable
from clawpurse.node.config import NodeConfig, load_config, split_address
from clawpurse.node.home import NodeHome

# Where a node that listens everywhere is reached from its own machine.
LOOPBACK_OF: Final = MappingProxyType({"0.0.0.0": "127.0.0.1", "::": "::1"})  # noqa: S104

# A node on a slow disk replays its log first; past this it hangs, and its log says where.
START_TIMEOUT_S: Final = 60.0
# A clean stop lets requests under way finish (5 s) and flushes; past this it hangs.
STOP_TIMEOUT_S: Final = 30.0
PAUSE_S: Final = 0.1
PROBE_TIMEOUT_MS: Final = 2_000
# A peer that is added has five seconds to answer.
OPERATE_TIMEOUT_MS: Final = 20_000
LOG_BYTES_MAX: Final = 64_000_000
_TAIL_BYTES: Final = 65_536
_ENVIRONMENT_PREFIX: Final = "CLAWPURSE_"


@dataclass(frozen=True)
class NodeState:
    """What is known of a node from outside. `height` and `pid` are None when it is stopped."""

    home: NodeHome
    config: NodeConfig
    pid: int | None
    height: int | None
    state: str
    problems: tuple[str, ...] = ()

    @property
    def rpc(self) -> str:
        """Where it answers JSON-RPC."""
        return rpc_url(self.config)

    def as_json(self) -> dict[str, Any]:
        """One `nodes` entry."""
        host, port = self.config.p2p_address
        node_id = public_key_of(self.home.read_seed(self.home.node_key)).hex()
        return {
            "name": self.config.name,
            "home": str(self.home.root.absolute()),
            "pid": self.pid,
            "rpc": self.rpc,
            "p2p": f"{node_id}@{_bracketed(host)}:{port}",
            "metrics": f"{self.config.metrics_scheme}://{self.config.metrics_listen}/metrics",
            "height": self.height,
            "state": self.state,
        }


def rpc_url(config: NodeConfig) -> str:
    """Return the URL of a node's JSON-RPC, as this machine reaches it."""
    host, port = config.rpc_address
    host = LOOPBACK_OF.get(host, host)
    return f"{config.rpc_scheme}://{_bracketed(host)}:{port}"


async def ask_node(
    home: NodeHome, config: NodeConfig, method: str, params: Mapping[str, Any] | None = None
) -> dict[str, Any] | None:
    """Ask the node of a folder on this machine, with its own token where it wants one.

    With TLS, the very certificate in its folder is trusted, whatever name it is for.
    """
    token: str | None = None
    if config.rpc_is_closed and home.admin_token.exists():
        token = home.read_or_create_token()
    try:
        trust = _own_trust(home, config)
    except (OSError, ssl.SSLError):
        # Without its certificate it cannot have started, and no answer says so.
        return None
    return await ask(rpc_url(config), method, params, token=token, trust=trust)


def operate(home: NodeHome, config: NodeConfig) -> RpcClient:
    """Return the way to the node of a folder on this machine, with its operator's token.

    Raises `OperatorError` when its certificate cannot be read.
    """
    try:
        trust = _own_trust(home, config)
    except (OSError, ssl.SSLError) as error:
        path = home.root / config.rpc_tls_certificate
        raise OperatorError(f"{path} cannot be read: {error}.", "", "clawpurse doctor") from None
    token = home.read_or_create_token()
    return RpcClient(rpc_url(config), token=token, ssl_context=trust, timeout_ms=OPERATE_TIMEOUT_MS)


def _own_trust(home: NodeHome, config: NodeConfig) -> ssl.SSLContext | None:
    if not config.rpc_tls_certificate:
        return None
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.check_hostname = False
    trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trust.load_verify_locations(home.root / config.rpc_tls_certificate)
    return trust


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def node_config(home: NodeHome, base_port: int | None = None) -> NodeConfig:
    """Return a node's configuration as its process will see it (see `spawn`)."""
    flags: dict[str, str] = {}
    if base_port is not None:
        plain = load_config(home.root, {})
        for offset, name in enumerate(("p2p_listen", "rpc_listen", "metrics_listen")):
            host, _ = split_address(getattr(plain, name))
            flags[name] = f"{_bracketed(host)}:{base_port + offset}"
    return load_config(home.root, {}, flags)


def spawn(home: NodeHome, options: Sequence[str] = ()) -> int:
    """Start a node's process in a session of its own and return its id.

    Its output goes to `node.log`. The caller's `CLAWPURSE_…` settings do not reach it: four
    nodes would get the same ports. Raises `OperatorError` when the system starts no process.
    """
    _rotate(home.log)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_ENVIRONMENT_PREFIX) and name != "PYTHONWARNINGS"
    }
    # Whoever reads the log of a node that ended for a fault of ours needs the traceback.
    environment["CLAWPURSE_DEBUG"] = "1"
    # -P: nothing in the folder where the caller stands is imported by accident.
    command = [sys.executable, "-P", "-m", "clawpurse.cli", "start", "--home", str(home.root)]
    log_flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        return os.posix_spawn(
            sys.executable,
            [*command, *options],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(home.log), log_flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
    except OSError as err:
        raise OperatorError(f"{home.root.name} did not start: {err.strerror}.", "", "") from err


def _rotate(log: Path) -> None:
    """Keep a node's log from filling the disk: the one before stays, older ones go."""
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_name(f"{log.name}.1"))


def has_ended(child: int) -> bool:
    """Tell whether a child of ours has ended, taking its remains away."""
    try:
        ended, _ = os.waitpid(child, os.WNOHANG)
    except ChildProcessError:
        # Taken away already, here or by somebody else.
        return True
    return ended != 0


def last_words(home: NodeHome) -> str:
    """Return the last line of a node's log in words: why it ended, as a rule."""
    try:
        with open(home.log, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    if not lines:
        return ""
    try:
        record = json.loads(lines[-1])
    except ValueError:
        return lines[-1]
    if not isinstance(record, dict):
        return lines[-1]
    return str(record.get("message") or record.get("msg") or record.get("event") or lines[-1])


async def probe(home: NodeHome, base_port: int | None = None) -> NodeState:
    """Ask a node how it is. Never raises for a node that does not answer."""
    config = node_config(home, base_port)
    pid = home.lock_holder()
    if pid is None:
        return NodeState(home, config, None, None, "stopped")
    health = await ask_node(home, config, "node_getHealth")
    if health is None:
        return NodeState(home, config, pid or None, None, "syncing")
    problems = tuple(str(item) for item in health.get("problems", ()))
    state = "ready" if health.get("ready") else "syncing"
    return NodeState(home, config, pid or None, int(health["height"]), state, problems)


async def probe_all(homes: Sequence[NodeHome]) -> list[NodeState]:
    """Ask several nodes at once; the answers are in the order of `homes`."""
    found: dict[Path, NodeState] = {}

    async def one(home: NodeHome) -> None:
        found[home.root] = await probe(home)

    async with trio.open_nursery() as nursery:
        for home in homes:
            nursery.start_soon(one, home)
    return [found[home.root] for home in homes]


async def ask(
    url: str,
    method: str,
    params: Mapping[str, Any] | None = None,
    *,
    token: str | None = None,
    trust: ssl.SSLContext | None = None,
) -> dict[str, Any] | None:
    """Return a method's result, or None when the node does not answer, or not so."""
    try:
        async with RpcClient(
            url, timeout_ms=PROBE_TIMEOUT_MS, token=token, ssl_context=trust
        ) as client:
            result = await client.call(method, None if params is None else dict(params))
    except (Unreachable, RpcError, PeerError):
        return None
    return result if isinstance(result, dict) else None


async def wait_ready(started: Mapping[int, NodeHome], base_port: int | None = None) -> None:
    """Wait until every started node (by process id) is ready.

    Raises `OperatorError` with its last words when one ends, or is not ready within a minute.
    """
    # Their locks are left alone meanwhile: to look at one is to hold it for a moment, and a
    # node that finds its lock held gives up.
    waiting = dict(started)
    problems: dict[str, str] = {}
    with trio.move_on_after(START_TIMEOUT_S):
        while waiting:
            for child, home in list(waiting.items()):
                if has_ended(child):
                    raise _did_not_start(home)
                health = await ask_node(home, node_config(home, base_port), "node_getHealth")
                if health is not None and health.get("ready"):
                    del waiting[child]
                elif health is not None:
                    problems[home.root.name] = "; ".join(map(str, health.get("problems", ())))
            if waiting:
                await trio.sleep(PAUSE_S)
    if waiting:
        names = [home.root.name for home in waiting.values()]
        told = "; ".join(problems[name] for name in names if problems.get(name))
        raise OperatorError(
            f"{', '.join(names)} not ready after {START_TIMEOUT_S:.0f} s.",
            f"{told}." if told else "",
            f"tail {next(iter(waiting.values())).log}",
        )


def _did_not_start(home: NodeHome) -> OperatorError:
    what, _, remedy = last_words(home).partition(" → ")
    what = what or "it said nothing."
    return OperatorError(
        f"{home.root.name} did not start: {what}", "", remedy or f"tail {home.log}"
    )


async def end_started(children: Iterable[int]) -> None:
    """End processes of ours that may not have taken their locks yet; wait until they have.

    Raises `OperatorError` naming one that is still there after half a minute.
    """
    left = [child for child in children if not has_ended(child)]
    for child in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
    with trio.move_on_after(STOP_TIMEOUT_S):
        while left:
            left = [child for child in left if not has_ended(child)]
            if left:
                await trio.sleep(PAUSE_S)
    if left:
        raise OperatorError(f"Process {left[0]} did not stop.", "", f"kill {left[0]}")


async def stop_all(homes: Sequence[NodeHome]) -> int:
    """Ask all that run to end, wait until they have; return how many there were.

    Raises `OperatorError` naming those that are still there after half a minute. A node that
    is not ours to signal is named as well.
    """
    running = [home for home in homes if _signal(home)]
    left = list(running)
    with trio.move_on_after(STOP_TIMEOUT_S):
        while left:
            left = [home for home in left if _still_there(home)]
            if left:
                await trio.sleep(PAUSE_S)
    if left:
        names = ", ".join(f"{home.root.name} (process {home.lock_holder()})" for home in left)
        raise OperatorError(
            f"{names} did not stop within {STOP_TIMEOUT_S:.0f} s.", "", f"tail {left[0].log}"
        )
    return len(running)


def _signal(home: NodeHome) -> bool:
    """Ask a node's process to end; tell whether there was one."""
    pid = home.lock_holder()
    if pid is None:
        return False
    if pid == 0:
        raise OperatorError(
            f"{home.root} is locked by an unknown process.", "", f"fuser {home.lock}"
        )
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        # It ended in this moment.
        return False
    except PermissionError as err:
        raise OperatorError(
            f"Process {pid} runs {home.root.name} and is another user's.", "", f"sudo kill {pid}"
        ) from err
    return True


def _still_there(home: NodeHome) -> bool:
    pid = home.lock_holder()
    if pid:
        # If it is our child, its remains would keep its number taken.
        has_ended(pid)
    return home.lock_holder() is not None
