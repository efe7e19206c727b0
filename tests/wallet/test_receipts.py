"""A receipt is found again, readable by its owner only, and an unreadable one is not trusted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clawpurse.ledger.blocks import Event, Receipt
from clawpurse.ledger.errors import Code, Malformed, OperatorError, StorageFault
from clawpurse.node.rpc import values
from clawpurse.wallet.receipts import (
    ReceiptStore,
    code_name,
    event_json,
    reason_of,
    receipt_json,
)
from tests.wallet.smallchain import REGISTRY

FIRST = "0x" + "ab" * 32
SECOND = "0x" + "abab" * 15 + "cdcd"


@pytest.fixture
def store(tmp_path: Path) -> ReceiptStore:
    return ReceiptStore(tmp_path / "home" / "receipts")


def test_a_saved_receipt_is_private_and_found_by_its_beginning(store: ReceiptStore) -> None:
    assert store.ids() == []
    file = store.save({"txId": FIRST, "height": 5})
    store.save({"txId": SECOND, "height": 6})
    assert file.stat().st_mode & 0o777 == 0o600 and file.name == f"{FIRST}.json"
    assert store.ids() == [FIRST, SECOND]
    assert store.load(FIRST)["height"] == 5
    assert store.load(SECOND[:-2])["height"] == 6
    with pytest.raises(OperatorError, match="2 receipts start with"):
        store.load("0xababab")
    store.save({"txId": FIRST, "height": 7})
    assert store.load(FIRST)["height"] == 7


@pytest.mark.parametrize("tx_id", ["", "0x", "0xab", "abababab", "../x", 5, None, "0x" + "AB" * 32])
def test_ids_that_could_leave_the_folder_are_refused(store: ReceiptStore, tx_id: object) -> None:
    with pytest.raises(Malformed, match="txId"):
        store.save({"txId": tx_id})
    if isinstance(tx_id, str) and len(tx_id) < 60:
        with pytest.raises(Malformed, match="txId"):
            store.load(tx_id)


def test_a_missing_receipt_names_the_command_that_asks(store: ReceiptStore) -> None:
    for wanted in (FIRST, "0x123456"):
        with pytest.raises(OperatorError, match=f"No receipt of {wanted}.*tx wait {wanted}"):
            store.load(wanted)


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"txId": SECOND}), "[" * 9999])
def test_a_damaged_receipt_is_reported(store: ReceiptStore, text: str) -> None:
    store.save({"txId": FIRST}).write_text(text)
    with pytest.raises(StorageFault, match="damaged"):
        store.load(FIRST)


def receipt(code: int, rule: str = "", *facts: object) -> Receipt:
    return Receipt(b"\x01" * 32, code, rule, facts, 1, 150, 0, 0)  # type: ignore[arg-type]


def test_why_a_payment_failed_is_a_sentence_in_the_amounts_of_people() -> None:
    poor = receipt(15, "kernel.balance", b"\x02" * 32, 300, 1251, "CLAW")
    text = reason_of(poor, REGISTRY, {"CLAW": 2})
    assert text is not None and "3.00" in text and "12.51" in text and "claw1" in text
    assert reason_of(receipt(0), REGISTRY, {}) is None
    assert reason_of(receipt(99, "later.rule"), REGISTRY, {}) == "Refused by later.rule (99)."


def test_codes_have_the_names_of_the_interface() -> None:
    assert code_name(0) == "ok" and code_name(int(Code.INSUFFICIENT_FUNDS)) == "insufficientFunds"
    assert code_name(998) == "998"


def test_events_show_names_where_the_module_gives_them() -> None:
    paid = Event(0, "assets.transferred", (b"\x01" * 32,), ("CLAW", 2**60))
    assert event_json(paid, REGISTRY)["data"] == {"asset": "CLAW", "amount": str(2**60)}
    key = Event(0, "accounts.keyChanged", (), (b"\x03" * 32,))
    assert event_json(key, REGISTRY)["data"] == {"newKey": "0x" + "03" * 32}
    strange = Event(0, "other.kind", (), (1, b"\x04", ["x"]))
    assert event_json(strange, REGISTRY)["data"] == {
        "0": 1,
        "1": "0x04",
        "2": ["x"],
    }


def test_a_receipt_in_json_has_the_published_members() -> None:
    shown = receipt_json(
        receipt(0), [], height=5, index=2, time_ms=0, registry=REGISTRY, decimals={}
    )
    published = {"txId", "height", "index", "code", "reason", "fee", "events"}
    assert published <= set(shown) and shown["fee"] == "1"


def test_events_of_any_kind_are_shown() -> None:
    """Data by the names that its module gives, amounts as text, the unknown by number."""
    known = event_json(Event(3, "assets.transferred", (b"\x01" * 32,), ("CLAW", 7)), REGISTRY)
    assert known["data"] == {"asset": "CLAW", "amount": "7"}
    other = event_json(Event(0, "other.kind", (), (1, b"\x04", ["x"])), REGISTRY)
    assert other["data"] == {"0": 1, "1": "0x04", "2": ["x"]}


def test_nodes_and_wallets_show_failures_alike() -> None:
    """A document is checked by working it out again, so both must write it the same way."""
    for failed in (receipt(0), receipt(15, "kernel.balance", b"\x02" * 32, 300, 1251, "CLAW")):
        assert values.reason_of(failed, REGISTRY, {"CLAW": 2}.get) == reason_of(
            failed, REGISTRY, {"CLAW": 2}
        )
        assert values.code_label(failed.code) == code_name(failed.code)
