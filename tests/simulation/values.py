"""Keys, signatures and headers for simulations: the real shapes, with a signature that costs 1 µs.

A signature here is a keyed hash that only `sign` of the same key makes. Liars are handed their
own signing function only, so they can forge as little as with Ed25519.
"""

from __future__ import annotations

import hashlib

from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.agreement.messages import Proposal, SignedMessage, Vote
from clawpurse.ledger.blocks import BLOCK_VERSION, Header
from clawpurse.ledger.crypto import ZERO_HASH

DOMAIN = Domain("simulation", bytes(range(32)))
#: A state root that no correct node computes.
WRONG_ROOT = b"\xee" * 32


def key_of(number: int) -> bytes:
    """Return the public key of authority `number`; keys sort like numbers."""
    return number.to_bytes(4, "big") + b"\x5a" * 28


def authorities_of(count: int) -> AuthoritySet:
    """Return a set of `count` authorities, numbered from 0."""
    return AuthoritySet([key_of(number) for number in range(count)])


def sign(key: bytes, message: bytes) -> bytes:
    """Sign for `key`."""
    return hashlib.blake2b(message, digest_size=64, key=key).digest()


def verify(key: bytes, message: bytes, signature: bytes) -> bool:
    """Judge a signature of `sign`."""
    return sign(key, message) == signature


def signed_vote(vote: Vote) -> Vote:
    """Return `vote` with its sender's signature."""
    return vote._replace(signature=sign(vote.authority, vote.sign_bytes(DOMAIN)))


def signed_proposal(proposal: Proposal) -> Proposal:
    """Return `proposal` with its sender's signature."""
    return proposal._replace(signature=sign(proposal.authority, proposal.sign_bytes(DOMAIN)))


def signed(message: SignedMessage) -> SignedMessage:
    """Return a message with its sender's signature."""
    return signed_vote(message) if isinstance(message, Vote) else signed_proposal(message)


def header_of(
    height: int,
    *,
    first_round: int = 0,
    proposer: bytes,
    time_ms: int = 0,
    parent_id: bytes = ZERO_HASH,
    salt: int = 0,
    state_root: bytes = ZERO_HASH,
) -> Header:
    """Return a header; different `salt` makes a different block."""
    return Header(
        version=BLOCK_VERSION,
        chain_id=DOMAIN.chain_id,
        genesis_hash=DOMAIN.genesis_hash,
        recovery_epoch=0,
        height=height,
        time_ms=time_ms,
        first_round=first_round,
        proposer=proposer,
        parent_id=parent_id,
        parent_certificate_hash=ZERO_HASH,
        transactions_root=salt.to_bytes(32, "big"),
        receipts_root=ZERO_HASH,
        events_root=ZERO_HASH,
        evidence_root=ZERO_HASH,
        state_root=state_root,
        authorities_hash=ZERO_HASH,
        next_authorities_hash=ZERO_HASH,
        params_hash=ZERO_HASH,
        cost_used=0,
    )
