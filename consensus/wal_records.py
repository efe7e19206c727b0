"""The bytes in which a node's log keeps what happened at a height (R22).

One file per height, one record per event: the machine's inputs as it asked for them, the bodies
that were voted on, and the decision. Framing, checksums and fsync are the log's own affair.
Records are [type, fields…] in canonical msgpack; type numbers are part of the format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from clawpurse.consensus.inputs import (
    BlockReady,
    CertificateReceived,
    HeaderFetched,
    Input,
    ProposalReceived,
    Signed,
    SignRefused,
    StartHeight,
    SyncedBlock,
    TimeoutElapsed,
    Validity,
    VoteReceived,
    WorkAvailable,
)
from clawpurse.consensus.timeouts import TimeoutKind, TimeoutParams
from clawpurse.ledger import codec
from clawpurse.ledger.agreement.authorities import AUTHORITIES_BYTES_MAX, AuthoritySet
from clawpurse.ledger.agreement.certificates import (
    Certificate,
    PolkaCertificate,
    RoundCertificate,
)
from clawpurse.ledger.agreement.envelope import MESSAGE_BYTES_MAX, pack_message, unpack_message
from clawpurse.ledger.agreement.messages import Proposal, Vote
from clawpurse.ledger.agreement.signbytes import ROUND_MAX, Kind
from clawpurse.ledger.blocks import (
    BLOCK_BYTES_MAX,
    CERTIFICATE_BYTES_MAX,
    HEADER_BYTES_MAX,
    Header,
)
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Malformed

#: The largest record: a body and its frame.
RECORD_BYTES_MAX: Final = BLOCK_BYTES_MAX + 64
# A sentence and a key path; longer problems are cut when they are logged.
PROBLEM_CHARS_MAX: Final = 1_024


@dataclass(frozen=True, slots=True)
class BodyStored:
    """The body of a block, in the log before any vote for it and before its `Validity`.

    Whoever voted for a body serves it until the next height is decided, restarts included.
    """

    block_id: bytes
    block: bytes


@dataclass(frozen=True, slots=True)
class Decided:
    """The height is decided: after this record is flushed the block may be committed (R23)."""

    header: Header
    certificate: Certificate


Record = Input | BodyStored | Decided

_START, _PROPOSAL, _VOTE, _CERTIFICATE, _BLOCK_READY, _VALIDITY = 1, 2, 3, 4, 5, 6
_WORK, _TIMEOUT, _HEADER, _SYNCED, _SIGNED, _BODY, _DECIDED = 7, 8, 9, 10, 11, 12, 13
_REFUSED = 14


def encode(record: Record) -> bytes:
    """Return the bytes of one record."""
    return codec.pack(_fields(record))


def _fields(record: Record) -> list[object]:
    match record:
        case StartHeight(height, authorities, following, own_key, timeouts, pause_ms):
            wire = timeouts.to_wire()
            return [_START, height, authorities.pack(), following.pack(), own_key, wire, pause_ms]
        case ProposalReceived(proposal, timely):
            return [_PROPOSAL, proposal.pack(), timely]
        case VoteReceived(vote):
            return [_VOTE, vote.pack()]
        case CertificateReceived(certificate):
            return [_CERTIFICATE, pack_message(certificate)]
        case BlockReady(height, round_, header):
            return [_BLOCK_READY, height, round_, None if header is None else header.pack()]
        case Validity(block_id, ok, problem):
            return [_VALIDITY, block_id, ok, _printable(problem)]
        case WorkAvailable(height):
            return [_WORK, height]
        case TimeoutElapsed(kind, height, round_):
            return [_TIMEOUT, kind, height, round_]
        case HeaderFetched(header):
            return [_HEADER, header.pack()]
        case SyncedBlock(header, certificate):
            return [_SYNCED, header.pack(), certificate.pack()]
        case Signed(message):
            return [_SIGNED, pack_message(message)]
        case SignRefused(kind, height, round_):
            return [_REFUSED, kind, height, round_]
        case BodyStored(block_id, block):
            return [_BODY, block_id, block]
        case Decided(header, certificate):
            return [_DECIDED, header.pack(), certificate.pack()]


def _printable(problem: str) -> str:
    """Keep what the log format allows: ASCII, not too long. The full text is in the node's log."""
    kept = "".join(char if "\x20" <= char <= "\x7e" else "?" for char in problem)
    return kept[:PROBLEM_CHARS_MAX]


def decode(data: bytes) -> Record:
    """Read what `encode` wrote. Raises `Malformed` naming the field."""
    wire = codec.unpack_typed(data, size_max=RECORD_BYTES_MAX, field="record")
    if not wire:
        raise Malformed("record", "is empty")
    number, rest = codec.integer(wire[0], "record.type"), wire[1:]
    reader = _READERS.get(number)
    if reader is None:
        raise Malformed("record.type", f"is {number}, which names no record")
    return reader(rest)


def _read_start(wire: list[Wire]) -> StartHeight:
    height, authorities, following, own_key, timeouts, pause_ms = codec.array(wire, "start", 6)
    return StartHeight(
        codec.integer(height, "start.height", 1),
        _read_authorities(authorities, "start.authorities"),
        _read_authorities(following, "start.nextAuthorities"),
        codec.optional_digest(own_key, "start.ownKey"),
        TimeoutParams.from_wire(timeouts),
        codec.integer(pause_ms, "start.pauseMs"),
    )


def _read_authorities(value: object, field: str) -> AuthoritySet:
    return AuthoritySet.unpack(codec.binary(value, field, AUTHORITIES_BYTES_MAX))


def _read_header(value: object) -> Header:
    return Header.unpack(codec.binary(value, "record.header", HEADER_BYTES_MAX))


def _read_certificate(value: object) -> Certificate:
    return Certificate.unpack(codec.binary(value, "record.certificate", CERTIFICATE_BYTES_MAX))


def _read_proposal(wire: list[Wire]) -> ProposalReceived:
    proposal, timely = codec.array(wire, "record", 2)
    return ProposalReceived(
        Proposal.unpack(codec.binary(proposal, "record.proposal", MESSAGE_BYTES_MAX)),
        _read_flag(timely, "record.timely"),
    )


def _read_flag(value: object, field: str) -> bool:
    if type(value) is not bool:
        raise Malformed(field, "is not true or false")
    return value


def _read_vote(wire: list[Wire]) -> VoteReceived:
    (vote,) = codec.array(wire, "record", 1)
    return VoteReceived(Vote.unpack(codec.binary(vote, "record.vote", MESSAGE_BYTES_MAX)))


def _read_received_certificate(wire: list[Wire]) -> CertificateReceived:
    (packed,) = codec.array(wire, "record", 1)
    message = unpack_message(codec.binary(packed, "record.certificate", MESSAGE_BYTES_MAX))
    if not isinstance(message, Certificate | PolkaCertificate | RoundCertificate):
        raise Malformed("record.certificate", "is not a certificate")
    return CertificateReceived(message)


def _read_block_ready(wire: list[Wire]) -> BlockReady:
    height, round_, header = codec.array(wire, "record", 3)
    return BlockReady(
        codec.integer(height, "record.height", 1),
        codec.integer(round_, "record.round", 0, ROUND_MAX),
        None if header is None else _read_header(header),
    )


def _read_validity(wire: list[Wire]) -> Validity:
    block_id, ok, problem = codec.array(wire, "record", 3)
    return Validity(
        codec.digest(block_id, "record.blockId"),
        _read_flag(ok, "record.ok"),
        codec.ascii_text(problem, "record.problem", PROBLEM_CHARS_MAX, 0),
    )


def _read_work(wire: list[Wire]) -> WorkAvailable:
    (height,) = codec.array(wire, "record", 1)
    return WorkAvailable(codec.integer(height, "record.height", 1))


def _read_timeout(wire: list[Wire]) -> TimeoutElapsed:
    kind, height, round_ = codec.array(wire, "record", 3)
    return TimeoutElapsed(
        TimeoutKind(codec.integer(kind, "record.kind", TimeoutKind.START, TimeoutKind.REBROADCAST)),
        codec.integer(height, "record.height", 1),
        codec.integer(round_, "record.round", 0, ROUND_MAX),
    )


def _read_header_fetched(wire: list[Wire]) -> HeaderFetched:
    (header,) = codec.array(wire, "record", 1)
    return HeaderFetched(_read_header(header))


def _read_synced(wire: list[Wire]) -> SyncedBlock:
    header, certificate = codec.array(wire, "record", 2)
    return SyncedBlock(_read_header(header), _read_certificate(certificate))


def _read_signed(wire: list[Wire]) -> Signed:
    (packed,) = codec.array(wire, "record", 1)
    message = unpack_message(codec.binary(packed, "record.message", MESSAGE_BYTES_MAX))
    if not isinstance(message, Vote | Proposal):
        raise Malformed("record.message", "is not a vote or proposal")
    return Signed(message)


def _read_refused(wire: list[Wire]) -> SignRefused:
    kind, height, round_ = codec.array(wire, "record", 3)
    return SignRefused(
        Kind(codec.integer(kind, "record.kind", Kind.PROPOSAL, Kind.PRECOMMIT)),
        codec.integer(height, "record.height", 1),
        codec.integer(round_, "record.round", 0, ROUND_MAX),
    )


def _read_body(wire: list[Wire]) -> BodyStored:
    block_id, block = codec.array(wire, "record", 2)
    return BodyStored(
        codec.digest(block_id, "record.blockId"),
        codec.binary(block, "record.block", BLOCK_BYTES_MAX),
    )


def _read_decided(wire: list[Wire]) -> Decided:
    header, certificate = codec.array(wire, "record", 2)
    return Decided(_read_header(header), _read_certificate(certificate))


_READERS: Final[dict[int, Callable[[list[Wire]], Record]]] = {
    _START: _read_start,
    _PROPOSAL: _read_proposal,
    _VOTE: _read_vote,
    _CERTIFICATE: _read_received_certificate,
    _BLOCK_READY: _read_block_ready,
    _VALIDITY: _read_validity,
    _WORK: _read_work,
    _TIMEOUT: _read_timeout,
    _HEADER: _read_header_fetched,
    _SYNCED: _read_synced,
    _SIGNED: _read_signed,
    _BODY: _read_body,
    _DECIDED: _read_decided,
    _REFUSED: _read_refused,
}
