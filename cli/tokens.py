"""What `token create|list|show|revoke` do: they change a node's folder, running or not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import OK
from clawpurse.cli.session import Session, shown
from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.web.apikeys import START, new_key
from clawpurse.modules.kit.web.scopes import Scopes, read_scopes
from clawpurse.modules.kit.web.tokens import Claims, issue
from clawpurse.node.callers import audience_of, issuer_name
from clawpurse.node.home import NodeHome
from clawpurse.node.tokens import (
    API_KEY,
    LIFETIME_MAX_MS,
    TOKEN,
    Entry,
    TokenRegister,
    check_name,
    new_ident,
)
from clawpurse.wallet.durable import create_private

_UNITS_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_PERIOD: Final = re.compile(r"([1-9][0-9]{0,6})([mhdw])")


def create(
    session: Session,
    root: Path,
    name: str,
    scopes: Sequence[str],
    expires: str,
    kind: str,
    out: Path | None,
) -> None:
    """Make a token or key, list it durably, then show it once or write it into a new file."""
    home = NodeHome(root)
    genesis = home.read_genesis()
    now_ms = session.now_ms()
    ends_ms = now_ms + period_ms(expires)
    try:
        wanted, called = read_scopes(scopes), check_name(name)
    except Malformed as error:
        raise UsageFault(f"--{error.field} {error.problem}.", "", "clawpurse methods") from None
    if out is not None and out.expanduser().exists():
        raise UsageFault(f"{out} is there already.", "", "choose another --out")
    if kind == API_KEY:
        secret, prefix, digest = new_key()
        entry = Entry(START + prefix, API_KEY, called, wanted, now_ms, ends_ms, None, digest)
    else:
        secret, ident = _signed(home, genesis.chain_id, called, wanted, now_ms, ends_ms)
        entry = Entry(ident, TOKEN, called, wanted, now_ms, ends_ms)
    # Listed first: a token that somebody holds and no list has could not be found again.
    TokenRegister(home.tokens).add(entry, now_ms)
    if out is not None:
        create_private(out.expanduser(), secret.encode() + b"\n")
    _tell_new(session, entry, now_ms, secret, out)


def _signed(
    home: NodeHome, chain_id: str, name: str, scopes: Scopes, now_ms: int, ends_ms: int
) -> tuple[str, str]:
    seed = home.read_or_create_token_key()
    node_id = public_key_of(home.read_seed(home.node_key)).hex()
    ident = new_ident()
    claims = Claims(
        issuer_name(node_id),
        (audience_of(chain_id, node_id),),
        ident,
        name,
        scopes,
        now_ms // 1000,
        ends_ms // 1000,
    )
    return issue(seed, claims), ident


def _tell_new(session: Session, entry: Entry, now_ms: int, secret: str, out: Path | None) -> None:
    document = _document(entry, now_ms)
    if session.json_mode:
        place: dict[str, Any] = {"token": secret} if out is None else {"file": str(out)}
        session.out.emit({**document, **place})
        return
    _print(session, entry, now_ms)
    if out is None:
        session.out.note("Shown this once. Whoever has it may do what its scopes say:")
        session.out.line(secret)
    else:
        session.out.line(f"{session.out.mark(OK)} written to {shown(out.expanduser())}")


def show_all(session: Session, root: Path) -> None:
    """List the register."""
    register, now_ms = _register(root), session.now_ms()
    entries = sorted(register.entries.values(), key=lambda one: (one.created_ms, one.ident))
    if session.json_mode:
        session.out.emit({"tokens": [_document(entry, now_ms) for entry in entries]})
        return
    if not entries:
        session.out.line(
            "No tokens. clawpurse token create --name NAME --scope 'chain_*' --home DIR"
        )
        return
    rows = [
        (e.ident, e.kind, e.name, e.state(now_ms), time_text(e.expires_ms), e.scopes.text)
        for e in entries
    ]
    session.out.table(("id", "kind", "name", "state", "until", "scopes"), rows)


def show(session: Session, root: Path, ident: str) -> None:
    """Show one entry of the register."""
    entry = _register(root).entries.get(ident)
    if entry is None:
        raise UsageFault(f"There is no token {ident}.", "", "clawpurse token list --home DIR")
    if session.json_mode:
        session.out.emit(_document(entry, session.now_ms()))
        return
    _print(session, entry, session.now_ms())


def revoke(session: Session, root: Path, ident: str) -> None:
    """End a token; when this returns the list on disk says so."""
    home = NodeHome(root)
    home.read_genesis()
    entry = TokenRegister(home.tokens).revoke(ident, session.now_ms())
    if session.json_mode:
        session.out.emit(_document(entry, session.now_ms()))
        return
    session.out.line(f"{session.out.mark(OK)} {entry.ident} ({entry.name}) is revoked")


def _register(root: Path) -> TokenRegister:
    home = NodeHome(root)
    home.read_genesis()
    register = TokenRegister(home.tokens)
    register.load()
    return register


def _print(session: Session, entry: Entry, now_ms: int) -> None:
    session.out.fields(
        (
            ("Id", entry.ident),
            ("Kind", entry.kind),
            ("Name", entry.name),
            ("Scopes", entry.scopes.text),
            ("State", entry.state(now_ms)),
            ("Until", time_text(entry.expires_ms)),
        )
    )


def _document(entry: Entry, now_ms: int) -> dict[str, Any]:
    return {
        "id": entry.ident,
        "kind": entry.kind,
        "name": entry.name,
        "scopes": sorted(entry.scopes.patterns),
        "state": entry.state(now_ms),
        "createdAt": time_text(entry.created_ms),
        "expiresAt": time_text(entry.expires_ms),
        "revokedAt": None if entry.revoked_ms is None else time_text(entry.revoked_ms),
    }


def period_ms(text: str) -> int:
    """Return how long `90m`, `12h`, `30d` or `52w` is, ms. Raises `UsageFault`."""
    match = _PERIOD.fullmatch(text)
    period_ms = 0 if match is None else int(match.group(1)) * _UNITS_MS[match.group(2)]
    if not 0 < period_ms <= LIFETIME_MAX_MS:
        raise UsageFault(
            f"--expires {text!r} is not a time of at most 366 days.", "", "--expires 30d"
        )
    return period_ms
