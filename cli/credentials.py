"""What `credential issue|accept|revoke|check|list|issuers|set-issuer|remove-issuer` do."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from clawpurse.cli.acting import NOTHING, Deed, Terms, perform, run_with_node
from clawpurse.cli.failures import UsageFault
from clawpurse.cli.output import FAILED, OK
from clawpurse.cli.promising import account_of, id_of, tell, time_of
from clawpurse.cli.session import Session
from clawpurse.cli.who import account_named, own_or_named, titled
from clawpurse.ledger.address import account_text
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Malformed
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.compliance.actions import (
    ACCEPT,
    ATTEST,
    REMOVE_ISSUER,
    REVOKE,
    SET_ISSUER,
)
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.client import NodeClient

Json = dict[str, Any]
LISTED_MAX: Final = 500


class Wish(NamedTuple):
    """An attestation, as typed."""

    account: str
    topic: str
    level: int
    expires: str
    subject: str
    commitment: str


def issue(session: Session, wish: Wish, terms: Terms) -> None:
    """Attest something of an account."""
    whom = account_named(session, wish.account, NOTHING)
    expires_ms = time_of(wish.expires, session.now_ms())
    fields: list[Wire] = [
        whom.account,
        id_of(wish.subject, "commitment"),
        wish.topic,
        wish.level,
        expires_ms,
        id_of(wish.commitment, "commitment"),
    ]
    said = (
        f"{titled(whom, account_text(whom.account))} is attested {wish.topic} at level "
        f"{wish.level} until {time_text(expires_ms)}.\n  Next, for its holder: clawpurse "
        f"credential accept <your account> {wish.topic}"
    )
    _act(session, terms, RawAction(ATTEST.name, fields), said)


def accept(session: Session, issuer: str, topic: str, terms: Terms) -> None:
    """Accept what an issuer says of one."""
    action = RawAction(ACCEPT.name, [account_of(session, issuer), topic])
    _act(session, terms, action, f"what {issuer} attests of you counts: {topic}.")


def revoke(
    session: Session, account: str, topic: str, reason: str, issuer: str | None, terms: Terms
) -> None:
    """Take back what was said."""
    named = None if issuer is None else account_of(session, issuer)
    action = RawAction(REVOKE.name, [account_of(session, account), topic, named, reason])
    _act(session, terms, action, f"{account} is no longer attested {topic}: {reason}.")


def set_issuer(session: Session, issuer: str, topics: tuple[str, ...], terms: Terms) -> None:
    """Register an issuer."""
    action = RawAction(SET_ISSUER.name, [account_of(session, issuer), list(topics)])
    _act(session, terms, action, f"{issuer} may attest {', '.join(topics)}.")


def remove_issuer(session: Session, issuer: str, reason: str, terms: Terms) -> None:
    """Take an issuer's right."""
    action = RawAction(REMOVE_ISSUER.name, [account_of(session, issuer), reason])
    _act(session, terms, action, f"nothing counts any more that {issuer} attests.")


def _act(session: Session, terms: Terms, action: RawAction, said: str) -> None:
    try:
        build_registry().read_action(action)
    except Malformed as err:
        raise UsageFault(f"{err.field} {err.problem}.", NOTHING, "") from err

    async def work(node: NodeClient) -> Json:
        return await perform(session, node, Deed((action,)), terms)

    document = run_with_node(session, work)
    tell(session, document, said)


def check(session: Session, account: str, topic: str, level: int) -> int:
    """Tell whether an account is attested a topic; 0 yes, 1 no."""
    whom = account_named(session, account)
    params = {"account": account_text(whom.account), "topic": topic, "level": level}
    answer = _ask(session, "credential_check", params)
    if session.json_mode:
        session.out.emit(answer)
    else:
        found = answer["level"]
        what = "not attested" if found is None else f"attested at level {found}"
        mark = session.out.mark(OK if answer["attested"] else FAILED)
        name = titled(whom, account_text(whom.account))
        session.out.line(f"{mark} {name}: {topic} {what}, at {answer['time']}.")
    return 0 if answer["attested"] else 1


def listed(session: Session, account: str | None) -> None:
    """List what is attested of an account."""
    whom = own_or_named(session, account, "clawpurse credential list ")
    answer = _ask(session, "credential_list", {"account": account_text(whom.account)})
    if session.json_mode:
        session.out.emit(answer)
        return
    rows = [
        (one["topic"], str(one["level"]), "yes" if one["counts"] else "no", one["status"],
         one["expires"], one["issuer"], one["reason"] or "")
        for one in answer["credentials"]
    ]  # fmt: skip
    session.out.table(("topic", "level>", "counts", "status", "until", "issuer", "reason"), rows)
    known = answer["subject"] or "nobody is known to"
    session.out.note(f"{known} stand{'s' if answer['subject'] else ''} behind this account.")


def issuers(session: Session) -> None:
    """List who may attest what."""
    answer = _ask(session, "credential_listIssuers", {"limit": LISTED_MAX})
    if session.json_mode:
        session.out.emit(answer)
        return
    rows = [
        (one["issuer"], ", ".join(one["topics"]), "yes" if one["active"] else "removed",
         one["reason"] or "")
        for one in answer["issuers"]
    ]  # fmt: skip
    session.out.table(("issuer", "topics", "may attest", "reason"), rows)


def _ask(session: Session, method: str, params: Json) -> Json:
    async def work(node: NodeClient) -> Any:
        return await node.call(method, params)

    answer: Json = run_with_node(session, work)
    return answer
