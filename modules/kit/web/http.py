"""The HTTP/1.1 connection loop (RFC 9112): bytes in, requests to the application, bytes out.

One task per connection and none per request. Everything that arrived in one read is answered
in order and leaves in one `send_all`, so a pipelining client costs one system call per burst.
Heads that a client repeats byte for byte, as clients on kept connections do, are parsed once.

The deadline of the connection's cancel scope always says what we wait for: a first byte, the
rest of a head or body, the next request, or the peer's reading. Expiry answers 408 where a
request had begun, and closes silently elsewhere. While a handler works there is no deadline
here; handlers have their own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Protocol

import trio

from clawpurse.modules.kit.web.head import (
    CHUNKED,
    ChunkedBody,
    Head,
    HttpRefusal,
    check_beginning,
    parse_head,
)
from clawpurse.modules.kit.web.limits import Limits, seconds
from clawpurse.modules.kit.web.memory import FREE_BYTES, WORKING_FACTOR, Memory, Share
from clawpurse.modules.kit.web.messages import (
    CONTINUE,
    Peer,
    Request,
    Response,
    has_long_body,
    refusal_response,
    render,
)
from clawpurse.modules.kit.web.pieces import Reply, sendable

RECEIVE_BYTES = 64 * 1024
"""One read: a Linux socket rarely has more ready."""

HEADS_KEPT = 8
HEAD_KEPT_BYTES_MAX = 1024
"""Remembered heads: 8 KiB a connection, enough for a client that sends a few kinds."""

BODY_UNASKED_BYTES = 64 * 1024
"""Larger bodies are read only if their head alone deserves no refusal: strangers without a
token shall not fill the memory of those with one."""

BLANK_LINES_MAX = 2
"""Empty lines before a request line are skipped (§2.2), but not for ever."""

LINGER_BYTES_MAX = 4 * 1024 * 1024
"""What is read and dropped after an error answer, so that the peer can read it."""


class Upgraded(Protocol):
    """What a connection becomes after 101: runs until the other protocol ends."""

    async def run(self, stream: trio.abc.Stream, beginning: bytes, memory: Memory) -> None: ...

    def stop(self) -> None: ...


class Upgrade:
    """An application's answer that ends HTTP: the 101 head's further bytes and what follows."""

    __slots__ = ("head", "session")

    def __init__(self, head: bytes, session: Upgraded) -> None:
        self.head = head
        self.session = session


Answer = Response | Upgrade | Awaitable[Response]


class Application(Protocol):
    """What a connection asks. Neither function may raise but for faults of ours."""

    def answer(self, request: Request) -> Answer:
        """Answer a request; at once, or by an awaitable."""

    def precheck(self, head: Head, peer: Peer) -> Response | None:
        """A final answer that the head alone deserves, before 100 Continue invites the body."""


class HttpConnection:
    """One connection from accept to close. Create one per stream and call `serve` once.

    `refused(peer, slug, detail)` is told of every refusal, timeout and broken request.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        peer: Peer,
        application: Application,
        limits: Limits,
        *,
        memory: Memory,
        refused: Callable[[Peer, str, str], None],
        date: Callable[[], bytes] = bytes,
    ) -> None:
        self._stream = stream
        self._peer = peer
        self._application = application
        self._limits = limits
        self._memory = memory
        self._share = Share(memory)
        self._try_hold = self._share.resize
        self._refused = refused
        self._date = date
        self._scope = trio.CancelScope()
        self._stopping = False
        self._waiting_for = "first byte"
        self._buffer = bytearray()
        # How much of the buffer is known to hold no end of a head.
        self._scanned = 0
        self._head: Head | None = None
        self._chunked: ChunkedBody | None = None
        self._heads: dict[bytes, Head] = {}
        self._upgraded: Upgraded | None = None

    def stop(self) -> None:
        """Close now if no request is under way, else after its answer."""
        self._stopping = True
        if self._upgraded is not None:
            self._upgraded.stop()
        elif self._waiting_for in ("first byte", "next request"):
            self._scope.cancel()

    async def serve(self) -> None:
        """Serve until either side ends the connection; does not close the stream.

        Cancellation abandons the request under way.
        """
        try:
            await self._serve()
        finally:
            self._share.release()

    async def _serve(self) -> None:
        refusal: HttpRefusal | None = None
        with self._scope:
            self._wait("first byte", self._limits.head_timeout_ms)
            try:
                upgrade = await self._loop()
            except HttpRefusal as error:
                refusal = error
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            else:
                if upgrade is not None:
                    await self._run_upgraded(upgrade)
                return
        if self._scope.cancelled_caught and not self._stopping:
            refusal = self._timed_out()
        if refusal is not None:
            await self._refuse(refusal)

    async def _loop(self) -> Upgrade | None:
        receive = self._stream.receive_some
        while True:
            data = await receive(RECEIVE_BYTES)
            if not data:
                if self._head is not None or self._buffer:
                    raise HttpRefusal(400, "cut-off", "the request ended in the middle")
                return None
            done, upgrade = await self._take(bytes(data))
            if done:
                return upgrade

    async def _take(self, data: bytes) -> tuple[bool, Upgrade | None]:
        """Answer every whole request in the buffer and `data`; keep the rest.

        Returns whether the connection is over, and the upgrade that ended it.
        """
        source: bytes | bytearray = data
        if self._buffer:
            self._buffer += data
            source = self._buffer
        position = 0
        answers: list[bytes] = []
        answered = False
        try:
            while position < len(source):
                request, position = self._next(source, position)
                if request is None:
                    break
                answer = self._application.answer(request)
                if type(answer) is not Response:
                    if answers:
                        await self._send(answers)
                    if type(answer) is Upgrade:
                        self._buffer = bytearray(source[position:])
                        return True, answer
                    answer = await self._work(request, answer)  # type: ignore[arg-type]
                answered = True
                head = request.head
                keep = head.keep_alive and not answer.close and not self._stopping
                answers.append(render(answer, head, keep_alive=keep, date=self._date()))
                long = answer.body if has_long_body(answer, head) else b""
                if not keep:
                    await self._send(answers, long)
                    return True, None
                if len(answers) >= self._limits.pipeline_burst_max or long:
                    await self._send(answers, long)
        except HttpRefusal:
            # Answers to the good requests before the bad one still leave, in order.
            if answers:
                await self._send(answers)
            raise
        if answers:
            await self._send(answers)
        if source is data:
            self._buffer += data[position:]
        else:
            del self._buffer[:position]
        await self._wait_for_more(answered=answered)
        return False, None

    async def _wait_for_more(self, *, answered: bool) -> None:
        """Set the deadline for whatever comes next."""
        held = len(self._buffer)
        if self._chunked is not None:
            held += self._chunked.size
        if held > FREE_BYTES or self._head is None:
            self._hold(held)
        if self._head is not None:
            if self._waiting_for != "body":
                self._wait("body", self._limits.body_timeout_ms)
                if self._head.expects_continue and not self._buffer and not self._chunked_begun():
                    await self._invite(self._head)
        elif self._buffer:
            if self._waiting_for != "head":
                self._wait("head", self._limits.head_timeout_ms)
        elif answered:
            # Blank lines alone buy no time.
            self._wait("next request", self._limits.idle_timeout_ms)
        if self._stopping and self._waiting_for == "next request":
            self._scope.cancel()

    def _chunked_begun(self) -> bool:
        return self._chunked is not None and self._chunked.begun

    async def _invite(self, head: Head) -> None:
        """Send 100 Continue, or the answer that makes the body needless (RFC 9110 §10.1.1)."""
        answer = self._application.precheck(head, self._peer)
        if answer is not None:
            raise _Answered(answer)
        await self._stream.send_all(CONTINUE)

    def _next(self, source: bytes | bytearray, position: int) -> tuple[Request | None, int]:
        """The next whole request from `position`, or None when more bytes are needed."""
        head = self._head
        if head is None:
            head, position = self._next_head(source, position)
            if head is None:
                return None, position
            if head.body_length > self._limits.body_bytes_max:
                raise HttpRefusal(
                    413, "body-too-large", f"a body may have {self._limits.body_bytes_max} bytes"
                )
            if head.body_length > BODY_UNASKED_BYTES or head.body_length == CHUNKED:
                answer = self._application.precheck(head, self._peer)
                if answer is not None:
                    raise _Answered(answer)
            if head.body_length == CHUNKED:
                self._chunked = ChunkedBody(
                    self._limits.body_bytes_max, self._limits.head_bytes_max
                )
        if self._chunked is not None:
            whole, used = self._chunked.feed(bytes(source[position:]))
            position += used
            if not whole:
                self._head = head
                return None, position
            body = self._chunked.body
            self._chunked = None
        else:
            end = position + head.body_length
            if end > len(source):
                self._head = head
                return None, position
            body = bytes(source[position:end])
            position = end
        self._head = None
        return Request(head, body, self._peer, self._try_hold), position

    def _next_head(self, source: bytes | bytearray, position: int) -> tuple[Head | None, int]:
        blank_lines = 0
        while source[position : position + 2] == b"\r\n":
            blank_lines += 1
            position += 2
            self._scanned = 0
            if blank_lines > BLANK_LINES_MAX:
                raise HttpRefusal(400, "blank-lines", "a request starts with its request line")
        end = source.find(b"\r\n\r\n", position + max(self._scanned - 3, 0))
        if end < 0:
            if source[position : position + 2] != b"\r":
                check_beginning(bytes(source[position:]), self._limits)
            self._scanned = len(source) - position
            return None, position
        self._scanned = 0
        raw = bytes(source[position : end + 4])
        head = self._heads.get(raw)
        if head is None:
            head = parse_head(raw, self._limits)
            if len(raw) <= HEAD_KEPT_BYTES_MAX:
                if len(self._heads) >= HEADS_KEPT:
                    self._heads.clear()
                self._heads[raw] = head
        return head, end + 4

    def _hold(self, size: int) -> None:
        """Take memory out of the allowance of all connections, or give it back."""
        if not self._share.resize(size):
            raise HttpRefusal(503, "memory", "the server is busy with large requests")

    async def _work(self, request: Request, answer: Awaitable[Response]) -> Response:
        """Wait for a handler, which has its own deadline."""
        if len(request.body) * WORKING_FACTOR > FREE_BYTES:
            try:
                self._hold(len(request.body) * WORKING_FACTOR)
            except HttpRefusal:
                if isinstance(answer, Coroutine):
                    answer.close()
                raise
        self._waiting_for = "handler"
        self._scope.deadline = float("inf")
        return await answer

    async def _send(self, answers: list[bytes], long: Reply = b"") -> None:
        """Send whole answers, then the long body that belongs to the last of them."""
        self._wait("peer to read", self._limits.write_timeout_ms)
        data = answers[0] if len(answers) == 1 else b"".join(answers)
        answers.clear()
        if len(data) + len(long) > FREE_BYTES:
            self._hold(len(data) + len(long))
        await self._stream.send_all(data)
        if long:
            for portion in sendable((long,) if isinstance(long, bytes) else long):
                await self._stream.send_all(portion)

    def _wait(self, what: str, timeout_ms: int) -> None:
        """Set what is waited for and until when.

        Moving a deadline costs 2 µs, so it stays when it is right within a sixteenth.
        """
        self._waiting_for = what
        timeout_s = seconds(timeout_ms)
        deadline = trio.current_time() + timeout_s
        if abs(deadline - self._scope.deadline) > timeout_s / 16:
            self._scope.deadline = deadline

    def _timed_out(self) -> HttpRefusal | None:
        if self._waiting_for == "next request":
            return None
        slug = "timeout-" + self._waiting_for.replace(" ", "-")
        if self._waiting_for in ("head", "body"):
            return HttpRefusal(408, slug, f"the {self._waiting_for} took too long")
        self._refused(self._peer, slug, "")
        return None

    async def _refuse(self, refusal: HttpRefusal) -> None:
        """Answer a refusal, then linger: closing with unread bytes would destroy the answer."""
        if isinstance(refusal, _Answered):
            response = refusal.response
        else:
            self._refused(self._peer, refusal.slug, refusal.problem)
            response = refusal_response(refusal.status, refusal.problem)
        data = render(response, self._head, keep_alive=False, date=self._date())
        if has_long_body(response, self._head):
            data += bytes(response.body)
        with trio.move_on_after(seconds(self._limits.linger_timeout_ms)):
            try:
                await self._stream.send_all(data)
                if isinstance(self._stream, trio.abc.HalfCloseableStream):
                    await self._stream.send_eof()
                dropped = 0
                while dropped < LINGER_BYTES_MAX:
                    rest = await self._stream.receive_some(RECEIVE_BYTES)
                    if not rest:
                        break
                    dropped += len(rest)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                # The peer is gone, so nobody misses the rest of the answer.
                pass

    async def _run_upgraded(self, upgrade: Upgrade) -> None:
        self._wait("peer to read", self._limits.write_timeout_ms)
        await self._stream.send_all(upgrade.head)
        self._scope.deadline = float("inf")
        self._upgraded = upgrade.session
        if self._stopping:
            upgrade.session.stop()
        await upgrade.session.run(self._stream, bytes(self._buffer), self._memory)


class _Answered(HttpRefusal):
    """An answer given before the body came: the connection cannot go on."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status, "not-invited", "answered before the body")
        self.response = response
