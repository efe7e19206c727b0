"""role_*, governance_* and consensus_listAmendments: what people see of decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trio.testing import MockClock

from clawpurse.ledger.address import account_text, authority_text
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.errors import Code
from clawpurse.ledger.genesis import GenesisRole
from clawpurse.ledger.transactions import RawAction, Role, Transaction
from clawpurse.modules.governance.changes import Change, Kind
from clawpurse.modules.kit.web.errors import NOT_FOUND
from clawpurse.wallet.builder import sign_body
from clawpurse.wallet.keys import SigningKey
from tests.node.rpc.nodeworld import (
    HOUR_MS,
    START_MS,
    NodeWorld,
    Running,
    node_world,
    text_of,
)

EXPIRES_MS = START_MS + HOUR_MS
NEWCOMER = public_key_of(b"\x77" * 32)


def vote(world: NodeWorld, name: str, *arguments: Wire, seat: int = 0) -> Transaction:
    """A vote of an authority by contents, sent and paid for by Alice."""
    key = SigningKey(world.seeds[seat])
    action = RawAction(f"governance.{name}", [key.account, EXPIRES_MS, *arguments])
    signers = [(Role.SENDER, world.alice), (Role.APPROVER, key)]
    return sign_body(world.body(world.alice, action), signers)


async def started(world: NodeWorld) -> Running:
    """A node whose genesis makes Alice an administrator."""
    world.genesis = replace(world.genesis, roles=(GenesisRole("admin", world.alice.account),))
    return await world.node()


async def test_roles_are_listed_checked_and_have_a_history(autojump_clock: MockClock) -> None:
    async with node_world() as world:
        node = await started(world)
        alice, bob = text_of(world.alice), text_of(world.bob)
        for action in (
            RawAction("roles.grant", ["cashier", world.bob.account]),
            RawAction("roles.setPermission", ["accounts.open", "cashier"]),
            RawAction("roles.revoke", ["cashier", world.bob.account, "left"]),
        ):
            body = world.body(world.alice, action)
            await world.final(node, sign_body(body, [(Role.SENDER, world.alice)]))
        assert await node.call("role_list") == {
            "roles": [{"role": "admin", "holders": 1}, {"role": "cashier", "holders": 0}],
            "permissions": [{"action": "accounts.open", "role": "cashier"}],
            "nextCursor": None,
        }
        assert (await node.call("role_list", limit=1))["nextCursor"] == "1"
        assert (await node.call("role_list", limit=1, cursor="1"))["roles"][0]["role"] == "cashier"
        assert (await node.call("role_list", role="admin"))["holders"] == [alice]
        assert (await node.call("role_list", account=alice))["roles"] == ["admin"]
        held = await node.call("role_check", account=bob, role="cashier", atHeight=1)
        assert (held["held"], held["since"], held["by"]) == (True, 1, alice)
        now = await node.call("role_check", account=bob, role="cashier")
        assert (now["held"], now["since"], now["reason"]) == (False, 3, "left")
        never = await node.call("role_check", account=bob, role="admin")
        assert (never["held"], never["since"]) == (False, None)
        page = await node.call("role_getHistory", account=bob, role="cashier", limit=1)
        assert page["entries"] == [{"height": 1, "held": True, "by": alice, "reason": None}]
        rest = await node.call("role_getHistory", account=bob, role="cashier", cursor="1")
        assert [entry["held"] for entry in rest["entries"]] == [False]
        wrong = await node.refusal("role_check", account=bob, role="cashier", atHeight=99)
        assert wrong.code == NOT_FOUND
        await node.refusal("role_list", role="admin", account=bob)
        await node.refusal("role_list", cursor="x")
        await node.refusal("role_check", account=bob, role="No Name")


async def test_proposals_are_shown_in_words_with_who_voted(autojump_clock: MockClock) -> None:
    async with node_world() as world:
        node = await started(world)
        # One authority is a quorum of one, so this is carried out at once.
        await world.final(node, vote(world, "addAuthority", NEWCOMER))
        change = Change(Kind.ADD, (NEWCOMER,))
        proposal = "0x" + change.id(EXPIRES_MS).hex()
        shown = await node.call("governance_getProposal", proposal=proposal)
        assert shown["says"] == f"make {authority_text(NEWCOMER)} an authority"
        assert shown["change"] == {"kind": "addAuthority", "authority": authority_text(NEWCOMER)}
        assert (shown["status"], shown["inForce"]) == ("passed", shown["statusHeight"] + 2)
        assert shown["votes"] == [authority_text(public_key_of(world.seeds[0]))]
        assert (await node.call("governance_listProposals"))["proposals"] == []
        everything = await node.call("governance_listProposals", status="all")
        assert everything == {"proposals": [shown], "nextCursor": None}
        wrong = await node.refusal("governance_getProposal", proposal="0x" + "00" * 32)
        assert wrong.code == NOT_FOUND
        await node.refusal("governance_listProposals", cursor="-1")


async def test_every_kind_of_change_is_shown(autojump_clock: MockClock) -> None:
    async with node_world(authorities=1) as world:
        node = await started(world)
        bob, own = world.bob.account, public_key_of(world.seeds[0])
        wanted: list[tuple[str, list[Any], dict[str, Any]]] = [
            ("setParameters", ["interval_ms=7"], {"values": {"interval_ms": 7}}),
            ("grantRole", ["desk", bob], {"role": "desk", "account": account_text(bob)}),
            ("revokeRole", ["desk", bob], {"role": "desk", "account": account_text(bob)}),
            ("amend", ["later", 900], {"name": "later", "activationHeight": 900}),
            ("cancelAmendment", ["later"], {"name": "later"}),
            ("replaceAuthority", [own, own], {}),
        ]  # fmt: skip
        for name, arguments, _ in wanted:
            await world.final(node, vote(world, name, *arguments))
        found = (await node.call("governance_listProposals", status="all"))["proposals"][::-1]
        assert [one["change"] for one in found] == [
            {"kind": name, **shown} for name, _, shown in wanted if shown
        ]
        assert {one["status"] for one in found} == {"passed"}
        page = await node.call("governance_listProposals", status="all", limit=2)
        assert page["proposals"] == found[:-3:-1]
        rest = await node.call("governance_listProposals", status="all", cursor=page["nextCursor"])
        assert rest["proposals"] == found[-3::-1] and rest["nextCursor"] is None


async def test_amendments_and_what_comes_next_are_shown(autojump_clock: MockClock) -> None:
    async with node_world() as world:
        node = await started(world)
        empty = await node.call("consensus_listAmendments")
        assert (empty["amendments"], empty["known"]) == ([], [])
        await world.final(node, vote(world, "amend", "next-one", 500))
        listed = await node.call("consensus_listAmendments")
        assert listed["amendments"] == [
            {
                "name": "next-one",
                "activationHeight": 500,
                "adoptedHeight": 1,
                "active": False,
                "known": False,
            }
        ]
        health = await node.call("node_getHealth")
        assert health["ready"] and any("next-one" in alarm for alarm in health["alarms"])
        now = await node.call("consensus_getAuthorities")
        assert now["change"] is None and now["next"]["hash"] == now["hash"]


async def test_a_vote_of_no_authority_is_refused_before_it_is_sent(
    autojump_clock: MockClock,
) -> None:
    async with node_world() as world:
        node = await started(world)
        stranger = SigningKey(b"\x55" * 32)
        action = RawAction(
            "governance.addAuthority", [stranger.account, EXPIRES_MS, stranger.account]
        )
        body = world.body(world.alice, action)
        outcome = await node.call("tx_simulate", tx="0x" + body.pack().hex())
        assert outcome["rule"] == "governance.notMember"
        assert outcome["code"] == Code.NOT_AUTHORISED.label
        assert outcome["reason"].startswith(f"The key {authority_text(stranger.account)}")
        signed = sign_body(body, [(Role.SENDER, world.alice), (Role.APPROVER, stranger)])
        (fate,) = await world.final(node, signed)
        assert fate["receipt"]["rule"] == "governance.notMember"
        decoded = await node.call("tx_decode", tx="0x" + signed.raw.hex())
        said = [line["text"] for line in decoded["words"] if line["label"] == "Action"]
        assert said[0].startswith("As authority clawval1") and "make clawval1" in said[0]
