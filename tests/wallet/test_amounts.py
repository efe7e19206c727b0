"""Nobody pays another amount than they typed: no floats, no rounding, no second meaning."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.errors import Malformed
from clawpurse.wallet.amounts import amount_text, nearby_amounts, number_text, parse_amount


@pytest.mark.parametrize(
    ("text", "decimals", "minor"),
    [
        ("12.5", 2, 1250),
        ("12.50", 2, 1250),
        ("12", 2, 1200),
        ("0.01", 2, 1),
        ("1,000.00", 2, 100_000),
        ("1,234,567.8", 2, 123_456_780),
        ("7", 0, 7),
        ("1,000", 0, 1000),
        ("0.000000000000000001", 18, 1),
        ("18446744073709551615", 0, 2**64 - 1),
        ("184,467,440,737,095,516.15", 2, 2**64 - 1),
    ],
)
def test_what_people_write(text: str, decimals: int, minor: int) -> None:
    assert parse_amount(text, decimals, "CLAW") == minor


@pytest.mark.parametrize(
    ("text", "decimals", "problem"),
    [
        ("12.345", 2, "12.345 has 3 decimals, CLAW has 2"),
        ("12.500", 2, "12.500 has 3 decimals, CLAW has 2"),
        ("1.5", 0, "1.5 has 1 decimal, CLAW has none"),
        ("0", 2, "0 is below 0.01 CLAW"),
        ("0.00", 2, "is below 0.01 CLAW"),
        ("-1", 2, "not a number"),
        ("+1", 2, "not a number"),
        ("1e3", 2, "not a number"),
        ("0x10", 2, "not a number"),
        ("1_000", 2, "not a number"),
        (" 1", 2, "not a number"),
        ("", 2, "not a number"),
        (".5", 2, "not a number"),
        ("5.", 2, "ends with its point"),
        ("1.2.3", 2, "not a number"),
        ("١٢", 2, "not a number"),
        ("１２", 2, "not a number"),
        ("nan", 2, "not a number"),
        ("1,5", 2, "decimals are written with a point"),
        ("12,50", 2, "decimals are written with a point"),
        ("1,500", 2, "can mean two things"),
        ("1000,000.00", 2, "has a comma"),
        (",100.00", 2, "has a comma"),
        ("1,00.00", 2, "has a comma"),
        ("18446744073709551616", 0, "more than there can be"),
        ("1" * 49, 0, "49 characters"),
    ],
)
def test_what_could_mean_something_else_is_refused(text: str, decimals: int, problem: str) -> None:
    with pytest.raises(Malformed, match=problem.replace(".", r"\.")) as caught:
        parse_amount(text, decimals, "CLAW")
    assert caught.value.field == "amount"


@given(st.integers(0, 2**64 - 1), st.integers(0, 18), st.booleans())
def test_what_is_printed_can_be_typed_back(minor: int, decimals: int, marks: bool) -> None:
    text = number_text(minor, decimals, marks=marks)
    assert parse_amount(text, decimals, "X", low=0) == minor


@given(st.text(max_size=60), st.integers(0, 18))
def test_any_other_text_is_a_typed_error(text: str, decimals: int) -> None:
    try:
        minor = parse_amount(text, decimals, "X", low=0)
    except Malformed:
        return
    assert number_text(minor, decimals, marks=False).split(".")[0] == str(
        int(text.replace(",", "").split(".")[0])
    )


def test_amounts_read_as_people_write_them() -> None:
    assert amount_text(100_000_000, 2, "CLAW") == "1,000,000.00 CLAW"
    assert amount_text(5, 2, "CLAW") == "0.05 CLAW"
    assert number_text(-1251, 2) == "-12.51"
    assert number_text(7, 0) == "7"


@pytest.mark.parametrize(
    ("text", "decimals", "nearby"),
    [
        ("12.345", 2, ("12.34", "12.35")),
        ("12.500", 2, ("12.50",)),
        ("1,999.999", 2, ("1999.99", "2000.00")),
        ("1.5", 0, ("1", "2")),
        ("abc", 2, ()),
        ("", 2, ()),
    ],
)
def test_the_hint_names_amounts_that_exist(
    text: str, decimals: int, nearby: tuple[str, ...]
) -> None:
    assert nearby_amounts(text, decimals) == nearby
