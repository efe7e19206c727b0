"""The shape of the house: who may import whom, what stays pure, how large things may grow.

Every rule is a function from one source (or all of them) to findings `path:line: problem`, and
each is first shown to catch a planted violation. If these tests failed silently, a clock in the
ledger could fork the network, and ten nodes in one process could share what they must not.
"""

from __future__ import annotations

import ast
import configparser
import fnmatch
import io
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Which top-level folders each one may import; a folder may always import itself.
BELOW: Mapping[str, tuple[str, ...]] = {
    "ledger": (),
    "consensus": ("ledger",),
    "p2p": ("ledger",),
    "modules": ("ledger",),
    "wallet": ("modules", "ledger"),
    "node": ("wallet", "modules", "consensus", "p2p", "ledger"),
    "cli": ("node", "wallet", "modules", "consensus", "p2p", "ledger"),
    "benches": ("cli", "node", "wallet", "modules", "consensus", "p2p", "ledger"),
}
ANYTHING_GOES = ("tests", "scripts")

# The only pure folder with an impure file: the one that opens the database.
IMPURE_IN_PURE_FOLDERS = ("ledger/store/leveldb.py",)
# What pure code may import beside `clawpurse`: values, containers, hashes, signatures. All of
# it gives the same answer on every machine and in every Python version.
PURE_IMPORTS = """
    __future__ abc array base64 bisect binascii collections collections.abc contextlib copy
    dataclasses enum functools hashlib heapq hmac itertools msgpack nacl nacl.bindings
    nacl.exceptions nacl.signing operator string struct types typing zlib
""".split()
# Builtins that read the world, depend on addresses or hash seeds, or make floats.
IMPURE_CALLS = """
    open print input id hash eval exec compile float complex round breakpoint __import__
""".split()
# Character tables differ between Python versions: on text that is not known to be ASCII, these
# would make two nodes judge one string differently.
CHARACTER_TABLES = """
    lower upper casefold title capitalize swapcase isalpha isdigit isalnum isdecimal isnumeric
    isspace isupper islower istitle isidentifier isprintable
""".split()
ORDER_FREE = ("sorted", "len", "any", "all", "min", "max", "sum", "set", "frozenset", "bool")
SET_TYPES = ("set", "frozenset", "Set", "AbstractSet", "MutableSet")

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70

# (file, part of the finding) → why this one is right where it stands. An entry that no longer
# matches a finding fails a test, so the list cannot outlive its reasons.
EXEMPT: Mapping[tuple[str, str], str] = {
    ("ledger/errors.py", "character table"): "labels of our own enum, whose names are ASCII",
    ("consensus/machine.py", "character table"): "the name of a step, a word of our own enum",
    ("ledger/address.py", "character table"): "applied to text already found to be ASCII",
    ("ledger/genesis.py", "json is not"): "the file people edit; its hash covers canonical bytes",
}


@dataclass(frozen=True)
class Source:
    """One Python file: its path from the root, and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the tree, walked once for all rules."""
        return tuple(ast.walk(self.tree))

    @cached_property
    def imports(self) -> tuple[tuple[ast.stmt, str], ...]:
        """What `imports_of` finds, looked for once for all rules."""
        return tuple(imports_of(self))

    @property
    def folder(self) -> str:
        return self.path.split("/", 1)[0]

    @property
    def module(self) -> str:
        """The dotted name under which others import it."""
        name = self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        return f"clawpurse.{name}"

    def at(self, node: ast.AST | int, problem: str) -> str:
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return f"{self.path}:{line}: {problem}"


Rule = Callable[[Source], Iterable[str]]


def imports_of(source: Source) -> Iterator[tuple[ast.stmt, str]]:
    """Every dotted name that a file imports, wherever in it: `from a import b` gives `a.b`."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node, "." * node.level + f"{node.module or ''}.{alias.name}".lstrip(".")


def inside(source: Source) -> Iterator[tuple[ast.stmt, list[str]]]:
    """Imports of ours, as path parts: `clawpurse.ledger.codec.pack` is [ledger, codec, pack]."""
    for node, name in source.imports:
        if name.startswith("clawpurse."):
            yield node, name.split(".")[1:]


def arrows(source: Source) -> Iterator[str]:
    """A folder imports only folders below it; a module only the kit and the ledger."""
    if source.folder in ANYTHING_GOES:
        return
    allowed = (source.folder, *BELOW[source.folder])
    room = source.path.split("/")[1] if source.path.count("/") > 1 else ""
    for node, parts in inside(source):
        if parts[0] not in allowed:
            yield source.at(node, f"{source.folder} may not import {parts[0]}")
        elif source.folder == "modules" == parts[0] and room:
            rooms = ("kit",) if room == "kit" else (room, "kit")
            if len(parts) > 1 and parts[1] not in rooms:
                yield source.at(node, f"module {room} may not import module {parts[1]}")


def one_name(source: Source) -> Iterator[str]:
    """Our folders are imported as `clawpurse.X`: any other name would load a second copy."""
    for node, name in source.imports:
        top = name.split(".")[0]
        if name.startswith("."):
            yield source.at(node, "relative import; write clawpurse.…")
        elif top in BELOW:
            yield source.at(node, f"imports {top}; write clawpurse.{top}")


def resolve(parts: list[str], modules: Mapping[str, str]) -> str | None:
    """The path of the file that an import of ours reaches: the longest known prefix."""
    for end in range(len(parts), 0, -1):
        path = modules.get("clawpurse." + ".".join(parts[:end]))
        if path:
            return path
    return None


def import_graph(sources: Iterable[Source]) -> dict[str, set[str]]:
    """path → paths imported, imports for type checkers included."""
    listed = list(sources)
    modules = {source.module: source.path for source in listed}
    graph: dict[str, set[str]] = {}
    for source in listed:
        reached = {resolve(parts, modules) for _, parts in inside(source)}
        graph[source.path] = {path for path in reached if path and path != source.path}
    return graph


def cycles(sources: Iterable[Source]) -> Iterator[str]:
    """Files that import each other in a ring, however long."""
    graph = import_graph(sources)
    done: set[str] = set()
    for start in sorted(graph):
        trail: list[tuple[str, Iterator[str]]] = [(start, iter(sorted(graph[start])))]
        while trail and start not in done:
            path, rest = trail[-1]
            following = next(rest, None)
            on_trail = [entry for entry, _ in trail]
            if following is None:
                done.add(path)
                trail.pop()
            elif following in on_trail:
                ring = [*on_trail[on_trail.index(following) :], following]
                yield f"{following}:1: imports in a ring: {' → '.join(ring)}"
            elif following not in done:
                trail.append((following, iter(sorted(graph.get(following, ())))))


def pure_paths(sources: Iterable[Source]) -> set[str]:
    """Files that must be pure: ledger, consensus, and each module's actions and chain.

    A file of the same room that those two import is as pure as they are.
    """
    listed = list(sources)
    graph = import_graph(listed)
    pure = {
        source.path
        for source in listed
        if source.folder in ("ledger", "consensus") and source.path not in IMPURE_IN_PURE_FOLDERS
    }
    for source in listed:
        room = source.path.rsplit("/", 1)[0]
        if source.folder == "modules" and source.path.endswith(("/actions.py", "/chain.py")):
            waiting = [source.path]
            while waiting:
                path = waiting.pop()
                if path not in pure and path.startswith(f"{room}/"):
                    pure.add(path)
                    waiting.extend(graph[path])
    return pure


def pure_imports(source: Source) -> Iterator[str]:
    """Pure code imports values and arithmetic only, and of ours only the ledger and its room."""
    room = source.path.rsplit("/", 1)[0].replace("/", ".")
    for node, name in source.imports:
        parts = name.split(".")
        if parts[0] == "clawpurse":
            own = name.startswith(f"clawpurse.{room}.") or parts[1] == source.folder
            if name.startswith("clawpurse.ledger.store.leveldb"):
                yield source.at(node, "pure code reaches the database")
            elif parts[1] != "ledger" and not (
                own and not name.startswith("clawpurse.modules.kit")
            ):
                yield source.at(node, f"pure code may not import {name}")
        elif name not in PURE_IMPORTS and name.rsplit(".", 1)[0] not in PURE_IMPORTS:
            yield source.at(node, f"{name} is not on the list of pure imports")


def _named(node: ast.expr | None) -> str:
    """`x` for a name, `.x` for an attribute: enough to recognise it again in one file."""
    if isinstance(node, ast.Name):
        return node.id
    return f".{node.attr}" if isinstance(node, ast.Attribute) else ""


def pure_values(source: Source) -> Iterator[str]:
    """No floats, no true division, nothing that reads the world or a character table."""
    # `__hash__` may call hash(): it serves lookups in memory, whose answer does not depend on it.
    hashing = {
        inner
        for node in source.nodes
        if isinstance(node, ast.FunctionDef) and node.name == "__hash__"
        for inner in ast.walk(node)
    }
    for node in source.nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
            yield source.at(node, f"float {node.value} in pure code")
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
            yield source.at(node, "true division in pure code; use // and say which way it rounds")
        elif isinstance(node, ast.Call):
            name = _named(node.func)
            if name in IMPURE_CALLS and not (name == "hash" and node in hashing):
                yield source.at(node, f"{name}() in pure code")
            elif name.startswith(".") and name[1:] in CHARACTER_TABLES:
                yield source.at(node, f"{name}() reads a character table")


def _is_set_type(annotation: ast.expr | None) -> bool:
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    return _named(annotation).lstrip(".") in SET_TYPES


class SetIteration(ast.NodeVisitor):
    """Finds loops over sets, whose order differs between processes, as far as names tell."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.found: list[str] = []
        self.scopes: list[set[str]] = [self._sets_in(source.tree)]

    def _sets_in(self, scope: ast.AST) -> set[str]:
        """Names that a scope binds to sets; attributes count for the whole file."""
        names: set[str] = set()
        functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
        waiting: list[ast.AST] = [scope]
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.arg) and _is_set_type(node.annotation):
                names.add(node.arg)
            elif isinstance(node, ast.AnnAssign) and _is_set_type(node.annotation):
                names.add(_named(node.target))
                if isinstance(node.target, ast.Name):
                    names.add(f".{node.target.id}")
            elif isinstance(node, ast.Assign) and self._is_set(node.value, names):
                names.update(_named(target) for target in node.targets)
            nested = isinstance(node, functions) and node is not scope
            waiting.extend(() if nested else ast.iter_child_nodes(node))
        return names - {""}

    def _is_set(self, node: ast.expr, names: Iterable[str] = ()) -> bool:
        if isinstance(node, ast.Set | ast.SetComp):
            return True
        if isinstance(node, ast.Call):
            return _named(node.func) in ("set", "frozenset")
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub):
            return self._is_set(node.left, names) or self._is_set(node.right, names)
        known = getattr(self, "scopes", [])
        name = _named(node)
        return bool(name) and (name in names or any(name in scope for scope in known))

    def _visit_scope(self, node: ast.AST) -> None:
        self.scopes.append(self._sets_in(node))
        self.generic_visit(node)
        self.scopes.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _visit_scope

    def _ordered(self, node: ast.expr) -> None:
        if self._is_set(node):
            self.found.append(self.source.at(node, "iterates over a set; sort it first"))

    def visit_For(self, node: ast.For) -> None:
        self._ordered(node.iter)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp | ast.GeneratorExp | ast.DictComp) -> None:
        for part in node.generators:
            self._ordered(part.iter)
        self.generic_visit(node)

    visit_GeneratorExp = visit_DictComp = visit_ListComp

    def visit_Starred(self, node: ast.Starred) -> None:
        self._ordered(node.value)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = _named(node.func)
        if name in ORDER_FREE:
            for argument in node.args:
                # The answer of these does not depend on the order of what they are given.
                if isinstance(argument, ast.GeneratorExp | ast.ListComp):
                    for part in ast.iter_child_nodes(argument):
                        self.generic_visit(part)
                else:
                    self.visit(argument)
            return
        takes_any = name in ("list", "tuple", "iter", "enumerate", "zip", "map", "filter", "bytes")
        if takes_any or name in (".join", ".extend", ".fromkeys", ".chain"):
            for argument in node.args:
                self._ordered(argument)
        if name == ".pop" and isinstance(node.func, ast.Attribute) and not node.args:
            self._ordered(node.func.value)
        self.generic_visit(node)


def set_iteration(source: Source) -> Iterable[str]:
    """No loop over a set: its order is not the same on two machines."""
    visitor = SetIteration(source)
    visitor.visit(source.tree)
    return visitor.found


def code_lines(source: Source) -> set[int]:
    """Numbers of the lines that hold code: no comments, blank lines or docstrings."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type not in skipped and token.type != tokenize.ENDMARKER:
            lines.update(range(token.start[0], token.end[0] + 1))
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in source.nodes:
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            lines.difference_update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return lines


def sizes(source: Source) -> Iterator[str]:
    """A file of at most 500 lines of code, a function of at most 70."""
    functions = [
        node for node in source.nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    spans = [range(node.lineno, (node.end_lineno or 0) + 1) for node in functions]
    longest = max(map(len, spans), default=0)
    if source.text.count("\n") < FILE_LINES_MAX and longest <= FUNCTION_LINES_MAX:
        return  # What is short with its comments needs no count without them, which is slow.
    lines = code_lines(source)
    if len(lines) > FILE_LINES_MAX:
        yield source.at(1, f"{len(lines)} lines of code, at most {FILE_LINES_MAX}")
    for node, span in zip(functions, spans, strict=True):
        count = len(lines.intersection(span))
        if count > FUNCTION_LINES_MAX:
            problem = f"{node.name} has {count} lines of code, at most {FUNCTION_LINES_MAX}"
            yield source.at(node, problem)


def packaging(config: str, paths: Iterable[str]) -> Iterator[str]:
    """setup.cfg names every package of the tree, no other, and matches every data file."""
    parser = configparser.ConfigParser()
    parser.read_string(config)
    listed = parser["options"]["packages"].split()
    mapped = dict(
        line.split(" = ") for line in parser["options"]["package_dir"].strip().splitlines()
    )
    patterns = parser["options.package_data"].get("*", "").split()
    found: set[str] = set()
    for path in sorted(paths):
        folder, _, name = path.rpartition("/")
        if name == "__init__.py":
            found.add("clawpurse." + folder.replace("/", "."))
        # What a package serves lies below its `static` folder, at any depth.
        served = "static/**/*" in patterns and "/static/" in path
        if not name.endswith(".py") and not (
            served or any(fnmatch.fnmatch(name, one) for one in patterns)
        ):
            yield f"{path}:1: no pattern of [options.package_data] in setup.cfg packages it"
    for path in sorted(paths):
        folder = path.rpartition("/")[0].partition("/static/")[0].removesuffix("/static")
        package = "clawpurse." + folder.replace("/", ".")
        if package not in found:
            yield f"{path}:1: lies in a folder without __init__.py, so it is not packaged"
    for package in sorted(found.difference(listed)):
        yield f"setup.cfg:1: packages does not list {package}"
    for package in sorted(set(listed).difference(found)):
        yield f"setup.cfg:1: packages lists {package}, which does not exist"
    tops = {path.split("/")[0] for path in paths}
    if mapped != {f"clawpurse.{top}": top for top in tops}:
        yield "setup.cfg:1: package_dir does not map each top-level folder to clawpurse.<folder>"


# --- the tree ---------------------------------------------------------------------------------


def tree_paths(folders: Iterable[str]) -> list[str]:
    """Paths of all files below the folders, without caches and hidden files."""
    found = []
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            relative = PurePosixPath(path.relative_to(ROOT).as_posix())
            hidden = any(part.startswith(".") or part == "__pycache__" for part in relative.parts)
            if path.is_file() and not hidden:
                found.append(str(relative))
    return found


def tree_sources(folders: Iterable[str]) -> Iterator[Source]:
    for path in tree_paths(folders):
        if path.endswith(".py"):
            yield Source(path, (ROOT / path).read_text("utf-8"))


def exempt(finding: str) -> bool:
    path = finding.split(":", 1)[0]
    return any(path == file and part in finding for file, part in EXEMPT)


def refuse(findings: Iterable[str]) -> None:
    listed = sorted(finding for finding in findings if not exempt(finding))
    assert not listed, f"{len(listed)} findings:\n" + "\n".join(listed)


RULES: tuple[Rule, ...] = (arrows, one_name, sizes)
PURE_RULES: tuple[Rule, ...] = (pure_imports, pure_values, set_iteration)


def findings_of_the_tree() -> Iterator[str]:
    """What is wrong anywhere. Every file is parsed once; its tree is left alone after that."""
    packaged = []
    for source in tree_sources((*BELOW, *ANYTHING_GOES)):
        for rule in RULES:
            yield from rule(source)
        if source.folder in BELOW:
            packaged.append(source)
    yield from cycles(packaged)
    pure = pure_paths(packaged)
    for source in packaged:
        if source.path in pure:
            for rule in PURE_RULES:
                yield from rule(source)


def test_every_file_keeps_every_rule() -> None:
    """Readers lose the map of the house when an arrow points upward or a file has no end; a ring
    can be neither understood nor tested from one end; and two nodes that compute different
    results from the same block have forked. A forgotten exemption is a hole that nobody guards.

    One test, because its processes would each read the whole tree for one of several.
    """
    findings = list(findings_of_the_tree())
    refuse(findings)
    for file, part in EXEMPT:
        assert any(one.startswith(f"{file}:") and part in one for one in findings), (file, part)


def test_everything_is_packaged() -> None:
    """A forgotten folder works in the checkout and is missing from what others install."""
    refuse(packaging((ROOT / "setup.cfg").read_text("utf-8"), tree_paths(BELOW)))


# --- each rule catches a planted violation ----------------------------------------------------

HEAD = '"""Sample."""\n'
PLANTED: list[tuple[Rule, str, str, str]] = [
    (arrows, "ledger/x.py", "import clawpurse.node.app", "ledger may not import node"),
    (arrows, "p2p/x.py", "from clawpurse import consensus", "p2p may not import consensus"),
    (arrows, "wallet/x.py", "def f():\n    from clawpurse.p2p import peer", "p2p"),
    (arrows, "modules/a/x.py", "from clawpurse.modules.b import chain", "module a"),
    (arrows, "modules/kit/web/x.py", "import clawpurse.modules.a.chain", "module kit"),
    (one_name, "node/x.py", "import ledger.codec", "clawpurse.ledger"),
    (one_name, "ledger/x.py", "from ledger import codec", "clawpurse.ledger"),
    (one_name, "ledger/x.py", "from . import codec", "relative"),
    (one_name, "tests/x.py", "from node import app", "clawpurse.node"),
    (pure_imports, "ledger/x.py", "import time", "time is not"),
    (pure_imports, "ledger/x.py", "from os import environ", "os.environ"),
    (pure_imports, "consensus/x.py", "import random", "random"),
    (pure_imports, "consensus/x.py", "import trio", "trio"),
    (pure_imports, "ledger/x.py", "import re", "re is not"),
    (pure_imports, "ledger/x.py", "from clawpurse.ledger.store import leveldb", "database"),
    (pure_imports, "modules/a/chain.py", "from clawpurse.modules.kit import web", "kit"),
    (pure_values, "ledger/x.py", "FEE = 0.5", "float 0.5"),
    (pure_values, "ledger/x.py", "half = total / 2", "division"),
    (pure_values, "ledger/x.py", "total /= 2", "division"),
    (pure_values, "ledger/x.py", "open('f')", "open()"),
    (pure_values, "ledger/x.py", "print(1)", "print()"),
    (pure_values, "ledger/x.py", "hash('a')", "hash()"),
    (pure_values, "ledger/x.py", "name.lower()", "character table"),
    (set_iteration, "ledger/x.py", "for x in {1, 2}: f(x)", "set"),
    (set_iteration, "ledger/x.py", "seen = set()\nout = [x for x in seen]", "set"),
    (set_iteration, "ledger/x.py", "def f(a: set[int]):\n    return list(a)", "set"),
    (set_iteration, "ledger/x.py", "class A:\n    s: frozenset[int]\nb.join(a.s)", "set"),
    (set_iteration, "ledger/x.py", "def f(a: set[int]):\n    return tuple(a | b)", "set"),
    (set_iteration, "ledger/x.py", "def f(a: set[int]):\n    return [*a]", "set"),
    (set_iteration, "ledger/x.py", "def f(a: set[int]):\n    return a.pop()", "set"),
    (sizes, "node/x.py", "a = 1\n" * 501, "501 lines"),
    (sizes, "node/x.py", "def f():\n" + "    a = 1\n" * 70, "f has 71 lines"),
    (sizes, "node/x.py", "# why\n" * 99 + "def f():\n" + "    a = 1\n" * 70, "f has 71 lines"),
]

ALLOWED: list[tuple[Rule, str, str]] = [
    (arrows, "node/x.py", "from clawpurse.consensus import machine"),
    (arrows, "modules/registry.py", "from clawpurse.modules.accounts import chain"),
    (arrows, "modules/a/x.py", "from clawpurse.modules.kit.web import http"),
    (one_name, "node/x.py", "from clawpurse.ledger import codec\nimport trio"),
    (pure_imports, "modules/a/chain.py", "from clawpurse.modules.a.actions import Send"),
    (pure_imports, "ledger/x.py", "from collections.abc import Mapping\nimport hashlib"),
    (pure_values, "ledger/x.py", "def __hash__(self):\n    return hash(self.keys)"),
    (pure_values, "ledger/x.py", "half = total // 2\nlength = len(b'')"),
    (set_iteration, "ledger/x.py", "def f(a: set[int]):\n    return sorted(a), len(a), 1 in a"),
    (set_iteration, "ledger/x.py", "def f(a: set[int]):\n    return all(x for x in a)"),
    (set_iteration, "ledger/x.py", "def f(a: set[int]):\n    return {x for x in a}"),
    (set_iteration, "ledger/x.py", "def f(a: set[int]):\n    return a\ndef g(a):\n    list(a)"),
    (sizes, "node/x.py", 'def f():\n    """' + "words\n" * 80 + '"""\n' + "    # why\n" * 80),
]


@pytest.mark.parametrize(("rule", "path", "text", "problem"), PLANTED)
def test_a_planted_violation_is_caught(rule: Rule, path: str, text: str, problem: str) -> None:
    """A checker that passes everything protects nobody."""
    findings = list(rule(Source(path, HEAD + text + "\n")))
    assert findings
    assert problem in findings[0]
    assert findings[0].startswith(f"{path}:")


@pytest.mark.parametrize(("rule", "path", "text"), ALLOWED)
def test_good_code_is_left_alone(rule: Rule, path: str, text: str) -> None:
    """A checker that cries wolf gets an exemption list longer than the code."""
    assert list(rule(Source(path, HEAD + text + "\n"))) == []


def test_a_ring_is_caught_and_a_diamond_is_not() -> None:
    """Rings hide behind a third file and behind imports for type checkers."""
    ring = [
        Source("ledger/a.py", "from clawpurse.ledger import b"),
        Source("ledger/b.py", "from clawpurse.ledger.c import C"),
        Source("ledger/c.py", "if TYPE_CHECKING:\n    import clawpurse.ledger.a"),
    ]
    assert ["ledger/a.py:1: imports in a ring: " in one for one in cycles(ring)] == [True]
    diamond = [*ring[:2], Source("ledger/c.py", ""), Source("ledger/d.py", ring[0].text)]
    assert list(cycles(diamond)) == []


def test_a_file_beside_chain_is_as_pure_as_chain() -> None:
    """Moving a clock into a second file of the room must not hide it."""
    room = [
        Source("modules/a/chain.py", "from clawpurse.modules.a import records"),
        Source("modules/a/records.py", "import time"),
        Source("modules/a/service.py", "import time"),
        Source("ledger/store/leveldb.py", "import plyvel"),
    ]
    assert pure_paths(room) == {"modules/a/chain.py", "modules/a/records.py"}


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("node/rpc/__init__.py", "does not list clawpurse.node.rpc"),
        ("node/page.svg", "no pattern"),
        ("node/pages/app.py", "without __init__.py"),
        ("gateway/__init__.py", "package_dir does not map"),
    ],
)
def test_what_is_not_packaged_is_caught(path: str, problem: str) -> None:
    """Found here, or by the first user of the wheel."""
    config = (
        "[options]\npackages =\n    clawpurse.node\npackage_dir =\n    clawpurse.node = node\n"
        "[options.package_data]\n* = *.md\n"
    )
    good = ["node/__init__.py", "node/README.md"]
    assert list(packaging(config, good)) == []
    assert any(problem in finding for finding in packaging(config, [*good, path]))
