"""`clawpurse gateway …`: declared here, done in `gateways.py` and `gateway_paying.py`."""

from __future__ import annotations

from pathlib import Path

import click

from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

_FILE = click.Path(path_type=Path)
CONFIG = option("--config", type=_FILE, default="gateway.toml", help="Its configuration.")
DATA = option(
    "--data", type=_FILE, help="Its folder (default modules/gateway in the client's home)."
)

gateway = Group(
    "gateway",
    help="Sell any HTTP API for payments on the ledger: route, protect, charge.",
    examples=(
        "clawpurse gateway serve --config gateway.toml",
        "clawpurse gateway pay https://api.example/forecast/berlin --from alice",
    ),
)


@gateway.command(
    "serve",
    examples=(
        "clawpurse gateway serve --config gateway.toml",
        "clawpurse gateway serve --config gateway.toml --passphrase-file shop.pass",
    ),
)
@CONFIG
@option("--node", "node_url", metavar="URL", help="The node whose chain is the truth.")
@DATA
@option("--listen", metavar="HOST:PORT", help="Where whoever runs it looks after it.")
@option("--sign-in", metavar="URL", help="A sign-in service whose tokens are taken.")
@option("--issuer", help="Whose tokens it gives (default clawpurse:auth).")
@option("--audit", metavar="URL", help="An audit log that gets its history and its calls.")
@option("--audit-token-file", type=_FILE, help="A token of that log's, with audit.source's role.")
@option("--passphrase-file", type=_FILE, help="Opens the key that claims and refunds.")
@option("--for", "owner", metavar="ACCOUNT", help="The key is a session key of this account.")
@option("--lane", type=click.IntRange(0, 63), default=0, help="The lane that it sends in.")
@node_options
@click.pass_obj
def serve(
    session: Session,
    config: Path,
    node_url: str | None,
    data: Path | None,
    listen: str | None,
    sign_in: str | None,
    issuer: str | None,
    audit: str | None,
    audit_token_file: Path | None,
    passphrase_file: Path | None,
    owner: str | None,
    lane: int,
) -> None:
    """Run the gateway until Ctrl-C or SIGTERM.

    Its configuration says where it listens for clients; changes of the file are taken over.
    """
    from clawpurse.cli import gateways as work
    from clawpurse.cli.module_serving import Wish

    wish = Wish(
        "gateway",
        node_url,
        data,
        listen=listen,
        sign_in=sign_in,
        issuer=issuer,
        audit=audit,
        audit_token_file=audit_token_file,
        passphrase_file=passphrase_file,
        owner=owner,
        lane=lane,
    )
    work.serve(session, config, wish)


@gateway.command("check", examples=("clawpurse gateway check --config gateway.toml",))
@CONFIG
@click.pass_obj
def check(session: Session, config: Path) -> None:
    """Check a configuration, and show which request takes which route."""
    from clawpurse.cli import gateways as work

    work.check(session, config)


@gateway.command("status", examples=("clawpurse gateway status --token-file gateway.token",))
@node_options
@click.pass_obj
def status(session: Session) -> None:
    """Show how it is: upstreams, connections, what is wrong."""
    from clawpurse.cli import gateways as work

    work.status(session)


@gateway.command("routes", examples=("clawpurse gateway routes --token-file gateway.token",))
@node_options
@click.pass_obj
def routes(session: Session) -> None:
    """List its routes in the order in which they are tried, with prices."""
    from clawpurse.cli import gateways as work

    work.routes(session)


@gateway.command(
    "invoices", examples=("clawpurse gateway invoices --state refunding --token-file f",)
)
@option(
    "--state",
    type=click.Choice(["open", "used", "kept", "deposited", "refunding", "refunded"]),
    help="Only payments that stand so.",
)
@option("--limit", type=click.IntRange(1, 500), default=50, help="At most so many (default 50).")
@node_options
@click.pass_obj
def invoices(session: Session, state: str | None, limit: int) -> None:
    """List payments of invoices, the newest first, and what became of each."""
    from clawpurse.cli import gateways as work

    work.invoices(session, state, limit)


@gateway.command("revenue", examples=("clawpurse gateway revenue --token-file gateway.token",))
@node_options
@click.pass_obj
def revenue(session: Session) -> None:
    """Show what was earned, by route and client."""
    from clawpurse.cli import gateways as work

    work.revenue(session)


@gateway.command("reload", examples=("clawpurse gateway reload --token-file gateway.token",))
@node_options
@click.pass_obj
def reload(session: Session) -> None:
    """Take the configuration over now, and show what changed."""
    from clawpurse.cli import gateways as work

    work.reload(session)


@gateway.command(
    "pay",
    examples=(
        "clawpurse gateway pay https://api.example/forecast/berlin --from alice",
        "clawpurse gateway pay http://127.0.0.1:4020/x --from alice --max 0.10 --yes --out answer",
    ),
)
@click.argument("url")
@option("--from", "sender", metavar="NAME", help="The key that pays.")
@option("--method", default="GET", show_default=True, help="The request's method.")
@option("--data", "body", metavar="TEXT|@FILE", help="The request's body.")
@option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="Again for more.")
@option("--asset", default="CLAW", show_default=True, help="What to pay with.")
@option("--max", "most", metavar="AMOUNT", help="Pay no more than this; else you are asked.")
@option("--yes", is_flag=True, envvar=[], help="Do not ask; needs --max.")
@option("--out", type=_FILE, help="Write the answer into this file.")
@option("--passphrase-file", type=_FILE, help="A file with the key's passphrase.")
@node_options
@click.pass_obj
def pay(
    session: Session,
    url: str,
    sender: str | None,
    method: str,
    body: str | None,
    headers: tuple[str, ...],
    asset: str,
    most: str | None,
    yes: bool,
    out: Path | None,
    passphrase_file: Path | None,
) -> None:
    """Call URL, pay what it asks for within your guardrails, and print the answer."""
    from clawpurse.cli import gateway_paying as work

    wish = work.Wish(url, sender, method, body, headers, asset, most, yes, out, passphrase_file)
    work.pay(session, wish)


@gateway.command(
    "register",
    examples=(
        "clawpurse gateway register weather http://10.0.0.5:9000 --gateway https://api.example",
        "clawpurse gateway register weather http://10.0.0.5:9000 --tag eu --once --from weather-1",
    ),
)
@click.argument("service")
@click.argument("target", metavar="URL")
@option(
    "--gateway",
    "gateways",
    multiple=True,
    default=("http://127.0.0.1:4020",),
    show_default=True,
    metavar="URL",
    help="A gateway that is told; again for more.",
)
@option("--tag", "tags", multiple=True, help="A word that upstreams can ask for; again for more.")
@option("--from", "sender", metavar="NAME", help="The key whose account holds gateway.service.")
@option("--once", is_flag=True, help="For thirty seconds, once, instead of until Ctrl-C.")
@option("--passphrase-file", type=_FILE, help="A file with the key's passphrase.")
@node_options
@click.pass_obj
def register(
    session: Session,
    service: str,
    target: str,
    gateways: tuple[str, ...],
    tags: tuple[str, ...],
    sender: str | None,
    once: bool,
    passphrase_file: Path | None,
) -> None:
    """Tell gateways where SERVICE is, signed, again and again until Ctrl-C; then take it back."""
    from clawpurse.cli import gateway_registering as work

    wish = work.Wish(service, target, gateways, tags, sender, once, passphrase_file)
    work.register(session, wish)
