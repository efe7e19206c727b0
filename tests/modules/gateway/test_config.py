"""The gateway's file: what is wrong is named, what changed is shown, nothing half is taken over."""

from __future__ import annotations

from pathlib import Path

import pytest

from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.gateway.config import (
    FIXED,
    GatewayConfig,
    changes,
    parse_config,
    read_config,
)
from clawpurse.modules.gateway.paths import canonical

UPSTREAM = '[upstreams.x]\ntargets = ["http://127.0.0.1:1"]\n'
ROUTE = '[[routes]]\nname = "x"\npath = "/x/*"\nupstream = "x"\n'
PAYEE = 'payee = "claw1shop"\n'


def test_a_small_file_is_enough() -> None:
    """Whoever tries it out writes six lines."""
    found = parse_config(UPSTREAM + ROUTE)
    assert found.address == ("127.0.0.1", 4020)
    assert found.routes[0].price_of("GET") == ()
    for name in FIXED:
        assert name in GatewayConfig.model_fields, name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("listn = 'x'", "listn"),
        ("listen = 'x'", "no HOST:PORT"),
        ("listen = '0.0.0.0:4020'", "without TLS"),
        ("tls_certificate = 'x'", "go together"),
        ("client_ca = 'x'", "client_ca needs"),
        ("invoice_ttl_s = 1", "invoice_ttl_s"),
        ("invoice_ttl_s = '300'", "invoice_ttl_s"),
        (ROUTE, "no upstream"),
        (UPSTREAM + ROUTE + ROUTE, "two routes"),
        (UPSTREAM + ROUTE + "prices = [{amount = 1}]", "nobody is paid"),
        (PAYEE + UPSTREAM + ROUTE + "prices = [{amount = 0}]", "prices.0.amount"),
        (PAYEE + UPSTREAM + ROUTE + "prices = [{amount = 1.5}]", "prices.0.amount"),
        (PAYEE + UPSTREAM + ROUTE + 'prices = [{amount = 1, asset = "claw"}]', "asset"),
        (UPSTREAM + ROUTE.replace("/x/*", "x"), "starts with a slash"),
        (UPSTREAM + ROUTE.replace("/x/*", "/x/../y"), "dot segments"),
        (UPSTREAM + ROUTE.replace("/x/*", "/**/y"), "at the end"),
        (UPSTREAM + ROUTE.replace("/x/*", "/x*"), "whole segment"),
        (UPSTREAM + ROUTE.replace("/x/*", "/%41"), "is written /A"),
        (UPSTREAM + ROUTE + "roles = ['a']", "roles need access"),
        (UPSTREAM + ROUTE + "cors = {origins = ['*'], credentials = true}", "never with"),
        (UPSTREAM + ROUTE + "hosts = ['A']", "no host"),
        (UPSTREAM + ROUTE + "strip_prefix = '/y'", "no beginning"),
        ('[upstreams.x]\ntargets = ["http://127.0.0.1/path"]', "without a path"),
        ('[upstreams.x]\ntargets = ["file:///x"]', "http://"),
        ("[upstreams.x]\ntargets = []", "targets"),
        ("[[[", "gateway.toml"),
    ],
)
def test_a_mistake_is_named_in_one_line(text: str, said: str) -> None:
    """Otherwise an operator guesses at midnight."""
    with pytest.raises(OperatorError) as found:
        parse_config(text)
    line = str(found.value)
    assert said in line and "\n" not in line
    assert "clawpurse gateway check" in line


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A typing error in the name of the file is the first one."""
    with pytest.raises(OperatorError, match="No such file"):
        read_config(tmp_path / "gateway.toml")
    (tmp_path / "gateway.toml").write_bytes(b"\xff")
    with pytest.raises(OperatorError):
        read_config(tmp_path / "gateway.toml")


def test_what_changed_is_shown_line_by_line() -> None:
    """Whoever reloads sees what they did."""
    old = parse_config(UPSTREAM + ROUTE)
    more = ROUTE.replace('"x"', '"y"', 1)
    new = parse_config("idle_ms = 1000\n" + UPSTREAM + ROUTE + "body_ms = 5000\n" + more)
    assert list(changes(old, new)) == ["idle_ms: 60000 → 1000", "+ route y", "~ route x"]
    assert list(changes(new, old)) == ["idle_ms: 1000 → 60000", "- route y", "~ route x"]
    assert list(changes(old, old)) == []


def test_a_pattern_is_a_path_in_its_one_spelling() -> None:
    """What is matched is what is forwarded."""
    for text in ("/", "/**", "/a/*/b", "/a/**", "/%C3%A9"):
        path = ROUTE.replace("/x/*", text)
        assert parse_config(UPSTREAM + path).routes[0].path == text == canonical(text)
