"""What `tx simulate` does: the verdict of the ledger on a transaction, before anybody sends it."""

from __future__ import annotations

from typing import Any

import trio

from clawpurse.cli.failures import Exit
from clawpurse.cli.output import FAILED, OK, WARNING
from clawpurse.cli.session import Session
from clawpurse.cli.transactions import SIGNED_FIRST_BYTE, refuse_other_chain, transaction_bytes
from clawpurse.ledger import crypto
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.transactions import decode_body, decode_transaction
from clawpurse.wallet.amounts import amount_text
from clawpurse.wallet.client import Simulation
from clawpurse.wallet.describe import printable


def simulate(session: Session, source: str) -> int:
    """Say what the ledger would make of it now; return 0 done, 5 held, 4 refused.

    Nothing is sent. A body that nobody signed is judged as if its parties had. Raises `UsageFault`
    and `Rejected` (another network).
    """
    data = transaction_bytes(source)
    is_signed = data[:1] == SIGNED_FIRST_BYTE
    body = decode_transaction(data).body if is_signed else decode_body(data)

    async def run() -> tuple[Simulation, int]:
        async with session.node() as node:
            await refuse_other_chain(node, body)
            sponsored = not is_signed and body.payer is not None
            outcome = await node.simulate(data, sponsored=sponsored)
            return outcome, (await node.asset(NATIVE_ASSET)).decimals

    outcome, decimals = trio.run(run)
    holders = [str(one["rule"]) for one in outcome.trace if one.get("verdict") == "hold"]
    verdict = "refused" if outcome.code != "ok" else "held" if holders else "done"
    if session.json_mode:
        session.out.emit(_document(crypto.tx_id_of(body.pack()), verdict, outcome))
    else:
        _tell(session, verdict, holders, outcome, decimals)
    return {"done": Exit.DONE, "held": Exit.PENDING, "refused": Exit.REJECTED}[verdict]


def _document(tx_id: bytes, verdict: str, outcome: Simulation) -> dict[str, Any]:
    return {
        "txId": f"0x{tx_id.hex()}",
        "verdict": verdict,
        "code": outcome.code,
        "reason": outcome.reason,
        "rule": outcome.rule,
        "fee": str(outcome.fee),
        "feeMin": str(outcome.fee_min),
        "cost": outcome.cost,
        "trace": list(outcome.trace),
    }


def _tell(
    session: Session, verdict: str, holders: list[str], outcome: Simulation, decimals: int
) -> None:
    out = session.out
    if verdict == "refused":
        reason = printable(outcome.reason or outcome.code).rstrip(".")
        out.line(f"{out.mark(FAILED)} It would be refused now: {reason}.")
    elif verdict == "held":
        out.line(f"{WARNING} It would be held now, by {printable(holders[0])}.")
    else:
        out.line(f"{out.mark(OK)} It would be done now. Nothing was sent.")
    fee, least = (
        amount_text(one, decimals, NATIVE_ASSET) for one in (outcome.fee, outcome.fee_min)
    )
    rows = [("Fee", f"{fee}, at least {least}")]
    if outcome.rule is not None:
        rows.append(("Rule", printable(outcome.rule)))
    for one in outcome.trace:
        rows.append(("Judged", f"{one.get('verdict')} by {printable(str(one.get('rule')))}"))
    out.fields(rows)
