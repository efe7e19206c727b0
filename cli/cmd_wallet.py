"""`clawpurse wallet …` and its short forms: declared here, done in `sending.py`, `accounts.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clawpurse.cli.cmd_guardrails import allowlist, guardrails
from clawpurse.cli.cmd_keys import PASSPHRASE_FILE
from clawpurse.cli.cmd_looking import balance, contacts, history, receive, statement
from clawpurse.cli.cmd_receipts import receipts
from clawpurse.cli.cmd_service import request, serve, token
from clawpurse.cli.framework import Command, Group, node_options, option
from clawpurse.cli.session import Session

wallet = Group(
    "wallet",
    help="Your money. ACCOUNT is a key's name, a contact, or claw1….",
    examples=("clawpurse wallet balance alice", "clawpurse wallet send bob 12.5 --from alice"),
)


@click.command(
    "send",
    cls=Command,
    examples=(
        "clawpurse wallet send bob 12.5 --asset CLAW --from alice",
        "clawpurse wallet send bob 12.5 --from alice --passphrase-file F --yes --json",
        "clawpurse wallet send bob 12.5 --from agent --for alice",
        "clawpurse wallet send --resume",
    ),
)
@click.argument("to", required=False)
@click.argument("amount", required=False)
@option("--asset", default="CLAW", show_default=True, help="What to pay with.")
@option("--from", "from_", metavar="NAME", help="The key that pays (default: your only one).")
@option("--memo", default="", help="A note that everybody can read, for ever.")
@option("--fee", metavar="AMOUNT", help="More than the least fee, in CLAW.")
@option("--for", "owner", metavar="ACCOUNT", help="Pay for ACCOUNT, by a session key of it.")
@option("--payer", metavar="ACCOUNT", help="Who pays the fee: a sponsor of yours.")
@option("--lane", type=click.IntRange(0, 63), help="Which of your parallel sequences.")
@option("--idempotency-key", metavar="HEX", help="Pays once, however often you send it.")
@option(
    "--timeout", type=click.IntRange(1, 3600), default=10, help="Seconds to wait; then pending."
)
@PASSPHRASE_FILE
@option("--yes", is_flag=True, envvar=[], help="Do not ask.")
@option("--allow-new-recipient", is_flag=True, envvar=[], help="Who never received anything yet.")
@option("--override", is_flag=True, envvar=[], help="An unusual fee, or beyond a guardrail.")
@option("--code-file", type=click.Path(path_type=Path), help="With --override: a code.")
@option("--approval", type=click.Path(path_type=Path), help="With --override: a co-signer's file.")
@option("--words-file", type=click.Path(path_type=Path), help="With --override: the key's words.")
@option("--request", type=click.Path(path_type=Path), help="Write what a co-signer is asked; end.")
@option("--resume", is_flag=True, help="Finish what a killed command left.")
@option("--replace", metavar="TXID", help="Offer that payment again, at --fee.")
@node_options
@click.pass_obj
def send(session: Session, /, to: str | None, amount: str | None, **options: Any) -> int:
    """Pay AMOUNT to TO, wait until it is final, and keep the receipt with its proof."""
    from clawpurse.cli import outgoing, sending
    from clawpurse.cli.factors import Given
    from clawpurse.wallet.uri import is_payment_uri

    given = Given(*(options[name] for name in Given._fields))
    timeout_s = options["timeout"]
    if options["resume"]:
        return outgoing.resume(session, timeout_s)
    if options["replace"] is not None:
        return outgoing.replace(
            session, options["replace"], options["fee"], given, timeout_s=timeout_s, cancels=False
        )
    if to is not None and is_payment_uri(to):
        from clawpurse.cli import receiving

        source = click.get_current_context().get_parameter_source("asset")
        typed = None if source is click.core.ParameterSource.DEFAULT else options["asset"]
        to, amount, options["asset"], options["memo"] = receiving.asked_by(
            session, to, amount, typed, options["memo"]
        )
    if to is None or amount is None:
        raise click.UsageError("Say to whom, and how much: TO AMOUNT.")
    wish = sending.Wish(
        to,
        amount,
        options["asset"],
        options["from_"],
        options["memo"],
        options["fee"],
        options["lane"],
        options["idempotency_key"],
        options["owner"],
        options["payer"],
    )
    leave = sending.Leave(
        options["yes"], options["allow_new_recipient"], options["override"], given
    )
    return sending.send(session, wish, leave, timeout_s=timeout_s)


for _command in (
    send,
    balance,
    history,
    statement,
    receive,
    contacts,
    receipts,
    guardrails,
    allowlist,
    serve,
    token,
    request,
):
    wallet.add_command(_command)
