"""What officers do by `compliance propose|approve|reject|quorum|set-list|list-add|…`.

Before an approval is signed, the policy is shown word by word, and what is signed is its id, which
binds every word.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from clawpurse.cli.acting import NOTHING, Deed, Terms, perform, run_with_node
from clawpurse.cli.compliance import print_policy
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import counted
from clawpurse.cli.promising import account_of, decimals_of, event_of, find_event, id_of, tell
from clawpurse.cli.session import Session
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.rules import sentence, time_text
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.compliance.actions import (
    ADD_TO_LIST,
    APPROVE,
    PROPOSE,
    REJECT,
    REMOVE_FROM_LIST,
    SET_LIST,
    SET_QUORUM,
)
from clawpurse.modules.compliance.language import Problem, read_rules
from clawpurse.modules.compliance.words import rule_words
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.amounts import amount_text
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.policy_files import policy_fields, read_policy_file, span_ms

Json = dict[str, Any]
Prepare = Callable[[NodeClient], Awaitable[RawAction]]


def propose(session: Session, file: Path, show_only: bool, terms: Terms) -> None:
    """Propose the policy in a file; or only say what it would be."""
    document = _read(file)

    async def prepare(node: NodeClient) -> RawAction:
        asset = document.get("asset")
        decimals = None if asset is None else await decimals_of(node, asset)
        try:
            fields = policy_fields(document, decimals)
            action = RawAction(PROPOSE.name, fields)
            PROPOSE.read(action.fields)
        except Malformed as err:
            raise _fault(file, err) from err
        _print_file(session, file, document, fields, decimals)
        return action

    if show_only:
        run_with_node(session, prepare)
        return
    _act(session, terms, prepare, _proposed)


def _read(file: Path) -> Json:
    try:
        return read_policy_file(file.expanduser().read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as err:
        raise UsageFault(f"{file} cannot be read: {err}.", NOTHING, "") from err
    except Malformed as err:
        raise _fault(file, err) from err


def _fault(file: Path, err: Malformed) -> UsageFault:
    return UsageFault(f"{file}: {err.field} {err.problem}.", NOTHING, "docs/modules/compliance.md")


def _print_file(
    session: Session, file: Path, document: Json, fields: list[Wire], decimals: int | None
) -> None:
    """Show the rules in words; refuse what the ledger would refuse without looking at state."""
    rules: Any = fields[4]
    asset = document.get("asset")
    found = read_rules(rules, asset)
    if isinstance(found, Problem):
        said = sentence(build_registry().rules[found.rule], found.facts)
        raise UsageFault(f"{file}: {said}", NOTHING, "docs/modules/compliance.md")

    def show(amount: int) -> str:
        return amount_text(amount, decimals or 0, asset or "")

    shown = [{"rule": rule.name, "words": rule_words(rule, show)} for rule in found]
    policy = {**document, "asset": asset, "rules": shown}
    if session.json_mode:
        return
    print_policy(session, policy, f"in force {document['delay']} after its approval")


def _proposed(document: Json) -> str:
    data = event_of(document, "compliance.policyProposed")
    return (
        f"proposal {data['number']} of the policy {data['policy']}. {_standing(document)}\n"
        f"  Next, another officer: clawpurse compliance approve {data['number']}"
    )


def _standing(document: Json) -> str:
    """Say how far a proposal has come by this transaction."""
    waiting = find_event(document, "compliance.policyWaiting")
    if waiting is not None:
        when = time_text(waiting["activeFrom"])
        return f"Approved: version {waiting['version']} is in force from {when}."
    if find_event(document, "compliance.policyClosed") is not None:
        return "It is rejected."
    for kind, word in (("policyApproved", "approve"), ("policyOpposed", "reject")):
        data = find_event(document, f"compliance.{kind}")
        if data is not None:
            return f"{data['count']} of {data['needed']} officers {word} it."
    return ""


def proposals(session: Session, proposal: str | None) -> None:
    """List what officers have to decide, or show one proposal."""

    async def work(node: NodeClient) -> Any:
        if proposal is not None:
            return await _proposal(node, proposal)
        return await node.call("compliance_listProposals", {})

    answer = run_with_node(session, work)
    out = session.out
    if session.json_mode:
        out.emit(answer)
        return
    if proposal is not None:
        _print_proposal(session, answer)
        return
    rows = [
        (str(one["number"]), one["policy"], one["asset"] or "all", one["status"],
         str(len(one["approvedBy"])), str(len(one["rejectedBy"])), one["ends"])
        for one in answer["proposals"]
    ]  # fmt: skip
    out.table(("number>", "policy", "asset", "status", "for>", "against>", "until"), rows)
    for ballot in answer["ballots"]:
        out.line(
            f"{len(ballot['supportedBy'])} said {ballot['action']} {ballot['fields']}, "
            f"until {ballot['ends']}"
        )


async def _proposal(node: NodeClient, text: str) -> Json:
    """Return a proposal by number or id."""
    by_number = text.isascii() and text.isdigit() and len(text) < 16
    params: Json = (
        {"number": int(text)} if by_number else {"proposal": f"0x{id_of(text, 'proposal').hex()}"}
    )
    found: Json = await node.call("compliance_getProposal", params)
    return found


def _print_proposal(session: Session, found: Json) -> None:
    print_policy(session, found, f"proposal {found['number']}, {found['status']}")
    session.out.line(f"  Proposed by {found['by']}, decided or over at {found['ends']}.")
    for word, names in (("For", found["approvedBy"]), ("Against", found["rejectedBy"])):
        if names:
            session.out.line(f"  {word} it: {', '.join(names)}")


def approve(session: Session, proposal: str, terms: Terms) -> None:
    """Approve a proposal after showing it."""
    _decide(session, proposal, terms, lambda policy_id: RawAction(APPROVE.name, [policy_id]))


def reject(session: Session, proposal: str, reason: str, terms: Terms) -> None:
    """Reject a proposal after showing it."""
    _decide(session, proposal, terms, lambda policy_id: RawAction(REJECT.name, [policy_id, reason]))


def _decide(
    session: Session, proposal: str, terms: Terms, action: Callable[[bytes], RawAction]
) -> None:
    async def prepare(node: NodeClient) -> RawAction:
        found = await _proposal(node, proposal)
        if not session.json_mode:
            _print_proposal(session, found)
        return action(id_of(found["proposal"], "proposal"))

    _act(session, terms, prepare, _standing)


def quorum(session: Session, needed: int, delay: str, terms: Terms) -> None:
    """Agree on how many officers decide."""
    try:
        delay_ms = span_ms(delay, "delay")
    except Malformed as err:
        raise UsageFault(f"{err.problem}.", NOTHING, "--delay 1d") from err
    action = RawAction(SET_QUORUM.name, [needed, delay_ms])
    verb = "decides" if needed == 1 else "decide"
    said = f"{counted(needed, 'officer')} {verb}, policies wait {delay}."
    _agree(session, terms, action, "compliance.quorumSet", said)


def set_list(session: Session, name: str, title: str, officers: int, terms: Terms) -> None:
    """Agree on a list."""
    action = RawAction(SET_LIST.name, [name, title, officers])
    _agree(session, terms, action, "compliance.listSet", f"the list {name} is as you said.")


def change_list(
    session: Session, name: str, entries: tuple[str, ...], reason: str, added: bool, terms: Terms
) -> None:
    """Put entries on a list or take them off."""
    # Ascending, as the ledger wants them.
    found: list[Wire] = [*sorted({_entry(session, one) for one in entries})]
    kind = ADD_TO_LIST if added else REMOVE_FROM_LIST
    action = RawAction(kind.name, [name, found, reason])
    word = "put on" if added else "taken off"
    said = f"{len(found)} {word} the list {name}."
    _agree(session, terms, action, "compliance.listChanged", said)


def _entry(session: Session, text: str) -> bytes:
    return id_of(text, "subject") if text.startswith("0x") else account_of(session, text)


def _agree(session: Session, terms: Terms, action: RawAction, done: str, said: str) -> None:
    """Say what others have to say too; tell whether with that it is done."""
    try:
        build_registry().read_action(action)
    except Malformed as err:
        raise UsageFault(f"{err.field} {err.problem}.", NOTHING, "") from err

    async def prepare(_node: NodeClient) -> RawAction:
        return action

    def told(document: Json) -> str:
        if find_event(document, done) is not None:
            return said
        data: Mapping[str, Any] = event_of(document, "compliance.supported")
        return (
            f"{data['count']} of {data['needed']} officers said so. Another one has to say just "
            "the same."
        )

    _act(session, terms, prepare, told)


def _act(session: Session, terms: Terms, prepare: Prepare, told: Callable[[Json], str]) -> None:
    async def work(node: NodeClient) -> Json:
        return await perform(session, node, Deed((await prepare(node),)), terms)

    document = run_with_node(session, work)
    tell(session, document, told(document))
