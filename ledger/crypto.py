"""Hashes and signatures, the only two primitives that consensus rests on.

BLAKE2b-256 (RFC 7693) with a `person` tag per use, so that no byte string has two meanings;
Ed25519 (RFC 8032) through libsodium, single verification only: other libraries judge known
edge cases differently, and authorities that judge differently fork.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Final

import nacl.bindings
import nacl.exceptions

from clawpurse.ledger.errors import Bug

HASH_BYTES: Final = 32
KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
ZERO_HASH: Final = bytes(HASH_BYTES)

# Every `person` tag in use; at most 16 bytes each (BLAKE2b's limit), no two alike.
PERSON_TX_ID: Final = b"claw.txid"
PERSON_WTX_ID: Final = b"claw.wtxid"
PERSON_TX_SIGN: Final = b"claw.txsign"
PERSON_BLOCK: Final = b"claw.block"
PERSON_GENESIS: Final = b"claw.genesis"
PERSON_CERTIFICATE: Final = b"claw.cert"
PERSON_AUTHORITIES: Final = b"claw.authset"
PERSON_PARAMS: Final = b"claw.params"
PERSON_ACCOUNT: Final = b"claw.account"
PERSON_LIST: Final = b"claw.list"
PERSON_STATE_LIST: Final = b"claw.staterot"
PERSON_TREE_KEY: Final = b"claw.tree.key"
PERSON_TREE_VALUE: Final = b"claw.tree.value"
PERSON_TREE_LEAF: Final = b"claw.tree.leaf"
PERSON_TREE_BRANCH: Final = b"claw.tree.branch"
PERSON_MESSAGE: Final = b"claw.message"
PERSON_IDEMPOTENCY_KEY: Final = b"claw.idemkey"
PERSON_DUE: Final = b"claw.due"
PERSON_PROPOSAL: Final = b"claw.proposal"
PERSON_BATCH: Final = b"claw.batch"
PERSON_INVOICE: Final = b"claw.invoice"


def hasher(person: bytes) -> Callable[[bytes], bytes]:
    """Return a BLAKE2b-256 function under `person` (≤ 16 bytes); bytes in, 32 bytes out.

    The prepared state is copied per call: 0.2 instead of 0.37 µs for short inputs.
    """
    copy = hashlib.blake2b(digest_size=HASH_BYTES, person=person).copy

    def digest(data: bytes) -> bytes:
        state = copy()
        state.update(data)
        return state.digest()

    return digest


def prepared(person: bytes) -> Callable[[], hashlib.blake2b]:
    """Return what makes fresh BLAKE2b-256 states under `person`, for loops that inline a hash."""
    return hashlib.blake2b(digest_size=HASH_BYTES, person=person).copy


tx_id_of = hasher(PERSON_TX_ID)
wtx_id_of = hasher(PERSON_WTX_ID)
tx_sign_hash = hasher(PERSON_TX_SIGN)
block_id_of = hasher(PERSON_BLOCK)
genesis_hash_of = hasher(PERSON_GENESIS)
certificate_hash_of = hasher(PERSON_CERTIFICATE)
authorities_hash_of = hasher(PERSON_AUTHORITIES)
params_hash_of = hasher(PERSON_PARAMS)
account_hash_of = hasher(PERSON_ACCOUNT)
message_hash_of = hasher(PERSON_MESSAGE)
idempotency_hash_of = hasher(PERSON_IDEMPOTENCY_KEY)
due_hash_of = hasher(PERSON_DUE)
proposal_hash_of = hasher(PERSON_PROPOSAL)
batch_hash_of = hasher(PERSON_BATCH)
invoice_hash_of = hasher(PERSON_INVOICE)
_list_hash = hasher(PERSON_LIST)
_state_list_hash = hasher(PERSON_STATE_LIST)


def public_key_of(seed: bytes) -> bytes:
    """Return the 32-byte Ed25519 public key of a 32-byte seed."""
    return bytes(nacl.bindings.crypto_sign_seed_keypair(seed)[0])


def sign(seed: bytes, message: bytes) -> bytes:
    """Sign `message` with a 32-byte seed; deterministic 64-byte Ed25519 signature (RFC 8032)."""
    _, secret = nacl.bindings.crypto_sign_seed_keypair(seed)
    return bytes(nacl.bindings.crypto_sign(message, secret)[:SIGNATURE_BYTES])


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether `signature` is valid; never raises on bytes of any shape."""
    if len(public_key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        nacl.bindings.crypto_sign_open(signature + message, public_key)
    except (nacl.exceptions.BadSignatureError, ValueError):
        return False
    return True


def list_root(leaves: Iterable[bytes]) -> bytes:
    """Return the RFC 6962 §2.1 root of byte strings under BLAKE2b-256; empty list = 32 zeros."""
    return _merkle_root([_list_hash(b"\x00" + leaf) for leaf in leaves], _list_hash)


def state_list_root(leaves: Iterable[bytes]) -> bytes:
    """Return the RFC 6962 root that joins the module trees into the state root."""
    return _merkle_root([_state_list_hash(b"\x00" + leaf) for leaf in leaves], _state_list_hash)


def _merkle_root(level: list[bytes], node: Callable[[bytes], bytes]) -> bytes:
    """Fold leaf hashes upward; a lone last node rises unchanged, which is RFC 6962's shape."""
    if not level:
        return ZERO_HASH
    while len(level) > 1:
        pairs = [node(b"\x01" + level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            pairs.append(level[-1])
        level = pairs
    return level[0]


def _merkle_path(leaves: list[bytes], index: int, node: Callable[[bytes], bytes]) -> list[bytes]:
    level, path = leaves, []
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        pairs = [node(b"\x01" + level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            pairs.append(level[-1])
        level, index = pairs, index // 2
    return path


def _root_from_path(
    leaf: bytes, index: int, size: int, path: list[bytes], node: Callable[[bytes], bytes]
) -> bytes | None:
    """Recompute a root (RFC 9162 §2.1.3.2); None when the path does not fit the position."""
    if not 0 <= index < size:
        return None
    last, digest, steps = size - 1, leaf, iter(path)
    while last:
        if index & 1 or index < last:
            sibling = next(steps, None)
            if sibling is None or len(sibling) != HASH_BYTES:
                return None
            pair = sibling + digest if index & 1 else digest + sibling
            digest = node(b"\x01" + pair)
        index >>= 1
        last >>= 1
    return digest if next(steps, None) is None else None


def list_path(leaves: Iterable[bytes], index: int) -> list[bytes]:
    """Return the RFC 6962 inclusion path of `leaves[index]`, lowest sibling first."""
    return _merkle_path([_list_hash(b"\x00" + leaf) for leaf in leaves], index, _list_hash)


def list_root_from_path(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    """Recompute the list root from a leaf and its path; None if the path has a wrong shape."""
    return _root_from_path(_list_hash(b"\x00" + leaf), index, size, path, _list_hash)


def state_list_path(leaves: Iterable[bytes], index: int) -> list[bytes]:
    """Return the inclusion path of one module's leaf in the state root."""
    hashed = [_state_list_hash(b"\x00" + leaf) for leaf in leaves]
    return _merkle_path(hashed, index, _state_list_hash)


def state_root_from_path(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    """Recompute the state root from a module's leaf and its path; None on a wrong shape."""
    return _root_from_path(_state_list_hash(b"\x00" + leaf), index, size, path, _state_list_hash)


def list_leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of one list leaf, for callers that build a list root in slices."""
    return _list_hash(b"\x00" + leaf)


def list_root_of_hashes(leaf_hashes: list[bytes]) -> bytes:
    """Return the RFC 6962 root over already hashed leaves; empty list = 32 zeros."""
    return _merkle_root(list(leaf_hashes), _list_hash)


# Published edge cases (speccheck, "Taming the many EdDSAs", cases 0, 1, 11): a small-order
# key with a small-order R, and a non-canonical R. libsodium refuses all; OpenSSL accepts some.
_EDGE_CASES: Final = (
    (
        "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"
        "0000000000000000000000000000000000000000000000000000000000000000",
    ),
    (
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43"
        "a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
    ),
    (
        "39a591f5321bbe07fd5a23dc2f39d025d74526615746727ceefd6e82ae65c06f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dc"
        "a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
    ),
)


def refuse_odd_library() -> None:
    """Raise `Bug` unless libsodium judges known edge-case signatures as every node must (R2)."""
    for message, key, signature in _EDGE_CASES:
        if verify(bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature)):
            raise Bug("this libsodium accepts an edge-case signature that others refuse")
    seed = bytes(range(32))
    if not verify(public_key_of(seed), b"self-test", sign(seed, b"self-test")):
        raise Bug("this libsodium refuses its own signature")
