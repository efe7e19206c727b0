"""`clawpurse credential …`: declared here, done in `credentials.py`."""

from __future__ import annotations

from typing import Any

import click

from clawpurse.cli.acting_options import acting_options, terms_of
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

credential = Group(
    "credential",
    help="What is attested of accounts, by whom. Nothing personal is on the ledger.",
    examples=(
        "clawpurse credential issue bob kyc --level 2 --expires 365d --subject 0x… "
        "--commitment 0x… --from bank",
        "clawpurse credential accept bank kyc --from bob",
        "clawpurse credential list bob",
    ),
)


@credential.command(
    "issue",
    examples=(
        "clawpurse credential issue bob kyc --level 2 --expires 365d --subject 0x… "
        "--commitment 0x… --from bank",
    ),
)
@click.argument("account")
@click.argument("topic")
@option("--level", type=click.IntRange(0, 255), default=1, show_default=True, help="How deep.")
@option("--expires", default="365d", show_default=True, metavar="TIME", help="36h, 90d, 2027-….")
@option("--subject", required=True, metavar="0xHASH", help="Commitment to who stands behind it.")
@option("--commitment", required=True, metavar="0xHASH", help="Commitment to what was seen.")
@acting_options
@click.pass_obj
def issue(session: Session, /, account: str, topic: str, **options: Any) -> None:
    """Attest ACCOUNT a TOPIC, or renew it; it counts once the holder accepts."""
    from clawpurse.cli import credentials as work

    terms = terms_of(options)
    work.issue(session, work.Wish(account, topic, **options), terms)


@credential.command("accept", examples=("clawpurse credential accept bank kyc --from bob",))
@click.argument("issuer")
@click.argument("topic")
@acting_options
@click.pass_obj
def accept(session: Session, /, issuer: str, topic: str, **options: Any) -> None:
    """Accept what ISSUER attests of you."""
    from clawpurse.cli import credentials as work

    work.accept(session, issuer, topic, terms_of(options))


@credential.command(
    "revoke", examples=("clawpurse credential revoke bob kyc --reason lapsed --from bank",)
)
@click.argument("account")
@click.argument("topic")
@option("--reason", required=True, metavar="CODE", help="Why: a–z, 0–9, dot, hyphen.")
@option("--issuer", metavar="ACCOUNT", help="Whose it is, for officers; default: yours.")
@acting_options
@click.pass_obj
def revoke(
    session: Session, /, account: str, topic: str, reason: str, issuer: str | None, **options: Any
) -> None:
    """Take back what was attested of ACCOUNT."""
    from clawpurse.cli import credentials as work

    work.revoke(session, account, topic, reason, issuer, terms_of(options))


@credential.command("check", examples=("clawpurse credential check bob kyc --level 2",))
@click.argument("account")
@click.argument("topic")
@option("--level", type=click.IntRange(0, 255), default=0, help="At least so deep.")
@node_options
@click.pass_obj
def check(session: Session, account: str, topic: str, level: int) -> int:
    """Tell whether ACCOUNT is attested a TOPIC now: exit code 0 if it is, 1 if not."""
    from clawpurse.cli import credentials as work

    return work.check(session, account, topic, level)


@credential.command("list", examples=("clawpurse credential list bob",))
@click.argument("account", required=False)
@node_options
@click.pass_obj
def list_credentials(session: Session, account: str | None) -> None:
    """List what is attested of ACCOUNT, and what of it counts."""
    from clawpurse.cli import credentials as work

    work.listed(session, account)


@credential.command("issuers", examples=("clawpurse credential issuers",))
@node_options
@click.pass_obj
def issuers(session: Session) -> None:
    """List who may attest what."""
    from clawpurse.cli import credentials as work

    work.issuers(session)


@credential.command(
    "set-issuer", examples=("clawpurse credential set-issuer bank kyc accredited --from admin",)
)
@click.argument("issuer")
@click.argument("topics", nargs=-1, required=True, metavar="TOPIC…")
@acting_options
@click.pass_obj
def set_issuer(session: Session, /, issuer: str, topics: tuple[str, ...], **options: Any) -> None:
    """Let ISSUER attest these topics and no others; administrators do."""
    from clawpurse.cli import credentials as work

    work.set_issuer(session, issuer, topics, terms_of(options))


@credential.command(
    "remove-issuer",
    examples=('clawpurse credential remove-issuer bank --reason "licence lost" --from admin',),
)
@click.argument("issuer")
@option("--reason", default="", help="Why; everybody can read it, for ever.")
@acting_options
@click.pass_obj
def remove_issuer(session: Session, /, issuer: str, reason: str, **options: Any) -> None:
    """Let nothing count any more that ISSUER attests; administrators do."""
    from clawpurse.cli import credentials as work

    work.remove_issuer(session, issuer, reason, terms_of(options))
