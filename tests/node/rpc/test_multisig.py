"""account_getSigners, multisig_* and account_getObjects: what signers see before they sign."""

from __future__ import annotations

from typing import Any

from trio.testing import MockClock

from clawpurse.ledger.address import account_text
from clawpurse.ledger.crypto import proposal_hash_of
from clawpurse.ledger.kernel.entitlements import Signers
from clawpurse.ledger.transactions import RawAction, Role, Transaction
from clawpurse.modules.accounts.records import Contents, multisig_id
from clawpurse.modules.kit.web.errors import NOT_FOUND
from clawpurse.wallet.builder import Signing, sign_body, sign_body_for, transfer_action
from clawpurse.wallet.keys import SigningKey
from tests.node.rpc.nodeworld import HOUR_MS, NodeWorld, Running, node_world, text_of

SALT = b"\x07" * 32


def send(world: NodeWorld, key: SigningKey, name: str, *fields: Any) -> Transaction:
    action = RawAction(f"accounts.{name}", list(fields))
    return sign_body(world.body(key, action), [(Role.SENDER, key)])


async def done(world: NodeWorld, node: Running, *transactions: Transaction) -> list[Any]:
    found = await world.final(node, *transactions)
    assert [one["receipt"]["code"] for one in found] == ["ok"] * len(found), found
    return found


def firm_of(world: NodeWorld) -> tuple[list[list[bytes | int]], bytes]:
    """Alice, Bob and Carol, of whom two are enough; and their account's id."""
    people = sorted(key.account for key in (world.alice, world.bob, world.carol))
    firm = multisig_id(Signers(2, tuple((one, 1) for one in people)), SALT)
    return [[one, 1] for one in people], firm


async def founded(world: NodeWorld, node: Running) -> bytes:
    members, firm = firm_of(world)
    await done(world, node, world.pay(world.alice, target=world.carol.account, amount=9))
    await done(world, node, send(world, world.alice, "createMultisig", 2, members, SALT))
    await done(world, node, world.pay(world.alice, target=firm, amount=500))
    return firm


async def proposed(world: NodeWorld, node: Running, firm: bytes, memo: bytes = b"rent") -> str:
    pay = transfer_action("CLAW", world.carol.account, 7)
    fields = [firm, world.clock.now_ms() + HOUR_MS, [[pay.name, pay.fields]], memo]
    found = await done(world, node, send(world, world.alice, "propose", *fields))
    event = found[0]["receipt"]["events"][-1]
    assert event["kind"] == "accounts.proposed"
    data = event["data"]
    proposal: str = data["proposal"] if isinstance(data, dict) else data[0]
    return proposal


async def test_the_signers_of_an_account_are_shown_with_their_keys(
    autojump_clock: MockClock,
) -> None:
    async with node_world() as world:
        node = await world.node()
        firm = await founded(world, node)
        shown = await node.call("account_getSigners", account=account_text(firm))
        assert (shown["key"], shown["threshold"]) == (None, 2)
        people = sorted((world.alice, world.bob, world.carol), key=lambda key: key.account)
        assert shown["signers"] == [
            {"account": text_of(key), "weight": 1, "key": "0x" + key.public_key.hex()}
            for key in people
        ]
        alone = await node.call("account_getSigners", account=text_of(world.alice))
        assert alone["key"] == "0x" + world.alice.public_key.hex()
        assert (alone["threshold"], alone["signers"]) == (None, [])
        record = await node.call("account_get", account=account_text(firm))
        assert (record["key"], record["multisig"], record["depositAuth"]) == (None, True, False)
        wrong = await node.refusal("account_getSigners", account=account_text(b"\x01" * 32))
        assert wrong.code == NOT_FOUND


async def test_a_proposal_says_what_is_missing_until_it_is_executed(
    autojump_clock: MockClock,
) -> None:
    async with node_world() as world:
        node = await world.node()
        firm = await founded(world, node)
        proposal = await proposed(world, node, firm)
        shown = await node.call("multisig_getProposal", proposal=proposal)
        action = shown["actions"][0]
        assert action["name"] == "assets.transfer"
        assert action["fields"]["recipient"] == text_of(world.carol)
        assert action["fields"]["amount"] == "7"
        assert (shown["number"], shown["memoText"], shown["ready"]) == (1, "rent", False)
        assert (shown["weight"], shown["threshold"]) == (1, 2)
        assert shown["missing"].startswith("1 of 2 is missing; not approved by claw1")
        # Whoever approves can check by the hash alone that the node shows what the id stands for.
        raw = bytes.fromhex(shown["contents"][2:])
        assert "0x" + proposal_hash_of(b"account" + raw).hex() == proposal
        assert Contents.unpack(raw).actions[0].name == "assets.transfer"
        listed = await node.call("multisig_listProposals", account=account_text(firm))
        assert listed["proposals"] == [shown] and listed["nextCursor"] is None

        id_bytes = bytes.fromhex(proposal[2:])
        await done(world, node, send(world, world.bob, "approve", id_bytes))
        ready = await node.call("multisig_getProposal", proposal=proposal)
        assert (ready["ready"], ready["missing"]) == (
            True,
            "Nothing is missing: any signer can execute it.",
        )
        execute = send(world, world.carol, "execute", id_bytes, ready["cost"])
        await done(world, node, execute)
        wrong = await node.refusal("multisig_getProposal", proposal=proposal)
        assert wrong.code == NOT_FOUND
        after = await node.call("multisig_listProposals", account=account_text(firm))
        assert after["proposals"] == []


async def test_approvals_that_do_not_count_are_named(autojump_clock: MockClock) -> None:
    async with node_world() as world:
        node = await world.node()
        firm = await founded(world, node)
        proposal = await proposed(world, node, firm)
        await done(world, node, send(world, world.bob, "approve", bytes.fromhex(proposal[2:])))
        # Bob's account is signed for by Carol from now on.
        body = world.body(
            world.bob,
            RawAction(
                "accounts.setSigners",
                [1, [[world.carol.account, world.carol.public_key, 1]]],
            ),
        )
        signings = [
            Signing(Role.SENDER, world.bob.account, world.bob),
            Signing(Role.APPROVER, world.carol.account, world.carol),
        ]
        await done(world, node, sign_body_for(body, signings))
        shown = await node.call("multisig_getProposal", proposal=proposal)
        assert (shown["weight"], shown["counted"]) == (1, [text_of(world.alice)])
        assert shown["missing"].endswith(f"Not counted: {text_of(world.bob)}.")
        signers = await node.call("account_getSigners", account=account_text(firm))
        keys = {one["account"]: one["key"] for one in signers["signers"]}
        assert keys[text_of(world.bob)] is None


async def test_lists_are_read_in_pages(autojump_clock: MockClock) -> None:
    async with node_world() as world:
        node = await world.node()
        firm = await founded(world, node)
        ids = sorted([await proposed(world, node, firm) for _ in range(3)])
        first = await node.call("multisig_listProposals", account=account_text(firm), limit=2)
        assert [one["proposal"] for one in first["proposals"]] == ids[:2]
        assert first["nextCursor"] == ids[1]
        rest = await node.call("multisig_listProposals", account=account_text(firm), cursor=ids[1])
        assert [one["proposal"] for one in rest["proposals"]] == ids[2:]


async def test_all_objects_of_an_account_are_listed_across_modules(
    autojump_clock: MockClock,
) -> None:
    async with node_world() as world:
        node = await world.node()
        firm = await founded(world, node)
        ids = sorted([await proposed(world, node, firm) for _ in range(3)])
        bob = send(world, world.bob, "preauthorise", world.alice.account)
        await done(world, node, bob)
        found: list[Any] = []
        cursor = None
        for _ in range(5):
            page = await node.call(
                "account_getObjects", account=account_text(firm), limit=1,
                **({} if cursor is None else {"cursor": cursor}),
            )  # fmt: skip
            found += page["objects"]
            cursor = page["nextCursor"]
            if cursor is None:
                break
        assert found == [{"module": "accounts", "kind": "proposal", "id": one} for one in ids]
        mine = await node.call("account_getObjects", account=text_of(world.bob))
        assert mine["objects"] == [
            {
                "module": "accounts",
                "kind": "preauthorisation",
                "id": "0x" + world.alice.account.hex(),
                "account": text_of(world.alice),
            },
            {
                "module": "accounts",
                "kind": "multisig",
                "id": "0x" + firm.hex(),
                "account": account_text(firm),
            },
        ]
        none = await node.call("account_getObjects", account=text_of(world.bob), module="kernel")
        assert none["objects"] == []
        for wrong in ("", "x", "accounts.hold", f"accounts.hold.{firm.hex()}", f"no.p.{firm.hex()}",
                      "kernel.hold.zz", f"kernel.escrow.{firm.hex()}"):  # fmt: skip
            await node.refusal("account_getObjects", account=text_of(world.bob), cursor=wrong)
        await node.refusal("account_getObjects", account=text_of(world.bob), module="none")
