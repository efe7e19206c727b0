"""The child process that checks signatures: reads frames from a socket, answers, knows no more.

Started as a script by `node/verifier.py`, so it imports the standard library and PyNaCl only and
stays small. It ends when its socket does, which is also how it learns that its parent died.

Request: id u64 ‖ count u32 ‖ bytes u32 of the rest, then `count` times public key 32 ‖
signature 64 ‖ length u32 ‖ message. Answer: id u64 ‖ count u32 ‖ count bytes, 1 for valid.
"""

from __future__ import annotations

import gc
import signal
import socket
import struct
import sys

import nacl.bindings
import nacl.exceptions

HEAD = struct.Struct(">QII")
ITEM = struct.Struct(">32s64sI")
ANSWER = struct.Struct(">QI")
# As the parent's; a longer request means that the two have lost each other.
REQUEST_BYTES_MAX = 1 << 24


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether a signature is valid, by the same call as `ledger.crypto.verify`."""
    try:
        nacl.bindings.crypto_sign_open(signature + message, public_key)
    except (nacl.exceptions.BadSignatureError, ValueError):
        return False
    return True


def judge(count: int, body: bytes) -> bytes:
    """Return one byte for each of `count` packed triples. Raises `ValueError` on a bad frame."""
    verdicts = bytearray()
    place = 0
    for _ in range(count):
        if place + ITEM.size > len(body):
            raise ValueError("a request is shorter than its count says")
        public_key, signature, length = ITEM.unpack_from(body, place)
        place += ITEM.size
        message = body[place : place + length]
        if len(message) != length:
            raise ValueError("a request is shorter than its lengths say")
        place += length
        verdicts.append(verify(public_key, message, signature))
    if place != len(body):
        raise ValueError("a request is longer than its lengths say")
    return bytes(verdicts)


def read_exactly(link: socket.socket, size: int) -> bytes:
    """Return `size` bytes; fewer when the other end closed."""
    parts: list[bytes] = []
    while size:
        part = link.recv(size)
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def serve(link: socket.socket) -> None:
    """Answer requests in order until the other end is gone."""
    while True:
        head = read_exactly(link, HEAD.size)
        if len(head) < HEAD.size:
            return
        number, count, size = HEAD.unpack(head)
        if size > REQUEST_BYTES_MAX:
            raise ValueError("a request is larger than allowed")
        body = read_exactly(link, size)
        if len(body) < size:
            return
        link.sendall(ANSWER.pack(number, count) + judge(count, body))


def main() -> None:
    """Serve the socket whose descriptor is the only argument."""
    # A signal to the whole group (Ctrl-C, a supervisor's stop) is for the parent, which may
    # still have work; it ends us by closing the socket.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    gc.disable()  # Nothing here makes cycles.
    link = socket.socket(fileno=int(sys.argv[1]))
    try:
        serve(link)
    except (BrokenPipeError, ConnectionResetError):
        # The parent died while we computed: nobody is left to tell.
        pass


if __name__ == "__main__":
    main()
