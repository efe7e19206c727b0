"""What `hold create|capture|release|return|show|list` do."""

from __future__ import annotations

from typing import Any, NamedTuple

from clawpurse.cli.acting import NOTHING, Terms
from clawpurse.cli.escrows import reason_of
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.promising import (
    LISTED_MAX,
    account_of,
    act,
    amount_of,
    ask,
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
from clawpurse.ledger.address import account_text
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.payments.placed import CAPTURE, PLACE
from clawpurse.modules.payments.votes import VOTE
from clawpurse.wallet.client import NodeClient

Json = dict[str, Any]


class Wish(NamedTuple):
    """What a person asked for, as typed."""

    to: str
    amount: str
    asset: str
    reason: str
    expires: str
    release_at_expiry: bool
    capture: bool
    releasers: tuple[str, ...]
    needed: int | None
    reference: str
    travel_hash: str | None


def create(session: Session, wish: Wish, terms: Terms) -> None:
    """Set money apart for a payee."""
    releasers = sorted({account_of(session, one) for one in wish.releasers})
    expires_ms = time_of(wish.expires, session.now_ms())
    recipient = account_of(session, wish.to)
    fields: list[Wire] = [
        reason_of(wish.reason),
        expires_ms,
        int(wish.release_at_expiry),
        int(wish.capture),
        list(releasers),
        len(releasers) if wish.needed is None else wish.needed,
        reference_of(wish.reference),
        optional_id(wish.travel_hash, "travel hash"),
    ]

    async def prepare(node: NodeClient) -> RawAction:
        amount = await amount_of(node, wish.amount, wish.asset)
        action = RawAction(PLACE.name, [wish.asset, recipient, amount, *fields])
        try:
            PLACE.read(action.fields)
        except Malformed as err:
            raise UsageFault(
                f"The hold {err.problem}.", NOTHING, "--capture, --releaser or --release-at-expiry"
            ) from err
        return action

    def told(document: Json, decimals: int) -> str:
        data = event_of(document, "payments.holdPlaced")
        return (
            f"{value_text(data, decimals)} is held until {time_text(expires_ms)}.\n"
            f"  Hold {data['holdId']}"
        )

    act(session, terms, prepare, told)


def capture(session: Session, hold_id: str, amount: str, give_back: bool, terms: Terms) -> None:
    """Take of what is held for oneself, or give it up."""
    asked = id_of(hold_id, "hold")

    async def prepare(node: NodeClient) -> RawAction:
        held = await node.call("payment_getHold", {"hold": f"0x{asked.hex()}"})
        asset = held["asset"]
        minor = parsed(amount, asset, await decimals_of(node, asset), low=0)
        if not (minor or give_back):
            raise UsageFault("Nothing is taken and nothing given back.", NOTHING, "--give-back")
        return RawAction(CAPTURE.name, [asked, minor, int(give_back)])

    def told(document: Json, decimals: int) -> str:
        taken = find_event(document, "payments.holdCaptured")
        ended = find_event(document, "payments.holdEnded")
        said = "nothing was paid" if taken is None else f"{value_text(taken, decimals)} was paid"
        rest = ", the rest is still held" if ended is None else ""
        if ended is not None and ended["outcome"] == "returned":
            rest = ", the rest went back to its payer"
        return f"{said}{rest}."

    act(session, terms, prepare, told)


def vote(session: Session, hold_id: str, release: bool, reason: str, terms: Terms) -> None:
    """Vote on a hold."""
    asked = id_of(hold_id, "hold")

    async def prepare(_node: NodeClient) -> RawAction:
        return RawAction(VOTE.name, [asked, int(release), reason_of(reason)])

    def told(document: Json, _decimals: int) -> str:
        cast = event_of(document, "payments.holdVoted")
        refused = find_event(document, "payments.releaseRefused")
        wish = "release it" if release else "return it"
        if refused is not None:
            return (
                f"{cast['votes']} of {cast['needed']} want to {wish}, and the ledger refuses "
                f"({refused['rule']}); it stays held. Vote again once that is mended."
            )
        if cast["votes"] < cast["needed"]:
            return f"{cast['votes']} of {cast['needed']} want to {wish}."
        return "it was paid." if release else "it went back to its payer."

    act(session, terms, prepare, told)


def show(session: Session, hold_id: str) -> None:
    """Show one."""
    asked = f"0x{id_of(hold_id, 'hold').hex()}"
    answer, decimals = ask(session, "payment_getHold", {"hold": asked})
    if session.json_mode:
        session.out.emit(answer)
        return
    out, placed = session.out, answer["placed"]
    rows = [
        ("Hold", answer["holdId"]),
        ("Amount", value_text(answer, decimals[answer["asset"]])),
        ("From", answer["payer"]),
        ("To", answer["payee"]),
        ("Since", answer["since"]),
        ("Because", _because(answer)),
        ("Decided by", _deciders(answer)),
        ("Otherwise", _otherwise(answer)),
        ("Reference", "" if placed is None else reference_text(placed)),
    ]
    out.fields([row for row in rows if row[1]])
    for one in answer["votes"]:
        wish = "release" if one["release"] else "return"
        left = "" if one["entitled"] else " (may decide no longer)"
        out.line(f"  {one['voter']} says {wish}: {one['reason']}{left}")


def _because(answer: Json) -> str:
    match answer["purpose"]:
        case "rule":
            return f"the rule {answer['rule']}, version {answer['ruleVersion']}"
        case "placed":
            return f"its payer placed it: {answer['placed']['reason']}"
        case purpose:
            return str(purpose)


def _deciders(answer: Json) -> str:
    placed = answer["placed"]
    if answer["officers"] is not None:
        return f"{answer['needed']} who hold the role {answer['officers']}"
    if placed is None:
        return ""
    parts = ["the payee, who may take of it"] if placed["capture"] else []
    if placed["releasers"]:
        parts.append(f"{answer['needed']} of {', '.join(placed['releasers'])}")
    return "; ".join(parts)


def _otherwise(answer: Json) -> str:
    if answer["expires"] is None:
        return ""
    outcome = "it is paid" if answer["atExpiry"] == "release" else "it goes back"
    return f"{outcome} at {answer['expires']}"


def listed(session: Session, officers: str, account: str | None) -> None:
    """List what waits for a role, or all that is set apart by or for an account."""
    params: Json = {"limit": LISTED_MAX}
    if account is None:
        params["officers"] = officers
    else:
        params["account"] = account_text(account_of(session, account))
    answer, decimals = ask(session, "payment_listHolds", params)
    if session.json_mode:
        session.out.emit(answer)
        return
    rows = [
        (
            one["holdId"],
            value_text(one, decimals[one["asset"]]),
            one["purpose"] if one["purpose"] != "rule" else one["rule"],
            one["expires"] or "",
            _tally(one),
        )
        for one in answer["holds"]
    ]
    session.out.table(("hold", "amount>", "because", "until", "votes"), rows)


def _tally(one: Json) -> str:
    if not one["needed"]:
        return ""
    wishes = [vote["release"] for vote in one["votes"] if vote["entitled"]]
    release, back = wishes.count(True), wishes.count(False)
    return f"{release} release, {back} return, {one['needed']} decide"
