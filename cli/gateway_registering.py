"""`gateway register`: a service says where it is, signed by its account's key, while it runs."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import NamedTuple

import httpx
import trio

from clawpurse.cli import prompts
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.session import Session
from clawpurse.cli.who import own_key
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Code, Malformed, Refused
from clawpurse.modules.gateway.registry import Registration, read_registration
from clawpurse.modules.kit.web.errors import Unreachable
from clawpurse.wallet.keys import SigningKey

LIFE_MS = 30_000
EVERY_S = 10.0
"""Two renewals may be lost before a service is gone."""

TIMEOUT_S = 5.0
OK = 200


class Wish(NamedTuple):
    """What was typed."""

    service: str
    target: str
    gateways: tuple[str, ...]
    tags: tuple[str, ...]
    sender: str | None
    once: bool
    passphrase_file: Path | None


def register(session: Session, wish: Wish) -> None:
    """Register, renew, take back. Raises `UsageFault`; `Refused` and `Unreachable` at first."""
    command = f"clawpurse gateway register {wish.service} {wish.target} --from "
    name = wish.sender or own_key(session, command)
    passphrase = prompts.passphrase(session.out, wish.passphrase_file, f"Passphrase for {name}: ")
    key = session.keystore.unlock(name, passphrase).signer
    trio.run(_register, session, wish, key)


async def _register(session: Session, wish: Wish, key: SigningKey) -> None:
    async with session.node() as node:
        genesis_hash = (await node.terms()).genesis_hash
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:

        async def tell(until_ms: int) -> None:
            now_ms = session.now_ms()
            told = Registration(
                genesis_hash, wish.service, wish.target, wish.tags, now_ms, until_ms
            )
            try:
                read_registration(told.text)
            except Malformed as error:
                raise UsageFault(
                    f"{error}.", "", "names in small letters, http://host:port"
                ) from None
            for gateway in wish.gateways:
                await _post(client, gateway, told, key)

        await tell(session.now_ms() + LIFE_MS)
        session.out.line(f"✓ {wish.service} is at {wish.target}, for {', '.join(wish.gateways)}")
        if wish.once:
            return
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:

                async def renew() -> None:
                    while True:
                        await trio.sleep(EVERY_S)
                        try:
                            await tell(session.now_ms() + LIFE_MS)
                        except (Unreachable, Refused) as error:
                            session.out.warn(f"not renewed, tried again soon: {error}")

                nursery.start_soon(renew)
                async for _ in signals:
                    nursery.cancel_scope.cancel()
                    break
        await tell(session.now_ms())
        session.out.note("taken back")


async def _post(
    client: httpx.AsyncClient, gateway: str, told: Registration, key: SigningKey
) -> None:
    asked = {
        "text": told.text,
        "account": account_text(key.account),
        "signature": f"0x{key.sign(told.message).hex()}",
    }
    try:
        answer = await client.post(f"{gateway.rstrip('/')}/services", json=asked)
    except httpx.HTTPError as error:
        raise Unreachable(gateway, str(error) or type(error).__name__, sent=True) from None
    if answer.status_code != OK:
        try:
            reason = str(answer.json()["error"]["reason"])
        except (ValueError, KeyError, TypeError):
            reason = f"HTTP {answer.status_code}"
        raise Refused(Code.NOT_AUTHORISED, f"{gateway}: {reason}", rule="gateway.services")
