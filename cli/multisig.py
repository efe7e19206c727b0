"""What `multisig create|appoint|propose|approve|reject|withdraw|execute|list|show` do.

What a proposal says is read out of its contents, whose hash is its id: a node that shows other
contents than those that a person would approve is not believed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from clawpurse.cli import prompts
from clawpurse.cli.acting import NOTHING, Deed, Terms, perform, run_with_node
from clawpurse.cli.failures import Rejected, UsageFault
from clawpurse.cli.output import OK
from clawpurse.cli.promising import account_of, amount_of, decimals_of, id_of, tell, time_of
from clawpurse.cli.session import Session
from clawpurse.cli.who import account_named, own_or_named, titled
from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Code, Malformed
from clawpurse.ledger.kernel.entitlements import Signers
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import RawAction
from clawpurse.modules.accounts.proposals import (
    APPROVE,
    EXECUTE,
    PROPOSE,
    REJECT,
    WITHDRAW,
    execution_cost,
)
from clawpurse.modules.accounts.records import Contents, multisig_id, proposal_id_of
from clawpurse.modules.accounts.signers import CREATE, SET
from clawpurse.modules.kit.web.errors import NOT_FOUND, BadAnswer, RpcError
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.action_files import FILE_BYTES_MAX, actions_from_text
from clawpurse.wallet.builder import memo_bytes, transfer_action
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.describe import action_words, assets_named, printable, words_for
from clawpurse.wallet.keys import SigningKey

Json = dict[str, Any]
SALT_BYTES: Final = 32
# Accounts for which one key signs, and proposals of each, that one list shows.
ACCOUNTS_LISTED_MAX: Final = 50
PROPOSALS_LISTED_MAX: Final = 100
_VERBS: Final = {"approve": APPROVE, "reject": REJECT, "withdraw": WITHDRAW}
_NEXT_LIST: Final = "clawpurse multisig list"


class Wish(NamedTuple):
    """What shall be proposed, as it was typed."""

    account: str
    pays: tuple[tuple[str, str, str], ...]
    files: tuple[Path, ...]
    memo: str
    expires: str


# -- deeds


def create(
    session: Session, threshold: int, members: Sequence[str], salt: str | None, terms: Terms
) -> None:
    """Create an account of signers, and say its address."""
    pairs = [_member(session, text) for text in members]
    seasoned = os.urandom(SALT_BYTES) if salt is None else id_of(salt, "salt")
    wire: list[Any] = [list(pair) for pair in pairs]
    action = RawAction(CREATE.name, [threshold, wire, seasoned])
    account = account_text(multisig_id(Signers(threshold, tuple(sorted(pairs))), seasoned))
    session.out.note(f"  Its address is {account}.")

    async def work(node: NodeClient) -> Json:
        return await perform(session, node, Deed((action,)), terms)

    document = run_with_node(session, work)
    if session.json_mode:
        session.out.emit({"account": account, **document})
        return
    session.out.line(f"{_ok(session)} Final in block {document['height']}: {account} is created.")
    session.out.note(f"Next: clawpurse wallet contacts add treasury {account}")


def appoint(session: Session, threshold: int, members: Sequence[str], terms: Terms) -> None:
    """Let signers sign for an account in place of its key, once their keys have signed too."""
    weighed = [_weighed(text) for text in members]
    keys = []
    for name, _ in weighed:
        if not session.keystore.has(name):
            raise UsageFault(
                f"The key {name} is not in this home, and has to sign.",
                NOTHING,
                "clawpurse keys list",
            )
        keys.append(_unlock(session, name, terms))
    wire: list[Any] = [
        [key.account, key.public_key, weight]
        for key, (_, weight) in zip(keys, weighed, strict=True)
    ]
    deed = Deed(
        (RawAction(SET.name, [threshold, wire]),),
        tuple(keys),
        "The account's key no longer signs for it; the signers alone do.",
    )

    async def work(node: NodeClient) -> Json:
        return await perform(session, node, deed, terms)

    tell(session, run_with_node(session, work), "its signers sign for it from now on.")


def _unlock(session: Session, name: str, terms: Terms) -> SigningKey:
    question = f"  Passphrase for {name}, who is to be a signer: "
    passphrase = prompts.passphrase(session.out, terms.passphrase_file, question)
    return session.keystore.unlock(name, passphrase).signer


def _member(session: Session, text: str) -> tuple[bytes, int]:
    name, weight = _weighed(text)
    return account_of(session, name), weight


def _weighed(text: str) -> tuple[str, int]:
    name, equals, weight = text.partition("=")
    if equals and not (weight.isascii() and weight.isdigit() and len(weight) <= 4):
        raise UsageFault(f"{text!r} is no SIGNER or SIGNER=WEIGHT.", NOTHING, "alice=2")
    return name, int(weight) if equals else 1


def propose(session: Session, wish: Wish, terms: Terms) -> None:
    """Propose what an account shall do, and say the proposal's id."""
    account = account_of(session, wish.account)
    expires_ms = time_of(wish.expires, session.now_ms())
    try:
        memo = memo_bytes(wish.memo)
    except Malformed as err:
        raise UsageFault(f"The memo {err.problem}.", NOTHING, "") from err
    from_files = [one for path in wish.files for one in file_actions(session, path)]

    async def work(node: NodeClient) -> Json:
        actions = [await payment_of(session, node, pay) for pay in wish.pays] + from_files
        if not actions:
            raise UsageFault("Propose what?", NOTHING, "add --pay TO AMOUNT ASSET or --action FILE")
        wire: list[Any] = [[action.name, action.fields] for action in actions]
        action = RawAction(PROPOSE.name, [account, expires_ms, wire, memo])
        return await perform(session, node, Deed((action,)), terms)

    document = run_with_node(session, work)
    made = [one for one in document["receipt"]["events"] if one["kind"] == "accounts.proposed"]
    if not made:
        raise BadAnswer("the receipt of a proposal says nothing of a proposal")
    proposal = made[0]["data"]["proposal"]
    if session.json_mode:
        session.out.emit({"proposal": proposal, **document})
        return
    session.out.line(f"{_ok(session)} Final in block {document['height']}: proposed.")
    session.out.fields([("Proposal", proposal), ("Until", time_text(expires_ms))])
    session.out.note(f"Next, each other signer: clawpurse multisig approve {proposal}")


async def payment_of(session: Session, node: NodeClient, pay: tuple[str, str, str]) -> RawAction:
    """Return the action that `--pay TO AMOUNT ASSET` means."""
    to, amount, asset = pay
    return transfer_action(asset, account_of(session, to), await amount_of(node, amount, asset))


def file_actions(session: Session, path: Path) -> tuple[RawAction, ...]:
    """Return the actions in a JSON file. Raises `UsageFault` in one line."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
        text = data.decode("utf-8")
        return actions_from_text(text, build_registry(), lambda name: account_of(session, name))
    except OSError as err:
        raise UsageFault(f"{path} cannot be read ({err.strerror}).", NOTHING, "") from err
    except UnicodeDecodeError as err:
        raise UsageFault(f"{path} is not text in UTF-8.", NOTHING, "") from err
    except Malformed as err:
        raise UsageFault(f"{path}: {err}.", NOTHING, "clawpurse multisig propose --help") from err


def vote(session: Session, verb: str, which: str, terms: Terms) -> None:
    """Approve, reject or take back a proposal, shown in words before the question."""
    asked = id_of(which, "proposal")

    async def work(node: NodeClient) -> tuple[Json, Json | None]:
        shown, contents = await _proposal(node, asked)
        await _say(session, node, shown, contents)
        deed = Deed((RawAction(_VERBS[verb].name, [asked]),))
        document = await perform(session, node, deed, terms)
        try:
            return document, (await _proposal(node, asked))[0]
        except Rejected:
            return document, None

    document, after = run_with_node(session, work)
    if session.json_mode:
        session.out.emit({**document, "proposal": after})
        return
    session.out.line(f"{_ok(session)} Final in block {document['height']}.")
    if after is None:
        session.out.line("  The proposal is over.")
        return
    session.out.line(f"  {_missing(session, after)}")
    if after["ready"]:
        session.out.note(f"Next: clawpurse multisig execute {which}")


def execute(session: Session, which: str, terms: Terms) -> None:
    """Let an account do what was approved."""
    asked = id_of(which, "proposal")

    async def work(node: NodeClient) -> Json:
        shown, contents = await _proposal(node, asked)
        await _say(session, node, shown, contents)
        action = RawAction(EXECUTE.name, [asked, _cost_of(contents)])
        return await perform(session, node, Deed((action,)), terms)

    document = run_with_node(session, work)
    if session.json_mode:
        session.out.emit(document)
        return
    session.out.line(f"{_ok(session)} Final in block {document['height']}: it was done.")


def _cost_of(contents: Contents) -> int:
    """Return what executing has to pay for, worked out here."""
    registry, cost = build_registry(), 0
    for action in contents.actions:
        kind, values = registry.read_action(action)
        cost += kind.cost_with(values)
    return execution_cost(contents, cost)


# -- looking


def listed(session: Session, name: str | None) -> None:
    """List accounts for which an account signs, itself among them, and what is proposed there."""
    whom = own_or_named(session, name, "clawpurse multisig list ").account

    async def work(node: NodeClient) -> list[Json]:
        accounts = [account_text(whom), *await _memberships(node, account_text(whom))]
        found = []
        for account in accounts:
            signers = await _signers(node, account)
            if signers is None or signers["threshold"] is None:
                continue
            params = {"account": account, "limit": PROPOSALS_LISTED_MAX}
            answer = await node.call("multisig_listProposals", params)
            found.append({**signers, "proposals": answer["proposals"]})
        return found

    found = run_with_node(session, work)
    if session.json_mode:
        session.out.emit({"accounts": found})
        return
    if not found:
        session.out.line(f"{account_text(whom)} signs for no other account, and has no signers.")
        session.out.note("Next: clawpurse multisig create 2 alice bob carol")
    for one in found:
        session.out.line(f"{_label(session, one['account'])}: {_policy_text(one)}")
        for proposal in one["proposals"]:
            names = ", ".join(action["name"] for action in proposal["actions"])
            session.out.line(f"  {proposal['proposal']}  {names}")
            said = _missing(session, proposal)
            session.out.line(f"    {said} Until {proposal['expires']}.")


async def _memberships(node: NodeClient, account: str) -> list[str]:
    """Return the accounts for which one signs."""
    found: list[str] = []
    cursor: str | None = None
    while len(found) < ACCOUNTS_LISTED_MAX:
        params = {"account": account, "module": "accounts", "limit": 500}
        answer = await node.call(
            "account_getObjects", params if cursor is None else {**params, "cursor": cursor}
        )
        found += [one["account"] for one in answer["objects"] if one["kind"] == "multisig"]
        cursor = answer["nextCursor"]
        if cursor is None:
            break
    return found[:ACCOUNTS_LISTED_MAX]


def show(session: Session, which: str) -> None:
    """Show a proposal, or who signs for an account."""
    if which.startswith("0x"):
        asked = id_of(which, "proposal")

        async def look(node: NodeClient) -> Json:
            shown, contents = await _proposal(node, asked)
            if not session.json_mode:
                await _say(session, node, shown, contents)
            return shown

        shown = run_with_node(session, look)
        if session.json_mode:
            session.out.emit(shown)
        return
    account = account_text(account_of(session, which))

    async def work(node: NodeClient) -> Json | None:
        return await _signers(node, account)

    found = run_with_node(session, work)
    if found is None:
        raise Rejected(f"{account} is not an account yet.", "", "", code=Code.NOT_FOUND)
    if session.json_mode:
        session.out.emit(found)
        return
    session.out.line(f"{_label(session, account)}: {_policy_text(found)}")
    for one in found["signers"]:
        key = "no key of its own: does not count" if one["key"] is None else one["key"]
        session.out.line(f"  {one['weight']}  {_label(session, one['account'])}  {key}")


# -- parts


async def _signers(node: NodeClient, account: str) -> Json | None:
    try:
        found: Json = await node.call("account_getSigners", {"account": account})
    except RpcError as err:
        if err.code != NOT_FOUND:
            raise
        return None
    return found


async def _proposal(node: NodeClient, asked: bytes) -> tuple[Json, Contents]:
    """Return an open proposal as the node shows it, and its contents, which are its id's.

    Raises `Rejected` when none is open, `BadAnswer` for contents that are another proposal's.
    """
    try:
        shown: Json = await node.call("multisig_getProposal", {"proposal": f"0x{asked.hex()}"})
    except RpcError as err:
        if err.code != NOT_FOUND:
            raise
        raise Rejected(
            "No open proposal has that id: it is over, or never was.",
            NOTHING,
            _NEXT_LIST,
            code=Code.NOT_FOUND,
        ) from err
    try:
        raw = bytes.fromhex(shown["contents"].removeprefix("0x"))
    except (KeyError, AttributeError, ValueError) as err:
        raise BadAnswer("a proposal came without its contents") from err
    if proposal_id_of(raw) != asked:
        raise BadAnswer("the contents are not those of the proposal; believe nothing of this node")
    return shown, Contents.unpack(raw)


async def _say(session: Session, node: NodeClient, shown: Json, contents: Contents) -> None:
    """Say what a proposal does, read out of its contents, and what the node says of its votes."""
    registry = build_registry()
    assets = assets_named(contents.actions, registry)
    words = words_for({asset: await decimals_of(node, asset) for asset in assets})
    out, account = session.out, account_text(contents.account)
    out.note(f"  Proposal {contents.number} for {_label(session, account)}, by "
             f"{_label(session, account_text(contents.proposer))}:")  # fmt: skip
    for number, action in enumerate(contents.actions, 1):
        said = action_words(action, registry, words)
        out.note(f"  {number}. {said or f'NOT UNDERSTOOD, do not sign: {printable(action.name)}'}")
    if contents.memo:
        out.note(f"  Memo: {printable(contents.memo.decode('utf-8', 'backslashreplace'))}")
    out.note(f"  Until {time_text(contents.expires_ms)}. {_missing(session, shown)}")


def _missing(session: Session, shown: Json) -> str:
    """Return what the node says is missing, people by the names that they have here."""
    said: str = shown["missing"]
    for account in shown["waiting"]:
        label = account_named(session, account).label
        said = said.replace(account, account if label is None else label)
    return said


def _policy_text(shown: Json) -> str:
    if shown["threshold"] is None:
        return f"one key signs, {shown['key']}" if shown["key"] else "no key signs"
    total = sum(one["weight"] for one in shown["signers"])
    return f"{shown['threshold']} of a weight of {total} sign"


def _label(session: Session, account: str) -> str:
    return titled(account_named(session, account), account)


def _ok(session: Session) -> str:
    return session.out.mark(OK)
