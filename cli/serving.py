"""`wallet serve`: asks for passphrases, says where it listens, stops on a signal."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import trio

from clawpurse.cli import prompts
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import OK
from clawpurse.cli.session import Session, shown
from clawpurse.cli.version import version
from clawpurse.node.logs import start_logging, stop_logging
from clawpurse.wallet.pages import signing_page
from clawpurse.wallet.service import Listening, Settings, check_alone
from clawpurse.wallet.service import serve as run_service

_MINUTE_MS: Final = 60_000
PORT_MAX: Final = 65_535


class Wish(NamedTuple):
    """What was typed."""

    listen: str
    socket: Path | None
    unlock: tuple[str, ...]
    passphrase_file: Path | None
    unlock_minutes: int
    origins: tuple[str, ...]


def serve(session: Session, wish: Wish) -> None:
    """Run the wallet service until SIGINT or SIGTERM. Raises as `wallet.service.serve`."""
    host, port = place_of(wish.listen)
    check_alone(session.client_home)
    opened = _opened(session, wish)
    settings = Settings(
        session.client_home,
        session.keystore,
        session.network(),
        session.now_ms,
        version(),
        host=host,
        port=port,
        socket_file=None if wish.socket is None else wish.socket.expanduser().absolute(),
        unlock=opened,
        unlock_timeout_ms=wish.unlock_minutes * _MINUTE_MS,
        origins=frozenset(origin_of(one) for one in wish.origins),
        open_client=session.connect,
        site=signing_page(),
    )
    log = start_logging("wallet", "info", "json" if session.json_mode else "text")
    try:
        trio.run(_run, session, settings)
    finally:
        stop_logging(log)


async def _run(session: Session, settings: Settings) -> None:
    """Serve, say so, and stop cleanly on a signal; a second one ends at once."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def serving(*, task_status: trio.TaskStatus[Listening]) -> None:
                await run_service(settings, task_status=task_status)
                nursery.cancel_scope.cancel()

            listening: Listening = await nursery.start(serving)
            _tell(session, settings, listening)
            async for _ in signals:
                if listening.stopping():
                    nursery.cancel_scope.cancel()
                listening.stop()
    session.out.note("stopped; every key is locked")


def _tell(session: Session, settings: Settings, listening: Listening) -> None:
    out, opened = session.out, [name for name, _ in settings.unlock]
    if session.json_mode:
        socket = None if listening.socket_file is None else str(listening.socket_file)
        out.emit({"url": listening.url, "socket": socket, "unlocked": opened, "pid": os.getpid()})
        return
    where = listening.url or shown(listening.socket_file or Path())
    out.line(f"{out.mark(OK)} wallet service of {shown(session.client_home.root)}")
    if listening.url:
        out.line(f"  Requests   {where}")
    out.line(f"  JSON-RPC   {where}")
    out.line(f"  Network    {settings.network.rpc_urls[0]}")
    minutes = settings.unlock_timeout_ms // _MINUTE_MS
    opened_text = ", ".join(opened)
    out.line(
        f"  Unlocked   {opened_text}, for {minutes} min" if opened else "  Unlocked   nothing yet"
    )
    out.note("Next: clawpurse wallet token create --name me --scope 'wallet_*' --out me.token")


def _opened(session: Session, wish: Wish) -> list[tuple[str, str]]:
    """Return the keys of --unlock with their passphrases; a file is read once, it may be a pipe."""
    names = list(dict.fromkeys(wish.unlock))
    for name in names:
        session.keystore.show(name)
    if wish.passphrase_file is not None and names:
        typed = prompts.passphrase(session.out, wish.passphrase_file, "")
        return [(name, typed) for name in names]
    return [
        (one, prompts.passphrase(session.out, None, f"Passphrase for {one}: ")) for one in names
    ]


def place_of(text: str) -> tuple[str, int]:
    """Return host and port. Raises `UsageFault`."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > PORT_MAX:
        raise UsageFault(f"{text} is no HOST:PORT.", "", "--listen 127.0.0.1:9638")
    return host.removeprefix("[").removesuffix("]"), int(port)


def origin_of(text: str) -> str:
    """Return a page's origin as browsers send it. Raises `UsageFault`."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
        raise UsageFault(f"{text} is no origin.", "", "--origin https://HOST[:PORT]")
    return f"{parts.scheme}://{parts.netloc}".lower()
