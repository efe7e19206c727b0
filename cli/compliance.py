"""What `compliance check|explain|rules|lists|freezes` print: sentences first, then the rules."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from clawpurse.cli.acting import NOTHING, run_with_node
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import FAILED, OK, WARNING
from clawpurse.cli.promising import account_of, amount_of, id_of
from clawpurse.cli.session import Session
from clawpurse.cli.who import own_key
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import NotFound
from clawpurse.modules.compliance.officers import DELAY_MS_DEFAULT
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.policy_files import policy_file

Json = dict[str, Any]
# Of the stable exit codes: the ledger would not simply pay it.
REJECTED: Final = 4
_MARKS: Final = {"allow": OK, "hold": WARNING, "deny": FAILED}
LISTED_MAX: Final = 500


class Wish(NamedTuple):
    """A payment to be checked, as typed."""

    to: str
    amount: str
    asset: str
    source: str | None
    travel_hash: str | None
    approvers: tuple[str, ...]


def check(session: Session, wish: Wish) -> int:
    """Say what the ledger would do; 0 if it pays."""
    source = wish.source or own_key(session, "add --from ")
    params: Json = {
        "from": account_text(account_of(session, source)),
        "to": account_text(account_of(session, wish.to)),
        "asset": wish.asset,
        "approvers": [account_text(account_of(session, one)) for one in wish.approvers],
    }
    if wish.travel_hash is not None:
        params["travelHash"] = f"0x{id_of(wish.travel_hash, 'travel hash').hex()}"

    async def work(node: NodeClient) -> Any:
        amount = await amount_of(node, wish.amount, wish.asset)
        return await node.call("compliance_check", {**params, "amount": str(amount)})

    answer = run_with_node(session, work)
    if session.json_mode:
        session.out.emit(answer)
    else:
        _print_check(session, answer)
    return 0 if answer["verdict"] == "allow" else REJECTED


def _print_check(session: Session, answer: Json) -> None:
    out = session.out
    out.line(f"{out.mark(_MARKS[answer['verdict']])} {answer['words']}")
    hold = answer["hold"]
    if hold is not None and "needed" in hold:
        out.line(
            f"  {hold['needed']} who hold the role {hold['officers']} decide until "
            f"{hold['expires']}; then: {hold['atExpiry']}."
        )
    for policy in answer["policies"]:
        out.line(f"  {policy['words']}")
        for rule in policy["rules"]:
            if not rule["reached"]:
                mark, word = " ", "not asked"
            elif rule["applies"]:
                mark, word = out.mark(_MARKS[rule["verdict"]]), "applies"
            else:
                mark, word = out.mark(OK), "does not apply"
            out.line(f"    {mark} {rule['rule']}: {word}. {rule['words']}")


def explain(session: Session, tx_id: str) -> None:
    """Say why a transaction went as it did."""
    params = {"txId": f"0x{id_of(tx_id, 'transaction').hex()}"}
    answer = _ask(session, "compliance_explain", params)
    if session.json_mode:
        session.out.emit(answer)
        return
    for line in answer["sentences"]:
        session.out.line(line)


def rules(
    session: Session, policy: str | None, asset: str | None, version: int | None, as_file: bool
) -> None:
    """Show policies with their rules."""
    if policy is None and (version is not None or as_file):
        what = "--version" if version is not None else "--as-file"
        raise UsageFault(f"{what} needs the name of a policy.", "", "clawpurse compliance rules")
    given = {"policy": policy, "asset": asset, "version": version}
    answer = _ask(session, "compliance_getRules", {k: v for k, v in given.items() if v is not None})
    if as_file:
        _print_file(session, answer)
    elif session.json_mode:
        session.out.emit(answer)
    else:
        for one in answer["policies"]:
            print_policy(session, one, f"version {one['version']}, {one['state']}")
        if not answer["policies"]:
            session.out.line("No policy is in force: nothing but the ledger itself is asked.")


def _print_file(session: Session, answer: Json) -> None:
    shown = answer["policies"][0]

    async def decimals(node: NodeClient) -> int | None:
        return None if shown["asset"] is None else (await node.asset(shown["asset"])).decimals

    wanted = answer["quorum"]
    delay_ms = DELAY_MS_DEFAULT if wanted is None else wanted["delayMs"]
    document = policy_file(shown, delay_ms, run_with_node(session, decimals))
    if session.json_mode:
        session.out.emit(document)
    else:
        session.out.line(json.dumps(document, indent=2))


def print_policy(session: Session, policy: Json, state: str) -> None:
    """Show a policy or proposal: what it is for, then each rule."""
    scope = policy["asset"] or "all assets"
    session.out.line(f"{policy['policy']} for {scope}, {state}: {policy['meaning']}")
    for number, rule in enumerate(policy["rules"], 1):
        session.out.line(f"  {number}. {rule['rule']}: {rule['words']}")
    if not policy["rules"]:
        session.out.line("  No rules: with this version the policy ends.")


def lists(session: Session, name: str | None, version: int | None) -> None:
    """Show lists, who is on one, or what a version of it changed."""
    if name is None and version is not None:
        raise UsageFault("--version needs the name of a list.", "", "clawpurse compliance lists")
    params: Json = {"limit": LISTED_MAX}
    if name is not None:
        params["name"] = name
    if version is not None:
        params["version"] = version
    answer = _ask(session, "compliance_getList", params)
    if session.json_mode:
        session.out.emit(answer)
        return
    out = session.out
    if name is None:
        rows = [
            (one["name"], str(one["entries"]), str(one["version"]), str(one["officers"]),
             one["title"])
            for one in answer["lists"]
        ]  # fmt: skip
        out.table(("list", "entries>", "version>", "officers>", "for"), rows)
        return
    if version is not None:
        change = answer["change"]
        word = "put on" if change["added"] else "taken off"
        out.line(
            f"Version {version} of {name}, block {change['height']}: {word} by {change['by']}"
            + (f", {change['reason']}" if change["reason"] else "")
        )
        for entry in change["entries"]:
            out.line(f"  {entry}")
        return
    held = [(one["account"], one["entry"], str(one["since"])) for one in answer["entries"]]
    out.table(("account", "as bytes", "since version>"), held)
    out.note(f"{answer['count']} are on {name} ({answer['title']}), version {answer['version']}.")


def freezes(session: Session, asset: str) -> None:
    """List who is frozen in an asset."""
    answer = _ask(session, "compliance_listFreezes", {"asset": asset, "limit": LISTED_MAX})
    if session.json_mode:
        session.out.emit(answer)
        return
    if answer["allFrozen"]:
        session.out.line(f"{session.out.mark(WARNING)} All {asset} is frozen.")
    rows = [
        (one["account"], one["level"], str(one["height"]), one["by"], one["reason"] or "")
        for one in answer["freezes"]
    ]
    session.out.table(("account", "level", "block>", "by", "reason"), rows)
    session.out.note(f"{len(rows)} are frozen in {asset}.")


def _ask(session: Session, method: str, params: Json) -> Json:
    async def work(node: NodeClient) -> Any:
        return await node.call(method, params)

    try:
        answer: Json = run_with_node(session, work)
    except NotFound as err:
        raise UsageFault(f"{err.what} is not known here.", NOTHING, "") from err
    return answer
