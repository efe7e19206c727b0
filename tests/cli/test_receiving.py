"""`receive`: an address for scripts, a request and its picture for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zxingcpp

from clawpurse.cli.output import Output
from clawpurse.ledger.address import account_text
from clawpurse.wallet.uri import parse_uri
from tests.cli.conftest import Cli
from tests.cli.fakenode import FakeNode

pytestmark = pytest.mark.usefixtures("wallet")
INK = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}


def test_an_address_alone_is_for_scripts(cli: Cli, node: FakeNode) -> None:
    """`$(clawpurse receive alice)` must be an address."""
    alice = account_text(node.chain.alice.account)
    for words in (("wallet", "receive"), ("receive",), ("address",)):
        assert cli(*words, "alice").out == f"{alice}\n"
    answer = json.loads(cli("receive", "alice", "--json").out)
    assert answer == {"name": "alice", "account": alice, "uri": f"clawpurse:{alice}"}
    assert json.loads(cli("address", "alice", "--json").out)["account"] == alice


def test_a_request_is_a_uri_that_the_payer_reads(cli: Cli, node: FakeNode, tmp_path: Path) -> None:
    """A payer would type the amount again, and mistype it."""
    picture = tmp_path / "lunch.png"
    words = ["receive", "alice", "--amount", "12.5", "--asset", "EUR", "--memo", "lunch & tip"]
    done = cli(*words, "--chain-id", "acme-test", "--png", str(picture))
    assert done.code == 0, done.err
    request = parse_uri(done.out.splitlines()[0])
    assert request == (node.chain.alice.account, "EUR", "12.5", "lunch & tip", "acme-test")
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_mode & 0o777 == 0o600
    again = cli(*words, "--png", str(picture))
    assert again.code == 2 and "exists already" in again.err
    answer = json.loads(cli(*words, "--json", "--png", str(tmp_path / "b.png")).out)
    assert list(answer) == ["name", "account", "uri", "png"]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--amount", "12,5", "amount"), ("--asset", "eur", "asset"), ("--memo", "a\x1b[2J", "memo")],
)
def test_what_nobody_could_pay_is_not_asked(cli: Cli, option: str, value: str, said: str) -> None:
    """A request that every wallet refuses is noticed by whom it pays, at once."""
    done = cli("receive", "alice", option, value)
    assert done.code == 2 and said in done.err and done.err.count("\n") == 1


@pytest.mark.parametrize("plain", [False, True])
def test_a_terminal_shows_a_picture(
    cli: Cli, node: FakeNode, monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    """Colours where they are wanted, no escape where they are not; both are read."""
    monkeypatch.setattr(Output, "live", property(lambda self: True))
    env = {"TERM": "xterm", **({"NO_COLOR": "1"} if plain else {})}
    done = cli("receive", "alice", "--memo", "x", env=env)
    lines = done.out.splitlines()[1:]
    if plain:
        assert "\x1b" not in done.out
    else:
        assert all(line[:9] == "\x1b[30;107m" and line[-4:] == "\x1b[0m" for line in lines)
        lines = [line[9:-4] for line in lines]
    assert all(len(line) <= 80 for line in lines)
    ink, paper = (230, 20) if plain else (20, 230)
    rows = [
        [ink if INK[char][half] else paper for char in line for _ in range(4)]
        for line in lines
        for half in (0, 0, 0, 0, 1, 1, 1, 1)
    ]
    flat = bytes(pixel for row in rows for pixel in row)
    (found,) = zxingcpp.read_barcodes(memoryview(flat).cast("B", (len(rows), len(rows[0]))))
    assert found.text == done.out.splitlines()[0]


def test_a_picture_that_does_not_fit_is_offered_as_a_file(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken lines are no code."""
    monkeypatch.setattr(Output, "live", property(lambda self: True))
    done = cli("receive", "alice", "--memo", "ü" * 120, env={"TERM": "xterm"})
    assert done.out.count("\n") == 1 and "--png" in done.err


def test_a_request_is_paid(cli: Cli, node: FakeNode, passphrase_file: str) -> None:
    """Nobody copies an amount by hand; another network's request pays nothing."""
    how = ["--from", "alice", "--passphrase-file", passphrase_file, "--yes"]
    uri = f"clawpurse:{account_text(node.chain.bob.account)}?amount=12.5&memo=lunch"
    done = cli("wallet", "send", f"{uri}&network=acme-test", *how, "--allow-new-recipient")
    assert done.code == 0, done.err
    assert "bob" in done.err and "12.50 CLAW" in done.err
    for more, said, code in (
        ([f"{uri}&network=acme-main"], "node runs acme-test", 4),
        ([uri, "13"], "another amount", 2),
        ([f"{uri}&asset=CLAW", "--asset", "EUR"], "another asset", 2),
        ([uri, "--memo", "other"], "another memo", 2),
        ([uri.partition("?")[0]], "names no amount", 2),
        ([f"{uri}&x=1"], "none of", 2),
    ):
        done = cli("wallet", "send", *more, *how)
        assert done.code == code and said in done.err, done.err
        assert "Nothing was sent." in done.err
