"""Whose turn it is to propose (R18). Stateless on purpose: no history, nothing to grind."""

from __future__ import annotations

from clawpurse.ledger.agreement.authorities import AuthoritySet


def proposer(authorities: AuthoritySet, height: int, round_: int) -> bytes:
    """Return the public key of the proposer: sorted_by_key[(height − 1 + round) mod n]."""
    return authorities.proposer(height, round_)


def rounds_until_turn(authorities: AuthoritySet, key: bytes, height: int, round_: int) -> int:
    """Return how many rounds after `round_` it is `key`'s turn: 0…n − 1, or −1 for a stranger."""
    place = authorities.place(key)
    return -1 if place < 0 else (place - (height - 1 + round_)) % len(authorities)
