"""The guide's table of OWASP ASVS checks names tests that exist; and tests that it alone needs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from clawpurse.modules.auth.passwords import Hasher, password_bytes
from clawpurse.modules.auth.sessions import level_of
from clawpurse.modules.kit.web.errors import UNAUTHENTICATED
from tests.modules.auth.signworld import ADMIN, CHEAP, PASSWORD, World

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs/modules/auth.md"
ROW = re.compile(r"^\| (V?\d+\.\d+\.\d+) \| [^|]+ \| ([^|]+) \|$", re.M)
NAME = re.compile(r"`(test_\w+)`")


def rows() -> list[tuple[str, str]]:
    text = PAGE.read_text("utf-8")
    return ROW.findall(text[text.index("## What is checked") :])


def test_every_check_names_tests_that_exist() -> None:
    """Otherwise the table is a promise that nobody keeps."""
    there = {
        node.name
        for folder in ("tests/modules/auth", "tests/modules/kit/web", "tests/browser")
        for path in (ROOT / folder).glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    found = rows()
    assert len(found) >= 40
    assert len({number for number, _ in found}) == len(found)
    for number, said in found:
        names = NAME.findall(said)
        assert names or said.strip().startswith("by design:"), number
        assert set(names) <= there, (number, set(names) - there)


async def test_a_password_counts_to_its_last_letter() -> None:
    """Otherwise a long password is as good as its beginning."""
    hasher, long = Hasher(CHEAP), "b" + "a" * 254
    stored = await hasher.hashed(password_bytes(long + "x"))
    assert not await hasher.matches(stored, password_bytes(long + "y"))
    assert not await hasher.matches(stored, password_bytes(long + "X"))
    assert not await hasher.matches(stored, password_bytes(long + "x "))
    assert await hasher.matches(stored, password_bytes(long + "x"))


async def test_a_password_is_good_after_years(world: World) -> None:
    """Otherwise people number their passwords."""
    await world.register("ada")
    world.later(5 * 366 * 86_400_000)
    assert "accessToken" in await world.call("login", name="ada", password=PASSWORD)


async def test_there_is_nobody_at_the_start(world: World) -> None:
    """Otherwise a default account is everybody's."""
    assert (await world.call("listUsers", ADMIN))["users"] == []
    for name in ("admin", "operator", "root", "test"):
        answer = await world.call("login", name=name, password=name)
        assert answer["code"] == UNAUTHENTICATED


async def test_every_sign_in_makes_another_session(world: World) -> None:
    """Otherwise a session that was planted becomes its victim's."""
    first = await world.register("ada")
    second = await world.call("login", name="ada", password=PASSWORD)
    third = await world.call("refresh", refreshToken=second["refreshToken"])
    assert first["session"] != second["session"] == third["session"]
    assert len({one["refreshToken"] for one in (first, second, third)}) == 3
    assert len({one["accessToken"] for one in (first, second, third)}) == 3


async def test_sign_ins_are_noted_good_ones_and_bad_ones(world: World) -> None:
    """Otherwise nobody sees an attack, or can say when it was."""
    token = (await world.register("ada"))["accessToken"]
    await world.add_app(token)
    await world.call("login", name="ada", password="wrong")
    asked = await world.call("login", name="ada", password=PASSWORD)
    await world.call("finishLogin", attempt=asked["attempt"], totp="000000")
    await world.call("logout", token)
    assert world.history() == [
        "invited",
        "registered",
        "signedIn",
        "totpAdded",
        "signInRefused",
        "factorRefused",
        "sessionEnded",
    ]


@pytest.mark.parametrize(
    ("methods", "level"),
    [
        (("pwd",), "aal1"),
        (("pop",), "aal1"),
        (("pwd", "otp"), "aal2"),
        (("pwd", "rec"), "aal2"),
        (("pop", "otp"), "aal2"),
        (("otp", "rec"), "aal1"),
        (("mfa",), "aal2"),
    ],
)
def test_two_factors_are_two(methods: tuple[str, ...], level: str) -> None:
    """Otherwise the same proof twice opens what two were asked for."""
    assert level_of(methods) == level
