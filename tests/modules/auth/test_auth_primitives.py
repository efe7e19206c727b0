"""Passwords, codes, chain-key messages: what they take, what they refuse, what stays hidden."""

from __future__ import annotations

import statistics

import pytest
import trio

from clawpurse.ledger.crypto import public_key_of, sign
from clawpurse.ledger.errors import Malformed
from clawpurse.modules.auth.chainkeys import TAG, Challenge, is_signed, message_of
from clawpurse.modules.auth.codes import (
    RECOVERY_CODES,
    digest_of,
    new_recovery_codes,
    new_secret,
    recovery_digest,
)
from clawpurse.modules.auth.passwords import (
    CHARS_MAX,
    HASHES_WAITING_MAX,
    Cost,
    Hasher,
    check_new,
    password_bytes,
)
from clawpurse.modules.auth.rights import check_wanted, rights_of, role_matrix
from clawpurse.modules.auth.settings import AuthSettings
from clawpurse.modules.auth.totp import STEP_MS, enrolment_uri, hotp, step_of_code, totp
from clawpurse.modules.kit.web.errors import RATE_LIMITED, RpcError

CHEAP = Cost(memory_kib=8, passes=1)
NAMES = ("ada.lovelace@example.org", "ClawPurse")
SETTINGS = AuthSettings(
    issuer="https://id.example.org",
    audience=("net-1",),
    origins=("https://id.example.org",),
    rp_id="example.org",
    role_scopes={"operator": ("admin_*",), "auditor": ("audit_*", "chain_*")},
)


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "пятнадцать слонов идут домой",
        "五頭の象が静かに家へ帰る夜の長い話",
        "x9 🐘 lamp 🪁 quilt thaw",
        "q7#" * 3 + "wobble lantern" * 3 + "e",
        "mild otter " * 1 + "paints seven bridges " + "z" * 5,
    ],
)
def test_any_long_password_is_taken(password: str) -> None:
    """A rule of composition would make people choose worse ones, or shut their script out."""
    check_new(password, NAMES, alone=True)


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("short", "5 characters"),
        ("fourteen chars", "14 characters"),
        ("x" * (CHARS_MAX + 1), "257 characters"),
        ("a" * 20, "easy to guess"),
        ("qwertyuiopasdfgh", "easy to guess|tries first"),
        ("1234567890123456", "easy to guess|tries first"),
        ("passwordpassword", "easy to guess|tries first"),
        ("ada.lovelace@example.org", "your name"),
        ("ClawPurseClawPurse", "your name"),
        ("\ud800" * 20, "Unicode"),
    ],
)
def test_what_a_thief_tries_first_is_refused(password: str, why: str) -> None:
    """Otherwise the first hundred guesses open accounts; what is refused is never quoted."""
    with pytest.raises(Malformed, match=why) as told:
        check_new(password, NAMES, alone=True)
    assert password not in str(told.value)


def test_beside_a_second_factor_eight_characters_will_do() -> None:
    """Otherwise nobody sets one up; common ones are refused there too."""
    check_new("vq8 lamp", NAMES, alone=False)
    for weak in ("password", "trustno1", "seven77"):
        with pytest.raises(Malformed):
            check_new(weak, NAMES, alone=False)


def test_another_keyboard_writes_the_same_password() -> None:
    """Otherwise a person is shut out by a machine that composes letters differently."""
    assert password_bytes("caf\u00e9 \ufb01sh") == password_bytes("cafe\u0301 fish")


async def test_a_hash_matches_its_password_alone() -> None:
    """Otherwise anybody signs in."""
    hasher = Hasher(CHEAP)
    stored = await hasher.hashed(b"one")
    assert stored.startswith(b"$argon2id$v=19$m=8,t=1,p=1$")
    assert await hasher.matches(stored, b"one")
    assert not await hasher.matches(stored, b"One")
    assert not await hasher.matches(None, b"one")


async def test_a_cheaper_hash_is_seen_as_outdated() -> None:
    """Otherwise a raised cost protects new users only."""
    stored = await Hasher(CHEAP).hashed(b"one")
    assert not Hasher(CHEAP).is_outdated(stored)
    assert Hasher(Cost(16, 1)).is_outdated(stored)
    assert Hasher(Cost(8, 2)).is_outdated(stored)
    assert await Hasher(Cost(16, 1)).matches(stored, b"one")


async def test_the_decoy_costs_as_much_as_a_hash() -> None:
    """Otherwise a short answer tells that nobody is registered under a name."""
    stored = await Hasher(CHEAP).hashed(b"one")
    decoy = Hasher(CHEAP)._decoy
    assert len(stored) == len(decoy)
    assert stored.split(b"$")[:4] == decoy.split(b"$")[:4]


@pytest.mark.real
async def test_the_loop_goes_on_while_passwords_are_hashed() -> None:
    """Otherwise a burst of sign-ins stops every other call for seconds."""
    hasher, wakes, done = Hasher(), list[float](), trio.Event()

    async def wake() -> None:
        while not done.is_set():
            before = trio.current_time()
            await trio.sleep(0.001)
            wakes.append(trio.current_time() - before)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wake)
        async with trio.open_nursery() as sign_ins:
            for _ in range(4):
                sign_ins.start_soon(hasher.hashed, b"word")
        done.set()
    assert hasher.done == 4
    assert statistics.median(wakes) < 0.02, statistics.median(wakes)


async def test_beyond_a_bound_hashes_are_refused() -> None:
    """Otherwise a flood of sign-ins fills memory and everybody waits for minutes."""
    hasher = Hasher(CHEAP)
    hasher._waiting = HASHES_WAITING_MAX
    with pytest.raises(RpcError) as told:
        await hasher.hashed(b"one")
    assert told.value.code == RATE_LIMITED


SHA1, SHA256, SHA512 = ((b"1234567890" * 7)[:length] for length in (20, 32, 64))
VECTORS = [
    # RFC 6238, appendix B.
    (59, "94287082", "46119246", "90693936"),
    (1111111109, "07081804", "68084774", "25091201"),
    (1111111111, "14050471", "67062674", "99943326"),
    (1234567890, "89005924", "91819424", "93441116"),
    (2000000000, "69279037", "90698825", "38618901"),
    (20000000000, "65353130", "77737706", "47863826"),
]


@pytest.mark.parametrize(("seconds", "sha1", "sha256", "sha512"), VECTORS)
def test_codes_are_those_of_rfc_6238(seconds: int, sha1: str, sha256: str, sha512: str) -> None:
    """Otherwise no app shows the code that we want."""
    now_ms = seconds * 1000
    assert totp(SHA1, now_ms, 8) == sha1
    assert totp(SHA256, now_ms, 8, "sha256") == sha256
    assert totp(SHA512, now_ms, 8, "sha512") == sha512


def test_codes_are_those_of_rfc_4226() -> None:
    """The counters of its appendix D."""
    assert [hotp(SHA1, counter) for counter in range(3)] == ["755224", "287082", "359152"]


def test_a_code_counts_once_within_a_step_to_either_side() -> None:
    """Otherwise whoever looks over a shoulder signs in too."""
    now_ms = 1_800_000_000_000
    here = now_ms // STEP_MS
    for step, good in ((-2, False), (-1, True), (0, True), (1, True), (2, False)):
        found = step_of_code(SHA1, hotp(SHA1, here + step), now_ms, -1)
        assert (found == here + step) is good
        assert good or found is None
    assert step_of_code(SHA1, hotp(SHA1, here), now_ms, here) is None
    assert step_of_code(SHA1, hotp(SHA1, here), now_ms, here + 1) is None
    for odd in ("", "12345", "1234567", "abcdef", "１２３４５６"):
        assert step_of_code(SHA1, odd, now_ms, -1) is None


def test_the_uri_is_what_apps_read() -> None:
    """Otherwise the QR code opens nothing."""
    uri = enrolment_uri(SHA1, "Claw Purse", "ada@example.org")
    assert uri == (
        "otpauth://totp/Claw%20Purse:ada%40example.org?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
        "&issuer=Claw%20Purse&algorithm=SHA1&digits=6&period=30"
    )


def test_recovery_codes_are_random_and_read_as_people_write_them() -> None:
    """Otherwise a code from paper fails for a blank or a capital, or can be guessed."""
    made = new_recovery_codes()
    assert len({*made}) == RECOVERY_CODES
    assert all(len(code.replace("-", "")) == 24 for code in made)
    assert recovery_digest(made[0].upper().replace("-", " ")) == recovery_digest(made[0])
    assert recovery_digest(made[0]) != recovery_digest(made[1])
    assert digest_of(new_secret("cpi_")) != digest_of(new_secret("cpi_"))


SEED = bytes(range(32))
CHALLENGE = Challenge(
    "example.org",
    "net-1",
    bytes(32),
    public_key_of(SEED),
    b"n" * 16,
    1_800_000_000_000,
    1_800_000_300_000,
)


def test_the_text_that_a_wallet_signs_is_as_documented() -> None:
    """A wallet that is written from the page signs exactly this."""
    assert CHALLENGE.text == (
        "ClawPurse sign-in, version 1\n"
        "domain: example.org\n"
        "chain: net-1\n"
        f"genesis: 0x{'00' * 32}\n"
        "account: claw1qwss00lnecgtu8tsm5vwwj7qn9n7f43snwjs6hcamjrxgyj4xxuqz92rwf\n"
        f"nonce: {'6e' * 16}\n"
        "issued: 2027-01-15T08:00:00.000Z\n"
        "expires: 2027-01-15T08:05:00.000Z"
    )
    assert message_of(CHALLENGE.text)[:16] == TAG
    assert len(CHALLENGE.message) == 48


def test_a_signature_is_for_one_domain_one_network_one_challenge() -> None:
    """Otherwise a page that somebody was lured to signs in elsewhere with it."""
    signature = sign(SEED, CHALLENGE.message)
    key = public_key_of(SEED)
    assert is_signed(CHALLENGE, key, signature)
    for field, value in (
        ("domain", "evil.example"),
        ("chain_id", "net-2"),
        ("genesis_hash", b"\1" * 32),
        ("account", b"\2" * 32),
        ("nonce", b"m" * 16),
        ("expires_ms", 1_800_000_300_001),
    ):
        parts = {name: getattr(CHALLENGE, name) for name in CHALLENGE.__slots__}
        assert not is_signed(Challenge(**{**parts, field: value}), key, signature)
    assert not is_signed(CHALLENGE, public_key_of(b"x" * 32), signature)
    assert not is_signed(CHALLENGE, key, b"")


def test_roles_on_the_ledger_add_scopes() -> None:
    """Otherwise a role opens nothing, or everybody is an operator."""
    plain = rights_of(SETTINGS, ())
    assert not plain.scopes.allows("admin_stop")
    assert plain.roles == ()
    more = rights_of(SETTINGS, ("operator", "unheard.of"))
    assert more.scopes.allows("admin_stop")
    assert more.roles == ("operator",)
    assert rights_of(SETTINGS, ("operator",), "chain_getStatus") == (
        rights_of(SETTINGS, (), "chain_getStatus")
    )
    # What everybody has rests on no role.
    assert rights_of(SETTINGS, ("auditor",), "chain_*").roles == ()
    assert rights_of(SETTINGS, ("auditor",), "chain_* audit_search").roles == ("auditor",)


def test_more_scopes_than_the_roles_reach_are_refused() -> None:
    """Otherwise an API key outgrows who made it."""
    assert check_wanted(SETTINGS, ("operator",), ["admin_stop"]).scopes.text == "admin_stop"
    for wanted in (["*"], ["admin_stop"], ["chain_*", "audit_*"]):
        with pytest.raises(RpcError):
            check_wanted(SETTINGS, (), wanted)


def test_the_role_matrix_names_every_role() -> None:
    """Otherwise an auditor misses who can do what."""
    found = role_matrix(SETTINGS, {"assets.mint": "minter"})
    assert [one["role"] for one in found] == ["", "auditor", "auth.admin", "minter", "operator"]
    assert found[3]["actions"] == ["assets.mint"]
    assert found[4]["scopes"] == ["admin_*"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"origins": ("http://id.example.org",)},
        {"origins": ("https://id.example.org/path",)},
        {"origins": ("https://example.org.evil.net",)},
        {"token_life_ms": 3_600_000},
        {"base_scopes": ("chain_*",)},
        {"role_scopes": {"operator": ("not a scope",)}},
        {"argon_memory_kib": 1_024},
        {"session_idle_ms": 172_800_000},
        {"unknown": 1},
    ],
)
def test_a_configuration_that_weakens_is_refused(wrong: dict[str, object]) -> None:
    """Otherwise one typing error opens every account."""
    with pytest.raises(ValueError):
        AuthSettings.model_validate({**SETTINGS.model_dump(), **wrong})
