"""Parameters that every node must share: limits, prices, pace. Integers only, part of state.

They come from genesis and change only by governance; header h commits to those in force at h.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields, replace
from typing import Final, Self

from clawpurse.ledger import codec
from clawpurse.ledger.blocks import BLOCK_BYTES_MAX, BLOCK_TRANSACTIONS_MAX
from clawpurse.ledger.crypto import params_hash_of
from clawpurse.ledger.errors import Malformed

PARAMS_VERSION: Final = 1
PARAMS_BYTES_MAX: Final = 4096
NATIVE_ASSET: Final = "CLAW"
DAY_MS: Final = 86_400_000
ASSET_CHARS_MAX: Final = 16
DECIMALS_MAX: Final = 18
_ASSET_CHARS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789."
# No span in the protocol is longer than ten years; so sums of times stay far below 2^64.
MS_MAX: Final = 3_650 * DAY_MS


@dataclass(frozen=True, slots=True)
class Params:
    """Consensus parameters. The order of the fields is the order on the wire.

    Pace (R17, R19, R20): a round's time-outs grow linearly to their caps; `execution_bound_ms`
    is what `block_cost_max` may cost on the slowest supported machine.
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
    execution_bound_ms: int = 1_000
    precision_ms: int = 500
    message_delay_ms: int = 2_000
    message_delay_delta_ms: int = 500
    message_delay_cap_ms: int = 30_000
    # 2,000 transfers of about 400 bytes, with room for larger transactions.
    block_bytes_max: int = 2_000_000
    block_transactions_max: int = 2_000
    block_cost_max: int = 500_000
    # Due work executed per block, and pending per creator: a pile never stalls payments.
    due_per_block_max: int = 500
    due_per_creator_max: int = 1_000
    fee_min: int = 0
    opening_deposit: int = 0
    # One sender's cost budget in one window of block time: about 600 transfers a second.
    quota_window_ms: int = 60_000
    quota_cost_max: int = 5_000_000
    valid_for_max_ms: int = DAY_MS
    idempotency_keep_ms: int = DAY_MS
    idempotency_per_sender_max: int = 100_000
    evidence_age_max_ms: int = 14 * DAY_MS
    proposer_miss_max: int = 0
    permissioned: int = 0

    def __post_init__(self) -> None:
        """Refuse values under which a network could not run. Raises `Malformed`."""
        for spec in fields(self):
            codec.integer(getattr(self, spec.name), f"params.{spec.name}")
        for name in _MUST_BE_POSITIVE:
            if getattr(self, name) == 0:
                raise Malformed(f"params.{name}", "must be at least 1")
        for spec in fields(self):
            high = _HIGHEST.get(spec.name, MS_MAX if spec.name.endswith("_ms") else None)
            if high is not None and getattr(self, spec.name) > high:
                raise Malformed(f"params.{spec.name}", f"is above {high}")
        for step in ("propose", "prevote", "precommit"):
            if getattr(self, f"{step}_cap_ms") < getattr(self, f"{step}_base_ms"):
                raise Malformed(f"params.{step}_cap_ms", f"is below {step}_base_ms")
        # R17: rounds must be able to grow past what a block may take, or they fail for ever.
        if self.propose_cap_ms <= self.precommit_cap_ms + 2 * self.execution_bound_ms:
            raise Malformed("params.propose_cap_ms", "is not above precommit + 2·execution")
        if min(self.prevote_cap_ms, self.precommit_cap_ms) <= self.execution_bound_ms:
            raise Malformed("params.prevote_cap_ms", "or precommit's is not above execution")

    def to_wire(self) -> list[int]:
        """Return the fields in wire order, the version first."""
        return [PARAMS_VERSION, *astuple(self)]

    @classmethod
    def from_wire(cls, value: object) -> Self:
        """Read what `to_wire` wrote. Raises `Malformed`."""
        names = [spec.name for spec in fields(cls)]
        wire = codec.array(value, "params", len(names) + 1)
        codec.version(wire[0], "params.version", (PARAMS_VERSION,))
        pairs = zip(names, wire[1:], strict=True)
        return cls(**{name: codec.integer(item, f"params.{name}") for name, item in pairs})

    def pack(self) -> bytes:
        """Return the canonical bytes."""
        return codec.pack(self.to_wire())

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read canonical bytes. Raises `Malformed`."""
        return cls.from_wire(codec.unpack(data, size_max=PARAMS_BYTES_MAX, field="params"))

    @property
    def hash(self) -> bytes:
        """The 32-byte hash that headers carry."""
        return params_hash_of(self.pack())

    def with_values(self, values: dict[str, int]) -> Self:
        """Return a copy with some fields changed; `Malformed` names an unknown field."""
        known = {spec.name for spec in fields(self)}
        for name in values:
            if name not in known:
                raise Malformed(f"params.{name}", "is not a parameter")
        return replace(self, **values)


_MUST_BE_POSITIVE: Final = (
    "heartbeat_ms",
    "propose_base_ms",
    "prevote_base_ms",
    "precommit_base_ms",
    "block_bytes_max",
    "block_transactions_max",
    "block_cost_max",
    "due_per_block_max",
    "due_per_creator_max",
    "quota_window_ms",
    "quota_cost_max",
    "valid_for_max_ms",
    "idempotency_keep_ms",
)
# Blocks within the parameters must be within what every decoder takes, parent certificate and
# evidence included, or a network could decide what nobody can read.
_HIGHEST: Final = {
    "block_bytes_max": BLOCK_BYTES_MAX // 2,
    "block_transactions_max": BLOCK_TRANSACTIONS_MAX,
    "due_per_block_max": BLOCK_TRANSACTIONS_MAX,
    "valid_for_max_ms": DAY_MS,
    "permissioned": 1,
}


def asset_name(value: object, field_name: str) -> str:
    """Return `value` if it is an asset's name: 1–16 of A–Z, 0–9 and dot, a letter first."""
    if type(value) is not str:
        raise Malformed(field_name, "is not a string")
    if not 1 <= len(value) <= ASSET_CHARS_MAX:
        raise Malformed(field_name, f"is {len(value)} characters, 1…{ASSET_CHARS_MAX} are allowed")
    if not "A" <= value[0] <= "Z":
        raise Malformed(field_name, "does not begin with a capital letter")
    if value.strip(_ASSET_CHARS):
        raise Malformed(field_name, "has a character other than A–Z, 0–9 and dot")
    return value
