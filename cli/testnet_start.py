"""`testnet start`: from an empty folder to a chain that pays, one line a step."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from typing import Final

import trio

from clawpurse.cli.first_block import first_block
from clawpurse.cli.network import (
    AUTHORITIES_DEFAULT,
    BASE_PORT_DEFAULT,
    LocalNetwork,
    Ports,
    check_base_port,
    create_network,
    is_network,
    move_ports,
    open_network,
)
from clawpurse.cli.output import OK, Output
from clawpurse.cli.ports import free_base_port, holder_of, is_free
from clawpurse.cli.processes import (
    ask,
    end_started,
    node_config,
    probe_all,
    rpc_url,
    spawn,
    stop_all,
    wait_ready,
)
from clawpurse.cli.progress import waiting
from clawpurse.cli.session import CONFIGURABLE, Session, now_ms, shown
from clawpurse.cli.testnet import document, folder_of
from clawpurse.cli.version import version
from clawpurse.cli.watching import watch
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import OperatorError
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.node.home import NodeHome
from clawpurse.wallet.amounts import amount_text
from clawpurse.wallet.durable import locked, make_private_directory
from clawpurse.wallet.home import Network

NETWORK_NAME: Final = "testnet"


def start(
    session: Session,
    given: Path | None,
    authorities: int | None,
    base_port: int | None,
    *,
    detach: bool,
) -> None:
    """Start the network in a folder (making it first), or what is down of it.

    Without `detach` it stays until SIGINT or SIGTERM and then stops every node. Raises
    `OperatorError`; what it had started by then is stopped again.
    """
    work = _Start(session, folder_of(session, given))
    trio.run(work.go, authorities, base_port, detach)


class _Start:
    """One run of the command."""

    def __init__(self, session: Session, folder: Path) -> None:
        self.session = session
        self.out: Output = session.out
        self.folder = folder
        default = folder == folder_of(session, None)
        self.home_option = "" if default else f" --home {shown(folder)}"
        self.make_command = "make run" if default else f"make run DATA={shown(folder)}"
        self.height = 0
        self.funds: str | None = None

    async def go(self, authorities: int | None, base_port: int | None, detach: bool) -> None:
        """Bring it up; then return, or stay and take it down at the end."""
        async with trio.open_nursery() as nursery:
            working = trio.CancelScope()
            nursery.start_soon(_cancel_on_signal, working)
            network = None
            with working:
                network = await self._bring_up(authorities, base_port)
                if detach:
                    await self._report(network)
                else:
                    await self._report(network)
                    await self._stay(network)
            if working.cancelled_caught and network is not None:
                await self._take_down(network)
            elif working.cancelled_caught:
                self.out.line(f"{self.out.mark(OK)} stopped. Continue: {self._again}")
            nursery.cancel_scope.cancel()

    # -- up

    async def _bring_up(self, authorities: int | None, base_port: int | None) -> LocalNetwork:
        if not self.session.under_make:
            heading = f"ClawPurse {version()} test network, data {shown(self.folder)}"
            self.out.line(heading)
            self.out.tick(f"Python {'.'.join(map(str, sys.version_info[:3]))}")
        make_private_directory(self.folder.parent)
        lock = self.folder.with_name(f".{self.folder.name}.lock")
        with locked(lock, f"Another clawpurse works on the network in {self.folder}."):
            network = self._open_or_create(authorities, base_port)
            already = {home.root for home in network.running()}
            missing = [home for home in network.homes if home.root not in already]
            for home in missing:
                self._require_free(_ports_of(home), network.authorities)
            started = {spawn(home): home for home in missing}
            try:
                await self._until_ready(network, started)
                await self._until_block(network)
            except BaseException:
                # By process, not by lock: one that only begins holds no lock yet.
                with trio.CancelScope(shield=True):
                    await end_started(started)
                raise
        self._remember(network)
        return network

    def _open_or_create(self, authorities: int | None, base_port: int | None) -> LocalNetwork:
        if is_network(self.folder):
            network = open_network(self.folder)
            if authorities not in (None, network.authorities):
                raise OperatorError(
                    f"{network.chain_id} has {network.authorities} authorities, not {authorities}.",
                    "They are part of its genesis.",
                    f"clawpurse testnet reset{self.home_option}",
                )
            if base_port is not None and base_port != network.base_port:
                network = move_ports(network, base_port)
            return network
        count = authorities or AUTHORITIES_DEFAULT
        base = check_base_port(base_port or BASE_PORT_DEFAULT, count)
        for index in range(count):
            self._require_free(Ports.of(base, index), count)
        began = time.monotonic()
        network = create_network(self.folder, count, base, now_ms())
        self.out.tick(f"genesis {network.chain_id}", time.monotonic() - began)
        return network

    def _require_free(self, ports: Ports, nodes: int) -> None:
        for port in ports:
            if not is_free("127.0.0.1", port):
                other = free_base_port(nodes)
                command = f"{self.make_command} BASE_PORT={other}"
                if not self.session.under_make:
                    command = f"make run BASE_PORT={other}, or add --base-port {other}"
                raise OperatorError(f"Port {port} is taken by {holder_of(port)}.", "", command)

    async def _until_ready(self, network: LocalNetwork, started: dict[int, NodeHome]) -> None:
        began = time.monotonic()
        which = f"authority-1…{network.authorities}" if network.authorities > 1 else "authority-1"
        async with waiting(self.out, f"{which} starting"):
            await wait_ready(started)
        self.out.tick(f"{which} ready", time.monotonic() - began)

    async def _until_block(self, network: LocalNetwork) -> None:
        urls = [rpc_url(node_config(home)) for home in network.homes]
        status = await ask(urls[0], "chain_getStatus")
        if status is not None and status["height"] > 0:
            self.out.tick(f"continuing {network.chain_id} at block {status['height']}")
            return
        # What it was founded with: block 1 costs it the least fee.
        self.funds = await _faucet_funds(urls[0], network)
        began = time.monotonic()
        async with waiting(self.out, "waiting for block 1"):
            height, signed = await first_block(network, urls)
        label = f"block {height} final, {signed} of {network.authorities} signed"
        self.out.tick(label, time.monotonic() - began)

    def _remember(self, network: LocalNetwork) -> None:
        """Write the network into the client's config.toml, if none is chosen there.

        One of our name at the same addresses is this one's predecessor, and replaced as well.
        """
        urls = tuple(rpc_url(node_config(home)) for home in network.homes)
        home = self.session.client_home
        home.prepare()
        chosen = home.config(CONFIGURABLE).chosen
        described = Network(NETWORK_NAME, urls, network.chain_id, network.genesis_hash)
        ours = chosen is None or (
            chosen.name == NETWORK_NAME
            and (chosen.genesis_hash == network.genesis_hash or set(chosen.rpc_urls) & set(urls))
        )
        if ours and chosen != described:
            home.add_network(described, choose=True)

    # -- what there is

    async def _report(self, network: LocalNetwork) -> None:
        if self.out.json_mode:
            self.out.emit(document(network, await probe_all(network.homes)))
            return
        out, first = self.out, rpc_url(node_config(network.homes[0]))
        funds = self.funds or await _faucet_funds(first, network)
        out.line()
        out.line(f"  Dashboard  {out.style(first, 'bold')}")
        others = f"(others: clawpurse testnet status{self.home_option})"
        out.line(f"  JSON-RPC   {out.style(first, 'bold')}  {others}")
        out.line(f"  Faucet     {funds}")
        out.line()
        chosen = self.session.client_home.config(CONFIGURABLE).chosen
        is_chosen = chosen is not None and chosen.genesis_hash == network.genesis_hash
        rpc = "" if is_chosen else f" --rpc {first}"
        out.line(self._next_heading())
        pay = f"wallet send bob 12.5 --asset {NATIVE_ASSET} --from alice{rpc}"
        for command in ("keys add alice", f"faucet alice{rpc}", pay):
            out.line(f"  {out.style(f'clawpurse {command}', 'bold')}")

    def _next_heading(self) -> str:
        if not self.session.under_make:
            return "Next, in another terminal:"
        venv = self.session.environment.get("VENV") or ".venv"
        return f"Next, in another terminal (source {venv}/bin/activate):"

    # -- staying, and down

    async def _stay(self, network: LocalNetwork) -> None:
        self.out.line()

        def at(height: int) -> None:
            self.height = height

        await watch(self.out, network, at)

    async def _take_down(self, network: LocalNetwork) -> None:
        async with waiting(self.out, "stopping"):
            await stop_all(network.homes)
        self.out.line(
            f"{self.out.mark(OK)} stopped at block {self.height}. Continue: {self._again}. "
            f"Delete: clawpurse testnet reset{self.home_option}"
        )

    @property
    def _again(self) -> str:
        """The command that continues."""
        if self.session.under_make:
            return self.make_command
        return f"clawpurse testnet start{self.home_option}"


async def _cancel_on_signal(working: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
        async for _ in received:
            working.cancel()


def _ports_of(home: NodeHome) -> Ports:
    config = node_config(home)
    return Ports(config.p2p_address[1], config.rpc_address[1], config.metrics_address[1])


async def _faucet_funds(url: str, network: LocalNetwork) -> str:
    """Return what the faucet holds in words."""
    account = account_text(network.faucet)
    answer = await ask(url, "account_getBalances", {"account": account})
    if answer is None:
        return "(the node does not say)"
    for entry in answer["balances"]:
        if entry["asset"] == NATIVE_ASSET:
            return amount_text(int(entry["amount"]), int(entry["decimals"]), NATIVE_ASSET)
    return f"nothing left of {NATIVE_ASSET}"
