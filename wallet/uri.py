"""Requests for a payment as a URI: `clawpurse:claw1…?asset=CLAW&amount=12.5&memo=lunch`.

    uri       = scheme ":" account [ "?" parameter *( "&" parameter ) ]
    scheme    = "clawpurse"                     in any case
    account   = claw1…                          all lower or all upper case (BIP-350)
    parameter = "asset=" name | "amount=" amount | "memo=" text | "network=" chain-id
    amount    = 1*digit [ "." 1*digit ]         in whole units of the asset, above zero
    text      = *( unreserved | "%" two hexadecimal digits )       UTF-8, as the ledger keeps memos

Each parameter stands once, in any order; a parameter that is not listed is refused and never
passed over: it may change what is meant. Whoever made the text is a stranger, so nothing in it
is trusted: a wallet shows what it would pay and asks. Percent-encoding is RFC 3986 §2.1.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.params import NATIVE_ASSET, asset_name
from clawpurse.ledger.transactions import CHAIN_ID_CHARS_MAX
from clawpurse.wallet.amounts import TEXT_MAX, parse_amount
from clawpurse.wallet.builder import memo_bytes

SCHEME: Final = "clawpurse"
# An address, 256 bytes of memo at three characters each, and the rest with room to spare.
URI_CHARS_MAX: Final = 1_024
PARAMETERS: Final = ("asset", "amount", "memo", "network")
_AMOUNT: Final = re.compile(r"[0-9]{1,20}(\.[0-9]{1,18})?")
_TEXT: Final = re.compile(r"([A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})*")
_CHAIN_ID: Final = re.compile(rf"[a-z0-9-]{{1,{CHAIN_ID_CHARS_MAX}}}")
# What of a stranger's text an error repeats.
_QUOTED_CHARS: Final = 24


class PaymentRequest(NamedTuple):
    """What somebody would like to be paid. `amount` is plain digits with at most one point.

    None is left to the payer. `minor_units` makes the amount countable once the decimals of the
    asset are known.
    """

    account: bytes
    asset: str | None = None
    amount: str | None = None
    memo: str = ""
    network: str | None = None

    @property
    def asset_or_native(self) -> str:
        """The asset to pay with: the network's own where none is named."""
        return self.asset or NATIVE_ASSET

    def minor_units(self, decimals: int) -> int | None:
        """Return the amount in minor units, None where none is asked. Raises `Malformed`."""
        if self.amount is None:
            return None
        return parse_amount(self.amount, decimals, self.asset_or_native)


def is_payment_uri(text: str) -> bool:
    """Return whether `text` means to be such a URI, so that a command knows how to read it."""
    return text[: len(SCHEME) + 1].lower() == f"{SCHEME}:"


def parse_uri(text: str) -> PaymentRequest:
    """Read a request strictly. Raises `Malformed` (field `uri` or `uri.<parameter>`)."""
    if len(text) > URI_CHARS_MAX:
        raise Malformed("uri", f"has {len(text)} characters, at most {URI_CHARS_MAX} are allowed")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise Malformed("uri", "has characters that no URI has")
    if not is_payment_uri(text):
        raise Malformed("uri", f"does not begin with {SCHEME}:")
    path, question, query = text[len(SCHEME) + 1 :].partition("?")
    try:
        account = account_from_text(path)
    except Malformed as err:
        raise Malformed("uri.account", err.problem) from err
    if question and not query:
        raise Malformed("uri", "ends with its question mark")
    found: dict[str, str] = {}
    for part in query.split("&") if question else ():
        name, equals, value = part.partition("=")
        if name not in PARAMETERS:
            known = ", ".join(PARAMETERS)
            raise Malformed("uri", f"asks for {name[:_QUOTED_CHARS]!r}, which is none of {known}")
        if not equals or not value:
            raise Malformed(f"uri.{name}", "is empty; leave it out")
        if name in found:
            raise Malformed(f"uri.{name}", "stands there twice")
        found[name] = value
    return _checked(
        PaymentRequest(
            account,
            found.get("asset"),
            found.get("amount"),
            _memo(found.get("memo", "")),
            found.get("network"),
        )
    )


def format_uri(request: PaymentRequest) -> str:
    """Return a request as its URI; `parse_uri` reads it back as the same.

    Raises `Malformed` naming the parameter that cannot be asked for.
    """
    _checked(request)
    values = {
        "asset": request.asset,
        "amount": request.amount,
        "memo": quote(request.memo, safe="") or None,
        "network": request.network,
    }
    query = "&".join(f"{name}={value}" for name, value in values.items() if value is not None)
    text = f"{SCHEME}:{account_text(request.account)}" + (f"?{query}" if query else "")
    if len(text) > URI_CHARS_MAX:
        raise Malformed("uri", f"has {len(text)} characters, at most {URI_CHARS_MAX} are allowed")
    return text


def _checked(request: PaymentRequest) -> PaymentRequest:
    if request.asset is not None:
        asset_name(request.asset, "uri.asset")
    amount = request.amount
    if amount is not None:
        if len(amount) > TEXT_MAX or not _AMOUNT.fullmatch(amount):
            raise Malformed("uri.amount", "is not digits with at most one point, such as 12.5")
        if not amount.strip("0."):
            raise Malformed("uri.amount", "is zero")
    if request.network is not None and not _CHAIN_ID.fullmatch(request.network):
        raise Malformed("uri.network", "is not the id of a network")
    try:
        memo_bytes(request.memo)
    except Malformed as err:
        raise Malformed("uri.memo", err.problem) from err
    return request


def _memo(value: str) -> str:
    if not _TEXT.fullmatch(value):
        raise Malformed("uri.memo", "is not percent-encoded")
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        raise Malformed("uri.memo", "is not text in UTF-8") from None
