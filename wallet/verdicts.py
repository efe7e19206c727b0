"""Is it proven? One judgement over everything that a node answers when asked to `prove`.

`verify_document` takes the answer as it came (or the bundle in it alone) and a genesis hash, and
needs nothing else: no node, no clock, no file. Each is judged twice: the bundle by hashes and
signatures (`proofs.py`, `state_proofs.py`), then what the answer says beside it, which is worked
out again from the bundle and must be the same.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.kernel.records import RECORD_VERSION, account_key, balance_key
from clawpurse.ledger.module_api import KERNEL, Registry
from clawpurse.ledger.rules import time_text
from clawpurse.modules.assets.records import RECORD_VERSION as ASSETS_VERSION
from clawpurse.modules.assets.records import TREE as ASSETS
from clawpurse.modules.assets.records import get_asset
from clawpurse.wallet.amounts import amount_text
from clawpurse.wallet.counting import counted
from clawpurse.wallet.proof_steps import hexed
from clawpurse.wallet.receipts import contradiction, verify_payment
from clawpurse.wallet.state_documents import (
    account_document,
    balance_rows,
    balances_document,
    certificate_json,
    genesis_rows,
    header_json,
    statement_document,
)
from clawpurse.wallet.state_proofs import (
    ACCOUNT,
    BALANCES,
    STATE,
    STATE_VALUE_BYTES_MAX,
    STATEMENT,
    ProvenState,
    StateAfter,
    check_state_proof,
)

PAYMENT: Final = "payment"
# Values are bytes of records; who wants longer ones reads them in the document.
_SHOWN_BYTES_MAX: Final = 64
_ACCOUNT_BYTES: Final = 32
# Version and number of values of the records that answers are made of, by tree and first letter.
_FORMATS: Final = {
    (KERNEL, account_key(b"")): (RECORD_VERSION, 11),
    (KERNEL, balance_key(b"", "")): (RECORD_VERSION, 4),
    (ASSETS, b"a"): (ASSETS_VERSION, 9),
}
Json = dict[str, Any]


class Verdict(NamedTuple):
    """Whether a document is proven. `proved` says in sentences what is, when it is.

    `kind` is `payment` or one of `state_proofs.KINDS`, None where a document is of none. `height`
    (of the newest block) and `tx_id` (of payments) are None when they were not proven. `step`
    names the first step that did not hold, or is empty.
    """

    valid: bool
    kind: str | None
    height: int | None
    reason: str
    proved: tuple[str, ...] = ()
    tx_id: bytes | None = None
    step: str = ""


def verify_document(document: object, genesis_hash: bytes, registry: Registry) -> Verdict:
    """Judge offline what a node answered with `prove`, or a bundle alone, whatever it is of.

    `document` is parsed JSON: an answer of tx_getReceipt, account_get, account_getBalances,
    account_getStatement or chain_getProof with `prove`, or what `wallet send --json` printed.
    Never raises on input of any shape. Of a statement the balances are proven and not the
    entries; of an account the network's terms (`quota.max`, `quota.windowMs`) are not.
    """
    outside = document if type(document) is dict else {}
    name = next((one for one in ("bundle", "proof") if one in outside), "")
    bundle = outside[name] if name else document
    if type(bundle) is str:
        reason = "proof: stands here without what it rests on; ask with prove for a bundle"
        return Verdict(False, STATE, None, reason, step="proof")
    if type(bundle) is dict and "kind" in bundle:
        return _judge_state(document if name else None, bundle, genesis_hash)
    paid = verify_payment(document, genesis_hash, registry)
    proved = (paid.reason,) if paid.valid else ()
    return Verdict(paid.valid, PAYMENT, paid.height, paid.reason, proved, paid.tx_id, paid.step)


def _judge_state(document: Any, bundle: Json, genesis_hash: bytes) -> Verdict:
    kind, height = None, None
    try:
        proven = check_state_proof(bundle, genesis_hash)
        kind, height = proven.kind, proven.last.header.height
        _check_formats(proven)
        said = _document_of(proven, bundle)
    except Malformed as err:
        return Verdict(False, kind, height, f"{err.field}: {err.problem}", step=err.field)
    if document is not None:
        wrong = contradiction(document, said, whole=True)
        if wrong:
            reason = f"document: {wrong} is not what the proof proves"
            return Verdict(False, kind, height, reason, step="document")
    last = proven.last
    reason = (
        f"{_SUBJECTS[kind].format(_account_text(proven))} after block {height} "
        f"({time_text(last.header.time_ms)}), {last.signers} of "
        f"{counted(last.authorities, 'authority')} signed."
    )
    return Verdict(True, kind, height, reason, tuple(_sentences(proven, said)))


_SUBJECTS: Final = {
    STATE: "A value of the state",
    ACCOUNT: "The account {}",
    BALANCES: "Balances of {}",
    STATEMENT: "Opening and closing balances of {}",
}


def _account_text(proven: ProvenState) -> str:
    return account_text(proven.account) if proven.account else ""


def _check_formats(proven: ProvenState) -> None:
    """Refuse records that later software wrote: they would be read as something else."""
    if proven.kind == STATE:
        return
    for block in proven.blocks:
        for (module, key), value in block.values.items():
            if value is None:
                continue
            version, length = _FORMATS[module, key[:1]]
            wire = codec.unpack(value, size_max=STATE_VALUE_BYTES_MAX)
            if type(wire) is not list or len(wire) != length or wire[0] != version:
                problem = f"{module} 0x{key.hex()} is of a format that this software does not know"
                raise Malformed("values", problem)


# -- what a node answers


def _document_of(proven: ProvenState, bundle: Json) -> Json:
    """Return what an honest answer says beside this bundle."""
    last, account = proven.last, proven.account
    height = last.header.height
    if proven.kind == STATE:
        given = bundle["blocks"][0]
        certificate = bytes.fromhex(given["certificate"][2:])
        return {
            **given["values"][0],
            "header": header_json(last.header),
            "certificate": certificate_json(certificate),
        }
    if proven.kind == ACCOUNT:
        shown = account_document(last, account, height)
        assert shown is not None
        return shown
    closing = _rows(proven, last)
    if proven.kind == BALANCES:
        return balances_document(account, closing, height)
    if len(proven.blocks) == 1:
        return statement_document(
            account, (1, height), genesis_rows(proven.genesis, account), closing
        )
    first = proven.blocks[0]
    heights = (first.header.height + 1, height)
    return statement_document(account, heights, _rows(proven, first), closing)


def _rows(proven: ProvenState, block: StateAfter) -> list[Json]:
    found = [get_asset(block, name) for name in proven.assets]
    return balance_rows(block, proven.account, [asset for asset in found if asset is not None])


# -- what that means


def _sentences(proven: ProvenState, said: Json) -> list[str]:
    height = proven.last.header.height
    match proven.kind:
        case "state":
            ((place, value),) = proven.last.values.items()
            return [_value_words(place.module, place.key, value, height)]
        case "account":
            return _account_words(said, height)
        case "balances":
            return [_balance_words(row, height) for row in said["balances"]]
    lines = [_line_words(row, said["fromHeight"], height) for row in said["balances"]]
    return [*lines, "The entries are not proven here; tx_getReceipt with prove proves each."]


def _value_words(module: str, key: bytes, value: bytes | None, height: int) -> str:
    if module == KERNEL and key[:1] == account_key(b"") and len(key) == 1 + _ACCOUNT_BYTES:
        if value is None:
            return f"After block {height} there was no account {account_text(key[1:])}."
        return f"After block {height} the account {account_text(key[1:])} was {_shown(value)}."
    if value is None:
        return f"After block {height} nothing stood in {module} under {hexed(key)}."
    return f"After block {height} in {module} under {hexed(key)} stood {_shown(value)}."


def _shown(value: bytes) -> str:
    if len(value) <= _SHOWN_BYTES_MAX:
        return hexed(value)
    return f"{hexed(value[:_SHOWN_BYTES_MAX])}… ({len(value)} bytes)"


def _account_words(said: Json, height: int) -> list[str]:
    signer = "several signers" if said["multisig"] else said["key"] or "nobody"
    lanes = ", ".join(f"lane {one['lane']}: {one['nextSequence']}" for one in said["lanes"])
    return [
        f"After block {height} the account {said['account']} was open; who signs for it: {signer}.",
        f"Next sequences: {lanes or 'none was used'}.",
        f"Scheduled {said['scheduled']}, idempotency keys {said['idempotencyKeys']}, takes "
        f"payments from {'those whom it named' if said['depositAuth'] else 'anybody'}.",
    ]


def _balance_words(row: Json, height: int) -> str:
    has = amount_text(int(row["amount"]), row["decimals"], row["asset"])
    held = amount_text(int(row["held"]), row["decimals"], row["asset"])
    return f"After block {height}: {has}, and {held} held."


def _line_words(row: Json, first: int, last: int) -> str:
    decimals, asset = row["decimals"], row["asset"]
    opening, closing = (
        amount_text(int(row[name]), decimals, asset) for name in ("opening", "closing")
    )
    return f"Before block {first}: {opening}; after block {last}: {closing}."
