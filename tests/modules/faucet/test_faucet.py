"""The faucet: test money for everybody on test networks, and not a coin anywhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger import crypto
from clawpurse.ledger.errors import Code, OperatorError, Refused
from clawpurse.ledger.genesis import Genesis, GenesisAccount, GenesisAsset
from clawpurse.ledger.params import Params
from clawpurse.ledger.transactions import LANE_COUNT, Transaction, decode_transaction
from clawpurse.modules.faucet.keys import faucet_account, faucet_seed
from clawpurse.modules.faucet.service import TRIES_MAX, Faucet, FaucetLimits
from clawpurse.modules.kit.web.errors import RpcError
from clawpurse.modules.registry import build_registry

START_MS = 1_800_000_000_000
ALICE, BOB = b"\xa1" * 32, b"\xb0" * 32


def genesis(**changes: Any) -> Genesis:
    key = crypto.public_key_of(faucet_seed("acme-test", START_MS))
    made = Genesis(
        "acme-test",
        START_MS,
        (crypto.public_key_of(b"\x01" * 32),),
        Params(fee_min=7),
        (GenesisAsset("CLAW", 2, "Claw"),),
        (GenesisAccount(key, (("CLAW", 10**12),)),),
        tuple((module.name, module.version) for module in build_registry().modules),
        test_network=True,
    )
    return replace(made, **changes)


class Ledger:
    """Where the faucet's payments go: keeps them, or refuses as it is told."""

    def __init__(self) -> None:
        self.taken: list[Transaction] = []
        self.refuse: Callable[[Transaction], None] = lambda _transaction: None
        self.now_ms = START_MS + 60_000

    def next_sequence(self, account: bytes, lane: int) -> int:
        mine = [one for one in self.taken if (one.body.sender, one.body.lane) == (account, lane)]
        return len(mine)

    async def submit(self, raw: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        transaction = decode_transaction(raw)
        self.refuse(transaction)
        self.taken.append(transaction)
        return transaction.tx_id

    def faucet(self, lanes: tuple[int, ...] = (3, 5), **limits: int) -> Faucet:
        return Faucet(
            genesis(),
            next_sequence=self.next_sequence,
            submit=self.submit,
            now_ms=lambda: self.now_ms,
            lanes=lambda: lanes,
            limits=FaucetLimits(**limits),
        )


def test_the_key_follows_from_the_genesis_alone() -> None:
    """A node that joined later pays from the same account, and two networks never share one."""
    assert faucet_account(genesis()) == crypto.public_key_of(faucet_seed("acme-test", START_MS))
    seeds = {
        faucet_seed(chain_id, time_ms)
        for chain_id in ("acme-test", "acme-tes", "acme-test2")
        for time_ms in (START_MS, START_MS + 1)
    }
    assert len(seeds) == 6
    assert all(len(seed) == 32 for seed in seeds)
    # Part of the protocol of test networks: other software finds the same account.
    assert faucet_seed("acme-test", START_MS).hex() == (
        crypto.hasher(b"claw.faucet")(b"acme-test\0" + START_MS.to_bytes(8, "big")).hex()
    )


def test_no_other_network_has_a_faucet() -> None:
    """Where money matters nobody must be able to derive a key that has some."""
    with pytest.raises(OperatorError, match="no test network"):
        faucet_account(genesis(test_network=False))
    ledger = Ledger()
    with pytest.raises(OperatorError):
        Faucet(
            genesis(test_network=False),
            next_sequence=ledger.next_sequence,
            submit=ledger.submit,
            now_ms=lambda: START_MS,
            lanes=lambda: (0,),
        )


async def test_a_payment_is_signed_valid_and_enough_to_try_things() -> None:
    """What it submits is a payment that any node would take."""
    ledger = Ledger()
    answer = await ledger.faucet().request(ALICE)
    (paid,) = ledger.taken
    assert answer == {"txId": "0x" + paid.tx_id.hex(), "asset": "CLAW", "amount": "100000"}
    body = paid.body
    assert (body.chain_id, body.genesis_hash) == ("acme-test", genesis().hash)
    assert (body.fee, body.lane, body.sequence) == (7, 3, 0)
    assert body.actions[0].fields == ["CLAW", ALICE, 100_000]
    assert START_MS < body.valid_until_ms <= ledger.now_ms + 86_400_000
    for triple in paid.signatures:
        assert crypto.verify(*triple)


async def test_two_payments_are_two_and_never_one_repeated() -> None:
    """Asking again pays again: sequences follow, keys differ."""
    ledger = Ledger()
    faucet = ledger.faucet()
    async with trio.open_nursery() as nursery:
        for account in (ALICE, BOB, ALICE):
            nursery.start_soon(faucet.request, account)
    assert [one.body.sequence for one in ledger.taken] == [0, 1, 2]
    assert len({one.body.idempotency_key for one in ledger.taken}) == 3


@given(st.lists(st.sampled_from(["low", "duplicate", "gap"]), max_size=TRIES_MAX - 1))
def test_a_taken_lane_is_left_for_another(refusals: list[str]) -> None:
    """Another node paid in that lane in the same moment: the asker need not know."""
    codes = {"low": Code.SEQUENCE_LOW, "duplicate": Code.DUPLICATE, "gap": Code.SEQUENCE_GAP}

    async def scenario() -> None:
        ledger, left, lanes = Ledger(), list(refusals), []

        def refuse(transaction: Transaction) -> None:
            lanes.append(transaction.body.lane)
            if left:
                raise Refused(codes[left.pop(0)], "taken")

        ledger.refuse = refuse
        await ledger.faucet((3, 5, 9)).request(ALICE)
        turns = (3, 5, 9) * 3
        assert lanes == list(turns[: len(refusals) + 1])
        assert len(ledger.taken) == 1
        # It stays where it succeeded.
        await ledger.faucet((3, 5, 9)).request(BOB)

    trio.run(scenario)


async def test_it_gives_up_after_some_lanes_and_at_once_for_other_reasons() -> None:
    """A full pool, or an empty faucet, is told to the asker as it is."""
    ledger = Ledger()
    tries = []

    def always(code: Code) -> Callable[[Transaction], None]:
        def refuse(transaction: Transaction) -> None:
            tries.append(transaction.body.lane)
            raise Refused(code, "no")

        return refuse

    ledger.refuse = always(Code.SEQUENCE_LOW)
    with pytest.raises(Refused) as caught:
        await ledger.faucet().request(ALICE)
    assert caught.value.code is Code.SEQUENCE_LOW
    assert len(tries) == TRIES_MAX
    tries.clear()
    ledger.refuse = always(Code.POOL_FULL)
    with pytest.raises(Refused) as caught:
        await ledger.faucet().request(ALICE)
    assert caught.value.code is Code.POOL_FULL
    assert len(tries) == 1


async def test_one_account_is_paid_ten_times_a_minute() -> None:
    """A loop that asks for ever is stopped, told when to come back, and nobody else is."""
    ledger = Ledger()
    faucet = ledger.faucet()
    for _ in range(10):
        await faucet.request(ALICE)
        ledger.now_ms += 1_000
    with pytest.raises(RpcError) as caught:
        await faucet.request(ALICE)
    assert (caught.value.message, caught.value.retryable) == ("rateLimited", True)
    assert caught.value.facts["retryAfterMs"] == 50_000
    await faucet.request(BOB)
    ledger.now_ms += 50_000
    await faucet.request(ALICE)
    with pytest.raises(RpcError):
        await faucet.request(ALICE)


async def test_a_clock_set_back_locks_nobody_out() -> None:
    """Payments noted in what is now the future count no more."""
    ledger = Ledger()
    faucet = ledger.faucet(per_account_per_minute=1)
    await faucet.request(ALICE)
    ledger.now_ms -= 3_600_000
    await faucet.request(ALICE)


async def test_memory_for_askers_is_bounded() -> None:
    """A crowd of accounts made for the purpose fills no memory."""
    ledger = Ledger()
    faucet = ledger.faucet(accounts_remembered=3)
    for number in range(10):
        await faucet.request(bytes([number]) * 32)
    assert len(faucet._paid) == 3
    assert max(one.body.lane for one in ledger.taken) < LANE_COUNT
