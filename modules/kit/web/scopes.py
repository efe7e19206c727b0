"""Scopes: which methods a token may call, as patterns that people can read aloud.

`*` every method; `chain_*` every method of a namespace; `tx_submit` one method. A namespace is
what stands before the first `_`, so `admin_…` methods are reached by `*` and by patterns that
say `admin_` themselves, and by no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from clawpurse.ledger.errors import Malformed

EVERYTHING: Final = "*"
SCOPES_MAX: Final = 64
"""A token that names more methods one by one wants a namespace; its text must stay a header."""

_PATTERN: Final = re.compile(r"\*|[a-z][a-z0-9]{0,31}_(?:\*|[a-z][A-Za-z0-9]{0,63})")


@dataclass(frozen=True, slots=True)
class Scopes:
    """A set of patterns. Made by `read_scopes`, or empty: nothing that needs a scope."""

    patterns: frozenset[str] = frozenset()

    def allows(self, method: str) -> bool:
        """Whether a token with these scopes may call `method`. Constant time in their number."""
        patterns = self.patterns
        if EVERYTHING in patterns or method in patterns:
            return True
        namespace, separator, _ = method.partition("_")
        return bool(separator) and f"{namespace}_*" in patterns

    @property
    def text(self) -> str:
        """The patterns as one line, sorted, separated by single spaces."""
        return " ".join(sorted(self.patterns))


NO_SCOPES: Final = Scopes()
ALL_SCOPES: Final = Scopes(frozenset((EVERYTHING,)))


def read_scopes(words: Iterable[str]) -> Scopes:
    """Return the scopes that `words` name. Raises `Malformed` for none, too many, or a bad one."""
    patterns = frozenset(words)
    if not 0 < len(patterns) <= SCOPES_MAX:
        raise Malformed("scope", f"names {len(patterns)} patterns; 1…{SCOPES_MAX} are possible")
    for pattern in sorted(patterns):
        if _PATTERN.fullmatch(pattern) is None:
            raise Malformed(
                "scope", f"{pattern[:80]!r} is not *, namespace_* or namespace_verbNoun"
            )
    return Scopes(patterns)
