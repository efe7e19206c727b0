"""Session keys: who gets one, on which terms, and how it ends.

If these failed, an agent could be given more than its owner meant, or keep it.
"""

from __future__ import annotations

from typing import Any

import pytest

from clawpurse.ledger.errors import BadSignature, Code, Malformed, Refused
from clawpurse.ledger.kernel.entitlements import (
    SESSION_ACTIONS_MAX,
    SESSION_ASSETS_MAX,
    SESSION_MEMO_BYTES_MAX,
    SESSION_RECIPIENTS_MAX,
    SESSIONS_MAX,
    Cap,
    Signers,
)
from clawpurse.ledger.kernel.scene import BlockEnv
from clawpurse.ledger.module_api import Words
from clawpurse.ledger.params import DAY_MS
from clawpurse.ledger.transactions import RawAction
from clawpurse.ledger.transition import authorise, prepare
from clawpurse.modules.accounts.sessions import (
    GRANT,
    LABEL_CHARS_MAX,
    RESIGN,
    REVOKE,
    SESSION_MS_MAX,
    summary_of,
)
from tests.ledger.sandbox import ALICE, BOB, CAROL, DAVE, START_MS, Key, transfer
from tests.modules.agents import AGENT, EVERYTHING, HOUR_MS, ROBOT, Agents
from tests.modules.council import event
from tests.modules.signing import signed_by


def revoke(key: Key = AGENT) -> RawAction:
    return RawAction(REVOKE.name, [key.public])


def resign(key: Key = AGENT, owner: Key = ALICE) -> RawAction:
    return RawAction(RESIGN.name, [owner.account, key.public])


def nothing_left(chain: Agents, owner: Key = ALICE) -> None:
    """Assert that no trace of sessions remains in state, nor anything scheduled."""
    assert chain.account(owner).due_count == 0
    left = [key for (tree, key) in chain.state.records if tree == "kernel" and key[:1] in b"ktd"]
    assert left == []
    assert [key for (tree, key) in chain.state.records if tree == "accounts"] == []


def test_a_granted_session_says_what_it_may_and_signs_within_that() -> None:
    chain = Agents()
    ends_ms = chain.time_ms + DAY_MS
    result = chain.block(
        chain.grant_tx(
            label="shop till",
            expires=ends_ms,
            lanes=[7, 3],
            actions=["till.burn", "assets.transfer"],
            caps=[["EUR", 5, 10], ["CLAW", 1_000, 1_000]],
            recipients=[CAROL.account, BOB.account],
            memo=b"order ",
        )
    )
    assert result.receipts[0].code == 0
    session = chain.session()
    assert session is not None
    assert session.actions == ("assets.transfer", "till.burn")
    assert session.caps == (Cap("CLAW", 1_000, 1_000), Cap("EUR", 5, 10))
    assert session.recipients == tuple(sorted((CAROL.account, BOB.account)))
    assert (session.lanes, session.memo, session.memo_required) == (1 << 7 | 1 << 3, b"order ", 1)
    assert (session.label, session.expires_ms) == ("shop till", ends_ms)
    granted = event(result, "accounts.sessionGranted")
    assert granted.accounts == (ALICE.account, AGENT.account)
    assert granted.data == (AGENT.public, "shop till", ends_ms, 1 << 7 | 1 << 3)
    assert chain.query("accounts.accountsOfKey", AGENT.public, 10) == [ALICE.account]
    paid = chain.act(transfer(BOB, 100), lane=7, memo=b"order 17")
    assert paid.code == 0
    assert (chain.balance(BOB), chain.spent()) == (1_100, 110)


INVALID: list[tuple[str, dict[str, Any], str]] = [
    ("the account's own key", {"key": ALICE}, "accounts.sessionOwnKey"),
    ("an end in the past", {"expires": START_MS}, "accounts.sessionExpiry"),
    ("an end now", {"expires": START_MS + 1_000}, "accounts.sessionExpiry"),
    (
        "an end after a year",
        {"expires": START_MS + 1_001 + SESSION_MS_MAX},
        "accounts.sessionExpiry",
    ),
    ("an end never", {"expires": 2**64 - 1}, "accounts.sessionExpiry"),
    ("a lane twice", {"lanes": [2, 2]}, "accounts.sessionTwice"),
    ("an action twice", {"actions": ["till.burn"] * 2}, "accounts.sessionTwice"),
    ("an unknown action", {"actions": ["till.nothing"]}, "kernel.action"),
    ("an owner's action", {"actions": ["till.owners"]}, "accounts.sessionAction"),
    ("an asset twice", {"caps": [["CLAW", 1, 2], ["CLAW", 2, 3]]}, "accounts.sessionTwice"),
    ("an unknown asset", {"caps": [["GOLD", 1, 2]]}, "kernel.asset"),
    ("a day below a payment", {"caps": [["CLAW", 2, 1]]}, "accounts.sessionCap"),
    ("a recipient twice", {"recipients": [BOB.account] * 2}, "accounts.sessionTwice"),
]


@pytest.mark.parametrize(
    ("terms", "rule"), [row[1:] for row in INVALID], ids=[r[0] for r in INVALID]
)
def test_a_grant_that_makes_no_sense_is_refused(terms: dict[str, Any], rule: str) -> None:
    chain = Agents()
    receipt = chain.grant(**terms)
    assert receipt.rule == rule
    nothing_left(chain)
    assert chain.refused(transfer(BOB, 1)) == "kernel.key"


NEVER = sorted(
    (
        "accounts.changeKey",
        "accounts.grantSession",
        "accounts.revokeSession",
        "accounts.sponsor",
        "accounts.endSponsorship",
    )
)


@pytest.mark.parametrize("action", NEVER)
def test_no_session_key_is_ever_allowed_what_changes_who_may_act(action: str) -> None:
    receipt = Agents().grant(actions=["assets.transfer", action])
    assert (receipt.code, receipt.rule) == (Code.NOT_AUTHORISED, "accounts.sessionAction")


def test_of_the_module_accounts_a_session_key_may_only_open_and_give_itself_up() -> None:
    """Whoever adds an action to this module must think of session keys first."""
    registry = Agents().registry
    open_to_sessions = [
        name
        for name, action in registry.actions.items()
        if action.session and name.startswith("accounts.")
    ]
    assert open_to_sessions == ["accounts.open", "accounts.resignSession"]


UNREADABLE: list[tuple[str, dict[str, Any]]] = [
    ("lane 0 is the owner's", {"lanes": [0]}),
    ("lane 64", {"lanes": [64]}),
    ("no lane", {"lanes": []}),
    ("too many lanes", {"lanes": list(range(1, 65))}),
    ("lanes as a mask", {"lanes": 2}),
    ("no action", {"actions": []}),
    ("an action without a name", {"actions": [""]}),
    ("too many actions", {"actions": ["till.burn"] * (SESSION_ACTIONS_MAX + 1)}),
    ("nothing at once", {"caps": [["CLAW", 0, 1]]}),
    ("nothing a day", {"caps": [["CLAW", 0, 0]]}),
    ("a negative cap", {"caps": [["CLAW", -1, 1]]}),
    ("a cap without a day", {"caps": [["CLAW", 1]]}),
    ("no asset's name", {"caps": [["claw", 1, 1]]}),
    ("too many assets", {"caps": [["CLAW", 1, 1]] * (SESSION_ASSETS_MAX + 1)}),
    ("too many recipients", {"recipients": [BOB.account] * (SESSION_RECIPIENTS_MAX + 1)}),
    ("a recipient of 31 bytes", {"recipients": [bytes(31)]}),
    ("a long memo", {"memo": bytes(SESSION_MEMO_BYTES_MAX + 1)}),
    ("a memo as text", {"memo": "order"}),
    ("a long label", {"label": "x" * (LABEL_CHARS_MAX + 1)}),
    ("a label that moves the cursor", {"label": "a\x1b[2J"}),
    ("true for 1", {"memoRequired": True}),
    ("2 for 1", {"memoRequired": 2}),
]


@pytest.mark.parametrize("terms", [row[1] for row in UNREADABLE], ids=[r[0] for r in UNREADABLE])
def test_a_grant_that_breaks_its_format_is_no_transaction(terms: dict[str, Any]) -> None:
    chain = Agents()
    with pytest.raises(Malformed):
        chain.grant(**terms)


def test_nobody_grants_to_a_key_that_nobody_has() -> None:
    chain = Agents()
    unsigned = chain.tx(ALICE, chain.terms())
    for raw in (
        unsigned,
        chain.tx(ALICE, chain.terms(), approvers=[(ROBOT, ALICE.account)]),
        chain.tx(ALICE, chain.terms(), approvers=[(AGENT, AGENT.account)]),
        chain.tx(ALICE, chain.terms(), approvers=[(AGENT, ALICE.account), (ROBOT, ALICE.account)]),
    ):
        with pytest.raises(BadSignature):
            prepare(raw, chain.registry)


def test_the_key_of_a_signer_is_no_session_key_of_its_account() -> None:
    """It would sign alone for what takes several of them."""
    chain = Agents()
    members = tuple(sorted((key.account, 1) for key in (BOB, CAROL)))

    def with_signers() -> None:
        books = chain.books
        books.entitlements.put_signers(ALICE.account, Signers(2, members))
        record = books.account(ALICE.account)
        assert record is not None
        books.set_account(ALICE.account, record._replace(policy=Signers(2, members).hash))
        chain.state.apply({place: after for place, _, after in books.changed_records()})

    with_signers()
    body = chain.body(ALICE, chain.terms(key=CAROL))
    raw = signed_by(body, senders=[BOB, CAROL], approvers=[(CAROL, ALICE.account)])
    receipt = chain.block(raw).receipts[0]
    assert (receipt.rule, receipt.facts) == (
        "accounts.sessionMember",
        (CAROL.account, ALICE.account),
    )
    body = chain.body(ALICE, chain.terms())
    raw = signed_by(body, senders=[BOB, CAROL], approvers=[(AGENT, ALICE.account)])
    assert chain.block(raw).receipts[0].code == 0
    assert chain.act(transfer(DAVE, 5)).code == 0
    # One signer alone is neither the threshold nor a session key.
    assert chain.refusal(chain.tx(ALICE, transfer(DAVE, 5), signer=BOB)).rule == "kernel.threshold"


def test_a_live_session_is_not_granted_again() -> None:
    chain = Agents()
    assert chain.grant().code == 0
    before = chain.session()
    receipt = chain.grant(lanes=[2], caps=[["CLAW", 9_000, 9_000]])
    assert (receipt.code, receipt.rule) == (Code.DUPLICATE, "accounts.sessionExists")
    assert chain.session() == before


def test_a_lane_belongs_to_one_session_key() -> None:
    chain = Agents()
    chain.grant(lanes=[1, 5])
    receipt = chain.grant(key=ROBOT, lanes=[4, 5])
    assert (receipt.rule, receipt.facts) == ("accounts.sessionLane", (ALICE.account, 5))
    assert chain.grant(key=ROBOT, lanes=[4]).code == 0
    assert chain.refused(transfer(BOB, 1), lane=4) == "kernel.sessionLane"
    assert chain.refused(transfer(BOB, 1), key=ROBOT, lane=1) == "kernel.sessionLane"


def test_an_account_has_only_so_many_session_keys_and_each_ends() -> None:
    chain = Agents()
    keys = [Key(f"agent-{number}") for number in range(SESSIONS_MAX + 1)]
    for number, key in enumerate(keys[:-1], 1):
        assert chain.grant(key=key, lanes=[number]).code == 0
    receipt = chain.grant(key=keys[-1], lanes=[60])
    assert (receipt.code, receipt.rule) == (Code.LIMIT_EXCEEDED, "accounts.sessionsFull")
    assert len(chain.books.entitlements.sessions(ALICE.account)) == SESSIONS_MAX
    assert chain.pay(ALICE, revoke(keys[0])).receipts[0].code == 0
    assert chain.grant(key=keys[-1], lanes=[1]).code == 0
    chain.block(after_ms=31 * DAY_MS)
    nothing_left(chain)


def test_a_key_can_be_a_session_key_of_several_accounts_each_with_its_own_limits() -> None:
    chain = Agents()
    chain.grant(ALICE, caps=[["CLAW", 100, 100]])
    chain.grant(BOB, caps=[["CLAW", 50, 50]])
    assert chain.query("accounts.accountsOfKey", AGENT.public, 10) == sorted(
        (ALICE.account, BOB.account)
    )
    assert chain.act(transfer(DAVE, 90)).code == 0
    assert chain.act(transfer(DAVE, 40), owner=BOB).code == 0
    assert chain.refused(transfer(DAVE, 1), owner=BOB) == "kernel.sessionDay"
    assert (chain.spent(), chain.spent(owner=BOB)) == (100, 50)


def test_the_owner_revokes_and_nothing_of_it_is_left() -> None:
    chain = Agents()
    chain.grant()
    chain.act(transfer(BOB, 100))
    waiting = chain.as_agent(transfer(BOB, 100))
    result = chain.pay(ALICE, revoke())
    ended = event(result, "accounts.sessionEnded")
    assert (ended.accounts, ended.data) == (
        (ALICE.account, AGENT.account),
        (AGENT.public, "revoked"),
    )
    nothing_left(chain)
    assert chain.refusal(waiting).rule == "kernel.key"
    again = chain.pay(ALICE, revoke()).receipts[0]
    assert (again.code, again.rule) == (Code.NOT_FOUND, "accounts.sessionMissing")
    chain.block(after_ms=31 * DAY_MS)


def test_a_transaction_after_the_revocation_in_the_same_block_is_refused() -> None:
    chain = Agents()
    chain.grant()
    execution = chain.execution()
    execution.apply(prepare(chain.tx(ALICE, revoke()), chain.registry))
    with pytest.raises(Refused) as refusal:
        execution.apply(prepare(chain.as_agent(transfer(BOB, 1)), chain.registry))
    assert refusal.value.rule == "kernel.key"


def test_a_session_key_gives_itself_up_whoever_sends_that() -> None:
    chain = Agents()
    chain.grant()
    result = chain.pay(BOB, resign(), approvers=[(AGENT, ALICE.account)])
    assert event(result, "accounts.sessionEnded").data == (AGENT.public, "resigned")
    nothing_left(chain)


def test_a_session_key_gives_itself_up_at_the_expense_of_its_owner_if_it_was_allowed_to() -> None:
    chain = Agents()
    chain.grant()
    approves = [(AGENT, ALICE.account)]
    assert chain.refused(resign(), approvers=approves) == "kernel.sessionAction"
    chain.grant(key=ROBOT, lanes=[2], actions=["accounts.resignSession"])
    approves = [(ROBOT, ALICE.account)]
    assert chain.act(resign(ROBOT), key=ROBOT, lane=2, approvers=approves).code == 0
    assert chain.session(ROBOT) is None and chain.session() is not None


def test_a_session_key_cannot_give_up_another() -> None:
    chain = Agents()
    chain.grant(actions=["accounts.resignSession"])
    chain.grant(key=ROBOT, lanes=[2])
    for approvers in ([], [(AGENT, ALICE.account)], [(AGENT, AGENT.account)]):
        with pytest.raises(BadSignature):
            chain.act(resign(ROBOT), approvers=approvers)
    assert chain.pay(ALICE, resign(DAVE), approvers=[(DAVE, ALICE.account)]).receipts[0].rule == (
        "accounts.sessionMissing"
    )


def test_a_session_ends_by_itself_and_frees_its_lanes() -> None:
    chain = Agents()
    chain.grant(expires=chain.time_ms + HOUR_MS, lanes=[1, 9])
    chain.act(transfer(BOB, 1), lane=9)
    late = chain.as_agent(transfer(BOB, 1), valid_until_ms=chain.time_ms + 2 * HOUR_MS)
    result = chain.block(after_ms=HOUR_MS)
    assert event(result, "accounts.sessionEnded").data == (AGENT.public, "expired")
    assert event(result, "accounts.sessionEnded").transaction is None
    nothing_left(chain)
    assert chain.refusal(late).rule == "kernel.key"
    assert chain.grant(key=ROBOT, lanes=[1, 9]).code == 0


def test_an_expired_session_that_still_waits_to_be_forgotten_signs_nothing() -> None:
    """Due work is bounded in each block; what it has not reached yet must not live on."""
    chain = Agents(params={"due_per_block_max": 1})
    ends_ms = chain.time_ms + HOUR_MS
    chain.grant(expires=ends_ms)
    chain.grant(key=ROBOT, lanes=[2], expires=ends_ms)
    chain.block(after_ms=HOUR_MS)
    left = [key for key in (AGENT, ROBOT) if chain.session(key) is not None]
    assert len(left) == 1
    key, lane = left[0], 1 if left[0] is AGENT else 2
    # The next block would forget it first; a pool judges by the state as it is.
    env = BlockEnv(chain.height + 1, chain.time_ms, chain.params)
    raw = chain.as_agent(transfer(BOB, 1), key=key, lane=lane)
    with pytest.raises(Refused) as refusal:
        authorise(chain.books, prepare(raw, chain.registry), env)
    assert refusal.value.rule == "kernel.sessionExpired"


def test_a_key_is_granted_again_while_its_ended_session_waits_to_be_forgotten() -> None:
    chain = Agents(params={"due_per_block_max": 1})
    ends_ms = chain.time_ms + HOUR_MS
    keys = [Key(f"agent-{number}") for number in range(4)]
    for number, key in enumerate(keys, 1):
        chain.grant(key=key, lanes=[number], expires=ends_ms)
    chain.block(after_ms=HOUR_MS)
    raws, sequence = [], chain.sequence(ALICE)
    for number, key in enumerate(keys, 1):
        action = chain.terms(key=key, lanes=[number], expires=ends_ms + HOUR_MS)
        approvers = [(key, ALICE.account)]
        raws.append(chain.tx(ALICE, action, approvers=approvers, sequence=sequence))
        sequence += 1
    result = chain.block(*raws)
    assert [receipt.code for receipt in result.receipts] == [0] * 4
    chain.block(after_ms=HOUR_MS)
    for _ in range(4):
        chain.block()
    nothing_left(chain)


def test_sequences_of_a_lane_go_on_from_one_session_key_to_the_next() -> None:
    """A signature of the first is never valid for what the second may do."""
    chain = Agents()
    chain.grant()
    first = chain.as_agent(transfer(BOB, 1))
    chain.block(first)
    chain.pay(ALICE, revoke())
    chain.grant(key=ROBOT)
    assert chain.refusal(first).rule == "kernel.key"
    assert chain.sequence(ALICE, 1) == 1
    assert chain.act(transfer(BOB, 1), key=ROBOT).code == 0


def test_a_grant_in_words_says_everything_that_it_allows() -> None:
    words = Words(lambda account: account.hex()[:4], lambda asset, amount: f"{amount} {asset}")
    chain = Agents()

    def said(**changes: Any) -> str:
        raw = chain.terms(**changes)
        return GRANT.words(GRANT.named(GRANT.read(raw.fields)), words)

    text = said(lanes=[2, 3], recipients=[BOB.account], memo=b"order ", expires=START_MS)
    for part in (
        f"0x{AGENT.public.hex()} (shop)",
        "2027-01-15",
        "lane 2, 3",
        "assets.transfer",
        "1000 CLAW at once",
        "2500 CLAW a day",
        BOB.account.hex()[:4],
        "“order ”",
    ):
        assert part in text, part
    assert "anybody" in said()
    assert "must write a memo" in said(memoRequired=1)
    assert "take nothing" in said(caps=[])
    # A prefix may end within a character, or be none at all; a terminal must survive it.
    assert "0x1b5b324a" in said(memo=b"\x1b[2J")
    assert said(memo="ä".encode()[:1]).isprintable()
    for action, values in ((REVOKE, [AGENT.public]), (RESIGN, [ALICE.account, AGENT.public])):
        assert AGENT.public.hex() in action.words(action.named(action.read(values)), words)


def test_a_session_key_may_be_allowed_all_that_is_open_to_one() -> None:
    chain = Agents()
    assert chain.grant(actions=EVERYTHING, lanes=list(range(1, 64))).code == 0
    assert summary_of(lambda key: chain.state.get("accounts", key), ALICE.account).sessions == 1
