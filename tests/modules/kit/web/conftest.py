"""A small server in memory and a client that speaks in raw bytes, for all tests here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import trio
import trio.testing
from pydantic import Field

from clawpurse.ledger.errors import Code, Malformed, NotFound, Pruned, Refused
from clawpurse.modules.kit.web.app import App
from clawpurse.modules.kit.web.grants import FixedTokens, Token, grant_scopes
from clawpurse.modules.kit.web.guard import Access, Budgets, RefusalLog
from clawpurse.modules.kit.web.jsonrpc import Context, Dispatcher, Method, NoParams, Params
from clawpurse.modules.kit.web.limits import Limits
from clawpurse.modules.kit.web.messages import Peer, Request, Response
from clawpurse.modules.kit.web.scopes import read_scopes
from clawpurse.modules.kit.web.server import WebServer

ADMIN_TOKEN = "0123456789abcdef-admin"
OTHER_TOKEN = "0123456789abcdef-other"


class Subtract(Params):
    minuend: int
    subtrahend: int = Field(description="What is taken away")


class Numbers(Params):
    a: int
    b: int = 0
    c: int = 0


class Text(Params):
    some_text: str = Field("", max_length=100)


class Millis(Params):
    duration_ms: int


async def wait_ms(params: Millis, _context: Context) -> str:
    await trio.sleep(params.duration_ms / 1000)
    return "waited"


async def echo_later(params: Text, _context: Context) -> str:
    await trio.lowlevel.checkpoint()
    return params.some_text


def raiser(error: BaseException) -> Callable[[Any, Context], Any]:
    def handler(_params: Any, _context: Context) -> Any:
        raise error

    return handler


def make_methods(calls: list[Any]) -> list[Method]:
    """Methods that show every kind of behaviour; `calls` records notifications."""
    return [
        Method("subtract", "Subtract", lambda p, _c: p.minuend - p.subtrahend, Subtract, int),
        Method("sum", "Sum", lambda p, _c: p.a + p.b + p.c, Numbers, int),
        Method("notify_hello", "Take a number", lambda p, _c: calls.append(p.a), Numbers),
        Method("get_data", "Data", lambda _p, _c: ["hello", 5], NoParams, list[Any]),
        Method("test_echo", "Echo", lambda p, _c: p.some_text, Text, str),
        Method("test_echoLater", "Echo later", echo_later, Text, str),
        Method(
            "test_wait", "Wait for an event", wait_ms, Millis, str, waits=True, deadline_ms=5000
        ),
        Method("test_slow", "Take time", wait_ms, Millis, str, deadline_ms=5000),
        Method("test_fault", "Fail", raiser(ZeroDivisionError("secret detail"))),
        Method("test_refused", "Refuse", raiser(Refused(Code.FROZEN, "asset is frozen", rule="r"))),
        Method("test_missing", "Not found", raiser(NotFound("block 7"))),
        Method("test_pruned", "Pruned", raiser(Pruned("block 7", 9))),
        Method("test_malformed", "Malformed", raiser(Malformed("account", "too short"))),
        Method(
            "tx_malformed", "Bad tx", raiser(Malformed("body", "short")), takes_transaction=True
        ),
        Method("test_notJson", "Returns no JSON", lambda _p, _c: object()),
        Method("test_large", "A large answer", lambda _p, _c: "x" * 300_000, NoParams, str),
        Method("admin_stop", "Stop", lambda _p, _c: True, NoParams, bool, role="admin"),
        Method(
            "test_whoami", "Who", lambda _p, c: [c.client, grant_scopes(c.grant).text], NoParams
        ),
    ]


class RawClient:
    """The client's end of a connection, in bytes."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.rest = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def receive_to_end(self) -> bytes:
        data = self.rest
        self.rest = b""
        while True:
            try:
                piece = await self.stream.receive_some(65536)
            except trio.BrokenResourceError:
                return data
            if not piece:
                return data
            data += bytes(piece)

    async def until(self, mark: bytes) -> bytes:
        while mark not in self.rest:
            piece = await self.stream.receive_some(65536)
            assert piece, f"ended before {mark!r}: {self.rest[-300:]!r}"
            self.rest += bytes(piece)
        end = self.rest.index(mark) + len(mark)
        found, self.rest = self.rest[:end], self.rest[end:]
        return found

    async def response(self, method: str = "POST") -> tuple[int, dict[str, str], bytes]:
        """Read one response with Content-Length."""
        head = (await self.until(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = head[:-4].split("\r\n")
        fields = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
        length = 0 if method == "HEAD" else int(fields.get("content-length", "0"))
        while len(self.rest) < length:
            piece = await self.stream.receive_some(65536)
            assert piece, "ended in a body"
            self.rest += bytes(piece)
        body, self.rest = self.rest[:length], self.rest[length:]
        return int(status_line.split(" ")[1]), fields, body

    async def rpc(self, value: Any, **fields: str) -> tuple[int, Any]:
        """POST a JSON value; return status and parsed answer (None when empty)."""
        await self.send(post(json.dumps(value).encode(), **fields))
        status, _, body = await self.response()
        return status, json.loads(body) if body else None


def post(body: bytes, **fields: str) -> bytes:
    headers = {
        "Host": "localhost",
        "Content-Type": "application/json",
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST / HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode("latin-1") + body


@dataclass
class Web:
    """A whole server without sockets. `connect` gives a client; `calls`, `faults` record."""

    nursery: trio.Nursery
    limits: Limits = field(default_factory=Limits)
    access: Access = field(
        default_factory=lambda: Access(
            origins=frozenset({"https://wallet.example"}),
            authenticators=(
                FixedTokens(
                    (
                        Token(ADMIN_TOKEN),
                        Token(OTHER_TOKEN, read_scopes(["test_*"]), "reader"),
                    )
                ),
            ),
        )
    )
    budgets: Budgets | None = None
    extra_methods: list[Method] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)
    observed: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log = RefusalLog()
        self.dispatcher = Dispatcher(
            [*make_methods(self.calls), *self.extra_methods],
            log=self.log,
            limits=self.limits,
            budgets=self.budgets,
            observer=lambda name, _s, code: self.observed.append((name, code)),
            on_fault=self.faults.append,
        )
        self.app = App(
            log=self.log,
            dispatcher=self.dispatcher,
            routes={
                ("GET", "/healthz"): lambda _r: Response(200, b'{"ok":true}'),
                ("GET", "/echo"): self._echo_route,
                ("GET", "/later"): self._later_route,
                ("GET", "/broken"): raiser_route,
            },
            access=self.access,
            limits=self.limits,
        )
        self.server = WebServer(self.app, log=self.log, limits=self.limits)

    async def until_closed(self) -> None:
        """Wait until no connection is open."""
        for _ in range(1000):
            await trio.testing.wait_all_tasks_blocked()
            if not self.server.counts.connections_open:
                return
            await trio.sleep(0.5)
        raise AssertionError("a connection stays open")

    @staticmethod
    def _echo_route(request: Request) -> Response:
        body = f"{request.method} {request.path} {request.query} {request.header('x-test')}"
        return Response(200, body.encode(), "text/plain")

    @staticmethod
    async def _later_route(_request: Request) -> Response:
        await trio.sleep(1)
        return Response(200, b"later", "text/plain")

    def connect(
        self, peer: Peer | None = None, pair: Callable[[], Any] = trio.testing.memory_stream_pair
    ) -> RawClient:
        ours, theirs = pair()
        self.nursery.start_soon(self.server.serve_stream, theirs, peer)
        return RawClient(ours)


def raiser_route(_request: Request) -> Response:
    raise ZeroDivisionError("secret detail")


@pytest.fixture
def web(nursery: trio.Nursery) -> Web:
    """A server in memory with default limits."""
    return Web(nursery)


@pytest.fixture
def make_web(nursery: trio.Nursery) -> Callable[..., Web]:
    """Makes servers; `limits={...}` changes single limits."""

    def make(limits: dict[str, int] | None = None, **settings: Any) -> Web:
        return Web(nursery, limits=replace(Limits(), **(limits or {})), **settings)

    return make


@pytest.fixture(scope="session")
def web_class() -> type[Web]:
    """The server itself, for tests that bring a nursery and real sockets."""
    return Web


@pytest.fixture(scope="session")
def make_post() -> Callable[..., bytes]:
    """Builds the bytes of a JSON-RPC request."""
    return post


@pytest.fixture(scope="session")
def run_web() -> Callable[..., Any]:
    """Runs `scenario(web)` in a trio of its own on a virtual clock: for hypothesis tests."""

    def run(scenario: Callable[[Web], Any], limits: dict[str, int] | None = None, **kw: Any) -> Any:
        async def main() -> Any:
            async with trio.open_nursery() as nursery:
                made = Web(nursery, limits=replace(Limits(), **(limits or {})), **kw)
                result = await scenario(made)
                nursery.cancel_scope.cancel()
            return result

        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

    return run


@pytest.fixture(scope="session")
def tokens() -> tuple[str, str]:
    """The admin token and one with another role."""
    return ADMIN_TOKEN, OTHER_TOKEN
