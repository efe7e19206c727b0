"""Writes docs/reference/wallet-rpc.md from the wallet service's methods; --check compares."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from pydantic import TypeAdapter

from clawpurse.modules.kit.web.openrpc import reference_markdown
from clawpurse.wallet.service import service_methods
from clawpurse.wallet.service_desk import Desk, Flights
from clawpurse.wallet.service_request_values import PublicKey, RequestId
from clawpurse.wallet.service_values import Amount, Asset, BodyBytes, Fee, Hash, IdempotencyKey

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "wallet-rpc.md"
HEAD = """# JSON-RPC reference of the wallet service

Of `clawpurse wallet serve`, made from the method definitions by `make reference`; a test keeps it
true. HTTP POST to `/`, the same as a document at `/openrpc.json` and by `rpc_discover`. Every
method needs a token whose scopes name it: `clawpurse wallet token create`.
Amounts are strings of minor units, bytes and hashes `0x…`, accounts `claw1…`, times RFC 3339;
members that end in `Ms` are integers of milliseconds, since 1970 (UTC) where they name a moment.

How it is used, with examples: [the wallet guide](../wallet-guide.md#let-programs-pay-a-service).

"""


def text_pattern(kind: Any) -> str:
    """Return the pattern of a kind of text."""
    return str(TypeAdapter(kind).json_schema()["pattern"])


PATTERNS = {
    text_pattern(Amount): "amount, a decimal string of minor units, 1 or more",
    text_pattern(Fee): "amount, a decimal string of minor units",
    text_pattern(Asset): "asset",
    text_pattern(BodyBytes): "bytes, `0x…`",
    text_pattern(Hash): "hash, `0x` and 64 digits",
    text_pattern(PublicKey): "public key, `0x` and 64 digits",
    text_pattern(IdempotencyKey): "1 to 64 bytes, `0x…`",
    text_pattern(RequestId): "id of a request, `0x` and 32 digits",
}


def page() -> str:
    """Return the page. Definitions need no running service: handlers are not called."""
    nothing = cast(Desk, SimpleNamespace())
    return HEAD + reference_markdown(service_methods(nothing, Flights()), PATTERNS)


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
