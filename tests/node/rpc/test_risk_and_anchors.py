"""risk_* and anchor_*: what people see of scores, documents and logs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trio.testing import MockClock

from clawpurse.ledger.codec import Wire
from clawpurse.ledger.crypto import message_hash_of
from clawpurse.ledger.genesis import GenesisRole
from clawpurse.ledger.rfc6962 import consistency_proof, leaf_hash, root_of
from clawpurse.ledger.transactions import RawAction, Role
from clawpurse.modules.anchor.records import log_id
from clawpurse.modules.kit.web.errors import NOT_FOUND
from clawpurse.wallet.builder import sign_body
from clawpurse.wallet.keys import SigningKey
from tests.node.rpc.nodeworld import HOUR_MS, START_MS, NodeWorld, Running, node_world, text_of

MODEL, COMMITMENT = message_hash_of(b"model"), message_hash_of(b"commitment")
LEAVES = [leaf_hash(b"%d" % number) for number in range(8)]


async def started(world: NodeWorld) -> Running:
    """A node whose genesis makes Alice an administrator, and Bob an officer."""
    roles = (
        GenesisRole("admin", world.alice.account),
        GenesisRole("compliance", world.bob.account),
    )
    world.genesis = replace(world.genesis, roles=tuple(sorted(roles)))
    return await world.node()


async def act(world: NodeWorld, node: Running, by: SigningKey, name: str, *fields: Wire) -> None:
    body = world.body(by, RawAction(name, list(fields)))
    await world.final(node, sign_body(body, [(Role.SENDER, by)]))


async def test_a_score_is_told_with_each_report_and_in_words(autojump_clock: MockClock) -> None:
    async with node_world() as world:
        node = await started(world)
        alice, bob = text_of(world.alice), text_of(world.bob)
        none = await node.call("risk_getScore", account=bob)
        assert (none["score"], none["reports"]) == (None, [])
        assert none["sentence"] == "No score: this network has no oracles of risk."
        assert await node.call("risk_getOracles") == {"set": 0, "needed": 0, "oracles": []}
        await act(world, node, world.alice, "risk.setOracles", [world.alice.account], 1)
        waiting = await node.call("risk_getScore", account=bob)
        assert waiting["sentence"] == (
            "No score: 1 of 1 oracles must report; the reports of 0 count now."
        )
        report: list[Any] = [world.bob.account, 640, MODEL, 7, START_MS + HOUR_MS]
        await act(world, node, world.alice, "risk.report", *report)
        found = await node.call("risk_getScore", account=bob)
        assert (found["score"], found["counted"], found["needed"]) == (640, 1, 1)
        (one,) = found["reports"]
        assert (one["oracle"], one["score"], one["features"]) == (alice, 640, 7)
        assert (one["model"], one["counts"], one["why"]) == (f"0x{MODEL.hex()}", True, "counts")
        assert found["expires"] == one["expires"]
        assert found["sentence"].startswith("A risk of 640 of 1000: the lower median of what 1 of")
        oracles = await node.call("risk_getOracles")
        assert oracles["oracles"] == [{"account": alice, "sinceSet": 1}]


async def test_who_anchored_a_document_first_is_told(autojump_clock: MockClock) -> None:
    async with node_world() as world:
        node = await started(world)
        hexed = f"0x{COMMITMENT.hex()}"
        assert (await node.refusal("anchor_getDocument", commitment=hexed)).code == NOT_FOUND
        for by, kind in ((world.bob, "lease"), (world.alice, "copy")):
            await act(world, node, by, "anchor.document", COMMITMENT, kind)
        first, second = (await node.call("anchor_getDocument", commitment=hexed))["anchorings"]
        assert (first["account"], first["kind"], first["number"]) == (
            text_of(world.bob),
            "lease",
            0,
        )
        page = await node.call("anchor_getDocument", commitment=hexed, limit=1)
        assert (page["anchorings"], page["nextCursor"]) == ([first], "1")
        rest = await node.call("anchor_getDocument", commitment=hexed, cursor="1")
        assert (rest["anchorings"], rest["nextCursor"]) == ([second], None)
        alone = await node.call(
            "anchor_getDocument", commitment=hexed, account=text_of(world.alice)
        )
        assert alone["anchorings"] == [second]


async def test_where_a_log_stands_is_told_with_proposals_and_breaks(
    autojump_clock: MockClock,
) -> None:
    async with node_world() as world:
        node = await started(world)
        owner = world.alice.account
        log, other = (f"0x{log_id(owner, name).hex()}" for name in ("audit", "b"))
        assert (await node.refusal("anchor_getLog", log=log)).code == NOT_FOUND
        for name in ("audit", "b"):
            await act(world, node, world.alice, "anchor.openLog", name, owner, None, 2)
        fresh = await node.call("anchor_getLog", log=log)
        assert fresh["sentence"] == "Nothing of the log audit is anchored yet."
        identity = log_id(owner, "audit")
        await act(world, node, world.alice, "anchor.log", identity, 5, root_of(LEAVES[:5]), [])
        proof = consistency_proof(LEAVES, 5)
        await act(world, node, world.alice, "anchor.log", identity, 8, root_of(LEAVES), [*proof])
        terms: list[Any] = [identity, 5, root_of(LEAVES[:5]), "restored", START_MS + HOUR_MS]
        await act(world, node, world.alice, "anchor.break", *terms)
        fields: list[Any] = [identity, owner, 1, 5, root_of(LEAVES[:5])]
        await act(world, node, world.bob, "anchor.approveBreak", *fields)
        found = await node.call("anchor_getLog", log=log)
        assert (found["size"], found["anchors"], found["breaks"]) == (8, 2, [])
        assert "The first 8 entries of the log audit are anchored" in found["sentence"]
        (open_one,) = found["proposals"]
        assert (open_one["size"], open_one["open"]) == (5, True)
        assert open_one["approvals"] == [text_of(world.bob)]
        every = await node.call("anchor_listLogs")
        assert [one["log"] for one in every["logs"]] == sorted((log, other))
        page = await node.call("anchor_listLogs", limit=1)
        rest = await node.call("anchor_listLogs", cursor=page["nextCursor"])
        assert page["logs"] + rest["logs"] == every["logs"]
        mine = await node.call("anchor_listLogs", account=text_of(world.alice), limit=1)
        assert (mine["logs"][0]["name"], mine["nextCursor"]) == ("audit", "audit")
        last = await node.call(
            "anchor_listLogs", account=text_of(world.alice), cursor=mine["nextCursor"]
        )
        assert [one["name"] for one in last["logs"]] == ["b"]
        await node.refusal("anchor_listLogs", cursor="0x12")
        await node.refusal("anchor_listLogs", account=text_of(world.alice), cursor="A B")
