"""The whole ledger as a clerk would keep it: plain dictionaries, one rule after the other.

Written from docs/protocol.md, docs/reference/ledger.md and the pages in docs/modules, not from the
modules. Each deed returns every reason that speaks against it; the ledger may name any of them,
and must name one if there is one. If there is none, it must do exactly what is done here.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from tests.ledger.model.world import ADMIN, DEPOSIT, FEE, ISSUER, OFFICERS, OPENING
from tests.ledger.sandbox import START_MS, Key

DAY_MS = 86_400_000
SUSPENDED_MS = 30 * DAY_MS
HELD_MS = 3_600_000
LARGE = 400
LIMITED, FULL = 1, 2
REQUIRED, FREEZABLE, CLAWBACK, TRANSFERABLE, IMMUTABLE, RESERVE = 1, 2, 4, 8, 16, 32
FROZEN, DEEP = 1, 2
Reasons = set[str]


@dataclass
class Asset:
    """What is settled of an asset, and whether all of it is frozen."""

    issuer: Key | None
    authorised_only: bool = False
    controlled: bool = False
    cap: int | None = None
    frozen: bool = False
    #: As the ledger adds them up; of those whose flags change.
    flags: int = 0
    text: str = ""
    issued: bool = False
    #: What is said to back it, as of when, valid until when.
    reserve: tuple[int, int, int] | None = None


@dataclass
class Promise:
    """Value on its way: still its payer's."""

    kind: str
    asset: str
    payer: Key
    payee: Key
    left: int
    end_ms: int
    paid_at_end: bool
    finish_ms: int = 0
    arbiter: Key | None = None
    #: The secret that has it paid.
    secret: bytes | None = None
    capture: bool = False
    deciders: tuple[Key, ...] = ()
    needed: int = 0
    #: Since when it is set apart, and whether a policy held it whole.
    since_ms: int = 0
    held: bool = False
    votes: dict[Key, int] = field(default_factory=dict)
    refused: bool = False
    # Of a channel: what vouchers had paid, what one promised that a freeze stopped, its challenge.
    paid: int = 0
    stopped: int = 0
    challenge_ms: int = 0
    final_ms: int = 0
    #: How many blocks its challenge lasts, until which height, and when the queue looks again.
    blocks: int = 1
    final_height: int = 0
    look_ms: int = 0


@dataclass
class Batch:
    """Payments that are proposed: all of them or none."""

    asset: str
    payer: Key
    legs: tuple[tuple[Key, int], ...]
    needed: int
    approvers: tuple[Key, ...]
    end_ms: int
    said: dict[Key, bool] = field(default_factory=dict)


class Books:
    """Who has what and may do what with it; `now_ms` is the time of the block that is open."""

    def __init__(self) -> None:
        self.now_ms, self.height = START_MS, 0
        self.money: defaultdict[tuple[Key, str], int] = defaultdict(int)
        self.people: set[Key] = set(OPENING)
        for key, balances in OPENING.items():
            for asset, amount in balances.items():
                self.money[key, asset] = amount
        self.supply = defaultdict(int, CLAW=sum(one["CLAW"] for one in OPENING.values()))
        self.fees = 0
        self.assets = {"CLAW": Asset(None), "EUR": Asset(None)}
        self.freezes: defaultdict[tuple[Key, str], int] = defaultdict(int)
        self.levels: defaultdict[tuple[Key, str], int] = defaultdict(int)
        self.closed: set[Key] = set()
        self.payers: set[tuple[Key, Key]] = set()
        self.roles: defaultdict[str, set[Key]] = defaultdict(
            set, compliance=set(OFFICERS), admin={ADMIN}, issuer={ISSUER}
        )
        #: Actions that ask for a role.
        self.permissions: dict[str, str] = {}
        self.promises: dict[bytes, Promise] = {}
        self.batches: dict[bytes, Batch] = {}
        #: Who stands behind accounts, where somebody said so.
        self.persons: dict[Key, bytes] = {}

    # -- what everything rests on

    @property
    def officers(self) -> set[Key]:
        return self.roles["compliance"]

    def locked(self, who: Key, action: str) -> Reasons:
        """Why somebody may not perform an action at all."""
        role = self.permissions.get(action)
        return set() if role is None or who in self.roles[role] else {"kernel.role"}

    def person(self, who: Key) -> object:
        """Who stands behind an account: a person with several, or the account itself."""
        return self.persons.get(who, who)

    def people_of(self, *keys: Key | None) -> set[object]:
        return {self.person(key) for key in keys if key is not None}

    def held(self, who: Key, asset: str) -> int:
        mine = [one for one in self.promises.values() if (one.payer, one.asset) == (who, asset)]
        return sum(one.left for one in mine)

    def may_move(self, asset: str, source: Key, target: Key, *, release: bool = False) -> Reasons:
        """What freezes, authorisation and payees say; for payouts of what waited, no more."""
        terms, found = self.assets[asset], Reasons()
        issuer = terms.issuer
        if issuer is not None and terms.frozen and issuer not in (source, target):
            found.add("assets.allFrozen")
        if DEEP in (self.freezes[source, asset], self.freezes[target, asset]):
            found.add("assets.deepFrozen")
        if self.freezes[source, asset] == FROZEN and target != issuer:
            found.add("assets.frozen")
        if terms.authorised_only:
            for who, limited_ok in ((source, target == issuer), (target, False)):
                if who == issuer:
                    continue
                if self.levels[who, asset] == 0:
                    found.add("assets.notAuthorised")
                elif self.levels[who, asset] == LIMITED and not (limited_ok or release):
                    found.add("assets.limited")
        closed = target in self.closed and source != target
        if closed and not release and (target, source) not in self.payers:
            found.add("accounts.depositAuth")
        return found

    def may_get(self, asset: str, target: Key) -> Reasons:
        """What a holder's own state says of what a clawback gives it."""
        terms = self.assets[asset]
        found = {"assets.deepFrozen"} if self.freezes[target, asset] == DEEP else Reasons()
        if terms.authorised_only and target != terms.issuer:
            level = self.levels[target, asset]
            found |= {0: {"assets.notAuthorised"}, LIMITED: {"assets.limited"}}.get(level, set())
        return found

    def policy(self, asset: str, source: Key, target: Key, amount: int) -> str:
        """What policies say of a payment: deny, hold or allow."""
        raise NotImplementedError

    def count(self, asset: str, source: Key, target: Key, amount: int) -> None:
        """Note that somebody paid or promised something, for rules on sums and counterparties."""

    def may_pay(
        self, asset: str, source: Key, target: Key, amount: int, *, whole: bool, opener: Key
    ) -> Reasons:
        """Reasons against a payment, or against setting value apart for one."""
        if asset not in self.assets:
            return {"kernel.asset"}
        found = self.may_move(asset, source, target)
        if amount < 1:
            found.add("kernel.amount")
        if self.money[source, asset] < amount:
            found.add("kernel.balance")
        if target not in self.people:
            needs = DEPOSIT + (amount if (asset, opener) == ("CLAW", source) else 0)
            if self.money[opener, "CLAW"] < needs:
                found.add("kernel.balance")
        match self.policy(asset, source, target, amount):
            case "deny":
                found |= {"compliance.denied", "compliance.approvals"}
            case "hold" if not whole:
                found.add("kernel.hold")
        return found

    def opened(self, who: Key, opener: Key) -> None:
        if who not in self.people:
            self.people.add(who)
            self.money[opener, "CLAW"] -= DEPOSIT
            self.fees += DEPOSIT

    def move(self, asset: str, source: Key, target: Key, amount: int) -> None:
        self.count(asset, source, target, amount)
        self.money[source, asset] -= amount
        self.money[target, asset] += amount

    def mark(self) -> list[Any]:
        """What payments change, to go back to by `restore`."""
        return [dict(self.money), set(self.people), self.fees, *self.marked()]

    def marked(self) -> list[Any]:
        return []

    def restore(self, mark: list[Any]) -> None:
        self.money.clear()
        self.money.update(mark[0])
        self.people, self.fees = mark[1], mark[2]

    def pays_fee(self, who: Key) -> bool:
        """Take the fee, if there is one to take."""
        if who not in self.people or self.money[who, "CLAW"] < FEE:
            return False
        self.money[who, "CLAW"] -= FEE
        self.fees += FEE
        return True

    # -- deeds of assets

    def duty(self, who: Key, asset: str, duty: str = "") -> Reasons:
        """Its issuer acts on an asset, and whom it appointed to that."""
        if asset not in self.assets:
            return {"kernel.asset"}
        issuer = self.assets[asset].issuer
        if issuer is None:
            return {"assets.noIssuer", "assets.issuerOnly", "kernel.role", "assets.lacksFlag"}
        if who == issuer or who in self.roles[f"{asset.lower()}.{duty}"]:
            return set()
        return {"kernel.role", "assets.issuerOnly"}

    def over_holder(self, who: Key, asset: str, holder: Key, duty: str) -> Reasons:
        found = self.duty(who, asset, duty)
        if asset in self.assets and holder == self.assets[asset].issuer:
            found.add("assets.issuerHolder")
        if holder not in self.people:
            found.add("kernel.sender")
        return found

    def mint(self, who: Key, asset: str, target: Key, amount: int) -> Reasons:
        found = self.duty(who, asset, "mint")
        if found:
            return found
        terms = self.assets[asset]
        issuer, supply = terms.issuer, self.supply[asset] + amount
        assert issuer is not None
        if issuer not in self.roles["issuer"]:
            found.add("kernel.role")
        if terms.cap is not None and supply > terms.cap:
            found.add("assets.cap")
        if terms.flags & RESERVE:
            if terms.reserve is None or terms.reserve[2] < self.now_ms:
                found.add("assets.reserveMissing")
            elif supply > terms.reserve[0]:
                found.add("assets.reserveShort")
        # What is minted is the issuer's for a moment and goes to its recipient like a payment.
        if target != issuer:
            self.money[issuer, asset] += amount
            found |= self.may_pay(asset, issuer, target, amount, whole=False, opener=who)
            self.money[issuer, asset] -= amount
        if not found:
            if target != issuer:
                self.count(asset, issuer, target, amount)
            self.opened(target, who)
            self.supply[asset] += amount
            self.money[target, asset] += amount
            terms.issued = True
        return found

    def burn(self, who: Key, asset: str, amount: int) -> Reasons:
        found = self.duty(who, asset, "mint")
        if found:
            return found
        issuer = self.assets[asset].issuer
        assert issuer is not None
        if self.money[issuer, asset] < amount:
            found.add("kernel.balance")
        if not found:
            self.money[issuer, asset] -= amount
            self.supply[asset] -= amount
        return found

    def freeze(self, who: Key, asset: str, holder: Key, level: int) -> Reasons:
        found = self.over_holder(who, asset, holder, "freeze")
        if self.freezes[holder, asset] == level:
            found.add("assets.holderUnchanged" if level else "assets.notFrozen")
        if not found:
            self.freezes[holder, asset] = level
        return found

    def freeze_all(self, who: Key, asset: str, on: bool) -> Reasons:
        found = self.duty(who, asset, "freeze")
        if asset in self.assets and self.assets[asset].frozen == on:
            found.add("assets.unchanged")
        if not found:
            self.assets[asset].frozen = on
        return found

    def authorise(self, who: Key, asset: str, holder: Key, level: int) -> Reasons:
        found = self.over_holder(who, asset, holder, "authorise")
        if asset in self.assets and not self.assets[asset].authorised_only:
            found.add("assets.lacksFlag")
        if self.levels[holder, asset] == level:
            found.add("assets.holderUnchanged")
        if not found:
            self.levels[holder, asset] = level
        return found

    def clawback(
        self, who: Key, asset: str, holder: Key, amount: int, target: Key, promise_id: bytes | None
    ) -> Reasons:
        found = self.over_holder(who, asset, holder, "clawback")
        if holder == target:
            found.add("assets.sameParty")
        one = None if promise_id is None else self.promises.get(promise_id)
        if promise_id is None:
            if self.money[holder, asset] < amount:
                found.add("kernel.balance")
        elif one is None or (one.payer, one.asset) != (holder, asset):
            found.add("kernel.holdMissing")
        elif one.left < amount:
            found.add("kernel.holdLess")
        if target not in self.people and self.money[who, "CLAW"] < DEPOSIT:
            found.add("kernel.balance")
        if asset in self.assets:
            found |= self.may_get(asset, target)
        if found:
            return found
        self.opened(target, who)
        self.money[target, asset] += amount
        if one is None or promise_id is None:
            self.money[holder, asset] -= amount
            return found
        one.left -= amount
        if not one.left and one.kind != "channel":
            del self.promises[promise_id]
        self.ended(promise_id, amount, one, paid=False)
        return found

    def ended(self, promise_id: bytes, amount: int, one: Promise, *, paid: bool) -> None:
        """Told of what is set apart no longer; for what hangs on it."""

    # -- deeds of accounts

    def open(self, who: Key, target: Key) -> Reasons:
        found = Reasons()
        if target in self.people:
            found.add("kernel.accountExists")
        if self.money[who, "CLAW"] < DEPOSIT:
            found.add("kernel.balance")
        if not found:
            self.opened(target, who)
        return found

    def close_to_payments(self, who: Key, on: bool) -> Reasons:
        if (who in self.closed) == on:
            return {"accounts.sameDepositAuth"}
        (self.closed.add if on else self.closed.discard)(who)
        return set()

    def name_payer(self, who: Key, payer: Key, on: bool) -> Reasons:
        found = Reasons()
        if who == payer:
            found.add("accounts.payerSelf")
        if ((who, payer) in self.payers) == on:
            found.add("accounts.payerNamed" if on else "accounts.payerNotNamed")
        if on and payer not in self.people:
            found.add("kernel.sender")
        if who == payer and not on:
            return {"accounts.payerSelf", "accounts.payerNotNamed"}
        if not found:
            (self.payers.add if on else self.payers.discard)((who, payer))
        return found


def issuers_assets(model: Books) -> None:
    """What the issuer created at the start."""
    model.assets["EURX"] = Asset(ISSUER, authorised_only=True, controlled=True)
    model.assets["USDX"] = Asset(ISSUER, controlled=True, cap=5_000)
