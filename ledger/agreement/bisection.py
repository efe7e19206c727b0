"""From a trusted block to a later one in few steps: which block to ask for next (R30).

A pure machine. Whoever drives it fetches the block of height `wanted` and hands it to `supply`,
until nothing is wanted:

    target tried ─ success ───────────────→ done
        │
        └ not enough trust → the block half way is wanted, tried the same way; when it is
                             trusted, the one above it is tried again

Each refusal halves the distance, and a neighbour never has too little trust, so a step costs at
most 64 blocks. How many steps there are depends on how often the set changed; whoever drives it
sets the bound.
"""

from __future__ import annotations

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.light import (
    DEFAULT_RULES,
    NOT_ENOUGH_TRUST,
    SUCCESS,
    Invalid,
    LightBlock,
    Reason,
    Rules,
    Trusted,
    Verdict,
    verify,
)
from clawpurse.ledger.agreement.messages import Verify


class Bisection:
    """Judges `target`, and blocks between it and `trusted`, as far as is needed.

    `trace` are the blocks verified so far, ascending; when `done`, the last one is the target.
    `failure` says why the target can never be trusted from here. `now_ms` is ms UTC.
    """

    def __init__(
        self,
        trusted: Trusted,
        target: LightBlock,
        now_ms: int,
        rules: Rules = DEFAULT_RULES,
        signature_holds: Verify = crypto.verify,
    ) -> None:
        self.trusted = trusted
        self.trace: list[LightBlock] = []
        self.failure: Invalid | None = None
        self.wanted: int | None = None
        self._now_ms = now_ms
        self._rules = rules
        self._signature_holds = signature_holds
        # Blocks that wait for one nearer to what is trusted: descending, the nearest last.
        self._waiting = [target]
        self._advance()

    @property
    def done(self) -> bool:
        """Whether the target is verified."""
        return not self._waiting

    def supply(self, block: LightBlock) -> None:
        """Take the block that is wanted, or whatever its source gave instead of it."""
        if block.height != self.wanted:
            self.failure = Invalid(
                Reason.HEIGHT, f"asked for block {self.wanted}, got block {block.height}"
            )
            self.wanted = None
            return
        self._waiting.append(block)
        self._advance()

    def _advance(self) -> None:
        """Try the nearest waiting block until one needs help, one is refused, or all passed."""
        self.wanted = None
        while self._waiting:
            nearest = self._waiting[-1]
            verdict = self._judge(nearest)
            if verdict is SUCCESS:
                self.trace.append(self._waiting.pop())
                self.trusted = Trusted.of(nearest)
            elif verdict is NOT_ENOUGH_TRUST:
                # Neighbours have no such verdict, so there is a height in between.
                self.wanted = (self.trusted.height + nearest.height) // 2
                return
            else:
                assert isinstance(verdict, Invalid)
                self.failure = verdict
                return

    def _judge(self, block: LightBlock) -> Verdict:
        return verify(self.trusted, block, self._now_ms, self._rules, self._signature_holds)
