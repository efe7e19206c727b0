"""Request heads: what two readers could take differently is refused, never guessed."""

from __future__ import annotations

import itertools

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.modules.kit.web.head import (
    CHUNKED,
    ChunkedBody,
    HttpRefusal,
    check_beginning,
    parse_head,
)
from clawpurse.modules.kit.web.limits import Limits

LIMITS = Limits()


def head(line: str = "GET / HTTP/1.1", *fields: str, host: str | None = "a") -> bytes:
    lines = [line, *([] if host is None else [f"Host: {host}"]), *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


REFUSED = {
    "bare LF after the request line (llhttp takes it as HTTP/0.9)": (
        b"GET /\nHost: a\r\n\r\n",
        400,
    ),
    "bare LF between fields": (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    "bare CR in a value": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
    "folded field": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
    "folded field by tab": (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tb\r\n\r\n", 400),
    "blank before first field": (b"GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n", 400),
    "blank before colon": (head("GET / HTTP/1.1", "Content-Length : 3"), 400),
    "empty field name": (head("GET / HTTP/1.1", ": a"), 400),
    "no colon": (head("GET / HTTP/1.1", "X"), 400),
    "NUL in value": (head("GET / HTTP/1.1", "X: a\0b"), 400),
    "control in value": (head("GET / HTTP/1.1", "X: a\x01b"), 400),
    "non-token name": (head("GET / HTTP/1.1", "X(y): a"), 400),
    "two blanks in request line": (head("GET  / HTTP/1.1"), 400),
    "trailing blank": (head("GET / HTTP/1.1 "), 400),
    "blank in target": (head("GET /a b HTTP/1.1"), 400),
    "tab as separator": (head("GET\t/ HTTP/1.1"), 400),
    "HTTP/0.9 style": (b"GET /\r\n\r\n", 400),
    "HTTP/0.9 named": (head("GET / HTTP/0.9"), 505),
    "HTTP/2.0": (head("GET / HTTP/2.0"), 505),
    "HTTP/1.2": (head("GET / HTTP/1.2"), 505),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\n", 505),
    "lower-case version": (head("GET / http/1.1"), 400),
    "RTSP": (head("GET / RTSP/1.0"), 400),
    "unknown method": (head("BREW / HTTP/1.1"), 501),
    "lower-case method": (head("get / HTTP/1.1"), 501),
    "CONNECT": (head("CONNECT a:1 HTTP/1.1"), 501),
    "no Host": (head(host=None), 400),
    "two Hosts": (head("GET / HTTP/1.1", "Host: b"), 400),
    "Host with user": (head(host="a@b"), 400),
    "Host with path": (head(host="a/b"), 400),
    "Host with blank": (head(host="a b"), 400),
    "Host with bad port": (head(host="a:80x"), 400),
    "Host list": (head(host="a, b"), 400),
    "fragment in target": (head("GET /#x HTTP/1.1"), 400),
    "relative target": (head("GET a HTTP/1.1"), 400),
    "asterisk for GET": (head("GET * HTTP/1.1"), 400),
    "target of another scheme": (head("GET ftp://a/ HTTP/1.1"), 400),
    "target without host": (head("GET http:///x HTTP/1.1"), 400),
    "non-ASCII target": (head("GET /\xe9 HTTP/1.1"), 400),
    "two lengths": (head("POST / HTTP/1.1", "Content-Length: 1", "Content-Length: 1"), 400),
    "two different lengths": (
        head("POST / HTTP/1.1", "Content-Length: 1", "Content-Length: 2"),
        400,
    ),
    "length list": (head("POST / HTTP/1.1", "Content-Length: 1, 1"), 400),
    "signed length": (head("POST / HTTP/1.1", "Content-Length: +1"), 400),
    "negative length": (head("POST / HTTP/1.1", "Content-Length: -1"), 400),
    "hex length": (head("POST / HTTP/1.1", "Content-Length: 0x10"), 400),
    "empty length": (head("POST / HTTP/1.1", "Content-Length:"), 400),
    "length overflow": (head("POST / HTTP/1.1", "Content-Length: " + "9" * 30), 400),
    "length with underscore": (head("POST / HTTP/1.1", "Content-Length: 1_0"), 400),
    "CL then TE": (
        head("POST / HTTP/1.1", "Content-Length: 1", "Transfer-Encoding: chunked"),
        400,
    ),
    "TE then CL": (
        head("POST / HTTP/1.1", "Transfer-Encoding: chunked", "Content-Length: 1"),
        400,
    ),
    "TE twice": (
        head("POST / HTTP/1.1", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        400,
    ),
    "TE not final": (head("POST / HTTP/1.1", "Transfer-Encoding: chunked, identity"), 400),
    "TE unknown": (head("POST / HTTP/1.1", "Transfer-Encoding: xchunked"), 400),
    "TE identity": (head("POST / HTTP/1.1", "Transfer-Encoding: identity"), 400),
    "TE hidden by a control": (head("POST / HTTP/1.1", "Transfer-Encoding: \x0bchunked"), 400),
    "TE gzip, chunked": (head("POST / HTTP/1.1", "Transfer-Encoding: gzip, chunked"), 501),
    "TE in HTTP/1.0": (head("POST / HTTP/1.0", "Transfer-Encoding: chunked"), 400),
    "unknown expectation": (head("POST / HTTP/1.1", "Expect: tea"), 417),
    "too many fields": (head("GET / HTTP/1.1", *["X: y"] * 64), 431),
    "long request line": (head(f"GET /{'a' * 8192} HTTP/1.1"), 414),
    "large head": (head("GET / HTTP/1.1", f"X: {'a' * 17000}"), 431),
    "two content types": (head("POST / HTTP/1.1", "Content-Type: a/b", "Content-Type: c/d"), 400),
    "two tokens": (head("GET / HTTP/1.1", "Authorization: a", "Authorization: b"), 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unclear_or_forbidden_heads_are_refused(name: str) -> None:
    raw, status = REFUSED[name]
    with pytest.raises(HttpRefusal) as caught:
        parse_head(raw, LIMITS)
    assert caught.value.status == status


def test_a_plain_head_is_read_as_sent() -> None:
    read = parse_head(
        head("GET /a/b?c=%2F HTTP/1.1", "X-Y:  z ", "x-y: 2", host="LOCALHOST:80"), LIMITS
    )
    assert (read.method, read.path, read.query, read.version) == ("GET", "/a/b", "c=%2F", "1.1")
    assert read.headers[b"x-y"] == b"z, 2"
    assert read.host == "localhost:80"
    assert read.keep_alive
    assert read.body_length == 0


@pytest.mark.parametrize(
    ("line", "fields", "keep"),
    [
        ("GET / HTTP/1.1", ["Connection: close"], False),
        ("GET / HTTP/1.1", ["Connection: foo, CLOSE"], False),
        ("GET / HTTP/1.1", ["Connection: keep-alive", "Connection: close"], False),
        ("GET / HTTP/1.1", ["Connection: closed"], True),
        ("GET / HTTP/1.0", [], False),
        ("GET / HTTP/1.0", ["Connection: Keep-Alive"], True),
        ("GET / HTTP/1.0", ["Connection: keep-alive, close"], False),
    ],
)
def test_keep_alive_follows_version_and_connection_options(
    line: str, fields: list[str], keep: bool
) -> None:
    assert parse_head(head(line, *fields), LIMITS).keep_alive is keep


def test_the_host_of_an_absolute_target_wins_over_the_field() -> None:
    """Else a request could pass the host list by one name and be routed by the other."""
    read = parse_head(head("GET http://evil.example:81/x?y HTTP/1.1", host="localhost"), LIMITS)
    assert (read.host, read.path, read.query) == ("evil.example:81", "/x", "y")
    assert parse_head(head("GET http://b HTTP/1.1"), LIMITS).path == "/"


def test_http_1_0_may_come_without_host_and_its_expectation_is_ignored() -> None:
    read = parse_head(head("POST / HTTP/1.0", "Expect: 100-continue", host=None), LIMITS)
    assert read.host is None
    assert not read.expects_continue


def test_framing_is_read() -> None:
    assert parse_head(head("POST / HTTP/1.1", "Content-Length: 12 "), LIMITS).body_length == 12
    read = parse_head(head("POST / HTTP/1.1", "Transfer-Encoding: Chunked"), LIMITS)
    assert read.body_length == CHUNKED


@given(st.binary(max_size=400))
def test_random_bytes_are_refused_or_read_but_never_crash(junk: bytes) -> None:
    for raw in (junk + b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n" + junk + b"\r\n\r\n"):
        try:
            parse_head(raw, LIMITS)
        except HttpRefusal as refusal:
            assert refusal.status in (400, 414, 417, 431, 501, 505)
    try:
        check_beginning(junk, LIMITS)
    except HttpRefusal as refusal:
        assert refusal.status in (400, 414, 431)


FRAMING = st.sampled_from(
    [
        "Content-Length: 5", "Content-Length: 05", "Content-Length:5", "content-length: 7",
        "Content-Length: 5\t", "Transfer-Encoding: chunked", "Transfer-Encoding:chunked",
        "Transfer-Encoding: CHUNKED", "Transfer-Encoding: chunked,", "Transfer-Encoding:",
        "Transfer-Encoding : chunked", "X: y", "Transfer_Encoding: chunked", "Content-Length: 5,",
        "Transfer-Encoding: ,chunked", "Transfer-Encoding: chunked;q=1",
    ]
)  # fmt: skip


@given(st.lists(FRAMING, max_size=3))
def test_framing_fields_in_any_combination_are_clear_or_refused(fields: list[str]) -> None:
    """Request smuggling lives where two fields say two things about one body."""
    try:
        read = parse_head(head("POST / HTTP/1.1", *fields), LIMITS)
    except HttpRefusal:
        return
    lengths = [f for f in fields if f.lower().startswith("content-length")]
    codings = [f for f in fields if f.lower().startswith("transfer-encoding")]
    assert len(lengths) + len(codings) <= 1
    if codings:
        assert read.body_length == CHUNKED
    elif lengths:
        assert read.body_length == int(lengths[0].partition(":")[2])
    else:
        assert read.body_length == 0


@pytest.mark.parametrize(
    "part",
    [
        b"\x16\x03\x01",
        b"\0",
        b"GET / HTTP/1.1\nHost",
        b" GET",
        b"A" * 9000,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 4000,
    ],
)
def test_what_cannot_become_a_head_is_refused_before_it_is_whole(part: bytes) -> None:
    with pytest.raises(HttpRefusal):
        check_beginning(part, LIMITS)


# Chunked bodies.


def feed_all(raw: bytes, cuts: list[int], body_max: int = 1000) -> tuple[bytes, bytes]:
    """Feed in pieces cut at `cuts`; return body and what was left."""
    reader = ChunkedBody(body_max, 1000)
    places = sorted({min(cut, len(raw)) for cut in cuts} | {0, len(raw)})
    for start, stop in itertools.pairwise(places):
        whole, used = reader.feed(raw[start:stop])
        if whole:
            return reader.body, raw[start + used :]
        assert used == stop - start
    raise AssertionError("not whole")


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.lists(st.integers(0, 400), max_size=10),
    st.sampled_from([b"", b"X: y\r\n", b"A: \r\nB: c\r\n"]),
    st.sampled_from([b"", b";a=b", b' ; q="x"']),
)
def test_a_chunked_body_is_the_same_however_it_is_cut(
    chunks: list[bytes], cuts: list[int], trailer: bytes, extension: bytes
) -> None:
    raw = b"".join(b"%x%b\r\n%b\r\n" % (len(c), extension, c) for c in chunks)
    raw += b"0\r\n" + trailer + b"\r\nNEXT"
    assert feed_all(raw, cuts) == (b"".join(chunks), b"NEXT")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"5\nhello\r\n0\r\n\r\n", 400),
        (b"5\r\nhello\n0\r\n\r\n", 400),
        (b"5\r\nhelloo\r\n0\r\n\r\n", 400),
        (b"5 \r\nhello\r\n0\r\n\r\n", 400),
        (b" 5\r\nhello\r\n0\r\n\r\n", 400),
        (b"0x5\r\nhello\r\n0\r\n\r\n", 400),
        (b"+5\r\nhello\r\n0\r\n\r\n", 400),
        (b"-1\r\n", 400),
        (b"\r\n", 400),
        (b"g\r\n", 400),
        (b"5_0\r\n", 400),
        (b"00000000000000005\r\nhello\r\n", 400),
        (b"5;\x00\r\nhello\r\n", 400),
        (b"5;a\rb\r\nhello\r\n", 400),
        (b"ffffffffffffffff\r\n", 413),
        (b"3e9\r\n", 413),
        (b"0\r\nnot a trailer\r\n\r\n", 400),
        (b"0\r\n folded: x\r\n\r\n", 400),
        (b"1;" + b"a" * 300 + b"\r\n", 400),
        (b"0\r\n" + b"a: " + b"b" * 200 + b"\r\n", None),
        (b"0\r\n" + (b"a: " + b"b" * 200 + b"\r\n") * 6, 431),
    ],
)
def test_malformed_chunks_are_refused(raw: bytes, status: int | None) -> None:
    """A lenient chunk reader is the other half of request smuggling."""
    reader = ChunkedBody(1000, 1000)
    if status is None:
        reader.feed(raw)
        return
    with pytest.raises(HttpRefusal) as caught:
        for index in range(len(raw)):
            reader.feed(raw[index : index + 1])
    assert caught.value.status == status


def test_a_flood_of_tiny_chunks_is_cut_short() -> None:
    reader = ChunkedBody(1_000_000, 1000)
    with pytest.raises(HttpRefusal):
        reader.feed(b"1\r\nx\r\n" * 10_000)


@given(st.binary(max_size=300))
def test_random_chunk_bytes_never_crash(junk: bytes) -> None:
    reader = ChunkedBody(1000, 1000)
    try:
        reader.feed(junk)
    except HttpRefusal as refusal:
        assert refusal.status in (400, 413, 431)


# Another reader as oracle: whoever stands in front of us may read like h11.

LINES = st.sampled_from(
    [
        b"Host: a", b"Content-Length: 5", b"Content-Length:5 ", b"content-length: 007", b"X: y",
        b"Transfer-Encoding: chunked", b"transfer-encoding:\tChunked", b"Connection: close",
        b"Connection: keep-alive, x", b"Expect: 100-continue", b"X-Empty:", b"X: \xe9",
        b"Upgrade: websocket", b"Connection: upgrade", b"Content-Length: 5, 5", b" X: y",
    ]
)  # fmt: skip
REQUEST_LINES = st.sampled_from(
    [
        b"GET / HTTP/1.1", b"POST /a?b=c HTTP/1.1", b"POST / HTTP/1.0", b"HEAD /%20 HTTP/1.1",
        b"GET http://a/b HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET  / HTTP/1.1", b"get / HTTP/1.1",
    ]
)  # fmt: skip


@given(
    REQUEST_LINES,
    st.lists(LINES, max_size=5),
    st.lists(st.tuples(st.integers(0, 120), st.binary(min_size=1, max_size=1)), max_size=2),
)
def test_what_is_taken_here_is_read_the_same_by_another_reader(
    line: bytes, lines: list[bytes], changes: list[tuple[int, bytes]]
) -> None:
    raw = bytearray(b"\r\n".join([line, b"Host: a", *lines]) + b"\r\n\r\n")
    for place, byte in changes:
        raw[place % (len(raw) - 4) : place % (len(raw) - 4) + 1] = byte
    try:
        ours = parse_head(bytes(raw), LIMITS)
    except HttpRefusal:
        return
    if bytes(raw).index(b"\r\n\r\n") + 4 != len(raw):
        return  # an empty line in the middle: the connection would not have cut it here
    reader = h11.Connection(h11.SERVER)
    reader.receive_data(bytes(raw))
    theirs = reader.next_event()
    assert isinstance(theirs, h11.Request)
    assert theirs.method.decode() == ours.method
    fields = dict(theirs.headers)
    if ours.body_length == CHUNKED:
        assert fields[b"transfer-encoding"].lower() == b"chunked"
        assert b"content-length" not in fields
    else:
        assert b"transfer-encoding" not in fields
        assert int(fields.get(b"content-length", b"0")) == ours.body_length
