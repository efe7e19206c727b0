"""`clawpurse risk …`: declared here, done in `risks.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clawpurse.cli.acting_options import AUTHORITY_HOME, acting_options, terms_of
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

risk = Group(
    "risk",
    help="Scores of risk, 0 to 1000, that several oracles agree on; policies ask for them.",
    examples=(
        "clawpurse risk score bob",
        "clawpurse risk report bob --score 640 --model 0x… --features 3 --from oracle",
    ),
)


@risk.command("score", examples=("clawpurse risk score bob",))
@click.argument("account")
@node_options
@click.pass_obj
def score(session: Session, account: str) -> None:
    """Tell an account's score, who reported what, and until when it counts."""
    from clawpurse.cli import risks as work

    work.score(session, account)


@risk.command("oracles", examples=("clawpurse risk oracles",))
@node_options
@click.pass_obj
def oracles(session: Session) -> None:
    """Tell whose reports count, and how many make a score."""
    from clawpurse.cli import risks as work

    work.oracles(session)


@risk.command(
    "report",
    examples=(
        "clawpurse risk report bob --score 640 --model 0x… --features 3 --from oracle",
        "clawpurse risk report bob --score 0 --model 0x… --features 3 --until 12h --from oracle",
    ),
)
@click.argument("account")
@option("--score", type=click.IntRange(0, 1_000), required=True, help="0, no risk seen, to 1000.")
@option("--model", metavar="0xHASH", required=True, help="Hash of the model that found it.")
@option(
    "--features",
    type=click.IntRange(0, 2**32 - 1),
    required=True,
    help="Version of what the model looks at.",
)
@option("--until", default="24h", show_default=True, help="How long it counts; at most 30d.")
@acting_options
@click.pass_obj
def report(
    session: Session,
    /,
    account: str,
    score: int,
    model: str,
    features: int,
    until: str,
    **options: Any,
) -> None:
    """Report the risk of an account; only oracles can."""
    from clawpurse.cli import risks as work

    finding = work.Finding(score, model, features, until)
    work.report(session, account, finding, terms_of(options))


@risk.command("withdraw", examples=("clawpurse risk withdraw bob --from oracle",))
@click.argument("account")
@acting_options
@click.pass_obj
def withdraw(session: Session, /, account: str, **options: Any) -> None:
    """Withdraw what you reported of an account."""
    from clawpurse.cli import risks as work

    work.withdraw(session, account, terms_of(options))


@risk.command(
    "set-oracles",
    examples=(
        "clawpurse risk set-oracles carol dave erin --needed 2 --from admin",
        "clawpurse risk set-oracles --needed 0 --from admin",
    ),
)
@click.argument("accounts", nargs=-1, metavar="[ACCOUNT]…")
@option("--needed", type=click.IntRange(0, 16), required=True, help="How many make a score.")
@AUTHORITY_HOME
@acting_options
@click.pass_obj
def set_oracles(
    session: Session,
    /,
    accounts: tuple[str, ...],
    needed: int,
    authority_home: Path | None,
    **options: Any,
) -> None:
    """Say whose reports count from now on; only administrators can."""
    from clawpurse.cli import risks as work

    work.set_oracles(session, accounts, needed, authority_home, terms_of(options))
