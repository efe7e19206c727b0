"""Transactions: a body that says what shall happen and a witness that says who wants it.

Body: [version, chain id, genesis hash, sender, lane, sequence, attempt, valid_until_ms,
height_max|nil, fee, payer|nil, [[action, [fields…]]…], memo, idempotency key|nil].
Signed form: [body bytes, [[role, account, public key, signature]…]], entries strictly
ascending by (role, account, public key). `tx_id` hashes the body, `wtx_id` the signed form:
a bad witness condemns neither the body nor a block.
"""

from __future__ import annotations

from enum import IntEnum
from itertools import pairwise
from typing import Final, NamedTuple

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import BadSignature, Malformed

TX_VERSION: Final = 1
# A 200-leg batch with its approvals fits; anything larger is an attack on memory.
TX_BYTES_MAX: Final = 65_536
LANE_COUNT: Final = 64
ATTEMPT_MAX: Final = 9
ACTIONS_MAX: Final = 16
MEMO_BYTES_MAX: Final = 256
IDEMPOTENCY_KEY_BYTES_MAX: Final = 64
# Enough for the largest k-of-n policy that we allow, a payer and approvers.
WITNESS_MAX: Final = 64
CHAIN_ID_CHARS_MAX: Final = 32
# Longest array in a transaction: the legs of a batch, with room for what goes with them.
TX_COUNT_MAX: Final = 256
# The next sequence of a lane is this plus one and must fit its eight bytes.
SEQUENCE_MAX: Final = codec.U64_MAX - 1
ACTION_NAME_CHARS_MAX: Final = 48


class Role(IntEnum):
    """In which role a signature was given; a sponsor's is never an approval."""

    SENDER = 0
    PAYER = 1
    APPROVER = 2


class WitnessEntry(NamedTuple):
    """One signature: by `public_key`, in `role`, for `account`."""

    role: int
    account: bytes
    public_key: bytes
    signature: bytes


class RawAction(NamedTuple):
    """An action as it stands on the wire; its module knows the meaning of the fields."""

    name: str
    fields: list[Wire]


class Body(NamedTuple):
    """What shall happen, under which terms. Times in ms UTC, amounts in minor units."""

    chain_id: str
    genesis_hash: bytes
    sender: bytes
    lane: int
    sequence: int
    attempt: int
    valid_until_ms: int
    height_max: int | None
    fee: int
    payer: bytes | None
    actions: tuple[RawAction, ...]
    memo: bytes = b""
    idempotency_key: bytes | None = None

    def pack(self) -> bytes:
        """Return the canonical bytes that are hashed and signed."""
        return codec.pack(
            [
                TX_VERSION,
                self.chain_id,
                self.genesis_hash,
                self.sender,
                self.lane,
                self.sequence,
                self.attempt,
                self.valid_until_ms,
                self.height_max,
                self.fee,
                self.payer,
                [[action.name, action.fields] for action in self.actions],
                self.memo,
                self.idempotency_key,
            ]
        )

    @property
    def fee_account(self) -> bytes:
        """Who pays the fee: the payer if one is named, else the sender."""
        return self.payer if self.payer is not None else self.sender


class Transaction(NamedTuple):
    """A decoded signed transaction together with its bytes and both ids."""

    raw: bytes
    body_bytes: bytes
    body: Body
    witness: tuple[WitnessEntry, ...]
    tx_id: bytes
    wtx_id: bytes

    @property
    def signatures(self) -> tuple[tuple[bytes, bytes, bytes], ...]:
        """(public key, message, signature) triples that must all verify."""
        body = self.body
        return tuple(
            (
                entry.public_key,
                signing_hash(body.genesis_hash, entry.role, entry.account, self.body_bytes),
                entry.signature,
            )
            for entry in self.witness
        )


def signing_hash(genesis_hash: bytes, role: int, account: bytes, body_bytes: bytes) -> bytes:
    """Return the 32 bytes that a signer in `role` for `account` signs."""
    return crypto.tx_sign_hash(genesis_hash + bytes((role,)) + account + body_bytes)


def decode_body(data: bytes) -> Body:
    """Decode canonical body bytes. Raises `Malformed` naming the field."""
    wire = codec.unpack_typed(data, size_max=TX_BYTES_MAX, field="body", count_max=TX_COUNT_MAX)
    if wire:
        # Before the fields are counted: another version may have more.
        codec.version(wire[0], "body.version", (TX_VERSION,))
    if len(wire) != 14:
        raise Malformed("body", f"has {len(wire)} fields, 14 are required")
    actions = codec.items(wire[11], "body.actions", ACTIONS_MAX)
    if not actions:
        raise Malformed("body.actions", "is empty")
    height_max, key = wire[8], wire[13]
    return Body(
        codec.ascii_text(wire[1], "body.chainId", CHAIN_ID_CHARS_MAX),
        codec.digest(wire[2], "body.genesisHash"),
        codec.digest(wire[3], "body.sender"),
        codec.integer(wire[4], "body.lane", 0, LANE_COUNT - 1),
        codec.integer(wire[5], "body.sequence", 0, SEQUENCE_MAX),
        codec.integer(wire[6], "body.attempt", 0, ATTEMPT_MAX),
        codec.integer(wire[7], "body.validUntil"),
        None if height_max is None else codec.integer(height_max, "body.heightMax", 1),
        codec.integer(wire[9], "body.fee"),
        codec.optional_digest(wire[10], "body.payer"),
        tuple([read_raw_action(item, "body.actions") for item in actions]),
        codec.binary(wire[12], "body.memo", MEMO_BYTES_MAX),
        None
        if key is None
        else codec.binary(key, "body.idempotencyKey", IDEMPOTENCY_KEY_BYTES_MAX, 1),
    )


_PLAIN: Final = frozenset((bytes, int, str, bool, type(None)))


def read_raw_action(value: Wire, where: str) -> RawAction:
    """Return an action, [name, [fields…]], of which `where` is the list. Raises `Malformed`."""
    name, fields = codec.array(value, f"{where}[]", 2)
    if type(fields) is not list:
        raise Malformed(f"{where}[].fields", "is not an array")
    for item in fields:
        # Which action it is, is not known here, and JSON-RPC shows unknown ones too.
        if type(item) not in _PLAIN:
            codec.refuse_foreign(fields, f"{where}[].fields")
            break
    return RawAction(codec.ascii_text(name, f"{where}[].name", ACTION_NAME_CHARS_MAX), fields)


def decode_transaction(raw: bytes) -> Transaction:
    """Decode a signed transaction of at most `TX_BYTES_MAX` bytes.

    Checks form only: signatures, entitlement and state are judged elsewhere.
    Raises `Malformed` naming the field, `BadSignature` when witness entries are out of order.
    """
    wire = codec.unpack_typed(raw, size_max=TX_BYTES_MAX, field="tx", count_max=TX_COUNT_MAX)
    if len(wire) != 2:
        raise Malformed("tx", f"has {len(wire)} parts, 2 are required")
    body_bytes = codec.binary(wire[0], "tx.body", TX_BYTES_MAX)
    entries = codec.items(wire[1], "tx.witness", WITNESS_MAX)
    witness = tuple([_decode_entry(item) for item in entries])
    for before, after in pairwise(witness):
        if before[:3] >= after[:3]:
            raise BadSignature("witness entries are not strictly ascending")
    return Transaction(
        raw,
        body_bytes,
        decode_body(body_bytes),
        witness,
        crypto.tx_id_of(body_bytes),
        crypto.wtx_id_of(raw),
    )


def _decode_entry(value: Wire) -> WitnessEntry:
    role, account, public_key, signature = codec.array(value, "tx.witness[]", 4)
    return WitnessEntry(
        codec.integer(role, "tx.witness[].role", 0, 2),
        codec.digest(account, "tx.witness[].account"),
        codec.digest(public_key, "tx.witness[].publicKey"),
        codec.binary(signature, "tx.witness[].signature", 64, 64),
    )


def encode_transaction(body_bytes: bytes, witness: list[WitnessEntry]) -> bytes:
    """Return the signed form; entries are put in their canonical order."""
    return codec.pack([body_bytes, [list(entry) for entry in sorted(witness)]])


def sign_entry(
    seed: bytes, genesis_hash: bytes, role: Role, account: bytes, body_bytes: bytes
) -> WitnessEntry:
    """Sign a body with a 32-byte Ed25519 seed, in `role`, for `account`."""
    message = signing_hash(genesis_hash, role, account, body_bytes)
    return WitnessEntry(int(role), account, crypto.public_key_of(seed), crypto.sign(seed, message))
