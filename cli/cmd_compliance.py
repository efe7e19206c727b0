"""`clawpurse compliance …`: declared here, done in `compliance.py` and `policies.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clawpurse.cli.acting_options import acting_options, terms_of
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

compliance = Group(
    "compliance",
    help="What policies say of payments: before, after, and who decides on them.",
    examples=(
        "clawpurse compliance check bob 12.50 --asset EURX --from alice",
        "clawpurse compliance explain 0x…",
        "clawpurse compliance propose eurx.json --from officer",
    ),
)
REASON = option("--reason", default="", help="Why; everybody can read it, for ever.")


@compliance.command(
    "check",
    examples=(
        "clawpurse compliance check bob 12.50 --asset EURX --from alice",
        "clawpurse compliance check bob 5000 --asset EURX --from alice --approver carol --json",
    ),
)
@click.argument("to")
@click.argument("amount")
@option("--asset", default="CLAW", show_default=True, help="What to pay with.")
@option("--from", "source", metavar="ACCOUNT", help="Who would pay.")
@option("--travel-hash", metavar="0xHASH", help="Hash of what your institution told the payee's.")
@option("--approver", "approvers", multiple=True, metavar="ACCOUNT", help="Who would approve it.")
@node_options
@click.pass_obj
def check(session: Session, /, to: str, amount: str, **options: Any) -> int:
    """Say what the ledger would do with a payment now; exit code 0 if it pays, else 4."""
    from clawpurse.cli import compliance as work

    return work.check(session, work.Wish(to, amount, **options))


@compliance.command("explain", examples=("clawpurse compliance explain 0x…",))
@click.argument("tx_id", metavar="TX")
@node_options
@click.pass_obj
def explain(session: Session, tx_id: str) -> None:
    """Say why a final transaction went as it did, by which rules, and who decided."""
    from clawpurse.cli import compliance as work

    work.explain(session, tx_id)


@compliance.command(
    "rules",
    examples=(
        "clawpurse compliance rules",
        "clawpurse compliance rules eurx --version 3",
        "clawpurse compliance rules eurx --as-file > eurx.json",
    ),
)
@click.argument("policy", required=False)
@option("--asset", metavar="ASSET", help="Policies that govern this asset only.")
@option("--version", type=click.IntRange(1), help="This version of POLICY, however old.")
@option("--as-file", is_flag=True, help="As the file that proposes it, to be amended.")
@node_options
@click.pass_obj
def rules(
    session: Session, policy: str | None, asset: str | None, version: int | None, as_file: bool
) -> None:
    """Show policies in force, or any version that ever was, each rule in words."""
    from clawpurse.cli import compliance as work

    work.rules(session, policy, asset, version, as_file)


@compliance.command(
    "propose",
    examples=(
        "clawpurse compliance propose eurx.json --from officer",
        "clawpurse compliance propose eurx.json --show",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@option("--show", "show_only", is_flag=True, help="Only check the file and show it in words.")
@acting_options
@click.pass_obj
def propose(session: Session, /, file: Path, show_only: bool, **options: Any) -> None:
    """Propose the policy in FILE; you are the first officer who approves it."""
    from clawpurse.cli import policies as work

    work.propose(session, file, show_only, terms_of(options))


@compliance.command(
    "proposals",
    examples=("clawpurse compliance proposals", "clawpurse compliance proposals 7"),
)
@click.argument("proposal", required=False)
@node_options
@click.pass_obj
def proposals(session: Session, proposal: str | None) -> None:
    """List what officers have to decide, or show one proposed policy in words."""
    from clawpurse.cli import policies as work

    work.proposals(session, proposal)


@compliance.command("approve", examples=("clawpurse compliance approve 7 --from officer",))
@click.argument("proposal")
@acting_options
@click.pass_obj
def approve(session: Session, /, proposal: str, **options: Any) -> None:
    """Approve PROPOSAL, a number or an id: every word of it, as it is shown before you sign."""
    from clawpurse.cli import policies as work

    work.approve(session, proposal, terms_of(options))


@compliance.command(
    "reject", examples=("clawpurse compliance reject 7 --reason too-strict --from officer",)
)
@click.argument("proposal")
@REASON
@acting_options
@click.pass_obj
def reject(session: Session, /, proposal: str, reason: str, **options: Any) -> None:
    """Reject PROPOSAL, also one that waits to be in force; its proposer withdraws it."""
    from clawpurse.cli import policies as work

    work.reject(session, proposal, reason, terms_of(options))


@compliance.command("quorum", examples=("clawpurse compliance quorum 2 --delay 1d --from officer",))
@click.argument("needed", type=click.IntRange(1, 16))
@option("--delay", default="10s", show_default=True, help="How long policies wait at least.")
@acting_options
@click.pass_obj
def quorum(session: Session, /, needed: int, delay: str, **options: Any) -> None:
    """Agree on how many officers decide; as many as decide now must say the same."""
    from clawpurse.cli import policies as work

    work.quorum(session, needed, delay, terms_of(options))


@compliance.command(
    "lists",
    examples=(
        "clawpurse compliance lists",
        "clawpurse compliance lists blocked",
        "clawpurse compliance lists blocked --version 3",
    ),
)
@click.argument("name", required=False)
@option("--version", type=click.IntRange(1), help="What this version changed.")
@node_options
@click.pass_obj
def lists(session: Session, name: str | None, version: int | None) -> None:
    """Show the lists that policies look into, or who is on one."""
    from clawpurse.cli import compliance as work

    work.lists(session, name, version)


@compliance.command(
    "set-list",
    examples=('clawpurse compliance set-list blocked "Not to be paid" --from officer',),
)
@click.argument("name")
@click.argument("title")
@option("--officers", type=click.IntRange(1, 16), default=1, help="How many change its entries.")
@acting_options
@click.pass_obj
def set_list(session: Session, /, name: str, title: str, officers: int, **options: Any) -> None:
    """Agree on a list NAME, or on another title or number of officers for it."""
    from clawpurse.cli import policies as work

    work.set_list(session, name, title, officers, terms_of(options))


@compliance.command(
    "list-add",
    examples=("clawpurse compliance list-add blocked mallory --reason case-7 --from officer",),
)
@click.argument("name")
@click.argument("entries", nargs=-1, required=True, metavar="ENTRY…")
@REASON
@acting_options
@click.pass_obj
def list_add(
    session: Session, /, name: str, entries: tuple[str, ...], reason: str, **options: Any
) -> None:
    """Put accounts, or subjects (0x…), on a list."""
    from clawpurse.cli import policies as work

    work.change_list(session, name, entries, reason, True, terms_of(options))


@compliance.command(
    "list-remove",
    examples=("clawpurse compliance list-remove blocked mallory --reason clear --from officer",),
)
@click.argument("name")
@click.argument("entries", nargs=-1, required=True, metavar="ENTRY…")
@REASON
@acting_options
@click.pass_obj
def list_remove(
    session: Session, /, name: str, entries: tuple[str, ...], reason: str, **options: Any
) -> None:
    """Take accounts, or subjects (0x…), off a list."""
    from clawpurse.cli import policies as work

    work.change_list(session, name, entries, reason, False, terms_of(options))


@compliance.command("freezes", examples=("clawpurse compliance freezes EURX",))
@click.argument("asset")
@node_options
@click.pass_obj
def freezes(session: Session, asset: str) -> None:
    """List who is frozen in an asset, since when, by whom and why."""
    from clawpurse.cli import compliance as work

    work.freezes(session, asset)
