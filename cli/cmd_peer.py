"""`clawpurse peer …`: declared here, done in `peers.py`."""

from __future__ import annotations

from pathlib import Path

import click

from clawpurse.cli.cmd_node import BASE_PORT
from clawpurse.cli.cmd_token import NODE_HOME
from clawpurse.cli.framework import Group
from clawpurse.cli.session import Session

peer = Group(
    "peer",
    help="Whom a node stays connected to. Its folder is on this machine.",
    examples=(
        "clawpurse peer list --home ./node",
        "clawpurse peer add NODE-ID@milan.example:9640 --home ./node",
    ),
)


@peer.command("list", examples=("clawpurse peer list --home ./node --json",))
@NODE_HOME
@BASE_PORT
@click.pass_obj
def list_(session: Session, node_home: Path, base_port: int | None) -> None:
    """List configured and connected peers, and bans; of a node that stands, the configured."""
    from clawpurse.cli import peers as work

    work.show(session, node_home.expanduser(), base_port)


@peer.command("add", examples=("clawpurse peer add NODE-ID@milan.example:9640 --home ./node",))
@click.argument("address", metavar="NODE-ID@HOST:PORT")
@NODE_HOME
@BASE_PORT
@click.pass_obj
def add(session: Session, address: str, node_home: Path, base_port: int | None) -> None:
    """Stay connected to a peer from now on; a running node connects at once."""
    from clawpurse.cli import peers as work

    work.add(session, node_home.expanduser(), base_port, address)


@peer.command("remove", examples=("clawpurse peer remove NODE-ID --home ./node",))
@click.argument("ident", metavar="NODE-ID")
@NODE_HOME
@BASE_PORT
@click.pass_obj
def remove(session: Session, ident: str, node_home: Path, base_port: int | None) -> None:
    """Keep a peer no more; a running node disconnects it."""
    from clawpurse.cli import peers as work

    work.remove(session, node_home.expanduser(), base_port, ident, ban=False)


@peer.command("ban", examples=("clawpurse peer ban NODE-ID --home ./node",))
@click.argument("ident", metavar="NODE-ID")
@NODE_HOME
@BASE_PORT
@click.pass_obj
def ban(session: Session, ident: str, node_home: Path, base_port: int | None) -> None:
    """Remove a peer, and refuse it when it comes by itself: an hour, then longer each time."""
    from clawpurse.cli import peers as work

    work.remove(session, node_home.expanduser(), base_port, ident, ban=True)
