"""`clawpurse events`: declared here, done in `events.py`."""

from __future__ import annotations

import click

from clawpurse.cli.framework import Command, node_options, option
from clawpurse.cli.session import Session


@click.command(
    "events",
    cls=Command,
    examples=(
        "clawpurse events --topic account --filter account=alice",
        "clawpurse events --topic transactions --from beginning --count 20 --json",
    ),
)
@option("--topic", default="events", metavar="NAME", help="What to follow (default: events).")
@option(
    "--filter",
    "filters",
    multiple=True,
    metavar="K=V",
    help="What of it, again for more: account=alice, asset=EUR, direction=in, failed=true.",
)
@option("--from", "start", metavar="CURSOR", help="Go on after it; `beginning`: all that is kept.")
@option("--count", type=click.IntRange(1), metavar="N", help="End after so many events.")
@node_options
@click.pass_obj
def events(
    session: Session, topic: str, filters: tuple[str, ...], start: str | None, count: int | None
) -> None:
    """Follow what becomes final, one line an event, until Ctrl-C.

    Goes on by itself after a lost connection, at another node of the network if there is one, and
    shows each event once. At its end it names the cursor from which the next run goes on.
    """
    from clawpurse.cli import events as work

    work.follow(session, topic, filters, start, count)
