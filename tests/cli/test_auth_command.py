"""`clawpurse auth` against the service: what is signed is read first, what is kept is private."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clawpurse.cli.main import run
from clawpurse.cli.session import Session
from clawpurse.ledger.address import account_from_text
from clawpurse.modules.auth.chainkeys import Challenge, is_signed
from clawpurse.modules.kit.web.errors import RpcError
from clawpurse.wallet.home import ClientHome
from clawpurse.wallet.keyfile import KdfCost
from clawpurse.wallet.keystore import Keystore
from tests.cli.conftest import SettableClock

NOW_MS = 1_800_000_000_000


Auth = Callable[..., tuple[int, str, str]]


class StubService:
    """Answers as a sign-in service: one challenge, one user, one session."""

    def __init__(self) -> None:
        self.domain = "localhost"
        self.second = False
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.token = ""

    async def __aenter__(self) -> StubService:
        return self

    async def __aexit__(self, *_error: object) -> None:
        return None

    async def call(self, method: str, params: Any = None) -> Any:
        self.calls.append((method, params))
        if method == "auth_challenge":
            account = account_from_text(params["account"])
            asked = Challenge(
                self.domain, "net-1", bytes(32), account, b"n" * 32, NOW_MS, NOW_MS + 1
            )
            return {"attempt": "cpa_1", "text": asked.text, "message": "0x00"}
        if method == "auth_loginKey" and self.second:
            return {"status": "secondFactor", "attempt": "cpa_2", "factors": ["totp"]}
        if method == "auth_bindAccount":
            return {"user": "U-1", "account": "claw1…", "roles": ["auditor"]}
        if method == "auth_logout":
            return {"changed": True}
        if params.get("totp") == "000000":
            raise RpcError(-32006, "that signs nobody in")
        count = len(self.calls)
        return {
            "status": "signedIn",
            "user": "U-1",
            "session": "s-1",
            "accessToken": f"access-{count}",
            "expires": "2027-01-15T08:05:00.000Z",
            "refreshToken": f"refresh-{count}",
            "level": "aal1",
            "scopes": ["auth_*"],
            "enrol": False,
        }


@pytest.fixture
def service() -> StubService:
    return StubService()


@pytest.fixture
def auth(
    wallet: Keystore,
    home: Path,
    clock: SettableClock,
    service: StubService,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Auth:
    """Runs `clawpurse auth …` with a key `alice`; gives exit code, output, errors."""
    assert wallet.has("alice")
    monkeypatch.setenv("CLAWPURSE_HOME", str(home))
    # Else the unlock seals a cheap key file anew, at the cost of production.
    monkeypatch.setattr(ClientHome.keystore, "__defaults__", (KdfCost(1, 8 * 2**20),))

    def call(*words: str) -> tuple[int, str, str]:
        opened: Any = lambda _url: service  # noqa: E731
        session = Session({"CLAWPURSE_HOME": str(home), "TERM": "dumb"}, opened, clock)
        code = run(["auth", *words], session)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def log_in(auth: Auth, out: Path, passphrase_file: str, *more: str) -> tuple[int, str, str]:
    at = ("--service", "http://127.0.0.1:9643", "--out", str(out))
    return auth("login", "alice", *at, "--passphrase-file", passphrase_file, *more)


def test_a_key_signs_in_and_the_session_is_renewed(
    auth: Auth, service: StubService, tmp_path: Path, passphrase_file: str, wallet: Keystore
) -> None:
    """Otherwise a member without a browser has no token."""
    out, token = tmp_path / "alice.session", tmp_path / "alice.token"
    code, said, read = log_in(auth, out, passphrase_file)
    assert (code, "signed in as U-1" in said) == (0, True), read
    # What is signed was shown, and is what the service will check.
    assert "domain: localhost" in read
    challenge, signed = service.calls[0][1], service.calls[1][1]
    asked = Challenge(
        "localhost",
        "net-1",
        bytes(32),
        account_from_text(challenge["account"]),
        b"n" * 32,
        NOW_MS,
        NOW_MS + 1,
    )
    key, signature = (bytes.fromhex(signed[name][2:]) for name in ("publicKey", "signature"))
    assert is_signed(asked, key, signature)
    assert key == wallet.show("alice").key
    assert out.stat().st_mode & 0o777 == 0o600
    assert auth("token", str(out), "--out", str(token))[0] == 0
    assert service.calls[-1][1] == {"refreshToken": "refresh-2"}
    assert (token.read_text(), token.stat().st_mode & 0o777) == ("access-3\n", 0o600)
    # A refresh token counts once: the file has the newest one.
    assert json.loads(out.read_text())["refreshToken"] == "refresh-3"
    assert auth("logout", str(out))[0] == 0
    assert not out.exists()
    assert service.calls[-1][0] == "auth_logout"


def test_a_challenge_for_another_place_is_not_signed(
    auth: Auth, service: StubService, tmp_path: Path, passphrase_file: str
) -> None:
    """Otherwise a service that somebody was lured to signs in elsewhere with the answer."""
    out = tmp_path / "alice.session"
    service.domain = "bank.example"
    code, _, told = log_in(auth, out, passphrase_file)
    assert code != 0
    assert "bank.example" in told
    assert [name for name, _ in service.calls] == ["auth_challenge"]
    assert log_in(auth, out, passphrase_file, "--domain", "bank.example")[0] == 0


def test_an_account_is_bound_by_its_key(
    auth: Auth, service: StubService, passphrase_file: str
) -> None:
    """Otherwise nobody's roles on the ledger come to their tokens."""
    at = ("--service", "http://127.0.0.1:9643", "--passphrase-file", passphrase_file)
    code, said, told = auth("bind", "alice", *at)
    assert (code, "U-1 acts for" in said) == (0, True), told
    assert [name for name, _ in service.calls] == ["auth_challenge", "auth_bindAccount"]
    assert set(service.calls[1][1]) == {"attempt", "publicKey", "signature"}


def test_a_second_factor_is_shown_from_a_file(
    auth: Auth, service: StubService, tmp_path: Path, passphrase_file: str
) -> None:
    """Otherwise whoever protects their account cannot use the command line."""
    service.second = True
    out, code_file = tmp_path / "alice.session", tmp_path / "code"
    code, _, told = log_in(auth, out, passphrase_file)
    assert (code, "--code-file" in told) == (2, True)
    for text, kind in (("123456", "totp"), ("abcd-efgh-2345", "recoveryCode")):
        code_file.write_text(text)
        assert log_in(auth, out, passphrase_file, "--code-file", str(code_file))[0] == 0
        assert service.calls[-1][1][kind] == text
        out.unlink()


def test_no_session_is_told_with_the_command_that_makes_one(auth: Auth, tmp_path: Path) -> None:
    """Otherwise a person reads a traceback."""
    code, _, told = auth("token", str(tmp_path / "none"))
    assert (code, "clawpurse auth login" in told) == (2, True)
    (tmp_path / "odd").write_text("{}")
    assert auth("token", str(tmp_path / "odd"))[0] == 2
