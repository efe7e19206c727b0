"""Signing in, in every way; and what each way refuses."""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.modules.auth import signing, throttle, users
from clawpurse.modules.auth.passwords import Cost
from clawpurse.modules.kit.web.errors import (
    CONFLICT,
    FORBIDDEN,
    INVALID_PARAMS,
    RATE_LIMITED,
    UNAUTHENTICATED,
)
from tests.modules.auth.signworld import ADMIN, PASSWORD, SoftKey, Wallet, World


def code_of(answer: Any) -> int:
    assert "code" in answer, answer
    return int(answer["code"])


async def test_a_person_is_invited_registers_and_signs_in(world: World) -> None:
    """The way that everybody takes; without it nobody uses anything."""
    invited = await world.call("invite", ADMIN, name="Ada")
    made = await world.call("register", invitation=invited["invitation"], password=PASSWORD)
    assert (made["status"], made["user"], made["level"]) == ("signedIn", "U-1", "aal1")
    again = await world.call("login", name="ADA", password=PASSWORD, label="phone")
    me = await world.call("me", again["accessToken"])
    assert (me["name"], me["state"], me["roles"], me["factors"]) == ("Ada", "active", [], [])
    listed = await world.call("listSessions", again["accessToken"])
    assert [one["label"] for one in listed["sessions"] if one["current"]] == ["phone"]
    assert (await world.call("logout", again["accessToken"]))["changed"]
    assert code_of(await world.call("me", again["accessToken"])) == 401


async def test_nobody_registers_without_an_invitation_and_each_counts_once(world: World) -> None:
    """Otherwise the consortium's door is open."""
    invited = await world.call("invite", ADMIN, name="Ada")
    secret = invited["invitation"]
    weak = await world.call("register", invitation=secret, password="ada ada ada ada")
    assert code_of(weak) == INVALID_PARAMS
    assert (await world.call("register", invitation=secret, password=PASSWORD))["user"] == "U-1"
    for tried in (secret, "cpi_unheard", invited["user"]):
        again = await world.call("register", invitation=tried, password=PASSWORD)
        assert code_of(again) == UNAUTHENTICATED
    assert code_of(await world.call("invite", ADMIN, name="ada")) == CONFLICT
    late = await world.call("invite", ADMIN, name="Bob")
    newer = await world.call("invite", ADMIN, name="Bob")
    assert (
        code_of(await world.call("register", invitation=late["invitation"], password=PASSWORD))
        == UNAUTHENTICATED
    )
    world.later(8 * 86_400_000)
    assert (
        code_of(await world.call("register", invitation=newer["invitation"], password=PASSWORD))
        == UNAUTHENTICATED
    )


async def test_only_administrators_invite(world: World) -> None:
    """Otherwise whoever is in lets anybody in."""
    assert code_of(await world.call("invite", name="Eve")) == UNAUTHENTICATED
    token, _ = await world.person("ada")
    assert code_of(await world.call("invite", token, name="Eve")) == FORBIDDEN
    chief, wallet = await world.person("chief", "auth.admin")
    assert (await world.call("invite", chief, name="Eve"))["user"] == "U-3"
    await world.revoke(wallet.account, "auth.admin")
    chief = (await world.call("login", name="chief", password=PASSWORD))["accessToken"]
    assert code_of(await world.call("invite", chief, name="Mallory")) == FORBIDDEN


async def test_a_second_factor_is_asked_for_once_there_is_one(world: World) -> None:
    """Otherwise a stolen password is enough."""
    first = await world.register("ada")
    secret = await world.add_app(first["accessToken"])
    asked = await world.call("login", name="ada", password=PASSWORD)
    assert (asked["status"], asked["factors"]) == ("secondFactor", ["totp"])
    assert "accessToken" not in asked
    code = world.code(secret)
    wrong = await world.call("finishLogin", attempt=asked["attempt"], totp="000000")
    assert code_of(wrong) == UNAUTHENTICATED
    done = await world.call("finishLogin", attempt=asked["attempt"], totp=code)
    assert done["level"] == "aal2"
    # The attempt is over, and the code counts never again.
    again = await world.call("finishLogin", attempt=asked["attempt"], totp=code)
    assert code_of(again) == UNAUTHENTICATED
    asked = await world.call("login", name="ada", password=PASSWORD)
    replayed = await world.call("finishLogin", attempt=asked["attempt"], totp=code)
    assert code_of(replayed) == UNAUTHENTICATED


async def test_codes_are_not_guessed(world: World) -> None:
    """A million codes, and five tries of each attempt, and a wait that doubles."""
    first = await world.register("ada")
    await world.add_app(first["accessToken"])
    asked = await world.call("login", name="ada", password=PASSWORD)
    codes = []
    for guess in range(8):
        tried = await world.call("finishLogin", attempt=asked["attempt"], totp=f"{guess:06}")
        codes.append(code_of(tried))
    assert set(codes[:5]) == {UNAUTHENTICATED}
    asked = await world.call("login", name="ada", password=PASSWORD)
    tried = [
        code_of(await world.call("finishLogin", attempt=asked["attempt"], totp=f"{guess:06}"))
        for guess in range(3)
    ]
    assert RATE_LIMITED in tried


async def test_recovery_codes_count_once_each(world: World) -> None:
    """Otherwise a photo of the paper opens the account for ever."""
    token = (await world.register("ada"))["accessToken"]
    assert code_of(await world.call("newRecoveryCodes", token)) == CONFLICT
    await world.add_app(token)
    codes = (await world.call("newRecoveryCodes", token))["codes"]
    assert len(codes) == 10
    for code, good in ((codes[0], True), (codes[0], False), (codes[1].upper(), True)):
        asked = await world.call("login", name="ada", password=PASSWORD)
        assert asked["factors"] == ["recoveryCode", "totp"]
        done = await world.call("finishLogin", attempt=asked["attempt"], recoveryCode=code)
        assert ("accessToken" in done) is good
    assert (await world.call("me", token))["recoveryCodes"] == 8
    newer = (await world.call("newRecoveryCodes", token))["codes"]
    asked = await world.call("login", name="ada", password=PASSWORD)
    old = await world.call("finishLogin", attempt=asked["attempt"], recoveryCode=codes[2])
    assert code_of(old) == UNAUTHENTICATED
    assert len({*newer, *codes}) == 20


async def test_a_passkey_signs_in_alone(world: World) -> None:
    """It is two factors in one: nothing else is asked for."""
    key = await world.add_passkey((await world.register("ada"))["accessToken"])
    begun = await world.call("beginPasskey")
    assert begun["options"]["userVerification"] == "required"
    assert begun["options"].get("allowCredentials", []) == []
    answer = key.get(begun["options"])
    done = await world.call("loginPasskey", attempt=begun["attempt"], credential=answer)
    assert (done["user"], done["level"]) == ("U-1", "aal2")
    again = await world.call("loginPasskey", attempt=begun["attempt"], credential=answer)
    assert code_of(again) == UNAUTHENTICATED
    # As a second factor, too.
    asked = await world.call("login", name="ada", password=PASSWORD)
    assert asked["factors"] == ["passkey"]
    done = await world.call(
        "finishLogin", attempt=asked["attempt"], passkey=key.get(asked["passkey"])
    )
    assert done["level"] == "aal2"


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("origin", "http://localhost.evil.example", "origin"),
        ("rp_id", "evil.example", "rp id"),
        ("flags", 0x01, "verif"),
        ("count", -1, "sign count"),
        ("key", SoftKey().key, "signature"),
        ("ident", b"somebody else's", ""),
    ],
)
async def test_a_passkey_is_bound_to_place_person_and_counter(
    world: World, field: str, value: Any, why: str
) -> None:
    """Otherwise a page that looks like ours, a copy, or an unattended machine signs in."""
    key = await world.add_passkey((await world.register("ada"))["accessToken"])
    begun = await world.call("beginPasskey")
    setattr(key, field, value)
    answer = key.get(begun["options"])
    done = await world.call("loginPasskey", attempt=begun["attempt"], credential=answer)
    assert code_of(done) == UNAUTHENTICATED
    assert ("passkeyRefused" in world.history()) is bool(why)


async def test_several_passkeys_each_once_and_none_of_another(world: World) -> None:
    """Otherwise a lost key locks its owner out, or a stranger's key stands in for one."""
    ada, bob = [(await world.register(name))["accessToken"] for name in ("ada", "bob")]
    first, second = await world.add_passkey(ada), await world.add_passkey(ada)
    strange = await world.add_passkey(bob)
    begun = await world.call("addPasskey", ada)
    assert len(begun["options"]["excludeCredentials"]) == 2
    twice = await world.call(
        "confirmPasskey", ada, attempt=begun["attempt"], credential=first.create(begun["options"])
    )
    assert code_of(twice) == CONFLICT
    begun = await world.call("addPasskey", ada)
    other = SoftKey()
    other.origin = "https://evil.example"
    bad = other.create(begun["options"])
    refused = await world.call("confirmPasskey", ada, attempt=begun["attempt"], credential=bad)
    assert code_of(refused) == INVALID_PARAMS
    asked = await world.call("login", name="ada", password=PASSWORD)
    tried = await world.call(
        "finishLogin", attempt=asked["attempt"], passkey=strange.get(asked["passkey"])
    )
    assert code_of(tried) == UNAUTHENTICATED
    done = await world.call(
        "finishLogin", attempt=asked["attempt"], passkey=second.get(asked["passkey"])
    )
    listed = (await world.call("listPasskeys", done["accessToken"]))["passkeys"]
    assert len(listed) == 2
    left = await world.call("removePasskey", done["accessToken"], id=listed[0]["id"])
    assert [one["id"] for one in left["passkeys"]] == [listed[1]["id"]]


async def test_the_key_of_a_ledger_account_signs_in(world: World) -> None:
    """Wallets are how most members prove who they are anyway."""
    _, wallet = await world.person("ada", "auditor")
    done = await world.call("loginKey", **await wallet.signed(world))
    assert (done["user"], done["level"]) == ("U-1", "aal1")
    assert (await world.call("me", done["accessToken"]))["roles"] == ["auditor"]


async def test_only_the_key_that_the_ledger_names_signs_in(world: World) -> None:
    """Otherwise a key that was taken out of use, or one of several signers, is enough."""
    _, wallet = await world.person("ada")
    mallory = Wallet(b"m" * 32)
    # Another key for the account; a challenge of another account; a key that was replaced.
    for signed in (
        await mallory.signed(world, wallet.account),
        {**await wallet.signed(world), "attempt": "cpa_unheard"},
        {**await mallory.signed(world)},
    ):
        assert code_of(await world.call("loginKey", **signed)) == UNAUTHENTICATED
    for key in (mallory.public_key, None):
        world.ledger.keys[wallet.account] = key
        signed = await wallet.signed(world)
        assert code_of(await world.call("loginKey", **signed)) == UNAUTHENTICATED
    world.ledger.keys[wallet.account] = wallet.public_key
    signed = await wallet.signed(world)
    assert "accessToken" in await world.call("loginKey", **signed)
    assert code_of(await world.call("loginKey", **signed)) == UNAUTHENTICATED
    late = await wallet.signed(world)
    world.later(5 * 60_000)
    assert code_of(await world.call("loginKey", **late)) == UNAUTHENTICATED


async def test_an_account_is_bound_by_its_key_alone(world: World) -> None:
    """Otherwise an administrator lends somebody the council's account."""
    ada = (await world.register("ada"))["accessToken"]
    bob = (await world.register("bob"))["accessToken"]
    wallet, mallory = Wallet(b"w" * 32), Wallet(b"m" * 32)
    forged = await mallory.signed(world, wallet.account)
    assert code_of(await world.call("bindAccount", bob, **forged)) == UNAUTHENTICATED
    bound = await world.call("bindAccount", ada, **await wallet.signed(world))
    assert bound["account"] == wallet.account
    # The token from before is named U-1, and ended.
    assert code_of(await world.call("me", ada)) == 401
    second = await world.call("bindAccount", bob, **await wallet.signed(world))
    assert code_of(second) == CONFLICT


async def test_a_role_that_was_revoked_ends_tokens_at_once(world: World) -> None:
    """Otherwise whoever was dismissed keeps acting for ten minutes."""
    token, wallet = await world.person("ada", "auditor")
    other, _ = await world.person("bob", "auditor")
    await world.revoke(wallet.account, "auditor")
    assert code_of(await world.call("me", token)) == 401
    assert (await world.call("me", other))["roles"] == ["auditor"]
    again = await world.call("login", name="ada", password=PASSWORD)
    assert (await world.call("me", again["accessToken"]))["roles"] == []


async def test_without_the_ledger_nobody_gets_rights(world: World) -> None:
    """Otherwise a node that is away leaves a revoked role in force."""
    await world.person("ada", "auditor")
    world.ledger.away = True
    world.host.roles.changed()
    refused = await world.call("login", name="ada", password=PASSWORD)
    assert "accessToken" not in refused
    world.ledger.away = False
    assert "accessToken" in await world.call("login", name="ada", password=PASSWORD)


async def test_dangerous_calls_ask_for_a_recent_proof(world: World) -> None:
    """Otherwise an unlocked machine at lunch is enough to take an account over."""
    token = (await world.register("ada"))["accessToken"]
    secret = await world.add_app(token)
    world.later(5 * 60_000)
    signed = await world.call("login", name="ada", password=PASSWORD)
    done = await world.call("finishLogin", attempt=signed["attempt"], totp=world.code(secret))
    token = done["accessToken"]
    world.later(4 * 60_000)
    assert "codes" in await world.call("newRecoveryCodes", token)
    world.later(50_000)
    rotated = await world.call("refresh", refreshToken=done["refreshToken"])
    world.later(2 * 60_000)
    refused = await world.call("newRecoveryCodes", rotated["accessToken"])
    assert code_of(refused) == FORBIDDEN
    assert refused["data"]["stepUp"] is True
    begun = await world.call("stepUp", rotated["accessToken"])
    assert begun["factors"] == ["recoveryCode", "totp"]
    # A password is no proof where there is a second factor.
    weak = await world.call("stepUp", rotated["accessToken"], password=PASSWORD)
    assert code_of(weak) == UNAUTHENTICATED
    fresh = await world.call("stepUp", rotated["accessToken"], totp=world.code(secret))
    assert "codes" in await world.call("newRecoveryCodes", fresh["accessToken"])
    grant = world.grant(fresh["accessToken"])
    assert grant.stepped_up(world.now_ms, 5 * 60_000)
    assert not grant.stepped_up(world.now_ms + 6 * 60_000, 5 * 60_000)


async def test_step_up_by_passkey_and_by_password_where_nothing_else_is(world: World) -> None:
    """Otherwise owners of either cannot do what matters."""
    token = (await world.register("ada"))["accessToken"]
    world.later(4 * 60_000)
    assert "accessToken" in await world.call("stepUp", token, password=PASSWORD)
    wrong = await world.call("stepUp", token, password=PASSWORD + "!")
    assert code_of(wrong) == UNAUTHENTICATED
    key = await world.add_passkey(token)
    begun = await world.call("stepUp", token)
    answer = key.get(begun["passkey"])
    done = await world.call("stepUp", token, attempt=begun["attempt"], passkey=answer)
    assert done["level"] == "aal2"


async def test_locked_users_do_nothing_until_unlocked(world: World) -> None:
    """Otherwise an account that was taken over goes on."""
    signed = await world.register("ada")
    locked = await world.call("lockUser", ADMIN, user="U-1", reason="phone stolen")
    assert locked["state"] == "locked"
    assert code_of(await world.call("me", signed["accessToken"])) == 401
    for refused in (
        await world.call("login", name="ada", password=PASSWORD),
        await world.call("refresh", refreshToken=signed["refreshToken"]),
    ):
        assert code_of(refused) == UNAUTHENTICATED
    await world.call("unlockUser", ADMIN, user="U-1", reason="phone found")
    assert "accessToken" in await world.call("login", name="ada", password=PASSWORD)
    assert code_of(await world.call("lockUser", ADMIN, user="U-9", reason="who?")) != 0


async def test_a_forgotten_password_is_renewed_by_an_invitation(world: World) -> None:
    """Otherwise people are registered twice, or the old password goes on."""
    signed = await world.register("ada")
    await world.add_app(signed["accessToken"])
    renewed = await world.call("renewPassword", ADMIN, user="U-1", reason="asked in person")
    assert code_of(await world.call("login", name="ada", password=PASSWORD)) == UNAUTHENTICATED
    assert code_of(await world.call("me", signed["accessToken"])) == 401
    other = PASSWORD + " again"
    done = await world.call("register", invitation=renewed["invitation"], password=other)
    # The second factor stays, and is asked for.
    assert done["status"] == "secondFactor"


async def test_another_password_ends_every_other_session(world: World) -> None:
    """Otherwise whoever had the old one stays in."""
    here = await world.register("ada")
    there = await world.call("login", name="ada", password=PASSWORD)
    changed = await world.call(
        "changePassword", here["accessToken"], current=PASSWORD, password=PASSWORD + " x"
    )
    assert changed["changed"] is True
    assert code_of(await world.call("me", there["accessToken"])) == 401
    assert "user" in await world.call("me", here["accessToken"])
    assert code_of(await world.call("login", name="ada", password=PASSWORD)) == UNAUTHENTICATED
    wrong = await world.call(
        "changePassword", here["accessToken"], current=PASSWORD, password=PASSWORD + " y"
    )
    assert code_of(wrong) == UNAUTHENTICATED


async def test_a_raised_cost_reaches_old_passwords_at_the_next_sign_in(world: World) -> None:
    """Otherwise a cost is raised for new users alone."""
    await world.register("ada")
    hasher = world.auth.desk(world.host).hasher
    before = await world.within(lambda book: users.get(book, 1).password)
    hasher.set_cost(Cost(16, 1))
    assert "code" in await world.call("login", name="ada", password="wrong")
    assert await world.within(lambda book: users.get(book, 1).password) == before
    assert "accessToken" in await world.call("login", name="ada", password=PASSWORD)
    after = await world.within(lambda book: users.get(book, 1).password)
    assert after.startswith(b"$argon2id$v=19$m=16,t=1,p=1$")
    assert "accessToken" in await world.call("login", name="ada", password=PASSWORD)


async def test_service_accounts_have_keys_and_no_password(world: World) -> None:
    """Programs sign in too, within what the ledger gives their account."""
    wallet = Wallet(b"s" * 32)
    world.ledger.roles[wallet.account] = {"auditor"}
    made = await world.call(
        "createServiceAccount", ADMIN, name="exporter", key=await wallet.signed(world)
    )
    assert (made["kind"], made["account"]) == ("service", wallet.account)
    beyond = await world.call(
        "createApiKey", ADMIN, user=made["id"], label="nightly", scopes=["admin_stop"]
    )
    assert code_of(beyond) == FORBIDDEN
    key = (
        await world.call(
            "createApiKey", ADMIN, user=made["id"], label="nightly", scopes=["chain_*"]
        )
    )["key"]
    assert world.grant(key).name == wallet.account
    token = (await world.call("exchangeApiKey", key))["accessToken"]
    assert world.grant(token).scopes.allows("chain_getStatus")
    assert not world.grant(token).scopes.allows("tx_submit")
    assert code_of(await world.call("exchangeApiKey", token)) == FORBIDDEN
    assert code_of(await world.call("login", name="exporter", password=PASSWORD)) < 0
    listed = (await world.call("listApiKeys", ADMIN, user=made["id"]))["keys"]
    assert (await world.call("revokeApiKey", ADMIN, id=listed[0]["id"]))["changed"]
    for ended in (key, token):
        assert code_of(await world.call("me", ended)) == 401


async def test_an_api_key_ends_with_the_role_that_it_rests_on(world: World) -> None:
    """Otherwise a key outlives the office it was made for."""
    settings = {"role_scopes": {"operator": ("admin_*",)}}
    world.auth.configured(world.auth._settings.model_copy(update=settings))
    token, wallet = await world.person("ada", "operator")
    made = [
        (await world.call("createApiKey", token, label="k", scopes=scopes))["key"]
        for scopes in (["admin_stop"], ["chain_*"])
    ]
    assert world.grant(made[0]).scopes.allows("admin_stop")
    await world.revoke(wallet.account, "operator")
    assert code_of(await world.call("me", made[0])) == 401
    assert world.grant(made[1]).scopes.allows("chain_getStatus")


async def test_where_a_second_factor_is_required_there_is_no_way_round(world: World) -> None:
    """A first sign-in may do nothing but set one up; a short password is enough beside it."""
    world.auth.configured(world.auth._settings.model_copy(update={"second_factor": "required"}))
    made = await world.register("ada", "vq8 lamp")
    assert made["enrol"] is True
    token = made["accessToken"]
    assert code_of(await world.call("listSessions", token)) == FORBIDDEN
    secret = await world.add_app(token)
    done = await world.call("refresh", refreshToken=made["refreshToken"])
    assert (done["enrol"], done["level"]) == (False, "aal2")
    assert "sessions" in await world.call("listSessions", done["accessToken"])
    assert code_of(await world.call("removeTotp", done["accessToken"])) == CONFLICT
    assert secret


async def test_a_wait_doubles_and_ends_with_success(world: World) -> None:
    """Otherwise a machine tries a list of passwords in an afternoon, or a typo costs a day."""
    await world.register("ada")
    waits = []
    for _ in range(9):
        answer = await world.call("login", name="ada", password="wrong")
        while code_of(answer) == RATE_LIMITED:
            waits.append(answer["data"]["retryAfterMs"])
            world.later(answer["data"]["retryAfterMs"])
            answer = await world.call("login", name="ada", password="wrong")
    assert waits == [1_000, 2_000, 4_000]
    world.later(8_000)
    assert "accessToken" in await world.call("login", name="ada", password=PASSWORD)
    assert code_of(await world.call("login", name="ada", password="wrong")) == UNAUTHENTICATED
    assert "accessToken" in await world.call("login", name="ada", password=PASSWORD)


async def test_a_hundred_failures_stop_a_password_for_a_day(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SP 800-63B-4 §3.2.2; an administrator lets the person in again. Here ten, for speed."""
    assert throttle.FAILURES_MAX == 100
    monkeypatch.setattr(throttle, "FAILURES_MAX", 10)
    await world.register("ada")
    for _ in range(10):
        await world.call("login", name="ada", password="wrong")
        world.later(900_000)
    answer = await world.call("login", name="ada", password=PASSWORD)
    assert code_of(answer) == RATE_LIMITED
    await world.call("unlockUser", ADMIN, user="U-1", reason="it was her")
    assert "accessToken" in await world.call("login", name="ada", password=PASSWORD)


async def test_an_address_that_tries_names_waits(world: World) -> None:
    """Otherwise one machine tries one password with every name."""
    codes = [
        code_of(await world.call("login", client="203.0.113.9", name=f"n{at}", password="x"))
        for at in range(33)
    ]
    assert codes[:31] == [UNAUTHENTICATED] * 31
    assert codes[-1] == RATE_LIMITED
    other = await world.call("login", client="203.0.113.10", name="n1", password="x")
    assert code_of(other) == UNAUTHENTICATED


async def test_signing_keys_overlap_when_they_are_renewed(world: World) -> None:
    """Otherwise every session breaks, or a node refuses tokens of a key that it never saw."""
    old = (await world.register("ada"))["accessToken"]
    first = (await world.call("getKeys"))["keys"]
    assert len(first) == 1
    assert first[0].keys() == {"kty", "crv", "x", "kid", "use", "alg"}
    world.later(30 * 86_400_000 - signing.AHEAD_MS)
    await world.within(signing.renew_keys)
    keys = (await world.call("getKeys"))["keys"]
    assert len(keys) == 2
    # Published, and not signing yet.
    before = (await world.call("login", name="ada", password=PASSWORD))["accessToken"]
    world.later(signing.AHEAD_MS)
    await world.within(signing.renew_keys)
    after = (await world.call("login", name="ada", password=PASSWORD))["accessToken"]
    assert before.split(".")[0] != after.split(".")[0]
    world.clock[0] -= signing.AHEAD_MS
    assert "user" in await world.call("me", before)
    world.later(signing.AHEAD_MS + signing.AFTER_MS)
    await world.within(signing.renew_keys)
    assert len((await world.call("getKeys"))["keys"]) == 1
    assert old


async def test_the_role_matrix_is_exported(world: World) -> None:
    """Otherwise nobody can review who may do what."""
    token = (await world.register("ada"))["accessToken"]
    rows = (await world.call("getRoleMatrix", token))["rows"]
    assert [row["role"] for row in rows] == ["", "auth.admin", "minter"]


async def test_a_closed_person_leaves_no_trace_but_a_number(world: World) -> None:
    """Otherwise what was promised to be forgotten is found by whoever copies the file."""
    token = (await world.register("Ada Canary"))["accessToken"]
    await world.add_app(token)
    await world.add_passkey(token)
    closed = await world.call("closeUser", ADMIN, user="U-1", reason="left", erase=True)
    assert (closed["state"], closed["name"], closed["factors"]) == ("closed", None, [])
    assert code_of(await world.call("login", name="Ada Canary", password=PASSWORD)) < 0
    # The name may be somebody else's now.
    assert (await world.register("Ada Canary"))["user"] == "U-2"
    listed = (await world.call("listUsers", ADMIN))["users"]
    assert [one["name"] for one in listed] == [None, "Ada Canary"]
