"""`consensus explain|state|evidence`, and the sentence that opens every status: words, then facts.

The sentence is the node's (`consensus_explain`); nothing is judged here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import trio

from clawpurse.cli.output import OK, WARNING, Output, counted
from clawpurse.cli.session import Session
from clawpurse.node.explanation import age_text

# Records of double signing that one command lists; the method gives the cursor for more.
EVIDENCE_MAX: Final = 500
# States that are about the node that was asked; another one may know more of the network.
OWN_STATES: Final = frozenset(("alone", "syncing", "notSigning", "clockSkew", "overdue"))


def opening(out: Output, explanation: Mapping[str, Any]) -> str:
    """Return the line that opens a screen: glyph and sentence."""
    mark = OK if explanation["ok"] else WARNING
    return f"{out.mark(mark)} {explanation['sentence']}"


def next_step(out: Output, explanation: Mapping[str, Any]) -> None:
    """Print what helps, if something must be done: a command to paste, and what it needs."""
    if explanation["ok"]:
        return
    command, hint = explanation.get("command"), explanation.get("hint")
    if command and hint:
        out.note(f"Next: {command}  ({hint})")
    elif command or hint:
        out.note(f"Next: {command or hint}")


def best_of(explanations: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the explanation to show of several nodes' ones: one about the network if there is."""
    for explanation in explanations:
        if explanation["state"] not in OWN_STATES:
            return explanation
    return explanations[0] if explanations else None


def explain(session: Session) -> None:
    """Print what the network waits for: one sentence, then the facts."""

    async def ask() -> Any:
        async with session.node() as node:
            return await node.call("consensus_explain")

    found = trio.run(ask)
    if session.json_mode:
        session.out.emit(found)
        return
    out = session.out
    out.line(opening(out, found))
    for sentence in found["also"]:
        out.line(f"{out.mark(WARNING)} {sentence}")
    out.line()
    out.fields(_facts(found))
    next_step(out, found)


def _facts(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    quorum, newest = found["quorum"], found["newest"]
    place = f"{found['height']}, round {found['round']}, {found['step']}"
    pairs = [
        ("Waits for", str(found["waitingFor"])),
        ("Block", f"{place}, {age_text(found['roundMs'])}"),
        ("Newest", f"block {newest['height']}, {age_text(newest['ageMs'])} old"),
        ("Signing", f"{quorum['have']} of {quorum['of']}, {quorum['need']} needed"),
    ]
    for one in found["missing"]:
        at = one["lastSeenHeight"]
        seen = "never heard here" if at is None else f"last vote for block {at}"
        pairs.append(
            (
                "Missing",
                f"{named(one)} {_STANDING.get(one['standing'], one['standing'])} since "
                f"{one['sinceTime']}, {age_text(one['sinceMs'])}, {seen}",
            )
        )
    signing, skew = found["signing"], found["skewMs"]
    why = f": {signing['why']}" if signing["why"] else ""
    pairs += [
        ("This node", f"{signing['state']}{why}, {counted(found['peers'], 'peer')}"),
        ("Clock", "not known yet" if skew is None else f"{skew:+d} ms from the others'"),
    ]
    return pairs


_STANDING: Final[Mapping[str, str]] = {
    "silent": "silent",
    "following": "follows without signing",
}


def named(one: Mapping[str, Any]) -> str:
    """Return an authority as people know it: its name, if it has one here, and its whole id."""
    return f"{one['name']} ({one['authority']})" if one.get("name") else str(one["authority"])


def state(session: Session) -> None:
    """Print where agreement stands, with every vote by name."""

    async def ask() -> Any:
        async with session.node() as node:
            return await node.call("consensus_getState")

    found = trio.run(ask)
    if session.json_mode:
        session.out.emit(found)
        return
    out = session.out
    doing = "waits for something to decide" if found["waiting"] else f"is at {found['step']}"
    out.line(f"Block {found['height']}, round {found['round']}: the node {doing}.")
    out.line()
    timers = [f"{one['kind']} in {age_text(one['leftMs'])}" for one in found["timers"]]
    refused = found["refused"]
    signer = found["signer"]
    pairs = [
        ("Proposer", str(found["proposer"] or "–")),
        ("Locked", _value(found["lockedValue"], found["lockedRound"])),
        ("Valid", _value(found["validValue"], found["validRound"])),
        ("Timers", ", ".join(timers) or "none"),
        ("Signing", "yes" if found["signing"] else f"no: {signer['why'] or signer['state']}"),
        ("Evidence", f"{found['evidenceSeen']} seen  (clawpurse consensus evidence)"),
    ]
    if refused is not None:
        pairs.append(("Refused", f"the block of round {refused['round']}: {refused['problem']}"))
    out.fields(pairs)
    out.line()
    if not found["votes"]:
        out.note("No vote of this block is known yet.")
        return
    out.table(
        ("round>", "authority", "prevote", "precommit"),
        [row for entry in found["votes"] for row in _votes(entry, found["authorities"])],
    )


def _votes(entry: Mapping[str, Any], authorities: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """One row an authority, also those whose vote is lacking."""
    columns = [
        {one["authority"]: one["blockId"] or "nil" for one in entry[f"{kind}By"]}
        for kind in ("prevotes", "precommits")
    ]
    return [
        [
            str(entry["round"]),
            one["name"] or one["authority"],
            *(_short(column.get(one["authority"], "–")) for column in columns),
        ]
        for one in authorities
    ]


def _short(block_id: str) -> str:
    return f"{block_id[:14]}…" if block_id.startswith("0x") else block_id


def _value(value: object, round_: object) -> str:
    return "nothing" if value is None else f"{value} in round {round_}"


def evidence(session: Session) -> None:
    """List who signed twice for one position."""

    async def ask() -> Any:
        async with session.node() as node:
            return await node.call("consensus_getEvidence", {"limit": EVIDENCE_MAX})

    found = trio.run(ask)
    if session.json_mode:
        session.out.emit(found)
        return
    out, listed = session.out, found["evidence"]
    if not listed:
        out.line(f"{out.mark(OK)} No authority was found to have signed twice.")
        return
    guilty = sorted({str(one["authority"]) for one in listed})
    out.line(
        f"{out.mark(WARNING)} {len(guilty)} "
        f"{'authority has' if len(guilty) == 1 else 'authorities have'} signed two different "
        "things for one position."
    )
    out.line()
    out.table(
        ("authority", "block>", "round>", "kind", "state", "recorded in>"),
        [
            (
                str(one["authority"]),
                str(one["height"]),
                str(one["round"]),
                str(one["kind"]),
                str(one.get("state") or "–"),
                str(one.get("committedHeight") or "–"),
            )
            for one in listed
        ],
    )
    if found.get("nextCursor"):
        cursor = found["nextCursor"]
        out.note(f"More: clawpurse rpc consensus_getEvidence limit={EVIDENCE_MAX} cursor={cursor}")
    out.note("Its removal is a vote of the others.")
