"""`multisig …`: what signers are shown before they sign, and a node that lies about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from clawpurse.ledger.address import account_text
from clawpurse.modules.accounts.records import Contents
from tests.cli.conftest import Cli, Done
from tests.cli.fakenode import FakeNode, shown_as
from tests.cli.signernode import teach

pytestmark = pytest.mark.usefixtures("wallet")
Act = Callable[..., Done]


@pytest.fixture
def act(cli: Cli, node: FakeNode, passphrase_file: str) -> Act:
    teach(node)

    def call(*arguments: str, by: str = "alice") -> Done:
        more = ["--from", by, "--passphrase-file", passphrase_file, "--yes"]
        return cli("multisig", *arguments, *more)

    return call


@pytest.fixture
def firm(act: Act, cli: Cli, node: FakeNode) -> str:
    """Alice and Bob together; funded, and a contact of the name firm."""
    done = act("create", "2", "alice", "bob", "--json")
    assert done.code == 0, done.err
    account: str = json.loads(done.out)["account"]
    paid = cli("wallet", "contacts", "add", "firm", account)
    assert paid.code == 0, paid.err
    return account


def fund(cli: Cli, passphrase_file: str) -> None:
    done = cli("wallet", "send", "firm", "100", "--from", "alice", "--yes",
               "--allow-new-recipient", "--passphrase-file", passphrase_file)  # fmt: skip
    assert done.code == 0, done.err


def proposed(act: Act, *more: str) -> str:
    done = act("propose", "firm", *(more or ("--pay", "bob", "2.5", "CLAW")), "--json")
    assert done.code == 0, done.err
    proposal: str = json.loads(done.out)["proposal"]
    return proposal


def test_two_people_pay_together(
    act: Act, cli: Cli, firm: str, node: FakeNode, passphrase_file: str
) -> None:
    fund(cli, passphrase_file)
    done = act("propose", "firm", "--pay", "bob", "2.5", "CLAW", "--memo", "rent")
    assert done.code == 0, done.err
    assert "2.50 CLAW" in done.err and "Next, each other signer" in done.err
    proposal = next(line.split()[1] for line in done.out.splitlines() if "Proposal" in line)
    early = act("execute", proposal)
    assert early.code == 4 and "weigh 1, 2 are needed" in early.err
    done = act("approve", proposal, by="bob")
    assert done.code == 0, done.err
    assert f"Proposal 1 for firm {firm}" in done.err and "2.50 CLAW" in done.err
    assert "Memo: rent" in done.err and "1 of 2 is missing; not approved by bob (1)." in done.err
    assert "any signer can execute it" in done.out
    done = act("execute", proposal, by="bob")
    assert done.code == 0, done.err
    assert "it was done" in done.out
    gone = act("approve", proposal)
    assert gone.code == 4 and "No open proposal has that id" in gone.err


def test_lists_and_proposals_are_shown(act: Act, cli: Cli, firm: str) -> None:
    proposal = proposed(act)
    listed = cli("multisig", "list", "alice")
    assert listed.code == 0, listed.err
    assert f"firm {firm}: 2 of a weight of 2 sign" in listed.out
    assert proposal in listed.out and "assets.transfer" in listed.out
    same = json.loads(cli("multisig", "list", "firm", "--json").out)
    assert [one["proposal"] for one in same["accounts"][0]["proposals"]] == [proposal]
    shown = cli("multisig", "show", "firm")
    assert shown.code == 0 and shown.out.count("  1  ") == 2
    shown = cli("multisig", "show", proposal)
    assert shown.code == 0 and "1. " in shown.err
    document = json.loads(cli("multisig", "show", proposal, "--json").out)
    assert document["weight"] == 1
    alone = cli("multisig", "show", "alice")
    assert "one key signs, 0x" in alone.out


def test_rejecting_and_taking_back_end_a_proposal(act: Act, firm: str) -> None:
    done = act("reject", proposed(act), by="bob")
    assert done.code == 0 and "The proposal is over." in done.out
    done = act("withdraw", proposed(act))
    assert done.code == 0 and "The proposal is over." in done.out


def test_actions_come_from_a_file(act: Act, firm: str, tmp_path: Path) -> None:
    file = tmp_path / "open.json"
    other = account_text(b"\x05" * 32)
    file.write_text(
        json.dumps({"name": "accounts.open", "fields": {"account": other}}), encoding="utf-8"
    )
    done = act("propose", "firm", "--action", str(file))
    assert done.code == 0, done.err
    assert f"Open the account {other}" in done.err
    file.write_text("{}", encoding="utf-8")
    done = act("propose", "firm", "--action", str(file))
    assert done.code == 2 and "action: is not an object" in done.err
    file.write_bytes(b"\xff")
    assert act("propose", "firm", "--action", str(file)).code == 2
    assert act("propose", "firm", "--action", str(tmp_path / "none.json")).code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "3", "alice", "bob"), "never reached"),
        (("create", "1", "alice", "alice"), "twice"),
    ],
)
def test_a_policy_that_is_none_is_refused(act: Act, arguments: tuple[str, ...], said: str) -> None:
    done = act(*arguments)
    assert done.code == 4 and said in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "1", "alice=x"),
        ("create", "1", "alice="),
        ("create", "1", "nobody"),
        ("create", "1", "alice", "--salt", "0x07"),
        ("propose", "firm"),
        ("propose", "firm", "--pay", "bob", "2.505", "CLAW"),
        ("propose", "firm", "--pay", "bob", "1", "CLAW", "--expires", "soon"),
        ("propose", "firm", "--pay", "bob", "1", "CLAW", "--memo", "x" * 257),
        ("approve", "0x07"),
        ("execute", "firm"),
    ],
)
def test_what_was_mistyped_is_not_sent(act: Act, firm: str, arguments: tuple[str, ...]) -> None:
    done = act(*arguments)
    assert done.code == 2, (done.out, done.err)
    assert len(done.err.strip().splitlines()) == 1


def test_the_same_salt_names_the_same_account(act: Act) -> None:
    salt = "0x" + "07" * 32
    first = act("create", "1", "alice=2", "bob", "--salt", salt)
    assert first.code == 0, first.err
    again = act("create", "1", "alice=2", "bob", "--salt", salt)
    assert again.code == 4 and "created before" in again.err


def test_an_account_gets_signers_in_place_of_its_key(
    act: Act, cli: Cli, node: FakeNode, passphrase_file: str
) -> None:
    """What cannot be taken back by one person alone is confirmed by the network's name."""
    done = act("appoint", "1", "bob")
    assert done.code == 2 and "i-understand" in done.err
    chain_id = node.chain.genesis.chain_id
    unsure = act("appoint", "1", "bob", "--i-understand", "another-chain")
    assert unsure.code == 2
    done = act("appoint", "1", "bob=3", "--i-understand", chain_id)
    assert done.code == 0, done.err
    assert "no key of its own" in done.err
    shown = json.loads(cli("multisig", "show", "alice", "--json").out)
    assert (shown["key"], shown["threshold"]) == (None, 1)
    assert [one["weight"] for one in shown["signers"]] == [3]
    alone = cli("wallet", "send", "bob", "1", "--from", "alice", "--yes",
                "--passphrase-file", passphrase_file)  # fmt: skip
    assert alone.code != 0
    absent = act("appoint", "1", "nobody", "--i-understand", chain_id, by="bob")
    assert absent.code == 2 and "not in this home" in absent.err


def test_a_node_that_shows_other_contents_is_not_believed(
    act: Act, firm: str, node: FakeNode
) -> None:
    """Else a node could have Bob approve a payment to a thief by showing him his rent."""
    proposal = proposed(act)
    honest = node.overrides["multisig_getProposal"]
    raw = bytes.fromhex(honest({"proposal": proposal})["contents"][2:])
    other = Contents.unpack(raw)._replace(memo=b"rent").pack()
    before = len(node.final)
    for contents in (f"0x{other.hex()}", "0x", "zz", None):
        node.overrides["multisig_getProposal"] = partial(shown_as, honest, {"contents": contents})
        for verb in ("approve", "execute"):
            assert act(verb, proposal, by="bob").code != 0
    assert len(node.final) == before
