"""`clawpurse audit …`: declared here, done in `audit.py`."""

from __future__ import annotations

from pathlib import Path

import click

from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

audit = Group(
    "audit",
    help="What happened, with proofs that hold without a node.",
    examples=(
        "clawpurse audit export --account alice --out alice.json",
        "clawpurse audit verify alice.json --genesis-hash 0x…",
    ),
)


@audit.command(
    "export",
    examples=(
        "clawpurse audit export --account alice --account bob --out story.json",
        "clawpurse audit export --asset EURX --out eurx.json",
        "clawpurse audit export --heights 1:500 --out all.json",
        "clawpurse audit export --tx 0x… --tx 0x… --out some.json",
    ),
)
@option("--account", "accounts", metavar="ACCOUNT", multiple=True, help="Whose; repeatable.")
@option("--asset", metavar="NAME", help="All that moved of an asset.")
@option("--heights", metavar="FIRST:LAST", help="Whole blocks, so that nothing is left out.")
@option("--tx", "tx_ids", metavar="ID", multiple=True, help="This transaction; repeatable.")
@option("--from-height", type=click.IntRange(1), default=1, help="Not before this block.")
@option("--to-height", type=click.IntRange(1), help="Not after this block (default: the newest).")
@option("--key", "keys", metavar="MODULE:HEX", multiple=True, help="Prove this value of state too.")
@option(
    "--genesis", "genesis_file", type=click.Path(path_type=Path), help="Its file, if nodes' is big."
)
@option("--out", type=click.Path(path_type=Path), required=True, help="The bundle; a new file.")
@node_options
@click.pass_obj
def export(
    session: Session,
    accounts: tuple[str, ...],
    asset: str | None,
    heights: str | None,
    tx_ids: tuple[str, ...],
    from_height: int,
    to_height: int | None,
    keys: tuple[str, ...],
    genesis_file: Path | None,
    out: Path,
) -> None:
    """Write a story into one file: transactions, receipts and events, each with its proof.

    Name one of --account, --asset, --heights and --tx. The bundle is checked before it is kept.
    """
    from clawpurse.cli import audit as work

    asked = work.Asked(accounts, asset, heights, tx_ids, from_height, to_height, keys)
    work.export(session, asked, genesis_file, out)


@audit.command(
    "verify",
    examples=(
        "clawpurse audit verify story.json --genesis-hash 0x…",
        "clawpurse audit verify story.json --genesis-hash 0x… --json",
    ),
)
@click.argument("bundle", type=click.Path(path_type=Path))
@option("--genesis-hash", metavar="HASH", required=True, help="Of the network that you trust.")
@click.pass_obj
def verify(session: Session, bundle: Path, genesis_hash: str) -> int:
    """Check a bundle offline and tell what happened, what is proven, and what is not.

    Exits 0 when everything in it holds, 4 when something does not.
    """
    from clawpurse.cli import audit as work

    return work.verify(session, bundle, genesis_hash)
