"""What the command line shows: results on stdout, everything else on stderr.

Colour only where a person looks on, and never alone: every colour comes with a glyph or a word.
With `--json` stdout carries one object and nothing else; stderr then only what asks a person.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, TextIO

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

    @property
    def colour(self) -> bool:
        """Whether stdout shows colours."""
        return not self._plain_wanted and self.live

    @property
    def live(self) -> bool:
        """Whether stdout is a terminal on which a line can be written again."""
        return self._out.isatty() and not self._dumb

    def style(self, text: str, name: str) -> str:
        """Return `text` in a colour or weight, if stdout shows such."""
        return f"{_CODES[name]}{text}{_PLAIN}" if self.colour else text

    def line(self, text: str = "") -> None:
        """Print a line of the result."""
        if not self.json_mode:
            self._write(self._out, text + "\n")

    def note(self, text: str = "") -> None:
        """Print a line that is not the result: a next step, a summary before a question."""
        if not self.json_mode:
            self._write(self._err, text + "\n")

    def ask(self, text: str) -> None:
        """Show part of a question on stderr, also in JSON mode."""
        self._write(self._err, text)

    def warn(self, text: str) -> None:
        """Print a warning on stderr, also in JSON mode: it is for a person, not the result."""
        mark = WARNING
        if not self._plain_wanted and self._err.isatty() and not self._dumb:
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
            self.line(f"  {label:<{width}}  {value}".rstrip())

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print rows; a header that ends in `>` is a right-aligned column (numbers).

        For a pipe: values separated by tabs, no header, nothing padded or cut.
        """
        if not self._out.isatty():
            for row in rows:
                self.line("\t".join(row))
            return
        names = [header.removesuffix(">") for header in headers]
        widths = [
            max(len(name), *(len(row[column]) for row in rows)) if rows else len(name)
            for column, name in enumerate(names)
        ]

        def joined(cells: Sequence[str]) -> str:
            padded = [
                cell.rjust(width) if header.endswith(">") else cell.ljust(width)
                for cell, width, header in zip(cells, widths, headers, strict=True)
            ]
            return "  ".join(padded).rstrip()

        self.line(self.style(joined(names), "dim"))
        for row in rows:
            self.line(joined(row))

    def replace_line(self, text: str) -> None:
        """Write `text` over the current line of a terminal (see `live`)."""
        if not self.json_mode:
            self._write(self._out, _CLEAR_LINE + text)

    def end_line(self) -> None:
        """Empty the current line, before something else is printed there."""
        if not self.json_mode and self.live:
            self._write(self._out, _CLEAR_LINE)

    @staticmethod
    def _write(stream: TextIO, text: str) -> None:
        stream.write(text)
        stream.flush()
