"""compliance_* and credential_*: what a wallet is told before it pays, and an officer after.

If these failed, a payment that was said to pass would be refused, or nobody could say why it was.
"""

from __future__ import annotations

from typing import Any

import trio
from trio.testing import MockClock

from clawpurse.ledger.transactions import RawAction, Role
from clawpurse.modules.kit.web.errors import NOT_FOUND
from clawpurse.wallet.builder import sign_body
from clawpurse.wallet.keys import SigningKey
from tests.node.rpc.nodeworld import HOUR_MS, START_MS, NodeWorld, Running, node_world, text_of

ROLES = (("admin", "alice"), ("compliance", "alice"), ("compliance", "bob"))
DAY_MS = 24 * HOUR_MS


async def sent(
    world: NodeWorld, node: Running, sender: SigningKey, name: str, *values: Any
) -> dict[str, Any]:
    """The receipt of one action."""
    transaction = sign_body(
        world.body(sender, RawAction(name, list(values))), [(Role.SENDER, sender)]
    )
    await world.final(node, transaction)
    receipt: dict[str, Any] = await node.call("tx_getReceipt", txId=f"0x{transaction.tx_id.hex()}")
    return receipt


async def done(world: NodeWorld, node: Running, sender: SigningKey, *action: Any) -> dict[str, Any]:
    """The data of its events by kind."""
    receipt = await sent(world, node, sender, *action)
    assert receipt["code"] == "ok", receipt
    return {event["kind"]: event["data"] for event in receipt["events"]}


def condition(kind: str, side: str | None = None, name: str | None = None, number: int = 0) -> Any:
    return [kind, side, name, number, 0]


RULES: list[Any] = [
    ["attested", "deny", "kyc-missing", 0, None, 0, 0,
     [condition("not-attested", "source", "kyc")]],
    ["travel", "deny", "travel-rule", 0, None, 0, 0,
     [condition("no-travel-hash"), condition("amount-at-least", number=3_000)]],
    ["large", "hold", None, 1, None, 120_000, 0, [condition("amount-at-least", number=1_000)]],
]  # fmt: skip


async def with_policy(world: NodeWorld, node: Running, *rules: Any) -> str:
    """A policy for EUR that is in force, by both officers."""
    fields = ["euro", "EUR", "What may be paid in EUR", 10_000, list(rules)]
    made = await done(world, node, world.alice, "compliance.proposePolicy", *fields)
    proposal: str = made["compliance.policyProposed"]["proposal"]
    listed = await node.call("compliance_listProposals")
    assert [one["status"] for one in listed["proposals"]] == ["open"]
    await done(world, node, world.bob, "compliance.approvePolicy", bytes.fromhex(proposal[2:]))
    while (await node.call("compliance_getProposal", proposal=proposal))["status"] != "active":
        await trio.sleep(1)  # On a clock that jumps; what is due makes a block by itself.
    return proposal


async def check(world: NodeWorld, node: Running, amount: int, **more: Any) -> dict[str, Any]:
    params = {"from": text_of(world.alice), "to": text_of(world.bob), "asset": "EUR", **more}
    answer: dict[str, Any] = await node.call("compliance_check", amount=str(amount), **params)
    return answer


async def attested(world: NodeWorld, node: Running, holder: SigningKey, level: int = 1) -> None:
    terms = [holder.account, b"\x05" * 32, "kyc", level, START_MS + 30 * DAY_MS, b"\x06" * 32]
    await done(world, node, world.bob, "compliance.attest", *terms)
    await done(world, node, holder, "compliance.accept", world.bob.account, "kyc")


async def test_what_is_checked_is_what_happens_and_is_explained(
    autojump_clock: MockClock,
) -> None:
    async with node_world(roles=ROLES) as world:
        node = await world.node()
        free = await check(world, node, 5)
        assert (free["verdict"], free["trace"], free["policies"]) == ("allow", [], [])
        assert free["words"] == "It would be paid: no policy governs it."
        await done(world, node, world.alice, "compliance.setIssuer", world.bob.account, ["kyc"])
        await with_policy(world, node, *RULES)

        told = await check(world, node, 5)
        assert (told["verdict"], told["rule"]) == ("deny", "compliance.denied")
        (policy,) = told["policies"]
        assert (policy["policy"], policy["version"], policy["verdict"]) == ("euro", 1, "deny")
        first, second, third = policy["rules"]
        assert (first["applies"], first["decides"], first["reached"]) == (True, True, True)
        assert (second["applies"], second["reached"]) == (False, False)
        assert [one["holds"] for one in second["conditions"]] == [True, False]
        assert not third["applies"]
        assert "kyc-missing" in policy["words"] and "kyc-missing" in told["words"]
        receipt = await sent(
            world, node, world.alice, "assets.transfer", "EUR", world.bob.account, 5
        )
        assert (receipt["rule"], receipt["trace"]) == (told["rule"], told["trace"])
        why = await node.call("compliance_explain", txId=receipt["txId"])
        assert why["code"] == "policyRejected"
        assert why["sentences"][0].startswith(f"Refused in block {receipt['height']} at ")
        assert "decided by its rule attested" in why["sentences"][1]
        assert "the payer is not attested kyc at level 0 or above" in why["sentences"][1]
        assert text_of(world.bob) in why["sentences"][2]
        assert why["trace"][0]["policy"]["version"] == 1

        await attested(world, node, world.alice)
        told = await check(world, node, 999)
        assert told["verdict"] == "allow"
        assert told["words"] == "It would be paid: 3 rules were asked, none stops it."
        told = await check(world, node, 999, approvers=[text_of(world.bob), text_of(world.carol)])
        assert told["verdict"] == "allow"
        told = await check(world, node, 3_000)
        assert told["policies"][0]["rule"] == "travel"
        told = await check(world, node, 3_000, travelHash="0x" + "11" * 32)
        assert (told["verdict"], told["hold"]["needed"]) == ("hold", 1)
        assert told["hold"]["atExpiry"] == "return" and told["hold"]["officers"] == "compliance"
        poor = await check(world, node, 10**9, travelHash="0x" + "11" * 32)
        assert poor["verdict"] == "deny" and poor["code"] == "insufficientFunds"


async def test_a_held_payment_is_explained_with_who_decided_it(autojump_clock: MockClock) -> None:
    async with node_world(roles=ROLES) as world:
        node = await world.node()
        await with_policy(world, node, RULES[2])
        receipt = await sent(
            world, node, world.alice, "assets.transfer", "EUR", world.carol.account, 2_000
        )
        (held,) = [one["data"] for one in receipt["events"] if one["kind"] == "kernel.held"]
        hold_id = bytes.fromhex(held["holdId"][2:])
        why = await node.call("compliance_explain", txId=receipt["txId"])
        assert why["holds"][0]["status"] == "held"
        assert why["sentences"][0].startswith("Held in block ")
        assert any(line.startswith("It is still held: 1 who hold") for line in why["sentences"])
        await done(world, node, world.bob, "payments.voteHold", hold_id, 1, "looked-at")
        why = await node.call("compliance_explain", txId=receipt["txId"])
        (hold,) = why["holds"]
        assert (hold["status"], hold["by"]) == ("released", text_of(world.bob))
        (vote,) = hold["votes"]
        assert (vote["voter"], vote["reason"]) == (text_of(world.bob), "looked-at")
        assert why["sentences"][-1].endswith(f"by {text_of(world.bob)}.")
        assert why["sentences"][-1].startswith("Released and paid in block ")
        late = await sent(
            world, node, world.alice, "assets.transfer", "EUR", world.carol.account, 1_500
        )
        why = await node.call("compliance_explain", txId=late["txId"])
        while why["holds"][0]["status"] == "held":
            await trio.sleep(30)
            why = await node.call("compliance_explain", txId=late["txId"])
        assert why["holds"][0]["status"] == "returned" and why["holds"][0]["by"] is None
        assert why["sentences"][-1].endswith("because its time was over.")


async def test_what_no_policy_governs_or_nobody_knows(autojump_clock: MockClock) -> None:
    async with node_world(roles=ROLES) as world:
        node = await world.node()
        receipt = await sent(
            world, node, world.alice, "assets.transfer", "EUR", world.bob.account, 5
        )
        why = await node.call("compliance_explain", txId=receipt["txId"])
        assert why["sentences"][1:] == ["No policy governed it."] and why["trace"] == []
        unknown = await node.refusal("compliance_explain", txId="0x" + "00" * 32)
        assert unknown.code == NOT_FOUND
        stranger = await node.refusal(
            "compliance_check",
            **{"from": text_of(world.carol), "to": text_of(world.bob)},
            asset="EUR",
            amount="5",
        )
        assert stranger.code == NOT_FOUND
        for amount in ("0", "x", "1" * 21, "-1", str(2**64)):
            error = await node.refusal(
                "compliance_check",
                **{"from": text_of(world.alice), "to": text_of(world.bob)},
                asset="EUR",
                amount=amount,
            )
            assert error.code == -32602


async def test_older_versions_are_read_and_proposals_found(autojump_clock: MockClock) -> None:
    async with node_world(roles=ROLES) as world:
        node = await world.node()
        assert await node.call("compliance_getRules") == {"policies": [], "quorum": None}
        first = await with_policy(world, node, RULES[2])
        ended = await with_policy(world, node)
        assert (await node.call("compliance_getRules"))["policies"] == []
        (newest,) = (await node.call("compliance_getRules", policy="euro"))["policies"]
        assert (newest["version"], newest["state"], newest["proposal"]) == (2, "active", ended)
        old = await node.call("compliance_getRules", policy="euro", version=1)
        (one,) = old["policies"]
        assert (one["state"], one["proposal"]) == ("ended", first)
        assert one["rules"][0]["words"].startswith("If the amount is 1.000 EUR or more: hold it")
        assert one["endedHeight"] == newest["activeHeight"]
        assert (await node.call("compliance_getProposal", number=1))["proposal"] == first
        for params in ({"policy": "none"}, {"policy": "euro", "version": 9}):
            assert (await node.refusal("compliance_getRules", **params)).code == NOT_FOUND
        assert (await node.refusal("compliance_getProposal", number=9)).code == NOT_FOUND
        await node.refusal("compliance_getProposal")
        await node.refusal("compliance_getRules", version=1)


async def test_lists_ballots_freezes_and_credentials_are_read(autojump_clock: MockClock) -> None:
    async with node_world(roles=ROLES) as world:
        node = await world.node()
        alice, bob = text_of(world.alice), text_of(world.bob)
        await done(world, node, world.alice, "compliance.setList", "blocked", "Nobody pays", 1)
        waiting = await node.call("compliance_listProposals")
        (ballot,) = waiting["ballots"]
        assert (ballot["action"], ballot["supportedBy"]) == ("compliance.setList", [alice])
        await done(world, node, world.bob, "compliance.setList", "blocked", "Nobody pays", 1)
        entries = sorted([world.alice.account, world.carol.account])
        await done(world, node, world.bob, "compliance.addToList", "blocked", entries, "case 7")
        (shown,) = (await node.call("compliance_getList"))["lists"]
        assert (shown["name"], shown["entries"], shown["version"]) == ("blocked", 2, 1)
        page = await node.call("compliance_getList", name="blocked", limit=1)
        rest = await node.call("compliance_getList", name="blocked", cursor=page["nextCursor"])
        assert [one["entry"] for one in page["entries"] + rest["entries"]] == [
            "0x" + one.hex() for one in entries
        ]
        change = (await node.call("compliance_getList", name="blocked", version=1))["change"]
        assert (change["added"], change["by"], change["reason"]) == (True, bob, "case 7")
        for params in ({"name": "none"}, {"name": "blocked", "version": 2}):
            assert (await node.refusal("compliance_getList", **params)).code == NOT_FOUND
        freezes = await node.call("compliance_listFreezes", asset="EUR")
        assert (freezes["freezes"], freezes["allFrozen"]) == ([], False)
        assert (await node.refusal("compliance_listFreezes", asset="USD")).code == NOT_FOUND

        await done(world, node, world.alice, "compliance.setIssuer", world.bob.account, ["kyc"])
        await attested(world, node, world.alice, level=2)
        listed = await node.call("credential_list", account=alice)
        (credential,) = listed["credentials"]
        assert (credential["topic"], credential["level"], credential["counts"]) == ("kyc", 2, True)
        assert (credential["status"], listed["subject"]) == ("accepted", "0x" + "05" * 32)
        yes = await node.call("credential_check", account=alice, topic="kyc", level=2)
        no = await node.call("credential_check", account=alice, topic="kyc", level=3)
        assert (yes["attested"], no["attested"], no["level"]) == (True, False, 2)
        assert not (await node.call("credential_check", account=bob, topic="kyc"))["attested"]
        (issuer,) = (await node.call("credential_listIssuers"))["issuers"]
        assert (issuer["issuer"], issuer["topics"], issuer["active"]) == (bob, ["kyc"], True)
        await done(world, node, world.alice, "compliance.removeIssuer", world.bob.account, "left")
        (credential,) = (await node.call("credential_list", account=alice))["credentials"]
        assert (credential["status"], credential["counts"]) == ("accepted", False)


async def test_officers_follow_what_is_held_and_what_comes_of_it(
    autojump_clock: MockClock,
) -> None:
    async with node_world(roles=ROLES) as world:
        node = await world.node()
        await with_policy(world, node, RULES[2])
        to = world.carol.account
        await sent(world, node, world.alice, "assets.transfer", "EUR", to, 5)
        receipt = await sent(world, node, world.alice, "assets.transfer", "EUR", to, 2_000)
        seen: list[Any] = []
        async with node.client().subscribe("compliance", from_cursor="0.0") as events:
            with trio.fail_after(600):
                while not seen or seen[-1]["kind"] != "kernel.holdEnded":
                    seen.append((await events.__anext__()).data)
        kinds = [one["kind"] for one in seen]
        assert kinds[-2:] == ["kernel.held", "kernel.holdEnded"]
        assert kinds[0] == "compliance.policyProposed" and "compliance.policyActive" in kinds
        assert seen[-2]["txId"] == receipt["txId"] and seen[-1]["txId"] is None
        assert not [kind for kind in kinds if kind.startswith("assets.")]
