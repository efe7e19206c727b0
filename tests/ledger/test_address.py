"""A mistyped address that is accepted sends money to nobody; these tests are against that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger import address
from clawpurse.ledger.address import (
    account_from_text,
    account_text,
    authority_from_text,
    authority_text,
    bech32m_decode,
    bech32m_encode,
)
from clawpurse.ledger.errors import Malformed

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "bech32m.json").read_text())
CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
ids = st.binary(min_size=32, max_size=32)


@pytest.mark.parametrize("text", VECTORS["valid"])
def test_official_valid_texts_decode_and_encode_back(text: str) -> None:
    prefix, values = bech32m_decode(text)
    assert bech32m_encode(prefix, values) == text.lower()


@pytest.mark.parametrize("text", VECTORS["invalid"])
def test_official_invalid_texts_are_refused(text: str) -> None:
    with pytest.raises(Malformed):
        bech32m_decode(text)


@given(ids)
def test_every_id_survives_the_round_trip_in_both_cases(key: bytes) -> None:
    assert account_from_text(account_text(key)) == key
    assert account_from_text(account_text(key).upper()) == key
    assert authority_from_text(authority_text(key)) == key
    assert len(account_text(key)) == 63 and account_text(key).startswith("claw1")
    assert len(authority_text(key)) == 66 and authority_text(key).startswith("clawval1")


@given(ids, st.integers(5, 62), st.integers(1, 31))
def test_one_mistyped_character_is_always_noticed(key: bytes, place: int, step: int) -> None:
    text = account_text(key)
    wrong = CHARSET[(CHARSET.index(text[place]) + step) % 32]
    with pytest.raises(Malformed, match="mistyped \\(checksum\\)"):
        account_from_text(text[:place] + wrong + text[place + 1 :])


@given(ids, st.lists(st.integers(5, 62), min_size=2, max_size=4, unique=True), st.data())
def test_up_to_four_mistyped_characters_are_always_noticed(
    key: bytes, places: list[int], data: st.DataObject
) -> None:
    chars = list(account_text(key))
    for place in places:
        step = data.draw(st.integers(1, 31))
        chars[place] = CHARSET[(CHARSET.index(chars[place]) + step) % 32]
    with pytest.raises(Malformed):
        account_from_text("".join(chars))


@given(ids)
def test_an_authority_is_not_paid_as_if_it_were_an_account(key: bytes) -> None:
    with pytest.raises(Malformed, match="starts with clawval1, claw1 is required"):
        account_from_text(authority_text(key))
    with pytest.raises(Malformed, match="starts with claw1"):
        authority_from_text(account_text(key))


def test_mixed_case_is_refused_because_it_hides_a_typing_error() -> None:
    text = account_text(bytes(32))
    with pytest.raises(Malformed, match="upper and lower case"):
        account_from_text(
            text[:-1] + text[-1].upper() if text[-1].isalpha() else text[:4].upper() + text[4:]
        )


@pytest.mark.parametrize("size", [0, 1, 31, 33, 40])
def test_ids_of_another_length_are_neither_printed_nor_read(size: int) -> None:
    with pytest.raises(Malformed, match="32 are required"):
        account_text(bytes(size))
    bits = "".join(f"{octet:08b}" for octet in bytes(range(size)))
    bits += "0" * (-len(bits) % 5)
    text = bech32m_encode("claw", [int(bits[i : i + 5], 2) for i in range(0, len(bits), 5)])
    with pytest.raises(Malformed, match="32 are required"):
        account_from_text(text)


def test_one_account_has_one_text_so_padding_must_be_zero() -> None:
    _, values = bech32m_decode(account_text(b"\x07" * 32))
    with pytest.raises(Malformed, match="padding"):
        account_from_text(bech32m_encode("claw", [*values[:-1], values[-1] | 1]))
    with pytest.raises(Malformed, match="32 are required"):
        account_from_text(bech32m_encode("claw", [*values, 0]))


@given(st.text(max_size=120))
def test_whatever_people_paste_is_refused_with_a_typed_error(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        account_from_text(text, field="to")
    assert caught.value.field == "to"


def test_encoding_refuses_what_could_not_be_read_back() -> None:
    for prefix, values in (("Claw", [1]), ("", [1]), ("claw", [32]), ("claw", [0] * 90)):
        with pytest.raises(Malformed):
            bech32m_encode(prefix, values)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 62), st.sampled_from("qpl7b1_ +é"))
def test_the_short_way_of_reading_and_printing_agrees_with_the_long_one(
    key: bytes, place: int, char: str
) -> None:
    """Two nodes that read one text as two accounts would pay two people."""
    text = bech32m_encode("claw", address._regroup(key, 8, 5))
    assert account_text(key) == text
    assert account_from_text(text) == account_from_text(text.upper()) == key
    damaged = text[:place] + char + text[place + 1 :]
    if damaged != text:
        assert address._plain_id("claw", damaged) is None
