"""Calling the wallet service of this home, as the home's own commands do.

Whoever may write the home may make tokens for its service: a command makes one for the moment, and
removes it. Where the service listens stands in a file of the home while it does.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from clawpurse.ledger.errors import OperatorError, StorageFault
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.http_client import Connect
from clawpurse.wallet.delivery import in_thread
from clawpurse.wallet.durable import read_private
from clawpurse.wallet.home import ClientHome
from clawpurse.wallet.service_tokens import ServiceTokens, scopes_of

# Long enough for a person to read what is asked and to type a passphrase.
LIFETIME_MS: Final = 600_000
TIMEOUT_MS: Final = 90_000
_FILE_BYTES_MAX: Final = 4_096


@asynccontextmanager
async def open_service(
    home: ClientHome, what: str, *, now_ms: Callable[[], int]
) -> AsyncIterator[RpcClient]:
    """Give a client of the home's running service, with a token named `what` for the moment.

    Raises `OperatorError` when none is running, `StorageFault`.
    """
    # Not `service.service_directory`: a command that calls need not load what serves.
    directory = home.root / "service"
    if not await in_thread(_is_served, directory):
        # A file that a killed service left says where nobody listens any more.
        raise _nobody()
    try:
        data = await in_thread(read_private, directory / "service.json", _FILE_BYTES_MAX)
        told = json.loads(data)
        url, socket = told["url"], told["socket"]
    except FileNotFoundError:
        raise _nobody() from None
    except (ValueError, KeyError, TypeError) as err:
        raise StorageFault(f"{directory / 'service.json'} cannot be read.", "", "") from err
    tokens = ServiceTokens(directory, now_ms=now_ms)
    secret, made = await in_thread(tokens.create, what, scopes_of(("wallet_*",)), (), LIFETIME_MS)
    try:
        connect = None if socket is None else _to_socket(socket)
        place = url or "http://localhost"
        async with RpcClient(place, token=secret, timeout_ms=TIMEOUT_MS, connect=connect) as client:
            yield client
    finally:
        with trio.CancelScope(shield=True):
            await in_thread(tokens.remove, made.ident)


def _nobody() -> OperatorError:
    return OperatorError("No wallet service of this home is running.", "", "clawpurse wallet serve")


def _is_served(directory: Path) -> bool:
    """Tell whether a service holds the home's lock."""
    try:
        descriptor = os.open(directory / "service.lock", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError as err:
        why = err.strerror or type(err).__name__
        raise StorageFault(f"Could not look at {directory}:", f"{why}.", "") from err
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _to_socket(file: str) -> Connect:
    async def connect() -> trio.abc.Stream:
        return await trio.open_unix_socket(file)

    return connect
