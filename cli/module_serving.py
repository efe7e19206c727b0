"""`module serve`: puts together what was typed, says where it listens, stops on a signal."""

from __future__ import annotations

import ipaddress
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import trio
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from clawpurse.cli import prompts
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.modules import module_folder
from clawpurse.cli.output import OK
from clawpurse.cli.serving import origin_of, place_of
from clawpurse.cli.session import Session, shown
from clawpurse.cli.token_files import token_in
from clawpurse.cli.version import version
from clawpurse.cli.who import account_named
from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.kit.service.declaration import Service
from clawpurse.modules.kit.service.host import Place
from clawpurse.modules.kit.service.signin import ISSUER, SignInWay
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.tls import TlsFiles
from clawpurse.node.hosting import PORTS, Listening, Sending, Settings, load_service
from clawpurse.node.hosting import serve as run_service
from clawpurse.node.logs import start_logging, stop_logging
from clawpurse.wallet.durable import read_private
from clawpurse.wallet.home import check_rpc_url

URL_BYTES_MAX = 4_096
HOLDER = re.compile(r"[a-z][a-z0-9]{0,31}")


class Wish(NamedTuple):
    """What was typed."""

    name: str
    node_url: str | None = None
    data: Path | None = None
    database: str | None = None
    database_file: Path | None = None
    master_key_file: Path | None = None
    master_key_command: str | None = None
    master_passphrase_file: Path | None = None
    listen: str | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    sign_in: str | None = None
    issuer: str | None = None
    webhook_allow: tuple[str, ...] = ()
    audit: str | None = None
    audit_token_file: Path | None = None
    holders: tuple[tuple[str, str, Path], ...] = ()
    passphrase_file: Path | None = None
    owner: str | None = None
    lane: int = 0


def serve(session: Session, wish: Wish, service: Service | None = None) -> None:
    """Run a module until SIGINT or SIGTERM: `service`, or the one of the wished name. Raises as
    `hosting.serve`.
    """
    service = service or load_service(wish.name)
    url = session.network().rpc_urls[0] if wish.node_url is None else check_rpc_url(wish.node_url)
    host, ports = "127.0.0.1", tuple(PORTS)
    if wish.listen is not None:
        host, port = place_of(wish.listen)
        ports = (port,)
    tls = _tls(wish, host)
    sending = None
    if wish.passphrase_file is not None:
        owner = None if wish.owner is None else account_named(session, wish.owner).account
        passphrase = prompts.passphrase(session.out, wish.passphrase_file, "")
        sending = Sending(passphrase, owner, wish.lane)
    place = Place(
        module_folder(session, wish.name, wish.data),
        _database(wish),
        None if wish.master_key_file is None else wish.master_key_file.expanduser().absolute(),
        wish.master_key_command or "",
        ""
        if wish.master_passphrase_file is None
        else prompts.passphrase(session.out, wish.master_passphrase_file, ""),
    )

    def connect() -> RpcClient:
        return session.connect(url)

    settings = Settings(
        service,
        place,
        connect,
        session.now_ms,
        version(),
        host=host,
        ports=ports,
        tls=tls,
        hosts=frozenset(one.lower() for one in wish.hosts),
        origins=frozenset(origin_of(one) for one in wish.origins),
        sending=sending,
        audit=_audit(session, wish),
        holders=_holders(session, wish),
        webhook_allow=wish.webhook_allow,
        sign_in=_sign_in(session, wish),
        issuer=wish.issuer or ISSUER,
    )
    log = start_logging("modules", "info", "json" if session.json_mode else "text")
    try:
        trio.run(_run, session, settings, url)
    finally:
        stop_logging(log)


async def _run(session: Session, settings: Settings, node_url: str) -> None:
    """Serve, say so, and stop cleanly on a signal; a second one ends at once."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def serving(*, task_status: trio.TaskStatus[Listening]) -> None:
                await run_service(settings, task_status=task_status)
                nursery.cancel_scope.cancel()

            listening: Listening = await nursery.start(serving)
            _tell(session, settings, listening, node_url)
            nursery.start_soon(_fail_with, listening)
            async for _ in signals:
                if listening.stopping():
                    nursery.cancel_scope.cancel()
                listening.stop()
    session.out.note("stopped")


async def _fail_with(listening: Listening) -> None:
    """A service whose work ended by a fault is over: whoever watches the process must see it."""
    await listening.host.ended.wait()
    raise OperatorError(f"{listening.host.problem}.", "", "see its log, then start it again")


def _tell(session: Session, settings: Settings, listening: Listening, node_url: str) -> None:
    out, host = session.out, listening.host
    name = host.name
    if session.json_mode:
        out.emit({"module": name, "url": listening.url, "node": node_url, "pid": os.getpid()})
        return
    out.line(f"{out.mark(OK)} {host.manifest.title} {host.manifest.version}")
    out.line(f"  JSON-RPC   {listening.url}")
    out.line(f"  Node       {node_url}")
    out.line(f"  Records    {shown(Path(host.database.place.removeprefix('sqlite:///')))}")
    out.note(f"Next: clawpurse module token create {name} --account NAME --out NAME.token")


def _sign_in(session: Session, wish: Wish) -> SignInWay | None:
    """Return the way to the sign-in service, if one was named."""
    if wish.sign_in is None:
        if wish.issuer is not None:
            raise UsageFault("An issuer needs its service.", "", "--sign-in URL --issuer NAME")
        return None
    return SignInWay(wish.sign_in.rstrip("/"), session.trust())


def _audit(session: Session, wish: Wish) -> Callable[[], RpcClient] | None:
    """Return the way to the audit log, if one was named."""
    if wish.audit is None:
        return None
    token = None if wish.audit_token_file is None else token_in(wish.audit_token_file)
    return _way(session, wish.audit, token)


def _holders(session: Session, wish: Wish) -> dict[str, Callable[[], RpcClient]]:
    """Return the ways to services that erase whom this one erased."""
    found = {}
    for name, url, file in wish.holders:
        if not HOLDER.fullmatch(name):
            raise UsageFault(f"{name} is no name of a service.", "", "--holder NAME URL TOKEN-FILE")
        found[name] = _way(session, url, token_in(file))
    return found


def _way(session: Session, url: str, token: str | None) -> Callable[[], RpcClient]:
    """Return what connects to another service."""
    checked = check_rpc_url(url)
    return lambda: session.connect(checked, token)


def _tls(wish: Wish, host: str) -> TlsFiles | None:
    if (wish.tls_certificate is None) != (wish.tls_key is None):
        raise UsageFault(
            "A certificate needs its key.", "", "--tls-certificate FILE --tls-key FILE"
        )
    if wish.tls_certificate is not None and wish.tls_key is not None:
        return TlsFiles(wish.tls_certificate.expanduser(), wish.tls_key.expanduser())
    try:
        near = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        near = False
    if not near:
        raise UsageFault(
            f"{host} is open beyond this machine: tokens would be read on the way.",
            "",
            "--tls-certificate FILE --tls-key FILE, or --listen 127.0.0.1:0",
        )
    return None


def _database(wish: Wish) -> str:
    """Return the URL. Raises `UsageFault` for a password where every process can read it."""
    if wish.database_file is not None:
        if wish.database is not None:
            raise UsageFault("One database is enough.", "", "--database or --database-file")
        return read_private(wish.database_file.expanduser(), URL_BYTES_MAX).decode().strip()
    if wish.database is None:
        return ""
    try:
        secret = make_url(wish.database).password if "://" in wish.database else None
    except ArgumentError:
        secret = None
    if secret is not None or urlsplit(wish.database).password:
        raise UsageFault(
            "A password in an argument can be read by everybody on this machine.",
            "",
            "--database-file FILE (0600), or ~/.pgpass",
        )
    return wish.database
