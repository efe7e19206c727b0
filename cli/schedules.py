"""What `schedule create|cancel|list` do."""

from __future__ import annotations

from typing import Any, NamedTuple

from clawpurse.cli.acting import Terms
from clawpurse.cli.promising import (
    LISTED_MAX,
    account_of,
    act,
    amount_of,
    ask,
    ended_text,
    event_of,
    id_of,
    optional_id,
    reference_of,
    reference_text,
    time_of,
    value_text,
)
from clawpurse.cli.session import Session
from clawpurse.cli.who import own_or_named
from clawpurse.ledger.address import account_text
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.payments.schedules import CANCEL, SCHEDULE
from clawpurse.wallet.client import NodeClient

Json = dict[str, Any]


class Wish(NamedTuple):
    """What a person asked for, as typed."""

    to: str
    amount: str
    at: str
    asset: str
    reference: str
    travel_hash: str | None


def create(session: Session, wish: Wish, terms: Terms) -> None:
    """Set money apart, to be paid at a time."""
    time_ms = time_of(wish.at, session.now_ms())
    recipient = account_of(session, wish.to)
    rest: list[Wire] = [
        time_ms,
        reference_of(wish.reference),
        optional_id(wish.travel_hash, "travel hash"),
    ]

    async def prepare(node: NodeClient) -> RawAction:
        amount = await amount_of(node, wish.amount, wish.asset)
        return RawAction(SCHEDULE.name, [wish.asset, recipient, amount, *rest])

    def told(document: Json, decimals: int) -> str:
        data = event_of(document, "payments.scheduled")
        return (
            f"{value_text(data, decimals)} is paid at {time_text(time_ms)}.\n"
            f"  Scheduled {data['scheduledId']}"
        )

    act(session, terms, prepare, told)


def cancel(session: Session, scheduled_id: str, terms: Terms) -> None:
    """Give it back before its time."""
    asked = id_of(scheduled_id, "scheduled payment")

    async def prepare(_node: NodeClient) -> RawAction:
        return RawAction(CANCEL.name, [asked])

    def told(document: Json, decimals: int) -> str:
        return ended_text(document, "payments.scheduledEnded", decimals)

    act(session, terms, prepare, told)


def listed(session: Session, account: str | None) -> None:
    """List those of an account."""
    whose = account_text(own_or_named(session, account, "clawpurse schedule list ").account)
    params = {"account": whose, "kind": "scheduled", "limit": LISTED_MAX}
    answer, decimals = ask(session, "payment_listObjects", params)
    if session.json_mode:
        session.out.emit(answer)
        return
    rows = []
    for one in sorted(answer["objects"], key=lambda shown: str(shown["time"])):
        other = f"to {one['payee']}" if one["payer"] == whose else f"from {one['payer']}"
        amount = value_text(one, decimals[one["asset"]])
        rows.append((one["time"], amount, other, reference_text(one), one["id"]))
    session.out.table(("when", "amount>", "with", "reference", "id"), rows)
