"""What a transfer costs with a million accounts, over what it costs with ten thousand.

    python -m benches.state_growth [--small N --large N --rounds N --blocks N --transfers N]

Two processes, one for each size, hold a chain on LevelDB each and take turns, a few blocks at
a time, so that whatever else the machine does hits both. A transfer's cost is all CPU that its
process spends (LevelDB's compaction thread included) from the transaction's bytes to the synced
batch: decoding, execution with all hooks, receipts, events, list roots, state tree, indexes,
undo, write, install. Left out is what a node does elsewhere and does not grow: the signature
(another process), the network, the mempool. With it the ratio would look better.
"""

from __future__ import annotations

import argparse
import bisect
import gc
import hashlib
import itertools
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from clawpurse.benches.report import print_report
from clawpurse.ledger.blocks import Block, Header
from clawpurse.ledger.crypto import PERSON_MESSAGE, ZERO_HASH, hasher, list_root
from clawpurse.ledger.genesis import Genesis, GenesisAsset
from clawpurse.ledger.kernel.records import account_key, new_account
from clawpurse.ledger.kernel.scene import BlockEnv
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.params import NATIVE_ASSET, Params
from clawpurse.ledger.store.blocks import BlockStore
from clawpurse.ledger.store.kv import Batch
from clawpurse.ledger.store.leveldb import LevelDbStore
from clawpurse.ledger.store.state import StateStore
from clawpurse.ledger.transactions import Body, RawAction, WitnessEntry, encode_transaction
from clawpurse.ledger.transition import Execution, Prepared, genesis_changes, prepare
from clawpurse.modules.registry import build_registry
from clawpurse.node.chain import CommittedState, Executed, commit_record, pack_outputs

BAR = "≤ 1.5 for Zipf, ≤ 2 for uniform accounts; resident memory ≤ 1 GB at 1 M accounts"
RATIO_UNIFORM_MAX, RATIO_ZIPF_MAX, RESIDENT_MB_MAX = 2.0, 1.5, 1_000
BAR_SMALL, BAR_LARGE = 10_000, 1_000_000
_LOADED_PER_BLOCK = 20_000
_BALANCE = 10**12
_BLOCK_MS = 200
_START_MS = 1_800_000_000_000


def account_of(index: int) -> bytes:
    """Return account `index`: 32 bytes that spread like public keys."""
    return hashlib.blake2b(index.to_bytes(8, "big"), digest_size=32).digest()


class BenchChain:
    """One chain with a given number of accounts, and transfers between them."""

    def __init__(self, path: str, accounts: int, transfers: int) -> None:
        self._registry = build_registry()
        self._params = Params(quota_cost_max=10**15)
        declared = tuple((module.name, module.version) for module in self._registry.modules)
        self._genesis = Genesis(
            "bench-1",
            _START_MS,
            (account_of(2**40),),
            self._params,
            (GenesisAsset(NATIVE_ASSET, 6, "Claw"),),
            (),
            declared,
        )
        self._store = LevelDbStore.open(path)
        self._state = StateStore.open(self._store, self._registry.trees, None)
        self._blocks = BlockStore(self._store)
        self._accounts = accounts
        self._transfers = transfers
        self._height = 0
        self._sequences: dict[int, int] = {}
        self._random = random.Random(accounts)
        self._weights: list[float] = []
        self._load()

    def _load(self) -> None:
        """Write the accounts as blocks of state, the way a growing chain would."""
        changes = dict(genesis_changes(self._genesis, self._registry))
        for first in range(0, self._accounts, _LOADED_PER_BLOCK):
            for index in range(first, min(first + _LOADED_PER_BLOCK, self._accounts)):
                account = account_of(index)
                record = new_account(account).with_balance(_BALANCE)
                changes[KERNEL, account_key(account)] = record.pack()
            update = self._state.apply(changes).finish()
            batch = Batch()
            self._state.write(update, self._height, batch)
            self._store.write(batch, sync=True)
            self._state.install(update, self._height)
            self._height += 1
            changes = {}
        gc.collect()
        gc.freeze()
        gc.disable()

    def run(self, distribution: str, blocks: int) -> dict[str, float]:
        """Commit `blocks` blocks of transfers; return CPU seconds and counts."""
        draw = self._zipf if distribution == "zipf" else self._uniform
        spent = {"execute": 0.0, "state": 0.0, "commit": 0.0}
        keys = 0
        for _ in range(blocks):
            time_ms = self._genesis.time_ms + _BLOCK_MS * (self._height + 1)
            raws = [self._transfer(draw, time_ms) for _ in range(self._transfers)]
            keys += self._commit(raws, time_ms, spent)
        gc.collect()
        return {**spent, "transfers": blocks * self._transfers, "keys": keys}

    def resident_mb(self) -> int:
        """Return the most memory that this process has had, in megabytes."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

    def close(self) -> None:
        """Let go of the database."""
        self._state.close()
        self._store.close()

    def _uniform(self) -> int:
        return self._random.randrange(self._accounts)

    def _zipf(self) -> int:
        """Draw by Zipf's law with exponent 1; account ids are spread over the key space.

        The last loaded are drawn most, so that the caches are from the start what they would
        be after long use.
        """
        if not self._weights:
            self._weights = list(
                itertools.accumulate(1 / rank for rank in range(1, self._accounts + 1))
            )
        rank = bisect.bisect(self._weights, self._random.random() * self._weights[-1])
        return self._accounts - 1 - min(rank, self._accounts - 1)

    def _transfer(self, draw: Callable[[], int], time_ms: int) -> bytes:
        sender = draw()
        recipient = draw()
        if recipient == sender:
            recipient = (sender + 1) % self._accounts
        sequence = self._sequences.get(sender, 0)
        self._sequences[sender] = sequence + 1
        account = account_of(sender)
        body = Body(
            chain_id=self._genesis.chain_id,
            genesis_hash=self._genesis.hash,
            sender=account,
            lane=0,
            sequence=sequence,
            attempt=0,
            valid_until_ms=time_ms + 60_000,
            height_max=None,
            fee=0,
            payer=None,
            actions=(RawAction("assets.transfer", [NATIVE_ASSET, account_of(recipient), 1]),),
        )
        witness = WitnessEntry(0, account, account, bytes(64))
        return encode_transaction(body.pack(), [witness])

    def _commit(self, raws: list[bytes], time_ms: int, spent: dict[str, float]) -> int:
        began = time.process_time()
        prepared = tuple([prepare(raw, self._registry) for raw in raws])
        env = BlockEnv(self._height, time_ms, self._params)
        execution = Execution(CommittedState(self._state), self._registry, env)
        execution.begin()
        for item in prepared:
            execution.apply(item)
        result = execution.finish()
        if any(receipt.code for receipt in result.receipts):
            raise RuntimeError("a transfer of the bench failed")
        receipts, events = pack_outputs(result)
        executed_at = time.process_time()
        update = self._state.apply(result.changes).finish()
        computed_at = time.process_time()
        header = self._header(time_ms, prepared, receipts, events, update.state_root)
        block = Block(header, None, (), tuple(raws))
        executed = Executed(block, prepared, result, update, receipts, events)
        batch = Batch()
        self._blocks.add(commit_record(executed, bytes(400)), batch)
        self._state.write(update, self._height, batch)
        self._store.write(batch, sync=True)
        self._state.install(update, self._height)
        self._height += 1
        spent["execute"] += executed_at - began
        spent["state"] += computed_at - executed_at
        spent["commit"] += time.process_time() - computed_at
        return update.changed_count

    def _header(
        self,
        time_ms: int,
        prepared: Sequence[Prepared],
        receipts: Sequence[bytes],
        events: Sequence[bytes],
        state_root: bytes,
    ) -> Header:
        return Header(
            version=1,
            chain_id=self._genesis.chain_id,
            genesis_hash=self._genesis.hash,
            recovery_epoch=0,
            height=self._height,
            time_ms=time_ms,
            first_round=0,
            proposer=self._genesis.authorities[0],
            parent_id=ZERO_HASH,
            parent_certificate_hash=ZERO_HASH,
            transactions_root=list_root([item.transaction.wtx_id for item in prepared]),
            receipts_root=list_root(receipts),
            events_root=list_root(events),
            evidence_root=ZERO_HASH,
            state_root=state_root,
            authorities_hash=ZERO_HASH,
            next_authorities_hash=ZERO_HASH,
            params_hash=self._params.hash,
            cost_used=0,
        )


def serve(accounts: int, transfers: int) -> None:
    """Hold one chain; answer each line `distribution blocks` on stdin with a JSON line."""
    with tempfile.TemporaryDirectory(prefix="claw-bench-") as folder:
        began = time.process_time()
        chain = BenchChain(str(Path(folder) / "db"), accounts, transfers)
        loaded_s = time.process_time() - began
        print(json.dumps({"load_us": round(loaded_s * 1e6 / accounts, 1)}), flush=True)
        for line in sys.stdin:
            distribution, blocks = line.split()
            figures = chain.run(distribution, int(blocks))
            print(json.dumps({**figures, "resident_mb": chain.resident_mb()}), flush=True)
        chain.close()


class Child:
    """The process that holds one size."""

    def __init__(self, accounts: int, transfers: int) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "clawpurse.benches.state_growth"),
                *("--serve", str(accounts), "--transfers", str(transfers)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.loaded = self._answer()
        self.resident_mb = 0
        self.total: dict[str, dict[str, float]] = {}

    def turn(self, distribution: str, blocks: int, counted: bool) -> None:
        """Have it commit some blocks; add them to the total if they count."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{distribution} {blocks}\n")
        self._process.stdin.flush()
        figures = self._answer()
        self.resident_mb = int(figures.pop("resident_mb"))
        if counted:
            total = self.total.setdefault(distribution, dict.fromkeys(figures, 0.0))
            for name, value in figures.items():
                total[name] += value

    def close(self) -> None:
        """End the process and wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a process of the bench ended; its error is above")
        answer: dict[str, float] = json.loads(line)
        return answer

    def cost_us(self, distribution: str) -> dict[str, float]:
        """Return microseconds of CPU per transfer, by part and in all."""
        total = self.total[distribution]
        parts = {n: total[n] * 1e6 / total["transfers"] for n in ("execute", "state", "commit")}
        figures = {name: round(value, 1) for name, value in parts.items()}
        figures["all"] = round(sum(parts.values()), 1)
        figures["keys_per_transfer"] = round(total["keys"] / total["transfers"], 2)
        return figures


def hash_us() -> float:
    """Return what one hash of 64 bytes costs now: how fast this machine is, undisturbed or not."""
    digest, data = hasher(PERSON_MESSAGE), bytes(64)
    began = time.process_time()
    for _ in range(200_000):
        digest(data)
    return round((time.process_time() - began) * 5, 3)


def measure(options: argparse.Namespace) -> None:
    """Let both sizes take turns and print the report."""
    before_us = hash_us()
    children = {size: Child(size, options.transfers) for size in (options.small, options.large)}
    for size, child in children.items():
        print(f"{size} accounts loaded, {child.loaded['load_us']} µs each", flush=True)
    for distribution in ("uniform", "zipf"):
        for turn in range(options.rounds + 1):
            for child in children.values():
                child.turn(distribution, options.blocks, counted=turn > 0)
    small, large = children[options.small], children[options.large]
    for child in children.values():
        child.close()
    ratios = {
        name: round(large.cost_us(name)["all"] / small.cost_us(name)["all"], 3)
        for name in ("uniform", "zipf")
    }
    cost = {
        f"{name}_{size}": child.cost_us(name) for name in ratios for size, child in children.items()
    }
    figures = {
        "ratio": ratios["uniform"],
        "ratio_zipf": ratios["zipf"],
        "us_per_transfer": cost,
        "resident_mb": {str(size): child.resident_mb for size, child in children.items()},
        "hash_us": [before_us, hash_us()],
    }
    met = (
        ratios["uniform"] <= RATIO_UNIFORM_MAX
        and ratios["zipf"] <= RATIO_ZIPF_MAX
        and large.resident_mb <= RESIDENT_MB_MAX
    )
    asked = (options.small, options.large) == (BAR_SMALL, BAR_LARGE)
    print_report("state_growth", vars(options), figures, BAR, met if asked else None)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--small", type=int, default=BAR_SMALL, help="accounts of the small chain")
    parser.add_argument("--large", type=int, default=BAR_LARGE, help="accounts of the large chain")
    parser.add_argument("--rounds", type=int, default=8, help="turns that count, after one to warm")
    parser.add_argument("--blocks", type=int, default=5, help="blocks in a turn")
    parser.add_argument("--transfers", type=int, default=1000, help="transfers in a block")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve, options.transfers)
        return
    del options.serve
    measure(options)


if __name__ == "__main__":
    main()
