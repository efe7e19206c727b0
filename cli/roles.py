"""What `role grant|revoke|permit|list|check|history` do: who may do what, and who could."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clawpurse.cli.acting import NOTHING, Deed, Terms, authority_key, perform, run_with_node
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import OK, counted
from clawpurse.cli.session import Session
from clawpurse.cli.who import account_named, titled
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.names import ADMIN_ROLE, plain_name
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.roles.actions import GRANT, REVOKE, SET_PERMISSION
from clawpurse.wallet.client import NodeClient

_ADMIN: str = "Administrators say who may do what."
Json = dict[str, Any]


def grant(session: Session, name: str, account: str, home: Path | None, terms: Terms) -> None:
    """Give a role."""
    whom = account_named(session, account, NOTHING)
    action = RawAction(GRANT.name, [_name(name), whom.account])
    said = f"{titled(whom, account_text(whom.account))} holds the role {name}"
    _act(session, action, home, terms, _ADMIN if name == ADMIN_ROLE else "", said)


def revoke(
    session: Session, name: str, account: str, reason: str, home: Path | None, terms: Terms
) -> None:
    """Take a role."""
    whom = account_named(session, account, NOTHING)
    action = RawAction(REVOKE.name, [_name(name), whom.account, reason])
    said = f"{titled(whom, account_text(whom.account))} no longer holds the role {name}"
    _act(session, action, home, terms, _ADMIN if name == ADMIN_ROLE else "", said)


def permit(
    session: Session, action_name: str, name: str | None, home: Path | None, terms: Terms
) -> None:
    """Let only holders of a role perform an action, or everybody."""
    action = RawAction(SET_PERMISSION.name, [action_name, None if name is None else _name(name)])
    who = "everybody" if name is None else f"only who holds the role {name}"
    danger = "" if name is None else f"Whoever lacks the role {name} can no longer do this."
    _act(session, action, home, terms, danger, f"{who} may perform {action_name}")


def _act(
    session: Session, action: RawAction, home: Path | None, terms: Terms, danger: str, said: str
) -> None:
    async def work(node: NodeClient) -> Json:
        deed = Deed((action,), (), danger)
        if home is not None:
            # The account of an authority is signed for by its key; nothing is voted on here.
            key = authority_key(home, ())
            return await perform(session, node, deed, terms, own=key)
        return await perform(session, node, deed, terms)

    done = run_with_node(session, work)
    if session.json_mode:
        session.out.emit(done)
        return
    session.out.line(f"{session.out.mark(OK)} Final in block {done['height']}: {said}.")


def _name(text: str) -> str:
    try:
        return plain_name(text, "role")
    except Malformed as err:
        raise UsageFault(f"The role {text!r} {err.problem}.", NOTHING, "") from err


def listed(session: Session, name: str | None, account: str | None) -> None:
    """List roles, who holds one, or what an account holds."""
    params: Json = {"limit": 500}
    if name is not None:
        params["role"] = _name(name)
    if account is not None:
        params["account"] = account_text(account_named(session, account).account)

    async def work(node: NodeClient) -> Any:
        return await node.call("role_list", params)

    answer = run_with_node(session, work)
    if session.json_mode:
        session.out.emit(answer)
        return
    out = session.out
    if "holders" in answer:
        for holder in answer["holders"]:
            out.line(holder)
        out.note(f"{counted(len(answer['holders']), 'holds', 'hold')} the role {answer['role']}.")
    elif "account" in answer:
        for held in answer["roles"]:
            out.line(held)
        out.note(f"{answer['account']} holds {counted(len(answer['roles']), 'role')}.")
    else:
        out.table(("role", "holders>"), [(r["role"], str(r["holders"])) for r in answer["roles"]])
        for one in answer["permissions"]:
            out.line(f"{one['action']} asks for the role {one['role']}")


def check(session: Session, account: str, name: str, height: int | None) -> int:
    """Tell whether an account holds a role, or held it after a block; 0 yes, 1 no."""
    whom = account_named(session, account)
    params: Json = {"account": account_text(whom.account), "role": _name(name)}
    if height is not None:
        params["atHeight"] = height

    async def work(node: NodeClient) -> Any:
        return await node.call("role_check", params)

    answer = run_with_node(session, work)
    if session.json_mode:
        session.out.emit(answer)
    else:
        word = "holds" if answer["held"] else "does not hold"
        since = "" if answer["since"] is None else f", since block {answer['since']}"
        session.out.line(
            f"{titled(whom, account_text(whom.account))} {word} the role {name} "
            f"after block {answer['height']}{since}."
        )
    return 0 if answer["held"] else 1


def history(session: Session, account: str, name: str) -> None:
    """List each time that an account got a role or lost it."""
    whom = account_named(session, account)
    params: Json = {"account": account_text(whom.account), "role": _name(name), "limit": 500}

    async def work(node: NodeClient) -> Any:
        return await node.call("role_getHistory", params)

    answer = run_with_node(session, work)
    if session.json_mode:
        session.out.emit(answer)
        return
    rows = [
        (str(e["height"]), "given" if e["held"] else "taken", e["by"], e["reason"] or "")
        for e in answer["entries"]
    ]
    session.out.table(("block>", "what", "by", "reason"), rows)
