"""How values look in JSON-RPC: accounts bech32m, bytes `0x…`, amounts as strings, times RFC 3339.

Parameter types parse at the edge, once; result functions turn ledger values into JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from clawpurse.ledger.address import account_from_text, account_text, authority_text
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.evidence import DoubleSign
from clawpurse.ledger.blocks import Receipt
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Code, Malformed, Refused
from clawpurse.ledger.module_api import Field as ActionField
from clawpurse.ledger.module_api import FieldType, Registry
from clawpurse.ledger.params import asset_name
from clawpurse.ledger.rules import sentence, time_text
from clawpurse.ledger.transactions import TX_BYTES_MAX, Body, Role, Transaction
from clawpurse.modules.governance.evidence import KIND_NAMES

HEX_PATTERN: Final = "^0x([0-9a-f]{2})*$"
# In the order of their numbers on the wire.
VERDICTS: Final = ("allow", "hold", "deny")
ROLE_NAMES: Final = {Role.SENDER: "sender", Role.PAYER: "payer", Role.APPROVER: "approver"}


def _refusing(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let a parser's `Malformed` be what pydantic reports."""

    def parsed(value: Any) -> Any:
        try:
            return parse(value)
        except Malformed as err:
            raise ValueError(err.problem) from None

    return parsed


def octets(value: Any) -> bytes:
    """Read `0x` hexadecimal of any length. Raises ValueError."""
    if not isinstance(value, str) or not value.startswith("0x") or len(value) % 2:
        raise ValueError("is not 0x and pairs of hexadecimal digits")
    try:
        return bytes.fromhex(value[2:])
    except ValueError:
        raise ValueError("is not 0x and pairs of hexadecimal digits") from None


def _digest(value: Any) -> bytes:
    data = octets(value)
    if len(data) != 32:
        raise ValueError(f"is {len(data)} bytes, 32 are required")
    return data


def _account(value: Any) -> bytes:
    if not isinstance(value, str):
        raise ValueError("is not a string")
    try:
        return account_from_text(value)
    except Malformed as err:
        raise ValueError(err.problem) from None


HexBytes = Annotated[
    bytes, BeforeValidator(octets), WithJsonSchema({"type": "string", "pattern": HEX_PATTERN})
]
Hash = Annotated[
    bytes,
    BeforeValidator(_digest),
    WithJsonSchema({"type": "string", "pattern": "^0x[0-9a-f]{64}$"}),
]
Account = Annotated[
    bytes,
    BeforeValidator(_account),
    WithJsonSchema({"type": "string", "pattern": "^claw1[02-9ac-hj-np-z]{58}$"}),
]
Asset = Annotated[
    str,
    BeforeValidator(_refusing(lambda value: asset_name(value, "asset"))),
    WithJsonSchema({"type": "string", "pattern": "^[A-Z][A-Z0-9.]{0,15}$"}),
]
SignedTx = Annotated[
    bytes,
    BeforeValidator(octets),
    WithJsonSchema({"type": "string", "pattern": HEX_PATTERN, "maxLength": 2 * TX_BYTES_MAX + 2}),
]
Height = Annotated[int, Field(ge=0, le=2**64 - 1)]
Limit = Annotated[int, Field(ge=1, le=500)]


def hex_of(data: bytes) -> str:
    """Return `0x` hexadecimal."""
    return "0x" + data.hex()


def text_or_none(data: bytes) -> str | None:
    """Return bytes as text if they are printable ASCII; pages and terminals show only that."""
    return data.decode("ascii") if all(0x20 <= byte < 0x7F for byte in data) else None


def parse_position(cursor: str) -> tuple[int, int]:
    """Read a cursor `height.index`. Raises `Malformed`."""
    height, separator, index = cursor.partition(".")
    if separator and height.isascii() and height.isdigit() and index.isascii() and index.isdigit():
        place = int(height), int(index)
        if place[0] < 2**64 and place[1] < 2**32:
            return place
    raise Malformed("cursor", "is not one that this API gave")


def position_text(position: tuple[int, int]) -> str:
    """Return the cursor of a place."""
    return f"{position[0]}.{position[1]}"


def double_sign_json(proof: DoubleSign) -> dict[str, Any]:
    """Return evidence: who signed which two things, and its bytes."""
    first, second = (
        {
            "validRound": statement.valid_round,
            "blockId": None if statement.block_id is None else hex_of(statement.block_id),
            "signature": hex_of(statement.signature),
        }
        for statement in (proof.first, proof.second)
    )
    return {
        "authority": authority_text(proof.authority),
        "publicKey": hex_of(proof.authority),
        "height": proof.height,
        "round": proof.round,
        "kind": KIND_NAMES[proof.kind],
        "first": first,
        "second": second,
        "raw": hex_of(proof.pack()),
    }


def authorities_json(authorities: AuthoritySet) -> dict[str, Any]:
    """Return a set of authorities, in the order in which bitmaps name them."""
    return {
        "hash": hex_of(authorities.hash),
        "authorities": [authority_text(key) for key in authorities],
        "raw": hex_of(authorities.pack()),
    }


def body_json(body: Body, registry: Registry) -> dict[str, Any]:
    """Return a transaction's body, actions with their fields by name."""
    return {
        "chainId": body.chain_id,
        "genesisHash": hex_of(body.genesis_hash),
        "sender": account_text(body.sender),
        "lane": body.lane,
        "sequence": body.sequence,
        "attempt": body.attempt,
        "validUntil": time_text(body.valid_until_ms),
        "validUntilMs": body.valid_until_ms,
        "heightMax": body.height_max,
        "fee": str(body.fee),
        "payer": None if body.payer is None else account_text(body.payer),
        "actions": [action_json(action.name, action.fields, registry) for action in body.actions],
        "memo": hex_of(body.memo),
        "memoText": memo_text(body.memo),
        "idempotencyKey": None if body.idempotency_key is None else hex_of(body.idempotency_key),
    }


def memo_text(memo: bytes) -> str | None:
    """Return the memo as text if it is printable UTF-8; pages and terminals show only that."""
    try:
        text = memo.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


def action_json(name: str, fields: list[Wire], registry: Registry) -> dict[str, Any]:
    """Return an action with its fields by name; as it stands where nobody knows its name."""
    action = registry.actions.get(name)
    if action is None:
        return {"name": name, "fields": None, "raw": [_plain(item) for item in fields]}
    shown = {}
    for spec, value in zip(action.fields, action.read(fields), strict=True):
        shown[spec.name] = _field_json(spec, value, registry)
    return {"name": name, "fields": shown}


def _field_json(spec: ActionField, value: Any, registry: Registry) -> Any:
    if value is None:
        return None
    match spec.type:
        case FieldType.ACCOUNT:
            return account_text(value)
        case FieldType.AMOUNT:
            return str(value)
        case FieldType.TIME:
            return time_text(value)
        case FieldType.ACTIONS:
            return [action_json(action.name, action.fields, registry) for action in value]
        case FieldType.LIST if len(spec.items) == 1:
            return [_field_json(spec.items[0], item, registry) for item in value]
        case FieldType.LIST:
            return [
                {
                    part.name: _field_json(part, one, registry)
                    for part, one in zip(spec.items, item, strict=True)
                }
                for item in value
            ]
        case _:
            return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return hex_of(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def transaction_json(transaction: Transaction, registry: Registry) -> dict[str, Any]:
    """Return a signed transaction with both ids."""
    return {
        "txId": hex_of(transaction.tx_id),
        "wtxId": hex_of(transaction.wtx_id),
        **body_json(transaction.body, registry),
        "witness": [
            {
                "role": ROLE_NAMES[Role(entry.role)],
                "account": account_text(entry.account),
                "publicKey": hex_of(entry.public_key),
                "signature": hex_of(entry.signature),
            }
            for entry in transaction.witness
        ],
        "raw": hex_of(transaction.raw),
    }


def code_label(code: int) -> str:
    """Return the name of a receipt's code; the number for one that this software lacks."""
    try:
        return Code(code).label
    except ValueError:
        return str(code)


def reason_of(
    receipt: Receipt, registry: Registry, decimals_of: Callable[[str], int | None]
) -> str | None:
    """Return the sentence of a failed receipt, None for a successful one."""
    if receipt.code == Code.OK:
        return None
    rule = registry.rules.get(receipt.rule)
    if rule is None:
        return receipt.rule
    return sentence(rule, receipt.facts, lambda asset: decimals_of(asset) or 0)


def refusal_words(
    error: Refused, registry: Registry, decimals_of: Callable[[str], int | None]
) -> str:
    """Return a refusal's sentence with amounts in units of their assets, as receipts' have."""
    rule = registry.rules.get(error.rule)
    if rule is None:
        return error.reason
    return sentence(rule, error.wire_facts, lambda asset: decimals_of(asset) or 0)


def trace_json(receipt: Receipt) -> list[dict[str, Any]]:
    """Return which rules judged a transaction, in order, and how."""
    return [
        {"rule": rule, "version": version, "verdict": VERDICTS[verdict]}
        for rule, version, verdict in receipt.trace
    ]
