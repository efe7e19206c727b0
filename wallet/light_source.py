"""Where light blocks come from: a node's `chain_getLightBlock`, asked a bounded number of times.

Nothing that a source says is believed; here it is only made sure that it is of the right form.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final, Protocol, Self

import trio

from clawpurse.ledger.agreement.authorities import AUTHORITIES_BYTES_MAX
from clawpurse.ledger.agreement.light import LightBlock
from clawpurse.ledger.blocks import CERTIFICATE_BYTES_MAX, HEADER_BYTES_MAX
from clawpurse.ledger.errors import Malformed, NotFound, OperatorError
from clawpurse.ledger.genesis import GENESIS_BYTES_MAX
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.errors import (
    METHOD_NOT_FOUND,
    NOT_FOUND,
    RATE_LIMITED,
    BadAnswer,
    RpcError,
    Unreachable,
)

# A search asks faster than a node's budget for one client may allow; then it waits its turn.
BUSY_TRIES_MAX: Final = 30
BUSY_WAIT_MS_MAX: Final = 5_000
_BUSY_WAIT_MS: Final = 500
_PARTS: Final = (
    ("header", HEADER_BYTES_MAX),
    ("certificate", CERTIFICATE_BYTES_MAX),
    ("authorities", AUTHORITIES_BYTES_MAX),
    ("nextAuthorities", AUTHORITIES_BYTES_MAX),
)


class Source(Protocol):
    """Somebody who serves light blocks and is not believed.

    Both methods raise `Unreachable` when no answer comes, `BadAnswer` when one comes that cannot
    be used, `block` also `NotFound` when there is no such block (yet).
    """

    @property
    def url(self) -> str:
        """What people call it."""

    async def block(self, height: int | None) -> LightBlock:
        """Return the block of `height`, the newest for None. Form is checked, nothing else."""

    async def genesis(self) -> bytes:
        """Return the genesis as canonical bytes."""


class NodeSource:
    """A node, over JSON-RPC. Use as `async with`; safe for many tasks."""

    def __init__(self, client: RpcClient) -> None:
        self._client = client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.aclose()

    @property
    def url(self) -> str:
        """The node's URL."""
        return self._client.url

    async def block(self, height: int | None) -> LightBlock:
        """See `Source`. Waits while the node says that it is asked too often."""
        params = {} if height is None else {"height": height}
        answer = await self._call("chain_getLightBlock", params)
        what = "the newest block" if height is None else f"block {height}"
        try:
            parts = [_raw(answer, name, size_max) for name, size_max in _PARTS]
            return LightBlock.of_parts(*parts)
        except Malformed as err:
            raise BadAnswer(f"{self.url} gives for {what} what is none: {err}") from err

    async def genesis(self) -> bytes:
        """See `Source`."""
        answer = await self._call("chain_getGenesis", {})
        try:
            return _octets(answer, "raw", GENESIS_BYTES_MAX)
        except Malformed as err:
            raise BadAnswer(f"{self.url} gives no genesis: {err}") from err

    async def _call(self, method: str, params: dict[str, Any]) -> Any:
        for _ in range(BUSY_TRIES_MAX):
            try:
                return await self._client.call(method, params)
            except RpcError as err:
                if err.code == RATE_LIMITED:
                    asked = err.facts.get("retryAfterMs")
                    wait_ms = asked if type(asked) is int and asked > 0 else _BUSY_WAIT_MS
                    await trio.sleep(min(wait_ms, BUSY_WAIT_MS_MAX) / 1000)
                    continue
                raise self._told(method, err) from err
        raise Unreachable(self.url, "It is too busy.", sent=False)

    def _told(self, method: str, error: RpcError) -> Exception:
        if error.code == NOT_FOUND:
            return NotFound(f"the block asked of {self.url}")
        if error.code == METHOD_NOT_FOUND:
            return BadAnswer(f"{self.url} has no {method}: its software is too old")
        if error.retryable:
            return Unreachable(self.url, error.reason or error.message, sent=False)
        return BadAnswer(f"{self.url} refuses {method}: {error.reason or error.message}")


class AskedSource:
    """A source with a memory and a bound: no block is asked twice, and not for ever.

    Raises, beside what the source does, `OperatorError` after `requests_max` questions.
    """

    def __init__(self, source: Source, requests_max: int) -> None:
        self._source = source
        self._requests_max = requests_max
        self._blocks: dict[int, LightBlock] = {}
        self.requests = 0

    @property
    def url(self) -> str:
        """The source's name."""
        return self._source.url

    async def newest(self) -> LightBlock:
        """Return the newest block that it has now."""
        self._count()
        block = await self._source.block(None)
        return self._blocks.setdefault(block.height, block)

    async def block(self, height: int) -> LightBlock:
        """Return the block of a height, the same one however often it is asked for."""
        if height not in self._blocks:
            self._count()
            block = await self._source.block(height)
            if block.height != height:
                raise BadAnswer(f"{self.url} gives block {block.height} for {height}")
            self._blocks.setdefault(height, block)
        return self._blocks[height]

    async def genesis(self) -> bytes:
        """Return the genesis as canonical bytes."""
        self._count()
        return await self._source.genesis()

    def _count(self) -> None:
        if self.requests >= self._requests_max:
            raise OperatorError(
                f"{self.url} was asked {self.requests} times without coming to an end.",
                "The authorities changed too often since the block that is trusted.",
                "verify a lower --height first",
            )
        self.requests += 1


def _raw(answer: object, name: str, size_max: int) -> bytes:
    part = answer.get(name) if type(answer) is dict else None
    return _octets(part, "raw", size_max, name)


def _octets(answer: object, name: str, size_max: int, of: str = "") -> bytes:
    """Return the bytes of a member that is `0x` and lower-case hex. Raises `Malformed`."""
    field = f"{of}.{name}".lstrip(".")
    value = answer.get(name) if type(answer) is dict else None
    if type(value) is not str or not value.startswith("0x") or len(value) > 2 + 2 * size_max:
        raise Malformed(field, f"is not 0x and hex digits of at most {size_max} bytes")
    try:
        octets = bytes.fromhex(value[2:])
    except ValueError:
        raise Malformed(field, "is not 0x and hex digits") from None
    if octets.hex() != value[2:]:
        raise Malformed(field, "is not 0x and lower-case hex digits")
    return octets
