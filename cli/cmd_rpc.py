"""`clawpurse rpc METHOD [k=v …]` and `clawpurse methods`."""

from __future__ import annotations

from pathlib import Path

import click

from clawpurse.cli.framework import Command, node_options, option
from clawpurse.cli.session import Session


@click.command(
    "rpc",
    cls=Command,
    examples=("clawpurse rpc chain_getBlock height=12", "clawpurse rpc account_get account=alice"),
)
@click.argument("method")
@click.argument("parameters", nargs=-1, metavar="[K=V]…")
@node_options
@option("--token-file", type=click.Path(path_type=Path), help="For admin_*: NODE/admin.token.")
@click.pass_obj
def rpc(
    session: Session, method: str, parameters: tuple[str, ...], token_file: Path | None
) -> None:
    """Call a JSON-RPC method and print its result as JSON.

    A value is JSON if it reads as JSON (12, true, "12", [1]), else a text.
    """
    from clawpurse.cli import rpc as work

    work.call(session, method, parameters, token_file)


@click.command("methods", cls=Command, examples=("clawpurse methods", "clawpurse methods --json"))
@click.argument("name", required=False)
@node_options
@click.pass_obj
def methods(session: Session, name: str | None) -> None:
    """List every JSON-RPC method of a node, or show one with its parameters."""
    from clawpurse.cli import rpc as work

    work.methods(session, name)
