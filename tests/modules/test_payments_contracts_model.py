"""Batches, invoices and channels against a model in plain dictionaries: whoever does what in
whatever order, everybody has what it should have.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from clawpurse.ledger import crypto
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.vouchers import Terms, voucher_bytes
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, FRANK, Key
from tests.modules.payments_world import HOUR_MS, OPENING, World, act, named, told

PEOPLE = (ALICE, BOB, CAROL)
APPROVERS = (BOB, CAROL, DAVE, ERIN)
SIGNER = Key("voucher signer")
SUSPENDED_MS = 30 * DAY_MS
NUMBERS = st.integers(0, 99)


@dataclass
class Channel:
    """What the model knows of a channel."""

    payer: Key
    payee: Key
    left: int
    challenge_ms: int
    blocks: int
    expires_ms: int
    paid: int = 0
    owed: int = 0
    final_ms: int = 0
    final_height: int = 0
    holds: list[bytes] = field(default_factory=list)


@dataclass
class Invoice:
    """What the model knows of an invoice."""

    payee: Key
    amount: int
    payer: Key | None
    expires_ms: int
    kept_ms: int
    state: str = "open"


@dataclass
class Batch:
    """What the model knows of a batch."""

    payer: Key
    legs: list[tuple[Key, int]]
    needed: int
    approvers: list[Key]
    expires_ms: int
    yes: dict[str, int] = field(default_factory=dict)
    no: list[str] = field(default_factory=list)


class ContractsMachine(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.has = {key.name: OPENING[key]["CLAW"] for key in (*PEOPLE, DAVE, ERIN)}
        self.has[FRANK.name] = 0
        self.channels: dict[bytes, Channel] = {}
        self.invoices: dict[bytes, Invoice] = {}
        self.batches: dict[bytes, Batch] = {}
        # What officers decide on: (payer, amount, when it goes back).
        self.suspended: list[tuple[Key, int, int]] = []
        self.frozen: list[str] = []
        self.person = {key.name: key.name for key in (*PEOPLE, DAVE, ERIN)}

    # -- the model's own rules

    def _open(self, *people: Key) -> bool:
        return not any(one.name in self.frozen for one in people)

    def _sent(self, key: Key, name: str, *values: Any) -> Any:
        """A block with one action; what was due came first."""
        raw = self.world.tx(key, act(name, *values))
        execution_time = self.world.time_ms + 1_000
        self._due(execution_time)
        return self.world.block(raw)

    def _due(self, now_ms: int) -> None:
        """What comes due in a block at that time."""
        for found in [one for one in self.suspended if one[2] <= now_ms]:
            self.suspended.remove(found)
            self.has[found[0].name] += found[1]
        for _, channel in sorted(self.channels.items()):
            if not channel.final_ms and channel.expires_ms <= now_ms:
                self._challenge(channel, now_ms)
        for invoice_id, invoice in sorted(self.invoices.items()):
            if invoice.expires_ms <= now_ms and invoice.state == "open":
                invoice.state = "expired"
            if invoice.kept_ms <= now_ms:
                del self.invoices[invoice_id]
        for batch_id, batch in sorted(self.batches.items()):
            if batch.expires_ms <= now_ms:
                del self.batches[batch_id]

    def _challenge(self, channel: Channel, now_ms: int) -> None:
        channel.final_ms = now_ms + channel.challenge_ms
        channel.final_height = self.world.height + 1 + channel.blocks

    def _end_channel(self, channel_id: bytes) -> None:
        channel = self.channels.pop(channel_id)
        owed = min(channel.owed - channel.paid, channel.left)
        self.has[channel.payer.name] += channel.left - owed
        if owed and self._open(channel.payer, channel.payee):
            self.has[channel.payee.name] += owed
        elif owed:
            self.suspended.append((channel.payer, owed, self.world.time_ms + SUSPENDED_MS))

    def _ended_by_itself(self) -> None:
        """Take over what the queue ended: it must have been over by time and by blocks."""
        for channel_id, channel in sorted(self.channels.items()):
            if self.world.query("payments.channel", channel_id) is None:
                assert channel.final_ms and channel.final_ms <= self.world.time_ms
                assert channel.final_height <= self.world.height
                self._end_channel(channel_id)

    def _pick(self, number: int, table: dict[bytes, Any]) -> tuple[bytes, Any] | None:
        found = sorted(table.items())
        return found[number % len(found)] if found else None

    # -- channels

    @rule(
        payer=st.sampled_from(PEOPLE),
        payee=st.sampled_from(PEOPLE),
        amount=st.integers(1, 300),
        hours=st.integers(1, 48),
        blocks=st.integers(1, 4),
    )
    def open_channel(self, payer: Key, payee: Key, amount: int, hours: int, blocks: int) -> None:
        expires_ms = self.world.time_ms + hours * HOUR_MS
        terms = ["CLAW", payee, amount, HOUR_MS, blocks, expires_ms, SIGNER.public, b"", None]
        result = self._sent(payer, "openChannel", *terms)
        self._ended_by_itself()
        good = payer != payee and self._open(payer, payee) and amount <= self.has[payer.name]
        assert (result.receipts[0].code == 0) == good, result.receipts[0]
        if good:
            channel_id = named(told(result, "payments.channelOpened"))["channelId"]
            self.has[payer.name] -= amount
            self.channels[channel_id] = Channel(
                payer, payee, amount, HOUR_MS, blocks, expires_ms, holds=[channel_id]
            )

    @rule(number=NUMBERS, amount=st.integers(1, 300))
    def top_up(self, number: int, amount: int) -> None:
        found = self._pick(number, self.channels)
        if found is None:
            return
        channel_id, channel = found
        result = self._sent(channel.payer, "topUpChannel", channel_id, amount)
        self._ended_by_itself()
        good = (
            channel_id in self.channels
            and not channel.final_ms
            and self._open(channel.payer, channel.payee)
            and amount <= self.has[channel.payer.name]
        )
        assert (result.receipts[0].code == 0) == good, result.receipts[0]
        if good:
            self.has[channel.payer.name] -= amount
            channel.left += amount
            hold_id = self.world.query("payments.channel", channel_id).hold_id
            if hold_id not in channel.holds:
                channel.holds.append(hold_id)

    @rule(number=NUMBERS, sender=st.sampled_from(PEOPLE), amount=st.integers(1, 700))
    def claim(self, number: int, sender: Key, amount: int) -> None:
        found = self._pick(number, self.channels)
        if found is None:
            return
        channel_id, channel = found
        terms = Terms(self.world.genesis.hash, channel_id, "CLAW", channel.payee.account)
        signature = crypto.sign(SIGNER.seed, voucher_bytes(terms, amount))
        result = self._sent(sender, "claimChannel", channel_id, amount, signature)
        ended = self.world.query("payments.channel", channel_id) is None
        if ended:
            self._ended_by_itself()
        good = not ended and amount > channel.paid and channel.left > 0
        assert (result.receipts[0].code == 0) == good, result.receipts[0]
        if good:
            channel.owed = max(channel.owed, amount)
            if self._open(channel.payer, channel.payee):
                paid = min(channel.owed - channel.paid, channel.left)
                channel.paid += paid
                channel.left -= paid
                self.has[channel.payee.name] += paid
        self._ended_by_itself()

    @rule(number=NUMBERS, by_payee=st.booleans(), finalise=st.booleans())
    def close(self, number: int, by_payee: bool, finalise: bool) -> None:
        found = self._pick(number, self.channels)
        if found is None:
            return
        channel_id, channel = found
        height, time_ms = self.world.height + 1, self.world.time_ms + 1_000
        if finalise:
            result = self._sent(CAROL, "finaliseChannel", channel_id)
            over = channel.final_ms and channel.final_ms <= time_ms
            good = bool(over) and channel.final_height <= height
        else:
            sender = channel.payee if by_payee else channel.payer
            result = self._sent(sender, "closeChannel", channel_id)
            good = by_payee or not channel.final_ms
        receipt = result.receipts[0]
        if receipt.rule == "payments.missing":
            self._ended_by_itself()
            assert channel_id not in self.channels
            return
        assert (receipt.code == 0) == good, receipt
        if good and not finalise and not by_payee:
            self._challenge(channel, time_ms)
            channel.final_height -= 1  # The block was made meanwhile.
        elif good:
            self._end_channel(channel_id)
        self._ended_by_itself()

    @rule(number=NUMBERS, part=st.integers(1, 300))
    def claw_back(self, number: int, part: int) -> None:
        found = self._pick(number, self.channels)
        if found is None or not found[1].left:
            return
        channel_id, channel = found
        amount = min(part, channel.left)
        hold_id = self.world.query("payments.channel", channel_id).hold_id
        values = ["CLAW", channel.payer, FRANK, amount, hold_id]
        result = self._sent(DAVE, "warden.seize", *values)
        self._ended_by_itself()
        if result.receipts[0].code == 0:
            self.has[FRANK.name] += amount
            channel.left -= amount
        else:
            assert channel_id not in self.channels

    # -- invoices

    @rule(
        payee=st.sampled_from(PEOPLE),
        payer=st.sampled_from([None, *PEOPLE]),
        amount=st.integers(1, 300),
        hours=st.integers(1, 48),
        days=st.integers(0, 2),
    )
    def create_invoice(
        self, payee: Key, payer: Key | None, amount: int, hours: int, days: int
    ) -> None:
        expires_ms = self.world.time_ms + hours * HOUR_MS
        result = self._sent(
            payee, "createInvoice", "CLAW", amount, payer, None, b"", expires_ms, days
        )
        self._ended_by_itself()
        assert (result.receipts[0].code == 0) == (payer != payee), result.receipts[0]
        if payer != payee:
            invoice_id = named(told(result, "payments.invoiceCreated"))["invoiceId"]
            kept_ms = expires_ms + days * DAY_MS
            self.invoices[invoice_id] = Invoice(payee, amount, payer, expires_ms, kept_ms)

    @rule(number=NUMBERS, sender=st.sampled_from(PEOPLE), more=st.sampled_from([0, 0, 0, 1]))
    def pay_invoice(self, number: int, sender: Key, more: int) -> None:
        found = self._pick(number, self.invoices)
        if found is None:
            return
        invoice_id, invoice = found
        result = self._sent(sender, "payInvoice", invoice_id, invoice.amount + more, None)
        self._ended_by_itself()
        good = (
            invoice_id in self.invoices
            and invoice.state == "open"
            and not more
            and sender != invoice.payee
            and invoice.payer in (None, sender)
            and self._open(sender, invoice.payee)
            and invoice.amount <= self.has[sender.name]
        )
        assert (result.receipts[0].code == 0) == good, result.receipts[0]
        if good:
            invoice.state = "paid"
            self.has[sender.name] -= invoice.amount
            self.has[invoice.payee.name] += invoice.amount

    @rule(number=NUMBERS, sender=st.sampled_from(PEOPLE))
    def cancel_invoice(self, number: int, sender: Key) -> None:
        found = self._pick(number, self.invoices)
        if found is None:
            return
        invoice_id, invoice = found
        result = self._sent(sender, "cancelInvoice", invoice_id)
        self._ended_by_itself()
        alive = invoice_id in self.invoices and invoice.state == "open"
        good = alive and sender == invoice.payee
        assert (result.receipts[0].code == 0) == good, result.receipts[0]
        if good:
            invoice.state = "cancelled"

    # -- batches

    @rule(
        payer=st.sampled_from(PEOPLE),
        legs=st.lists(
            st.tuples(st.sampled_from(PEOPLE), st.integers(1, 300)), min_size=1, max_size=4
        ),
        approvers=st.lists(st.sampled_from(APPROVERS), min_size=1, max_size=4, unique=True),
        needed=st.integers(1, 3),
        hours=st.integers(1, 48),
    )
    def propose(
        self,
        payer: Key,
        legs: list[tuple[Key, int]],
        approvers: list[Key],
        needed: int,
        hours: int,
    ) -> None:
        needed = min(needed, len(approvers))
        expires_ms = self.world.time_ms + hours * HOUR_MS
        wire = [[to.account, amount, b""] for to, amount in legs]
        named_ = sorted([key.account for key in approvers])
        terms = ["CLAW", wire, needed, named_, expires_ms, b"", None]
        result = self._sent(payer, "proposeBatch", *terms)
        self._ended_by_itself()
        people = {self.person[key.name] for key in approvers}
        good = (
            all(to != payer for to, _ in legs)
            and self.person[payer.name] not in people
            and len(people) >= needed
            and len([one for one in self.batches.values() if one.payer == payer]) < 16
        )
        assert (result.receipts[0].code == 0) == good, result.receipts[0]
        if good:
            batch_id = named(told(result, "payments.batchProposed"))["batchId"]
            self.batches[batch_id] = Batch(payer, legs, needed, approvers, expires_ms)

    def _people(self, batch: Batch) -> int:
        no = {self.person[name] for name in (*batch.no, batch.payer.name)}
        yes = {self.person[n] for n, until in batch.yes.items() if until > self.world.time_ms}
        return len(yes - no)

    @precondition(lambda self: self.batches)
    @rule(number=NUMBERS, place=st.integers(0, 5), hours=st.integers(1, 48))
    def approve(self, number: int, place: int, hours: int) -> None:
        found = self._pick(number, self.batches)
        assert found is not None
        batch_id, batch = found
        sender = ([*batch.approvers, BOB])[place % (len(batch.approvers) + 1)]
        until_ms = min(self.world.time_ms + hours * HOUR_MS, batch.expires_ms)
        result = self._sent(sender, "approveBatch", batch_id, until_ms)
        self._ended_by_itself()
        now_ms = self.world.time_ms
        mine = self.person[sender.name]
        said = [self.person[name] for name, until in batch.yes.items() if until > now_ms]
        good = (
            batch_id in self.batches
            and sender in batch.approvers
            and mine != self.person[batch.payer.name]
            and mine not in said
            and until_ms > now_ms
        )
        assert (result.receipts[0].code == 0) == good, result.receipts[0]
        if good:
            batch.yes[sender.name] = until_ms
            batch.no = [name for name in batch.no if name != sender.name]

    @rule(number=NUMBERS, sender=st.sampled_from(APPROVERS))
    def reject(self, number: int, sender: Key) -> None:
        found = self._pick(number, self.batches)
        if found is None:
            return
        batch_id, batch = found
        result = self._sent(sender, "rejectBatch", batch_id, "no")
        self._ended_by_itself()
        alive = batch_id in self.batches
        good = alive and sender in batch.approvers and sender.name not in batch.no
        assert (result.receipts[0].code == 0) == good, result.receipts[0]
        if good:
            batch.yes.pop(sender.name, None)
            batch.no.append(sender.name)
            no = {self.person[name] for name in (*batch.no, batch.payer.name)}
            if len({self.person[key.name] for key in batch.approvers} - no) < batch.needed:
                del self.batches[batch_id]

    @precondition(lambda self: self.batches)
    @rule(number=NUMBERS, other=st.sampled_from([None, None, CAROL, DAVE]))
    def execute(self, number: int, other: Key | None) -> None:
        found = self._pick(number, self.batches)
        assert found is not None
        batch_id, batch = found
        sender = batch.payer if other is None else other
        result = self._sent(sender, "executeBatch", batch_id, 4)
        self._ended_by_itself()
        good = (
            batch_id in self.batches
            and (sender == batch.payer or sender in batch.approvers)
            and self._people(batch) >= batch.needed
            and self._open(batch.payer, *[to for to, _ in batch.legs])
            and sum([amount for _, amount in batch.legs]) <= self.has[batch.payer.name]
        )
        assert (result.receipts[0].code == 0) == good, result.receipts[0]
        if good:
            for to, amount in batch.legs:
                self.has[batch.payer.name] -= amount
                self.has[to.name] += amount
            del self.batches[batch_id]

    # -- the world

    @rule(who=st.sampled_from(PEOPLE))
    def freeze_or_thaw(self, who: Key) -> None:
        on = who.name not in self.frozen
        assert self._sent(DAVE, "warden.freeze", who, int(on)).receipts[0].code == 0
        # What the queue ended in that block was ended before.
        self._ended_by_itself()
        if on:
            self.frozen.append(who.name)
        else:
            self.frozen.remove(who.name)

    @rule(who=st.sampled_from([*PEOPLE, DAVE, ERIN]), subject=st.sampled_from([b"1", b"2", None]))
    def somebody_is_known(self, who: Key, subject: bytes | None) -> None:
        name = None if subject is None else subject * 32
        assert self._sent(DAVE, "warden.subject", who, name).receipts[0].code == 0
        self._ended_by_itself()
        self.person[who.name] = who.name if subject is None else repr(subject)

    @precondition(lambda self: self.channels or self.invoices or self.batches)
    @rule(hours=st.integers(1, 30), blocks=st.integers(1, 4))
    def time_passes(self, hours: int, blocks: int) -> None:
        for _ in range(blocks):
            self._due(self.world.time_ms + hours * HOUR_MS)
            self.world.block(after_ms=hours * HOUR_MS)
            self._ended_by_itself()

    # -- what is compared

    @invariant()
    def everybody_has_what_it_should(self) -> None:
        for key in (*PEOPLE, DAVE, ERIN, FRANK):
            held = sum([one.left for one in self.channels.values() if one.payer == key])
            held += sum([amount for payer, amount, _ in self.suspended if payer == key])
            found = self.world.books.balance("CLAW", key.account)
            assert (found.amount, found.held) == (self.has[key.name], held), key

    @invariant()
    def what_is_known_is_there(self) -> None:
        for invoice_id, invoice in self.invoices.items():
            found = self.world.query("payments.invoice", invoice_id)
            assert found is not None
            assert ("open", "held", "paid", "expired", "cancelled")[found.state] == invoice.state
        for batch_id in self.batches:
            assert self.world.query("payments.batch", batch_id) is not None
        letters = [key[:1] for key in self.world.tree()]
        assert letters.count(b"i") == len(self.invoices)
        assert letters.count(b"b") == letters.count(b"l") == len(self.batches)
        assert letters.count(b"c") == len(self.channels)

    def teardown(self) -> None:
        """In the end nothing is left of anything."""
        for _ in range(12):
            self.world.block(after_ms=40 * DAY_MS)
        assert self.world.tree() == {} and self.world.queue() == 0
        for key in (*PEOPLE, DAVE, ERIN):
            assert self.world.books.balance("CLAW", key.account).held == 0
            assert self.world.account(key).due_count == 0


TestContracts = ContractsMachine.TestCase
TestContracts.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
