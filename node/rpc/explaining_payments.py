"""Why a payment went as it did, months later: what judged it, in which words, and who decided.

The receipt has the verdicts, state has every version of every policy, and what officers voted
stands in the events of the payer's history.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from clawpurse.ledger.address import account_text
from clawpurse.ledger.blocks import Event, Receipt
from clawpurse.ledger.errors import Code
from clawpurse.ledger.kernel.records import Hold, hold_key, module_account
from clawpurse.ledger.module_api import KERNEL, VerdictKind
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.store.index import account_history
from clawpurse.modules.compliance import queries
from clawpurse.modules.compliance.hook import RULE_PREFIX, End
from clawpurse.modules.compliance.policies import Head, Version
from clawpurse.modules.compliance.words import rule_words
from clawpurse.modules.kit.web.turns import next_turn
from clawpurse.node.rpc.policies import shows
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import VERDICTS, code_label, hex_of, reason_of

Json = dict[str, Any]
# Transactions of the payer that are looked through for votes on a hold: each may be a block to
# read. Votes beyond it are not lost, only not shown here.
HISTORY_MAX: Final = 100
VOTED: Final = "payments.holdVoted"


class Judged(NamedTuple):
    """One entry of a trace, with the version of the policy that it names, if one is known."""

    rule: str
    version: int
    verdict: int
    head: Head | None
    record: Version | None
    name: str
    words: str


async def explain(services: Services, tx_id: bytes, place: tuple[int, int]) -> Json:
    """Return why the final transaction at a place went as it did. Raises `Pruned`."""
    height, index = place
    view = services.chain.view(height)
    receipt = Receipt.unpack(view.receipts[index])
    packed = view.events[receipt.first_event : receipt.first_event + receipt.event_count]
    events = [Event.unpack(item) for item in packed]
    judged = [_judged(services, *entry) for entry in receipt.trace]
    holds = [
        await _hold_json(services, event, place) for event in events if event.kind == "kernel.held"
    ]
    reason = reason_of(receipt, services.chain.registry, services.decimals_of)
    at = time_text(view.block.header.time_ms)
    sentences = [_first_sentence(receipt, reason, bool(holds), f"block {height} at {at}")]
    sentences += _policy_sentences(judged)
    for hold in holds:
        sentences += hold.pop("sentences")
    return {
        "txId": hex_of(tx_id),
        "height": height,
        "index": index,
        "time": at,
        "code": code_label(receipt.code),
        "reason": reason,
        "sentences": sentences,
        "trace": [_trace_json(one) for one in judged],
        "holds": holds,
    }


def _judged(services: Services, rule: str, version: int, verdict: int) -> Judged:
    """Find the text of a rule in the version of its policy that judged."""
    state = services.chain.reader
    nothing = Judged(rule, version, verdict, None, None, "", "")
    if not rule.startswith(RULE_PREFIX):
        return nothing
    policy, _, name = rule[len(RULE_PREFIX) :].partition(".")
    head = next((one for one in queries.list_policies(state) if one.name == policy), None)
    record = queries.get_version(state, policy, version)
    if head is None or record is None:
        return nothing
    words = "No rule of it applied."
    for found in queries.get_rules(state, record.id):
        if found.name == name:
            words = rule_words(found, shows(services, head.asset))
    return Judged(rule, version, verdict, head, record, name, words)


def _trace_json(one: Judged) -> Json:
    found: Json = {
        "rule": one.rule,
        "version": one.version,
        "verdict": VERDICTS[one.verdict],
        "words": one.words or None,
        "policy": None,
    }
    if one.head is not None and one.record is not None:
        found["policy"] = {
            "policy": one.head.name,
            "asset": one.head.asset or None,
            "version": one.version,
            "activeFrom": time_text(one.record.active_ms),
            "activeHeight": one.record.active_height or None,
            "endedHeight": one.record.ended_height or None,
            "approvedBy": [account_text(who) for who in one.record.approved_by],
        }
    return found


def _first_sentence(receipt: Receipt, reason: str | None, held: bool, where: str) -> str:
    if receipt.code != Code.OK:
        return f"Refused in {where}: {reason or receipt.rule} Only the fee was paid."
    if held:
        return f"Held in {where}: nothing was paid then."
    return f"Done in {where}."


def _policy_sentences(judged: list[Judged]) -> list[str]:
    """Say which policies were asked, what decided, and whose version it was."""
    if not judged:
        return ["No policy governed it."]
    found: list[str] = []
    passed = 0
    for one in judged:
        if one.head is None or one.record is None:
            found.append(f"The rule {one.rule} said: {VERDICTS[one.verdict]}.")
            continue
        version = f"{one.head.name}, version {one.version}"
        if not one.name:
            found.append(f"The policy {version}, was asked; none of its rules applied.")
            continue
        if one.verdict == VerdictKind.ALLOW and "allow it" not in one.words:
            passed += 1
            continue
        before = f" {passed} of its rules before did not apply." if passed else ""
        passed = 0
        found.append(f"The policy {version}, decided by its rule {one.name}.{before} {one.words}")
        officers = ", ".join(account_text(who) for who in one.record.approved_by)
        found.append(
            f"That version was approved by {officers} in block {one.record.approved_height}, "
            f"in force from {time_text(one.record.active_ms)}."
        )
    return found


# -- holds


async def _hold_json(services: Services, event: Event, place: tuple[int, int]) -> Json:
    """Return what became of a hold, who decided it and when."""
    state = services.chain.reader
    hold_id: bytes = event.data[2]  # type: ignore[assignment]
    data = state.get(KERNEL, hold_key(hold_id))
    end = queries.get_end(state, hold_id)
    last = services.chain.height if end is None else end.height
    votes = await _votes(services, event.accounts[0], hold_id, place, last)
    shown: Json = {"holdId": hex_of(hold_id), "rule": event.data[3], "votes": votes}
    if data is not None:
        hold = Hold.unpack(data)
        ends = time_text(hold.expires_ms)
        then = "paid" if hold.release_at_expiry else "returned"
        return {
            **shown,
            "status": "held",
            "needed": hold.needed,
            "officers": hold.officers or None,
            "expires": ends,
            "sentences": [
                f"It is still held: {hold.needed} who hold the role {hold.officers} decide on it, "
                f"{len(votes)} voted so far. It is {then} at {ends} if they do not."
            ],
        }
    if end is None:
        return {
            **shown,
            "status": "ended",
            "sentences": ["It is held no longer; how it ended is not kept in state any more."],
        }
    return {**shown, **_end_json(end), "sentences": [_end_sentence(end, votes)]}


def _end_json(end: End) -> Json:
    return {
        "status": "released" if end.paid else "returned",
        "by": None if _by_itself(end) else account_text(end.by),
        "height": end.height,
        "time": time_text(end.time_ms),
    }


def _by_itself(end: End) -> bool:
    return end.by == module_account(KERNEL)


def _end_sentence(end: End, votes: list[Json]) -> str:
    what = "Released and paid" if end.paid else "Returned to its payer"
    where = f"in block {end.height} at {time_text(end.time_ms)}"
    if _by_itself(end):
        return f"{what} {where}, because its time was over."
    wanted = [one for one in votes if one["release"] == bool(end.paid)]
    names = ", ".join(one["voter"] for one in wanted) or account_text(end.by)
    return f"{what} {where}, by {names}."


async def _votes(
    services: Services, payer: bytes, hold_id: bytes, place: tuple[int, int], last: int
) -> list[Json]:
    """Return the votes on a hold, from the payer's history after it was held."""
    chain, (height, index) = services.chain, place
    page = account_history(
        chain.store, payer, limit=HISTORY_MAX, cursor=(height, index + 1), newest_first=False
    )
    found: dict[str, Json] = {}
    for at, number in page.positions:
        if at > last:
            break
        view = chain.view(at)
        receipt = Receipt.unpack(view.receipts[number])
        stop = receipt.first_event + receipt.event_count
        for item in view.events[receipt.first_event : stop]:
            event = Event.unpack(item)
            if event.kind == VOTED and event.data[0] == hold_id:
                voter = account_text(event.accounts[-1])
                found[voter] = {
                    "voter": voter,
                    "release": bool(event.data[1]),
                    "reason": event.data[2],
                    "height": at,
                    "time": time_text(view.block.header.time_ms),
                }
        # Each may need another block decoded; others have their turn in between.
        await next_turn()
    return list(found.values())
