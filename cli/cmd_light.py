"""`clawpurse light …`: declared here, done in `light.py`."""

from __future__ import annotations

from pathlib import Path

import click

from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

light = Group(
    "light",
    help="Follow the chain by its signatures, without running a node and without believing one.",
    examples=(
        "clawpurse light verify",
        "clawpurse light verify --primary URL --witness URL --genesis-hash 0x…",
    ),
)


@light.command(
    "verify",
    examples=(
        "clawpurse light verify --primary URL --witness URL --genesis-hash 0x…",
        "clawpurse light verify --height 12 --trusted-height 8 --trusted-hash 0x… --json",
    ),
)
@option("--height", type=click.IntRange(1), help="Which block (default: the newest).")
@option("--trusted-height", type=click.IntRange(1), help="A block that somebody vouches for …")
@option("--trusted-hash", metavar="HASH", help="… and its hash.")
@option("--genesis-hash", metavar="HASH", help="Of the network (default: the chosen network's).")
@option(
    "--genesis", "genesis_file", type=click.Path(path_type=Path), help="Its file, if nodes' is big."
)
@option("--primary", metavar="URL", help="Who shows the chain (default: the network's first).")
@option("--witness", "witnesses", metavar="URL", multiple=True, help="Who confirms it; repeatable.")
@node_options
@click.pass_obj
def verify(
    session: Session,
    height: int | None,
    trusted_height: int | None,
    trusted_hash: str | None,
    genesis_hash: str | None,
    genesis_file: Path | None,
    primary: str | None,
    witnesses: tuple[str, ...],
) -> int:
    """Verify a block from what you trust, asking one node and comparing with others.

    What you trust is a genesis hash, or a block that somebody vouches for; later runs begin where
    the last one ended. Exits 0 verified, 4 not (a lie, or a fork: its evidence is kept),
    3 nobody answers, 5 not there yet.
    """
    from clawpurse.cli import light as work

    trust = work.Trust(trusted_height, trusted_hash, genesis_hash, genesis_file)
    return work.verify(session, height, trust, primary, witnesses)
