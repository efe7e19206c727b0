"""What `wallet statement` does: balances at both ends of a range, all between, sums that agree."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from clawpurse.cli.acting import run_with_node
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import counted
from clawpurse.cli.promising import time_of
from clawpurse.cli.session import Session, shown
from clawpurse.cli.who import labels_of, own_or_named
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.amounts import number_text
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.describe import printable
from clawpurse.wallet.durable import writing_private
from clawpurse.wallet.statement import Movement, Statement, height_at, statement_of
from clawpurse.wallet.tables import Number, csv_line

COLUMNS: Final = (
    "time_utc", "height", "transaction", "what", "asset", "amount", "amount_minor", "decimals",
    "counterparty", "counterparty_label", "memo",
)  # fmt: skip
Json = dict[str, Any]


class Range(NamedTuple):
    """Which blocks, as typed: heights, or times (a day is its first moment in UTC)."""

    from_height: int | None
    to_height: int | None
    from_date: str | None
    to_date: str | None


def statement(
    session: Session, account: str | None, span: Range, *, prove: bool, export: Path | None
) -> None:
    """Show or write a statement. Raises `BadAnswer` for one that does not add up or is unproven."""
    named = own_or_named(session, account, "clawpurse wallet statement ")
    if (span.from_height is None) == (span.from_date is None):
        raise UsageFault("From when?", "", "add --from-height N, or --from-date 2027-01-01")
    if span.to_height is not None and span.to_date is not None:
        raise UsageFault("Until when?", "", "give --to-height or --to-date, not both")
    if export is not None and export.suffix not in _WRITERS:
        raise UsageFault(f"{export} is neither .csv nor .json.", "", "name it statement.csv")
    if export is not None and export.exists():
        raise UsageFault(f"{export} exists already.", "Nothing was written.", "name another file")

    async def work(node: NodeClient) -> tuple[Statement, dict[str, int]]:
        terms = await node.terms()
        heights = await _heights(session, node, span)
        proven_by = terms.genesis_hash if prove else None
        found = await statement_of(
            node, named.account, heights, build_registry(), proven_by=proven_by
        )
        return found, {line.asset: line.decimals for line in found.lines}

    found, decimals = run_with_node(session, work)
    labels = labels_of(session)
    if export is not None:
        _write(export, found, decimals, labels)
    if session.json_mode:
        session.out.emit(_document(found, labels))
        return
    _show(session, found, decimals, labels)
    if export is not None:
        session.out.tick(f"{shown(export)}: {counted(len(found.movements), 'movement')}")


async def _heights(session: Session, node: NodeClient, span: Range) -> tuple[int, int | None]:
    first, last = span.from_height, span.to_height
    if span.from_date is not None:
        first = await height_at(node, _moment(session, span.from_date))
    if span.to_date is not None:
        # Up to the block before the first one at or after that moment; none is after it yet.
        end_ms = _moment(session, span.to_date)
        status = await node.status()
        newest = await node.call("chain_getBlock", {"height": status.height, "transactions": "ids"})
        last = status.height
        if newest["header"]["timeMs"] >= end_ms:
            last = await height_at(node, end_ms) - 1
    assert first is not None
    if last is not None and last < first:
        raise UsageFault("No block is in that range.", "", "clawpurse wallet history")
    return first, last


def _moment(session: Session, text: str) -> int:
    return time_of(
        f"{text}T00:00:00Z" if len(text) == len("2027-01-01") else text, session.now_ms()
    )


def _show(
    session: Session, found: Statement, decimals: Mapping[str, int], labels: Mapping[str, str]
) -> None:
    out = session.out
    out.note(f"{labels.get(found.account, '')} {found.account}".strip())
    out.note(f"Blocks {found.first} to {found.last}, times in UTC.")
    for line in found.lines:
        opening = number_text(line.opening + line.opening_held, line.decimals)
        out.line(f"Before block {found.first}: {opening} {line.asset}")
    rows = [
        (
            one.time[:19].replace("T", " "), str(one.height), one.what,
            number_text(one.amount, decimals[one.asset]), one.asset,
            _who(one, labels), one.tx_id or "", printable(one.memo),
        )
        for one in found.movements
    ]  # fmt: skip
    out.table(("time", "block>", "what", "amount>", "asset", "who", "transaction", "memo"), rows)
    for line in found.lines:
        closing = number_text(line.closing + line.closing_held, line.decimals)
        held = number_text(line.closing_held, line.decimals)
        part = f", {held} of it held" if line.closing_held else ""
        out.line(f"After block {found.last}: {closing} {line.asset}{part}")
    out.tick(f"The sums agree: {counted(len(found.movements), 'movement')}.")
    if found.verdict is not None:
        out.tick(f"Proven: {found.verdict.reason}")


def _who(one: Movement, labels: Mapping[str, str]) -> str:
    return "" if one.counterparty is None else labels.get(one.counterparty, one.counterparty)


def _document(found: Statement, labels: Mapping[str, str]) -> Json:
    verdict = found.verdict
    return {
        "account": found.account,
        "fromHeight": found.first,
        "toHeight": found.last,
        "balances": [
            {
                "asset": line.asset,
                "decimals": line.decimals,
                "opening": str(line.opening),
                "openingHeld": str(line.opening_held),
                "closing": str(line.closing),
                "closingHeld": str(line.closing_held),
            }
            for line in found.lines
        ],
        "movements": [
            {
                "time": one.time,
                "height": one.height,
                "txId": one.tx_id,
                "what": one.what,
                "asset": one.asset,
                "amount": str(one.amount),
                "counterparty": one.counterparty,
                "label": labels.get(one.counterparty or ""),
                "memo": one.memo,
            }
            for one in found.movements
        ],
        "proven": None if verdict is None else verdict.reason,
    }


def _csv(found: Statement, decimals: Mapping[str, int], labels: Mapping[str, str]) -> str:
    lines = [csv_line(COLUMNS)]
    for one in found.movements:
        places = decimals[one.asset]
        cells = (
            one.time, one.height, one.tx_id or "", one.what, one.asset,
            Number(number_text(one.amount, places, marks=False)), one.amount, places,
            one.counterparty or "", labels.get(one.counterparty or "", ""), one.memo,
        )  # fmt: skip
        lines.append(csv_line(cells))
    return "".join(lines)


def _json(found: Statement, decimals: Mapping[str, int], labels: Mapping[str, str]) -> str:
    del decimals
    return json.dumps(_document(found, labels), ensure_ascii=False, indent=1) + "\n"


_WRITERS: Final = {".csv": _csv, ".json": _json}


def _write(
    path: Path, found: Statement, decimals: Mapping[str, int], labels: Mapping[str, str]
) -> None:
    with writing_private(path) as file:
        file.write(_WRITERS[path.suffix](found, decimals, labels).encode())
