"""What `tx wait|verify|decode|submit` do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import trio

from clawpurse.cli.failures import Exit, Pending, Rejected, UsageFault
from clawpurse.cli.histories import TX_ID_DIGITS
from clawpurse.cli.outgoing import NOTHING, accept_refused, payments_in, resume_left
from clawpurse.cli.output import FAILED, OK, WARNING
from clawpurse.cli.progress import waiting
from clawpurse.cli.session import Session, shown
from clawpurse.cli.who import account_named
from clawpurse.ledger import crypto
from clawpurse.ledger.errors import Code, Malformed, OperatorError, Refused
from clawpurse.ledger.transactions import (
    Body,
    decode_body,
    decode_transaction,
)
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.builder import ChainTerms
from clawpurse.wallet.client import Fate, NodeClient
from clawpurse.wallet.counting import counted
from clawpurse.wallet.delivery import Payment
from clawpurse.wallet.describe import Line, describe_body, describe_transaction, words_for
from clawpurse.wallet.offline import FILE_BYTES_MAX, FORMAT, OfflineFile, from_text
from clawpurse.wallet.receipts import DOCUMENT_BYTES_MAX, ReceiptStore
from clawpurse.wallet.verdicts import PAYMENT, verify_document

# A signed form is an array of two parts, a body one of fourteen (docs/protocol.md).
SIGNED_FIRST_BYTE: Final = b"\x92"
_STDIN: Final = "-"
# Where a shortened id is looked for: what a person can have seen in a table lately.
_KEYS_SEARCHED_MAX: Final = 20
_HISTORY_SEARCHED: Final = 500


def wait(
    session: Session, tx_id: str | None, sender: str | None, key: str | None, timeout_s: int
) -> int:
    """Say what became of a transaction.

    Returns 0 final, 4 failed, expired or replaced, 5 pending, 1 unknown to the node.
    """
    if (tx_id is None) == (sender is None or key is None):
        raise UsageFault(
            "Name the transaction's id, or --sender and --idempotency-key.",
            "",
            "clawpurse tx wait --help",
        )
    account = None if sender is None else account_named(session, sender).account

    async def run() -> tuple[Fate, dict[str, Any] | None]:
        async with session.node() as node:
            terms = await node.terms()
            if tx_id is not None:
                whole = await _whole_id(session, node, tx_id)
                async with waiting(session.out, "waiting for finality"):
                    fate = await node.wait(whole, timeout_s * 1000)
            else:
                assert account is not None and key is not None
                fate = await node.wait_by_key(account, _hex(key, "key"), timeout_s * 1000)
            if fate.status != "final":
                return fate, None
            return fate, await node.proven_payment(fate.tx_id, terms.genesis_hash, build_registry())

    fate, document = trio.run(run)
    return _tell_fate(session, fate, document, timeout_s)


async def _whole_id(session: Session, node: NodeClient, text: str) -> bytes:
    """Return the id that `text` is, or begins: tables shorten ids, and what they show can be typed.

    Looked up among the saved receipts and the newest transactions of the own keys. Raises
    `UsageFault` when none or more than one begins so.
    """
    digits = text.removesuffix("…").removeprefix("0x").lower()
    if len(digits) >= 2 * crypto.HASH_BYTES or len(digits) < TX_ID_DIGITS:
        return _digest(text, "transaction id")
    known = set(ReceiptStore(session.client_home.receipts_directory).ids())
    keystore = session.keystore
    for name in keystore.names()[:_KEYS_SEARCHED_MAX]:
        page = await node.history(keystore.show(name).account, limit=_HISTORY_SEARCHED)
        known.update(str(entry.get("txId")) for entry in page.entries)
    found = sorted(one for one in known if one.startswith(f"0x{digits}"))
    if len(found) != 1:
        what = f"{len(found)} of your transactions begin" if found else "None of yours begins"
        raise UsageFault(
            f"{what} with 0x{digits}.", "Give the whole id.", "clawpurse wallet history"
        )
    return _digest(found[0], "transaction id")


def _tell_fate(
    session: Session, fate: Fate, document: dict[str, Any] | None, timeout_s: int
) -> int:
    shown_id = f"0x{fate.tx_id.hex()}"
    if document is not None:
        place = ReceiptStore(session.client_home.receipts_directory).save(document)
        return _tell_final(session, document, place)
    if session.json_mode:
        answer: dict[str, Any] = {"txId": shown_id or None, "status": fate.status}
        if fate.replaced_by is not None:
            answer["replacedBy"] = f"0x{fate.replaced_by.hex()}"
        session.out.emit(answer)
    out = session.out
    match fate.status:
        case "expired":
            out.line(f"{out.mark(FAILED)} Expired; it will never happen.")
            return Exit.REJECTED
        case "replaced":
            by = "" if fate.replaced_by is None else f" by 0x{fate.replaced_by.hex()}"
            out.line(f"{out.mark(FAILED)} Replaced{by}; it will never happen.")
            return Exit.REJECTED
        case "unknown":
            out.line(f"{out.mark(WARNING)} Not seen here; it may still arrive.")
            out.note(f"Next: clawpurse tx wait {shown_id} --timeout 60")
            return Exit.FAILED
    out.line(f"{out.mark(WARNING)} Pending after {timeout_s} s; may still be final. Do not resend.")
    out.note(f"Next: clawpurse tx wait {shown_id}")
    return Exit.PENDING


def _tell_final(session: Session, document: dict[str, Any], place: Path | None) -> int:
    receipt = document["receipt"]
    ok = receipt["code"] == "ok"
    if session.json_mode:
        session.out.emit(document)
        return Exit.DONE if ok else Exit.REJECTED
    out = session.out
    if ok:
        out.line(f"{out.mark(OK)} Final in block {document['height']}. Proof checked.")
    else:
        out.line(f"{out.mark(FAILED)} Failed in block {document['height']}: {receipt['reason']}")
    kept = "not saved" if place is None else shown(place)
    out.fields([("Tx", document["txId"]), ("Receipt", kept)])
    return Exit.DONE if ok else Exit.REJECTED


def verify(session: Session, file: str, genesis_hash: str) -> int:
    """Judge offline what a node proved, a payment or state; return 0 valid, 4 not."""
    trusted = _digest(genesis_hash, "genesis hash")
    data = _read(file, DOCUMENT_BYTES_MAX)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise UsageFault(
            f"{file} is not JSON.",
            "",
            "give what wallet send --json or rpc … prove=true printed",
        ) from None
    verdict = verify_document(document, trusted, build_registry())
    tx_id = None if verdict.tx_id is None else f"0x{verdict.tx_id.hex()}"
    if session.json_mode:
        about: dict[str, Any] = {"valid": verdict.valid, "kind": verdict.kind}
        if verdict.kind == PAYMENT:
            about["txId"] = tx_id
        about |= {"height": verdict.height, "reason": verdict.reason}
        session.out.emit({**about, "proved": list(verdict.proved)})
    else:
        mark = session.out.mark(OK if verdict.valid else FAILED)
        word = "Valid" if verdict.valid else "Not valid"
        session.out.line(f"{mark} {word}. {verdict.reason}")
        for line in verdict.proved if verdict.kind != PAYMENT else ():
            session.out.line(f"  {line}")
        if tx_id is not None:
            session.out.fields([("Tx", tx_id)])
    return Exit.DONE if verdict.valid else Exit.REJECTED


def decode(session: Session, source: str) -> None:
    """Show a signed transaction, or the body of one, in words."""
    data = transaction_bytes(source)
    registry, words = build_registry(), words_for({})
    signed = data[:1] == SIGNED_FIRST_BYTE
    lines: list[Line]
    if signed:
        transaction = decode_transaction(data)
        lines, tx_id = describe_transaction(transaction, registry, words), transaction.tx_id
    else:
        body = decode_body(data)
        lines, tx_id = describe_body(body, registry, words), crypto.tx_id_of(data)
    if session.json_mode:
        session.out.emit(
            {
                "txId": f"0x{tx_id.hex()}",
                "signed": signed,
                "words": [
                    {"label": line.label, "text": line.text, "warning": line.warning}
                    for line in lines
                ],
            }
        )
        return
    width = max(len(line.label) for line in lines)
    for line in lines:
        mark = f"{session.out.mark(WARNING)} " if line.warning else "  "
        session.out.line(f"{mark}{line.label:<{width}}  {line.text}")


def submit(session: Session, source: str, timeout_s: int) -> int:
    """Send a signed transaction and wait. Raises `Rejected` and `Pending` as `wallet send`."""
    data = transaction_bytes(source)
    if data[:1] != SIGNED_FIRST_BYTE:
        raise UsageFault(
            "Nobody has signed it.", "Nothing was sent.", f"clawpurse tx sign {source} --from NAME"
        )
    transaction = decode_transaction(data)

    async def run() -> tuple[Payment, Fate | None]:
        async with session.node() as node:
            body = transaction.body
            terms = await refuse_other_chain(node, body)
            payments = payments_in(session, node)
            key = body.idempotency_key or transaction.tx_id
            await resume_left(session, payments, terms, key)
            with accept_refused():
                payment = await payments.submit_signed(transaction, timeout_s * 1000)
            if payment.status in ("expired", "replaced"):
                return payment, await node.wait(transaction.tx_id, 0)
            return payment, None

    payment, fate = trio.run(run)
    if fate is not None:
        return _tell_fate(session, fate, None, timeout_s)
    if payment.document is None:
        raise Pending(
            f"Pending after {timeout_s} s; may still be final.",
            "Do not resend.",
            f"clawpurse tx wait 0x{transaction.tx_id.hex()}",
        )
    if payment.receipt_problem:
        session.out.warn(f"It is final; its receipt is not saved: {payment.receipt_problem}")
    return _tell_final(session, dict(payment.document), payment.receipt_file)


async def refuse_other_chain(node: NodeClient, body: Body) -> ChainTerms:
    """Return which network a node runs. Raises `Rejected` when the body is for another."""
    try:
        terms = await node.terms()
    except Refused as err:
        raise Rejected(err.reason, NOTHING, "add --rpc URL", code=err.code) from err
    if (body.chain_id, body.genesis_hash) == (terms.chain_id, terms.genesis_hash):
        return terms
    same_name = body.chain_id == terms.chain_id
    theirs = f"another {terms.chain_id}" if same_name else terms.chain_id
    raise Rejected(
        f"Signed for {body.chain_id}, node runs {theirs}.",
        NOTHING,
        "add --rpc URL",
        code=Code.WRONG_CHAIN,
    )


def transaction_bytes(source: str) -> bytes:
    """Return the bytes that a file, stdin or hex text holds: raw, hex, or JSON with `tx`/`raw`."""
    if source.startswith("0x"):
        return _hex(source, "transaction")
    data = _read(source, FILE_BYTES_MAX)
    text = data.strip()
    if text.startswith(b"0x"):
        return _hex(text.decode("ascii", "replace"), "transaction")
    if text.startswith(b"{"):
        try:
            document = json.loads(text)
            if document.get("format") == FORMAT:
                return _offline_bytes(from_text(text))
            return _hex(str(document.get("tx") or document["raw"]), "transaction")
        except (ValueError, KeyError):
            raise UsageFault(f"{source} has no transaction (tx or raw).", "", "") from None
    return data


def _offline_bytes(file: OfflineFile) -> bytes:
    """Return the signed form of a file of `tx build`, its body while nobody signed it."""
    return file.signed_form if file.signatures else file.body_bytes


def _read(source: str, size_max: int) -> bytes:
    try:
        if source == _STDIN:
            data = sys.stdin.buffer.read(size_max + 1)
        else:
            with open(source, "rb") as file:
                data = file.read(size_max + 1)
    except OSError as err:
        raise UsageFault(f"{source} cannot be read: {err.strerror}.", "", "check the name") from err
    if len(data) > size_max:
        raise OperatorError(f"{source} is larger than {size_max} bytes.")
    return data


def _hex(text: str, field: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise Malformed(field, "is not 0x and hex digits") from None


def _digest(text: str, field: str) -> bytes:
    octets = _hex(text, field)
    if len(octets) != crypto.HASH_BYTES:
        raise Malformed(field, f"is {counted(len(octets), 'byte')}, 32 are required")
    return octets
