"""Guardrails that become a session key: if this failed, an agent would get more than its owner
wrote, or less without being told.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.codec import U64_MAX
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.kernel.entitlements import Cap
from clawpurse.wallet.guardrail_sessions import compile_session
from clawpurse.wallet.guardrails import (
    DEFAULT_POLICY,
    AssetRule,
    Cosigner,
    Mode,
    Policy,
    RecipientRule,
    Stance,
)

BOB, EVE = b"\x02" * 32, b"\x03" * 32


def two(_asset: str) -> int:
    return 2


def test_caps_lists_and_memos_become_the_ledgers() -> None:
    policy = Policy(
        assets=(AssetRule("CLAW", 2, 10_00, 50_00),),
        recipients=(RecipientRule(BOB, "bob"),),
        unknown=Stance.REFUSE,
        other_assets=Stance.REFUSE,
        memo_prefix="order ",
    )
    found = compile_session(policy, two)
    assert found == ((Cap("CLAW", 10_00, 50_00),), (BOB,), b"order ", True, ())
    assert compile_session(policy, lambda _: 6).caps == (Cap("CLAW", 10_000_000, 50_000_000),)


def test_what_the_ledger_has_no_words_for_is_named() -> None:
    bob = RecipientRule(BOB, "bob", (AssetRule("CLAW", 2, 5_00, 9_00),), True)
    policy = replace(
        DEFAULT_POLICY, mode=Mode.ALLOW, recipients=(bob,), cosigners=(Cosigner("carl", EVE),)
    )
    told = " ".join(compile_session(policy, two).left_out)
    for part in (
        "only say",
        "asked above 100.00 CLAW",
        "pay anybody",
        "it may take nothing",
        "5.00 CLAW at once for bob",
        "9.00 CLAW a day for bob",
        "bob needs a memo",
        "No co-signer",
    ):
        assert part in told, told


def test_a_list_that_the_ledger_would_widen_is_refused() -> None:
    """An empty list is nobody here and anybody there."""
    with pytest.raises(Malformed, match="refuse everybody"):
        compile_session(replace(DEFAULT_POLICY, unknown=Stance.REFUSE), two)
    many = tuple(RecipientRule(bytes([number]) * 32, "x") for number in range(65))
    with pytest.raises(Malformed, match="65"):
        compile_session(replace(DEFAULT_POLICY, unknown=Stance.REFUSE, recipients=many), two)


@given(st.none() | st.integers(1, U64_MAX), st.none() | st.integers(1, U64_MAX), st.integers(0, 18))
def test_a_cap_is_never_above_the_limits(once: int | None, daily: int | None, there: int) -> None:
    policy = Policy(assets=(AssetRule("CLAW", 2, once, daily),))
    for cap in compile_session(policy, lambda _: there).caps:
        assert 1 <= cap.per_transaction <= cap.per_day <= U64_MAX
        for limit, amount in ((once, cap.per_transaction), (daily, cap.per_day)):
            assert limit is None or amount * 10**2 <= limit * 10**there
