"""Vouchers in a wallet: made by a payer, kept and checked by a payee, without a node.

A voucher is one JSON object, so that it travels in a header, a file or a line of a log:

    {"version": 1, "genesisHash": "0x…", "channel": "0x…", "asset": "CLAW", "payee": "claw1…",
     "amount": "1250", "key": "0x…", "signature": "0x…"}

Whoever takes vouchers compares the newest one with what the channel holds (`payment_getChannel`)
and with the key that it names there: that a voucher verifies says only that its own key signed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.errors import BadSignature, Malformed
from clawpurse.ledger.vouchers import Terms, verify, voucher_bytes
from clawpurse.wallet.keys import SigningKey

VERSION: Final = 1
# A voucher's text is about 520 characters; more is something else.
TEXT_MAX: Final = 4_096
_FIELDS: Final = (
    "version",
    "genesisHash",
    "channel",
    "asset",
    "payee",
    "amount",
    "key",
    "signature",
)


class Voucher(NamedTuple):
    """A promise to pay `amount` minor units in all over a channel, signed by `key`."""

    terms: Terms
    amount: int
    key: bytes
    signature: bytes

    @property
    def valid(self) -> bool:
        """Whether its own key signed it."""
        return verify(self.key, self.terms, self.amount, self.signature)

    def as_json(self) -> dict[str, Any]:
        """Return the object of the module's docstring."""
        values = (
            VERSION,
            f"0x{self.terms.genesis_hash.hex()}",
            f"0x{self.terms.channel_id.hex()}",
            self.terms.asset,
            account_text(self.terms.payee),
            str(self.amount),
            f"0x{self.key.hex()}",
            f"0x{self.signature.hex()}",
        )
        return dict(zip(_FIELDS, values, strict=True))

    def as_text(self) -> str:
        """Return the object on one line."""
        return json.dumps(self.as_json())


def make(key: SigningKey, terms: Terms, amount: int) -> Voucher:
    """Sign a voucher over `amount` minor units in all, from 1. Raises `Malformed`."""
    signature = key.sign(voucher_bytes(terms, amount))
    return Voucher(terms, amount, key.public_key, signature)


def make_many(key: SigningKey, terms: Terms, amounts: Iterable[int]) -> Iterator[Voucher]:
    """Sign a voucher for each cumulative amount; some ten thousand a second. Raises `Malformed`."""
    for amount in amounts:
        yield make(key, terms, amount)


def read(text: str) -> Voucher:
    """Read a voucher's text. Raises `Malformed` naming the field, `BadSignature`."""
    if len(text) > TEXT_MAX:
        raise Malformed("voucher", f"has {len(text)} characters, at most {TEXT_MAX} are allowed")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise Malformed("voucher", "is not JSON") from None
    if type(found) is not dict or tuple(sorted(found)) != tuple(sorted(_FIELDS)):
        raise Malformed("voucher", f"does not have exactly the fields {', '.join(_FIELDS)}")
    codec.version(found["version"], "voucher.version", (VERSION,))
    voucher = Voucher(
        Terms(
            _octets(found, "genesisHash", crypto.HASH_BYTES),
            _octets(found, "channel", crypto.HASH_BYTES),
            codec.ascii_text(found["asset"], "voucher.asset", 16),
            account_from_text(_text(found, "payee")),
        ),
        _amount(_text(found, "amount")),
        _octets(found, "key", crypto.KEY_BYTES),
        _octets(found, "signature", crypto.SIGNATURE_BYTES),
    )
    if not voucher.valid:
        raise BadSignature("the voucher's key did not sign it")
    return voucher


def newest(vouchers: Iterable[Voucher], terms: Terms, key: bytes) -> Voucher | None:
    """Return the voucher of a channel that promises most, None if none of them is one.

    Those of other channels, and those that `key` did not sign, are passed over; only as many
    signatures are checked as it takes to find one that holds.
    """
    mine = [one for one in vouchers if one.terms == terms and one.key == key]
    for voucher in sorted(mine, key=lambda one: one.amount, reverse=True):
        if voucher.valid:
            return voucher
    return None


def _text(found: dict[str, Any], name: str) -> str:
    value = found[name]
    if type(value) is not str:
        raise Malformed(f"voucher.{name}", "is not a string")
    return value


def _octets(found: dict[str, Any], name: str, size: int) -> bytes:
    text = _text(found, name)
    try:
        data = bytes.fromhex(text[2:]) if text.startswith("0x") else b""
    except ValueError:
        data = b""
    if len(data) != size or text != f"0x{data.hex()}":
        raise Malformed(f"voucher.{name}", f"is not 0x and {2 * size} hexadecimal digits")
    return data


def _amount(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20) or text.startswith("0"):
        raise Malformed("voucher.amount", "is not a number of minor units, from 1")
    return codec.integer(int(text), "voucher.amount", 1)
