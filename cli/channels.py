"""What `channel open|topup|voucher|check|claim|close|finalise|show|list` do.

Vouchers are made and checked without a node where the channel's terms are at hand, in a file that
`channel show --json` printed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from clawpurse.cli import prompts
from clawpurse.cli.acting import NOTHING, run_with_node
from clawpurse.cli.acting import Terms as ActTerms
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import counted
from clawpurse.cli.promising import (
    LISTED_MAX,
    account_of,
    act,
    amount_of,
    decimals_of,
    event_of,
    find_event,
    id_of,
    optional_id,
    parsed,
    reference_of,
    reference_text,
    time_of,
    value_text,
)
from clawpurse.cli.session import Session
from clawpurse.cli.who import own_key, own_or_named
from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import BadSignature, Malformed
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import RawAction
from clawpurse.ledger.vouchers import Terms
from clawpurse.modules.payments.channels import CLAIM, CLOSE, FINALISE, OPEN, TOP_UP
from clawpurse.wallet import vouchers
from clawpurse.wallet.amounts import amount_text
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.vouchers import Voucher

# 100,000 vouchers of a channel, a year of them; the newest is all that counts.
FILE_BYTES_MAX: Final = 100_000_000
_TERMS_BYTES_MAX: Final = 10_000
Json = dict[str, Any]


class Wish(NamedTuple):
    """What a person asked for, as typed."""

    to: str
    amount: str
    asset: str
    challenge: str
    challenge_blocks: int
    expires: str
    voucher_key: str | None
    reference: str
    travel_hash: str | None


class Promise(NamedTuple):
    """Which vouchers to make, as typed."""

    channel_id: str
    amount: str
    step: str | None
    number: int
    name: str | None


class Known(NamedTuple):
    """What vouchers of a channel are made of and checked by."""

    terms: Terms
    key: bytes
    decimals: int


def open_channel(session: Session, wish: Wish, terms: ActTerms) -> None:
    """Set money apart."""
    recipient, now_ms = account_of(session, wish.to), session.now_ms()
    challenge_ms = time_of(wish.challenge, 0)
    rest: list[Wire] = [
        challenge_ms,
        wish.challenge_blocks,
        time_of(wish.expires, now_ms),
        optional_id(wish.voucher_key, "key"),
        reference_of(wish.reference),
        optional_id(wish.travel_hash, "travel hash"),
    ]

    async def prepare(node: NodeClient) -> RawAction:
        amount = await amount_of(node, wish.amount, wish.asset)
        action = RawAction(OPEN.name, [wish.asset, recipient, amount, *rest])
        try:
            OPEN.read(action.fields)
        except Malformed as err:
            raise UsageFault(f"The channel: {err.field} {err.problem}.", NOTHING, "") from err
        return action

    def told(document: Json, decimals: int) -> str:
        data = event_of(document, "payments.channelOpened")
        value = value_text(data, decimals)
        return f"{value} can be paid by vouchers.\n  Channel {data['channelId']}"

    act(session, terms, prepare, told)


def topup(session: Session, channel_id: str, amount: str, terms: ActTerms) -> None:
    """Set more apart."""
    asked = id_of(channel_id, "channel")

    async def prepare(node: NodeClient) -> RawAction:
        channel = await node.call("payment_getChannel", {"channel": f"0x{asked.hex()}"})
        return RawAction(TOP_UP.name, [asked, await amount_of(node, amount, channel["asset"])])

    def told(document: Json, decimals: int) -> str:
        data = event_of(document, "payments.channelToppedUp")
        return f"{value_text(data, decimals)} more can be paid by vouchers."

    act(session, terms, prepare, told)


# -- vouchers


def voucher(
    session: Session, wish: Promise, terms_file: Path | None, passphrase_file: Path | None
) -> None:
    """Make vouchers."""
    asked = id_of(wish.channel_id, "channel")
    known = _known(session, asked, terms_file)
    asset = known.terms.asset
    first = parsed(wish.amount, asset, known.decimals)
    if (wish.step is None) != (wish.number == 1):
        raise UsageFault(
            "Say how much each voucher adds: --step and --count.", "Nothing is signed."
        )
    step = 0 if wish.step is None else parsed(wish.step, asset, known.decimals)
    name = wish.name or own_key(session, "add --from ")
    question = f"  Passphrase for {name}: "
    passphrase = prompts.passphrase(session.out, passphrase_file, question)
    key = session.keystore.unlock(name, passphrase).signer
    if key.public_key != known.key:
        raise UsageFault(
            f"The key of {name} does not sign vouchers of this channel.",
            "Nothing is signed.",
            f"clawpurse channel show 0x{asked.hex()}",
        )
    amounts = range(first, first + step * wish.number, step) if step else (first,)
    try:
        made = list(vouchers.make_many(key, known.terms, amounts))
    except Malformed as err:
        raise UsageFault(f"A voucher's amount {err.problem}.", "Nothing is signed.") from err
    if session.json_mode:
        session.out.emit({"vouchers": [one.as_json() for one in made]})
        return
    for one in made:
        session.out.line(one.as_text())


def _known(session: Session, channel_id: bytes, terms_file: Path | None) -> Known:
    """Return a channel's terms: from a file, or from a node. Raises `UsageFault`."""
    if terms_file is None:
        return _known_of(_shown(session, channel_id))
    try:
        with terms_file.open("rb") as file:
            found = json.loads(file.read(_TERMS_BYTES_MAX))
        known = _known_of(found)
    except OSError as err:
        raise UsageFault(f"{terms_file} cannot be read: {err.strerror}.", "") from err
    except (Malformed, ValueError, KeyError, TypeError, RecursionError) as err:
        what = f"{terms_file} is not what channel show --json prints."
        raise UsageFault(what, "", f"clawpurse channel show 0x{channel_id.hex()} --json") from err
    if known.terms.channel_id != channel_id:
        raise UsageFault(f"{terms_file} is of another channel.", "", "")
    return known


def _known_of(shown: Json) -> Known:
    terms = Terms(
        bytes.fromhex(shown["genesisHash"][2:]),
        bytes.fromhex(shown["channelId"][2:]),
        shown["asset"],
        account_from_text(shown["payee"]),
    )
    if not terms.prefix:
        raise AssertionError("terms always have bytes")
    return Known(terms, bytes.fromhex(shown["voucherKey"][2:]), int(shown["decimals"]))


def _shown(session: Session, channel_id: bytes) -> Json:
    """Return what a node shows of a channel, with its asset's decimals."""

    async def work(node: NodeClient) -> Json:
        answer = await node.call("payment_getChannel", {"channel": f"0x{channel_id.hex()}"})
        return {**answer, "decimals": await decimals_of(node, answer["asset"])}

    shown: Json = run_with_node(session, work)
    return shown


def read_vouchers(path: Path) -> list[Voucher]:
    """Return the vouchers in a file, one a line, or in what `voucher --json` printed.

    Their signatures hold. Raises `UsageFault` naming the line.
    """
    try:
        if str(path) == "-":
            data = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
        else:
            with path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
        text = data.decode("ascii")
    except OSError as err:
        raise UsageFault(f"{path} cannot be read: {err.strerror}.", NOTHING) from err
    except UnicodeDecodeError as err:
        raise UsageFault(f"{path} is not plain text.", NOTHING) from err
    if len(data) > FILE_BYTES_MAX:
        raise UsageFault(f"{path} is above {FILE_BYTES_MAX} bytes.", NOTHING)
    found: list[Voucher] = []
    for number, line in enumerate(_lines(text), start=1):
        if not line.strip():
            continue
        try:
            found.append(vouchers.read(line))
        except (Malformed, BadSignature) as err:
            raise UsageFault(f"{path} voucher {number}: {err}.", NOTHING) from err
    if not found:
        raise UsageFault(f"{path} holds no voucher.", NOTHING)
    return found


def _lines(text: str) -> Iterable[str]:
    """Return each voucher's text; of a document with `vouchers`, each of these."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None  # Several lines, each of which is judged by itself.
    if isinstance(document, dict) and isinstance(document.get("vouchers"), list):
        return [json.dumps(one) for one in document["vouchers"]]
    return text.splitlines()


def _newest(found: list[Voucher], path: Path) -> Voucher:
    """Return the voucher that promises most; all must be of one channel."""
    if len({(one.terms, one.key) for one in found}) > 1:
        raise UsageFault(f"{path} holds vouchers of more than one channel or key.", NOTHING)
    return max(found, key=lambda one: one.amount)


def check(session: Session, path: Path, terms_file: Path | None) -> int:
    """Check vouchers: 0 if the newest one is good, 1 if it pays nothing."""
    found = read_vouchers(path)
    best = _newest(found, path)
    if terms_file is not None:
        known = _known(session, best.terms.channel_id, terms_file)
        good = best.terms == known.terms and best.key == known.key
        answer: Json = {"valid": good, "pays": None}
        decimals, reason = known.decimals, "" if good else "the terms name another one"
    else:
        answer, decimals = _judged(session, best)
        reason = answer["reason"] or ""
        good = answer["valid"] and int(answer["pays"]) > 0
    document = {
        **answer,
        "channelId": f"0x{best.terms.channel_id.hex()}",
        "vouchers": len(found),
        "amount": str(best.amount),
        "asset": best.terms.asset,
        "good": good,
        "reason": reason or None,
    }
    if session.json_mode:
        session.out.emit(document)
        return 0 if good else 1
    total = amount_text(best.amount, decimals, best.terms.asset)
    said = f"{counted(len(found), 'voucher')}, the newest over {total} in all"
    if not good:
        session.out.line(f"{said}, is worth nothing: {reason}.")
        return 1
    pays = answer["pays"]
    now = "" if pays is None else f"; {amount_text(int(pays), decimals, best.terms.asset)} now"
    session.out.line(f"{said}, is good{now}.")
    return 0


def _judged(session: Session, best: Voucher) -> tuple[Json, int]:
    params = {
        "channel": f"0x{best.terms.channel_id.hex()}",
        "amount": str(best.amount),
        "signature": f"0x{best.signature.hex()}",
    }

    async def work(node: NodeClient) -> tuple[Json, int]:
        answer = await node.call("payment_verifyVoucher", params)
        return answer, await decimals_of(node, answer["asset"])

    judged: tuple[Json, int] = run_with_node(session, work)
    return judged


def claim(session: Session, path: Path, terms: ActTerms) -> None:
    """Have the payee paid by the newest voucher."""
    best = _newest(read_vouchers(path), path)
    action = RawAction(CLAIM.name, [best.terms.channel_id, best.amount, best.signature])

    async def prepare(_node: NodeClient) -> RawAction:
        return action

    def told(document: Json, decimals: int) -> str:
        data = event_of(document, "payments.channelClaimed")
        if data["rule"]:
            return f"the promise is kept for the end of the channel; {data['rule']} stops it now."
        left = amount_text(int(data["left"]), decimals, data["asset"])
        return f"{value_text(data, decimals)} was paid; {left} is left in the channel."

    act(session, terms, prepare, told)


# -- its end, and looking


def close(session: Session, channel_id: str, terms: ActTerms) -> None:
    """Close it."""
    _end(session, RawAction(CLOSE.name, [id_of(channel_id, "channel")]), terms)


def finalise(session: Session, channel_id: str, terms: ActTerms) -> None:
    """End it."""
    _end(session, RawAction(FINALISE.name, [id_of(channel_id, "channel")]), terms)


def _end(session: Session, action: RawAction, terms: ActTerms) -> None:
    async def prepare(_node: NodeClient) -> RawAction:
        return action

    def told(document: Json, decimals: int) -> str:
        data = find_event(document, "payments.channelEnded")
        if data is None:
            data = event_of(document, "payments.channelClosing")
            ends = time_text(int(data["finalTime"]))
            return f"it ends after {ends} and block {data['finalHeight']}."
        returned = amount_text(int(data["returned"]), decimals, data["asset"])
        return f"it is over; {returned} went back to its payer."

    act(session, terms, prepare, told)


def show(session: Session, channel_id: str) -> None:
    """Show one."""
    answer = _shown(session, id_of(channel_id, "channel"))
    if session.json_mode:
        session.out.emit(answer)
        return
    asset, decimals = answer["asset"], answer["decimals"]
    closing = answer["closing"]
    end = "" if closing is None else f"after {closing['finalTime']}, block {closing['finalHeight']}"
    rows = [
        ("Channel", answer["channelId"]),
        ("Left", amount_text(int(answer["left"]), decimals, asset)),
        ("Paid", amount_text(int(answer["paid"]), decimals, asset)),
        ("Promised", amount_text(int(answer["owed"]), decimals, asset)),
        ("From", answer["payer"]),
        ("To", answer["payee"]),
        ("Vouchers by", answer["voucherKey"]),
        ("Until", answer["expires"]),
        (
            "Challenge",
            f"{answer['challengeMs'] // 1000} s and {counted(answer['challengeBlocks'], 'block')}",
        ),
        ("Ends", end),
        ("Reference", reference_text(answer)),
    ]
    session.out.fields([row for row in rows if row[1]])


def listed(session: Session, account: str | None) -> None:
    """List those of an account."""
    whose = account_text(own_or_named(session, account, "clawpurse channel list ").account)

    async def work(node: NodeClient) -> tuple[list[Json], dict[str, int]]:
        params = {"account": whose, "kind": "channel", "limit": LISTED_MAX}
        shown: list[Json] = (await node.call("payment_listObjects", params))["objects"]
        assets = sorted({one["asset"] for one in shown})
        return shown, {asset: await decimals_of(node, asset) for asset in assets}

    shown, decimals = run_with_node(session, work)
    if session.json_mode:
        session.out.emit({"channels": shown})
        return
    rows = [
        (
            one["id"],
            amount_text(int(one["left"]), decimals[one["asset"]], one["asset"]),
            f"payer, to {one['payee']}" if one["payer"] == whose else f"payee, from {one['payer']}",
            one["expires"],
        )
        for one in shown
    ]
    session.out.table(("channel", "left>", "as", "until"), rows)
