"""What a witness says of a chain that a primary showed: the same, less, or something else.

A witness that has another block of a verified height is made to show how it came there, from the
newest block that both have. If its signatures hold too, the network has forked, and the search
goes on for the first height at which the two differ; if not, it is merely wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from clawpurse.ledger.agreement.bisection import Bisection
from clawpurse.ledger.agreement.light import (
    SUCCESS,
    Invalid,
    LightBlock,
    Rules,
    Trusted,
    verify,
)
from clawpurse.ledger.crypto import genesis_hash_of
from clawpurse.ledger.errors import Malformed, NotFound, OperatorError
from clawpurse.ledger.genesis import Genesis
from clawpurse.modules.kit.web.errors import BadAnswer, Unreachable
from clawpurse.wallet.light_forks import Fork, ForkedBlock, clash
from clawpurse.wallet.light_source import AskedSource


class Standing(StrEnum):
    """What came of asking a witness."""

    AGREES = "agrees"
    BEHIND = "behind"
    UNREACHABLE = "unreachable"
    FAULTY = "faulty"


class Report(NamedTuple):
    """A witness, its standing, and a sentence about it (empty when it agrees)."""

    url: str
    standing: Standing
    detail: str = ""


#: What asking a witness may end in; `Invalid` is about the primary.
Finding = Report | Fork | Invalid


class Anchors(NamedTuple):
    """What a run trusts at its start.

    `root` is where it begins, `block` the same if it is a block; `older` are blocks that were
    verified before, ascending, all below it. `genesis` is set when the run begins there.
    """

    root: Trusted
    block: LightBlock | None
    older: tuple[LightBlock, ...]
    waypoint: LightBlock | None

    @property
    def genesis(self) -> Trusted | None:
        """What both sides of any fork have in common for certain, if the run knows such."""
        return self.root if self.root.height == 0 else None


async def bisect(
    source: AskedSource, trusted: Trusted, target: LightBlock, now_ms: int, rules: Rules
) -> list[LightBlock] | Invalid:
    """Verify `target` from `trusted`, asking `source` for what lies between.

    Returns the verified blocks, ascending, the target last, or why it can never be trusted.
    """
    machine = Bisection(trusted, target, now_ms, rules)
    while machine.wanted is not None:
        try:
            machine.supply(await source.block(machine.wanted))
        except NotFound as err:
            raise BadAnswer(f"{source.url} has block {target.height} but not those below") from err
    return machine.trace if machine.failure is None else machine.failure


async def fetch_genesis(source: AskedSource, genesis_hash: bytes) -> Genesis:
    """Fetch the genesis of a hash, from whoever has it. Raises `Unreachable` or `BadAnswer`."""
    packed = await source.genesis()
    if genesis_hash_of(packed) != genesis_hash:
        raise BadAnswer(f"{source.url} is of another network, or the genesis hash is wrong")
    try:
        return Genesis.unpack(packed)
    except Malformed as err:
        raise BadAnswer(f"{source.url} gives a genesis that is none: {err}") from err


@dataclass(frozen=True)
class Comparison:
    """The primary's chain as verified in one run: `trace` leads from the root to `target`."""

    primary: AskedSource
    anchors: Anchors
    trace: list[LightBlock]
    target: LightBlock
    now_ms: int
    rules: Rules

    async def compare(self, witness: AskedSource, theirs: LightBlock) -> Finding:
        """Compare with a witness's block: of the target's height, or its newest if it is lower.

        Raises what the witness raises.
        """
        if theirs.height == self.target.height:
            if theirs.block_id == self.target.block_id:
                return Report(witness.url, Standing.AGREES)
            return await self._examine(witness, theirs, self._verified())
        behind = Report(witness.url, Standing.BEHIND, f"Its newest block is {theirs.height}.")
        if theirs.height <= self.anchors.root.height:
            return behind
        lower = [block for block in self._verified() if block.height < theirs.height]
        try:
            ours = await self.primary.block(theirs.height)
            if ours.block_id == theirs.block_id:
                return behind
            trusted = Trusted.of(lower[-1]) if lower else self.anchors.root
            shown = await bisect(self.primary, trusted, ours, self.now_ms, self.rules)
        except (Unreachable, BadAnswer, NotFound):
            # The primary does not say what it has there, so nothing is contradicted.
            return behind
        if isinstance(shown, Invalid):
            return shown
        return await self._examine(witness, theirs, lower + shown)

    def _verified(self) -> list[LightBlock]:
        """All blocks known to be verified, ascending: of earlier runs, the root, this run's."""
        root = [] if self.anchors.block is None else [self.anchors.block]
        known = [*self.anchors.older, *root, *self.trace]
        return known if known and known[-1].height == self.target.height else [*known, self.target]

    async def _examine(
        self, witness: AskedSource, theirs: LightBlock, ours: list[LightBlock]
    ) -> Report | Fork:
        """Have a witness show how it came to another block than the last one of `ours`."""
        # Two blocks that one set decided are a fork whatever else the witness can show.
        bare = clash(ForkedBlock(self.primary.url, ours[-1]), ForkedBlock(witness.url, theirs))
        try:
            common, (own, other) = await self._last_common(witness, ours)
            common = common or await self._genesis()
            if common is None:
                sides = ForkedBlock(self.primary.url, own), ForkedBlock(witness.url, other)
                return clash(*sides) or bare or _unproven(witness, other, "It is of another chain.")
            shown = await bisect(witness, common, other, self.now_ms, self.rules)
        except (Unreachable, BadAnswer, NotFound, OperatorError) as err:
            return bare or _unproven(witness, theirs, f"It did not show how it came to it: {err}")
        if isinstance(shown, Invalid):
            return bare or _unproven(witness, other, f"It does not hold: {shown.detail}.")
        coarse = Fork(
            ForkedBlock(self.primary.url, own), ForkedBlock(witness.url, other), common, False
        )
        return await self._first_difference(witness, coarse, common) or coarse

    async def _last_common(
        self, witness: AskedSource, ours: list[LightBlock]
    ) -> tuple[Trusted | None, tuple[LightBlock, LightBlock]]:
        """Return the last verified block that the witness has too, and the pair above it."""
        common = self.anchors.genesis
        for own in ours:
            other = await witness.block(own.height)
            if other.block_id != own.block_id:
                return common, (own, other)
            common = Trusted.of(own)
        raise BadAnswer(f"{witness.url} has another block {ours[-1].height} and has it not")

    async def _genesis(self) -> Trusted | None:
        """Return genesis, which both sides have in common if nothing else, while it is trusted."""
        try:
            genesis = await fetch_genesis(self.primary, self.anchors.root.domain.genesis_hash)
        except (Unreachable, BadAnswer):
            return None
        trusted = Trusted.at_genesis(genesis)
        return None if trusted.expired(self.now_ms, self.rules) else trusted

    async def _first_difference(
        self, witness: AskedSource, coarse: Fork, common: Trusted
    ) -> Fork | None:
        """Search by halving for the first height at which the two differ.

        None when a side cannot show its blocks there, or they do not hold: then the pair that
        is known and verified has to do.
        """
        low, parent = common.height, common
        pair = coarse.primary.block, coarse.witness.block
        try:
            while pair[0].height - low > 1:
                middle = (low + pair[0].height) // 2
                own, other = await self.primary.block(middle), await witness.block(middle)
                if own.block_id == other.block_id:
                    low = middle
                else:
                    pair = own, other
            if low != common.height:
                last = await self.primary.block(low)
                if isinstance(
                    await bisect(self.primary, common, last, self.now_ms, self.rules), Invalid
                ):
                    return None
                parent = Trusted.of(last)
        except (Unreachable, BadAnswer, NotFound, OperatorError):
            return None
        if any(verify(parent, one, self.now_ms, self.rules) is not SUCCESS for one in pair):
            return None
        ours, theirs = (
            ForkedBlock(side.url, block)
            for side, block in zip((coarse.primary, coarse.witness), pair, strict=True)
        )
        return Fork(ours, theirs, parent, True)


def _unproven(witness: AskedSource, theirs: LightBlock, why: str) -> Report:
    return Report(witness.url, Standing.FAULTY, f"It has another block {theirs.height}. {why}")
