"""`clawpurse token …`: declared here, done in `tokens.py`."""

from __future__ import annotations

from pathlib import Path

import click

from clawpurse.cli.framework import Group, option
from clawpurse.cli.session import Session

NODE_HOME = option(
    "--home", "node_home", required=True, type=click.Path(path_type=Path), help="The node's folder."
)

token = Group(
    "token",
    help="Who may call a node: tokens and API keys, given out and taken back.",
    examples=(
        "clawpurse token create --name shop --scope 'chain_*' --scope tx_submit --home ./node",
        "clawpurse token revoke t-2f6c0d1e9a4b7c83 --home ./node",
    ),
)


@token.command(
    "create",
    examples=(
        "clawpurse token create --name shop --scope 'account_*' --out shop.token --home ./node",
        "clawpurse token create --name ci --kind api-key --scope tx_submit --expires 90d --home .",
    ),
)
@NODE_HOME
@option("--name", required=True, help="What lists call it.")
@option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    help="*, namespace_* or a method; again for more.",
)
@option("--expires", default="30d", help="90m, 12h, 30d, 52w; at most 366 days (default 30d).")
@option(
    "--kind",
    type=click.Choice(["token", "api-key"]),
    default="token",
    help="A signed token, or a key of which only a hash is kept.",
)
@option("--out", type=click.Path(path_type=Path), help="Write it into a new file (0600).")
@click.pass_obj
def create(
    session: Session,
    node_home: Path,
    name: str,
    scopes: tuple[str, ...],
    expires: str,
    kind: str,
    out: Path | None,
) -> None:
    """Make a token; it is shown once. A running node takes it within a second."""
    from clawpurse.cli import tokens as work

    work.create(session, node_home.expanduser(), name, scopes, expires, kind, out)


@token.command("list", examples=("clawpurse token list --home ./node",))
@NODE_HOME
@click.pass_obj
def list_(session: Session, node_home: Path) -> None:
    """List every token and key, those that ended in the last month too."""
    from clawpurse.cli import tokens as work

    work.show_all(session, node_home.expanduser())


@token.command("show", examples=("clawpurse token show t-2f6c0d1e9a4b7c83 --home ./node",))
@click.argument("ident", metavar="ID")
@NODE_HOME
@click.pass_obj
def show(session: Session, ident: str, node_home: Path) -> None:
    """Show what one token may do, and until when; never the token."""
    from clawpurse.cli import tokens as work

    work.show(session, node_home.expanduser(), ident)


@token.command("revoke", examples=("clawpurse token revoke cpk_k3v5zq7ajd --home ./node",))
@click.argument("ident", metavar="ID")
@NODE_HOME
@click.pass_obj
def revoke(session: Session, ident: str, node_home: Path) -> None:
    """End a token for ever; open connections that use it end within two seconds.

    An id that is not listed is taken for that (`jti`) of another issuer's token, and refused.
    """
    from clawpurse.cli import tokens as work

    work.revoke(session, node_home.expanduser(), ident)
