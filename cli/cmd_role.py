"""`clawpurse role …`: declared here, done in `roles.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clawpurse.cli.acting_options import AUTHORITY_HOME, acting_options, terms_of
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

role = Group(
    "role",
    help="Who may do what. ACCOUNT is a key's name, a contact, or claw1….",
    examples=("clawpurse role grant cashier bob --from alice", "clawpurse role list"),
)


@role.command("grant", examples=("clawpurse role grant cashier bob --from alice",))
@click.argument("name", metavar="ROLE")
@click.argument("account")
@AUTHORITY_HOME
@acting_options
@click.pass_obj
def grant(
    session: Session, /, name: str, account: str, authority_home: Path | None, **options: Any
) -> None:
    """Give an account a role; only administrators can."""
    from clawpurse.cli import roles as work

    work.grant(session, name, account, authority_home, terms_of(options))


@role.command("revoke", examples=("clawpurse role revoke cashier bob --reason left --from alice",))
@click.argument("name", metavar="ROLE")
@click.argument("account")
@option("--reason", default="", help="Why; everybody can read it, for ever.")
@AUTHORITY_HOME
@acting_options
@click.pass_obj
def revoke(
    session: Session,
    /,
    name: str,
    account: str,
    reason: str,
    authority_home: Path | None,
    **options: Any,
) -> None:
    """Take a role from an account; only administrators can."""
    from clawpurse.cli import roles as work

    work.revoke(session, name, account, reason, authority_home, terms_of(options))


@role.command(
    "permit",
    examples=(
        "clawpurse role permit accounts.open cashier --from alice",
        "clawpurse role permit accounts.open --everybody --from alice",
    ),
)
@click.argument("action")
@click.argument("name", metavar="ROLE", required=False)
@option("--everybody", is_flag=True, help="Ask for no role any more.")
@AUTHORITY_HOME
@acting_options
@click.pass_obj
def permit(
    session: Session,
    /,
    action: str,
    name: str | None,
    everybody: bool,
    authority_home: Path | None,
    **options: Any,
) -> None:
    """Let only those who hold ROLE perform ACTION, such as assets.transfer."""
    from clawpurse.cli import roles as work
    from clawpurse.cli.failures import UsageFault

    if everybody == (name is not None):
        raise UsageFault("Name a role, or say --everybody.", "Nothing was sent.", "")
    work.permit(session, action, name, authority_home, terms_of(options))


@role.command(
    "list",
    examples=("clawpurse role list", "clawpurse role list admin", "clawpurse role list --of bob"),
)
@click.argument("name", metavar="ROLE", required=False)
@option("--of", "account", metavar="ACCOUNT", help="What this account holds.")
@node_options
@click.pass_obj
def list_roles(session: Session, name: str | None, account: str | None) -> None:
    """List all roles, or who holds one."""
    from clawpurse.cli import roles as work

    work.listed(session, name, account)


@role.command(
    "check",
    examples=("clawpurse role check bob cashier", "clawpurse role check bob cashier --at 1200"),
)
@click.argument("account")
@click.argument("name", metavar="ROLE")
@option("--at", "height", type=click.IntRange(0), metavar="HEIGHT", help="After which block.")
@node_options
@click.pass_obj
def check(session: Session, account: str, name: str, height: int | None) -> int:
    """Tell whether an account holds a role: exit code 0 if it does, 1 if not."""
    from clawpurse.cli import roles as work

    return work.check(session, account, name, height)


@role.command("history", examples=("clawpurse role history bob cashier",))
@click.argument("account")
@click.argument("name", metavar="ROLE")
@node_options
@click.pass_obj
def history(session: Session, account: str, name: str) -> None:
    """List when an account was given a role and when it was taken, by whom and why."""
    from clawpurse.cli import roles as work

    work.history(session, account, name)
