"""What `deposits named-only|everybody|allow|disallow|list` do: who may pay an account."""

from __future__ import annotations

from typing import Any, Final

from clawpurse.cli.acting import NOTHING, Deed, Terms, perform, run_with_node
from clawpurse.cli.failures import Rejected
from clawpurse.cli.promising import account_of, tell
from clawpurse.cli.session import Session
from clawpurse.cli.who import account_named, own_or_named, titled
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Code
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.accounts.deposits import PAYERS_MAX, PREAUTHORISE, SET, WITHDRAW
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError
from clawpurse.wallet.client import NodeClient

Json = dict[str, Any]
_PAGE: Final = 500


def switch(session: Session, only: bool, terms: Terms) -> None:
    """Take payments from named accounts only, or from everybody."""
    said = "only accounts that you named can pay you" if only else "everybody can pay you"
    _act(session, RawAction(SET.name, [int(only)]), terms, said)


def name(session: Session, account: str, allowed: bool, terms: Terms) -> None:
    """Name an account that may pay, or no longer."""
    whom = account_of(session, account)
    action = RawAction((PREAUTHORISE if allowed else WITHDRAW).name, [whom])
    can = "may pay you" if allowed else "is no longer among those who may pay you"
    _act(session, action, terms, f"{account} {can}")


def _act(session: Session, action: RawAction, terms: Terms, said: str) -> None:
    async def work(node: NodeClient) -> Json:
        return await perform(session, node, Deed((action,)), terms)

    tell(session, run_with_node(session, work), f"{said}.")


def listed(session: Session, text: str | None) -> None:
    """Show whether an account is open to all, and whom it named."""
    account = account_text(own_or_named(session, text, "clawpurse deposits list ").account)

    async def work(node: NodeClient) -> tuple[bool, list[str]]:
        try:
            only = (await node.call("account_get", {"account": account}))["depositAuth"]
        except RpcError as err:
            if err.code != NOT_FOUND:
                raise
            raise Rejected(
                f"{account} is not an account yet.", NOTHING, "", code=Code.NOT_FOUND
            ) from err
        return only, await _payers(node, account)

    only, payers = run_with_node(session, work)
    if session.json_mode:
        session.out.emit({"account": account, "namedOnly": only, "payers": payers})
        return
    who = "accounts that it named" if only else "everybody"
    session.out.line(f"{titled(account_named(session, account), account)} is paid by {who}.")
    for payer in payers:
        session.out.line(f"  {titled(account_named(session, payer), payer)}")
    if payers and not only:
        session.out.note("Next: clawpurse deposits named-only")


async def _payers(node: NodeClient, account: str) -> list[str]:
    """Return whom an account named: the first of its objects in `accounts`."""
    found: list[str] = []
    params: Json = {"account": account, "module": "accounts", "limit": _PAGE}
    while len(found) < PAYERS_MAX:
        answer = await node.call("account_getObjects", params)
        named = [one for one in answer["objects"] if one["kind"] == "preauthorisation"]
        found += [one["account"] for one in named]
        if answer["nextCursor"] is None or len(named) < len(answer["objects"]):
            break
        params = {**params, "cursor": answer["nextCursor"]}
    return found
