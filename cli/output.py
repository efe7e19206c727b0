"""What the command line shows: results on stdout, everything else on stderr.

Colour only where a person looks on, and never alone: every colour comes with a glyph or a word.
With `--json` stdout carries one object and nothing else; stderr then only what asks a person.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, TextIO

from clawpurse.cli.naming import Naming
from clawpurse.wallet import counting

counted: Final = counting.counted
OK: Final = "✓"
WARNING: Final = "!"
FAILED: Final = "✗"
LIVE: Final = "●"
# `make run` prints its own ticks by the same pattern, so that the two parts line up.
TICK_LABEL_CHARS: Final = 38
# Sixteen colours: what a terminal's own theme defines, readable on light and dark.
_CODES: Final[Mapping[str, str]] = {
    "bold": "\x1b[1m",
    "dim": "\x1b[2m",
    "red": "\x1b[31m",
    "green": "\x1b[32m",
    "yellow": "\x1b[33m",
}
_PLAIN: Final = "\x1b[0m"
_CLEAR_LINE: Final = "\r\x1b[K"
_STYLE: Final = re.compile("\x1b\\[[0-9;]*m")
# Between two cells of a table, and before what goes on on a line of its own.
_GAP: Final = "  "
_UNKNOWN_COLUMNS: Final = 10_000


def is_terminal(stream: TextIO) -> bool:
    """Return whether a person reads what is written there."""
    return stream.isatty()


class Output:
    """Prints for one run of the command.

    `json_mode` silences everything but `emit` and `ask`. `colour` is whether people want it at
    all; a stream that is no terminal never gets any.
    """

    def __init__(
        self,
        *,
        json_mode: bool = False,
        colour: bool = True,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._out = sys.stdout if stdout is None else stdout
        self._err = sys.stderr if stderr is None else stderr
        environment = os.environ if environment is None else environment
        self._plain_wanted = bool(environment.get("NO_COLOR")) or not colour
        self._dumb = environment.get("TERM", "dumb") == "dumb"
        self.json_mode = json_mode
        #: How accounts are called where a person looks on; None leaves addresses as they are.
        self.naming: Naming | None = None

    @property
    def colour(self) -> bool:
        """Whether stdout shows colours."""
        return not self._plain_wanted and self.live

    @property
    def live(self) -> bool:
        """Whether stdout is a terminal on which a line can be written again."""
        return is_terminal(self._out) and not self._dumb

    def style(self, text: str, name: str) -> str:
        """Return `text` in a colour or weight, if stdout shows such."""
        return f"{_CODES[name]}{text}{_PLAIN}" if self.colour else text

    def line(self, text: str = "") -> None:
        """Print a line of the result."""
        if not self.json_mode:
            self._write(self._out, self._named(text, self._out) + "\n")

    def note(self, text: str = "") -> None:
        """Print a line that is not the result: a next step, a summary before a question."""
        if not self.json_mode:
            self._write(self._err, self._named(text, self._err) + "\n")

    def ask(self, text: str) -> None:
        """Show part of a question on stderr, also in JSON mode."""
        self._write(self._err, text)

    def warn(self, text: str) -> None:
        """Print a warning on stderr, also in JSON mode: it is for a person, not the result."""
        mark = WARNING
        if not self._plain_wanted and is_terminal(self._err) and not self._dumb:
            mark = f"{_CODES['yellow']}{WARNING}{_PLAIN}"
        self._write(self._err, f"{mark} {text}\n")

    def emit(self, document: Mapping[str, Any]) -> None:
        """Print the one JSON object of this run, on one line."""
        self._write(self._out, json.dumps(document, ensure_ascii=False) + "\n")

    def tick(self, label: str, seconds: float | None = None) -> None:
        """Print that a step is done and how long it took."""
        mark = self.style(OK, "green")
        if seconds is None:
            self.line(f"{mark} {label}")
        else:
            took = self.style(f"{seconds:.1f} s", "dim")
            self.line(f"{mark} {label:<{TICK_LABEL_CHARS}}{took}")

    def mark(self, kind: str) -> str:
        """Return one of the four glyphs in its colour."""
        colours = {OK: "green", WARNING: "yellow", FAILED: "red", LIVE: "green"}
        return self.style(kind, colours[kind])

    def fields(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Print labelled values, indented, the labels in one column."""
        width = max((len(label) for label, _ in pairs), default=0)
        for label, value in pairs:
            shown = value
            if self.naming is not None and is_terminal(self._out):
                shown = self.naming.value(value)
            self.line(f"  {label:<{width}}  {shown}".rstrip())

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows; a header that ends in `>` is a right-aligned column (numbers).

        Where a row does not fit the terminal, the columns that do stay columns, and the cells
        after them follow each other, whole, on as many indented lines as they need. For a pipe:
        values separated by tabs, no header, nothing padded or cut.
        """
        if not is_terminal(self._out):
            for row in rows:
                self.line("\t".join(row))
            return
        if self.naming is not None:
            rows = [self.naming.row(row) for row in rows]
        names = [header.removesuffix(">") for header in headers]
        widths = [
            max([_wide(name), *(_wide(row[column]) for row in rows)])
            for column, name in enumerate(names)
        ]
        limit, ends = self.columns, 0
        aligned = len(names)
        for column, width in enumerate(widths):
            ends += width + (len(_GAP) if column else 0)
            if ends > limit:
                aligned = column
                break

        def lines(cells: Sequence[str]) -> list[str]:
            padded = [
                f"{_blanks(cell, width)}{cell}"
                if header.endswith(">")
                else f"{cell}{_blanks(cell, width)}"
                for cell, width, header in zip(cells, widths, headers, strict=True)
            ]
            made = [_GAP.join(padded[:aligned])]
            for cell in filter(None, cells[aligned:]):
                if made[-1].strip() and _wide(made[-1]) + len(_GAP) + _wide(cell) > limit:
                    made.append(f"{_GAP}{cell}")
                else:
                    made[-1] = f"{made[-1]}{_GAP}{cell}"
            return [line.rstrip() for line in made]

        for line in lines(names):
            self.line(self.style(line, "dim"))
        for row in rows:
            for line in lines(row):
                self.line(line)

    @property
    def columns(self) -> int:
        """How wide stdout's terminal is; one that does not say has no end."""
        try:
            columns = os.get_terminal_size(self._out.fileno()).columns
        except (OSError, ValueError):
            # A terminal of a test, or one that was closed meanwhile.
            columns = 0
        return columns or _UNKNOWN_COLUMNS

    def replace_line(self, text: str) -> None:
        """Write `text` over the current line of a terminal (see `live`)."""
        if not self.json_mode:
            self._write(self._out, _CLEAR_LINE + text)

    def end_line(self) -> None:
        """Empty the current line, before something else is printed there."""
        if not self.json_mode and self.live:
            self._write(self._out, _CLEAR_LINE)

    def _named(self, text: str, stream: TextIO) -> str:
        if self.naming is None or not is_terminal(stream):
            return text
        return "\n".join(self.naming.sentence(line) for line in text.split("\n"))

    @staticmethod
    def _write(stream: TextIO, text: str) -> None:
        stream.write(text)
        stream.flush()


def _wide(text: str) -> int:
    """Return how many columns a text takes: its colours take none."""
    return len(_STYLE.sub("", text))


def _blanks(cell: str, width: int) -> str:
    return " " * (width - _wide(cell))
