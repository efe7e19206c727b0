"""Options that every command shares which signs an action that is no payment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from clawpurse.cli.cmd_keys import PASSPHRASE_FILE
from clawpurse.cli.framework import node_options, option

if TYPE_CHECKING:
    from clawpurse.cli.acting import Terms

F = TypeVar("F", bound=Callable[..., Any])
AUTHORITY_HOMES: Final = option(
    "--authority-home",
    "authority_homes",
    multiple=True,
    type=click.Path(path_type=Path),
    help="The node's folder with the key that votes (authority.key); several: several votes.",
)
AUTHORITY_HOME: Final = option(
    "--authority-home",
    type=click.Path(path_type=Path),
    help="Send from the own account of the authority whose key lies in this folder.",
)


def acting_options(function: F) -> F:
    """Add who pays, how it is confirmed, and the node to talk to."""
    for parameter in (
        option("--from", "from_", metavar="NAME", help="The key that sends and pays."),
        option(
            "--for", "owner", metavar="ACCOUNT", help="Act for ACCOUNT, by a session key of it."
        ),
        option("--payer", metavar="ACCOUNT", help="Who pays the fee: a sponsor of yours."),
        PASSPHRASE_FILE,
        option("--yes", is_flag=True, envvar=[], help="Do not ask."),
        option(
            "--i-understand",
            metavar="CHAIN-ID",
            envvar=[],
            help="With --yes, where the network's name must be typed.",
        ),
        option(
            "--timeout", type=click.IntRange(1, 3600), default=10, help="Seconds to wait for it."
        ),
    ):
        function = parameter(function)
    return node_options(function)


def terms_of(options: dict[str, Any]) -> Terms:
    """Take the shared options out of a command's."""
    from clawpurse.cli.acting import Terms

    return Terms(
        options.pop("from_"),
        options.pop("passphrase_file"),
        options.pop("yes"),
        options.pop("i_understand"),
        options.pop("timeout"),
        options.pop("owner"),
        options.pop("payer"),
    )
