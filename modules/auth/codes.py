"""Secrets that this service hands out: their shape, and the digest that is kept of them.

Each has at least 120 random bits, so its digest is of a fast hash: nobody can try that many, and
SP 800-63B-4 §3.1.2.2 asks for a slow one below 112 bits only. What each is for is in the hash.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Final

RECOVERY_CODES: Final = 10
_RECOVERY_BYTES: Final = 15
_GROUP_CHARS: Final = 4
_SECRET_BYTES: Final = 32
INVITATION: Final = "cpi_"
REFRESH: Final = "cpr_"
ATTEMPT: Final = "cpa_"
SECRET_CHARS_MAX: Final = 64


def new_secret(start: str) -> str:
    """Return a random secret that begins with a word of ours, so that leaks are recognised."""
    return (
        start + base64.urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).rstrip(b"=").decode()
    )


def digest_of(secret: str) -> bytes:
    """Return what is kept of a secret."""
    data = secret.encode("utf-8", "replace")
    return hashlib.blake2b(data, digest_size=32, person=b"clawpurse-auth").digest()


def new_recovery_codes() -> list[str]:
    """Return codes to write on paper: 24 letters and digits in groups."""
    return [_grouped(secrets.token_bytes(_RECOVERY_BYTES)) for _ in range(RECOVERY_CODES)]


def recovery_digest(code: str) -> bytes:
    """Return what is kept of a recovery code, however it is written."""
    bare = "".join(char for char in code.casefold() if char.isalnum())
    return digest_of("recovery " + bare[:SECRET_CHARS_MAX])


def _grouped(data: bytes) -> str:
    text = base64.b32encode(data).decode().lower()
    return "-".join(text[at : at + _GROUP_CHARS] for at in range(0, len(text), _GROUP_CHARS))
