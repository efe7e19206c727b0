"""Which route a request takes: by host, path, method and header, the most exact one first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from clawpurse.modules.gateway.config import RouteConfig
from clawpurse.modules.kit.web.head import Head

REST: Final = "**"
ANY: Final = "*"


class Pattern:
    """A path with `*` for one segment and, at its end, `**` for any number of them.

    `strictness` orders patterns: at the first segment that differs, a word comes before `*`, and
    `*` before `**`.
    """

    __slots__ = ("_has_rest", "_words", "strictness", "text")

    def __init__(self, text: str) -> None:
        words = text[1:].split("/")
        self.text: Final = text
        self._has_rest = words[-1] == REST
        self._words = words[:-1] if self._has_rest else words
        ranks = [1 if word == ANY else 0 for word in self._words]
        self.strictness: Final = (*ranks, 2 if self._has_rest else -1)

    def matches(self, segments: Sequence[str]) -> bool:
        """Tell whether a path, split at its slashes, is one of these."""
        words = self._words
        if len(segments) < len(words) or (not self._has_rest and len(segments) > len(words)):
            return False
        return all(word in (ANY, segment) for word, segment in zip(words, segments, strict=False))


class Found(NamedTuple):
    """What was found: a route, or none and the methods that this path has otherwise."""

    route: RouteConfig | None
    methods: frozenset[str] = frozenset()


class Router:
    """Routes in the order in which they are tried. Pure."""

    def __init__(self, routes: Sequence[RouteConfig]) -> None:
        made = [(Pattern(route.path), route) for route in routes]
        self._routes: Final = sorted(made, key=_order)

    @property
    def routes(self) -> list[RouteConfig]:
        """The routes in that order."""
        return [route for _, route in self._routes]

    def find(self, head: Head, path: str, method: str = "") -> Found:
        """Return the route of a request with this canonical path (another `method`: a preflight
        asks for it).
        """
        segments = path[1:].split("/")
        host = (head.host or "").rpartition(":")[0] or (head.host or "")
        wanted = method or head.method
        methods: set[str] = set()
        for pattern, route in self._routes:
            if not pattern.matches(segments) or not _host_fits(route.hosts, host):
                continue
            if not _headers_fit(route.headers, head):
                continue
            if not route.methods or wanted in route.methods:
                return Found(route)
            methods.update(route.methods)
        return Found(None, frozenset(methods))


def _order(entry: tuple[Pattern, RouteConfig]) -> tuple[object, ...]:
    """Exact hosts first, then exact paths, then more conditions; then as they were written."""
    pattern, route = entry
    host = 2 if not route.hosts else int(any(one.startswith("*.") for one in route.hosts))
    return (host, pattern.strictness, -len(route.headers), 0 if route.methods else 1)


def _host_fits(hosts: Sequence[str], host: str) -> bool:
    return not hosts or any(
        host.endswith(one[1:]) and host != one[2:] if one.startswith("*.") else host == one
        for one in hosts
    )


def _headers_fit(headers: Mapping[str, str], head: Head) -> bool:
    return all(
        head.headers.get(name.encode()) == value.encode("latin-1")
        for name, value in headers.items()
    )
