"""`wallet serve` and `wallet token …`: declared here, done in `serving.py`, `wallet_tokens.py`."""

from __future__ import annotations

from pathlib import Path

import click

from clawpurse.cli.framework import Command, Group, node_options, option
from clawpurse.cli.session import Session

_FILE = click.Path(path_type=Path)


@click.command(
    "serve",
    cls=Command,
    examples=(
        "clawpurse wallet serve",
        "clawpurse wallet serve --socket ~/.clawpurse/service/wallet.sock",
        "clawpurse wallet serve --unlock alice --passphrase-file F --listen 127.0.0.1:0",
    ),
)
@option(
    "--listen",
    default="127.0.0.1:9638",
    show_default=True,
    metavar="HOST:PORT",
    help="A loopback address; port 0 is any free one.",
)
@option("--socket", type=_FILE, help="A Unix socket in place of the port.")
@option("--unlock", multiple=True, metavar="NAME", help="Open this key first; again for more.")
@option("--passphrase-file", type=_FILE, help="A file with the passphrase of --unlock.")
@option(
    "--unlock-minutes",
    type=click.IntRange(1, 1_440),
    default=15,
    show_default=True,
    help="After so long an open key locks itself.",
)
@option("--origin", multiple=True, metavar="URL", help="A page elsewhere that may call.")
@node_options
@click.pass_obj
def serve(
    session: Session,
    listen: str,
    socket: Path | None,
    unlock: tuple[str, ...],
    passphrase_file: Path | None,
    unlock_minutes: int,
    origin: tuple[str, ...],
) -> None:
    """Hold keys for programs and pages of this machine, by JSON-RPC with tokens."""
    from clawpurse.cli import serving

    wish = serving.Wish(listen, socket, unlock, passphrase_file, unlock_minutes, origin)
    serving.serve(session, wish)


token = Group(
    "token",
    help="Who may call the wallet service: by method and by key.",
    examples=(
        "clawpurse wallet token create --name agent --scope wallet_send --account alice --out F",
        "clawpurse wallet token revoke cpk_k3v5zq7ajd",
    ),
)


@token.command(
    "create",
    examples=(
        "clawpurse wallet token create --name me --scope 'wallet_*' --out me.token",
        "clawpurse wallet token create --name agent --scope wallet_send --account alice --out F",
    ),
)
@option("--name", required=True, help="What lists and requests call it.")
@option(
    "--scope", "scopes", multiple=True, required=True, help="wallet_* or a method; again for more."
)
@option("--account", "keys", multiple=True, metavar="KEY", help="Only this key; again for more.")
@option("--expires", default="30d", help="90m, 12h, 30d, 52w; at most 366 days (default 30d).")
@option("--out", type=_FILE, help="Write it into a new file (0600); else it is shown once.")
@click.pass_obj
def create(
    session: Session,
    name: str,
    scopes: tuple[str, ...],
    keys: tuple[str, ...],
    expires: str,
    out: Path | None,
) -> None:
    """Make a token. A running service takes it at once."""
    from clawpurse.cli import wallet_tokens as work

    work.create(session, name, scopes, keys, expires, out)


@token.command("list", examples=("clawpurse wallet token list",))
@click.pass_obj
def list_(session: Session) -> None:
    """List the tokens, those that ended in the last month too."""
    from clawpurse.cli import wallet_tokens as work

    work.show_all(session)


@token.command("revoke", examples=("clawpurse wallet token revoke cpk_k3v5zq7ajd",))
@click.argument("ident", metavar="ID")
@click.pass_obj
def revoke(session: Session, ident: str) -> None:
    """End a token for ever, at once."""
    from clawpurse.cli import wallet_tokens as work

    work.revoke(session, ident)


request = Group(
    "request",
    help="What programs ask of you by the wallet service: read it, approve it, reject it.",
    examples=("clawpurse wallet request list", "clawpurse wallet request approve 0x5e47"),
)


@request.command("list", examples=("clawpurse wallet request list --all",))
@option("--all", "everything", is_flag=True, help="Also what was decided, or is too old.")
@click.pass_obj
def requests(session: Session, everything: bool) -> None:
    """List what waits for you."""
    from clawpurse.cli import requests as work

    work.show_all(session, everything)


@request.command("show", examples=("clawpurse wallet request show 0x5e47",))
@click.argument("ident", metavar="ID")
@click.pass_obj
def show_request(session: Session, ident: str) -> None:
    """Show every field of a request in words, its effects and what your guardrails say.

    ID is its beginning, as far as it is the only one.
    """
    from clawpurse.cli import requests as work

    work.show(session, ident)


@request.command(
    "approve",
    examples=(
        "clawpurse wallet request approve 0x5e47",
        "clawpurse wallet request approve 0x5e47 --passphrase-file F --yes",
    ),
)
@click.argument("ident", metavar="ID")
@option("--passphrase-file", type=_FILE, help="A file with the passphrase, where it is locked.")
@option("--yes", is_flag=True, envvar=[], help="Do not ask.")
@click.pass_obj
def approve(session: Session, ident: str, passphrase_file: Path | None, yes: bool) -> None:
    """Say yes: it is judged again, signed, and sent."""
    from clawpurse.cli import requests as work

    work.approve(session, ident, passphrase_file, yes=yes)


@request.command("reject", examples=("clawpurse wallet request reject 0x5e47 --reason 'too much'",))
@click.argument("ident", metavar="ID")
@option("--reason", default="", help="Told to who asked.")
@click.pass_obj
def reject(session: Session, ident: str, reason: str) -> None:
    """Say no: whoever asked is told, and is not asked about it again."""
    from clawpurse.cli import requests as work

    work.reject(session, ident, reason)
