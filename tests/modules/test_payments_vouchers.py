"""Vouchers: good for one network, one channel, one payee, and made by anybody who reads the page.

If these failed, a promise made in one place could be cashed in another.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger import crypto
from clawpurse.ledger.agreement.signbytes import PROPOSAL_SIGN_BYTES, VOTE_SIGN_BYTES
from clawpurse.ledger.codec import U64_MAX
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.redeeming import REDEMPTION_BYTES
from clawpurse.ledger.vouchers import (
    VOUCHER_BYTES,
    Terms,
    parse,
    verify,
    voucher_bytes,
)
from tests.ledger.sandbox import ALICE, BOB

TERMS = Terms(b"g" * 32, b"c" * 32, "EUR", BOB.account)
ASSETS = st.from_regex(r"[A-Z][A-Z0-9.]{0,15}", fullmatch=True)
HASHES = st.binary(min_size=32, max_size=32)


def test_its_bytes_are_those_of_the_page() -> None:
    assert voucher_bytes(TERMS, 258) == (
        b"clawpurse/vouch\x00"
        + b"g" * 32
        + b"c" * 32
        + b"EUR".ljust(16, b"\x00")
        + BOB.account
        + struct.pack(">Q", 258)
    )
    assert VOUCHER_BYTES == 136


def test_no_other_message_of_the_network_has_its_length() -> None:
    """A key that signs vouchers may sign transactions too, which sign 32 bytes."""
    assert VOUCHER_BYTES not in (32, VOTE_SIGN_BYTES, PROPOSAL_SIGN_BYTES, REDEMPTION_BYTES)


@given(HASHES, HASHES, ASSETS, HASHES, st.integers(1, U64_MAX))
def test_it_is_read_back(
    genesis: bytes, channel: bytes, asset: str, to: bytes, amount: int
) -> None:
    terms = Terms(genesis, channel, asset, to)
    assert parse(voucher_bytes(terms, amount)) == (terms, amount)


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse(data)


@pytest.mark.parametrize(
    "data",
    [
        voucher_bytes(TERMS, 1)[:-1],
        b"clawpurse/vote".ljust(16, b"\0") + voucher_bytes(TERMS, 1)[16:],
        voucher_bytes(TERMS, 1)[:-8] + bytes(8),
        voucher_bytes(TERMS, 1)[:80] + b"eur".ljust(16, b"\0") + voucher_bytes(TERMS, 1)[96:],
        voucher_bytes(TERMS, 1)[:80] + b"E\0R".ljust(16, b"\0") + voucher_bytes(TERMS, 1)[96:],
    ],
)
def test_bytes_that_are_nearly_one_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse(data)


@pytest.mark.parametrize("amount", [0, -1, U64_MAX + 1, True])
def test_no_voucher_is_over_that(amount: int) -> None:
    with pytest.raises(Malformed):
        voucher_bytes(TERMS, amount)


@pytest.mark.parametrize(
    "change",
    [
        {"genesis_hash": b"h" * 32},
        {"channel_id": b"d" * 32},
        {"asset": "EURX"},
        {"payee": ALICE.account},
    ],
)
def test_it_is_good_in_one_place_only(change: dict[str, object]) -> None:
    signature = crypto.sign(ALICE.seed, voucher_bytes(TERMS, 5))
    assert verify(ALICE.public, TERMS, 5, signature)
    assert not verify(ALICE.public, TERMS._replace(**change), 5, signature)  # type: ignore[arg-type]
    assert not verify(ALICE.public, TERMS, 6, signature)
    assert not verify(BOB.public, TERMS, 5, signature)
    assert not verify(ALICE.public, TERMS, 5, signature[:-1])
