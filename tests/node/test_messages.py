"""What nodes say to each other: every format survives the wire, and no bytes break its reader.

A reader that raised anything but a typed refusal would let a stranger end a node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger import codec
from clawpurse.ledger.agreement.messages import Vote
from clawpurse.ledger.agreement.signbytes import ROUND_MAX, Kind
from clawpurse.ledger.blocks import (
    BLOCK_TRANSACTIONS_MAX,
    EVIDENCE_BYTES_MAX,
    EVIDENCE_MAX,
    HEADER_BYTES_MAX,
    Block,
    Header,
)
from clawpurse.ledger.errors import Malformed, ProtocolViolation
from clawpurse.ledger.transactions import TX_BYTES_MAX
from clawpurse.node import messages
from clawpurse.node.messages import (
    ANNOUNCE_MAX,
    BODIES_MAX,
    CONSENSUS_SIZE_MAX,
    OWN_VOTES_MAX,
    PREFIX_BYTES,
    PROPOSAL_SIZE_MAX,
    RANGE_BLOCKS_MAX,
    SYNC_SIZE_MAX,
    TRANSACTION_SIZE_MAX,
    Compact,
    ConsensusKind,
    EvidenceKind,
    Have,
    ProposalKind,
    SyncKind,
    Tip,
    TransactionKind,
)
from clawpurse.node.network import Router
from clawpurse.p2p.channels import Channel

ID = b"\x0a" * 32
DIGEST = st.binary(min_size=32, max_size=32)
U64 = st.integers(0, 2**64 - 1)


def header(**changes: Any) -> Header:
    fields: dict[str, Any] = {
        "version": 1,
        "chain_id": "acme",
        "genesis_hash": ID,
        "recovery_epoch": 0,
        "height": 2**40,
        "time_ms": 2**45,
        "first_round": 3,
        "proposer": ID,
        "parent_id": ID,
        "parent_certificate_hash": ID,
        "transactions_root": ID,
        "receipts_root": ID,
        "events_root": ID,
        "evidence_root": ID,
        "state_root": ID,
        "authorities_hash": ID,
        "next_authorities_hash": ID,
        "params_hash": ID,
        "cost_used": 2**40,
        **changes,
    }
    return Header(**fields)


def vote(round_: int = 1) -> Vote:
    return Vote(Kind.PRECOMMIT, 2**40, round_, ID, ID, bytes(64))


@given(
    st.integers(1, 2**64 - 1),
    st.integers(0, ROUND_MAX),
    st.booleans(),
    st.binary(max_size=13),
    st.binary(max_size=13),
)
def test_where_a_node_stands_survives_the_wire(
    height: int, round_: int, has: bool, prevotes: bytes, precommits: bytes
) -> None:
    have = Have(height, round_, has, prevotes, precommits)
    assert Have.unpack(have.pack()) == have
    assert len(have.pack()) <= CONSENSUS_SIZE_MAX[ConsensusKind.HAVE]


@given(U64, U64, DIGEST)
def test_a_tip_survives_the_wire(height: int, floor: int, block_id: bytes) -> None:
    tip = Tip(height, floor, block_id)
    assert Tip.unpack(tip.pack()) == tip
    assert len(tip.pack()) <= SYNC_SIZE_MAX[SyncKind.TIP]


def test_own_votes_survive_the_wire_and_the_newest_are_kept() -> None:
    votes = [vote(number) for number in range(OWN_VOTES_MAX + 3)]
    packed = messages.pack_own_votes(b"\x07" * 32, True, votes)
    assert messages.unpack_own_votes(packed) == (b"\x07" * 32, True, votes[3:])
    assert len(packed) <= CONSENSUS_SIZE_MAX[ConsensusKind.OWN_VOTES]


@given(st.lists(DIGEST, max_size=40), st.booleans())
def test_a_compact_block_survives_the_wire(wtx_ids: list[bytes], has_parent: bool) -> None:
    block = Block(header(), b"certificate" if has_parent else None, (b"evidence",), ())
    compact = Compact.of(block, wtx_ids)
    assert Compact.unpack(compact.pack()) == compact
    assert all(len(prefix) == PREFIX_BYTES for prefix in compact.prefixes)


def test_the_largest_honest_payloads_fit_their_caps() -> None:
    """A cap below what an honest node sends would ban it for doing its work."""
    full = Compact(
        header(),
        bytes(16_384),
        tuple(bytes((n,)) * EVIDENCE_BYTES_MAX for n in range(1, EVIDENCE_MAX + 1)),
        tuple(number.to_bytes(PREFIX_BYTES, "big") for number in range(BLOCK_TRANSACTIONS_MAX)),
    )
    assert len(full.pack()) <= PROPOSAL_SIZE_MAX[ProposalKind.COMPACT]
    assert Compact.unpack(full.pack()) == full
    places = list(range(BLOCK_TRANSACTIONS_MAX))
    wanted = messages.pack_missing_wanted(ID, places)
    assert len(wanted) <= PROPOSAL_SIZE_MAX[ProposalKind.MISSING_WANTED]
    assert messages.unpack_missing_wanted(wanted) == (ID, places)
    small = [b"t"] * BLOCK_TRANSACTIONS_MAX
    assert messages.unpack_missing(messages.pack_missing(ID, small)) == (ID, small)
    ids = [number.to_bytes(32, "big") for number in range(ANNOUNCE_MAX)]
    assert len(messages.pack_ids(ids)) <= TRANSACTION_SIZE_MAX[TransactionKind.ANNOUNCE]
    assert messages.unpack_ids(messages.pack_ids(ids)) == ids
    bodies = [bytes((n % 256,)) * 900 for n in range(BODIES_MAX)]
    assert len(messages.pack_bodies(bodies)) <= TRANSACTION_SIZE_MAX[TransactionKind.BODIES]
    assert messages.unpack_bodies(messages.pack_bodies(bodies)) == bodies
    pairs = [(b"block", b"certificate")] * RANGE_BLOCKS_MAX
    assert messages.unpack_range(messages.pack_range(5, pairs)) == (5, pairs)
    assert len(header().pack()) <= HEADER_BYTES_MAX


@given(st.integers(1, 2**64 - 1), st.integers(1, RANGE_BLOCKS_MAX))
def test_a_range_request_survives_the_wire(first: int, count: int) -> None:
    packed = messages.pack_range_wanted(first, count)
    assert messages.unpack_range_wanted(packed) == (first, count)


@pytest.mark.parametrize(
    ("read", "wire"),
    [
        (Have.unpack, [0, 0, False, b"", b""]),
        (Have.unpack, [1, -1, False, b"", b""]),
        (Have.unpack, [1, ROUND_MAX + 1, False, b"", b""]),
        (Have.unpack, [1, 0, 1, b"", b""]),
        (Have.unpack, [1, 0, False, bytes(14), b""]),
        (Have.unpack, [1, 0, False, b""]),
        (Tip.unpack, [1, 0, ID[:-1]]),
        (Tip.unpack, [-1, 0, ID]),
        (Tip.unpack, [True, 0, ID]),
        (messages.unpack_id, [ID, ID]),
        (messages.unpack_id, ["x"]),
        (messages.unpack_own_votes, [vote().pack()] * (OWN_VOTES_MAX + 1)),
        (messages.unpack_own_votes, [b"no vote"]),
        (messages.unpack_range_wanted, [0, 1]),
        (messages.unpack_range_wanted, [1, 0]),
        (messages.unpack_range_wanted, [1, RANGE_BLOCKS_MAX + 1]),
        (messages.unpack_range, [1, [[b"", b"c"]]]),
        (messages.unpack_range, [1, [[b"b"]]]),
        (messages.unpack_range, [1, [[b"b", b"c"]] * (RANGE_BLOCKS_MAX + 1)]),
        # One small request must not ask for the same large transaction 20,000 times.
        (messages.unpack_missing_wanted, [ID, [5, 5]]),
        (messages.unpack_missing_wanted, [ID, [5, 4]]),
        (messages.unpack_missing_wanted, [ID, [BLOCK_TRANSACTIONS_MAX]]),
        (messages.unpack_missing, [ID, [b""]]),
        (messages.unpack_missing, [ID, [bytes(TX_BYTES_MAX + 1)]]),
        (messages.unpack_bodies, [b""]),
        (messages.unpack_bodies, [b"t"] * (BODIES_MAX + 1)),
        (messages.unpack_ids, [ID] * (ANNOUNCE_MAX + 1)),
        (messages.unpack_ids, [ID[:-1]]),
        (Compact.unpack, [b"no header", None, [], b""]),
        (Compact.unpack, [header().pack(), None, [], bytes(PREFIX_BYTES + 1)]),
        (Compact.unpack, [header().pack(), b"", [], b""]),
        (Compact.unpack, [header().pack(), None, [b""], b""]),
        (Compact.unpack, [header().pack(), None, None, b""]),
    ],
)
def test_values_out_of_bounds_are_refused(read: Callable[[bytes], Any], wire: list[Any]) -> None:
    with pytest.raises(Malformed):
        read(codec.pack(wire))


READERS: list[Callable[[bytes], Any]] = [
    Have.unpack,
    Tip.unpack,
    Compact.unpack,
    messages.unpack_id,
    messages.unpack_own_votes,
    messages.unpack_missing_wanted,
    messages.unpack_missing,
    messages.unpack_bodies,
    messages.unpack_ids,
    messages.unpack_range_wanted,
    messages.unpack_range,
]
WIRE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=70)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=20,
)  # fmt: skip


@given(
    st.sampled_from(READERS), st.binary(max_size=200) | st.lists(WIRE, max_size=6).map(codec.pack)
)
def test_no_bytes_break_a_reader(read: Callable[[bytes], Any], data: bytes) -> None:
    try:
        read(data)
    except Malformed as err:
        assert err.field


def test_sizes_are_known_for_every_kind_and_refused_for_all_others() -> None:
    """A kind without a cap would be collected without bound."""
    router = Router()
    kinds = {
        Channel.CONSENSUS: ConsensusKind,
        Channel.PROPOSALS: ProposalKind,
        Channel.EVIDENCE: EvidenceKind,
        Channel.TRANSACTIONS: TransactionKind,
        Channel.SYNC: SyncKind,
    }
    for channel in range(10):
        for kind in range(10):
            known = channel in kinds and kind in [int(k) for k in kinds[Channel(channel)]]
            if known:
                assert 0 < router.size_max(channel, kind) <= 21_000_000
            else:
                with pytest.raises(ProtocolViolation):
                    router.size_max(channel, kind)
