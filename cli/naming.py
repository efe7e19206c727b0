"""Names beside or in place of addresses, in whatever a person reads at a terminal.

Own keys, contacts, and the accounts that belong to the ledger itself. In a table the name stands
in place of the address, in a sentence before it. What is made to be copied stays as it is: an
address alone on its line, a command, a URI, a row that has the name already.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Final

# An account: prefix, 32 bytes in groups of five bits, six characters of checksum.
_ADDRESS: Final = re.compile(r"(?<![a-z0-9:])claw1[02-9ac-hj-np-z]{58}(?![a-z0-9?])")
_COMMAND: Final = "clawpurse "
# What may stand between a name and its address where somebody wrote both.
_BETWEEN: Final = (" ", " (", ": ")


class Naming:
    """How this home calls accounts. `read` is asked once, when the first address is shown."""

    def __init__(self, read: Callable[[], Mapping[str, str]]) -> None:
        self._read = read

    @cached_property
    def _names(self) -> Mapping[str, str]:
        return self._read()

    def row(self, cells: Sequence[str]) -> list[str]:
        """Return a row of a table with names for addresses, unless it has that name already."""

        def named(found: re.Match[str]) -> str:
            name = self._names.get(found[0])
            return found[0] if name is None or name in cells else name

        return [_ADDRESS.sub(named, cell) for cell in cells]

    def value(self, text: str) -> str:
        """Return a labelled value with names before its addresses."""

        def named(found: re.Match[str]) -> str:
            name = self._names.get(found[0])
            before = text[: found.start()]
            if name is None or any(before.endswith(f"{name}{one}") for one in _BETWEEN):
                return found[0]
            return f"{name} {found[0]}"

        return _ADDRESS.sub(named, text)

    def sentence(self, text: str) -> str:
        """Return a line with names before its addresses, if nobody is meant to copy it whole."""
        if _COMMAND in text or _ADDRESS.fullmatch(text.strip()):
            return text
        return self.value(text)
