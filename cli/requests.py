"""What `wallet request list|show|approve|reject` do, by the running service of this home."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import trio

from clawpurse.cli import prompts
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import FAILED, OK, WARNING
from clawpurse.cli.session import Session
from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.wallet.service_client import open_service

Json = dict[str, Any]
_LIST_MAX: Final = 500
_WAIT_MS: Final = 30_000
_MARKS: Final = {"passes": OK, "asks": WARNING, "refuses": FAILED}
_ID_SHOWN: Final = 10


def show_all(session: Session, everything: bool) -> None:
    """List requests, the open ones unless all are asked for."""
    params: Json = {"limit": _LIST_MAX} | ({} if everything else {"states": ["open"]})
    found = _run(session, lambda client: client.call("wallet_listRequests", params))["requests"]
    if session.json_mode:
        session.out.emit({"requests": found})
        return
    if not found:
        session.out.line("Nothing waits for you.")
        return
    rows = [
        (one["id"][:_ID_SHOWN], one["state"], one["key"], one["origin"], one["asked"][0])
        for one in found
    ]
    session.out.table(("id", "state", "key", "asked by", "why"), rows)
    session.out.note(f"Next: clawpurse wallet request show {rows[0][0]}")


def show(session: Session, ident: str) -> None:
    """Show a request as who decides reads it."""

    async def work(client: RpcClient) -> Json:
        return await _detail(client, ident)

    found = _run(session, work)
    if session.json_mode:
        session.out.emit(found)
        return
    _print(session, found)


def approve(session: Session, ident: str, file: Path | None, *, yes: bool) -> None:
    """Show it, ask, and approve it. Raises as the service refuses it."""

    async def work(client: RpcClient) -> Json:
        found = await _detail(client, ident)
        if found["state"] == "open":
            if not session.json_mode:
                _print(session, found)
            if not yes and not prompts.confirm(session.out, "  Approve exactly this?", "--yes"):
                raise OperatorError("Nothing was signed.")
        params: Json = {"id": found["id"], "waitMs": _WAIT_MS}
        if found["state"] == "open" and not found["unlocked"]:
            question = f"  Passphrase for {found['key']}: "
            params["passphrase"] = prompts.passphrase(session.out, file, question)
        answer: Json = await client.call("wallet_approve", params)
        return answer

    done = _run(session, work)
    if session.json_mode:
        session.out.emit(done)
        return
    payment = done["payment"]
    if payment is None:
        session.out.tick("signed, for whoever asked")
        return
    where = "" if payment["height"] is None else f" in block {payment['height']}"
    session.out.tick(f"{payment['status']}{where}: {payment['txId']}")


def reject(session: Session, ident: str, reason: str) -> None:
    """Reject it."""

    async def work(client: RpcClient) -> Json:
        found = await _detail(client, ident)
        params = {"id": found["id"], "reason": reason}
        answer: Json = await client.call("wallet_reject", params)
        return answer

    done = _run(session, work)
    if session.json_mode:
        session.out.emit(done)
        return
    session.out.tick(f"{done['id'][:_ID_SHOWN]} of {done['origin'] or 'somebody'} is rejected")


def _run(session: Session, work: Callable[[RpcClient], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        home, now_ms = session.client_home, session.now_ms
        async with open_service(home, "wallet request", now_ms=now_ms) as client:
            return await work(client)

    return trio.run(run)


async def _detail(client: RpcClient, ident: str) -> Json:
    """Return the one request whose id begins so. Raises `UsageFault`."""
    listed = (await client.call("wallet_listRequests", {"limit": _LIST_MAX}))["requests"]
    begins = ident if ident.startswith("0x") else f"0x{ident}"
    found = [one["id"] for one in listed if one["id"].startswith(begins)]
    if len(found) != 1:
        why = f"{len(found)} requests begin so." if found else ""
        raise UsageFault(f"{ident} is no request.", why, "clawpurse wallet request list --all")
    answer: Json = await client.call("wallet_getRequest", {"id": found[0]})
    return answer


def _print(session: Session, found: Json) -> None:
    out = session.out
    whose = found["origin"] or "somebody"
    out.line(f"{found['id']}  {found['state']}, until {found['expiresAt']}")
    out.line(f"  {whose} asks{': ' + found['reason'] if found['reason'] else ''}")
    for line in found["lines"]:
        mark = f"{out.mark(WARNING)} " if line["warning"] else ""
        out.line(f"  {line['label']:<14} {mark}{line['text']}")
    for effect in found["effects"]:
        out.line(f"  {effect['text']}  {effect['label'] or ''} {effect['account']}")
    for says in found["guardrails"]:
        out.line(f"  {out.mark(_MARKS[says['says']])} {says['text']}")
    if found["outlook"] is not None:
        rule = f" by {found['rule']}" if found["rule"] else ""
        out.line(f"  By the ledger's rules now: {found['outlook']}{rule}")
    if found["problem"]:
        out.warn(found["problem"])
    if found["note"]:
        out.line(f"  Rejected: {found['note']}")
