"""Blocks, receipts and events: what a decision fixes, and what came of it.

A header commits to everything else: transactions, receipts, events and evidence through RFC
6962 list roots, state through the module roots *after* this block, the authority sets that
judge this block and the next one, and the parameters in force.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Final, NamedTuple, Self

from clawpurse.ledger import codec
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.crypto import block_id_of
from clawpurse.ledger.transactions import CHAIN_ID_CHARS_MAX, TX_BYTES_MAX

BLOCK_VERSION: Final = 1
HEADER_BYTES_MAX: Final = 1_024
# Absolute caps for decoders; consensus parameters set tighter ones.
BLOCK_BYTES_MAX: Final = 16_000_000
BLOCK_TRANSACTIONS_MAX: Final = 20_000
EVIDENCE_MAX: Final = 64
# Two statements of a valid round, a block id and a signature under one position and key.
EVIDENCE_BYTES_MAX: Final = 384
# A certificate of 100 authorities has 100 signatures of 64 bytes, a bitmap and a few integers.
CERTIFICATE_BYTES_MAX: Final = 16_384
RECEIPT_BYTES_MAX: Final = 65_536
# Verdicts of rules in a receipt: a payment asks a handful, a large batch would list hundreds.
TRACE_MAX: Final = 64
FACTS_MAX: Final = 16
EVENT_BYTES_MAX: Final = 65_536


@dataclass(frozen=True)
class Header:
    """Everything that authorities sign by signing `block_id`. Times in ms UTC."""

    version: int
    chain_id: str
    genesis_hash: bytes
    recovery_epoch: int
    height: int
    time_ms: int
    first_round: int
    proposer: bytes
    parent_id: bytes
    parent_certificate_hash: bytes
    transactions_root: bytes
    receipts_root: bytes
    events_root: bytes
    evidence_root: bytes
    state_root: bytes
    authorities_hash: bytes
    next_authorities_hash: bytes
    params_hash: bytes
    cost_used: int

    def pack(self) -> bytes:
        """Return the canonical bytes, fields in declaration order."""
        return self._packed

    @cached_property
    def _packed(self) -> bytes:
        return codec.pack([getattr(self, spec.name) for spec in fields(self)])

    @cached_property
    def block_id(self) -> bytes:
        """The 32-byte id of the block."""
        return block_id_of(self._packed)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read canonical header bytes. Raises `Malformed` naming the field."""
        wire = codec.unpack_typed(data, size_max=HEADER_BYTES_MAX, field="header")
        specs = fields(cls)
        codec.array(wire, "header", len(specs))
        values: dict[str, object] = {}
        for spec, item in zip(specs, wire, strict=True):
            name = f"header.{spec.name}"
            if spec.name == "chain_id":
                values[spec.name] = codec.ascii_text(item, name, CHAIN_ID_CHARS_MAX)
            elif spec.name == "version":
                values[spec.name] = codec.version(item, name, (BLOCK_VERSION,))
            elif spec.name in _HEADER_U32:
                values[spec.name] = codec.integer(item, name, 0, codec.U32_MAX)
            elif spec.name in _HEADER_U64:
                values[spec.name] = codec.integer(item, name)
            else:
                values[spec.name] = codec.digest(item, name)
        return cls(**values)  # type: ignore[arg-type]


_HEADER_U32: Final = ("recovery_epoch", "first_round")
_HEADER_U64: Final = ("height", "time_ms", "cost_used")


class Block(NamedTuple):
    """A header and the body that it commits to. Transactions are signed bytes.

    `parent_certificate` is what decided height − 1 (None at height 1); `evidence` holds packed
    evidence records in canonical order.
    """

    header: Header
    parent_certificate: bytes | None
    evidence: tuple[bytes, ...]
    transactions: tuple[bytes, ...]

    def pack(self) -> bytes:
        """Return the canonical bytes: [version, header, certificate|nil, evidence, txs]."""
        return codec.pack(
            [
                BLOCK_VERSION,
                self.header.pack(),
                self.parent_certificate,
                self.evidence,
                self.transactions,
            ]
        )

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read canonical block bytes. Raises `Malformed`; checks form, not roots."""
        wire = codec.unpack_typed(
            data, size_max=BLOCK_BYTES_MAX, field="block", count_max=BLOCK_TRANSACTIONS_MAX
        )
        version, header, certificate, evidence, transactions = codec.array(wire, "block", 5)
        codec.version(version, "block.version", (BLOCK_VERSION,))
        return cls(
            Header.unpack(codec.binary(header, "block.header", HEADER_BYTES_MAX)),
            None
            if certificate is None
            else codec.binary(certificate, "block.parentCertificate", CERTIFICATE_BYTES_MAX, 1),
            tuple(
                codec.binary(item, "block.evidence[]", EVIDENCE_BYTES_MAX, 1)
                for item in codec.items(evidence, "block.evidence", EVIDENCE_MAX)
            ),
            tuple(
                [
                    codec.binary(item, "block.transactions[]", TX_BYTES_MAX, 1)
                    for item in codec.items(
                        transactions, "block.transactions", BLOCK_TRANSACTIONS_MAX
                    )
                ]
            ),
        )


class Receipt(NamedTuple):
    """What became of one included transaction.

    `code` is a `Code` number, 0 for success; `rule` names what refused it and `facts` are the
    integers, ids and names that its sentence needs (`ledger/rules.py` has the sentences, which
    are not part of consensus). `fee` in minor units of the native asset was paid in any case.
    `first_event` and `event_count` locate its events in the block. `trace` lists
    [rule, version, verdict] of policies that were asked.
    """

    tx_id: bytes
    code: int
    rule: str
    facts: tuple[Wire, ...]
    fee: int
    cost: int
    first_event: int
    event_count: int
    trace: tuple[tuple[str, int, int], ...] = ()

    def pack(self) -> bytes:
        """Return the canonical bytes: a leaf of the receipts root."""
        return codec.pack(self)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read canonical receipt bytes. Raises `Malformed`."""
        wire = codec.unpack(data, size_max=RECEIPT_BYTES_MAX, field="receipt")
        codec.array(wire, "receipt", 9)
        trace = []
        for entry in codec.items(wire[8], "receipt.trace", TRACE_MAX):
            rule, version, verdict = codec.array(entry, "receipt.trace[]", 3)
            trace.append(
                (
                    codec.ascii_text(rule, "receipt.trace[].rule", 64),
                    codec.integer(version, "receipt.trace[].version"),
                    codec.integer(verdict, "receipt.trace[].verdict", 0, 2),
                )
            )
        return cls(
            codec.digest(wire[0], "receipt.txId"),
            codec.integer(wire[1], "receipt.code", 0, 999),
            codec.ascii_text(wire[2], "receipt.rule", 64, 0),
            tuple(codec.items(wire[3], "receipt.facts", FACTS_MAX)),
            codec.integer(wire[4], "receipt.fee"),
            codec.integer(wire[5], "receipt.cost"),
            codec.integer(wire[6], "receipt.firstEvent"),
            codec.integer(wire[7], "receipt.eventCount"),
            tuple(trace),
        )


class Event(NamedTuple):
    """Something that happened, final and ordered: (height, index) is its place in the log.

    `transaction` is the index of the transaction in the block, None for due work. `accounts`
    are those whose history it belongs to; `data` follows the kind's documented field order.
    """

    transaction: int | None
    kind: str
    accounts: tuple[bytes, ...]
    data: tuple[Wire, ...]

    def pack(self) -> bytes:
        """Return the canonical bytes: a leaf of the events root."""
        return codec.pack(self)

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read canonical event bytes. Raises `Malformed`."""
        wire = codec.unpack(data, size_max=EVENT_BYTES_MAX, field="event")
        transaction, kind, accounts, values = codec.array(wire, "event", 4)
        return cls(
            None if transaction is None else codec.integer(transaction, "event.transaction"),
            codec.ascii_text(kind, "event.kind", 64),
            tuple(
                codec.digest(item, "event.accounts[]")
                for item in codec.items(accounts, "event.accounts", 512)
            ),
            tuple(codec.items(values, "event.data", 64)),
        )
