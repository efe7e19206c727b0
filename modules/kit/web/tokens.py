"""Bearer tokens: JWTs signed by Ed25519 (RFC 7519, RFC 8037, RFC 9068), read without leniency.

A token is three parts of base64url in the one spelling that each value has, a header with
`alg`, `typ` and `kid` and nothing else, and claims without a member twice. What a header says is
compared with what we expect, never obeyed: the algorithm is ours, keys come from the issuer's
set by `kid`, and a header that brings or points to a key is refused. The signature is checked
by joserfc, whose own base64 reader is lenient, which is why ours comes first.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.errors import Malformed
from clawpurse.modules.kit.web.grants import PRESENTED_BYTES_MAX, Grant, NotAuthentic
from clawpurse.modules.kit.web.scopes import Scopes, read_scopes

ALGORITHM: Final = "EdDSA"
TYPE: Final = "at+jwt"
NOT_BEFORE_LEEWAY_S: Final = 30
"""How far another issuer's clock may be ahead of ours; an end is an end, without leeway."""

NAME_CHARS_MAX: Final = 64
IDENT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ROLES_MAX: Final = 64
METHODS_MAX: Final = 16
_ROLE: Final = re.compile(r"[a-z0-9.-]{1,32}")
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+")
_HEADER_NAMES: Final = frozenset(("alg", "typ", "kid"))
# 9999-12-31: what dates of people and of databases can still say.
_TIME_MAX_S: Final = 253_402_300_799


class Claims(NamedTuple):
    """What a token says. Times are Unix seconds; `ident` is `jti`, `name` is `sub`.

    The rest is said by issuers that know it, and empty elsewhere. `account` (claw1…) holds the
    `roles` on the ledger without which the token would have fewer scopes (claim `claw`); `session`
    is `sid`. `level` (`acr`: aal1 or aal2), `methods` (`amr`, RFC 8176) and `proven_s`
    (`auth_time`) tell how, and when last, the holder proved who they are (RFC 9470).
    """

    issuer: str
    audience: tuple[str, ...]
    ident: str
    name: str
    scopes: Scopes
    not_before_s: int
    expires_s: int
    account: str = ""
    roles: tuple[str, ...] = ()
    session: str = ""
    level: str = ""
    methods: tuple[str, ...] = ()
    proven_s: int = 0


class Parsed(NamedTuple):
    """A token that is well-formed; nothing in it is proven yet."""

    kid: str
    claims: Claims


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens are taken. `key(kid)` is a public key or None, and may raise `NotAuthentic`
    when keys cannot be had; `lifetime_max_s` bounds a token's life; `stands(claims)` tells
    whether a token was not revoked, and is asked again for as long as the token is used.
    """

    name: str
    audience: frozenset[str]
    lifetime_max_s: int
    key: Callable[[str], bytes | None]
    stands: Callable[[Claims], bool]


class _OneAlgorithm(jws.JWSRegistry):
    """joserfc's table cut down to the algorithm that our tokens have.

    Its own look-up warns that RFC 9864 prefers the name `Ed25519` to `EdDSA`; here both could
    only mean the former, since keys of other curves are not loaded.
    """

    def get_alg(self, name: str) -> Any:
        if name != ALGORITHM:
            raise JoseError
        return self.algorithms[name]


_REGISTRY: Final = _OneAlgorithm(algorithms=[ALGORITHM])


def issue(seed: bytes, claims: Claims) -> str:
    """Return a signed token of the key with `seed`."""
    key = OKPKey.import_key(
        {"kty": "OKP", "crv": "Ed25519", "x": _text_of(public_key_of(seed)), "d": _text_of(seed)}
    )
    body: dict[str, Any] = {
        "iss": claims.issuer,
        "aud": list(claims.audience),
        "jti": claims.ident,
        "sub": claims.name,
        "scope": claims.scopes.text,
        "iat": claims.not_before_s,
        "nbf": claims.not_before_s,
        "exp": claims.expires_s,
    }
    if claims.account:
        body["claw"] = {"account": claims.account, "roles": list(claims.roles)}
    if claims.session:
        body["sid"] = claims.session
    if claims.proven_s:
        proof = {"acr": claims.level, "amr": list(claims.methods), "auth_time": claims.proven_s}
        body.update(proof)
    header = {"alg": ALGORITHM, "typ": TYPE, "kid": key_id(public_key_of(seed))}
    payload = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    return jws.serialize_compact(header, payload, key, registry=_REGISTRY)


def key_id(public_key: bytes) -> str:
    """The `kid` of a local key: half of its SHA-256, in hexadecimal."""
    return hashlib.sha256(public_key).hexdigest()[:32]


def parse(token: str) -> Parsed:
    """Read a token strictly, checking no signature. Raises `Malformed`."""
    parts = token.split(".")
    if len(token) > PRESENTED_BYTES_MAX or len(parts) != 3:
        raise Malformed("token", "is not three parts of bearable length")
    header = _object(_bytes_of(parts[0]), "token.header")
    claims = _object(_bytes_of(parts[1]), "token.claims")
    if len(_bytes_of(parts[2])) != 64:
        raise Malformed("token.signature", "is not 64 bytes")
    if header.keys() != _HEADER_NAMES:
        raise Malformed("token.header", "has other members than alg, typ and kid")
    if header["alg"] != ALGORITHM or header["typ"] != TYPE:
        raise Malformed("token.header", f"is not of {ALGORITHM} and {TYPE}")
    return Parsed(_word(header, "kid", "token.header"), _claims(claims))


def verify(token: str, public_key: bytes) -> bool:
    """Whether a parsed token is signed by a key."""
    try:
        key = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": _text_of(public_key)})
        jws.deserialize_compact(token, key, registry=_REGISTRY)
    except (JoseError, ValueError):
        return False
    return True


class BearerTokens:
    """Recognises tokens of some issuers. `now_ms` is the clock that ends them."""

    def __init__(self, issuers: tuple[Issuer, ...], now_ms: Callable[[], int]) -> None:
        self._issuers: Mapping[str, Issuer] = {issuer.name: issuer for issuer in issuers}
        self._now_ms = now_ms

    def recognise(self, presented: str) -> Grant | None:
        """See `grants.Authenticator`. One signature check, about 0.1 ms, for a known key."""
        if presented.count(".") != 2:
            return None
        try:
            kid, claims = parse(presented)
        except Malformed as error:
            raise NotAuthentic("token-malformed", str(error)) from None
        issuer = self._issuers.get(claims.issuer)
        public_key = None if issuer is None else issuer.key(kid)
        if issuer is None or public_key is None:
            raise NotAuthentic("token-key", "the token is of an issuer or key not known here")
        if not verify(presented, public_key):
            raise NotAuthentic("token-signature", "the token's signature is wrong")
        self._check(issuer, claims)
        ends_ms = claims.expires_s * 1000
        now_ms, stands = self._now_ms, issuer.stands
        return Grant(
            claims.ident,
            claims.name,
            claims.scopes,
            ends_ms,
            lambda: now_ms() < ends_ms and stands(claims),
            issuer=claims.issuer,
            level=claims.level,
            proven_ms=claims.proven_s * 1000,
        )

    def _check(self, issuer: Issuer, claims: Claims) -> None:
        """Judge what a true token says. Raises `NotAuthentic`."""
        now_s = self._now_ms() // 1000
        if not issuer.audience.intersection(claims.audience):
            raise NotAuthentic("token-audience", "the token is for another node or network")
        if now_s >= claims.expires_s:
            raise NotAuthentic("token-expired", "the token has expired")
        if now_s + NOT_BEFORE_LEEWAY_S < claims.not_before_s:
            raise NotAuthentic("token-early", "the token does not hold yet")
        if claims.expires_s - claims.not_before_s > issuer.lifetime_max_s:
            raise NotAuthentic(
                "token-lifetime", f"the token is made for more than {issuer.lifetime_max_s} s"
            )
        if not issuer.stands(claims):
            raise NotAuthentic("token-revoked", "the token was revoked, or is not known here")


def _claims(found: Mapping[str, Any]) -> Claims:
    audience = found.get("aud")
    if isinstance(audience, str):
        audience = [audience]
    if not isinstance(audience, list) or not 0 < len(audience) <= 16:
        raise Malformed("token.aud", "is not 1…16 names")
    if not all(isinstance(one, str) and 0 < len(one) <= 256 for one in audience):
        raise Malformed("token.aud", "is not 1…16 names")
    scope = found.get("scope")
    if not isinstance(scope, str):
        raise Malformed("token.scope", "is missing")
    ident = _word(found, "jti", "token.claims")
    if IDENT.fullmatch(ident) is None:
        raise Malformed("token.jti", "is not 1…64 letters, digits, dots, dashes")
    issued_s = _time(found, "iat")
    not_before_s = _time(found, "nbf") if "nbf" in found else issued_s
    # A token may wait for its time; it cannot have held before it was made.
    not_before_s = max(not_before_s, issued_s)
    return Claims(
        _word(found, "iss", "token.claims"),
        tuple(audience),
        ident,
        _word(found, "sub", "token.claims"),
        read_scopes(scope.split(" ")),
        not_before_s,
        _time(found, "exp"),
        *_standing(found),
        **_proof(found),
    )


def _standing(found: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The account and the roles that a token rests on: our own claim, so read strictly."""
    if "claw" not in found:
        return "", ()
    said = found["claw"]
    if not isinstance(said, dict) or said.keys() != {"account", "roles"}:
        raise Malformed("token.claw", "is not account and roles")
    roles = said["roles"]
    if not isinstance(roles, list) or len(roles) > ROLES_MAX:
        raise Malformed("token.claw.roles", f"is not at most {ROLES_MAX} names")
    if not all(isinstance(one, str) and _ROLE.fullmatch(one) for one in roles):
        raise Malformed("token.claw.roles", "has what is no role")
    return _word(said, "account", "token.claw"), tuple(roles)


def _proof(found: Mapping[str, Any]) -> dict[str, Any]:
    """How the holder proved who they are. Issuers shape these freely: what is odd says nothing."""
    session, level = found.get("sid"), found.get("acr")
    methods, proven_s = found.get("amr"), found.get("auth_time")
    listed = isinstance(methods, list) and len(methods) <= METHODS_MAX
    when = type(proven_s) is int and 0 <= proven_s <= _TIME_MAX_S
    return {
        "session": session if isinstance(session, str) and IDENT.fullmatch(session) else "",
        "level": level if isinstance(level, str) and len(level) <= NAME_CHARS_MAX else "",
        "methods": tuple(str(one)[:NAME_CHARS_MAX] for one in methods or ()) if listed else (),
        "proven_s": proven_s if when else 0,
    }


def _word(found: Mapping[str, Any], name: str, where: str) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 256 or not value.isprintable():
        raise Malformed(f"{where}.{name}", "is not a short text")
    return value


def _time(found: Mapping[str, Any], name: str) -> int:
    value = found.get(name)
    if type(value) is not int or not 0 <= value <= _TIME_MAX_S:
        raise Malformed(f"token.{name}", "is not a time in whole seconds")
    return value


def _object(data: bytes, field: str) -> dict[str, Any]:
    """A JSON object in which no name stands twice, without floats and odd constants."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) != len(found):
            raise Malformed(field, "has a member twice")
        return made

    def odd(_text: str) -> Any:
        raise Malformed(field, "has a number that is not whole")

    try:
        value = json.loads(
            data.decode(), object_pairs_hook=pairs, parse_float=odd, parse_constant=odd
        )
    except (ValueError, RecursionError):
        raise Malformed(field, "is not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise Malformed(field, "is not an object")
    return value


def _bytes_of(text: str) -> bytes:
    """Base64url without padding, in its one canonical spelling (RFC 4648 §3.5)."""
    if _BASE64URL.fullmatch(text) is None or len(text) % 4 == 1:
        raise Malformed("token", "has a part that is not base64url")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise Malformed("token", "has a part that is not base64url") from None
    if _text_of(data) != text:
        raise Malformed("token", "has a part in another spelling than its one")
    return data


def _text_of(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
