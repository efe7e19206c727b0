"""A terminal's screen as a person sees it: what a command wrote, at a width, with nothing hidden.

It knows what our commands may write: text that wraps, carriage return, line feed, backspace,
clearing to the end of a line, clearing all, home, colours, and the screen that is forgotten
(`?1049`). Anything else is an error: a memo that could move the cursor would be one.
"""

from __future__ import annotations

import re

_CONTROL = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])")


class Screen:
    """Rows of so many columns, with no end downward. Characters are one column wide."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        #: What stood on each screen that was forgotten, as it was left.
        self.forgotten: list[list[str]] = []
        self._rows: list[list[str]] = [[]]
        self._row = self._column = 0
        self._kept: tuple[list[list[str]], int, int] | None = None
        self._left = ""

    def feed(self, text: str) -> None:
        """Show what was written. A control that ends in a later piece waits for it."""
        text = self._left + text
        self._left, at = "", 0
        while at < len(text):
            char = text[at]
            if char == "\x1b":
                control = _CONTROL.match(text, at)
                if control is None:
                    assert len(text) - at < 16, f"no control of ours: {text[at : at + 16]!r}"
                    self._left = text[at:]
                    return
                self._control(control[1], control[2])
                at = control.end()
                continue
            self._put(char)
            at += 1

    def rows(self) -> list[str]:
        """Return the rows, without blanks at their ends and empty rows at the bottom."""
        return _shown(self._rows)

    def _put(self, char: str) -> None:
        match char:
            case "\r":
                self._column = 0
            case "\n":
                self._down()
            case "\b":
                self._column = max(0, min(self._column, self.columns - 1) - 1)
            case _:
                assert char.isprintable(), f"{char!r} is not for a terminal"
                if self._column == self.columns:
                    self._column = 0
                    self._down()
                row = self._rows[self._row]
                row.extend(" " * (self._column + 1 - len(row)))
                row[self._column] = char
                self._column += 1

    def _down(self) -> None:
        self._row += 1
        if self._row == len(self._rows):
            self._rows.append([])

    def _control(self, numbers: str, letter: str) -> None:
        match numbers, letter:
            case _, "m":
                pass
            case "" | "0", "K":
                del self._rows[self._row][self._column :]
            case "2", "J":
                self._rows = [[] for _ in self._rows]
            case "", "H":
                self._row = self._column = 0
            case "?1049", "h":
                assert self._kept is None, "that screen is shown already"
                self._kept = self._rows, self._row, self._column
                self._rows, self._row, self._column = [[]], 0, 0
            case "?1049", "l":
                assert self._kept is not None, "no screen is there to forget"
                self.forgotten.append(self.rows())
                self._rows, self._row, self._column = self._kept
                self._kept = None
            case _:
                raise AssertionError(f"no control of ours: {numbers}{letter}")


def _shown(rows: list[list[str]]) -> list[str]:
    lines = ["".join(row).rstrip() for row in rows]
    while lines and not lines[-1]:
        lines.pop()
    return lines
