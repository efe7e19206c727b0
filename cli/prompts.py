"""Questions to a person: yes or no (default no), a typed name, a passphrase, words.

Without a terminal nothing is asked: the command ends with exit code 2 and names the option.
"""

from __future__ import annotations

import os
import sys
import termios
import tty
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import FAILED, OK, Output
from clawpurse.ledger.errors import Malformed, OperatorError
from clawpurse.wallet.mnemonic import ENTROPY_BYTES_OF_WORDS, slips_of, split_words
from clawpurse.wallet.passphrase import (
    BYTES_MAX,
    CHARS_MIN,
    check_new_passphrase,
    read_passphrase_file,
)

_ALTERNATE: Final = "\x1b[?1049h\x1b[2J\x1b[H"
_NORMAL: Final = "\x1b[?1049l"
_DOT: Final = "·"
_BACKSPACES: Final = (0x7F, 0x08)
_INTERRUPT: Final = 0x03
_END: Final = 0x04
_CLEAR: Final = 0x15
_TRIES_MAX: Final = 3


def at_terminal() -> bool:
    """Tell whether a person can be asked: stdin and stderr are a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(out: Output, question: str, option: str) -> bool:
    """Ask a yes/no question; only y or yes is yes. Raises `UsageFault` without a terminal."""
    if not at_terminal():
        raise UsageFault("No terminal to ask at.", "Nothing was done.", f"add {option}")
    out.ask(f"{question} [y/N] ")
    return _line().strip().lower() in ("y", "yes")


def confirm_by_name(
    out: Output,
    warning: Sequence[str],
    name: str,
    *,
    yes: bool,
    understood: str | None,
    nothing: str = "Nothing was deleted.",
) -> None:
    """Have a dangerous step confirmed by typing `name`, or by `--yes --i-understand NAME`.

    Raises `UsageFault` when it is not confirmed; nothing has been done then, as `nothing` says.
    """
    if yes or understood is not None:
        if yes and understood == name:
            return
        raise UsageFault(
            f"{nothing[:-1]}: both options are needed, with this very name.",
            "",
            f"--yes --i-understand {name}",
        )
    for line in warning:
        out.ask(line + "\n")
    if not at_terminal():
        raise UsageFault("No terminal to ask at.", nothing, f"add --yes --i-understand {name}")
    out.ask(f"Type {name} to go on: ")
    if _line().strip() != name:
        raise UsageFault("That is not its name.", nothing, "")


def secret_words(out: Output, question: str, option: str) -> str:
    """Ask for words, visible while they are typed, on a screen that the terminal forgets.

    Raises `UsageFault` without a terminal.
    """
    if not at_terminal():
        raise UsageFault("No terminal to ask at.", "Nothing was done.", f"add {option}")
    dumb = os.environ.get("TERM", "dumb") == "dumb"
    out.ask("" if dumb else _ALTERNATE)
    try:
        out.ask(question)
        return _mended(out, _line().strip())
    finally:
        out.ask("" if dumb else _NORMAL)


def _mended(out: Output, text: str) -> str:
    """Ask again for each word that no list has, naming those it looks like.

    Only here, where the terminal forgets: an error message never quotes a word. What is still
    wrong after a few tries is left to whoever reads the words.
    """
    words = split_words(text)
    if len(words) not in ENTROPY_BYTES_OF_WORDS:
        return text
    for _ in range(_TRIES_MAX):
        language, slips = slips_of(words)
        if not slips:
            break
        for slip in slips:
            near = f"; nearest: {', '.join(slip.nearest)}" if slip.nearest else ""
            out.ask(f"Word {slip.position} is not in the {language} list{near}\n")
            out.ask(f"Word {slip.position}: ")
            words[slip.position - 1] = _line().strip().lower() or words[slip.position - 1]
    return " ".join(words)


def passphrase(out: Output, file: Path | None, question: str) -> str:
    """Return the passphrase: from `--passphrase-file`, else typed, shown as dots.

    Raises `UsageFault` without either.
    """
    if file is not None:
        return read_passphrase_file(file)
    if not at_terminal():
        raise UsageFault("No terminal to ask for the passphrase.", "", "add --passphrase-file FILE")
    return hidden_line(out, question)


def new_passphrase(out: Output, file: Path | None, name: str = "", *, what: str = "") -> str:
    """Return a passphrase for a new key; at a terminal, ask again while it is too weak.

    `name` is the key's, which a thief would try; `what` opens the question.
    """
    if file is not None:
        return read_passphrase_file(file)
    for _ in range(_TRIES_MAX):
        question = f"{what or 'Passphrase'} ({CHARS_MIN} or more characters): "
        chosen = passphrase(out, None, question)
        if len(chosen) < CHARS_MIN:
            out.warn(f"It has {len(chosen)} characters, {CHARS_MIN} are needed.")
            continue
        try:
            check_new_passphrase(chosen, [name])
        except Malformed as err:
            out.warn(f"It {err.problem}.")
            continue
        return chosen
    raise OperatorError("No passphrase of that strength was given.", "Nothing was saved.", "")


def hidden_line(out: Output, question: str, end: str = "\n") -> str:
    """Ask for a line and show a dot for each of its characters, then `end`.

    The question appears when nothing is echoed any more: who types at once is not shown either,
    and what was typed before is not thrown away. Raises `KeyboardInterrupt` on Ctrl-C. The
    terminal is as before, whatever happens.
    """
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    typed = bytearray()
    try:
        tty.setcbreak(descriptor, termios.TCSADRAIN)
        settings = termios.tcgetattr(descriptor)
        # Keys that send signals are read as characters, so that the terminal is restored first.
        settings[3] &= ~termios.ISIG
        termios.tcsetattr(descriptor, termios.TCSADRAIN, settings)
        out.ask(question)
        while True:
            byte = os.read(descriptor, 1)
            if not byte or byte in (b"\n", b"\r") or byte[0] == _END:
                break
            if byte[0] == _INTERRUPT:
                raise KeyboardInterrupt
            if byte[0] in _BACKSPACES:
                _take_back(out, typed)
            elif byte[0] == _CLEAR:
                while typed:
                    _take_back(out, typed)
            elif len(typed) < BYTES_MAX:
                typed += byte
                # One dot a character, not one a byte of it.
                if byte[0] & 0xC0 != 0x80:
                    out.ask(_DOT)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        out.ask(end)
    return typed.decode("utf-8", "replace")


def _take_back(out: Output, typed: bytearray) -> None:
    if not typed:
        return
    while typed and typed[-1] & 0xC0 == 0x80:
        typed.pop()
    if typed:
        typed.pop()
    out.ask("\b \b")


def show_words(out: Output, title: str, words: Sequence[str]) -> None:
    """Show the words where the terminal forgets them, until Enter is pressed."""
    dumb = os.environ.get("TERM", "dumb") == "dumb"
    out.ask("" if dumb else _ALTERNATE)
    try:
        out.ask(f"{title}\n\n")
        rows = -(-len(words) // 3)
        for row in range(rows):
            cells = [
                f"{number + 1:>4} {words[number]:<12}" for number in range(row, len(words), rows)
            ]
            out.ask("".join(cells).rstrip() + "\n")
        out.ask("\nPress Enter when they are on paper. ")
        _line()
    finally:
        out.ask("" if dumb else _NORMAL)


def ask_words(out: Output, words: Sequence[str]) -> bool:
    """Have three of the words typed again, on one line or more; tell whether they were right."""
    count = len(words)
    positions = (4, 8, 11) if count < 15 else (4, 11, count - 1)
    question = f"Words {', '.join(map(str, positions))}: "
    typed: list[str] = []
    for _ in positions:
        typed += hidden_line(out, "" if typed else question, end=" ").lower().split()
        if len(typed) >= len(positions):
            break
    right = typed == [words[position - 1] for position in positions]
    out.ask(f"{OK if right else FAILED}\n")
    return right


def _line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise KeyboardInterrupt
    return line
