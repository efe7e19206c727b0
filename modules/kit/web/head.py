"""Request heads: from the bytes before the empty line to a checked, frozen `Head`.

httptools (llhttp) reads the syntax of RFC 9112. What it lets pass and we refuse stands here:
bare CR or LF anywhere, line folding, HTTP/0.9 and 2.0, a request line that is not exactly
three parts, more than one Host, a body length given twice or in two ways. A refusal is
final for the connection: after an unclear head nobody can say where the next one starts,
and two readers who disagree about that are how requests get smuggled.

A `Head` is a pure function of its bytes, so a connection may keep the heads it has seen.
"""

from __future__ import annotations

from typing import Any

import httptools

from clawpurse.ledger.errors import CallerError
from clawpurse.modules.kit.web.limits import Limits

CHUNKED = -1
"""`Head.body_length` when the body is chunked."""

_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_HEX = frozenset(b"0123456789abcdefABCDEF")
_SINGLE_FIELDS = frozenset(
    (b"host", b"content-length", b"transfer-encoding", b"content-type", b"authorization",
     b"origin", b"expect", b"upgrade", b"sec-websocket-key", b"sec-websocket-version")
)  # fmt: skip
"""Fields that we act on and that may come once: which of two would be the true one?"""


class HttpRefusal(CallerError):
    """A request that gets this status and the end of its connection.

    Attributes: `status`, `slug` (short name for logs and counters), `problem` (a sentence for
    the peer).
    """

    def __init__(self, status: int, slug: str, problem: str) -> None:
        super().__init__(f"{status} {slug}: {problem}")
        self.status = status
        self.slug = slug
        self.problem = problem


class Head:
    """A request's line and fields. Frozen by convention; `gate` belongs to the application.

    Attributes: `method` (`POST`), `path` and `query` (ASCII, as sent, not decoded), `version`
    (`1.1` or `1.0`), `headers` (lower-case name, value without outer blanks), `host` (of the
    request target or the Host field, lower case, with port, or None with HTTP/1.0),
    `body_length` (bytes, or CHUNKED), `keep_alive`, `expects_continue`, `upgrade` (lower-case
    protocol, or empty).
    """

    __slots__ = (
        "body_length",
        "expects_continue",
        "gate",
        "headers",
        "host",
        "keep_alive",
        "method",
        "path",
        "query",
        "upgrade",
        "version",
    )

    def __init__(self, method: str, target: str, version: str) -> None:
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.version = version
        self.headers: dict[bytes, bytes] = {}
        self.host: str | None = None
        self.body_length = 0
        self.keep_alive = version == "1.1"
        self.expects_continue = False
        self.upgrade = ""
        self.gate: Any = None


class _Fields:
    """Receives httptools' callbacks for one head."""

    __slots__ = ("fields", "limit", "url")

    def __init__(self, count_max: int) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.limit = count_max
        self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.fields) >= self.limit:
            raise HttpRefusal(
                431, "too-many-headers", f"a request may have {self.limit} header fields"
            )
        self.fields.append((name.lower(), value.strip(b" \t")))


def parse_head(raw: bytes, limits: Limits) -> Head:
    """Read one head, `raw` being everything up to and with its empty line.

    Raises HttpRefusal for whatever RFC 9112 forbids or we do not offer.
    """
    method, target, version = _request_line(raw, limits)
    _check_line_ends(raw)
    fields = _Fields(limits.header_count_max)
    parser = httptools.HttpRequestParser(fields)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        # Not an error: llhttp stops here because another protocol may follow.
        pass
    except httptools.HttpParserInvalidMethodError:
        raise HttpRefusal(501, "unknown-method", f"{method} is not implemented here") from None
    except httptools.HttpParserCallbackError as error:
        if isinstance(error.__context__, HttpRefusal):
            raise error.__context__ from None
        raise
    except httptools.HttpParserError as error:
        raise _syntax_refusal(str(error)) from None
    head = Head(method, target, version)
    _take_fields(head, fields.fields)
    _take_target(head, target)
    _take_framing(head)
    if b"expect" in head.headers:
        if head.headers[b"expect"].lower() != b"100-continue":
            raise HttpRefusal(417, "unknown-expectation", "only 100-continue can be expected")
        # RFC 9110 §10.1.1: an expectation in HTTP/1.0 is ignored.
        head.expects_continue = version == "1.1"
    return head


def check_beginning(part: bytes, limits: Limits) -> None:
    """Refuse early what can no longer become a head, from its first bytes in `part`.

    Without this a peer that speaks another protocol would be waited for until the deadline.
    """
    if part and part[0] not in _TOKEN:
        raise HttpRefusal(400, "not-http", "this port speaks HTTP/1.1")
    line_end = part.find(b"\r\n")
    if (line_end if line_end >= 0 else len(part)) > limits.request_line_bytes_max:
        raise HttpRefusal(414, "uri-too-long", "the request line is too long")
    if len(part) > limits.head_bytes_max:
        raise HttpRefusal(431, "head-too-large", "the header fields are too large")
    if part.count(b"\n") != part.count(b"\r\n"):
        raise HttpRefusal(400, "bare-line-feed", "lines end with CR LF")


def _request_line(raw: bytes, limits: Limits) -> tuple[str, str, str]:
    """Method, target and version: exactly three parts between single spaces (§3)."""
    line = raw[: raw.find(b"\r\n")]
    if len(line) > limits.request_line_bytes_max:
        raise HttpRefusal(414, "uri-too-long", "the request line is too long")
    if len(raw) > limits.head_bytes_max:
        raise HttpRefusal(431, "head-too-large", "the header fields are too large")
    parts = line.split(b" ")
    if len(parts) != 3 or not parts[0] or not parts[1] or not _TOKEN.issuperset(parts[0]):
        raise HttpRefusal(400, "bad-request-line", "the request line is METHOD target HTTP/1.1")
    method, target, version = parts
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        if version[:5] == b"HTTP/" and version[5:6].isdigit():
            raise HttpRefusal(505, "http-version", "only HTTP/1.1 and HTTP/1.0 are spoken here")
        raise HttpRefusal(400, "bad-request-line", "the request line is METHOD target HTTP/1.1")
    if not target.isascii() or b"#" in target:
        raise HttpRefusal(400, "bad-target", "the target holds what no URI may hold")
    return method.decode(), target.decode(), version[5:].decode()


def _check_line_ends(raw: bytes) -> None:
    """Bare CR, bare LF and folded lines (§2.2, §5.2) are refused before any parsing."""
    pairs = raw.count(b"\r\n")
    if raw.count(b"\n") != pairs or raw.count(b"\r") != pairs:
        raise HttpRefusal(400, "bare-line-end", "lines end with CR LF")
    if b"\r\n " in raw or b"\r\n\t" in raw:
        raise HttpRefusal(400, "folded-line", "header fields may not be folded")


def _syntax_refusal(message: str) -> HttpRefusal:
    """Llhttp's complaint as an answer; framing conflicts get names of their own in the logs."""
    if "Transfer-Encoding" in message and "Content-Length" in message:
        return HttpRefusal(400, "length-twice", "Content-Length and Transfer-Encoding conflict")
    if "Content-Length" in message:
        return HttpRefusal(400, "bad-content-length", "Content-Length is one decimal number")
    if "Transfer-Encoding" in message:
        return HttpRefusal(400, "bad-transfer-encoding", "only chunked is understood")
    return HttpRefusal(400, "bad-syntax", "the request is not HTTP/1.1 (RFC 9112)")


def _take_fields(head: Head, fields: list[tuple[bytes, bytes]]) -> None:
    """Fold repeated list fields together (RFC 9110 §5.3); refuse repeated single ones."""
    headers = head.headers
    for name, value in fields:
        if name not in headers:
            headers[name] = value
        elif name in _SINGLE_FIELDS:
            raise HttpRefusal(400, "repeated-header", f"{name.decode()} may come once")
        else:
            # Cookies are parted by another sign than lists are (RFC 6265 §5.4).
            headers[name] += (b"; " if name == b"cookie" else b", ") + value
    connection = headers.get(b"connection")
    if connection is not None:
        options = {option.strip(b" \t").lower() for option in connection.split(b",")}
        if b"close" in options:
            head.keep_alive = False
        elif b"keep-alive" in options:
            head.keep_alive = True
        if b"upgrade" in options and b"upgrade" in headers and head.version == "1.1":
            head.upgrade = headers[b"upgrade"].decode("latin-1").lower()


def _take_target(head: Head, target: str) -> None:
    """Set path, query and host from the four target forms (§3.2)."""
    host = head.headers.get(b"host")
    if host is None and head.version == "1.1":
        raise HttpRefusal(400, "no-host", "HTTP/1.1 requests name their Host")
    if host is not None:
        head.host = _authority(host.decode("latin-1"))
    if target[0] == "/":
        return
    if head.method == "CONNECT":
        raise HttpRefusal(501, "no-tunnel", "this is not a proxy")
    if target == "*" and head.method == "OPTIONS":
        return
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        raise HttpRefusal(400, "bad-target", "the target is a path or an http URL")
    # §3.2.2: the authority of an absolute target replaces the Host field.
    cut = min((i for i in (rest.find("/"), rest.find("?")) if i >= 0), default=len(rest))
    head.host = _authority(rest[:cut])
    if not head.host:
        raise HttpRefusal(400, "bad-target", "the target names no host")
    path, _, head.query = rest[cut:].partition("?")
    head.path = path or "/"


def _authority(text: str) -> str:
    """Check the form host[:port] (RFC 3986 §3.2.2, without user information)."""
    host, _, port = text.rpartition(":") if _has_port(text) else (text, "", "")
    if host[:1] == "[":
        good = host[-1:] == "]" and all(c in "0123456789abcdefABCDEF:." for c in host[1:-1])
    else:
        good = host.isascii() and all(c.isalnum() or c in "-._~%" for c in host)
    if not good or not (port == "" or (port.isascii() and port.isdigit() and len(port) <= 5)):
        raise HttpRefusal(400, "bad-host", "the host is a name or address with an optional port")
    return text.lower()


def _has_port(text: str) -> bool:
    """Whether a colon outside the brackets of an IPv6 address is there."""
    return ":" in text[text.rfind("]") + 1 :]


def _take_framing(head: Head) -> None:
    """The body's length (§6.3). llhttp refused conflicts already; this must not depend on it."""
    length = head.headers.get(b"content-length")
    coding = head.headers.get(b"transfer-encoding")
    if coding is not None:
        if length is not None or head.version == "1.0":
            raise HttpRefusal(400, "length-twice", "the length of the body is not clear")
        codings = [part.strip(b" \t").lower() for part in coding.split(b",")]
        if codings != [b"chunked"]:
            known = codings[-1] == b"chunked" and codings.count(b"chunked") == 1
            raise HttpRefusal(
                501 if known else 400, "bad-transfer-encoding", "only chunked is understood"
            )
        head.body_length = CHUNKED
    elif length is not None:
        if not length.isdigit() or len(length) > 19:
            raise HttpRefusal(400, "bad-content-length", "Content-Length is one decimal number")
        head.body_length = int(length)


class ChunkedBody:
    """Reads one chunked body (§7.1) from pieces of any size, strictly.

    Bounds: `body_max` bytes of content, else 413; CHUNKS_MAX chunks; `overhead_max` bytes of
    trailers and of extensions beyond 32 bytes a chunk, else 431. Trailers are read and dropped.
    `chunks_max` other than CHUNKS_MAX is for who takes the content out as it comes (`drain`).
    """

    __slots__ = (
        "_body",
        "_body_max",
        "_chunks",
        "_chunks_max",
        "_line",
        "_overhead",
        "_state",
        "_taken",
        "_todo",
    )

    # What the next bytes are.
    _SIZE, _DATA, _DATA_END, _TRAILER, _DONE = range(5)

    LINE_MAX = 256
    """A size line with extensions, or a trailer field; nobody sends longer ones."""

    CHUNKS_MAX = 1024
    """1 MiB in 1 KiB chunks. Smaller ones cost more work than they carry bytes: 2 ms at most."""

    def __init__(self, body_max: int, overhead_max: int, chunks_max: int = CHUNKS_MAX) -> None:
        self._body = bytearray()
        self._taken = 0
        self._chunks = 0
        self._chunks_max = chunks_max
        self._body_max = body_max
        self._overhead = overhead_max
        self._line = b""
        self._state = self._SIZE
        self._todo = 0

    @property
    def size(self) -> int:
        """Bytes of content so far."""
        return len(self._body)

    @property
    def begun(self) -> bool:
        """Whether any byte of it has come."""
        return bool(self._chunks or self._line)

    @property
    def body(self) -> bytes:
        """The content so far; whole once `feed` has said so."""
        return bytes(self._body)

    def drain(self) -> bytes:
        """Take the content that came since the last time: for who passes it on."""
        content = bytes(self._body)
        self._taken += len(content)
        self._body.clear()
        return content

    def feed(self, data: bytes) -> tuple[bool, int]:
        """Take bytes; return whether the body is whole, and how many bytes it took."""
        position = 0
        while self._state != self._DONE and position < len(data):
            if self._state == self._DATA:
                piece = data[position : position + self._todo]
                self._body += piece
                position += len(piece)
                self._todo -= len(piece)
                if not self._todo:
                    self._state = self._DATA_END
            else:
                position = self._take_line(data, position)
        return self._state == self._DONE, position

    def _take_line(self, data: bytes, position: int) -> int:
        """Collect one CR LF line across pieces and act on it."""
        end = data.find(b"\n", position)
        stop = len(data) if end < 0 else end + 1
        self._line += data[position : min(stop, position + self.LINE_MAX + 1)]
        if len(self._line) > self.LINE_MAX:
            raise HttpRefusal(400, "bad-chunk", "a chunk line is too long")
        if end < 0:
            return stop
        line, self._line = self._line, b""
        if line[-2:] != b"\r\n" or line.count(b"\r") != 1:
            raise HttpRefusal(400, "bad-chunk", "chunk lines end with CR LF")
        self._act(line[:-2])
        return stop

    def _act(self, line: bytes) -> None:
        if self._state == self._DATA_END:
            if line:
                raise HttpRefusal(400, "bad-chunk", "a chunk is longer than it said")
            self._state = self._SIZE
        elif self._state == self._SIZE:
            self._spend(max(len(line) - 30, 0))
            self._chunks += 1
            if self._chunks > self._chunks_max:
                raise HttpRefusal(400, "too-many-chunks", "the chunks are too small")
            self._todo = self._size(line)
            if self._taken + len(self._body) + self._todo > self._body_max:
                raise HttpRefusal(413, "body-too-large", f"a body may have {self._body_max} bytes")
            self._state = self._DATA if self._todo else self._TRAILER
        elif line:
            self._spend(len(line) + 2)
            name, colon, _ = line.partition(b":")
            if not colon or not name or not _TOKEN.issuperset(name):
                raise HttpRefusal(400, "bad-trailer", "a trailer is a header field")
        else:
            self._state = self._DONE

    def _spend(self, count: int) -> None:
        self._overhead -= count
        if self._overhead < 0:
            raise HttpRefusal(431, "trailers-too-large", "chunk extensions or trailers too large")

    @staticmethod
    def _size(line: bytes) -> int:
        digits, semicolon, extension = line.partition(b";")
        if semicolon:
            digits = digits.rstrip(b" \t")
            if any(byte < 0x20 and byte != 0x09 for byte in extension) or 0x7F in extension:
                raise HttpRefusal(400, "bad-chunk", "a chunk extension holds control characters")
        if not 1 <= len(digits) <= 16 or not _HEX.issuperset(digits):
            raise HttpRefusal(400, "bad-chunk", "a chunk starts with its size in hexadecimal")
        return int(digits, 16)
