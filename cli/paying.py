"""What `pay` and `refund` do: payments with particulars, and their refunds."""

from __future__ import annotations

from typing import Any, NamedTuple

from clawpurse.cli import prompts
from clawpurse.cli.acting import NOTHING, Deed, Terms, perform, run_with_node
from clawpurse.cli.failures import Rejected
from clawpurse.cli.promising import (
    account_of,
    act,
    amount_of,
    decimals_of,
    event_of,
    id_of,
    optional_id,
    parsed,
    reference_of,
    tell,
    value_text,
)
from clawpurse.cli.session import Session
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Code
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError
from clawpurse.modules.payments.pay import PAY, REFUND
from clawpurse.wallet.amounts import amount_text
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.keys import SigningKey

Json = dict[str, Any]


class Wish(NamedTuple):
    """What a person asked for, as typed."""

    to: str
    amount: str
    asset: str
    reference: str
    travel_hash: str | None
    refund_days: int
    approvers: tuple[str, ...]


def pay(session: Session, wish: Wish, terms: Terms) -> None:
    """Pay with particulars."""
    recipient = account_of(session, wish.to)
    reference = reference_of(wish.reference)
    travel_hash = optional_id(wish.travel_hash, "travel hash")
    names = sorted({session.keystore.show(name).account: name for name in wish.approvers}.items())
    keys = [(account, _unlock(session, name, terms)) for account, name in names]

    async def work(node: NodeClient) -> tuple[Json, int]:
        decimals = await decimals_of(node, wish.asset)
        fields: list[Wire] = [wish.asset, recipient, parsed(wish.amount, wish.asset, decimals)]
        pairs: list[Wire] = [[account, key.public_key] for account, key in keys]
        action = RawAction(PAY.name, [*fields, reference, travel_hash, wish.refund_days, pairs])
        deed = Deed((action,), tuple([key for _, key in keys]))
        return await perform(session, node, deed, terms), decimals

    document, decimals = run_with_node(session, work)
    data = event_of(document, "payments.payment")
    paid = value_text(data, decimals)
    said = f"{paid} was paid." if data["holdId"] is None else f"{paid} waits for officers."
    for name, label in (("paymentId", "Payment"), ("holdId", "Hold")):
        if data[name] is not None:
            said += f"\n  {label} {data[name]}"
    tell(session, document, said)


def _unlock(session: Session, name: str, terms: Terms) -> SigningKey:
    question = f"  Passphrase for {name}, who approves: "
    passphrase = prompts.passphrase(session.out, terms.passphrase_file, question)
    return session.keystore.unlock(name, passphrase).signer


def refund(session: Session, payment: str, amount: str, reference: str, terms: Terms) -> None:
    """Refund a payment by its id, or by its transaction's."""
    asked, words = id_of(payment, "payment"), reference_of(reference)

    async def prepare(node: NodeClient) -> RawAction:
        found = await _payment(node, asked)
        minor = await amount_of(node, amount, found["asset"])
        return RawAction(REFUND.name, [bytes.fromhex(found["paymentId"][2:]), minor, words])

    def told(document: Json, decimals: int) -> str:
        data = event_of(document, "payments.refunded")
        left = amount_text(int(data["left"]), decimals, data["asset"])
        how = "was refunded" if data["holdId"] is None else "waits for officers"
        return f"{value_text(data, decimals)} {how}; {left} can still be."

    act(session, terms, prepare, told)


async def _payment(node: NodeClient, asked: bytes) -> Json:
    """Return a payment by its id, or by the transaction that made it."""
    text = f"0x{asked.hex()}"
    try:
        found: Json = await node.call("payment_getRefunds", {"payment": text})
        return found
    except RpcError as err:
        if err.code != NOT_FOUND:
            raise
    ids = await _payments_of(node, text)
    if len(ids) != 1:
        what = "No payment that can be refunded has that id" if not ids else "It made several"
        raise Rejected(
            f"{what}.", NOTHING, f"clawpurse rpc tx_getReceipt txId={text}", code=Code.NOT_FOUND
        )
    made: Json = await node.call("payment_getRefunds", {"payment": ids[0]})
    return made


async def _payments_of(node: NodeClient, tx_id: str) -> list[str]:
    try:
        receipt = await node.call("tx_getReceipt", {"txId": tx_id})
    except RpcError as err:
        if err.code != NOT_FOUND:
            raise
        return []  # No transaction has that id either.
    return [
        event["data"]["paymentId"]
        for event in receipt["events"]
        if event["kind"] == "payments.payment" and event["data"]["paymentId"] is not None
    ]
