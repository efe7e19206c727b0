"""Signature checking away from the event loop: a child process, and its inline twin.

A worker thread beside a busy loop starves (each 40 µs check must win the interpreter's lock
back), so the checks run in a child over a socket pair (docs/decisions/0003). What the child does
not answer, because it died or hangs, is checked inline once; the child is started again with
growing pauses and the node goes on meanwhile.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import trio

from clawpurse.ledger.crypto import KEY_BYTES, SIGNATURE_BYTES
from clawpurse.ledger.crypto import verify as verify_one
from clawpurse.ledger.errors import Bug
from clawpurse.node.verifier_child import ANSWER, HEAD, ITEM

Triple = tuple[bytes, bytes, bytes]

# A frame is about 2.6 ms of work: long enough that the child always has one to go on with, short
# enough that little is lost with it. Four of them outlast a lag of 10 ms on our side.
FRAME_TRIPLES_MAX: Final = 64
FRAMES_SENT_MAX: Final = 4
# What is signed in this protocol are hashes and fixed-width records.
MESSAGE_BYTES_MAX: Final = 65_536
# 24 checks are about a millisecond of the loop's time.
INLINE_SLICE: Final = 24
# Four frames take 11 ms on an idle core; after this long the child hangs.
ANSWER_TIMEOUT_S: Final = 10.0
RESTART_PAUSE_MIN_S: Final = 0.1
RESTART_PAUSE_MAX_S: Final = 60.0
# A child that lived so long died of something else than its predecessor.
STEADY_S: Final = 60.0
CHILD_EXIT_TIMEOUT_S: Final = 2.0
_RECEIVE_BYTES: Final = 65_536
log = logging.getLogger("clawpurse.verifier")


class Verifier(Protocol):
    """Checks Ed25519 signatures."""

    async def verify(self, triples: Sequence[Triple]) -> list[bool]:
        """Return for each (public key, message, signature) whether it is valid.

        Never raises on bytes of any shape (messages of at most `MESSAGE_BYTES_MAX`). A cancelled
        call leaves nothing behind but work that nobody asks about any more.
        """


class InlineVerifier:
    """Checks on the loop itself, in slices of a millisecond, one caller at a time."""

    def __init__(self) -> None:
        self._turn = trio.Lock()

    async def verify(self, triples: Sequence[Triple]) -> list[bool]:
        """Check each triple here."""
        verdicts: list[bool] = []
        for start in range(0, len(triples), INLINE_SLICE):
            async with self._turn:
                piece = triples[start : start + INLINE_SLICE]
                verdicts.extend([verify_one(*triple) for triple in piece])
        await trio.lowlevel.checkpoint()
        return verdicts


class _Frame:
    """Some triples on their way. `verdicts` stays None when the child was lost with them."""

    __slots__ = ("done", "number", "sent_at", "triples", "verdicts")

    def __init__(self, triples: Sequence[Triple]) -> None:
        self.number = 0
        self.triples = triples
        self.done = trio.Event()
        self.sent_at = 0.0
        self.verdicts: list[bool] | None = None


class ChildVerifier:
    """Checks in a child process. `run` owns the child; without it `verify` works inline.

    `pid` is the living child's (None: none lives); `deaths` counts children lost, `redone`
    triples that were checked inline instead.
    """

    def __init__(self) -> None:
        self._inline = InlineVerifier()
        self._slots = trio.Semaphore(FRAMES_SENT_MAX, max_value=FRAMES_SENT_MAX)
        self._waiting: deque[_Frame] = deque()
        self._sent: deque[_Frame] = deque()
        self._wake = trio.Event()
        self._next_number = 1
        self.pid: int | None = None
        self.deaths = 0
        self.redone = 0

    async def verify(self, triples: Sequence[Triple]) -> list[bool]:
        """Check in the child, or inline while there is none."""
        whole = [len(key) == KEY_BYTES and len(sig) == SIGNATURE_BYTES for key, _, sig in triples]
        if not all(whole):
            kept = [triple for triple, ok in zip(triples, whole, strict=True) if ok]
            verdicts = iter(await self.verify(kept))
            return [ok and next(verdicts) for ok in whole]
        frames: list[_Frame] = []
        for start in range(0, len(triples), FRAME_TRIPLES_MAX):
            frame = _Frame(triples[start : start + FRAME_TRIPLES_MAX])
            frames.append(frame)
            await self._slots.acquire()
            self._hand_over(frame)
        found: list[bool] = []
        for frame in frames:
            await frame.done.wait()
            if frame.verdicts is None:
                self.redone += len(frame.triples)
                frame.verdicts = await self._inline.verify(frame.triples)
            found.extend(frame.verdicts)
        return found

    def _hand_over(self, frame: _Frame) -> None:
        """Queue a frame for the child; without one, give it back at once."""
        if self.pid is None:
            self._slots.release()
            frame.done.set()
            return
        self._waiting.append(frame)
        self._wake.set()

    def _give_up(self) -> None:
        """Mark the child as gone and return all frames to their callers unanswered."""
        self.pid = None
        lost = [*self._sent, *self._waiting]
        self._sent.clear()
        self._waiting.clear()
        for frame in lost:
            self._slots.release()
            frame.done.set()

    # -- the child's life

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a child alive until cancelled; it is ended then. Started once it serves."""
        pause_s = RESTART_PAUSE_MIN_S
        while True:
            born_at = trio.current_time()
            why = await self._one_life(task_status)
            task_status = trio.TASK_STATUS_IGNORED
            self.deaths += 1
            log.warning(
                "signature process lost, checking inline",
                extra={"why": why, "restart_in_s": pause_s},
            )
            await trio.sleep(pause_s)
            steady = trio.current_time() - born_at >= STEADY_S
            pause_s = RESTART_PAUSE_MIN_S if steady else min(2 * pause_s, RESTART_PAUSE_MAX_S)

    async def _one_life(self, task_status: trio.TaskStatus[None]) -> str:
        """Start a child and feed it until it is lost; returns why it was."""
        ours, theirs = socket.socketpair()
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        try:
            # Shielded, so that a child is never started and forgotten.
            with trio.CancelScope(shield=True):
                process = await _start_child(theirs)
        except OSError as err:
            await trio.aclose_forcefully(stream)
            task_status.started()
            return f"it could not be started ({err})"
        finally:
            theirs.close()
        try:
            self.pid = process.pid
            task_status.started()
            reasons: list[str] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write, stream)
                reasons.append(await self._read(stream))
                nursery.cancel_scope.cancel()
            return reasons[0]
        finally:
            self._give_up()
            await _end_child(process, stream)

    async def _write(self, stream: trio.SocketStream) -> None:
        """Send what waits, as much as there is in one go."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            parts: list[bytes] = []
            while self._waiting:
                frame = self._waiting.popleft()
                frame.number = self._next_number
                self._next_number += 1
                frame.sent_at = trio.current_time()
                self._sent.append(frame)
                parts.append(_pack(frame))
            try:
                await stream.send_all(b"".join(parts))
            except trio.BrokenResourceError:
                # The child is gone; the reading side is told so too, and says why.
                return

    async def _read(self, stream: trio.SocketStream) -> str:
        """Take answers until the child fails; returns how it did."""
        buffer = bytearray()
        while True:
            data: bytes | bytearray | None = None
            with trio.move_on_after(ANSWER_TIMEOUT_S):
                try:
                    data = await stream.receive_some(_RECEIVE_BYTES)
                except trio.BrokenResourceError:
                    return "its socket broke"
            if data is None:
                oldest = self._sent[0].sent_at if self._sent else trio.current_time()
                if trio.current_time() - oldest >= ANSWER_TIMEOUT_S:
                    return f"it has not answered for {ANSWER_TIMEOUT_S:g} s"
                continue
            if not data:
                return "it ended"
            buffer += data
            if not self._take_answers(buffer):
                return "its answer does not fit what was asked"

    def _take_answers(self, buffer: bytearray) -> bool:
        """Resolve whole answers and remove them from the buffer; False: the child is confused."""
        while len(buffer) >= ANSWER.size:
            number, count = ANSWER.unpack_from(buffer)
            if not self._sent or self._sent[0].number != number:
                return False
            if len(self._sent[0].triples) != count:
                return False
            end = ANSWER.size + count
            if len(buffer) < end:
                break
            frame = self._sent.popleft()
            frame.verdicts = [byte == 1 for byte in buffer[ANSWER.size : end]]
            del buffer[:end]
            self._slots.release()
            frame.done.set()
        return True


def _pack(frame: _Frame) -> bytes:
    parts: list[bytes] = []
    for public_key, message, signature in frame.triples:
        if len(message) > MESSAGE_BYTES_MAX:
            raise Bug(f"a signed message has {len(message)} bytes")
        parts.append(ITEM.pack(public_key, signature, len(message)))
        parts.append(message)
    body = b"".join(parts)
    return HEAD.pack(frame.number, len(frame.triples), len(body)) + body


async def _start_child(theirs: socket.socket) -> trio.Process:
    """Start the child with its end of the socket. Raises `OSError`.

    `-P`: it runs as a script, and its folder must not shadow the standard library. A group of
    its own keeps Ctrl-C away.
    """
    script = str(Path(__file__).with_name("verifier_child.py"))
    descriptor = theirs.fileno()
    return await trio.lowlevel.open_process(
        [sys.executable, "-P", script, str(descriptor)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(descriptor,),
        process_group=0,
    )


async def _end_child(process: trio.Process, stream: trio.SocketStream) -> None:
    """Close the socket, give the child a moment to end by itself, then make sure of it."""
    with trio.CancelScope(shield=True):
        await trio.aclose_forcefully(stream)
        with trio.move_on_after(CHILD_EXIT_TIMEOUT_S):
            await process.wait()
            return
        process.kill()
        await process.wait()
