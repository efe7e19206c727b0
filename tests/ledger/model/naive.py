"""The whole ledger as a clerk would keep it: plain dictionaries, one rule after the other.

Written from docs/protocol.md, docs/reference/ledger.md and the pages in docs/modules, not from the
modules. Each deed returns every reason that speaks against it; the ledger may name any of them,
and must name one if there is one. If there is none, it must do exactly what is done here.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from tests.ledger.model.world import DEPOSIT, FEE, ISSUER, OFFICERS, OPENING
from tests.ledger.sandbox import START_MS, Key

DAY_MS = 86_400_000
SUSPENDED_MS = 30 * DAY_MS
HELD_MS = 3_600_000
LARGE = 400
LIMITED, FULL = 1, 2
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
    capture: bool = False
    deciders: tuple[Key, ...] = ()
    needed: int = 0
    votes: dict[Key, int] = field(default_factory=dict)
    refused: bool = False
    # Of a channel: what vouchers had paid, what one promised that a freeze stopped, its challenge.
    paid: int = 0
    stopped: int = 0
    challenge_ms: int = 0
    final_ms: int = 0


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


class Naive:
    """Everything that there is; `now_ms` is the time of the block that is open."""

    def __init__(self) -> None:
        self.now_ms = START_MS
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
        self.blocked: set[Key] = set()
        self.officers: set[Key] = set(OFFICERS)
        self.policed = False
        self.promises: dict[bytes, Promise] = {}
        self.batches: dict[bytes, Batch] = {}
        #: Who is attested to be one person with somebody else.
        self.persons: dict[Key, str] = {}

    # -- what everything rests on

    def person(self, who: Key) -> object:
        """Who stands behind an account: a person with several, or the account itself."""
        return self.persons.get(who, who)

    def people_of(self, *keys: Key | None) -> set[object]:
        return {self.person(key) for key in keys if key is not None}

    def held(self, who: Key, asset: str) -> int:
        return sum(
            one.left for one in self.promises.values() if (one.payer, one.asset) == (who, asset)
        )

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
        """What the policy of EURX says of a payment: deny, hold or allow."""
        if asset != "EURX" or not self.policed:
            return "allow"
        if self.blocked & {source, target}:
            return "deny"
        return "hold" if amount >= LARGE else "allow"

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
                found.add("compliance.denied")
            case "hold" if not whole:
                found.add("kernel.hold")
        return found

    def opened(self, who: Key, opener: Key) -> None:
        if who not in self.people:
            self.people.add(who)
            self.money[opener, "CLAW"] -= DEPOSIT
            self.fees += DEPOSIT

    def move(self, asset: str, source: Key, target: Key, amount: int) -> None:
        self.money[source, asset] -= amount
        self.money[target, asset] += amount

    def pays_fee(self, who: Key) -> bool:
        """Take the fee, if there is one to take."""
        if who not in self.people or self.money[who, "CLAW"] < FEE:
            return False
        self.money[who, "CLAW"] -= FEE
        self.fees += FEE
        return True

    # -- time

    def begin(self, after_ms: int) -> None:
        """What comes due at the start of a block."""
        self.now_ms += after_ms
        for batch_id in [name for name, one in self.batches.items() if one.end_ms <= self.now_ms]:
            del self.batches[batch_id]
        for promise_id, one in sorted(self.promises.items()):
            due_ms = one.finish_ms if one.kind == "timed escrow" else one.final_ms or one.end_ms
            if due_ms > self.now_ms:
                continue
            if one.kind == "channel":
                if one.final_ms:
                    self.end_channel(promise_id)
                else:
                    one.final_ms = self.now_ms + one.challenge_ms
            elif not one.paid_at_end:
                self.end(promise_id, paid=False)
            elif refusals := self.may_move(one.asset, one.payer, one.payee, release=True):
                assert refusals
                one.kind, one.paid_at_end, one.needed, one.votes = "rule", False, 1, {}
                one.end_ms, one.deciders = self.now_ms + SUSPENDED_MS, ()
            else:
                self.end(promise_id, paid=True)

    def end(self, promise_id: bytes, *, paid: bool, amount: int | None = None) -> None:
        """Pay a promise (or `amount` of it) out, or give it back; over when nothing is left."""
        one = self.promises[promise_id]
        amount = one.left if amount is None else amount
        one.left -= amount
        self.money[one.payee if paid else one.payer, one.asset] += amount
        if not one.left:
            del self.promises[promise_id]

    # -- deeds of assets

    def duty(self, who: Key, asset: str) -> Reasons:
        """Only the issuer acts on an asset here; nobody was appointed."""
        if asset not in self.assets:
            return {"kernel.asset"}
        issuer = self.assets[asset].issuer
        if issuer is None:
            return {"assets.noIssuer", "assets.issuerOnly", "kernel.role", "assets.lacksFlag"}
        return set() if who == issuer else {"kernel.role", "assets.issuerOnly"}

    def over_holder(self, who: Key, asset: str, holder: Key) -> Reasons:
        found = self.duty(who, asset)
        if asset in self.assets and holder == self.assets[asset].issuer:
            found.add("assets.issuerHolder")
        if holder not in self.people:
            found.add("kernel.sender")
        return found

    def mint(self, who: Key, asset: str, target: Key, amount: int) -> Reasons:
        found = self.duty(who, asset)
        if found:
            return found
        terms = self.assets[asset]
        if terms.cap is not None and self.supply[asset] + amount > terms.cap:
            found.add("assets.cap")
        # What is minted is the issuer's for a moment and goes to its recipient like a payment.
        if target != who:
            self.money[who, asset] += amount
            found |= self.may_pay(asset, who, target, amount, whole=False, opener=who)
            self.money[who, asset] -= amount
        if not found:
            self.opened(target, who)
            self.supply[asset] += amount
            self.money[target, asset] += amount
        return found

    def burn(self, who: Key, asset: str, amount: int) -> Reasons:
        found = self.duty(who, asset)
        if not found and self.money[who, asset] < amount:
            found.add("kernel.balance")
        if not found:
            self.money[who, asset] -= amount
            self.supply[asset] -= amount
        return found

    def freeze(self, who: Key, asset: str, holder: Key, level: int) -> Reasons:
        found = self.over_holder(who, asset, holder)
        if self.freezes[holder, asset] == level:
            found.add("assets.holderUnchanged" if level else "assets.notFrozen")
        if not found:
            self.freezes[holder, asset] = level
        return found

    def freeze_all(self, who: Key, asset: str, on: bool) -> Reasons:
        found = self.duty(who, asset)
        if asset in self.assets and self.assets[asset].frozen == on:
            found.add("assets.unchanged")
        if not found:
            self.assets[asset].frozen = on
        return found

    def authorise(self, who: Key, asset: str, holder: Key, level: int) -> Reasons:
        found = self.over_holder(who, asset, holder)
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
        found = self.over_holder(who, asset, holder)
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
        return found

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

    # -- deeds of payments

    def pay(self, who: Key, asset: str, target: Key, amount: int, *, whole: bool = True) -> Reasons:
        """A transfer, or a payment with particulars. `held_as` says if it would be held."""
        found = self.may_pay(asset, who, target, amount, whole=whole, opener=who)
        if not found and self.policy(asset, who, target, amount) == "allow":
            self.opened(target, who)
            self.move(asset, who, target, amount)
        return found

    def held_payment(self, promise_id: bytes, who: Key, asset: str, to: Key, amount: int) -> None:
        """The policy held a payment: two officers decide, after an hour it goes back."""
        self.opened(to, who)
        self.money[who, asset] -= amount
        self.promises[promise_id] = Promise(
            "rule", asset, who, to, amount, self.now_ms + HELD_MS, False, needed=2
        )

    def promise(self, who: Key, one: Promise) -> Reasons:
        """Reasons against setting value apart as `one` says."""
        found = self.may_pay(one.asset, who, one.payee, one.left, whole=False, opener=who)
        if who == one.payee:
            found.add("payments.self")
        if one.end_ms <= self.now_ms or (one.finish_ms and one.finish_ms <= self.now_ms):
            found.add("payments.span")
        parties = self.people_of(who, one.payee)
        if one.arbiter is not None and self.person(one.arbiter) in parties:
            found.add("payments.arbiterParty")
        if self.people_of(*one.deciders) & parties:
            found.add("payments.releaserParty")
        if len(self.people_of(*one.deciders)) < one.needed:
            found.add("payments.releasersFew")
        return found

    def promised(self, promise_id: bytes, one: Promise) -> None:
        self.opened(one.payee, one.payer)
        self.money[one.payer, one.asset] -= one.left
        self.promises[promise_id] = one

    def finish_escrow(self, who: Key, promise_id: bytes) -> Reasons:
        one = self.promises.get(promise_id)
        if one is None or not one.kind.endswith("escrow"):
            return {"payments.missing"}
        found = self.may_move(one.asset, one.payer, one.payee, release=True)
        if self.now_ms >= one.end_ms:
            found.add("payments.late")
        if self.now_ms < one.finish_ms:
            found.add("payments.early")
        if one.arbiter is not None and who != one.payer:
            found.add("payments.party")
        if not found:
            self.end(promise_id, paid=True)
        return found

    def decide_escrow(self, who: Key, promise_id: bytes, release: bool) -> Reasons:
        one = self.promises.get(promise_id)
        if one is None or not one.kind.endswith("escrow"):
            return {"payments.missing"}
        found = Reasons()
        if release:
            found |= self.may_move(one.asset, one.payer, one.payee, release=True)
            if self.now_ms < one.finish_ms:
                found.add("payments.early")
        if self.now_ms >= one.end_ms:
            found.add("payments.late")
        if one.arbiter is None or who != one.arbiter:
            found.add("payments.party")
        elif self.person(who) in self.people_of(one.payer, one.payee):
            found.add("payments.arbiterParty")
        if not found:
            self.end(promise_id, paid=release)
        return found

    def cancel_escrow(self, who: Key, promise_id: bytes) -> Reasons:
        one = self.promises.get(promise_id)
        if one is None or not one.kind.endswith("escrow"):
            return {"payments.missing"}
        if who != one.payee and self.now_ms < one.end_ms:
            return {"payments.party", "payments.early"}
        self.end(promise_id, paid=False)
        return set()

    def capture(self, who: Key, promise_id: bytes, amount: int, give_back: bool) -> Reasons:
        one = self.promises.get(promise_id)
        if one is None or one.kind != "placed":
            return {"payments.missing"}
        found = Reasons()
        if amount:
            found |= self.may_move(one.asset, one.payer, one.payee, release=True)
        if self.now_ms >= one.end_ms:
            found.add("payments.late")
        if who != one.payee or (amount and not one.capture):
            found.add("payments.party")
        if amount > one.left:
            found.add("kernel.holdLess")
        if not found:
            if amount:
                self.end(promise_id, paid=True, amount=amount)
            if give_back and promise_id in self.promises:
                self.end(promise_id, paid=False)
        return found

    def cancel_scheduled(self, who: Key, promise_id: bytes) -> Reasons:
        one = self.promises.get(promise_id)
        if one is None or one.kind != "scheduled":
            return {"payments.missing"}
        if who not in (one.payer, one.payee):
            return {"payments.party"}
        if who == one.payer and self.now_ms >= one.end_ms:
            return {"payments.late"}
        self.end(promise_id, paid=False)
        return set()

    def vote(self, who: Key, promise_id: bytes, release: bool) -> Reasons:
        one = self.promises.get(promise_id)
        if one is None:
            return {"payments.missing", "kernel.holdMissing"}
        decides = who in (self.officers if one.kind == "rule" else one.deciders)
        found = Reasons()
        if one.kind not in ("rule", "placed") or (one.kind == "placed" and not one.deciders):
            found.add("payments.noVotes")
        elif not decides:
            found |= {"payments.party", "kernel.role"}
        if self.person(who) in self.people_of(one.payer, one.payee):
            found.add("payments.ownHold")
        if self.now_ms >= one.end_ms:
            found.add("payments.late")
        if one.votes.get(who) == release and not one.refused:
            found.add("payments.voted")
        if not found:
            self._voted(who, promise_id, one, release)
        return found

    def _voted(self, who: Key, promise_id: bytes, one: Promise, release: bool) -> None:
        # A person has one vote, the newest, by whatever account.
        for other in [key for key in one.votes if self.person(key) == self.person(who)]:
            del one.votes[other]
        one.votes[who] = release
        entitled = self.officers if one.kind == "rule" else set(one.deciders)
        agreeing = [key for key, vote in one.votes.items() if vote == release and key in entitled]
        if len(agreeing) < one.needed:
            return
        if release and self.may_move(one.asset, one.payer, one.payee, release=True):
            one.refused = True
            return
        self.end(promise_id, paid=release)

    # -- channels

    def claim(self, promise_id: bytes, amount: int) -> Reasons:
        """Whoever brings the newest voucher has the payee paid what it adds."""
        one = self.promises.get(promise_id)
        if one is None or one.kind != "channel":
            return {"payments.missing"}
        if amount <= one.paid:
            return {"payments.voucherPaid"} | ({"payments.channelEmpty"} if not one.left else set())
        if not one.left:
            return {"payments.channelEmpty"}
        pays = min(amount - one.paid, one.left)
        if self.may_move(one.asset, one.payer, one.payee, release=True):
            one.stopped = max(one.stopped, amount)
            return set()
        one.left -= pays
        one.paid += pays
        self.money[one.payee, one.asset] += pays
        return set()

    def top_up(self, who: Key, promise_id: bytes, amount: int) -> Reasons:
        one = self.promises.get(promise_id)
        if one is None or one.kind != "channel":
            return {"payments.missing"}
        found = self.may_pay(one.asset, one.payer, one.payee, amount, whole=False, opener=who)
        if who != one.payer:
            found.add("payments.party")
        if one.final_ms:
            found.add("payments.channelClosing")
        if one.end_ms <= self.now_ms:
            found.add("payments.late")
        if not found:
            self.money[who, one.asset] -= amount
            one.left += amount
        return found

    def close(self, who: Key, promise_id: bytes) -> Reasons:
        one = self.promises.get(promise_id)
        if one is None or one.kind != "channel":
            return {"payments.missing"}
        if who == one.payee:
            self.end_channel(promise_id)
            return set()
        if who != one.payer:
            return {"payments.party"}
        if one.final_ms:
            return {"payments.channelClosing"}
        one.final_ms = self.now_ms + one.challenge_ms
        return set()

    def finalise(self, promise_id: bytes) -> Reasons:
        one = self.promises.get(promise_id)
        if one is None or one.kind != "channel":
            return {"payments.missing"}
        if not one.final_ms:
            return {"payments.channelOpen"}
        if self.now_ms < one.final_ms:
            return {"payments.early", "payments.channelEarly"}
        self.end_channel(promise_id)
        return set()

    def end_channel(self, promise_id: bytes) -> None:
        """What a voucher promised and a freeze stopped waits for officers; the rest goes back."""
        one = self.promises[promise_id]
        waits = min(max(one.stopped - one.paid, 0), one.left)
        self.money[one.payer, one.asset] += one.left - waits
        one.left = waits
        if not waits:
            del self.promises[promise_id]
        elif not self.may_move(one.asset, one.payer, one.payee, release=True):
            self.end(promise_id, paid=True)
        else:
            one.kind, one.paid_at_end, one.needed, one.votes = "rule", False, 1, {}
            one.end_ms, one.final_ms = self.now_ms + SUSPENDED_MS, 0

    # -- batches

    def propose_batch(self, one: Batch) -> Reasons:
        found = Reasons() if one.asset in self.assets else {"kernel.asset"}
        if any(target == one.payer for target, _ in one.legs):
            found.add("payments.self")
        approvers = self.people_of(*one.approvers)
        if self.person(one.payer) in approvers:
            found.add("payments.batchPayer")
        if len(approvers - self.people_of(one.payer)) < one.needed:
            found |= {"payments.batchPeople"} | ({"payments.batchPayer"} & found)
        if not self.now_ms < one.end_ms <= self.now_ms + 30 * DAY_MS:
            found.add("payments.batchSpan")
        if sum(other.payer == one.payer for other in self.batches.values()) >= 16:
            found.add("payments.batchesFull")
        return found

    def say_to_batch(self, who: Key, batch_id: bytes, yes: bool) -> Reasons:
        one = self.batches.get(batch_id)
        if one is None:
            return {"payments.missing"}
        if who not in one.approvers:
            return {"payments.party"}
        mine = [key for key in one.said if self.person(key) == self.person(who)]
        if yes and any(one.said[key] for key in mine):
            return {"payments.batchApprovedAlready"}
        if not yes and one.said.get(who) is False:
            return {"payments.batchRejectedAlready"}
        one.said[who] = yes
        left = self.people_of(*one.approvers) - self.people_of(one.payer) - self.opposed(one)
        if len(left) < one.needed:
            del self.batches[batch_id]
        return set()

    def opposed(self, one: Batch) -> set[object]:
        """Who said no by any account; a person counts once, and its no is a no."""
        return self.people_of(*(key for key, yes in one.said.items() if not yes))

    def withdraw_batch(self, who: Key, batch_id: bytes) -> Reasons:
        one = self.batches.get(batch_id)
        if one is None:
            return {"payments.missing"}
        if who != one.payer:
            return {"payments.party"}
        del self.batches[batch_id]
        return set()

    def execute_batch(self, who: Key, batch_id: bytes) -> Reasons:
        one = self.batches.get(batch_id)
        if one is None:
            return {"payments.missing"}
        if who != one.payer and who not in one.approvers:
            return {"payments.party"}
        approving = self.people_of(*(key for key, yes in one.said.items() if yes))
        if len(approving - self.people_of(one.payer) - self.opposed(one)) < one.needed:
            return {"payments.batchApprovals"}
        before = dict(self.money), set(self.people), self.fees
        for target, amount in one.legs:
            found = self.may_pay(one.asset, one.payer, target, amount, whole=False, opener=who)
            if found:
                self.money.clear()
                self.money.update(before[0])
                self.people, self.fees = before[1], before[2]
                return found
            self.opened(target, who)
            self.move(one.asset, one.payer, target, amount)
        del self.batches[batch_id]
        return set()

    # -- deeds of officers

    def block_payments_of(self, who: Key, target: Key, on: bool) -> Reasons:
        found = Reasons()
        if who not in self.officers:
            found.add("kernel.role")
        if (target in self.blocked) == on:
            found.add("compliance.inList" if on else "compliance.notInList")
        if not found:
            (self.blocked.add if on else self.blocked.discard)(target)
        return found


def issuers_assets(model: Naive) -> None:
    """What the issuer created at the start."""
    model.assets["EURX"] = Asset(ISSUER, authorised_only=True, controlled=True)
    model.assets["USDX"] = Asset(ISSUER, controlled=True, cap=5_000)
