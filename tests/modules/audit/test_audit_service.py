"""The service on its host beside a real node: told, signed, anchored, asked, reviewed.

If these failed, the parts would hold and the service would not: roles nobody judges, anchors
nobody sends, refusals nobody reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import NotFound
from clawpurse.ledger.transactions import RawAction, Role
from clawpurse.modules.anchor.records import log_id
from clawpurse.modules.audit.service import (
    AuditService,
    AuditSettings,
    drop_step,
    review_step,
    step,
)
from clawpurse.modules.kit.service.host import Place, RunningHost, open_host
from clawpurse.modules.kit.service.sending import Signed
from clawpurse.modules.kit.web.errors import CONFLICT, FORBIDDEN, RpcError
from clawpurse.modules.kit.web.grants import Grant
from clawpurse.modules.kit.web.jsonrpc import Context
from clawpurse.modules.kit.web.scopes import ALL_SCOPES
from clawpurse.wallet.audit_logs import check_log_bundle
from clawpurse.wallet.builder import sign_body
from clawpurse.wallet.keys import SigningKey
from tests.modules.audit.auditworld import DAY_MS, START_MS, call_text
from tests.node.rpc.nodeworld import NodeWorld, Running, node_world, text_of

SOURCE = "auth/calls"


class KeyAccount:
    """The service's account: Carol's key."""

    lane = 0

    def __init__(self, world: NodeWorld, key: SigningKey) -> None:
        self._world, self._key = world, key
        self.address = account_text(key.account)

    def sign(self, actions: Sequence[RawAction], sequence: int, fee: int, key: bytes) -> Signed:
        body = self._world.body(self._key, *actions, sequence=sequence, fee=fee, key=key)
        made = sign_body(body, [(Role.SENDER, self._key)])
        return Signed(made.raw, made.tx_id, body.valid_until_ms)


class House:
    """A node, and the service beside it; Bob audits, Alice's service tells."""

    def __init__(self, world: NodeWorld, node: Running, host: RunningHost) -> None:
        self.world, self.node, self.host = world, node, host
        self.methods = {one.name: one for one in host.methods()}
        self.log = log_id(world.alice.account, "audit")
        self.settings = AuditSettings(
            log=f"0x{self.log.hex()}", checkpoint_blocks=1, checkpoint_entries=1, look_s=1
        )

    async def call(self, who: SigningKey, method: str, /, **params: Any) -> Any:
        """Call as the account; the answer must be as it is published."""
        found = self.methods[method]
        grant = Grant(f"jwt:{method}", text_of(who), ALL_SCOPES)
        given = found.params.model_validate(params)
        answer = await found.handler(given, Context(grant=grant))
        if hasattr(found.result, "model_validate"):
            shown = found.result.model_validate(answer).model_dump(by_alias=True)
            assert set(shown) == set(answer)
        json.dumps(answer)
        return answer

    async def refused(self, who: SigningKey, method: str, /, **params: Any) -> RpcError:
        with pytest.raises(RpcError) as caught:
            await self.call(who, method, **params)
        return caught.value

    async def tell(self, first: int, count: int, **changed: Any) -> Any:
        entries = [
            {"number": n, "text": call_text(SOURCE, n, **changed)}
            for n in range(first, first + count)
        ]
        return await self.call(self.world.alice, "audit_append", source=SOURCE, entries=entries)

    async def act(self, by: SigningKey, name: str, *fields: Any) -> None:
        body = self.world.body(by, RawAction(name, list(fields)))
        (answer,) = await self.world.final(self.node, sign_body(body, [(Role.SENDER, by)]))
        assert answer["receipt"]["code"] == "ok", answer

    async def settle(self) -> None:
        """What the service does by itself within some seconds."""
        await step(self.host, self.settings)
        while await self.host.sender.step():
            pass
        await step(self.host, self.settings)

    async def status(self) -> Any:
        return await self.call(self.world.bob, "audit_getStatus")


async def housed(world: NodeWorld, folder: Path, now: list[int]) -> tuple[House, Any]:
    node = await world.node()
    # Carol's account begins to be one when something is paid to it.
    await world.final(node, world.pay(world.alice, amount=1_000))
    client = node.client()
    host = await open_host(
        AuditService(),
        Place(folder),
        client,
        lambda: now[0],
        account=KeyAccount(world, world.carol),
    )
    return House(world, node, host), client


ROLES = (("admin", "alice"), ("audit.source", "alice"), ("auditor", "bob"))


async def test_the_service_is_told_signs_anchors_and_proves(tmp_path: Path) -> None:
    """The whole way: from a service's call to a bundle that convinces without any of them."""
    now = [START_MS]
    async with node_world(roles=ROLES) as world:
        house, _ = await housed(world, tmp_path, now)
        try:
            # Not opened yet: told, kept, nothing signed for a log that is nobody's.
            await house.tell(1, 9)
            await house.act(world.alice, "anchor.openLog", "audit", world.carol.account, None, 2)
            assert (await house.status())["anchored"] == 0
            await house.settle()
            status = await house.status()
            assert (status["size"], status["anchored"], status["trouble"]) == (10, 10, None)
            assert status["sources"][1]["writer"] == text_of(world.alice)
            await house.tell(5, 20)
            await house.settle()
            status = await house.status()
            assert (status["size"], status["checkpoint"], status["anchored"]) == (25, 25, 25)
            found = await house.call(world.bob, "audit_prove", source=SOURCE, number=7)
            story = check_log_bundle(found["bundle"], world.genesis.hash)
            assert story.entries[0].told is not None
            assert story.entries[0].told.number == 7
            assert found["leaf"] == f"0x{story.entries[0].leaf.hex()}"
            bundle = await house.call(world.bob, "audit_export", first=0, count=25)
            story = check_log_bundle(json.loads(json.dumps(bundle)), world.genesis.hash)
            assert len(story.entries) == 25
            assert story.newest.log.size == 25
            page = await house.call(world.bob, "audit_listCheckpoints", limit=1)
            assert (page["checkpoints"][0]["size"], page["nextCursor"]) == (25, "25")
            rest = await house.call(world.bob, "audit_listCheckpoints", cursor="25")
            assert [(one["size"], one["anchored"]) for one in rest["checkpoints"]] == [(10, True)]
            way = await house.call(world.bob, "audit_consistency", first=10, second=25)
            assert way["path"]
            page = await house.call(world.bob, "audit_search", who="claw1alice", limit=5)
            assert [one["number"] for one in page["entries"]] == [24, 23, 22, 21, 20]
            page = await house.call(
                world.bob, "audit_search", who="claw1alice", limit=5, cursor=page["nextCursor"]
            )
            assert page["entries"][0]["number"] == 19
        finally:
            await house.host.close()


async def test_who_may_tell_and_who_may_read_is_said_by_the_ledger(tmp_path: Path) -> None:
    """A log that anybody fills says nothing; one that anybody reads says too much."""
    now = [START_MS]
    async with node_world(roles=ROLES) as world:
        house, _ = await housed(world, tmp_path, now)
        try:
            entries = [{"number": 1, "text": call_text(SOURCE, 1)}]
            for who in (world.bob, world.carol):
                refused = await house.refused(who, "audit_append", source=SOURCE, entries=entries)
                assert refused.code == FORBIDDEN
            for method, params in (
                ("audit_search", {}),
                ("audit_prove", {"place": 0}),
                ("audit_consistency", {"first": 0, "second": 0}),
                ("audit_export", {"first": 0}),
                ("audit_listCheckpoints", {}),
                ("audit_getReview", {}),
                ("audit_getStatus", {}),
            ):
                assert (await house.refused(world.carol, method, **params)).code == FORBIDDEN
            await house.tell(1, 2)
            forged = [{"number": 2, "text": call_text(SOURCE, 2, actor="claw1eve")}]
            for _ in range(2):
                refused = await house.refused(
                    world.alice, "audit_append", source=SOURCE, entries=forged
                )
                assert refused.code == CONFLICT
            status = await house.status()
            assert (status["size"], status["sources"][1]["forked"]) == (3, 2)
            page = await house.call(world.bob, "audit_search", what="audit.fork")
            assert [one["who"] for one in page["entries"]] == [text_of(world.alice)]
            with pytest.raises(NotFound, match="checkpoint"):
                await house.call(world.bob, "audit_prove", place=1)
        finally:
            await house.host.close()


async def test_what_the_ledger_says_of_roles_is_kept_and_reviewed(tmp_path: Path) -> None:
    """Who was given a role yesterday is the first thing that a reviewer asks."""
    now = [START_MS]
    async with node_world(roles=ROLES) as world:
        house, client = await housed(world, tmp_path, now)
        try:
            await house.act(world.alice, "roles.grant", "auditor", world.carol.account)
            while not (await house.call(world.bob, "audit_search", what="roles.granted"))[
                "entries"
            ]:
                await house.host._intake.step(0)
            page = await house.call(world.bob, "audit_search", what="roles.granted")
            (granted,) = [one for one in page["entries"] if "0x" in one["object"]]
            assert json.loads(granted["text"])["data"]["role"] == "auditor"
            await house.tell(1, 12, result="refused", actor="claw1mallory")
            await house.tell(13, 3)
            assert not await review_step(house.host)
            now[0] += DAY_MS
            assert await review_step(house.host)
            assert not await review_step(house.host)
            report = await house.call(world.bob, "audit_getReview")
            assert (report["calls"], report["refusals"], report["failures"]) == (15, 12, 0)
            assert [one["object"] for one in report["roles"]] == [
                one["object"] for one in reversed(page["entries"])
            ]
            assert report["unusual"] == [
                {"why": "refused", "kind": "who", "name": "claw1mallory", "count": 12, "usual": 4}
            ]
            assert report["byWhat"][0] == {"name": "auth.unlock", "count": 15}
            same = await house.call(world.bob, "audit_getReview", day=report["day"])
            assert same == report
            assert not await drop_step(house.host, 400)
            page = await house.call(world.bob, "audit_search", what="audit.reviewed")
            facts = json.loads(page["entries"][0]["text"])["facts"]
            kept = {name: value for name, value in report.items() if name != "made"}
            text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            assert facts["sha256"] == hashlib.sha256(text.encode()).hexdigest()
        finally:
            await client.aclose()
            await house.host.close()


async def test_an_anchor_that_the_ledger_refuses_is_written_down(tmp_path: Path) -> None:
    """Nobody would notice for months that a log's account is not its writer."""
    now = [START_MS]
    async with node_world(roles=ROLES) as world:
        house, _ = await housed(world, tmp_path, now)
        try:
            await house.act(world.alice, "anchor.openLog", "audit", world.bob.account, None, 2)
            await house.tell(1, 3)
            await house.settle()
            status = await house.status()
            assert status["anchored"] == 0
            assert "notAuthorised" in status["waiting"]["problem"]
            page = await house.call(world.bob, "audit_search", what="audit.anchor", result="failed")
            assert len(page["entries"]) == 1
            before = status["size"]
            for _ in range(3):
                await house.settle()
            assert (await house.status())["size"] == before, "it is not sent again at once"
        finally:
            await house.host.close()


async def test_it_runs_by_itself_until_it_is_stopped(tmp_path: Path) -> None:
    """What only works when a test calls it does not work."""
    now = [START_MS]
    async with node_world(roles=ROLES) as world:
        house, _ = await housed(world, tmp_path, now)
        house.host.configuration.settings = house.settings
        await house.act(world.alice, "anchor.openLog", "audit", world.carol.account, None, 2)
        await house.tell(1, 3)
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(house.host.run)
                with trio.fail_after(30):
                    while (await house.status())["anchored"] < 4:
                        await trio.sleep(0.05)
                nursery.cancel_scope.cancel()
        finally:
            await house.host.close()
        assert house.host.problem == ""
