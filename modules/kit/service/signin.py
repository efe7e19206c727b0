"""The way to a sign-in service for another server: its pages send people there and redeem what they
bring back, and tokens of its issuer are recognised.

A browser speaks with the server of its page alone, so that one passes three methods on. They need
no token; whoever shows a code or a refresh token has proven enough.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from clawpurse.ledger.errors import Malformed
from clawpurse.modules.kit.records.shapes import Shape, Time
from clawpurse.modules.kit.service.callers import LedgerRoles
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.errors import (
    FORBIDDEN,
    NODE_UNREACHABLE,
    RATE_LIMITED,
    UNAUTHENTICATED,
    BadAnswer,
    RpcError,
    Unreachable,
)
from clawpurse.modules.kit.web.http_client import HttpClient, Origin
from clawpurse.modules.kit.web.jsonrpc import CALLER, Context, Method, Params
from clawpurse.modules.kit.web.jwks import SET_BYTES_MAX, KeySet
from clawpurse.modules.kit.web.messages import Request, Response
from clawpurse.modules.kit.web.replies import encode_json
from clawpurse.modules.kit.web.tokens import BearerTokens, Issuer

JWKS_PATH: Final = "/.well-known/jwks.json"
TOLD_AT: Final = "/sign-in.json"
ISSUER: Final = "clawpurse:auth"
LIFETIME_MAX_S: Final = 600
TIMEOUT_MS: Final = 10_000
SECRET_CHARS_MAX: Final = 128
SITE_CHARS_MAX: Final = 60
"""Of an origin: `https://` and a host's name; it stands in lists of sessions."""

OPEN: Final = frozenset(("auth_redeemCode", "auth_refresh", "auth_revokeToken"))
_OK: Final = 200
_REFUSALS: Final = (UNAUTHENTICATED, FORBIDDEN, RATE_LIMITED)

Secret = Annotated[str, Field(min_length=1, max_length=SECRET_CHARS_MAX)]
Site = Annotated[str, Field(max_length=SITE_CHARS_MAX, description="A page's origin")]


class RefreshParams(Params):
    """Parameters of auth_refresh and auth_revokeToken."""

    refresh_token: Secret


class RedeemParams(Params):
    """Parameters of auth_redeemCode."""

    code: Secret
    site: Site
    verifier: Annotated[str, Field(pattern=r"^[A-Za-z0-9._~-]{43,128}$")]


class SignedIn(Shape):
    """A session. `enrol`: nothing but setting a second factor up is possible with it."""

    status: Literal["signedIn"]
    user: str
    session: str
    access_token: str
    expires: Time
    refresh_token: str
    level: str
    scopes: list[str]
    enrol: bool


class Done(Shape):
    """Whether that changed anything."""

    changed: bool


class SignInWay:
    """The sign-in service at `url` (`https://…`, or http on this machine): an origin alone.

    Raises `Malformed` for another URL.
    """

    def __init__(self, url: str, trust: ssl.SSLContext | None = None) -> None:
        origin = Origin(url)
        if url != f"{'https' if origin.secure else 'http'}://{origin.authority}":
            raise Malformed("signIn", "is no origin: https://host, without a path")
        if not origin.secure and origin.host not in ("localhost", "127.0.0.1", "::1"):
            raise Malformed("signIn", "is http across the network: tokens would be read on the way")
        self.url: Final = url
        self._trust = trust

    def methods(self) -> list[Method]:
        """Return what is passed on."""
        said = "The sign-in service's: a session for a code of auth_authorizeSite"
        return [
            self._passed("auth_redeemCode", said, RedeemParams, SignedIn),
            self._passed("auth_refresh", "The same: new tokens", RefreshParams, SignedIn),
            self._passed("auth_revokeToken", "The same: end a session", RefreshParams, Done),
        ]

    def keys(self, now_ms: Callable[[], int]) -> KeySet:
        """Return the keys of its tokens, to be kept fresh by `KeySet.run`."""

        async def fetch() -> bytes:
            async with HttpClient(
                self.url, timeout_ms=TIMEOUT_MS, ssl_context=self._trust
            ) as client:
                answer = await client.request("GET", JWKS_PATH)
            if answer.status != _OK or len(answer.body) > SET_BYTES_MAX:
                raise BadAnswer(f"{self.url} answers with status {answer.status}")
            return answer.body

        return KeySet(self.url + JWKS_PATH, fetch, now_ms)

    def _passed(self, name: str, says: str, params: type[Params], result: Any) -> Method:
        async def passed(given: Params, _context: Context) -> Any:
            try:
                async with RpcClient(
                    self.url, timeout_ms=TIMEOUT_MS, ssl_context=self._trust
                ) as client:
                    # Never twice: a code and a refresh token count once.
                    return await client.call(
                        name, given.model_dump(by_alias=True, mode="json"), retry=False
                    )
            except (Unreachable, BadAnswer) as error:
                raise RpcError(
                    NODE_UNREACHABLE, "the sign-in service does not answer", hint=self.url
                ) from error

        return Method(name, says, passed, params, result, errors=_REFUSALS, cost=20)


def sign_in_routes(
    way: SignInWay | None,
) -> Mapping[tuple[str, str], Callable[[Request], Response]]:
    """Return where pages learn where people sign in, or that a token is pasted."""
    body = encode_json({"signIn": None if way is None else way.url})
    return {("GET", TOLD_AT): lambda _request: Response(_OK, body)}


def bearer_tokens(
    issuer: str, chain_id: str, keys: KeySet, roles: LedgerRoles, now_ms: Callable[[], int]
) -> BearerTokens:
    """Return what recognises tokens of a sign-in service: for the whole network `chain_id`, and
    dead as soon as a role that they rest on was revoked.
    """
    return BearerTokens(
        (Issuer(issuer, frozenset((chain_id,)), LIFETIME_MAX_S, keys.key, roles.stands),), now_ms
    )


def closed_but(method: Method, open_names: Collection[str]) -> Method:
    """A server that answers strangers answers them by the methods of these names, and no other;
    with none of them it is closed already.
    """
    if not open_names or method.role or method.name in open_names:
        return method
    return replace(method, role=CALLER)
