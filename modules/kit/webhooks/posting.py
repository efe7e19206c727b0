"""One attempt: a signed post to one receiver, and what came of it.

Success is a 2xx status with a whole answer behind it. An answer that breaks off is a failure
(another attempt under the same id does no harm); of one that is larger than anybody needs the
status counts and the rest is not read. Redirects are not followed. Nothing that a receiver says
is kept but its status: what is told of a failure are our own words.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Final, NamedTuple

from clawpurse.ledger.errors import Malformed
from clawpurse.modules.kit.web.errors import BadAnswer, Unreachable
from clawpurse.modules.kit.web.guard import printable
from clawpurse.modules.kit.web.http_client import HttpClient, OversizedAnswer
from clawpurse.modules.kit.webhooks.addresses import (
    Allowed,
    ForbiddenAddress,
    Resolve,
    SystemResolver,
    read_url,
    vetted_connector,
)
from clawpurse.modules.kit.webhooks.events import CONTENT_TYPE, Message
from clawpurse.modules.kit.webhooks.schedule import read_retry_after
from clawpurse.modules.kit.webhooks.signing import signed_headers
from clawpurse.modules.kit.webhooks.tables import Endpoint

TIMEOUT_MS: Final = 20_000
"""From the lookup to the end of the answer; the specification recommends 15 to 30 s."""

ANSWER_BYTES_MAX: Final = 64 * 1024
"""What is read of an answer's body, to use its connection again."""

PROBLEM_CHARS_MAX: Final = 200
GONE: Final = 410


class Answer(NamedTuple):
    """What a post came to: `problem` is None when it was taken."""

    status: int | None
    problem: str | None
    retry_after_ms: int | None = None


class Poster:
    """Makes the ways to receivers. One for all endpoints; it keeps no connection itself.

    `tls` gives the context of https (asked once, when first needed); `resolver` makes the
    resolver of one endpoint.
    """

    def __init__(
        self,
        allowed: Allowed,
        *,
        software: str,
        timeout_ms: int = TIMEOUT_MS,
        resolver: Callable[[], Resolve] = SystemResolver,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self.allowed: Final = allowed
        self._software = software
        self._timeout_ms = timeout_ms
        self._resolver = resolver
        self._tls = tls
        self._context: ssl.SSLContext | None = None

    def way(self, connections_max: int) -> Way:
        """Return a way of its own to one endpoint."""
        return Way(self, self._resolver(), connections_max)

    def context(self) -> ssl.SSLContext:
        """Return the TLS context, the same each time: reading the roots takes long."""
        if self._context is None:
            self._context = self._tls()
        return self._context

    def open(self, url: str, resolve: Resolve, connections_max: int) -> HttpClient:
        """Return a client whose every connection goes to judged addresses. Raises `Malformed`."""
        origin = read_url(url, self.allowed)
        return HttpClient(
            url,
            timeout_ms=self._timeout_ms,
            connections_max=connections_max,
            response_bytes_max=ANSWER_BYTES_MAX,
            connect=vetted_connector(origin, self.allowed, resolve, self.context),
        )

    def head(self, endpoint: Endpoint, message: Message, now_ms: int) -> bytes:
        """Return the header lines of an attempt made now."""
        fields = {
            "content-type": CONTENT_TYPE,
            "user-agent": f"ClawPurse-Webhooks/{self._software}",
            **signed_headers(endpoint.secrets, message.ident, now_ms, message.body),
        }
        return "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode("ascii")


class Way:
    """The connections to one endpoint, kept while there is something to send."""

    def __init__(self, poster: Poster, resolve: Resolve, connections_max: int) -> None:
        self._poster = poster
        self._resolve = resolve
        self._connections_max = connections_max
        self._client: HttpClient | None = None
        self._url = ""

    async def close(self) -> None:
        """Close kept connections; the next post asks for the name's addresses anew."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def post(self, endpoint: Endpoint, message: Message, now_ms: int) -> Answer:
        """Make one attempt. Raises nothing that a receiver can cause. Cancellation ends it."""
        try:
            client = self._open(endpoint.url)
            response = await client.request(
                "POST",
                client.origin.path,
                message.body,
                self._poster.head(endpoint, message, now_ms),
            )
        except OversizedAnswer as error:
            return _judged(error.status, error.headers, now_ms)
        except BadAnswer as error:
            answer = _failed(f"not an answer in HTTP: {error.problem}")
        except Unreachable as error:
            answer = _failed(error.problem)
        except ForbiddenAddress as error:
            answer = _failed(f"the address may not be reached: {error.problem}")
        except Malformed as error:
            answer = _failed(str(error))
        else:
            return _judged(response.status, response.headers, now_ms)
        # What failed is not trusted with the next one: a new connection, a new lookup.
        await self.close()
        return answer

    def _open(self, url: str) -> HttpClient:
        if self._client is None or self._url != url:
            self._client = self._poster.open(url, self._resolve, self._connections_max)
            self._url = url
        return self._client


def _judged(status: int, headers: dict[str, str], now_ms: int) -> Answer:
    if 200 <= status < 300:
        return Answer(status, None)
    words = f"answered {status}"
    if 300 <= status < 400:
        words += ", a redirect, which is not followed"
    return Answer(status, words, read_retry_after(headers.get("retry-after"), now_ms))


def _failed(problem: str) -> Answer:
    return Answer(None, printable(problem, PROBLEM_CHARS_MAX))
