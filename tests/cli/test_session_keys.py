"""`session …`, `sponsor …`, and paying by a session key or with a sponsor's fee, as typed.

If these failed, an owner could not give an agent its limits, or an agent not pay within them.
"""

from __future__ import annotations

import json

import pytest

from clawpurse.ledger.errors import Code
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.keystore import Keystore
from tests.cli.conftest import PASSPHRASE, Cli, Done
from tests.cli.fakenode import FakeNode

AGENT = SigningKey(b"\xa9" * 32)


@pytest.fixture(autouse=True)
def agent(wallet: Keystore) -> None:
    """A third key in this home, whose account is not open."""
    wallet.import_seed("agent", PASSPHRASE, AGENT.reveal_seed())


@pytest.fixture
def create(cli: Cli, passphrase_file: str) -> Cli:
    """Let the agent take 10.00 CLAW at once and 20.00 a day from Alice."""

    def call(*more: str) -> Done:
        command = ["session", "create", "agent", "--cap", "CLAW", "10", "20", "--label", "shop"]
        signed = ["--from", "alice", "--passphrase-file", passphrase_file, "--yes"]
        return cli(*command, *more, *signed)

    return call


@pytest.fixture
def send(cli: Cli, passphrase_file: str) -> Cli:
    """Pay Bob as the agent, for Alice."""

    def call(amount: str, *more: str) -> Done:
        signed = ["--from", "agent", "--passphrase-file", passphrase_file, "--yes"]
        return cli("wallet", "send", "bob", amount, *signed, "--for", "alice", *more)

    return call


def test_an_agent_pays_within_what_its_owner_typed(create: Cli, send: Cli, cli: Cli) -> None:
    done = create()
    assert done.code == 0, done.err
    assert "✓ Final in block 1: agent may sign for alice until 20" in done.out
    said = done.err
    for part in ("10.00 CLAW at once", "20.00 CLAW a day", "lane 1", "assets.transfer", "(shop)"):
        assert part in said, said
    assert "Next: clawpurse wallet send ACCOUNT 1 --from agent --for alice" in said
    done = send("9.99")
    assert done.code == 0, done.err
    assert "by session key, lane 1" in done.err
    assert "Next: clawpurse wallet history alice" in done.err
    done = cli("session", "show", "alice", "agent")
    assert "10.00 CLAW at once, 20.00 CLAW a day; 10.00 CLAW left until 2027-" in done.out
    listed = cli("session", "list", "alice").out
    assert listed.split("\t")[0] == "shop" and "10.00 CLAW" in listed
    by_key = cli("session", "list", "--of", "agent", "--json")
    assert len(json.loads(by_key.out)["sessions"]) == 1


def test_what_is_above_a_cap_is_refused_and_told(create: Cli, send: Cli) -> None:
    create()
    done = send("10")
    assert done.code != 0
    assert "Refused in block 2" in done.err and "at once" in done.err
    done = send("5", "--lane", "2")
    assert done.code == 2
    assert "agent may use lane 1 of alice" in done.err


def test_the_node_is_asked_as_the_session_key_before_anything_is_signed(
    create: Cli, send: Cli, node: FakeNode
) -> None:
    create()
    node.overrides["tx_simulate"] = lambda _params: {
        "code": "quotaExceeded",
        "reason": "That session key may take 0 CLAW more until midnight.",
        "rule": "kernel.sessionDay",
        "fee": "1",
        "feeMin": "1",
        "cost": 1,
        "trace": [],
    }
    done = send("5")
    assert done.code != 0 and "until midnight" in done.err and "Nothing was sent" in done.err
    assert f"clawpurse session show alice 0x{AGENT.public_key.hex()}" in done.err
    asked = [params for method, params in node.calls if method == "tx_simulate"][-1]
    assert asked["signer"] == f"0x{AGENT.public_key.hex()}"
    assert "sponsored" not in asked


def test_what_no_block_would_take_is_told_with_where_to_look(
    create: Cli, send: Cli, cli: Cli, node: FakeNode, passphrase_file: str
) -> None:
    create("--memo", "order ", "--allow", "accounts.open")
    reason = "that session key must write a memo"
    node.refuse("tx_simulate", Code.NOT_AUTHORISED, reason)
    look = f"→ clawpurse session show alice 0x{AGENT.public_key.hex()}"
    done = send("5")
    assert done.code == 4
    assert done.err.strip() == f"That session key must write a memo. Nothing was sent. {look}"
    signed = ["--from", "agent", "--for", "alice", "--passphrase-file", passphrase_file, "--yes"]
    done = cli("session", "resign", "agent", "alice", *signed)
    assert done.err.strip() == f"That session key must write a memo. Nothing was sent. {look}"
    node.refuse("tx_simulate", Code.QUOTA_EXCEEDED, "the fee is too high")
    signed = ["--passphrase-file", passphrase_file, "--yes"]
    done = cli("wallet", "send", "alice", "5", "--from", "bob", "--payer", "alice", *signed)
    assert "→ clawpurse sponsor list --of bob" in done.err


def test_a_key_that_is_no_session_key_sends_nothing(send: Cli, cli: Cli) -> None:
    done = send("5")
    assert done.code != 0
    assert "agent is no session key of alice" in done.err
    assert "clawpurse session list alice" in done.err
    done = cli("session", "show", "alice", "agent")
    assert done.code != 0 and "no session key" in done.err


def test_a_recipient_a_memo_and_lanes_are_set(create: Cli, send: Cli, cli: Cli) -> None:
    done = create("--to", "bob", "--memo", "order ", "--lane", "7", "--lane", "9")
    assert done.code == 0, done.err
    shown = json.loads(cli("session", "show", "alice", "agent", "--json").out)
    assert (shown["lanes"], shown["memoText"]) == ([7, 9], "order ")
    assert len(shown["recipients"]) == 1
    assert send("5").code != 0
    assert send("5", "--memo", "order 17").code == 0
    assert send("5", "--memo", "order 18", "--lane", "9").code == 0


def test_an_owner_revokes(create: Cli, send: Cli, cli: Cli, passphrase_file: str) -> None:
    create()
    signed = ["--passphrase-file", passphrase_file, "--yes"]
    done = cli("session", "revoke", "agent", "--from", "alice", *signed)
    assert done.code == 0, done.err
    assert "agent may do nothing for alice any more" in done.out
    assert send("5").code != 0
    assert cli("session", "list", "alice").out == ""


def test_an_agent_resigns_and_another_pays(create: Cli, cli: Cli, passphrase_file: str) -> None:
    create()
    signed = ["--from", "bob", "--passphrase-file", passphrase_file, "--yes"]
    done = cli("session", "resign", "agent", "alice", *signed)
    assert done.code == 0, done.err
    assert cli("session", "list", "alice").out == ""


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--cap", "CLAW", "1", "nothing"), "not a number"),
        (("--cap", "GOLD", "1", "2"), "no asset GOLD"),
        (("--cap", "EUR", "5", "1"), "below"),
        (("--expires", "tomorrow"), "no time"),
        (("--expires", "400d"), "within 365 days"),
        (("--to", "nobody"), "nobody"),
        (("--label", "x" * 33), "label"),
        (("--memo", "x" * 65), "memo"),
        (("--for", "bob"), "cannot change sessions"),
        (("--allow", "accounts.changeKey"), "No session key may be allowed"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused_in_a_line(
    create: Cli, more: tuple[str, ...], said: str
) -> None:
    done = create(*more)
    assert done.code != 0
    assert said in done.err.splitlines()[-1], done.err


def test_a_sponsor_pays_the_fee_without_signing(cli: Cli, passphrase_file: str) -> None:
    signed = ["--passphrase-file", passphrase_file, "--yes"]
    limits = ["--at-once", "0.01", "--a-day", "0.02", "--total", "1"]
    done = cli("sponsor", "grant", "bob", *limits, "--from", "alice", *signed)
    assert done.code == 0, done.err
    assert "0.01 CLAW for a transaction, 0.02 CLAW a day, 1.00 CLAW altogether" in done.err
    done = cli("wallet", "send", "alice", "5", "--from", "bob", "--payer", "alice", *signed)
    assert done.code == 0, done.err
    assert "fee 0.01 CLAW paid by alice, left 995.00" in done.err
    row = cli("sponsor", "list", "alice").out.split("\t")
    assert row[1:5] == ["0.01 CLAW", "0.01 CLAW", "0.99 CLAW", "any"]
    assert cli("sponsor", "list", "--of", "bob").out.split("\t")[1:5] == row[1:5]
    done = cli("sponsor", "end", "bob", "--from", "alice", *signed)
    assert done.code == 0, done.err
    done = cli("wallet", "send", "alice", "5", "--from", "bob", "--payer", "alice", *signed)
    assert done.code != 0 and "does not sponsor" in done.err
    assert cli("sponsor", "list", "alice").out == ""


def test_an_agent_s_fee_is_sponsored(
    create: Cli, send: Cli, cli: Cli, node: FakeNode, passphrase_file: str
) -> None:
    create()
    signed = ["--passphrase-file", passphrase_file, "--yes"]
    limits = ["--at-once", "0.01", "--a-day", "0.02", "--total", "1"]
    cli("sponsor", "grant", "alice", *limits, "--from", "bob", *signed)
    done = send("10", "--payer", "bob")
    assert done.code == 0, done.err
    asked = [params for method, params in node.calls if method == "tx_simulate"][-1]
    assert asked["sponsored"] is True and "signer" in asked
    assert send("1", "--payer", "alice").code == 2


def test_other_commands_act_by_a_session_key_too(
    create: Cli, cli: Cli, passphrase_file: str
) -> None:
    create("--allow", "accounts.resignSession")
    signed = ["--from", "agent", "--for", "alice", "--passphrase-file", passphrase_file, "--yes"]
    done = cli("session", "resign", "agent", "alice", *signed)
    assert done.code == 0, done.err
    assert "For alice, by the session key agent." in done.err


def test_guardrails_become_a_session_key_and_what_cannot_is_named(
    cli: Cli, passphrase_file: str, send: Cli
) -> None:
    signed = ["--passphrase-file", passphrase_file]
    limits = ["--max", "CLAW", "10", "--per-day", "CLAW", "20", "--memo-begins", "order "]
    done = cli("wallet", "guardrails", "set", "alice", *limits, *signed)
    assert done.code == 0, done.err
    grant = ["session", "create", "agent", "--from-guardrails", "alice", "--from", "alice"]
    done = cli(*grant, *signed, "--yes", "--json")
    assert done.code == 0, done.err
    assert "It may pay anybody" in done.err and "asked above 100.00 CLAW" in done.err
    assert len(json.loads(done.out)["notOnLedger"]) == 3
    shown = cli("session", "show", "alice", "agent").out
    assert "10.00 CLAW at once, 20.00 CLAW a day" in shown and "begins with “order ”" in shown
    done = cli(*grant, *signed, "--yes", "--cap", "CLAW", "1", "2")
    assert done.code == 2 and "say all limits" in done.err
    done = cli("wallet", "allowlist", "init", "--from", "alice", *signed)
    assert done.code == 0, done.err
    done = cli(*grant, *signed, "--yes")
    assert done.code == 2 and "refuse everybody" in done.err


def test_a_program_reads_which_limit_of_its_key_it_hit_and_when_that_resets(
    create: Cli, send: Cli, node: FakeNode
) -> None:
    create()
    assert send("9.99").code == 0
    node.overrides["tx_simulate"] = lambda _params: {
        "code": "quotaExceeded",
        "reason": "That session key may take 10.00 CLAW more until midnight.",
        "rule": "kernel.sessionDay",
        "fee": "1",
        "feeMin": "1",
        "cost": 1,
        "trace": [],
    }
    done = send("10", "--json")
    assert done.code == 4, done.err
    error = json.loads(done.out)["error"]
    assert error["name"] == "quotaExceeded"
    assert [one["limit"] for one in error["refusals"]] == ["sessionPerTransaction", "sessionPerDay"]
    day = error["refusals"][1]
    assert (day["allowed"], day["asked"], day["spent"]) == ("2000", "1001", "1000")
    assert day["resetsAt"].endswith("T00:00:00.000Z")
