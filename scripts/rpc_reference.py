"""Writes docs/reference/rpc.md from the definitions that validate parameters; --check compares."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from pydantic import TypeAdapter

from clawpurse.modules.kit.web.openrpc import reference_markdown
from clawpurse.node.rpc.server import node_methods
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.shapes import (
    AccountText,
    AmountText,
    AuthorityText,
    HashText,
    HexText,
)
from clawpurse.node.watch import Feeds

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "rpc.md"
HEAD = """# JSON-RPC reference

Made from the method definitions by `make reference`; a test keeps it true. HTTP POST to `/`,
WebSocket at `/ws`, the same as a document at `/openrpc.json` and by `rpc_discover`.
Amounts are strings of minor units, bytes and hashes `0x…`, accounts `claw1…`, times RFC 3339.

Lists give `nextCursor`, null after the last page; `limit` is 50 unless said, at most 500.

Not offered yet: `admin_backup`, `admin_prune`, `admin_compact`, and `compliance_backtest`.

"""


def text_pattern(kind: Any) -> str:
    """Return the pattern of a kind of text."""
    return str(TypeAdapter(kind).json_schema()["pattern"])


PATTERNS = {
    text_pattern(AccountText): "account",
    text_pattern(AuthorityText): "authority",
    text_pattern(HashText): "hash, `0x` and 64 digits",
    text_pattern(HexText): "bytes, `0x…`",
    text_pattern(AmountText): "amount, a decimal string of minor units",
    "date-time": "time, RFC 3339",
}


def page() -> str:
    """Return the page. Definitions need no running node: handlers are not called."""
    nobody = SimpleNamespace(feeds=Feeds(), webhooks=None)
    methods = node_methods(cast(Services, nobody))
    return HEAD + reference_markdown(methods, PATTERNS)


def main() -> int:
    """Write the page, or with --check tell whether it is what it should be."""
    text = page()
    if "--check" in sys.argv:
        return int(not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text)
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
