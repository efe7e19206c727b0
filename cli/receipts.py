"""What `receipts list|show|verify` do: payments proven offline, from a genesis hash."""

from __future__ import annotations

from typing import Any

from clawpurse.cli.failures import Exit, UsageFault
from clawpurse.cli.output import FAILED, OK
from clawpurse.cli.session import Session
from clawpurse.ledger import crypto
from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.receipts import ReceiptStore, verify_payment

Json = dict[str, Any]


def _store(session: Session) -> ReceiptStore:
    return ReceiptStore(session.client_home.receipts_directory)


def listed(session: Session) -> None:
    """List saved receipts, the newest block last; damaged ones are named, not hidden."""
    store, found = _store(session), []
    for tx_id in store.ids():
        try:
            document = store.load(tx_id)
        except OperatorError as err:
            session.out.warn(str(err))
            continue
        receipt = document["receipt"]
        found.append((document["height"], receipt["time"], receipt["code"], tx_id))
    found.sort()
    if session.json_mode:
        names = ("height", "time", "code", "txId")
        session.out.emit({"receipts": [dict(zip(names, row, strict=True)) for row in found]})
        return
    rows = [(str(height), when, code, tx_id) for height, when, code, tx_id in found]
    session.out.table(("block", "time", "outcome", "transaction"), rows)


def show(session: Session, tx_id: str) -> None:
    """Show one receipt; its id may be shortened."""
    document = _store(session).load(tx_id)
    if session.json_mode:
        session.out.emit(document)
        return
    receipt = document["receipt"]
    pairs = [
        ("Tx", document["txId"]),
        ("Block", f"{document['height']}, {receipt['time']}"),
        ("Outcome", receipt["reason"] or receipt["code"]),
        ("Fee", document["fee"]),
    ]
    session.out.fields(pairs)
    for event in receipt["events"]:
        data = ", ".join(f"{name} {value}" for name, value in event["data"].items())
        session.out.line(f"  {event['kind']}  {data}")


def verify(session: Session, tx_id: str | None, genesis_hash: str | None, *, every: bool) -> int:
    """Check saved receipts offline; returns 0 if all hold, 4 if one does not."""
    if every == (tx_id is not None):
        raise UsageFault("Name a receipt, or all of them.", "", "clawpurse receipts verify --all")
    trusted = _genesis_hash(session, genesis_hash)
    store, registry = _store(session), build_registry()
    verdicts: list[Json] = []
    for one in store.ids() if tx_id is None else [tx_id]:
        try:
            document = store.load(one)
        except OperatorError as err:
            if not every:
                raise
            verdicts.append({"txId": one, "valid": False, "height": None, "reason": str(err)})
            continue
        found = verify_payment(document, trusted, registry)
        verdicts.append(
            {
                "txId": document["txId"],
                "valid": found.valid,
                "height": found.height,
                "reason": found.reason,
            }
        )
    bad = sum(not one["valid"] for one in verdicts)
    if session.json_mode:
        session.out.emit({"valid": not bad, "receipts": verdicts})
    for verdict in verdicts:
        mark = session.out.mark(OK if verdict["valid"] else FAILED)
        session.out.line(f"{mark} {verdict['txId']}  {verdict['reason']}")
    session.out.note(f"{len(verdicts)} checked, {bad} not valid. No node was asked.")
    return Exit.REJECTED if bad else Exit.DONE


def _genesis_hash(session: Session, text: str | None) -> bytes:
    """Return the trusted hash: as typed, else the one that the chosen network is pinned to."""
    if text is None:
        pinned = session.network().genesis_hash
        if pinned is None:
            raise UsageFault("Which network is trusted?", "", "add --genesis-hash 0x…")
        return pinned
    try:
        found = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        found = b""
    if len(found) != crypto.HASH_BYTES:
        raise UsageFault(f"{text!r} is no genesis hash.", "", "0x and 64 hex digits")
    return found
