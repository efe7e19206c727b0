"""`clawpurse genesis …`: declared here, done in `genesis.py`."""

from __future__ import annotations

from pathlib import Path

import click

from clawpurse.cli.framework import Group, option
from clawpurse.cli.session import Session

FILE = click.argument("file", type=click.Path(path_type=Path))

genesis = Group(
    "genesis",
    help="The founding file of a network: who decides, which assets, who has what at the start.",
    examples=(
        "clawpurse genesis create genesis.json --chain-id acme-main --authority clawval1…",
        "clawpurse genesis verify genesis.json --hash 0x…",
    ),
)


@genesis.command(
    "create",
    examples=(
        "clawpurse genesis create genesis.json --chain-id acme-main --authority clawval1…",
        "clawpurse genesis create g.json --chain-id t --authority clawval1… --asset EURX:2:Euro",
    ),
)
@FILE
@option("--chain-id", required=True, help="Lower-case letters, digits, - and .; unique.")
@option("--authority", "authority", multiple=True, help="clawval1…, once for each.")
@option("--asset", "assets", multiple=True, metavar="NAME:DECIMALS:TITLE", help="Beside CLAW.")
@option("--decimals", type=click.IntRange(0, 18), default=2, help="Of CLAW (default 2).")
@option("--parameter", "parameters", multiple=True, metavar="K=V", help="Such as fee_min=1.")
@option("--test-network", is_flag=True, help="Has a faucet; its money is worthless for ever.")
@click.pass_obj
def create(
    session: Session,
    file: Path,
    chain_id: str,
    authority: tuple[str, ...],
    assets: tuple[str, ...],
    decimals: int,
    parameters: tuple[str, ...],
    test_network: bool,
) -> None:
    """Write a new genesis file."""
    from clawpurse.cli import genesis as work

    work.create(
        session,
        file,
        chain_id,
        authority,
        assets,
        decimals=decimals,
        parameters=parameters,
        test_network=test_network,
    )


@genesis.command(
    "add-account",
    examples=("clawpurse genesis add-account genesis.json claw1… 1000000 --asset CLAW",),
)
@FILE
@click.argument("account")
@click.argument("amount")
@option("--asset", default="CLAW", show_default=True, help="Which asset.")
@click.pass_obj
def add_account(session: Session, file: Path, account: str, amount: str, asset: str) -> None:
    """Give an account money from the start."""
    from clawpurse.cli import genesis as work

    work.add_account(session, file, account, amount, asset)


@genesis.command(
    "add-authority", examples=("clawpurse genesis add-authority genesis.json clawval1…",)
)
@FILE
@click.argument("authority")
@click.pass_obj
def add_authority(session: Session, file: Path, authority: str) -> None:
    """Add one who decides blocks."""
    from clawpurse.cli import genesis as work

    work.add_authority(session, file, authority)


@genesis.command("add-role", examples=("clawpurse genesis add-role genesis.json admin claw1…",))
@FILE
@click.argument("role")
@click.argument("account")
@click.pass_obj
def add_role(session: Session, file: Path, role: str, account: str) -> None:
    """Let an account hold a role from the start, such as admin."""
    from clawpurse.cli import genesis as work

    work.add_role(session, file, role, account)


@genesis.command("verify", examples=("clawpurse genesis verify genesis.json --hash 0x…",))
@FILE
@option("--hash", "expected", metavar="HASH", envvar="CLAWPURSE_GENESIS_HASH", help="What it is.")
@click.pass_obj
def verify(session: Session, file: Path, expected: str | None) -> None:
    """Check a genesis file and print its hash and what is in it."""
    from clawpurse.cli import genesis as work

    work.verify(session, file, expected)
