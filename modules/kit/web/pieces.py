"""Long answers in pieces, so that nobody encodes, copies or sends megabytes in one go.

Encoding eight megabytes keeps the loop for tens of milliseconds, and each copy of them for three.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from pydantic_core import to_json

#: What is encoded or sent in one go: a tenth of a millisecond.
PIECE_BYTES: Final = 64 * 1024
# A list of fewer members is encoded with what is around it.
_LONG: Final = 16


class Pieces:
    """Bytes that were not put together. Has a length, and `bytes()` joins."""

    __slots__ = ("_pieces", "_size")

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces: Final = pieces
        self._size: Final = sum(map(len, pieces))

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        return b"".join(self._pieces)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)


Reply = bytes | Pieces
"""An answer, whole or in pieces."""


def is_long(value: Any) -> bool:
    """Return whether a JSON value has a long list somewhere in its objects."""
    if type(value) is list:
        return len(value) > _LONG
    return type(value) is dict and any(
        type(member) in (dict, list) and is_long(member) for member in value.values()
    )


def encoded(value: Any) -> Iterator[bytes]:
    """Yield the JSON of a value, long lists in groups of members. Raises as `to_json` does."""
    if not is_long(value):
        yield to_json(value, inf_nan_mode="null")
    elif type(value) is list:
        for start in range(0, len(value), _LONG):
            group = to_json(value[start : start + _LONG], inf_nan_mode="null")
            yield (b"," if start else b"[") + group[1:-1]
        yield b"]"
    else:
        mark = b"{"
        for name, member in value.items():
            # An object's key is text; one member alone says how others are written.
            yield mark + to_json({name: None})[1:-5]
            yield from encoded(member)
            mark = b","
        yield b"}"


def sendable(pieces: Iterable[bytes]) -> Iterator[bytes | memoryview]:
    """Yield the same bytes in portions that are quick to send: small joined, large ones cut."""
    joined: list[bytes] = []
    size = 0
    for piece in pieces:
        if size and size + len(piece) > PIECE_BYTES:
            yield b"".join(joined)
            joined, size = [], 0
        if len(piece) > PIECE_BYTES:
            view = memoryview(piece)
            for start in range(0, len(view), PIECE_BYTES):
                yield view[start : start + PIECE_BYTES]
        else:
            joined.append(piece)
            size += len(piece)
    if size:
        yield b"".join(joined)
