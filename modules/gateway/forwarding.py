"""The way of a call to an upstream and back: sent once, answered as it comes, counted to the end.

Safe requests without a body are tried elsewhere when nobody answered, as long as retries are few.
Everything else is sent once: whoever sold something must not sell it twice.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

import trio

from clawpurse.ledger.errors import PeerError
from clawpurse.modules.gateway.calls import Call, Entry, Fields, Reply, problem
from clawpurse.modules.gateway.framing import (
    LAST_CHUNK,
    UNTIL_CLOSE,
    AnswerHead,
    Flow,
    UpstreamFault,
    chunk,
    end_to_end,
    read_answer,
)
from clawpurse.modules.gateway.upstreams import Target, Upstream
from clawpurse.modules.kit.web.head import CHUNKED, HttpRefusal
from clawpurse.modules.kit.web.limits import seconds

SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS"))
UNWELL: Final = frozenset((502, 503, 504))
"""Answers that say that a target, or what is behind it, does not work."""

ANSWER_BYTES_MAX: Final = 1 << 50
_LINES: Final = MappingProxyType(
    {one.value: f"HTTP/1.1 {one.value} {one.phrase}\r\n".encode() for one in HTTPStatus}
)
# What the request says of the way here: ours to say, unless a proxy that is trusted said it.
_WAY: Final = frozenset(
    (
        *(b"host", b"expect", b"x-request-id", b"traceparent", b"forwarded", b"x-real-ip"),
        *(b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port"),
    )
)
IDENTITY_PREFIX: Final = b"x-clawpurse-"
"""Fields by which the gateway tells an upstream who calls; nobody else does."""


class Gone(PeerError):
    """The connection to the client ends without another word: nobody reads the answer, or it could
    not be told whole.
    """


class CutOff(Gone):
    """The upstream did not give all of an answer that had begun."""


@dataclass(slots=True)
class Sent:
    """What became of a call: its status, bytes of the answer, whether the connection goes on."""

    status: int
    size: int = 0
    keeps: bool = True
    target: str = ""


class Client:
    """The client's side of one exchange."""

    def __init__(self, flow: Flow, call: Call, write_ms: int) -> None:
        self._flow = flow
        self._call = call
        self._write_s = seconds(write_ms)
        #: Whether the whole request was read: only then another one can follow.
        self.is_read = not call.head.body_length
        self.invited = not call.head.expects_continue

    async def send(self, data: bytes) -> None:
        """Send. Raises `Gone` when nobody reads."""
        try:
            with trio.fail_after(self._write_s):
                await self._flow.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            raise Gone("nobody reads the answer") from None

    async def body(self) -> AsyncGenerator[bytes, None]:
        """Yield the request's body. Raises `HttpRefusal`."""
        route, length = self._call.route, self._call.head.body_length
        if not self.invited:
            self.invited = True
            await self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            async with aclosing(self._flow.pieces(length, route.body_bytes_max)) as pieces:
                async for piece in pieces:
                    yield piece
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise HttpRefusal(400, "cut-off", "the body ended in the middle") from None
        self.is_read = True


async def forward(
    call: Call, entry: Entry, upstream: Upstream, client: Client, *, goes_on: Callable[[], bool]
) -> Sent | Reply:
    """Send a call on and its answer back. A reply: what to answer instead. `goes_on` tells, when
    the answer is there, whether the client's connection may be used again.

    Raises `Gone`; `HttpRefusal` for a body that is none.
    """
    has_body = bool(call.head.body_length)
    retryable = call.head.method in SAFE and not has_body
    upstream.count()
    tried: list[Target] = []
    said = "no target can be reached"
    while (target := upstream.pick(tried)) is not None:
        tried.append(target)
        call.facts["target"] = target.url
        try:
            flow, _ = await target.take()
        except UpstreamFault as fault:
            # Nothing was sent: any request may be tried elsewhere.
            said = fault.problem
            if upstream.may_retry(len(tried)):
                continue
            break
        exchange = _Exchange(call, entry, upstream, target, flow, client, goes_on=goes_on)
        try:
            answer = await exchange.begin()
            if answer.status in UNWELL and retryable and upstream.may_retry(len(tried)):
                await exchange.abandon()
                continue
            return await exchange.finish(answer)
        except UpstreamFault as fault:
            await exchange.abandon()
            target.failed(fault.problem)
            said = fault.problem
            if not (retryable and upstream.may_retry(len(tried))):
                break
        except BaseException:
            await exchange.abandon()
            raise
    slow = said.startswith("no answer within")
    refused = await entry.served(None)
    return refused or problem(
        504 if slow else 502 if tried else 503,
        "upstreamTimeout" if slow else "badGateway" if tried else "noUpstream",
        f"the upstream {upstream.name} gave no answer" if tried else f"{upstream.name}: {said}",
        [] if tried else [(b"Retry-After", b"1")],
        close=not client.is_read,
    )


class _Exchange:
    """One attempt on one connection of a target."""

    def __init__(
        self,
        call: Call,
        entry: Entry,
        upstream: Upstream,
        target: Target,
        flow: Flow,
        client: Client,
        *,
        goes_on: Callable[[], bool],
    ) -> None:
        self._call = call
        self._entry = entry
        self._upstream = upstream
        self._target = target
        self._flow = flow
        self._client = client
        self._goes_on = goes_on
        self._held = True
        self._wait = trio.CancelScope()

    async def abandon(self) -> None:
        """Close the connection: nobody knows what comes on it."""
        if self._held:
            self._held = False
            with trio.CancelScope(shield=True):
                await self._target.give_back(self._flow, keep=False)

    async def begin(self) -> AnswerHead:
        """Send the request, and read the head of its answer. Raises `UpstreamFault`."""
        head = request_head(self._call, self._entry, self._target.origin.authority)
        if not self._call.head.body_length:
            await self._send(head)
            return await self._answer()
        return await self._begin_with_body(head)

    async def _begin_with_body(self, head: bytes) -> AnswerHead:
        """The answer may come before the body is over; then the rest of the body is not sent, and
        the client's connection ends with the answer.
        """
        outcome: list[AnswerHead | UpstreamFault | HttpRefusal | Gone] = []
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                try:
                    outcome.append(await self._answer(float("inf")))
                except UpstreamFault as fault:
                    outcome.append(fault)
                nursery.cancel_scope.cancel()

            nursery.start_soon(read)
            try:
                await self._send(head)
                await self._send_body()
            except (HttpRefusal, Gone) as error:
                outcome.append(error)
                nursery.cancel_scope.cancel()
            self._wait.deadline = trio.current_time() + seconds(self._upstream.config.response_ms)
        first = outcome[0]
        if isinstance(first, Exception):
            raise first
        return first

    async def _send_body(self) -> None:
        chunked = self._call.head.body_length == CHUNKED
        try:
            with trio.fail_after(seconds(self._call.route.body_ms)):
                async with aclosing(self._client.body()) as pieces:
                    async for piece in pieces:
                        await self._send(chunk(piece) if chunked else piece)
        except trio.TooSlowError:
            raise HttpRefusal(408, "timeout-body", "the body took too long") from None
        if chunked:
            await self._send(LAST_CHUNK)

    async def _send(self, data: bytes) -> None:
        try:
            await self._flow.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # It may have answered (413, 503) and closed without reading it all.
            return

    async def _answer(self, deadline: float | None = None) -> AnswerHead:
        """Read the answer's head. Its time runs from the end of the request."""
        limit_ms = self._upstream.config.response_ms
        if deadline is None:
            deadline = trio.current_time() + seconds(limit_ms)
        with trio.CancelScope(deadline=deadline) as self._wait:
            return await read_answer(self._flow, self._call.head.method)
        raise UpstreamFault(f"no answer within {limit_ms} ms", sent=True)

    async def finish(self, answer: AnswerHead) -> Sent | Reply:
        """Pass the answer on. Raises `Gone` when it could not be told whole."""
        if answer.status in UNWELL:
            self._target.failed(f"it answered {answer.status}")
        else:
            self._target.answered()
        if answer.status == 101:
            return await self._switch(answer)
        refused = await self._entry.served(answer.status)
        if refused is not None:
            await self.abandon()
            refused.close = refused.close or not self._client.is_read
            return refused
        return await self._pass_on(answer)

    async def _pass_on(self, answer: AnswerHead) -> Sent:
        old = self._call.head.version == "1.0"
        keeps = self._goes_on() and self._client.is_read
        unmeasured = answer.length in (CHUNKED, UNTIL_CLOSE)
        if unmeasured and old:
            keeps = False
        head = answer_head(self._call, self._entry, answer, keeps=keeps, old=old)
        sent = Sent(answer.status, keeps=keeps, target=self._target.url)
        whole = True
        try:
            if not answer.length:
                await self._client.send(head)
            else:
                await self._stream(answer, head, sent, chunked=unmeasured and not old)
        except CutOff:
            whole = False
            raise
        finally:
            with trio.CancelScope(shield=True):
                await self._entry.ended(whole=whole)
        self._held = False
        await self._target.give_back(self._flow, keep=answer.keeps)
        return sent

    async def _stream(self, answer: AnswerHead, head: bytes, sent: Sent, *, chunked: bool) -> None:
        """Send head and body; the head goes with the first piece."""
        waiting = head
        limit_s = seconds(self._upstream.config.silence_ms)
        try:
            with trio.CancelScope(deadline=trio.current_time() + limit_s) as scope:
                async with aclosing(self._flow.pieces(answer.length, ANSWER_BYTES_MAX)) as pieces:
                    async for piece in pieces:
                        sent.size += len(piece)
                        data = waiting + (chunk(piece) if chunked else piece)
                        waiting = b""
                        scope.deadline = float("inf")
                        await self._client.send(data)
                        scope.deadline = trio.current_time() + limit_s
                if chunked:
                    waiting += LAST_CHUNK
            if scope.cancelled_caught:
                self._target.failed("its answer stopped in the middle")
                raise CutOff("the answer stopped in the middle")
        except (HttpRefusal, trio.BrokenResourceError, trio.ClosedResourceError):
            # Cut off, or no body: the client must not take it for whole.
            self._target.failed("its answer ended in the middle")
            raise CutOff("the answer ended in the middle") from None
        if waiting:
            await self._client.send(waiting)

    async def _switch(self, answer: AnswerHead) -> Sent | Reply:
        """A WebSocket: bytes go both ways until either side ends, or both are silent."""
        call = self._call
        if call.head.upgrade != "websocket" or not call.route.websocket:
            await self.abandon()
            refused = await self._entry.served(None)
            return refused or problem(502, "badGateway", "the upstream switched protocols unasked")
        refused = await self._entry.served(answer.status)
        if refused is not None:
            await self.abandon()
            return refused
        fields = end_to_end(answer.fields) + self._entry.back
        fields += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
        await self._client.send(_LINES[101] + written(fields) + b"\r\n")
        try:
            await splice(self._client._flow, self._flow, self._upstream.config.silence_ms)
        finally:
            with trio.CancelScope(shield=True):
                await self._entry.ended(whole=True)
            await self.abandon()
        return Sent(101, keeps=False, target=self._target.url)


async def splice(one: Flow, other: Flow, silence_ms: int) -> None:
    """Pass bytes both ways until one side ends, or nothing came for so long."""
    limit_s = seconds(silence_ms)
    async with trio.open_nursery() as nursery:
        scope = nursery.cancel_scope
        scope.deadline = trio.current_time() + limit_s

        async def carry(source: Flow, sink: Flow) -> None:
            try:
                while source.buffer or await source.more():
                    scope.deadline = trio.current_time() + limit_s
                    data = bytes(source.buffer)
                    source.buffer.clear()
                    await sink.stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                # That end is gone; so is the other, in a moment.
                pass
            scope.cancel()

        nursery.start_soon(carry, one, other)
        nursery.start_soon(carry, other, one)


def request_head(call: Call, entry: Entry, authority: str) -> bytes:
    """Return the head that an upstream gets."""
    head = call.head
    path = call.path.removeprefix(call.route.strip_prefix) or "/"
    query = f"?{head.query}" if head.query else ""
    lines = [f"{head.method} {path}{query} HTTP/1.1\r\nhost: {authority}\r\n".encode()]
    fields = [
        (name, value)
        for name, value in end_to_end(tuple(head.headers.items()), _WAY | entry.hidden)
        if not name.startswith(IDENTITY_PREFIX)
    ]
    lines.append(written(fields))
    proto = b"https" if call.secure else b"http"
    way = [
        (b"x-forwarded-for", call.facts.get("forwardedFor", call.peer.client).encode()),
        (b"x-forwarded-proto", proto),
        (b"x-forwarded-host", (head.host or "").encode()),
        (b"x-request-id", call.ident),
        (b"traceparent", call.trace),
        *entry.onwards,
    ]
    if head.upgrade == "websocket" and call.route.websocket:
        way += [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
    if head.body_length == CHUNKED:
        way.append((b"transfer-encoding", b"chunked"))
    elif head.body_length or b"content-length" in head.headers:
        way.append((b"content-length", b"%d" % head.body_length))
    lines.append(written(way))
    lines.append(b"\r\n")
    return b"".join(lines)


def answer_head(call: Call, entry: Entry, answer: AnswerHead, *, keeps: bool, old: bool) -> bytes:
    """Return the head that the client gets of an upstream's answer."""
    ours: Fields = [(b"X-Request-Id", call.ident), *entry.back]
    names = frozenset(name.lower() for name, _ in ours)
    fields = end_to_end(answer.fields, names)
    bare = call.head.method == "HEAD" or answer.status in (204, 304)
    if bare:
        length = answer.get(b"content-length")
        if length is not None and answer.status != 204:
            ours.append((b"Content-Length", length))
    elif answer.length >= 0:
        ours.append((b"Content-Length", b"%d" % answer.length))
    elif not old:
        ours.append((b"Transfer-Encoding", b"chunked"))
    if not keeps:
        ours.append((b"Connection", b"close"))
    elif old:
        ours.append((b"Connection", b"keep-alive"))
    line = _LINES.get(answer.status) or f"HTTP/1.1 {answer.status} \r\n".encode()
    return line + written(fields) + written(ours) + b"\r\n"


def written(fields: Fields) -> bytes:
    """Return field lines. A line end or NUL in one would split the message in two; values come
    from heads that were checked, or from us.
    """
    data = b"".join([b"%b: %b\r\n" % field for field in fields])
    if data.count(b"\n") != len(fields) or b"\0" in data:
        raise ValueError("a header field holds a line end")
    return data


def reply_bytes(reply: Reply, call: Call | None, *, head_only: bool, keeps: bool) -> bytes:
    """Return the bytes of an answer of the gateway itself."""
    line = _LINES.get(reply.status) or f"HTTP/1.1 {reply.status} \r\n".encode()
    fields = [*reply.fields]
    if call is not None:
        fields.append((b"X-Request-Id", call.ident))
    if reply.status not in (204, 304):
        fields.append((b"Content-Type", reply.content_type))
        fields.append((b"Content-Length", b"%d" % len(reply.body)))
        fields.append((b"X-Content-Type-Options", b"nosniff"))
    if not keeps:
        fields.append((b"Connection", b"close"))
    body = b"" if head_only or reply.status in (204, 304) else reply.body
    return line + written(fields) + b"\r\n" + body
