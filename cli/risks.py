"""What `risk score|oracles|report|withdraw|set-oracles` do: what several oracles say."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from clawpurse.cli.acting import Deed, Terms, authority_key, perform, run_with_node
from clawpurse.cli.promising import account_of, id_of, tell, time_of
from clawpurse.cli.session import Session
from clawpurse.ledger.address import account_text
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.risk.actions import REPORT, SET_ORACLES, WITHDRAW
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.keys import SigningKey

Json = dict[str, Any]
# Why a report does not count, for people.
_WHY = {
    "counts": "counts",
    "expired": "expired",
    "removed": "its oracle was removed",
    "sameSubject": "another account of its subject reports higher",
    "ownSubject": "its oracle is who it is about",
}


class Finding(NamedTuple):
    """What `risk report` was told, as typed."""

    score: int
    model: str
    features: int
    expires: str


def score(session: Session, account: str) -> None:
    """Tell the score of an account, and each report."""
    answer = _ask(session, "risk_getScore", {"account": account_text(account_of(session, account))})
    if session.json_mode:
        session.out.emit(answer)
        return
    session.out.line(answer["sentence"])
    rows = [
        (one["oracle"], str(one["score"]), str(one["features"]), one["expires"], _WHY[one["why"]])
        for one in answer["reports"]
    ]
    if rows:
        session.out.table(("oracle", "score>", "features>", "until", "counts"), rows)


def oracles(session: Session) -> None:
    """Tell whose reports count."""
    answer = _ask(session, "risk_getOracles", {})
    if session.json_mode:
        session.out.emit(answer)
        return
    for one in answer["oracles"]:
        session.out.line(one["account"])
    session.out.note(f"{answer['needed']} of {len(answer['oracles'])} make a score.")


def report(session: Session, account: str, finding: Finding, terms: Terms) -> None:
    """Report a score."""
    expires_ms = time_of(finding.expires, session.now_ms())
    model = id_of(finding.model, "hash of a model")
    fields: list[Wire] = [
        account_of(session, account), finding.score, model, finding.features, expires_ms,
    ]  # fmt: skip
    said = f"your report of {account} counts until {time_text(expires_ms)}."
    _act(session, Deed((RawAction(REPORT.name, fields),)), terms, said)


def withdraw(session: Session, account: str, terms: Terms) -> None:
    """Withdraw one's report."""
    action = RawAction(WITHDRAW.name, [account_of(session, account)])
    _act(session, Deed((action,)), terms, f"you report nothing of {account} any more.")


def set_oracles(
    session: Session, accounts: tuple[str, ...], needed: int, home: Path | None, terms: Terms
) -> None:
    """Replace the set of oracles; from the own account of the authority in `home`, if given."""
    members: list[Wire] = [*sorted(account_of(session, one) for one in accounts)]
    action = RawAction(SET_ORACLES.name, [members, needed])
    danger = "No account has a score any more; policies that ask for one see none."
    said = f"{needed} of {len(members)} oracles make a score."
    own = None if home is None else authority_key(home, ())
    deed = Deed((action,), (), "" if members else danger)
    _act(session, deed, terms, said, own)


def _ask(session: Session, method: str, params: Json) -> Any:
    async def work(node: NodeClient) -> Any:
        return await node.call(method, params)

    return run_with_node(session, work)


def _act(
    session: Session, deed: Deed, terms: Terms, said: str, own: SigningKey | None = None
) -> None:
    async def work(node: NodeClient) -> Json:
        return await perform(session, node, deed, terms, own=own)

    tell(session, run_with_node(session, work), said)
