"""The signer's process: an authority's keys in a folder, one port, nothing else (R25)."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable, Mapping
from typing import NamedTuple

import trio

from clawpurse.ledger import crypto
from clawpurse.ledger.address import authority_text
from clawpurse.ledger.errors import OperatorError
from clawpurse.node.config import NodeConfig, split_address
from clawpurse.node.daemon import limit_process, one_error, open_signers, signer_identity
from clawpurse.node.files import DiskFiles
from clawpurse.node.home import NodeHome
from clawpurse.node.logs import start_logging, stop_logging
from clawpurse.node.ports import port_error
from clawpurse.node.signer import Signer
from clawpurse.node.signer_server import SignerServer
from clawpurse.node.workers import ThreadLane
from clawpurse.p2p.address import Endpoint, parse_node_id
from clawpurse.p2p.handshake import Identity
from clawpurse.p2p.transport import TcpTransport


class SignerFacts(NamedTuple):
    """What a running signer is, for whoever started it."""

    home: str
    pid: int
    listen: str
    signer_key: str
    client_key: str
    authorities: list[str]


def run_signer(
    home: NodeHome,
    config: NodeConfig,
    *,
    signer_floor: int | None = None,
    on_ready: Callable[[SignerFacts], None] | None = None,
) -> None:
    """Sign for the node `signer_client` until SIGTERM or SIGINT; then stop cleanly.

    The folder's lock is the node's own: a key is used by a node or by a signer, never by both.
    Raises `OperatorError`.
    """
    crypto.refuse_odd_library()
    if not config.signer_client:
        raise OperatorError(
            "This signer does not know for which node it signs.",
            "It answers one node only, known by its id.",
            f"clawpurse authority signer --init --client-key NODE-ID --home {home.root}",
        )
    limit_process()
    genesis = home.read_genesis()
    lock = home.take_lock()
    handler = start_logging(config.name, config.log_level, config.log_format)
    try:
        signers = open_signers(home, genesis, DiskFiles(home.signer), ThreadLane(), signer_floor)
        identity = signer_identity(genesis, home.read_seed(home.node_key))
        with one_error(split_address(config.signer_listen)[1]):
            trio.run(_main, home, config, signers, identity, on_ready)
    finally:
        stop_logging(handler)
        os.close(lock)


async def _main(
    home: NodeHome,
    config: NodeConfig,
    signers: Mapping[bytes, Signer],
    identity: Identity,
    on_ready: Callable[[SignerFacts], None] | None,
) -> None:
    client = parse_node_id(config.signer_client)
    server = SignerServer(signers, identity, client, secrets.token_bytes)
    host, port = split_address(config.signer_listen)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
        try:
            bound = await nursery.start(TcpTransport().serve, host, port, server.serve)
        except OSError as err:
            raise port_error(port, err) from err
        if on_ready is not None:
            on_ready(
                SignerFacts(
                    str(home.root),
                    os.getpid(),
                    str(Endpoint(host, bound)),
                    identity.node_id.hex(),
                    client.hex(),
                    [authority_text(key) for key in signers],
                )
            )


async def _stop_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
