"""`clawpurse webhook …`: declared here, done in `webhooks.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

F = TypeVar("F", bound=Callable[..., Any])

webhook = Group(
    "webhook",
    help="Final events, posted to your server and signed. ID is a webhook's, wh_….",
    examples=(
        "clawpurse webhook create https://shop.example/hook --token-file NODE/admin.token",
        "clawpurse webhook deliveries wh_… --state dead",
    ),
)


def _operator_options(function: F) -> F:
    """Add what every command here needs: a node, and a token that it takes."""
    token = option(
        "--token-file",
        required=True,
        type=click.Path(path_type=Path),
        help="A token with the scope webhook_*: NODE/admin.token has it.",
    )
    return node_options(token(function))


_KEY_FILE = option(
    "--key-file",
    type=click.Path(path_type=Path),
    help="Write the key there (0600) instead of showing it.",
)
_SCHEME = click.Choice(("v1", "v1a"))


@webhook.command(
    "create",
    examples=(
        "clawpurse webhook create https://shop.example/hook --token-file NODE/admin.token",
        "clawpurse webhook create URL --topic account --filter account=bob --scheme v1a …",
    ),
)
@click.argument("url")
@option("--topic", default="transactions", help="blocks, transactions, events, account, asset, …")
@option("--filter", "filters", multiple=True, metavar="K=V", help="What of the topic.")
@option("--type", "types", multiple=True, metavar="KIND", help="Only such events: payments.*")
@option("--description", default="", help="For people.")
@option("--concurrency", type=click.IntRange(1, 16), default=1, help="1: strictly in order.")
@option("--scheme", type=_SCHEME, default="v1", help="v1: HMAC-SHA256, v1a: Ed25519.")
@option("--from-cursor", metavar="CURSOR", help="Events after it, or `beginning` (default: new).")
@_KEY_FILE
@_operator_options
@click.pass_obj
def create(session: Session, /, url: str, **options: Any) -> None:
    """Post events to a URL; shows the key to verify them with, this once."""
    from clawpurse.cli import webhooks as work

    work.create(session, url, options)


@webhook.command("list", examples=("clawpurse webhook list --token-file NODE/admin.token",))
@_operator_options
@click.pass_obj
def listed(session: Session, token_file: Path) -> None:
    """List the webhooks of a node, and how they are."""
    from clawpurse.cli import webhooks as work

    work.listed(session, token_file)


@webhook.command("show", examples=("clawpurse webhook show wh_… --token-file NODE/admin.token",))
@click.argument("ident", metavar="ID")
@_operator_options
@click.pass_obj
def show(session: Session, ident: str, token_file: Path) -> None:
    """Show one webhook."""
    from clawpurse.cli import webhooks as work

    work.show(session, ident, token_file)


@webhook.command("test", examples=("clawpurse webhook test wh_… --token-file NODE/admin.token",))
@click.argument("ident", metavar="ID")
@_operator_options
@click.pass_obj
def test(session: Session, ident: str, token_file: Path) -> None:
    """Post a ping now and say what came of it."""
    from clawpurse.cli import webhooks as work

    work.test(session, ident, token_file)


@webhook.command(
    "deliveries",
    examples=(
        "clawpurse webhook deliveries wh_… --token-file NODE/admin.token",
        "clawpurse webhook deliveries wh_… --state dead --token-file NODE/admin.token",
        "clawpurse webhook deliveries wh_… 12 --token-file NODE/admin.token",
    ),
)
@click.argument("ident", metavar="ID")
@click.argument("delivery", required=False, type=click.IntRange(1))
@option(
    "--state",
    type=click.Choice(("pending", "delivered", "dead", "failed")),
    help="Only these; dead: given up.",
)
@option("--limit", type=click.IntRange(1, 500), default=50, help="At most so many.")
@_operator_options
@click.pass_obj
def deliveries(
    session: Session,
    ident: str,
    delivery: int | None,
    state: str | None,
    limit: int,
    token_file: Path,
) -> None:
    """Show what became of events, the newest first; or one delivery with its attempts."""
    from clawpurse.cli import webhooks as work

    work.deliveries(session, ident, delivery, state, limit, token_file)


@webhook.command(
    "replay",
    examples=(
        "clawpurse webhook replay wh_… --delivery 12 --token-file NODE/admin.token",
        "clawpurse webhook replay wh_… --dead-letters --token-file NODE/admin.token",
        "clawpurse webhook replay wh_… --from-cursor 1200.0 --token-file NODE/admin.token",
    ),
)
@click.argument("ident", metavar="ID")
@option("--delivery", type=click.IntRange(1), help="This one again.")
@option("--from-cursor", metavar="CURSOR", help="Everything after it again, or `beginning`.")
@option("--dead-letters", is_flag=True, help="All that was given up again.")
@_operator_options
@click.pass_obj
def replay(session: Session, /, ident: str, **options: Any) -> None:
    """Send again; events keep their ids."""
    from clawpurse.cli import webhooks as work

    work.replay(session, ident, options)


@webhook.command(
    "rotate",
    examples=("clawpurse webhook rotate wh_… --overlap-hours 48 --token-file NODE/admin.token",),
)
@click.argument("ident", metavar="ID")
@option(
    "--overlap-hours",
    type=click.IntRange(0, 720),
    default=24,
    help="How long the former key signs too.",
)
@option("--scheme", type=_SCHEME, help="Of the new key (default: as before).")
@_KEY_FILE
@_operator_options
@click.pass_obj
def rotate(session: Session, /, ident: str, **options: Any) -> None:
    """Make a new key; for a while both sign."""
    from clawpurse.cli import webhooks as work

    work.rotate(session, ident, options)


@webhook.command(
    "enable", examples=("clawpurse webhook enable wh_… --token-file NODE/admin.token",)
)
@click.argument("ident", metavar="ID")
@option("--from-cursor", metavar="CURSOR", help="Go on after it (default: where it stopped).")
@_operator_options
@click.pass_obj
def enable(session: Session, ident: str, from_cursor: str | None, token_file: Path) -> None:
    """Send again to a webhook that is off."""
    from clawpurse.cli import webhooks as work

    work.enable(session, ident, from_cursor, token_file)


@webhook.command(
    "disable", examples=("clawpurse webhook disable wh_… --token-file NODE/admin.token",)
)
@click.argument("ident", metavar="ID")
@_operator_options
@click.pass_obj
def disable(session: Session, ident: str, token_file: Path) -> None:
    """Stop sending; events wait in the log."""
    from clawpurse.cli import webhooks as work

    work.disable(session, ident, token_file)


@webhook.command(
    "delete", examples=("clawpurse webhook delete wh_… --token-file NODE/admin.token",)
)
@click.argument("ident", metavar="ID")
@option("--yes", is_flag=True, envvar=[], help="Ask nothing; needs --i-understand.")
@option(
    "--i-understand",
    "understood",
    metavar="ID",
    help="The webhook's id, typed as a confirmation.",
)
@_operator_options
@click.pass_obj
def delete(
    session: Session, ident: str, yes: bool, understood: str | None, token_file: Path
) -> None:
    """Forget a webhook, its keys and its deliveries."""
    from clawpurse.cli import webhooks as work

    work.delete(session, ident, token_file, yes=yes, understood=understood)
