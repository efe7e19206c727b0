"""session_*, sponsorship_list, account_getSigners and tx_simulate for agents.

If these failed, an agent could not tell what it may still do today, or would learn it by failing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trio.testing import MockClock

from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Code
from clawpurse.ledger.kernel.entitlements import day_end_ms
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.rules import time_text
from clawpurse.ledger.transactions import RawAction, Role
from clawpurse.modules.accounts.sessions import GRANT, REVOKE
from clawpurse.modules.accounts.sponsorship import SPONSOR
from clawpurse.modules.kit.web.errors import INVALID_PARAMS, NOT_FOUND
from clawpurse.wallet.builder import Signing, sign_body, sign_body_for, transfer_action
from clawpurse.wallet.keys import SigningKey
from tests.node.rpc.nodeworld import NodeWorld, Running, hexed, node_world, text_of

AGENT = SigningKey(b"\x51" * 32)
FEE = 2


async def started(world: NodeWorld) -> Running:
    world.genesis = replace(
        world.genesis, params=world.genesis.params.with_values({"fee_min": FEE})
    )
    return await world.node()


async def grant(world: NodeWorld, node: Running, **changes: Any) -> None:
    """Let the agent pay Bob for Alice: 100 at once, 250 a day."""
    terms = {
        "key": AGENT.public_key,
        "label": "shop",
        "expires": world.clock.now_ms() + 5 * DAY_MS,
        "lanes": [4, 2],
        "actions": ["assets.transfer"],
        "caps": [["CLAW", 100, 250]],
        "recipients": [world.bob.account],
        "memo": b"order ",
        "memoRequired": 1,
        **changes,
    }
    body = world.body(world.alice, RawAction(GRANT.name, list(terms.values())), fee=FEE)
    approval = Signing(Role.APPROVER, world.alice.account, AGENT)
    signed = sign_body_for(body, [Signing(Role.SENDER, world.alice.account, world.alice), approval])
    (answer,) = await world.final(node, signed)
    assert answer["receipt"]["code"] == "ok", answer


def payment(world: NodeWorld, amount: int, *, lane: int = 2, **terms: Any) -> Any:
    """The body of a payment to Bob that the agent would sign for Alice."""
    action = transfer_action("CLAW", world.bob.account, amount)
    terms = {"memo": b"order 7", "fee": FEE, **terms}
    return world.body(world.alice, action, lane=lane, **terms)


async def paid(world: NodeWorld, node: Running, amount: int) -> Any:
    body = payment(world, amount)
    signing = Signing(Role.SENDER, world.alice.account, AGENT)
    (answer,) = await world.final(node, sign_body_for(body, [signing]))
    return answer["receipt"]


async def test_an_agent_reads_what_it_may_took_and_has_left(autojump_clock: MockClock) -> None:
    async with node_world() as world:
        node = await started(world)
        await grant(world, node)
        assert (await paid(world, node, 90))["code"] == "ok"
        alice = text_of(world.alice)
        session = await node.call("session_get", account=alice, key=hexed(AGENT.public_key))
        assert session.pop("expires") > time_text(world.clock.now_ms() + 4 * DAY_MS)
        assert session == {
            "account": alice,
            "key": hexed(AGENT.public_key),
            "label": "shop",
            "lanes": [2, 4],
            "actions": ["assets.transfer"],
            "caps": [
                {
                    "asset": "CLAW",
                    "decimals": session["caps"][0]["decimals"],
                    "perTransaction": "100",
                    "perDay": "250",
                    "spentToday": "92",
                    "leftToday": "158",
                }
            ],
            "recipients": [text_of(world.bob)],
            "memo": hexed(b"order "),
            "memoText": "order ",
            "memoRequired": True,
            "dayEnds": time_text(day_end_ms(world.clock.now_ms())),
        }
        listed = (await node.call("session_list", account=alice))["sessions"]
        assert [one["label"] for one in listed] == ["shop"]
        by_key = await node.call("session_list", key=hexed(AGENT.public_key))
        assert [one["account"] for one in by_key["sessions"]] == [alice]
        signers = await node.call("account_getSigners", account=alice)
        assert signers["sessions"] == listed


async def test_a_refusal_says_which_limit_and_when_it_begins_anew(
    autojump_clock: MockClock,
) -> None:
    async with node_world() as world:
        node = await started(world)
        await grant(world, node)
        for amount in (98, 98):
            assert (await paid(world, node, amount))["code"] == "ok"
        receipt = await paid(world, node, 60)
        assert receipt["code"] == "quotaExceeded"
        midnight = time_text(day_end_ms(world.clock.now_ms()))
        assert midnight in receipt["reason"] and "until" in receipt["reason"]
        body = payment(world, 1, fee=60)
        signing = Signing(Role.SENDER, world.alice.account, AGENT)
        raw = sign_body_for(body, [signing]).raw
        refusal = await node.refusal("tx_submit", tx=hexed(raw))
        assert refusal.code == Code.QUOTA_EXCEEDED.rpc_code
        assert refusal.facts["rule"] == "kernel.sessionDay"
        assert midnight in refusal.reason


async def test_a_simulation_judges_a_session_key_before_it_signs(
    autojump_clock: MockClock,
) -> None:
    async with node_world() as world:
        node = await started(world)
        await grant(world, node)
        key = hexed(AGENT.public_key)

        async def simulated(body: Any, **params: Any) -> Any:
            return await node.call("tx_simulate", tx=hexed(body.pack()), **params)

        assert (await simulated(payment(world, 98, sequence=0), signer=key))["code"] == "ok"
        over = await simulated(payment(world, 99, sequence=0), signer=key)
        assert (over["code"], over["rule"]) == ("quotaExceeded", "kernel.sessionPayment")
        body = payment(world, 1, sequence=0, lane=3)
        refusal = await node.refusal("tx_simulate", tx=hexed(body.pack()), signer=key)
        assert refusal.facts["rule"] == "kernel.sessionLane"
        # Without the parameter it is judged as the owner's own payment.
        assert (await simulated(payment(world, 5_000, sequence=0, lane=3)))["code"] == "ok"
        signed = sign_body(payment(world, 1, sequence=0), [(Role.SENDER, world.alice)])
        refusal = await node.refusal("tx_simulate", tx=hexed(signed.raw), signer=key)
        assert refusal.code == Code.MALFORMED.rpc_code


async def test_sponsorships_are_listed_simulated_and_used(autojump_clock: MockClock) -> None:
    async with node_world() as world:
        node = await started(world)
        terms: list[Wire] = [world.alice.account, 5, 20, 50, [], world.clock.now_ms() + DAY_MS]
        body = world.body(world.bob, RawAction(SPONSOR.name, terms), fee=FEE)
        await world.final(node, sign_body(body, [(Role.SENDER, world.bob)]))
        body = payment(world, 1, lane=0, payer=world.bob.account, fee=5)
        unsigned = hexed(body.pack())
        assert (await node.call("tx_simulate", tx=unsigned, sponsored=True))["code"] == "ok"
        signing = Signing(Role.SENDER, world.alice.account, world.alice)
        (answer,) = await world.final(node, sign_body_for(body, [signing]))
        assert answer["receipt"]["code"] == "ok"
        alice, bob = text_of(world.alice), text_of(world.bob)
        by_sponsor = await node.call("sponsorship_list", sponsor=bob)
        by_account = await node.call("sponsorship_list", account=alice)
        assert by_sponsor == by_account
        (found,) = by_sponsor["sponsorships"]
        assert (found["sponsor"], found["account"]) == (bob, alice)
        assert (found["spentToday"], found["leftToday"], found["left"]) == ("5", "15", "45")
        assert found["actions"] is None
        dear = payment(world, 1, lane=0, payer=world.bob.account, fee=6).pack()
        refusal = await node.refusal("tx_simulate", tx=hexed(dear), sponsored=True)
        assert refusal.facts["rule"] == "kernel.sponsorFee"


async def test_lists_go_on_by_cursor_and_what_is_not_there_is_not_found(
    autojump_clock: MockClock,
) -> None:
    async with node_world() as world:
        node = await started(world)
        money = world.pay(world.bob, target=world.carol.account, amount=50, fee=FEE)
        await world.final(node, money)
        for sponsor in (world.bob, world.carol):
            terms: list[Wire] = [world.alice.account, 5, 20, 50, [], world.clock.now_ms() + DAY_MS]
            body = world.body(sponsor, RawAction(SPONSOR.name, terms), fee=FEE)
            await world.final(node, sign_body(body, [(Role.SENDER, sponsor)]))
        alice = text_of(world.alice)
        seen, cursor = [], None
        while True:
            page = await node.call("sponsorship_list", account=alice, limit=1, cursor=cursor)
            seen += [one["sponsor"] for one in page["sponsorships"]]
            cursor = page["nextCursor"]
            if cursor is None:
                break
        assert sorted(seen) == sorted((text_of(world.bob), text_of(world.carol)))
        key = hexed(AGENT.public_key)
        refusal = await node.refusal("session_get", account=alice, key=key)
        assert refusal.code == NOT_FOUND
        assert await node.call("session_list", key=key) == {"sessions": [], "nextCursor": None}
        for method in ("session_list", "sponsorship_list"):
            assert (await node.refusal(method)).code == INVALID_PARAMS
        refusal = await node.refusal("session_list", key=key, cursor="0x12")
        assert refusal.code == INVALID_PARAMS


async def test_a_revoked_session_is_gone_and_its_history_is_not(
    autojump_clock: MockClock,
) -> None:
    async with node_world() as world:
        node = await started(world)
        await grant(world, node)
        body = world.body(world.alice, RawAction(REVOKE.name, [AGENT.public_key]), fee=FEE)
        await world.final(node, sign_body(body, [(Role.SENDER, world.alice)]))
        alice = text_of(world.alice)
        assert (await node.call("session_list", account=alice))["sessions"] == []
        page = await node.call("account_getTransactions", account=alice)
        names = [one["actions"][0]["name"] for one in page["transactions"]]
        assert names[:2] == ["accounts.revokeSession", "accounts.grantSession"]
        fields = page["transactions"][1]["actions"][0]["fields"]
        assert fields["caps"] == [{"asset": "CLAW", "perTransaction": "100", "perDay": "250"}]
