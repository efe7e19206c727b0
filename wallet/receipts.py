"""Receipts: what a payment's document says, checked against its proof, and where it is kept.

The document is what `wallet send --json` prints and what is saved (0600) as `0x….json`:
`{txId, status, height, index, fee, receipt, proof}`. Everything in it before `proof` can be
worked out from `proof`, and is when it is verified: an edited height or amount is found.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from clawpurse.ledger.address import account_text
from clawpurse.ledger.blocks import Event, Receipt
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Code, Malformed, OperatorError, StorageFault
from clawpurse.ledger.module_api import Registry
from clawpurse.ledger.rules import sentence, time_text
from clawpurse.wallet.counting import counted
from clawpurse.wallet.describe import action_words, words_for
from clawpurse.wallet.durable import (
    locked,
    make_private_directory,
    read_private,
    remove_unfinished,
    replace_private,
)
from clawpurse.wallet.proofs import ProvenPayment, check_payment_proof

# A receipt with the genesis of a large consortium in its proof.
DOCUMENT_BYTES_MAX: Final = 256_000_000
# Data fields of events that are amounts: strings in JSON, because 2^53 is not enough.
_AMOUNT_NAMES: Final = ("amount", "cumulative", "deposit", "left", "returned")
VERDICTS: Final = ("allow", "hold", "deny")
# How much of an id must be given before it is looked up; EXPERIENCE shows twelve digits.
_PREFIX_CHARS_MIN: Final = 6


class ProofVerdict(NamedTuple):
    """The answer of `tx verify`. `step` names the first step that did not hold, or is empty.

    `tx_id` and `height` are None when the document did not get so far as to prove them.
    """

    valid: bool
    tx_id: bytes | None
    height: int | None
    reason: str
    step: str = ""


def code_name(code: int) -> str:
    """Return the name of a receipt's code (`ok`, `insufficientFunds`), its number if unknown."""
    try:
        return Code(code).label
    except ValueError:
        return str(code)


def reason_of(receipt: Receipt, registry: Registry, decimals: Mapping[str, int]) -> str | None:
    """Return in a sentence why a transaction failed; None when it did not."""
    if receipt.code == Code.OK:
        return None
    rule = registry.rules.get(receipt.rule)
    if rule is None:
        return f"Refused by {receipt.rule or 'a rule'} ({code_name(receipt.code)})."
    return sentence(rule, receipt.facts, lambda asset: decimals.get(asset, 0))


def receipt_json(
    receipt: Receipt,
    events: Sequence[Event],
    *,
    height: int,
    index: int | None,
    time_ms: int,
    registry: Registry,
    decimals: Mapping[str, int],
) -> dict[str, Any]:
    """Return a receipt as JSON, in the shape in which nodes answer `tx_getReceipt`."""
    return {
        "txId": _hex(receipt.tx_id),
        "height": height,
        "index": index,
        "time": time_text(time_ms),
        "code": code_name(receipt.code),
        "reason": reason_of(receipt, registry, decimals),
        "rule": receipt.rule or None,
        "fee": str(receipt.fee),
        "cost": receipt.cost,
        "events": [event_json(event, registry) for event in events],
        "trace": [
            {"rule": rule, "version": version, "verdict": VERDICTS[verdict]}
            for rule, version, verdict in receipt.trace
        ],
    }


def event_json(event: Event, registry: Registry) -> dict[str, Any]:
    """Return an event as JSON: data by the names that its module gives, else by number."""
    names = registry.events.get(event.kind, ())
    data: dict[str, Any] = {}
    for index, value in enumerate(event.data):
        name = names[index] if index < len(names) else str(index)
        data[name] = str(value) if name in _AMOUNT_NAMES else _plain(value)
    return {
        "kind": event.kind,
        "transaction": event.transaction,
        "accounts": [account_text(account) for account in event.accounts],
        "data": data,
    }


def payment_document(
    proof: Mapping[str, Any], proven: ProvenPayment, registry: Registry
) -> dict[str, Any]:
    """Return what is printed and saved of a final payment, worked out from its proof."""
    receipt = receipt_json(
        proven.receipt,
        proven.events,
        height=proven.header.height,
        index=proven.index,
        time_ms=proven.header.time_ms,
        registry=registry,
        decimals=proven.genesis.decimals,
    )
    return {
        "txId": receipt["txId"],
        "status": "final",
        "height": proven.header.height,
        "index": proven.index,
        "fee": receipt["fee"],
        "receipt": receipt,
        "proof": dict(proof),
    }


def verify_payment(document: object, genesis_hash: bytes, registry: Registry) -> ProofVerdict:
    """Judge a payment document, or a bare proof, offline against a trusted genesis hash.

    Valid means: a quorum of the authorities decided the block, the transaction is in it, it
    succeeded, and nothing that the document says beside the proof contradicts it.
    """
    proof = document.get("proof", document) if type(document) is dict else document
    try:
        proven = check_payment_proof(proof, genesis_hash)
    except Malformed as err:
        return ProofVerdict(False, None, None, f"{err.field}: {err.problem}", err.field)
    tx_id, height = proven.receipt.tx_id, proven.header.height
    if type(document) is dict and "proof" in document:
        said = payment_document(document["proof"], proven, registry)
        # A node answers a receipt with its proof in it; what it says must hold as well.
        wrong = contradiction(document, {**said["receipt"], **said})
        if wrong:
            reason = f"document: {wrong} is not what the proof proves"
            return ProofVerdict(False, tx_id, height, reason, "document")
    failure = _failure(proven, registry)
    if failure:
        reason = f"outcome: it is final in block {height}, but {failure}"
        return ProofVerdict(False, tx_id, height, reason, "outcome")
    return ProofVerdict(True, tx_id, height, _praise(proven, registry))


def _failure(proven: ProvenPayment, registry: Registry) -> str:
    """Return why a proven transaction did not pay, or an empty text."""
    if proven.receipt.code != Code.OK:
        return f"failed: {reason_of(proven.receipt, registry, proven.genesis.decimals)}"
    if any(event.kind == "kernel.held" for event in proven.events):
        return "a rule held the payment."
    return ""


def _praise(proven: ProvenPayment, registry: Registry) -> str:
    words = words_for(proven.genesis.decimals)
    done = [
        action_words(action, registry, words) or f"Did {action.name}."
        for action in proven.body.actions
    ]
    signed = f"{proven.signers} of {counted(proven.authorities, 'authority')} signed"
    return f"{' '.join(done)} Final in block {proven.header.height}, {signed}."


def contradiction(
    claimed: Mapping[str, Any], proven: Mapping[str, Any], path: str = "", *, whole: bool = False
) -> str:
    """Return the name of the first claimed member that differs from what is proven, or nothing.

    Members that we do not know may come from a later version; the sentence of a failure is
    wording, not fact. `whole`: what is proven must all be claimed.
    """
    for name, expected in proven.items():
        place = f"{path}.{name}" if path else name
        if name in ("proof", "reason") and not whole:
            continue
        if name not in claimed:
            if whole:
                return place
            continue
        value = claimed[name]
        if type(expected) is dict and type(value) is dict:
            deeper = contradiction(value, expected, place, whole=whole)
            if deeper:
                return deeper
        elif not _same(value, expected):
            return place
    return ""


def _same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are the same; 1, 1.0 and true are not."""
    if type(one) is not type(other):
        return False
    if type(one) is list:
        return len(one) == len(other) and all(map(_same, one, other))
    if type(one) is dict:
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return bool(one == other)


class ReceiptStore:
    """The saved receipts of one user: one 0600 file a payment, named by its transaction id."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def save(self, document: Mapping[str, Any]) -> Path:
        """Save a payment document durably and return its file. Saving again replaces it."""
        file = self._file(document["txId"])
        make_private_directory(self.directory)
        with locked(self.directory / ".lock", "The receipts are in use by another clawpurse."):
            remove_unfinished(file)
            replace_private(file, json.dumps(document, indent=2).encode() + b"\n")
        return file

    def ids(self) -> list[str]:
        """Return the transaction ids of all saved receipts, sorted."""
        if not self.directory.is_dir():
            return []
        names = [entry.name.removesuffix(".json") for entry in self.directory.glob("0x*.json")]
        return sorted(name for name in names if _is_id(name))

    def load(self, tx_id: str) -> dict[str, Any]:
        """Return the document of a transaction, given its id or the start of it.

        Raises `OperatorError` when there is none or more than one such, `StorageFault` when its
        file is damaged.
        """
        if not _is_id(tx_id):
            if not tx_id.startswith("0x") or len(tx_id) < 2 + _PREFIX_CHARS_MIN:
                raise Malformed("txId", f"is not 0x and at least {_PREFIX_CHARS_MIN} hex digits")
            found = [known for known in self.ids() if known.startswith(tx_id.lower())]
            if len(found) > 1:
                raise OperatorError(
                    f"{len(found)} receipts start with {tx_id}.", "Give more of it."
                )
            tx_id = found[0] if found else tx_id
        file = self.directory / f"{tx_id}.json"
        try:
            document = json.loads(read_private(file, DOCUMENT_BYTES_MAX))
        except FileNotFoundError:
            raise OperatorError(
                f"No receipt of {tx_id} is saved here.", "", f"clawpurse tx wait {tx_id}"
            ) from None
        except (ValueError, RecursionError) as err:
            raise StorageFault(f"The receipt {file} is damaged.", "", "fetch it again") from err
        if type(document) is not dict or document.get("txId") != tx_id:
            raise StorageFault(f"The receipt {file} is damaged.", "", "fetch it again")
        return document

    def _file(self, tx_id: object) -> Path:
        if type(tx_id) is not str or not _is_id(tx_id):
            raise Malformed("txId", "is not 0x and 64 lower-case hex digits")
        return self.directory / f"{tx_id}.json"


def _is_id(text: str) -> bool:
    digits = text.removeprefix("0x")
    return len(text) == 66 and len(digits) == 64 and set(digits) <= set("0123456789abcdef")


def _plain(value: Wire) -> Any:
    if isinstance(value, bytes):
        return _hex(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _hex(octets: bytes) -> str:
    return "0x" + octets.hex()
