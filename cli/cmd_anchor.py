"""`clawpurse anchor …`: declared here, done in `anchors.py` and `anchor_logs.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clawpurse.cli.acting_options import acting_options, terms_of
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

FILE = click.Path(dir_okay=False, path_type=Path)
WRITER = option("--writer", metavar="ACCOUNT", help="Who alone anchors it.")
WRITER_ROLE = option("--writer-role", metavar="ROLE", help="Whose holders anchor it.")

anchor = Group(
    "anchor",
    help="Documents that were there, and logs that nobody rewrites unseen.",
    examples=(
        "clawpurse anchor document lease.pdf --kind lease --from alice",
        "clawpurse anchor verify lease.pdf lease.pdf.anchor.json",
        "clawpurse anchor log append audit audit.log --from alice",
    ),
)
log = Group(
    "log",
    help="Logs that only grow: a file of lines. LOG is 0x…, OWNER/NAME, or a NAME of your own.",
    examples=(
        "clawpurse anchor log create audit --writer alice --from alice",
        "clawpurse anchor log verify alice/audit audit.log",
    ),
)
anchor.add_command(log)


@anchor.command(
    "document",
    examples=(
        "clawpurse anchor document lease.pdf --kind lease --from alice",
        "clawpurse anchor document --commitment 0x… --from alice",
    ),
)
@click.argument("file", type=FILE, required=False)
@option("--commitment", metavar="0xHASH", help="Instead of a file: 32 bytes that you made.")
@option("--kind", default="document", show_default=True, help="What it is, in one plain word.")
@option("--receipt", type=FILE, metavar="FILE", help="Where to keep the receipt (0600).")
@acting_options
@click.pass_obj
def document(
    session: Session,
    /,
    file: Path | None,
    commitment: str | None,
    kind: str,
    receipt: Path | None,
    **options: Any,
) -> None:
    """Anchor a document: only a commitment leaves this computer. The receipt is its only key."""
    from clawpurse.cli import anchors as work
    from clawpurse.cli.failures import UsageFault

    if (file is None) == (commitment is None):
        raise UsageFault("Name a file, or --commitment.", "Nothing was sent.", "")
    work.document(session, work.Wish(file, commitment, kind, receipt), terms_of(options))


@anchor.command("verify", examples=("clawpurse anchor verify lease.pdf lease.pdf.anchor.json",))
@click.argument("file", type=FILE)
@click.argument("receipt", type=FILE)
@node_options
@click.pass_obj
def verify(session: Session, file: Path, receipt: Path) -> int:
    """Check a document against its receipt and the ledger: exit code 0 if they fit, 4 if not."""
    from clawpurse.cli import anchors as work

    return work.verify(session, file, receipt)


@log.command(
    "create",
    examples=(
        "clawpurse anchor log create audit --writer alice --from alice",
        "clawpurse anchor log create audit --writer-role archivist --breakers 3 --from alice",
    ),
)
@click.argument("name")
@WRITER
@WRITER_ROLE
@option(
    "--breakers",
    type=click.IntRange(2, 16),
    default=2,
    show_default=True,
    help="How many officers a break takes.",
)
@acting_options
@click.pass_obj
def create(
    session: Session,
    /,
    name: str,
    writer: str | None,
    writer_role: str | None,
    breakers: int,
    **options: Any,
) -> None:
    """Open a log under a name of your own."""
    from clawpurse.cli import anchor_logs as work

    work.create(session, name, work.Writer(writer, writer_role), breakers, terms_of(options))


@log.command("append", examples=("clawpurse anchor log append audit audit.log --from alice",))
@click.argument("name", metavar="LOG")
@click.argument("file", type=FILE)
@acting_options
@click.pass_obj
def append(session: Session, /, name: str, file: Path, **options: Any) -> None:
    """Anchor a log's file as it is now, with the proof that it only grew."""
    from clawpurse.cli import anchor_logs as work

    work.append(session, name, file, terms_of(options))


@log.command("verify", examples=("clawpurse anchor log verify alice/audit audit.log",))
@click.argument("name", metavar="LOG")
@click.argument("file", type=FILE)
@node_options
@click.pass_obj
def verify_log(session: Session, name: str, file: Path) -> int:
    """Check that a log's file begins with what is anchored: exit code 0 if it does, 4 if not."""
    from clawpurse.cli import anchor_logs as work

    return work.verify(session, name, file)


@log.command("show", examples=("clawpurse anchor log show alice/audit",))
@click.argument("name", metavar="LOG")
@node_options
@click.pass_obj
def show(session: Session, name: str) -> None:
    """Tell where a log stands, who writes it, and what was ever broken."""
    from clawpurse.cli import anchor_logs as work

    work.show(session, name)


@log.command("list", examples=("clawpurse anchor log list", "clawpurse anchor log list --of bob"))
@option("--of", "account", metavar="ACCOUNT", help="Only the logs that this account opened.")
@node_options
@click.pass_obj
def list_logs(session: Session, account: str | None) -> None:
    """List logs."""
    from clawpurse.cli import anchor_logs as work

    work.listed(session, account)


@log.command("writer", examples=("clawpurse anchor log writer audit --writer bob --from alice",))
@click.argument("name", metavar="LOG")
@WRITER
@WRITER_ROLE
@acting_options
@click.pass_obj
def writer(
    session: Session, /, name: str, writer: str | None, writer_role: str | None, **options: Any
) -> None:
    """Let somebody else write a log that you opened."""
    from clawpurse.cli import anchor_logs as work

    work.set_writer(session, name, work.Writer(writer, writer_role), terms_of(options))


@log.command(
    "break",
    examples=(
        "clawpurse anchor log break audit --size 120 --file audit.log "
        '--reason "restored from backup" --from alice',
    ),
)
@click.argument("name", metavar="LOG")
@option("--size", type=click.IntRange(0), required=True, help="How many entries are left.")
@option("--file", type=FILE, help="The file that has them.")
@option("--root", metavar="0xHASH", help="Instead of a file: the root of these entries.")
@option("--reason", required=True, help="Why; everybody can read it, for ever.")
@option("--until", default="7d", show_default=True, help="How long officers decide, or until when.")
@acting_options
@click.pass_obj
def break_log(
    session: Session,
    /,
    name: str,
    size: int,
    file: Path | None,
    root: str | None,
    reason: str,
    until: str,
    **options: Any,
) -> None:
    """Propose that a log goes on from behind its anchor; officers approve it."""
    from clawpurse.cli import anchor_logs as work
    from clawpurse.cli.failures import UsageFault

    if (file is None) == (root is None):
        raise UsageFault("Name --file or --root.", "Nothing was sent.", "")
    point = work.Point(size, root, file)
    work.propose_break(session, name, point, reason, until, terms_of(options))


@log.command("approve", examples=("clawpurse anchor log approve alice/audit alice --from carol",))
@click.argument("name", metavar="LOG")
@click.argument("proposer")
@acting_options
@click.pass_obj
def approve(session: Session, /, name: str, proposer: str, **options: Any) -> None:
    """Approve a break as PROPOSER proposed it; only officers can."""
    from clawpurse.cli import anchor_logs as work

    work.approve_break(session, name, proposer, terms_of(options))
