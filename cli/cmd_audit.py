"""`clawpurse audit …`: declared here, done in `audit.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from clawpurse.cli.failures import UsageFault
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

_HELP: Final = "clawpurse audit export --help"
F = TypeVar("F", bound=Callable[..., Any])


def looked_for(function: F) -> F:
    """Add what entries of the audit log are looked for by, and where the log is."""
    for name, metavar, said in (
        ("--who", "ACCOUNT", "Who did it."),
        ("--what", "NAME", "What was done: a method, a move, an event."),
        ("--object", "NAME", "What it was done to."),
        ("--origin", "NAME", "From where: a token, a command, the chain."),
        ("--result", "NAME", "done, refused or failed."),
        ("--source", "NAME", "Which service told it."),
        ("--service", "URL", "The audit service, where it has an address of its own."),
    ):
        function = option(name, metavar=metavar, help=said)(function)
    return function


audit = Group(
    "audit",
    help="What happened, with proofs that hold without a node.",
    examples=(
        "clawpurse audit export --account alice --out alice.json",
        "clawpurse audit verify alice.json --genesis-hash 0x…",
        "clawpurse audit search --result refused",
    ),
)


@audit.command(
    "export",
    examples=(
        "clawpurse audit export --account alice --account bob --out story.json",
        "clawpurse audit export --asset EURX --out eurx.json",
        "clawpurse audit export --heights 1:500 --out all.json",
        "clawpurse audit export --tx 0x… --tx 0x… --out some.json",
        "clawpurse audit export --entries 0:499 --who claw1… --out log.json",
    ),
)
@option("--account", "accounts", metavar="ACCOUNT", multiple=True, help="Whose; repeatable.")
@option("--asset", metavar="NAME", help="All that moved of an asset.")
@option("--heights", metavar="FIRST:LAST", help="Whole blocks, so that nothing is left out.")
@option("--tx", "tx_ids", metavar="ID", multiple=True, help="This transaction; repeatable.")
@option("--entries", metavar="FIRST:LAST", help="These entries of the audit log, by place.")
@looked_for
@option(
    "--redact", type=click.IntRange(0), metavar="PLACE", multiple=True, help="Without its text."
)
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
    /,
    accounts: tuple[str, ...],
    asset: str | None,
    heights: str | None,
    tx_ids: tuple[str, ...],
    entries: str | None,
    redact: tuple[int, ...],
    from_height: int,
    to_height: int | None,
    keys: tuple[str, ...],
    genesis_file: Path | None,
    out: Path,
    **looked: str | None,
) -> int:
    """Write a story into one file: transactions, receipts and events, each with its proof.

    Name one of --account, --asset, --heights and --tx. The bundle is checked before it is kept.
    With --entries it is about the audit log: what --who, --what, … do not name keeps its hash and
    loses its text, so that nothing is left out unseen.
    """
    if entries is not None:
        if accounts or asset or heights or tx_ids or keys or genesis_file:
            raise UsageFault(
                "--entries stands alone: it is about the audit log.", "Nothing was written.", _HELP
            )
        from clawpurse.cli import audit_gathering as gathering

        service = looked.pop("service")
        return gathering.export_entries(
            session, entries, gathering.Looked(**looked), redact, service, out
        )
    if redact or any(looked.values()):
        raise UsageFault("--who and the like need --entries.", "Nothing was written.", _HELP)
    from clawpurse.cli import audit as work

    asked = work.Asked(accounts, asset, heights, tx_ids, from_height, to_height, keys)
    work.export(session, asked, genesis_file, out)
    return 0


@audit.command(
    "search",
    examples=(
        "clawpurse audit search --who claw1… --result refused",
        "clawpurse audit search --what roles.granted --limit 20 --service http://127.0.0.1:9720",
    ),
)
@looked_for
@option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most.")
@node_options
@click.pass_obj
def search(session: Session, /, limit: int, **looked: str | None) -> None:
    """Show entries of the audit log, the newest first."""
    from clawpurse.cli import audit_gathering as gathering

    service = looked.pop("service")
    gathering.search_entries(session, gathering.Looked(**looked), limit, service)


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

    Of a bundle of the audit log, what was done to the log is named: a row was changed, it was cut
    off, given another past, its anchor rewritten. Exits 0 when everything in it holds, 4 when
    something does not.
    """
    from clawpurse.cli import audit as work

    return work.verify(session, bundle, genesis_hash)
