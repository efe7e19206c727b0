"""What every node of a test process makes at its start and which is the same for all: made once.

The description of the JSON-RPC methods and the compressed pages are three quarters of what a
node's start costs, and tests start thousands of nodes. Equal definitions get the document that
was made for them before; other ones get their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from typing import Any
from unittest import mock

from clawpurse.modules.kit.pages.site import Site
from clawpurse.modules.kit.web.jsonrpc import Method
from clawpurse.modules.kit.web.openrpc import discovery
from clawpurse.node.dashboard import dashboard
from clawpurse.node.rpc import server

#: All of a definition but the handlers, which are the node's own.
DESCRIBED = tuple(f.name for f in fields(Method) if f.name not in ("handler", "prover"))

Definitions = list[tuple[Any, ...]]
_KNOWN: list[tuple[Definitions, dict[str, str], tuple[Method, bytes]]] = []


def shared_discovery(methods: Iterable[Method], **about: str) -> tuple[Method, bytes]:
    """Return what `discovery` returns, made at the first call with these definitions."""
    listed = list(methods)
    definitions = [tuple(getattr(one, name) for name in DESCRIBED) for one in listed]
    for known, told, found in _KNOWN:
        if known == definitions and told == about:
            return found
    found = discovery(listed, **about)
    _KNOWN.append((definitions, about, found))
    return found


@cache
def shared_dashboard() -> Site:
    """Return the pages of a node, which nobody changes."""
    return dashboard()


@contextmanager
def made_once() -> Iterator[None]:
    """Inside, nodes are built with what is known already."""
    with (
        mock.patch.object(server, "discovery", shared_discovery),
        mock.patch.object(server, "dashboard", shared_dashboard),
    ):
        yield
