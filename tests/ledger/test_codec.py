"""One value has one encoding; a second one would be a second id for the same payment."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger import codec
from clawpurse.ledger.errors import Bug, Malformed

plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=300)
    | st.text(max_size=40)
)
values = st.lists(st.recursive(plain, lambda inner: st.lists(inner, max_size=20), max_leaves=30))


def depth(value: Any) -> int:
    return 1 + max(map(depth, value), default=0) if type(value) is list else 0


def readers() -> list[Any]:
    """Every way from bytes to a value."""
    return [
        lambda data: codec.unpack(data, size_max=1_000_000),
        lambda data: codec.unpack_typed(data, size_max=1_000_000),
    ]


@given(values)
def test_a_value_comes_back_as_it_was(value: list[Any]) -> None:
    data = codec.pack(value)
    assert codec.unpack_typed(data, size_max=1_000_000) == value
    assert codec.unpack_own(data) == value
    if depth(value) <= codec.NESTING_MAX:
        assert codec.unpack(data, size_max=1_000_000) == value
    else:
        with pytest.raises(Malformed, match="nested deeper"):
            codec.unpack(data, size_max=1_000_000)


@given(st.binary(max_size=200))
def test_hostile_bytes_are_malformed_or_the_one_encoding_of_what_they_say(data: bytes) -> None:
    for read in readers():
        try:
            value = read(data)
        except Malformed:
            continue
        assert type(value) is list and codec.pack(value) == data


@given(values, st.data())
def test_bytes_with_one_byte_changed_never_raise_anything_else(
    value: list[Any], data: st.DataObject
) -> None:
    packed = bytearray(codec.pack(value))
    packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    for read in readers():
        try:
            assert codec.pack(read(bytes(packed))) == packed
        except Malformed:
            pass  # Refusing is one of the two things that it may do.


# The array [x] with x in a longer form than it needs, and everything that is not an array of
# our types.
NOT_CANONICAL = {
    "array16 of one": b"\xdc\x00\x01\x05",
    "array32 of one": b"\xdd\x00\x00\x00\x01\x05",
    "uint8 below 128": b"\x91\xcc\x05",
    "uint16 below 256": b"\x91\xcd\x00\x80",
    "uint32 below 65536": b"\x91\xce\x00\x00\x01\x00",
    "uint64 below 2^32": b"\x91\xcf\x00\x00\x00\x00\x00\x01\x00\x00",
    "int8 of a positive": b"\x91\xd0\x05",
    "int16 of a positive": b"\x91\xd1\x01\x00",
    "int32 of a positive": b"\x91\xd2\x00\x01\x00\x00",
    "int64 of a positive": b"\x91\xd3\x00\x00\x00\x01\x00\x00\x00\x00",
    "int8 of a small negative": b"\x91\xd0\xff",
    "int16 of a small negative": b"\x91\xd1\xff\xff",
    "bin16 of three bytes": b"\x91\xc5\x00\x03abc",
    "bin32 of three bytes": b"\x91\xc6\x00\x00\x00\x03abc",
    "str8 of three characters": b"\x91\xd9\x03abc",
    "str16 of three characters": b"\x91\xda\x00\x03abc",
    "str32 of three characters": b"\x91\xdb\x00\x00\x00\x03abc",
    "text that is not UTF-8": b"\x91\xa2\xff\xfe",
    "text with a surrogate": b"\x91\xa3\xed\xa0\x80",
    "overlong UTF-8": b"\x91\xa2\xc0\xaf",
    "trailing byte": b"\x91\x05\x00",
    "second value": b"\x91\x05\x91\x05",
    "cut short": b"\x92\x05",
    "no bytes": b"",
    "an integer": b"\x05",
    "nil": b"\xc0",
    "a byte string": b"\xc4\x01a",
    "a map": b"\x81\x01\x02",
    "a map with a map as key": b"\x81\x80\x02",
    "unused code": b"\xc1",
    "array that claims 2^32 items": b"\xdd\xff\xff\xff\xff",
    "bytes that claim 2^32 bytes": b"\x91\xc6\xff\xff\xff\xff",
}
FOREIGN = {
    "float32": b"\x91\xca\x3f\x80\x00\x00",
    "float64": b"\x91\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00",
    "not a number": b"\x91\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    "empty map inside": b"\x91\x80",
    "map inside": b"\x91\x81\x01\x02",
    "extension type": b"\x91\xc7\x00\x05",
    "extension with a byte": b"\x91\xd4\x05\x00",
    "timestamp": b"\x91\xd6\xff\x00\x00\x00\x01",
    "deep": b"\x91" * 9,
}


@pytest.mark.parametrize("name", NOT_CANONICAL)
def test_every_other_form_is_refused(name: str) -> None:
    for read in readers():
        with pytest.raises(Malformed):
            read(NOT_CANONICAL[name])


@pytest.mark.parametrize("name", FOREIGN)
def test_types_that_the_format_lacks_are_refused(name: str) -> None:
    with pytest.raises(Malformed):
        codec.unpack(FOREIGN[name], size_max=100)


@pytest.mark.parametrize("levels", [1_000, 1_023, 1_024, 5_000, 60_000])
@pytest.mark.parametrize("head", [b"\x91", b"\xdc\x00\x01", b"\xdd\x00\x00\xff\xff"])
def test_nesting_without_end_is_refused_before_it_costs_anything(head: bytes, levels: int) -> None:
    """A node that spends 75 ms and 60 MB on 64 KiB of nothing is stopped by one bad peer."""
    data = (head * levels)[:65_536]
    tracemalloc.start()
    for read in readers():
        with pytest.raises(Malformed):
            read(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40_000_000


def test_arrays_longer_than_the_caller_knows_are_refused_from_their_head() -> None:
    data = codec.pack([[0] * 300])
    assert codec.unpack(data, size_max=1_000, count_max=300)
    with pytest.raises(Malformed):
        codec.unpack(data, size_max=1_000, count_max=299)
    assert len(codec.unpack(codec.pack([0] * codec.COUNT_MAX), size_max=10_000)) == 4_096
    with pytest.raises(Malformed):
        codec.unpack(codec.pack([0] * (codec.COUNT_MAX + 1)), size_max=10_000)


def test_size_is_checked_before_anything_is_decoded() -> None:
    data = codec.pack([b"x" * 100])
    assert codec.unpack(data, size_max=len(data))
    with pytest.raises(
        Malformed, match=f"is {len(data)} bytes, at most {len(data) - 1} are"
    ) as caught:
        codec.unpack(data, size_max=len(data) - 1, field="thing")
    assert caught.value.field == "thing"


@pytest.mark.parametrize("data", [b"", b"\x05", b"\x81\x01\x02", b"\x92\x01", b"\x91\x01\x01"])
def test_damage_in_a_record_of_ours_is_a_bug_not_a_caller_fault(data: bytes) -> None:
    with pytest.raises(Bug):
        codec.unpack_own(data)


def test_python_and_msgpack_agree_on_what_is_shortest() -> None:
    """The rule is the shortest form; msgpack's packer is trusted with it, so it is looked at."""
    for value, size in (
        (127, 1), (128, 2), (255, 2), (256, 3), (65_535, 3), (65_536, 5), (2**32 - 1, 5),
        (2**32, 9), (2**64 - 1, 9), (-32, 1), (-33, 2), (-128, 2), (-129, 3), (-(2**63), 9),
    ):  # fmt: skip
        assert len(codec.pack([value])) == 1 + size
    for count, head in ((15, 1), (16, 3), (65_535, 3), (65_536, 5)):
        assert len(codec.pack([0] * count)) == head + count
    for size, head in ((0, 2), (255, 2), (256, 3), (65_535, 3), (65_536, 5)):
        assert len(codec.pack([b"x" * size])) == 1 + head + size
    for size, head in ((0, 1), (31, 1), (32, 2), (255, 2), (256, 3)):
        assert len(codec.pack(["x" * size])) == 1 + head + size


# -- readers of one field

REFUSED: list[tuple[Any, Any]] = [
    (codec.integer, True),
    (codec.integer, False),
    (codec.integer, None),
    (codec.integer, "1"),
    (codec.integer, b"1"),
    (codec.integer, 1.0),
    (codec.integer, -1),
    (codec.integer, 2**64),
    (codec.integer, [1]),
    (codec.digest, b"x" * 31),
    (codec.digest, b"x" * 33),
    (codec.digest, "x" * 32),
    (codec.digest, bytearray(32)),
    (codec.digest, None),
    (codec.optional_digest, b""),
    (codec.optional_digest, False),
]


@pytest.mark.parametrize(("reader", "value"), REFUSED)
def test_a_field_of_another_type_or_size_is_refused_by_name(reader: Any, value: Any) -> None:
    with pytest.raises(Malformed) as caught:
        reader(value, "body.field")
    assert caught.value.field == "body.field"


@pytest.mark.parametrize(
    "value", ["", "x" * 9, "a\x1f", "a\x7f", "a\n", "\x00", "é", "a\u200b", "Ⅷ", b"abc", 1, None]
)
def test_text_that_consensus_reads_is_printable_ascii(value: Any) -> None:
    """Everything else has tables that differ between versions, or hides in a terminal."""
    with pytest.raises(Malformed):
        codec.ascii_text(value, "field", 8)


def test_all_printable_ascii_is_taken_and_nothing_beside_it() -> None:
    for number in range(0x250):
        char = chr(number)
        if 0x20 <= number <= 0x7E:
            assert codec.ascii_text(f"a{char}b", "field", 8) == f"a{char}b"
        else:
            with pytest.raises(Malformed, match="printable ASCII"):
                codec.ascii_text(f"a{char}b", "field", 8)
    assert codec.ascii_text("", "field", 8, 0) == ""


def test_bounds_are_inclusive() -> None:
    assert codec.integer(0, "f") == 0 and codec.integer(2**64 - 1, "f") == 2**64 - 1
    assert codec.integer(3, "f", 3, 3) == 3
    assert codec.binary(b"ab", "f", 2, 2) == b"ab"
    for value in (b"a", b"abc", "ab", None, bytearray(2)):
        with pytest.raises(Malformed):
            codec.binary(value, "f", 2, 2)
    assert codec.array([1, 2], "f", 2) == [1, 2] and codec.items([], "f", 0) == []
    for wrong in ([1], [1, 2, 3], (1, 2), None, {1: 2}):
        with pytest.raises(Malformed):
            codec.array(wrong, "f", 2)
    for wrong in ([1, 2, 3], (1, 2), None):
        with pytest.raises(Malformed):
            codec.items(wrong, "f", 2)
    assert codec.version(1, "f", (1, 2)) == 1
    for unknown in (0, 3, True, "1", None, [1] * 1_000):
        with pytest.raises(Malformed) as caught:
            codec.version(unknown, "f", (1, 2))
        assert len(str(caught.value)) < 100


def test_floats_never_reach_the_wire_unnoticed() -> None:
    assert msgpack.unpackb(codec.pack([1.5])) == [1.5]
    with pytest.raises(Malformed, match="holds a float"):
        codec.unpack(codec.pack([1.5]), size_max=100)
