"""What a program reads when the ledger's session key refuses: without it an agent would try the
same payment again until midnight, or never.
"""

from __future__ import annotations

import pytest

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import PeerError
from clawpurse.wallet.intent import Intent
from clawpurse.wallet.session_refusals import session_refusals

ME, BOB, EVE = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32
CAP = {
    "asset": "CLAW",
    "decimals": 2,
    "perTransaction": "1000",
    "perDay": "2000",
    "spentToday": "1500",
    "leftToday": "500",
}
FOUND = {
    "caps": [CAP],
    "recipients": [account_text(BOB)],
    "memo": "0x6f72646572",
    "memoRequired": True,
    "dayEnds": "2026-11-24T00:00:00.000Z",
}


def limits(*payments: Intent) -> list[str]:
    return [one.limit for one in session_refusals(FOUND, payments, "look")]


def test_every_limit_that_is_exceeded_is_named_with_its_facts() -> None:
    assert limits(Intent(ME, BOB, "CLAW", 500, "order 1")) == []
    assert limits(Intent(ME, BOB, "CLAW", 500, "order 1", 1)) == ["sessionPerDay"]
    assert limits(Intent(ME, BOB, "EUR", 5, "order 1")) == ["sessionAsset"]
    assert limits(Intent(ME, EVE, "CLAW", 1_001, "gift")) == [
        "sessionPerTransaction",
        "sessionPerDay",
        "sessionRecipient",
        "sessionMemo",
    ]
    (found,) = session_refusals(FOUND, [Intent(ME, BOB, "CLAW", 600, "order")], "look")
    data = found.data()
    assert data["resetsAt"] == "2026-11-24T00:00:00.000Z" and data["remedy"] == "look"
    assert (data["allowed"], data["asked"], data["spent"]) == ("2000", "600", "1500")


def test_a_batch_counts_together() -> None:
    legs = (Intent(ME, BOB, "CLAW", 300, "order"), Intent(ME, BOB, "CLAW", 300, "order"))
    assert limits(*legs) == ["sessionPerDay"]


def test_waiting_is_no_help_for_more_than_a_day_holds() -> None:
    over = session_refusals(FOUND, [Intent(ME, BOB, "CLAW", 2_001, "order")], "look")
    assert [one.resets_ms for one in over] == [None, None]


def test_an_answer_that_is_no_session_is_told_as_the_nodes_fault() -> None:
    with pytest.raises(PeerError, match="no session"):
        session_refusals({**FOUND, "caps": [{"asset": "CLAW"}]}, [Intent(ME, BOB, "CLAW", 1)], "")
