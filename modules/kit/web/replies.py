"""JSON-RPC answers as bytes: results, errors, and a batch's together.

Numbers in the text below are sections of the JSON-RPC 2.0 specification.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic_core import to_json

from clawpurse.modules.kit.web.errors import LIMIT_EXCEEDED, RpcError
from clawpurse.modules.kit.web.pieces import PIECE_BYTES, Pieces, Reply, encoded
from clawpurse.modules.kit.web.turns import next_turn


class RawJson:
    """A result that is JSON already, such as a cached document."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


def together(replies: Iterable[Reply | None]) -> Reply | None:
    """Return a batch's answer; None when all of it were notifications (§6)."""
    pieces: list[bytes] = []
    for reply in replies:
        if reply is not None:
            pieces.append(b"," if pieces else b"[")
            pieces += (reply,) if isinstance(reply, bytes) else reply
    if not pieces:
        return None
    pieces.append(b"]")
    long = Pieces(pieces)
    return long if len(long) > PIECE_BYTES else bytes(long)


def encode_result(ident: Any, result: Any, size_max: int) -> bytes:
    """A success answer. Raises `RpcError` beyond `size_max` bytes, others for what is no JSON."""
    if type(result) is RawJson:
        reply = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (to_json(ident), result.data)
    else:
        answer = {"jsonrpc": "2.0", "id": ident, "result": result}
        reply = to_json(answer, inf_nan_mode="null")
    if len(reply) > size_max:
        raise _too_long(size_max)
    return reply


async def encode_at_length(ident: Any, result: Any, size_max: int) -> Pieces:
    """As `encode_result`, in turns."""
    pieces = [b'{"jsonrpc":"2.0","id":%b,"result":' % to_json(ident)]
    size = slice_size = 0
    for piece in encoded(result):
        pieces.append(piece)
        size += len(piece)
        slice_size += len(piece)
        if size > size_max:
            raise _too_long(size_max)
        if slice_size > PIECE_BYTES:
            slice_size = 0
            await next_turn()
    pieces.append(b"}")
    return Pieces(pieces)


def _too_long(size_max: int) -> RpcError:
    return RpcError(LIMIT_EXCEEDED, f"an answer has at most {size_max} bytes")


def encode_error(ident: Any, error: RpcError) -> bytes:
    """An error answer; `ident` is None when it could not be read (§5)."""
    try:
        return to_json({"jsonrpc": "2.0", "id": ident, "error": error.as_object()})
    except Exception:
        # Facts that are not JSON must not cost the caller its answer.
        bare = RpcError(error.code, error.message)
        return to_json({"jsonrpc": "2.0", "id": ident, "error": bare.as_object()})


def encode_json(value: Any) -> bytes:
    """Compact JSON of a value. Raises ValueError when it is not one."""
    return to_json(value, inf_nan_mode="null")
