"""account_*: what an account is, has, may do next, and took part in."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import NotFound
from clawpurse.ledger.kernel.records import Account as AccountRecord
from clawpurse.ledger.kernel.records import account_key
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.transactions import LANE_COUNT
from clawpurse.modules.kit.web.errors import NOT_FOUND, PRUNED
from clawpurse.modules.kit.web.jsonrpc import Context, Method, Params
from clawpurse.node.rpc import shapes
from clawpurse.node.rpc.event_log import INDEX_MAX
from clawpurse.node.rpc.histories import balances_in, history_page, listed_assets
from clawpurse.node.rpc.past import AtHeight, state_after
from clawpurse.node.rpc.proving import PROVE, PROVE_COST, provable_after, state_bundle
from clawpurse.node.rpc.services import Services
from clawpurse.node.rpc.statement_methods import StatementMethods
from clawpurse.node.rpc.values import Account, Height, Limit, parse_position, position_text
from clawpurse.wallet.state_documents import account_document, balance_rows, balances_document
from clawpurse.wallet.state_proofs import ACCOUNT, BALANCES, keys_of_account, keys_of_balances

HEIGHT_MAX: Final = 2**64 - 1
Json = dict[str, Any]


class AccountParams(Params):
    """Parameters that name an account."""

    account: Account = Field(description="The account, claw1…")


class AccountAtParams(Params):
    """Parameters that name an account, at a height within kept history."""

    account: Account = Field(description="The account, claw1…")
    at_height: AtHeight = None
    prove: bool = Field(False, description=PROVE)


class SequenceParams(Params):
    """Parameters of account_getSequence."""

    account: Account = Field(description="The account, claw1…")
    lane: int = Field(0, ge=0, lt=LANE_COUNT, description="The lane, 0…63")


class HistoryParams(Params):
    """Parameters of account_getTransactions."""

    account: Account = Field(description="The account, claw1…")
    limit: Limit = Field(50, description="At most so many")
    cursor: str | None = Field(None, max_length=48, description="nextCursor of the page before")
    newest_first: bool = Field(True, description="Direction of time")
    from_height: Height | None = Field(None, description="Not before this block")
    to_height: Height | None = Field(None, description="Not after this block")


class AccountMethods:
    """See the module."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def methods(self) -> list[Method]:
        """Return the definitions."""
        return [
            Method(
                "account_get",
                "An account's key, lanes and quota",
                self.get,
                AccountAtParams,
                errors=(NOT_FOUND, PRUNED),
                prove_cost=PROVE_COST,
                prover=self.prove_account,
                result=shapes.Account,
                result_description=(
                    "account key|null multisig depositAuth lanes[{lane nextSequence}] quota "
                    "idempotencyKeys scheduled height"
                ),
            ),
            Method(
                "account_getBalances",
                "What an account has of each asset; all zero for one that is not open",
                self.balances,
                AccountAtParams,
                errors=(NOT_FOUND, PRUNED),
                cost=2,
                prove_cost=PROVE_COST,
                prover=self.prove_balances,
                result=shapes.AccountBalances,
                result_description=(
                    "account balances[{asset amount held decimals}] height, with prove also proof"
                ),
            ),
            Method(
                "account_getSequence",
                "The next sequence to use in a lane, pooled transactions counted",
                self.sequence,
                SequenceParams,
                result=shapes.AccountSequence,
                result_description="account lane sequence finalSequence open",
            ),
            Method(
                "account_getTransactions",
                "The final transactions that touched an account",
                self.transactions,
                HistoryParams,
                errors=(PRUNED,),
                # Each entry may stand in a large block of its own.
                cost=500,
                result=shapes.AccountTransactions,
                result_description="account transactions[] (as tx_get) nextCursor|null",
            ),
            *StatementMethods(self._services).methods(),
        ]

    def get(self, params: AccountAtParams, _context: Context) -> Json:
        """account_get."""
        with state_after(self._services, params.at_height) as (state, height):
            return self._account(account_document(state, params.account, height), params)

    async def prove_account(self, params: AccountAtParams, _context: Context) -> Json:
        """account_get with `prove`."""
        async with provable_after(self._services, params.at_height) as past:
            shown = self._account(account_document(past.state, params.account, past.height), params)
            block = await past.block(keys_of_account(params.account))
        proof = await state_bundle(self._services, ACCOUNT, past.height, [block])
        return {**shown, "proof": proof}

    def _account(self, found: Json | None, params: AccountAtParams) -> Json:
        if found is None:
            raise NotFound(account_text(params.account))
        terms = self._services.chain.params
        found["quota"] |= {"max": terms.quota_cost_max, "windowMs": terms.quota_window_ms}
        return found

    def balances(self, params: AccountAtParams, _context: Context) -> Json:
        """account_getBalances."""
        chain, account = self._services.chain, params.account
        height = chain.height if params.at_height is None else params.at_height
        if height == chain.height:
            found = balances_in(chain.reader, account, newest=True)
        else:
            with state_after(self._services, height) as (state, _):
                found = balances_in(state, account, newest=False)
        return balances_document(account, found, height)

    async def prove_balances(self, params: AccountAtParams, _context: Context) -> Json:
        """account_getBalances with `prove`."""
        services, account = self._services, params.account
        named = listed_assets(services, params.at_height, account)
        async with provable_after(services, params.at_height) as past:
            rows = balance_rows(past.state, account, named)
            names = [row["asset"] for row in rows]
            block = await past.block(keys_of_balances(account, names))
        proof = await state_bundle(services, BALANCES, past.height, [block])
        return {**balances_document(account, rows, past.height), "proof": proof}

    def sequence(self, params: SequenceParams, _context: Context) -> Json:
        """account_getSequence."""
        data = self._services.chain.reader.get(KERNEL, account_key(params.account))
        final = 0 if data is None else AccountRecord.unpack(data).sequence(params.lane)
        pooled = self._services.pool.next_sequence(params.account, params.lane)
        return {
            "account": account_text(params.account),
            "lane": params.lane,
            "sequence": max(final, pooled if pooled is not None else 0),
            "finalSequence": final,
            "open": data is not None,
        }

    async def transactions(self, params: HistoryParams, _context: Context) -> Json:
        """account_getTransactions."""
        last = HEIGHT_MAX if params.to_height is None else params.to_height
        shown, following = await history_page(
            self._services,
            params.account,
            params.limit,
            _first_place(params),
            (params.from_height or 0, last),
            newest_first=params.newest_first,
        )
        return {
            "account": account_text(params.account),
            "transactions": shown,
            "nextCursor": None if following is None else position_text(following),
        }


def _first_place(params: HistoryParams) -> tuple[int, int] | None:
    """Return where a page begins: at its cursor, or at the range's near end."""
    if params.cursor is not None:
        return parse_position(params.cursor)
    if params.newest_first:
        return None if params.to_height is None else (params.to_height, INDEX_MAX)
    return None if params.from_height is None else (params.from_height, 0)
