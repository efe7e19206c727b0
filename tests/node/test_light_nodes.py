"""Light clients of whole nodes: from genesis across changes of the authorities, whoever lies.

The nodes are the daemon's own, in memory; the client asks them over their real JSON-RPC.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from clawpurse.ledger.agreement.light import LightBlock
from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.transactions import RawAction, Role, Transaction
from clawpurse.wallet.builder import sign_body
from clawpurse.wallet.keys import SigningKey
from clawpurse.wallet.light import (
    Cause,
    Checkpoint,
    LightClient,
    NotVerified,
    Outcome,
    Verified,
)
from clawpurse.wallet.light_source import NodeSource
from clawpurse.wallet.light_store import TrustedBlocks
from clawpurse.wallet.receipts import verify_payment
from tests.node.lab import Lab, run_lab
from tests.node.rpc.nodeworld import HOUR_MS, REGISTRY, Running, hexed


class Served(NodeSource):
    """A node of the lab under its own name; `bend` edits what it shows."""

    def __init__(self, node: Running, bend: Callable[[LightBlock], LightBlock] | None = None):
        super().__init__(node.client())
        self._name, self._bend = node.name, bend

    @property
    def url(self) -> str:
        return f"http://{self._name}"

    async def block(self, height: int | None) -> LightBlock:
        block = await super().block(height)
        return block if self._bend is None else self._bend(block)


async def follow(
    lab: Lab, primary: Served, *witnesses: Served, height: int | None = None, **options: Any
) -> Outcome:
    """Follow the lab's chain, by default from the genesis hash."""
    if "checkpoint" not in options:
        options["genesis_hash"] = lab.genesis.hash
    client = LightClient(primary, witnesses, lab.clock.now_ms, **options)
    return await client.follow(height)


def verified(outcome: Outcome) -> Verified:
    assert isinstance(outcome, Verified), outcome
    return outcome


def vote(lab: Lab, voter: bytes, kind: str, *keys: bytes) -> Transaction:
    """A vote of the authority with this seed, paid by alice; equal ones are for one proposal."""
    key = SigningKey(voter)
    expires_ms = lab.genesis.time_ms + 20 * HOUR_MS
    action = RawAction(f"governance.{kind}", [key.account, expires_ms, *keys])
    body = lab.body(lab.alice, action)
    return sign_body(body, [(Role.SENDER, lab.alice), (Role.APPROVER, key)])


async def decide(lab: Lab, node: Running, voters: list[bytes], kind: str, *seeds: bytes) -> int:
    """Let these vote and wait until the change is in force; returns its first height."""
    before = node.node.chain.authorities_at(node.height + 1)
    keys = [public_key_of(seed) for seed in seeds]
    answers = await lab.final(node, *[vote(lab, voter, kind, *keys) for voter in voters])
    assert all(answer["receipt"]["code"] == "ok" for answer in answers), answers
    in_force = max(int(answer["height"]) for answer in answers) + 2
    while node.height < in_force:
        await lab.final(node, lab.pay(lab.bob))
    assert node.node.chain.authorities_at(in_force) != before
    return in_force


def test_a_light_client_follows_whole_nodes_from_genesis(tmp_path: Path) -> None:
    """Any node is a primary, any other a witness; the second run begins at the first one's end."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        for _ in range(5):
            await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(5)
        served = [Served(node) for node in nodes]
        store = TrustedBlocks(tmp_path / "light")
        found = verified(await follow(lab, served[0], *served[1:], store=store))
        assert found.block.block_id == nodes[0].node.chain.tip.block_id
        assert (found.steps, found.agreed) == (1, 3)
        await lab.final(nodes[1], lab.pay(lab.alice))
        await lab.reach(6)
        again = verified(await follow(lab, served[3], served[2], store=store))
        assert (again.root.height, again.block.height) == (5, 6)

    run_lab(scenario)


def test_a_light_client_follows_across_changes_of_the_authorities() -> None:
    """4 → 5 → 4 and one replaced: at the end most of the first ones are gone, and still every
    height is verified from genesis; so is each payment, by its proof alone.
    """

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        first = nodes[0]
        fifth, sixth = b"\x35" * 32, b"\x36" * 32
        newcomers = [
            await lab.start(name, seed=seed) for name, seed in (("fifth", fifth), ("sixth", sixth))
        ]
        seeds = list(lab.seeds)
        paid = [lab.pay(lab.alice)]
        await lab.final(first, *paid)
        heights = [await decide(lab, first, seeds[:3], "addAuthority", fifth)]
        assert len(first.node.chain.authorities) == 5
        heights.append(await decide(lab, first, [*seeds[:3], fifth], "removeAuthority", seeds[3]))
        heights.append(
            await decide(lab, first, [*seeds[:2], fifth], "replaceAuthority", seeds[2], sixth)
        )
        paid.append(lab.pay(lab.alice))
        await lab.final(first, *paid[1:])
        assert set(first.node.chain.authorities) == {
            public_key_of(seed) for seed in (*seeds[:2], fifth, sixth)
        }
        await lab.reach(first.height)
        primary, *others = [Served(node) for node in (newcomers[1], first, nodes[3])]
        for height in (*heights, heights[0] - 1, first.height):
            found = verified(await follow(lab, primary, *others, height=height))
            assert found.block.header.pack() == first.node.chain.blocks.header(height)
            assert found.agreed == 2
        for one in paid:
            for node in (first, newcomers[0]):
                answer = await node.call("tx_getReceipt", txId=hexed(one.tx_id), prove=True)
                changes = answer["proof"]["authorityChanges"]
                assert len(changes) == (0 if one is paid[0] else 3)
                verdict = verify_payment(answer["proof"], lab.genesis.hash, REGISTRY)
                assert verdict.valid, verdict
        listed = await first.call("consensus_getAuthorities")
        assert sum(one["inNewestCertificate"] for one in listed["authorities"]) >= 3

    run_lab(scenario)


def test_a_lying_node_leads_no_light_client_astray() -> None:
    """A primary that bends a header is found out; a witness that does is outvoted and named."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities(1, 2, 3)
        for _ in range(3):
            await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(3)

        def bend(block: LightBlock) -> LightBlock:
            other = nodes[0].node.chain.blocks.header(1)
            assert other is not None
            parts = block.certificate.pack(), block.authorities.pack()
            return LightBlock.of_parts(other, *parts, block.next_authorities.pack())

        honest, second = Served(nodes[0]), Served(nodes[1])
        liar = Served(nodes[2], bend)
        lied = await follow(lab, liar, honest, second)
        assert isinstance(lied, NotVerified)
        assert lied.cause is Cause.PRIMARY
        found = verified(await follow(lab, honest, liar, second))
        assert [report.standing for report in found.witnesses] == ["faulty", "agrees"]
        alone = await follow(lab, honest, liar)
        assert isinstance(alone, NotVerified)
        assert alone.cause is Cause.UNWITNESSED

    run_lab(scenario)


def test_a_checkpoint_of_an_operator_is_enough() -> None:
    """Who comes after years needs no history, only one hash from somebody who is trusted."""

    async def scenario(lab: Lab) -> None:
        nodes = await lab.authorities()
        for _ in range(4):
            await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(4)
        status = await nodes[0].call("chain_getStatus")
        checkpoint = Checkpoint(status["height"], bytes.fromhex(status["hash"][2:]))
        await lab.final(nodes[0], lab.pay(lab.alice))
        await lab.reach(5)
        served = [Served(node) for node in nodes]
        found = verified(await follow(lab, served[1], served[2], checkpoint=checkpoint))
        assert (found.root.height, found.block.height, found.steps) == (4, 5, 1)
        wrong = Checkpoint(4, b"\1" * 32)
        refused = await follow(lab, served[1], served[2], checkpoint=wrong)
        assert isinstance(refused, NotVerified)
        assert refused.cause is Cause.CONTRADICTS

    run_lab(scenario)
