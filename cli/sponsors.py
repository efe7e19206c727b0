"""What `sponsor grant|end|list` do: fees that one account pays for another."""

from __future__ import annotations

from typing import Any, NamedTuple

from clawpurse.cli.acting import Deed, Terms, perform, run_with_node
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.promising import account_of, decimals_of, parsed, tell, time_of
from clawpurse.cli.session import Session
from clawpurse.cli.session_keys import names_of
from clawpurse.cli.who import account_named, own_key
from clawpurse.ledger.address import account_text
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.accounts.sponsorship import END, SPONSOR
from clawpurse.wallet.amounts import amount_text
from clawpurse.wallet.client import NodeClient

Json = dict[str, Any]


class Wish(NamedTuple):
    """What `sponsor grant` was told, as typed."""

    account: str
    at_once: str
    a_day: str
    total: str
    actions: tuple[str, ...]
    expires: str


def grant(session: Session, wish: Wish, terms: Terms) -> None:
    """Sponsor an account."""
    account = account_of(session, wish.account)
    expires_ms = time_of(wish.expires, session.now_ms())

    async def work(node: NodeClient) -> Json:
        decimals = await decimals_of(node, NATIVE_ASSET)
        limits = (wish.at_once, wish.a_day, wish.total)
        amounts: list[Wire] = [parsed(text, NATIVE_ASSET, decimals) for text in limits]
        names: list[Wire] = list(wish.actions)
        action = RawAction(SPONSOR.name, [account, *amounts, names, expires_ms])
        return await perform(session, node, Deed((action,)), terms)

    until = time_text(expires_ms)
    tell(session, run_with_node(session, work), f"fees of {wish.account} are paid until {until}.")


def end(session: Session, account: str, terms: Terms) -> None:
    """End a sponsorship."""
    action = RawAction(END.name, [account_of(session, account)])

    async def work(node: NodeClient) -> Json:
        return await perform(session, node, Deed((action,)), terms)

    tell(session, run_with_node(session, work), f"fees of {account} are no longer paid.")


def listed(session: Session, account: str | None, sponsored: str | None) -> None:
    """List sponsorships by sponsor, or by who is sponsored."""
    if account is not None and sponsored is not None:
        raise UsageFault("Name an account, or one by --of.", "", "clawpurse sponsor list -h")
    params: Json = {"limit": 500}
    if sponsored is not None:
        params["account"] = account_text(account_named(session, sponsored).account)
    else:
        name = account or own_key(session, "clawpurse sponsor list ")
        params["sponsor"] = account_text(account_named(session, name).account)

    async def work(node: NodeClient) -> Any:
        return await node.call("sponsorship_list", params)

    answer = run_with_node(session, work)
    if session.json_mode:
        session.out.emit(answer)
        return
    side = "sponsor" if sponsored is not None else "account"
    rows = [
        (
            one[side],
            _amount(one, "perTransaction"),
            _amount(one, "leftToday"),
            _amount(one, "left"),
            names_of(one["actions"]),
            one["expires"],
        )
        for one in answer["sponsorships"]
    ]
    session.out.table((side, "at once>", "left today>", "left>", "for", "until"), rows)
    if not rows:
        session.out.note("None.")


def _amount(one: Json, name: str) -> str:
    return amount_text(int(one[name]), one["decimals"] or 0, one["asset"])
