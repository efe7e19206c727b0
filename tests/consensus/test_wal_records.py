"""Log records: what was written is what is read, and nothing else is taken for a record."""

from __future__ import annotations

import pytest

from clawpurse.consensus.inputs import (
    BlockReady,
    CertificateReceived,
    HeaderFetched,
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
from clawpurse.consensus.timeouts import TimeoutKind
from clawpurse.consensus.wal_records import BodyStored, Decided, Record, decode, encode
from clawpurse.ledger import codec
from clawpurse.ledger.agreement.certificates import RoundCertificate
from clawpurse.ledger.agreement.envelope import pack_message
from clawpurse.ledger.agreement.signbytes import Kind
from clawpurse.ledger.errors import Malformed
from tests.consensus.rig import EAGER, Rig
from tests.simulation.values import authorities_of, key_of

RIG = Rig()
BLOCK = RIG.block()
CERTIFICATE = RIG.certificate([0, 1, 2], BLOCK)
WAY_IN = RoundCertificate(1, 3, tuple(RIG.vote(Kind.PREVOTE, n, None, 3) for n in (0, 1)))
RECORDS: list[Record] = [
    StartHeight(1, authorities_of(4), authorities_of(5), key_of(1), EAGER, 17),
    StartHeight(2, authorities_of(100), authorities_of(100), None, EAGER),
    ProposalReceived(RIG.proposal(BLOCK), timely=True),
    ProposalReceived(RIG.proposal(BLOCK, 2, 1), timely=False),
    VoteReceived(RIG.vote(Kind.PREVOTE, 0, None)),
    VoteReceived(RIG.vote(Kind.PRECOMMIT, 0, BLOCK, 7)),
    CertificateReceived(CERTIFICATE),
    CertificateReceived(RIG.polka([0, 1, 2], BLOCK)),
    CertificateReceived(WAY_IN),
    BlockReady(1, 0, BLOCK),
    BlockReady(1, 4, None),
    Validity(BLOCK.block_id, True),
    Validity(BLOCK.block_id, False, "assets: key 0x00 differs"),
    WorkAvailable(1),
    TimeoutElapsed(TimeoutKind.PRECOMMIT, 1, 3),
    HeaderFetched(BLOCK),
    SyncedBlock(BLOCK, CERTIFICATE),
    Signed(RIG.vote(Kind.PREVOTE, 1, BLOCK)),
    Signed(RIG.proposal(BLOCK)),
    SignRefused(Kind.PRECOMMIT, 1, 2),
    BodyStored(BLOCK.block_id, b"\x00" * 5000),
    Decided(BLOCK, CERTIFICATE),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_reads_back_as_it_was(record: Record) -> None:
    read = decode(encode(record))
    assert type(read) is type(record)
    assert read == record


def test_every_record_type_has_its_number() -> None:
    """Numbers are part of the format: a log written today must be read tomorrow."""
    numbers = {type(r).__name__: codec.unpack_own(encode(r))[0] for r in RECORDS}
    assert numbers == {
        "StartHeight": 1,
        "ProposalReceived": 2,
        "VoteReceived": 3,
        "CertificateReceived": 4,
        "BlockReady": 5,
        "Validity": 6,
        "WorkAvailable": 7,
        "TimeoutElapsed": 8,
        "HeaderFetched": 9,
        "SyncedBlock": 10,
        "Signed": 11,
        "BodyStored": 12,
        "Decided": 13,
        "SignRefused": 14,
    }


def test_a_long_or_odd_problem_is_cut_to_what_the_format_allows() -> None:
    record = Validity(BLOCK.block_id, False, "größer → " + "x" * 5000)
    read = decode(encode(record))
    assert isinstance(read, Validity)
    assert read.problem.startswith("gr??er ? xxx")
    assert len(read.problem) == 1_024


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x90",
        codec.pack([99]),
        codec.pack([7]),
        codec.pack([7, 1, 2]),
        codec.pack([7, -1]),
        codec.pack([6, b"\x00" * 32, 1, ""]),
        codec.pack([8, 9, 1, 0]),
        codec.pack([4, pack_message(RIG.vote(Kind.PREVOTE, 0, None))]),
        codec.pack([11, pack_message(CERTIFICATE)]),
        codec.pack([True, 1]),
        encode(WorkAvailable(1)) + b"\x00",
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    """R22: a bad record must be seen, not replayed."""
    with pytest.raises(Malformed):
        decode(data)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_torn_record_is_refused(record: Record) -> None:
    data = encode(record)
    for length in {0, 1, 2, len(data) // 2, len(data) - 1}:
        with pytest.raises(Malformed):
            decode(data[:length])
