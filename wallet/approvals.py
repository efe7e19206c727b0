"""A co-signer's word as a file: lift a limit for these payments, or make this change, once.

    {"format": "clawpurse-approval", "version": 1, "key": "0x…", "id": "0x…", "expiresAt": "…",
     "what": "payment", "subject": {…}, "cosigner": "0x…", "signature": "0x…"}

Without its last two members it is the request that the co-signer reads. What is signed is a tag
and the hash of all the rest, so that a word is good for one key, one subject, one use (by its
id, in the log of overrides) and a limited time. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.params import DAY_MS, DECIMALS_MAX, asset_name
from clawpurse.wallet.amounts import amount_text
from clawpurse.wallet.guardrail_json import canonical, members, octets, parsed
from clawpurse.wallet.guardrails import RECIPIENTS_MAX, Paying
from clawpurse.wallet.keys import SigningKey

Json = dict[str, Any]
FORMAT: Final = "clawpurse-approval"
VERSION: Final = 1
ID_BYTES: Final = 16
# Long enough for somebody who is asked on Friday, short enough that no word lies about.
VALID_MS: Final = 3 * DAY_MS
# A policy with all recipients, written out in a change.
FILE_BYTES_MAX: Final = RECIPIENTS_MAX * 2_048
PAYMENT, CHANGE = "payment", "change"
_TAG: Final = b"clawpurse/approv".ljust(16, b"\0")
_FIELDS: Final = ("format", "version", "key", "id", "expiresMs", "what", "subject")
_SIGNED: Final = (*_FIELDS, "cosigner", "signature")
_PAYMENT: Final = ("account", "recipient", "asset", "amount", "memo")


@dataclass(frozen=True)
class Approval:
    """A request (`signature` empty) or a co-signer's word. `key` is whose limits it is about.

    `subject` is what `payments_subject` or `change_subject` gave.
    """

    key: bytes
    approval_id: bytes
    expires_ms: int
    what: str
    subject: Json
    cosigner: bytes = b""
    signature: bytes = b""

    @property
    def message(self) -> bytes:
        """The bytes that a co-signer signs."""
        return _TAG + crypto.message_hash_of(canonical(self._request()))

    @property
    def valid(self) -> bool:
        """Whether `cosigner` signed it; whether that is somebody's business is judged apart."""
        if not self.signature:
            return False
        return crypto.verify(self.cosigner, self.message, self.signature)

    def signed_by(self, signer: SigningKey) -> Approval:
        """Return it with a co-signer's word."""
        return replace(self, cosigner=signer.public_key, signature=signer.sign(self.message))

    def encode(self) -> bytes:
        """Return the bytes of the file."""
        document = self._request()
        if self.signature:
            document["cosigner"] = f"0x{self.cosigner.hex()}"
            document["signature"] = f"0x{self.signature.hex()}"
        return canonical(document) + b"\n"

    def _request(self) -> Json:
        values = (
            FORMAT,
            VERSION,
            f"0x{self.key.hex()}",
            f"0x{self.approval_id.hex()}",
            self.expires_ms,
            self.what,
            self.subject,
        )
        return dict(zip(_FIELDS, values, strict=True))


def decode(data: bytes) -> Approval:
    """Read a request or an approval strictly. Raises `Malformed` naming the field."""
    if len(data) > FILE_BYTES_MAX:
        raise Malformed("approval", f"is larger than {FILE_BYTES_MAX} bytes")
    value = parsed(data, "approval")
    signed = type(value) is dict and "signature" in value
    top = members(value, "approval", _SIGNED if signed else _FIELDS)
    if top["format"] != FORMAT:
        raise Malformed("approval.format", f"is not {FORMAT}")
    codec.version(top["version"], "approval.version", (VERSION,))
    if top["what"] not in (PAYMENT, CHANGE) or type(top["subject"]) is not dict:
        raise Malformed("approval.what", "is neither a payment nor a change")
    return Approval(
        octets(top["key"], "approval.key", crypto.KEY_BYTES),
        octets(top["id"], "approval.id", ID_BYTES),
        codec.integer(top["expiresMs"], "approval.expiresMs"),
        top["what"],
        top["subject"],
        octets(top["cosigner"], "approval.cosigner", crypto.KEY_BYTES) if signed else b"",
        octets(top["signature"], "approval.signature", 64) if signed else b"",
    )


def payments_subject(payments: list[Paying], decimals: dict[str, int]) -> Json:
    """Return what is paid as the object that is approved and logged. Fees are not part of it.

    `decimals` is for those who read it: amounts are minor units.
    """
    return {
        "payments": [
            {
                "account": account_text(one.account),
                "recipient": account_text(one.recipient),
                "asset": one.asset,
                "amount": str(one.amount),
                "memo": one.memo,
            }
            for one in payments
        ],
        "decimals": {one.asset: decimals.get(one.asset, 0) for one in payments},
    }


def change_subject(before: bytes, after: Json, weaker: tuple[str, ...]) -> Json:
    """Return a change as the object that is approved: from the policy hashed so to `after`."""
    return {"from": f"0x{before.hex()}", "policy": after, "weaker": list(weaker)}


def subject_words(approval: Approval) -> list[str]:
    """Return what a co-signer is asked to agree to, a line each. Raises `Malformed`."""
    if approval.what == CHANGE:
        top = members(approval.subject, "approval.subject", ("from", "policy", "weaker"))
        return [str(line) for line in top["weaker"]]
    top = members(approval.subject, "approval.subject", ("payments", "decimals"))
    lines = []
    for item in top["payments"]:
        one = members(item, "approval.subject.payments[]", _PAYMENT)
        asset = asset_name(one["asset"], "approval.subject.asset")
        decimals = codec.integer(top["decimals"].get(asset), "decimals", 0, DECIMALS_MAX)
        if not (type(one["amount"]) is str and one["amount"].isdecimal()):
            raise Malformed("approval.subject.amount", "is not minor units in digits")
        account_from_text(one["account"]), account_from_text(one["recipient"])
        memo = f", memo “{one['memo']}”" if one["memo"] else ""
        amount = amount_text(int(one["amount"]), decimals, asset)
        lines.append(f"{amount} from {one['account']} to {one['recipient']}{memo}")
    return lines
