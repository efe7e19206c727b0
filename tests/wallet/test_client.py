"""A wallet gets a true answer from any node that lives, and believes no node that lies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from pydantic import BaseModel

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import NotFound, Refused
from clawpurse.ledger.transactions import Role
from clawpurse.modules.kit.web.app import App
from clawpurse.modules.kit.web.client import RpcClient
from clawpurse.modules.kit.web.errors import NOT_FOUND, SYNCING, BadAnswer, RpcError, Unreachable
from clawpurse.modules.kit.web.guard import RefusalLog
from clawpurse.modules.kit.web.jsonrpc import Context, Dispatcher, Method, NoParams
from clawpurse.modules.kit.web.server import WebServer
from clawpurse.node.rpc.account_methods import AccountAtParams, HistoryParams, SequenceParams
from clawpurse.node.rpc.asset_methods import AssetParams
from clawpurse.node.rpc.draft_methods import BytesParams
from clawpurse.node.rpc.mempool_methods import SenderParams
from clawpurse.node.rpc.transaction_methods import ReceiptParams, SubmitParams, WaitParams
from clawpurse.wallet.builder import ChainTerms, Slot, build_body, sign_body, transfer_action
from clawpurse.wallet.client import Balance, Fate, NextSequence, NodeClient, Simulation
from clawpurse.wallet.home import Network
from clawpurse.wallet.proofs import check_payment_proof
from tests.wallet.smallchain import REGISTRY, START_MS, Made, SmallChain

ALICE = b"\xa1" * 32
TX = b"\x07" * 32
Answer = Callable[[dict[str, Any]], Any]
STATUS = {
    "chainId": "acme-test",
    "genesisHash": "0x" + "07" * 32,
    "height": 9,
    "hash": "0x" + "08" * 32,
    "timeMs": 1,
    "syncing": False,
    "behind": 0,
    "peers": 3,
    "authorities": 4,
    "version": "0.1.0",
}


def always(answer: Any) -> Answer:
    return lambda _params: answer


# What nodes accept: a parameter that they would refuse is refused by these tests.
PARAMS: dict[str, type[BaseModel]] = {
    "chain_getStatus": NoParams,
    "account_get": AccountAtParams,
    "account_getBalances": AccountAtParams,
    "account_getSequence": SequenceParams,
    "account_getTransactions": HistoryParams,
    "asset_get": AssetParams,
    "tx_simulate": BytesParams,
    "tx_submit": SubmitParams,
    "tx_wait": WaitParams,
    "tx_getReceipt": ReceiptParams,
    "faucet_request": SenderParams,
}


class Net:
    """Nodes in memory: `answers` by URL and method; `down` ones do not answer; `calls` records."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._start = nursery.start_soon
        self.answers: dict[str, dict[str, Answer]] = {}
        self.down: set[str] = set()
        self.cut: set[str] = set()
        self.calls: list[tuple[str, str, dict[str, Any]]] = []

    def node(self, url: str, answers: dict[str, Any]) -> None:
        self.answers[url] = {
            name: answer if callable(answer) else always(answer) for name, answer in answers.items()
        }

    def open(self, url: str) -> RpcClient:
        def handler(name: str) -> Callable[[Any, Context], Any]:
            async def answer(params: Any, _context: Context) -> Any:
                given = params.model_dump(exclude_unset=True)
                self.calls.append((url, name, given))
                await trio.lowlevel.checkpoint()
                result = self.answers[url][name](given)
                if isinstance(result, BaseException):
                    raise result
                return result

            return answer

        log = RefusalLog()
        methods = [Method(name, name, handler(name), PARAMS[name]) for name in self.answers[url]]
        server = WebServer(App(log=log, dispatcher=Dispatcher(methods, log=log)), log=log)

        async def connect() -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            if url in self.down:
                raise OSError(111, "Connection refused")
            ours, theirs = trio.testing.memory_stream_pair()
            if url in self.cut:
                self._start(_cut, theirs)
            else:
                self._start(server.serve_stream, theirs, None)
            return ours

        return RpcClient(url, connect=connect)

    def client(self, *urls: str, **pins: Any) -> NodeClient:
        return NodeClient(Network("test", urls, **pins), open_client=self.open)


async def _cut(stream: Any) -> None:
    """Take the request, then vanish: the caller cannot know whether it was carried out."""
    await stream.receive_some(65536)
    await stream.aclose()


A, B = "http://localhost:1", "http://localhost:2"


@pytest.fixture
def net(nursery: trio.Nursery) -> Net:
    return Net(nursery)


async def test_answers_are_typed(net: Net) -> None:
    net.node(
        A,
        {
            "chain_getStatus": STATUS,
            "account_getBalances": {
                "balances": [{"asset": "CLAW", "amount": "1250", "held": "0", "decimals": 2}]
            },
            "account_getSequence": {"sequence": 7, "finalSequence": 5, "open": True},
            "asset_get": {"asset": "CLAW", "decimals": 2, "title": "Claw", "supply": "10"},
            "account_getTransactions": {"transactions": [{"txId": "0x"}], "nextCursor": "5.0"},
            "account_get": {"account": account_text(ALICE)},
            "tx_simulate": {
                "code": "ok",
                "reason": None,
                "rule": None,
                "fee": "1",
                "feeMin": "1",
                "cost": 170,
                "trace": [],
            },
            "tx_submit": {"txId": "0x" + "07" * 32, "status": "accepted", "duplicate": True},
            "faucet_request": {"txId": "0x" + "07" * 32},
        },
    )
    async with net.client(A) as client:
        status = await client.status()
        assert (status.chain_id, status.height, status.authorities) == ("acme-test", 9, 4)
        assert await client.terms() == ChainTerms("acme-test", b"\x07" * 32)
        assert await client.balances(ALICE) == [Balance("CLAW", 1250, 0, 2)]
        assert await client.next_sequence(ALICE, 3) == NextSequence(7, 5, True)
        assert net.calls[-1][2] == {"account": ALICE, "lane": 3}
        assert (await client.asset("CLAW")).decimals == 2
        page = await client.history(ALICE, limit=1, cursor="9.0")
        assert page.next_cursor == "5.0" and len(page.entries) == 1
        assert (await client.account(ALICE)) is not None
        assert await client.simulate(b"x") == Simulation("ok", None, None, 1, 1, 170, ())
        assert await client.submit(b"x") == Fate(TX, "accepted", duplicate=True)
        assert (await client.faucet(ALICE))["txId"]


async def test_what_is_not_there_is_none_or_not_found_and_other_errors_pass(net: Net) -> None:
    missing = RpcError(NOT_FOUND, "no")
    net.node(A, {"account_get": missing, "asset_get": missing, "tx_getReceipt": missing})
    async with net.client(A) as client:
        assert await client.account(ALICE) is None
        with pytest.raises(NotFound, match="the asset EUR"):
            await client.asset("EUR")
        with pytest.raises(RpcError):
            await client.receipt(TX)


async def test_a_node_of_another_network_gets_no_signature(net: Net) -> None:
    net.node(A, {"chain_getStatus": STATUS})
    for pins, words in (
        ({"chain_id": "acme-main"}, "Signed for acme-main, node runs acme-test"),
        ({"genesis_hash": b"\x01" * 32}, "Signed for genesis 0x0101.*, node runs acme-test"),
        (
            {"chain_id": "acme-test", "genesis_hash": b"\x01" * 32},
            "node runs another acme-test .genesis 0x070707",
        ),
    ):
        async with net.client(A, **pins) as client:
            with pytest.raises(Refused, match=words):
                await client.terms()
    async with net.client(A, chain_id="acme-test", genesis_hash=b"\x07" * 32) as client:
        assert (await client.terms()).chain_id == "acme-test"


async def test_a_dead_node_is_passed_over_and_the_living_one_remembered(net: Net) -> None:
    for url in (A, B):
        net.node(url, {"chain_getStatus": STATUS})
    net.down.add(A)
    async with net.client(A, B) as client:
        assert (await client.status()).height == 9
        assert client.url == B
        await client.status()
        assert [url for url, _, _ in net.calls] == [B, B]
    net.down = {A, B}
    async with net.client(A, B) as client:
        with pytest.raises(Unreachable) as caught:
            await client.status()
        assert not caught.value.sent
        net.down = {B}
        assert (await client.status()).height == 9 and client.url == A


async def test_a_signed_transaction_is_offered_to_the_next_node(net: Net) -> None:
    """The same bytes take effect once, so the payment need not wait for the node that died."""
    for url in (A, B):
        net.node(url, {"tx_submit": {"txId": "0x" + "07" * 32, "status": "accepted"}})
    net.cut.add(A)
    async with net.client(A, B) as client:
        assert (await client.submit(b"signed")).status == "accepted"
        assert net.calls == [(B, "tx_submit", {"tx": b"signed", "wait": "accepted"})]


async def test_a_node_that_is_syncing_sends_the_payment_to_the_next(net: Net) -> None:
    """One node that has just started must not stop a wallet that knows three."""
    net.node(A, {"tx_submit": RpcError(SYNCING, "syncing 10/100 (90 behind)")})
    net.node(B, {"tx_submit": {"txId": "0x" + "07" * 32, "status": "accepted"}})
    async with net.client(A, B) as client:
        assert (await client.submit(b"signed")).status == "accepted"
    net.down.add(B)
    async with net.client(A, B) as client:
        with pytest.raises(RpcError) as caught:
            await client.submit(b"signed")
        assert (caught.value.code, caught.value.retryable) == (SYNCING, True)


async def test_when_all_die_the_error_says_that_it_may_have_been_accepted(net: Net) -> None:
    for url in (A, B):
        net.node(url, {"tx_submit": {}})
    net.down.add(A)
    net.cut.add(B)
    async with net.client(A, B) as client:
        with pytest.raises(Unreachable) as caught:
            await client.submit(b"signed")
        assert caught.value.sent


async def test_the_faucet_is_not_asked_twice_for_one_wish(net: Net) -> None:
    for url in (A, B):
        net.node(url, {"faucet_request": {"txId": "0x"}})
    net.cut.add(A)
    async with net.client(A, B) as client:
        with pytest.raises(Unreachable) as caught:
            await client.faucet(ALICE)
        assert caught.value.sent and net.calls == []


def waiting(*answers: Any) -> Answer:
    """Answer `tx_wait` with each of `answers` in turn, the last for ever."""
    left = list(answers)
    return lambda _params: left.pop(0) if len(left) > 1 else left[0]


async def test_waiting_lasts_until_the_answer_will_not_change(
    net: Net, autojump_clock: trio.testing.MockClock
) -> None:
    final = {"txId": "0x" + "07" * 32, "status": "final", "height": 5, "index": 1, "receipt": {}}
    pending = {"txId": "0x" + "07" * 32, "status": "pending"}
    net.node(A, {"tx_wait": waiting(pending, pending, final)})
    async with net.client(A) as client:
        assert await client.wait(TX, 60_000) == Fate(TX, "final", 5, 1, {})
        assert net.calls[0][2]["timeout_ms"] == 20_000


async def test_pending_is_an_answer_when_the_time_is_over(
    net: Net, autojump_clock: trio.testing.MockClock
) -> None:
    net.node(A, {"tx_wait": {"txId": "0x" + "07" * 32, "status": "pending"}})
    async with net.client(A) as client:
        started = trio.current_time()
        fate = await client.wait(TX, 10_000)
        assert fate.status == "pending" and not fate.is_settled
        assert 10 <= trio.current_time() - started < 16


async def test_a_node_that_restarts_while_we_wait_is_asked_again(
    net: Net, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    expired = {"txId": "0x" + "07" * 32, "status": "expired", "height": 5}
    net.node(A, {"tx_wait": expired})
    net.down.add(A)

    async def restart() -> None:
        await trio.sleep(5)
        net.down.clear()

    nursery.start_soon(restart)
    async with net.client(A) as client:
        assert (await client.wait(TX, 30_000)).status == "expired"
        net.down.add(A)
        await client.aclose()
    async with net.client(A) as client:
        with pytest.raises(Unreachable):
            await client.wait(TX, 3_000)


async def test_a_payment_is_found_by_its_idempotency_key(
    net: Net, autojump_clock: trio.testing.MockClock
) -> None:
    replaced = {"txId": "0x" + "07" * 32, "status": "replaced", "replacedBy": "0x" + "09" * 32}
    net.node(A, {"tx_wait": waiting(replaced, {"txId": None, "status": "unknown"})})
    async with net.client(A) as client:
        fate = await client.wait_by_key(ALICE, b"k", 1_000)
        assert fate.tx_id == TX and fate.replaced_by == b"\x09" * 32
        assert net.calls[0][2]["idempotency_key"] == b"k"
        assert await client.wait_by_key(ALICE, b"k", 0) == Fate(b"", "unknown")


def paid(chain: SmallChain, amount: int, sequence: int = 0) -> Made:
    body = build_body(
        chain.terms,
        REGISTRY,
        chain.alice.account,
        Slot(0, sequence),
        [transfer_action("CLAW", chain.bob.account, amount)],
        valid_until_ms=START_MS + 600_000,
        fee=0,
    )
    return chain.block(sign_body(body, [(Role.SENDER, chain.alice)]).raw)


async def test_a_receipt_is_believed_for_its_proof_only(net: Net) -> None:
    chain = SmallChain()
    first, second = paid(chain, 5), paid(chain, 6, 1)
    genesis_hash = chain.genesis.hash
    net.node(A, {"tx_getReceipt": {"height": 77, "proof": first.proof()}})
    net.node(B, {"tx_getReceipt": {"height": 1, "proof": None}})
    async with net.client(A) as client:
        wanted = check_payment_proof(first.proof(), genesis_hash).receipt.tx_id
        document = await client.proven_payment(wanted, genesis_hash, REGISTRY)
        assert document["height"] == 1 and document["receipt"]["events"]
        with pytest.raises(BadAnswer, match=r"does not hold .genesis"):
            await client.proven_payment(wanted, bytes(32), REGISTRY)
        other = check_payment_proof(second.proof(), genesis_hash).receipt.tx_id
        with pytest.raises(BadAnswer, match="of another transaction"):
            await client.proven_payment(other, genesis_hash, REGISTRY)
    async with net.client(B) as client:
        with pytest.raises(BadAnswer, match="does not hold"):
            await client.proven_payment(wanted, genesis_hash, REGISTRY)


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("chain_getStatus", 5),
        ("chain_getStatus", {}),
        ("chain_getStatus", {**STATUS, "height": -1}),
        ("chain_getStatus", {**STATUS, "height": True}),
        ("chain_getStatus", {**STATUS, "height": "9"}),
        ("chain_getStatus", {**STATUS, "genesisHash": "0x12"}),
        ("chain_getStatus", {**STATUS, "genesisHash": "zz"}),
        ("chain_getStatus", {**STATUS, "syncing": 0}),
        ("chain_getStatus", {**STATUS, "chainId": None}),
        ("account_getBalances", {"balances": {}}),
        ("account_getBalances", {"balances": [5]}),
        ("account_getBalances", {"balances": [{"asset": "CLAW", "amount": 5, "held": "0"}]}),
        ("account_getBalances", {"balances": [{"asset": "CLAW", "amount": "-5", "held": "0"}]}),
        ("account_getBalances", {"balances": [{"asset": "CLAW", "amount": "9" * 21}]}),
        ("account_getBalances", {"balances": [{"asset": "CLAW", "amount": "٣", "held": "0"}]}),
    ],
)
async def test_an_answer_of_another_shape_is_a_typed_error(
    net: Net, method: str, answer: Any
) -> None:
    net.node(A, {method: answer})
    async with net.client(A) as client:
        with pytest.raises(BadAnswer):
            await (client.status() if method == "chain_getStatus" else client.balances(ALICE))
