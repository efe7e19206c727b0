"""Who calls: tokens, keys, certificates, requests signed by an account's key; roles and rates.

A request is signed after RFC 9421, by one algorithm and over fixed parts, so that nothing is left
to be chosen by who signs:

    Signature-Input: claw=("@method" "@authority" "@path" "@query");created=S;nonce="N";
                     keyid="claw1…";alg="ed25519"
    Signature: claw=:BASE64:

with "content-digest" (RFC 9530) among the parts where the request has a body; whether the digest
is right is the upstream's to check, who reads the body. The order is as above, each nonce counts
once, and `created` may be a minute away from now.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from clawpurse.ledger.address import account_from_text
from clawpurse.ledger.crypto import verify
from clawpurse.ledger.errors import Malformed, PeerError
from clawpurse.modules.gateway.calls import Call, Entry, Reply, problem, too_many
from clawpurse.modules.gateway.config import RouteConfig
from clawpurse.modules.gateway.limits import DAY_MS, Limits, LimitsGone
from clawpurse.modules.kit.service.callers import LedgerRoles, Node, is_account
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError, Unreachable
from clawpurse.modules.kit.web.grants import Authenticator, NotAuthentic
from clawpurse.modules.kit.web.guard import printable

SKEW_S: Final = 60
"""How far the clock of who signs may be away."""

KEYS_MAX: Final = 10_000
KEY_MS: Final = 2_000
"""How long the key of an account is believed: as long as a slow block takes."""

_INPUT: Final = re.compile(
    rb'claw=\(("@method" "@authority" "@path" "@query"( "content-digest")?)\)'
    rb';created=([0-9]{1,12});nonce="([A-Za-z0-9_-]{16,64})"'
    rb';keyid="(claw1[a-z0-9]{20,80})";alg="ed25519"'
)
_SIGNATURE: Final = re.compile(rb"claw=:([A-Za-z0-9+/]{86}==):")
_AUTHORIZATION: Final = frozenset((b"authorization", b"x-api-key"))
_SIGNED: Final = frozenset((b"signature", b"signature-input"))


_ANY_PROOF: Final = RouteConfig(
    name="prepaid", path="/**", upstream="none", access=("jwt", "apiKey", "signature")
)


class Who(NamedTuple):
    """Who was recognised, by which way; `account` is empty for who acts for none. `shown`: fields
    that are for the gateway alone.
    """

    way: str
    client: str
    account: str
    shown: frozenset[bytes]


def signature_base(
    method: str, authority: str, path: str, query: str, digest: str, parameters: str
) -> bytes:
    """Return what is signed (RFC 9421 §2.5). `parameters`: the value of Signature-Input without
    its label; `digest` is empty without a body.
    """
    lines = [
        f'"@method": {method}',
        f'"@authority": {authority}',
        f'"@path": {path}',
        f'"@query": ?{query}',
    ]
    if digest:
        lines.append(f'"content-digest": {digest}')
    lines.append(f'"@signature-params": {parameters}')
    return "\n".join(lines).encode()


class Accounts:
    """The key that signs for an account alone, by the ledger."""

    def __init__(self, node: Node, now_ms: Callable[[], int]) -> None:
        self._node = node
        self._now_ms = now_ms
        self._known: OrderedDict[str, tuple[bytes | None, int]] = OrderedDict()

    async def key_of(self, account: str) -> bytes | None:
        """Return it; None where several must sign. Raises as `Node.call`, `PeerError`."""
        known = self._known.get(account)
        if known is not None and self._now_ms() - known[1] < KEY_MS:
            return known[0]
        try:
            answer = await self._node.call("account_getSigners", {"account": account})
            key = answer["key"] if answer["threshold"] is None else None
            found = None if key is None else bytes.fromhex(key.removeprefix("0x"))
        except RpcError as error:
            if error.code != NOT_FOUND:
                raise
            # An account that the ledger has not seen is signed for by its own key.
            found = account_from_text(account)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise PeerError("the node's signers of an account are none") from None
        self._known[account] = (found, self._now_ms())
        while len(self._known) > KEYS_MAX:
            self._known.popitem(last=False)
        return found


class AccessGuard:
    """Lets in who a route is for, as often as it says. `authenticators` recognise bearer tokens."""

    def __init__(
        self,
        authenticators: Sequence[Authenticator],
        accounts: Accounts,
        roles: LedgerRoles,
        now_ms: Callable[[], int],
        limits: Limits,
    ) -> None:
        self._authenticators = tuple(authenticators)
        self._accounts = accounts
        self._roles = roles
        self._now_ms = now_ms
        self._limits = limits

    async def admit(self, call: Call) -> Entry | Reply:
        """See `calls.Guard`."""
        call.client = call.client or call.peer.client
        entry = Entry()
        if call.route.access:
            try:
                who = await self._who(call)
                if isinstance(who, Reply):
                    return who
                refused = await self._roles_missing(call.route, who)
            except (RpcError, Unreachable, PeerError):
                wait = [(b"Retry-After", b"2")]
                return problem(503, "ledgerUnreachable", "nobody can be recognised now", wait)
            if refused is not None:
                return refused
            call.client = who.account or who.client
            call.facts["account"] = who.account
            call.facts["access"] = who.way
            entry.hidden = who.shown
            entry.onwards = [(b"x-clawpurse-client", call.client.encode("latin-1", "replace"))]
            if who.account:
                entry.onwards.append((b"x-clawpurse-account", who.account.encode()))
        return await self._too_often(call) or entry

    async def account_of(self, call: Call) -> str | Reply:
        """Return the account that a call proves to act for, by any of the proofs."""
        call.route = _ANY_PROOF
        who = await self._who(call)
        if isinstance(who, Reply):
            return who
        return who.account or _unknown(call.route, "this needs a proof of an account")

    # -- who

    async def _who(self, call: Call) -> Who | Reply:
        ways = call.route.access
        if "signature" in ways and b"signature-input" in call.head.headers:
            return await self._signed(call)
        presented = self._presented(call)
        if presented and ("jwt" in ways or "apiKey" in ways):
            return self._token(call.route, presented)
        certificate = call.peer.certificate
        if "certificate" in ways and certificate is not None:
            name = certificate.names[0] if certificate.names else certificate.fingerprint
            return Who("certificate", name, "", frozenset())
        return _unknown(call.route, "this needs a proof of who calls")

    @staticmethod
    def _presented(call: Call) -> str:
        key = call.head.headers.get(b"x-api-key")
        if key is not None:
            return key.decode("latin-1")
        text = call.head.headers.get(b"authorization", b"").decode("latin-1")
        scheme, _, presented = text.partition(" ")
        return presented.strip() if scheme.lower() == "bearer" else ""

    def _token(self, route: RouteConfig, presented: str) -> Who | Reply:
        way = "jwt" if presented.count(".") == 2 else "apiKey"
        if way not in route.access:
            return _unknown(route, "this route takes another proof")
        try:
            for one in self._authenticators:
                grant = one.recognise(presented)
                if grant is None:
                    continue
                if not grant.alive():
                    return _unknown(route, "the token has expired or was revoked")
                if not grant.scopes.allows(f"gateway_{route.name}"):
                    text = f"the token does not reach this route: scope gateway_{route.name}"
                    return problem(403, "forbidden", text)
                account = grant.name if is_account(grant.name) else ""
                return Who(way, account or grant.ident, account, _AUTHORIZATION)
        except NotAuthentic as error:
            return _unknown(route, error.problem)
        return _unknown(route, "the token is none of this gateway's")

    async def _signed(self, call: Call) -> Who | Reply:
        headers, head = call.head.headers, call.head
        given = headers[b"signature-input"]
        found = _INPUT.fullmatch(given)
        signature = _SIGNATURE.fullmatch(headers.get(b"signature", b""))
        if found is None or signature is None:
            return _unknown(call.route, "the signature is not of the form that is taken here")
        if bool(found[2]) != bool(head.body_length):
            return _unknown(call.route, "a body is signed by its content-digest")
        created_s, nonce, account = int(found[3]), found[4], found[5].decode()
        now_s = self._now_ms() // 1000
        if abs(now_s - created_s) > SKEW_S:
            return _unknown(call.route, "the signature is too old, or of a clock that is wrong")
        digest = headers.get(b"content-digest", b"").decode("latin-1") if found[2] else ""
        base = signature_base(
            head.method,
            head.host or "",
            call.path,
            head.query,
            digest,
            given.decode("latin-1").removeprefix("claw="),
        )
        try:
            raw = base64.b64decode(signature[1], validate=True)
            key = await self._accounts.key_of(account)
        except (binascii.Error, Malformed):
            return _unknown(call.route, "the signature or its account is malformed")
        if key is None or not verify(key, base, raw):
            return _unknown(call.route, "the account's key did not sign this request")
        try:
            fresh = await self._limits.is_new(f"{account}.{nonce.decode()}", 2 * SKEW_S)
        except LimitsGone as error:
            return problem(503, "limitsUnavailable", str(error), [(b"Retry-After", b"2")])
        if not fresh:
            return _unknown(call.route, "this signature was used already")
        return Who("signature", account, account, _SIGNED)

    async def _roles_missing(self, route: RouteConfig, who: Who) -> Reply | None:
        if not route.roles:
            return None
        held = await self._roles.of(who.account) if who.account else frozenset[str]()
        if held.intersection(route.roles):
            return None
        text = f"this needs one of these roles on the ledger: {', '.join(route.roles)}"
        return problem(403, "forbidden", text, roles=list(route.roles))

    # -- how often

    async def _too_often(self, call: Call) -> Reply | None:
        route, client = call.route, call.client
        try:
            if route.rate is not None:
                wait_s = await self._limits.wait_s(route.name, client, route.rate)
                if wait_s > 0:
                    return too_many(wait_s)
            quota, now_ms = route.quota_per_day, self._now_ms()
            if quota is None or await self._limits.left_today(route.name, client, quota, now_ms):
                return None
        except LimitsGone as error:
            return problem(503, "limitsUnavailable", str(error), [(b"Retry-After", b"2")])
        left_s = (DAY_MS - now_ms % DAY_MS) / 1000
        return too_many(left_s, "quotaExceeded", f"{quota} requests a day are reached")


def _unknown(route: RouteConfig, text: str) -> Reply:
    bearer = "jwt" in route.access or "apiKey" in route.access
    fields = [(b"WWW-Authenticate", b'Bearer realm="clawpurse"')] if bearer else []
    return problem(401, "unauthenticated", printable(text), fields, ways=list(route.access))
