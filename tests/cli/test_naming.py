"""Names where a person would have to compare addresses, and addresses where one copies them."""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.cli.naming import Naming
from clawpurse.cli.output import Output
from clawpurse.ledger.address import account_text
from clawpurse.ledger.kernel.records import FEE_ACCOUNT
from clawpurse.wallet.keystore import Keystore
from tests.cli.conftest import Cli
from tests.cli.fakenode import FakeNode

BOB, EVE = (account_text(bytes([number]) * 32) for number in (1, 2))
NAMING = Naming(lambda: {BOB: "bob"})
HOLD_ID = "0x" + "ab" * 32


def _hold(payer: str, payee: str, *releasers: str) -> dict[str, Any]:
    """A placed hold as a node shows it."""
    placed = {
        "reason": "x", "capture": False, "releasers": list(releasers), "reference": "0x",
        "referenceText": "", "travelHash": None,
    }  # fmt: skip
    return {
        "holdId": HOLD_ID, "asset": "CLAW", "amount": "1250", "payer": payer, "payee": payee,
        "since": "2027-01-01T00:00:00.000Z", "purpose": "placed", "placed": placed,
        "officers": None, "needed": 1, "expires": None, "atExpiry": None, "votes": [],
    }  # fmt: skip


def test_a_row_shows_the_name_or_the_address() -> None:
    """Two addresses that begin alike are told apart by their names."""
    assert NAMING.row(["1", f"payer, to {BOB}", EVE]) == ["1", "payer, to bob", EVE]
    assert NAMING.row(["bob", BOB]) == ["bob", BOB]  # A list of contacts shows both.


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"1.00 CLAW from {EVE} to {BOB}.", f"1.00 CLAW from {EVE} to bob {BOB}."),
        (f"✓ bob {BOB}", f"✓ bob {BOB}"),
        (f"Pay bob ({BOB})", f"Pay bob ({BOB})"),
        (BOB, BOB),
        (f"  {BOB}", f"  {BOB}"),
        (f"clawpurse:{BOB}?amount=1", f"clawpurse:{BOB}?amount=1"),
        (f"Next: clawpurse faucet {BOB}", f"Next: clawpurse faucet {BOB}"),
        (f"x{BOB}", f"x{BOB}"),
        (f"{BOB}q is longer", f"{BOB}q is longer"),
    ],
)
def test_what_is_copied_stays_as_it_is(text: str, shown: str) -> None:
    """A name that slipped into a command or a URI would break it."""
    assert NAMING.sentence(text) == shown


@pytest.mark.usefixtures("wallet")
def test_names_are_for_terminals(cli: Cli, node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads sees whom a hold is for; a pipe gets the address, and `--json` too."""
    alice, bob = (account_text(key.account) for key in (node.chain.alice, node.chain.bob))
    fees = account_text(FEE_ACCOUNT)
    node.overrides["payment_getHold"] = lambda _: _hold(alice, fees, bob)
    plain = cli("hold", "show", HOLD_ID).out
    assert f"  From        {alice}\n" in plain
    with monkeypatch.context() as patch:
        patch.setattr("clawpurse.cli.output.is_terminal", lambda stream: True)
        seen = cli("hold", "show", HOLD_ID, "--no-color").out
        listed = cli("wallet", "contacts").err
    assert f"  From        alice {alice}\n" in seen
    assert f"  To          the fees {fees}\n" in seen
    assert f"1 of bob {bob}" in seen
    assert listed.startswith("No contacts yet.")


def test_a_damaged_address_book_costs_the_names_alone(
    cli: Cli, wallet: Keystore, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for is shown all the same, and the damage is told."""
    contacts = wallet.directory.parent / "contacts.json"
    contacts.write_text("{")
    contacts.chmod(0o600)
    node.overrides["payment_getHold"] = lambda _: _hold(BOB, EVE)
    monkeypatch.setattr("clawpurse.cli.output.is_terminal", lambda stream: True)
    done = cli("hold", "show", HOLD_ID, "--no-color")
    assert f"  From     {BOB}\n" in done.out
    assert "! No names are shown: " in done.err


def test_an_output_without_names_shows_addresses() -> None:
    """Output is made before any home is known, too."""
    assert Output().naming is None
