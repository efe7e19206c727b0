"""What `status`, `authority show` and `consensus state` print: a sentence before numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import trio

from clawpurse.cli.output import OK, WARNING
from clawpurse.cli.session import Session

# A quiet chain has a block every heartbeat (30 s); older than three of them is no longer quiet.
STALE_AFTER_MS: Final = 90_000


def age_text(ms: int) -> str:
    """Return a span in words: `0.8 s`, `12 s`, `5 min`, `3 h`, `2 d`."""
    seconds = max(0, ms) / 1000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def headline(chain: Mapping[str, Any], state: Mapping[str, Any], now: int) -> tuple[bool, str]:
    """Return whether all is well, and the sentence that says so or what is not."""
    height, behind = int(chain["height"]), int(chain["behind"])
    if chain["syncing"] and behind > 0:
        return False, f"Syncing {height}/{height + behind} ({behind} behind)."
    authorities, peers = int(chain["authorities"]), int(chain["peers"])
    if peers == 0 and authorities > 1:
        return False, "Alone: no peer is connected, so nothing new arrives here."
    age = now - int(chain["timeMs"])
    if height and age > STALE_AFTER_MS and int(state["round"]) > 0:
        word = "block" if authorities == 1 else "agreement on the next block"
        return False, (
            f"No {word} for {age_text(age)}: round {state['round']} of block {state['height']}. "
            "Payments wait; nothing is lost."
        )
    if height == 0:
        return True, "Ready. No block yet: the first payment makes one."
    return True, f"All is well: block {height} is final, {age_text(age)} old."


def status(session: Session) -> None:
    """Print the node's state in one screen."""

    async def ask() -> tuple[Any, Any, Any, Any, str]:
        async with session.node() as node:
            chain = await node.call("chain_getStatus")
            if session.json_mode:
                return chain, {}, {}, {}, node.url
            return (
                chain,
                await node.call("consensus_getState"),
                await node.call("mempool_getStatus"),
                await node.call("node_getInfo"),
                node.url,
            )

    chain, state, pool, info, url = trio.run(ask)
    if session.json_mode:
        session.out.emit(chain)
        return
    out, now = session.out, session.now_ms()
    well, text = headline(chain, state, now)
    out.line(f"{out.mark(OK if well else WARNING)} {text}")
    out.line()
    kind = " [TEST]" if chain.get("testNetwork") else ""
    role = "authority" if info.get("isAuthority") else "follower"
    signing = ", signing" if info.get("signing") else ""
    out.fields(
        [
            ("Network", f"{chain['chainId']}{kind}"),
            ("Genesis", str(chain["genesisHash"])),
            ("Block", f"{chain['height']}, {age_text(now - int(chain['timeMs']))} ago"),
            ("Hash", str(chain["hash"])),
            ("State root", str(chain["stateRoot"])),
            ("Authorities", f"{chain['authorities']}  (clawpurse authority show)"),
            ("Pending", f"{pool['transactions']} transactions, {pool['gaps']} in gaps"),
            ("Node", f"{info['name']}, {role}{signing}, {chain['peers']} peers, {url}"),
            ("Version", str(chain["version"])),
        ]
    )
    if not well:
        out.note("Next: clawpurse doctor")


def authorities(session: Session) -> None:
    """List who decides, and whose signature is in the newest certificate."""

    async def ask() -> Any:
        async with session.node() as node:
            return await node.call("consensus_getAuthorities")

    answer = trio.run(ask)
    if session.json_mode:
        session.out.emit(answer)
        return
    listed = answer["authorities"]
    out = session.out
    out.note(
        f"{len(listed)} authorities; {answer['quorum']} of them decide block {answer['height']}."
    )
    rows = [
        (one["authority"], "signed" if one["inNewestCertificate"] else "not in it")
        for one in listed
    ]
    out.table(("authority", "newest certificate"), rows)
    # Certificates hold the first quorum that came together, so absence proves nothing.
    if any(not one["inNewestCertificate"] for one in listed):
        out.note("A certificate keeps the first quorum; who is not in it may have signed too.")


def consensus_state(session: Session) -> None:
    """Print where agreement stands."""

    async def ask() -> tuple[Any, Any]:
        async with session.node() as node:
            return await node.call("consensus_getState"), await node.call("chain_getStatus")

    state, chain = trio.run(ask)
    if session.json_mode:
        session.out.emit(state)
        return
    out = session.out
    doing = "waits for something to decide" if state["waiting"] else f"is at {state['step']}"
    out.line(f"Block {state['height']}, round {state['round']}: the node {doing}.")
    out.line()
    votes = [
        f"round {entry['round']}: {_count(entry['prevotes'])} prevotes, "
        f"{_count(entry['precommits'])} precommits"
        for entry in state["votes"]
    ]
    out.fields(
        [
            ("Proposer", str(state["proposer"] or "–")),
            ("Locked", _value(state["lockedValue"], state["lockedRound"])),
            ("Valid", _value(state["validValue"], state["validRound"])),
            ("Votes", "; ".join(votes) or "none"),
            ("Signing", "yes" if state["signing"] else "no"),
            ("Evidence", f"{state['evidenceSeen']} seen"),
            ("Authorities", str(chain["authorities"])),
        ]
    )


def _count(bitmap: str) -> int:
    return int(bitmap, 16).bit_count() if bitmap != "0x" else 0


def _value(value: object, round_: object) -> str:
    return "nothing" if value is None else f"{value} in round {round_}"
