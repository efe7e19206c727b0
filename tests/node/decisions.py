"""Votes over whole nodes: what a lab's authorities decide, sent by Alice through one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.transactions import RawAction, Role, Transaction
from clawpurse.modules.governance.changes import KIND_NAMES, Change, Kind
from clawpurse.wallet.builder import sign_body
from clawpurse.wallet.keys import SigningKey
from tests.node.lab import Lab
from tests.node.rpc.nodeworld import HOUR_MS, Running


def seat(lab: Lab, number: int) -> bytes:
    """The public key of `authority-N`; its seed is made when the lab has none."""
    while len(lab.seeds) < number:
        lab.seeds.append(bytes([len(lab.seeds) + 1]) * 32)
    return public_key_of(lab.seeds[number - 1])


def seats(lab: Lab, *numbers: int) -> AuthoritySet:
    """The set of these authorities."""
    return AuthoritySet(seat(lab, number) for number in numbers)


def change(lab: Lab, kind: Kind, *arguments: Any) -> Change:
    """A change; authorities by their numbers."""
    keyed = kind in (Kind.ADD, Kind.REMOVE, Kind.REPLACE)
    return Change(kind, tuple(seat(lab, one) if keyed else one for one in arguments))


def ballot(lab: Lab, wanted: Change, voter: int, expires_ms: int, **terms: Any) -> Transaction:
    """A signed vote of `authority-N` by contents."""
    seat(lab, voter)
    key = SigningKey(lab.seeds[voter - 1])
    fields: list[Wire] = [key.account, expires_ms, *wanted.arguments]
    action = RawAction(f"governance.{KIND_NAMES[Kind(wanted.kind)]}", fields)
    body = lab.body(lab.alice, action, **terms)
    return sign_body(body, [(Role.SENDER, lab.alice), (Role.APPROVER, key)])


async def decide(
    lab: Lab, via: Running, wanted: Change, voters: Sequence[int], expires_ms: int | None = None
) -> list[Any]:
    """Let these vote, through one node; returns what became of each vote, when all are final."""
    until_ms = lab.clock.now_ms() + HOUR_MS if expires_ms is None else expires_ms
    votes = [ballot(lab, wanted, voter, until_ms) for voter in voters]
    return await lab.final(via, *votes)


def in_force(node: Running) -> int:
    """The height from which on the last decided set decides."""
    change_height = node.node.chain._membership.change_height
    assert isinstance(change_height, int)
    return change_height
