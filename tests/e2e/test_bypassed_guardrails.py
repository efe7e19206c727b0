"""An agent throws its client's guardrails away and signs what it likes: the network refuses.

If this failed, a stolen session key, or an agent that was talked into something, could take more
than its owner wrote down.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
import trio

from clawpurse.ledger.address import account_from_text
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.transactions import RawAction, Role, Transaction
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.errors import RpcError
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.builder import Signing, Slot, build_body, sign_body_for, transfer_action
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.home import Network
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.keystore import Keystore
from tests.e2e.conftest import PASSPHRASE, Net

pytestmark = pytest.mark.real
MEMO = "order 7"
EVE = SigningKey(b"\xee" * 32)
HOUR_MS = 3_600_000
FEE = 1


class Try(NamedTuple):
    """What the agent signs in place of what its client would let it, and why that is refused."""

    what: str
    actions: tuple[RawAction, ...]
    reason: str
    lane: int | None = None
    memo: str = MEMO
    payer: bytes | None = None


class Outcome(NamedTuple):
    """How the network answered: the reason, and whether it stands in a block or never got there."""

    reason: str
    in_block: bool


class Agent:
    """Signs without a client. Each transaction goes to another node."""

    def __init__(self, nodes: list[NodeClient], key: SigningKey, owner: bytes, lane: int) -> None:
        self.nodes = nodes
        self.key = key
        self.owner = owner
        self.lane = lane
        self._sent = 0

    def signed(self, terms: Any, one: Try, sequence: int) -> Transaction:
        lane = self.lane if one.lane is None else one.lane
        registry = build_registry()
        body = build_body(
            terms,
            registry,
            self.owner,
            Slot(lane, sequence),
            list(one.actions),
            valid_until_ms=time.time_ns() // 1_000_000 + HOUR_MS,
            fee=FEE,
            payer=one.payer,
            memo=one.memo,
        )
        signings = [Signing(Role.SENDER, self.owner, self.key)]
        for action in one.actions:
            found, values = registry.read_action(action)
            for account, key in found.approvers(values, body) if found.approvers else ():
                assert key == self.key.public_key
                signings.append(Signing(Role.APPROVER, account, self.key))
        return sign_body_for(body, signings)

    async def tries(self, one: Try) -> Outcome:
        """Sign it, submit it, and wait until the network has decided."""
        node = self.nodes[self._sent % len(self.nodes)]
        self._sent += 1
        lane = self.lane if one.lane is None else one.lane
        place = await node.next_sequence(self.owner, lane)
        return await outcome(node, self.signed(await node.terms(), one, place.sequence))


async def outcome(node: NodeClient, transaction: Transaction) -> Outcome:
    try:
        fate = await node.submit(transaction.raw, wait="final")
    except RpcError as err:
        return Outcome(err.reason, False)
    assert fate.status == "final", fate
    receipt = await node.receipt(transaction.tx_id)
    return Outcome("" if receipt["code"] == "ok" else str(receipt["reason"]), True)


@asynccontextmanager
async def nodes_of(net: Net) -> AsyncIterator[list[NodeClient]]:
    nodes = [
        NodeClient(Network(one["name"], (one["rpc"],)), open_client=RpcClient)
        for one in net.facts["nodes"]
    ]
    try:
        yield nodes
    finally:
        for one in nodes:
            await one.aclose()


@pytest.fixture(scope="module")
def granted(net: Net, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The owner's guardrails as the agent's session key: 10.00 at once, 20.00 a day, Bob alone."""
    folder = tmp_path_factory.mktemp("words")
    words = folder / "words"
    signed = ("--passphrase-file", net.passphrase_file)
    made = net.run("keys", "add", "owner", *signed, "--mnemonic-file", words, "--json").json()
    net.run("faucet", "owner", "--json").json()
    net.run("keys", "add", "bypasser", *signed, "--json").json()
    bob = net.run("keys", "add", "merchant", *signed, "--json").json()
    limits = ("--max", "CLAW", "10", "--per-day", "CLAW", "20", "--memo-begins", "order ")
    set_up = ("wallet", "guardrails", "set", "owner", *limits, "--other-assets", "refuse")
    assert net.run(*set_up, *signed).code == 0
    loosen = ("--from", "owner", *signed, "--words-file", words)
    done = net.run("wallet", "allowlist", "add", "merchant", *loosen)
    assert done.code == 0, done.err
    assert net.run("wallet", "allowlist", "init", "--from", "owner", *signed).code == 0
    allowed = ("transfer", "createEscrow", "schedule", "placeHold", "openChannel", "pay")
    names = [f"{'assets' if one == 'transfer' else 'payments'}.{one}" for one in allowed]
    allow = [part for name in names for part in ("--allow", name)]
    grant = ("session", "create", "bypasser", "--from-guardrails", "owner", "--from", "owner")
    done = net.run(*grant, *allow, *signed, "--yes", "--json")
    assert done.code == 0, done.err
    return {"owner": made["account"], "merchant": bob["account"]}


def refused(agent: SigningKey, payee: bytes, rich: bytes) -> list[Try]:
    """Everything that the agent tries, with what the network says to it."""
    later_ms = time.time_ns() // 1_000_000 + HOUR_MS
    mine, stranger = agent.account, EVE.account
    over, few = 10_01, 1_00

    def action(name: str, *fields: Wire) -> tuple[RawAction, ...]:
        return (RawAction(name, list(fields)),)

    def escrow(whom: bytes, amount: int) -> tuple[RawAction, ...]:
        ends: tuple[Wire, ...] = (later_ms - 60_000, later_ms, None, None, b"", None)
        return action("payments.createEscrow", "CLAW", whom, amount, *ends)

    def schedule(whom: bytes, amount: int) -> tuple[RawAction, ...]:
        return action("payments.schedule", "CLAW", whom, amount, later_ms, b"", None)

    def hold(whom: bytes, amount: int) -> tuple[RawAction, ...]:
        ends: tuple[Wire, ...] = ("order", later_ms, 1, 0, [], 0, b"", None)
        return action("payments.placeHold", "CLAW", whom, amount, *ends)

    def channel(whom: bytes, amount: int) -> tuple[RawAction, ...]:
        ends: tuple[Wire, ...] = (60_000, 10, later_ms, None, b"", None)
        return action("payments.openChannel", "CLAW", whom, amount, *ends)

    def pay(whom: bytes, amount: int) -> tuple[RawAction, ...]:
        return action("payments.pay", "CLAW", whom, amount, b"", None, 0, [])

    two = (transfer_action("CLAW", payee, 6_00), transfer_action("CLAW", payee, 5_00))
    once, who, what = "at once, fee included", "may not pay", "may not perform"
    grant: list[Wire] = [mine, "more", later_ms, [1], ["assets.transfer"], [], [], b"", 0]
    sponsor: list[Wire] = [mine, 100, 1_000, 10_000, [], later_ms]
    batch: list[Wire] = ["CLAW", [[stranger, few, b""]], 1, [mine], later_ms, b"", None]
    return [
        Try("above the cap", (transfer_action("CLAW", payee, over),), once),
        Try("the fee above the cap", (transfer_action("CLAW", payee, 10_00),), once),
        Try("the cap in two parts", two, once),
        Try("a stranger", (transfer_action("CLAW", stranger, few),), who),
        Try("itself", (transfer_action("CLAW", mine, few),), who),
        Try("a stranger by payment", pay(stranger, few), who),
        Try("a stranger by escrow", escrow(stranger, few), who),
        Try("a stranger by schedule", schedule(stranger, few), who),
        Try("a stranger by hold", hold(stranger, few), who),
        Try("a stranger by channel", channel(stranger, few), who),
        Try("above the cap by escrow", escrow(payee, over), once),
        Try("above the cap by schedule", schedule(payee, over), once),
        Try("another asset's limits", action("accounts.grantSession", *grant), what),
        Try("no limits", action("accounts.revokeSession", agent.public_key), what),
        Try("a signer", action("accounts.setSigners", 1, [[mine, agent.public_key, 1]]), what),
        Try("the key", action("accounts.changeKey", agent.public_key), what),
        Try("a sponsor", action("accounts.sponsor", *sponsor), what),
        Try("a batch", action("payments.proposeBatch", *batch), what),
        Try("no memo", (transfer_action("CLAW", payee, few),), "must write a memo", memo=""),
        Try("a memo of its own", (transfer_action("CLAW", payee, few),), "memo that", memo="x"),
        Try("the owner's lane", (transfer_action("CLAW", payee, few),), "Lane 0", lane=0),
        Try("another lane", (transfer_action("CLAW", payee, few),), "Lane 9", lane=9),
        Try(
            "somebody's fee",
            (transfer_action("CLAW", payee, few),),
            "does not sponsor",
            payer=rich,
        ),
    ]


def test_consensus_refuses_what_a_bypassed_client_would_have(
    net: Net, granted: dict[str, Any]
) -> None:
    trio.run(_everything_is_tried, net, granted)
    signed = ("--passphrase-file", net.passphrase_file, "--yes")
    assert net.run("session", "revoke", "bypasser", "--from", "owner", *signed).code == 0
    trio.run(_nothing_is_left, net)


async def _everything_is_tried(net: Net, granted: dict[str, Any]) -> None:
    owner, agent_key, payee = keys_of(net)
    async with nodes_of(net) as nodes:
        params = {"account": granted["owner"], "key": f"0x{agent_key.public_key.hex()}"}
        session = await nodes[0].call("session_get", params)
        agent = Agent(nodes, agent_key, owner.account, session["lanes"][0])
        start = await _balance(nodes[0], owner.account)
        rich = account_from_text(net.facts["faucet"])
        fees, surprises = 0, []
        for one in refused(agent_key, payee.account, rich):
            said = await agent.tries(one)
            if not said.reason or one.reason not in said.reason:
                surprises.append((one.what, said))
            fees += FEE if said.in_block else 0
        assert not surprises, surprises
        # The first payment within the limits goes through; its bytes are worth nothing twice.
        good = Try("within", (transfer_action("CLAW", payee.account, 9_99),), "")
        place = await nodes[0].next_sequence(owner.account, agent.lane)
        raw = agent.signed(await nodes[0].terms(), good, place.sequence)
        assert await outcome(nodes[0], raw) == Outcome("", True)
        for node in nodes:
            again = await node.submit(raw.raw, wait="final")
            assert again.tx_id == raw.tx_id
        copied = good._replace(actions=(transfer_action("CLAW", payee.account, 5_00),))
        replayed = await outcome(
            nodes[1], agent.signed(await nodes[1].terms(), copied, place.sequence)
        )
        assert "is used" in replayed.reason
        # The day: what is left is 20.00 without the payment and all fees of failures.
        over_day = good._replace(actions=(transfer_action("CLAW", payee.account, 9_99),))
        said = await agent.tries(over_day)
        if not said.reason:
            said = await agent.tries(over_day)
        assert "more until" in said.reason and "T00:00:00" in said.reason, said
        assert await _balance(nodes[2], EVE.account) == 0
        paid = await _balance(nodes[3], payee.account)
        assert paid in (9_99, 19_98)
        left = await _balance(nodes[3], owner.account)
        assert start - left <= 20_00
        assert fees > 0 and start - left >= paid + fees
        shown = await nodes[3].call("session_get", params)
        assert shown["lanes"] == session["lanes"] and shown["caps"][0]["perDay"] == "2000"


async def _balance(node: NodeClient, account: bytes) -> int:
    found = {one.asset: one.amount for one in await node.balances(account)}
    return found.get("CLAW", 0)


async def _nothing_is_left(net: Net) -> None:
    """After the owner's word, and not a client's, the key is one like any other."""
    owner, agent_key, payee = keys_of(net)
    async with nodes_of(net) as nodes:
        agent = Agent(nodes, agent_key, owner.account, 1)
        said = await agent.tries(Try("late", (transfer_action("CLAW", payee.account, 1),), ""))
        assert "may not sign for" in said.reason and not said.in_block


def keys_of(net: Net) -> list[SigningKey]:
    keystore = Keystore(net.client / "keys", now_ms=lambda: time.time_ns() // 1_000_000)
    return [keystore.unlock(name, PASSPHRASE).signer for name in ("owner", "bypasser", "merchant")]
