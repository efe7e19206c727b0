"""Services that register: by whom, for how long, and what nobody else can do to them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.address import account_text
from clawpurse.ledger.crypto import public_key_of, sign
from clawpurse.ledger.errors import Malformed
from clawpurse.modules.gateway.access import Accounts
from clawpurse.modules.gateway.config import UpstreamConfig
from clawpurse.modules.gateway.registry import (
    LIFE_MS_MAX,
    ROLE,
    Registration,
    Registry,
    message_of,
    read_registration,
)
from clawpurse.modules.gateway.store import Store
from clawpurse.modules.gateway.upstreams import Upstream
from clawpurse.modules.kit.service.callers import LedgerRoles
from tests.modules.gateway.test_access import Node

GENESIS = bytes(range(32))
SEED, OTHER = b"a" * 32, b"b" * 32
NOW_MS = 1_800_000_000_000
URL = "http://10.0.0.5:9000"


def account_of(seed: bytes) -> str:
    return account_text(public_key_of(seed))


class World:
    def __init__(self, store: Store) -> None:
        self.node, self.now = Node(), [NOW_MS]
        self.node.roles = {account_of(seed): [ROLE] for seed in (SEED, OTHER)}
        self.roles = LedgerRoles(self.node, lambda: self.now[0])
        accounts = Accounts(self.node, lambda: self.now[0])
        self.registry = Registry(store, accounts, self.roles, GENESIS, lambda: self.now[0])

    async def say(self, seed: bytes = SEED, **changes: Any) -> str:
        """Register; why not, if not."""
        told = Registration(GENESIS, "weather", URL, ("eu", "v2"), NOW_MS, NOW_MS + 30_000)
        told = told._replace(**changes)
        return await self.registry.register(body_of(told, seed))

    async def there(self) -> list[str]:
        found = await self.registry.present()
        return [url for url, _ in found.get("weather", ())]


def body_of(told: Registration, seed: bytes, account: str = "") -> bytes:
    signature = f"0x{sign(seed, told.message).hex()}"
    asked = {
        "text": told.text,
        "account": account or account_of(seed),
        "signature": signature,
    }
    return json.dumps(asked).encode()


@asynccontextmanager
async def world_of(folder: Path) -> AsyncIterator[World]:
    store = Store(folder / "payments.db")
    async with trio.open_nursery() as nursery:
        await nursery.start(store.run)
        yield World(store)
        nursery.cancel_scope.cancel()
    store.close()


async def test_a_service_registers_renews_and_goes(tmp_path: Path) -> None:
    """What moves or dies must not be asked any more."""
    async with world_of(tmp_path) as world:
        assert await world.say() == ""
        assert await world.there() == [URL]
        world.now[0] += 29_000
        assert await world.say(number=NOW_MS + 1, until_ms=NOW_MS + 60_000) == ""
        world.now[0] += 20_000
        assert await world.there() == [URL]
        assert await world.say(number=NOW_MS + 2, until_ms=0) == ""
        assert await world.there() == []
        assert await world.say(number=NOW_MS + 3, until_ms=world.now[0] + 5_000) == ""
        world.now[0] += 5_001
        assert await world.there() == []


async def test_only_who_holds_the_role_is_asked_and_only_as_long(tmp_path: Path) -> None:
    """Whoever registers gets the customers' requests."""
    async with world_of(tmp_path) as world:
        world.node.roles[account_of(SEED)] = []
        assert ROLE in await world.say()
        world.node.roles[account_of(SEED)] = [ROLE]
        world.roles.changed()
        assert await world.say() == ""
        world.node.roles[account_of(SEED)] = []
        world.roles.told("roles.revoked", account_of(SEED), ROLE)
        assert await world.there() == []


async def test_nothing_is_played_back_or_taken_over(tmp_path: Path) -> None:
    """An old registration leads to an address that somebody else has by now."""
    async with world_of(tmp_path) as world:
        assert await world.say() == ""
        assert "newer number" in await world.say()
        assert "another account" in await world.say(OTHER, number=NOW_MS + 9)
        assert await world.there() == [URL]
        # Once it is over, the address is free.
        world.now[0] += 40_000
        until = {"number": NOW_MS + 9, "until_ms": world.now[0] + 1_000}
        assert await world.say(OTHER, **until) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"genesis_hash": bytes(32)}, "another network"),
        ({"until_ms": NOW_MS + LIFE_MS_MAX + 1}, "minutes away"),
    ],
)
async def test_terms_that_are_not_taken(tmp_path: Path, changes: Any, said: str) -> None:
    """Of another network, or for ever."""
    async with world_of(tmp_path) as world:
        assert said in await world.say(**changes)


async def test_a_signature_of_somebody_else_is_none(tmp_path: Path) -> None:
    """Nor is one of another text."""
    async with world_of(tmp_path) as world:
        told = Registration(GENESIS, "weather", URL, (), NOW_MS, NOW_MS + 1_000)
        said = await world.registry.register(body_of(told, OTHER, account_of(SEED)))
        assert "did not sign" in said
        raw = json.loads(body_of(told, SEED))
        raw["text"] = told._replace(url="http://evil:1").text
        assert "did not sign" in await world.registry.register(json.dumps(raw).encode())
        assert await world.there() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"service": "We"},
        {"service": "a\nurl: http://x"},
        {"url": "http://x/path"},
        {"url": "file:///x"},
        {"tags": ("a", "")},
        {"tags": tuple("abcdefghijklmnopq")},
    ],
)
async def test_a_text_has_one_form(tmp_path: Path, changes: Any) -> None:
    """Two readings of one signature are two services."""
    async with world_of(tmp_path) as world:
        with pytest.raises(Malformed):
            await world.say(**changes)


@given(st.text(max_size=200))
def test_nonsense_is_refused(text: str) -> None:
    """Whatever somebody posts."""
    with pytest.raises(Malformed):
        read_registration(text)


def test_what_is_read_is_what_was_written() -> None:
    """And its bytes are those of the page."""
    told = Registration(GENESIS, "weather", URL, (), 7, 8)
    assert read_registration(told.text) == told
    assert len(told.message) == 48 and told.message == message_of(told.text)
    assert told.message.startswith(b"clawpurse/servic")


def test_targets_come_and_go_and_those_that_stay_keep_what_they_know() -> None:
    """A renewal must not forget that a target is broken."""
    config = UpstreamConfig.model_validate({"service": "weather"})
    upstream = Upstream("x", config, lambda: 0.0)
    assert upstream.pick() is None
    upstream.set_targets([URL, "http://10.0.0.6:9000"])
    first = upstream.targets[0]
    first.failed("broken")
    gone = upstream.set_targets([URL])
    assert upstream.targets == [first] and first.problem == "broken"
    assert [one.url for one in gone] == ["http://10.0.0.6:9000"]
