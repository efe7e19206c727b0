"""The books: accounts, balances, holds and supply, and the only code that changes them.

Every change of value is a debit and a credit of the same amount, a mint or a burn. `audit`
re-derives from the records themselves that each asset's containers changed by exactly what its
supply changed, so a slip in this file stops the block instead of inventing money.
"""

from __future__ import annotations

from clawpurse.ledger.codec import U64_MAX
from clawpurse.ledger.errors import Bug
from clawpurse.ledger.kernel.records import (
    Account,
    Balance,
    Hold,
    account_key,
    balance_key,
    hold_key,
    new_account,
    pack_supply,
    supply_key,
    unpack_supply,
)
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.overlay import Overlay, StateKey, StateReader
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.rules import refuse

EMPTY_BALANCE = Balance(0, 0, 0)


class Books:
    """Accounts and value over an overlay. One per block (or per question).

    Account records are kept decoded while a block executes and encoded once, in `changes`.
    """

    __slots__ = ("_accounts", "_loaded", "overlay")

    def __init__(self, overlay: Overlay) -> None:
        self.overlay = overlay
        self._accounts: dict[bytes, Account] = {}
        self._loaded: dict[bytes, Account | None] = {}

    # -- accounts

    def account(self, account: bytes) -> Account | None:
        """Return an account as of all changes so far, or None."""
        found = self._accounts.get(account)
        if found is not None:
            return found
        if account in self._loaded:
            return self._loaded[account]
        data = self.overlay.base.get(KERNEL, account_key(account))
        loaded = None if data is None else Account.unpack(data)
        self._loaded[account] = loaded
        return loaded

    def set_account(self, account: bytes, record: Account) -> None:
        """Replace an account's record."""
        self.overlay.record(self._accounts, account, record)

    def open_account(self, account: bytes, key: bytes | None) -> Account:
        """Create an account. Raises `Refused` if it exists: accounts are never replaced."""
        if self.account(account) is not None:
            raise refuse("kernel.accountExists", account)
        record = new_account(key)
        self.set_account(account, record)
        return record

    # -- value

    def balance(self, asset: str, account: bytes) -> Balance:
        """Return what an account has of an asset."""
        if asset == NATIVE_ASSET:
            record = self.account(account)
            return EMPTY_BALANCE if record is None else Balance(record.balance, record.held, 0)
        data = self.overlay.get(KERNEL, balance_key(account, asset))
        return EMPTY_BALANCE if data is None else Balance.unpack(data)

    def move(self, asset: str, source: bytes, target: bytes, amount: int) -> None:
        """Debit and credit. Both accounts exist; hooks were asked by the caller."""
        self._debit(asset, source, amount)
        self._credit(asset, target, amount)

    def mint(self, asset: str, target: bytes, amount: int) -> None:
        """Create value at an account that exists; supply rises with it."""
        supply = self.supply(asset)
        if supply + amount > U64_MAX:
            raise refuse("kernel.overflow", target, asset)
        self._credit(asset, target, amount)
        self.overlay.put(KERNEL, supply_key(asset), pack_supply(supply + amount))

    def burn(self, asset: str, source: bytes, amount: int) -> None:
        """Destroy value; supply falls with it."""
        supply = self.supply(asset)
        self._debit(asset, source, amount)
        self.overlay.put(KERNEL, supply_key(asset), pack_supply(supply - amount))

    def supply(self, asset: str) -> int:
        """Return an asset's supply in minor units. Raises `Refused` for an unknown asset."""
        data = self.overlay.get(KERNEL, supply_key(asset))
        if data is None:
            raise refuse("kernel.asset", asset)
        return unpack_supply(data)

    def create_asset(self, asset: str) -> None:
        """Give an asset a supply of nothing. Raises `Bug` if it has one already."""
        if self.overlay.get(KERNEL, supply_key(asset)) is not None:
            raise Bug(f"asset {asset} is created twice")
        self.overlay.put(KERNEL, supply_key(asset), pack_supply(0))

    def hold(self, hold_id: bytes, hold: Hold) -> None:
        """Set value apart: it stays the source's, and nobody can spend it."""
        self._shift(hold.asset, hold.source, hold.amount)
        self.overlay.put(KERNEL, hold_key(hold_id), hold.pack())

    def end_hold(self, hold_id: bytes, *, release: bool) -> Hold:
        """Release held value to its target, or return it to its source."""
        data = self.overlay.get(KERNEL, hold_key(hold_id))
        if data is None:
            raise refuse("kernel.holdMissing", hold_id)
        hold = Hold.unpack(data)
        self.overlay.put(KERNEL, hold_key(hold_id), None)
        self._shift(hold.asset, hold.source, -hold.amount)
        if release:
            self.move(hold.asset, hold.source, hold.target, hold.amount)
        return hold

    def _debit(self, asset: str, account: bytes, amount: int) -> None:
        if asset == NATIVE_ASSET:
            record = self.account(account)
            if record is None:
                raise refuse("kernel.sender", account)
            if record.balance < amount:
                raise refuse("kernel.balance", account, record.balance, amount, asset)
            self.set_account(account, _with_balance(record, record.balance - amount))
            return
        balance = self.balance(asset, account)
        if balance.amount < amount:
            raise refuse("kernel.balance", account, balance.amount, amount, asset)
        self._set_balance(asset, account, balance._replace(amount=balance.amount - amount))

    def _credit(self, asset: str, account: bytes, amount: int) -> None:
        record = self.account(account)
        if record is None:
            raise Bug("value would go to an account that was never opened")
        if asset == NATIVE_ASSET:
            if record.balance + amount > U64_MAX:
                raise refuse("kernel.overflow", account, asset)
            self.set_account(account, _with_balance(record, record.balance + amount))
            return
        balance = self.balance(asset, account)
        if balance.amount + amount > U64_MAX:
            raise refuse("kernel.overflow", account, asset)
        self._set_balance(asset, account, balance._replace(amount=balance.amount + amount))

    def _shift(self, asset: str, account: bytes, amount: int) -> None:
        """Move an amount from available to held (negative: back)."""
        balance = self.balance(asset, account)
        if balance.amount < amount:
            raise refuse("kernel.balance", account, balance.amount, amount, asset)
        if balance.held + amount < 0:
            raise Bug("more is returned from holds than was held")
        if asset == NATIVE_ASSET:
            record = self.account(account)
            if record is None:
                raise Bug("a hold's source is not an account")
            self.set_account(
                account,
                record._replace(balance=record.balance - amount, held=record.held + amount),
            )
            return
        changed = balance._replace(amount=balance.amount - amount, held=balance.held + amount)
        self._set_balance(asset, account, changed)

    def _set_balance(self, asset: str, account: bytes, balance: Balance) -> None:
        empty = balance == EMPTY_BALANCE
        self.overlay.put(KERNEL, balance_key(account, asset), None if empty else balance.pack())

    # -- end of block

    def changes(self) -> dict[StateKey, bytes | None]:
        """Return all changed records as bytes; those that ended as they began are left out."""
        changed: dict[StateKey, bytes | None] = {
            (KERNEL, account_key(account)): record.pack()
            for account, record in self._accounts.items()
            if record != self._loaded.get(account)
        }
        base = self.overlay.base
        for place, value in self.overlay.changes.items():
            if base.get(*place) != value:
                changed[place] = value
        return changed


def _with_balance(record: Account, balance: int) -> Account:
    return Account(
        record.key,
        balance,
        record.held,
        record.lanes,
        record.quota_window,
        record.quota_used,
        record.idempotency_count,
        record.due_count,
        record.flags,
        record.policy,
    )


def audit(base: StateReader, changes: dict[StateKey, bytes | None]) -> None:
    """Check that each asset's containers changed by what its supply changed.

    Works from the records before and after alone, not from what the books believe they did.
    Raises `Bug` naming the asset.
    """
    containers: dict[str, int] = {}
    supplies: dict[str, int] = {}
    for (tree, key), after in changes.items():
        if tree != KERNEL:
            continue
        kind = key[:1]
        if kind == b"a":
            asset, amount_of, table = NATIVE_ASSET, _native_amount, containers
        elif kind == b"b":
            asset, amount_of, table = key[33:].decode("ascii"), _balance_amount, containers
        elif kind == b"u":
            asset, amount_of, table = key[1:].decode("ascii"), unpack_supply, supplies
        else:
            continue
        before = base.get(tree, key)
        change = (amount_of(after) if after else 0) - (amount_of(before) if before else 0)
        table[asset] = table.get(asset, 0) + change
    for asset in sorted({**containers, **supplies}):
        if containers.get(asset, 0) != supplies.get(asset, 0):
            raise Bug(
                f"balances of {asset} changed by {containers.get(asset, 0)}, "
                f"its supply by {supplies.get(asset, 0)}"
            )


def _native_amount(data: bytes) -> int:
    record = Account.unpack(data)
    return record.balance + record.held


def _balance_amount(data: bytes) -> int:
    record = Balance.unpack(data)
    return record.amount + record.held
