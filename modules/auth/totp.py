"""Codes of authenticator apps: RFC 6238 (TOTP) over RFC 4226 (HOTP).

SHA-1, six digits, 30 seconds: what every app takes (RFC 6238 §1.2). A code counts once (§5.2): its
step must be above the last one that counted, also after a clock was set back. One step to either
side is tolerated. Pure; ten lines over the standard library.
"""

from __future__ import annotations

import base64
import hmac
from typing import Final
from urllib.parse import quote, urlencode

SECRET_BYTES: Final = 20
"""RFC 4226 §4 R6: 160 bits, as long as the hash."""

DIGITS: Final = 6
STEP_MS: Final = 30_000
STEPS_AROUND: Final = 1


def hotp(secret: bytes, counter: int, digits: int = DIGITS, algorithm: str = "sha1") -> str:
    """Return the code of a counter (RFC 4226 §5.3)."""
    digest = hmac.digest(secret, counter.to_bytes(8, "big"), algorithm)
    start = digest[-1] & 0x0F
    number = int.from_bytes(digest[start : start + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**digits).zfill(digits)


def totp(
    secret: bytes,
    now_ms: int,
    digits: int = DIGITS,
    algorithm: str = "sha1",
    step_ms: int = STEP_MS,
) -> str:
    """Return the code of a moment, UTC ms (RFC 6238 §4.2)."""
    return hotp(secret, now_ms // step_ms, digits, algorithm)


def step_of_code(secret: bytes, code: str, now_ms: int, last_step: int) -> int | None:
    """Return the step above `last_step` whose code this is, or None.

    Every candidate is compared whole, whichever fits.
    """
    typed = "".join(code.split())
    if len(typed) != DIGITS or not (typed.isascii() and typed.isdigit()):
        return None
    here, found = now_ms // STEP_MS, None
    for step in range(max(0, here - STEPS_AROUND), here + STEPS_AROUND + 1):
        if hmac.compare_digest(hotp(secret, step), typed) and step > last_step:
            found = step
    return found


def enrolment_uri(secret: bytes, service: str, name: str) -> str:
    """Return the `otpauth://` URI that apps read from a QR code. It is the secret."""
    asked = {
        "secret": base64.b32encode(secret).decode(),
        "issuer": service,
        "algorithm": "SHA1",
        "digits": DIGITS,
        "period": STEP_MS // 1000,
    }
    return f"otpauth://totp/{quote(service)}:{quote(name)}?{urlencode(asked, quote_via=quote)}"
