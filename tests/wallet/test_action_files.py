"""Actions from a file: what people wrote is what they sign, or nothing is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.transactions import RawAction
from clawpurse.wallet.action_files import FILE_BYTES_MAX, actions_from_text
from tests.wallet.smallchain import REGISTRY

BOB, CAROL = b"\xb0" * 32, b"\xc0" * 32
KNOWN = {"bob": BOB, "carol": CAROL}


def account_of(text: str) -> bytes:
    if text not in KNOWN:
        raise Malformed("account", f"{text} is nobody")
    return KNOWN[text]


def read(document: Any) -> tuple[RawAction, ...]:
    return actions_from_text(json.dumps(document), REGISTRY, account_of)


def action(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "fields": fields}


def pay(**fields: Any) -> dict[str, Any]:
    return action(
        "assets.transfer", **{"asset": "CLAW", "recipient": "bob", "amount": "5", **fields}
    )


def test_one_action_or_a_list() -> None:
    paid = RawAction("assets.transfer", ["CLAW", BOB, 5])
    assert read(pay())[0].fields[:3] == paid.fields
    assert len(read([pay(), pay(amount=7)])) == 2


def test_every_kind_of_field_is_read() -> None:
    assert read(
        action("accounts.createMultisig", threshold=2, salt="0x" + "07" * 32,
               members=[{"account": "bob", "weight": 1}, {"account": "carol", "weight": 2}])
    )[0].fields == [2, [[BOB, 1], [CAROL, 2]], b"\x07" * 32]  # fmt: skip
    inner = read(pay())[0]
    assert read(
        action("accounts.propose", account="bob", expires="1970-01-01T00:01:00.5Z",
               actions=[pay()], memo="0x61")
    ) == (
        RawAction("accounts.propose", [BOB, 60_500, [[inner.name, inner.fields]], b"a"]),
    )  # fmt: skip
    assert read(action("accounts.propose", account="bob", expires=7, actions=[pay()], memo="0x"))
    assert read(action("roles.revoke", role="desk", account="bob", reason="left"))
    assert read(action("roles.setPermission", action="accounts.open", role=None))
    assert read(action("roles.setPermission", action="accounts.open"))[0].fields[1] is None


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ([], "actions"),
        ([pay()] * 17, "actions"),
        (7, "action"),
        ({"name": "assets.transfer"}, "action"),
        ({**pay(), "more": 1}, "action"),
        (action("assets.nothing"), "action.name"),
        ({"name": ["assets.transfer"], "fields": {}}, "action.name"),
        ({"name": "assets.transfer", "fields": []}, "assets.transfer"),
        (pay(to="bob"), "assets.transfer.to"),
        (pay(recipient="dave"), "account"),
        (pay(recipient=5), "assets.transfer.recipient"),
        (pay(amount="1.5"), "assets.transfer.amount"),
        (pay(amount=True), "assets.transfer.amount"),
        (pay(amount="9" * 21), "assets.transfer.amount"),
        (pay(amount=2**64), "assets.transfer.amount"),
        (pay(asset="claw"), "assets.transfer.asset"),
        (pay(amount=None), "assets.transfer.amount"),
        (action("accounts.changeKey", newKey="07" * 32), "accounts.changeKey.newKey"),
        (action("accounts.changeKey", newKey="0x0"), "accounts.changeKey.newKey"),
        (action("accounts.changeKey", newKey="0x07"), "accounts.changeKey.newKey"),
        (
            action("accounts.propose", account="bob", expires="soon", actions=[], memo="0x"),
            "accounts.propose.expires",
        ),
        (
            action("accounts.propose", account="bob", expires="2027-01-01T00:00:00", actions=[],
                   memo="0x"),
            "accounts.propose.expires",
        ),
        (
            action("accounts.propose", account="bob", expires=5, actions={}, memo="0x"),
            "accounts.propose.actions",
        ),
        (
            action("accounts.createMultisig", threshold=1, members=[["bob", 1]], salt="0x"),
            "accounts.createMultisig.members[]",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_is_made(document: Any, field: str) -> None:
    with pytest.raises(Malformed) as caught:
        read(document)
    assert caught.value.field == field


def test_what_is_no_json_or_too_much_of_it() -> None:
    for text in ("{", "", "[" * 100_000, '"' + "x" * FILE_BYTES_MAX + '"'):
        with pytest.raises(Malformed):
            actions_from_text(text, REGISTRY, account_of)
