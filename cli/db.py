"""What `db check` does: read every record, every certificate, every leaf, and compare.

It changes nothing. What it proves: each block is the parent of the next, a quorum of the
authorities signed each, the state on disk is the one that the newest header names, and the
modules' records do not contradict each other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from clawpurse.cli.output import FAILED, Output, counted
from clawpurse.cli.session import Session
from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.authorities import AuthoritySet
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.agreement.domain import Domain
from clawpurse.ledger.blocks import Header
from clawpurse.ledger.errors import (
    Bug,
    InvalidCertificate,
    Malformed,
    OperatorError,
    StorageFault,
)
from clawpurse.ledger.genesis import Genesis
from clawpurse.ledger.overlay import StateReader
from clawpurse.ledger.store.blocks import BlockStore, check_blocks, check_indexes
from clawpurse.ledger.store.format import enter
from clawpurse.ledger.store.leveldb import LevelDbStore
from clawpurse.ledger.store.recovery import check_state
from clawpurse.ledger.store.state import StateStore, ordered_prefixes
from clawpurse.modules.registry import build_registry
from clawpurse.node.chain import CommittedState
from clawpurse.node.home import NodeHome

# How many blocks are read between two signs of life.
_STEP: Final = 100
# A broken disk has thousands; whoever reads them needs the first few and the number.
_SHOWN_MAX: Final = 20
_PERIOD_S: Final = 10.0


def check(session: Session, root: Path) -> None:
    """Check a node's database. Raises `OperatorError` (exit 1) when something is wrong."""
    home = NodeHome(root)
    work, problems = problems_of(session.out, home)
    if session.json_mode and not problems:
        session.out.emit({"ok": True, "height": work.height, "leaves": work.leaves})
    elif not problems:
        entries = counted(work.leaves, "state entry")
        session.out.tick(f"{counted(work.height, 'block')}, {entries}: all as signed")
    if not problems:
        return
    for problem in problems[:_SHOWN_MAX]:
        session.out.note(f"{session.out.mark(FAILED)} {problem}")
    count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
    raise OperatorError(
        f"{count} in {home.chain}; the first: {problems[0]}",
        "",
        f"move {home.data} away and start: the node fetches the chain from its peers",
    )


def problems_of(out: Output, home: NodeHome) -> tuple[DatabaseCheck, list[str]]:
    """Read a standing node's database; return what was read, and what is wrong with it.

    Raises `OperatorError` while the node runs, and where there is no such database.
    """
    genesis = home.read_genesis()
    lock = home.take_lock()
    try:
        store = LevelDbStore.open(str(home.chain), create=False)
        try:
            enter(store)
            work = DatabaseCheck(out, genesis, store)
            return work, work.run()
        finally:
            store.close()
    finally:
        os.close(lock)


class DatabaseCheck:
    """One run over one database."""

    def __init__(self, out: Output, genesis: Genesis, store: LevelDbStore) -> None:
        self._out = out
        self._genesis = genesis
        self._store = store
        self._blocks = BlockStore(store)
        self._shown_at = time.monotonic()
        self.height = 0
        self.leaves = 0

    def run(self) -> list[str]:
        """Return all problems, in the order in which they were met."""
        origin = self._blocks.header(0)
        if origin is None:
            raise OperatorError("The database is empty.", "", "clawpurse start --home DIR")
        if origin[: crypto.HASH_BYTES] != self._genesis.hash:
            raise OperatorError("The database belongs to another network.", "", "")
        declared = tuple((module.name, module.version) for module in build_registry().modules)
        if self._genesis.modules != declared:
            raise OperatorError(
                "The database is of a network with other modules than this software has.",
                "",
                "clawpurse doctor",
            )
        head = self._blocks.head()
        self.height = 0 if head is None else head[0]
        problems = [*self._check_records(), *self._check_chain(), *self._check_state()]
        self._out.end_line()
        return problems

    def _check_records(self) -> Iterator[str]:
        floor = max(1, self._blocks.floor())
        for first in range(floor, self.height + 1, _STEP):
            last = min(first + _STEP - 1, self.height)
            self._progress(f"block {last} of {self.height}")
            yield from (str(fault) for fault in check_blocks(self._store, first, last))
        self._progress("indexes")
        yield from (str(fault) for fault in check_indexes(self._store))

    def _check_chain(self) -> Iterator[str]:
        """Compare headers with each other and with the certificates that decided them."""
        genesis = self._genesis
        parent = genesis.hash
        for height in range(1, self.height + 1):
            if height % _STEP == 0:
                self._progress(f"certificate {height} of {self.height}")
            try:
                packed, decided = self._blocks.header(height), self._blocks.certificate(height)
                authorities = self._authorities(height)
                if packed is None or decided is None:
                    yield f"block {height} is missing"
                    return
                header = Header.unpack(packed)
                certificate = Certificate.unpack(decided)
                if header.parent_id != parent or header.height != height:
                    yield f"block {height} does not follow block {height - 1}"
                if certificate.decided_id != header.block_id or certificate.height != height:
                    yield f"the certificate of block {height} is for another block"
                domain = Domain(genesis.chain_id, genesis.hash, header.recovery_epoch)
                certificate.verify(domain, authorities, crypto.verify)
                parent = header.block_id
            except (Malformed, InvalidCertificate, StorageFault) as err:
                yield f"block {height}: {err}"
                return

    def _authorities(self, height: int) -> AuthoritySet:
        packed = self._blocks.authorities(height)
        return (
            AuthoritySet(self._genesis.authorities)
            if packed is None
            else AuthoritySet.unpack(packed)
        )

    def _check_state(self) -> Iterator[str]:
        trees = build_registry().trees
        seen: dict[str, int] = {}
        whole = True
        for progress in check_state(self._store, trees, ordered_prefixes):
            seen[progress.tree] = progress.leaves
            self._progress(f"state {progress.tree}, {counted(progress.leaves, 'entry')}")
            if progress.problem is not None:
                whole = False
                yield str(progress.problem)
        self.leaves = sum(seen.values())
        packed = self._blocks.header(self.height) if self.height else None
        if whole:
            try:
                root = None if packed is None else Header.unpack(packed).state_root
                state = StateStore.open(self._store, trees, root)
            except (StorageFault, Malformed) as err:
                yield str(err)
                return
            try:
                yield from self._check_modules(CommittedState(state))
            finally:
                state.close()

    def _check_modules(self, reader: StateReader) -> Iterator[str]:
        """Ask each module whether its records say the same; what a crash cannot do, we may have."""
        for module in build_registry().modules:
            for invariant in module.invariants:
                self._progress(f"records of {module.name}")
                try:
                    problem = invariant(reader)
                except (Bug, Malformed, StorageFault) as err:
                    problem = str(err)
                if problem is not None:
                    yield f"state {module.name}: {problem}"

    def _progress(self, text: str) -> None:
        """Show where the check is: in place at a terminal, else a line every ten seconds."""
        now = time.monotonic()
        if self._out.live and now - self._shown_at >= 0.1:
            self._shown_at = now
            self._out.replace_line(self._out.style(f"  checking {text}", "dim"))
        elif not self._out.live and now - self._shown_at >= _PERIOD_S:
            self._shown_at = now
            self._out.note(f"checking {text}")
