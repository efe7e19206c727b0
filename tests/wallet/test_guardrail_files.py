"""Kept guardrails, codes, co-signers and the log: nobody loosens them quietly or twice.

If these failed, an edited file, an old code or a used approval would lift a limit.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clawpurse.ledger.address import account_text
from clawpurse.ledger.errors import Malformed, Refused, StorageFault
from clawpurse.ledger.params import NATIVE_ASSET
from clawpurse.wallet import approvals, second_factor
from clawpurse.wallet.guardrail_files import WAIT_MS_MAX, Factor, Guardrails
from clawpurse.wallet.guardrail_json import import_allowlist, policy_from, policy_json
from clawpurse.wallet.guardrails import (
    DEFAULT_POLICY,
    AssetRule,
    Cosigner,
    Mode,
    Policy,
    RecipientRule,
    Refusal,
    Stance,
)
from clawpurse.wallet.keys import SigningKey

ALICE, CARL, EVE = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))
START_MS = 1_790_000_000_000
WORDS = Factor(words_key=ALICE.public_key)
LIMIT = Refusal("perDay", NATIVE_ASSET, 100, 200, 0, None, "look", 2)
LOOSE = replace(DEFAULT_POLICY, mode=Mode.ALLOW)
STRICT = replace(
    DEFAULT_POLICY, unknown=Stance.REFUSE, cosigners=(Cosigner("carl", CARL.public_key),)
)


class Clock:
    def __init__(self) -> None:
        self.time_ms = START_MS

    def __call__(self) -> int:
        return self.time_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(tmp_path: Path, clock: Clock) -> Guardrails:
    return Guardrails(tmp_path / "guardrails", now_ms=clock)


def code_of(secret: bytes, clock: Clock) -> str:
    return second_factor.hotp(secret, second_factor.step_of(clock.time_ms))


def enrolled(kept: Guardrails, clock: Clock) -> bytes:
    """Take codes into use, and go on to a time when the next code is another one."""
    secret = kept.enrol(ALICE)
    kept.confirm(ALICE, code_of(secret, clock))
    clock.time_ms += 60_000
    return secret


# RFC 6238, appendix B: the seed of each hash is its own length of "1234567890…".
@pytest.mark.parametrize(
    ("time_s", "codes"),
    [
        (59, ("94287082", "46119246", "90693936")),
        (1111111109, ("07081804", "68084774", "25091201")),
        (1111111111, ("14050471", "67062674", "99943326")),
        (1234567890, ("89005924", "91819424", "93441116")),
        (2000000000, ("69279037", "90698825", "38618901")),
        (20000000000, ("65353130", "77737706", "47863826")),
    ],
)
def test_codes_are_those_of_the_standard(time_s: int, codes: tuple[str, ...]) -> None:
    for code, name, size in zip(codes, ("sha1", "sha256", "sha512"), (20, 32, 64), strict=True):
        secret = (b"1234567890" * 7)[:size]
        step = second_factor.step_of(time_s * 1000)
        assert second_factor.hotp(secret, step, 8, name) == code


def test_a_key_without_guardrails_has_the_default_ones(kept: Guardrails) -> None:
    assert kept.show(ALICE.public_key).policy == DEFAULT_POLICY
    assert not kept.has(ALICE.public_key)
    with pytest.raises(Refused):
        kept.save(ALICE, LOOSE)
    saved, weaker = kept.save(ALICE, LOOSE, fresh=True)
    assert weaker == () and saved.revision == 1
    assert kept.show(ALICE.public_key).policy == LOOSE
    assert kept.show(CARL.public_key).policy == DEFAULT_POLICY


def test_files_are_for_their_owner_alone(kept: Guardrails) -> None:
    kept.save(ALICE, STRICT, WORDS)
    kept.enrol(ALICE)
    assert {one.stat().st_mode & 0o777 for one in kept.directory.iterdir()} == {0o600}


@pytest.mark.parametrize("ending", ["json", "head"])
def test_an_edited_or_lost_file_refuses_everything(kept: Guardrails, ending: str) -> None:
    kept.save(ALICE, STRICT, WORDS)
    file = kept.directory / f"{ALICE.public_key.hex()}.{ending}"
    before = file.read_bytes()
    for text in (before.replace(b"1", b"2", 1), before[: len(before) // 2], b"", b"{}\n", None):
        if text is None:
            file.unlink()
        else:
            file.write_bytes(text)
        with pytest.raises(StorageFault):
            kept.show(ALICE.public_key)
    file.write_bytes(before)
    assert kept.show(ALICE.public_key).policy == STRICT


def test_an_older_policy_cannot_be_put_back(kept: Guardrails) -> None:
    kept.save(ALICE, LOOSE, WORDS)
    file = kept.directory / f"{ALICE.public_key.hex()}.json"
    old = file.read_bytes()
    kept.save(ALICE, STRICT, WORDS)
    file.write_bytes(old)
    with pytest.raises(StorageFault, match="not the newest"):
        kept.show(ALICE.public_key)


def test_a_crash_between_policy_and_log_is_no_damage(kept: Guardrails) -> None:
    kept.save(ALICE, LOOSE, WORDS)
    before = {one: one.read_bytes() for one in kept.directory.iterdir()}
    kept.save(ALICE, STRICT, WORDS)
    for ending in ("head", "log"):
        file = kept.directory / f"{ALICE.public_key.hex()}.{ending}"
        file.write_bytes(before[file])
    assert kept.show(ALICE.public_key).policy == STRICT
    kept.save(ALICE, replace(STRICT, memo_required=True))
    assert [line.what for line in kept.log(ALICE.public_key)] == ["change", "change"]


def test_loosening_needs_a_second_factor_and_tightening_none(
    kept: Guardrails, clock: Clock
) -> None:
    kept.save(ALICE, DEFAULT_POLICY)
    kept.save(ALICE, STRICT, WORDS)
    secret = enrolled(kept, clock)
    for factor in (None, Factor(), Factor(code="000000"), Factor(words_key=EVE.public_key)):
        with pytest.raises(Refused):
            kept.save(ALICE, LOOSE, factor)
    assert kept.show(ALICE.public_key).policy == STRICT
    _, weaker = kept.save(ALICE, LOOSE, Factor(code=code_of(secret, clock)))
    assert any("only say" in line for line in weaker)
    log = list(kept.log(ALICE.public_key))
    assert [line.by["factor"] for line in log] == ["key", "words", "key", "code"]


def test_a_code_counts_once_also_after_the_clock_was_set_back(
    kept: Guardrails, clock: Clock
) -> None:
    kept.save(ALICE, STRICT, WORDS)
    secret = enrolled(kept, clock)
    code = code_of(secret, clock)
    first = kept.override(ALICE, Factor(code=code), {"a": 1}, (LIMIT,))
    with pytest.raises(Refused, match="used already"):
        kept.override(ALICE, Factor(code=code), {"a": 1}, (LIMIT,))
    clock.time_ms -= 60_000
    with pytest.raises(Refused):
        kept.override(ALICE, Factor(code=code_of(secret, clock)), {"a": 2}, (LIMIT,))
    clock.time_ms += 120_000
    second = kept.override(ALICE, Factor(code=code_of(secret, clock)), {"a": 2}, (LIMIT,))
    assert second.number == first.number + 1 and second.covers != first.covers


def test_wrong_codes_make_the_next_one_wait(kept: Guardrails, clock: Clock) -> None:
    kept.save(ALICE, STRICT, WORDS)
    secret = enrolled(kept, clock)
    wrong = f"{(int(code_of(secret, clock)) + 1) % 10**6:06d}"
    for _ in range(5):
        with pytest.raises(Refused, match="wrong"):
            kept.override(ALICE, Factor(code=wrong), {}, ())
    with pytest.raises(Refused, match="Too many"):
        kept.override(ALICE, Factor(code=code_of(secret, clock)), {}, ())
    clock.time_ms += WAIT_MS_MAX
    kept.override(ALICE, Factor(code=code_of(secret, clock)), {}, ())


def test_codes_are_renewed_and_ended_only_with_a_factor(kept: Guardrails, clock: Clock) -> None:
    secret = enrolled(kept, clock)
    with pytest.raises(Refused):
        kept.enrol(ALICE)
    with pytest.raises(Refused):
        kept.forget_codes(ALICE, Factor(code="123456"))
    (kept.directory / f"{ALICE.public_key.hex()}.code").unlink()
    with pytest.raises(StorageFault):
        kept.override(ALICE, Factor(code=code_of(secret, clock)), {}, ())
    fresh = kept.enrol(ALICE, WORDS)
    kept.confirm(ALICE, code_of(fresh, clock))
    clock.time_ms += 60_000
    kept.forget_codes(ALICE, Factor(code=code_of(fresh, clock)))
    assert not kept.asks_for_codes(ALICE.public_key)


def test_a_sealed_secret_opens_for_its_key_alone() -> None:
    secret, nonce = b"s" * 20, b"n" * 24
    sealed = second_factor.seal(secret, ALICE, nonce)
    assert secret not in sealed and second_factor.unseal(sealed, ALICE, nonce) == secret
    with pytest.raises(Malformed):
        second_factor.unseal(sealed, EVE, nonce)
    uri = second_factor.enrolment_uri(secret, "alice")
    assert base64.b32encode(secret).decode() in uri


def test_a_co_signers_word_is_good_once_for_what_it_says(kept: Guardrails, clock: Clock) -> None:
    kept.save(ALICE, STRICT, WORDS)
    subject: dict[str, Any] = {"payments": [], "decimals": {}}
    asked = approvals.decode(kept.request(ALICE.public_key, approvals.PAYMENT, subject).encode())
    given = approvals.decode(asked.signed_by(CARL).encode())
    for wrong in (
        asked,
        asked.signed_by(EVE),
        asked.signed_by(ALICE),
        replace(given, expires_ms=given.expires_ms + 1),
        replace(given, cosigner=EVE.public_key),
        replace(given, key=EVE.public_key),
    ):
        with pytest.raises(Refused):
            kept.override(ALICE, Factor(approval=wrong), subject, (LIMIT,))
    with pytest.raises(Refused, match="something else"):
        kept.override(ALICE, Factor(approval=given), {"other": 1}, (LIMIT,))
    kept.override(ALICE, Factor(approval=given), subject, (LIMIT,))
    with pytest.raises(Refused, match="used already"):
        kept.override(ALICE, Factor(approval=given), subject, (LIMIT,))
    late = kept.request(ALICE.public_key, approvals.PAYMENT, subject).signed_by(CARL)
    clock.time_ms += approvals.VALID_MS
    with pytest.raises(Refused, match="too old"):
        kept.override(ALICE, Factor(approval=late), subject, (LIMIT,))


def test_the_log_tells_where_it_was_tampered_with(kept: Guardrails) -> None:
    kept.save(ALICE, STRICT, WORDS)
    for number in range(3):
        kept.override(ALICE, WORDS, {"n": number}, (LIMIT,))
    lines = list(kept.log(ALICE.public_key))
    assert [line.what for line in lines] == ["change", *["override"] * 3]
    assert lines[1].refusals[0]["limit"] == "perDay" and lines[1].at_ms == START_MS
    file = kept.directory / f"{ALICE.public_key.hex()}.log"
    whole = file.read_bytes()
    rows = whole.splitlines(keepends=True)
    swapped = json.loads(rows[1])
    swapped["subject"] = {"n": 9}
    edited = json.dumps(swapped, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    for text, word in (
        ([rows[0], edited, *rows[2:]], "line 2 was changed"),
        ([rows[0], *rows[2:]], "line 2 was changed"),
        ([rows[0], rows[2], rows[1], rows[3]], "line 2 was changed"),
        (rows[:3], "cut off"),
        ([], "cut off"),
        ([*rows, rows[3]], "line 5 was changed"),
    ):
        file.write_bytes(b"".join(text))
        with pytest.raises(StorageFault, match=word):
            list(kept.log(ALICE.public_key))
        with pytest.raises(StorageFault, match=word):
            kept.override(ALICE, WORDS, {}, ())
    file.write_bytes(whole + b'{"torn')
    kept.override(ALICE, WORDS, {"n": 3}, (LIMIT,))
    assert len(list(kept.log(ALICE.public_key))) == 5


def test_a_policy_reads_back_and_no_half_one_is_read() -> None:
    bob = RecipientRule(CARL.account, "bob", (AssetRule("EUR", 2, 5, None, None),), True, "note")
    policy = replace(STRICT, recipients=(bob,), memo_prefix="order ")
    document = policy_json(policy)
    assert policy_from(json.loads(json.dumps(document))) == policy
    for name in document:
        with pytest.raises(Malformed):
            policy_from({key: value for key, value in document.items() if key != name})
    for change in ({"mode": "off"}, {"memoRequired": 1}, {"unknown": "maybe"}, {"x": 1}):
        with pytest.raises(Malformed):
            policy_from({**document, **change})


def test_the_existing_wallets_allowlist_is_taken_over() -> None:
    listed = {
        "defaultPolicy": {"maxAmount": 250.5, "requireMemo": False, "blockUnknown": True},
        "destinations": [
            {
                "address": account_text(CARL.account),
                "name": "Carl",
                "maxAmount": 100,
                "needsMemo": True,
            },
            {"address": "neutaro1abc", "name": "Elsewhere"},
        ],
    }
    policy, told = import_allowlist(json.dumps(listed).encode(), DEFAULT_POLICY, 2)
    carl = policy.recipient(CARL.account)
    assert carl is not None and carl.label == "Carl" and carl.memo_required
    assert carl.limits[0].per_transaction == 100_00
    assert policy.unknown is Stance.REFUSE and policy.assets[0].per_transaction == 250_50
    assert policy.assets[0].per_day == DEFAULT_POLICY.assets[0].per_day
    assert len(told) == 1 and "Elsewhere was left out" in told[0]
    by_address = {"destinations": {account_text(CARL.account): {"name": "Carl"}}}
    assert import_allowlist(json.dumps(by_address).encode(), Policy(), 2).policy.recipients
    with pytest.raises(Malformed):
        import_allowlist(b'{"destinations": 3}', Policy(), 2)
