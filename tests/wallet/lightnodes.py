"""Nodes that serve light blocks of a made-up chain, honestly or not, without sockets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import trio

from clawpurse.ledger.agreement.light import LightBlock
from clawpurse.ledger.errors import NotFound
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError, Unreachable
from clawpurse.wallet.light import (
    Cause,
    Forked,
    LightClient,
    NotVerified,
    Outcome,
    Verified,
)
from clawpurse.wallet.light_compare import Standing
from tests.ledger.lightworld import LightWorld, certify, keys_of

P, W, V = "http://primary", "http://witness", "http://other"


class FakeSource:
    """Serves a world's blocks up to `height`; `lies` replace some; `down` answers nothing.

    `gone_after` makes it stop answering after so many questions; `asked` lists them.
    """

    def __init__(
        self,
        world: LightWorld,
        url: str,
        *,
        height: int | None = None,
        lies: Mapping[int, LightBlock] | None = None,
        down: bool = False,
        gone_after: int | None = None,
    ) -> None:
        self.world = world
        self.url = url
        self.lies = dict(lies or {})
        self.down = down
        self.gone_after = gone_after
        self.asked: list[int | None] = []
        self._height = height

    @property
    def height(self) -> int:
        return self.world.height if self._height is None else self._height

    @height.setter
    def height(self, value: int) -> None:
        self._height = value

    async def block(self, height: int | None) -> LightBlock:
        await trio.lowlevel.checkpoint()
        self.asked.append(height)
        if self.down or (self.gone_after is not None and len(self.asked) > self.gone_after):
            raise Unreachable(self.url, "Connection refused.", sent=False)
        number = self.height if height is None else height
        if not 1 <= number <= self.height:
            raise NotFound(f"block {number}")
        return self.lies.get(number) or self.world.blocks[number]

    async def genesis(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if self.down:
            raise Unreachable(self.url, "Connection refused.", sent=False)
        return self.world.genesis.packed


class FakeRpc:
    """What `NodeSource` uses of `RpcClient`, over a `FakeSource`; `bend` edits each answer."""

    def __init__(self, source: FakeSource, bend: Callable[[Any], Any] | None = None) -> None:
        self.source = source
        self.url = source.url
        self.closed = False
        self._bend = bend

    async def call(self, method: str, params: dict[str, Any] | None = None, **_options: Any) -> Any:
        if method == "chain_getGenesis":
            return {"raw": "0x" + (await self.source.genesis()).hex()}
        assert method == "chain_getLightBlock"
        try:
            block = await self.source.block((params or {}).get("height"))
        except NotFound as err:
            raise RpcError(NOT_FOUND, str(err)) from err
        answer = light_answer(block)
        return answer if self._bend is None else self._bend(answer)

    async def aclose(self) -> None:
        self.closed = True


def light_answer(block: LightBlock) -> dict[str, Any]:
    """As much of a node's answer as clients read."""
    return {
        "header": {"raw": "0x" + block.header.pack().hex()},
        "certificate": {"raw": "0x" + block.certificate.pack().hex()},
        "authorities": {"raw": "0x" + block.authorities.pack().hex()},
        "nextAuthorities": {"raw": "0x" + block.next_authorities.pack().hex()},
    }


def client(world: LightWorld, *sources: FakeSource, **options: Any) -> LightClient:
    """A client of the first source, watched by the others; it trusts the genesis hash."""
    if "checkpoint" not in options:
        options.setdefault("genesis_hash", world.genesis.hash)
    now_ms = options.pop("now_ms", world.now_ms)
    return LightClient(sources[0], sources[1:], lambda: now_ms, **options)


def verified(outcome: Outcome) -> Verified:
    assert isinstance(outcome, Verified), outcome
    return outcome


def forked(outcome: Outcome) -> Forked:
    assert isinstance(outcome, Forked), outcome
    return outcome


def not_verified(outcome: Outcome, cause: Cause) -> NotVerified:
    assert isinstance(outcome, NotVerified), outcome
    assert outcome.cause is cause, outcome
    assert outcome.problem.endswith("."), outcome.problem
    return outcome


def standings(outcome: Verified | NotVerified) -> list[Standing]:
    return [report.standing for report in outcome.witnesses]


def lie_about(world: LightWorld, height: int) -> LightBlock:
    """A block decided by authorities of the liar's own making."""
    liars = keys_of(range(20, 24))
    header = replace(
        world.blocks[height].header,
        authorities_hash=liars.hash,
        next_authorities_hash=liars.hash,
        state_root=b"\x66" * 32,
    )
    return LightBlock(header, certify(header, liars), liars, liars)
