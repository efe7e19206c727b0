"""What makes an object a JSON-RPC 2.0 request, and its id one that can be answered to."""

from __future__ import annotations

import math
from typing import Any, Final

ID_BYTES_MAX: Final = 1024
"""An id comes back with every answer; nobody needs more than a UUID or a counter."""


def id_is_good(ident: Any) -> bool:
    """A string, a number or null (§4.1), of bearable size."""
    kind = type(ident)
    if kind is int:
        return bool(ident.bit_length() <= 8 * ID_BYTES_MAX)
    if kind is str:
        return len(ident) <= ID_BYTES_MAX
    return ident is None or (kind is float and math.isfinite(ident))


def what_is_wrong(message: dict[str, Any]) -> str:
    """Say why an object is no JSON-RPC request (§4)."""
    if message.get("jsonrpc") != "2.0":
        return 'jsonrpc must be "2.0"'
    if type(message.get("method")) is not str:
        return "method must be a string"
    return "params must be an object or an array"
