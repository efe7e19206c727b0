"""Building and signing transactions: a person's wish becomes bytes that the ledger accepts.

Everything that is built is decoded again by the ledger's own decoder before it is signed, so a
wallet never asks for a signature on something that no node would read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from clawpurse.ledger import codec
from clawpurse.ledger.errors import Malformed, Refused
from clawpurse.ledger.module_api import Registry
from clawpurse.ledger.transactions import (
    MEMO_BYTES_MAX,
    Body,
    RawAction,
    Role,
    Transaction,
    decode_body,
    decode_transaction,
    encode_transaction,
)
from clawpurse.modules.accounts.actions import CHANGE_KEY, OPEN
from clawpurse.modules.assets.actions import TRANSFER
from clawpurse.wallet.keys import SigningKey

# Long enough for a slow signer and a restart of the network, short enough that "pending" turns
# into a definite "expired" while somebody still watches.
VALID_FOR_MS_DEFAULT: Final = 600_000
# 128 random bits: two wallets never choose the same one for one account.
IDEMPOTENCY_KEY_BYTES: Final = 16


class ChainTerms(NamedTuple):
    """Which network a transaction is for; it is void on any other."""

    chain_id: str
    genesis_hash: bytes


class Slot(NamedTuple):
    """The place of a transaction among its sender's: lane 0–63, its sequence, its attempt 0–9.

    A higher attempt with the same lane and sequence replaces what still waits.
    """

    lane: int
    sequence: int
    attempt: int = 0


class Signing(NamedTuple):
    """A signature to be given: in which role, for which account, by which key.

    The key need not be the account's own: members sign for their account, session keys for
    their owner's.
    """

    role: Role
    account: bytes
    key: SigningKey


def transfer_action(asset: str, recipient: bytes, amount: int) -> RawAction:
    """Return the action that pays `amount` minor units of `asset` to `recipient`."""
    return RawAction(TRANSFER.name, [asset, recipient, amount])


def open_action(account: bytes) -> RawAction:
    """Return the action that opens `account`, whose id is its first public key."""
    return RawAction(OPEN.name, [account])


def change_key_action(new_key: bytes) -> RawAction:
    """Return the action that makes `new_key` the sender's only key; it must sign as approver."""
    return RawAction(CHANGE_KEY.name, [new_key])


def new_idempotency_key(random_bytes: Callable[[int], bytes] = os.urandom) -> bytes:
    """Return a fresh key under which the network performs a payment at most once."""
    return random_bytes(IDEMPOTENCY_KEY_BYTES)


def memo_bytes(memo: str) -> bytes:
    """Return a memo as the ledger keeps it: UTF-8.

    Raises `Malformed` above 256 bytes and on unprintable characters (controls, direction marks):
    others will read it at a terminal, and it stays for ever.
    """
    if not memo.isprintable():
        raise Malformed("memo", "has a character that does not print")
    data = memo.encode()
    if len(data) > MEMO_BYTES_MAX:
        raise Malformed("memo", f"is {len(data)} bytes, at most {MEMO_BYTES_MAX} are allowed")
    return data


def build_body(
    terms: ChainTerms,
    registry: Registry,
    sender: bytes,
    slot: Slot,
    actions: Sequence[RawAction],
    *,
    valid_until_ms: int,
    fee: int,
    payer: bytes | None = None,
    height_max: int | None = None,
    memo: str = "",
    idempotency_key: bytes | None = None,
) -> Body:
    """Return a checked body. Times in ms UTC, `fee` in minor units of the native asset.

    Raises `Malformed` naming the field that no node would accept, and for an action that this
    software does not know.
    """
    for action in actions:
        try:
            registry.read_action(action)
        except Refused as err:
            raise Malformed("body.actions[].name", err.reason) from err
    if payer == sender:
        raise Malformed("body.payer", "is the sender; leave it out")
    body = Body(
        terms.chain_id,
        terms.genesis_hash,
        sender,
        slot.lane,
        codec.integer(slot.sequence, "body.sequence"),
        slot.attempt,
        codec.integer(valid_until_ms, "body.validUntil"),
        height_max,
        codec.integer(fee, "body.fee"),
        payer,
        tuple(actions),
        memo_bytes(memo),
        idempotency_key,
    )
    return decode_body(body.pack())


def replacement_of(body: Body, *, fee: int, valid_until_ms: int) -> Body:
    """Return the same wish at a higher fee or with more time, as the next attempt.

    Raises `Malformed` when the attempts are used up or the fee is lower: it would not replace.
    """
    if fee < body.fee:
        raise Malformed("fee", f"is {fee}, below the {body.fee} of what it should replace")
    again = body._replace(attempt=body.attempt + 1, fee=fee, valid_until_ms=valid_until_ms)
    return decode_body(again.pack())


def sign_body(body: Body, signers: Sequence[tuple[Role, SigningKey]]) -> Transaction:
    """Sign `body` by each (role, key) for that key's account and return the transaction.

    The roles that the body needs are the caller's to know; a missing or superfluous one is
    refused by every node. Raises `Malformed` if the sender or payer is not among them.
    """
    if body.payer is not None and (Role.PAYER, body.payer) not in [
        (role, key.account) for role, key in signers
    ]:
        raise Malformed("witness", "lacks the signature of the payer")
    return sign_body_for(body, [Signing(role, key.account, key) for role, key in signers])


def sign_body_for(body: Body, signings: Sequence[Signing]) -> Transaction:
    """Sign `body` by each key for the account that it is said to sign for.

    For members of a multisignature account, who sign for it as sender, session keys, and new
    signers who approve. The order does not matter. Without a payer's signature the payer must
    sponsor the sender. Raises `Malformed` if nobody signs for the sender, if somebody signs as
    sender or payer for an account that is neither, or if a key signs the same thing twice.
    """
    body_bytes = body.pack()
    if (Role.SENDER, body.sender) not in [(role, account) for role, account, _ in signings]:
        raise Malformed("witness", "lacks the signature of the sender")
    parties = {Role.SENDER: body.sender, Role.PAYER: body.payer}
    for role, account, _ in signings:
        if parties.get(role, account) != account:
            raise Malformed("witness", f"has a {role.name.lower()} for an account without part")
    places = [(role, account, key.public_key) for role, account, key in signings]
    if len(set(places)) != len(places):
        raise Malformed("witness", "has a key twice in one role for one account")
    entries = [
        key.sign_body(role, body.genesis_hash, body_bytes, account)
        for role, account, key in signings
    ]
    return decode_transaction(encode_transaction(body_bytes, entries))


def sign_key_change(body: Body, old: SigningKey, new: SigningKey) -> Transaction:
    """Sign a body with `change_key_action`: the old key as sender, the new one as approver.

    The new key signs for the sender's account, so that nobody hands an account to a key that
    nobody has. Raises `Malformed` when `new` is not a key for that account.
    """
    if new.account != body.sender:
        raise Malformed("newKey", "is not loaded as a key for the sender's account")
    return sign_body(body, [(Role.SENDER, old), (Role.APPROVER, new)])
