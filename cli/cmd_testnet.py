"""`clawpurse testnet …`: declared here, done in `testnet.py`."""

from __future__ import annotations

from pathlib import Path

import click

from clawpurse.cli.framework import Group, option
from clawpurse.cli.session import Session

NETWORK_HOME = option(
    "--home",
    "node_home",
    type=click.Path(path_type=Path),
    help="The network's folder (default <client's folder>/testnet).",
)
BASE_PORT = option(
    "--base-port",
    type=click.IntRange(1, 65_535),
    help="First port; node i counts from base + 10·i (default 9640).",
)
AUTHORITIES = option("--authorities", type=click.IntRange(1, 32), help="How many (default 4).")

testnet = Group(
    "testnet",
    help="A network of your own on this machine: real processes, worthless money.",
    examples=("clawpurse testnet start", "clawpurse testnet status --json"),
)


@testnet.command(
    "start",
    examples=(
        "clawpurse testnet start",
        "clawpurse testnet start --authorities 4 --home ./net --base-port 9700 --detach --json",
    ),
)
@AUTHORITIES
@NETWORK_HOME
@BASE_PORT
@option("--detach", is_flag=True, help="Return when every node is ready; they keep running.")
@click.pass_obj
def start(
    session: Session,
    authorities: int | None,
    node_home: Path | None,
    base_port: int | None,
    detach: bool,
) -> None:
    """Start a network, or what is down of it; without --detach until Ctrl-C."""
    from clawpurse.cli import testnet_start as work

    work.start(session, node_home, authorities, base_port, detach=detach)


@testnet.command("stop", examples=("clawpurse testnet stop",))
@NETWORK_HOME
@click.pass_obj
def stop(session: Session, node_home: Path | None) -> None:
    """Stop every node; the chain is kept."""
    from clawpurse.cli import testnet as work

    work.stop(session, node_home)


@testnet.command("status", examples=("clawpurse testnet status", "clawpurse testnet status --json"))
@NETWORK_HOME
@click.pass_obj
def status(session: Session, node_home: Path | None) -> None:
    """Show every node: where it answers, its height, its state."""
    from clawpurse.cli import testnet as work

    work.status(session, node_home)


@testnet.command("init", examples=("clawpurse testnet init --authorities 7 --home ./net",))
@AUTHORITIES
@NETWORK_HOME
@BASE_PORT
@click.pass_obj
def init(
    session: Session, authorities: int | None, node_home: Path | None, base_port: int | None
) -> None:
    """Make a network's folder without starting it."""
    from clawpurse.cli import testnet as work

    work.init(session, node_home, authorities, base_port)


@testnet.command("reset", examples=("clawpurse testnet reset",))
@NETWORK_HOME
@option("--yes", is_flag=True, envvar=[], help="Do not ask; needs --i-understand too.")
@option("--i-understand", metavar="CHAIN-ID", envvar=[], help="The chain id of what goes.")
@click.pass_obj
def reset(session: Session, node_home: Path | None, yes: bool, i_understand: str | None) -> None:
    """Delete a network: its chain, its keys, its folder."""
    from clawpurse.cli import testnet as work

    work.reset(session, node_home, yes=yes, understood=i_understand)


@testnet.command(
    "chaos",
    examples=(
        "clawpurse testnet chaos --minutes 2",
        "clawpurse testnet chaos --seed 7 --minutes 10 --authorities 7 --json",
    ),
)
@option("--seed", type=click.IntRange(0, 2**32 - 1), help="Which plan (default: a new one).")
@option(
    "--minutes",
    type=click.FloatRange(0.1, 1_440),
    default=1.0,
    show_default=True,
    help="How long faults go on; checks come after.",
)
@AUTHORITIES
@option(
    "--home",
    "node_home",
    type=click.Path(path_type=Path),
    help="An empty folder, or one of an earlier run (default: a temporary one).",
)
@click.pass_obj
def chaos(
    session: Session,
    seed: int | None,
    minutes: float,
    authorities: int | None,
    node_home: Path | None,
) -> int:
    """Break a network of its own in every way while it pays, and check every promise."""
    from clawpurse.cli import chaos as work

    return work.run(session, seed, minutes, authorities, node_home)
