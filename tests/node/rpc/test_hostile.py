"""Hostile calls: each method answers anything with a result or a typed error."""

from __future__ import annotations

import json
import random
from functools import partial
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from clawpurse.ledger import codec
from clawpurse.modules.kit.web.errors import ERROR_KINDS, INTERNAL_ERROR
from clawpurse.modules.kit.web.grants import Grant
from clawpurse.modules.kit.web.jsonrpc import Context, Pending
from clawpurse.node.rpc.server import node_methods
from clawpurse.wallet.keys import SigningKey
from tests.node.rpc.nodeworld import NodeWorld, Running, hexed, run_world, text_of
from tests.node.rpc.stock import ROLES, stocked

AGENT = SigningKey(b"agent".ljust(32, b"."))
CALLS = 6_000
CALLS_FULL = 40_000


class Attacker:
    """Makes parameters: right, nearly right, and nothing like it."""

    def __init__(
        self, world: NodeWorld, node: Running, seed: int, stock: dict[str, list[Any]]
    ) -> None:
        self.chance = random.Random(seed)
        self.methods = {method.name: method for method in node_methods(node.node.services)}
        # Stopping is what it may not do, and a faucet that pays is no error.
        self.names = [name for name in self.methods if name not in ("admin_stop", "faucet_request")]
        paid = world.pay(world.alice, key=b"k")
        self.paid = paid
        accounts = [text_of(world.alice), text_of(world.carol)]
        self.right: dict[str, list[Any]] = {
            "account": accounts,
            "sender": accounts,
            "asset": ["CLAW", "EUR"],
            "tx": [hexed(paid.raw), hexed(world.body(world.alice).pack())],
            "txs": [[hexed(paid.raw)], []],
            "txId": [hexed(paid.tx_id)],
            "idempotencyKey": [hexed(b"k")],
            "height": [1, 2],
            "fromHeight": [0, 1],
            "toHeight": [1, 2],
            "atHeight": [0, 1, 2],
            "from": accounts,
            "to": accounts,
            "amount": ["1", "7"],
            "number": [1],
            "module": ["kernel", "assets"],
            "path": [hexed(b"c")],
            "lane": [0, 63],
            "limit": [1, 500],
        }
        self.right.update(stock)
        self.right["key"] = [hexed(b"a" + world.alice.account), *stock["key"]]
        self.atoms: list[Any] = [
            None, True, False, 0, 1, -1, 2, 63, 64, 499, 500, 501, 2**31, 2**32, 2**63, 2**64 - 1,
            2**64, 10**30, 0.5, -1e308, "", "0", "x", "0x", "0x0", "0xzz", "0x00", "\0", "é" * 50,
            "9" * 64, "1.0", "0.0", "99.99", f"{2**64 - 1}.{2**32 - 1}", "CLAW", "EUR", "X" * 17,
            "kernel", "assets", "accounts", "ids", "full", "none", "accepted", "final", "blocks",
            "transactions", "account", [], {}, [[]], [{}], {"a": 1}, ["0x00"] * 3,
            text_of(world.alice), text_of(world.carol), hexed(paid.raw), hexed(paid.body_bytes),
            hexed(paid.tx_id), hexed(world.genesis.hash), hexed(b"a" + world.alice.account),
            hexed(bytes(65_537)), hexed(b"k"), [hexed(paid.raw)], {"account": text_of(world.bob)},
        ]  # fmt: skip

    def params(self, name: str) -> Any:
        """Parameters for a method: by name or position, some missing, some foreign."""
        fields = {
            field.alias or key: field.is_required()
            for key, field in self.methods[name].params.model_fields.items()
        }
        kind = self.chance.random()
        if kind < 0.1:
            count = self.chance.randrange(len(fields) + 2)
            return [self.value(field) for field in [*fields, "foreign"][:count]]
        if kind < 0.15:
            return self.chance.choice(self.atoms)
        chosen = [
            field
            for field, is_required in fields.items()
            if self.chance.random() < (0.95 if is_required else 0.4)
        ]
        if self.chance.random() < 0.05:
            chosen.append("foreign")
        found = {field: self.value(field) for field in chosen}
        if "timeoutMs" in fields:
            found["timeoutMs"] = 0
        return found

    def value(self, field: str) -> Any:
        """Something for a field: as a rule of the right kind."""
        right = self.right.get(field)
        if right is not None and self.chance.random() < 0.7:
            return self.chance.choice(right)
        if self.chance.random() < 0.2:
            return self.mutated()
        return self.chance.choice(self.atoms)

    def mutated(self) -> str:
        """A transaction or body with some bytes changed, put in or cut off."""
        data = bytearray(self.chance.choice([self.paid.raw, self.paid.body_bytes]))
        for _ in range(self.chance.randrange(1, 4)):
            place = self.chance.randrange(len(data))
            turn = self.chance.randrange(4)
            if turn == 0:
                data[place] = self.chance.randrange(256)
            elif turn == 1:
                del data[place]
            elif turn == 2:
                data.insert(place, self.chance.randrange(256))
            else:
                del data[place:]
            if not data:
                break
        return hexed(bytes(data))


async def ask(node: Running, message: Any, grant: Grant | None = None) -> Any:
    """Hand a message to the dispatcher as the HTTP port does; returns the parsed answer."""
    dispatcher = node.node.ports.rpc._application._dispatcher  # type: ignore[attr-defined]
    answer = dispatcher.answer(json.dumps(message).encode(), Context("attacker", "attacker", grant))
    if isinstance(answer, Pending):
        with trio.fail_after(120):
            answer = await answer.run()
    return None if answer is None else json.loads(bytes(answer))


async def attack(world: NodeWorld, calls: int, seed: int) -> None:
    node = await world.node()
    await world.final(node, world.pay(world.bob))
    attacker = Attacker(world, node, seed, await stocked(world, node, AGENT))
    await world.final(node, attacker.paid)
    asked: dict[str, int] = {}
    for number in range(calls):
        name = attacker.chance.choice(attacker.names)
        message = {"jsonrpc": "2.0", "id": number, "method": name, "params": attacker.params(name)}
        answer = await ask(node, message)
        if "error" in answer:
            error = answer["error"]
            assert error["code"] in ERROR_KINDS, (message, answer)
            assert error["code"] != INTERNAL_ERROR, (message, answer)
            data = error["data"]
            assert {"reason", "class", "retryable", "hint"} <= data.keys(), (message, answer)
        asked[name] = asked.get(name, 0) + ("result" in answer)
        if number % 250 == 0:
            (outcome,) = await world.final(node, world.pay(world.bob))
            assert outcome["receipt"]["code"] == "ok"
    assert "incident" not in node.node.ports.refusals.counts
    # These are for operators: a stranger is refused before anything of his is looked at.
    closed = ("admin_", "webhook_")
    tried = {name: results for name, results in asked.items() if not name.startswith(closed)}
    never = {name for name, results in tried.items() if not results} - {
        # This network's only authority proposes nothing.
        "sub_subscribe", "sub_unsubscribe", "governance_getProposal",
    }  # fmt: skip
    assert not never, f"no call of {never} succeeded, so nothing of it was tried"


def test_no_call_breaks_a_node() -> None:
    """One curious client, a fault in one handler: nobody else may notice, and nothing leaks."""
    run_world(partial(attack, calls=CALLS, seed=7), quota_cost_max=10**12, roles=ROLES)


@pytest.mark.full
def test_no_call_of_very_many_breaks_a_node() -> None:
    """The same at length."""
    for seed in range(4):
        run_world(partial(attack, calls=CALLS_FULL // 4, seed=seed), roles=ROLES)


@settings(max_examples=20)
@given(
    fields=st.lists(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-(2**63), 2**64 - 1),
            st.binary(max_size=40),
            st.text(max_size=10),
            st.lists(st.integers(0, 9), max_size=3),
        ),
        max_size=16,
    )
)
def test_any_array_as_a_transaction_is_malformed_and_nothing_worse(fields: list[Any]) -> None:
    """Canonical bytes of the wrong meaning reach every check behind the decoder."""

    async def scenario(world: NodeWorld) -> None:
        node = await world.node()
        body = world.body(world.alice)
        packed = codec.unpack_own(body.pack())
        for index, value in enumerate(fields[:14]):
            packed[index] = value
            tx = hexed(codec.pack([codec.pack(packed), []]))
            for method in ("tx_submit", "tx_simulate", "tx_decode"):
                message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"tx": tx}}
                answer = await ask(node, message)
                if "error" in answer:
                    assert answer["error"]["code"] != INTERNAL_ERROR, (packed, answer)
        for data in (codec.pack(fields), codec.pack([codec.pack(fields), fields])):
            for method in ("tx_submit", "tx_simulate", "tx_decode"):
                message = {
                    "jsonrpc": "2.0",
                    "id": 1,
                    "method": method,
                    "params": {"tx": hexed(data)},
                }
                answer = await ask(node, message)
                if "error" in answer:
                    assert answer["error"]["code"] != INTERNAL_ERROR, (data, answer)

    run_world(scenario)
