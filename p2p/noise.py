"""Noise_XX_25519_ChaChaPoly_SHA256 (Noise specification revision 34) as pure state.

Bytes in, bytes out: no sockets, no clock, no randomness; keys are handed in. Names follow the
specification's §5 so that the two can be read side by side. The primitives are libsodium's.

    XX:  → e        ← e, ee, s, es        → s, se
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

import nacl.bindings
import nacl.exceptions

from clawpurse.ledger.errors import Bug, ProtocolViolation

PROTOCOL_NAME: Final = b"Noise_XX_25519_ChaChaPoly_SHA256"
DH_BYTES: Final = 32
TAG_BYTES: Final = 16
# §3: no Noise message is longer.
NOISE_MESSAGE_BYTES_MAX: Final = 65535
# §5.1: the last nonce is reserved for rekeying.
NONCE_MAX: Final = 2**64 - 1
_PATTERN: Final = (("e",), ("e", "ee", "s", "es"), ("s", "se"))

Payload = bytes | Callable[[bytes], bytes]


def nonce_bytes(counter: int) -> bytes:
    """Return the 96-bit ChaChaPoly nonce of a counter (§12.3: 32 zero bits, then little-endian)."""
    return b"\x00\x00\x00\x00" + counter.to_bytes(8, "little")


def encrypt(key: bytes, counter: int, associated: bytes, plaintext: bytes) -> bytes:
    """ENCRYPT of §4.2; the result is `TAG_BYTES` longer than `plaintext`."""
    return bytes(
        nacl.bindings.crypto_aead_chacha20poly1305_ietf_encrypt(
            plaintext, associated, nonce_bytes(counter), key
        )
    )


def decrypt(key: bytes, counter: int, associated: bytes, ciphertext: bytes) -> bytes:
    """DECRYPT of §4.2; raises `ProtocolViolation` when the tag does not fit."""
    try:
        return bytes(
            nacl.bindings.crypto_aead_chacha20poly1305_ietf_decrypt(
                ciphertext, associated, nonce_bytes(counter), key
            )
        )
    except (nacl.exceptions.CryptoError, ValueError):
        raise ProtocolViolation("handshake bytes do not decrypt") from None


def rekeyed(key: bytes) -> bytes:
    """REKEY of §4.2: the next key, from which this one cannot be computed."""
    return encrypt(key, NONCE_MAX, b"", bytes(32))[:32]


def diffie_hellman(secret: bytes, public: bytes) -> bytes:
    """X25519 (RFC 7748); refuses the all-zero result that small-order points force."""
    try:
        shared = bytes(nacl.bindings.crypto_scalarmult(secret, public))
    except (nacl.exceptions.CryptoError, RuntimeError):
        # libsodium reports the all-zero result as a failure; there is no other.
        raise ProtocolViolation("peer sent a Diffie-Hellman key of small order") from None
    if not any(shared):
        raise ProtocolViolation("peer sent a Diffie-Hellman key of small order")
    return shared


class CipherState:
    """§5.1: a key and a counter. Without a key it passes bytes through."""

    def __init__(self, key: bytes | None = None) -> None:
        self.key = key
        self.counter = 0

    def encrypt(self, associated: bytes, plaintext: bytes) -> bytes:
        """Encrypt with the next nonce."""
        if self.key is None:
            return plaintext
        ciphertext = encrypt(self.key, self.counter, associated, plaintext)
        self.counter += 1
        return ciphertext

    def decrypt(self, associated: bytes, ciphertext: bytes) -> bytes:
        """Decrypt with the next nonce; a failure leaves the counter alone."""
        if self.key is None:
            return ciphertext
        plaintext = decrypt(self.key, self.counter, associated, ciphertext)
        self.counter += 1
        return plaintext


class SymmetricState:
    """§5.2: chaining key, transcript hash and cipher of a handshake under way."""

    def __init__(self, protocol_name: bytes) -> None:
        name = protocol_name
        self.hash = name.ljust(32, b"\x00") if len(name) <= 32 else hashlib.sha256(name).digest()
        self._chaining_key = self.hash
        self._cipher = CipherState()

    def mix_hash(self, data: bytes) -> None:
        """Bind `data` into the transcript."""
        self.hash = hashlib.sha256(self.hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        """Bind a Diffie-Hellman result into the keys."""
        self._chaining_key, key = _hkdf(self._chaining_key, material)
        self._cipher = CipherState(key)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        """Encrypt under the transcript and bind the result into it."""
        ciphertext = self._cipher.encrypt(self.hash, plaintext)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        """Decrypt under the transcript and bind the ciphertext into it."""
        plaintext = self._cipher.decrypt(self.hash, ciphertext)
        self.mix_hash(ciphertext)
        return plaintext

    def keyed(self) -> bool:
        """Tell whether bytes are encrypted from here on."""
        return self._cipher.key is not None

    def split(self) -> tuple[bytes, bytes]:
        """Return the two transport keys: initiator to responder, and back."""
        return _hkdf(self._chaining_key, b"")


def _hkdf(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    """§4.3 with two outputs."""
    temporary = hmac.digest(chaining_key, material, "sha256")
    first = hmac.digest(temporary, b"\x01", "sha256")
    return first, hmac.digest(temporary, first + b"\x02", "sha256")


class NoiseXX:
    """One side of one XX handshake (§5.3). Messages alternate, the initiator writes first.

    `static_secret` and `ephemeral_secret` are 32 random bytes each; an ephemeral secret used
    twice breaks forward secrecy, so its origin is the caller's duty.
    """

    def __init__(
        self, *, initiator: bool, prologue: bytes, static_secret: bytes, ephemeral_secret: bytes
    ) -> None:
        self._initiator = initiator
        self._static = static_secret
        self._ephemeral = ephemeral_secret
        self._remote_ephemeral = b""
        self.static_public = public_of(static_secret)
        self.remote_static = b""
        self._symmetric = SymmetricState(PROTOCOL_NAME)
        self._symmetric.mix_hash(prologue)
        self._turn = 0

    @property
    def started(self) -> bool:
        """True once a message was written or read."""
        return self._turn > 0

    @property
    def finished(self) -> bool:
        """True once all three messages are through."""
        return self._turn == len(_PATTERN)

    @property
    def handshake_hash(self) -> bytes:
        """The transcript hash so far; at the end it names the session uniquely (§11.2)."""
        return self._symmetric.hash

    def write(self, payload: Payload) -> bytes:
        """Return the next message. A callable payload is given the hash that precedes it."""
        tokens = self._next_tokens(writing=True)
        out = bytearray()
        for token in tokens:
            if token == "e":
                public = public_of(self._ephemeral)
                self._symmetric.mix_hash(public)
                out += public
            elif token == "s":
                out += self._symmetric.encrypt_and_hash(self.static_public)
            else:
                self._symmetric.mix_key(self._mix(token))
        clear = payload if isinstance(payload, bytes) else payload(self._symmetric.hash)
        out += self._symmetric.encrypt_and_hash(clear)
        if len(out) > NOISE_MESSAGE_BYTES_MAX:
            raise Bug(f"handshake message of {len(out)} bytes")
        return bytes(out)

    def read(self, message: bytes) -> tuple[bytes, bytes]:
        """Take the peer's next message; return its payload and the hash that preceded that.

        Raises `ProtocolViolation` when the message is too short, does not decrypt, or carries
        a key of small order. The handshake is dead afterwards.
        """
        tokens = self._next_tokens(writing=False)
        offset = 0
        for token in tokens:
            if token in ("e", "s"):
                size = DH_BYTES + (TAG_BYTES if token == "s" and self._symmetric.keyed() else 0)
                part = message[offset : offset + size]
                if len(part) != size:
                    raise ProtocolViolation("handshake message is too short")
                offset += size
                if token == "e":
                    self._remote_ephemeral = part
                    self._symmetric.mix_hash(part)
                else:
                    self.remote_static = self._symmetric.decrypt_and_hash(part)
            else:
                self._symmetric.mix_key(self._mix(token))
        before = self._symmetric.hash
        return self._symmetric.decrypt_and_hash(message[offset:]), before

    def split(self) -> tuple[bytes, bytes]:
        """Return (sending key, receiving key) of this side; only after the last message."""
        if not self.finished:
            raise Bug("transport keys asked of an unfinished handshake")
        first, second = self._symmetric.split()
        return (first, second) if self._initiator else (second, first)

    def _next_tokens(self, *, writing: bool) -> tuple[str, ...]:
        if self.finished or (self._turn % 2 == 0) == (self._initiator != writing):
            raise Bug("handshake message out of turn")
        tokens = _PATTERN[self._turn]
        self._turn += 1
        return tokens

    def _mix(self, token: str) -> bytes:
        """One Diffie-Hellman: `es` is initiator's ephemeral with responder's static, and so on."""
        mine, theirs = (token[0], token[1]) if self._initiator else (token[1], token[0])
        secret = self._ephemeral if mine == "e" else self._static
        public = self._remote_ephemeral if theirs == "e" else self.remote_static
        return diffie_hellman(secret, public)


def public_of(secret: bytes) -> bytes:
    """Return the X25519 public key of 32 secret bytes."""
    return bytes(nacl.bindings.crypto_scalarmult_base(secret))
