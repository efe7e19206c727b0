"""A transaction in words, every field of it: what a person reads before signing.

Nothing is left out and nothing from the outside is printed raw: a memo or an unknown action
comes escaped, so that no control character redraws the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from clawpurse.ledger import crypto
from clawpurse.ledger.address import account_text
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Malformed, Refused
from clawpurse.ledger.module_api import Field, FieldType, Registry, Words
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import Body, RawAction, Role, Transaction, signing_hash
from clawpurse.wallet.amounts import amount_text

_ROLE_WORDS = {Role.SENDER: "the sender", Role.PAYER: "the fee payer", Role.APPROVER: "approver"}


class Line(NamedTuple):
    """One line of a description. `warning` marks what a person should not overlook."""

    label: str
    text: str
    warning: bool = False


def words_for(
    decimals: Mapping[str, int], label_of: Callable[[bytes], str | None] = lambda account: None
) -> Words:
    """Return how sentences show accounts and amounts.

    `decimals` by asset; an asset that is not in it is shown in minor units. `label_of` gives a
    name for an account; the whole address is always shown beside it.
    """

    def account(value: bytes) -> str:
        label = label_of(value)
        return account_text(value) if label is None else f"{label} ({account_text(value)})"

    def amount(asset: str, minor: int) -> str:
        known = decimals.get(asset)
        if known is None:
            return f"{minor:,} minor units of {asset}"
        return amount_text(minor, known, asset)

    return Words(account, amount)


def describe_body(body: Body, registry: Registry, words: Words) -> list[Line]:
    """Return every field of a body in words, in the order in which a person needs them."""
    tx_id = crypto.tx_id_of(body.pack())
    lines = [
        Line("Network", f"{body.chain_id}, genesis 0x{body.genesis_hash.hex()}"),
        Line("From", words.account(body.sender)),
    ]
    count = len(body.actions)
    for number, action in enumerate(body.actions, 1):
        label = "Action" if count == 1 else f"Action {number} of {count}"
        lines.append(_action_line(label, action, registry, words))
    lines.append(Line("Fee", _fee_words(body, words)))
    lines.append(Line("Memo", memo_words(body.memo)))
    lines.append(Line("Place", f"lane {body.lane}, sequence {body.sequence}"))
    replaces = "replaces attempts before it" if body.attempt else "the first"
    lines.append(Line("Attempt", f"{body.attempt}, {replaces}"))
    lines.append(Line("Valid until", time_text(body.valid_until_ms)))
    height = "no bound" if body.height_max is None else f"block {body.height_max}"
    lines.append(Line("Height bound", height))
    key = body.idempotency_key
    once = "none: sent twice, it may happen twice" if key is None else f"0x{key.hex()}"
    lines.append(Line("Idempotency", once, warning=key is None))
    lines.append(Line("Transaction", f"0x{tx_id.hex()}"))
    return lines


def describe_transaction(transaction: Transaction, registry: Registry, words: Words) -> list[Line]:
    """Return the body in words and each signature with who gave it, in which role, if valid.

    Whether a key is entitled to sign for its account is state, which only a node can tell.
    """
    lines = describe_body(transaction.body, registry, words)
    for entry in transaction.witness:
        role = Role(entry.role)
        message = signing_hash(
            transaction.body.genesis_hash, role, entry.account, transaction.body_bytes
        )
        valid = crypto.verify(entry.public_key, message, entry.signature)
        verdict = "valid" if valid else "NOT VALID"
        text = (
            f"{verdict}, by key 0x{entry.public_key.hex()} as {_ROLE_WORDS[role]}"
            f" for {words.account(entry.account)}"
        )
        lines.append(Line("Signature", text, warning=not valid))
    if not transaction.witness:
        lines.append(Line("Signature", "none yet", warning=True))
    lines.append(Line("Signed form", f"0x{transaction.wtx_id.hex()}, {len(transaction.raw)} bytes"))
    return lines


def action_words(action: RawAction, registry: Registry, words: Words) -> str | None:
    """Return what an action does in a sentence, None when this software does not know it.

    Actions within it are said too, so that nobody proposes what they did not read.
    """
    try:
        kind, values = registry.read_action(action)
    except (Malformed, Refused):
        return None
    said = kind.words(kind.named(values), words)
    for spec, value in zip(kind.fields, values, strict=True):
        if spec.type is FieldType.ACTIONS:
            said = " ".join([said, *(_inner_words(one, registry, words) for one in value)])
    return said


def _inner_words(action: RawAction, registry: Registry, words: Words) -> str:
    known = action_words(action, registry, words)
    return f"NOT UNDERSTOOD, do not sign: {printable(action.name)}." if known is None else known


def assets_named(actions: Sequence[RawAction], registry: Registry) -> list[str]:
    """Return the assets that actions name, ascending, for whose decimals a caller asks.

    Actions within actions too; what this software does not know names none.
    """
    found: list[str] = []
    for action in actions:
        try:
            kind, values = registry.read_action(action)
        except (Malformed, Refused):
            continue
        for spec, value in zip(kind.fields, values, strict=True):
            _collect(spec, value, registry, found)
    return sorted({*found})


def _collect(spec: Field, value: Any, registry: Registry, found: list[str]) -> None:
    if value is None:
        return
    if spec.type is FieldType.ASSET:
        found.append(value)
    elif spec.type is FieldType.ACTIONS:
        found.extend(assets_named(value, registry))
    elif spec.type is FieldType.LIST:
        for item in value:
            parts = (item,) if len(spec.items) == 1 else item
            for part, one in zip(spec.items, parts, strict=True):
                _collect(part, one, registry, found)


def printable(text: str) -> str:
    """Return `text` with everything that does not print escaped, for terminals and pages."""
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _action_line(label: str, action: RawAction, registry: Registry, words: Words) -> Line:
    known = action_words(action, registry, words)
    if known is not None:
        return Line(label, known)
    fields = ", ".join(_field_words(item) for item in action.fields)
    return Line(label, f"NOT UNDERSTOOD, do not sign: {action.name}({fields})", warning=True)


def _field_words(value: Wire) -> str:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, list):
        return "[" + ", ".join(_field_words(item) for item in value) + "]"
    return printable(repr(value))


def _fee_words(body: Body, words: Words) -> str:
    who = "the sender" if body.payer is None else words.account(body.payer)
    return f"{words.amount(NATIVE_ASSET, body.fee)}, paid by {who}"


def memo_words(memo: bytes) -> str:
    """Return a memo as text in quotes if it is one, escaped where it does not print."""
    if not memo:
        return "none"
    try:
        return f"“{printable(memo.decode())}”"
    except UnicodeDecodeError:
        return f"not text: 0x{memo.hex()}"
