"""What `session create|list|show|revoke|resign` do: keys that sign within limits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from clawpurse.cli import factors, prompts
from clawpurse.cli.acting import NOTHING, Deed, Terms, perform, run_with_node
from clawpurse.cli.failures import Rejected, UsageFault
from clawpurse.cli.promising import account_of, decimals_of, id_of, parsed, tell, time_of
from clawpurse.cli.session import Session
from clawpurse.cli.who import account_named, own_key, titled
from clawpurse.ledger.address import account_text
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import LANE_COUNT, RawAction
from clawpurse.modules.accounts.sessions import GRANT, RESIGN, REVOKE
from clawpurse.modules.assets.actions import TRANSFER
from clawpurse.modules.kit.web.errors import NOT_FOUND, RpcError
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.amounts import amount_text
from clawpurse.wallet.builder import memo_bytes
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.guardrail_sessions import Compiled, compile_session
from clawpurse.wallet.guardrails import Policy
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.keystore import KeyInfo

Json = dict[str, Any]


class Wish(NamedTuple):
    """What `session create` was told, as typed."""

    key: str
    caps: tuple[tuple[str, str, str], ...]
    expires: str
    actions: tuple[str, ...]
    recipients: tuple[str, ...]
    memo: str
    memo_required: bool
    lanes: tuple[int, ...]
    label: str
    key_passphrase_file: Path | None
    from_guardrails: str | None = None


def create(session: Session, wish: Wish, terms: Terms) -> None:
    """Grant a session; the key signs beside the owner."""
    owner, terms = _owner(session, terms)
    info = session.keystore.show(wish.key)
    recipients: list[Wire] = [account_of(session, name) for name in wish.recipients]
    expires_ms = time_of(wish.expires, session.now_ms())
    memo = _memo(wish.memo)

    policy = None if wish.from_guardrails is None else _policy(session, wish)
    left_out: tuple[str, ...] = ()

    async def work(node: NodeClient) -> Json:
        nonlocal left_out, recipients, memo
        required = int(wish.memo_required)
        caps: list[Wire] = []
        for asset, at_once, a_day in wish.caps:
            decimals = await decimals_of(node, asset)
            limits = (parsed(text, asset, decimals) for text in (at_once, a_day))
            caps.append([asset, *limits])
        if policy is not None:
            found = await _compiled(node, policy)
            caps, recipients = [list(cap) for cap in found.caps], list(found.recipients)
            memo, required, left_out = found.memo, int(found.memo_required), found.left_out
            for line in left_out:
                session.out.warn(line)
        lanes: list[Wire] = list(wish.lanes) or [await _free_lane(node, owner)]
        actions: list[Wire] = list(wish.actions) or [TRANSFER.name]
        fields: list[Wire] = [info.public_key, wish.label, expires_ms, lanes, actions, caps]
        action = RawAction(GRANT.name, [*fields, recipients, memo, required])
        _check(action)
        key = _unlock(session, info, owner, wish.key_passphrase_file or terms.passphrase_file)
        return await perform(session, node, Deed((action,), (key,)), terms)

    document = run_with_node(session, work)
    if policy is not None:
        document = {**document, "notOnLedger": list(left_out)}
    tell(
        session, document, f"{wish.key} may sign for {terms.sender} until {time_text(expires_ms)}."
    )
    to = wish.recipients[0] if wish.recipients else "ACCOUNT"
    session.out.note(f"Next: clawpurse wallet send {to} 1 --from {wish.key} --for {terms.sender}")


def _policy(session: Session, wish: Wish) -> Policy:
    """Return the guardrails that become the session. Raises `UsageFault` beside other limits."""
    if wish.caps or wish.recipients or wish.memo or wish.memo_required:
        raise UsageFault(
            "Guardrails say all limits of a session key.",
            NOTHING,
            "leave out --cap, --to and --memo, or --from-guardrails",
        )
    key = factors.whose(session, wish.from_guardrails or "").public_key
    return factors.guardrails_of(session).show(key).policy


async def _compiled(node: NodeClient, policy: Policy) -> Compiled:
    """Return guardrails as the ledger's limits, at this network's decimals."""
    decimals = {rule.asset: await decimals_of(node, rule.asset) for rule in policy.assets}
    try:
        return compile_session(policy, decimals.__getitem__)
    except Malformed as err:
        raise UsageFault(
            f"The {err.field} {err.problem}.", NOTHING, "clawpurse wallet allowlist add -h"
        ) from err


def _owner(session: Session, terms: Terms) -> tuple[bytes, Terms]:
    """Return whose session it is about, and terms that name it."""
    name = terms.sender or own_key(session, "add --from ")
    if terms.owner is not None:
        raise UsageFault("A session key cannot change sessions.", NOTHING, "leave out --for")
    return session.keystore.show(name).account, terms._replace(sender=name)


def _check(action: RawAction) -> None:
    """Refuse what no node would read, before a passphrase is asked for."""
    try:
        build_registry().read_action(action)
    except Malformed as err:
        field = err.field.rsplit(".", 1)[-1]
        raise UsageFault(f"{field} {err.problem}.", NOTHING, "clawpurse session create -h") from err


def _memo(text: str) -> bytes:
    try:
        return memo_bytes(text)
    except Malformed as err:
        raise UsageFault(f"The memo {err.problem}.", NOTHING, "") from err


async def _free_lane(node: NodeClient, account: bytes) -> int:
    """Return the first lane that belongs to no session key."""
    answer = await node.call("session_list", {"account": account_text(account)})
    taken = {lane for one in answer["sessions"] for lane in one["lanes"]}
    free = [lane for lane in range(1, LANE_COUNT) if lane not in taken]
    if not free:
        raise Rejected(
            "All lanes belong to session keys.",
            NOTHING,
            "clawpurse session list",
            code=Code.LIMIT_EXCEEDED,
        )
    return free[0]


def _unlock(session: Session, info: KeyInfo, account: bytes, file: Path | None) -> SigningKey:
    """Return the key, as one that signs for `account`."""
    question = f"  Passphrase for {info.name}, the session key: "
    passphrase = prompts.passphrase(session.out, file, question)
    key = session.keystore.unlock(info.name, passphrase).signer
    return SigningKey(key.reveal_seed(), account)


def revoke(session: Session, key: str, terms: Terms) -> None:
    """Revoke a session."""
    _, terms = _owner(session, terms)
    action = RawAction(REVOKE.name, [key_of(session, key)])

    async def work(node: NodeClient) -> Json:
        return await perform(session, node, Deed((action,)), terms)

    said = f"{key} may do nothing for {terms.sender} any more."
    tell(session, run_with_node(session, work), said)


def resign(session: Session, key: str, account: str, file: Path | None, terms: Terms) -> None:
    """Let a session key give itself up."""
    info, owner = session.keystore.show(key), account_of(session, account)
    terms = terms._replace(sender=terms.sender or own_key(session, "add --from "))
    signer = _unlock(session, info, owner, file or terms.passphrase_file)
    action = RawAction(RESIGN.name, [owner, info.public_key])

    async def work(node: NodeClient) -> Json:
        return await perform(session, node, Deed((action,), (signer,)), terms)

    tell(session, run_with_node(session, work), f"{key} gave up what it could do for {account}.")


def key_of(session: Session, text: str) -> bytes:
    """Return the public key that a word means: a key of this home, or 0x…. Raises `UsageFault`."""
    if text.startswith("0x"):
        return id_of(text, "key")
    if text in session.keystore.names():
        return session.keystore.show(text).public_key
    # Of an account that somebody else made, the id is its first key.
    return account_of(session, text)


def listed(session: Session, account: str | None, key: str | None) -> None:
    """List session keys of an account, or accounts of a session key."""
    if account is not None and key is not None:
        raise UsageFault("Name an account, or a key by --of.", "", "clawpurse session list -h")
    if key is not None:
        params: Json = {"key": f"0x{key_of(session, key).hex()}", "limit": 500}
    else:
        name = account or own_key(session, "clawpurse session list ")
        params = {"account": account_text(account_named(session, name).account)}

    async def work(node: NodeClient) -> Any:
        return await node.call("session_list", params)

    answer = run_with_node(session, work)
    if session.json_mode:
        session.out.emit(answer)
        return
    rows = []
    for one in answer["sessions"]:
        left = ", ".join(_amount(cap, "leftToday") for cap in one["caps"]) or "nothing"
        who = one["account"] if key is not None else one["key"]
        rows.append((one["label"], who, left, one["expires"]))
    of = "account" if key is not None else "key"
    session.out.table(("label", of, "left today", "until"), rows)
    if not rows:
        session.out.note("None.")


def shown(session: Session, account: str, key: str) -> None:
    """Show one session."""
    whom = account_named(session, account)
    public = f"0x{key_of(session, key).hex()}"
    params = {"account": account_text(whom.account), "key": public}

    async def work(node: NodeClient) -> Any:
        try:
            return await node.call("session_get", params)
        except RpcError as err:
            if err.code != NOT_FOUND:
                raise
            raise Rejected(
                f"{key} is no session key of {account}.",
                "",
                f"clawpurse session list {account}",
                code=Code.NOT_FOUND,
            ) from err

    found = run_with_node(session, work)
    if session.json_mode:
        session.out.emit(found)
        return
    session.out.fields(
        [
            ("Account", titled(whom, account_text(whom.account))),
            ("Key", found["key"] + (f" ({found['label']})" if found["label"] else "")),
            ("Until", found["expires"]),
            ("Lanes", ", ".join(str(lane) for lane in found["lanes"])),
            ("May", ", ".join(found["actions"])),
            *[(cap["asset"], _cap_words(cap, found["dayEnds"])) for cap in found["caps"]],
            ("Pays", ", ".join(found["recipients"]) or "anybody"),
            ("Memo", _memo_words(found)),
        ]
    )


def _amount(cap: Json, name: str) -> str:
    return amount_text(int(cap[name]), cap["decimals"] or 0, cap["asset"])


def _cap_words(cap: Json, day_ends: str) -> str:
    once, day = _amount(cap, "perTransaction"), _amount(cap, "perDay")
    return f"{once} at once, {day} a day; {_amount(cap, 'leftToday')} left until {day_ends}"


def _memo_words(found: Json) -> str:
    if found["memo"] != "0x":
        text = found["memoText"]
        return f"begins with {found['memo'] if text is None else f'“{text}”'}"
    return "required" if found["memoRequired"] else "as it likes"


def names_of(actions: Sequence[str] | None) -> str:
    """Return actions for a table."""
    return "any" if not actions else ", ".join(actions)
