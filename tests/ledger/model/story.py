"""One day on the ledger in which every action is done, and refused, at least once.

Each line is a deed of the machine, so the clerk says of each what must come of it.
"""

from __future__ import annotations

from tests.ledger.model.deeds_people import AGENT, CHANGED, SPARE
from tests.ledger.model.ledgers import Ledgers
from tests.ledger.model.machine import DAY_MS, MINUTE_MS
from tests.ledger.model.naive import HELD_MS
from tests.ledger.model.world import ADMIN, ISSUER, OFFICERS
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, ERIN, Key
from tests.modules.council import AUTHORITIES

NOBODY = 13
ONE, TWO, THREE = OFFICERS


def tell(s: Ledgers) -> None:
    """Tell it to a machine that was founded."""
    for part in (_accounts, _agents, _issuer, _payments, _contracts, _officers, _watch, _council):
        part(s)
        s.next_block(1_000)


def _accounts(s: Ledgers) -> None:
    for _ in range(2):
        s.opens(who=ALICE, to=ERIN)
        s.closes_itself_to_payments(who=BOB, on=True)
        s.names_a_payer(who=BOB, payer=CAROL, on=True)
    for _ in range(2):
        s.names_a_payer(who=BOB, payer=CAROL, on=False)
        s.closes_itself_to_payments(who=BOB, on=False)
        s.changes_its_key(key=SPARE)
        s.founds_a_firm(who=ALICE, threshold=2, whom=((ALICE, 1),), usual=True, salt=0)
    s.pays_a_firm(who=ALICE, number=0, asset="CLAW", amount=100)
    pay = [("CLAW", 7)]

    def propose(wrong: bool = False) -> None:
        s.proposes(who=ALICE, number=0, span=DAY_MS, to=BOB, payments=pay, wrong=wrong)

    propose()
    propose(wrong=True)
    s.ends_a_proposal(who=ALICE, number=0, withdraw=False, cost=1_000)
    for _ in range(2):
        s.says_to_a_proposal(who=CAROL, number=0, verb="approve")
    s.ends_a_proposal(who=CAROL, number=0, withdraw=True, cost=0)
    s.ends_a_proposal(who=CAROL, number=0, withdraw=False, cost=1_000)
    propose()
    for _ in range(2):
        s.says_to_a_proposal(who=CAROL, number=0, verb="reject")
    s.ends_a_proposal(who=ALICE, number=0, withdraw=True, cost=0)
    two = ((ALICE, 1), (CAROL, 1))
    for _ in range(2):
        s.replaces_signers(number=0, by={ALICE, CAROL}, threshold=2, whom=two)
    s.changes_its_key(key=CHANGED)


def _agents(s: Ledgers) -> None:
    def grant() -> None:
        s.lets_an_agent_pay(
            who=ALICE, key=AGENT, span=DAY_MS, lanes=(1,), caps={"CLAW": (40, 110)},
            actions=("anchor.document", "assets.transfer", "payments.schedule"),
            recipients=(), memo=b"order ", must=True,
        )  # fmt: skip

    grant()
    grant()
    for amount in (30, 38, 30, 7, 38):
        s.acts_by_an_agent(
            number=0, to=BOB, asset="CLAW", amount=amount, verb="pay", lane=0, memo=b"order 7",
            stranger=False, span=DAY_MS,
        )  # fmt: skip
    for resigns in (False, True):
        s.ends_a_session(who=ALICE, key=AGENT, resigns=resigns)
        grant()
        s.ends_a_session(who=ALICE, key=AGENT, resigns=resigns)
        s.ends_a_session(who=ALICE, key=AGENT, resigns=resigns)
    for _ in range(2):
        s.sponsors(who=ALICE, whom=CAROL, limits=(2, 4, 20), actions=(), span=DAY_MS)
    for number in range(3):
        s.has_its_fee_paid(payer=ALICE, who=CAROL, number=number, signs=False)
    for _ in range(2):
        s.ends_a_sponsorship(who=ALICE, whom=CAROL)
        s.pays_once(who=ALICE, number=0, to=BOB, amount=1)


def _issuer(s: Ledgers) -> None:
    for _ in range(2):
        s.creates_an_asset(who=ISSUER, name="NOTE", flags=32, cap=None)
        s.describes_an_asset(who=ISSUER, name="NOTE", text="here")
        s.says_what_backs_it(who=ISSUER, name="NOTE", amount=50, ago=DAY_MS, span=2 * DAY_MS)
        s.says_what_backs_it(who=BOB, name="NOTE", amount=50, ago=DAY_MS, span=2 * DAY_MS)
        s.mints_to_itself(who=ISSUER, name="NOTE", amount=30)
        s.changes_a_cap(who=ISSUER, name="NOTE", cap=100)
        s.changes_flags(who=ISSUER, name="NOTE", flags=40)
    for who in (ISSUER, BOB):
        s.burns(who=who, asset="NOTE", amount=7)
        s.appoints(who=who, name="EURX", duty="freeze", whom=DAVE, on=True)
        s.freezes(who=who, asset="EURX", holder=BOB, level=1)
        s.freezes_all(who=who, asset="EURX", on=True)
        s.authorises(who=who, asset="EURX", holder=CAROL, level=1)
        s.claws_back(who=who, asset="EURX", holder=BOB, amount=7, to=ALICE, number=0)
    for who in (BOB, ISSUER):
        s.appoints(who=who, name="EURX", duty="freeze", whom=DAVE, on=False)
        s.freezes(who=who, asset="EURX", holder=BOB, level=0)
        s.freezes_all(who=who, asset="EURX", on=False)
        s.authorises(who=who, asset="EURX", holder=CAROL, level=2)


def _payments(s: Ledgers) -> None:
    s.pays(who=ALICE, to=BOB, asset="EUR", amount=1, kept=False)
    s.pays_refundably(who=ALICE, to=BOB, asset="CLAW", amount=30, days=1)
    s.pays_refundably(who=ALICE, to=ALICE, asset="CLAW", amount=30, days=1)
    s.refunds(who=BOB, number=0, amount=30)
    s.refunds(who=BOB, number=NOBODY, amount=30)
    for secret in (False, True):
        s.asks_for_payment(
            who=BOB, asset="CLAW", amount=7, span=DAY_MS, payer=None, secret=secret, kept=1
        )
        s.pays_an_invoice(who=ALICE, number=0, amount=30)
        s.cancels_an_invoice(who=BOB, number=0)
    s.asks_for_payment(
        who=BOB, asset="CLAW", amount=7, span=DAY_MS, payer=BOB, secret=False, kept=1
    )
    for number in (1, 2, 0, 1):
        s.cancels_an_invoice(who=BOB, number=number)
        s.pays_an_invoice(who=ALICE, number=number, amount=7)

    for _ in range(3):
        s.asks_for_payment(
            who=BOB, asset="CLAW", amount=7, span=DAY_MS, payer=ALICE, secret=False, kept=1
        )
    for number in (1, 2, 3):
        s.pays_an_invoice(who=ALICE, number=number, amount=7)

    def promise(amount: int = 30) -> None:
        s.sets_apart_in_escrow(
            who=ALICE, to=BOB, asset="CLAW", amount=amount, span=DAY_MS, more=DAY_MS, arbiter=ISSUER
        )
        s.schedules(who=ALICE, to=BOB, asset="CLAW", amount=amount, span=DAY_MS)
        s.places_a_hold(
            who=ALICE, to=BOB, asset="CLAW", amount=amount, span=DAY_MS, paid=False, capture=True,
            needed=2,
        )  # fmt: skip

    promise()
    promise(amount=400_000)
    s.captures(who=CAROL, number=3, amount=7, give_back=False)
    s.captures(who=BOB, number=1, amount=7, give_back=False)
    for who in (ONE, ONE, ISSUER):
        s.votes(who=who, number=0, release=True)
    s.cancels_what_is_scheduled(who=CAROL, number=4)
    s.cancels_what_is_scheduled(who=ALICE, number=0)
    s.decides_an_escrow(who=CAROL, number=4, release=True)
    s.decides_an_escrow(who=ISSUER, number=0, release=True)
    promise()
    s.cancels_an_escrow(who=CAROL, number=4)
    s.cancels_an_escrow(who=BOB, number=0)
    for number in (0, 3):
        s.sets_apart_for_a_secret(
            who=ALICE, to=BOB, asset="CLAW", amount=7, span=DAY_MS, number=number
        )
        s.tells_a_secret(who=CAROL, number=3)
        s.tells_a_secret(who=CAROL, number=0)


def _contracts(s: Ledgers) -> None:
    def propose(asked: set[Key]) -> None:
        s.proposes_a_batch(
            who=ALICE, legs=((BOB, 7), (CAROL, 1)), asset="CLAW", needed=2, approvers=asked,
            span=DAY_MS,
        )  # fmt: skip

    propose({ISSUER, ONE})
    propose({TWO, THREE})
    approvers = (ISSUER, ONE)
    s.ends_a_batch(who=ALICE, number=4, withdraw=False)
    for who in (*approvers, ISSUER):
        s.speaks_on_a_batch(who=who, number=4, yes=True)
    s.ends_a_batch(who=BOB, number=4, withdraw=True)
    s.ends_a_batch(who=ALICE, number=4, withdraw=False)
    propose({ISSUER, ONE, CAROL})
    for _ in range(2):
        s.speaks_on_a_batch(who=ISSUER, number=4, yes=False)
    s.ends_a_batch(who=ALICE, number=4, withdraw=True)

    def channel(amount: int) -> None:
        s.opens_a_channel(
            who=ALICE, to=BOB, asset="CLAW", amount=amount, span=DAY_MS, challenge=MINUTE_MS,
            blocks=3,
        )  # fmt: skip

    def use(who: Key, verb: str) -> None:
        s.does_with_a_channel(who=who, number=4, verb=verb, amount=7)

    channel(400_000)
    channel(100)
    for _ in range(2):
        s.claims_by_a_voucher(who=BOB, number=0, amount=30)
    for verb in ("topUp", "finalise", "close", "close", "topUp", "finalise"):
        use(ALICE, verb)
    # The queue looked when the time was over and a block was missing; it looks later again.
    s.next_block(MINUTE_MS)
    for _ in range(3):
        use(ALICE, "finalise")
        s.next_block(1_000)


def _officers(s: Ledgers) -> None:
    for topics in (("kyc",), ("kyc",)):
        s.names_an_issuer(who=ADMIN, issuer=CAROL, on=True, topics=topics)
        end = {"whom": DAVE, "subject": b"q" * 32, "topic": "kyc", "level": 1, "span": DAY_MS}
        s.attests(who=CAROL, **end)
        s.attests(who=ISSUER, **end)
        s.accepts(who=DAVE, issuer=CAROL, topic="kyc", number=0)
    for _ in range(2):
        s.revokes_an_attestation(who=None, number=0)
        s.names_an_issuer(who=ADMIN, issuer=CAROL, on=False, topics=())
        s.says_who_somebody_is(first=ONE, second=TWO, whom=CAROL, subject=b"r" * 32, count=2)
        s.says_how_many_decide(first=ONE, second=TWO, count=2, needed=2, delay=10_000)
        s.makes_a_list(first=ONE, second=TWO, count=2, name="friends", needed=1)
    s.says_how_many_decide(first=ALICE, second=TWO, count=1, needed=2, delay=10_000)
    for on in (True, True, False, False):
        s.changes_a_list(who=ONE, name="friends", on=on, whom=[ALICE.account], ordered=True)
    for number in (3, 4, 9):
        s.proposes_a_policy(
            who=ONE, number=number, delay=20_000, name="usdx", asset="USDX", second=TWO
        )
        s.next_block(MINUTE_MS)
        for amount in (30, 100, 30, 30):
            s.pays_with_particulars(
                who=ALICE, to=BOB, asset="USDX", amount=amount, travels=False, by={ONE}
            )
    s.proposes_a_policy(who=ALICE, number=3, delay=20_000, name="usdx", asset="USDX", second=TWO)
    for number in (0, 1):
        s.speaks_on_a_policy(who=ONE, number=number, yes=True)
        s.speaks_on_a_policy(who=THREE, number=number, yes=False)
    s.proposes_a_policy(who=ONE, number=0, delay=20_000, name="usdx", asset="USDX", second=ALICE)
    s.speaks_on_a_policy(who=ONE, number=0, yes=False)
    s.next_block(HELD_MS)


def _watch(s: Ledgers) -> None:
    for _ in range(2):
        s.names_oracles(who=ADMIN, members={CAROL, DAVE}, needed=1, turned=False)
    for who in (CAROL, ISSUER):
        s.reports(who=who, whom=ALICE, score=700, span=DAY_MS)
        s.next_block(1_000)
        s.takes_a_report_back(who=who, whom=ALICE)
        s.anchors_a_document(who=ALICE, number=0)
        s.opens_a_log(who=ALICE, name="audit", writer=ALICE, role=None, breakers=2)
    for size in (5, 3):
        s.anchors_a_log(who=ALICE, number=0, size=size, version=0, since=0, shown=True)
    s.anchors_a_log(who=ALICE, number=4, size=7, version=0, since=0, shown=False)
    s.anchors_a_log(who=ALICE, number=4, size=7, version=1, since=0, shown=True)
    for who in (ALICE, BOB):
        s.proposes_a_break(who=who, number=0, size=3, span=DAY_MS)
    for wrong in (9, 0, 0):
        s.approves_a_break(who=ONE, number=0, wrong=wrong)
    s.approves_a_break(who=TWO, number=0, wrong=0)
    for _ in range(2):
        s.names_a_writer(who=ALICE, number=0, writer=BOB, role=None)


def _council(s: Ledgers) -> None:
    for who in (ADMIN, ALICE):
        s.changes_a_role(who=who, role="desk", to=BOB, give=True)
        s.locks_an_action(who=who, action="anchor.document", role="desk")
    for _ in range(2):
        s.changes_a_role(who=ADMIN, role="desk", to=BOB, give=False)
    s.anchors_a_document(who=ALICE, number=1)
    s.locks_an_action(who=ADMIN, action="anchor.document", role=None)
    four, five = AUTHORITIES[3:5]
    wanted: tuple[tuple[object, ...], ...] = (
        ("addAuthority", four), ("replaceAuthority", four, five), ("removeAuthority", five),
        ("setParameters", 300), ("grantRole", "desk", ALICE), ("revokeRole", "desk", ALICE),
        ("amend", "later", 100_000), ("cancelAmendment", "later"),
    )  # fmt: skip
    for what in wanted:
        s.votes_for(voters=list(AUTHORITIES[:5]), count=5, what=what, span=DAY_MS)
        for _ in range(4):
            s.next_block(1_000)
    s.votes_for(voters=list(AUTHORITIES[:3]), count=1, what=("setParameters", 200), span=DAY_MS)
    for verb in ("vote", "withdraw", "withdraw"):
        s.votes_again(voter=AUTHORITIES[1], number=0, verb=verb)
    s.votes_again(voter=AUTHORITIES[4], number=0, verb="vote")
