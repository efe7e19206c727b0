"""What this machine can do at this moment: the limits that the figures of a run are held against.

Signatures by libsodium with one thread and with two (it gives the interpreter's lock back),
durable appends, and round trips over loopback. Short on purpose: they are taken before and
after a load, because a shared machine changes from one minute to the next.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from typing import Final

import nacl.bindings

from clawpurse.ledger import crypto

_MESSAGES: Final = 4_000
_SYNCS: Final = 50
_ROUND_TRIPS: Final = 5_000
# As long as what a transfer's signature covers.
_MESSAGE_BYTES: Final = 80


def verify_per_s(threads: int) -> float:
    """Return how many Ed25519 signatures a second so many threads verify now."""
    seed = bytes(range(32))
    key = crypto.public_key_of(seed)
    messages = [number.to_bytes(_MESSAGE_BYTES, "big") for number in range(256)]
    signed = [crypto.sign(seed, message) + message for message in messages]
    verify = nacl.bindings.crypto_sign_open

    def work() -> None:
        for number in range(_MESSAGES):
            verify(signed[number & 255], key)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    began = time.monotonic()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return threads * _MESSAGES / (time.monotonic() - began)


def verify_cpu_us() -> float:
    """Return the CPU microseconds of one verification, which other processes disturb less."""
    seed = bytes(range(32))
    key = crypto.public_key_of(seed)
    message = bytes(_MESSAGE_BYTES)
    signed = crypto.sign(seed, message) + message
    began = time.thread_time()
    for _ in range(_MESSAGES):
        nacl.bindings.crypto_sign_open(signed, key)
    return (time.thread_time() - began) * 1e6 / _MESSAGES


def sync_ms() -> float:
    """Return the median time of a durable append to a file in the temporary directory."""
    times: list[float] = []
    with tempfile.TemporaryFile() as file:
        for _ in range(_SYNCS):
            began = time.monotonic()
            os.write(file.fileno(), bytes(512))
            os.fdatasync(file.fileno())
            times.append(time.monotonic() - began)
    return sorted(times)[_SYNCS // 2] * 1000


def loopback_per_s() -> float:
    """Return round trips of 100 bytes a second between two threads over loopback TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server:
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        echo = threading.Thread(target=_echo, args=(server,))
        echo.start()
        began = time.monotonic()
        for _ in range(_ROUND_TRIPS):
            client.sendall(bytes(100))
            client.recv(4096)
        spent = time.monotonic() - began
        client.shutdown(socket.SHUT_WR)
        echo.join()
    return _ROUND_TRIPS / spent


def _echo(server: socket.socket) -> None:
    while data := server.recv(4096):
        server.sendall(data)
