"""What `pay`, `refund`, `escrow`, `hold` and `schedule` share: amounts, times, ids, references.

Everything that a person types is checked here before a node is asked to judge it, and what the
ledger gave an id to is found in the receipt, whose proof was checked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from clawpurse.cli.acting import NOTHING, Deed, Terms, perform, run_with_node
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import OK
from clawpurse.cli.session import Session
from clawpurse.cli.who import account_named
from clawpurse.ledger.errors import Bug, Malformed, NotFound
from clawpurse.ledger.params import DAY_MS, asset_name
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.payments.records import REFERENCE_BYTES_MAX
from clawpurse.wallet.amounts import amount_text, parse_amount
from clawpurse.wallet.client import NodeClient

Json = dict[str, Any]
LISTED_MAX: Final = 500
_UNITS_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": DAY_MS}
_TIME_EXAMPLE: Final = "36h, 10d or 2027-01-15T09:00:00Z"
# Spans of time that people type: years of seconds, and no more.
_SPAN_DIGITS_MAX: Final = 9


async def amount_of(node: NodeClient, text: str, asset: str) -> int:
    """Return minor units of an asset. Raises `UsageFault`."""
    return parsed(text, asset, await decimals_of(node, asset))


async def decimals_of(node: NodeClient, asset: str) -> int:
    """Return an asset's decimals. Raises `UsageFault` when there is none of that name."""
    try:
        return (await node.asset(asset_name(asset, "asset"))).decimals
    except (Malformed, NotFound) as err:
        what = f"There is no asset {asset} here."
        raise UsageFault(what, NOTHING, "clawpurse rpc asset_list") from err


def parsed(text: str, asset: str, decimals: int, *, low: int = 1) -> int:
    """Return minor units. Raises `UsageFault`."""
    try:
        return parse_amount(text, decimals, asset, low=low)
    except Malformed as err:
        raise UsageFault(f"{err.problem[:1].upper()}{err.problem[1:]}.", NOTHING, "") from err


def time_of(text: str, now_ms: int) -> int:
    """Return ms UTC for `2027-01-15T09:00:00Z`, or for `36h` from now. Raises `UsageFault`."""
    number, unit = text[:-1], text[-1:]
    if unit in _UNITS_MS and number.isascii() and number.isdigit():
        if len(number) <= _SPAN_DIGITS_MAX:
            # Whole seconds: what is printed can be typed again.
            return now_ms // 1_000 * 1_000 + int(number) * _UNITS_MS[unit]
    elif (found := _instant(text)) is not None:
        return found
    raise UsageFault(f"{text!r} is no time.", NOTHING, _TIME_EXAMPLE)


def _instant(text: str) -> int | None:
    """Return ms for an RFC 3339 time in UTC, with or without milliseconds."""
    plain = text[:-5] + "Z" if len(text) == 24 and text[19:20] == "." else text
    if len(plain) != 20 or plain[10] != "T" or plain[19] != "Z":
        return None
    parts = plain[:4], plain[5:7], plain[8:10], plain[11:13], plain[14:16], plain[17:19]
    if not all(part.isascii() and part.isdigit() for part in parts):
        return None
    year, month, day, hour, minute, second = (int(part) for part in parts)
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 60):
        return None
    # Days since 1970 with years that begin in March, so that the leap day ends its year.
    shifted = year if month > 2 else year - 1
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = 365 * shifted + shifted // 4 - shifted // 100 + shifted // 400 + of_year - 719_468
    found = ((days * 24 + hour) * 60 + minute) * 60_000 + second * 1_000
    if len(text) == 24:
        fraction = text[20:23]
        if not (fraction.isascii() and fraction.isdigit()):
            return None
        found += int(fraction)
    # A day that its month does not have would read differently than it was typed.
    return found if found >= 0 and time_text(found)[:19] == plain[:19] else None


def id_of(text: str, what: str) -> bytes:
    """Return a 32-byte id that was typed as 0x and hexadecimal. Raises `UsageFault`."""
    digits = text.removeprefix("0x")
    try:
        found = bytes.fromhex(digits)
    except ValueError:
        found = b""
    if len(found) != 32:
        raise UsageFault(f"{text!r} is no {what}.", NOTHING, "0x and 64 hexadecimal digits")
    return found


def optional_id(text: str | None, what: str) -> bytes | None:
    """As `id_of`, None for nothing."""
    return None if text is None else id_of(text, what)


def reference_of(text: str) -> bytes:
    """Return a reference's bytes. Raises `UsageFault` when it is too long."""
    data = text.encode("utf-8")
    if len(data) > REFERENCE_BYTES_MAX:
        raise UsageFault(
            f"The reference has {len(data)} bytes, at most {REFERENCE_BYTES_MAX} are allowed.",
            NOTHING,
            "",
        )
    return data


def account_of(session: Session, text: str) -> bytes:
    """Return the account that a word means. Raises `UsageFault`."""
    return account_named(session, text, NOTHING).account


def act(
    session: Session,
    terms: Terms,
    prepare: Callable[[NodeClient], Awaitable[RawAction]],
    told: Callable[[Json, int], str],
) -> None:
    """Do one action and print what came of it; `told` words the document (and decimals)."""

    async def work(node: NodeClient) -> tuple[Json, int]:
        deed = Deed((await prepare(node),))
        document = await perform(session, node, deed, terms)
        asset = next(
            (one["data"]["asset"] for one in events_of(document) if "asset" in one["data"]), None
        )
        return document, 0 if asset is None else await decimals_of(node, asset)

    document, decimals = run_with_node(session, work)
    tell(session, document, told(document, decimals))


def tell(session: Session, document: Json, said: str) -> None:
    """Print what is final."""
    if session.json_mode:
        session.out.emit(document)
        return
    session.out.line(f"{session.out.mark(OK)} Final in block {document['height']}: {said}")


def events_of(document: Json) -> list[Json]:
    """Return the events of a final transaction."""
    found: list[Json] = document["receipt"]["events"]
    return found


def event_of(document: Json, kind: str) -> Mapping[str, Any]:
    """Return the data of an event that such an action leaves. Raises `Bug` if it is missing."""
    data = find_event(document, kind)
    if data is None:
        raise Bug(f"a receipt whose proof holds has no {kind}")
    return data


def find_event(document: Json, kind: str) -> Mapping[str, Any] | None:
    """Return the data of an event, None if there is none."""
    return next((one["data"] for one in events_of(document) if one["kind"] == kind), None)


def value_text(shown: Mapping[str, Any], decimals: int) -> str:
    """Return `12.50 CLAW` of something with asset and amount."""
    return amount_text(int(shown["amount"]), decimals, shown["asset"])


def ended_text(document: Json, kind: str, decimals: int) -> str:
    """Return how a promise ended, in words."""
    data = event_of(document, kind)
    outcomes = {"paid": "was paid", "returned": "went back to its payer"}
    return f"{value_text(data, decimals)} {outcomes.get(data['outcome'], data['outcome'])}."


def ask(session: Session, method: str, params: Json) -> tuple[Any, dict[str, int]]:
    """Call a method; returns its answer, and decimals of all assets that it names."""

    async def work(node: NodeClient) -> tuple[Any, dict[str, int]]:
        answer = await node.call(method, params)
        shown = answer.get("objects") or answer.get("holds") or [answer]
        assets = sorted({one["asset"] for one in shown if "asset" in one})
        return answer, {asset: await decimals_of(node, asset) for asset in assets}

    found: tuple[Any, dict[str, int]] = run_with_node(session, work)
    return found


def reference_text(shown: Mapping[str, Any]) -> str:
    """Return a reference as people read it."""
    return str(shown["reference"] if shown["referenceText"] is None else shown["referenceText"])
