"""A kept HTTP connection for load: requests are built before, answers are only cut off.

The client of a bench shares the machine with what it measures, so it does as little as it can:
no pool, no retries, no parsing but the head's length.
"""

from __future__ import annotations

import json
import socket
from types import TracebackType
from typing import Any, Final, Self

# One answer of the node is at most 8 MiB; a bench that waits longer than this has found a hang.
ANSWER_TIMEOUT_S: Final = 120.0
_RECEIVE_BYTES: Final = 1 << 16
_LENGTH: Final = b"content-length:"


def http_request(body: bytes) -> bytes:
    """Return a whole JSON-RPC request over HTTP/1.1 for a kept connection."""
    head = (
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    return head + body


def rpc_request(method: str, params: Any = None, number: int = 1) -> dict[str, Any]:
    """Return a JSON-RPC request object."""
    request = {"jsonrpc": "2.0", "id": number, "method": method}
    return request if params is None else {**request, "params": params}


def answer_end(data: bytes | bytearray) -> tuple[int, int] | None:
    """Return where an answer's body begins and ends, or None while its head is not whole."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return None
    lower = bytes(data[:head]).lower()
    place = lower.find(_LENGTH)
    if place < 0:
        raise RuntimeError(f"an answer without a length: {lower[:200]!r}")
    length = int(lower[place + len(_LENGTH) :].split(b"\r\n", 1)[0])
    return head + 4, head + 4 + length


class Link:
    """One connection, one request at a time. A context manager; blocking."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), ANSWER_TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def exchange(self, request: bytes) -> bytes:
        """Send a request of `http_request` and return the answer's body.

        Raises `RuntimeError` when the connection ends or the status is not 200, `OSError` when
        no answer comes in two minutes.
        """
        self._socket.sendall(request)
        data = bytearray()
        span = None
        while span is None or len(data) < span[1]:
            piece = self._socket.recv(_RECEIVE_BYTES)
            if not piece:
                raise RuntimeError(f"the node closed a connection: {bytes(data[:300])!r}")
            data += piece
            span = answer_end(data) if span is None else span
        if not data.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"not an answer: {bytes(data[:300])!r}")
        return bytes(data[span[0] : span[1]])

    def call(self, method: str, params: Any = None) -> Any:
        """Call a method and return its result. Raises `RuntimeError` with the node's error."""
        body = json.dumps(rpc_request(method, params)).encode()
        answer = json.loads(self.exchange(http_request(body)))
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def call_many(self, method: str, params: list[Any]) -> list[Any]:
        """Call a method once for each of `params`, a hundred in a batch."""
        results: list[Any] = []
        for start in range(0, len(params), 100):
            calls = [rpc_request(method, one, n) for n, one in enumerate(params[start:][:100])]
            answers = json.loads(self.exchange(http_request(json.dumps(calls).encode())))
            if not isinstance(answers, list) or any("error" in one for one in answers):
                raise RuntimeError(f"{method}: {str(answers)[:300]}")
            results += [one["result"] for one in sorted(answers, key=lambda one: int(one["id"]))]
        return results
