"""`clawpurse db check`."""

from __future__ import annotations

from pathlib import Path

import click

from clawpurse.cli.framework import Group, option
from clawpurse.cli.session import Session

db = Group(
    "db",
    help="What a node keeps on disk.",
    examples=("clawpurse db check --home ./node",),
)


@db.command("check", examples=("clawpurse db check --home ./node",))
@option(
    "--home", "node_home", required=True, type=click.Path(path_type=Path), help="The node's folder."
)
@click.pass_obj
def check(session: Session, node_home: Path) -> None:
    """Read everything and compare it with what was signed; changes nothing. The node must stand."""
    from clawpurse.cli import db as work

    work.check(session, node_home.expanduser())
