"""Who gets in: tokens, keys, signed requests, roles; how often; and what strangers get."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from clawpurse.ledger.address import account_text
from clawpurse.ledger.crypto import public_key_of, sign
from clawpurse.modules.gateway.access import SKEW_S, AccessGuard, Accounts, signature_base
from clawpurse.modules.gateway.limits import LocalLimits
from clawpurse.modules.kit.service.callers import LedgerRoles
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError
from clawpurse.modules.kit.web.grants import Grant, NotAuthentic
from clawpurse.modules.kit.web.scopes import read_scopes
from tests.modules.gateway.gateworld import Gate, Origin, body_of, gate_of, status_of

SEED = b"s" * 32
ACCOUNT = account_text(public_key_of(SEED))
NOW_MS = 1_800_000_000_000


class Node:
    """Roles and signers, as a test says."""

    def __init__(self) -> None:
        self.roles: dict[str, list[str]] = {}
        self.signers: dict[str, Any] = {}
        self.away = False

    async def call(self, method: str, params: Any = None, /) -> Any:
        if self.away:
            raise RpcError(-32030, "away")
        if method == "role_list":
            return {"roles": self.roles.get(params["account"], []), "nextCursor": None}
        assert method == "account_getSigners"
        if params["account"] not in self.signers:
            raise RpcError(NOT_FOUND, "no such account")
        return self.signers[params["account"]]


class Tokens:
    """Recognises `good.…` and what a test put there."""

    def __init__(self) -> None:
        self.alive = True

    def recognise(self, presented: str) -> Grant | None:
        if presented == "cpk_bad":
            raise NotAuthentic("bad-token", "the key is none of ours")
        scopes = {"cpk_all": "*", "a.b.c": "gateway_x", "cpk_other": "gateway_y"}
        if presented not in scopes:
            return None
        return Grant("k-1", ACCOUNT, read_scopes((scopes[presented],)), alive=lambda: self.alive)


class World:
    def __init__(self, gate: Gate, node: Node, tokens: Tokens, clock: list[float]) -> None:
        self.gate, self.node, self.tokens, self.clock = gate, node, tokens, clock

    async def ask(self, path: str = "/x", method: str = "GET", **fields: str) -> bytes:
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        return await self.gate.get(path, lines, method)

    def signed(
        self,
        path: str = "/x",
        query: str = "",
        *,
        seed: bytes = SEED,
        account: str = ACCOUNT,
        nonce: str = "n" * 22,
        late_s: int = 0,
        method: str = "GET",
        host: str = "gate",
    ) -> dict[str, str]:
        created = NOW_MS // 1000 - late_s
        parameters = (
            '("@method" "@authority" "@path" "@query")'
            f';created={created};nonce="{nonce}";keyid="{account}";alg="ed25519"'
        )
        base = signature_base(method, host, path, query, "", parameters)
        signature = base64.b64encode(sign(seed, base)).decode()
        return {"Signature_Input": f"claw={parameters}", "Signature": f"claw=:{signature}:"}


@asynccontextmanager
async def world_of(origin: Origin | None = None, **route: Any) -> AsyncIterator[World]:
    node, tokens, clock = Node(), Tokens(), [100.0]
    guard = AccessGuard(
        [tokens],
        Accounts(node, lambda: NOW_MS),
        LedgerRoles(node, lambda: round(clock[0] * 1000)),
        lambda: NOW_MS,
        LocalLimits(lambda: clock[0]),
    )
    routes = ({"name": "x", "path": "/x/**", "upstream": "x", **route},)
    async with gate_of({"x": origin or Origin()}, guard, routes=routes) as gate:
        yield World(gate, node, tokens, clock)


@pytest.mark.parametrize(
    ("fields", "ways", "status"),
    [
        ({"Authorization": "Bearer a.b.c"}, ("jwt",), 200),
        ({"Authorization": "Bearer cpk_all"}, ("apiKey",), 200),
        ({"X_API_Key": "cpk_all"}, ("apiKey",), 200),
        ({"Authorization": "Bearer a.b.c"}, ("apiKey",), 401),
        ({"Authorization": "Bearer cpk_all"}, ("jwt",), 401),
        ({"Authorization": "Bearer cpk_other"}, ("apiKey",), 403),
        ({"Authorization": "Bearer cpk_bad"}, ("apiKey",), 401),
        ({"Authorization": "Bearer cpk_unknown"}, ("apiKey",), 401),
        ({"Authorization": "Basic YTpi"}, ("apiKey", "jwt"), 401),
        ({}, ("apiKey", "jwt"), 401),
        ({}, ("certificate",), 401),
        ({"X_Clawpurse_Account": ACCOUNT}, ("jwt", "certificate", "signature"), 401),
    ],
)
async def test_a_route_takes_the_proofs_that_it_names(
    fields: dict[str, str], ways: tuple[str, ...], status: int
) -> None:
    """Otherwise the weakest way in is the way in."""
    origin = Origin()
    async with world_of(origin, access=ways) as world:
        answer = await world.ask(**fields)
        assert status_of(answer) == status, answer
        assert bool(origin.heard) == (status == 200)
        if status == 200:
            heard = origin.heard[0].lower()
            assert f"x-clawpurse-account: {ACCOUNT}".encode() in heard
            # What proves who calls is the gateway's, not the upstream's.
            assert b"authorization" not in heard and b"x-api-key" not in heard


async def test_a_token_that_ended_is_refused() -> None:
    """A revoked role or key ends access at once."""
    async with world_of(access=("jwt",)) as world:
        assert status_of(await world.ask(Authorization="Bearer a.b.c")) == 200
        world.tokens.alive = False
        assert status_of(await world.ask(Authorization="Bearer a.b.c")) == 401


async def test_the_ledger_says_who_has_a_role() -> None:
    """A token's word is not enough: roles are taken away on the ledger."""
    async with world_of(access=("apiKey",), roles=("reader", "boss")) as world:
        refused = await world.ask(X_API_Key="cpk_all")
        assert status_of(refused) == 403 and b"reader, boss" in refused
        world.node.roles[ACCOUNT] = ["boss"]
        world.clock[0] += 5
        assert status_of(await world.ask(X_API_Key="cpk_all")) == 200
        world.node.away = True
        world.clock[0] += 5
        assert status_of(await world.ask(X_API_Key="cpk_all")) == 503


async def test_a_request_is_signed_by_an_account() -> None:
    """A wallet is enough to be somebody; no password, no registration."""
    async with world_of(access=("signature",)) as world:
        answer = await world.ask(**world.signed())
        assert status_of(answer) == 200 and body_of(answer) == b"ok"
        again = await world.ask(**world.signed())
        assert status_of(again) == 401 and b"used already" in again


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": b"t" * 32},
        {"path": "/x/other"},
        {"query": "a=1"},
        {"method": "POST"},
        {"host": "elsewhere"},
        {"late_s": SKEW_S + 1},
        {"late_s": -SKEW_S - 1},
        {"account": account_text(public_key_of(b"t" * 32))},
        {"account": "claw1" + "q" * 58},
        {"nonce": "short"},
    ],
)
async def test_a_signature_of_something_else_is_refused(wrong: dict[str, Any]) -> None:
    """It would be carried to another place, or another day."""
    origin = Origin()
    async with world_of(origin, access=("signature",)) as world:
        assert status_of(await world.ask(**world.signed(**wrong))) == 401
    assert origin.heard == []


async def test_an_account_of_several_signers_has_no_key_of_its_own() -> None:
    """One of three must not act for all."""
    async with world_of(access=("signature",)) as world:
        world.node.signers[ACCOUNT] = {"key": None, "threshold": 2}
        assert status_of(await world.ask(**world.signed())) == 401


@pytest.mark.parametrize("text", ["", "x", 'claw=("@method")', "claw=:x:", 'sig1=("@method");'])
async def test_other_forms_of_signatures_are_refused(text: str) -> None:
    """Each part that may be left out is one that an attacker leaves out."""
    async with world_of(access=("signature",)) as world:
        fields = {**world.signed(), "Signature_Input": text}
        assert status_of(await world.ask(**fields)) == 401
        assert status_of(await world.ask(**{**world.signed(), "Signature": text})) == 401


async def test_a_body_is_signed_by_its_digest() -> None:
    """Else a signed request is sent with another body."""
    async with world_of(access=("signature",)) as world:
        answer = await world.ask(
            method="POST", Content_Length="0", **world.signed(method="POST", nonce="m" * 22)
        )
        assert status_of(answer) == 200
        stream = await world.gate.connect()
        fields = world.signed(method="POST")
        head = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in fields.items())
        await stream.send_all(
            f"POST /x HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\n{head}\r\nhi".encode()
        )
        refused = await stream.receive_some()
        await stream.aclose()
    assert status_of(bytes(refused)) == 401


async def test_who_asks_too_often_is_told_when_to_come_back() -> None:
    """Otherwise one client takes what all share."""
    async with world_of(rate={"requests": 3, "per_s": 30}) as world:
        answers = [await world.ask() for _ in range(5)]
        assert [status_of(one) for one in answers] == [200, 200, 200, 429, 429]
        assert b"Retry-After: 10" in answers[3]
        world.clock[0] += 11
        assert status_of(await world.ask()) == 200


async def test_a_day_has_so_many_requests() -> None:
    """What was agreed with a customer."""
    async with world_of(access=("apiKey",), quota_per_day=2) as world:
        answers = [status_of(await world.ask(X_API_Key="cpk_all")) for _ in range(3)]
    assert answers == [200, 200, 429]
