"""`testnet chaos`: real processes under payments, paused, killed, cut off and out of disk.

It makes a network of its own, lets a plan drawn from a seed (`chaos_plan`) happen to it, leaves
it in peace, and then holds every node to every promise that any node made (`chaos_checks`).
"""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from clawpurse.cli.chaos_checks import Checks, check_disks, check_logs
from clawpurse.cli.chaos_disk import SmallDisk
from clawpurse.cli.chaos_nodes import Nodes, write_configs
from clawpurse.cli.chaos_payments import Payer, Promises, pace_s
from clawpurse.cli.chaos_plan import Fault, Kind, plan
from clawpurse.cli.chaos_relay import Links
from clawpurse.cli.chaos_report import Report
from clawpurse.cli.failures import Exit
from clawpurse.cli.network import (
    AUTHORITIES_DEFAULT,
    LocalNetwork,
    create_network,
    is_network,
    open_network,
)
from clawpurse.cli.output import Output, counted
from clawpurse.cli.ports import free_base_port
from clawpurse.cli.processes import ask, node_config
from clawpurse.cli.session import Session, now_ms, shown
from clawpurse.ledger.errors import OperatorError
from clawpurse.wallet.durable import make_private_directory, replace_private

MARKER: Final = "chaos.json"
MARKER_VERSION: Final = 1
# A seed that a person can read out.
SEED_MAX: Final = 2**32
LOOK_PERIOD_S: Final = 0.25
# After the last fault payments go on for so long, and blocks must be made again within the other.
CALM_S: Final = 4.0
PROGRESS_TIMEOUT_S: Final = 90.0
BLOCKS_WANTED: Final = 3


def run(
    session: Session, seed: int | None, minutes: float, authorities: int | None, home: Path | None
) -> int:
    """Run a plan and print the report; return 1 when something broke or it was broken off.

    Raises `OperatorError` for a folder that holds something else, and when nodes do not start.
    """
    chosen = secrets.randbelow(SEED_MAX) if seed is None else seed
    count = authorities or AUTHORITIES_DEFAULT
    folder = _own_folder(home)
    report = Report(chosen, minutes, count, str(folder))
    chaos = _Chaos(session.out, folder, report)
    trio.run(chaos.go)
    if home is None and report.ok:
        shutil.rmtree(folder, ignore_errors=True)
    if session.json_mode:
        session.out.emit(report.as_json())
    else:
        report.print(session.out)
    return Exit.DONE if report.ok else Exit.FAILED


def _own_folder(home: Path | None) -> Path:
    """Return a folder for the run: a new one, or one that an earlier run of ours made."""
    if home is None:
        return Path(tempfile.mkdtemp(prefix="clawpurse-chaos-"))
    folder = home.expanduser().absolute()
    if (folder / MARKER).exists():
        return folder
    if folder.exists() and any(folder.iterdir()):
        raise OperatorError(
            f"{shown(folder)} is not empty, and no chaos run made it.",
            "Chaos breaks networks; it works on its own ones only.",
            "choose another --home",
        )
    make_private_directory(folder)
    return folder


class _Chaos:
    """One run."""

    def __init__(self, out: Output, folder: Path, report: Report) -> None:
        self.out = out
        self.folder = folder
        self.report = report
        self.promises = Promises()
        self.seconds = report.minutes * 60
        self.full_disks: list[int] = []
        self.storming = True

    async def go(self) -> None:
        """Bring it up, break it, heal it, judge it, take it down; also when interrupted."""
        network = self._network()
        self.report.chain_id = network.chain_id
        ports = [node_config(home).p2p_address[1] for home in network.homes]
        links = Links(ports)
        disk_node = self.report.seed % len(network.homes)
        disk = SmallDisk(network.homes[disk_node].data)
        nodes = Nodes(network, self._died)
        faults = plan(self.report.seed, self.seconds, nodes.count, disk_node)
        async with trio.open_nursery() as outer:
            working = trio.CancelScope()
            outer.start_soon(_cancel_on_signal, working)
            try:
                with working:
                    self._mount(disk, network, disk_node)
                    await links.serve(outer)
                    write_configs(network, links)
                    await self._run(nodes, links, disk, faults)
            finally:
                with trio.CancelScope(shield=True):
                    await self._take_down(nodes, disk)
            self.report.interrupted = working.cancelled_caught
            outer.cancel_scope.cancel()

    def _network(self) -> LocalNetwork:
        folder = self.folder / "net"
        if is_network(folder):
            network = open_network(folder)
            if network.running():
                raise OperatorError(
                    f"Nodes of {network.chain_id} run in {shown(folder)}.",
                    "",
                    f"clawpurse testnet stop --home {shown(folder)}",
                )
            if network.authorities != self.report.authorities:
                raise OperatorError(
                    f"{network.chain_id} has {network.authorities} authorities.",
                    "They are part of its genesis.",
                    "choose another --home",
                )
            return network
        count = self.report.authorities
        marker = {"version": MARKER_VERSION, "madeBy": "clawpurse testnet chaos"}
        replace_private(self.folder / MARKER, json.dumps(marker).encode() + b"\n")
        # Anywhere: killed nodes leave their ports free, and another run must not take them.
        base_port = free_base_port(count, secrets.randbelow(SEED_MAX))
        return create_network(folder, count, base_port, now_ms())

    def _mount(self, disk: SmallDisk, network: LocalNetwork, node: int) -> None:
        try:
            disk.mount()
        except OperatorError as err:
            self.report.skipped[Kind.FULL_DISK] = err.what
        else:
            network.homes[node].make()

    def _died(self, node: int, words: str) -> None:
        self.report.problem(f"authority-{node + 1} ended by itself: {words}")

    # -- the run

    async def _run(
        self, nodes: Nodes, links: Links, disk: SmallDisk, faults: Sequence[Fault]
    ) -> None:
        report = self.report
        self.out.line(
            f"Chaos, seed {report.seed}: {counted(len(faults), 'fault')} in "
            f"{report.minutes:g} min on {counted(nodes.count, 'authority')} of {report.chain_id} "
            f"in {shown(self.folder)}"
        )
        await nodes.start_all()
        await nodes.require_own()
        async with trio.open_nursery() as around:
            around.start_soon(nodes.watch)
            around.start_soon(self._measure_stalls, nodes.urls)
            async with trio.open_nursery() as paying:
                for node, url in enumerate(nodes.urls):
                    payer = Payer(nodes.network, node, url, self.promises)
                    paying.start_soon(payer.run, pace_s(nodes.count, self.seconds))
                await self._storm(nodes, links, disk, faults)
                await self._calm(nodes)
                paying.cancel_scope.cancel()
            self.storming = False
            checks = Checks(nodes.network, nodes.urls, self.promises, report)
            try:
                await checks.run()
            finally:
                await checks.aclose()
            around.cancel_scope.cancel()
        await nodes.end()
        check_disks(self.out, nodes.network.homes, report)
        check_logs(nodes.network.homes, self.full_disks, report)

    async def _storm(
        self, nodes: Nodes, links: Links, disk: SmallDisk, faults: Sequence[Fault]
    ) -> None:
        began_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            for fault in faults:
                await trio.sleep_until(began_s + fault.at_s)
                if fault.kind in self.report.skipped:
                    continue
                self.report.faults[fault.kind] += 1
                self.out.line(f"  {fault.at_s:6.1f} s  {fault.text(nodes.network.names)}")
                nursery.start_soon(self._happen, fault, nodes, links, disk)
            await trio.sleep_until(began_s + self.seconds)

    async def _happen(self, fault: Fault, nodes: Nodes, links: Links, disk: SmallDisk) -> None:
        """Let a fault begin, last, and end."""
        one, other = fault.nodes[0], fault.nodes[-1]
        match fault.kind:
            case Kind.KILL | Kind.KILL_ALL:
                for node in fault.nodes:
                    await nodes.kill(node)
                await trio.sleep(fault.lasts_s)
                for node in fault.nodes:
                    nodes.start(node)
            case Kind.PAUSE:
                nodes.pause(one)
                await trio.sleep(fault.lasts_s)
                nodes.resume(one)
            case Kind.DROP:
                for relay in links.of(one):
                    relay.drop()
            case Kind.CUT:
                links.refuse(one, other, on=True)
                await trio.sleep(fault.lasts_s)
                links.refuse(one, other, on=False)
            case Kind.ONE_WAY:
                links.hold(one, other, on=True)
                await trio.sleep(fault.lasts_s)
                links.hold(one, other, on=False)
            case Kind.DELAY:
                for relay in links.of(one):
                    relay.delay(fault.amount / 1000)
                await trio.sleep(fault.lasts_s)
                for relay in links.of(one):
                    relay.delay(0)
            case Kind.FULL_DISK:
                await self._fill(fault, nodes, disk)

    async def _fill(self, fault: Fault, nodes: Nodes, disk: SmallDisk) -> None:
        """Fill a node's disk; it must end by itself, and go on once there is room."""
        (node,) = fault.nodes
        self.full_disks.append(node)
        nodes.may_end[node] = None
        disk.fill(fault.amount)
        await trio.sleep(fault.lasts_s)
        disk.empty()
        if node in nodes.running:
            name = nodes.network.names[node]
            self.report.problem(
                f"{name} went on for {fault.lasts_s:.0f} s with {fault.amount} MB of disk"
            )
            await nodes.kill(node)
        del nodes.may_end[node]
        nodes.start(node)

    async def _calm(self, nodes: Nodes) -> None:
        """Everything is healed: blocks must be made on every node again, payments go on."""
        self.out.line(f"  {self.seconds:6.1f} s  calm")
        for node in range(nodes.count):
            nodes.start(node)
        best = max([await _height(url) or 0 for url in nodes.urls])
        left = list(nodes.urls)
        with trio.move_on_after(PROGRESS_TIMEOUT_S):
            while left:
                heights = {url: await _height(url) for url in left}
                left = [url for url in left if (heights[url] or 0) < best + BLOCKS_WANTED]
                await trio.sleep(LOOK_PERIOD_S)
        for url in left:
            said = await ask(url, "consensus_explain")
            words = "it does not answer" if said is None else said["sentence"]
            name = nodes.network.names[nodes.urls.index(url)]
            self.report.problem(f"{name} made no progress in the calm: {words}")
        await trio.sleep(CALM_S)

    async def _measure_stalls(self, urls: Sequence[str]) -> None:
        """Note the longest time without a new block on any node while payments were made."""
        best, since_s = 0, trio.current_time()
        while True:
            found: list[int] = []

            async def look(url: str, found: list[int] = found) -> None:
                found.append(await _height(url) or 0)

            async with trio.open_nursery() as nursery:
                for url in urls:
                    nursery.start_soon(look, url)
            now_s = trio.current_time()
            if self.storming:
                stall_ms = round((now_s - since_s) * 1000)
                self.report.longest_stall_ms = max(self.report.longest_stall_ms, stall_ms)
            if max(found) > best:
                best, since_s = max(found), now_s
            await trio.sleep(LOOK_PERIOD_S)

    # -- down

    async def _take_down(self, nodes: Nodes, disk: SmallDisk) -> None:
        try:
            await nodes.end()
        finally:
            disk.unmount()


async def _height(url: str) -> int | None:
    status = await ask(url, "chain_getStatus")
    return None if status is None else int(status["height"])


async def _cancel_on_signal(working: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
        async for _ in received:
            working.cancel()
