"""Records and frames: what the wire may do to bytes, and what a hostile peer may claim.

If these failed, a tampered vote could be read as another, or one connection could fill the
memory of a node.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.errors import Bug, ProtocolViolation
from clawpurse.p2p import records
from clawpurse.p2p.noise import decrypt, rekeyed
from clawpurse.p2p.records import (
    FLAG_END,
    FLAG_START,
    FRAME_BYTES_MAX,
    FRAME_BYTES_MIN,
    PLAIN_BYTES_MAX,
    Message,
    MessageReader,
    RecordCipher,
    RecordReader,
    frame_message,
)

KEY = b"\x07" * 32
SIZE_MAX = 200_000


def size_max(channel: int, kind: int) -> int:
    if channel > 3 or kind > 9:
        raise ProtocolViolation(f"there is no kind {kind} on channel {channel}")
    return SIZE_MAX


def frame(channel: int, flags: int, data: bytes) -> bytes:
    return bytes((channel, flags)) + len(data).to_bytes(2, "big") + data


def head(total: int, kind: int) -> bytes:
    return (total + 1).to_bytes(4, "big") + bytes((kind,))


@given(
    st.lists(st.binary(min_size=1, max_size=500), min_size=1, max_size=20),
    st.lists(st.integers(1, 300), min_size=1, max_size=50),
)
def test_records_survive_any_chunking(plains: list[bytes], sizes: list[int]) -> None:
    """TCP delivers what it likes at once."""
    seal = RecordCipher(KEY)
    wire = b"".join([seal.seal(plain) for plain in plains])
    reader = RecordReader(RecordCipher(KEY))
    found: list[bytes] = []
    place = turn = 0
    while place < len(wire):
        size = sizes[turn % len(sizes)]
        found += reader.feed(wire[place : place + size])
        place, turn = place + size, turn + 1
    assert found == plains


def test_the_largest_record_fits_its_length_and_a_larger_one_is_our_mistake() -> None:
    seal, opener = RecordCipher(KEY), RecordReader(RecordCipher(KEY))
    wire = seal.seal(bytes(PLAIN_BYTES_MAX))
    assert len(wire) == 65_537
    assert opener.feed(wire) == [bytes(PLAIN_BYTES_MAX)]
    for size in (0, PLAIN_BYTES_MAX + 1):
        with pytest.raises(Bug):
            seal.seal(bytes(size))


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_a_flipped_bit_is_never_read(place: int, bit: int) -> None:
    """Beyond its length field a record is covered by its tag to the last bit."""
    wire = bytearray(RecordCipher(KEY).seal(b"pay bob 5 CLAW" * 10))
    wire[place % len(wire)] ^= 1 << bit
    reader = RecordReader(RecordCipher(KEY))
    try:
        # A longer length makes the reader wait; more bytes then show the lie.
        assert reader.feed(bytes(wire)) == []
        assert reader.feed(bytes(70_000)) == []
    except ProtocolViolation:
        return
    raise AssertionError("a tampered record was neither refused nor waited for")


def test_replayed_reordered_and_dropped_records_are_refused() -> None:
    """Each record opens once, in its place: nobody can repeat a payment message or swallow one."""
    seal = RecordCipher(KEY)
    one, two, three = (seal.seal(text) for text in (b"one", b"two", b"three"))
    for wire in (one + one, two + one, one + three, two):
        reader = RecordReader(RecordCipher(KEY))
        with pytest.raises(ProtocolViolation, match="does not decrypt"):
            reader.feed(wire)


def test_the_other_direction_s_records_are_refused() -> None:
    """A reflected record must not be taken for the peer's."""
    seal = RecordCipher(KEY)
    with pytest.raises(ProtocolViolation):
        RecordReader(RecordCipher(b"\x08" * 32)).feed(seal.seal(b"one"))


@pytest.mark.parametrize("size", [0, 1, 16])
def test_an_empty_record_is_refused(size: int) -> None:
    """A peer could else keep us busy with records that hold nothing."""
    with pytest.raises(ProtocolViolation, match="empty"):
        RecordReader(RecordCipher(KEY)).feed(size.to_bytes(2, "big") + bytes(size))


def test_both_sides_change_keys_after_the_same_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """One off, and every connection would break after a million records."""
    monkeypatch.setattr(records, "REKEY_RECORDS", 3)
    seal, opener = RecordCipher(KEY), RecordCipher(KEY)
    for number in range(10):
        plain = bytes((number,)) * 5
        assert opener.open(seal.seal(plain)[2:]) == plain


def test_no_two_records_are_sealed_with_one_key_and_nonce(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two would show an eavesdropper the difference of what they hold, and let him forge."""
    monkeypatch.setattr(records, "REKEY_RECORDS", 3)
    cipher = RecordCipher(KEY)
    # Equal plaintexts: a repeated key and nonce would make equal records.
    wires = [cipher.seal(b"the same text") for _ in range(20)]
    assert len(dict.fromkeys(wires)) == len(wires)
    key = KEY
    for number, wire in enumerate(wires):
        if number and number % 3 == 0:
            key = rekeyed(key)
        assert decrypt(key, number % 3, b"", wire[2:]) == b"the same text"


PAYLOADS = st.one_of(
    st.binary(max_size=200),
    st.integers(FRAME_BYTES_MAX - 10, 3 * FRAME_BYTES_MAX).map(
        lambda n: bytes(n % 256 for n in range(n))
    ),
)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), PAYLOADS), max_size=6), st.data())
def test_messages_of_several_channels_interleave_and_come_out_whole(
    sent: list[tuple[int, int, bytes]], data: st.DataObject
) -> None:
    """Votes overtake blocks on one wire; neither may be mixed up."""
    queues: dict[int, list[bytes]] = {}
    for channel, kind, payload in sent:
        queues.setdefault(channel, []).extend(frame_message(channel, kind, payload))
    reader = MessageReader(size_max)
    got: dict[int, list[Message]] = {}
    while queues:
        channel = data.draw(st.sampled_from(sorted(queues)))
        plain = queues[channel].pop(0)
        if not queues[channel]:
            del queues[channel]
        for message in reader.feed(plain):
            got.setdefault(message.channel, []).append(message)
    expected: dict[int, list[Message]] = {}
    for channel, kind, payload in sent:
        expected.setdefault(channel, []).append(Message(channel, kind, payload))
    assert got == expected
    assert reader.unfinished_bytes == 0


def test_many_frames_in_one_record_are_all_read() -> None:
    plain = b"".join(
        frame_message(1, 2, b"a") + frame_message(2, 3, b"") + frame_message(1, 2, b"b")
    )
    assert MessageReader(size_max).feed(plain) == [
        Message(1, 2, b"a"),
        Message(2, 3, b""),
        Message(1, 2, b"b"),
    ]


@pytest.mark.parametrize(
    ("plain", "problem"),
    [
        (frame(1, FLAG_START | FLAG_END, head(SIZE_MAX + 1, 1)), "claims"),
        (frame(1, FLAG_START | FLAG_END, (2**32 - 1).to_bytes(4, "big") + b"\1"), "claims"),
        (frame(1, FLAG_START | FLAG_END, bytes(4) + b"\1"), "claims -1"),
        (frame(4, FLAG_START | FLAG_END, head(0, 1)), "no kind 1 on channel 4"),
        (frame(1, FLAG_START | FLAG_END, head(0, 10)), "no kind 10 on channel 1"),
        (frame(1, FLAG_END, b"abc"), "continues nothing"),
        (frame(1, FLAG_START | FLAG_END, b"abc"), "without a head"),
        (frame(1, FLAG_START | FLAG_END, head(2, 1) + b"abc"), "not as long"),
        (frame(1, FLAG_START | FLAG_END, head(4, 1) + b"abc"), "not as long"),
        (frame(1, 4, b"abc"), "cut off"),
        (frame(1, FLAG_START | FLAG_END, head(0, 1))[:-1], "cut off"),
        (b"\1", "cut off"),
        (frame(1, 0, b""), "crumbs"),
        (frame(1, FLAG_START, head(9, 1)), "crumbs"),
        (
            frame(1, FLAG_START, head(100_000, 1).ljust(FRAME_BYTES_MIN, b"x"))
            + frame(1, FLAG_START, head(9, 1).ljust(FRAME_BYTES_MIN, b"x")),
            "begins inside another",
        ),
        (
            frame(1, FLAG_START, head(20_000, 1).ljust(FRAME_BYTES_MIN, b"x"))
            + frame(1, 0, bytes(FRAME_BYTES_MIN)),
            "not as long",
        ),
    ],
)
def test_broken_frames_are_refused(plain: bytes, problem: str) -> None:
    """Each of these would let a peer hold memory, stall a channel, or smuggle a message."""
    with pytest.raises(ProtocolViolation, match=problem):
        MessageReader(size_max).feed(plain)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_frame_reader(data: bytes) -> None:
    """What decrypts may still be rubbish: only a typed refusal may come of it."""
    reader = MessageReader(size_max)
    try:
        for message in reader.feed(data):
            assert len(message.payload) <= SIZE_MAX
    except ProtocolViolation:
        return


def test_what_is_unfinished_is_counted() -> None:
    """The pool bounds memory by this figure."""
    reader = MessageReader(size_max)
    frames = frame_message(1, 1, bytes(100_000))
    reader.feed(frames[0])
    assert reader.unfinished_bytes == FRAME_BYTES_MAX - 5
    for piece in frames[1:]:
        reader.feed(piece)
    assert reader.unfinished_bytes == 0
