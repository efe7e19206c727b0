"""How long a round waits, when a height may start, and what counts as timely (R17, R19, R20).

Linear and capped, never exponential, never per node: nodes whose timers double drift apart
until they wait for hours. All times are integer milliseconds and consensus parameters.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from enum import IntEnum
from typing import Self

from clawpurse.ledger import codec
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.params import Params


class TimeoutKind(IntEnum):
    """What a timer is for. `START` and `IDLE` precede a height's first round."""

    START = 1
    IDLE = 2
    PROPOSE = 3
    PREVOTE = 4
    PRECOMMIT = 5
    REBROADCAST = 6


@dataclass(frozen=True, slots=True)
class TimeoutParams:
    """The consensus parameters of pace. All in milliseconds.

    A time-out of round r is base + r·delta, at most cap. `interval_ms` is the least time between
    the starts of two heights (0: none). `heartbeat_ms` is how long an idle height waits for work
    (0: it never waits). `execution_ms` bounds the execution of a block on the slowest machine.

    Raises `Malformed` on values under which rounds could stay too short for ever: at their caps,
    propose > precommit + 2·execution, and prevote and precommit > execution.
    """

    interval_ms: int = 200
    heartbeat_ms: int = 30_000
    propose_base_ms: int = 1_000
    propose_delta_ms: int = 500
    propose_cap_ms: int = 30_000
    prevote_base_ms: int = 500
    prevote_delta_ms: int = 250
    prevote_cap_ms: int = 10_000
    precommit_base_ms: int = 500
    precommit_delta_ms: int = 250
    precommit_cap_ms: int = 10_000
    execution_ms: int = 1_000
    precision_ms: int = 500
    message_delay_ms: int = 2_000
    message_delay_delta_ms: int = 500
    message_delay_cap_ms: int = 30_000

    def __post_init__(self) -> None:
        """Check ranges and the inequality of R17 where it matters: at the caps."""
        for spec in fields(self):
            codec.integer(getattr(self, spec.name), f"timeouts.{spec.name}", 0, codec.U32_MAX)
        for name in ("propose", "prevote", "precommit"):
            base = getattr(self, f"{name}_base_ms")
            if not 1 <= base <= getattr(self, f"{name}_cap_ms"):
                raise Malformed(f"timeouts.{name}_base_ms", "is not between 1 and its cap")
        if self.propose_cap_ms <= self.precommit_cap_ms + 2 * self.execution_ms:
            raise Malformed("timeouts.propose_cap_ms", "is not above precommit + 2·execution")
        if min(self.prevote_cap_ms, self.precommit_cap_ms) <= self.execution_ms:
            raise Malformed("timeouts.prevote_cap_ms", "or precommit's is not above execution")

    @classmethod
    def of(cls, params: Params) -> Self:
        """Take the pace out of a network's parameters."""
        renamed = {"execution_ms": params.execution_bound_ms}
        shared = {
            spec.name: getattr(params, spec.name)
            for spec in fields(cls)
            if spec.name not in renamed
        }
        return cls(**shared, **renamed)

    def to_wire(self) -> list[int]:
        """Return the fields in declaration order."""
        return list(astuple(self))

    @classmethod
    def from_wire(cls, value: object) -> Self:
        """Read what `to_wire` wrote. Raises `Malformed`."""
        names = [spec.name for spec in fields(cls)]
        wire = codec.array(value, "timeouts", len(names))
        pairs = zip(names, wire, strict=True)
        return cls(**{name: codec.integer(item, f"timeouts.{name}") for name, item in pairs})

    def propose_ms(self, round_: int) -> int:
        """How long `round_` waits for a proposal that it can judge."""
        return min(self.propose_base_ms + round_ * self.propose_delta_ms, self.propose_cap_ms)

    def prevote_ms(self, round_: int) -> int:
        """How long `round_` waits for agreement once a quorum has prevoted."""
        return min(self.prevote_base_ms + round_ * self.prevote_delta_ms, self.prevote_cap_ms)

    def precommit_ms(self, round_: int) -> int:
        """How long `round_` waits for a decision once a quorum has precommitted."""
        grown = self.precommit_base_ms + round_ * self.precommit_delta_ms
        return min(grown, self.precommit_cap_ms)

    def rebroadcast_ms(self, round_: int) -> int:
        """How long a round may last before its messages are sent again (R16)."""
        return self.propose_ms(round_) + self.prevote_ms(round_) + self.precommit_ms(round_)

    def timely(self, *, block_time_ms: int, received_ms: int, round_: int) -> bool:
        """Judge a fresh proposal's time once, at receipt, by the receiver's clock (R20).

        Timely: t − precision ≤ received ≤ t + delay(round) + precision.
        """
        delay = min(
            self.message_delay_ms + round_ * self.message_delay_delta_ms,
            self.message_delay_cap_ms,
        )
        early = block_time_ms - self.precision_ms
        late = block_time_ms + delay + self.precision_ms
        return early <= received_ms <= late


def pause_ms(*, previous_start_ms: int, now_ms: int, interval_ms: int) -> int:
    """Return how long the next height must still wait so that starts keep their interval (R19).

    Both times are of one monotonic clock; a clock that ran backwards never waits longer than
    one interval.
    """
    return max(0, min(interval_ms, previous_start_ms + interval_ms - now_ms))
