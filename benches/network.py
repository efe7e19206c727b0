"""A fresh network of real node processes for one run of a bench, and what is checked after it.

Folder, keys and genesis are made in a temporary directory; the nodes are the daemon that people
start, with the same defaults but for the cost budget of one client, which a load from a single
address would spend at once. Processes are ended by their ids, the directory is removed.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final, NamedTuple, Self

import trio

from clawpurse.benches.link import Link
from clawpurse.cli.network import FEE_MIN, Ports
from clawpurse.cli.ports import is_free
from clawpurse.cli.processes import has_ended, spawn, wait_ready
from clawpurse.ledger import crypto
from clawpurse.ledger.address import account_text
from clawpurse.ledger.genesis import Genesis, GenesisAccount, GenesisAsset
from clawpurse.ledger.kernel.records import FEE_ACCOUNT
from clawpurse.ledger.params import NATIVE_ASSET, Params
from clawpurse.ledger.transactions import Body, RawAction, Role, encode_transaction, sign_entry
from clawpurse.modules.registry import build_registry
from clawpurse.node.config import config_text
from clawpurse.node.files import DiskFiles
from clawpurse.node.home import NodeHome
from clawpurse.node.signer import create_sign_state

BALANCE: Final = 10**9
VALID_MS: Final = 3_600_000
# A budget that no bench can spend; the budget itself is tested elsewhere.
COST_PER_SECOND: Final = 10**9
STOP_TIMEOUT_S: Final = 20.0
# From "the load is in" to "everything is final everywhere"; past it something hangs.
SETTLE_TIMEOUT_S: Final = 300.0
POLL_S: Final = 0.01


class Payer(NamedTuple):
    """A funded account of a bench: everybody can work its key out, and it holds nothing real."""

    seed: bytes
    account: bytes

    @classmethod
    def of(cls, index: int) -> Payer:
        """Return payer number `index`."""
        seed = b"clawpurse bench %d" % index
        whole = seed.ljust(32, b"\0")
        return cls(whole, crypto.public_key_of(whole))


class Usage(NamedTuple):
    """What a node and its signature process used: CPU seconds so far, megabytes now."""

    cpu_s: float
    resident_mb: int


class BenchNetwork:
    """N node processes and their genesis. A context manager: leaving it ends and removes all."""

    def __init__(self, authorities: int, accounts: int, interval_ms: int | None = None) -> None:
        self.payers: Final = [Payer.of(index) for index in range(accounts)]
        self.folder: Final = Path(tempfile.mkdtemp(prefix="claw-bench-"))
        names = [f"authority-{number}" for number in range(1, authorities + 1)]
        self.homes: Final = [NodeHome(self.folder / name) for name in names]
        self.ports: Final = free_ports(authorities)
        self.genesis: Final = self._make(interval_ms)
        self._pids: dict[int, NodeHome] = {}

    def _make(self, interval_ms: int | None) -> Genesis:
        node_ids, authorities = [], []
        for home in self.homes:
            home.make()
            node_ids.append(home.create_key(home.node_key))
            authorities.append(home.create_key(home.authority_key))
        pace = {} if interval_ms is None else {"interval_ms": interval_ms}
        balances = ((NATIVE_ASSET, BALANCE),)
        genesis = Genesis(
            chain_id=f"bench-{os.urandom(3).hex()}",
            time_ms=int(time.time() * 1000) - 1_000,
            authorities=tuple(sorted(authorities)),
            params=Params(fee_min=FEE_MIN, **pace),
            assets=(GenesisAsset(NATIVE_ASSET, 2, "Money of a bench"),),
            accounts=tuple(sorted(GenesisAccount(p.account, balances) for p in self.payers)),
            modules=tuple((module.name, module.version) for module in build_registry().modules),
            test_network=True,
        )
        text = genesis.to_json()
        peers = [
            f"{node_id.hex()}@127.0.0.1:{ports.p2p}"
            for node_id, ports in zip(node_ids, self.ports, strict=True)
        ]
        for index, home in enumerate(self.homes):
            home.genesis.write_text(text)
            create_sign_state(DiskFiles(home.signer), genesis.hash, authorities[index])
            ports = self.ports[index]
            values = {
                "name": home.root.name,
                "authority": True,
                "p2p_listen": f"127.0.0.1:{ports.p2p}",
                "rpc_listen": f"127.0.0.1:{ports.rpc}",
                "metrics_listen": f"127.0.0.1:{ports.metrics}",
                "peers": tuple(peers[:index] + peers[index + 1 :]),
                "rpc_cost_per_second": COST_PER_SECOND,
            }
            home.config.write_text(config_text(values))
        return genesis

    # -- processes

    def __enter__(self) -> Self:
        # Ended by a signal, a bench still takes its nodes with it.
        signal.signal(signal.SIGTERM, _leave)
        try:
            for home in self.homes:
                self._pids[spawn(home)] = home
            trio.run(wait_ready, self._pids)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._forget_ended()
            for pid in self._pids:
                os.kill(pid, number)
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while self._pids and time.monotonic() < deadline:
                time.sleep(POLL_S)
                self._forget_ended()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _forget_ended(self) -> None:
        """Forget whoever has ended: the number may be somebody else's soon."""
        for pid in [pid for pid in self._pids if has_ended(pid)]:
            del self._pids[pid]

    @property
    def pids(self) -> list[int]:
        """The nodes' process ids, in order."""
        return list(self._pids)

    def usage(self) -> list[Usage]:
        """Return what each node has used, its signature process included."""
        return [process_usage(pid) for pid in self._pids]

    # -- payments

    def payment(self, sender: int, recipient: int, sequence: int) -> bytes:
        """Return a signed transfer of one minor unit from one payer to another."""
        payer, genesis = self.payers[sender], self.genesis
        body = Body(
            chain_id=genesis.chain_id,
            genesis_hash=genesis.hash,
            sender=payer.account,
            lane=0,
            sequence=sequence,
            attempt=0,
            valid_until_ms=int(time.time() * 1000) + VALID_MS,
            height_max=None,
            fee=FEE_MIN,
            payer=None,
            actions=(
                RawAction("assets.transfer", [NATIVE_ASSET, self.payers[recipient].account, 1]),
            ),
        ).pack()
        entry = sign_entry(payer.seed, genesis.hash, Role.SENDER, payer.account, body)
        return encode_transaction(body, [entry])

    def wait_all_final(self) -> float:
        """Wait until what was accepted anywhere is final everywhere; returns when (monotonic).

        A node's pool is empty when all that it accepted is in its chain; the others have the
        same blocks once they reach the same height. Raises `RuntimeError` after five minutes.
        """
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        links = [Link(ports.rpc) for ports in self.ports]
        try:
            heights: list[int] = []
            for link in links:
                _until(lambda link=link: not _pooled(link), deadline)  # type: ignore[misc]
                heights.append(_height(link))
            for link in links:
                _until(
                    lambda link=link: _height(link) >= max(heights),  # type: ignore[misc]
                    deadline,
                )
            return time.monotonic()
        finally:
            for link in links:
                link.close()

    def check(self, sent: list[int]) -> dict[str, Any]:
        """Compare all nodes and the books; `sent` is how many payments each payer made.

        Raises `RuntimeError` naming what does not hold: then there is no figure to report.
        """
        places = set()
        supply = 0
        for ports in self.ports:
            with Link(ports.rpc) as link:
                status = self._settled(link)
                places.add((status["height"], status["stateRoot"], status["hash"]))
                supply = self._check_books(link, sent, status["height"])
        if len(places) != 1:
            raise RuntimeError(f"the nodes differ: {places}")
        height, root, _ = places.pop()
        return {"height": height, "state_root": root, "supply": supply}

    def _settled(self, link: Link) -> Any:
        """Return a node's status at the height that all have."""
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        top = 0
        for ports in self.ports:
            with Link(ports.rpc) as other:
                top = max(top, _height(other))
        _until(lambda: _height(link) >= top, deadline)
        return link.call("chain_getStatus")

    def _check_books(self, link: Link, sent: list[int], height: int) -> int:
        texts = [account_text(payer.account) for payer in self.payers]
        sequences = link.call_many("account_getSequence", [{"account": text} for text in texts])
        lost = [
            count - found["finalSequence"]
            for count, found in zip(sent, sequences, strict=True)
            if found["finalSequence"] != count
        ]
        if lost:
            raise RuntimeError(f"{sum(lost)} payments of {len(lost)} accounts are missing")
        texts.append(account_text(FEE_ACCOUNT))
        answers = link.call_many(
            "account_getBalances", [{"account": text, "atHeight": height} for text in texts]
        )
        held = sum(
            int(one["amount"]) + int(one["held"])
            for answer in answers
            for one in answer["balances"]
            if one["asset"] == NATIVE_ASSET
        )
        supply = int(link.call("asset_getSupply", {"asset": NATIVE_ASSET})["supply"])
        if not held == supply == BALANCE * len(self.payers):
            raise RuntimeError(f"the books do not balance: {held} held, supply {supply}")
        return supply


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _pooled(link: Link) -> int:
    return int(link.call("mempool_getStatus")["transactions"])


def _height(link: Link) -> int:
    return int(link.call("chain_getStatus")["height"])


def _until(holds: Callable[[], bool], deadline: float) -> None:
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not settled within {SETTLE_TIMEOUT_S:g} s")
        time.sleep(POLL_S)


def free_ports(nodes: int) -> list[Ports]:
    """Return ports on which nobody listens, below those that the system gives to clients."""
    for base in random.Random(time.time_ns()).sample(range(20_000, 32_000, 100), 100):
        found = [Ports.of(base, index) for index in range(nodes)]
        if all(is_free("127.0.0.1", port) for ports in found for port in ports):
            return found
    raise RuntimeError("no free ports")


def process_usage(pid: int) -> Usage:
    """Return what a process and its children that live now have used (proc(5))."""
    tick = os.sysconf("SC_CLK_TCK")
    page = os.sysconf("SC_PAGE_SIZE")
    cpu_ticks = resident = 0
    # The child hangs on whichever thread started it.
    lists = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    for one in {str(pid), *" ".join(lists).split()}:
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        cpu_ticks += int(fields[11]) + int(fields[12])
        resident += int(fields[21]) * page
    return Usage(cpu_ticks / tick, resident >> 20)


def percentile(values: list[float], share: float) -> float:
    """Return the smallest value that at least `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(round(len(ordered) * share, 6)) - 1)]
