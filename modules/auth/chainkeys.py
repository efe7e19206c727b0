"""Signing in with the key of a ledger account: what the wallet signs, and what that proves.

The text names domain, network, account, a nonce and an end, and is made by the server alone; it
is never read back. What is signed is a tag of 16 bytes before a hash of the text, so no signature
of it is one of a transaction (those are of 32 bytes), of an approval or of a guardrail file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clawpurse.ledger import crypto
from clawpurse.ledger.address import account_text
from clawpurse.ledger.rules import time_text

TAG: Final = b"clawpurse/signin"
CHALLENGE_MS: Final = 5 * 60_000
"""A person unlocks a wallet and reads; longer ones are for whoever found them."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """What one is asked to sign. `domain` is the service's, times are UTC ms."""

    domain: str
    chain_id: str
    genesis_hash: bytes
    account: bytes
    nonce: bytes
    issued_ms: int
    expires_ms: int

    @property
    def text(self) -> str:
        """What a wallet shows, line by line; every line is always there, in this order."""
        return "\n".join(
            (
                "ClawPurse sign-in, version 1",
                f"domain: {self.domain}",
                f"chain: {self.chain_id}",
                f"genesis: 0x{self.genesis_hash.hex()}",
                f"account: {account_text(self.account)}",
                f"nonce: {self.nonce.hex()}",
                f"issued: {time_text(self.issued_ms)}",
                f"expires: {time_text(self.expires_ms)}",
            )
        )

    @property
    def message(self) -> bytes:
        """The bytes that are signed."""
        return message_of(self.text)


def message_of(text: str) -> bytes:
    """Return the bytes that are signed for a challenge's text."""
    return TAG + crypto.message_hash_of(text.encode())


def is_signed(challenge: Challenge, public_key: bytes, signature: bytes) -> bool:
    """Whether a key signed it; whether that key speaks for the account is the ledger's word."""
    return crypto.verify(public_key, challenge.message, signature)
