"""At a real terminal: words on a screen that forgets them, dots for secrets, no as the default."""

from __future__ import annotations

import codecs
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import PASSPHRASE, Net, environment_for

pytestmark = pytest.mark.real
DEADLINE_S = 60.0
ALTERNATE, NORMAL = "\x1b[?1049h", "\x1b[?1049l"


class Terminal:
    """A command at a terminal of its own. `until` waits for words, `type` types."""

    def __init__(
        self,
        client: Path,
        *arguments: str,
        columns: int = 80,
        folder: Path | None = None,
        **environment: str,
    ) -> None:
        master, slave = pty.openpty()
        termios.tcsetwinsize(slave, (24, columns))
        self.screen = master
        self.process = subprocess.Popen(
            [sys.executable, "-m", "clawpurse.cli", *arguments],
            env=environment_for(client) | {"TERM": "xterm"} | environment,
            cwd=folder,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.said = ""
        self.read = 0
        # A piece may end within a character.
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.screen)

    def _more(self, deadline: float) -> bool:
        left = max(0.0, deadline - time.monotonic())
        readable, _, _ = select.select([self.screen], [], [], left)
        if not readable:
            return False
        try:
            piece = os.read(self.screen, 65_536)
        except OSError:
            # Linux says EIO when the last one at the other side has gone.
            return False
        self.said += self._decoder.decode(piece)
        return bool(piece)

    def until(self, text: str) -> str:
        """Wait for `text`; return what was said since the last time."""
        deadline = time.monotonic() + DEADLINE_S
        while text not in self.said[self.read :]:
            assert self._more(deadline), f"{text!r} never came:\n{self.said}"
        since = self.said[self.read :]
        self.read += since.index(text) + len(text)
        return since[: since.index(text) + len(text)]

    def type(self, text: str) -> None:
        os.write(self.screen, text.encode())

    def end(self) -> tuple[int, str]:
        """Read to the end; return the exit code and what was said since the last time."""
        deadline = time.monotonic() + DEADLINE_S
        while self._more(deadline):
            pass
        return self.process.wait(DEADLINE_S), self.said[self.read :]


def words_on(screen: str) -> list[str]:
    """The words in their order, read as a person reads them."""
    numbered = dict(re.findall(r"(\d+) ([a-z]+)", screen))
    return [numbered[str(number)] for number in range(1, len(numbered) + 1)]


def test_a_key_and_a_payment_by_hand(net: Net) -> None:
    """Secrets never stay on the screen; a payment needs a yes."""
    with Terminal(net.client, "keys", "add", "hanna") as at:
        at.until("Passphrase (15 or more characters): ")
        at.type("short\n")
        at.until("15 are needed.")
        at.until("Passphrase (15 or more characters): ")
        at.type(f"{PASSPHRASE}x\x7f\n")
        shown = at.until("they are on paper. ")
        assert "These 24 words are the money. Shown once; write them on paper." in shown
        assert shown.index(ALTERNATE) < shown.index("1 ")
        words = words_on(shown[shown.index(ALTERNATE) :])
        assert len(words) == 24
        at.type("\n")
        at.until(NORMAL)
        at.until("Words 4, 11, 23: ")
        at.type(f"{words[3]} {words[10]} wrong\n")
        at.until("✗")
        at.until("they are on paper. ")
        at.type("\n")
        at.until("Words 4, 11, 23: ")
        at.type(f"{words[3]} {words[10]} {words[22]}\n")
        at.until("asked above 100.00.")
        at.until("Change them now? [y/N] ")
        at.type("y\n")
        at.until("At most at once, in CLAW [1000.00]: ")
        at.type("2000\n")
        at.until("At most a day, in CLAW [5000.00]: ")
        at.type("\n")
        at.until("Ask above, in CLAW [100.00]: ")
        at.type("none\n")
        at.until("not on the allowlist? [y/N] ")
        at.type("\n")
        at.until("guardrails of hanna: 2,000.00 at once, 5,000.00 a day")
        code, rest = at.end()
    assert code == 0
    assert "✓ hanna claw1" in re.sub(r"\x1b\[\d*m", "", at.said)
    assert "Next: clawpurse faucet hanna" in rest
    normal = re.sub(re.escape(ALTERNATE) + ".*?" + re.escape(NORMAL), "", at.said, flags=re.DOTALL)
    for secret in (PASSPHRASE, words[3], words[10], words[22]):
        assert not re.search(rf"\b{re.escape(secret)}\b", normal)
    assert net.run("faucet", "hanna").code == 0

    pay = ("wallet", "send", net.facts["faucet"], "12.5", "--asset", "CLAW", "--from", "hanna")
    with Terminal(net.client, *pay) as at:
        shown = at.until("Send? [y/N] ")
        assert "Amount      12.50 CLAW, fee 0.01, left 987.49" in shown
        at.type("\n")
        code, rest = at.end()
    assert code == 1
    assert "Nothing was sent." in rest
    with Terminal(net.client, *pay) as at:
        at.until("Send? [y/N] ")
        at.type("y\n")
        at.until("Passphrase for hanna: ")
        at.type(f"{PASSPHRASE}\n")
        at.until("Paid. Final in block ")
        code, rest = at.end()
    assert code == 0
    assert "Proof checked." in rest
    assert "Next: clawpurse wallet history hanna" in rest
    balance = net.run("wallet", "balance", "hanna", "--json").json()["balances"][0]
    assert balance["amount"] == "98749"


def test_ctrl_c_at_a_question_leaves_the_terminal_as_it_was(net: Net) -> None:
    """A shell without echo after ^C frightens people."""
    with Terminal(net.client, "keys", "add", "nobody") as at:
        at.until("Passphrase (15 or more characters): ")
        at.type("half a pass\x03")
        code, rest = at.end()
    assert code == 1
    assert "Stopped." in rest
    assert net.run("keys", "show", "nobody").code == 1


def test_colours_only_where_they_are_wanted(net: Net) -> None:
    """NO_COLOR, a dumb terminal and --no-color are all heard; the words say the same."""
    with Terminal(net.client, "status") as at:
        coloured = at.end()[1]
    assert "\x1b[32m✓" in coloured
    plain_ones: tuple[tuple[tuple[str, ...], dict[str, Any]], ...] = (
        (("status",), {"NO_COLOR": "1"}),
        (("status",), {"TERM": "dumb"}),
        (("status", "--no-color"), {}),
    )
    for arguments, environment in plain_ones:
        with Terminal(net.client, *arguments, **environment) as at:
            code, plain = at.end()
        assert code == 0
        assert "\x1b" not in plain
        assert plain.startswith("✓ All is well")
