"""What `module list|show|key|token` do: what is installed, and the folder of a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clawpurse.cli import prompts
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import OK
from clawpurse.cli.session import Session, shown
from clawpurse.cli.tokens import period_ms
from clawpurse.cli.who import account_named
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.ledger.rules import time_text
from clawpurse.modules.kit.service.declaration import Manifest, compiled
from clawpurse.modules.kit.service.description import kind_json
from clawpurse.modules.kit.web.apikeys import START, new_key
from clawpurse.modules.kit.web.scopes import read_scopes
from clawpurse.node.hosting import KEY_NAME, installed, load_service, register_of, service_keys
from clawpurse.node.tokens import API_KEY, Entry, check_name
from clawpurse.wallet.durable import create_private, make_private_directory

Json = dict[str, Any]


def module_folder(session: Session, name: str, data: Path | None) -> Path:
    """Return where a module keeps what is its own."""
    if data is not None:
        return data.expanduser().absolute()
    return session.client_home.root / "modules" / load_service(name).name


def show_all(session: Session) -> None:
    """List what is installed; one that cannot be loaded says why."""
    found: list[Json] = []
    for name in installed():
        try:
            manifest = compiled(load_service(name))
        except (OperatorError, ValueError) as error:
            found.append({"name": name, "problem": str(error)})
            continue
        found.append(_short(name, manifest))
    if session.json_mode:
        session.out.emit({"modules": found})
        return
    if not found:
        session.out.line("No modules. docs/how-to/write-a-module.md makes one.")
        return
    rows = [
        (
            one["name"],
            str(one.get("version", "–")),
            str(one.get("title", "")),
            one.get("problem") or ", ".join(one["records"]),
        )
        for one in found
    ]
    session.out.table(("module", "version", "title", "records"), rows)


def show(session: Session, name: str) -> None:
    """Show the manifest."""
    manifest = _manifest(name)
    document = {**_short(name, manifest), **_whole(manifest)}
    if session.json_mode:
        session.out.emit(document)
        return
    session.out.fields(
        (
            ("Module", f"{document['name']} {document['version']}"),
            ("Title", document["title"]),
            ("Records", ", ".join(document["records"]) or "none"),
            ("Roles", ", ".join(document["roles"]) or "none"),
            ("Takes in", ", ".join(document["events"]) or "nothing"),
            ("Sends", ", ".join(document["permissions"]) or "nothing"),
        )
    )


def _manifest(name: str) -> Manifest:
    try:
        return compiled(load_service(name))
    except ValueError as error:
        raise OperatorError(f"{name} is declared wrongly: {error}.", "", "") from None


def _short(name: str, manifest: Manifest) -> Json:
    return {
        "name": name,
        "version": manifest.version,
        "title": manifest.title,
        "records": list(manifest.kinds),
    }


def _whole(manifest: Manifest) -> Json:
    return {
        "roles": list(manifest.roles),
        "permissions": list(manifest.service.permissions),
        "events": sorted({kind for kinds, _ in manifest.events for kind in kinds}),
        "calls": [f"{manifest.name}_{call.name}" for call in manifest.calls],
        "kinds": [kind_json(manifest.name, kind) for kind in manifest.kinds.values()],
        "settings": manifest.service.settings.model_json_schema(by_alias=True),
    }


def make_key(session: Session, name: str, data: Path | None, passphrase_file: Path) -> None:
    """Make the key of a module's account, once; say what it still needs."""
    folder = module_folder(session, name, data)
    make_private_directory(folder)
    passphrase = prompts.passphrase(session.out, passphrase_file, "")
    made, _ = service_keys(folder, session.now_ms).add(KEY_NAME, passphrase)
    account = account_text(made.account)
    if session.json_mode:
        session.out.emit({"module": name, "account": account, "path": str(made.file)})
        return
    session.out.line(f"{session.out.mark(OK)} {name} sends from {account}")
    session.out.line(f"  Key file   {shown(made.file)}")
    session.out.note(f"It needs money for fees, and the roles of `clawpurse module show {name}`.")
    session.out.note(f"Next: clawpurse wallet send {account} 10 --from NAME --allow-new-recipient")


def create_token(
    session: Session,
    name: str,
    account: str | None,
    called: str | None,
    scopes: Sequence[str],
    expires: str,
    out: Path | None,
    data: Path | None,
) -> None:
    """Make an API key for the module, list it durably, then show it once or write it away."""
    if (account is None) == (called is None):
        raise UsageFault(
            "A token acts for an account, or has a name.", "", "--account NAME, or --name NAME"
        )
    if out is not None and out.expanduser().exists():
        raise UsageFault(f"{out} is there already.", "", "choose another --out")
    if account is not None:
        called = account_text(account_named(session, account).account)
    now_ms = session.now_ms()
    try:
        wanted = read_scopes(scopes or ("*",))
        named = check_name(called or "")
    except Malformed as error:
        raise UsageFault(
            f"--{error.field} {error.problem}.", "", "clawpurse module token create --help"
        ) from None
    folder = module_folder(session, name, data)
    make_private_directory(folder)
    secret, prefix, digest = new_key()
    entry = Entry(
        START + prefix, API_KEY, named, wanted, now_ms, now_ms + period_ms(expires), None, digest
    )
    # Listed first: a token that somebody holds and no list has could not be found again.
    register_of(folder).add(entry, now_ms)
    if out is not None:
        create_private(out.expanduser(), secret.encode() + b"\n")
    place = {"token": secret} if out is None else {"file": str(out)}
    if session.json_mode:
        session.out.emit({**_entry(entry, now_ms), **place})
        return
    _print(session, entry, now_ms)
    if out is None:
        session.out.note("Shown this once. Whoever has it acts for that account here:")
        session.out.line(secret)
    else:
        session.out.line(f"{session.out.mark(OK)} written to {shown(out.expanduser())}")


def list_tokens(session: Session, name: str, data: Path | None) -> None:
    """List them."""
    register, now_ms = register_of(module_folder(session, name, data)), session.now_ms()
    register.load()
    entries = sorted(register.entries.values(), key=lambda one: (one.created_ms, one.ident))
    if session.json_mode:
        session.out.emit({"tokens": [_entry(one, now_ms) for one in entries]})
        return
    if not entries:
        session.out.line(f"No tokens. clawpurse module token create {name} --account NAME")
        return
    rows = [
        (one.ident, one.state(now_ms), time_text(one.expires_ms), one.scopes.text, one.name)
        for one in entries
    ]
    session.out.table(("id", "state", "until", "scopes", "acts for"), rows)


def revoke_token(session: Session, name: str, ident: str, data: Path | None) -> None:
    """End one; when this returns the list on disk says so."""
    ended = register_of(module_folder(session, name, data)).revoke(ident, session.now_ms())
    if session.json_mode:
        session.out.emit(_entry(ended, session.now_ms()))
        return
    session.out.line(f"{session.out.mark(OK)} {ended.ident} ({ended.name}) is revoked")


def _print(session: Session, one: Entry, now_ms: int) -> None:
    session.out.fields(
        (
            ("Id", one.ident),
            ("Acts for", one.name),
            ("Scopes", one.scopes.text),
            ("State", one.state(now_ms)),
            ("Until", time_text(one.expires_ms)),
        )
    )


def _entry(one: Entry, now_ms: int) -> Mapping[str, Any]:
    return {
        "id": one.ident,
        "name": one.name,
        "scopes": sorted(one.scopes.patterns),
        "state": one.state(now_ms),
        "createdAt": time_text(one.created_ms),
        "expiresAt": time_text(one.expires_ms),
        "revokedAt": None if one.revoked_ms is None else time_text(one.revoked_ms),
    }
