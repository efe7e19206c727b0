"""What `invoice create|pay|cancel|show|list|redeem` do.

Before somebody pays, the id is worked out anew from what the node shows: who pays an id pays
this payee this amount for this purpose, whatever the node says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from clawpurse.cli import prompts
from clawpurse.cli.acting import NOTHING, Terms, run_with_node
from clawpurse.cli.failures import Rejected, UsageFault
from clawpurse.cli.promising import (
    LISTED_MAX,
    account_of,
    act,
    amount_of,
    decimals_of,
    event_of,
    find_event,
    id_of,
    optional_id,
    time_of,
    value_text,
)
from clawpurse.cli.session import Session
from clawpurse.cli.who import own_key, own_or_named
from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.redeeming import redemption_bytes
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.payments.invoices import CANCEL, CREATE, PAY, PURPOSE_BYTES_MAX
from clawpurse.modules.payments.invoices import Terms as InvoiceTerms
from clawpurse.wallet.client import NodeClient

Json = dict[str, Any]


class Wish(NamedTuple):
    """What a person asked for, as typed."""

    amount: str
    asset: str
    bill_to: str | None
    purpose: str
    preimage_hash: str | None
    expires: str
    keep_days: int


def create(session: Session, wish: Wish, terms: Terms) -> None:
    """Ask for money."""
    purpose = wish.purpose.encode("utf-8")
    if len(purpose) > PURPOSE_BYTES_MAX:
        what = f"The purpose has {len(purpose)} bytes, at most {PURPOSE_BYTES_MAX} are allowed."
        raise UsageFault(what, NOTHING, "")
    payer = None if wish.bill_to is None else account_of(session, wish.bill_to)
    lock = optional_id(wish.preimage_hash, "preimage hash")
    expires_ms = time_of(wish.expires, session.now_ms())

    async def prepare(node: NodeClient) -> RawAction:
        amount = await amount_of(node, wish.amount, wish.asset)
        rest: list[Wire] = [payer, lock, purpose, expires_ms, wish.keep_days]
        return RawAction(CREATE.name, [wish.asset, amount, *rest])

    def told(document: Json, decimals: int) -> str:
        data = event_of(document, "payments.invoiceCreated")
        asked = value_text(data, decimals)
        return f"{asked} can be paid until {time_text(expires_ms)}.\n  Invoice {data['invoiceId']}"

    act(session, terms, prepare, told)


def stated_id(answer: Json) -> bytes:
    """Return the id of what a node shows of an invoice; empty where that is no invoice."""
    try:
        payer, lock = answer["payer"], answer["preimageHash"]
        stated = InvoiceTerms(
            bytes.fromhex(answer["salt"][2:]),
            account_from_text(answer["payee"]),
            answer["asset"],
            int(answer["amount"]),
            None if payer is None else account_from_text(payer),
            None if lock is None else bytes.fromhex(lock[2:]),
            bytes.fromhex(answer["purpose"][2:]),
            answer["expiresMs"],
        )
        return stated.id
    except (Malformed, ValueError, KeyError, TypeError):
        return b""  # No id is that, so the caller refuses it.


async def _proven(node: NodeClient, invoice_id: bytes) -> Json:
    """Return what a node shows of an invoice, if its id is made of that. Raises `Rejected`."""
    answer: Json = await node.call("payment_getInvoice", {"invoice": f"0x{invoice_id.hex()}"})
    if stated_id(answer) != invoice_id:
        raise Rejected(
            "The node shows another invoice than that id stands for.",
            NOTHING,
            "ask another node: --rpc URL",
            code=Code.POLICY_REJECTED,
        )
    return answer


def pay(session: Session, invoice_id: str, travel_hash: str | None, terms: Terms) -> None:
    """Pay what an id stands for."""
    asked, travel = id_of(invoice_id, "invoice"), optional_id(travel_hash, "travel hash")

    async def prepare(node: NodeClient) -> RawAction:
        answer = await _proven(node, asked)
        value = value_text(answer, await decimals_of(node, answer["asset"]))
        session.out.note(f"  {value} to {answer['payee']}")
        session.out.note(f"  for {_purpose(answer) or 'no stated purpose'}")
        return RawAction(PAY.name, [asked, int(answer["amount"]), travel])

    def told(document: Json, decimals: int) -> str:
        data = find_event(document, "payments.invoicePaid")
        if data is None:
            held = event_of(document, "payments.invoiceHeld")
            return f"the payment waits for officers.\n  Hold {held['holdId']}"
        return f"{value_text(data, decimals)} was paid for {invoice_id}."

    act(session, terms, prepare, told)


def cancel(session: Session, invoice_id: str, terms: Terms) -> None:
    """Take it back."""
    action = RawAction(CANCEL.name, [id_of(invoice_id, "invoice")])

    async def prepare(_node: NodeClient) -> RawAction:
        return action

    act(session, terms, prepare, lambda _document, _decimals: "nobody can pay it any more.")


def _purpose(answer: Json) -> str:
    if not answer["purpose"][2:]:
        return ""
    return str(answer["purpose"] if answer["purposeText"] is None else answer["purposeText"])


def show(session: Session, invoice_id: str) -> None:
    """Show one."""
    asked = id_of(invoice_id, "invoice")

    async def work(node: NodeClient) -> tuple[Json, int]:
        answer = await _proven(node, asked)
        return answer, await decimals_of(node, answer["asset"])

    answer, decimals = run_with_node(session, work)
    if session.json_mode:
        session.out.emit(answer)
        return
    redeemed = "its secret" if answer["redeemedBy"] == "preimage" else "the signature of who paid"
    rows = [
        ("Invoice", answer["invoiceId"]),
        ("State", answer["state"]),
        ("Amount", value_text(answer, decimals)),
        ("To", answer["payee"]),
        ("From", answer["payer"] or "anybody"),
        ("Purpose", _purpose(answer)),
        ("Until", answer["expires"]),
        ("Paid by", answer["paidBy"] or ""),
        ("Ended", answer["ended"] or ""),
        ("Redeemed by", redeemed),
    ]
    session.out.fields([row for row in rows if row[1]])


def listed(session: Session, account: str | None) -> None:
    """List those of an account."""
    whose = account_text(own_or_named(session, account, "clawpurse invoice list ").account)

    async def work(node: NodeClient) -> tuple[list[Json], dict[str, int]]:
        params = {"account": whose, "kind": "invoice", "limit": LISTED_MAX}
        shown: list[Json] = (await node.call("payment_listObjects", params))["objects"]
        assets = sorted({one["asset"] for one in shown})
        return shown, {asset: await decimals_of(node, asset) for asset in assets}

    shown, decimals = run_with_node(session, work)
    if session.json_mode:
        session.out.emit({"invoices": shown})
        return
    rows = [
        (
            one["invoiceId"],
            value_text(one, decimals[one["asset"]]),
            one["state"],
            "payee" if one["payee"] == whose else "payer",
            _purpose(one),
            one["expires"],
        )
        for one in shown
    ]
    session.out.table(("invoice", "amount>", "state", "as", "purpose", "until"), rows)


def redeem(
    session: Session,
    invoice_id: str,
    request: str,
    name: str | None,
    genesis_hash: str | None,
    passphrase_file: Path | None,
) -> None:
    """Sign for one request, as the account that paid."""
    asked, shown_for = id_of(invoice_id, "invoice"), id_of(request, "request")
    genesis = optional_id(genesis_hash, "genesis hash")
    if genesis is None:

        async def work(node: NodeClient) -> bytes:
            return (await node.terms()).genesis_hash

        genesis = run_with_node(session, work)
    key_name = name or own_key(session, "add --from ")
    question = f"  Passphrase for {key_name}: "
    passphrase = prompts.passphrase(session.out, passphrase_file, question)
    key = session.keystore.unlock(key_name, passphrase).signer
    signature = key.sign(redemption_bytes(genesis, asked, shown_for))
    document = {
        "invoice": f"0x{asked.hex()}",
        "request": f"0x{shown_for.hex()}",
        "account": account_text(key.account),
        "publicKey": f"0x{key.public_key.hex()}",
        "signature": f"0x{signature.hex()}",
    }
    if session.json_mode:
        session.out.emit(document)
    else:
        session.out.line(document["signature"])
