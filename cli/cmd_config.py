"""`clawpurse config …`: declared here, done in `config.py`."""

from __future__ import annotations

import click

from clawpurse.cli.framework import Group
from clawpurse.cli.session import Session

config = Group(
    "config",
    help="Settings: the client's, or a node's where --home is a node's folder.",
    examples=("clawpurse config show", "clawpurse config set log_level debug --home ./node"),
)


@config.command(
    "show",
    mends_config=True,
    examples=("clawpurse config show", "clawpurse config show --home ./node --json"),
)
@click.pass_obj
def show(session: Session) -> None:
    """Show every setting, its value and where that comes from."""
    from clawpurse.cli import config as work

    work.show(session)


@config.command("get", mends_config=True, examples=("clawpurse config get rpc_listen --home .",))
@click.argument("name")
@click.pass_obj
def get(session: Session, name: str) -> None:
    """Print one setting."""
    from clawpurse.cli import config as work

    work.get(session, name)


@config.command(
    "set",
    mends_config=True,
    examples=("clawpurse config set from alice", "clawpurse config set network testnet"),
)
@click.argument("name")
@click.argument("value")
@click.pass_obj
def set_(session: Session, name: str, value: str) -> None:
    """Change one setting; comments and everything else in the file stay."""
    from clawpurse.cli import config as work

    work.change(session, name, value)


@config.command("reload", mends_config=True, examples=("clawpurse config reload --home ./node",))
@click.pass_obj
def reload(session: Session) -> None:
    """Have a running node read its file anew; say what counts now, and what from the next start."""
    from clawpurse.cli import peers as work

    work.reload(session, session.home.expanduser())


@config.command(
    "validate",
    mends_config=True,
    examples=("clawpurse config validate", "clawpurse config validate --home ./node"),
)
@click.pass_obj
def validate(session: Session) -> None:
    """Check the file; say which line is wrong and what was probably meant."""
    from clawpurse.cli import config as work

    work.validate(session)
