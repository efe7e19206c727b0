"""What `batch propose|approve|reject|withdraw|execute|show|list` do.

Before somebody approves, the id is worked out anew from what the node shows: who approves an id
approves these payments, whatever the node says.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, Final, NamedTuple

from clawpurse.cli.acting import NOTHING, Terms, run_with_node
from clawpurse.cli.escrows import reason_of
from clawpurse.cli.failures import Rejected, UsageFault
from clawpurse.cli.output import counted
from clawpurse.cli.promising import (
    LISTED_MAX,
    account_of,
    act,
    decimals_of,
    event_of,
    id_of,
    optional_id,
    parsed,
    reference_of,
    reference_text,
    time_of,
    value_text,
)
from clawpurse.cli.session import Session
from clawpurse.cli.who import own_or_named
from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.payments.batches import (
    APPROVE,
    EXECUTE,
    LEG_REFERENCE_BYTES_MAX,
    LEGS_MAX,
    PROPOSE,
    REJECT,
    WITHDRAW,
    Contents,
    Leg,
)
from clawpurse.wallet.amounts import amount_text
from clawpurse.wallet.client import NodeClient

# 200 payments with room for names, spaces and quotes.
FILE_BYTES_MAX: Final = 200_000
COLUMNS: Final = ("to", "amount", "reference")
Json = dict[str, Any]


class Wish(NamedTuple):
    """What a person asked for, as typed."""

    file: Path
    asset: str
    approvers: tuple[str, ...]
    needed: int | None
    expires: str
    reference: str
    travel_hash: str | None


class Row(NamedTuple):
    """One payment as it stands in a file; `place` is where, for errors."""

    place: str
    to: str
    amount: str
    reference: str


def propose(session: Session, wish: Wish, terms: Terms) -> None:
    """Propose the payments of a file."""
    rows = read_rows(wish.file)
    people = [(row, account_of(session, row.to), leg_reference(row)) for row in rows]
    approvers = sorted({account_of(session, one) for one in wish.approvers})
    needed = len(approvers) if wish.needed is None else wish.needed
    expires_ms = time_of(wish.expires, session.now_ms())
    reference, travel = reference_of(wish.reference), optional_id(wish.travel_hash, "travel hash")

    async def prepare(node: NodeClient) -> RawAction:
        decimals = await decimals_of(node, wish.asset)
        legs: list[Wire] = [
            [account, _amount(row, wish.asset, decimals), words] for row, account, words in people
        ]
        terms_: list[Wire] = [needed, list[Wire](approvers), expires_ms, reference, travel]
        action = RawAction(PROPOSE.name, [wish.asset, legs, *terms_])
        try:
            PROPOSE.read(action.fields)
        except Malformed as err:
            raise UsageFault(f"The batch: {err.field} {err.problem}.", NOTHING, "") from err
        for row, _, _ in people:
            session.out.note(f"  {row.amount:>14} {wish.asset} to {row.to} {row.reference}")
        return action

    def told(document: Json, decimals: int) -> str:
        data = event_of(document, "payments.batchProposed")
        total = value_text(data, decimals)
        return (
            f"{total} in {counted(data['legs'], 'payment is', 'payments are')} proposed until "
            f"{time_text(expires_ms)}; {needed} must approve.\n  Batch {data['batchId']}"
        )

    act(session, terms, prepare, told)


def read_rows(path: Path) -> list[Row]:
    """Return the payments in a CSV or JSON file. Raises `UsageFault` naming the line."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        text = data.decode("utf-8-sig")
    except OSError as err:
        raise UsageFault(f"{path} cannot be read: {err.strerror}.", NOTHING, "") from err
    except UnicodeDecodeError as err:
        raise UsageFault(f"{path} is not UTF-8 text.", NOTHING, "") from err
    if len(data) > FILE_BYTES_MAX:
        raise UsageFault(f"{path} is above {FILE_BYTES_MAX} bytes.", NOTHING, "")
    rows = _json_rows(path, text) if text.lstrip()[:1] in ("[", "{") else _csv_rows(path, text)
    if not 1 <= len(rows) <= LEGS_MAX:
        what = f"{path} has {len(rows)} payments, from 1 to {LEGS_MAX} are a batch."
        raise UsageFault(what, NOTHING, "")
    return rows


def _csv_rows(path: Path, text: str) -> list[Row]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    try:
        header = [one.strip() for one in next(lines, [])]
        if tuple(header) not in (COLUMNS, COLUMNS[:2]):
            what = f"{path} does not begin with the line {','.join(COLUMNS)}."
            raise UsageFault(what, NOTHING, "")
        for cells in lines:
            place = f"{path} line {lines.line_num}"
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise UsageFault(
                    f"{place} has {len(cells)} columns, {len(header)} are needed.", NOTHING, ""
                )
            rows.append(Row(place, *[cell.strip() for cell in (*cells, "")[:3]]))
    except csv.Error as err:
        raise UsageFault(f"{path} line {lines.line_num}: {err}.", NOTHING, "") from err
    return rows


def _json_rows(path: Path, text: str) -> list[Row]:
    try:
        found = json.loads(text, parse_float=str, parse_int=str)
    except (ValueError, RecursionError) as err:
        raise UsageFault(f"{path} is not JSON.", NOTHING, "") from err
    if not isinstance(found, list):
        raise UsageFault(f"{path} is not a list of payments.", NOTHING, "")
    rows: list[Row] = []
    for number, one in enumerate(found, start=1):
        place = f"{path} payment {number}"
        known = isinstance(one, dict) and {"to", "amount"} <= one.keys() <= set(COLUMNS)
        if not known or not all(isinstance(value, str) for value in one.values()):
            raise UsageFault(f"{place} does not have to, amount (and reference).", NOTHING, "")
        rows.append(Row(place, one["to"], one["amount"], one.get("reference", "")))
    return rows


def leg_reference(row: Row) -> bytes:
    """Return the reference of a payment. Raises `UsageFault` when it is too long."""
    data = row.reference.encode("utf-8")
    if len(data) > LEG_REFERENCE_BYTES_MAX:
        what = f"The reference in {row.place} has {len(data)} bytes, {LEG_REFERENCE_BYTES_MAX} fit."
        raise UsageFault(what, NOTHING, "")
    return data


def _amount(row: Row, asset: str, decimals: int) -> int:
    try:
        return parsed(row.amount, asset, decimals)
    except UsageFault as err:
        raise UsageFault(f"{row.place}: {err.what}", NOTHING, "") from err


def contents_of(answer: Json) -> Contents:
    """Return what a node shows of a batch, as its id is made of. Raises `Malformed`."""
    legs = [
        Leg(
            account_from_text(leg["recipient"]),
            int(leg["amount"]),
            bytes.fromhex(leg["reference"][2:]),
        )
        for leg in answer["legs"]
    ]
    return Contents(
        bytes.fromhex(answer["salt"][2:]),
        account_from_text(answer["payer"]),
        answer["asset"],
        tuple(legs),
        answer["needed"],
        tuple([account_from_text(one["account"]) for one in answer["approvers"]]),
        time_of(answer["expires"], 0),
        bytes.fromhex(answer["reference"][2:]),
        None if answer["travelHash"] is None else bytes.fromhex(answer["travelHash"][2:]),
    )


async def _proven(node: NodeClient, batch_id: bytes) -> Json:
    """Return what a node shows of a batch, if its id is made of that. Raises `Rejected`."""
    answer: Json = await node.call("payment_getBatch", {"batch": f"0x{batch_id.hex()}"})
    try:
        stated = contents_of(answer).id
    except (Malformed, UsageFault, ValueError, KeyError, TypeError):
        stated = b""  # Not even the form of a batch.
    if stated != batch_id:
        raise Rejected(
            "The node shows other payments than that id stands for.",
            NOTHING,
            "ask another node: --rpc URL",
            code=Code.POLICY_REJECTED,
        )
    return answer


def _look(session: Session, answer: Json, decimals: int) -> None:
    """Say what is about to be approved or paid, before the question."""
    asset = answer["asset"]
    session.out.note(f"  {answer['payer']} pays, all or none:")
    for leg in answer["legs"]:
        amount = amount_text(int(leg["amount"]), decimals, asset)
        session.out.note(f"  {amount:>20} to {leg['recipient']} {reference_text(leg)}".rstrip())
    total = value_text(answer, decimals)
    payments = counted(answer["legCount"], "payment")
    session.out.note(f"  {total} in {payments}. {reference_text(answer)}")


def approve(session: Session, batch_id: str, until: str | None, terms: Terms) -> None:
    """Approve what an id stands for."""
    asked = id_of(batch_id, "batch")
    until_ms = None if until is None else time_of(until, session.now_ms())

    async def prepare(node: NodeClient) -> RawAction:
        answer = await _proven(node, asked)
        _look(session, answer, await decimals_of(node, answer["asset"]))
        return RawAction(APPROVE.name, [asked, until_ms])

    def told(document: Json, _decimals: int) -> str:
        data = event_of(document, "payments.batchApproved")
        return f"{data['approvals']} of {data['needed']} approve it."

    act(session, terms, prepare, told)


def reject(session: Session, batch_id: str, reason: str, terms: Terms) -> None:
    """Say no, or take an approval back."""
    action = RawAction(REJECT.name, [id_of(batch_id, "batch"), reason_of(reason)])

    async def prepare(_node: NodeClient) -> RawAction:
        return action

    def told(document: Json, _decimals: int) -> str:
        data = event_of(document, "payments.batchRejected")
        over = "; it is over" if data["possible"] < data["needed"] else ""
        return f"{data['possible']} people can still approve it, {data['needed']} must{over}."

    act(session, terms, prepare, told)


def withdraw(session: Session, batch_id: str, terms: Terms) -> None:
    """Take it back."""
    action = RawAction(WITHDRAW.name, [id_of(batch_id, "batch")])

    async def prepare(_node: NodeClient) -> RawAction:
        return action

    act(session, terms, prepare, lambda _document, _decimals: "it is taken back; nobody is paid.")


def execute(session: Session, batch_id: str, terms: Terms) -> None:
    """Pay all of it."""
    asked = id_of(batch_id, "batch")

    async def prepare(node: NodeClient) -> RawAction:
        answer = await _proven(node, asked)
        _look(session, answer, await decimals_of(node, answer["asset"]))
        return RawAction(EXECUTE.name, [asked, answer["legCount"]])

    def told(document: Json, decimals: int) -> str:
        return f"{value_text(event_of(document, 'payments.batchEnded'), decimals)} were paid."

    act(session, terms, prepare, told)


def show(session: Session, batch_id: str) -> None:
    """Show one."""
    asked = id_of(batch_id, "batch")

    async def work(node: NodeClient) -> tuple[Json, int]:
        answer = await _proven(node, asked)
        return answer, await decimals_of(node, answer["asset"])

    answer, decimals = run_with_node(session, work)
    if session.json_mode:
        session.out.emit(answer)
        return
    rows = [
        ("Batch", answer["batchId"]),
        ("Amount", f"{value_text(answer, decimals)} in {counted(answer['legCount'], 'payment')}"),
        ("From", answer["payer"]),
        ("Until", answer["expires"]),
        ("Approve", f"{answer['approvals']} of {answer['needed']}"),
        ("Reference", reference_text(answer)),
    ]
    session.out.fields([row for row in rows if row[1]])
    session.out.table(
        ("approver", "says"), [(one["account"], _says(one)) for one in answer["approvers"]]
    )
    legs = [
        (
            amount_text(int(one["amount"]), decimals, answer["asset"]),
            one["recipient"],
            reference_text(one),
        )
        for one in answer["legs"]
    ]
    session.out.table(("amount>", "to", "reference"), legs)


def _says(approver: Json) -> str:
    if approver["rejected"]:
        return "no"
    if approver["approved"]:
        return f"yes, until {approver['until']}"
    return "" if approver["until"] is None else f"yes, but only until {approver['until']}"


def listed(session: Session, account: str | None) -> None:
    """List those of an account."""
    whose = account_text(own_or_named(session, account, "clawpurse batch list ").account)

    async def work(node: NodeClient) -> tuple[Json, dict[str, int]]:
        params = {"account": whose, "limit": LISTED_MAX}
        answer: Json = await node.call("payment_listBatches", params)
        assets = sorted({one["asset"] for one in answer["batches"]})
        return answer, {asset: await decimals_of(node, asset) for asset in assets}

    answer, decimals = run_with_node(session, work)
    if session.json_mode:
        session.out.emit(answer)
        return
    rows = [
        (
            one["batchId"],
            value_text(one, decimals[one["asset"]]),
            str(one["legCount"]),
            f"{one['approvals']} of {one['needed']}",
            "payer" if one["payer"] == whose else "approver",
            one["expires"],
        )
        for one in answer["batches"]
    ]
    session.out.table(("batch", "amount>", "payments>", "approved", "as", "until"), rows)
