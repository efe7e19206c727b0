"""Who may call this node: its tokens and keys, another issuer's, certificates; TLS for its ports.

Built from a node's home by the daemon. A node in simulation has none of it and answers its own
machine only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import trio

from clawpurse.ledger.address import account_from_text
from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.service.signin import ISSUER, SignInWay
from clawpurse.modules.kit.web.apikeys import ApiKeys
from clawpurse.modules.kit.web.errors import BadAnswer
from clawpurse.modules.kit.web.grants import (
    Authenticator,
    Certificate,
    FixedTokens,
    Grant,
    Token,
)
from clawpurse.modules.kit.web.http_client import HttpClient
from clawpurse.modules.kit.web.jwks import SET_BYTES_MAX, KeySet
from clawpurse.modules.kit.web.scopes import Scopes
from clawpurse.modules.kit.web.tls import TlsFiles
from clawpurse.modules.kit.web.tokens import BearerTokens, Claims, Issuer, key_id
from clawpurse.modules.roles.chain import holds
from clawpurse.node.alerts import Condition
from clawpurse.node.config import NodeConfig, is_loopback, split_certificate_rule
from clawpurse.node.home import NodeHome
from clawpurse.node.tokens import FOREIGN_LIFETIME_MAX_MS, LIFETIME_MAX_MS, TokenRegister

FETCH_TIMEOUT_MS: Final = 10_000
HTTP_OK: Final = 200
# Renewal that runs by itself renews a month before the end; two weeks are left to see it fail.
CERTIFICATE_DAYS_MIN: Final = 14
DAY_MS: Final = 86_400_000


class CertificateRules:
    """Maps client certificates to scopes, as the configuration says (first match)."""

    def __init__(self, rules: Sequence[tuple[str, Scopes]]) -> None:
        self._rules = tuple(rules)

    def of_certificate(self, certificate: Certificate) -> Grant | None:
        """See `grants.CertificateJudge`."""
        for who, scopes in self._rules:
            if who in ("*", certificate.fingerprint, *certificate.names):
                name = certificate.names[0] if certificate.names else who
                return Grant("cert-" + certificate.fingerprint[7:23], name, scopes)
        return None


class RoleWord:
    """Whether the roles that a token rests on are held, by this node's newest block.

    Until it follows a ledger nobody holds any.
    """

    def __init__(self) -> None:
        self._reader: Callable[[], StateReader] | None = None

    def follow(self, reader: Callable[[], StateReader]) -> None:
        """Ask this ledger from now on."""
        self._reader = reader

    def stands(self, claims: Claims) -> bool:
        """Whether nothing that a token rests on was revoked."""
        if not claims.roles:
            return True
        try:
            account = account_from_text(claims.account)
        except Malformed:
            return False
        reader = self._reader
        return reader is not None and all(holds(reader(), account, role) for role in claims.roles)


class Callers:
    """What the ports of one node need to know of callers. `run` keeps it fresh."""

    def __init__(
        self,
        authenticators: tuple[Authenticator, ...],
        certificates: CertificateRules | None,
        tls: TlsFiles | None,
        register: TokenRegister | None = None,
        issuer_keys: KeySet | None = None,
        role_word: RoleWord | None = None,
    ) -> None:
        self.role_word: Final = role_word or RoleWord()
        self.authenticators: Final = authenticators
        self.certificates: Final = certificates
        self.tls: Final = tls
        self.register: Final = register
        self.issuer_keys: Final = issuer_keys

    async def run(self) -> None:
        """Keep tokens, keys and certificates fresh until cancelled."""
        async with trio.open_nursery() as nursery:
            for part in (self.register, self.issuer_keys, self.tls):
                if part is not None:
                    nursery.start_soon(part.run)


def tls_conditions(tls: TlsFiles, now_ms: Callable[[], int]) -> Callable[[], Iterable[Condition]]:
    """Return what finds that the certificate in use ends soon, or has ended."""

    def conditions() -> Iterator[Condition]:
        left_ms = tls.expires_ms - now_ms()
        if left_ms > CERTIFICATE_DAYS_MIN * DAY_MS:
            return
        name, until = tls.certificate.name, time_text(tls.expires_ms)
        said = f"ends on {until}" if left_ms > 0 else f"ended on {until}: nobody trusts this node"
        facts = {"file": str(tls.certificate), "expires": until}
        yield Condition("CertificateExpiring", name, f"The certificate {name} {said}.", facts)

    return conditions


def local_callers(admin_token: str) -> Callers:
    """Return what a node on this machine alone has: its admin token."""
    return Callers((FixedTokens((Token(admin_token),)),), None, None)


def open_callers(
    home: NodeHome,
    config: NodeConfig,
    chain_id: str,
    node_seed: bytes,
    admin_token: str,
    now_ms: Callable[[], int],
) -> Callers:
    """Return who may call the node in `home`.

    Raises `OperatorError`: files that do not fit, or listeners beyond this machine that nobody
    could be authenticated at.
    """
    register = TokenRegister(home.tokens)
    register.load()
    node_id = public_key_of(node_seed).hex()
    public_key = public_key_of(home.read_or_create_token_key())
    issuers = [
        Issuer(
            issuer_name(node_id),
            frozenset((audience_of(chain_id, node_id),)),
            LIFETIME_MAX_MS // 1000,
            {key_id(public_key): public_key}.get,
            register.stands,
        )
    ]
    keys, role_word = None, RoleWord()
    issuer = config.rpc_token_issuer or (ISSUER if config.rpc_sign_in else "")
    if issuer:
        keys = _issuer_keys(config, home.root, now_ms)
        issuers.append(
            Issuer(
                issuer,
                frozenset((chain_id, audience_of(chain_id, node_id))),
                FOREIGN_LIFETIME_MAX_MS // 1000,
                keys.key,
                lambda claims: register.foreign_stands(claims) and role_word.stands(claims),
            )
        )
    rules = [split_certificate_rule(text) for text in config.rpc_client_certificates]
    callers = Callers(
        (
            FixedTokens((Token(admin_token),)),
            ApiKeys(register, now_ms),
            BearerTokens(tuple(issuers), now_ms),
        ),
        CertificateRules(rules) if rules else None,
        _tls(config, home.root),
        register,
        keys,
        role_word,
    )
    _require_proof(config, callers)
    return callers


def _issuer_keys(config: NodeConfig, root: Path, now_ms: Callable[[], int]) -> KeySet:
    """Return the keys of the other issuer: those named, or those of where people sign in."""
    source = config.rpc_token_issuer_keys
    if source:
        return KeySet(source, _fetcher(source, root), now_ms)
    return SignInWay(config.rpc_sign_in).keys(now_ms)


def issuer_name(node_id: str) -> str:
    """The `iss` of a node's own tokens."""
    return f"clawpurse:{node_id}"


def audience_of(chain_id: str, node_id: str) -> str:
    """The `aud` of tokens for one node; its chain id alone is for every node of the network."""
    return f"{chain_id}/{node_id}"


def _require_proof(config: NodeConfig, callers: Callers) -> None:
    """Refuse to listen beyond this machine where nobody could prove who it is."""
    open_names = [
        name for name in ("rpc_listen", "metrics_listen") if not is_loopback(getattr(config, name))
    ]
    assert callers.register is not None
    if not open_names or callers.register.entries or callers.issuer_keys or callers.certificates:
        return
    raise OperatorError(
        f"{open_names[0]} = {getattr(config, open_names[0])} is open beyond this machine, and "
        "nobody has a token.",
        "Without authentication anybody could use it.",
        "clawpurse token create --name NAME --scope 'chain_*' --home DIR",
    )


def _tls(config: NodeConfig, root: Path) -> TlsFiles | None:
    if not config.rpc_tls_certificate:
        return None
    client_ca = root / config.rpc_client_ca if config.rpc_client_ca else None
    return TlsFiles(root / config.rpc_tls_certificate, root / config.rpc_tls_key, client_ca)


def _fetcher(source: str, root: Path) -> Callable[[], Awaitable[bytes]]:
    """Return what reads an issuer's keys from a file, or from https."""
    if not source.startswith("https://"):
        path = root / source

        async def read() -> bytes:
            return await trio.Path(path).read_bytes()

        return read

    async def fetch() -> bytes:
        async with HttpClient(source, timeout_ms=FETCH_TIMEOUT_MS) as client:
            answer = await client.request("GET", client.origin.path)
        if answer.status != HTTP_OK or len(answer.body) > SET_BYTES_MAX:
            raise BadAnswer(f"{source} answers with status {answer.status}")
        return answer.body

    return fetch
