"""`wallet guardrails` and `wallet allowlist`, as typed.

If these failed, a person could not see or set what a key may pay, or anybody could loosen it.
"""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from clawpurse.ledger.address import account_text
from clawpurse.modules.kit.web.errors import Unreachable
from clawpurse.wallet import second_factor
from clawpurse.wallet.keystore import Keystore
from tests.cli.conftest import Cli, Done, SettableClock
from tests.cli.fakenode import FakeNode


@pytest.fixture
def rails(cli: Cli, wallet: Keystore, passphrase_file: str) -> Cli:
    """`rails("set", "alice", …)`: a change of guardrails with the passphrase from its file."""

    def call(*words: str) -> Done:
        return cli("wallet", "guardrails", *words, "--passphrase-file", passphrase_file)

    return call


@pytest.fixture
def code(rails: Cli, tmp_path: Path, clock: SettableClock) -> Path:
    """A file that holds alice's next code; codes are enrolled."""
    secret_file, code_file = tmp_path / "secret", tmp_path / "code"
    done = rails("enrol", "alice", "--secret-file", str(secret_file))
    assert done.code == 0, done.err
    assert stat.S_IMODE(secret_file.stat().st_mode) == 0o600
    (text,) = parse_qs(urlsplit(secret_file.read_text().strip()).query)["secret"]
    secret = base64.b32decode(text)

    def write() -> None:
        step = second_factor.step_of(clock.time_ms)
        code_file.write_text(second_factor.hotp(secret, step) + "\n")

    write()
    done = rails("enrol", "alice", "--code-file", str(code_file))
    assert done.code == 0, done.err
    clock.time_ms += 60_000
    write()
    return code_file


def test_a_key_shows_its_default_limits(cli: Cli, wallet: Keystore) -> None:
    done = cli("wallet", "guardrails", "show", "alice")
    assert done.code == 0, done.err
    assert "1,000.00 at once, 5,000.00 a day, asked above 100.00" in done.out
    assert "the default ones" in done.out and "words of the key only" in done.out
    shown = json.loads(cli("wallet", "guardrails", "show", "alice", "--json").out)
    assert shown["mode"] == "enforce" and shown["revision"] == 0
    assert shown["assets"][0]["perTransaction"] == "100000"


def test_tightening_needs_the_passphrase_alone(rails: Cli, cli: Cli) -> None:
    done = rails("set", "alice", "--max", "CLAW", "500", "--memo-required", "--unknown", "refuse")
    assert done.code == 0, done.err
    assert "revision 1" in done.out
    shown = cli("wallet", "guardrails", "show", "alice").out
    assert "500.00 at once, 5,000.00 a day" in shown and "required" in shown
    assert cli("wallet", "guardrails", "show", "bob").out.count("the default ones") == 1


def test_loosening_without_a_second_factor_is_refused_and_says_what_would_do(rails: Cli) -> None:
    done = rails("set", "alice", "--max", "CLAW", "5000")
    assert done.code == 4
    assert "a second factor or a co-signer is needed. Nothing was changed." in done.err
    assert "→ clawpurse wallet guardrails enrol alice" in done.err
    for words in (("disable", "alice"), ("set", "alice", "--cosigner", "bob")):
        assert rails(*words).code == 4


def test_a_code_loosens_once(rails: Cli, code: Path, cli: Cli) -> None:
    done = rails("set", "alice", "--max", "CLAW", "2000", "--code-file", str(code))
    assert done.code == 0, done.err
    assert "higher, or gone" in done.err
    done = rails("disable", "alice", "--code-file", str(code))
    assert done.code == 4 and "used already" in done.err
    assert rails("disable", "alice").err.endswith("→ --code-file FILE\n")
    log = cli("wallet", "guardrails", "log", "alice")
    assert log.code == 0 and "change by code" in log.out and "none missing" in log.err


def test_a_co_signer_agrees_to_a_change(rails: Cli, code: Path, cli: Cli, tmp_path: Path) -> None:
    assert rails("set", "alice", "--cosigner", "bob", "--code-file", str(code)).code == 0
    request, approval = tmp_path / "request.json", tmp_path / "approval.json"
    done = rails("disable", "alice", "--request", str(request))
    assert done.code == 0 and f"approve {request}" in done.err
    words = ("approve", str(request), "--from", "bob", "-o", str(approval), "--yes")
    done = rails(*words)
    assert done.code == 0, done.err
    assert "would only say what they refuse now" in done.err
    done = rails(
        "set", "alice", "--memo-begins", "x", "--unknown", "allow", "--approval", str(approval)
    )
    assert done.code == 4 and "for something else" in done.err
    assert rails("disable", "alice", "--approval", str(approval)).code == 0
    log = cli("wallet", "guardrails", "log", "alice", "--json")
    assert json.loads(log.out)["lines"][-1]["by"]["label"] == "bob"


def test_the_log_says_when_it_was_tampered_with(rails: Cli, cli: Cli, home: Path) -> None:
    rails("set", "alice", "--memo-required")
    rails("set", "alice", "--unknown", "refuse")
    (log,) = (home / "guardrails").glob("*.log")
    log.write_bytes(log.read_bytes().replace(b'"number":1', b'"number":7'))
    done = cli("wallet", "guardrails", "log", "alice")
    assert done.code == 1 and "tampered with or damaged: line 1 was changed" in done.err


def test_an_allowlist_is_kept_with_labels_limits_and_notes(
    cli: Cli, rails: Cli, passphrase_file: str, code: Path, node: FakeNode
) -> None:
    mine = ("--from", "alice", "--passphrase-file", passphrase_file)
    assert cli("wallet", "allowlist", "init", *mine).code == 0
    add = ("wallet", "allowlist", "add", "bob", "--max", "CLAW", "50", "--per-day", "CLAW", "80")
    done = cli(*add, "--memo-required", "--notes", "rent", *mine)
    assert done.code == 4 and "would be on the allowlist" in done.err
    done = cli(*add, "--memo-required", "--notes", "rent", *mine, "--code-file", str(code))
    assert done.code == 0, done.err
    listed = cli("wallet", "allowlist", "list", "--from", "alice")
    row = listed.out.strip().split("\t")
    bob = account_text(node.chain.bob.account)
    assert row == ["bob", bob, "CLAW: 50.00 at once, 80.00 a day; memo required", "rent"]
    assert "are refused" in listed.err
    assert cli("wallet", "allowlist", "remove", "bob", *mine).code == 0
    done = cli("wallet", "allowlist", "remove", "bob", *mine)
    assert done.code == 2 and "is not on the allowlist" in done.err


def test_the_existing_wallets_file_fills_the_allowlist(
    cli: Cli, wallet: Keystore, passphrase_file: str, code: Path, tmp_path: Path, node: FakeNode
) -> None:
    bob = account_text(node.chain.bob.account)
    file = tmp_path / "allowlist.json"
    listed = {
        "defaultPolicy": {"maxAmount": 100, "blockUnknown": True, "requireMemo": False},
        "destinations": [{"address": bob, "name": "Bob", "maxAmount": 12.5, "needsMemo": True}],
    }
    file.write_text(json.dumps(listed))
    mine = ("--from", "alice", "--passphrase-file", passphrase_file, "--code-file", str(code))
    done = cli("wallet", "allowlist", "init", "--file", str(file), *mine, "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["unknown"] == "refuse" and document["recipients"][0]["label"] == "Bob"
    assert document["assets"][0]["perTransaction"] == "10000"
    assert document["recipients"][0]["limits"][0]["perTransaction"] == "1250"


def test_a_typing_error_changes_nothing(rails: Cli, cli: Cli) -> None:
    for words in (
        ("set", "alice", "--max", "claw", "5"),
        ("set", "alice", "--max", "CLAW", "1.234"),
        ("set", "alice", "--no-cosigner", "eve"),
        ("set", "alice", "--cosigner", "nobody"),
        ("approve", "missing.json", "--from", "bob", "-o", "x"),
    ):
        assert rails(*words).code == 2, words
    assert "the default ones" in cli("wallet", "guardrails", "show", "alice").out


def test_a_code_lifts_a_limit_once_and_the_log_says_for_what(
    rails: Cli, code: Path, cli: Cli, passphrase_file: str, clock: SettableClock
) -> None:
    assert rails("set", "alice", "--max", "CLAW", "5").code == 0
    pay = ("wallet", "send", "bob", "12.5", "--from", "alice", "--yes", "--passphrase-file")
    refused = cli(*pay, passphrase_file, "--json")
    assert refused.code == 4
    error = json.loads(refused.out)["error"]
    assert error["name"] == "guardrail"
    assert [one["limit"] for one in error["refusals"]] == ["perTransaction"]
    assert error["refusals"][0]["allowed"] == "500"
    lift = ("--override", "--code-file", str(code))
    done = cli(*pay, passphrase_file, *lift)
    assert done.code == 0, done.err
    again = cli(*pay, passphrase_file, *lift)
    assert again.code == 4 and "used already" in again.err
    log = cli("wallet", "guardrails", "log", "alice").out
    assert "override by code; 12.50 CLAW from" in log and "over perTransaction" in log


def test_a_co_signer_lifts_a_limit_for_one_payment_and_no_other(
    rails: Cli, code: Path, cli: Cli, passphrase_file: str, tmp_path: Path
) -> None:
    assert rails("set", "alice", "--cosigner", "bob", "--code-file", str(code)).code == 0
    assert rails("set", "alice", "--max", "CLAW", "5").code == 0
    request, approval = tmp_path / "request.json", tmp_path / "approval.json"
    mine = ("--from", "alice", "--yes", "--passphrase-file", passphrase_file)
    asked = cli("wallet", "send", "bob", "12.5", *mine, "--override", "--request", str(request))
    assert request.exists(), asked.err
    done = rails("approve", str(request), "--from", "bob", "-o", str(approval), "--yes")
    assert done.code == 0 and "12.50 CLAW from claw1" in done.err
    lift = ("--override", "--approval", str(approval))
    other = cli("wallet", "send", "bob", "12.51", *mine, *lift)
    assert other.code == 4 and "for something else" in other.err
    assert cli("wallet", "send", "bob", "12.5", *mine, *lift).code == 0
    again = cli("wallet", "send", "bob", "12.5", *mine, *lift)
    assert again.code == 4 and "used already" in again.err


def test_what_is_spent_of_today_is_shown_and_without_a_node_left_out(
    cli: Cli, wallet: Keystore, node: FakeNode, passphrase_file: str
) -> None:
    """Otherwise somebody learns what is left of a day by being refused."""
    pay = ("wallet", "send", "bob", "12", "--from", "alice", "--passphrase-file", passphrase_file)
    assert cli(*pay, "--yes").code == 0
    shown = cli("wallet", "guardrails", "show", "alice").out
    assert "Spent today" in shown and "12.01 CLAW, 4,987.99 left until 20" in shown
    today = json.loads(cli("wallet", "guardrails", "show", "alice", "--json").out)["today"]
    assert (today[0]["spent"], today[0]["left"]) == ("1201", "498799")
    node.overrides["chain_getStatus"] = lambda _: Unreachable(
        "http://nowhere", "no answer", sent=False
    )
    alone = cli("wallet", "guardrails", "show", "alice")
    assert (alone.code, "Spent today" in alone.out, "at once" in alone.out) == (0, False, True)
