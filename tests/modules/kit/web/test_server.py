"""The server on real sockets with real clients; how many connections, and how it stops."""

from __future__ import annotations

import datetime
import http.client
import ipaddress
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.errors import Unreachable
from clawpurse.modules.kit.web.messages import Peer
from clawpurse.modules.kit.web.server import WebServer, bound_port, open_listeners

CALL = {"jsonrpc": "2.0", "id": 1, "method": "sum", "params": [1, 2]}
BODY = json.dumps(CALL).encode()


@pytest.fixture
async def port(web: Any, nursery: trio.Nursery) -> AsyncIterator[int]:
    """A server on a free loopback port."""
    listeners = await open_listeners("127.0.0.1", 0)
    await nursery.start(web.server.run, listeners)
    yield bound_port(listeners[0])


async def until(condition: Any) -> None:
    """Wait for a condition on the real clock, within ten seconds."""
    with trio.fail_after(10):
        # Kernel and threads give no event to wait for.
        while not condition():
            await trio.sleep(0.01)


async def test_more_connections_than_allowed_are_told_so(make_web: Any) -> None:
    web = make_web(limits={"connections_max": 5, "connections_per_client_max": 3})
    held = [web.connect(Peer("10.0.0.1:1", "10.0.0.1")) for _ in range(3)]
    await trio.testing.wait_all_tasks_blocked()
    refused = await web.connect(Peer("10.0.0.1:2", "10.0.0.1")).receive_to_end()
    assert refused.startswith(b"HTTP/1.1 503")
    others = []
    for n in (2, 3, 4):
        others.append(web.connect(Peer(f"10.0.0.{n}:1", f"10.0.0.{n}")))
        await trio.testing.wait_all_tasks_blocked()
    assert (await others[2].receive_to_end()).startswith(b"HTTP/1.1 503")
    assert await others[0].rpc(CALL) == (200, {"jsonrpc": "2.0", "id": 1, "result": 3})
    assert web.log.counts == {"too-many-connections": 2}
    await held[0].stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    again = web.connect(Peer("10.0.0.1:3", "10.0.0.1"))
    assert (await again.rpc(CALL))[0] == 200


async def test_a_stop_finishes_what_is_under_way_and_nothing_else(
    web: Any, make_post: Any, nursery: trio.Nursery, autojump_clock: Any
) -> None:
    done = trio.Event()

    async def run() -> None:
        await web.server.run([])
        done.set()

    nursery.start_soon(run)
    await trio.testing.wait_all_tasks_blocked()
    idle, busy = web.connect(), web.connect()
    assert (await idle.rpc(CALL))[0] == 200
    slow = b'{"jsonrpc":"2.0","id":1,"method":"test_slow","params":[2000]}'
    await busy.send(make_post(slow))
    await trio.testing.wait_all_tasks_blocked()
    web.server.stop()
    assert await idle.receive_to_end() == b""
    assert trio.current_time() < 1
    _, fields, body = await busy.response()
    assert json.loads(body)["result"] == "waited"
    assert fields["connection"] == "close"
    with trio.fail_after(1):
        await done.wait()


@pytest.mark.real
async def test_a_stop_does_not_wait_for_ever(web: Any, nursery: trio.Nursery) -> None:
    server = WebServer(web.app, log=web.log, drain_timeout_ms=100)
    listeners = await open_listeners("127.0.0.1", 0)
    stopped = trio.Event()

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        await server.run(listeners, task_status=task_status)
        stopped.set()

    await nursery.start(run)
    async with await trio.open_tcp_stream("127.0.0.1", bound_port(listeners[0])) as stream:
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: localhost\r\n")
        await until(lambda: server.counts.connections_open == 1)
        server.stop()
        with trio.fail_after(5):
            await stopped.wait()
    assert server.counts.connections_open == 0
    with pytest.raises(OSError):
        await trio.open_tcp_stream("127.0.0.1", bound_port(listeners[0]))


@pytest.mark.real
async def test_the_standard_library_s_client_is_served(port: int) -> None:
    """Kept connection, chunked upload, HEAD, errors: as any HTTP client would."""

    def talk() -> list[Any]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        seen: list[Any] = []
        headers = {"Content-Type": "application/json"}
        for _ in range(3):
            connection.request("POST", "/", BODY, headers)
            seen.append(json.loads(connection.getresponse().read())["result"])
        local_port = connection.sock.getsockname()[1]
        connection.request("POST", "/", iter([BODY[:10], BODY[10:]]), headers, encode_chunked=True)
        seen.append(json.loads(connection.getresponse().read())["result"])
        connection.request("HEAD", "/healthz")
        response = connection.getresponse()
        seen.append((response.status, response.read()))
        connection.request("GET", "/nowhere")
        response = connection.getresponse()
        response.read()
        seen.append(response.status)
        seen.append(connection.sock.getsockname()[1] == local_port)
        connection.request("POST", "/", b"x" * (1024 * 1024 + 1), headers)
        seen.append(connection.getresponse().status)
        connection.close()
        return seen

    assert await trio.to_thread.run_sync(talk) == [3, 3, 3, 3, (200, b""), 404, True, 413]


@pytest.mark.real
async def test_the_own_client_over_tcp(port: int) -> None:
    async with RpcClient(f"http://127.0.0.1:{port}") as rpc:
        assert await rpc.call("sum", [1, 2]) == 3
        assert await rpc.batch([("sum", [n]) for n in range(100)]) == list(range(100))
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(rpc.call, "test_echoLater", ["x"])
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with RpcClient(f"http://127.0.0.1:{closed.getsockname()[1]}") as rpc:
            with pytest.raises(Unreachable) as caught:
                await rpc.call("sum", [1])
            assert not caught.value.sent


@pytest.mark.real
async def test_an_error_answer_is_read_although_the_client_goes_on_sending(port: int) -> None:
    """Closing at once would reset the connection and destroy the answer on its way."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    answer = b""
    async with trio.open_nursery() as nursery:

        async def pour() -> None:
            head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n\r\n"
            await stream.send_all(head + b"x" * 3_000_000)

        nursery.start_soon(pour)
        while b"413" not in answer:
            piece = await stream.receive_some(65536)
            assert piece
            answer += bytes(piece)
    assert answer.startswith(b"HTTP/1.1 413")
    await stream.aclose()


@pytest.mark.real
async def test_reset_half_open_and_silent_peers_do_not_disturb_the_rest(
    web: Any, port: int
) -> None:
    resets = []
    for number in range(30):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        match number % 3:
            case 0:
                # A reset instead of a close, with a request half sent.
                await stream.send_all(b"POST / HTTP/1.1\r\nHost: local")
                linger = struct.pack("ii", 1, 0)
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                await stream.aclose()
            case 1:
                await stream.send_all(b"\0\xff garbage \r\n\r\n")
                await stream.send_eof()
                resets.append(stream)
            case _:
                resets.append(stream)
        async with RpcClient(f"http://127.0.0.1:{port}") as rpc:
            assert await rpc.call("sum", [1, 2]) == 3
    assert web.log.counts["bad-request-line"] == 10
    assert "incident" not in web.log.counts
    for stream in resets:
        await stream.aclose()
    await until(lambda: web.server.counts.connections_open == 0)


@pytest.mark.real
async def test_tls_spoken_to_a_plain_port_is_an_error_and_not_a_hang(port: int) -> None:
    context = ssl.create_default_context()
    async with RpcClient(f"https://127.0.0.1:{port}", ssl_context=context) as rpc:
        with trio.fail_after(10):
            with pytest.raises(Unreachable) as caught:
                await rpc.call("sum", [1])
    assert not caught.value.sent


@pytest.mark.real
async def test_a_subscriber_over_tcp_and_a_date(web: Any, nursery: trio.Nursery) -> None:
    server = WebServer(web.app, log=web.log, wall_time_s=lambda: 784111777.0)
    listeners = await open_listeners("127.0.0.1", 0)
    await nursery.start(server.run, listeners)
    stream = await trio.open_tcp_stream("127.0.0.1", bound_port(listeners[0]))
    await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = b""
    while piece := await stream.receive_some(65536):
        answer += bytes(piece)
    await stream.aclose()
    assert b"\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n" in answer


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's context with a certificate of their own for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + certificate)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cadata=certificate.decode())


@pytest.mark.real
async def test_https_and_wss_with_a_certificate_that_is_checked(
    web: Any, nursery: trio.Nursery, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """A remote node is reached through TLS; a certificate that nobody vouches for is refused."""
    listeners = await open_listeners("127.0.0.1", 0)
    secure = [trio.SSLListener(one, tls[0], https_compatible=True) for one in listeners]
    await nursery.start(web.server.run, secure)
    url = f"https://127.0.0.1:{bound_port(listeners[0])}"
    async with RpcClient(url, ssl_context=tls[1]) as rpc:
        assert await rpc.call("sum", [1, 2]) == 3
        assert (await rpc.call("test_whoami"))[0] == "127.0.0.1"
        socket_ = await rpc.open_socket()
        await socket_.send(BODY.decode())
        assert json.loads(await socket_.receive(5000))["result"] == 3
        await socket_.aclose()
    async with RpcClient(url) as rpc:
        with pytest.raises(Unreachable) as caught:
            await rpc.call("sum", [1])
    assert not caught.value.sent
    assert "certificate" in str(caught.value).lower()


async def test_a_fault_in_one_connection_ends_only_that_one(web: Any, caplog: Any) -> None:
    class Faulty:
        def answer(self, _request: Any) -> Any:
            raise ZeroDivisionError("secret detail")

        def precheck(self, _head: Any, _peer: Any) -> None:
            return None

    good = web.connect()
    ours, theirs = trio.testing.memory_stream_pair()
    server = WebServer(Faulty(), log=web.log)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_stream, theirs)
        await ours.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await ours.receive_some(1000) == b""
    assert "secret detail" in caplog.text
    assert (await good.rpc(CALL))[0] == 200
