"""What `authority propose|vote|withdraw|proposals` and `upgrade …` do: decisions of authorities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from clawpurse.cli.acting import NOTHING, Deed, Terms, authority_key, perform, run_with_node
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import OK, WARNING
from clawpurse.cli.session import Session
from clawpurse.cli.who import account_named
from clawpurse.ledger.address import authority_from_text
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.names import ADMIN_ROLE, plain_name
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.transactions import ACTIONS_MAX, RawAction
from clawpurse.modules.governance.actions import OPENINGS, VOTE, WITHDRAW
from clawpurse.modules.governance.changes import (
    KIND_NAMES,
    Change,
    Kind,
    change_json,
    parameters_text,
    read_parameters,
)
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.keys import SigningKey

# Beginnings of ids are taken from this length on, as they are shown.
ID_CHARS_MIN: Final = 14
LISTED_MAX: Final = 500
_DANGER: Final = {
    Kind.REMOVE: "It decides no more blocks; with too few left, one more loss stops the network.",
    Kind.REPLACE: "The old key decides no more blocks; the new one must run from that height on.",
    Kind.PARAMETERS: "Every node works under them from the next block on.",
    Kind.AMEND: "Every node whose software does not know it stops before that block.",
    Kind.CANCEL: "Nodes that were to change at that block will not.",
}
_KIND_OF: Final = {name: kind for kind, name in KIND_NAMES.items()}
Json = dict[str, Any]


# -- contents


def add(key: str) -> Change:
    """The change that makes a key an authority."""
    return Change(Kind.ADD, (_key(key),))


def remove(key: str) -> Change:
    """The change that removes an authority."""
    return Change(Kind.REMOVE, (_key(key),))


def replacement(old: str, new: str) -> Change:
    """The change that puts one authority in another's place."""
    return Change(Kind.REPLACE, (_key(old), _key(new)))


def parameters(given: Sequence[str]) -> Change:
    """The change of parameters, given as name=number each."""
    values: dict[str, int] = {}
    for text in given:
        name, equals, number = text.partition("=")
        if not equals or not (number.isascii() and number.isdigit()) or name in values:
            raise UsageFault(f"{text!r} is not name=number, once each.", NOTHING, "interval_ms=500")
        values[name] = int(number)
    text = parameters_text(values)
    try:
        read_parameters(text, "parameters")
    except Malformed as err:
        raise UsageFault(f"{err}.", NOTHING, "clawpurse rpc chain_getParameters") from err
    return Change(Kind.PARAMETERS, (text,))


def role(session: Session, name: str, account: str, *, held: bool) -> Change:
    """The change that gives or takes a role."""
    whom = account_named(session, account, NOTHING).account
    return Change(Kind.GRANT if held else Kind.REVOKE, (_name(name), whom))


def amendment(name: str, height: int) -> Change:
    """The change that adopts an amendment."""
    return Change(Kind.AMEND, (_name(name), height))


def cancellation(name: str) -> Change:
    """The change that calls an amendment off."""
    return Change(Kind.CANCEL, (_name(name),))


def _key(text: str) -> bytes:
    try:
        return authority_from_text(text)
    except Malformed as err:
        raise UsageFault(
            f"{text[:12]}… {err.problem}.", NOTHING, "clawpurse authority show"
        ) from err


def _name(text: str) -> str:
    try:
        return plain_name(text, "name")
    except Malformed as err:
        raise UsageFault(f"{text!r} {err.problem}.", NOTHING, "") from err


# -- deeds


def propose(
    session: Session, change: Change, homes: Sequence[Path], days: int, terms: Terms
) -> None:
    """Vote for a change: for the open proposal of it if there is one, else opening one."""

    async def work(node: NodeClient) -> Json:
        found = [one for one in await _open(node) if one["change"] == change_json(change)]
        keys = _needed(*await _voters(node, homes), found[-1] if found else None)
        if found:
            proposal = found[-1]["proposal"]
            session.out.note(f"  Proposal: {found[-1]['says']} (until {found[-1]['expires']}).")
            known = bytes.fromhex(proposal[2:])
            actions = [RawAction(VOTE.name, [key.public_key, known]) for key in keys]
        else:
            # The newest block of an idle network may be old. In whole seconds, for readers.
            now_ms = max((await node.status()).time_ms, session.now_ms())
            expires_ms = now_ms // 1_000 * 1_000 + days * DAY_MS
            name = OPENINGS[Kind(change.kind)].name
            actions = [
                RawAction(name, [key.public_key, expires_ms, *change.arguments]) for key in keys
            ]
            proposal = f"0x{change.id(expires_ms).hex()}"
        deed = Deed(tuple(actions), tuple(keys), _danger(change))
        return await _done(node, proposal, await perform(session, node, deed, terms))

    _tell(session, run_with_node(session, work))


def vote(session: Session, which: str, homes: Sequence[Path], terms: Terms, verb: str) -> None:
    """Vote for a proposal by its id, or take the votes back."""

    async def work(node: NodeClient) -> Json:
        found = await _named(node, which)
        keys, answer = await _voters(node, homes)
        if verb != "withdraw":
            keys = _needed(keys, answer, found)
        proposal = bytes.fromhex(found["proposal"][2:])
        name = WITHDRAW.name if verb == "withdraw" else VOTE.name
        actions = tuple(RawAction(name, [key.public_key, proposal]) for key in keys)
        session.out.note(f"  Proposal: {found['says']} (until {found['expires']}).")
        danger = "" if verb == "withdraw" else _danger_of(found["change"])
        deed = Deed(actions, tuple(keys), danger)
        return await _done(node, found["proposal"], await perform(session, node, deed, terms))

    _tell(session, run_with_node(session, work))


def proposals(session: Session, *, everything: bool) -> None:
    """List what is voted on."""

    async def work(node: NodeClient) -> Any:
        params = {"status": "all" if everything else "open", "limit": LISTED_MAX}
        return await node.call("governance_listProposals", params)

    answer = run_with_node(session, work)
    if session.json_mode:
        session.out.emit(answer)
        return
    listed = answer["proposals"]
    if not listed:
        session.out.line("Nothing is voted on.")
        session.out.note("Next: clawpurse authority show")
        return
    rows = [(one["proposal"][:ID_CHARS_MIN], _state(one), one["says"]) for one in listed]
    session.out.table(("proposal", "state", "to"), rows)
    if any(one["status"] == "open" for one in listed):
        session.out.note("Next: clawpurse authority vote PROPOSAL --authority-home DIR")


def amendments(session: Session) -> None:
    """List amendments: adopted, in force, known to the node's software."""

    async def work(node: NodeClient) -> tuple[Any, list[Json]]:
        answer = await node.call("consensus_listAmendments")
        waiting = [one for one in await _open(node) if one["change"]["kind"] == "amend"]
        return answer, waiting

    answer, waiting = run_with_node(session, work)
    if session.json_mode:
        session.out.emit({**answer, "proposals": waiting})
        return
    rows = [(one["name"], _amendment_state(one), _known(one)) for one in answer["amendments"]]
    rows += [
        (one["change"]["name"], f"proposed: {_state(one)}", one["proposal"][:ID_CHARS_MIN])
        for one in waiting
    ]
    if not rows:
        session.out.line(f"No amendment was adopted or proposed; block {answer['height']}.")
        return
    session.out.table(("amendment", "state", "this node"), rows)
    for one in answer["amendments"]:
        if not one["known"]:
            session.out.warn(
                f"This node stops before block {one['activationHeight']}: install a version that "
                f"knows {one['name']}."
            )


def _amendment_state(one: Json) -> str:
    word = "in force since" if one["active"] else "in force from"
    return f"{word} block {one['activationHeight']}"


def _known(one: Json) -> str:
    return "knows it" if one["known"] else "DOES NOT KNOW IT"


# -- parts


async def _voters(node: NodeClient, homes: Sequence[Path]) -> tuple[list[SigningKey], Json]:
    """Return the keys that vote, and what the node says of the authorities.

    Raises `UsageFault` without a key.
    """
    if not homes:
        raise UsageFault("Whose vote?", NOTHING, "add --authority-home DIR (a node's folder)")
    if len(homes) > ACTIONS_MAX:
        raise UsageFault(f"At most {ACTIONS_MAX} votes at a time.", NOTHING, "")
    answer: Json = await node.call("consensus_getAuthorities")
    members = [authority_from_text(one["authority"]) for one in answer["authorities"]]
    keys = [authority_key(home, members) for home in homes]
    return list({key.public_key: key for key in keys}.values()), answer


def _needed(keys: list[SigningKey], answer: Json, proposal: Json | None) -> list[SigningKey]:
    """Return those of the keys whose votes a proposal still needs: then it is over.

    A vote too many would be refused, and take those before it in its transaction along.
    """
    given = [] if proposal is None else [authority_from_text(one) for one in proposal["votes"]]
    fresh = [key for key in keys if key.public_key not in given]
    counted = 0 if proposal is None else proposal["counted"]
    # Who has voted already is told so by the ledger, if nobody else is named.
    return fresh[: max(1, answer["quorum"] - counted)] or keys[:1]


async def _open(node: NodeClient) -> list[Json]:
    answer = await node.call("governance_listProposals", {"limit": LISTED_MAX})
    listed: list[Json] = [one for one in answer["proposals"] if one["status"] == "open"]
    return listed


async def _named(node: NodeClient, which: str) -> Json:
    """Return the proposal whose id begins so; short ones are looked for among the open ones."""
    text = which.lower()
    if len(text) == 66:
        found: Json = await node.call("governance_getProposal", {"proposal": text})
        return found
    if len(text) < ID_CHARS_MIN:
        raise UsageFault(
            f"{which} is too short: at least {ID_CHARS_MIN} characters.",
            NOTHING,
            "clawpurse authority proposals",
        )
    matching = [one for one in await _open(node) if one["proposal"].startswith(text)]
    if len(matching) != 1:
        many = "No open proposal begins" if not matching else "Several proposals begin"
        raise UsageFault(f"{many} with {which}.", NOTHING, "clawpurse authority proposals")
    return matching[0]


async def _done(node: NodeClient, proposal: str, document: Json) -> Json:
    """Return what became of it: the receipt, and where the proposal stands now."""
    shown = await node.call("governance_getProposal", {"proposal": proposal})
    return {**{k: v for k, v in document.items() if k != "proof"}, "proposal": shown}


def _danger(change: Change) -> str:
    if change.kind in (Kind.GRANT, Kind.REVOKE) and change.arguments[0] == ADMIN_ROLE:
        return "Administrators say who may do what."
    return _DANGER.get(Kind(change.kind), "")


def _danger_of(shown: Json) -> str:
    kind = _KIND_OF[shown["kind"]]
    if shown.get("role") == ADMIN_ROLE:
        return "Administrators say who may do what."
    return _DANGER.get(kind, "")


def _state(one: Json) -> str:
    match one["status"]:
        case "open":
            return f"{one['counted']} of {one['quorum']} votes"
        case "passed":
            return f"passed, in force from block {one['inForce']}"
        case "failed":
            return f"failed ({one['rule']})"
        case other:
            return str(other)


def _tell(session: Session, done: Json) -> None:
    if session.json_mode:
        session.out.emit(done)
        return
    out, proposal = session.out, done["proposal"]
    good = proposal["status"] in ("open", "waiting", "passed")
    decided = "Decided" if proposal["status"] != "open" else "Final"
    out.line(f"{out.mark(OK if good else WARNING)} {decided} in block {done['height']}.")
    out.fields(
        [
            ("To", proposal["says"]),
            ("State", _state(proposal)),
            ("Proposal", proposal["proposal"]),
        ]
    )
    if proposal["status"] == "open":
        short = proposal["proposal"][:ID_CHARS_MIN]
        out.note(
            f"Next, each other authority: clawpurse authority vote {short} --authority-home DIR"
        )
