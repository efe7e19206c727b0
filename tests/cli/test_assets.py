"""`asset …`: what issuers and holders type, see and get.

If these failed, an issuer could mint the wrong amount, or not see whom it froze.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from clawpurse.cli.assets import document_digest
from clawpurse.cli.cmd_asset import DUTIES, FLAGS
from clawpurse.cli.failures import UsageFault
from clawpurse.ledger.address import account_from_text
from clawpurse.ledger.errors import NotFound, OperatorError
from clawpurse.ledger.kernel.records import Role, role_key
from clawpurse.ledger.module_api import KERNEL
from clawpurse.modules.assets import records
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError
from clawpurse.modules.kit.web.jsonrpc import Context
from clawpurse.node.rpc import asset_methods as rpc
from clawpurse.node.rpc.histories import balances_in
from clawpurse.node.rpc.services import Services
from clawpurse.wallet.keystore import Keystore
from tests.cli.conftest import Cli, Done
from tests.cli.fakenode import FakeNode
from tests.wallet.smallchain import START_MS, _State


@pytest.fixture(autouse=True)
def ready(node: FakeNode, wallet: Keystore) -> None:
    """Alice is an issuer; the node shows its assets by its real methods."""
    alice = node.chain.alice.account
    node.chain.state[KERNEL, role_key(alice, "issuer")] = Role(0, alice).pack()

    def method(name: str, params: type[Any]) -> None:
        def answer(given: dict[str, Any]) -> Any:
            chain = SimpleNamespace(
                reader=_State(node.chain.state),
                height=node.chain.height,
                tip=SimpleNamespace(time_ms=START_MS + 1_000 * node.chain.height),
            )
            services = cast("Services", SimpleNamespace(chain=chain))
            handlers = {one.name: one.handler for one in rpc.AssetMethods(services).methods()}
            try:
                return handlers[name](params.model_validate(given), cast("Context", None))
            except NotFound as err:
                return RpcError(NOT_FOUND, str(err))

        node.overrides[name] = answer

    def balances(given: dict[str, Any]) -> Any:
        account = account_from_text(given["account"])
        found = balances_in(_State(node.chain.state), account, newest=True)
        return {"account": given["account"], "balances": found}

    node.overrides["account_getBalances"] = balances
    method("asset_get", rpc.AssetParams)
    method("asset_list", rpc.AssetListParams)
    method("asset_getHolders", rpc.HolderListParams)
    method("asset_getHolding", rpc.HoldingParams)


class Desk:
    """Runs `asset …` without questions."""

    def __init__(self, cli: Cli, passphrase_file: str) -> None:
        self.cli = cli
        self.file = passphrase_file

    def signs(self, *arguments: str, by: str = "alice") -> Done:
        signing = ("--from", by, "--passphrase-file", self.file, "--yes")
        return self.cli("asset", *arguments, *signing)

    def done(self, *arguments: str, by: str = "alice") -> str:
        found = self.signs(*arguments, by=by)
        assert found.code == 0, found.err
        return found.out + found.err

    def shows(self, *arguments: str) -> str:
        found = self.cli("asset", *arguments)
        assert found.code == 0, found.err
        return found.out


@pytest.fixture
def desk(cli: Cli, passphrase_file: str) -> Desk:
    return Desk(cli, passphrase_file)


EURX = ("create", "EURX", "--title", "Euro X", "--flag", "freezable", "--flag", "clawback")


def test_an_asset_from_its_creation_to_its_redemption(desk: Desk) -> None:
    said = desk.done(*EURX, "--cap", "1,000.00", "--metadata", "https://eurx.example")
    assert "of which at most 1,000.00 may exist" in said
    assert "EURX exists; nothing of it was minted yet." in said
    said = desk.done("mint", "EURX", "bob", "250.5")
    assert "Create 250.50 EURX for claw1" in said and "250.5 EURX created for bob claw1" in said
    shown = desk.shows("show", "EURX")
    for part in (
        "EURX (Euro X), 2 decimals",
        "250.50 EURX",
        "1,000.00 EURX",
        "freezable, clawback",
    ):
        assert part in shown
    paid = desk.cli(
        "send", "alice", "50", "--asset", "EURX", "--from", "bob", "--passphrase-file", desk.file,
        "--yes", "--allow-new-recipient",
    )  # fmt: skip
    assert paid.code == 0, paid.err
    assert "50 EURX destroyed." in desk.done("burn", "EURX", "50")
    assert "200.50 EURX" in desk.shows("list", "--issuer", "alice")
    assert desk.signs("mint", "EURX", "bob", "800").code == 4


def test_a_freeze_is_seen_and_ended(desk: Desk) -> None:
    desk.done(*EURX)
    desk.done("mint", "EURX", "bob", "10")
    said = desk.done("freeze", "EURX", "bob", "--deep", "--reason", "court-order")
    assert "it neither sends nor receives EURX. Reason: court-order." in said
    for arguments in (("holders", "EURX"), ("holders", "EURX", "bob"),
                      ("holders", "EURX", "--frozen")):  # fmt: skip
        assert "frozen deeply: court-order" in desk.shows(*arguments)
    said = desk.done("clawback", "EURX", "bob", "4", "--to", "alice", "--reason", "theft")
    assert "4 EURX taken from bob claw1" in said
    desk.done("unfreeze", "EURX", "bob")
    assert "frozen" not in desk.shows("holders", "EURX")
    assert "all EURX is frozen." in desk.done("freeze", "EURX", "--all")
    assert "all of it" in desk.shows("show", "EURX")
    assert "EURX moves again" in desk.done("unfreeze", "EURX", "--all")


def test_holders_are_authorised_in_levels(desk: Desk) -> None:
    desk.done(*EURX, "--flag", "authorisation-required")
    assert desk.signs("mint", "EURX", "bob", "1").code == 4
    desk.done("authorise", "EURX", "bob")
    desk.done("mint", "EURX", "bob", "1")
    desk.done("authorise", "EURX", "bob", "--level", "limited")
    assert "authorisation limited" in desk.shows("holders", "EURX")


def test_an_agent_attests_a_reserve(desk: Desk, tmp_path: Path) -> None:
    report = tmp_path / "report.pdf"
    report.write_bytes(b"all is there")
    desk.done(*EURX, "--flag", "reserve")
    desk.done("appoint", "EURX", "reserve", "bob")
    attesting = (
        "reserve", "EURX", "100", "--as-of", "2027-01-01T00:00:00Z", "--valid-until",
        "2027-04-01T00:00:00Z", "--document", str(report),
    )  # fmt: skip
    said = desk.done(*attesting, by="bob")
    assert "the reserve of EURX is attested as 100." in said
    assert hashlib.sha256(b"all is there").hexdigest() in said
    assert "100.00 EURX as of 2027-01-01" in desk.shows("show", "EURX")
    desk.done("dismiss", "EURX", "reserve", "bob")
    assert desk.signs(*attesting, by="bob").code == 4


def test_flags_bind_so_the_network_s_name_is_asked_for(desk: Desk, node: FakeNode) -> None:
    desk.done(*EURX)
    assert desk.signs("flags", "EURX", "--give-up", "clawback").code == 2
    named = ("--i-understand", node.chain.genesis.chain_id)
    said = desk.done("flags", "EURX", "--give-up", "clawback", "--add", "immutable", *named)
    assert "flags of EURX: with immutable, without clawback." in said
    assert "freezable, transferable, immutable" in desk.shows("flags", "EURX")
    assert desk.signs("flags", "EURX", "--add", "reserve", *named).code == 4


def test_a_cap_and_what_is_said_can_change(desk: Desk) -> None:
    desk.done(*EURX)
    assert "the cap of EURX is 5." in desk.done("cap", "EURX", "5")
    assert "EURX has no cap." in desk.done("cap", "EURX", "--none")
    desk.done("metadata", "EURX", "--text", "see there", "--document-hash", "0x" + "ab" * 32)
    shown = desk.shows("show", "EURX")
    assert "see there" in shown and "0x" + "ab" * 32 in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "eurx", "--title", "x"], "The asset 'eurx'"),
        (["create", "EURX", "--title", "x", "--cap", "1.234"], "has 3 decimals"),
        (["create", "EURX", "--title", "x", "--flag", "transferable", "--not-transferable"],
         "or it is not"),
        (["freeze", "EURX"], "or say --all"),
        (["freeze", "EURX", "bob", "--all"], "or say --all"),
        (["freeze", "EURX", "--all", "--deep"], "frozen deeply"),
        (["freeze", "EURX", "bob", "--reason", "Bad One"], "The reason 'Bad One'"),
        (["unfreeze", "EURX"], "or say --all"),
        (["mint", "EURX", "bob", "1"], "There is no asset EURX"),
        (["flags", "EUR", "--add", "reserve", "--give-up", "reserve"], "or given up"),
        (["cap", "EURX"], "or --none"),
        (["reserve", "EUR", "1", "--as-of", "2027-01-01T00:00:00Z", "--valid-until", "1d"],
         "attested by a report"),
        (["clawback", "EUR", "bob", "1", "--to", "alice", "--reason", "x", "--hold", "7"],
         "is no hold"),
    ],
)  # fmt: skip
def test_what_was_typed_wrongly_sends_nothing(
    desk: Desk, node: FakeNode, arguments: list[str], words: str
) -> None:
    done = desk.signs(*arguments)
    assert done.code == 2 and words in done.err and "Nothing was sent" in done.err
    assert "tx_submit" not in [method for method, _ in node.calls]


def test_programs_get_what_the_node_says(desk: Desk) -> None:
    desk.done(*EURX)
    shown = json.loads(desk.shows("show", "EURX", "--json"))
    assert (shown["asset"], shown["flags"]) == ("EURX", ["freezable", "clawback", "transferable"])
    assert len(json.loads(desk.shows("list", "--json"))["assets"]) == 3
    assert json.loads(desk.shows("holders", "EURX", "--json"))["holders"] == []


def test_one_account_or_a_list(desk: Desk) -> None:
    done = desk.cli("asset", "holders", "EUR", "bob", "--frozen")
    assert done.code == 2 and "One account, or a list." in done.err


def test_a_document_is_a_file_or_a_hash(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="or its hash"):
        document_digest(tmp_path / "x", "0x" + "00" * 32)
    with pytest.raises(OperatorError, match="cannot be read"):
        document_digest(tmp_path / "x", None)
    assert document_digest(None, None) is None


def test_help_names_every_flag_and_duty() -> None:
    """The page of help is shown without the ledger, so it repeats its names."""
    shown = [
        flag.replace("authorisation-required", "authorisationRequired") for flag in FLAGS.choices
    ]
    assert tuple(shown) == records.FLAG_NAMES
    assert tuple(DUTIES.choices) == records.DUTIES
