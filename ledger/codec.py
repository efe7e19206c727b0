"""Canonical bytes: msgpack, arrays only, fixed field order, shortest form, nothing else.

One value has one encoding and one encoding one value: whatever `unpack` accepts re-encodes to
the same bytes. Types are exact (`True` is not 1). Field readers name the field they refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgpack

from clawpurse.ledger.errors import Bug, Malformed

U64_MAX: Final = 2**64 - 1
U32_MAX: Final = 2**32 - 1
# Deepest legitimate nesting: block → transactions → signed → witness → entry, plus one for
# action fields. Deeper input is hostile and would only cost recursion.
NESTING_MAX: Final = 8
# Longest array unless the caller knows of longer ones. The decoder makes room for as many items
# as an array's head claims, at every one of 1,024 levels, before it sees an item: without a
# bound, 64 KiB that are no message at all cost 75 ms and 60 MB.
COUNT_MAX: Final = 4_096

# Stripping a text of these leaves nothing if, and only if, it has no other character: twenty
# times as fast as looking at each, and free of character tables, which differ between Pythons.
_PRINTABLE: Final = "".join(map(chr, range(0x20, 0x7F)))

Wire = None | bool | int | str | bytes | list["Wire"]


def pack(value: object) -> bytes:
    """Encode nested lists or tuples of int, bytes, str, bool and None."""
    return msgpack.Packer().pack(value)


def unpack(
    data: bytes, *, size_max: int, field: str = "message", count_max: int = COUNT_MAX
) -> list[Wire]:
    """Decode one canonical array of at most `size_max` bytes, whatever it holds.

    No array in it has more than `count_max` items. Raises `Malformed` on anything that is not
    the one canonical encoding of an array: trailing bytes, longer forms, maps, floats,
    extension types, too deep nesting.
    """
    value = unpack_typed(data, size_max=size_max, field=field, count_max=count_max)
    refuse_foreign(value, field)
    return value


def unpack_typed(
    data: bytes, *, size_max: int, field: str = "message", count_max: int = COUNT_MAX
) -> list[Wire]:
    """As `unpack`, for callers that read every item with an exact reader of this file.

    Skips the walk for foreign types, which those readers repeat: half the cost of decoding a
    transaction.
    """
    if len(data) > size_max:
        raise Malformed(field, f"is {len(data)} bytes, at most {size_max} are allowed")
    try:
        value = msgpack.unpackb(data, max_array_len=count_max, max_map_len=0, max_ext_len=0)
        canonical = type(value) is list and msgpack.Packer().pack(value) == data
    except (
        ValueError,
        TypeError,
        OverflowError,
        RecursionError,
        msgpack.exceptions.UnpackException,
    ) as err:
        raise Malformed(field, f"is not canonical msgpack ({type(err).__name__})") from None
    if not canonical:
        raise Malformed(field, "is not the canonical encoding of an array")
    return value  # type: ignore[no-any-return]


def unpack_own(data: bytes) -> list[Wire]:
    """Decode bytes that this software packed and storage checked; no canonical check again.

    Raises `Bug` when they are not an array: storage vouched for bytes that we never wrote.
    """
    try:
        value = msgpack.unpackb(data)
    except (ValueError, msgpack.exceptions.UnpackException) as err:
        raise Bug(f"a record of ours does not decode ({type(err).__name__})") from err
    if type(value) is not list:
        raise Bug("a record of ours is not an array")
    return value


def refuse_foreign(value: list[Wire], field: str) -> None:
    """Raise `Malformed` unless a decoded array holds only our types, `NESTING_MAX` deep at most.

    For arrays whose meaning is not known yet, so that no exact reader has seen their items.
    """
    level: list[list[Wire]] = [value]
    for _ in range(NESTING_MAX):
        deeper: list[list[Wire]] = []
        for items in level:
            for item in items:
                kind = type(item)
                if kind is list:
                    deeper.append(item)  # type: ignore[arg-type]
                elif item is not None and kind not in (int, bytes, str, bool):
                    raise Malformed(field, f"holds a {kind.__name__}, which the format lacks")
        if not deeper:
            return
        level = deeper
    raise Malformed(field, f"is nested deeper than {NESTING_MAX} levels")


def array(value: object, field: str, length: int) -> list[Wire]:
    """Return `value` if it is an array of exactly `length` items."""
    if type(value) is not list:
        raise Malformed(field, "is not an array")
    if len(value) != length:
        raise Malformed(field, f"has {len(value)} items, {length} are required")
    return value


def items(value: object, field: str, count_max: int) -> list[Wire]:
    """Return `value` if it is an array of at most `count_max` items."""
    if type(value) is not list:
        raise Malformed(field, "is not an array")
    if len(value) > count_max:
        raise Malformed(field, f"has {len(value)} items, at most {count_max} are allowed")
    return value


def integer(value: object, field: str, low: int = 0, high: int = U64_MAX) -> int:
    """Return `value` if it is an int (not a bool) within `low`…`high`."""
    if type(value) is not int:
        raise Malformed(field, "is not an integer")
    if not low <= value <= high:
        raise Malformed(field, f"is {value}, outside {low}…{high}")
    return value


def binary(value: object, field: str, size_max: int, size_min: int = 0) -> bytes:
    """Return `value` if it is a byte string of `size_min`…`size_max` bytes."""
    if type(value) is not bytes:
        raise Malformed(field, "is not a byte string")
    if not size_min <= len(value) <= size_max:
        raise Malformed(field, f"is {len(value)} bytes, {size_min}…{size_max} are allowed")
    return value


def digest(value: object, field: str) -> bytes:
    """Return `value` if it is exactly 32 bytes: a hash, key or account id."""
    if type(value) is not bytes or len(value) != 32:
        raise Malformed(field, "is not 32 bytes")
    return value


def optional_digest(value: object, field: str) -> bytes | None:
    """Return None, or `value` if it is exactly 32 bytes."""
    return None if value is None else digest(value, field)


def ascii_text(value: object, field: str, size_max: int, size_min: int = 1) -> str:
    """Return `value` if it is printable ASCII of `size_min`…`size_max` characters."""
    if type(value) is not str:
        raise Malformed(field, "is not a string")
    if not size_min <= len(value) <= size_max:
        raise Malformed(field, f"is {len(value)} characters, {size_min}…{size_max} are allowed")
    if value.strip(_PRINTABLE):
        raise Malformed(field, "has a character outside printable ASCII")
    return value


def version(value: object, field: str, known: Sequence[int]) -> int:
    """Return `value` if it is a version that this software knows."""
    if type(value) is not int:
        raise Malformed(field, "is not an integer")
    if value not in known:
        raise Malformed(field, f"is version {value}; known here: {list(known)}")
    return value
