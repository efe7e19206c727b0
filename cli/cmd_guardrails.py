"""`wallet guardrails|allowlist …`: declared here, done in `guardrails.py`, `factors.py`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from clawpurse.cli.cmd_keys import PASSPHRASE_FILE
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

if TYPE_CHECKING:
    from clawpurse.cli.factors import Given
    from clawpurse.cli.guardrails import Limits

F = TypeVar("F", bound=Callable[..., Any])
_FILE: Final = click.Path(path_type=Path)
_STANCE: Final = click.Choice(["refuse", "confirm", "allow"])
_LIMIT: Final = "ASSET AMOUNT"
_FROM: Final = option(
    "--from", "from_", metavar="NAME", help="Whose allowlist (default: only key)."
)


@click.pass_context
def _show_by_default(ctx: click.Context) -> None:
    if ctx.invoked_subcommand is None:
        ctx.invoke(show)


def _factor_options(function: F) -> F:
    """Add the options that say where a second factor is."""
    for parameter in (
        PASSPHRASE_FILE,
        option("--code-file", type=_FILE, help="A file with the code of your app."),
        option("--approval", type=_FILE, help="A file with a co-signer's approval."),
        option("--words-file", type=_FILE, help="A file with the words of the key."),
        option("--request", type=_FILE, help="Only write a request for a co-signer, to this file."),
    ):
        function = parameter(function)
    return function


def _limit_options(function: F) -> F:
    """Add limits by asset."""
    for parameter in (
        option("--max", "once", nargs=2, multiple=True, metavar=_LIMIT, help="At most at once."),
        option("--per-day", "daily", nargs=2, multiple=True, metavar=_LIMIT, help="At most a day."),
    ):
        function = parameter(function)
    return function


def _given(options: dict[str, Any]) -> Given:
    from clawpurse.cli.factors import Given

    return Given(
        options.pop("passphrase_file"),
        options.pop("code_file"),
        options.pop("approval"),
        options.pop("words_file"),
        options.pop("request"),
    )


def _limits(options: dict[str, Any]) -> Limits:
    from clawpurse.cli.guardrails import Limits

    return Limits(options.pop("once"), options.pop("daily"), options.pop("confirm_above", ()))


guardrails = Group(
    "guardrails",
    callback=_show_by_default,
    invoke_without_command=True,
    help="What a key may pay without anybody else's word. NAME is a key's; your only one is meant "
    "without it. AMOUNT may be `none`.",
    examples=(
        "clawpurse wallet guardrails show alice",
        "clawpurse wallet guardrails set alice --max CLAW 500 --per-day CLAW 2000",
    ),
)


@guardrails.command("show", examples=("clawpurse wallet guardrails show alice",))
@click.argument("name", required=False)
@click.pass_obj
def show(session: Session, name: str | None = None) -> None:
    """Show the limits of a key, and what lifts them."""
    from clawpurse.cli import guardrails as work

    work.show(session, name)


@guardrails.command(
    "set",
    examples=(
        "clawpurse wallet guardrails set alice --max CLAW 500 --per-day CLAW 2000",
        "clawpurse wallet guardrails set alice --unknown refuse --memo-begins 'order '",
    ),
)
@click.argument("name", required=False)
@_limit_options
@option(
    "--confirm-above",
    nargs=2,
    multiple=True,
    metavar=_LIMIT,
    help="Ask for more than this at once.",
)
@option("--unknown", type=_STANCE, help="What happens to who is not on the allowlist.")
@option("--other-assets", type=_STANCE, help="What happens to assets without a limit.")
@option("--memo-begins", metavar="TEXT", help="How memos must begin ('' for no rule).")
@option("--memo-required/--no-memo-required", default=None, help="Whether there must be a memo.")
@option("--cosigner", "cosigners", multiple=True, metavar="ACCOUNT", help="Who may lift limits.")
@option("--no-cosigner", "gone", multiple=True, metavar="LABEL", help="Who may not any more.")
@_factor_options
@node_options
@click.pass_obj
def set_limits(session: Session, /, name: str | None, **options: Any) -> None:
    """Change limits. Loosening one needs a code, a co-signer, or the words."""
    from clawpurse.cli import guardrails as work

    given, limits = _given(options), _limits(options)
    wish = work.Wish(
        limits,
        options["unknown"],
        options["other_assets"],
        options["memo_begins"],
        options["memo_required"],
        options["cosigners"],
        options["gone"],
    )
    work.change(session, name, wish, given)


@guardrails.command("enable", examples=("clawpurse wallet guardrails enable alice",))
@click.argument("name", required=False)
@_factor_options
@click.pass_obj
def enable(session: Session, /, name: str | None, **options: Any) -> None:
    """Refuse what is beyond a limit (mode enforce)."""
    _set_mode(session, name, "enforce", options)


@guardrails.command(
    "disable", examples=("clawpurse wallet guardrails disable alice --code-file code",)
)
@click.argument("name", required=False)
@_factor_options
@click.pass_obj
def disable(session: Session, /, name: str | None, **options: Any) -> None:
    """Only say what is beyond a limit, and pay it (mode allow)."""
    _set_mode(session, name, "allow", options)


def _set_mode(session: Session, name: str | None, mode: str, options: dict[str, Any]) -> None:
    from clawpurse.cli import guardrails as work
    from clawpurse.wallet.guardrails import Mode

    wish = work.Wish(work.Limits(), None, None, None, None, (), ())
    work.change(session, name, wish, _given(options), Mode(mode))


@guardrails.command("enrol", examples=("clawpurse wallet guardrails enrol alice",))
@click.argument("name")
@option("--secret-file", type=_FILE, help="Write the secret here (0600), show nothing.")
@_factor_options
@click.pass_obj
def enrol(session: Session, /, name: str, secret_file: Path | None, **options: Any) -> None:
    """Let codes of an authenticator app lift limits. Its secret is shown once."""
    from clawpurse.cli import factors as work

    work.enrol(session, name, _given(options), secret_file)


@guardrails.command("unenrol", examples=("clawpurse wallet guardrails unenrol alice",))
@click.argument("name")
@_factor_options
@click.pass_obj
def unenrol(session: Session, /, name: str, **options: Any) -> None:
    """End codes; the words of the key end them too, when the app is lost."""
    from clawpurse.cli import factors as work

    work.end_codes(session, name, _given(options))


@guardrails.command(
    "approve", examples=("clawpurse wallet guardrails approve request.json --from bob -o ok.json",)
)
@click.argument("request", type=_FILE)
@option("--from", "from_", required=True, metavar="NAME", help="Your key: a co-signer's.")
@option("--out", "-o", type=_FILE, required=True, help="Where to write the approval.")
@PASSPHRASE_FILE
@option("--yes", is_flag=True, envvar=[], help="Do not ask.")
@click.pass_obj
def approve(
    session: Session, request: Path, from_: str, out: Path, passphrase_file: Path | None, yes: bool
) -> None:
    """Read what somebody asks of you as co-signer, and agree to it once."""
    from clawpurse.cli import factors as work

    work.approve(session, request, from_, out, passphrase_file, yes=yes)


@guardrails.command("log", examples=("clawpurse wallet guardrails log alice",))
@click.argument("name")
@click.pass_obj
def log(session: Session, name: str) -> None:
    """Show every override and change; says so if the log was tampered with."""
    from clawpurse.cli import factors as work

    work.show_log(session, name)


allowlist = Group(
    "allowlist",
    help="Whom a key may pay, each with limits of its own.",
    examples=(
        "clawpurse wallet allowlist init --from alice",
        "clawpurse wallet allowlist add bob --max CLAW 50 --from alice",
    ),
)


@allowlist.command(
    "init",
    examples=(
        "clawpurse wallet allowlist init --from alice",
        "clawpurse wallet allowlist init --file allowlist.json --from alice",
    ),
)
@option("--file", type=_FILE, help="An allowlist of the existing ClawPurse wallet to take over.")
@option("--unknown", type=_STANCE, help="What happens to others (default: refuse, or the file's).")
@_FROM
@_factor_options
@node_options
@click.pass_obj
def init(
    session: Session, /, file: Path | None, unknown: str | None, from_: str | None, **options: Any
) -> None:
    """Start an allowlist: whoever is not on it is refused."""
    from clawpurse.cli import guardrails as work

    work.init_allowlist(session, from_, file, unknown, _given(options))


@allowlist.command("list", examples=("clawpurse wallet allowlist list --from alice",))
@_FROM
@click.pass_obj
def list_allowed(session: Session, from_: str | None) -> None:
    """List who is on it."""
    from clawpurse.cli import guardrails as work

    work.list_allowed(session, from_)


@allowlist.command(
    "add", examples=("clawpurse wallet allowlist add bob --max CLAW 50 --from alice",)
)
@click.argument("account")
@option("--label", help="What to call it (default: the key's or contact's name).")
@_limit_options
@option("--memo-required", is_flag=True, help="Payments to it need a memo.")
@option("--notes", default="", help="What you want to remember.")
@_FROM
@_factor_options
@node_options
@click.pass_obj
def add(session: Session, /, account: str, from_: str | None, **options: Any) -> None:
    """Put ACCOUNT on it, or change its limits."""
    from clawpurse.cli import guardrails as work

    given, limits = _given(options), _limits(options)
    entry = work.Entry(
        account, options["label"], limits, options["memo_required"], options["notes"]
    )
    work.allow(session, from_, entry, given)


@allowlist.command("remove", examples=("clawpurse wallet allowlist remove bob --from alice",))
@click.argument("account")
@_FROM
@_factor_options
@click.pass_obj
def remove(session: Session, /, account: str, from_: str | None, **options: Any) -> None:
    """Take ACCOUNT (or its label) off it."""
    from clawpurse.cli import guardrails as work

    work.forbid(session, from_, account, _given(options))
