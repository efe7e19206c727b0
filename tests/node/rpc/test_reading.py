"""Reading a node: each answer has the shape that apps are written against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from clawpurse.ledger.address import authority_text
from clawpurse.ledger.agreement.certificates import Certificate
from clawpurse.ledger.blocks import Header
from clawpurse.ledger.crypto import params_hash_of
from clawpurse.ledger.genesis import Genesis
from clawpurse.modules.registry import build_registry
from clawpurse.wallet.keys import SigningKey
from tests.node.rpc.nodeworld import (
    NodeWorld,
    Running,
    hexed,
    octets,
    prune,
    run_world,
    text_of,
    until,
)

NOTHING = "0x" + "00" * 32


# -- chain


async def test_status_says_where_node_and_chain_stand(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """The first call of every program, also before the first block."""
    fresh = await node.call("chain_getStatus")
    assert (fresh["height"], fresh["hash"]) == (0, hexed(world.genesis.hash))
    await world.final(node, world.pay(world.alice))
    status = await node.call("chain_getStatus")
    block = await node.call("chain_getBlock", height=1)
    assert status == {
        "chainId": "rpc-test",
        "genesisHash": hexed(world.genesis.hash),
        "height": 1,
        "hash": block["header"]["hash"],
        "time": block["header"]["time"],
        "timeMs": block["header"]["timeMs"],
        "stateRoot": block["header"]["stateRoot"],
        "syncing": False,
        "behind": 0,
        "peers": 0,
        "authorities": 1,
        "version": status["version"],
        "testNetwork": True,
    }
    assert status["time"].endswith("Z")


async def test_a_block_by_height_and_by_hash(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Header, transactions and certificate, enough to check the block's id and signers."""
    paid = [world.pay(world.alice), world.pay(world.bob)]
    await world.final(node, *paid)
    block = await node.call("chain_getBlock", height=1)
    header = Header.unpack(octets(block["header"]["raw"]))
    assert hexed(header.block_id) == block["header"]["hash"] == block["certificate"]["blockId"]
    assert await node.call("chain_getBlock", hash=block["header"]["hash"]) == block
    assert block["transactions"] == [hexed(one.tx_id) for one in paid]
    assert block["receiptsRoot"] == block["header"]["receiptsRoot"]
    assert block["header"]["proposer"] == authority_text(world.genesis.authorities[0])
    certificate = Certificate.unpack(octets(block["certificate"]["raw"]))
    assert (block["certificate"]["height"], block["certificate"]["round"]) == (1, 0)
    assert block["certificate"]["signers"] == hexed(certificate.signers)
    assert len(block["certificate"]["signatures"]) == 1
    full = await node.call("chain_getBlock", height=1, transactions="full")
    assert [one["raw"] for one in full["transactions"]] == [hexed(one.raw) for one in paid]
    assert full["header"] == block["header"]


async def test_blocks_that_are_not_there(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Above the tip, before the first, and an unknown hash are all notFound; both names invalid."""
    await world.final(node, world.pay(world.alice))
    for params in ({"height": 0}, {"height": 2}, {"height": 2**64 - 1}, {"hash": NOTHING}):
        assert (await node.refusal("chain_getBlock", **params)).code == -32001
    wrong: list[dict[str, Any]] = [
        {},
        {"height": 1, "hash": NOTHING},
        {"height": -1},
        {"height": 2**64},
        {"height": "1"},
        {"hash": "0x12"},
        {"hash": "12" * 32},
        {"height": 1, "transactions": "some"},
        {"height": 1, "transaction": "ids"},
    ]
    for params in wrong:
        assert (await node.refusal("chain_getBlock", **params)).code == -32602


async def test_genesis_and_parameters_can_be_checked(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Who joins gets the genesis from any node and compares its hash."""
    answer = await node.call("chain_getGenesis")
    assert Genesis.unpack(octets(answer["raw"])).hash == octets(answer["genesisHash"])
    assert Genesis.from_json(answer["json"]) == world.genesis
    params = await node.call("chain_getParameters")
    assert octets(params["hash"]) == params_hash_of(octets(params["raw"]))
    assert params["parameters"]["interval_ms"] == 0


async def test_pruned_blocks_say_where_to_ask(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """A node that keeps less history sends the asker elsewhere instead of saying "unknown"."""
    for _ in range(3):
        await world.final(node, world.pay(world.alice))
    prune(node, below=3)
    error = await node.refusal("chain_getBlock", height=1)
    assert (error.code, error.error_class, error.facts) == (-32002, "local", {"floor": 3})
    assert (await node.call("chain_getBlock", height=3))["header"]["height"] == 3


# -- accounts


async def test_an_account_and_what_it_has(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Key, lanes, quota; every asset that it has, and the native one always."""
    account = text_of(world.alice)
    await world.final(node, world.pay(world.alice, lane=5), world.pay(world.alice, key=b"k"))
    shown = await node.call("account_get", account=account)
    assert octets(shown["key"]) == world.alice.public_key
    assert shown["lanes"] == [{"lane": 0, "nextSequence": 1}, {"lane": 5, "nextSequence": 1}]
    assert shown["quota"]["used"] > 0
    assert (shown["idempotencyKeys"], shown["scheduled"], shown["height"]) == (1, 0, node.height)
    assert await node.call("account_getBalances", account=account) == {
        "account": account,
        "balances": [
            {"asset": "CLAW", "amount": "99999998", "held": "0", "decimals": 2},
            {"asset": "EUR", "amount": "500000", "held": "0", "decimals": 3},
        ],
        "height": node.height,
    }
    nobody = text_of(SigningKey(b"\x31" * 32))
    assert (await node.refusal("account_get", account=nobody)).code == -32001
    empty = await node.call("account_getBalances", account=nobody)
    assert empty["balances"] == [{"asset": "CLAW", "amount": "0", "held": "0", "decimals": 2}]
    sequence = await node.call("account_getSequence", account=nobody)
    assert sequence == {
        "account": nobody,
        "lane": 0,
        "sequence": 0,
        "finalSequence": 0,
        "open": False,
    }


async def test_accounts_are_checked_before_anything_is_looked_up(
    autojump_clock: MockClock, node: Running
) -> None:
    """A mistyped address is invalid, not "unknown": the checksum says so."""
    good = "claw1h37tedtrvd6l58vzgdx5veeymy3h0afmnqrfth2f6fksecfzqkjszrng37"
    for wrong in (good[:-1] + "8", "claw1", "", 5, None, "0x" + "00" * 32):
        error = await node.refusal("account_getBalances", account=wrong)
        assert (error.code, error.facts["problems"][0]["field"]) == (-32602, "account")


async def test_the_past_is_kept_for_128_blocks(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """`atHeight` answers as of that block within 128, pruned beyond, notFound ahead."""
    account = text_of(world.alice)
    total = 131
    for _ in range(total):
        await world.final(node, world.pay(world.alice))
    assert node.height == total

    async def claw(at: int) -> str:
        answer = await node.call("account_getBalances", account=account, atHeight=at)
        assert answer["height"] == at
        return str(answer["balances"][0]["amount"])

    floor = node.node.chain.state.undo_floor
    assert floor == total - 128
    for at in (floor, floor + 1, total - 60, total - 1, total):
        assert await claw(at) == str(100_000_000 - at)
    shown = await node.call("account_get", account=account, atHeight=floor)
    assert shown["lanes"] == [{"lane": 0, "nextSequence": floor}]
    supply = await node.call("asset_getSupply", asset="CLAW", atHeight=floor)
    assert supply["height"] == floor
    path = hexed(b"a" + world.alice.account)
    for method, params in (
        ("account_getBalances", {"account": account}),
        ("account_get", {"account": account}),
        ("asset_getSupply", {"asset": "CLAW"}),
        ("chain_getProof", {"key": path}),
    ):
        pruned = await node.refusal(method, **params, atHeight=floor - 1)
        assert (pruned.code, pruned.facts["floor"]) == (-32002, floor), method
        assert (await node.refusal(method, **params, atHeight=total + 1)).code == -32001


async def test_an_account_of_the_past_may_not_have_been_open(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """As of a block before its first payment an account is unknown."""
    await world.final(node, world.pay(world.alice, target=world.bob.account))
    await world.final(node, world.pay(world.alice))
    carol = text_of(world.carol)
    assert (await node.call("account_get", account=carol, atHeight=2))["height"] == 2
    assert (await node.refusal("account_get", account=carol, atHeight=1)).code == -32001


# -- assets


async def test_assets(autojump_clock: MockClock, world: NodeWorld, node: Running) -> None:
    """Decimals and supply are what turns minor units into amounts."""
    claw = {
        "asset": "CLAW", "decimals": 2, "title": "Claw", "supply": "300000000", "issuer": None,
        "flags": [], "cap": None, "frozen": False, "issued": False, "metadata": "",
        "metadataHash": None,
    }  # fmt: skip
    found = await node.call("asset_get", asset="CLAW")
    assert found == {**claw, "agents": [], "reserve": None}
    listed = await node.call("asset_list")
    assert [one["asset"] for one in listed["assets"]] == ["CLAW", "EUR"]
    assert (listed["assets"][0], listed["nextCursor"]) == (claw, None)
    await world.final(node, world.pay(world.alice))
    assert await node.call("asset_getSupply", asset="EUR") == {
        "asset": "EUR",
        "supply": "1500000",
        "decimals": 3,
        "height": 1,
    }
    for method in ("asset_get", "asset_getSupply"):
        assert (await node.refusal(method, asset="NONE")).code == -32001
        assert (await node.refusal(method, asset="none")).code == -32602


async def test_assets_come_in_pages(
    autojump_clock: MockClock, make_world: Callable[..., NodeWorld]
) -> None:
    """Each exactly once, whatever the page's size; a foreign cursor is refused."""
    world = make_world(assets=120)
    node = await world.node()
    for limit in (1, 7, 50, 119, 120, 500):
        found: list[str] = []
        cursor = None
        while True:
            more: dict[str, str] = {} if cursor is None else {"cursor": cursor}
            page = await node.call("asset_list", limit=limit, **more)
            found += [one["asset"] for one in page["assets"]]
            cursor = page["nextCursor"]
            if cursor is None:
                break
            assert len(page["assets"]) == limit
        assert found == sorted(asset.name for asset in world.assets)
    past_the_end = await node.call("asset_list", cursor="9" * 30)
    assert past_the_end == {"assets": [], "nextCursor": None}
    for wrong in ("x", "-1", "1.0", "", "٣"):
        assert (await node.refusal("asset_list", cursor=wrong)).code == -32602
    for limit in (0, 501, -1):
        assert (await node.refusal("asset_list", limit=limit)).code == -32602


# -- consensus, mempool, node


async def test_consensus_says_who_decides_and_where_it_stands(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """What an operator looks at when blocks stop."""
    await world.final(node, world.pay(world.alice))
    authorities = await node.call("consensus_getAuthorities")
    (only,) = authorities["authorities"]
    assert only["authority"] == authority_text(world.genesis.authorities[0])
    assert only["inNewestCertificate"]
    assert (authorities["height"], authorities["quorum"]) == (2, 1)
    await until(lambda: node.node.engine.machine.state.height == 2)
    state = await node.call("consensus_getState")
    assert (state["height"], state["round"], state["signing"]) == (2, 0, True)
    assert state["step"] == "propose"
    assert (state["lockedValue"], state["lockedRound"], state["evidenceSeen"]) == (None, -1, 0)


async def test_the_pool_in_figures_and_in_order(
    autojump_clock: MockClock, make_world: Callable[..., NodeWorld]
) -> None:
    """Dearer first; within a lane by sequence; what waits behind a gap is listed by sender."""
    world = make_world(interval_ms=20_000)
    node = await world.node()
    cheap, second = world.pay(world.alice), world.pay(world.alice)
    dear = world.pay(world.bob, fee=100)
    gap = world.pay(world.bob, sequence=4)
    for paid in (cheap, second, dear, gap):
        await node.call("tx_submit", tx=hexed(paid.raw))
    status = await node.call("mempool_getStatus")
    assert {name: status[name] for name in ("transactions", "ready", "gaps", "senders")} == {
        "transactions": 4,
        "ready": 3,
        "gaps": 1,
        "senders": 2,
    }
    assert 0 < status["bytes"] < status["bytesMax"]
    assert (status["transactionsMax"], status["evicted"]) == (50_000, 0)
    listed = await node.call("mempool_getTransactions")
    assert [one["txId"] for one in listed["transactions"]] == [
        hexed(one.tx_id) for one in (dear, cheap, second)
    ]
    assert listed["nextCursor"] is None
    by_bob = await node.call("mempool_getBySender", account=text_of(world.bob))
    assert [(one["sequence"], one["ready"]) for one in by_bob["transactions"]] == [
        (0, True),
        (4, False),
    ]
    assert (await node.call("mempool_getBySender", account=text_of(world.carol))) == {
        "account": text_of(world.carol),
        "transactions": [],
    }


@settings(max_examples=6)
@given(
    fees=st.lists(st.integers(0, 10**8), min_size=1, max_size=30),
    limit=st.integers(1, 9),
)
def test_the_pool_comes_in_pages(fees: list[int], limit: int) -> None:
    """Each pending transaction on one page, in the order of one large page."""

    async def scenario(world: NodeWorld) -> None:
        node = await world.node()
        for lane, fee in enumerate(fees):
            paid = world.pay((world.alice, world.bob)[lane % 2], lane=lane, fee=fee // len(fees))
            await node.call("tx_submit", tx=hexed(paid.raw))
        whole = await node.call("mempool_getTransactions", limit=500)
        paged: list[Any] = []
        cursor = None
        while True:
            more: dict[str, str] = {} if cursor is None else {"cursor": cursor}
            page = await node.call("mempool_getTransactions", limit=limit, **more)
            paged += page["transactions"]
            cursor = page["nextCursor"]
            if cursor is None:
                break
        assert [one["txId"] for one in paged] == [one["txId"] for one in whole["transactions"]]
        assert len(paged) == len(fees)

    run_world(scenario, interval_ms=25_000)


async def test_foreign_pool_cursors_are_refused(autojump_clock: MockClock, node: Running) -> None:
    """A cursor of another list must not silently begin somewhere."""
    for wrong in ("", ".", "1", "1.", ".1", "-1.1", "a.b", "1.1.1", "9" * 60 + ".1"):
        assert (await node.refusal("mempool_getTransactions", cursor=wrong)).code == -32602


async def test_node_peers_and_health(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """What `status` and `doctor` are made of."""
    info = await node.call("node_getInfo")
    assert (info["name"], info["isAuthority"], info["signing"]) == ("authority-1", True, True)
    assert info["authority"] == authority_text(world.genesis.authorities[0])
    names = [name for name, _ in build_registry().trees]
    assert [one["name"] for one in info["modules"]] == names
    follower = await world.node("follower", node)
    await until(lambda: follower.node.services.network.count == 1)
    theirs = await follower.call("node_getInfo")
    assert (theirs["authority"], theirs["isAuthority"], theirs["signing"]) == (None, False, False)
    peers = await node.call("net_getPeers")
    (peer,) = peers["peers"]
    assert (peer["nodeId"], peer["direction"]) == (theirs["nodeId"], "inbound")
    assert peers["bans"] == []
    assert peers["listen"] == f"{info['nodeId']}@127.0.0.1:9640"
    assert await follower.call("node_getHealth") == {
        "ready": True,
        "problems": [],
        "alarms": [],
        "height": 0,
        "behind": 0,
        "peers": 1,
    }
    await world.stop(node)
    await until(lambda: follower.node.services.network.count == 0)
    health = await follower.call("node_getHealth")
    assert (health["ready"], health["problems"]) == (False, ["0 peers, 1 needed"])
    assert (await follower.call("node_getVersion"))["protocol"] == 1


async def test_bans_are_shown_with_their_reason(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """An operator sees who was shut out and why."""
    follower = await world.node("follower", node)
    await until(lambda: node.node.services.network.count == 1)
    node.node.peers.punish(follower.node.peers.node_id, "for the test")
    await until(lambda: node.node.services.network.count == 0)
    bans = (await node.call("net_getPeers"))["bans"]
    assert any(ban["reason"] == "for the test" for ban in bans)
    assert all(ban["until"].endswith("Z") for ban in bans)


# -- parameters by position, in the documented order


async def test_positions_mean_what_the_reference_says(
    autojump_clock: MockClock, world: NodeWorld, node: Running
) -> None:
    """Programs that send arrays rely on this order for ever."""
    paid = world.pay(world.alice, key=b"k")
    await world.final(node, paid)
    alice, tx_id = text_of(world.alice), hexed(paid.tx_id)
    block_id = (await node.call("chain_getStatus"))["hash"]
    key = hexed(b"a" + world.alice.account)
    calls: list[tuple[str, list[Any], dict[str, Any]]] = [
        ("chain_getBlock", [1], {"height": 1}),
        ("chain_getBlock", [None, block_id, "full"], {"height": 1, "transactions": "full"}),
        ("chain_getProof", [key], {"key": key}),
        ("chain_getProof", [None, "kernel", key, 1], {"key": key}),
        ("account_get", [alice, 0], {"account": alice, "atHeight": 0}),
        ("account_getBalances", [alice, 0], {"account": alice, "atHeight": 0}),
        ("account_getSequence", [alice, 3], {"account": alice, "lane": 3}),
        ("account_getTransactions", [alice, 1], {"account": alice, "limit": 1}),
        ("asset_get", ["EUR"], {"asset": "EUR"}),
        ("asset_list", [1, "1"], {"limit": 1, "cursor": "1"}),
        ("asset_getSupply", ["EUR", 1], {"asset": "EUR", "atHeight": 1}),
        ("mempool_getTransactions", [5], {"limit": 5}),
        ("mempool_getBySender", [alice], {"account": alice}),
        ("tx_wait", [tx_id], {"txId": tx_id}),
        ("tx_wait", [None, alice, hexed(b"k"), 0], {"txId": tx_id}),
        ("tx_getReceipt", [tx_id, True], {"txId": tx_id, "prove": True}),
        ("tx_get", [tx_id], {"txId": tx_id}),
        ("tx_decode", [hexed(paid.raw)], {"tx": hexed(paid.raw)}),
        ("tx_submit", [hexed(paid.raw), "final"], {"tx": hexed(paid.raw), "wait": "final"}),
        ("tx_cancel", [tx_id], {"txId": tx_id}),
    ]
    for method, positional, named in calls:
        answer = await node.call(method, *positional)
        assert answer == await node.call(method, **named), method
    too_many = await node.refusal("asset_get", "EUR", 1)
    assert too_many.code == -32602


ORDER = {
    "account_get": "account atHeight prove",
    "account_getBalances": "account atHeight prove",
    "account_getObjects": "account module limit cursor",
    "account_getSequence": "account lane",
    "account_getSigners": "account",
    "account_getStatement": "account fromHeight toHeight limit cursor prove",
    "account_getTransactions": "account limit cursor newestFirst fromHeight toHeight",
    "admin_addPeer": "peer",
    "admin_removePeer": "peer ban",
    "admin_setLogLevel": "level logger",
    "anchor_getDocument": "commitment account limit cursor",
    "anchor_getLog": "log",
    "anchor_listLogs": "account limit cursor",
    "asset_get": "asset",
    "asset_getHolders": "asset frozen limit cursor",
    "asset_getHolding": "asset account atHeight",
    "asset_getSupply": "asset atHeight",
    "asset_getSupplyParts": "asset",
    "asset_list": "limit cursor issuer",
    "chain_findEvents": "account asset dueOnly fromHeight toHeight cursor",
    "chain_getAuthorityChanges": "after toHeight",
    "chain_getBlock": "height hash transactions",
    "chain_getInclusion": "height transactions events start",
    "chain_getLightBlock": "height",
    "chain_getProof": "key module path atHeight prove",
    "compliance_check": "from to asset amount travelHash approvers",
    "compliance_explain": "txId",
    "compliance_getList": "name version limit cursor",
    "compliance_getProposal": "proposal number",
    "compliance_getRules": "asset policy version",
    "compliance_listFreezes": "asset limit cursor",
    "compliance_listProposals": "limit cursor",
    "consensus_getEvidence": "limit cursor",
    "consensus_getSigning": "blocks",
    "credential_check": "account topic level",
    "credential_list": "account",
    "credential_listIssuers": "limit cursor",
    "events_get": "fromCursor limit waitMs topic filter",
    "faucet_request": "account",
    "governance_getProposal": "proposal",
    "governance_listProposals": "status limit cursor",
    "mempool_getBySender": "account",
    "mempool_getTransactions": "limit cursor",
    "multisig_getProposal": "proposal",
    "multisig_listProposals": "account limit cursor",
    "payment_getBatch": "batch",
    "payment_getChannel": "channel",
    "payment_getEscrow": "escrow",
    "payment_getHold": "hold",
    "payment_getInvoice": "invoice",
    "payment_getRefunds": "payment",
    "payment_getScheduled": "scheduled",
    "payment_listBatches": "account limit cursor",
    "payment_listHolds": "officers account limit cursor",
    "payment_listObjects": "account kind limit cursor",
    "payment_verifyVoucher": "channel amount signature",
    "risk_getScore": "account",
    "role_check": "account role atHeight",
    "role_getHistory": "account role limit cursor",
    "role_list": "role account limit cursor",
    "session_get": "account key",
    "session_list": "account key limit cursor",
    "sponsorship_list": "sponsor account limit cursor",
    "sub_subscribe": "topic filter fromCursor",
    "sub_unsubscribe": "id",
    "tx_cancel": "txId",
    "tx_decode": "tx",
    "tx_get": "txId",
    "tx_getReceipt": "txId prove",
    "tx_simulate": "tx signer sponsored",
    "tx_submit": "tx wait",
    "tx_submitBatch": "txs",
    "tx_wait": "txId sender idempotencyKey timeoutMs",
    "webhook_create": "url topic filter types description concurrency scheme fromCursor",
    "webhook_delete": "id",
    "webhook_disable": "id",
    "webhook_enable": "id fromCursor",
    "webhook_get": "id",
    "webhook_getDelivery": "id deliveryId",
    "webhook_listDeliveries": "id state limit cursor",
    "webhook_replay": "id deliveryId fromCursor deadLetters",
    "webhook_rotate": "id overlapMs scheme",
    "webhook_test": "id",
}


async def test_the_order_of_parameters_is_kept(autojump_clock: MockClock, node: Running) -> None:
    """New parameters go to the end: a program that sends arrays must never mean another one."""
    document = await node.call("rpc_discover")
    order = {
        method["name"]: " ".join(param["name"] for param in method["params"])
        for method in document["methods"]
        if method["params"]
    }
    assert order == ORDER


async def test_every_method_says_its_parameters_and_errors(
    autojump_clock: MockClock, node: Running
) -> None:
    """`rpc_discover` and /openrpc.json describe all methods that there are."""
    document = await node.call("rpc_discover")
    named = {method["name"] for method in document["methods"]}
    assert {
        "chain_getStatus", "chain_getBlock", "chain_getProof", "tx_submit", "tx_submitBatch",
        "tx_wait", "tx_simulate", "tx_getReceipt", "tx_get", "tx_decode", "tx_cancel",
        "account_get", "account_getBalances", "account_getSequence", "account_getTransactions",
        "asset_get", "asset_list", "asset_getSupply", "mempool_getStatus",
        "mempool_getTransactions", "mempool_getBySender", "consensus_getState",
        "consensus_getAuthorities", "net_getPeers", "node_getInfo", "node_getHealth",
        "node_getVersion", "rpc_discover", "faucet_request", "admin_stop", "sub_subscribe",
        "sub_unsubscribe",
    } <= named  # fmt: skip
    for method in document["methods"]:
        assert method["summary"], method["name"]
        for param in method["params"]:
            assert param.get("description") or param["schema"].get("description"), (
                method["name"],
                param["name"],
            )
