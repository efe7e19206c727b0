"""What every command shares that sends: the outbox of this home, what became of it, in words.

Also what goes on with, replaces or cancels a payment that was signed before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import trio

from clawpurse.cli import prompts
from clawpurse.cli.factors import Given, guardrails_of
from clawpurse.cli.failures import Exit, Pending, Rejected, UsageFault
from clawpurse.cli.output import OK, WARNING
from clawpurse.cli.session import Session, shown
from clawpurse.ledger import crypto
from clawpurse.ledger.errors import Code, Refused, StorageFault
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.modules.kit.web.errors import SYNCING, RpcError
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.amounts import parse_amount
from clawpurse.wallet.builder import ChainTerms
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.delivery import AlreadyUsed, Payment
from clawpurse.wallet.describe import printable
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.outbox import Outbox
from clawpurse.wallet.payments import Payments, TooLate
from clawpurse.wallet.receipts import ReceiptStore

NOTHING: Final = "Nothing was sent."
# What an earlier command left is finished on the way to something else: no long wait for it.
RESUME_MS: Final = 2_000


def outbox_of(session: Session) -> Outbox:
    """Return the outbox of this home."""
    return Outbox(session.client_home.root / "outbox", now_ms=session.now_ms)


def payments_in(session: Session, node: NodeClient) -> Payments:
    """Return payments of this home by a network's nodes."""
    return Payments(
        node,
        outbox_of(session),
        ReceiptStore(session.client_home.receipts_directory),
        build_registry(),
        now_ms=session.now_ms,
        guardrails=guardrails_of(session),
    )


async def resume_left(
    session: Session, payments: Payments, terms: ChainTerms, but: bytes | None = None
) -> None:
    """Say what a killed command left unfinished, and finish it with the same bytes.

    All but what stands under the idempotency key `but`, which this command pays with again.
    """
    for payment in await payments.resume(RESUME_MS, terms=terms, but=but):
        session.out.note(f"  Left unfinished by an earlier command: {payment_words(payment)}.")


def tell_left(session: Session, genesis_hash: bytes) -> None:
    """Say on the way out of a look that signed payments of this network are unfinished, if any are.

    Nothing is sent: who looks has not asked for it. An outbox that cannot be read is told, and
    fails no look.
    """
    try:
        with outbox_of(session) as outbox:
            left = [row for row in outbox.left(genesis_hash) if row.attempts]
    except StorageFault as err:
        session.out.warn(str(err))
        return
    if left:
        what = "1 signed payment is" if len(left) == 1 else f"{len(left)} signed payments are"
        session.out.note(f"{WARNING} {what} unfinished. → clawpurse wallet send --resume")


def payment_words(payment: Payment) -> str:
    """Return in words what became of a payment."""
    where = "" if payment.height is None else f", final in block {payment.height}"
    ends = {
        "pending": "still pending",
        "failed": f"failed{where}",
        "expired": "expired, it will never happen",
        "replaced": "replaced, it will never happen",
        "cancelled": f"cancelled{where}",
    }
    return f"0x{payment.tx_id.hex()} {ends.get(payment.status, payment.status + where)}"


def resume(session: Session, timeout_s: int) -> int:
    """`wallet send --resume`: finish what was left, and say what became of each."""

    async def run() -> list[Payment]:
        async with session.node() as node:
            return await payments_in(session, node).resume(timeout_s * 1000)

    done = trio.run(run)
    pending = any(one.status == "pending" for one in done)
    if session.json_mode:
        session.out.emit({"resumed": [payment_json(one) for one in done]})
    for one in done:
        session.out.line(f"{WARNING if one.status == 'pending' else OK} {payment_words(one)}.")
    if not done:
        session.out.note("Nothing was left unfinished.")
    return Exit.PENDING if pending else Exit.DONE


def payment_json(payment: Payment) -> dict[str, Any]:
    """Return a payment in few words for programs; its receipt tells the rest."""
    return {
        "txId": f"0x{payment.tx_id.hex()}",
        "status": payment.status,
        "height": payment.height,
        "receipt": None if payment.receipt_file is None else str(payment.receipt_file),
    }


def replace(
    session: Session, tx_id: str, fee: str | None, given: Given, *, timeout_s: int, cancels: bool
) -> int:
    """Replace a payment on its way by the same one at another fee, or by none."""
    wanted = _tx_id(tx_id)
    outbox = outbox_of(session)
    row = outbox.find(wanted)
    if row is None:
        raise UsageFault(f"{tx_id} was not signed by this wallet.", NOTHING, "clawpurse tx wait ID")
    keystore = session.keystore
    names = [one for one in keystore.names() if keystore.show(one).public_key == row.signer]
    if not names:
        raise UsageFault("The key that signed it is not in this home.", NOTHING, "keys import")

    def unlocked() -> SigningKey:
        question = f"  Passphrase for {names[0]}: "
        passphrase = prompts.passphrase(session.out, given.passphrase_file, question)
        return keystore.unlock(names[0], passphrase).signer

    async def run() -> Payment:
        async with session.node() as node:
            payments = payments_in(session, node)
            price = None
            if fee is not None:
                decimals = (await node.asset(NATIVE_ASSET)).decimals
                price = parse_amount(fee, decimals, NATIVE_ASSET)
            limit_ms = timeout_s * 1000
            with accept_refused():
                if cancels:
                    return await payments.cancel(wanted, unlocked(), fee=price, timeout_ms=limit_ms)
                again = row.fee if price is None else price
                return await payments.replace(wanted, unlocked(), fee=again, timeout_ms=limit_ms)

    payment = finished(trio.run(run), timeout_s)
    if payment.status != "cancelled":
        return tell_payment(session, names[0], payment, 0.0)
    if session.json_mode:
        session.out.emit(payment_json(payment))
    session.out.line(
        f"{session.out.mark(OK)} Cancelled in block {payment.height}: it can never be paid. "
        "The fee was."
    )
    session.out.line(f"  Tx       0x{payment.tx_id.hex()}")
    return Exit.DONE


def _tx_id(text: str) -> bytes:
    try:
        found = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        found = b""
    if len(found) != crypto.HASH_BYTES:
        raise UsageFault(f"{text!r} is no transaction id.", NOTHING, "0x and 64 hex digits")
    return found


@contextmanager
def accept_refused() -> Iterator[None]:
    """Turn what the wallet raises before anything was paid into what the command line tells."""
    try:
        yield
    except AlreadyUsed as err:
        raise Rejected(
            err.reason,
            "Nothing more was sent.",
            f"clawpurse tx wait 0x{err.tx_id.hex()}",
            code=Code.DUPLICATE,
        ) from err
    except TooLate as err:
        command = f"clawpurse tx wait 0x{err.payment.tx_id.hex()}"
        raise Rejected(err.reason, NOTHING, command, code=err.code) from err
    except Refused as err:
        raise Rejected(err.reason, NOTHING, code=err.code) from err
    except RpcError as err:
        if err.code == SYNCING:
            raise  # Nobody judged the payment: this node cannot now.
        raise refused(err) from err


def refused(err: RpcError) -> Rejected:
    """Return a node's refusal as the command line tells it."""
    code = next((one for one in Code if one.rpc_code == err.code), Code.POLICY_REJECTED)
    reason = err.reason[:1].upper() + err.reason[1:]
    if not reason.endswith("."):
        reason += "."
    return Rejected(reason, NOTHING, err.hint, code=code)


def finished(payment: Payment, timeout_s: int) -> Payment:
    """Return a payment that is final and done. Raises `Pending`, or `Rejected` for any other."""
    tx_id = f"0x{payment.tx_id.hex()}"
    command = f"clawpurse tx wait {tx_id}"
    if payment.status == "pending":
        what = f"Pending after {timeout_s} s; may still be final."
        raise Pending(what, "Do not resend.", command)
    if payment.status in ("expired", "replaced"):
        what = f"The payment is {payment.status}; it will never happen."
        raise Rejected(what, "", command, code=Code.EXPIRED)
    if payment.status == "failed":
        label = "" if payment.document is None else payment.document["receipt"]["code"]
        code = next((one for one in Code if one.label == label), Code.POLICY_REJECTED)
        what = f"Refused in block {payment.height}: {payment.reason}"
        raise Rejected(what, "Only the fee was paid.", command, code=code)
    return payment


def tell_payment(session: Session, payer: str, payment: Payment, took_s: float) -> int:
    """Say that it is paid, also when the receipt could not be saved.

    What a rule holds is final, and not paid: it says so, and ends as what is pending does.
    """
    document = payment.document
    assert document is not None
    is_held = payment.hold_id is not None
    if payment.receipt_problem:
        what = "Held" if is_held else "Paid"
        session.out.warn(f"{what}, but the receipt is not saved: {payment.receipt_problem}")
    ended = Exit.PENDING if is_held else Exit.DONE
    if session.json_mode:
        session.out.emit(dict(document))
        return ended
    out = session.out
    final = f"Final in block {payment.height} after {took_s:.1f} s"
    if is_held:
        events = document["receipt"]["events"]
        held = next(one["data"] for one in events if one["kind"] == "kernel.held")
        rule = printable(str(held["rule"]))
        out.line(f"{WARNING} Held, not paid yet, by {rule}. {final}. Proof checked.")
        out.line(f"  Hold     {payment.hold_id}")
    else:
        out.line(f"{out.mark(OK)} Paid. {final}. Proof checked.")
    out.line(f"  Tx       {out.style(document['txId'], 'bold')}")
    if payment.receipt_file is not None:
        out.line(f"  Receipt  {shown(payment.receipt_file)}")
    if is_held:
        out.note(f"Next: clawpurse hold show {payment.hold_id}")
    else:
        out.note(f"Next: clawpurse wallet history {payer}")
    return ended
