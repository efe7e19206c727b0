"""What `peer …` and `config reload` do: a running node is asked, a standing one's file changed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio

from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import OK
from clawpurse.cli.processes import node_config, operate
from clawpurse.cli.session import Session, shown
from clawpurse.ledger.errors import Malformed
from clawpurse.node.config_file import ConfigFile
from clawpurse.node.home import NodeHome
from clawpurse.p2p.address import PeerAddress, parse_node_id

Json = dict[str, Any]


def show(session: Session, root: Path, base_port: int | None) -> None:
    """List configured peers, with what a running node says of them, and its bans."""
    home = _home(root)
    configured = list(node_config(home, base_port).peers)
    found: Json = {"peers": [], "bans": []}
    if _runs(home):
        found = _call(home, base_port, "net_getPeers", {})
    connected = {one["nodeId"]: one for one in found["peers"]}
    if session.json_mode:
        bans = found["bans"]
        session.out.emit(
            {"configured": configured, "connected": list(connected.values()), "bans": bans}
        )
        return
    rows = []
    for text in configured:
        ident, _, place = text.partition("@")
        rows.append((ident, place, "configured", _state(connected.pop(ident, None))))
    rows += [(ident, one["address"], "-", _state(one)) for ident, one in connected.items()]
    if rows:
        session.out.table(("node id", "address", "list", "state"), rows)
    else:
        session.out.line("No peers.")
        session.out.note(f"Next: clawpurse peer add NODE-ID@HOST:PORT --home {shown(root)}")
    for one in found["bans"]:
        session.out.note(f"Banned until {one['until']}: {one['subject']} ({one['reason']})")


def _state(connected: Mapping[str, Any] | None) -> str:
    return "not connected" if connected is None else f"connected, {connected['direction']}"


def add(session: Session, root: Path, base_port: int | None, text: str) -> None:
    """Configure a peer."""
    home = _home(root)
    try:
        address = PeerAddress.parse(text)
    except Malformed as error:
        raise UsageFault(
            f"{text} is no peer: {error.field} {error.problem}.", "", "NODE-ID@HOST:PORT"
        ) from None
    if _runs(home):
        done = _call(home, base_port, "admin_addPeer", {"peer": str(address)})
    else:
        listed = _listed(home)
        kept = [one for one in listed if one.node_id != address.node_id]
        if address not in listed:
            _write(home, [*kept, address])
        done = {"peer": str(address), "added": address not in listed, "connected": False}
    if session.json_mode:
        session.out.emit(done)
        return
    state = "connected" if done["connected"] else "not connected yet"
    session.out.line(f"{session.out.mark(OK)} {address} is a peer, {state}")


def remove(session: Session, root: Path, base_port: int | None, text: str, *, ban: bool) -> None:
    """Keep a peer no more."""
    home = _home(root)
    try:
        node_id = parse_node_id(text.partition("@")[0])
    except Malformed as error:
        listing = f"clawpurse peer list --home {shown(root)}"
        raise UsageFault(f"{text}: a node id {error.problem}.", "", listing) from None
    if _runs(home):
        params = {"peer": node_id.hex(), "ban": ban}
        done = _call(home, base_port, "admin_removePeer", params)
    elif ban:
        start = f"clawpurse start --home {shown(root)}"
        raise UsageFault("Only a running node bans.", "", start)
    else:
        listed = _listed(home)
        kept = [one for one in listed if one.node_id != node_id]
        if len(kept) == len(listed):
            listing = f"clawpurse peer list --home {shown(root)}"
            raise UsageFault(f"No peer {node_id.hex()} is configured.", "", listing)
        _write(home, kept)
        done = {"nodeId": node_id.hex(), "removed": True, "disconnected": False}
    if session.json_mode:
        session.out.emit(done)
        return
    banned = f"; it is refused until {done['bannedUntil']}" if done.get("bannedUntil") else ""
    session.out.line(f"{session.out.mark(OK)} {node_id.hex()} is no peer any more{banned}")


def reload(session: Session, root: Path) -> None:
    """Have a running node read its file anew."""
    home = _home(root)
    if not _runs(home):
        start = f"clawpurse start --home {shown(root)}"
        raise UsageFault(
            f"{shown(root)} does not run; it reads its file when it starts.", "", start
        )
    done = _call(home, None, "admin_reloadConfig", {})
    if session.json_mode:
        session.out.emit(done)
        return
    changed = ", ".join(done["changed"]) or "nothing"
    session.out.line(f"{session.out.mark(OK)} changed: {changed}")
    if done["needsRestart"]:
        session.out.note(f"From the next start: {', '.join(done['needsRestart'])}")


def _home(root: Path) -> NodeHome:
    home = NodeHome(root)
    home.read_genesis()
    return home


def _runs(home: NodeHome) -> bool:
    return home.lock_holder() is not None


def _call(home: NodeHome, base_port: int | None, method: str, params: Json) -> Json:
    async def run() -> Json:
        async with operate(home, node_config(home, base_port)) as node:
            answer: Json = await node.call(method, params)
            return answer

    return trio.run(run)


def _listed(home: NodeHome) -> list[PeerAddress]:
    config = ConfigFile(home.root, {}).read()
    return [PeerAddress.parse(text) for text in config.peers]


def _write(home: NodeHome, peers: list[PeerAddress]) -> None:
    ConfigFile(home.root, os.environ).write_peers(tuple(str(one) for one in peers))
