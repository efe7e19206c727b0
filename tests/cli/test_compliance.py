"""`compliance` and `credential`: what officers, issuers and holders type, see and get.

If these failed, an officer could sign a policy that was not the one shown, or be told that a
payment passes which the ledger refuses.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from clawpurse.ledger.errors import NotFound, Refused
from clawpurse.ledger.kernel.records import Account, account_key
from clawpurse.ledger.module_api import KERNEL
from clawpurse.modules.assets.records import get_asset
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError
from clawpurse.modules.kit.web.jsonrpc import Context
from clawpurse.node.rpc.compliance_methods import ComplianceMethods
from clawpurse.node.rpc.credential_methods import CredentialMethods
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.transaction_methods import TransactionMethods
from clawpurse.wallet.keystore import Keystore
from tests.cli.conftest import Cli, Done
from tests.cli.fakenode import FakeNode
from tests.wallet.smallchain import REGISTRY, START_MS, SmallChain, _State

ROLES = (("admin", "alice"), ("compliance", "alice"), ("compliance", "bob"))
HASH = "0x" + "5a" * 32
POLICY: dict[str, Any] = {
    "policy": "euro",
    "asset": "EUR",
    "meaning": "What may be paid in EUR",
    "delay": "10s",
    "rules": [
        {
            "rule": "known",
            "verdict": "deny",
            "code": "kyc-missing",
            "when": [
                {"condition": "not-attested", "side": "source", "topic": "kyc", "level": 1},
                {"condition": "amount-at-least", "amount": "10.500"},
            ],
        },
        {
            "rule": "large",
            "verdict": "hold",
            "needed": 2,
            "within": "2d",
            "then": "return",
            "when": [{"condition": "sum-at-least", "side": "source", "amount": "100.000",
                      "window": "1d"}],
        },
    ],
}  # fmt: skip


class FakeServices(SimpleNamespace):
    """As much of a node as these methods ask of."""

    def __init__(self, node: FakeNode) -> None:
        state, small = _State(node.chain.state), node.chain

        def account(key: bytes) -> Account | None:
            data = state.get(KERNEL, account_key(key))
            return None if data is None else Account.unpack(data)

        time_ms = START_MS + 1_000 * small.height
        chain = SimpleNamespace(
            reader=state,
            registry=REGISTRY,
            genesis=small.genesis,
            params=small.genesis.params,
            height=small.height,
            tip=SimpleNamespace(time_ms=time_ms),
            account=account,
        )
        super().__init__(chain=chain, clock=SimpleNamespace(now_ms=lambda: time_ms + 1))

    def decimals_of(self, asset: str) -> int | None:
        found = get_asset(self.chain.reader, asset)
        return None if found is None else found.decimals


@pytest.fixture
def node() -> FakeNode:
    """A node whose ledger has officers, and which answers by its real methods."""
    node = FakeNode()
    node.chain = SmallChain(fee_min=1, roles=ROLES)

    def method(name: str) -> None:
        def answer(given: dict[str, Any]) -> Any:
            services = cast("Services", FakeServices(node))
            transactions = cast("TransactionMethods", None)
            found = [
                *ComplianceMethods(services, transactions).methods(),
                *CredentialMethods(services).methods(),
            ]
            (one,) = [each for each in found if each.name == name]
            try:
                params = cast("Any", one.params).model_validate(given)
                return one.handler(params, cast("Context", None))
            except NotFound as err:
                return RpcError(NOT_FOUND, str(err))
            except Refused as err:
                return RpcError(err.code.rpc_code, err.reason)

        node.overrides[name] = answer

    for name in (
        "compliance_check",
        "compliance_getRules",
        "compliance_listProposals",
        "compliance_getProposal",
        "compliance_getList",
        "compliance_listFreezes",
        "credential_list",
        "credential_check",
        "credential_listIssuers",
    ):
        method(name)
    return node


class Hand:
    """Runs commands that sign, without questions."""

    def __init__(self, cli: Cli, passphrase_file: str) -> None:
        self.cli = cli
        self.file = passphrase_file

    def signs(self, *arguments: str, by: str = "alice") -> Done:
        return self.cli(*arguments, "--from", by, "--passphrase-file", self.file, "--yes")

    def done(self, *arguments: str, by: str = "alice") -> str:
        found = self.signs(*arguments, by=by)
        assert found.code == 0, found.err
        return found.out

    def shows(self, *arguments: str, code: int = 0) -> str:
        found = self.cli(*arguments)
        assert found.code == code, found.err
        return found.out

    def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.shows(*arguments, "--json", code=code))


@pytest.fixture
def hand(cli: Cli, passphrase_file: str, wallet: Keystore) -> Hand:
    return Hand(cli, passphrase_file)


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "euro.json"
    path.write_text(json.dumps(POLICY))
    return str(path)


def later(node: FakeNode, blocks: int = 12) -> None:
    for _ in range(blocks):
        node.chain.block()


def test_a_policy_from_its_file_to_its_force_and_back_into_a_file(
    hand: Hand, file: str, node: FakeNode
) -> None:
    said = hand.done("compliance", "propose", file)
    assert (
        "1. known: If the payer is not attested kyc at level 1 or above and the amount is " in said
    )
    assert "10.500 EUR or more: refuse it: kyc-missing." in said
    assert "proposal 1 of the policy euro. 1 of 2 officers approve it." in said
    assert "clawpurse compliance approve 1" in said
    listed = hand.shows("compliance", "proposals")
    assert "euro" in listed and "open" in listed
    shown = hand.shows("compliance", "proposals", "1")
    assert "proposal 1, open" in shown and "For it: claw1" in shown
    said = hand.done("compliance", "approve", "1", by="bob")
    assert "2. large: If with this payment the payer pays 100.000 EUR or more over 1 day" in said
    assert "Approved: version 1 is in force from " in said
    assert "waiting" in hand.shows("compliance", "rules", "euro")
    later(node)
    assert "euro for EUR, version 1, active: What may be paid" in hand.shows("compliance", "rules")
    assert hand.json("compliance", "rules", "euro", "--as-file") == POLICY
    assert json.loads(hand.shows("compliance", "rules", "euro", "--as-file")) == POLICY
    assert hand.json("compliance", "rules", "--asset", "CLAW")["policies"] == []


def test_a_check_says_what_the_ledger_would_do_and_by_its_exit_code(
    hand: Hand, file: str, node: FakeNode
) -> None:
    free = ("compliance", "check", "bob", "11", "--asset", "EUR", "--from", "alice")
    assert "no policy governs it" in hand.shows(*free)
    hand.done("compliance", "propose", file)
    hand.done("compliance", "approve", "1", by="bob")
    later(node)
    said = hand.shows(*free, code=4)
    assert "✗ It would be refused." in said and "known: applies." in said
    assert "large: not asked." in said
    assert hand.json(*free, code=4)["verdict"] == "deny"
    small = hand.shows("compliance", "check", "bob", "1", "--asset", "EUR", "--from", "alice")
    assert "✓ It would be paid: 2 rules were asked" in small
    hand.done("credential", "set-issuer", "bob", "kyc")
    hand.done("credential", "issue", "alice", "kyc", "--subject", HASH, "--commitment", HASH,
              by="bob")  # fmt: skip
    hand.done("credential", "accept", "bob", "kyc")
    held = hand.shows(
        "compliance", "check", "bob", "100", "--asset", "EUR", "--from", "alice",
        "--travel-hash", HASH, "--approver", "bob", code=4,
    )  # fmt: skip
    assert "! It would be held until officers decide." in held
    assert "2 who hold the role compliance decide until" in held and "then: return" in held


def test_officers_reject_and_set_how_many_decide(hand: Hand, file: str) -> None:
    hand.done("compliance", "propose", file)
    said = hand.done("compliance", "reject", "1", "--reason", "a mistake")
    assert "It is rejected." in said
    assert "rejected" in hand.shows("compliance", "proposals", "1")
    said = hand.done("compliance", "quorum", "1", "--delay", "1m")
    assert "1 of 2 officers said so." in said
    assert "1 said compliance.setQuorum [1, 60000]" in hand.shows("compliance", "proposals")
    said = hand.done("compliance", "quorum", "1", "--delay", "1m", by="bob")
    assert "1 officer decides, policies wait 1m." in said
    assert hand.json("compliance", "rules")["quorum"] == {"needed": 1, "delayMs": 60_000}


def test_lists_are_made_changed_and_shown(hand: Hand) -> None:
    for officer in ("alice", "bob"):
        hand.done("compliance", "set-list", "blocked", "Not to be paid", by=officer)
    hand.done("compliance", "list-add", "blocked", "bob", HASH, "--reason", "case 7")
    assert "blocked" in hand.shows("compliance", "lists")
    shown = hand.json("compliance", "lists", "blocked")
    assert shown["count"] == 2 and HASH in [one["entry"] for one in shown["entries"]]
    assert HASH in hand.shows("compliance", "lists", "blocked")
    assert "put on by claw1" in hand.shows("compliance", "lists", "blocked", "--version", "1")
    hand.done("compliance", "list-remove", "blocked", "bob")
    assert "taken off" in hand.shows("compliance", "lists", "blocked", "--version", "2")
    assert hand.json("compliance", "lists", "blocked")["count"] == 1


def test_credentials_are_issued_accepted_checked_and_revoked(hand: Hand) -> None:
    hand.done("credential", "set-issuer", "bob", "kyc", "aml")
    assert "kyc, aml" in hand.shows("credential", "issuers")
    said = hand.done(
        "credential", "issue", "alice", "kyc", "--level", "3", "--subject", HASH,
        "--commitment", HASH, by="bob",
    )  # fmt: skip
    assert "is attested kyc at level 3" in said and "credential accept" in said
    assert "✗" in hand.shows("credential", "check", "alice", "kyc", code=1)
    hand.done("credential", "accept", "bob", "kyc")
    assert "kyc attested at level 3" in hand.shows("credential", "check", "alice", "kyc")
    assert hand.json("credential", "check", "alice", "kyc", "--level", "4", code=1)["level"] == 3
    listed = hand.shows("credential", "list", "alice")
    assert "accepted" in listed and "yes" in listed
    hand.done("credential", "revoke", "alice", "kyc", "--reason", "lapsed", by="bob")
    assert "revoked" in hand.shows("credential", "list", "alice")
    hand.done("credential", "remove-issuer", "bob", "--reason", "licence lost")
    assert "removed" in hand.shows("credential", "issuers")
    assert hand.json("credential", "issuers")["issuers"][0]["reason"] == "licence lost"


def test_freezes_and_explanations_are_printed(hand: Hand, node: FakeNode) -> None:
    assert hand.json("compliance", "freezes", "EUR")["freezes"] == []
    node.overrides["compliance_explain"] = lambda _: {"sentences": ["Refused.", "By a rule."]}
    assert hand.shows("compliance", "explain", HASH) == "Refused.\nBy a rule.\n"
    assert hand.json("compliance", "explain", HASH)["sentences"][0] == "Refused."


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": 1}, "policy.colour is none of"),
        ({"delay": "soon"}, "delay 'soon' is no span of time"),
        ({"asset": "USD"}, "There is no asset USD here."),
        ({"rules": [{"rule": "a", "verdict": "maybe", "when": []}]}, "rules[0].verdict is none of"),
        ({"rules": [{"rule": "a", "verdict": "deny", "when": []}]}, "rules[0].code is missing"),
        ({"rules": [{"rule": "a", "verdict": "allow", "when": [{"condition": "weather"}]}]},
         "rules[0].when[0].condition is none of"),
        ({"rules": [{"rule": "a", "verdict": "allow",
                     "when": [{"condition": "amount-below", "amount": "1.2345"}]}]},
         "rules[0].when[0].amount 1.2345 has 4 decimals"),
        ({"rules": [{"rule": "a", "verdict": "allow", "when": []}] * 2}, "names the rule a twice"),
        ({"asset": None, "rules": [{"rule": "a", "verdict": "allow",
                                    "when": [{"condition": "amount-below", "amount": "1"}]}]},
         "needs a policy for one asset"),
        ({"rules": [{"rule": "a", "verdict": "allow", "within": "1d", "when": []}]},
         "rules[0].within is none of"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_the_place_in_it(
    hand: Hand, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps({**POLICY, **change}))
    found = hand.cli("compliance", "propose", str(path), "--show")
    assert found.code == 2 and said in found.err, found.err
    assert "\n" not in found.err.strip()


def test_only_showing_a_file_signs_nothing(hand: Hand, file: str, node: FakeNode) -> None:
    assert "1. known: If" in hand.shows("compliance", "propose", file, "--show")
    assert not [name for name, _ in node.calls if name == "tx_submit"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("compliance", "propose", "no-such-file.json"), "cannot be read"),
        (("compliance", "rules", "--version", "1"), "--version needs the name of a policy."),
        (("compliance", "lists", "--version", "1"), "--version needs the name of a list."),
        (("compliance", "explain", "0x12"), "is no transaction."),
        (("compliance", "approve", "seven"), "is no proposal."),
        (("compliance", "quorum", "2", "--delay", "x"), "is no span of time"),
        (("compliance", "list-add", "Blocked", "bob"), "compliance.addToList.list"),
        (("credential", "revoke", "bob", "kyc", "--reason", "A sentence."), "reason"),
        (("credential", "issue", "bob", "kyc", "--subject", "x", "--commitment", HASH),
         "is no commitment."),
    ],
)  # fmt: skip
def test_what_is_mistyped_is_refused_in_a_line(
    hand: Hand, arguments: tuple[str, ...], said: str
) -> None:
    found = hand.cli(*arguments)
    assert found.code == 2 and said in found.err, found.err
    assert "\n" not in found.err.strip()
