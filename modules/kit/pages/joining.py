"""Joins the shell's ES modules into one file when a server starts, so that a browser asks once.

Requests, not bytes, are what makes a first load slow on a bad line. A bundler would need a
second language at run time or a built file that somebody forgets to build. What is needed here is
less: files of one folder that name each other by `import { … } from "./x.js";`, without cycles and
without a name that two of them define. Then joined is: each file after those that it imports,
these imports left out, and all others (of bundles that stay apart) said once at the top.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from clawpurse.ledger.errors import OperatorError

# One statement from its line's beginning to the semicolon, over several lines if need be.
_IMPORT: Final = re.compile(r'^import \{([^}]*)\} from "([^"]+)";\n', re.MULTILINE)
_ANY_IMPORT: Final = re.compile(r"^import\b.*$", re.MULTILINE)
_EXPORT_FROM: Final = re.compile(r"^export\b[^;\n]*\bfrom\b.*$|^export default.*$", re.MULTILINE)
_DEFINED: Final = re.compile(
    r"^(?:export )?(?:async )?(?:function\*?|class|const|let) (\w+)", re.MULTILINE
)
# Where another file names one of those that were joined.
_SPECIFIER: Final = re.compile(r'(\bfrom |\bimport\()"([^"]+)"')


def join(files: Mapping[str, str], first: Iterable[str]) -> tuple[str, frozenset[str]]:
    """Return the files named by `first` and all that they import as one, and the names joined.

    `files`: name → text, all of one folder. Imports of what is not in `files` stay. Raises
    `OperatorError` for what cannot be joined without changing what it means.
    """
    order: list[str] = []
    for name in first:
        _visit(name, files, order, ())
    outside: dict[str, dict[str, None]] = {}
    bodies = []
    owners: dict[str, str] = {}
    for name in order:
        text = files[name]
        for names, target in _IMPORT.findall(text):
            if _inside(target, files) is None:
                wanted = outside.setdefault(target, {})
                wanted.update(dict.fromkeys(part.strip() for part in names.split(",")))
        for defined in _DEFINED.findall(text):
            other = owners.setdefault(defined, name)
            if other != name:
                raise OperatorError(f"{name} and {other} both define {defined}")
        bodies.append(f"// {name}\n{_IMPORT.sub('', text)}")
    heads = [
        f'import {{ {", ".join(filter(None, names))} }} from "{target}";\n'
        for target, names in outside.items()
    ]
    return "".join(heads) + "\n".join(bodies), frozenset(order)


def _inside(target: str, files: Mapping[str, str]) -> str | None:
    name = target.removeprefix("./")
    return name if name in files and target.startswith("./") else None


def _visit(name: str, files: Mapping[str, str], order: list[str], path: tuple[str, ...]) -> None:
    """Put a file after those that it imports."""
    if name in path:
        raise OperatorError(f"{' → '.join((*path, name))} import each other in a circle")
    if name in order:
        return
    text = files[name]
    strange = _ANY_IMPORT.search(_IMPORT.sub("", text)) or _EXPORT_FROM.search(text)
    if strange is not None:
        raise OperatorError(f"{name} cannot be joined: {strange.group()}")
    for names, target in _IMPORT.findall(text):
        inner = _inside(target, files)
        if inner is None:
            continue
        if " as " in names:
            raise OperatorError(f"{name} renames what it imports of {inner}")
        _visit(inner, files, order, (*path, name))
    order.append(name)


def redirected(text: str, joined: Mapping[str, str]) -> str:
    """Return a script whose imports of joined files (address → new address) name the new one."""

    def named(match: re.Match[str]) -> str:
        return f'{match.group(1)}"{joined.get(match.group(2), match.group(2))}"'

    return _SPECIFIER.sub(named, text)
