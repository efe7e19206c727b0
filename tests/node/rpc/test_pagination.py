"""Lists in pages: whoever walks one sees each entry once, whatever happens between two pages.

Every method with `limit` and `cursor` is here, or the first test fails. Lists that change while
they are read are walked while entries come and go; all are walked with pages of every size.
"""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from unittest import mock

import pytest
from trio.testing import MockClock

from clawpurse.ledger import crypto
from clawpurse.ledger.address import account_from_text, account_text
from clawpurse.ledger.transactions import RawAction, Role
from clawpurse.modules.kit.web.errors import INVALID_PARAMS, RpcError
from clawpurse.modules.roles import chain as roles
from clawpurse.node.rpc.role_methods import RoleMethods
from clawpurse.wallet.builder import Signing, sign_body_for
from clawpurse.wallet.keys import SigningKey
from tests.node.rpc.nodeworld import HOUR_MS, NodeWorld, Running, hexed, octets, text_of
from tests.node.rpc.stock import stocked

Json = dict[str, Any]
ROLES = (("admin", "alice"), ("compliance", "alice"), ("issuer", "alice"))
SECRET = SigningKey(b"\x77" * 32)


class Scene:
    """A node with one of everything, and what a test does to it."""

    def __init__(self, world: NodeWorld, node: Running) -> None:
        self.world, self.node = world, node
        self.known: Json = {}
        self.number = 0
        self.limits: dict[str, int] = {}

    async def do(self, name: str, *fields: Any, cosigner: SigningKey | None = None) -> Json:
        """Let alice do something; returns what its events say."""
        alice = self.world.alice
        body = self.world.body(alice, RawAction(name, list(fields)))
        signings = [Signing(Role.SENDER, alice.account, alice)]
        if cosigner is not None:
            signings.append(Signing(Role.APPROVER, alice.account, cosigner))
        (outcome,) = await self.world.final(self.node, sign_body_for(body, signings))
        receipt = outcome["receipt"]
        assert receipt["code"] == "ok", receipt
        found: Json = {"txId": outcome["txId"]}
        for event in receipt["events"]:
            found.update(event["data"])
        return found

    @property
    def later(self) -> int:
        return self.world.clock.now_ms() + HOUR_MS

    def fresh(self) -> bytes:
        """Bytes that were in no list yet, in no order."""
        self.number += 1
        return crypto.due_hash_of(b"entry %d" % self.number)

    async def limit_max(self, name: str) -> int:
        """How many entries a page of a list may have, as the document says."""
        if not self.limits:
            document = await self.node.call("rpc_discover")
            for method in document["methods"]:
                for param in method["params"]:
                    if param["name"] == "limit":
                        self.limits[method["name"]] = param["schema"]["maximum"]
            assert max(self.limits.values()) == 500
        return self.limits[name]

    def somebody(self) -> bytes:
        return SigningKey(self.fresh()).account


Add = Callable[[Scene], Awaitable[Any]]
Remove = Callable[[Scene, Any], Awaitable[Any]]


class Listed(NamedTuple):
    """How a list is asked for, what tells its entries apart, and how it grows and shrinks."""

    rows: str
    key: Callable[[Any], Any]
    params: Callable[[Scene], Json] = lambda _: {}
    add: Add | None = None
    remove: Remove | None = None
    # Cursors are names here, so every name is one.
    named: bool = False


def alice(scene: Scene) -> Json:
    return {"account": text_of(scene.world.alice)}


def by(*names: str) -> Callable[[Any], Any]:
    return lambda row: tuple(row[name] for name in names)


async def hold(scene: Scene) -> Any:
    carol, later = scene.world.carol.account, scene.later
    return await scene.do("payments.schedule", "CLAW", carol, 1, later, b"", None)


async def unhold(scene: Scene, row: Any) -> None:
    identity = row[-1] if isinstance(row, tuple) else row
    await scene.do("payments.cancelScheduled", octets(identity))


async def grant(scene: Scene) -> None:
    who = scene.somebody()
    await scene.do("assets.transfer", "CLAW", who, 1)
    await scene.do("roles.grant", "tester", who)


async def ungrant(scene: Scene, account: str) -> None:
    await scene.do("roles.revoke", "tester", account_from_text(account), "over")


async def pay(scene: Scene) -> None:
    await scene.do("assets.transfer", "CLAW", scene.world.carol.account, 1)


async def batch(scene: Scene) -> None:
    carol = scene.world.carol.account
    legs = [[carol, 1, b""]]
    await scene.do("payments.proposeBatch", "CLAW", legs, 1, [carol], scene.later, b"", None)


async def unbatch(scene: Scene, row: Any) -> None:
    await scene.do("payments.withdrawBatch", octets(row[0]))


async def session(scene: Scene) -> None:
    key = SigningKey(scene.fresh())
    terms = [
        key.public_key,
        "",
        scene.later,
        [1 + scene.number],
        ["assets.transfer"],
        [["CLAW", 5, 9]],
    ]
    await scene.do("accounts.grantSession", *terms, [], b"", 0, cosigner=key)


async def unsession(scene: Scene, row: Any) -> None:
    await scene.do("accounts.revokeSession", octets(row[0]))


async def sponsor(scene: Scene) -> None:
    who = scene.somebody()
    await scene.do("assets.transfer", "CLAW", who, 1)
    await scene.do("accounts.sponsor", who, 1, 2, 3, [], scene.later)


async def unsponsor(scene: Scene, row: Any) -> None:
    await scene.do("accounts.endSponsorship", account_from_text(row[0]))


async def open_log(scene: Scene) -> None:
    name = f"log{scene.fresh().hex()[:12]}"
    await scene.do("anchor.openLog", name, scene.world.alice.account, None, 2)


async def name_list(scene: Scene) -> None:
    await scene.do("compliance.setList", f"l{scene.fresh().hex()[:12]}", "title", 1)


async def new_asset(scene: Scene) -> None:
    name = f"A{scene.fresh().hex()[:8].upper()}"
    await scene.do("assets.create", name, 2, "Some", 0, None, "", None)


LISTS: dict[str, list[Listed]] = {
    "account_getTransactions": [
        Listed("transactions", by("txId"), lambda s: {**alice(s), "newestFirst": False}, pay),
        Listed("transactions", by("txId"), alice, pay),
    ],
    "account_getStatement": [
        Listed("entries", by("txId"), lambda s: {**alice(s), "fromHeight": 1, "toHeight": 9}, pay)
    ],
    "account_getObjects": [Listed("objects", by("module", "kind", "id"), alice, hold)],
    "asset_list": [
        Listed("assets", by("asset"), add=new_asset),
        Listed("assets", by("asset"), lambda s: {"issuer": text_of(s.world.alice)}, new_asset),
    ],
    "asset_getHolders": [Listed("holders", by("account"), lambda _: {"asset": "EUR"})],
    "role_list": [
        Listed("holders", lambda row: row, lambda _: {"role": "tester"}, grant, ungrant),
        Listed("roles", by("role")),
        Listed("roles", lambda row: row, alice, named=True),
    ],
    "role_getHistory": [
        Listed("entries", by("height", "held"), lambda s: {**alice(s), "role": "admin"})
    ],
    "session_list": [Listed("sessions", by("key"), alice, session, unsession)],
    "sponsorship_list": [
        Listed(
            "sponsorships",
            by("account"),
            lambda s: {"sponsor": text_of(s.world.alice)},
            sponsor,
            unsponsor,
        )
    ],
    "multisig_listProposals": [
        Listed("proposals", by("proposal"), lambda s: {"account": s.known["firm"]})
    ],
    "payment_listHolds": [Listed("holds", by("holdId"), alice, hold)],
    "payment_listObjects": [
        Listed("objects", by("kind", "id"), alice, hold),
        Listed("objects", by("id"), lambda s: {**alice(s), "kind": "scheduled"}, hold, unhold),
    ],
    "payment_listBatches": [Listed("batches", by("batchId"), alice, batch, unbatch)],
    "compliance_listProposals": [Listed("proposals", by("proposal"))],
    "compliance_getList": [Listed("lists", by("name"), add=name_list, named=True)],
    "compliance_listFreezes": [Listed("freezes", by("account"), lambda _: {"asset": "EUR"})],
    "credential_listIssuers": [Listed("issuers", by("issuer"))],
    "anchor_getDocument": [
        Listed("anchorings", by("account", "number"), lambda _: {"commitment": hexed(bytes(32))})
    ],
    "anchor_listLogs": [
        Listed("logs", by("log"), add=open_log),
        Listed("logs", by("log"), alice, open_log, named=True),
    ],
    "governance_listProposals": [
        Listed("proposals", by("proposal")),
        Listed("proposals", by("proposal"), lambda _: {"status": "all"}),
    ],
    "mempool_getTransactions": [Listed("transactions", by("txId"))],
    "consensus_getEvidence": [Listed("evidence", by("number"))],
}
# Lists in pages of another kind, held by tests of their own: a stream that waits for its end, and
# deliveries of a node that has webhooks.
ELSEWHERE = {
    "events_get": "tests/node/rpc/test_events_get.py",
    "webhook_listDeliveries": "test_webhooks.py",
}
CASES = [(name, number) for name, cases in LISTS.items() for number in range(len(cases))]
GROWING = [(name, n) for name, n in CASES if LISTS[name][n].add is not None]
# What roles, lists and logs can be called.
NAME = re.compile("[a-z0-9.-]{1,32}")
GARBAGE = (
    "",
    "x",
    "-1",
    "1.",
    ".1",
    "1.1.1",
    "é",
    "0x",
    "٣",
    "null",
    "9" * 30 + "x",
    "kernel.hold.zz",
)


@pytest.fixture
async def scene(make_world: Callable[..., NodeWorld]) -> Scene:
    """A node with one of everything."""
    world = make_world(roles=ROLES, quota_cost_max=10**12)
    made = Scene(world, await world.node())
    made.known = await stocked(world, made.node, SECRET)
    objects = await made.node.call("account_getObjects", account=text_of(world.alice), limit=500)
    (firm,) = [one for one in objects["objects"] if one["kind"] == "multisig"]
    made.known["firm"] = firm["account"]
    return made


async def walk(
    scene: Scene,
    name: str,
    listed: Listed,
    limit: int,
    between: Callable[[list[Any]], Awaitable[None]] | None = None,
) -> list[Any]:
    """All entries, page by page; something may happen between two pages."""
    seen: list[Any] = []
    cursor: Json = {}
    for _ in range(200):
        answer = await scene.node.call(name, **listed.params(scene), **cursor, limit=limit)
        rows = [listed.key(row) for row in answer[listed.rows]]
        assert len(rows) <= limit
        seen += rows
        if answer["nextCursor"] is None:
            return seen
        cursor = {"cursor": answer["nextCursor"]}
        if between is not None:
            await between(seen)
    raise AssertionError(f"{name} does not end")


async def changed_walk(
    scene: Scene, name: str, listed: Listed, seed: int
) -> tuple[list[Any], list[Any], list[Any]]:
    """Walk while entries come and go: (all before, what the walk saw, all after)."""
    chance = random.Random(seed)
    assert listed.add is not None
    for _ in range(6):
        await listed.add(scene)
    before = await walk(scene, name, listed, 500)
    changes = 0

    async def between(seen: list[Any]) -> None:
        nonlocal changes
        changes += 1
        if changes > 5:
            return
        assert listed.add is not None
        if listed.remove is not None:
            there = await walk(scene, name, listed, 500)
            # Of what was seen, mostly: a place that was passed is given to another.
            passed = [one for one in there if one in seen]
            victim = chance.choice(passed if passed and chance.random() < 0.8 else there)
            await listed.remove(scene, victim)
        if chance.random() < 0.6 or listed.remove is None:
            await listed.add(scene)

    saw = await walk(scene, name, listed, chance.choice((1, 2, 3)), between)
    return before, saw, await walk(scene, name, listed, 500)


def check_walk(before: list[Any], saw: list[Any], after: list[Any]) -> None:
    """Whatever was there all the time was seen exactly once, in the order that all have."""
    always = [one for one in before if one in after]
    assert always, "nothing was there all the time"
    assert len(set(saw)) == len(saw), "an entry was seen twice"
    assert [one for one in saw if one in always] == always
    assert [one for one in after if one in always] == always


async def test_every_list_is_walked_here(autojump_clock: MockClock, scene: Scene) -> None:
    """A new list without a case of its own fails here."""
    document = await scene.node.call("rpc_discover")
    lists = set()
    for method in document["methods"]:
        names = {param["name"] for param in method["params"]}
        if "limit" in names and names & {"cursor", "fromCursor"}:
            lists.add(method["name"])
        elif "nextCursor" in method["result"].get("description", ""):
            assert method["name"] in ("chain_findEvents",), "it gives a cursor and takes no limit"
    assert lists == {*LISTS, *ELSEWHERE}


async def test_pages_of_every_size_are_the_same_list(
    autojump_clock: MockClock, scene: Scene
) -> None:
    """Nothing is left out or told twice at the end of a page, and no limit is silently another."""
    for name, number in CASES:
        listed = LISTS[name][number]
        most = await scene.limit_max(name)
        whole = await walk(scene, name, listed, most)
        assert len(set(whole)) == len(whole)
        for limit in (1, 2, 3):
            assert await walk(scene, name, listed, limit) == whole
        wrong: tuple[Any, ...] = (0, -1, most + 1, 501, 2**63, "x", None, 1.5)
        for odd in wrong:
            refused = await scene.node.refusal(name, **listed.params(scene), limit=odd)
            assert refused.code == INVALID_PARAMS, (name, odd)


async def test_a_cursor_that_was_not_given_is_refused(
    autojump_clock: MockClock, scene: Scene
) -> None:
    """Garbage is no place in a list; a page from somewhere would look like the list's end."""
    for name, number in CASES:
        listed = LISTS[name][number]
        odd: tuple[Any, ...] = (*GARBAGE, 1.5, [], {}, True, "a" * 5000)
        for garbage in odd:
            if listed.named and isinstance(garbage, str) and NAME.fullmatch(garbage):
                continue
            refused = await scene.node.refusal(name, **listed.params(scene), cursor=garbage)
            assert refused.code == INVALID_PARAMS, (name, garbage)


async def test_a_cursor_of_another_list_is_refused_or_a_place_in_this_one(
    autojump_clock: MockClock, scene: Scene
) -> None:
    """It never leads to an internal error, and never to entries that the list does not have."""
    cursors = []
    for name, number in CASES:
        listed = LISTS[name][number]
        answer = await scene.node.call(name, **listed.params(scene), limit=1)
        if answer["nextCursor"] is not None:
            cursors.append(answer["nextCursor"])
    assert len({str(cursor) for cursor in cursors}) > 6
    for name, number in CASES:
        listed = LISTS[name][number]
        whole = await walk(scene, name, listed, await scene.limit_max(name))
        for cursor in cursors:
            try:
                answer = await scene.node.call(name, **listed.params(scene), cursor=cursor)
            except RpcError as error:
                assert error.code == INVALID_PARAMS, (name, cursor, error)
                continue
            rows = [listed.key(row) for row in answer[listed.rows]]
            assert [one for one in whole if one in rows] == rows, (name, cursor)


@pytest.mark.parametrize(("name", "number"), GROWING)
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.full)])
async def test_entries_that_come_and_go_hide_and_double_no_other(
    autojump_clock: MockClock, scene: Scene, name: str, number: int, seed: int
) -> None:
    """Whoever adds up a list in pages while the network goes on gets each entry once."""
    check_walk(*await changed_walk(scene, name, LISTS[name][number], seed))


async def test_a_pager_that_counts_places_is_caught(
    autojump_clock: MockClock, scene: Scene
) -> None:
    """The mutant: a cursor that says how many entries were shown, over places that change hands."""

    async def by_offset(self: RoleMethods, role: str, limit: int, cursor: str | None) -> Json:
        start, state = int(cursor or 0), self._services.chain.reader
        found = roles.list_holders(state, role, start, limit + 1)
        shown = [account_text(one) for one in found[:limit]]
        following = str(start + limit) if len(found) > limit else None
        return {"role": role, "holders": shown, "nextCursor": following}

    (listed,) = [one for one in LISTS["role_list"] if one.add is not None]
    with mock.patch.object(RoleMethods, "_holders", by_offset):
        walked = await changed_walk(scene, "role_list", listed, 1)
    with pytest.raises(AssertionError):
        check_walk(*walked)
