"""Parameters under which a network could not run are refused before it starts, by name."""

from __future__ import annotations

from dataclasses import astuple, fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger import codec
from clawpurse.ledger.blocks import BLOCK_BYTES_MAX, BLOCK_TRANSACTIONS_MAX
from clawpurse.ledger.crypto import params_hash_of
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.params import DAY_MS, MS_MAX, PARAMS_BYTES_MAX, Params, asset_name

NAMES = [spec.name for spec in fields(Params)]


UNBOUNDED = st.sampled_from(["fee_min", "opening_deposit", "quota_cost_max"])


@given(st.dictionaries(UNBOUNDED, st.integers(1, 2**64 - 1)))
def test_parameters_come_back_as_they_were(values: dict[str, int]) -> None:
    params = Params().with_values(values)
    again = Params.from_wire(codec.unpack(params.pack(), size_max=PARAMS_BYTES_MAX))
    assert again == params and again.hash == params_hash_of(params.pack())
    assert params.to_wire() == [1, *astuple(params)]


def test_every_parameter_is_in_the_hash() -> None:
    """Or two nodes could run under different rules and call it one chain."""
    hashes = {Params().hash}
    for name in NAMES:
        other = abs(getattr(Params(), name) - 1)
        hashes.add(Params().with_values({name: other}).hash)
    assert len(hashes) == len(NAMES) + 1


REFUSED: list[tuple[str, Any]] = [
    *[(name, value) for name in NAMES for value in (-1, 2**64, True, None, "1", 1.0)],
    *[(name, 0) for name in (
        "heartbeat_ms", "propose_base_ms", "prevote_base_ms", "precommit_base_ms",
        "block_bytes_max", "block_transactions_max", "block_cost_max", "due_per_block_max",
        "due_per_creator_max", "quota_window_ms", "quota_cost_max", "valid_for_max_ms",
        "idempotency_keep_ms",
    )],
    *[(name, MS_MAX + 1) for name in NAMES if name.endswith("_ms")],
    ("valid_for_max_ms", DAY_MS + 1), ("permissioned", 2),
    ("block_bytes_max", BLOCK_BYTES_MAX // 2 + 1),
    ("block_transactions_max", BLOCK_TRANSACTIONS_MAX + 1),
    ("due_per_block_max", BLOCK_TRANSACTIONS_MAX + 1),
    ("propose_cap_ms", 999), ("prevote_cap_ms", 499), ("precommit_cap_ms", 499),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_a_value_that_could_not_run_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(Malformed) as caught:
        Params(**{name: value})
    assert name in caught.value.field or "base" in caught.value.problem
    wire = Params().to_wire()
    wire[NAMES.index(name) + 1] = value
    with pytest.raises(Malformed):
        Params.from_wire(wire)


def test_an_unknown_name_is_told() -> None:
    with pytest.raises(Malformed, match=r"params\.fees: is not a parameter"):
        Params().with_values({"fees": 1})


@pytest.mark.parametrize(
    "wire", [[], [1], None, [2, *Params().to_wire()[1:]], [*Params().to_wire(), 0]]
)
def test_another_shape_is_refused(wire: Any) -> None:
    with pytest.raises(Malformed):
        Params.from_wire(wire)


@given(st.text(max_size=18))
def test_an_asset_s_name_is_what_its_pattern_says(text: str) -> None:
    first, rest = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789."
    good = 1 <= len(text) <= 16 and text[0] in first and all(char in rest for char in text)
    if good:
        assert asset_name(text, "asset") == text
    else:
        with pytest.raises(Malformed):
            asset_name(text, "asset")


@pytest.mark.parametrize("value", ["A", "CLAW", "A0.9", "ZZZZZZZZZZZZZZZZ"])
def test_names_up_to_the_limits_are_taken(value: str) -> None:
    assert asset_name(value, "asset") == value


@pytest.mark.parametrize(
    "value", ["", "a", "0A", ".A", "A B", "AÀ", "A" * 17, "A-", b"A", None, 1, "Ａ"]
)
def test_other_names_are_refused(value: Any) -> None:
    with pytest.raises(Malformed):
        asset_name(value, "asset")
