"""TOML settings files that people edit: strict reading with line numbers, careful writing.

A key that nobody knows is refused with its line and the nearest known name. Writing changes one
value and leaves every other line, comment and blank as the person left it. The client's
`config.toml` stands on this (`wallet/home.py`), and so may any other settings file.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from clawpurse.ledger.errors import Malformed
from clawpurse.wallet.durable import (
    locked,
    make_private_directory,
    read_private,
    remove_unfinished,
    replace_private,
)

SETTINGS_BYTES_MAX: Final = 262_144

Value = str | int | bool | list[str]


class Settings:
    """A parsed settings file: nested values, and where each stands for error messages."""

    def __init__(self, text: str, file_name: str) -> None:
        """Parse TOML `text`. Raises `Malformed` whose field is `file_name:line`."""
        self.text = text
        self.file_name = file_name
        try:
            self.values: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as err:
            raise Malformed(file_name, f"is not TOML ({err})") from None

    def problem(self, path: tuple[str, ...], problem: str) -> Malformed:
        """Return the error for the value at `path`: file, line (its table's if absent), problem."""
        line = _line_of(self.text, path[:-1], path[-1])
        if line is None and len(path) > 1:
            line = _line_of(self.text, path[:-2], path[-2])
        place = self.file_name if line is None else f"{self.file_name}:{line}"
        return Malformed(place, problem)

    def check_keys(self, table: tuple[str, ...], known: Iterable[str]) -> Mapping[str, Any]:
        """Return the table at `table` (empty if absent) after refusing keys not in `known`."""
        values: Any = self.values
        for depth, step in enumerate(table, 1):
            values = values.get(step, {})
            if type(values) is not dict:
                raise self.problem(table[:depth], f"{'.'.join(table[:depth])} is not a table")
        names = list(known)
        for key in values:
            if key not in names:
                close = get_close_matches(key, names, n=1, cutoff=0.5)
                nearest = f"; nearest: {close[0]}" if close else f"; known: {', '.join(names)}"
                raise self.problem((*table, key), f"unknown {key}{nearest}")
        return values  # type: ignore[no-any-return]


def read_settings(file: Path) -> Settings:
    """Read a settings file; a missing one is empty. Raises `Malformed` or `StorageFault`."""
    try:
        data = read_private(file, SETTINGS_BYTES_MAX)
    except FileNotFoundError:
        return Settings("", file.name)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Malformed(file.name, "is not UTF-8 text") from None
    return Settings(text, file.name)


def write_setting(file: Path, path: tuple[str, ...], value: Value) -> None:
    """Set one value, durably, creating file and table where needed; all else stays.

    Raises `Malformed` if the file is broken or written in a way that we cannot edit safely.
    """
    make_private_directory(file.parent)
    lock_file = file.with_name(f".{file.name}.lock")
    with locked(lock_file, f"{file.name} is in use by another clawpurse."):
        remove_unfinished(file)
        text = with_value(read_settings(file).text, path, value, file.name)
        replace_private(file, text.encode())


def with_value(text: str, path: tuple[str, ...], value: Value, file_name: str) -> str:
    """Return `text` with the value at `path` set, checked to have changed nothing else."""
    wanted = Settings(text, file_name).values
    place: Any = wanted
    for step in path[:-1]:
        place = place.setdefault(step, {})
        if type(place) is not dict:
            raise Malformed(file_name, f"{step} is not a table")
    place[path[-1]] = value
    changed = _edit(text, path, f"{_key(path[-1])} = {_format(value)}")
    try:
        safe = tomllib.loads(changed) == wanted
    except tomllib.TOMLDecodeError:
        safe = False
    if not safe:
        raise Malformed(file_name, f"is written so that {'.'.join(path)} must be changed by hand")
    return changed


def _edit(text: str, path: tuple[str, ...], assignment: str) -> str:
    lines = text.splitlines()
    line = _line_of(text, path[:-1], path[-1])
    if line is not None:
        lines[line - 1] = assignment
        return "\n".join(lines) + "\n"
    start = _table_line(lines, path[:-1])
    if start is None:
        header = ".".join(_key(step) for step in path[:-1])
        gap = [""] if lines else []
        return "\n".join([*lines, *gap, f"[{header}]", assignment]) + "\n"
    end = start
    for number in range(start, len(lines)):
        if _header(lines[number]) is not None:
            break
        if lines[number].strip():
            end = number + 1
    return "\n".join([*lines[:end], assignment, *lines[end:]]) + "\n"


def _table_line(lines: list[str], table: tuple[str, ...]) -> int | None:
    """Return the index of the first line inside `table`; the top table starts at 0."""
    if not table:
        return 0
    for number, line in enumerate(lines):
        if _header(line) == table:
            return number + 1
    return None


def _line_of(text: str, table: tuple[str, ...], key: str) -> int | None:
    """Return the line number, from 1, where `key` of `table` stands, or its table's header."""
    current: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = _header(line)
        if header is not None:
            current = header
            if header == (*table, key):
                return number
        elif current == table:
            name = line.partition("=")[0].strip().strip("\"'")
            if "=" in line and name == key:
                return number
    return None


def _header(line: str) -> tuple[str, ...] | None:
    bare = line.partition("#")[0].strip()
    if not bare.startswith("[") or not bare.endswith("]") or bare.startswith("[["):
        return None
    return tuple(step.strip().strip("\"'") for step in bare[1:-1].split("."))


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else _quoted(name)


def _format(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _quoted(value)
    return "[" + ", ".join(_quoted(item) for item in value) + "]"


def _quoted(text: str) -> str:
    # JSON's string escapes are a subset of TOML's but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
