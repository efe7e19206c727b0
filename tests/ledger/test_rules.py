"""A receipt can always be read: by people in sentences, whatever facts it carries."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Bug, Code
from clawpurse.ledger.rules import FACT_KINDS, KERNEL_RULES, Rule, refuse, sentence, time_text
from clawpurse.modules.registry import build_registry

RULES = build_registry().rules
ACCOUNT = bytes(range(32))
SAMPLE: dict[str, Any] = {
    "account": ACCOUNT,
    "amount": 1_234_567,
    "asset": "EUR",
    "number": 42,
    "hash": b"\xab" * 32,
    "time": 1_800_000_000_123,
    "text": "other-net",
}
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


def slots(rule: Rule) -> list[tuple[int, str]]:
    """(index, kind) of each place in a rule's sentence."""
    parts = [part.partition("}")[0] for part in rule.sentence.split("{")[1:]]
    return [(int(part.partition(":")[0]), part.partition(":")[2]) for part in parts]


def sample_facts(rule: Rule) -> tuple[Any, ...]:
    by_index = dict(slots(rule))
    return tuple(SAMPLE[by_index[index]] for index in range(len(by_index)))


@pytest.mark.parametrize("name", RULES)
def test_every_rule_renders_a_plain_sentence(name: str) -> None:
    rule = RULES[name]
    assert rule.code is not Code.OK
    assert {kind for _, kind in slots(rule)} <= set(FACT_KINDS)
    assert sorted({index for index, _ in slots(rule)}) == list(range(len(dict(slots(rule)))))
    for decimals_of in (None, lambda asset: 2):
        text = sentence(rule, sample_facts(rule), decimals_of)
        assert text.endswith(".") and "{" not in text and "?" not in text
        assert text[0].isupper() or text[0].isdigit() or text.startswith("claw1")
        assert "b'" not in text and "None" not in text


@given(st.sampled_from(sorted(RULES)), st.lists(anything, max_size=6))
def test_no_facts_whatever_keep_a_receipt_from_being_shown(name: str, facts: list[Any]) -> None:
    for decimals_of in (None, lambda asset: 6):
        assert sentence(RULES[name], facts, decimals_of)


def test_amounts_are_shown_as_people_write_them() -> None:
    rule = RULES["kernel.balance"]
    facts = (ACCOUNT, 1_234_567, 2_000_000, "EUR")
    who = account_text(ACCOUNT)
    assert sentence(rule, facts) == f"{who} has 1234567 EUR, needs 2000000."
    assert sentence(rule, facts, lambda a: 2) == f"{who} has 12,345.67 EUR, needs 20,000.00."
    assert sentence(rule, facts, lambda a: 0) == f"{who} has 1,234,567 EUR, needs 2,000,000."
    small = (ACCOUNT, 0, 5, "X")
    assert sentence(rule, small, lambda a: 18).endswith(" X, needs 0.000000000000000005.")


def test_decimals_are_asked_of_the_asset_in_the_facts_and_only_for_amounts() -> None:
    asked: list[str] = []

    def decimals_of(asset: str) -> int:
        asked.append(asset)
        return 2

    sentence(RULES["kernel.fee"], (1, 2, "CLAW"), decimals_of)
    sentence(RULES["kernel.asset"], ("GBP",), decimals_of)
    assert asked == ["CLAW"]


def test_a_fact_cannot_smuggle_in_another_fact() -> None:
    """Texts in facts come from whoever sent the transaction."""
    rule = Rule(Code.MALFORMED, "{0:text} and {1:text}.")
    assert sentence(rule, ("{1:text}", "{0:text}")) == "{1:text} and {0:text}."


def test_missing_facts_and_unknown_kinds() -> None:
    assert sentence(RULES["kernel.expired"], ()) == "Valid until ?, block time is ?."
    with pytest.raises(Bug, match="unknown kind"):
        sentence(Rule(Code.MALFORMED, "{0:colour}"), (1,))
    with pytest.raises(Bug, match="not in its table"):
        refuse("kernel.nothing")


def test_an_error_carries_code_rule_facts_and_sentence() -> None:
    error = refuse("kernel.sequenceLow", 3, 7)
    assert (error.code, error.rule, error.wire_facts) == (
        Code.SEQUENCE_LOW,
        "kernel.sequenceLow",
        (3, 7),
    )
    assert error.reason == "Sequence 3 of that lane is used; next is 7."
    assert str(error).startswith("sequenceLow: ")


@given(st.integers(0, 253_402_300_799_999))
def test_times_are_rfc_3339_as_the_standard_library_writes_them(time_ms: int) -> None:
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=time_ms)
    assert time_text(time_ms) == moment.isoformat(timespec="milliseconds") + "Z"


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_leap_days_and_ends(time_ms: int, text: str) -> None:
    assert time_text(time_ms) == text
    assert time_text(2**64 - 1)


def test_kernel_rules_are_named_as_such() -> None:
    assert all(name.startswith("kernel.") and len(name) <= 48 for name in KERNEL_RULES)
