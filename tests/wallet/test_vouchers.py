"""Vouchers of a wallet: what one makes another one reads, and nothing else passes for one.

If these failed, a payee would serve for a voucher that the ledger does not pay.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from clawpurse.ledger import crypto
from clawpurse.ledger.errors import BadSignature, Malformed
from clawpurse.ledger.vouchers import Terms
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.vouchers import TEXT_MAX, Voucher, make, make_many, newest, read

KEY, OTHER = SigningKey(b"k" * 32), SigningKey(b"o" * 32)
TERMS = Terms(b"g" * 32, b"c" * 32, "EURX", crypto.public_key_of(b"p" * 32))


def test_what_is_made_is_read() -> None:
    made = make(KEY, TERMS, 1_250)
    assert made.valid and read(made.as_text()) == made
    assert made.as_json()["amount"] == "1250"


def test_a_thousand_are_made_in_a_moment_and_the_newest_is_found() -> None:
    made = list(make_many(KEY, TERMS, range(1, 1_001)))
    elsewhere = make(KEY, TERMS._replace(channel_id=b"d" * 32), 5_000)
    foreign = make(OTHER, TERMS, 6_000)
    forged = Voucher(TERMS, 7_000, KEY.public_key, made[0].signature)
    assert newest([*made, elsewhere, foreign, forged], TERMS, KEY.public_key) == made[-1]
    assert newest([elsewhere, foreign, forged], TERMS, KEY.public_key) is None


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("version", 2, Malformed),
        ("version", True, Malformed),
        ("genesisHash", "0x12", Malformed),
        ("genesisHash", "67" * 32, Malformed),
        ("channel", "0x" + "6A" * 32, Malformed),
        ("channel", 5, Malformed),
        ("asset", "eurx", Malformed),
        ("asset", None, Malformed),
        ("payee", "claw1nobody", Malformed),
        ("amount", 1_250, Malformed),
        ("amount", "01250", Malformed),
        ("amount", "0", Malformed),
        ("amount", "-5", Malformed),
        ("amount", "99999999999999999999", Malformed),
        ("amount", "1251", BadSignature),
        ("key", f"0x{OTHER.public_key.hex()}", BadSignature),
        ("signature", "0x" + "00" * 64, BadSignature),
        ("signature", "0x" + "00" * 63, Malformed),
    ],
)
def test_what_is_nearly_one_is_refused(name: str, value: Any, error: type[Exception]) -> None:
    found = {**make(KEY, TERMS, 1_250).as_json(), name: value}
    with pytest.raises(error):
        read(json.dumps(found))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", "[" * 2_000, " " * (TEXT_MAX + 1)],
)
def test_what_is_none_at_all_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        read(text)


def test_more_or_fewer_fields_are_refused() -> None:
    found = make(KEY, TERMS, 1).as_json()
    with pytest.raises(Malformed):
        read(json.dumps({**found, "memo": ""}))
    del found["key"]
    with pytest.raises(Malformed):
        read(json.dumps(found))
