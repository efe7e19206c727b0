"""What must hold after `testnet chaos`: every promise that any node made, on every node.

The nodes are asked over JSON-RPC while they run, and their databases are read when they stand.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import trio

from clawpurse.cli.chaos_payments import Promises, recipient
from clawpurse.cli.chaos_report import Report
from clawpurse.cli.db import problems_of
from clawpurse.cli.network import LocalNetwork
from clawpurse.cli.output import Output, counted
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import ClawPurseError
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.kernel.records import FEE_ACCOUNT
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.errors import BadAnswer, RpcError, Unreachable
from clawpurse.node.home import NodeHome

# Everything that was accepted ends within its validity, 120 s, once blocks are made again.
SETTLE_TIMEOUT_S: Final = 180.0
WAIT_MS: Final = 20_000
PAUSE_S: Final = 0.2
# How a promise may end. "Replaced" does not happen here: nobody replaces.
_ENDS: Final = frozenset(("final", "expired"))
_TRACEBACK: Final = "Traceback (most recent call last)"
# What a node that met a full disk says when it ends; it is told to print the traceback.
_DISK_WORDS: Final = re.compile(r"StorageFault|No space left|disk (is|are)|of disk")
LOG_BYTES_MAX: Final = 256_000_000


class Checks:
    """One run over the nodes of a network that has come to rest."""

    def __init__(
        self, network: LocalNetwork, urls: Sequence[str], promises: Promises, report: Report
    ) -> None:
        self._network = network
        self._clients = [RpcClient(url, timeout_ms=WAIT_MS + 5_000) for url in urls]
        self._promises = promises
        self._report = report
        self.height = 0

    async def aclose(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.aclose()

    async def run(self) -> None:
        """Check everything that running nodes can be asked."""
        try:
            await self._run()
        except (Unreachable, BadAnswer, RpcError) as err:
            self._report.problem(f"a node does not answer in the calm: {err}")

    async def _run(self) -> None:
        report = self._report
        if not await self._one_height():
            return
        found = await self._one_chain()
        await self._promises_kept(found)
        await self._books_balance(found)
        await self._nobody_signed_twice()
        report.blocks = self.height

    def _held(self, text: str, problems_before: int) -> None:
        if len(self._report.problems) == problems_before:
            self._report.checks.append(text)

    async def _one_height(self) -> bool:
        """Wait until all nodes stand at the same block and nothing waits in a pool."""
        seen: list[tuple[Any, ...]] = []
        with trio.move_on_after(SETTLE_TIMEOUT_S):
            while True:
                seen = [await self._place(client) for client in self._clients]
                if len(set(seen)) == 1 and seen[0][-1] == 0:
                    self.height = int(seen[0][0])
                    return True
                await trio.sleep(PAUSE_S)
        self._report.problem(f"after {SETTLE_TIMEOUT_S:.0f} s of calm the nodes differ: {seen}")
        return False

    @staticmethod
    async def _place(client: RpcClient) -> tuple[Any, ...]:
        try:
            status = await client.call("chain_getStatus")
            pool = await client.call("mempool_getStatus")
        except Unreachable:
            return (f"{client.url} does not answer",)
        return status["height"], status["hash"], status["stateRoot"], pool["transactions"]

    async def _one_chain(self) -> dict[str, tuple[int, int]]:
        """Compare every block of every node; return where each transaction is."""
        before = len(self._report.problems)
        found: dict[str, tuple[int, int]] = {}
        for height in range(1, self.height + 1):
            blocks = [
                await client.call("chain_getBlock", {"height": height}) for client in self._clients
            ]
            ids = {block["header"]["hash"] for block in blocks}
            if len(ids) != 1:
                self._report.problem(f"two blocks are final at height {height}: {sorted(ids)}")
            for index, tx_id in enumerate(blocks[0]["transactions"]):
                if tx_id in found:
                    self._report.problem(f"{tx_id} took effect twice, the second at {height}")
                found[tx_id] = height, index
        nodes = len(self._clients)
        length, where = counted(self.height, "block"), counted(nodes, "node")
        self._held(f"one chain: {length}, the same on {where}", before)
        return found

    async def _promises_kept(self, found: dict[str, tuple[int, int]]) -> None:
        report, promises = self._report, self._promises
        before = len(report.problems)
        for tx_id, place in promises.final.items():
            if found.get(tx_id) != place[:2]:
                report.problem(f"{tx_id} was final at {place[:2]}, now {found.get(tx_id)}")
                continue
            receipt = await self._clients[0].call("tx_getReceipt", {"txId": tx_id})
            if receipt["code"] != place.code:
                report.problem(f"the outcome of {tx_id} changed to {receipt['code']}")
        for tx_id, node in promises.accepted.items():
            if tx_id in found:
                continue
            wait = {"txId": tx_id, "timeoutMs": WAIT_MS}
            answer = await self._clients[node].call("tx_wait", wait)
            if answer["status"] not in _ENDS:
                name = self._network.names[node]
                report.problem(f"{name} accepted {tx_id} and says {answer['status']} of it")
            report.expired += answer["status"] == "expired"
        report.accepted, report.final = len(promises.accepted), len(promises.final)
        report.refused, report.unreachable = promises.refused, promises.unreachable
        if not promises.final:
            report.problem("no payment became final, so nothing was tried")
        self._held(
            f"{report.final} payments that were called final are final everywhere; of "
            f"{report.accepted} accepted ones none is lost",
            before,
        )

    async def _books_balance(self, found: dict[str, tuple[int, int]]) -> None:
        """Σ of all accounts that can have money is the supply, on each node alike."""
        report = self._report
        before = len(report.problems)
        genesis = Genesis.from_json(self._network.genesis_file.read_bytes())
        founded = [account.account for account in genesis.accounts]
        paid_to = [recipient(node) for node in range(len(self._clients))]
        accounts = [*founded, FEE_ACCOUNT, *paid_to]
        made = _supply(genesis)
        totals = set()
        for client in self._clients:
            supply = int((await client.call("asset_getSupply", {"asset": NATIVE_ASSET}))["supply"])
            amounts = [await _balance(client, account) for account in accounts]
            totals.add((supply, tuple(amounts)))
            if not sum(amounts) == supply == made:
                report.problem(f"the books do not balance: {amounts} of {supply}, {made} made")
            paid = sum(amounts[-len(paid_to) :])
            if paid != len(found):
                report.problem(f"{len(found)} payments are final, and {paid} arrived")
        if len(totals) != 1:
            report.problem(f"nodes have different books: {sorted(totals)}")
        self._held("the books balance: every payment arrived once", before)

    async def _nobody_signed_twice(self) -> None:
        before = len(self._report.problems)
        for name, client in zip(self._network.names, self._clients, strict=True):
            if (await client.call("consensus_getEvidence"))["evidence"]:
                self._report.problem(f"{name} has evidence of double signing")
        self._held("no authority signed twice", before)


def _supply(genesis: Genesis) -> int:
    """Return how much of the native asset a network began with; chaos makes none."""
    return sum(
        amount
        for account in genesis.accounts
        for asset, amount in account.balances
        if asset == NATIVE_ASSET
    )


async def _balance(client: RpcClient, account: bytes) -> int:
    try:
        found = await client.call("account_getBalances", {"account": account_text(account)})
    except RpcError:
        return 0  # An account that was never paid does not exist.
    held = [
        int(entry["amount"]) + int(entry["held"])
        for entry in found["balances"]
        if entry["asset"] == NATIVE_ASSET
    ]
    return sum(held)


def check_disks(out: Output, homes: Sequence[NodeHome], report: Report) -> None:
    """Read every database record by record; the nodes stand."""
    before = len(report.problems)
    for home in homes:
        try:
            for problem in problems_of(out, home)[1]:
                report.problem(f"{home.root.name}: {problem}")
        except ClawPurseError as err:
            report.problem(f"{home.root.name} cannot be read: {err}")
    if len(report.problems) == before:
        report.checks.append(f"the databases of {counted(len(homes), 'node')} are as signed")


def check_logs(homes: Sequence[NodeHome], full_disks: Sequence[int], report: Report) -> None:
    """Look for tracebacks: a fault from outside must end in a line, never in one.

    A node whose disk was full on purpose says so with one.
    """
    before = len(report.problems)
    for place, home in enumerate(homes):
        for block in tracebacks(_log_text(home.log)):
            if place in full_disks and _DISK_WORDS.search(block):
                continue
            last = block.strip().splitlines()[-1][:200]
            report.problem(f"{home.root.name} logged a traceback: {last}")
    if len(report.problems) == before:
        report.checks.append("no traceback in any log")


def tracebacks(text: str) -> list[str]:
    """Return the tracebacks of a log, each up to the next line that is a record."""
    blocks: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        # A record is one JSON object; its own text may quote a traceback, which counts too.
        is_record = line.startswith("{")
        if _TRACEBACK in line and not inside:
            blocks.append([line])
            inside = not is_record
        elif inside and is_record:
            inside = False
        elif inside:
            blocks[-1].append(line)
    return ["\n".join(block) for block in blocks]


def _log_text(log: Path) -> str:
    try:
        with open(log, "rb") as file:
            return file.read(LOG_BYTES_MAX).decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
