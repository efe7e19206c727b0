"""Codes from an authenticator app: RFC 6238 (TOTP) over RFC 4226 (HOTP), sealed beside the key.

SHA-1, six digits, 30 seconds: what every app takes (RFC 6238 §1.2, RFC 4226 §5.3). A code counts
once (RFC 6238 §5.2): its time step must be above the last one that counted, so a clock that was
set back makes no old code good again. One step to either side is tolerated for slow fingers.

The secret is sealed under a key derived from the signing key's seed: whoever opens the key by its
passphrase, or has its words, opens it, and a new passphrase changes nothing here. Pure but for
the randomness that callers hand in.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final
from urllib.parse import quote

import nacl.bindings
import nacl.exceptions

from clawpurse.ledger.errors import Malformed
from clawpurse.wallet.keys import SigningKey

# RFC 4226 §4 R6: 160 bits, as long as the hash.
SECRET_BYTES: Final = 20
NONCE_BYTES: Final = 24
DIGITS: Final = 6
STEP_MS: Final = 30_000
# One step back and one ahead (RFC 6238 §5.2 recommends one for delay).
STEPS_AROUND: Final = 1
_PERSON: Final = b"claw.guard.totp"
_ISSUER: Final = "ClawPurse"


def hotp(secret: bytes, counter: int, digits: int = DIGITS, algorithm: str = "sha1") -> str:
    """Return the code for a counter (RFC 4226 §5.3). `algorithm` as RFC 6238 allows."""
    digest = hmac.digest(secret, counter.to_bytes(8, "big"), algorithm)
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFF_FFFF
    return f"{number % 10**digits:0{digits}d}"


def step_of(now_ms: int) -> int:
    """Return the time step that a wall clock in ms UTC is in (RFC 6238 §4.2)."""
    return now_ms // STEP_MS


def matching_step(secret: bytes, code: str, now_ms: int, last_step: int) -> int | None:
    """Return the step whose code this is, above `last_step`; None if it is no good now.

    All candidates are compared whole: how long it takes tells nothing about the digits.
    """
    typed = "".join(code.split())
    if len(typed) != DIGITS or not (typed.isascii() and typed.isdigit()):
        return None
    here, found = step_of(now_ms), None
    for step in range(here - STEPS_AROUND, here + STEPS_AROUND + 1):
        same = hmac.compare_digest(hotp(secret, max(step, 0)), typed)
        if same and step > last_step and found is None:
            found = step
    return found


def enrolment_uri(secret: bytes, name: str) -> str:
    """Return the `otpauth://` URI that apps read from a QR code. It is the secret."""
    text = base64.b32encode(secret).decode().rstrip("=")
    label = quote(f"{_ISSUER}:{name}")
    return f"otpauth://totp/{label}?secret={text}&issuer={_ISSUER}&digits={DIGITS}&period=30"


def seal(secret: bytes, key: SigningKey, nonce: bytes) -> bytes:
    """Return the secret sealed for who has `key`; `nonce` are 24 fresh random bytes."""
    sealed = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
        secret, key.public_key, nonce, _sealing_key(key)
    )
    return bytes(sealed)


def unseal(sealed: bytes, key: SigningKey, nonce: bytes) -> bytes:
    """Return the secret. Raises `Malformed` when it was not sealed so."""
    try:
        plain = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
            sealed, key.public_key, nonce, _sealing_key(key)
        )
    except nacl.exceptions.CryptoError:
        raise Malformed("code", "was sealed for another key, or damaged") from None
    if len(plain) != SECRET_BYTES:
        raise Malformed("code", f"is a secret of {len(plain)} bytes")
    return bytes(plain)


def _sealing_key(key: SigningKey) -> bytes:
    seed = key.reveal_seed()
    return hashlib.blake2b(seed, digest_size=32, person=_PERSON).digest()
