"""A ledger in a dictionary: a real genesis, real signatures, blocks that are applied at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clawpurse.ledger import crypto
from clawpurse.ledger.codec import Wire
from clawpurse.ledger.errors import Refused
from clawpurse.ledger.genesis import Genesis, GenesisAccount, GenesisAsset
from clawpurse.ledger.kernel.books import Books
from clawpurse.ledger.kernel.records import Account, Balance
from clawpurse.ledger.kernel.scene import BlockEnv
from clawpurse.ledger.module_api import Module, Registry
from clawpurse.ledger.overlay import Overlay, StateKey
from clawpurse.ledger.params import NATIVE_ASSET, Params
from clawpurse.ledger.transactions import (
    Body,
    RawAction,
    Role,
    WitnessEntry,
    encode_transaction,
    sign_entry,
)
from clawpurse.ledger.transition import Execution, ExecutionResult, genesis_changes, prepare
from clawpurse.modules.accounts import chain as accounts
from clawpurse.modules.assets import chain as assets

START_MS = 1_800_000_000_000
MINUTE_MS = 60_000


class Key:
    """A seed, its public key, and the account of the same name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.seed = crypto.message_hash_of(name.encode())
        self.public = crypto.public_key_of(self.seed)
        self.account = self.public

    def __repr__(self) -> str:
        return self.name


ALICE, BOB, CAROL, DAVE = Key("alice"), Key("bob"), Key("carol"), Key("dave")
# Has no account from the start.
ERIN, FRANK = Key("erin"), Key("frank")
AUTHORITY = Key("authority")
OPENING = {
    ALICE: {"CLAW": 1_000_000, "EUR": 50_000},
    BOB: {"CLAW": 1_000},
    CAROL: {"EUR": 7},
    DAVE: {},
}


class DictState:
    """Committed state as a dictionary; a `StateReader`."""

    def __init__(self, records: Mapping[StateKey, bytes | None]) -> None:
        self.records = {place: value for place, value in records.items() if value is not None}

    def get(self, tree: str, key: bytes) -> bytes | None:
        return self.records.get((tree, key))

    def ordered(
        self, tree: str, prefix: bytes, limit: int, after: bytes = b""
    ) -> list[tuple[bytes, bytes]]:
        found = [(k, v) for (t, k), v in self.records.items() if t == tree and k.startswith(prefix)]
        return sorted(row for row in found if row[0] > after)[:limit]

    def apply(self, changes: Mapping[StateKey, bytes | None]) -> None:
        for place, value in changes.items():
            if value is None:
                del self.records[place]
            else:
                assert value, "an empty value has no place in the tree"
                self.records[place] = value


def registry_with(*modules: Module) -> Registry:
    """The real modules, and some of a test's own behind them."""
    return Registry((accounts.MODULE, assets.MODULE, *modules))


def make_genesis(
    registry: Registry,
    params: Mapping[str, int] | None = None,
    opening: Mapping[Key, Mapping[str, int]] | None = None,
    **fields: Any,
) -> Genesis:
    """A genesis with two assets, one authority and the opening balances."""
    opening = OPENING if opening is None else opening
    values: dict[str, Any] = {
        "chain_id": "sandbox-1",
        "time_ms": START_MS,
        "authorities": (AUTHORITY.public,),
        "params": Params().with_values(dict(params or {})),
        "assets": (GenesisAsset("CLAW", 6, "Claw"), GenesisAsset("EUR", 2, "Euro")),
        "accounts": tuple(
            sorted(
                GenesisAccount(key.account, tuple(sorted(balances.items())))
                for key, balances in opening.items()
            )
        ),
        "modules": tuple((module.name, module.version) for module in registry.modules),
        "test_network": True,
    }
    return Genesis(**{**values, **fields})


def transfer(to: Key | bytes, amount: int, asset: str = "CLAW") -> RawAction:
    return RawAction(
        "assets.transfer", [asset, to if isinstance(to, bytes) else to.account, amount]
    )


def open_account(key: Key) -> RawAction:
    return RawAction("accounts.open", [key.account])


def change_key(key: Key) -> RawAction:
    return RawAction("accounts.changeKey", [key.public])


class Sandbox:
    """One chain. `block` executes transactions at the next height and keeps what they did."""

    def __init__(
        self,
        *modules: Module,
        params: Mapping[str, int] | None = None,
        opening: Mapping[Key, Mapping[str, int]] | None = None,
        **genesis: Any,
    ) -> None:
        self.registry = registry_with(*modules)
        self.genesis = make_genesis(self.registry, params, opening, **genesis)
        self.params = self.genesis.params
        self.state = DictState(genesis_changes(self.genesis, self.registry))
        self.height = 0
        self.time_ms = START_MS

    # -- reading

    @property
    def books(self) -> Books:
        return Books(Overlay(self.state))

    def account(self, key: Key | bytes) -> Account:
        found = self.books.account(key if isinstance(key, bytes) else key.account)
        assert found is not None
        return found

    def balance(self, key: Key | bytes, asset: str = NATIVE_ASSET) -> int:
        return self.held(key, asset).amount

    def held(self, key: Key | bytes, asset: str = NATIVE_ASSET) -> Balance:
        return self.books.balance(asset, key if isinstance(key, bytes) else key.account)

    def sequence(self, key: Key, lane: int = 0) -> int:
        found = self.books.account(key.account)
        return 0 if found is None else found.sequence(lane)

    # -- writing

    def body(self, key: Key, *actions: RawAction, **fields: Any) -> Body:
        """A body that this chain takes now, but for what `fields` say otherwise."""
        lane = fields.get("lane", 0)
        body = Body(
            self.genesis.chain_id,
            self.genesis.hash,
            key.account,
            lane,
            self.sequence(key, lane),
            0,
            self.time_ms + MINUTE_MS,
            None,
            self.params.fee_min,
            None,
            actions or (transfer(BOB, 1),),
        )
        return body._replace(**fields)

    def tx(
        self,
        key: Key,
        *actions: RawAction,
        payer: Key | None = None,
        approvers: Sequence[tuple[Key, bytes]] = (),
        signer: Key | None = None,
        **fields: Any,
    ) -> bytes:
        """A signed transaction; `approvers` are (key, account it approves for)."""
        if payer is not None:
            fields["payer"] = payer.account
        body = self.body(key, *actions, **fields)
        data = body.pack()
        entries = [sign((signer or key).seed, body, Role.SENDER, key.account, data)]
        if payer is not None:
            entries.append(sign(payer.seed, body, Role.PAYER, payer.account, data))
        entries += [sign(by.seed, body, Role.APPROVER, account, data) for by, account in approvers]
        return encode_transaction(data, entries)

    def execution(self, after_ms: int = 1_000) -> Execution:
        """Execution of the next block, begun."""
        env = BlockEnv(self.height + 1, self.time_ms + after_ms, self.params)
        execution = Execution(self.state, self.registry, env)
        execution.begin()
        return execution

    def block(self, *raws: bytes, after_ms: int = 1_000) -> ExecutionResult:
        """Execute a block of these and keep it. Raises what a transaction is refused with."""
        execution = self.execution(after_ms)
        for raw in raws:
            prepared = prepare(raw, self.registry)
            for public_key, message, signature in prepared.transaction.signatures:
                assert crypto.verify(public_key, message, signature)
            execution.apply(prepared)
        result = execution.finish()
        self.state.apply(result.changes)
        self.height += 1
        self.time_ms += after_ms
        return result

    def pay(self, key: Key, *actions: RawAction, **fields: Any) -> ExecutionResult:
        """A block with one transaction."""
        return self.block(self.tx(key, *actions, **fields))

    def refusal(self, raw: bytes, after_ms: int = 1_000) -> Refused:
        """Why the next block may not hold a transaction; asserts that nothing changed by it."""
        execution = self.execution(after_ms)
        before = execution.cost_used, execution.count
        try:
            execution.apply(prepare(raw, self.registry))
        except Refused as err:
            assert (execution.cost_used, execution.count) == before
            untouched = self.execution(after_ms).finish()
            assert execution.finish() == untouched
            return err
        raise AssertionError("the transaction was taken")


def sign(
    seed: bytes, body: Body, role: Role, account: bytes, data: bytes | None = None
) -> WitnessEntry:
    return sign_entry(seed, body.genesis_hash, role, account, data or body.pack())


def facts(error: Refused) -> tuple[Wire, ...]:
    return error.wire_facts
