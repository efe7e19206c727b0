"""A typing error in a settings file is found with its line; writing keeps what people wrote."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.errors import Malformed
from clawpurse.wallet.settings import Settings, read_settings, with_value, write_setting

TEXT = """\
# my networks
network = "test"  # chosen

[networks.test]
rpc = ["http://127.0.0.1:9641"]

[networks."my net"]  # second
rpc = "http://localhost:1"
"""


def test_an_unknown_key_is_named_with_line_and_nearest_name() -> None:
    settings = Settings("# a\n\n[store]\nmin_free_dsk = 5\n", "config.toml")
    with pytest.raises(Malformed) as caught:
        settings.check_keys(("store",), ["min_free_disk", "path"])
    assert str(caught.value) == "config.toml:4: unknown min_free_dsk; nearest: min_free_disk"


def test_a_key_unlike_all_others_gets_the_list() -> None:
    with pytest.raises(Malformed, match=r"config.toml:1: unknown zzz; known: path"):
        Settings("zzz = 5\n", "config.toml").check_keys((), ["path"])


def test_broken_toml_is_a_typed_error_with_its_place() -> None:
    with pytest.raises(Malformed, match=r"config.toml: is not TOML .*line 2"):
        Settings("a = 1\nb = = 2\n", "config.toml")


def test_a_value_in_the_place_of_a_table_is_named() -> None:
    with pytest.raises(Malformed, match=r"config.toml:1: networks is not a table"):
        Settings("networks = 5\n", "config.toml").check_keys(("networks", "x"), [])


def test_a_missing_file_is_empty(tmp_path: Path) -> None:
    assert read_settings(tmp_path / "config.toml").values == {}


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xff")
    with pytest.raises(Malformed, match=r"config.toml: is not UTF-8"):
        read_settings(tmp_path / "config.toml")


def test_writing_changes_one_line_and_keeps_every_other() -> None:
    changed = with_value(TEXT, ("networks", "test", "rpc"), ["http://[::1]:2"], "c")
    assert changed == TEXT.replace('"http://127.0.0.1:9641"', '"http://[::1]:2"')
    added = with_value(TEXT, ("networks", "test", "chain_id"), "acme", "c")
    assert added == TEXT.replace(':9641"]\n', ':9641"]\nchain_id = "acme"\n')
    top = with_value(TEXT, ("asset",), "CLAW", "c")
    assert top == TEXT.replace("# chosen\n", '# chosen\nasset = "CLAW"\n')
    table = with_value(TEXT, ("networks", "new", "rpc"), "x", "c")
    assert table == TEXT + '\n[networks.new]\nrpc = "x"\n'
    quoted = with_value(TEXT, ("networks", "my net", "rpc"), "y", "c")
    assert quoted == TEXT.replace('"http://localhost:1"', '"y"')


def test_an_empty_file_gets_its_first_value(tmp_path: Path) -> None:
    file = tmp_path / "home" / "config.toml"
    write_setting(file, ("networks", "testnet", "rpc"), ["http://127.0.0.1:1"])
    write_setting(file, ("network",), "testnet")
    assert read_settings(file).values == {
        "network": "testnet",
        "networks": {"testnet": {"rpc": ["http://127.0.0.1:1"]}},
    }
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a.b = 1\n", ("a", "b")),
        ("a = { b = 1 }\n", ("a", "b")),
        ("a = [\n 1,\n]\n", ("a",)),
        ("a = 5\n", ("a", "b")),
    ],
)
def test_a_layout_that_cannot_be_edited_safely_is_left_to_the_person(
    text: str, path: tuple[str, ...]
) -> None:
    with pytest.raises(Malformed, match=r"by hand|not a table"):
        with_value(text, path, "new", "config.toml")


names = st.text(st.sampled_from("ab-_ .\"'#é="), min_size=1, max_size=5)
values = st.one_of(
    st.text(max_size=20), st.integers(-(2**60), 2**60), st.booleans(), st.lists(st.text(max_size=5))
)


@given(st.lists(st.tuples(names, names, values), max_size=6))
def test_whatever_is_written_reads_back_or_is_refused(
    changes: list[tuple[str, str, Any]],
) -> None:
    text = "# kept\n"
    wanted: dict[str, dict[str, Any]] = {}
    for table, key, value in changes:
        try:
            text = with_value(text, (table, key), value, "c")
        except Malformed:
            continue
        wanted.setdefault(table, {})[key] = value
    assert tomllib.loads(text) == wanted and text.startswith("# kept\n")
