"""What `balance`, `history`, `receive`, `address` and `contacts` do."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final

import trio

from clawpurse.cli.session import Session
from clawpurse.cli.who import account_named, own_or_named, titled
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import OperatorError
from clawpurse.wallet.amounts import number_text
from clawpurse.wallet.client import Balance, Page
from clawpurse.wallet.describe import printable

# Tables may shorten transaction ids so far; commands take them back.
TX_ID_DIGITS: Final = 12


def balance(session: Session, account: str | None) -> None:
    """Show what an account has of each asset."""
    named = own_or_named(session, account, "clawpurse wallet balance ")

    async def ask() -> list[Balance]:
        async with session.node() as node:
            await node.terms()
            return await node.balances(named.account)

    balances = trio.run(ask)
    text = account_text(named.account)
    if session.json_mode:
        entries = [
            {
                "asset": one.asset,
                "amount": str(one.amount),
                "held": str(one.held),
                "decimals": one.decimals,
            }
            for one in balances
        ]
        session.out.emit({"account": text, "balances": entries})
        return
    session.out.note(titled(named, text))
    rows = [
        (one.asset, number_text(one.amount, one.decimals), number_text(one.held, one.decimals))
        for one in balances
    ]
    session.out.table(("asset", "amount>", "held>"), rows)


def history(session: Session, account: str | None, limit: int, cursor: str | None) -> None:
    """List final transactions of an account."""
    named = own_or_named(session, account, "clawpurse wallet history ")

    async def ask() -> tuple[Page, dict[str, int]]:
        async with session.node() as node:
            await node.terms()
            page = await node.history(named.account, limit=limit, cursor=cursor)
            decimals = {one.asset: one.decimals for one in await node.balances(named.account)}
            for asset in sorted(_assets_of(page) - decimals.keys()):
                decimals[asset] = (await node.asset(asset)).decimals
            return page, decimals

    page, decimals = trio.run(ask)
    text = account_text(named.account)
    if session.json_mode:
        session.out.emit(
            {"account": text, "transactions": page.entries, "nextCursor": page.next_cursor}
        )
        return
    if not page.entries:
        session.out.note(f"{titled(named, text)}: nothing yet.")
        return
    labels = labels_of(session)
    rows = [
        row
        for entry in page.entries
        for row in _rows(session, account_text(named.account), entry, decimals, labels)
    ]
    session.out.table(
        ("time", "block>", "", "amount>", "asset", "who", "transaction", "memo"), rows
    )
    if page.next_cursor is not None:
        who = named.label or text
        session.out.note(f"More: clawpurse wallet history {who} --cursor {page.next_cursor}")


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


def labels_of(session: Session) -> dict[str, str]:
    """Return the names of all own keys and contacts by address, read once for a whole table."""
    labels = {account_text(one.account): one.name for one in session.client_home.contacts().all()}
    keystore = session.keystore
    for name in keystore.names():
        try:
            labels[account_text(keystore.show(name).account)] = name
        except OperatorError:
            # A damaged key file is reported when that key is asked for.
            continue
    return labels


def receive(session: Session, name: str | None) -> None:
    """Show an address to be paid at."""
    named = own_or_named(session, name, "clawpurse wallet receive ")
    text = account_text(named.account)
    if session.json_mode:
        session.out.emit({"name": named.label, "account": text})
        return
    session.out.line(text)
    if session.out.live:
        # 50 ms that no other command needs.
        import segno

        picture = io.StringIO()
        # Upper case makes a smaller code; addresses are read in either.
        segno.make(text.upper(), micro=False).terminal(picture, compact=True)
        session.out.line(picture.getvalue().rstrip("\n"))
    who = named.label or text
    session.out.note(f"Next: clawpurse wallet history {who}")


def address(session: Session, name: str | None) -> None:
    """Print an address and nothing else."""
    named = own_or_named(session, name, "clawpurse address ")
    if session.json_mode:
        session.out.emit({"name": named.label, "account": account_text(named.account)})
        return
    session.out.line(account_text(named.account))


def list_contacts(session: Session) -> None:
    """List all contacts."""
    found = session.client_home.contacts().all()
    if session.json_mode:
        entries = [
            {"name": one.name, "account": account_text(one.account), "note": one.note}
            for one in found
        ]
        session.out.emit({"contacts": entries})
        return
    if not found:
        session.out.note("No contacts yet. Next: clawpurse wallet contacts add bob claw1…")
        return
    rows = [(one.name, account_text(one.account), one.note) for one in found]
    session.out.table(("name", "account", "note"), rows)


def add_contact(session: Session, name: str, account: str, note: str) -> None:
    """Give an account a name."""
    named = account_named(session, account, "Nothing was saved.")
    added = session.client_home.contacts().add(name, named.account, note)
    document = {"name": added.name, "account": account_text(added.account), "note": added.note}
    if session.json_mode:
        session.out.emit(document)
        return
    session.out.tick(f"{added.name} {document['account']}")
    session.out.note(f"Next: clawpurse wallet send {added.name} 12.5")


def remove_contact(session: Session, name: str) -> None:
    """Forget a contact."""
    removed = session.client_home.contacts().remove(name)
    if session.json_mode:
        session.out.emit({"removed": removed.name, "account": account_text(removed.account)})
        return
    session.out.tick(f"{removed.name} removed")
    session.out.note(
        f"Back: clawpurse wallet contacts add {removed.name} {account_text(removed.account)}"
    )
