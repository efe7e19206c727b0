"""A person's tutorial, done at a real terminal; its page shows the screens that came of it.

A block of docs/tutorials/wallet.md after `<!-- screen: NAME -->` is what that step's terminal
showed, 80 columns wide. What differs each time is compared by its kind, accounts and ids by which
of them it is: the same account on the page must be the same account here. `UPDATE_TUTORIAL=1 pytest
tests/e2e/test_wallet_tutorial.py` writes the page's blocks anew.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import zxingcpp

from tests.e2e.conftest import Net, network
from tests.e2e.screen import Screen
from tests.e2e.test_terminal import ALTERNATE, NORMAL, Terminal, words_on

pytestmark = pytest.mark.real
PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "wallet.md"
_BLOCK = re.compile(r"<!-- screen: ([a-z-]+) -->\n```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INK = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
# What is the same throughout a story, whichever it is; short ids are beginnings of whole ones.
_NAMED = re.compile(r"claw1[a-z0-9]{58}|0x[0-9a-f]{64}|0x[0-9a-f]{12}…")
_TIME = r"20\d\d-\d\d-\d\dT?\d\d:\d\d:\d\d(?:\.\d{3}Z)?"
# What is of no account; without blanks, numbers of blocks stand beside the times of tables.
_VARYING = (
    (rf"\d*{_TIME}\d*", "<time>"),
    (r"block\d+", "block<number>"),
    (r"blocks\d+to\d+|Blocks\d+to\d+", "blocks<number>to<number>"),
    (r"\d+\.\ds", "<seconds>"),
    (r"[34]of4authoritiessigned", "<signers>"),
    (r"·+", "<dots>"),
)


class Secret(str):
    """Something typed that no screen may show."""

    __slots__ = ()


class Words(str):
    """Something typed that only a screen that is forgotten may show."""

    __slots__ = ()


ALICE = Secret("kettle sunday orbit marble")
CAROL = Secret("copper thirteen meadow lamp")


class People:
    """Everybody has a machine of their own; `screens` keeps what their terminals showed."""

    def __init__(self, net: Net, folder: Path, columns: int) -> None:
        self.columns = columns
        self.screens: dict[str, list[str]] = {}
        self._folder = folder
        self._settings = (net.client / "config.toml").read_bytes()

    def machine(self, who: str) -> Path:
        """A person's home directory; the wallet in it knows the network."""
        machine = self._folder / who
        home = machine / ".clawpurse"
        if not home.exists():
            home.mkdir(parents=True, mode=0o700)
            (home / "config.toml").write_bytes(self._settings)
        return machine

    def give(self, name: str, giver: str, taker: str) -> None:
        """Bring a file to somebody else's machine."""
        shutil.copy(self.machine(giver) / name, self.machine(taker) / name)

    def has_key(self, who: str, passphrase: str = "window quiet falcon ladder") -> str:
        """Make somebody's key without showing how; return the account."""
        file = self.machine(who) / "passphrase"
        file.write_text(f"{passphrase}\n")
        self.do("", who, f"clawpurse keys add {who} --passphrase-file passphrase")
        return self.account(who)

    def account(self, who: str) -> str:
        """The account of somebody who has a key."""
        (account,) = re.findall(
            "claw1[a-z0-9]{58}", "".join(self.do("", who, f"clawpurse address {who}").split())
        )
        return str(account)

    def at(self, who: str, command: str) -> Terminal:
        """Open a terminal of a person with a command."""
        machine = self.machine(who)
        words = shlex.split(command)[1:]
        return Terminal(
            machine / ".clawpurse", *words, columns=self.columns, folder=machine, HOME=str(machine)
        )

    def keep(self, name: str, command: str, at: Terminal, code: int = 0) -> Screen:
        """Wait for the end of a command; keep what its terminal shows, and return that."""
        ended, _ = at.end()
        screen = Screen(self.columns)
        screen.feed(f"$ {command}\r\n{at.said}")
        assert ended == code, "\n".join(screen.rows())
        if name:
            self.screens[name] = screen.rows()
        return screen

    def do(self, name: str, who: str, command: str, *talk: str, code: int = 0) -> str:
        """Run a command and return its screen; `talk`: what is waited for, what is typed then."""
        with self.at(who, command) as at:
            for question, answer in zip(talk[::2], talk[1::2], strict=True):
                at.until(question)
                at.type(f"{answer}\n")
            screen = self.keep(name, command, at, code)
            _hold_secrets(at.said, talk[1::2])
        return "\n".join(screen.rows())


def _hold_secrets(said: str, typed: Sequence[str]) -> None:
    """Fail if the terminal was told a secret that was typed."""
    kept = re.sub(re.escape(ALTERNATE) + ".*?" + re.escape(NORMAL), "", said, flags=re.DOTALL)
    kept = " ".join(kept.split())
    for one in typed:
        assert not (isinstance(one, Secret) and one in said), "a passphrase was echoed"
        if isinstance(one, Words):
            # Single words of the list are in everybody's mouth: `account`, `balance`.
            words = one.split()
            typed_ones = [f"{first} {second}" in kept for first, second in pairwise(words)]
            shown_ones = [f"{place} {word} " in kept for place, word in enumerate(words, 1)]
            assert sum(typed_ones) + sum(shown_ones) < 2, "words stayed on the terminal"


def create(people: People) -> Words:
    """Make a key at a terminal; returns its words, as they were on the screen."""
    command = "clawpurse keys add alice"
    with people.at("alice", command) as at:
        at.until("Passphrase (15 or more characters): ")
        at.type(f"{ALICE}\n")
        shown = at.until("they are on paper. ")
        words = words_on(shown[shown.index(ALTERNATE) :])
        assert len(words) == 24
        at.type("\n")
        at.until("Words 4, 11, 23: ")
        at.type(f"{words[3]} {words[10]} {words[22]}\n")
        at.until("Change them now? [y/N] ")
        at.type("\n")
        screen = people.keep("create", command, at)
        _hold_secrets(at.said, (ALICE, Words(" ".join(words))))
    (seen,) = screen.forgotten
    masked = [
        re.sub(r"(?<=\d )[a-z]+(?=  |$)", lambda word: "·" * len(word[0]), row) for row in seen
    ]
    people.screens["words"] = masked
    return Words(" ".join(words))


def keep_it_safe(people: People, paper: Words) -> None:
    """Money comes, the paper is tried, another machine gets the key back."""
    people.do("faucet", "alice", "clawpurse faucet alice")
    people.do(
        "backup", "alice", "clawpurse keys backup alice",
        "Passphrase for alice: ", ALICE, "they are on paper. ", "",
        "all 24 words, separated by blanks: ", paper,
    )  # fmt: skip
    people.do(
        "restore", "laptop", "clawpurse keys import alice",
        "The words, separated by blanks: ", paper,
        "Passphrase (15 or more characters): ", ALICE,
    )  # fmt: skip
    people.do("restored", "laptop", "clawpurse wallet balance alice")


def pay(people: People) -> None:
    """Bob asks, by a picture that a camera reads; alice pays what he asked for."""
    bob = people.has_key("bob")
    asked = people.do("receive", "bob", "clawpurse receive bob --amount 12.5 --memo lunch")
    uri = f"clawpurse:{bob}?amount=12.5&memo=lunch"
    assert _picture_says(asked.splitlines()) == uri
    people.do("contact", "alice", f"clawpurse wallet contacts add bob {bob}")
    people.do(
        "pay", "alice", f"clawpurse wallet send '{uri}' --from alice",
        "Send? [y/N] ", "y", "Passphrase for alice: ", ALICE,
    )  # fmt: skip
    people.do("history", "alice", "clawpurse wallet history alice")
    people.do("received", "bob", "clawpurse wallet balance bob")


def be_limited(people: People) -> None:
    """A limit holds; carol lifts it once."""
    carol = people.has_key("carol", CAROL)
    people.do("", "alice", f"clawpurse wallet contacts add carol {carol}")
    people.do("", "carol", f"clawpurse wallet contacts add alice {people.account('alice')}")
    people.do(
        "limits", "alice",
        "clawpurse wallet guardrails set alice --max CLAW 100 --per-day CLAW 200",
        "Passphrase for alice: ", ALICE,
    )  # fmt: skip
    people.do("refused", "alice", "clawpurse wallet send bob 150 --from alice", code=4)


def be_helped(people: People, paper: Words) -> None:
    """Carol is named by who has the paper, reads what is asked, and agrees."""
    people.do(
        "cosigner", "alice", "clawpurse wallet guardrails set alice --cosigner carol",
        "Passphrase for alice: ", ALICE, "The words of alice, separated by blanks: ", paper,
    )  # fmt: skip
    override = "clawpurse wallet send bob 150 --from alice --override"
    people.do("request", "alice", f"{override} --request request.json")
    people.give("request.json", "alice", "carol")
    people.do(
        "approve", "carol",
        "clawpurse wallet guardrails approve request.json --from carol -o approval.json",
        "Agree? [y/N] ", "y", "Passphrase for carol: ", CAROL,
    )  # fmt: skip
    people.give("approval.json", "carol", "alice")
    people.do(
        "override", "alice", f"{override} --approval approval.json",
        "Send? [y/N] ", "y", "Passphrase for alice: ", ALICE,
    )  # fmt: skip
    people.do("log", "alice", "clawpurse wallet guardrails log alice")


def take_it_along(people: People) -> None:
    """What happened goes to the books, the locked key onto a stick."""
    people.do("export", "alice", "clawpurse wallet history alice --export alice.csv")
    people.do("statement", "alice", "clawpurse wallet statement alice --from-height 1 --prove")
    people.do("copy", "alice", "clawpurse keys export alice --out alice.key.json")
    machine = people.machine("alice")
    with open(machine / "alice.csv", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert [row["amount"] for row in rows] == ["-150.00", "-0.01", "-12.50", "-0.01", "1000.00"]
    assert [row["counterparty_label"] for row in rows[:3:2]] == ["bob", "bob"]
    assert len(list((machine / ".clawpurse" / "receipts").glob("0x*.json"))) == 2
    people.give("alice.key.json", "alice", "desktop")
    people.do(
        "moved", "desktop", "clawpurse keys import alice --key-file alice.key.json",
        "Passphrase of alice.key.json: ", ALICE,
    )  # fmt: skip
    answer = people.do("", "desktop", "clawpurse wallet balance alice --json").splitlines()
    balances = json.loads("".join(answer[1:]))["balances"]
    assert [one["amount"] for one in balances] == ["83748"]


@pytest.fixture
def young(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    """A network as a reader starts it: one whose first block's state is still kept."""
    with network(tmp_path_factory.mktemp("young")) as made:
        yield made


@pytest.mark.parametrize("columns", [80, pytest.param(60, marks=pytest.mark.full)])
def test_the_tutorial_is_what_a_person_sees(young: Net, tmp_path: Path, columns: int) -> None:
    """Whoever follows a page that is not true stops trusting it, and with it the wallet."""
    people = People(young, tmp_path, columns)
    paper = create(people)
    keep_it_safe(people, paper)
    pay(people)
    be_limited(people)
    be_helped(people, paper)
    take_it_along(people)
    if os.environ.get("UPDATE_TUTORIAL") and columns == 80:
        PAGE.write_text(_renewed(PAGE.read_text(), people.screens))
    printed = {name: block.splitlines() for name, block in _BLOCK.findall(PAGE.read_text())}
    assert list(printed) == [name for name in printed if name in people.screens]
    assert set(printed) == set(people.screens)
    seen = {name: people.screens[name] for name in printed}
    for name, on_page, here in zip(printed, _shapes(printed), _shapes(seen), strict=True):
        assert on_page == here, (
            f"the screen {name} is no longer as on the page; UPDATE_TUTORIAL=1 renews it"
        )
    _hold_secrets(PAGE.read_text(), (ALICE, CAROL))


def _renewed(page: str, screens: Mapping[str, list[str]]) -> str:
    def block(found: re.Match[str]) -> str:
        rows = "\n".join(screens[found[1]])
        return f"<!-- screen: {found[1]} -->\n```text\n{rows}\n```"

    return _BLOCK.sub(block, page)


def _shapes(screens: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield each screen without what differs from time to time, and without its blanks: where a
    line breaks depends on the width.
    """
    known: dict[str, str] = {}

    def named(found: re.Match[str]) -> str:
        text = found[0].rstrip("…")
        whole = next((one for one in known if one.startswith(text)), text)
        return known.setdefault(whole, f"<{whole[:2]}{len(known)}>")

    for rows in screens.values():
        text = "".join("".join(rows if not _is_picture(rows) else _beside(rows)).split())
        text = _NAMED.sub(named, text)
        for pattern, kind in _VARYING:
            text = re.sub(pattern, kind, text)
        yield text


def _is_picture(rows: Sequence[str]) -> bool:
    return any("▀" in row for row in rows)


def _beside(rows: Sequence[str]) -> list[str]:
    """The rows of a screen that are no part of a picture."""
    return [row for row in rows if not set(row) <= set(_INK)]


def _picture_says(rows: Sequence[str]) -> str:
    """What a camera reads that looks at the screen."""
    lines = [row for row in rows if row and set(row) <= set(_INK)]
    width = max(map(len, lines)) + 4
    pixels = bytes(
        20 if _INK[char][half] else 230
        for line in ["", *lines, ""]
        for half in (0, 0, 0, 0, 1, 1, 1, 1)
        for char in line.ljust(width)
        for _ in range(4)
    )
    shape = (8 * (len(lines) + 2), 4 * width)
    (found,) = zxingcpp.read_barcodes(memoryview(pixels).cast("B", shape))
    return str(found.text)
