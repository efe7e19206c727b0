"""What `doctor` looks at: clock, disk, files, keys, ports, genesis, peers; each with its fix.

It changes nothing. Given a node's folder it looks at that node, given a test network's at each
node of it, else at the client's home and the node that the client talks to.
"""

from __future__ import annotations

import ctypes
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from clawpurse.cli.authority_keys import SETS_OUTSIDE_MIN
from clawpurse.cli.config import is_node_folder
from clawpurse.cli.failures import Exit, failure_of
from clawpurse.cli.network import is_network, open_network
from clawpurse.cli.output import FAILED, OK, WARNING, counted
from clawpurse.cli.ports import holder_of, is_free
from clawpurse.cli.processes import ask_node
from clawpurse.cli.session import CONFIGURABLE, Session, now_ms, shown
from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.errors import ClawPurseError, Malformed, OperatorError
from clawpurse.modules.registry import build_registry
from clawpurse.node.config import NodeConfig, load_config
from clawpurse.node.files import DiskFiles, MemoryFiles
from clawpurse.node.home import NodeHome
from clawpurse.node.signer import require_here, state_name
from clawpurse.p2p.address import PeerAddress

# Before this software existed no clock was right: 2025-01-01.
_CLOCK_MIN_MS: Final = 1_735_689_600_000
# R20: what the header of a block may be ahead of a right clock.
_CLOCK_AHEAD_MS: Final = 500
# adjtimex(2): the kernel's clock is not synchronised.
_TIME_ERROR: Final = 5
_TIMEX_BYTES: Final = 512
_CLIENT_DISK_MB: Final = 100
_CONNECT_TIMEOUT_S: Final = 2.0


class Finding(NamedTuple):
    """One thing that was looked at. `fix` is the command that mends it, empty if it is well."""

    level: str
    check: str
    what: str
    fix: str = ""


def run(session: Session) -> int:
    """Look at everything, print the findings, return 1 if something is broken."""
    root = session.home.expanduser()
    findings = [*_machine(root)]
    if is_network(root):
        network = open_network(root)
        for home in network.homes:
            findings += _node(session, home)
    elif is_node_folder(root):
        findings += _node(session, NodeHome(root))
    else:
        findings += _client(session)
    broken = sum(one.level == FAILED for one in findings)
    if session.json_mode:
        names = {OK: "ok", WARNING: "warning", FAILED: "failed"}
        session.out.emit(
            {
                "ok": not broken,
                "findings": [
                    {"level": names[f.level], "check": f.check, "what": f.what, "fix": f.fix}
                    for f in findings
                ],
            }
        )
    else:
        _print(session, findings, broken)
    return Exit.FAILED if broken else Exit.DONE


def _print(session: Session, findings: list[Finding], broken: int) -> None:
    out = session.out
    warnings = sum(one.level == WARNING for one in findings)
    if broken:
        out.line(f"{broken} of {len(findings)} checks failed; each with what mends it.")
    elif warnings:
        out.line(f"It works; {warnings} of {len(findings)} checks have a remark.")
    else:
        out.line(f"All {len(findings)} checks are well.")
    out.line()
    width = max(len(one.check) for one in findings)
    for one in findings:
        fix = f" → {one.fix}" if one.fix else ""
        out.line(f"{out.mark(one.level)} {one.check:<{width}}  {one.what}{fix}")


# -- the machine


def _machine(root: Path) -> Iterator[Finding]:
    yield Finding(OK, "python", ".".join(map(str, sys.version_info[:3])))
    yield _clock()
    place = root
    while not place.exists() and place != place.parent:
        place = place.parent
    free_mb = shutil.disk_usage(place).free >> 20
    if free_mb < _CLIENT_DISK_MB:
        yield Finding(FAILED, "disk", f"{free_mb} MB free at {shown(place)}", "free some space")
    else:
        yield Finding(OK, "disk", f"{free_mb:,} MB free at {shown(place)}")


def _clock() -> Finding:
    if now_ms() < _CLOCK_MIN_MS:
        return Finding(
            FAILED,
            "clock",
            "years behind: blocks would be refused",
            "sudo timedatectl set-ntp true",
        )
    if _kernel_clock_state() == _TIME_ERROR:
        return Finding(
            WARNING,
            "clock",
            "nothing keeps it right (no NTP), so it may drift",
            "sudo timedatectl set-ntp true",
        )
    return Finding(OK, "clock", "kept right by NTP")


def _kernel_clock_state() -> int:
    """Return what adjtimex(2) says when asked without changing anything; −1 if it may not say."""
    libc = ctypes.CDLL(None, use_errno=True)
    zeros = ctypes.create_string_buffer(_TIMEX_BYTES)
    return int(libc.adjtimex(zeros))


# -- the client


def _client(session: Session) -> Iterator[Finding]:
    home = session.client_home
    try:
        config = home.config(CONFIGURABLE)
        chosen = config.network or "none chosen"
        yield Finding(OK, "config", f"{shown(home.config_file)}, network {chosen}")
    except (Malformed, OperatorError) as err:
        failure = failure_of(err)
        yield Finding(FAILED, "config", failure.reason, "edit that line")
        return
    yield from _private(home.root, "home")
    yield from _keys(session)
    yield from _reached(session)


def _keys(session: Session) -> Iterator[Finding]:
    keystore = session.keystore
    names = keystore.names()
    if not names:
        yield Finding(WARNING, "keys", "there are none yet", "clawpurse keys add alice")
        return
    good = 0
    for name in names:
        try:
            info = keystore.show(name)
        except OperatorError as err:
            yield Finding(FAILED, "keys", err.what, err.next_command)
            continue
        if info.file.stat().st_mode & 0o077:
            yield Finding(FAILED, "keys", f"{name} can be read by others", f"chmod 600 {info.file}")
        else:
            good += 1
    if good:
        yield Finding(OK, "keys", f"{good} whole and private")


def _private(folder: Path, check: str) -> Iterator[Finding]:
    if folder.exists() and folder.stat().st_mode & 0o077:
        yield Finding(
            WARNING, check, f"{shown(folder)} is open to others", f"chmod 700 {shown(folder)}"
        )


def _reached(session: Session) -> Iterator[Finding]:
    async def look() -> tuple[Any, str]:
        async with session.node(timeout_ms=3_000) as node:
            await node.terms()
            return await node.call("chain_getStatus"), node.url

    try:
        status, url = trio.run(look)
    except (ClawPurseError, ExceptionGroup) as err:
        failure = failure_of(err)
        fix = failure.next_step or "add --rpc URL"
        yield Finding(FAILED, "node", failure.reason, fix)
        return
    yield Finding(OK, "node", f"{url} answers, {status['chainId']} block {status['height']}")
    if int(status["timeMs"]) > now_ms() + _CLOCK_AHEAD_MS:
        ahead = (int(status["timeMs"]) - now_ms()) / 1000
        yield Finding(
            FAILED,
            "clock",
            f"the newest block is {ahead:.1f} s in this machine's future",
            "sudo timedatectl set-ntp true",
        )
    if status["syncing"]:
        behind = counted(status["behind"], "block")
        yield Finding(WARNING, "node", f"it is {behind} behind", "clawpurse status")


# -- a node


def _node(session: Session, home: NodeHome) -> Iterator[Finding]:
    name = home.root.name
    try:
        config = load_config(home.root, session.environment)
        config.require_safe_listeners()
        yield Finding(OK, f"{name} config", shown(home.config))
        genesis = home.read_genesis()
    except OperatorError as err:
        what = f"{err.what} {err.why}".strip()
        yield Finding(FAILED, f"{name} config", what, err.next_command)
        return
    declared = tuple((module.name, module.version) for module in build_registry().modules)
    if genesis.modules == declared:
        place = f"{genesis.chain_id}, 0x{genesis.hash.hex()}"
        yield Finding(OK, f"{name} genesis", place)
    else:
        yield Finding(
            FAILED,
            f"{name} genesis",
            "needs other modules than this software has",
            "clawpurse version",
        )
    yield from _node_keys(home, config, genesis.hash, genesis.authorities)
    yield from _private(home.root, f"{name} folder")
    free_mb = shutil.disk_usage(home.root).free >> 20
    if free_mb < config.min_free_disk_mb:
        yield Finding(
            FAILED,
            f"{name} disk",
            f"{free_mb} MB free, min_free_disk_mb is {config.min_free_disk_mb}",
            "free some space",
        )
    yield from _node_running(home, config)


def _node_keys(
    home: NodeHome, config: NodeConfig, genesis_hash: bytes, authorities: tuple[bytes, ...]
) -> Iterator[Finding]:
    check = f"{home.root.name} keys"
    files = home.authority_keys if config.authority else []
    if config.authority and not files and not config.signer_address:
        files = [home.authority_key]
    keys = []
    for file in [home.node_key, *files]:
        try:
            keys.append(public_key_of(home.read_seed(file)))
        except OperatorError as err:
            fix = err.next_command
            if fix == "clawpurse doctor":
                fix = "restore it from a backup"
            yield Finding(FAILED, check, err.what, fix)
            return
    state_files = DiskFiles(home.signer) if home.signer.is_dir() else MemoryFiles()
    for key in keys[1:]:
        try:
            require_here(state_files, genesis_hash, key)
        except OperatorError as err:
            yield Finding(FAILED, check, f"{err.what} {err.why}", err.next_command)
            return
        if not (home.signer / state_name(genesis_hash, key)).exists():
            yield Finding(
                FAILED,
                check,
                "the signing state is missing: it could sign twice for one position",
                "restore signer/, or start once with --signer-floor HEIGHT",
            )
            return
    whole = ", ".join([home.node_key.name, *(file.name for file in files)])
    if files:
        yield Finding(OK, check, f"{whole} and signing state in place")
    else:
        yield Finding(OK, check, f"{whole} whole and private")
    if config.authority:
        held = [*keys[1:], *(config.signer_keys if config.signer_address else ())]
        yield from _office(home, config, held, authorities)


def _office(
    home: NodeHome, config: NodeConfig, held: list[bytes], founders: tuple[bytes, ...]
) -> Iterator[Finding]:
    """Say what the keys of an authority do: ask the node if it runs, else compare with genesis."""
    check = f"{home.root.name} office"

    async def look() -> dict[str, Any] | None:
        return await ask_node(home, config, "consensus_getSignerMetrics")

    answer = trio.run(look) if home.lock_holder() is not None else None
    if answer is None:
        if not any(key in founders for key in held):
            what = "its key is not a founding authority's: it signs once it was voted in"
            yield Finding(WARNING, check, what, "clawpurse authority show")
        return
    for entry in answer["keys"]:
        name = f"{str(entry['authority'])[:14]}…"
        match entry["state"]:
            case "signing":
                yield Finding(OK, check, f"{name} signs")
            case "outside" if len(held) > 1 and entry["outsideFor"] >= SETS_OUTSIDE_MIN:
                fix = f"clawpurse authority retire-key --home {shown(home.root)}"
                yield Finding(WARNING, check, f"{name} is out of force for good", fix)
            case "outside":
                what = f"{name} is no authority now"
                yield Finding(WARNING, check, what, "clawpurse authority show")
            case "away":
                yield Finding(FAILED, check, str(entry["why"]), "start the signer")
            case state:
                what = f"{name} is {state}; it signs from block {entry['signsFrom']}"
                yield Finding(WARNING, check, what, "clawpurse consensus explain")


def _node_running(home: NodeHome, config: NodeConfig) -> Iterator[Finding]:
    name, pid = home.root.name, home.lock_holder()
    if pid is not None:
        yield from _node_health(home, config, pid)
    else:
        yield Finding(
            WARNING, f"{name} process", "not running", f"clawpurse start --home {shown(home.root)}"
        )
        for host, port in (config.p2p_address, config.rpc_address, config.metrics_address):
            if not is_free(host, port):
                fix = f"clawpurse start --home {shown(home.root)} --base-port 9700"
                yield Finding(FAILED, f"{name} ports", f"{port} is taken by {holder_of(port)}", fix)
    try:
        yield from _open_ports(home, config)
    except OperatorError as error:
        yield Finding(FAILED, f"{name} callers", str(error), error.next_command)
    yield from _peers(config, name)


def _open_ports(home: NodeHome, config: NodeConfig) -> Iterator[Finding]:
    """Say which ports strangers can reach and who may use them, and when a certificate ends."""
    # Late: certificates take 30 ms to learn about that most nodes do not need.
    from clawpurse.modules.kit.web.tls import expiry_ms
    from clawpurse.node.callers import CERTIFICATE_DAYS_MIN
    from clawpurse.node.tokens import TokenRegister

    name, root = home.root.name, home.root
    if config.rpc_is_closed or config.metrics_are_closed:
        register = TokenRegister(home.tokens)
        register.load()
        live = sum(one.state(now_ms()) == "valid" for one in register.entries.values())
        places = [
            place
            for place, is_open in (
                (config.rpc_listen, config.rpc_is_closed),
                (config.metrics_listen, config.metrics_are_closed),
            )
            if is_open
        ]
        way = "TLS" if config.rpc_tls_certificate else "TLS by a proxy"
        what = f"{', '.join(places)} for {counted(live, 'token or key', 'tokens and keys')}, {way}"
        fix = f"clawpurse token create --name NAME --scope 'chain_*' --home {shown(root)}"
        other = config.rpc_token_issuer or config.rpc_sign_in or config.rpc_client_certificates
        yield Finding(
            OK if live or other else WARNING, f"{name} callers", what, "" if live else fix
        )
    if config.rpc_tls_certificate:
        path = root / config.rpc_tls_certificate
        days = (expiry_ms(path) - now_ms()) // 86_400_000
        fix = f"put a new one to {shown(path)}; a running node takes it by itself"
        level = OK if days > CERTIFICATE_DAYS_MIN else WARNING if days >= 0 else FAILED
        left = f"ends in {counted(days, 'day')}"
        what = left if days >= 0 else "has ended: nobody trusts this node"
        yield Finding(level, f"{name} certificate", what, "" if level == OK else fix)


def _node_health(home: NodeHome, config: NodeConfig, pid: int) -> Iterator[Finding]:
    name = home.root.name

    async def look() -> dict[str, Any] | None:
        return await ask_node(home, config, "node_getHealth")

    health = trio.run(look)
    if health is None:
        yield Finding(
            FAILED, f"{name} process", f"process {pid} does not answer", f"tail {shown(home.log)}"
        )
    elif health["ready"]:
        state = f"process {pid}, block {health['height']}, {counted(health['peers'], 'peer')}"
        yield Finding(OK, f"{name} process", state)
    else:
        problems = "; ".join(str(one) for one in health["problems"])
        yield Finding(FAILED, f"{name} process", problems, f"tail {shown(home.log)}")


def _peers(config: NodeConfig, name: str) -> Iterator[Finding]:
    """Dial each static peer: an address that nobody serves is the commonest mistake of all."""
    silent = []
    for text in config.peers:
        try:
            peer = PeerAddress.parse(text)
        except Malformed as err:
            fix = "clawpurse config set peers ID@HOST:PORT"
            yield Finding(FAILED, f"{name} peers", f"{text}: {err.problem}", fix)
            continue
        try:
            socket.create_connection((peer.host, peer.port), _CONNECT_TIMEOUT_S).close()
        except OSError:
            silent.append(f"{peer.host}:{peer.port}")
    if silent:
        fix = "ask its operator, or check the firewall"
        what = f"{len(silent)} of {len(config.peers)} do not answer: {', '.join(silent)}"
        yield Finding(WARNING, f"{name} peers", what, fix)
    elif config.peers:
        yield Finding(OK, f"{name} peers", f"all {len(config.peers)} answer")
