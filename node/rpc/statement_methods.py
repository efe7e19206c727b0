"""account_getStatement: what an account had, what happened, and what it has after that."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from clawpurse.ledger.errors import Malformed, NotFound
from clawpurse.modules.kit.web.errors import NOT_FOUND, PRUNED
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.node.rpc import shapes
from clawpurse.node.rpc.histories import balances_in, history_page
from clawpurse.node.rpc.past import state_after
from clawpurse.node.rpc.proving import PROVE, PROVE_COST, provable_after, state_bundle
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.values import Account, Height, Limit, parse_position, position_text
from clawpurse.wallet.state_documents import statement_document
from clawpurse.wallet.state_proofs import STATEMENT, keys_of_balances

Json = dict[str, Any]
# There is nothing before block 0 to open with.
FirstHeight = Annotated[int, Field(ge=1, le=2**64 - 1)]


class StatementParams(Params):
    """Parameters of account_getStatement."""

    account: Account = Field(description="The account, claw1…")
    from_height: FirstHeight = Field(description="First block of the statement, 1…")
    to_height: Height | None = Field(None, description="Last block; the newest if left out")
    limit: Limit = Field(50, description="At most so many entries")
    cursor: str | None = Field(None, max_length=48, description="nextCursor of the page before")
    prove: bool = Field(False, description=f"{PROVE}: of the balances, not of the entries")


class StatementMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "account_getStatement",
                "Balances before and after a range of blocks, and what stood between them",
                self.statement,
                StatementParams,
                errors=(NOT_FOUND, PRUNED),
                cost=500,
                prove_cost=2 * PROVE_COST,
                result=shapes.AccountStatement,
                result_description=(
                    "account fromHeight toHeight balances[{asset decimals opening openingHeld "
                    "closing closingHeld}] entries[] (as tx_get) nextCursor|null, with prove "
                    "also proof"
                ),
                description=(
                    "Entries are oldest first. Every page has the same range, so pass toHeight "
                    "with a cursor. What a due event moved without a transaction is in the "
                    "balances and in chain_findEvents. With prove the balances at both ends "
                    "are proven; tx_getReceipt with prove proves an entry."
                ),
            )
        ]

    async def statement(self, params: StatementParams, _context: Context) -> Json:
        """account_getStatement."""
        newest = self._services.chain.height
        last = newest if params.to_height is None else params.to_height
        if last > newest:
            raise NotFound(f"block {last}")
        if params.from_height > last:
            raise Malformed("fromHeight", f"is {params.from_height}, after {last}")
        start = (params.from_height, 0) if params.cursor is None else parse_position(params.cursor)
        if not params.from_height <= start[0] <= last:
            raise Malformed("cursor", "is of another range of blocks")
        heights = (params.from_height, last)
        if params.prove:
            shown = await self._proven(params.account, heights)
        else:
            opening, closing = (
                self._balances(at, params.account) for at in (params.from_height - 1, last)
            )
            shown = statement_document(params.account, heights, opening, closing)
        entries, following = await history_page(
            self._services, params.account, params.limit, start, heights
        )
        return {
            **shown,
            "entries": entries,
            "nextCursor": None if following is None else position_text(following),
        }

    def _balances(self, height: int, account: bytes) -> list[Json]:
        with state_after(self._services, height) as (state, at):
            return balances_in(state, account, newest=at == self._services.chain.height)

    async def _proven(self, account: bytes, heights: tuple[int, int]) -> Json:
        """Return a statement's balances with their proof. The opening ones may be genesis's own."""
        services, (first, last) = self._services, heights
        before = first - 1
        opened, closed = self._balances(before, account), self._balances(last, account)
        named = {row["asset"]: None for row in [*opened, *closed]}
        keys = keys_of_balances(account, list(named))
        blocks = []
        for height in (before, last) if before else (last,):
            async with provable_after(services, height) as past:
                blocks.append(await past.block(keys))
        proof = await state_bundle(services, STATEMENT, last, blocks)
        return {**statement_document(account, heights, opened, closed), "proof": proof}
