"""What `rpc` and `methods` do: the node's interface as it is, from the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import trio

from clawpurse.cli.failures import UsageFault
from clawpurse.cli.session import Session
from clawpurse.cli.token_files import token_in
from clawpurse.cli.who import account_named
from clawpurse.ledger.address import account_text
from clawpurse.modules.kit.web.errors import METHOD_NOT_FOUND, RpcError

# `tx_submit` and `tx_wait` hold the line for up to a minute.
_TIMEOUT_MS = 95_000


def call(session: Session, method: str, parameters: Sequence[str], token_file: Path | None) -> None:
    """Call a method and print its result; an unknown one is answered with the nearest."""
    params = dict(parameter(session, text) for text in parameters)
    token = None if token_file is None else token_in(token_file)

    async def run() -> Any:
        async with session.node(_TIMEOUT_MS, token) as node:
            try:
                return await node.call(method, params or None)
            except RpcError as err:
                if err.code != METHOD_NOT_FOUND:
                    raise
                raise _no_method(method, _names(await node.call("rpc_discover"))) from err

    result = trio.run(run)
    if session.json_mode:
        session.out.emit(result if isinstance(result, dict) else {"result": result})
        return
    session.out.line(json.dumps(result, indent=2, ensure_ascii=False))


def methods(session: Session, name: str | None) -> None:
    """List methods from the node's own description of itself."""

    async def run() -> Any:
        async with session.node() as node:
            return await node.call("rpc_discover")

    found = {str(one["name"]): one for one in trio.run(run)["methods"]}
    if name is not None:
        if name not in found:
            raise _no_method(name, list(found))
        if session.json_mode:
            session.out.emit(found[name])
            return
        session.out.line(json.dumps(found[name], indent=2, ensure_ascii=False))
        return
    if session.json_mode:
        session.out.emit({"methods": list(found.values())})
        return
    rows = [
        (name, _signature(one), str(one.get("summary", ""))) for name, one in sorted(found.items())
    ]
    session.out.table(("method", "parameters", "what"), rows)


def _signature(method: Mapping[str, Any]) -> str:
    """`account lane?`: a question mark where a parameter may be left out."""
    return " ".join(
        str(param["name"]) + ("" if param.get("required") else "?")
        for param in method.get("params", ())
    )


def _names(document: Mapping[str, Any]) -> list[str]:
    return [str(one["name"]) for one in document.get("methods", ())]


def _no_method(name: str, known: Sequence[str]) -> UsageFault:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    nearest = f"; nearest: {near[0]}" if near else ""
    return UsageFault(f"No method {name}{nearest}.", "", "clawpurse methods")


def parameter(session: Session, text: str) -> tuple[str, Any]:
    """Read `K=V`: a value is JSON if it reads as JSON, an account may be a name."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageFault(f"{text!r} is not K=V.", "", "clawpurse rpc chain_getBlock height=12")
    try:
        parsed = json.loads(value)
    except ValueError:
        parsed = value
    if key in ("account", "sender") and isinstance(parsed, str):
        parsed = account_text(account_named(session, parsed).account)
    return key, parsed
