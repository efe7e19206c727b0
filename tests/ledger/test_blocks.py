"""Headers, blocks, receipts and events: what light clients and other implementations must read."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger import codec, crypto
from clawpurse.ledger.blocks import (
    BLOCK_TRANSACTIONS_MAX,
    CERTIFICATE_BYTES_MAX,
    EVIDENCE_MAX,
    FACTS_MAX,
    HEADER_BYTES_MAX,
    TRACE_MAX,
    Block,
    Event,
    Header,
    Receipt,
)
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.transactions import TX_BYTES_MAX

digests = st.binary(min_size=32, max_size=32)
u64, u32 = st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1)
ascii_texts = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=32
)
HEADER_FIELDS: list[Any] = [1, "net", bytes(32), 0, 7, 9, 0]
HEADER_FIELDS += [*(bytes([number]) * 32 for number in range(11)), 5]
HEADER = Header(*HEADER_FIELDS)
headers: st.SearchStrategy[Header] = st.tuples(
    st.just(1), ascii_texts, digests, u32, u64, u64, u32, *[digests] * 11, u64
).map(lambda values: Header(*values))
wire_values = st.recursive(
    st.none() | st.booleans() | u64 | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=4,
)
receipts = st.builds(
    Receipt, digests, st.integers(0, 999), ascii_texts,
    st.lists(wire_values, max_size=16).map(tuple), u64, u64, u64, u64,
    st.lists(st.tuples(ascii_texts, u64, st.integers(0, 2)), max_size=3).map(tuple),
)  # fmt: skip
events = st.builds(
    Event, st.none() | u64, ascii_texts, st.lists(digests, max_size=3).map(tuple),
    st.lists(wire_values, max_size=5).map(tuple),
)  # fmt: skip


@given(headers)
def test_a_header_comes_back_and_has_one_id(header: Header) -> None:
    again = Header.unpack(header.pack())
    assert again == header and again.block_id == crypto.block_id_of(header.pack())
    assert len(header.pack()) <= HEADER_BYTES_MAX


def test_every_field_of_a_header_is_in_its_id() -> None:
    ids = {HEADER.block_id}
    for spec in fields(HEADER):
        value = getattr(HEADER, spec.name)
        other: Any = value + 1 if type(value) is int else b"x" * 32
        if type(value) is str:
            other = "x"
        ids.add(replace(HEADER, **{spec.name: other}).block_id)
    assert len(ids) == 20


@pytest.mark.parametrize(
    ("field", "value"),
    [("version", 2), ("chain_id", ""), ("chain_id", "x" * 33), ("genesis_hash", bytes(31)),
     ("recovery_epoch", 2**32), ("first_round", 2**32), ("height", -1), ("time_ms", None),
     ("cost_used", True), ("state_root", None), ("proposer", "p" * 32)],
)  # fmt: skip
def test_a_header_field_of_another_kind_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(Malformed, match=f"header.{field}"):
        Header.unpack(replace(HEADER, **{field: value}).pack())


@given(headers, st.none() | st.binary(min_size=1, max_size=50), st.data())
def test_a_block_comes_back(header: Header, certificate: bytes | None, data: st.DataObject) -> None:
    parts = st.lists(st.binary(min_size=1, max_size=30), max_size=4).map(tuple)
    block = Block(header, certificate, data.draw(parts), data.draw(parts))
    assert Block.unpack(block.pack()) == block


def wire_of(block: Block) -> list[Any]:
    return codec.unpack_own(block.pack())


BLOCK_WIRE = wire_of(Block(HEADER, b"c", (b"e",), (b"t",)))


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, 2), (0, None), (1, b""), (1, HEADER.pack() + b"\x00"), (1, None), (2, b""), (2, 5),
     (2, bytes(CERTIFICATE_BYTES_MAX + 1)), (3, None), (3, [b""]), (3, [b"e"] * (EVIDENCE_MAX + 1)),
     (4, None), (4, [b""]), (4, [5]), (4, [bytes(TX_BYTES_MAX + 1)])],
)  # fmt: skip
def test_other_blocks_are_refused(place: int, value: Any) -> None:
    wire = [value if at == place else item for at, item in enumerate(BLOCK_WIRE)]
    with pytest.raises(Malformed):
        Block.unpack(codec.pack(wire))
    with pytest.raises(Malformed):
        Block.unpack(codec.pack(BLOCK_WIRE[:place]))


def test_a_block_holds_no_more_transactions_than_decoders_take() -> None:
    full = Block(HEADER, None, (), (b"t",) * BLOCK_TRANSACTIONS_MAX)
    assert len(Block.unpack(full.pack()).transactions) == BLOCK_TRANSACTIONS_MAX
    with pytest.raises(Malformed):
        Block.unpack(full._replace(transactions=(b"t",) * (BLOCK_TRANSACTIONS_MAX + 1)).pack())


@given(receipts)
def test_a_receipt_comes_back(receipt: Receipt) -> None:
    assert Receipt.unpack(receipt.pack()) == receipt


@given(events)
def test_an_event_comes_back(event: Event) -> None:
    assert Event.unpack(event.pack()) == event


RECEIPT: Any = Receipt(bytes(32), 0, "", (), 0, 0, 0, 0, ())
EVENT: Any = Event(None, "a.b", (bytes(32),), (1,))


@pytest.mark.parametrize(
    "receipt",
    [RECEIPT._replace(tx_id=bytes(31)), RECEIPT._replace(code=1_000), RECEIPT._replace(code=-1),
     RECEIPT._replace(rule="x" * 65), RECEIPT._replace(rule="é"), RECEIPT._replace(fee=-1),
     RECEIPT._replace(facts=(0,) * (FACTS_MAX + 1)), RECEIPT._replace(facts=({},)),
     RECEIPT._replace(facts=(1.5,)), RECEIPT._replace(event_count=None),
     RECEIPT._replace(trace=(("a", 1, 3),)), RECEIPT._replace(trace=(("a", 1),)),
     RECEIPT._replace(trace=(("a", 1, 0),) * (TRACE_MAX + 1)), RECEIPT[:8], (*RECEIPT, 1)],
)  # fmt: skip
def test_other_receipts_are_refused(receipt: Any) -> None:
    with pytest.raises(Malformed):
        Receipt.unpack(codec.pack(receipt))


@pytest.mark.parametrize(
    "event",
    [EVENT._replace(transaction=-1), EVENT._replace(kind=""), EVENT._replace(kind="x" * 65),
     EVENT._replace(accounts=(b"",)), EVENT._replace(accounts=(bytes(32),) * 513),
     EVENT._replace(data=(1,) * 65), EVENT._replace(data=(1.5,)), EVENT[:3]],
)  # fmt: skip
def test_other_events_are_refused(event: Any) -> None:
    with pytest.raises(Malformed):
        Event.unpack(codec.pack(event))


@given(st.binary(max_size=300))
def test_hostile_bytes_are_malformed(data: bytes) -> None:
    for read in (Header.unpack, Block.unpack, Receipt.unpack, Event.unpack):
        with pytest.raises(Malformed):
            read(data)


@given(st.sampled_from([HEADER, Block(HEADER, b"c", (b"e",), (b"t",)), RECEIPT, EVENT]), st.data())
def test_changed_bytes_are_malformed_or_another_value(thing: Any, data: st.DataObject) -> None:
    packed = bytearray(thing.pack())
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = type(thing).unpack(bytes(packed))
    except Malformed:
        return
    assert found != thing and found.pack() == packed
