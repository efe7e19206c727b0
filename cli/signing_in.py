"""What `auth bind|login|token|logout` do: a challenge is read before it is signed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import trio

from clawpurse.cli import prompts
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.session import Session, shown
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import OperatorError, PeerError
from clawpurse.modules.auth.chainkeys import message_of
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.wallet.durable import create_private, read_private, remove_private, replace_private
from clawpurse.wallet.home import check_rpc_url
from clawpurse.wallet.passphrase import read_passphrase_file

FILE_BYTES_MAX: Final = 16 * 1024
LOOPBACK: Final = ("127.0.0.1", "::1")
_FIRST: Final = "ClawPurse sign-in, version 1"
_LINES: Final = ("domain", "chain", "genesis", "account", "nonce", "issued", "expires")
_CODE_DIGITS: Final = 6
Json = dict[str, Any]


class Wish(NamedTuple):
    """What was typed."""

    key: str
    service: str
    out: Path
    domain: str | None
    label: str
    code_file: Path | None
    passphrase_file: Path | None


def login(session: Session, wish: Wish) -> None:
    """Sign in, and write the session into a new file. Raises `OperatorError`, `RpcError`."""
    url, file = check_rpc_url(wish.service), wish.out.expanduser()
    if file.exists():
        raise UsageFault(f"{file} is there already.", "", "choose another --out")

    async def run() -> Json:
        async with session.connect(url) as client:
            proof = await _proof(session, client, wish, url)
            answer = await client.call("auth_loginKey", {**proof, "label": wish.label})
            if answer["status"] == "secondFactor":
                return await _second_factor(session, client, wish, answer)
            return dict(answer)

    made = trio.run(run)
    document = _session_of(url, made)
    create_private(file, _encoded(document))
    if session.json_mode:
        said = {name: made[name] for name in ("user", "session", "level", "scopes", "expires")}
        session.out.emit({**said, "file": str(file)})
        return
    session.out.line(f"✓ signed in as {made['user']}; the session is in {shown(file)}")
    session.out.note(f"Next: clawpurse auth token {shown(file)} --out {wish.key}.token")


def bind(session: Session, wish: Wish) -> None:
    """Bind whom the token of `--token-file` is of to the account of a key."""
    url = check_rpc_url(wish.service)

    async def run() -> Json:
        async with session.connect(url) as client:
            proof = await _proof(session, client, wish, url)
            return dict(await client.call("auth_bindAccount", proof))

    made = trio.run(run)
    if session.json_mode:
        session.out.emit({name: made[name] for name in ("user", "account", "roles")})
        return
    session.out.line(f"✓ {made['user']} acts for {made['account']}; tokens from before end")
    again = f"clawpurse auth login {wish.key} --service {url} --out {wish.key}.session"
    session.out.note(f"Next: {again}")


async def _proof(session: Session, client: RpcClient, wish: Wish, url: str) -> Json:
    """Have a challenge, read it, show it, and sign it."""
    info = session.keystore.show(wish.key)
    if info.watch_only:
        raise UsageFault(f"The key of {wish.key} is elsewhere.", "", "clawpurse keys list")
    account = account_text(info.account)
    asked = await client.call("auth_challenge", {"account": account})
    text = _checked(session, asked, account, wish.domain or _domain_of(url))
    for line in text.split("\n"):
        session.out.note(f"  {line}")
    passphrase = prompts.passphrase(
        session.out, wish.passphrase_file, f"  Passphrase for {wish.key}: "
    )
    signer = session.keystore.unlock(wish.key, passphrase).signer
    return {
        "attempt": asked["attempt"],
        "publicKey": f"0x{signer.public_key.hex()}",
        "signature": f"0x{signer.sign(message_of(text)).hex()}",
    }


def token(session: Session, file: Path, out: Path | None) -> None:
    """Renew a session; its file is replaced before the token is given."""
    path = file.expanduser()
    held = _read(path)

    async def run() -> Json:
        async with session.connect(held["service"]) as client:
            asked = {"refreshToken": held["refreshToken"]}
            return dict(await client.call("auth_refresh", asked))

    made = trio.run(run)
    replace_private(path, _encoded(_session_of(held["service"], made)))
    if out is not None:
        replace_private(out.expanduser(), made["accessToken"].encode() + b"\n")
    if session.json_mode:
        given = {} if out is not None else {"accessToken": made["accessToken"]}
        session.out.emit({**given, "expires": made["expires"], "scopes": made["scopes"]})
    elif out is None:
        session.out.line(made["accessToken"])
    else:
        session.out.line(f"✓ {shown(out)} is good until {made['expires']}")


def logout(session: Session, file: Path) -> None:
    """End a session, and remove its file when that is done."""
    path = file.expanduser()
    held = _read(path)

    async def run() -> None:
        async with session.connect(held["service"]) as client:
            renewed = await client.call("auth_refresh", {"refreshToken": held["refreshToken"]})
        async with session.connect(held["service"], renewed["accessToken"]) as client:
            await client.call("auth_logout", {})

    trio.run(run)
    remove_private(path)
    if session.json_mode:
        session.out.emit({"ended": True})
    else:
        session.out.line("✓ signed out")


async def _second_factor(
    session: Session, client: RpcClient, wish: Wish, asked: Mapping[str, Any]
) -> Json:
    if not {"totp", "recoveryCode"} & set(asked["factors"]):
        raise OperatorError(
            "A passkey is asked for, and a terminal has none.", "", "sign in by a browser"
        )
    if wish.code_file is not None:
        code = read_passphrase_file(wish.code_file)
    elif prompts.at_terminal():
        code = prompts.hidden_line(session.out, "  Code from your app, or a recovery code: ")
    else:
        raise UsageFault("A second factor is asked for.", "", "add --code-file FILE")
    bare = "".join(code.split())
    kind = "totp" if bare.isdigit() and len(bare) == _CODE_DIGITS else "recoveryCode"
    return dict(
        await client.call(
            "auth_finishLogin", {"attempt": asked["attempt"], kind: code, "label": wish.label}
        )
    )


def _checked(session: Session, asked: Mapping[str, Any], account: str, domain: str) -> str:
    """Return a challenge's text if it is what was meant. Raises `PeerError`."""
    text = str(asked["text"])
    lines = text.split("\n")
    pairs = [line.partition(": ") for line in lines[1:]]
    if lines[0] != _FIRST or tuple(name for name, _, _ in pairs) != _LINES or not text.isascii():
        raise PeerError("the service asks to sign something that is no sign-in")
    said = {name: value for name, _, value in pairs}
    genesis_hash = session.network().genesis_hash
    meant = {"domain": domain, "account": account}
    if genesis_hash is not None:
        meant["genesis"] = f"0x{genesis_hash.hex()}"
    for name, value in meant.items():
        if said[name] != value:
            raise PeerError(
                f"the service asks to sign in to the {name} {said[name]}, and {value} was meant"
            )
    return text


def _domain_of(url: str) -> str:
    host = urlsplit(url).hostname or ""
    return "localhost" if host in LOOPBACK else host


def _session_of(url: str, made: Mapping[str, Any]) -> Json:
    kept = ("user", "session", "accessToken", "expires", "refreshToken")
    return {"service": url, **{name: made[name] for name in kept}}


def _encoded(document: Json) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"


def _read(path: Path) -> Json:
    try:
        held = json.loads(read_private(path, FILE_BYTES_MAX))
        return {name: str(held[name]) for name in ("service", "refreshToken")}
    except FileNotFoundError:
        raise UsageFault(f"There is no session in {path}.", "", "clawpurse auth login") from None
    except (ValueError, KeyError, TypeError):
        raise UsageFault(f"{path} is no session.", "", "clawpurse auth login") from None
