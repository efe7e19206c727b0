"""`clawpurse module …`: declared here, done in `modules.py` and `module_serving.py`."""

from __future__ import annotations

from pathlib import Path

import click

from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

_FILE = click.Path(path_type=Path)
DATA = option(
    "--data",
    type=_FILE,
    help="The module's folder (default modules/NAME in the client's home).",
)

module = Group(
    "module",
    help="Services beside the chain: what is installed, and running one of them.",
    examples=(
        "clawpurse module list",
        "clawpurse module serve customer --node http://127.0.0.1:9641",
    ),
)


@module.command("list", examples=("clawpurse module list",))
@click.pass_obj
def list_(session: Session) -> None:
    """List the modules that are installed here."""
    from clawpurse.cli import modules as work

    work.show_all(session)


@module.command("show", examples=("clawpurse module show customer",))
@click.argument("name")
@click.pass_obj
def show(session: Session, name: str) -> None:
    """Show a module's manifest: records, methods, events, roles, what it sends to the ledger."""
    from clawpurse.cli import modules as work

    work.show(session, name)


@module.command(
    "serve",
    examples=(
        "clawpurse module serve customer --node http://127.0.0.1:9641",
        "clawpurse module serve customer --database postgresql://desk@127.0.0.1/desk",
        "clawpurse module serve helpdesk:HelpDesk --listen 127.0.0.1:0",
    ),
)
@click.argument("name")
@option("--node", "node_url", metavar="URL", help="The node whose chain is the truth.")
@DATA
@option("--database", metavar="URL", help="A path or postgresql://…; without a password.")
@option("--database-file", type=_FILE, help="A file (0600) with the URL, password and all.")
@option("--master-key-file", type=_FILE, help="What opens sealed values (default in the folder).")
@option("--master-key-command", metavar="COMMAND", help="A command that prints that key.")
@option("--master-passphrase-file", type=_FILE, help="A passphrase that it is stretched from.")
@option("--listen", metavar="HOST:PORT", help="Default: 127.0.0.1, first free of 9643 to 9649.")
@option("--tls-certificate", type=_FILE, help="PEM; needed beyond this machine.")
@option("--tls-key", type=_FILE, help="PEM, 0600.")
@option("--host-name", "hosts", multiple=True, help="A name that callers use; again for more.")
@option("--origin", "origins", multiple=True, metavar="URL", help="A page that may call.")
@option("--sign-in", metavar="URL", help="A sign-in service: people use the pages as its users.")
@option("--issuer", help="Whose tokens it gives (default clawpurse:auth).")
@option("--webhook-allow", multiple=True, help="Receivers beyond https: a network or host name.")
@option("--audit", metavar="URL", help="An audit log that gets its history and its calls.")
@option("--audit-token-file", type=_FILE, help="A token of that log's, with audit.source's role.")
@option(
    "--holder",
    "holders",
    type=(str, str, _FILE),
    multiple=True,
    metavar="NAME URL TOKEN-FILE",
    help="A service elsewhere that erases whom this one erased, by a token with its privacy role.",
)
@option("--passphrase-file", type=_FILE, help="Opens the key of the module's account.")
@option("--for", "owner", metavar="ACCOUNT", help="The key is a session key of this account.")
@option("--lane", type=click.IntRange(0, 63), default=0, help="The lane that it sends in.")
@node_options
@click.pass_obj
def serve(
    session: Session,
    name: str,
    node_url: str | None,
    data: Path | None,
    database: str | None,
    database_file: Path | None,
    master_key_file: Path | None,
    master_key_command: str | None,
    master_passphrase_file: Path | None,
    listen: str | None,
    tls_certificate: Path | None,
    tls_key: Path | None,
    hosts: tuple[str, ...],
    origins: tuple[str, ...],
    sign_in: str | None,
    issuer: str | None,
    webhook_allow: tuple[str, ...],
    audit: str | None,
    audit_token_file: Path | None,
    holders: tuple[tuple[str, str, Path], ...],
    passphrase_file: Path | None,
    owner: str | None,
    lane: int,
) -> None:
    """Run a module in a process of its own, until Ctrl-C or SIGTERM.

    It asks the node, keeps its own records, and answers by JSON-RPC with tokens.
    """
    from clawpurse.cli import module_serving as work

    wish = work.Wish(
        name,
        node_url,
        data,
        database,
        database_file,
        master_key_file,
        master_key_command,
        master_passphrase_file,
        listen,
        tls_certificate,
        tls_key,
        hosts,
        origins,
        sign_in,
        issuer,
        webhook_allow,
        audit,
        audit_token_file,
        holders,
        passphrase_file,
        owner,
        lane,
    )
    work.serve(session, wish)


@module.command("key", examples=("clawpurse module key customer --passphrase-file F",))
@click.argument("name")
@DATA
@option("--passphrase-file", type=_FILE, required=True, help="A file with 15 or more characters.")
@click.pass_obj
def key(session: Session, name: str, data: Path | None, passphrase_file: Path) -> None:
    """Make the key of the account from which a module sends to the ledger."""
    from clawpurse.cli import modules as work

    work.make_key(session, name, data, passphrase_file)


token = Group(
    "token",
    help="Who may call a module that runs alone.",
    examples=("clawpurse module token create customer --account alice --out alice.token",),
)
module.add_command(token)


@token.command(
    "create",
    examples=(
        "clawpurse module token create customer --account alice --out alice.token",
        "clawpurse module token create customer --name prometheus --scope metrics --out F",
    ),
)
@click.argument("module_name", metavar="MODULE")
@option("--account", help="For whom it acts: what the ledger lets that account do.")
@option("--name", help="What lists call it, if it acts for no account.")
@option("--scope", "scopes", multiple=True, help="A method or NAME_* (default *); again for more.")
@option("--expires", default="30d", help="90m, 12h, 30d, 52w; at most 366 days (default 30d).")
@option("--out", type=_FILE, help="Write it into a new file (0600); else it is shown once.")
@DATA
@click.pass_obj
def create(
    session: Session,
    module_name: str,
    account: str | None,
    name: str | None,
    scopes: tuple[str, ...],
    expires: str,
    out: Path | None,
    data: Path | None,
) -> None:
    """Make a token. A running module takes it at once."""
    from clawpurse.cli import modules as work

    work.create_token(session, module_name, account, name, scopes, expires, out, data)


@token.command("list", examples=("clawpurse module token list customer",))
@click.argument("module_name", metavar="MODULE")
@DATA
@click.pass_obj
def list_tokens(session: Session, module_name: str, data: Path | None) -> None:
    """List the tokens, those that ended in the last month too."""
    from clawpurse.cli import modules as work

    work.list_tokens(session, module_name, data)


@token.command("revoke", examples=("clawpurse module token revoke customer cpk_k3v5zq7ajd",))
@click.argument("module_name", metavar="MODULE")
@click.argument("ident", metavar="ID")
@DATA
@click.pass_obj
def revoke(session: Session, module_name: str, ident: str, data: Path | None) -> None:
    """End a token for ever, at once."""
    from clawpurse.cli import modules as work

    work.revoke_token(session, module_name, ident, data)
