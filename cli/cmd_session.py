"""`clawpurse session …`: declared here, done in `session_keys.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clawpurse.cli.acting_options import acting_options, terms_of
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

session_group = Group(
    "session",
    help="Keys that sign for your account within limits that the network enforces: for agents. "
    "KEY is a key's name, or 0x… of its public key.",
    examples=(
        "clawpurse session create agent --cap CLAW 10 50 --expires 30d --from alice",
        "clawpurse wallet send bob 5 --from agent --for alice",
        "clawpurse session revoke agent --from alice",
    ),
)


@session_group.command(
    "create",
    examples=(
        "clawpurse session create agent --cap CLAW 10 50 --from alice",
        "clawpurse session create agent --cap EUR 5 20 --to bob --memo 'order ' --from alice",
        "clawpurse session create agent --from-guardrails alice --from alice",
    ),
)
@click.argument("key")
@option(
    "--cap",
    "caps",
    nargs=3,
    multiple=True,
    metavar="ASSET AT-ONCE A-DAY",
    help="How much it may take, fees included; without one, nothing of an asset.",
)
@option(
    "--from-guardrails",
    metavar="NAME",
    help="Take caps, allowlist and memo rule from the guardrails of this key.",
)
@option("--expires", default="30d", show_default=True, metavar="TIME", help="12h, 30d, 2027-01-….")
@option("--allow", "actions", multiple=True, metavar="ACTION", help="Default: assets.transfer.")
@option("--to", "recipients", multiple=True, metavar="ACCOUNT", help="Whom alone it may pay.")
@option("--memo", default="", metavar="TEXT", help="How its memos must begin.")
@option("--memo-required", is_flag=True, help="It must write some memo.")
@option(
    "--lane",
    "lanes",
    multiple=True,
    type=click.IntRange(1, 63),
    help="Its own of your parallel sequences (default: the first free one).",
)
@option("--label", default="", help="What to call it; public for ever.")
@option(
    "--key-passphrase-file",
    type=click.Path(path_type=Path),
    help="For the session key, which signs too (default: --passphrase-file).",
)
@acting_options
@click.pass_obj
def create(session: Session, /, key: str, **options: Any) -> None:
    """Let KEY sign for your account, within limits."""
    from clawpurse.cli import session_keys as work

    terms = terms_of(options)
    work.create(session, work.Wish(key, **options), terms)


@session_group.command(
    "list",
    examples=("clawpurse session list alice", "clawpurse session list --of agent"),
)
@click.argument("account", required=False)
@option("--of", "key", metavar="KEY", help="For whom this key may sign.")
@node_options
@click.pass_obj
def list_sessions(session: Session, account: str | None, key: str | None) -> None:
    """List the session keys of an account, and what each has left today."""
    from clawpurse.cli import session_keys as work

    work.listed(session, account, key)


@session_group.command("show", examples=("clawpurse session show alice agent",))
@click.argument("account")
@click.argument("key")
@node_options
@click.pass_obj
def show(session: Session, account: str, key: str) -> None:
    """Show what a session key may do, took today, and has left."""
    from clawpurse.cli import session_keys as work

    work.shown(session, account, key)


@session_group.command("revoke", examples=("clawpurse session revoke agent --from alice",))
@click.argument("key")
@acting_options
@click.pass_obj
def revoke(session: Session, /, key: str, **options: Any) -> None:
    """Take all that KEY may do for your account from it, at once."""
    from clawpurse.cli import session_keys as work

    work.revoke(session, key, terms_of(options))


@session_group.command(
    "resign",
    examples=("clawpurse session resign agent alice --from bob",),
)
@click.argument("key")
@click.argument("account")
@option(
    "--key-passphrase-file",
    type=click.Path(path_type=Path),
    help="For the session key, which signs too (default: --passphrase-file).",
)
@acting_options
@click.pass_obj
def resign(
    session: Session, /, key: str, account: str, key_passphrase_file: Path | None, **options: Any
) -> None:
    """Give up KEY, a session key of ACCOUNT that you have; anybody may pay for that."""
    from clawpurse.cli import session_keys as work

    work.resign(session, key, account, key_passphrase_file, terms_of(options))
