"""Signed transactions with any witness that a test wants."""

from __future__ import annotations

from collections.abc import Sequence

from clawpurse.ledger.transactions import Body, Role, encode_transaction
from tests.ledger.sandbox import Key, sign


def signed_by(
    body: Body,
    *,
    senders: Sequence[Key],
    payers: Sequence[Key] = (),
    approvers: Sequence[tuple[Key, bytes]] = (),
) -> bytes:
    """A body with these signatures; approvers are (key, account it approves for)."""
    data = body.pack()
    entries = [sign(key.seed, body, Role.SENDER, body.sender, data) for key in senders]
    if body.payer is not None:
        entries += [sign(key.seed, body, Role.PAYER, body.payer, data) for key in payers]
    entries += [sign(key.seed, body, Role.APPROVER, account, data) for key, account in approvers]
    return encode_transaction(data, entries)
