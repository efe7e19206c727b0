"""`clawpurse auth …`: declared here, done in `signing_in.py`."""

from __future__ import annotations

from pathlib import Path

import click

from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

_FILE = click.Path(path_type=Path)

auth = Group(
    "auth",
    help="Sign in to a sign-in service by the key of an account.",
    examples=(
        "clawpurse auth login alice --service https://id.example.org --out alice.session",
        "clawpurse auth token alice.session --out alice.token",
    ),
)


@auth.command(
    "login",
    examples=(
        "clawpurse auth login alice --service http://127.0.0.1:9643 --out alice.session",
        "clawpurse auth login alice --service https://id.example.org --domain example.org --out F",
    ),
)
@click.argument("key")
@option("--service", required=True, metavar="URL", help="Where the sign-in service answers.")
@option("--out", required=True, type=_FILE, help="Keep the session in a new file (0600).")
@option("--domain", help="The domain it signs in to, if that is not the URL's host.")
@option("--label", default="", help="What the list of sessions calls it.")
@option("--code-file", type=_FILE, help="A file with the code of a second factor.")
@option("--passphrase-file", type=_FILE, help="A file with the key's passphrase.")
@node_options
@click.pass_obj
def login(
    session: Session,
    key: str,
    service: str,
    out: Path,
    domain: str | None,
    label: str,
    code_file: Path | None,
    passphrase_file: Path | None,
) -> None:
    """Sign a challenge with a key, and keep the session that this opens.

    What is signed is shown first, and is never a transaction. A challenge for another domain,
    network or account than meant is refused.
    """
    from clawpurse.cli import signing_in as work

    wish = work.Wish(key, service, out, domain, label, code_file, passphrase_file)
    work.login(session, wish)


@auth.command(
    "bind",
    examples=("clawpurse auth bind alice --service http://127.0.0.1:9643 --token-file ada.token",),
)
@click.argument("key")
@option("--service", required=True, metavar="URL", help="Where the sign-in service answers.")
@option("--domain", help="The domain it signs in to, if that is not the URL's host.")
@option("--passphrase-file", type=_FILE, help="A file with the key's passphrase.")
@node_options
@click.pass_obj
def bind(
    session: Session, key: str, service: str, domain: str | None, passphrase_file: Path | None
) -> None:
    """Show a service that an account is yours: what the ledger lets it do, you may then do.

    `--token-file` is of a session that was opened a moment ago.
    """
    from clawpurse.cli import signing_in as work

    wish = work.Wish(key, service, Path(), domain, "", None, passphrase_file)
    work.bind(session, wish)


@auth.command("token", examples=("clawpurse auth token alice.session --out alice.token",))
@click.argument("file", type=_FILE)
@option("--out", type=_FILE, help="Write it into a file (0600); else it is shown.")
@node_options
@click.pass_obj
def token(session: Session, file: Path, out: Path | None) -> None:
    """Renew a session, and give its newest access token, good for minutes."""
    from clawpurse.cli import signing_in as work

    work.token(session, file, out)


@auth.command("logout", examples=("clawpurse auth logout alice.session",))
@click.argument("file", type=_FILE)
@node_options
@click.pass_obj
def logout(session: Session, file: Path) -> None:
    """End a session, and remove its file."""
    from clawpurse.cli import signing_in as work

    work.logout(session, file)
