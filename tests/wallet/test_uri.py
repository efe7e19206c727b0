"""Payment requests as URIs: what was asked for is what the payer sees, or nothing is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Malformed
from clawpurse.wallet.uri import (
    URI_CHARS_MAX,
    PaymentRequest,
    format_uri,
    is_payment_uri,
    parse_uri,
)

BOB = b"\x05" * 32
ADDRESS = account_text(BOB)
FULL = PaymentRequest(BOB, "EURX", "12.50", "Mittag & mehr = 50 % „gut“", "acme-main")

amounts = st.from_regex(r"\A[1-9][0-9]{0,17}(\.[0-9]{1,18})?\Z")
memos = st.text(max_size=60).filter(lambda text: text.isprintable() and len(text.encode()) <= 256)


@given(
    st.binary(min_size=32, max_size=32),
    st.none() | st.from_regex(r"\A[A-Z][A-Z0-9.]{0,15}\Z"),
    st.none() | amounts,
    memos,
    st.none() | st.from_regex(r"\A[a-z][a-z0-9-]{0,30}\Z"),
)
def test_what_is_asked_is_what_is_read(
    account: bytes, asset: str | None, amount: str | None, memo: str, network: str | None
) -> None:
    """A payer would see another amount or memo than the payee wrote."""
    request = PaymentRequest(account, asset, amount, memo, network)
    assert parse_uri(format_uri(request)) == request


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """A stranger's QR code could crash the wallet."""
    for whole in (text, f"clawpurse:{text}", f"clawpurse:{ADDRESS}?{text}"):
        try:
            request = parse_uri(whole)
        except Malformed:
            continue
        assert parse_uri(format_uri(request)) == request


def test_every_flipped_character_changes_nothing_quietly() -> None:
    """A mistyped account must never become another one."""
    uri = format_uri(FULL)
    for place in range(len("clawpurse:") + 5, len("clawpurse:") + len(ADDRESS)):
        wrong = "q" if uri[place] != "q" else "p"
        with pytest.raises(Malformed, match="account"):
            parse_uri(uri[:place] + wrong + uri[place + 1 :])


def test_case_is_as_qr_codes_write_it() -> None:
    """Codes in upper case are smaller; they must be read."""
    assert parse_uri(f"CLAWPURSE:{ADDRESS.upper()}").account == BOB
    assert is_payment_uri("ClawPurse:x")
    assert not is_payment_uri("clawpursex:")
    assert parse_uri(f"clawpurse:{ADDRESS}").asset_or_native == "CLAW"


def test_amounts_are_counted_with_the_assets_precision() -> None:
    """12.5 of a two-decimal asset is 1250, more decimals are an error and no rounding."""
    request = PaymentRequest(BOB, None, "12.5")
    assert request.minor_units(2) == 1250
    assert PaymentRequest(BOB).minor_units(2) is None
    with pytest.raises(Malformed, match="decimals"):
        PaymentRequest(BOB, None, "12.345").minor_units(2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bitcoin:abc", "does not begin"),
        (f"clawpurse://{ADDRESS}", "account"),
        (f"clawpurse:{ADDRESS[:-1]}", "account"),
        (f"clawpurse:{ADDRESS}?", "question mark"),
        (f"clawpurse:{ADDRESS}?amount=1&amount=2", "twice"),
        (f"clawpurse:{ADDRESS}?amount", "empty"),
        (f"clawpurse:{ADDRESS}?amount=", "empty"),
        (f"clawpurse:{ADDRESS}?req-x=1", "none of"),
        (f"clawpurse:{ADDRESS}?amount=1&", "none of"),
        (f"clawpurse:{ADDRESS}?Amount=1", "none of"),
        (f"clawpurse:{ADDRESS}?amount=-1", "digits"),
        (f"clawpurse:{ADDRESS}?amount=1,000", "digits"),
        (f"clawpurse:{ADDRESS}?amount=1e3", "digits"),
        (f"clawpurse:{ADDRESS}?amount=0.00", "zero"),
        (f"clawpurse:{ADDRESS}?asset=claw", "capital"),
        (f"clawpurse:{ADDRESS}?memo=a+b", "percent"),
        (f"clawpurse:{ADDRESS}?memo=%zz", "percent"),
        (f"clawpurse:{ADDRESS}?memo=%ff", "UTF-8"),
        (f"clawpurse:{ADDRESS}?memo=%E2%80%AEabc", "print"),
        (f"clawpurse:{ADDRESS}?memo=%0A", "print"),
        (f"clawpurse:{ADDRESS}?network=a/b", "network"),
        (f"clawpurse:{ADDRESS}?memo=" + "a" * 257, "256"),
        (f"clawpurse:{ADDRESS}?memo=" + "a" * URI_CHARS_MAX, "characters"),
        (f"clawpurse:{ADDRESS}\n", "no URI"),
        (f"clawpurse:{ADDRESS}?memo=ü", "no URI"),
    ],
)
def test_what_is_no_request_is_refused(text: str, said: str) -> None:
    """A parameter that is passed over could have said "only on the test network"."""
    with pytest.raises(Malformed, match=said):
        parse_uri(text)


def test_too_long_a_request_is_not_made() -> None:
    """Somebody would print a code that no wallet reads."""
    with pytest.raises(Malformed, match="network"):
        format_uri(PaymentRequest(BOB, network="x" * 200))
    with pytest.raises(Malformed, match="256"):
        format_uri(PaymentRequest(BOB, memo="x" * 257))
