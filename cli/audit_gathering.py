"""What `audit export --entries` and `audit search` do: ask an audit service, and the ledger."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio

from clawpurse.cli.audit_logs import proven, verify_log
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import OK, counted
from clawpurse.cli.progress import waiting
from clawpurse.cli.session import Session, shown
from clawpurse.modules.audit.anchoring import ANCHOR_TREE, record_key
from clawpurse.modules.audit.bundles import EXPORT_MAX, hexed
from clawpurse.modules.audit.search import LIMIT_MAX
from clawpurse.modules.kit.web.errors import BadAnswer
from clawpurse.wallet.audit_logs import ENTRIES_MAX, LogFault, check_log_bundle
from clawpurse.wallet.bundles import BUNDLE_BYTES_MAX
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.durable import writing_private

Json = dict[str, Any]
Call = Callable[[str, Json], Awaitable[Any]]
PAGES_MAX: Final = 1_000
"""Calls of one search: what is rarer than that is looked for by another condition."""

_HELP: Final = "clawpurse audit export --help"


class Looked(NamedTuple):
    """What entries are looked for by, as typed; None where it does not matter."""

    who: str | None = None
    what: str | None = None
    result: str | None = None
    origin: str | None = None
    object: str | None = None
    source: str | None = None

    def given(self) -> Json:
        """Return what was given."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def export_entries(
    session: Session,
    entries: str,
    looked: Looked,
    redact: tuple[int, ...],
    service: str | None,
    out: Path,
) -> int:
    """Gather a bundle of a range, with the newest word of the ledger; keep it, say what it proves.

    What a log says that does not hold is kept as well, for whoever must know: then 4.
    """
    first, last = _range(entries)
    if out.exists():
        raise UsageFault(f"{out} is there already.", "Nothing was written.", "choose another --out")

    async def run() -> tuple[Json, bytes]:
        async with session.node() as node, waiting(session.out, "exporting"):
            genesis_hash = (await node.terms()).genesis_hash
            async with _service(session, node, service) as call:
                return await _gather(
                    node, call, range(first, last + 1), looked, redact
                ), genesis_hash

    bundle, genesis_hash = trio.run(run)
    data = json.dumps(bundle).encode() + b"\n"
    if len(data) > BUNDLE_BYTES_MAX:
        raise UsageFault(
            f"The bundle would be larger than {BUNDLE_BYTES_MAX:,} bytes.",
            "Nothing was written.",
            "export fewer --entries",
        )
    with writing_private(out) as file:
        file.write(data)
    try:
        story = check_log_bundle(bundle, genesis_hash)
    except LogFault:
        session.out.note(f"  Kept as evidence: {shown(out)}")
        return verify_log(session, bundle, genesis_hash)
    count = len(story.entries)
    if session.json_mode:
        session.out.emit(
            {
                "file": str(out),
                "bytes": len(data),
                "genesisHash": hexed(genesis_hash),
                "first": story.entries[0].place,
                "entries": count,
                "proven": proven(story),
            }
        )
        return 0
    session.out.line(
        f"{session.out.mark(OK)} {counted(count, 'entry')}, {len(data):,} bytes, "
        f"checked: {shown(out)}"
    )
    session.out.note(
        f"Next: clawpurse audit verify {shown(out)} --genesis-hash {hexed(genesis_hash)}"
    )
    return 0


def search_entries(session: Session, looked: Looked, limit: int, service: str | None) -> None:
    """Show the newest entries that are so."""

    async def run() -> list[Json]:
        async with (
            session.node() as node,
            _service(session, node, service) as call,
            waiting(session.out, "searching"),
        ):
            return await _pages(call, looked, limit)

    found = trio.run(run)
    if session.json_mode:
        session.out.emit({"entries": found})
        return
    rows = [
        (
            str(one["place"]),
            str(one["time"])[:19].replace("T", " "),
            str(one["who"]),
            str(one["what"]),
            str(one["object"]),
            str(one["result"]),
        )
        for one in found
    ]
    if rows:
        session.out.table(("place>", "time", "who", "what", "object", "result"), rows)
    else:
        session.out.line("Nothing was found.")


async def _pages(call: Call, looked: Looked, limit: int) -> list[Json]:
    found: list[Json] = []
    cursor: str | None = None
    for _ in range(PAGES_MAX):
        asked = {**looked.given(), "limit": min(limit - len(found), LIMIT_MAX)}
        answer = await call(
            "audit_search", asked if cursor is None else {**asked, "cursor": cursor}
        )
        found += _listed(answer, "entries")
        cursor = answer.get("nextCursor")
        if cursor is None or len(found) >= limit:
            break
    return found[:limit]


async def _gather(
    node: NodeClient, call: Call, places: range, looked: Looked, redact: tuple[int, ...]
) -> Json:
    """Return one bundle of all pages, under one head, with what the ledger says now."""
    log = _member(await call("audit_getStatus", {}), "log")
    if not isinstance(log, str):
        raise BadAnswer("it has no log on the ledger yet")
    key = record_key(bytes.fromhex(log.removeprefix("0x")))
    # First the ledger, then the log: what is anchored meanwhile must not look as if it was cut.
    answer = await node.call(
        "chain_getProof", {"module": ANCHOR_TREE, "path": hexed(key), "prove": True}
    )
    newest = _member(answer, "bundle")
    bundle: Json = {}
    size: int | None = None
    start = places.start
    while start < places.stop:
        asked: Json = {
            **looked.given(),
            "first": start,
            "count": min(EXPORT_MAX, places.stop - start),
            "redact": [place for place in redact if start <= place < start + EXPORT_MAX],
        }
        page = await call("audit_export", asked if size is None else {**asked, "size": size})
        fresh = _listed(page, "entries")
        if not bundle:
            bundle, size = dict(page), _size_of(page)
        else:
            bundle["entries"] += fresh
            bundle["anchors"] += [one for one in page["anchors"] if one not in bundle["anchors"]]
        start += len(fresh)
        if not fresh or start >= (size or 0):
            break
    bundle["anchors"] = await _with_newest(call, _listed(bundle, "anchors"), newest, size or 0)
    return bundle


async def _with_newest(call: Call, anchors: list[Json], newest: Any, size: int) -> list[Json]:
    """Return anchors by height, the ledger's newest word last."""
    from clawpurse.ledger.blocks import Header
    from clawpurse.modules.anchor.records import Log

    def height(proof: Any) -> int:
        return Header.unpack(bytes.fromhex(proof["blocks"][0]["header"][2:])).height

    try:
        value = newest["blocks"][0]["values"][0]["value"]
        anchored = 0 if value is None else Log.unpack(bytes.fromhex(value[2:])).size
        latest = height(newest)
        kept = [one for one in anchors if height(one["proof"]) < latest]
    except (KeyError, TypeError, ValueError, IndexError) as err:
        raise BadAnswer(f"its proof is none ({type(err).__name__})") from err
    path: list[str] = []
    if 0 < anchored <= size:
        way = await call("audit_consistency", {"first": anchored, "second": size})
        path = _listed(way, "path")
    kept.sort(key=lambda one: height(one["proof"]))
    return [*kept, {"proof": newest, "path": path}]


def _size_of(page: Json) -> int:
    from clawpurse.modules.audit.notes import parse_checkpoint

    note = str(_listed(page, "checkpoints")[-1]["note"])
    return parse_checkpoint(note.rpartition("\n\n")[0] + "\n").size


def _member(answer: Any, name: str) -> Any:
    if not isinstance(answer, Mapping) or name not in answer:
        raise BadAnswer(f"it says nothing of {name}")
    return answer[name]


def _listed(answer: Any, name: str) -> list[Any]:
    found = _member(answer, name)
    if not isinstance(found, list):
        raise BadAnswer(f"{name} is no list")
    return found


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition(":")
    if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
        raise UsageFault("--entries is not FIRST:LAST.", "Nothing was written.", _HELP)
    if not 0 <= int(first) <= int(last) < 2**61:
        raise UsageFault("--entries is no range of places.", "Nothing was written.", _HELP)
    if int(last) - int(first) >= ENTRIES_MAX:
        raise UsageFault(
            f"At most {ENTRIES_MAX} entries fit a bundle.", "Nothing was written.", _HELP
        )
    return int(first), int(last)


@asynccontextmanager
async def _service(session: Session, node: NodeClient, url: str | None) -> AsyncIterator[Call]:
    """Give a way to call the audit service: at an address of its own, or in the node."""
    if url is None:
        yield node.call
        return
    async with session.connect(url) as client:
        yield client.call
