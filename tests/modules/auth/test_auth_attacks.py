"""What is forged, replayed, guessed or read from the disk opens nothing, and tells nothing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import statistics
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from clawpurse.ledger.crypto import public_key_of, sign
from clawpurse.modules.auth import sessions, throttle
from clawpurse.modules.auth.desk import who
from clawpurse.modules.auth.passwords import Cost
from clawpurse.modules.auth.standing import OLD_MS
from clawpurse.modules.kit.web.errors import FORBIDDEN, UNAUTHENTICATED
from clawpurse.modules.kit.web.grants import NotAuthentic
from clawpurse.modules.kit.web.tokens import BearerTokens, Issuer
from tests.modules.auth.signworld import (
    ADMIN,
    PASSWORD,
    SoftKey,
    World,
    open_world,
    place_in,
    text_of,
)


def parts_of(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    header, claims, signature = (
        base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split(".")
    )
    return json.loads(header), json.loads(claims), signature


def joined(header: Any, claims: Any, signature: bytes | None = None, *, seed: bytes = b"") -> str:
    """A token of these parts (JSON values or texts), signed by a seed where there is one."""
    texts = [
        text_of((part if isinstance(part, str) else json.dumps(part)).encode())
        for part in (header, claims)
    ]
    message = ".".join(texts)
    made = sign(seed, message.encode()) if signature is None else signature
    return f"{message}.{text_of(made)}"


@pytest.fixture
async def token(world: World) -> AsyncIterator[str]:
    """Ada's."""
    yield (await world.register("ada"))["accessToken"]


def refused(world: World, token: str) -> str:
    """The short name of why a token is refused."""
    with pytest.raises(NotAuthentic) as told:
        world.grant(token)
    return told.value.slug


async def test_a_token_without_a_signature_is_refused(world: World, token: str) -> None:
    """Otherwise anybody writes one."""
    header, claims, _ = parts_of(token)
    for none in ("none", "None", "NONE", ""):
        forged = joined({**header, "alg": none}, claims, b"")
        assert refused(world, forged).startswith(("token", "bad"))
        assert refused(world, joined({**header, "alg": none}, claims, b"\0" * 64))
    assert refused(world, joined(header, claims, b"")) == "token-malformed"


async def test_the_public_key_is_no_shared_secret(world: World, token: str) -> None:
    """Otherwise whoever reads the key set signs as HS256 with it (key confusion)."""
    header, claims, _ = parts_of(token)
    key = (await world.call("getKeys"))["keys"][0]
    secrets_tried = (
        base64.urlsafe_b64decode(key["x"] + "="),
        key["x"].encode(),
        json.dumps(key).encode(),
    )
    for secret in secrets_tried:
        for alg in ("HS256", "EdDSA"):
            head = {**header, "alg": alg}
            message = f"{text_of(json.dumps(head).encode())}.{text_of(json.dumps(claims).encode())}"
            mac = hmac.digest(secret, message.encode(), hashlib.sha256)
            forged = joined(head, claims, mac if alg == "HS256" else mac * 2)
            assert refused(world, forged) in ("token-malformed", "token-signature")


async def test_a_token_has_one_spelling(world: World, token: str) -> None:
    """Otherwise a list of ended tokens is walked around by another spelling of the same one."""
    header, claims, signature = token.split(".")
    last = signature[-1]
    twin = next(
        char
        for char in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        if char != last and _decoded(signature[:-1] + char) == _decoded(signature)
    )
    for other in (
        f"{header}.{claims}.{signature[:-1]}{twin}",
        f"{header}=.{claims}.{signature}",
        f"{header}.{claims}.{signature}==",
        f"{header}.{claims}. {signature}",
        f"{header}.{claims}.{signature}\n",
        f"{header}.{claims}.{signature}.",
        f".{header}.{claims}.{signature}",
        f"{header[:2]}\r\n{header[2:]}.{claims}.{signature}",
    ):
        assert refused(world, other)
    assert world.grant(token)


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_a_token_for_another_audience_is_refused(world: World, token: str) -> None:
    """Otherwise a token for one network acts on another."""
    desk = world.auth.desk(world.host)
    other = Issuer(
        desk.settings.issuer,
        frozenset(("net-2",)),
        600,
        desk.standing.key,
        desk.standing.stands,
    )
    with pytest.raises(NotAuthentic) as told:
        BearerTokens((other,), lambda: world.now_ms).recognise(token)
    assert told.value.slug == "token-audience"


async def test_a_token_ends_on_time(world: World, token: str) -> None:
    """Otherwise what was stolen works for ever; no leeway is given."""
    world.later(5 * 60_000 - 1)
    await world.auth.desk(world.host).look()
    assert world.grant(token).alive()
    world.later(1)
    assert refused(world, token) == "token-expired"


async def test_keys_in_the_header_are_refused(world: World, token: str) -> None:
    """Otherwise the forger brings the key along (kid, jwk, jku, x5u injection)."""
    header, claims, _ = parts_of(token)
    seed = b"\x05" * 32
    mine = {"kty": "OKP", "crv": "Ed25519", "x": text_of(public_key_of(seed))}
    for odd in (
        {"jwk": mine},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example"},
        {"kid": "../../../../dev/null"},
        {"kid": "' UNION SELECT 'x"},
        {"kid": hashlib.sha256(public_key_of(seed)).hexdigest()[:32]},
        {"kid": ""},
        {"kid": 7},
        {"crit": ["exp"]},
        {"typ": "JWT"},
        {"b64": False},
    ):
        forged = joined({**header, **odd}, claims, seed=seed)
        assert refused(world, forged) in ("token-malformed", "token-key", "token-signature"), odd
    assert refused(world, joined(header, claims, seed=seed)) == "token-signature"


async def test_claims_that_stand_twice_are_refused(world: World, token: str) -> None:
    """Otherwise two readers of one token see two persons."""
    header, claims, signature = parts_of(token)
    text = json.dumps(claims)
    for twice in (
        text[:-1] + ', "sub": "U-2"}',
        '{"exp": 99999999999, ' + text[1:],
        text[:-1] + ', "scope": "*"}',
    ):
        assert refused(world, joined(header, twice, signature)) == "token-malformed"
    head = json.dumps(header)
    assert refused(world, joined(head[:-1] + ', "alg": "none"}', text, signature)) == (
        "token-malformed"
    )


async def test_what_a_token_says_cannot_be_changed(world: World, token: str) -> None:
    """Otherwise scopes are a wish."""
    header, claims, signature = parts_of(token)
    for changed in ({"sub": "U-2"}, {"scope": "*"}, {"exp": claims["exp"] + 1}, {"acr": "aal2"}):
        assert refused(world, joined(header, {**claims, **changed}, signature)) == (
            "token-signature"
        )


async def test_another_issuer_is_nobody_here(world: World, token: str) -> None:
    """Otherwise a token of another issuer that names a session of ours takes it over."""
    grant = world.grant(token)
    for issuer in ("", "https://other.example"):
        other = replace(grant, issuer=issuer)
        caller = await world.within(partial(who, grant=other))
        assert caller is not None
        assert (caller.user, caller.session) == (None, None)


async def test_a_refresh_token_that_is_replayed_ends_the_session(world: World) -> None:
    """Otherwise a copied one gives tokens for as long as its owner refreshes."""
    first = await world.register("ada")
    other = await world.call("login", name="ada", password=PASSWORD)
    second = await world.call("refresh", refreshToken=first["refreshToken"])
    third = await world.call("refresh", refreshToken=second["refreshToken"])
    assert third["session"] == first["session"]
    replayed = await world.call("refresh", refreshToken=first["refreshToken"])
    assert replayed["code"] == UNAUTHENTICATED
    # The thief's and the owner's: everything of the family is over at once.
    for token in (first, second, third):
        assert refused(world, token["accessToken"]) == "token-revoked"
    newest = await world.call("refresh", refreshToken=third["refreshToken"])
    assert newest["code"] == UNAUTHENTICATED
    listed = (await world.call("listSessions", other["accessToken"]))["sessions"]
    assert [one["reason"] for one in listed if one["id"] == first["session"]] == ["refreshReused"]
    unheard = await world.call("refresh", refreshToken="cpr_unheard")
    assert unheard["code"] == UNAUTHENTICATED


async def test_sessions_end_when_idle_and_at_the_end_of_their_life(world: World) -> None:
    """SP 800-63B-4 §2.2.3: otherwise a forgotten machine stays signed in."""
    signed = await world.register("ada")
    world.later(60 * 60_000)
    late = await world.call("refresh", refreshToken=signed["refreshToken"])
    assert late["code"] == UNAUTHENTICATED
    signed = await world.call("login", name="ada", password=PASSWORD)
    for _ in range(26):
        world.later(58 * 60_000)
        again = await world.call("refresh", refreshToken=signed["refreshToken"])
        if "code" in again:
            break
        signed = again
    assert again["code"] == UNAUTHENTICATED
    await world.within(sessions.sweep)
    listed = await world.within(lambda book: sessions.listed(book, 1))
    assert {one.reason for one in listed} == {"expired"}
    world.later(sessions.KEPT_MS)
    await world.within(sessions.sweep)
    assert await world.within(lambda book: sessions.listed(book, 1)) == []


async def test_nobody_ends_or_sees_sessions_of_another(world: World) -> None:
    """Otherwise one user signs another out, or learns where they are."""
    ada, bob = await world.register("ada"), await world.register("bob")
    ended = await world.call("endSession", bob["accessToken"], id=ada["session"])
    assert ended["changed"] is False
    listed = (await world.call("listSessions", bob["accessToken"]))["sessions"]
    assert [one["id"] for one in listed] == [bob["session"]]
    other = await world.call("login", name="ada", password=PASSWORD)
    assert (await world.call("endSession", other["accessToken"], id=ada["session"]))["changed"]
    assert refused(world, ada["accessToken"]) == "token-revoked"
    third = await world.call("login", name="ada", password=PASSWORD)
    assert (await world.call("endOtherSessions", other["accessToken"]))["changed"]
    assert refused(world, third["accessToken"]) == "token-revoked"
    assert world.grant(other["accessToken"])


async def test_users_reach_no_method_of_administrators(world: World) -> None:
    """Otherwise any member locks any other out."""
    ada = (await world.register("ada"))["accessToken"]
    await world.register("bob")
    why = {"reason": "because"}
    for verb, params in (
        ("listUsers", {}),
        ("lockUser", {"user": "U-2", **why}),
        ("unlockUser", {"user": "U-2", **why}),
        ("closeUser", {"user": "U-2", **why}),
        ("renewPassword", {"user": "U-2", **why}),
        ("createServiceAccount", {"name": "bot"}),
        ("createApiKey", {"user": "U-2", "label": "x", "scopes": ["chain_*"]}),
        ("listApiKeys", {"user": "U-2"}),
        ("revokeApiKey", {"id": "cpk_aaaaaaaaaa"}),
        ("rotateKeys", why),
    ):
        assert (await world.call(verb, ada, **params))["code"] == FORBIDDEN, verb
        assert (await world.call(verb, **params))["code"] == UNAUTHENTICATED, verb


async def test_replaced_keys_end_every_token_and_no_session(world: World) -> None:
    """Otherwise a stolen signing key works until it would have been renewed."""
    signed = await world.register("ada")
    await world.call("rotateKeys", ADMIN, reason="the disk was sold")
    assert refused(world, signed["accessToken"]) == "token-key"
    assert len((await world.call("getKeys"))["keys"]) == 1
    again = await world.call("refresh", refreshToken=signed["refreshToken"])
    assert world.grant(again["accessToken"])


async def test_when_nothing_can_be_read_nothing_stands(world: World, token: str) -> None:
    """Otherwise what was ended since the database went away goes on."""
    world.later(OLD_MS + 1)
    assert refused(world, token) == "token-revoked"
    await world.auth.desk(world.host).look()
    assert world.grant(token)


async def test_unknown_names_get_the_same_answer_and_the_same_work(world: World) -> None:
    """Otherwise a list of members is a list of tries."""
    await world.register("ada")
    await world.register("locked")
    await world.call("lockUser", ADMIN, user="U-2", reason="for a test")
    await world.call("invite", ADMIN, name="invited")
    hasher = world.auth.desk(world.host).hasher
    seen = []
    for name, word in (
        ("ada", "wrong"),
        ("nobody", "wrong"),
        ("locked", PASSWORD),
        ("invited", PASSWORD),
    ):
        before = hasher.done
        answer = await world.call("login", name=name, password=word)
        seen.append((json.dumps(answer), hasher.done - before))
    assert len(set(seen)) == 1, seen
    # And the same waits, from the same try on.
    waits: dict[str, list[int]] = {"ada": [], "nobody": []}
    for name, codes in waits.items():
        for _ in range(7):
            codes.append((await world.call("login", name=name, password="wrong"))["code"])
    assert waits["ada"] == waits["nobody"]


@pytest.mark.full
async def test_unknown_names_take_the_same_time(tmp_path: Path) -> None:
    """At the cost of production: medians differ by less than a tenth of a hash."""
    world = await open_world(place_in(tmp_path), Cost())
    await world.register("ada")
    took: dict[str, list[float]] = {"ada": [], "nobody": []}
    for _ in range(15):
        for name, times in took.items():
            world.later(900_000)
            started = perf_counter()
            await world.call("login", name=name, password="wrong")
            times.append(perf_counter() - started)
    known, unknown = (statistics.median(times) for times in took.values())
    await world.host.close()
    assert abs(known - unknown) < 0.2 * max(known, unknown), (known, unknown)


async def test_throttles_and_attempts_are_bounded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise strangers fill the disk with names."""
    monkeypatch.setattr(throttle, "ROWS_MAX", 20)
    monkeypatch.setattr(throttle, "SWEEP_ROWS", 5)
    for at in range(40):
        await world.call("login", name=f"name {at}", password="wrong")
    table = world.auth._described.throttles
    rows = await world.within(lambda book: book.db.execute(table.select()).all())
    assert len(rows) <= 20


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


CANARIES = ("canary-name", "canary password seven", "canary-label", "canary wrong password")


async def test_no_secret_and_no_name_is_left_behind(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise a copy of the disk, or of a log, signs in or tells who is a member."""
    caplog.set_level(logging.DEBUG)
    told: list[Any] = []

    async def call(verb: str, token: str = "", **params: Any) -> Any:
        answer = await world.call(verb, token, **params)
        if "code" in answer:
            told.append(answer)
        return answer

    invited = await call("invite", ADMIN, name=CANARIES[0])
    signed = await call("register", invitation=invited["invitation"], password=CANARIES[1])
    await call("login", name=CANARIES[0], password=CANARIES[3])
    await call("login", name=CANARIES[0], password=CANARIES[1], label=CANARIES[2])
    totp = await call("addTotp", signed["accessToken"])
    secret = base64.b32decode(totp["secret"])
    code = world.code(secret)
    await call("confirmTotp", signed["accessToken"], code=code)
    codes = (await call("newRecoveryCodes", signed["accessToken"]))["codes"]
    begun = await call("addPasskey", signed["accessToken"])
    answer = SoftKey().create(begun["options"])
    await call(
        "confirmPasskey",
        signed["accessToken"],
        attempt=begun["attempt"],
        credential=answer,
        label=CANARIES[2],
    )
    key = await call("createApiKey", signed["accessToken"], label=CANARIES[2], scopes=["chain_*"])
    await call("login", name=CANARIES[0], password=CANARIES[1], scopes=[CANARIES[3]])
    await call("refresh", refreshToken=signed["refreshToken"] + "x")
    await call("register", invitation=invited["invitation"], password=CANARIES[3])
    planted = [
        *CANARIES,
        invited["invitation"],
        signed["refreshToken"],
        signed["accessToken"],
        begun["attempt"],
        key["key"],
        totp["secret"],
        *codes,
    ]
    desk = world.auth.desk(world.host)
    seeds = await world.within(lambda book: book.db.execute(book.t.signing_keys.select()).all())
    assert desk.standing.keys
    await world.host.close()
    data = everything_in(tmp_path)
    assert b"auth_users" in data
    for one in planted:
        for text in (one, one.casefold(), one.upper(), one.replace("-", "")):
            assert text.encode() not in data, one
            assert text not in caplog.text, one
        assert one not in json.dumps(told), one
    assert secret not in data
    assert all(len(row.seed) > 32 for row in seeds)
