"""From words to signing keys: SLIP-0010 derivation for Ed25519, and our path.

Decision, the path is m/44'/7333'/0'/0'/i': BIP-44's five levels so that other tools can follow
it, every level hardened because SLIP-0010 allows nothing else for Ed25519. Coin type 7333 is
not registered in SLIP-0044 (checked against its list of August 2026); options weighed were 1'
(the test-network number, under which one phrase would share keys with every test wallet in the
world) and 0' (Bitcoin's). i counts the accounts of one phrase; account and change levels stay 0.
"""

from __future__ import annotations

import hmac
from typing import Final, NamedTuple, NoReturn

from clawpurse.ledger import crypto
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.transactions import Role, WitnessEntry, sign_entry

COIN_TYPE: Final = 7333
HARDENED: Final = 2**31
ACCOUNT_INDEX_MAX: Final = HARDENED - 1
# Deeper paths than any wallet uses only cost time.
_PATH_DEPTH_MAX: Final = 10
_CURVE: Final = b"ed25519 seed"


class ExtendedKey(NamedTuple):
    """A node of the SLIP-0010 tree: 32-byte private key and 32-byte chain code."""

    key: bytes
    chain_code: bytes

    def __repr__(self) -> str:
        return "ExtendedKey(secret)"


def account_path(index: int = 0) -> str:
    """Return the path of account `index` of a phrase: `m/44'/7333'/0'/0'/i'`."""
    if not 0 <= index <= ACCOUNT_INDEX_MAX:
        raise Malformed("index", f"is {index}, outside 0…{ACCOUNT_INDEX_MAX}")
    return f"m/44'/{COIN_TYPE}'/0'/0'/{index}'"


def parse_path(path: str) -> tuple[int, ...]:
    """Return the child numbers of a path, without the hardening bit. Raises `Malformed`."""
    root, *steps = path.split("/")
    if root != "m" or len(steps) > _PATH_DEPTH_MAX:
        raise Malformed("path", "is not m/…' with at most ten levels")
    numbers = []
    for step in steps:
        digits = step[:-1]
        if not step.endswith("'") or not (digits.isascii() and digits.isdigit()):
            raise Malformed("path", f"has the level {step!r}; only hardened ones (44') exist here")
        if len(digits) > 10 or int(digits) >= HARDENED:
            raise Malformed("path", f"has the level {step!r}, above {HARDENED - 1}'")
        numbers.append(int(digits))
    return tuple(numbers)


def derive(seed: bytes, path: str) -> ExtendedKey:
    """Return the node at `path` below the master key of `seed` (SLIP-0010, Ed25519)."""
    node = _split(hmac.digest(_CURVE, seed, "sha512"))
    for number in parse_path(path):
        index = (number + HARDENED).to_bytes(4, "big")
        node = _split(hmac.digest(node.chain_code, b"\x00" + node.key + index, "sha512"))
    return node


def _split(digest: bytes) -> ExtendedKey:
    return ExtendedKey(digest[:32], digest[32:])


class SigningKey:
    """A key that can sign for an account, held in memory only.

    `account` is the 32-byte id it signs for (its own public key unless the account's key was
    changed). The secret shows in no `repr`, cannot be pickled or copied into a message, and
    leaves only through `reveal_seed`.
    """

    __slots__ = ("_seed", "account", "public_key")

    def __init__(self, seed: bytes, account: bytes | None = None) -> None:
        if len(seed) != crypto.KEY_BYTES:
            raise Malformed("seed", f"is {len(seed)} bytes, {crypto.KEY_BYTES} are required")
        self._seed = seed
        self.public_key = crypto.public_key_of(seed)
        self.account = self.public_key if account is None else account
        if len(self.account) != crypto.KEY_BYTES:
            raise Malformed("account", f"is {len(self.account)} bytes, 32 are required")

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte Ed25519 signature of `message`."""
        return crypto.sign(self._seed, message)

    def sign_body(
        self, role: Role, genesis_hash: bytes, body_bytes: bytes, account: bytes | None = None
    ) -> WitnessEntry:
        """Sign the body of a transaction in `role`, for this key's account or for another one."""
        signed_for = self.account if account is None else account
        return sign_entry(self._seed, genesis_hash, role, signed_for, body_bytes)

    def reveal_seed(self) -> bytes:
        """Return the 32-byte secret, for an export that a person confirmed."""
        return self._seed

    def __repr__(self) -> str:
        return f"SigningKey(public 0x{self.public_key.hex()})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a signing key is never pickled or copied")
