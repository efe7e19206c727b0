"""The gate: hosts, origins, media types, methods; what a web page may make a browser do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clawpurse.modules.kit.web.grants import Token
from clawpurse.modules.kit.web.guard import Access, RefusalLog, printable
from clawpurse.modules.kit.web.head import Head
from clawpurse.modules.kit.web.messages import Response, peer_of, render

CALL = b'{"jsonrpc":"2.0","id":1,"method":"get_data"}'


def request(method: str, path: str, **fields: str) -> bytes:
    headers = {"Host": "localhost", **{k.replace("_", "-"): v for k, v in fields.items()}}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("LOCALHOST:9641", True),
        ("localhost.", True),
        ("127.0.0.1:9641", True),
        ("[::1]:9641", True),
        ("192.168.1.5:9641", True),
        ("rebound.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("0x7f000001", False),
    ],
)
async def test_a_rebound_name_gets_nothing(
    web: Any, make_post: Any, host: str, allowed: bool
) -> None:
    """A page at rebound.example that resolves to 127.0.0.1 must not reach the wallet."""
    client = web.connect()
    await client.send(make_post(CALL, Host=host))
    assert (await client.response())[0] == (200 if allowed else 403)
    await client.send(request("GET", "/healthz", Host=host))
    assert (await client.response())[0] == (200 if allowed else 403)
    assert web.log.counts == ({} if allowed else {"host": 2})


async def test_address_literals_can_be_left_out_of_the_hosts(make_web: Any) -> None:
    client = make_web(access=Access(ip_hosts=False)).connect()
    await client.send(request("GET", "/healthz", Host="192.168.1.5"))
    assert (await client.response())[0] == 403


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://wallet.example", True),
        ("HTTPS://WALLET.EXAMPLE", True),
        ("http://localhost:9641", True),
        ("http://localhost", False),
        ("http://localhost:1234", False),
        ("http://wallet.example", False),
        ("https://wallet.example.evil.example", False),
        ("https://evil.example", False),
        ("null", False),
        ("file://", False),
        ("", False),
    ],
)
async def test_only_listed_and_own_pages_may_call(
    web: Any, make_post: Any, origin: str, allowed: bool
) -> None:
    client = web.connect()
    await client.send(make_post(CALL, Host="localhost:9641", Origin=origin))
    status, fields, _ = await client.response()
    assert status == (200 if allowed else 403)
    assert fields.get("access-control-allow-origin") == (origin if allowed else None)
    await client.send(
        request(
            "GET",
            "/ws",
            Host="localhost:9641",
            Origin=origin,
            Upgrade="websocket",
            Connection="upgrade",
            Sec_WebSocket_Version="13",
            Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAAAA==",
        )
    )
    head = await client.until(b"\r\n")
    assert head.startswith(b"HTTP/1.1 101" if allowed else b"HTTP/1.1 403")


async def test_a_browser_may_ask_first(web: Any) -> None:
    client = web.connect()
    ask = {"Access_Control_Request_Method": "POST"}
    await client.send(request("OPTIONS", "/", Origin="https://wallet.example", **ask))
    status, fields, _ = await client.response()
    assert status == 204
    assert fields["access-control-allow-origin"] == "https://wallet.example"
    assert "POST" in fields["access-control-allow-methods"]
    assert "content-type" in fields["access-control-allow-headers"]
    assert fields["vary"] == "Origin"
    await client.send(request("OPTIONS", "/", Origin="https://evil.example", **ask))
    assert (await client.response())[0] == 403


@pytest.mark.parametrize(
    ("media", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=UTF-8", 200),
        ('application/json; charset="utf-8"', 200),
        ("application/json;", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/jsonx", 415),
        ("text/plain; application/json", 415),
        ("application/json; charset=utf-16", 415),
        ("", 415),
    ],
)
async def test_only_json_is_taken(web: Any, make_post: Any, media: str, status: int) -> None:
    """Forms of foreign pages can send the other types without asking first."""
    client = web.connect()
    await client.send(make_post(CALL, Content_Type=media))
    assert (await client.response())[0] == status
    await client.send(make_post(CALL))
    assert (await client.response())[0] == 200


async def test_compressed_bodies_are_refused(web: Any, make_post: Any) -> None:
    client = web.connect()
    await client.send(make_post(CALL, Content_Encoding="gzip"))
    assert (await client.response())[0] == 415


async def test_paths_and_methods(web: Any) -> None:
    client = web.connect()
    for method, path, status, allow in (
        ("GET", "/nowhere", 404, None),
        ("GET", "/healthz/", 404, None),
        ("GET", "//healthz", 404, None),
        ("GET", "/%68ealthz", 404, None),
        ("GET", "/../healthz", 404, None),
        ("GET", "/", 405, "OPTIONS, POST"),
        ("PUT", "/", 405, "OPTIONS, POST"),
        ("DELETE", "/healthz", 405, "GET, HEAD, OPTIONS"),
        ("TRACE", "/healthz", 405, "GET, HEAD, OPTIONS"),
        ("OPTIONS", "/healthz", 204, "GET, HEAD, OPTIONS"),
        ("OPTIONS", "*", 204, "OPTIONS"),
        ("GET", "http://localhost/healthz", 200, None),
        ("GET", "http://evil.example/healthz", 403, None),
        ("GET", "/healthz?x=1", 200, None),
    ):
        await client.send(request(method, path))
        got, fields, _ = await client.response()
        assert (path, got, fields.get("allow")) == (path, status, allow)


async def test_a_slow_route_does_not_stop_others(web: Any, autojump_clock: Any) -> None:
    slow, quick = web.connect(), web.connect()
    await slow.send(request("GET", "/later"))
    await quick.send(request("GET", "/healthz"))
    assert (await quick.response())[0] == 200
    assert (await slow.response())[2] == b"later"


async def test_methods_learn_who_calls(web: Any, make_post: Any, tokens: Any) -> None:
    client = web.connect(peer_of(("10.1.2.3", 4000)))
    call = b'{"jsonrpc":"2.0","id":1,"method":"test_whoami"}'
    await client.send(make_post(call, Authorization=f"Bearer {tokens[1]}") + make_post(call))
    assert json.loads((await client.response())[2])["result"] == ["token:reader", "test_*"]
    assert json.loads((await client.response())[2])["result"] == ["10.1.2.3", ""]


async def test_a_wrong_token_is_logged_with_its_sender_but_not_its_text(
    web: Any, make_post: Any, caplog: Any
) -> None:
    client = web.connect(peer_of(("10.1.2.3", 4000)))
    await client.send(make_post(CALL, Authorization="Bearer guessed-secret-value"))
    assert (await client.response())[0] == 401
    assert caplog.records[0].peer == "10.1.2.3:4000"
    assert caplog.records[0].reason == "bad-token"
    assert "guessed" not in caplog.text


def test_a_token_is_long_enough_and_never_shown() -> None:
    for bad in ("short", "ünïcode-but-long-enough"):
        with pytest.raises(ValueError):
            Token(bad)
    assert "0123456789abcdef" not in repr(Token("0123456789abcdef"))


def test_peers_of_one_network_share_a_budget() -> None:
    assert peer_of(("10.0.0.1", 5)).client == "10.0.0.1"
    assert peer_of(("::ffff:10.0.0.1", 5, 0, 0)) == peer_of(("10.0.0.1", 5))
    first = peer_of(("2001:db8::1", 5, 0, 0))
    assert first.client == peer_of(("2001:db8::ffff", 6, 0, 0)).client
    assert first.client != peer_of(("2001:db8:0:1::1", 5, 0, 0)).client
    assert first.address == "[2001:db8::1]:5"
    assert peer_of(("fe80::1%eth0", 5, 0, 2)).client.startswith("fe80::")
    assert peer_of("").client == "local"


def test_a_header_value_cannot_split_a_response() -> None:
    head = Head("GET", "/", "1.1")
    for value in ("a\r\nX: y", "a\nb", "a\0b"):
        with pytest.raises(ValueError):
            render(Response(200, b"", headers=(("X", value),)), head, keep_alive=True)


def test_a_flood_of_refusals_cannot_fill_a_disk_and_is_still_counted(caplog: Any) -> None:
    now = [0.0]
    log = RefusalLog(lambda: now[0])
    for number in range(100_000):
        log.refuse("1.1.1.1:5", f"10.0.{number % 100}.1", "head")
    assert log.counts == {"head": 100_000}
    assert len(caplog.records) == RefusalLog.LINES_PER_MINUTE
    now[0] = 61.0
    log.refuse("2.2.2.2:5", "2.2.2.2", "head", "x\r\n\x1b[31mforged \u202e line" + "y" * 500)
    record = caplog.records[-1]
    assert record.suppressed == 100_000 - RefusalLog.LINES_PER_MINUTE
    text = record.getMessage()
    assert "\n" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert len(text) < 300


def test_one_noisy_client_does_not_silence_the_log_about_others(caplog: Any) -> None:
    log = RefusalLog(lambda: 0.0)
    for _ in range(1000):
        log.refuse("1.1.1.1:5", "1.1.1.1", "head")
    log.refuse("2.2.2.2:5", "2.2.2.2", "head")
    assert len(caplog.records) == RefusalLog.LINES_PER_CLIENT + 1
    assert caplog.records[-1].peer == "2.2.2.2:5"
    assert printable("a\tb") == "a?b"
