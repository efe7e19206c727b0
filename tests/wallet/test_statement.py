"""Statements over a whole node: sums that agree, proofs that hold, a node that leaves out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clawpurse.modules.kit.web.errors import BadAnswer
from clawpurse.wallet.client import NodeClient
from clawpurse.wallet.home import Network
from clawpurse.wallet.statement import Line, Movement, check_sums, height_at, statement_of
from clawpurse.wallet.tables import Number, csv_line
from tests.node.rpc.nodeworld import REGISTRY, NodeWorld, run_world, text_of


class _Edited:
    """The way to a node that changes answers on their way."""

    def __init__(self, client: Any, edit: Callable[[str, Any], Any]) -> None:
        self._client = client
        self._edit = edit

    async def call(self, method: str, *arguments: Any, **more: Any) -> Any:
        return self._edit(method, await self._client.call(method, *arguments, **more))

    async def aclose(self) -> None:
        await self._client.aclose()


def test_a_statement_adds_up_and_is_proven() -> None:
    """A bookkeeper relies on it: nothing left out, nothing invented, from the genesis hash on."""

    async def play(world: NodeWorld) -> None:
        node = await world.node()
        for amount in (100, 250, 75):
            await world.final(node, world.pay(world.alice, amount=amount, target=world.bob.account))
        network = Network("test", ("http://localhost",))

        def client(edit: Callable[[str, Any], Any] = lambda method, answer: answer) -> NodeClient:
            opened: Any = lambda url: _Edited(node.client(), edit)  # noqa: E731
            return NodeClient(network, open_client=opened)

        me, trusted = world.alice.account, world.genesis.hash
        async with client() as honest:
            found = await statement_of(honest, me, (1, None), REGISTRY, proven_by=trusted)
            part = await statement_of(honest, me, (2, node.height), REGISTRY, proven_by=trusted)
            theirs = await statement_of(honest, world.bob.account, (1, None), REGISTRY)
            assert await height_at(honest, world.genesis.time_ms) == 1
        assert found.verdict is not None and found.verdict.valid
        paid = [one for one in found.movements if one.what == "assets.transferred"]
        assert [one.amount for one in paid] == [-100, -250, -75]
        assert {one.counterparty for one in paid} == {text_of(world.bob)}
        assert len(part.movements) < len(found.movements)
        assert sum(one.amount for one in theirs.movements) == 425
        (claw,) = [line for line in found.lines if line.asset == "CLAW"]
        assert claw.opening == 100_000_000

        def forgetful(method: str, answer: Any) -> Any:
            if method == "account_getStatement":
                answer["entries"] = answer["entries"][1:]
            return answer

        def generous(method: str, answer: Any) -> Any:
            if method == "account_getStatement":
                row = answer["balances"][0]
                row["opening"], row["closing"] = (
                    str(int(row[name]) + 5) for name in ("opening", "closing")
                )
            return answer

        for edit, proven_by, said in (
            (forgetful, None, "does not add up"),
            (generous, trusted, "not proven"),
        ):
            async with client(edit) as liar:
                with pytest.raises(BadAnswer, match=said):
                    await statement_of(liar, me, (1, None), REGISTRY, proven_by=proven_by)

    run_world(play)


def test_sums_are_held_against_each_asset() -> None:
    """One asset's surplus must not hide another's loss."""
    line = Line("CLAW", 2, 100, 0, 60, 40)
    check_sums([line], [])
    movement = Movement(1, "", None, "assets.minted", "EUR", 5, None, "")
    with pytest.raises(BadAnswer, match="EUR"):
        check_sums([line], [movement])
    with pytest.raises(BadAnswer, match="CLAW"):
        check_sums([line._replace(closing=61)], [])


def test_a_table_is_data_for_every_spreadsheet() -> None:
    """A stranger's memo would run as a formula in the bookkeeper's office."""
    for evil in ("=1+1", "+1", "-1", "@SUM(A1)", "  =1", "\t=1", "＝1"):
        assert csv_line([evil]).lstrip('"').startswith("'") or "\\t" in csv_line([evil])
    assert csv_line(['say "hi", you', 3, Number("-1.50")]) == '"say ""hi"", you",3,-1.50\r\n'
    assert csv_line(["a\nb\u202ec"]) == "a\\nb\\u202ec\r\n"
