"""Tokens: what is accepted is exactly what this node or a named issuer signed for it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.crypto import public_key_of, sign
from clawpurse.ledger.errors import Malformed
from clawpurse.modules.kit.web.apikeys import ApiKeys, KeyRecord, digest_of, new_key
from clawpurse.modules.kit.web.grants import NotAuthentic
from clawpurse.modules.kit.web.jwks import KEPT_MS, KeySet, read_jwks
from clawpurse.modules.kit.web.scopes import read_scopes
from clawpurse.modules.kit.web.tokens import (
    BearerTokens,
    Claims,
    Issuer,
    issue,
    key_id,
    parse,
    verify,
)

SEED = bytes(range(32))
PUBLIC = public_key_of(SEED)
NOW_S = 1_800_000_000
CLAIMS = Claims("us", ("net/node",), "t-1", "shop", read_scopes(["chain_*"]), NOW_S, NOW_S + 600)


def text_of(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forged(header: Any, claims: Any, signer: Any = None) -> str:
    """A token of any header and claims (JSON values or texts), signed by our key unless told."""
    parts = [
        text_of((part if isinstance(part, str) else json.dumps(part)).encode())
        for part in (header, claims)
    ]
    message = ".".join(parts).encode()
    signature = sign(SEED, message) if signer is None else signer(message)
    return f"{message.decode()}.{text_of(signature)}"


def header(**changes: Any) -> dict[str, Any]:
    made = {"alg": "EdDSA", "typ": "at+jwt", "kid": key_id(PUBLIC), **changes}
    return {name: value for name, value in made.items() if value is not None}


def claims(**changes: Any) -> dict[str, Any]:
    made = {
        "iss": "us",
        "aud": "net/node",
        "jti": "t-1",
        "sub": "shop",
        "scope": "chain_*",
        "iat": NOW_S,
        "exp": NOW_S + 600,
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


class Desk:
    """One issuer's tokens on a clock that can be set, and a list of revoked ones."""

    def __init__(self) -> None:
        self.now_ms = NOW_S * 1000
        self.revoked: set[str] = set()
        issuer = Issuer(
            "us",
            frozenset({"net/node"}),
            3600,
            {key_id(PUBLIC): PUBLIC}.get,
            lambda said: said.ident not in self.revoked,
        )
        self.tokens = BearerTokens((issuer,), lambda: self.now_ms)

    def refusal(self, token: str) -> str:
        with pytest.raises(NotAuthentic) as caught:
            assert self.tokens.recognise(token) is not None
        return caught.value.slug


def test_a_token_opens_what_it_says_until_it_ends_or_is_revoked() -> None:
    desk = Desk()
    grant = desk.tokens.recognise(issue(SEED, CLAIMS))
    assert grant is not None
    assert (grant.ident, grant.name, grant.scopes.text) == ("t-1", "shop", "chain_*")
    assert grant.alive()
    desk.revoked.add("t-1")
    assert not grant.alive()
    desk.revoked.clear()
    desk.now_ms += 600_000
    assert not grant.alive()
    assert desk.refusal(issue(SEED, CLAIMS)) == "token-expired"


HS256 = hmac.new(PUBLIC, digestmod=hashlib.sha256)


def by_public_key(message: bytes) -> bytes:
    """What a library that obeys `alg` would take for an HMAC with the public key."""
    mac = HS256.copy()
    mac.update(message)
    return mac.digest()


HOSTILE: dict[str, tuple[str, str]] = {
    "alg none": (forged(header(alg="none"), claims(), lambda _m: b""), "token-malformed"),
    "alg none, long": (forged(header(alg="none"), claims(), lambda _m: bytes(64)), "malformed"),
    "HS256 by the public key": (forged(header(alg="HS256"), claims(), by_public_key), "malformed"),
    "HMAC twice as long": (
        forged(header(alg="HS512"), claims(), lambda m: by_public_key(m) * 2),
        "malformed",
    ),
    "other case of alg": (forged(header(alg="eddsa"), claims()), "malformed"),
    "typ of an id token": (forged(header(typ="JWT"), claims()), "malformed"),
    "no kid": (forged(header(kid=None), claims()), "malformed"),
    "unknown kid": (forged(header(kid="other"), claims()), "token-key"),
    "kid that is a path": (forged(header(kid="../token.key"), claims()), "token-key"),
    "brings its key": (forged(header(jwk={"kty": "OKP"}), claims()), "malformed"),
    "points to a key": (forged(header(jku="https://evil.example"), claims()), "malformed"),
    "critical extension": (forged(header(crit=["b64"], b64=False), claims()), "malformed"),
    "signed by another": (
        forged(header(), claims(), lambda m: sign(bytes(32), m)),
        "token-signature",
    ),
    "unknown issuer": (forged(header(), claims(iss="evil")), "token-key"),
    "other audience": (forged(header(), claims(aud="net/other")), "token-audience"),
    "audience begins alike": (forged(header(), claims(aud="net/node2")), "token-audience"),
    "no audience": (forged(header(), claims(aud=None)), "malformed"),
    "empty audience": (forged(header(), claims(aud=[])), "malformed"),
    "no end": (forged(header(), claims(exp=None)), "malformed"),
    "end that is true": (forged(header(), claims(exp=True)), "malformed"),
    "end as a float": (forged(header(), claims(exp=NOW_S + 0.5)), "malformed"),
    "end as a text": (forged(header(), claims(exp="1800000600")), "malformed"),
    "end beyond calendars": (forged(header(), claims(exp=10**15)), "malformed"),
    "negative end": (forged(header(), claims(exp=-1)), "malformed"),
    "ended": (forged(header(), claims(iat=NOW_S - 9, exp=NOW_S)), "token-expired"),
    "not yet": (forged(header(), claims(nbf=NOW_S + 31)), "token-early"),
    "for ever": (forged(header(), claims(exp=NOW_S + 3601)), "token-lifetime"),
    "no scope": (forged(header(), claims(scope=None)), "malformed"),
    "empty scope": (forged(header(), claims(scope="")), "malformed"),
    "scope is a pattern": (forged(header(), claims(scope="chain_.*")), "malformed"),
    "a list for a scope": (forged(header(), claims(scope=["*"])), "malformed"),
    "claims twice": (
        forged(header(), json.dumps(claims())[:-1] + ',"scope":"*"}'),
        "malformed",
    ),
    "header twice": (forged(json.dumps(header())[:-1] + ',"alg":"none"}', claims()), "malformed"),
    "claims no object": (forged(header(), "[]"), "malformed"),
    "claims not UTF-8": (forged(header(), claims()).replace(".", ".gIA.", 1), "malformed"),
    "NaN": (forged(header(), json.dumps(claims())[:-1] + ',"x":NaN}'), "malformed"),
    "nested deep": (forged(header(), '{"x":' + "[" * 900 + "]" * 900 + "}"), "malformed"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tokens_prove_nothing(name: str) -> None:
    token, slug = HOSTILE[name]
    wanted = slug if slug.startswith("token-") else f"token-{slug}"
    found: str | None
    try:
        found = None if Desk().tokens.recognise(token) is None else "accepted"
    except NotAuthentic as error:
        found = error.slug
    # Four parts are no token at all, and no other kind of credential either.
    assert found == wanted or (found is None and token.count(".") != 2)


def test_every_token_has_one_spelling_only() -> None:
    """A revoked or logged token must not come back spelled otherwise."""
    good, desk = issue(SEED, CLAIMS), Desk()
    parts = good.split(".")
    for place in range(3):
        changes: tuple[Callable[[str], str], ...] = (
            lambda part: part + "=",
            lambda part: part + "==",
            lambda part: part + "\n",
            lambda part: " " + part,
            lambda part: part.replace("-", "+").replace("_", "/") + "/",
            lambda part: part[:-1],
            lambda part: part[:-1] + chr(ord(part[-1]) + 1),
        )
        for change in changes:
            changed = [*parts]
            changed[place] = change(parts[place])
            if changed != parts:
                assert desk.refusal(".".join(changed)) in ("token-malformed", "token-signature")
    assert desk.refusal(good + "A" * 5_000) == "token-malformed"


@given(st.integers(0, 2000), st.integers(1, 255))
def test_no_changed_bit_is_accepted(place: int, change: int) -> None:
    token = bytearray(issue(SEED, CLAIMS).encode())
    token[place % len(token)] ^= change
    try:
        assert Desk().tokens.recognise(token.decode("latin-1")) is None
    except NotAuthentic:
        pass  # Refused by name: as good as not recognised.


def test_the_example_of_rfc_8037_verifies_and_ours_are_like_it() -> None:
    """RFC 8037, appendix A.4: key, payload and signature of an Ed25519 JWS."""
    public = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    token = (
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCj"
        "P0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )
    assert verify(token, public)
    assert not verify(token, PUBLIC)
    with pytest.raises(Malformed):
        parse(token)
    ours = issue(SEED, CLAIMS)
    assert parse(ours).claims == CLAIMS
    assert verify(ours, PUBLIC)


def test_an_api_key_is_known_by_its_hash_alone() -> None:
    key, prefix, digest = new_key()
    record = KeyRecord(prefix, "ci", digest, read_scopes(["tx_submit"]), NOW_S * 1000 + 5)
    book: dict[str, KeyRecord] = {prefix: record}

    class Book:
        def api_key(self, wanted: str) -> KeyRecord | None:
            return book.get(wanted)

    now = [NOW_S * 1000]
    keys = ApiKeys(Book(), lambda: now[0])
    grant = keys.recognise(key)
    assert grant is not None
    assert grant.ident == f"cpk_{prefix}"
    assert key not in repr(grant)
    assert digest == digest_of(key)
    assert keys.recognise("eyJ.a.b") is None
    other = new_key()[0]
    wrong = f"cpk_{prefix}_{other.rpartition('_')[2][-43:]:A>43}"
    for bad in (key[:-1], key + "A", other, wrong, "cpk_", "cpk__", key.upper()):
        try:
            assert keys.recognise(bad) is None
        except NotAuthentic:
            continue
        assert not bad.startswith("cpk_")
    now[0] += 5
    assert not grant.alive()
    now[0] -= 5
    book.clear()
    assert not grant.alive()


JWK = {"kty": "OKP", "crv": "Ed25519", "x": text_of(PUBLIC), "kid": "k1"}


def test_a_key_set_gives_signing_keys_of_our_kind_and_no_others() -> None:
    others = [
        {"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB"},
        {**JWK, "kid": "enc", "use": "enc"},
        {**JWK, "kid": "ops", "key_ops": ["sign"]},
        {**JWK, "kid": "alg", "alg": "ES256"},
        {name: value for name, value in JWK.items() if name != "kid"},
    ]
    assert read_jwks(json.dumps({"keys": [JWK, *others]}).encode()) == {"k1": PUBLIC}
    for bad in (
        b"nothing",
        b"[]",
        b'{"keys":{}}',
        json.dumps({"keys": [JWK, JWK]}).encode(),
        json.dumps({"keys": [{**JWK, "d": text_of(SEED)}]}).encode(),
        json.dumps({"keys": [{**JWK, "x": text_of(PUBLIC) + "="}]}).encode(),
        json.dumps({"keys": [{**JWK, "x": text_of(PUBLIC[:31])}]}).encode(),
        json.dumps({"keys": [JWK] * 65}).encode(),
    ):
        with pytest.raises(Malformed):
            read_jwks(bad)


async def test_an_issuer_that_is_away_is_trusted_for_a_day(autojump_clock: Any) -> None:
    answers: list[Any] = [json.dumps({"keys": [JWK]}).encode(), OSError("away"), OSError("away")]
    now = [0]

    async def fetch() -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return bytes(answer)

    keys = KeySet("https://issuer.example", fetch, lambda: now[0])
    with pytest.raises(NotAuthentic):
        keys.key("k1")
    await keys.refresh()
    assert keys.key("k1") == PUBLIC
    assert keys.key("k2") is None
    await keys.refresh()
    assert keys.problem == "away"
    assert keys.key("k1") == PUBLIC
    now[0] = KEPT_MS + 1
    with pytest.raises(NotAuthentic) as caught:
        keys.key("k1")
    assert caught.value.slug == "issuer-unreachable"


def test_scopes_reach_what_they_name_and_no_further() -> None:
    for pattern, reached, out_of_reach in (
        ("*", ["chain_getBlock", "admin_stop", "sum"], []),
        ("chain_*", ["chain_getBlock"], ["chainx_getBlock", "chain", "tx_submit", "admin_stop"]),
        ("tx_submit", ["tx_submit"], ["tx_submitBatch", "tx_", "admin_stop"]),
        ("admin_*", ["admin_stop"], ["webhook_create", "chain_getBlock"]),
    ):
        scopes = read_scopes([pattern])
        assert all(scopes.allows(method) for method in reached)
        assert not any(scopes.allows(method) for method in out_of_reach)
    for bad in ([], ["**"], ["chain*"], ["_x"], ["Chain_*"], ["chain_get*"], ["a b"], [""]):
        with pytest.raises(Malformed):
            read_scopes(bad)
    with pytest.raises(Malformed):
        read_scopes([f"chain_a{n}" for n in range(65)])
