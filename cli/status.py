"""What `status` and `authority show` print: a sentence before numbers."""

from __future__ import annotations

from typing import Any

import trio

from clawpurse.cli.consensus import next_step, opening
from clawpurse.cli.outgoing import tell_left
from clawpurse.cli.output import WARNING, counted
from clawpurse.cli.session import Session
from clawpurse.node.explanation import age_text


def status(session: Session) -> None:
    """Print the node's state in one screen."""

    async def ask() -> tuple[Any, Any, Any, Any, str]:
        async with session.node() as node:
            chain = await node.call("chain_getStatus")
            explanation = await node.call("consensus_explain")
            if session.json_mode:
                return chain, explanation, {}, {}, node.url
            return (
                chain,
                explanation,
                await node.call("mempool_getStatus"),
                await node.call("node_getInfo"),
                node.url,
            )

    chain, explanation, pool, info, url = trio.run(ask)
    if session.json_mode:
        session.out.emit({**chain, "explanation": explanation})
        return
    out, now = session.out, session.now_ms()
    out.line(opening(out, explanation))
    for sentence in explanation["also"]:
        out.line(f"{out.mark(WARNING)} {sentence}")
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
            ("Pending", f"{counted(pool['transactions'], 'transaction')}, {pool['gaps']} in gaps"),
            ("Node", f"{info['name']}, {role}{signing}, {counted(chain['peers'], 'peer')}, {url}"),
            ("Version", str(chain["version"])),
        ]
    )
    next_step(out, explanation)
    tell_left(session, bytes.fromhex(str(chain["genesisHash"]).removeprefix("0x")))


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
        f"{counted(len(listed), 'authority')}; {answer['quorum']} of them decide block "
        f"{answer['height']}."
    )
    rows = [
        (one["authority"], "signed" if one["inNewestCertificate"] else "not in it")
        for one in listed
    ]
    out.table(("authority", "newest certificate"), rows)
    # Certificates hold the first quorum that came together, so absence proves nothing.
    if any(not one["inNewestCertificate"] for one in listed):
        out.note("A certificate keeps the first quorum; who is not in it may have signed too.")
