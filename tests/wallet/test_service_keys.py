"""Keys by the wallet service: who may touch which, and what a stranger never learns."""

from __future__ import annotations

from pathlib import Path

import pytest

from clawpurse.ledger.address import account_text
from clawpurse.modules.kit.web.errors import (
    FORBIDDEN,
    INVALID_PARAMS,
    NOT_FOUND,
    UNAUTHENTICATED,
    WALLET_REFUSED,
    WRONG_PASSPHRASE,
    RpcError,
)
from clawpurse.modules.kit.web.jsonrpc import Context
from tests.wallet.servicehouse import PASSPHRASE, open_house


async def test_a_key_opens_for_a_while_and_locks_itself(tmp_path: Path) -> None:
    """A person who forgets to lock would leave the key open to whoever comes next."""
    async with open_house(tmp_path) as house:
        await house.call("wallet_unlock", name="alice", passphrase=PASSPHRASE, timeoutMs=60_000)
        status = await house.call("wallet_getStatus")
        assert (status["unlocked"], status["chainId"]) == ({"alice": 60_000}, "acme-test")
        house.clock.time_ms += 60_000
        keys = (await house.call("wallet_list"))["keys"]
        assert [(one["name"], one["unlockedForMs"]) for one in keys] == [
            ("alice", None),
            ("bob", None),
        ]
        await house.unlock()
        assert await house.call("wallet_lock") == {"locked": ["alice"]}
        assert await house.call("wallet_lock", name="alice") == {"locked": []}


async def test_a_wrong_passphrase_waits_and_is_told_for_how_long(tmp_path: Path) -> None:
    """A program that guesses would find the passphrase; one that slipped would not know to wait."""
    async with open_house(tmp_path) as house:
        waits = []
        for _ in range(2):
            with pytest.raises(RpcError) as refused:
                await house.call("wallet_unlock", name="alice", passphrase="not this one at all")
            assert refused.value.code == WRONG_PASSPHRASE
            waits.append((refused.value.facts["retryAfterMs"] > 0, refused.value.facts["tried"]))
        assert waits == [(True, True), (True, False)]
        with pytest.raises(RpcError) as early:
            await house.call("wallet_unlock", name="alice", passphrase=PASSPHRASE)
        assert early.value.facts["tried"] is False
        house.clock.time_ms += early.value.facts["retryAfterMs"]
        await house.unlock()


async def test_a_token_for_one_key_reaches_no_other(tmp_path: Path) -> None:
    """An agent would spend what was never meant for it, or learn what else there is."""
    async with open_house(tmp_path) as house:
        agent = house.caller("wallet_*", keys=("bob",))
        found = await house.call("wallet_list", agent)
        assert [one["name"] for one in found["keys"]] == ["bob"]
        await house.unlock("alice")
        assert (await house.call("wallet_getStatus", agent))["unlocked"] == {}
        assert await house.call("wallet_lock", agent) == {"locked": []}
        for method, params in (
            ("wallet_unlock", {"name": "alice", "passphrase": PASSPHRASE}),
            ("wallet_lock", {"name": "alice"}),
            ("wallet_create", {"name": "carol", "passphrase": PASSPHRASE}),
            ("wallet_watch", {"name": "carol", "account": "bob"}),
            ("wallet_unlock", {"name": "nobody", "passphrase": PASSPHRASE}),
        ):
            with pytest.raises(RpcError) as refused:
                await house.call(method, agent, **params)
            assert refused.value.code == FORBIDDEN, method


async def test_a_token_reaches_only_its_methods_and_ends_at_once(tmp_path: Path) -> None:
    """A revoked token would go on paying until the service is started again."""
    async with open_house(tmp_path) as house:
        reader = house.caller("wallet_list")
        await house.call("wallet_list", reader)
        with pytest.raises(RpcError) as refused:
            await house.call("wallet_lock", reader)
        assert refused.value.code == FORBIDDEN
        assert reader.grant is not None
        house.desk.tokens.revoke(reader.grant.ident)
        with pytest.raises(RpcError) as ended:
            await house.call("wallet_list", reader)
        assert ended.value.code == UNAUTHENTICATED
        with pytest.raises(RpcError) as nobody:
            await house.call("wallet_list", Context(closed=True))
        assert nobody.value.code == UNAUTHENTICATED


async def test_keys_are_made_imported_and_watched(tmp_path: Path) -> None:
    """A key made here opens again from its words, and never takes another one's place."""
    async with open_house(tmp_path) as house:
        made = await house.call(
            "wallet_create", name="carol", passphrase=PASSPHRASE, words=12, revealWords=True
        )
        assert len(made["words"]) == 12
        hidden = await house.call("wallet_create", name="dave", passphrase=PASSPHRASE)
        assert hidden["words"] is None
        with pytest.raises(RpcError) as taken:
            await house.call("wallet_create", name="alice", passphrase=PASSPHRASE)
        assert taken.value.code == WALLET_REFUSED
        again = await house.call(
            "wallet_import",
            name="carol2",
            passphrase=PASSPHRASE,
            words=" ".join(made["words"]),
        )
        assert again["account"] == made["account"]
        seed = await house.call(
            "wallet_import", name="seeded", passphrase=PASSPHRASE, seed="0x" + "a1" * 32
        )
        assert seed["account"] == account_text(house.node.chain.alice.account)
        watched = await house.call("wallet_watch", name="friend", account=made["account"])
        assert (watched["watchOnly"], watched["publicKey"]) == (True, None)
        with pytest.raises(RpcError) as locked:
            await house.call("wallet_unlock", name="friend", passphrase=PASSPHRASE)
        assert locked.value.code == WALLET_REFUSED
        with pytest.raises(RpcError) as weak:
            await house.call("wallet_create", name="weak", passphrase="short")
        assert weak.value.code == INVALID_PARAMS
        with pytest.raises(RpcError) as both:
            await house.call("wallet_import", name="x", passphrase=PASSPHRASE)
        assert both.value.code == INVALID_PARAMS
        with pytest.raises(RpcError) as missing:
            await house.call("wallet_unlock", name="nobody", passphrase=PASSPHRASE)
        assert missing.value.code == NOT_FOUND
