"""The wallet service: one process for one home, on loopback or a Unix socket, by JSON-RPC.

    service/service.lock    held while it runs: one service a home
    service/service.json    where it listens (0600), for commands of the same home
    service/wallet.sock     the socket, where one was asked for (0600, in a folder of 0700)

It holds keys, so nobody reaches it without a token (`service_tokens.py`), not even from this
machine, and it never listens beyond it. Every payment goes the one way that the command line's
go: guardrails, outbox, proof, receipt (`payments.py`). A stop lets requests under way finish and
forgets every key; whatever it was killed in is finished by its next start.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from clawpurse.ledger.errors import ClawPurseError, OperatorError, StorageFault
from clawpurse.modules.kit.pages.site import Site
from clawpurse.modules.kit.web.apikeys import ApiKeys
from clawpurse.modules.kit.web.app import App, RouteHandler
from clawpurse.modules.kit.web.guard import LOCAL_HOSTS, Access, Budgets, RefusalLog
from clawpurse.modules.kit.web.jsonrpc import Dispatcher, Method
from clawpurse.modules.kit.web.limits import Limits
from clawpurse.modules.kit.web.messages import Response
from clawpurse.modules.kit.web.openrpc import discovery
from clawpurse.modules.kit.web.server import (
    LISTEN_BACKLOG,
    WebServer,
    bound_port,
    open_listeners,
)
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.client import ClientFactory
from clawpurse.wallet.durable import make_private_directory, remove_private, replace_private
from clawpurse.wallet.guardrail_files import guardrails_in
from clawpurse.wallet.home import ClientHome, Network
from clawpurse.wallet.keystore import Keystore
from clawpurse.wallet.outbox import Outbox
from clawpurse.wallet.service_asking import Asking
from clawpurse.wallet.service_desk import Desk, Flights, ServiceNode
from clawpurse.wallet.service_guardrails import GuardrailMethods
from clawpurse.wallet.service_keys import KeyMethods
from clawpurse.wallet.service_payments import PaymentMethods
from clawpurse.wallet.service_requests import RequestMethods
from clawpurse.wallet.service_signing import SignMethods
from clawpurse.wallet.service_tokens import ServiceTokens
from clawpurse.wallet.signing_requests import SigningRequests
from clawpurse.wallet.unlocked import TIMEOUT_MS_DEFAULT, UnlockedKeys

TITLE: Final = "ClawPurse wallet"
_LOCK: Final = "service.lock"
# Below the ports of nodes (9640 and up) and of a signer (9639).
PORT_DEFAULT: Final = 9638
HOST_DEFAULT: Final = "127.0.0.1"
# A token's budget, in cost units: some 30 payments a second, and a burst of two hundred.
COST_PER_S: Final = 500
COST_BURST: Final = 3_000
# How often unfinished payments are looked after, and for how long each is waited for then.
LOOK_S: Final = 15.0
LOOK_WAIT_MS: Final = 2_000
# A Unix socket's path has 108 bytes, its end among them (unix(7)).
SOCKET_BYTES_MAX: Final = 107
_LIMITS: Final = Limits(
    # Agents of one person, and a browser: far fewer than a node has.
    connections_max=256,
    connections_per_client_max=256,
    memory_bytes_max=32 * 1024 * 1024,
)
LOG: Final = logging.getLogger("clawpurse.wallet")


def service_directory(home: ClientHome) -> Path:
    """Return where the service of a home keeps what is its own."""
    return home.root / "service"


@dataclass(frozen=True)
class Settings:
    """How to serve. `port` 0 is any free one; with `socket_file` there is no TCP port.

    `unlock` are keys to open before anybody calls, with their passphrases. `site` are the pages,
    `origins` pages elsewhere (`https://…`) that may call from a browser. `open_client` replaces
    the way to a node. `now_ms` is the wall clock, ms UTC.
    """

    home: ClientHome
    keystore: Keystore
    network: Network
    now_ms: Callable[[], int]
    version: str
    host: str = HOST_DEFAULT
    port: int = PORT_DEFAULT
    socket_file: Path | None = None
    unlock: Sequence[tuple[str, str]] = field(default=(), repr=False)
    unlock_timeout_ms: int = TIMEOUT_MS_DEFAULT
    site: Site | None = None
    origins: frozenset[str] = frozenset()
    open_client: ClientFactory | None = None


@dataclass(frozen=True)
class Listening:
    """A service that runs: `url` of its TCP port, or `socket_file`, and what it stands on."""

    url: str | None
    socket_file: Path | None
    desk: Desk = field(repr=False)
    _server: WebServer = field(repr=False)

    def stop(self) -> None:
        """End it cleanly: no new requests, those under way finish within five seconds."""
        self._server.stop()

    def stopping(self) -> bool:
        """Tell whether it was told to stop."""
        return self._server.stopping


async def serve(
    settings: Settings, *, task_status: trio.TaskStatus[Listening] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until `Listening.stop`, or cancelled; both forget every key.

    Raises `OperatorError` when another service has this home, the address cannot be used or is
    not this machine's own, `WrongPassphrase`, `StorageFault`.
    """
    host = checked_host(settings.host)
    directory = service_directory(settings.home)
    settings.home.prepare()
    make_private_directory(directory)
    now_ms = settings.now_ms
    with (
        _alone(directory / _LOCK),
        Outbox(settings.home.root / "outbox", now_ms=now_ms) as outbox,
        SigningRequests(directory, now_ms) as requests,
        UnlockedKeys(settings.keystore, timeout_ms=settings.unlock_timeout_ms) as unlocked,
    ):
        for name, passphrase in settings.unlock:
            await trio.to_thread.run_sync(unlocked.unlock, name, passphrase)
        async with (
            ServiceNode(settings.network, open_client=settings.open_client) as node,
            trio.open_nursery() as nursery,
        ):
            desk = Desk(
                settings.home,
                settings.keystore,
                unlocked,
                node,
                outbox,
                guardrails_in(settings.home.root, now_ms),
                ServiceTokens(directory, now_ms=now_ms),
                build_registry(),
                requests,
                now_ms=now_ms,
                version=settings.version,
            )
            refusals = RefusalLog()
            flights = Flights()
            server = WebServer(
                build_app(desk, settings, flights, refusals),
                log=refusals,
                limits=_LIMITS,
                wall_time_s=lambda: now_ms() / 1000,
            )
            nursery.start_soon(unlocked.forget_on_time)
            nursery.start_soon(flights.run)
            nursery.start_soon(_finish_left, desk)
            listeners, place = await _listeners(host, settings)
            desk.page_url = place[0] if settings.site is not None else None
            with _announced(directory / "service.json", place):
                async with trio.open_nursery() as serving:
                    await serving.start(server.run, listeners)
                    task_status.started(Listening(*place, desk, server))
            nursery.cancel_scope.cancel()


def checked_host(host: str) -> str:
    """Return `host` if it is this machine's own. Raises `OperatorError` for every other."""
    try:
        is_own = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_own = False
    if not is_own:
        raise OperatorError(
            f"{host} is not an address of this machine alone:",
            "a wallet service holds keys and listens on loopback only.",
            "--listen 127.0.0.1:9638, or --socket FILE; from elsewhere: ssh -L",
        )
    return host


def service_methods(desk: Desk, flights: Flights) -> list[Method]:
    """Return the definitions of every method of the service but `rpc_discover`."""
    asking = Asking(desk)
    payments = PaymentMethods(desk, flights, asking)
    signing = SignMethods(desk, flights, asking, payments)
    groups = (
        KeyMethods(desk, flights),
        payments,
        signing,
        RequestMethods(desk, flights, asking, payments, signing),
        GuardrailMethods(desk),
    )
    return [method for group in groups for method in group.methods()]


def build_app(desk: Desk, settings: Settings, flights: Flights, refusals: RefusalLog) -> App:
    """Return what the service answers: JSON-RPC, its description, its pages."""
    methods = service_methods(desk, flights)
    discover, document = discovery(methods, title=TITLE, version=settings.version)
    methods.append(discover)
    pages: Mapping[tuple[str, str], RouteHandler] = (
        {} if settings.site is None else settings.site.routes()
    )
    return App(
        log=refusals,
        dispatcher=Dispatcher(
            methods, log=refusals, limits=_LIMITS, budgets=Budgets(COST_PER_S, COST_BURST)
        ),
        routes={
            **pages,
            ("GET", "/healthz"): lambda _request: Response(200, b'{"alive":true}'),
            ("GET", "/openrpc.json"): lambda _request: Response(200, document),
        },
        access=Access(
            hosts=LOCAL_HOSTS,
            # Only the names above: nothing else is this machine's own.
            ip_hosts=False,
            origins=frozenset(one.lower() for one in settings.origins),
            authenticators=(ApiKeys(desk.tokens, desk.now_ms),),
            closed=True,
        ),
        limits=_LIMITS,
    )


async def _finish_left(desk: Desk) -> None:
    """Go on with what killed processes of this home left, now and again and again."""
    while True:
        try:
            for payment in await desk.payments.resume(LOOK_WAIT_MS):
                LOG.info(
                    "went on with a payment",
                    extra={"tx": f"0x{payment.tx_id.hex()}", "status": payment.status},
                )
            desk.problem = ""
        except ClawPurseError as error:
            # No node answers, or it answers nonsense: looked after again, and told by the status.
            if desk.problem != str(error):
                LOG.warning("unfinished payments wait", extra={"problem": str(error)})
            desk.problem = str(error)
        await trio.sleep(LOOK_S)


async def _listeners(
    host: str, settings: Settings
) -> tuple[list[trio.SocketListener], tuple[str | None, Path | None]]:
    """Listen; return with what, and the URL or the socket's file."""
    if settings.socket_file is not None:
        return [await _unix_listener(settings.socket_file)], (None, settings.socket_file)
    try:
        listeners = await open_listeners(host, settings.port)
    except OSError as err:
        why = err.strerror or type(err).__name__
        raise OperatorError(
            f"Port {settings.port} of {host} cannot be used:", f"{why}.", "choose another --listen"
        ) from err
    shown = f"[{host}]" if ":" in host else host
    return listeners, (f"http://{shown}:{bound_port(listeners[0])}", None)


async def _unix_listener(file: Path) -> trio.SocketListener:
    """Listen on a Unix socket that nobody else may open, also in the moment of its making."""
    if len(os.fsencode(file)) > SOCKET_BYTES_MAX:
        raise OperatorError(
            f"The path of the socket is longer than {SOCKET_BYTES_MAX} bytes.",
            "",
            "choose a shorter --socket",
        )
    place = trio.Path(file)
    if await place.is_socket() and not await _answers(file):
        await place.unlink()
    made = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    try:
        # Before it has a name: the file is made with the mode that the socket has.
        os.fchmod(made.fileno(), 0o600)
        await made.bind(os.fspath(file))
        made.listen(LISTEN_BACKLOG)
    except OSError as err:
        made.close()
        why = err.strerror or type(err).__name__
        raise OperatorError(
            f"The socket {file} cannot be used:", f"{why}.", "choose another --socket"
        ) from err
    return trio.SocketListener(made)


async def _answers(file: Path) -> bool:
    """Tell whether somebody listens at a socket, not only its file was left."""
    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM) as probe:
        try:
            await probe.connect(os.fspath(file))
        except OSError:
            return False
    return True


@contextmanager
def _announced(file: Path, place: tuple[str | None, Path | None]) -> Iterator[None]:
    """Say in a file of the home where the service listens, while it does."""
    url, socket_file = place
    document = {
        "pid": os.getpid(),
        "url": url,
        "socket": None if socket_file is None else str(socket_file),
    }
    replace_private(file, json.dumps(document).encode() + b"\n")
    try:
        yield
    finally:
        remove_private(file)
        if socket_file is not None:
            socket_file.unlink(missing_ok=True)


def check_alone(home: ClientHome) -> None:
    """Raise `OperatorError` when a service of this home runs already: before anybody is asked."""
    file = service_directory(home) / _LOCK
    if file.exists():
        with _alone(file):
            pass


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Hold the home's one place for a service. Raises `OperatorError` when it is taken."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as err:
        why = err.strerror or type(err).__name__
        raise StorageFault(f"Could not lock {file}:", f"{why}.", "") from err
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OperatorError(
            "A wallet service of this home is running already.", "", "stop it, or use it"
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)
