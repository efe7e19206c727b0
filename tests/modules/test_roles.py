"""Roles: who may do what, who gave it, and who could at any height before.

If these failed, somebody could act without the right to, or nobody could prove who had it when.
"""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.ledger.errors import Code, Malformed, Refused
from clawpurse.ledger.genesis import Genesis, GenesisRole
from clawpurse.ledger.kernel.records import PERMISSIONS_MAX
from clawpurse.ledger.module_api import Words
from clawpurse.ledger.names import plain_name
from clawpurse.ledger.transactions import ACTIONS_MAX, RawAction
from clawpurse.modules.governance.changes import OWN_ACCOUNT, Kind
from clawpurse.modules.roles import chain as roles
from clawpurse.modules.roles.actions import ACTIONS
from clawpurse.modules.roles.chain import ROLES_PER_ACCOUNT_MAX
from clawpurse.modules.roles.records import Entry, entry_key, pack, standing_key
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, START_MS, Key, transfer
from tests.modules.council import AUTHORITIES, Council, event, grant, kinds, permit, revoke


def test_an_administrator_gives_and_takes_roles() -> None:
    chain = Council()
    result = chain.pay(ALICE, grant("cashier"))
    assert event(result, "roles.granted")[2:] == ((BOB.account, ALICE.account), ("cashier",))
    assert chain.query("roles.holds", BOB.account, "cashier")
    assert chain.query("roles.of", BOB.account) == ["cashier"]
    assert chain.query("roles.holders", "cashier", 0, 10) == [BOB.account]
    result = chain.pay(ALICE, revoke("cashier", reason="left the desk"))
    assert event(result, "roles.revoked")[3] == ("cashier", "left the desk")
    assert not chain.query("roles.holds", BOB.account, "cashier")
    assert chain.query("roles.of", BOB.account) == []
    assert chain.query("roles.list", 0, 10) == [("admin", 1), ("cashier", 0)]


def test_who_held_what_at_any_height_is_answered_from_the_history() -> None:
    chain = Council()
    chain.pay(ALICE, grant("cashier"))  # block 1
    chain.pay(ALICE, revoke("cashier"))  # block 2
    chain.block()
    chain.block(
        chain.tx(ALICE, grant("cashier")),
        chain.tx(ALICE, revoke("cashier"), sequence=chain.sequence(ALICE) + 1),
        chain.tx(ALICE, grant("cashier"), sequence=chain.sequence(ALICE) + 2),
    )  # block 4: given, taken and given again
    held = [chain.query("roles.at", BOB.account, "cashier", height) for height in range(6)]
    assert held == [False, True, False, False, True, True]
    assert chain.query("roles.history", BOB.account, "cashier", 0, 10) == [
        Entry(1, 1, ALICE.account, ""),
        Entry(2, 0, ALICE.account, ""),
        Entry(4, 1, ALICE.account, ""),
        Entry(4, 0, ALICE.account, ""),
        Entry(4, 1, ALICE.account, ""),
    ]
    assert chain.query("roles.entry", BOB.account, "cashier", 3) == Entry(2, 0, ALICE.account, "")
    assert chain.query("roles.entry", BOB.account, "cashier", 0) is None
    assert not chain.query("roles.at", CAROL.account, "cashier", 5)


def test_a_history_has_no_end_and_is_searched_not_read() -> None:
    chain, heights = Council(), 40
    for height in range(1, heights + 1):
        chain.pay(ALICE, grant("night") if height % 2 else revoke("night"))
    for height in range(heights + 1):
        assert chain.query("roles.at", BOB.account, "night", height) == bool(height % 2)
    page = chain.query("roles.history", BOB.account, "night", 30, 5)
    assert [entry.height for entry in page] == [31, 32, 33, 34, 35]


@pytest.mark.parametrize(
    ("action", "rule"),
    [
        (grant("admin", ALICE), "roles.held"),
        (revoke("cashier"), "roles.notHeld"),
        (grant("cashier", ERIN), "kernel.sender"),
        (permit("assets.nothing", "cashier"), "kernel.action"),
        (permit("roles.grant", "cashier"), "roles.neverLocked"),
        (permit("governance.vote", "cashier"), "roles.neverLocked"),
        (revoke("admin", ALICE), "roles.lastAdmin"),
    ],
)
def test_an_administrator_is_refused(action: RawAction, rule: str) -> None:
    chain = Council()
    before = dict(chain.state.records)
    receipt = chain.pay(ALICE, action).receipts[0]
    assert receipt.rule == rule
    roles_tree = {place: value for place, value in before.items() if place[0] == "roles"}
    assert {p: v for p, v in chain.state.records.items() if p[0] == "roles"} == roles_tree


@pytest.mark.parametrize(
    "action", [grant("x"), revoke("admin", ALICE), permit("assets.transfer", "x")]
)
def test_only_an_administrator_changes_roles(action: RawAction) -> None:
    receipt = Council().pay(BOB, action).receipts[0]
    assert (receipt.code, receipt.rule) == (Code.NOT_AUTHORISED, "kernel.role")
    assert receipt.facts == (BOB.account, "admin", action.name)


def test_an_administrator_can_go_when_another_is_there() -> None:
    chain = Council()
    chain.pay(ALICE, grant("admin", BOB))
    assert chain.pay(ALICE, revoke("admin", ALICE)).receipts[0].code == 0
    assert chain.pay(ALICE, grant("x", CAROL)).receipts[0].rule == "kernel.role"
    assert chain.pay(BOB, revoke("admin", BOB)).receipts[0].rule == "roles.lastAdmin"


def test_the_authorities_can_take_even_the_last_administrator_and_name_another() -> None:
    chain = Council()
    chain.decide(chain.change(Kind.REVOKE, "admin", ALICE.account), AUTHORITIES[:3])
    assert chain.query("roles.holders", "admin", 0, 10) == []
    chain.decide(chain.change(Kind.GRANT, "admin", BOB.account), AUTHORITIES[:3])
    last = chain.query("roles.history", BOB.account, "admin", 0, 10)[-1]
    assert (last.held, last.by) == (1, OWN_ACCOUNT)
    assert chain.pay(BOB, grant("x", CAROL)).receipts[0].code == 0


def test_a_permission_asks_the_sender_for_its_role_and_can_be_lifted() -> None:
    chain = Council()
    result = chain.pay(ALICE, permit("assets.transfer", "payer"))
    assert event(result, "roles.permissionSet")[3] == ("assets.transfer", "payer")
    assert chain.query("roles.permissions") == {"assets.transfer": "payer"}
    receipt = chain.pay(BOB, transfer(ALICE, 1)).receipts[0]
    assert receipt.rule == "kernel.role" and receipt.facts == (
        BOB.account,
        "payer",
        "assets.transfer",
    )
    chain.pay(ALICE, grant("payer", BOB))
    assert chain.pay(BOB, transfer(ALICE, 1)).receipts[0].code == 0
    chain.pay(ALICE, revoke("payer", BOB), permit("assets.transfer", None))
    assert chain.pay(BOB, transfer(ALICE, 1)).receipts[0].code == 0
    assert chain.query("roles.permissions") == {}


def test_a_permission_set_in_a_block_holds_for_what_follows_in_it() -> None:
    chain = Council()
    receipts = chain.block(
        chain.tx(ALICE, permit("assets.transfer", "payer")), chain.tx(BOB, transfer(ALICE, 1))
    ).receipts
    assert [receipt.rule for receipt in receipts] == ["", "kernel.role"]


def test_lists_stay_whole_when_those_in_the_middle_leave() -> None:
    chain = Council()
    for who in (BOB, CAROL, DAVE):
        chain.pay(ALICE, grant("a", who), grant("b", who))
    chain.pay(ALICE, revoke("a", BOB))
    chain.pay(ALICE, revoke("b", CAROL))
    assert chain.query("roles.holders", "a", 0, 10) == [DAVE.account, CAROL.account]
    assert chain.query("roles.holders", "b", 1, 10) == [DAVE.account]
    assert chain.query("roles.of", DAVE.account) == ["a", "b"]
    chain.pay(ALICE, revoke("a", DAVE))
    assert chain.query("roles.of", DAVE.account) == ["b"]


def test_an_account_holds_so_many_roles_and_no_more() -> None:
    chain = Council()
    names = [f"role-{number}" for number in range(ROLES_PER_ACCOUNT_MAX)]
    for start in range(0, len(names), 16):
        chain.pay(ALICE, *(grant(name) for name in names[start : start + 16]))
    assert chain.query("roles.of", BOB.account) == names
    assert chain.pay(ALICE, grant("one-more")).receipts[0].rule == "roles.accountFull"


@pytest.mark.parametrize("bound", ["NAMES_MAX", "HOLDERS_MAX"])
def test_lists_are_bounded(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, bound, 1)
    chain = Council()
    receipt = chain.pay(ALICE, grant("second" if bound == "NAMES_MAX" else "admin")).receipts[0]
    assert receipt.code == Code.LIMIT_EXCEEDED


def test_only_so_many_actions_ask_for_a_role() -> None:
    chain = Council()
    names = list(chain.registry.actions)
    assert len(names) < PERMISSIONS_MAX  # So the bound is the kernel's concern, not reachable here.
    open_ones = [name for name in names if not name.startswith(roles.NEVER_LOCKED)]
    for start in range(0, len(open_ones), ACTIONS_MAX):
        chain.pay(ALICE, *(permit(name, "x") for name in open_ones[start : start + ACTIONS_MAX]))
    assert len(chain.query("roles.permissions")) == len(open_ones) > 5


# -- names, genesis, words


@pytest.mark.parametrize("name", ["a", "z" * 32, "0.x-9", "-", "."])
def test_names_of_roles(name: str) -> None:
    assert plain_name(name, "role") == name
    assert Council().pay(ALICE, grant(name)).receipts[0].code == 0


@pytest.mark.parametrize("name", ["", "A", "a b", "ä", "a" * 33, "a_b", 7, None, b"a"])
def test_what_is_no_name_of_a_role(name: Any) -> None:
    chain = Council()
    with pytest.raises(Malformed):
        chain.pay(ALICE, RawAction("roles.grant", [name, BOB.account]))
    with pytest.raises(Malformed):
        chain.registry.read_action(
            RawAction("roles.setPermission", ["assets.transfer", name or ""])
        )


@pytest.mark.parametrize(
    "fields",
    [["x"], ["x", bytes(31)], ["x", bytes(32), "reason", "more"], ["x", bytes(32), "\n"],
     ["x", bytes(32), "r" * 129]],
)  # fmt: skip
def test_malformed_revocations(fields: list[Any]) -> None:
    with pytest.raises(Malformed):
        Council().registry.read_action(RawAction("roles.revoke", fields))


def test_genesis_gives_the_first_roles() -> None:
    given = (GenesisRole("admin", ALICE.account), GenesisRole("cashier", BOB.account))
    chain = Council(roles=given)
    assert chain.query("roles.at", BOB.account, "cashier", 0)
    assert Genesis.unpack(chain.genesis.packed) == chain.genesis
    assert Genesis.from_json(chain.genesis.to_json()) == chain.genesis
    for wrong in (
        (GenesisRole("admin", ERIN.account),),
        (GenesisRole("Admin", ALICE.account),),
        (given[1], given[0]),
        (given[0], given[0]),
    ):
        with pytest.raises(Malformed):
            Council(roles=wrong)


def test_a_network_without_an_administrator_gets_one_by_vote() -> None:
    chain = Council(roles=())
    assert chain.pay(ALICE, grant("x")).receipts[0].rule == "kernel.role"
    chain.decide(chain.change(Kind.GRANT, "admin", ALICE.account), AUTHORITIES[:3])
    assert chain.pay(ALICE, grant("x")).receipts[0].code == 0


def test_every_action_says_what_it_does() -> None:
    words = Words(lambda account: "bob", lambda asset, amount: f"{amount} {asset}")
    values: dict[str, dict[str, Any]] = {
        "roles.grant": {"role": "cashier", "account": BOB.account},
        "roles.revoke": {"role": "cashier", "account": BOB.account, "reason": "left"},
        "roles.setPermission": {"action": "assets.transfer", "role": "payer"},
    }
    said = {action.name: action.words(values[action.name], words) for action in ACTIONS}
    assert said == {
        "roles.grant": "Give bob the role cashier.",
        "roles.revoke": "Take the role cashier from bob. Reason: left.",
        "roles.setPermission": "From now on only holders of the role payer may perform "
        "assets.transfer.",
    }
    lifted = ACTIONS[2].words({"action": "assets.transfer", "role": None}, words)
    assert lifted == "From now on everybody may perform assets.transfer."


def test_a_role_is_proven_by_its_records_alone() -> None:
    """What a verifier needs stands under keys that it can compute: standing and entries."""
    chain = Council()
    chain.pay(ALICE, grant("cashier"))
    standing = chain.state.get("roles", standing_key(BOB.account, "cashier"))
    newest = chain.state.get("roles", entry_key(BOB.account, "cashier", 0))
    assert standing == pack(1, 0, 0) and newest == pack(1, 1, ALICE.account, "")
    assert chain.time_ms == START_MS + 1_000
    assert kinds(chain.block()) == []


def test_a_failed_transaction_leaves_no_role_behind() -> None:
    chain = Council()
    receipt = chain.pay(ALICE, grant("cashier"), transfer(BOB, 10**12)).receipts[0]
    assert receipt.rule == "kernel.balance"
    assert not chain.query("roles.holds", BOB.account, "cashier")
    assert chain.query("roles.list", 0, 10) == [("admin", 1)]


def test_a_stranger_s_signature_gives_no_role() -> None:
    chain, mallory = Council(), Key("mallory")
    with pytest.raises(Refused):
        chain.block(chain.tx(ALICE, grant("admin", BOB), signer=mallory))
