"""`clawpurse init|join|start|stop`: declared here, done in `node.py`."""

from __future__ import annotations

from pathlib import Path

import click

from clawpurse.cli.framework import Command, option
from clawpurse.cli.session import Session

NODE_HOME = option(
    "--home", "node_home", required=True, type=click.Path(path_type=Path), help="The node's folder."
)
NAME = option("--name", help="What the node is called (default: its folder's name).")
BASE_PORT = option(
    "--base-port",
    type=click.IntRange(1, 65_533),
    help="Peer-to-peer port; JSON-RPC +1, metrics +2 (default 9640).",
)


@click.command(
    "init",
    cls=Command,
    examples=("clawpurse init --home ./node", "clawpurse init --home ./node --authority --json"),
)
@NODE_HOME
@NAME
@BASE_PORT
@option("--authority", is_flag=True, help="Also make a key to decide blocks with.")
@click.pass_obj
def init(
    session: Session, node_home: Path, name: str | None, base_port: int | None, authority: bool
) -> None:
    """Make the folder of a node: its keys and its configuration."""
    from clawpurse.cli import node as work

    work.init(session, node_home.expanduser(), name, base_port, authority=authority)


@click.command(
    "join",
    cls=Command,
    examples=(
        "clawpurse join genesis.json --hash 0x… --peer ID@HOST:9640 --home ./node",
        "clawpurse join https://acme.example/genesis.json --hash 0x… --peer ID@HOST:9640 --home .",
    ),
)
@click.argument("source", metavar="GENESIS")
@option(
    "--hash",
    "expected",
    metavar="HASH",
    required=True,
    envvar="CLAWPURSE_GENESIS_HASH",
    help="The genesis hash, from somebody you trust.",
)
@option("--peer", "peers", multiple=True, metavar="ID@HOST:PORT", help="A node of the network.")
@NODE_HOME
@NAME
@BASE_PORT
@click.pass_obj
def join(
    session: Session,
    source: str,
    expected: str,
    peers: tuple[str, ...],
    node_home: Path,
    name: str | None,
    base_port: int | None,
) -> None:
    """Prepare a node for the network of a genesis file or URL."""
    from clawpurse.cli import node as work

    work.join(session, source, expected, peers, node_home.expanduser(), name, base_port)


@click.command(
    "start",
    cls=Command,
    examples=("clawpurse start --home ./node", "clawpurse start --home ./node --detach --json"),
)
@NODE_HOME
@BASE_PORT
@option("--detach", is_flag=True, help="Return when the node is ready; it keeps running.")
@option(
    "--signer-floor",
    type=click.IntRange(0),
    metavar="HEIGHT",
    help="Only where the signing state was lost: above every height that was ever signed.",
)
@click.pass_obj
def start(
    session: Session,
    node_home: Path,
    base_port: int | None,
    detach: bool,
    signer_floor: int | None,
) -> None:
    """Run a node until it is told to stop."""
    from clawpurse.cli import node as work

    work.start(session, node_home.expanduser(), base_port, detach=detach, signer_floor=signer_floor)


@click.command(
    "stop", cls=Command, examples=("clawpurse stop --home ./node", "clawpurse stop --home ./net")
)
@NODE_HOME
@click.pass_obj
def stop(session: Session, node_home: Path) -> None:
    """Stop a node, or every node of a test network; wait until it has ended."""
    from clawpurse.cli import node as work

    work.stop(session, node_home.expanduser())
