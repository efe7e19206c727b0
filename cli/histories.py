"""What `wallet history` does: a page of it, what one looks for, or all of it into a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from clawpurse.cli.failures import UsageFault
from clawpurse.cli.outgoing import tell_left
from clawpurse.cli.output import counted
from clawpurse.cli.session import Session, shown
from clawpurse.cli.who import account_named, labels_of, own_or_named, titled
from clawpurse.ledger.address import account_text
from clawpurse.ledger.params import NATIVE_ASSET, asset_name
from clawpurse.wallet.amounts import number_text, parse_amount
from clawpurse.wallet.client import NodeClient, Page
from clawpurse.wallet.describe import printable
from clawpurse.wallet.exports import Progress, Question, export_history, part_of
from clawpurse.wallet.history import Wanted, search

# Tables may shorten transaction ids so far; commands take them back.
TX_ID_DIGITS: Final = 12


class Asked(NamedTuple):
    """What is looked for, as typed; `low` and `high` are amounts of `asset`."""

    text: str = ""
    counterparty: str | None = None
    asset: str | None = None
    low: str | None = None
    high: str | None = None
    incoming: bool | None = None
    failed: bool = False
    since: str = ""
    until: str = ""


def history(
    session: Session, account: str | None, limit: int, cursor: str | None, asked: Asked
) -> None:
    """List final transactions of an account, those that match if anything is asked for."""
    named = own_or_named(session, account, "clawpurse wallet history ")

    async def ask() -> tuple[Page, dict[str, int], bytes]:
        async with session.node() as node:
            terms = await node.terms()
            wanted = await _wanted(session, node, asked)
            if wanted is None:
                page = await node.history(named.account, limit=limit, cursor=cursor)
            else:
                page = await search(
                    node, named.account, wanted, labels_of(session), limit=limit, cursor=cursor
                )
            decimals = {one.asset: one.decimals for one in await node.balances(named.account)}
            for asset in sorted(_assets_of(page) - decimals.keys()):
                decimals[asset] = (await node.asset(asset)).decimals
            return page, decimals, terms.genesis_hash

    page, decimals, genesis_hash = trio.run(ask)
    text = account_text(named.account)
    if session.json_mode:
        session.out.emit(
            {"account": text, "transactions": page.entries, "nextCursor": page.next_cursor}
        )
        return
    tell_left(session, genesis_hash)
    if not page.entries:
        what = "nothing yet" if asked == Asked() else "nothing like that"
        session.out.note(f"{titled(named, text)}: {what}.")
    if not page.entries and page.next_cursor is None:
        return
    labels = labels_of(session)
    rows = [row for entry in page.entries for row in _rows(session, text, entry, decimals, labels)]
    session.out.table(
        ("time", "block>", "", "amount>", "asset", "who", "transaction", "memo"), rows
    )
    if page.next_cursor is not None:
        who = named.label or text
        session.out.note(f"More: clawpurse wallet history {who} --cursor {page.next_cursor}")


def export(
    session: Session, account: str | None, cursor: str | None, asked: Asked, target: Path
) -> None:
    """Write a whole history into a file and say how much that was, also when it is cut off."""
    named = own_or_named(session, account, "clawpurse wallet history ")
    if target.suffix not in (".csv", ".json"):
        raise UsageFault(f"{target} is neither .csv nor .json.", "", "name it history.csv")
    out, told = session.out, Progress()

    def tell(progress: Progress) -> None:
        nonlocal told
        told = progress
        if out.live and not session.json_mode:
            out.replace_line(out.style(f"  {_so_far(progress)} …", "dim"))

    async def work() -> Progress:
        async with session.node() as node:
            terms = await node.terms()
            wanted = await _wanted(session, node, asked)
            question = Question(named.account, terms.genesis_hash, wanted, cursor)
            return await export_history(node, question, target, labels_of(session), tell)

    done = None
    try:
        done = trio.run(work)
    finally:
        if done is None and told.looked:
            out.end_line()
            out.warn(
                f"Not complete. In {shown(part_of(target))}: {_so_far(told)}. The same command "
                "goes on there."
            )
    out.end_line()
    if session.json_mode:
        out.emit(
            {
                "file": str(target.absolute()),
                "transactions": done.transactions,
                "rows": done.rows,
                "fromHeight": done.first,
                "toHeight": done.last,
            }
        )
        return
    where = f", blocks {done.first} to {done.last}" if done.transactions else ""
    out.tick(f"{shown(target)}: {counted(done.transactions, 'transaction')}{where}")


def _so_far(progress: Progress) -> str:
    down = "" if progress.first is None else f" down to block {progress.first}"
    return f"{counted(progress.transactions, 'transaction')}{down}"


async def _wanted(session: Session, node: NodeClient, asked: Asked) -> Wanted | None:
    """Return what is looked for, None for anything. An amount is of `--of`, else of CLAW."""
    if asked == Asked():
        return None
    low, high, asset = None, None, asked.asset
    if asked.low is not None or asked.high is not None:
        asset = NATIVE_ASSET if asset is None else asset_name(asset, "asset")
        places = (await node.asset(asset)).decimals
        if asked.low is not None:
            low = parse_amount(asked.low, places, asset, low=0)
        if asked.high is not None:
            high = parse_amount(asked.high, places, asset, low=0)
    other = None
    if asked.counterparty is not None:
        other = account_text(account_named(session, asked.counterparty).account)
    return Wanted(
        asked.text, other, asset, asked.incoming, asked.failed, asked.since, asked.until, low, high
    )


def _transfers(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what a transaction moved: as its actions say, else (an escrow's payout, a refund,
    the legs of a batch) as its events do.
    """
    wanted: list[Mapping[str, Any]] = [
        {**action["fields"], "sender": entry["sender"]}
        for action in entry.get("actions", ())
        if action.get("name") == "assets.transfer" and action.get("fields")
    ]
    if wanted:
        return wanted
    return [
        {**event["data"], "sender": event["accounts"][0], "recipient": event["accounts"][1]}
        for event in (entry.get("receipt") or {}).get("events", ())
        if event["kind"] == "assets.transferred"
    ]


def _assets_of(page: Page) -> set[str]:
    return {str(fields["asset"]) for entry in page.entries for fields in _transfers(entry)}


def _rows(
    session: Session,
    me: str,
    entry: Mapping[str, Any],
    decimals: Mapping[str, int],
    labels: Mapping[str, str],
) -> list[tuple[str, ...]]:
    """Return one row an action: what came or went, and from or to whom."""
    receipt = entry.get("receipt") or {}
    ok = receipt.get("code", "ok") == "ok"
    tx_id = str(entry["txId"])
    if session.out.live:
        tx_id = f"{tx_id[: 2 + TX_ID_DIGITS]}…"
    time = str(receipt.get("time", ""))[:19].replace("T", " ")
    start = (time, str(entry.get("height", "")))
    memo = printable(str(entry.get("memoText") or ""))
    rows: list[tuple[str, ...]] = []
    for fields in _transfers(entry):
        sender = fields["sender"]
        if me not in (sender, fields["recipient"]):
            continue  # Somebody else's leg of a batch.
        incoming = fields["recipient"] == me and sender != me
        other = sender if incoming else fields["recipient"]
        amount = number_text(int(fields["amount"]), decimals[str(fields["asset"])])
        sign = "+" if incoming else "−"
        mark = session.out.mark("✓" if ok else "✗")
        shown = f"{sign}{amount}" if ok else "failed"
        who = labels.get(str(other), str(other))
        rows.append((*start, mark, shown, str(fields["asset"]), who, tx_id, memo))
    if not rows:
        names = ", ".join(str(action.get("name")) for action in entry.get("actions", ()))
        rows.append((*start, session.out.mark("✓" if ok else "✗"), "", "", names, tx_id, memo))
    return rows
