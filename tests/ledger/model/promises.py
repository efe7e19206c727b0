"""What the clerk writes down of promises: value on its way, batches, channels, and what comes due.

Written from docs/modules/payments.md, as `naive.py` is from its pages.
"""

from __future__ import annotations

from tests.ledger.model.naive import (
    DAY_MS,
    HELD_MS,
    SUSPENDED_MS,
    Batch,
    Books,
    Promise,
    Reasons,
)
from tests.ledger.sandbox import Key


class Naive(Books):
    """Everything that waits."""

    #: Who approves the payment that is judged, beside who makes it.
    approving: set[Key] = frozenset()  # type: ignore[assignment]
    #: The parameter of this name.
    interval_ms = 200

    # -- time

    def begin(self, after_ms: int) -> None:
        """What comes due at the start of a block."""
        self.now_ms += after_ms
        self.height += 1
        for batch_id in [name for name, one in self.batches.items() if one.end_ms <= self.now_ms]:
            del self.batches[batch_id]
        for promise_id, one in sorted(self.promises.items()):
            due_ms = one.look_ms or one.final_ms or one.end_ms
            due_ms = one.finish_ms if one.kind == "timed escrow" else due_ms
            if due_ms > self.now_ms:
                continue
            if one.kind == "channel":
                if not one.final_ms:
                    self.challenge(one)
                elif self.height < one.final_height:
                    # A slow chain looks again after a quarter of the time that it took so far.
                    lasted_ms = self.now_ms - (one.final_ms - one.challenge_ms)
                    blocks_ms = (one.final_height - self.height) * self.interval_ms
                    one.look_ms = self.now_ms + max(blocks_ms, lasted_ms // 4)
                else:
                    self.end_channel(promise_id)
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
        self.ended(promise_id, amount, one, paid=paid)

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
        self.count(asset, who, to, amount)
        self.opened(to, who)
        self.money[who, asset] -= amount
        self.promises[promise_id] = Promise(
            "rule", asset, who, to, amount, self.now_ms + HELD_MS, False, needed=2,
            since_ms=self.now_ms, held=True,
        )  # fmt: skip

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
        self.count(one.asset, one.payer, one.payee, one.left)
        one.since_ms = self.now_ms
        self.opened(one.payee, one.payer)
        self.money[one.payer, one.asset] -= one.left
        self.promises[promise_id] = one

    def finish_escrow(self, who: Key, promise_id: bytes, secret: bytes | None = None) -> Reasons:
        one = self.promises.get(promise_id)
        if one is None or not one.kind.endswith("escrow"):
            return {"payments.missing"}
        found = self.may_move(one.asset, one.payer, one.payee, release=True)
        if self.now_ms >= one.end_ms:
            found.add("payments.late")
        if self.now_ms < one.finish_ms:
            found.add("payments.early")
        if secret is not None and secret != one.secret:
            found.add("payments.secret")
        by_itself = one.arbiter is None and one.secret is None
        if secret is None and not by_itself and who != one.payer:
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
        if one.kind == "channel" and not one.left:
            return {"payments.missing", "kernel.holdMissing", "payments.noVotes"}
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
        self.ended(promise_id, pays, one, paid=True)
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
            self.count(one.asset, one.payer, one.payee, amount)
            self.money[who, one.asset] -= amount
            one.since_ms = one.since_ms if one.left else self.now_ms
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
        self.challenge(one)
        return set()

    def challenge(self, one: Promise) -> None:
        """From now on it ends by itself, after so much time and so many blocks."""
        one.final_ms = self.now_ms + one.challenge_ms
        one.final_height = self.height + one.blocks

    def finalise(self, promise_id: bytes) -> Reasons:
        one = self.promises.get(promise_id)
        if one is None or one.kind != "channel":
            return {"payments.missing"}
        if not one.final_ms:
            return {"payments.channelOpen"}
        if self.now_ms < one.final_ms:
            return {"payments.early", "payments.channelEarly"}
        if self.height < one.final_height:
            return {"payments.channelEarly"}
        self.end_channel(promise_id)
        return set()

    def end_channel(self, promise_id: bytes) -> None:
        """What a voucher promised and a freeze stopped waits for officers; the rest goes back."""
        one = self.promises[promise_id]
        waits = min(max(one.stopped - one.paid, 0), one.left)
        returned = one.left - waits
        self.money[one.payer, one.asset] += returned
        one.left = waits
        if returned:
            self.ended(promise_id, returned, one, paid=False)
        if not waits:
            del self.promises[promise_id]
        elif not self.may_move(one.asset, one.payer, one.payee, release=True):
            self.end(promise_id, paid=True)
        else:
            one.kind, one.paid_at_end, one.needed, one.votes = "rule", False, 1, {}
            one.end_ms, one.final_ms, one.look_ms = self.now_ms + SUSPENDED_MS, 0, 0

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
        before = self.mark()
        self.approving = {key for key, yes in one.said.items() if yes}
        for target, amount in one.legs:
            found = self.may_pay(one.asset, one.payer, target, amount, whole=False, opener=who)
            if found:
                self.restore(before)
                return found
            self.opened(target, who)
            self.move(one.asset, one.payer, target, amount)
        del self.batches[batch_id]
        return set()
