"""`clawpurse channel …`: declared here, done in `channels.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clawpurse.cli.acting_options import acting_options, terms_of
from clawpurse.cli.cmd_keys import PASSPHRASE_FILE
from clawpurse.cli.framework import Group, node_options, option
from clawpurse.cli.session import Session

channel = Group(
    "channel",
    help="Money set apart once and paid by vouchers, which need no transaction each. TO is a "
    "key's name, a contact, or claw1….",
    examples=(
        "clawpurse channel open api 100 --from alice",
        "clawpurse channel voucher 0x… 12.50 --from alice > voucher.json",
        "clawpurse channel claim voucher.json --from api",
    ),
)
CHANNEL = click.argument("channel_id", metavar="CHANNEL")
VOUCHERS = click.argument("file", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True))
TERMS_FILE = option(
    "--terms",
    "terms_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What `channel show --json` printed; with it, no node is asked.",
)


@channel.command(
    "open",
    examples=(
        "clawpurse channel open api 100 --from alice",
        "clawpurse channel open api 100 --challenge 2h --challenge-blocks 50 --from alice",
    ),
)
@click.argument("to")
@click.argument("amount")
@option("--asset", default="CLAW", show_default=True, help="What to pay with.")
@option(
    "--challenge", default="24h", show_default=True, help="Time between your close and the end."
)
@option(
    "--challenge-blocks",
    type=click.IntRange(1, 432_000),
    default=100,
    show_default=True,
    help="Blocks between your close and the end; both must pass.",
)
@option("--expires", default="90d", show_default=True, metavar="TIME", help="36h, 10d, 2027-…Z.")
@option("--voucher-key", metavar="0xKEY", help="Which key signs vouchers (default: yours).")
@option("--reference", default="", help="What the payee's books call it; public for ever.")
@option("--travel-hash", metavar="0xHASH", help="Hash of what your institution told the payee's.")
@acting_options
@click.pass_obj
def open_channel(session: Session, /, to: str, amount: str, **options: Any) -> None:
    """Set AMOUNT apart, to be paid to TO by vouchers."""
    from clawpurse.cli import channels as work

    terms = terms_of(options)
    work.open_channel(session, work.Wish(to, amount, **options), terms)


@channel.command("topup", examples=("clawpurse channel topup 0x… 50 --from alice",))
@CHANNEL
@click.argument("amount")
@acting_options
@click.pass_obj
def topup(session: Session, /, channel_id: str, amount: str, **options: Any) -> None:
    """Set more apart."""
    from clawpurse.cli import channels as work

    work.topup(session, channel_id, amount, terms_of(options))


@channel.command(
    "voucher",
    examples=(
        "clawpurse channel voucher 0x… 12.50 --from alice",
        "clawpurse channel voucher 0x… 0.01 --step 0.01 --count 1000 --terms c.json --from alice",
    ),
)
@CHANNEL
@click.argument("amount")
@option("--step", help="With --count: how much each promises more than the one before.")
@option("--count", type=click.IntRange(1, 100_000), default=1, help="How many to make.")
@TERMS_FILE
@option("--from", "name", metavar="NAME", help="The key that signs vouchers of this channel.")
@PASSPHRASE_FILE
@node_options
@click.pass_obj
def voucher(
    session: Session,
    channel_id: str,
    amount: str,
    step: str | None,
    count: int,
    terms_file: Path | None,
    name: str | None,
    passphrase_file: Path | None,
) -> None:
    """Promise AMOUNT in all, off the ledger; prints one voucher a line."""
    from clawpurse.cli import channels as work

    wish = work.Promise(channel_id, amount, step, count, name)
    work.voucher(session, wish, terms_file, passphrase_file)


@channel.command(
    "check",
    examples=(
        "clawpurse channel check vouchers.jsonl",
        "clawpurse channel check vouchers.jsonl --terms c.json",
    ),
)
@VOUCHERS
@TERMS_FILE
@node_options
@click.pass_obj
def check(session: Session, file: Path, terms_file: Path | None) -> int:
    """Check vouchers in FILE (- for standard input): exit code 0 if the newest one is good."""
    from clawpurse.cli import channels as work

    return work.check(session, file, terms_file)


@channel.command("claim", examples=("clawpurse channel claim vouchers.jsonl --from api",))
@VOUCHERS
@acting_options
@click.pass_obj
def claim(session: Session, /, file: Path, **options: Any) -> None:
    """Have the payee paid by the newest voucher in FILE (- for standard input)."""
    from clawpurse.cli import channels as work

    work.claim(session, file, terms_of(options))


@channel.command("close", examples=("clawpurse channel close 0x… --from alice",))
@CHANNEL
@acting_options
@click.pass_obj
def close(session: Session, /, channel_id: str, **options: Any) -> None:
    """Close it: at once as its payee, after the challenge as its payer."""
    from clawpurse.cli import channels as work

    work.close(session, channel_id, terms_of(options))


@channel.command("finalise", examples=("clawpurse channel finalise 0x… --from alice",))
@CHANNEL
@acting_options
@click.pass_obj
def finalise(session: Session, /, channel_id: str, **options: Any) -> None:
    """End it after its challenge, without waiting for the queue."""
    from clawpurse.cli import channels as work

    work.finalise(session, channel_id, terms_of(options))


@channel.command(
    "show", examples=("clawpurse channel show 0x…", "clawpurse channel show 0x… --json")
)
@CHANNEL
@node_options
@click.pass_obj
def show(session: Session, channel_id: str) -> None:
    """Show a channel that is not over."""
    from clawpurse.cli import channels as work

    work.show(session, channel_id)


@channel.command("list", examples=("clawpurse channel list", "clawpurse channel list alice"))
@click.argument("account", required=False)
@node_options
@click.pass_obj
def list_channels(session: Session, account: str | None) -> None:
    """List the channels of an account: as payer or payee."""
    from clawpurse.cli import channels as work

    work.listed(session, account)
