"""Signing in for pages elsewhere: codes that count once, for one page, with one verifier."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from clawpurse.ledger.errors import Malformed
from clawpurse.modules.auth.settings import AuthSettings
from clawpurse.modules.auth.site_methods import challenge_bytes
from clawpurse.modules.kit.web.errors import FORBIDDEN, INVALID_PARAMS, UNAUTHENTICATED
from tests.modules.auth.signworld import World

SITE = "https://node.example"
# RFC 7636, appendix B.
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
MINUTE_MS = 60_000


def code_of(answer: Any) -> int:
    assert "code" in answer, answer
    return int(answer["code"])


async def signed_in(world: World, name: str = "Ada") -> Any:
    """Somebody's session, where two pages are configured."""
    settings = world.auth.desk(world.host).settings
    other = "https://other.example"
    world.auth.configured(settings.model_copy(update={"sites": (SITE, other)}))
    return await world.register(name)


async def code_for(world: World, token: str) -> str:
    asked = await world.call("authorizeSite", token, site=SITE, challenge=CHALLENGE)
    return str(asked["code"])


async def test_a_code_and_its_verifier_open_a_session_of_its_own(world: World) -> None:
    """Otherwise people paste tokens between pages, which then lie about everywhere."""
    parent = await signed_in(world)
    code = await code_for(world, parent["accessToken"])
    made = await world.call("redeemCode", code=code, site=SITE, verifier=VERIFIER)
    assert made["session"] != parent["session"]
    assert (made["user"], made["level"]) == (parent["user"], parent["level"])
    listed = (await world.call("listSessions", parent["accessToken"]))["sessions"]
    assert {one["label"] for one in listed} == {"", SITE}
    renewed = await world.call("refresh", refreshToken=made["refreshToken"])
    assert (await world.call("me", renewed["accessToken"]))["user"] == parent["user"]


async def test_its_session_proves_no_more_and_lasts_no_longer(world: World) -> None:
    """A page elsewhere would else outlive the sign-in that it rests on, or skip step-up."""
    parent = await signed_in(world)
    world.later(4 * MINUTE_MS)
    code = await code_for(world, parent["accessToken"])
    made = await world.call("redeemCode", code=code, site=SITE, verifier=VERIFIER)
    token = made["accessToken"]
    proven = [(await world.call("me", one))["proven"] for one in (parent["accessToken"], token)]
    assert proven[0] == proven[1]
    world.later(2 * MINUTE_MS)
    refused = await world.call("endOtherSessions", token)
    assert refused["data"]["stepUp"] is True


@pytest.mark.parametrize(
    "wrong",
    [
        {"verifier": VERIFIER[:-1] + "l"},
        {"verifier": CHALLENGE},
        {"site": "https://other.example"},
        {"code": "cpa_" + "A" * 43},
    ],
)
async def test_whoever_shows_a_code_wrongly_ends_it(world: World, wrong: dict[str, str]) -> None:
    """A stolen code is worth nothing, and nobody tries twice."""
    parent = await signed_in(world)
    right = {
        "code": await code_for(world, parent["accessToken"]),
        "site": SITE,
        "verifier": VERIFIER,
    }
    assert code_of(await world.call("redeemCode", **(right | wrong))) == UNAUTHENTICATED
    again = await world.call("redeemCode", **right)
    if "code" in wrong:
        assert again["status"] == "signedIn"
    else:
        assert code_of(again) == UNAUTHENTICATED


async def test_a_code_counts_once_for_minutes_and_while_its_session_lives(world: World) -> None:
    """It stands in addresses and histories of browsers."""
    parent = await signed_in(world)
    token = parent["accessToken"]
    code = await code_for(world, token)
    shown = {"code": code, "site": SITE, "verifier": VERIFIER}
    first = await world.call("redeemCode", **shown)
    assert first["status"] == "signedIn"
    assert code_of(await world.call("redeemCode", **shown)) == UNAUTHENTICATED
    # One of the two was a thief, and nobody knows which.
    assert code_of(await world.call("me", first["accessToken"])) == 401
    late = {**shown, "code": await code_for(world, token)}
    left = {**shown, "code": await code_for(world, token)}
    world.later(4 * MINUTE_MS)
    await world.call("logout", token)
    assert code_of(await world.call("redeemCode", **left)) == UNAUTHENTICATED
    world.later(2 * MINUTE_MS)
    assert code_of(await world.call("redeemCode", **late)) == UNAUTHENTICATED


async def test_pages_that_nobody_configured_get_no_code(world: World) -> None:
    """Else any page in the world could send its visitors here and become them."""
    token = (await signed_in(world))["accessToken"]
    for site in ("https://evil.example", SITE + "/", SITE.upper(), SITE + ".evil.example"):
        refused = await world.call("authorizeSite", token, site=site, challenge=CHALLENGE)
        assert code_of(refused) == FORBIDDEN, site
    odd = await world.call("authorizeSite", token, site=SITE, challenge="+" * 43)
    assert code_of(odd) == INVALID_PARAMS
    assert code_of(await world.call("authorizeSite", "", site=SITE, challenge=CHALLENGE)) in (
        UNAUTHENTICATED,
        401,
    )


async def test_who_must_set_a_second_factor_up_gets_nowhere_else_first(world: World) -> None:
    """A page elsewhere would else be the way around it."""
    settings = world.auth.desk(world.host).settings
    required = settings.model_copy(update={"sites": (SITE,), "second_factor": "required"})
    world.auth.configured(required)
    token = (await world.register("Ada"))["accessToken"]
    refused = await world.call("authorizeSite", token, site=SITE, challenge=CHALLENGE)
    assert code_of(refused) in (FORBIDDEN, 401)


async def test_a_session_ends_with_its_refresh_token(world: World) -> None:
    """Signing out on a page must end what was opened for it."""
    made = await signed_in(world)
    assert (await world.call("revokeToken", refreshToken=made["refreshToken"]))["changed"]
    assert code_of(await world.call("me", made["accessToken"])) == 401
    assert not (await world.call("revokeToken", refreshToken=made["refreshToken"]))["changed"]


@pytest.mark.parametrize(
    "site",
    [
        "http://node.example",
        "https://node.example/x",
        "javascript:0",
        "https://" + "a" * 60,
        "http://localhost.evil.example",
    ],
)
def test_only_origins_are_configured_as_pages(site: str) -> None:
    """A path or http across the network would carry codes where others read them."""
    with pytest.raises(ValidationError):
        AuthSettings(sites=(site,))


def test_pages_of_this_machine_may_be_plain() -> None:
    """A test network has no certificates."""
    AuthSettings(sites=("http://127.0.0.1:9641", "http://localhost:9641"))


@pytest.mark.parametrize("text", ["A" * 42 + "B", "+" * 43, "\u00e9" * 43])
def test_a_challenge_has_one_spelling(text: str) -> None:
    """Two spellings of one value are where checks differ."""
    with pytest.raises(Malformed, match="challenge"):
        challenge_bytes(text)
