"""One spelling for each path: what is matched and priced is what the upstream gets.

Two readers who disagree about a path are how a price is walked round: `/a/../paid`, `/a%2Fpaid`,
`/paid;x`, `//paid`. What could be read in two ways is refused; what has several spellings of one
meaning (RFC 3986 §6.2.2) becomes one.
"""

from __future__ import annotations

import re
from typing import Final

from clawpurse.modules.kit.web.head import HttpRefusal

_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~")
"""RFC 3986 §2.3 without the dot, whose code is refused: `%2e%2e` is how a path climbs."""

_PLAIN: Final = re.compile(r"(?:/[A-Za-z0-9_~!$&'()*+,=:@.-]+)+/?|/")
_SEGMENT: Final = re.compile(r"(?:[A-Za-z0-9_~!$&'()*+,=:@.-]|%[0-9A-Fa-f]{2})*")
_CODED: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_DOTS: Final = frozenset((".", ".."))
# Slash, backslash, dot, semicolon, percent: each is read again by somebody behind us.
_NEVER: Final = frozenset((0x2F, 0x5C, 0x2E, 0x3B, 0x25))


def canonical(path: str) -> str:
    """Return the one spelling of a request's path. Raises `HttpRefusal` (400) for what has none.

    Refused: dot segments, empty segments, path parameters (`;`), codes of slash, backslash, dot,
    semicolon, percent and of control characters, and whatever RFC 3986 does not let into a path.
    """
    if _PLAIN.fullmatch(path) and "/." not in path:
        return path
    if not path.startswith("/"):
        raise _refusal("a path starts with a slash")
    segments = path[1:].split("/")
    for place, segment in enumerate(segments):
        if not segment and place < len(segments) - 1:
            raise _refusal("a path has no empty segments")
        if segment in _DOTS:
            raise _refusal("a path has no dot segments")
        if not _SEGMENT.fullmatch(segment):
            raise _refusal("the path holds what no path may hold")
    return "/" + "/".join(_CODED.sub(_one_spelling, segment) for segment in segments)


def _one_spelling(match: re.Match[str]) -> str:
    code = int(match[1], 16)
    if code in _NEVER or code < 0x20 or code == 0x7F:
        raise _refusal(f"the path holds %{match[1].upper()}, which could be read in two ways")
    char = chr(code)
    return char if char in _UNRESERVED else f"%{match[1].upper()}"


def _refusal(problem: str) -> HttpRefusal:
    return HttpRefusal(400, "path", problem)
