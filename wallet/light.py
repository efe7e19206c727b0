"""A light client: from something trusted to the newest block, by one node, watched by others.

    what is trusted     a genesis hash or a checkpoint; else what an earlier run verified
        │ primary       shows the target and, where trust does not reach, blocks in between
    target verified     by signatures (`ledger/agreement/light.py`); the primary is not believed
        │ witnesses     each shows its own block of that height
    agreed              at least one has the same: it is kept, and the next run begins there
    or forked           another one is certified as well: nothing is kept, evidence is written

`follow_chain` is the call for programs; nothing here prints. Nobody is believed: a primary that
lies is found out by signatures, two that lie together by the first honest witness.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

import trio

from clawpurse.ledger.agreement.light import (
    DEFAULT_RULES,
    Invalid,
    LightBlock,
    Reason,
    Rules,
    Trusted,
    check_alone,
)
from clawpurse.ledger.errors import Malformed, NotFound, OperatorError
from clawpurse.ledger.genesis import Genesis
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.errors import BadAnswer, Unreachable
from clawpurse.wallet.light_compare import (
    Anchors,
    Comparison,
    Finding,
    Report,
    Standing,
    bisect,
    fetch_genesis,
)
from clawpurse.wallet.light_forks import Fork, ForkedBlock, clash
from clawpurse.wallet.light_source import AskedSource, NodeSource, Source
from clawpurse.wallet.light_store import Kept, SeenFork, TrustedBlocks

# Enough for thirty steps over sets that have nobody in common, each found by halving 2^32 blocks.
REQUESTS_MAX: Final = 1_000
# R30's drift: a witness that is one block behind now has it by then, or is behind in earnest.
DAY_MS: Final = 86_400_000
BEHIND_WAIT_MS: Final = 10_000
_PAUSE_MS: Final = 250
# The name of the other side of a fork when it is not a node that shows it now.
VERIFIED_BEFORE: Final = "verified before"
WITNESSES_MAX: Final = 16
ClientFactory = Callable[[str], RpcClient]


class Checkpoint(NamedTuple):
    """A block that a person vouches for: its height and its 32-byte id."""

    height: int
    block_id: bytes


class Cause(StrEnum):
    """Why nothing was verified."""

    EXPIRED = "expired"
    CONTRADICTS = "contradicts"
    PRIMARY = "primary"
    BELOW = "below"
    NOT_YET = "notYet"
    HALTED = "halted"
    UNREACHABLE = "unreachable"
    UNWITNESSED = "unwitnessed"


@dataclass(frozen=True)
class Verified:
    """`block` is of the chain: verified from `root` in `steps`, with at least one witness."""

    block: LightBlock
    root: Trusted
    steps: int
    requests: int
    witnesses: tuple[Report, ...]

    @property
    def agreed(self) -> int:
        """How many witnesses have the same block."""
        return sum(report.standing is Standing.AGREES for report in self.witnesses)


@dataclass(frozen=True)
class Forked:
    """Two histories are certified; neither is followed. `path` holds the evidence, if kept."""

    fork: Fork
    path: Path | None


@dataclass(frozen=True)
class NotVerified:
    """Nothing was verified; `problem` is a sentence, `next_step` what helps."""

    cause: Cause
    problem: str
    next_step: str = ""
    witnesses: tuple[Report, ...] = ()


Outcome = Verified | Forked | NotVerified


class LightClient:
    """Follows one network. `now_ms` is the wall clock in ms UTC, read once for each run.

    `genesis_hash` pins the network; it may be left out only with a checkpoint. Without `store`
    every run begins at the checkpoint or genesis. Raises `Malformed` when there is no witness,
    or one that is the primary.
    """

    def __init__(
        self,
        primary: Source,
        witnesses: Sequence[Source],
        now_ms: Callable[[], int],
        *,
        genesis_hash: bytes | None = None,
        checkpoint: Checkpoint | None = None,
        genesis: Genesis | None = None,
        store: TrustedBlocks | None = None,
        rules: Rules = DEFAULT_RULES,
        requests_max: int = REQUESTS_MAX,
        behind_wait_ms: int = BEHIND_WAIT_MS,
    ) -> None:
        urls = [source.url for source in (primary, *witnesses)]
        if not 2 <= len(urls) <= 1 + WITNESSES_MAX:
            raise Malformed("witness", f"1…{WITNESSES_MAX} are required, {len(urls) - 1} given")
        if len(set(urls)) != len(urls):
            raise Malformed("witness", "one node is named twice; it would agree with itself")
        if genesis_hash is None and checkpoint is None:
            raise Malformed("trust", "is neither a genesis hash nor a checkpoint")
        self._primary = primary
        self._witnesses = witnesses
        self._now_ms = now_ms
        self._genesis_hash = genesis_hash
        self._genesis = genesis
        self._checkpoint = checkpoint
        self._store = store
        self._rules = rules
        self._requests_max = requests_max
        self._behind_wait_ms = behind_wait_ms

    async def follow(self, height: int | None = None) -> Outcome:
        """Verify block `height`, or the newest, and keep it.

        Raises `StorageFault`, and `OperatorError` when a node was asked too often. Whatever else
        nodes do or fail to do is an outcome. Cancelled, it leaves nothing behind.
        """
        primary = AskedSource(self._primary, self._requests_max)
        try:
            return await self._follow(primary, height)
        except Unreachable as err:
            return NotVerified(Cause.UNREACHABLE, str(err), "choose another --primary")
        except BadAnswer as err:
            return NotVerified(Cause.PRIMARY, f"{err}.", "choose another --primary")

    async def _follow(self, primary: AskedSource, height: int | None) -> Outcome:
        now_ms = self._now_ms()
        anchors = await self._anchors(primary, height, now_ms)
        if isinstance(anchors, NotVerified):
            return anchors
        target = await self._target(primary, height, anchors)
        if isinstance(target, NotVerified):
            return target
        trace = await self._trace(primary, anchors, target, now_ms)
        if isinstance(trace, NotVerified):
            return trace
        if isinstance(trace, Fork):
            return self._forked(trace)
        run = Comparison(primary, anchors, trace, target, now_ms, self._rules)
        witnesses = [AskedSource(one, self._requests_max) for one in self._witnesses]
        found = await self._ask_witnesses(run, witnesses)
        for one in found:
            if isinstance(one, Fork):
                return self._forked(one)
            if isinstance(one, Invalid):
                return _refused(primary, one)
        reports = tuple(one for one in found if isinstance(one, Report))
        if not any(report.standing is Standing.AGREES for report in reports):
            return _unwitnessed(target, reports)
        self._keep(anchors, target)
        requests = primary.requests + sum(one.requests for one in witnesses)
        return Verified(target, anchors.root, len(trace), requests, reports)

    # -- where to begin, where to go

    async def _anchors(
        self, primary: AskedSource, height: int | None, now_ms: int
    ) -> Anchors | NotVerified:
        if self._checkpoint is not None:
            return await self._from_checkpoint(primary, self._checkpoint, height)
        assert self._genesis_hash is not None
        kept = self._load(self._genesis_hash)
        if kept.fork is not None:
            return _halted(kept.fork)
        usable = [
            block
            for block in kept.blocks
            if (height is None or block.height <= height)
            and not Trusted.of(block).expired(now_ms, self._rules)
        ]
        if usable:
            newest = usable[-1]
            return Anchors(Trusted.of(newest), newest, tuple(usable[:-1]), None)
        genesis = self._genesis or await fetch_genesis(primary, self._genesis_hash)
        root = Trusted.at_genesis(genesis)
        if root.expired(now_ms, self._rules):
            return NotVerified(
                Cause.EXPIRED,
                f"Nothing trusted is younger than {self._rules.trusting_period_ms // DAY_MS} days: "
                "a checkpoint is required.",
                "ask somebody you trust, then --trusted-height H --trusted-hash X",
            )
        return Anchors(root, None, (), None)

    async def _from_checkpoint(
        self, primary: AskedSource, checkpoint: Checkpoint, height: int | None
    ) -> Anchors | NotVerified:
        """Begin at what a person vouches for; a chain that contradicts it is never followed."""
        if height is not None and height < checkpoint.height:
            return _below(height, checkpoint.height)
        try:
            block = await primary.block(checkpoint.height)
        except NotFound:
            return NotVerified(
                Cause.NOT_YET, f"{primary.url} has no block {checkpoint.height} yet.", ""
            )
        given = f"0x{checkpoint.block_id.hex()}"
        if block.block_id != checkpoint.block_id:
            return NotVerified(
                Cause.CONTRADICTS,
                f"Block {checkpoint.height} of {primary.url} is not the trusted {given}: "
                "it is of another history, or the hash is wrong.",
                "choose another --primary, or ask again for the hash",
            )
        problem = check_alone(block)
        genesis_hash = block.header.genesis_hash
        if self._genesis_hash not in (None, genesis_hash):
            problem = problem or Invalid(
                Reason.NETWORK, f"the checkpoint is of genesis 0x{genesis_hash.hex()}"
            )
        if problem is not None:
            return _refused(primary, problem)
        kept = self._load(genesis_hash)
        blocks = kept.blocks
        if kept.fork is not None:
            # Whoever names a block at or above the fork has decided which history is true.
            if checkpoint.height < kept.fork.height:
                return _halted(kept.fork)
            blocks = ()
        older = tuple(one for one in blocks if one.height < block.height)
        same = [one for one in blocks if one.height == block.height]
        if same and same[0].block_id != block.block_id:
            return _contradicts(primary, block.height)
        above = [
            one
            for one in blocks
            if one.height > block.height and (height is None or one.height <= height)
        ]
        return Anchors(Trusted.of(block), block, older, above[-1] if above else None)

    async def _target(
        self, primary: AskedSource, height: int | None, anchors: Anchors
    ) -> LightBlock | NotVerified:
        lowest = (anchors.waypoint or anchors.root).height
        if height is not None and height < lowest:
            return _below(height, lowest)
        try:
            target = await (primary.newest() if height is None else primary.block(height))
        except NotFound:
            what = "a block" if height is None else f"block {height}"
            return NotVerified(Cause.NOT_YET, f"{primary.url} has not got {what} yet.")
        if target.height < lowest:
            return NotVerified(
                Cause.NOT_YET,
                f"{primary.url} is behind: it has block {target.height}, trusted is {lowest}.",
                "choose another --primary",
            )
        return target

    async def _trace(
        self, primary: AskedSource, anchors: Anchors, target: LightBlock, now_ms: int
    ) -> list[LightBlock] | NotVerified | Fork:
        """Verify the target, on the way also what an earlier run verified above the root."""
        trusted, at, trace = anchors.root, anchors.block, []
        # Below a checkpoint, too: a person may have been handed a block of a false history.
        below = anchors.older[-1:] if self._checkpoint is not None else ()
        for known in (*below, anchors.block, anchors.waypoint):
            problem = None if known is None else await self._differs(primary, known)
            if problem is not None:
                return problem
        if anchors.waypoint is not None:
            found = await bisect(primary, trusted, anchors.waypoint, now_ms, self._rules)
            if isinstance(found, Invalid):
                is_old = found.reason is Reason.EXPIRED
                height = anchors.waypoint.height
                return _refused(primary, found) if is_old else _contradicts(primary, height)
            trace, at = found, anchors.waypoint
            trusted = Trusted.of(at)
        if at is not None and at.height == target.height:
            return trace
        found = await bisect(primary, trusted, target, now_ms, self._rules)
        return _refused(primary, found) if isinstance(found, Invalid) else trace + found

    @staticmethod
    async def _differs(primary: AskedSource, known: LightBlock) -> NotVerified | Fork | None:
        """Hold the primary to a block that is trusted already; None when it has the same.

        A set that signed two histories lets both pass by skipping: only ids tell them apart.
        """
        try:
            theirs = await primary.block(known.height)
        except NotFound:
            return NotVerified(Cause.NOT_YET, f"{primary.url} has no block {known.height}.")
        if theirs.block_id == known.block_id:
            return None
        fork = clash(ForkedBlock(VERIFIED_BEFORE, known), ForkedBlock(primary.url, theirs))
        return fork or _contradicts(primary, known.height)

    # -- what others say

    async def _ask_witnesses(
        self, run: Comparison, witnesses: Sequence[AskedSource]
    ) -> list[Finding]:
        found: dict[int, Finding] = {}

        async def ask(place: int, witness: AskedSource) -> None:
            found[place] = await self._ask(run, witness)

        async with trio.open_nursery() as nursery:
            for place, witness in enumerate(witnesses):
                nursery.start_soon(ask, place, witness)
        return [found[place] for place in sorted(found)]

    async def _ask(self, run: Comparison, witness: AskedSource) -> Finding:
        try:
            theirs = await self._newest_up_to(witness, run.target.height)
            if theirs is None:
                return Report(witness.url, Standing.BEHIND, "It has no block yet.")
            return await run.compare(witness, theirs)
        except Unreachable as err:
            return Report(witness.url, Standing.UNREACHABLE, err.problem)
        except (BadAnswer, NotFound) as err:
            return Report(witness.url, Standing.FAULTY, f"{err}.")
        except OperatorError as err:
            return Report(witness.url, Standing.FAULTY, str(err))

    async def _newest_up_to(self, witness: AskedSource, height: int) -> LightBlock | None:
        """Return a witness's block of `height`, or its newest if it has none so high in time."""
        deadline = trio.current_time() + self._behind_wait_ms / 1000
        while True:
            try:
                return await witness.block(height)
            except NotFound:
                if trio.current_time() >= deadline:
                    break
            await trio.sleep(_PAUSE_MS / 1000)
        try:
            newest = await witness.newest()
        except NotFound:
            return None
        return newest if newest.height < height else await witness.block(height)

    # -- what is kept

    def _load(self, genesis_hash: bytes) -> Kept:
        return Kept() if self._store is None else self._store.load(genesis_hash)

    def _keep(self, anchors: Anchors, target: LightBlock) -> None:
        if self._store is None:
            return
        blocks = [target] if anchors.block is None else [anchors.block, target]
        decided = None if self._checkpoint is None else self._checkpoint.height
        self._store.keep(target.header.genesis_hash, *blocks, from_checkpoint=decided)

    def _forked(self, fork: Fork) -> Forked:
        if self._store is None:
            return Forked(fork, None)
        genesis_hash = fork.primary.block.header.genesis_hash
        return Forked(fork, self._store.keep_fork(genesis_hash, fork.height, fork.evidence()))


def _halted(fork: SeenFork) -> NotVerified:
    return NotVerified(
        Cause.HALTED,
        f"Two histories were seen that part at block {fork.height} ({fork.evidence}); neither is "
        "followed.",
        f"ask those who run the network for a block from {fork.height} on, then "
        "--trusted-height H --trusted-hash X",
    )


def _below(height: int, lowest: int) -> NotVerified:
    return NotVerified(
        Cause.BELOW,
        f"Block {height} is below {lowest}, the lowest that is trusted.",
        "name a lower block with --trusted-height and --trusted-hash",
    )


def _contradicts(primary: AskedSource, height: int) -> NotVerified:
    return NotVerified(
        Cause.CONTRADICTS,
        f"{primary.url} shows another history than the one verified before, at block {height}.",
        "choose another --primary; if many say the same, ask those who run the network",
    )


def _refused(primary: AskedSource, problem: Invalid) -> NotVerified:
    if problem.reason is Reason.EXPIRED:
        return NotVerified(
            Cause.EXPIRED,
            "The trusted block is too old to follow the chain from.",
            "ask somebody you trust for a newer one, then --trusted-height H --trusted-hash X",
        )
    return NotVerified(
        Cause.PRIMARY,
        f"{primary.url} shows what does not hold ({problem.reason}): {problem.detail}.",
        "choose another --primary",
    )


def _unwitnessed(target: LightBlock, reports: tuple[Report, ...]) -> NotVerified:
    standings = {report.standing for report in reports}
    said = "; ".join(f"{report.url}: {report.standing}" for report in reports)
    cause = Cause.UNREACHABLE
    if Standing.FAULTY in standings:
        cause = Cause.UNWITNESSED
    elif Standing.BEHIND in standings:
        cause = Cause.NOT_YET
    return NotVerified(
        cause,
        f"No witness confirms block {target.height}, so it is not trusted ({said}).",
        "name another --witness",
        reports,
    )


async def follow_chain(
    primary: str,
    witnesses: Sequence[str],
    now_ms: Callable[[], int],
    *,
    genesis_hash: bytes | None = None,
    checkpoint: Checkpoint | None = None,
    genesis: Genesis | None = None,
    height: int | None = None,
    store: TrustedBlocks | None = None,
    rules: Rules = DEFAULT_RULES,
    open_client: ClientFactory = RpcClient,
) -> Outcome:
    """Verify block `height`, or the newest, of the network whose nodes have these URLs.

    One call of `LightClient`, which says what the arguments mean and what is raised.
    """
    async with AsyncExitStack() as stack:
        sources = [
            await stack.enter_async_context(NodeSource(open_client(url)))
            for url in (primary, *witnesses)
        ]
        client = LightClient(
            sources[0],
            sources[1:],
            now_ms,
            genesis_hash=genesis_hash,
            checkpoint=checkpoint,
            genesis=genesis,
            store=store,
            rules=rules,
        )
        return await client.follow(height)
