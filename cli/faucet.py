"""What `faucet` does: ask the node, wait until the payment is final."""

from __future__ import annotations

import time
from typing import Any

import trio

from clawpurse.cli.failures import Pending, Rejected
from clawpurse.cli.output import OK
from clawpurse.cli.progress import waiting
from clawpurse.cli.session import Session
from clawpurse.cli.who import account_named
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Code
from clawpurse.modules.kit.web.errors import METHOD_DISABLED, RpcError
from clawpurse.wallet.amounts import amount_text


def request(session: Session, account: str, timeout_s: int) -> None:
    """Have the faucet pay an account. Raises `Rejected` where there is none, `Pending`."""
    named = account_named(session, account)

    async def run() -> tuple[dict[str, Any], int, float]:
        async with session.node() as node:
            terms = await node.terms()
            began = time.monotonic()
            try:
                answer = await node.faucet(named.account)
            except RpcError as err:
                if err.code == METHOD_DISABLED:
                    raise Rejected(
                        f"{terms.chain_id} is no test network; it has no faucet.",
                        "",
                        "clawpurse wallet receive",
                        code=Code.NOT_AUTHORISED,
                    ) from err
                raise
            tx_id = str(answer["txId"])
            whole = bytes.fromhex(tx_id.removeprefix("0x"))
            async with waiting(session.out, "waiting for finality"):
                fate = await node.wait(whole, timeout_s * 1000)
            if fate.status != "final":
                raise Pending(
                    f"Pending after {timeout_s} s; may still be final.",
                    "",
                    f"clawpurse tx wait {tx_id}",
                )
            asset, amount = str(answer["asset"]), str(answer["amount"])
            document = {
                "txId": tx_id,
                "status": fate.status,
                "height": fate.height,
                "asset": asset,
                "amount": amount,
            }
            decimals = (await node.asset(asset)).decimals
            return document, decimals, time.monotonic() - began

    document, decimals, took_s = trio.run(run)
    if session.json_mode:
        session.out.emit(document)
        return
    amount = amount_text(int(document["amount"]), decimals, document["asset"])
    whom = named.label or account_text(named.account)
    session.out.line(
        f"{session.out.mark(OK)} {amount} to {whom}, "
        f"final in block {document['height']} ({took_s:.1f} s)"
    )
    session.out.note(f"Next: clawpurse wallet balance {whom}")
