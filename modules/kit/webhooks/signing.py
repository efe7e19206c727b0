"""Signatures of Standard Webhooks 1.0: `v1` by HMAC-SHA256 and `v1a` by Ed25519.

Signed is `webhook-id.webhook-timestamp.body`, the body as it is sent, byte for byte. A request
carries one signature for each key in force, so that a receiver changes keys when it likes while
an old one still counts. Source: the specification's sections "Signature scheme" and "Webhook
headers".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from clawpurse.ledger.errors import BadSignature, Malformed

KEY_BYTES: Final = 32
"""Of either kind: the block half of SHA-256 (the specification asks for 24 to 64), and a seed."""

TOLERANCE_MS: Final = 5 * 60 * 1000
"""How far a timestamp may lie from the receiver's clock: what the reference libraries allow."""

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"
SYMMETRIC_PREFIX: Final = "whsec_"
PRIVATE_PREFIX: Final = "whsk_"
PUBLIC_PREFIX: Final = "whpk_"
SIGNATURES_MAX: Final = 16
"""Signatures of one request that a receiver looks at; a sender has two or three."""


class Scheme(StrEnum):
    """How an endpoint's posts are signed; the value is the mark before a signature."""

    HMAC = "v1"
    ED25519 = "v1a"


@dataclass(frozen=True, slots=True)
class Secret:
    """A key to sign with: `key` is the HMAC key or the Ed25519 seed, 32 bytes.

    `expires_ms` (UTC) is None for the newest; an older one signs too until then.
    """

    scheme: Scheme
    key: bytes = field(repr=False)
    created_ms: int
    expires_ms: int | None = None

    @property
    def public_text(self) -> str | None:
        """The public key, `whpk_…`; None where there is none."""
        if self.scheme is not Scheme.ED25519:
            return None
        return PUBLIC_PREFIX + _text(bytes(SigningKey(self.key).verify_key))

    @property
    def receiver_text(self) -> str:
        """What a receiver verifies with: `whsec_…`, secret, or `whpk_…`, public."""
        return self.public_text or SYMMETRIC_PREFIX + _text(self.key)

    def sign(self, content: bytes) -> str:
        """Return one entry of the signature header."""
        if self.scheme is Scheme.HMAC:
            made = hmac.new(self.key, content, hashlib.sha256).digest()
        else:
            made = SigningKey(self.key).sign(content).signature
        return f"{self.scheme},{_text(made)}"


def new_secret(scheme: Scheme, now_ms: int, random_bytes: Callable[[int], bytes]) -> Secret:
    """Return a fresh key. Each endpoint has its own: one that leaks opens one receiver only."""
    return Secret(scheme, random_bytes(KEY_BYTES), now_ms)


def signed_content(ident: str, timestamp_s: int, body: bytes) -> bytes:
    """Return what is signed. Raises `Malformed` for an id that could shift the parts."""
    if not ident or "." in ident or not ident.isascii() or not ident.isprintable():
        raise Malformed("webhook-id", "is printable ASCII without a full stop")
    return b"%b.%d.%b" % (ident.encode("ascii"), timestamp_s, body)


def signed_headers(
    secrets: Iterable[Secret], ident: str, now_ms: int, body: bytes
) -> dict[str, str]:
    """Return the three headers of an attempt made now: one signature for each key in force."""
    timestamp_s = now_ms // 1000
    content = signed_content(ident, timestamp_s, body)
    in_force = [one for one in secrets if one.expires_ms is None or one.expires_ms > now_ms]
    return {
        ID_HEADER: ident,
        TIMESTAMP_HEADER: str(timestamp_s),
        SIGNATURE_HEADER: " ".join(one.sign(content) for one in in_force),
    }


def verify(
    keys: Iterable[str], headers: Mapping[str, str], body: bytes, now_ms: int
) -> tuple[str, int]:
    """Check a request as its receiver; returns (webhook-id, time of the attempt in seconds).

    `keys` are texts `whsec_…` or `whpk_…`; a signature by any of them is enough. `headers` are
    by lower-case name. Raises `BadSignature` saying what is wrong, `Malformed` for a key that
    is none. Whoever acts twice on one id would pay twice: remember ids.
    """
    ident = headers.get(ID_HEADER, "")
    stamp = headers.get(TIMESTAMP_HEADER, "")
    given = headers.get(SIGNATURE_HEADER, "").split(" ")[:SIGNATURES_MAX]
    if not (stamp.isascii() and stamp.isdigit()) or len(stamp) > 16:
        raise BadSignature("webhook-timestamp is not a number")
    if abs(int(stamp) * 1000 - now_ms) > TOLERANCE_MS:
        raise BadSignature("webhook-timestamp is too far from this clock")
    try:
        content = signed_content(ident, int(stamp), body)
    except Malformed as error:
        raise BadSignature(str(error)) from None
    # Every key meets every signature, whatever matched before: no answer comes sooner.
    matches = [_matches(key, entry, content) for key in keys for entry in given]
    if not any(matches):
        raise BadSignature("no signature of this request is by one of the keys")
    return ident, int(stamp)


def _matches(key: str, entry: str, content: bytes) -> bool:
    mark, _, text = entry.partition(",")
    try:
        signature = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    if key.startswith(SYMMETRIC_PREFIX):
        made = hmac.new(_octets(key, SYMMETRIC_PREFIX), content, hashlib.sha256).digest()
        return mark == Scheme.HMAC and hmac.compare_digest(made, signature)
    if key.startswith(PUBLIC_PREFIX):
        try:
            VerifyKey(_octets(key, PUBLIC_PREFIX)).verify(content, signature)
        except (BadSignatureError, ValueError):
            return False
        return mark == Scheme.ED25519
    raise Malformed("key", f"begins with neither {SYMMETRIC_PREFIX} nor {PUBLIC_PREFIX}")


def _octets(key: str, prefix: str) -> bytes:
    try:
        data = base64.b64decode(key.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("key", "is not base64") from None
    if not data:
        raise Malformed("key", "is empty")
    return data


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
