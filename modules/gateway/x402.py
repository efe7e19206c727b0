"""x402, version 2: the shapes of its headers and of a facilitator's answers. Pure.

Everything travels as JSON in base64 (RFC 4648 §4) in a header. Amounts are strings of minor units,
networks CAIP-2. Scheme `exact` on this ledger: the payload is a signed transaction that does
nothing but pay `amount` of `asset` to `payTo` under the memo of `extra`; whoever has it can have it
taken by the ledger, once, and can change nothing of it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Final

from clawpurse.ledger.errors import Malformed

VERSION: Final = 2
SCHEME: Final = "exact"
REQUIRED: Final = b"PAYMENT-REQUIRED"
SIGNATURE: Final = b"payment-signature"
RESPONSE: Final = b"PAYMENT-RESPONSE"
HEADER_BYTES_MAX: Final = 12 * 1024
"""A payment with its transaction has some 2 KB."""

_NAMED: Final = ("scheme", "network", "amount", "asset", "payTo")


def requirement(
    network: str, asset: str, amount: int, pay_to: str, timeout_s: int, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Return one way to pay (PaymentRequirements, §5.1)."""
    return {
        "scheme": SCHEME,
        "network": network,
        "amount": str(amount),
        "asset": asset,
        "payTo": pay_to,
        "maxTimeoutSeconds": timeout_s,
        "extra": dict(extra),
    }


def required(
    url: str, description: str, accepts: list[dict[str, Any]], error: str
) -> dict[str, Any]:
    """Return what a 402 says (PaymentRequired, §5.1)."""
    return {
        "x402Version": VERSION,
        "error": error,
        "resource": {"url": url, "description": description, "mimeType": ""},
        "accepts": accepts,
        "extensions": {},
    }


def settled(
    *, success: bool, network: str, transaction: str = "", payer: str = "", reason: str = ""
) -> dict[str, Any]:
    """Return what became of a payment (SettlementResponse, §5.3)."""
    found: dict[str, Any] = {"success": success, "transaction": transaction, "network": network}
    if payer:
        found["payer"] = payer
    if not success:
        found["errorReason"] = reason
    return found


def encode(value: Mapping[str, Any]) -> bytes:
    """Return an object as a header has it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return base64.b64encode(text.encode())


def decode(header: bytes) -> dict[str, Any]:
    """Read a header. Raises `Malformed`."""
    if len(header) > HEADER_BYTES_MAX:
        raise Malformed("payment", "is too long")
    try:
        found = json.loads(base64.b64decode(header, validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise Malformed("payment", "is not JSON in base64") from None
    return payload_of(found)


def payload_of(found: object) -> dict[str, Any]:
    """Check a PaymentPayload's frame (§5.2). Raises `Malformed`."""
    if not isinstance(found, dict) or found.get("x402Version") != VERSION:
        raise Malformed("payment.x402Version", f"is not {VERSION}")
    if not isinstance(found.get("accepted"), dict) or not isinstance(found.get("payload"), dict):
        raise Malformed("payment", "has no accepted and payload")
    return found


def mismatch(accepted: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Return x402's word for how what was accepted differs from what is wanted, if it does."""
    words = {"scheme": "unsupported_scheme", "network": "invalid_network"}
    for name in _NAMED:
        if accepted.get(name) != wanted.get(name):
            return words.get(name, "invalid_payment_requirements")
    extra = accepted.get("extra")
    memo = extra.get("memo") if isinstance(extra, dict) else None
    return "" if memo == wanted["extra"].get("memo") else "invalid_payment_requirements"
