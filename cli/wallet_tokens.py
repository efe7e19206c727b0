"""What `wallet token create|list|revoke` do: they change the client's folder, service or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import OK
from clawpurse.cli.session import Session, shown
from clawpurse.cli.tokens import period_ms
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.rules import time_text
from clawpurse.wallet.durable import create_private
from clawpurse.wallet.service import service_directory
from clawpurse.wallet.service_tokens import ServiceToken, ServiceTokens, scopes_of


def tokens_of(session: Session) -> ServiceTokens:
    """Return the tokens of the client's home."""
    return ServiceTokens(service_directory(session.client_home), now_ms=session.now_ms)


def create(
    session: Session,
    name: str,
    scopes: Sequence[str],
    keys: Sequence[str],
    expires: str,
    out: Path | None,
) -> None:
    """Make a token, list it durably, then show it once or write it into a new file."""
    if out is not None and out.expanduser().exists():
        raise UsageFault(f"{out} is there already.", "", "choose another --out")
    keystore = session.keystore
    for key in keys:
        if not keystore.has(key):
            raise UsageFault(f"No key is named {key}.", "", "clawpurse keys list")
    try:
        wanted = scopes_of(tuple(scopes))
        session.client_home.prepare()
        secret, made = tokens_of(session).create(name, wanted, tuple(keys), period_ms(expires))
    except Malformed as err:
        raise UsageFault(
            f"--{err.field} {err.problem}.", "", "clawpurse wallet token create --help"
        ) from err
    if out is not None:
        create_private(out.expanduser(), secret.encode() + b"\n")
    now_ms = session.now_ms()
    if session.json_mode:
        place = {"token": secret} if out is None else {"file": str(out)}
        session.out.emit({**_document(made, now_ms), **place})
        return
    _print(session, made, now_ms)
    if out is None:
        session.out.note("Shown this once. Whoever has it may do what its scopes say:")
        session.out.line(secret)
    else:
        session.out.line(f"{session.out.mark(OK)} written to {shown(out.expanduser())}")


def show_all(session: Session) -> None:
    """List the tokens."""
    now_ms, found = session.now_ms(), tokens_of(session).all()
    if session.json_mode:
        session.out.emit({"tokens": [_document(one, now_ms) for one in found]})
        return
    if not found:
        session.out.line("No tokens. clawpurse wallet token create --name NAME --scope 'wallet_*'")
        return
    rows = [
        (
            one.ident,
            one.name,
            one.state(now_ms),
            time_text(one.expires_ms),
            " ".join(one.keys) or "all keys",
            one.scopes.text,
        )
        for one in found
    ]
    session.out.table(("id", "name", "state", "until", "keys", "scopes"), rows)


def revoke(session: Session, ident: str) -> None:
    """End a token; when this returns the list on disk says so."""
    ended = tokens_of(session).revoke(ident)
    if session.json_mode:
        session.out.emit(_document(ended, session.now_ms()))
        return
    session.out.line(f"{session.out.mark(OK)} {ended.ident} ({ended.name}) is revoked")


def _print(session: Session, one: ServiceToken, now_ms: int) -> None:
    session.out.fields(
        (
            ("Id", one.ident),
            ("Name", one.name),
            ("Scopes", one.scopes.text),
            ("Keys", " ".join(one.keys) or "all keys of this home"),
            ("State", one.state(now_ms)),
            ("Until", time_text(one.expires_ms)),
        )
    )


def _document(one: ServiceToken, now_ms: int) -> dict[str, Any]:
    return {
        "id": one.ident,
        "name": one.name,
        "scopes": sorted(one.scopes.patterns),
        "keys": list(one.keys),
        "state": one.state(now_ms),
        "createdAt": time_text(one.created_ms),
        "expiresAt": time_text(one.expires_ms),
        "revokedAt": None if one.revoked_ms is None else time_text(one.revoked_ms),
    }
