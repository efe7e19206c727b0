"""`clawpurse asset …`: declared here, done in `assets.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clawpurse.cli.acting_options import acting_options, terms_of
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

asset = Group(
    "asset",
    help="Assets that issuers create and control. ACCOUNT is a key's name, a contact, or claw1….",
    examples=(
        'clawpurse asset create EURX --title "Euro X" --flag freezable --from bank',
        "clawpurse asset mint EURX alice 250 --from bank",
        "clawpurse asset show EURX",
    ),
)
# As `records.FLAG_NAMES`, without importing the ledger for a page of help.
FLAGS = click.Choice(
    (
        "authorisation-required",
        "freezable",
        "clawback",
        "transferable",
        "immutable",
        "reserve",
    )
)
DUTIES = click.Choice(("mint", "freeze", "authorise", "clawback", "reserve"))
REASON = option("--reason", metavar="CODE", help="Why, such as court-order; public for ever.")
DOCUMENT = option(
    "--document",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file whose hash (SHA-256) is published; the file is not.",
)
DOCUMENT_HASH = option("--document-hash", metavar="0xHASH", help="The same, by its hash.")


@asset.command(
    "create",
    examples=(
        'clawpurse asset create EURX --title "Euro X" --decimals 2 --flag freezable '
        "--flag clawback --from bank",
    ),
)
@click.argument("name", metavar="ASSET")
@option("--title", required=True, help="What people call it.")
@option("--decimals", type=click.IntRange(0, 18), default=2, show_default=True, help="Digits.")
@option("--flag", "flags", type=FLAGS, multiple=True, help="What it is issued with; several.")
@option("--not-transferable", is_flag=True, help="It goes only to and from you, its issuer.")
@option("--cap", metavar="AMOUNT", help="The most that may ever exist.")
@option("--metadata", default="", help="Such as an address; everybody can read it.")
@DOCUMENT
@DOCUMENT_HASH
@acting_options
@click.pass_obj
def create(session: Session, /, name: str, **options: Any) -> None:
    """Create ASSET; needs the role issuer. It is transferable unless you say otherwise."""
    from clawpurse.cli import assets as work

    terms = terms_of(options)
    work.create(session, work.Wish(name, **options), terms)


@asset.command("mint", examples=("clawpurse asset mint EURX alice 250 --from bank",))
@click.argument("name", metavar="ASSET")
@click.argument("account")
@click.argument("amount")
@acting_options
@click.pass_obj
def mint(session: Session, /, name: str, account: str, amount: str, **options: Any) -> None:
    """Create AMOUNT for ACCOUNT."""
    from clawpurse.cli import assets as work

    work.mint(session, name, account, amount, terms_of(options))


@asset.command("burn", examples=("clawpurse asset burn EURX 250 --from bank",))
@click.argument("name", metavar="ASSET")
@click.argument("amount")
@acting_options
@click.pass_obj
def burn(session: Session, /, name: str, amount: str, **options: Any) -> None:
    """Destroy AMOUNT of what the issuer has: what came back to it."""
    from clawpurse.cli import assets as work

    work.burn(session, name, amount, terms_of(options))


@asset.command(
    "freeze",
    examples=(
        "clawpurse asset freeze EURX mallory --deep --reason court-order --from bank",
        "clawpurse asset freeze EURX --all --reason incident-7 --from bank",
    ),
)
@click.argument("name", metavar="ASSET")
@click.argument("account", required=False)
@option("--deep", is_flag=True, help="It may not receive either, nor return it to the issuer.")
@option("--all", "everybody", is_flag=True, help="Everybody: it moves only to and from the issuer.")
@REASON
@acting_options
@click.pass_obj
def freeze(
    session: Session,
    /,
    name: str,
    account: str | None,
    deep: bool,
    everybody: bool,
    reason: str | None,
    **options: Any,
) -> None:
    """Let ACCOUNT send ASSET to nobody but its issuer."""
    from clawpurse.cli import assets as work

    whom = work.one_or_all(account, everybody)
    work.freeze(session, name, whom, deep, reason, terms_of(options))


@asset.command("unfreeze", examples=("clawpurse asset unfreeze EURX mallory --from bank",))
@click.argument("name", metavar="ASSET")
@click.argument("account", required=False)
@option("--all", "everybody", is_flag=True, help="End the freeze of everybody.")
@REASON
@acting_options
@click.pass_obj
def unfreeze(
    session: Session,
    /,
    name: str,
    account: str | None,
    everybody: bool,
    reason: str | None,
    **options: Any,
) -> None:
    """End a freeze. Who is frozen itself stays so when the freeze of all ends."""
    from clawpurse.cli import assets as work

    whom = work.one_or_all(account, everybody)
    work.unfreeze(session, name, whom, reason, terms_of(options))


@asset.command(
    "clawback",
    examples=("clawpurse asset clawback EURX mallory 250 --to alice --reason theft --from bank",),
)
@click.argument("name", metavar="ASSET")
@click.argument("account")
@click.argument("amount")
@option("--to", "target", required=True, metavar="ACCOUNT", help="Who gets it.")
@option("--reason", metavar="CODE", required=True, help="Why, such as theft; public for ever.")
@option("--hold", "hold_id", metavar="0xID", help="Out of an escrow, hold or channel of ACCOUNT.")
@acting_options
@click.pass_obj
def clawback(session: Session, /, name: str, account: str, amount: str, **options: Any) -> None:
    """Take AMOUNT from ACCOUNT, against its will."""
    from clawpurse.cli import assets as work

    terms = terms_of(options)
    work.clawback(session, work.Claw(name, account, amount, **options), terms)


@asset.command(
    "authorise",
    examples=(
        "clawpurse asset authorise EURX alice --from bank",
        "clawpurse asset authorise EURX alice --level limited --from bank",
    ),
)
@click.argument("name", metavar="ASSET")
@click.argument("account")
@option(
    "--level",
    type=click.Choice(("none", "limited", "full")),
    default="full",
    show_default=True,
    help="limited: keep it, return it, settle what was owed before.",
)
@acting_options
@click.pass_obj
def authorise(session: Session, /, name: str, account: str, level: str, **options: Any) -> None:
    """Say what ACCOUNT may do with an asset that asks for it."""
    from clawpurse.cli import assets as work

    work.authorise(session, name, account, level, terms_of(options))


@asset.command(
    "flags",
    examples=(
        "clawpurse asset flags EURX --give-up clawback --from bank",
        "clawpurse asset flags EURX --add immutable --from bank",
    ),
)
@click.argument("name", metavar="ASSET")
@option("--add", type=FLAGS, multiple=True, help="Once issued: transferable, immutable, reserve.")
@option("--give-up", type=FLAGS, multiple=True, help="For ever, once there were units of it.")
@acting_options
@click.pass_obj
def flags(
    session: Session, /, name: str, add: tuple[str, ...], give_up: tuple[str, ...], **options: Any
) -> None:
    """Change what an asset is issued with, or (with neither option) show it."""
    from clawpurse.cli import assets as work

    work.flags(session, name, add, give_up, terms_of(options))


@asset.command(
    "cap",
    examples=(
        "clawpurse asset cap EURX 1000000 --from bank",
        "clawpurse asset cap EURX --none --from bank",
    ),
)
@click.argument("name", metavar="ASSET")
@click.argument("amount", required=False)
@option("--none", "unbounded", is_flag=True, help="No bound.")
@acting_options
@click.pass_obj
def cap(
    session: Session, /, name: str, amount: str | None, unbounded: bool, **options: Any
) -> None:
    """Change the most that may exist, never below what does."""
    from clawpurse.cli import assets as work

    work.cap(session, name, amount, unbounded, terms_of(options))


@asset.command(
    "metadata", examples=("clawpurse asset metadata EURX --text https://eurx.example --from bank",)
)
@click.argument("name", metavar="ASSET")
@option("--text", default="", help="Such as an address; everybody can read it.")
@DOCUMENT
@DOCUMENT_HASH
@acting_options
@click.pass_obj
def metadata(
    session: Session,
    /,
    name: str,
    text: str,
    document: Path | None,
    document_hash: str | None,
    **options: Any,
) -> None:
    """Replace what is said of an asset."""
    from clawpurse.cli import assets as work

    digest = work.document_digest(document, document_hash)
    work.metadata(session, name, text, digest, terms_of(options))


@asset.command("appoint", examples=("clawpurse asset appoint EURX mint desk --from bank",))
@click.argument("name", metavar="ASSET")
@click.argument("duty", type=DUTIES)
@click.argument("account")
@acting_options
@click.pass_obj
def appoint(session: Session, /, name: str, duty: str, account: str, **options: Any) -> None:
    """Let ACCOUNT act for the issuer: mint (and burn), freeze, authorise, clawback or reserve."""
    from clawpurse.cli import assets as work

    work.appoint(session, name, duty, account, terms_of(options))


@asset.command("dismiss", examples=("clawpurse asset dismiss EURX mint desk --from bank",))
@click.argument("name", metavar="ASSET")
@click.argument("duty", type=DUTIES)
@click.argument("account")
@acting_options
@click.pass_obj
def dismiss(session: Session, /, name: str, duty: str, account: str, **options: Any) -> None:
    """Let ACCOUNT no longer act for the issuer."""
    from clawpurse.cli import assets as work

    work.dismiss(session, name, duty, account, terms_of(options))


@asset.command(
    "reserve",
    examples=(
        "clawpurse asset reserve EURX 1000000 --as-of 2026-12-31T00:00:00Z --valid-until 100d "
        "--document report.pdf --from auditor",
    ),
)
@click.argument("name", metavar="ASSET")
@click.argument("amount")
@option("--as-of", required=True, metavar="TIME", help="When it was so: 2026-12-31T00:00:00Z.")
@option("--valid-until", required=True, metavar="TIME", help="Such as 100d, or a time.")
@DOCUMENT
@DOCUMENT_HASH
@acting_options
@click.pass_obj
def reserve(session: Session, /, name: str, amount: str, **options: Any) -> None:
    """Attest what the reserve is worth that backs an asset."""
    from clawpurse.cli import assets as work

    terms = terms_of(options)
    work.reserve(session, work.Report(name, amount, **options), terms)


@asset.command("show", examples=("clawpurse asset show EURX",))
@click.argument("name", metavar="ASSET")
@node_options
@click.pass_obj
def show(session: Session, name: str) -> None:
    """Show what an asset is, who controls it, and what backs it."""
    from clawpurse.cli import assets as work

    work.show(session, name)


@asset.command("list", examples=("clawpurse asset list", "clawpurse asset list --issuer bank"))
@option("--issuer", metavar="ACCOUNT", help="Only what this account created.")
@node_options
@click.pass_obj
def list_assets(session: Session, issuer: str | None) -> None:
    """List assets."""
    from clawpurse.cli import assets as work

    work.listed(session, issuer)


@asset.command(
    "holders",
    examples=(
        "clawpurse asset holders EURX",
        "clawpurse asset holders EURX alice",
        "clawpurse asset holders EURX --frozen",
    ),
)
@click.argument("name", metavar="ASSET")
@click.argument("account", required=False)
@option("--frozen", is_flag=True, help="Only who is frozen.")
@option("--cursor", help="Go on where a page ended.")
@node_options
@click.pass_obj
def holders(
    session: Session, name: str, account: str | None, frozen: bool, cursor: str | None
) -> None:
    """List who has an asset, or show one account."""
    from clawpurse.cli import assets as work

    work.holders(session, name, account, frozen, cursor)
