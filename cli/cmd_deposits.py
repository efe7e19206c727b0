"""`clawpurse deposits …`: declared here, done in `deposits.py`."""

from __future__ import annotations

from typing import Any

import click

from clawpurse.cli.acting_options import acting_options, terms_of
from clawpurse.cli.framework import Group, node_options
from clawpurse.cli.session import Session

deposits = Group(
    "deposits",
    help="Who may pay your account. ACCOUNT is a key's name, a contact, or claw1….",
    examples=(
        "clawpurse deposits allow bob --from alice",
        "clawpurse deposits named-only --from alice",
    ),
)


@deposits.command("named-only", examples=("clawpurse deposits named-only --from alice",))
@acting_options
@click.pass_obj
def named_only(session: Session, /, **options: Any) -> None:
    """Take payments only from accounts that you named; name them first."""
    from clawpurse.cli import deposits as work

    work.switch(session, True, terms_of(options))


@deposits.command("everybody", examples=("clawpurse deposits everybody --from alice",))
@acting_options
@click.pass_obj
def everybody(session: Session, /, **options: Any) -> None:
    """Take payments from everybody again."""
    from clawpurse.cli import deposits as work

    work.switch(session, False, terms_of(options))


@deposits.command("allow", examples=("clawpurse deposits allow bob --from alice",))
@click.argument("account")
@acting_options
@click.pass_obj
def allow(session: Session, /, account: str, **options: Any) -> None:
    """Name an account that may pay you."""
    from clawpurse.cli import deposits as work

    work.name(session, account, True, terms_of(options))


@deposits.command("disallow", examples=("clawpurse deposits disallow bob --from alice",))
@click.argument("account")
@acting_options
@click.pass_obj
def disallow(session: Session, /, account: str, **options: Any) -> None:
    """Take a name back."""
    from clawpurse.cli import deposits as work

    work.name(session, account, False, terms_of(options))


@deposits.command("list", examples=("clawpurse deposits list", "clawpurse deposits list bob"))
@click.argument("account", required=False)
@node_options
@click.pass_obj
def listed(session: Session, account: str | None) -> None:
    """Show who may pay an account."""
    from clawpurse.cli import deposits as work

    work.listed(session, account)
