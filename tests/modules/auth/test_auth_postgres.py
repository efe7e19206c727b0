"""Sign-in on a real PostgreSQL: the same answers as on SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.modules.auth.signworld import PASSWORD, World, open_world, place_in
from tests.modules.kit.postgres import server

pytestmark = pytest.mark.real


async def story(world: World) -> list[Any]:
    """One of everything; what is random or a time is left out."""
    told: list[Any] = []
    token, wallet = await world.person("Ada", "auditor")
    secret = await world.add_app(token)
    key = await world.add_passkey(token)
    codes = (await world.call("newRecoveryCodes", token))["codes"]
    for proof in ({"totp": world.code(secret)}, {"recoveryCode": codes[0]}, {"totp": "000000"}):
        asked = await world.call("login", name="ADA", password=PASSWORD)
        done = await world.call("finishLogin", attempt=asked["attempt"], **proof)
        told.append((asked["factors"], done.get("level"), done.get("code")))
    begun = await world.call("beginPasskey")
    answer = key.get(begun["options"])
    done = await world.call("loginPasskey", attempt=begun["attempt"], credential=answer)
    made = await world.call("createApiKey", done["accessToken"], label="k", scopes=["chain_*"])
    told.append((done["scopes"], made["record"]["scopes"]))
    rotated = await world.call("refresh", refreshToken=done["refreshToken"])
    replayed = await world.call("refresh", refreshToken=done["refreshToken"])
    told.append((rotated["level"], replayed["code"]))
    await world.revoke(wallet.account, "auditor")
    told.append((await world.call("me", token))["code"])
    for _ in range(7):
        told.append((await world.call("login", name="nobody", password="x"))["code"])
    await world.call("closeUser", "admin", user="U-1", reason="left", erase=True)
    listed = (await world.call("listUsers", "admin"))["users"]
    return [*told, [(one["id"], one["state"], one["name"]) for one in listed], world.history()]


async def test_both_databases_tell_the_same_story(tmp_path: Path) -> None:
    """Otherwise whoever moves to a server finds another service there."""
    with server() as url:
        told = []
        for at, database in enumerate(("", url)):
            world = await open_world(place_in(tmp_path / str(at), database))
            told.append(await story(world))
            await world.host.close()
    assert told[0] == told[1]
    assert len(told[0][-1]) > 10
