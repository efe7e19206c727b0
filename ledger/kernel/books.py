"""The books: accounts, balances, holds and supply, and the only code that changes them.

Every change of value is a debit and a credit of the same amount, a mint or a burn. `Audit`
re-derives from the records themselves that each asset's containers changed by exactly what its
supply changed, so a slip in this file stops the block instead of inventing money.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from clawpurse.ledger import codec
from clawpurse.ledger.codec import U64_MAX
from clawpurse.ledger.errors import Bug
from clawpurse.ledger.kernel.entitlements import Entitlements
from clawpurse.ledger.kernel.records import (
    AUTHORITIES_KEY,
    NETWORK_KEY,
    PERMISSIONS_KEY,
    RECORD_VERSION,
    Account,
    Balance,
    Hold,
    Membership,
    Network,
    Role,
    account_key,
    balance_key,
    hold_index_key,
    hold_key,
    holder_key,
    new_account,
    pack_supply,
    role_key,
    supply_key,
    unpack_permissions,
    unpack_supply,
)
from clawpurse.ledger.module_api import KERNEL
from clawpurse.ledger.overlay import Overlay, StateKey
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.ledger.rules import refuse

EMPTY_BALANCE = Balance(0, 0, 0)
_PERMISSIONS: Final = (KERNEL, PERMISSIONS_KEY)
_INDEX_ENTRY: Final = codec.pack([RECORD_VERSION])


class Books:
    """Accounts and value over an overlay. One per block (or per question).

    Accounts and balances are kept decoded while a block executes and encoded once, at its end;
    so who reads the kernel's records as of now reads through `get`, not through the overlay.
    """

    __slots__ = (
        "_accounts",
        "_balances",
        "_loaded",
        "_loaded_balances",
        "_network",
        "_permissions",
        "_permissions_base",
        "_permissions_raw",
        "_raw",
        "_sitting",
        "entitlements",
        "overlay",
    )

    def __init__(self, overlay: Overlay) -> None:
        self.overlay = overlay
        self.entitlements = Entitlements(overlay)
        self._accounts: dict[bytes, Account] = {}
        self._loaded: dict[bytes, Account | None] = {}
        self._balances: dict[tuple[bytes, str], Balance] = {}
        self._loaded_balances: dict[tuple[bytes, str], Balance] = {}
        self._raw: dict[bytes, bytes] = {}
        self._network: Network | None = None
        self._sitting: Membership | None = None
        self._permissions: Mapping[str, str] = {}
        self._permissions_raw: bytes | None = None
        self._permissions_base = overlay.base.get(*_PERMISSIONS)

    # -- reading, as a `StateReader` of this point

    def get(self, tree: str, key: bytes) -> bytes | None:
        """Return any record's bytes as of all changes so far, accounts and balances too."""
        if tree == KERNEL:
            if key[:1] == b"a":
                record = self.account(key[1:])
                return None if record is None else record.pack()
            if key[:1] == b"b":
                return _balance_bytes(self.balance(key[33:].decode("ascii"), key[1:33]))
        return self.overlay.get(tree, key)

    def ordered(
        self, tree: str, prefix: bytes, limit: int, after: bytes = b""
    ) -> list[tuple[bytes, bytes]]:
        """Return the first `limit` entries of an ordered index as of all changes so far."""
        return self.overlay.ordered(tree, prefix, limit, after)

    @property
    def network(self) -> Network:
        """The network whose state this is. Raises `Bug` before genesis."""
        if self._network is None:
            data = self.overlay.get(KERNEL, NETWORK_KEY)
            if data is None:
                raise Bug("this state does not say which network it belongs to")
            self._network = Network.unpack(data)
        return self._network

    @property
    def membership(self) -> Membership:
        """The authorities, now and soon. Raises `Bug` before genesis."""
        data = self.overlay.get(KERNEL, AUTHORITIES_KEY)
        if data is None:
            raise Bug("this state does not say who its authorities are")
        return Membership.unpack(data)

    @property
    def sitting(self) -> Membership:
        """The authorities as of committed state: what this block changes does not judge it.

        A record knows two sets only, so that a change right after another one forgets the set
        of the block that makes it. Raises `Bug` before genesis.
        """
        if self._sitting is None:
            data = self.overlay.base.get(KERNEL, AUTHORITIES_KEY)
            if data is None:
                raise Bug("this state does not say who its authorities are")
            self._sitting = Membership.unpack(data)
        return self._sitting

    @property
    def permissions(self) -> Mapping[str, str]:
        """Which role each guarded action asks for; every action is looked up here."""
        # Every action asks, so committed state is read once, and a change decoded once.
        data = self.overlay.changes.get(_PERMISSIONS, self._permissions_base)
        if data is not self._permissions_raw:
            self._permissions = {} if data is None else unpack_permissions(data)
            self._permissions_raw = data
        return self._permissions

    def role(self, account: bytes, role: str) -> Role | None:
        """Return since when and by whom an account holds a role, None if it does not."""
        data = self.overlay.get(KERNEL, role_key(account, role))
        return None if data is None else Role.unpack(data)

    # -- accounts

    def account(self, account: bytes) -> Account | None:
        """Return an account as of all changes so far, or None."""
        found = self._accounts.get(account)
        if found is not None:
            return found
        if account in self._loaded:
            return self._loaded[account]
        key, loaded = account_key(account), None
        data = self.overlay.base.get(KERNEL, key)
        if data is not None:
            self._raw[key] = data
            loaded = Account.unpack(data)
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
        place = (account, asset)
        found = self._balances.get(place) or self._loaded_balances.get(place)
        if found is not None:
            return found
        key, loaded = balance_key(account, asset), EMPTY_BALANCE
        data = self.overlay.base.get(KERNEL, key)
        if data is not None:
            self._raw[key] = data
            loaded = Balance.unpack(data)
        self._loaded_balances[place] = loaded
        return loaded

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

    def require_asset(self, asset: str) -> None:
        """Raise `Refused` unless there is such an asset; the native one always is."""
        if asset != NATIVE_ASSET and self.overlay.get(KERNEL, supply_key(asset)) is None:
            raise refuse("kernel.asset", asset)

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

    def set_holding_flags(self, asset: str, account: bytes, flags: int) -> None:
        """Replace the flags of a balance in an asset other than the native one."""
        if asset == NATIVE_ASSET:
            raise Bug("balances of the native asset have no flags")
        self._set_balance(asset, account, self.balance(asset, account)._replace(flags=flags))

    # -- value that is set apart

    def find_hold(self, hold_id: bytes) -> Hold | None:
        """Return a hold, None if nothing is left of it."""
        data = self.overlay.get(KERNEL, hold_key(hold_id))
        return None if data is None else Hold.unpack(data)

    def hold(self, hold_id: bytes, hold: Hold) -> None:
        """Set value apart: it stays the source's, and nobody can spend it."""
        self._shift(hold.asset, hold.source, hold.amount)
        self.overlay.put(KERNEL, hold_key(hold_id), hold.pack())
        for account in hold.listed_under:
            self.overlay.put(KERNEL, hold_index_key(account, hold_id), _INDEX_ENTRY)

    def set_hold(self, hold_id: bytes, hold: Hold) -> None:
        """Replace all of a hold's record but its parties; value moves as its amount changes."""
        before = self.find_hold(hold_id)
        if before is None or before[:3] != hold[:3] or not hold.amount:
            raise Bug("a hold is replaced by another one")
        if hold.amount != before.amount:
            self._shift(hold.asset, hold.source, hold.amount - before.amount)
        if hold.officers != before.officers:
            for account in hold.listed_under:
                self.overlay.put(KERNEL, hold_index_key(account, hold_id), _INDEX_ENTRY)
        self.overlay.put(KERNEL, hold_key(hold_id), hold.pack())

    def take(self, hold_id: bytes, amount: int) -> Hold:
        """Give part of a hold, or all, back to its source; returns the record before."""
        hold = self.find_hold(hold_id)
        if hold is None:
            raise refuse("kernel.holdMissing", hold_id)
        if hold.amount < amount:
            raise refuse("kernel.holdLess", hold_id, hold.amount, amount, hold.asset)
        if hold.amount > amount:
            self.set_hold(hold_id, hold._replace(amount=hold.amount - amount))
            return hold
        self.overlay.put(KERNEL, hold_key(hold_id), None)
        for account in hold.listed_under:
            self.overlay.put(KERNEL, hold_index_key(account, hold_id), None)
        self._shift(hold.asset, hold.source, -hold.amount)
        return hold

    def _debit(self, asset: str, account: bytes, amount: int) -> None:
        if asset == NATIVE_ASSET:
            record = self.account(account)
            if record is None:
                raise refuse("kernel.sender", account)
            if record.balance < amount:
                raise refuse("kernel.balance", account, record.balance, amount, asset)
            self.set_account(account, record.with_balance(record.balance - amount))
            return
        balance = self.balance(asset, account)
        if balance.amount < amount:
            raise refuse("kernel.balance", account, balance.amount, amount, asset)
        left = Balance(balance.amount - amount, balance.held, balance.flags)
        self._set_balance(asset, account, left)

    def _credit(self, asset: str, account: bytes, amount: int) -> None:
        record = self.account(account)
        if record is None:
            raise Bug("value would go to an account that was never opened")
        if asset == NATIVE_ASSET:
            if record.balance + amount > U64_MAX:
                raise refuse("kernel.overflow", account, asset)
            self.set_account(account, record.with_balance(record.balance + amount))
            return
        balance = self.balance(asset, account)
        if balance.amount + amount > U64_MAX:
            raise refuse("kernel.overflow", account, asset)
        grown = Balance(balance.amount + amount, balance.held, balance.flags)
        self._set_balance(asset, account, grown)

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
        self.overlay.record(self._balances, (account, asset), balance)

    # -- end of block

    def changed_records(self) -> Iterator[tuple[StateKey, bytes | None, bytes | None]]:
        """Yield (place, bytes before, bytes after) of all that ended otherwise than it began.

        In the order in which they were first changed, which is the same on every node.
        """
        raw = self._raw
        for account, record in self._accounts.items():
            key, packed = account_key(account), record.pack()
            if packed != raw.get(key):
                yield (KERNEL, key), raw.get(key), packed
        for (account, asset), balance in self._balances.items():
            key, after = balance_key(account, asset), _balance_bytes(balance)
            before = raw.get(key)
            if after != before:
                yield (KERNEL, key), before, after
                if after is None or before is None:
                    # Who comes to have some, or to be spoken of, is listed; who is not, no more.
                    was = None if before is None else _INDEX_ENTRY
                    listed = None if after is None else _INDEX_ENTRY
                    yield (KERNEL, holder_key(asset, account)), was, listed
        base = self.overlay.base
        for place, value in self.overlay.changes.items():
            earlier = base.get(*place)
            if value != earlier:
                yield place, earlier, value


def _balance_bytes(balance: Balance) -> bytes | None:
    """Return a balance's record; nothing is kept for one of nothing."""
    return None if balance == EMPTY_BALANCE else balance.pack()


class Audit:
    """Checks that each asset's containers changed by what its supply changed, holds included.

    Works from the bytes of changed records before and after alone, not from what the books
    believe they did. Give it every changed record, then `close`.
    """

    def __init__(self) -> None:
        self._value: dict[str, int] = {}
        self._supply: dict[str, int] = {}
        self._held: dict[str, int] = {}
        self._holds: dict[str, int] = {}

    def add(self, place: StateKey, before: bytes | None, after: bytes | None) -> None:
        """Count one changed record."""
        tree, key = place
        if tree != KERNEL:
            return
        for data, sign in ((before, -1), (after, 1)):
            if data is None:
                continue
            match key[:1]:
                case b"a":
                    record = Account.unpack(data)
                    _count(self._value, NATIVE_ASSET, sign * (record.balance + record.held))
                    _count(self._held, NATIVE_ASSET, sign * record.held)
                case b"b":
                    asset, balance = key[33:].decode("ascii"), Balance.unpack(data)
                    _count(self._value, asset, sign * (balance.amount + balance.held))
                    _count(self._held, asset, sign * balance.held)
                case b"u":
                    _count(self._supply, key[1:].decode("ascii"), sign * unpack_supply(data))
                case b"h":
                    hold = Hold.unpack(data)
                    _count(self._holds, hold.asset, sign * hold.amount)

    def close(self) -> None:
        """Raise `Bug` naming the asset if the books do not balance."""
        for what, ours, whole, theirs in (
            ("balances", self._value, "supply", self._supply),
            ("held amounts", self._held, "holds", self._holds),
        ):
            for asset in sorted({**ours, **theirs}):
                change, other = ours.get(asset, 0), theirs.get(asset, 0)
                if change != other:
                    raise Bug(f"{what} of {asset} changed by {change}, its {whole} by {other}")


def _count(table: dict[str, int], asset: str, change: int) -> None:
    table[asset] = table.get(asset, 0) + change
