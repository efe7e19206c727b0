"""Habits that keep the code readable and honest, checked so that nobody has to remember them.

Errors that vanish, state shared by ten nodes in one process, a second reader of the clock: each
has cost someone money elsewhere. Every rule is shown to catch a planted violation.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("ledger", "consensus", "p2p", "modules", "wallet", "node", "cli", "benches")

# Names that say nothing about what is inside.
EMPTY_NAMES = frozenset(["util", "utils", "helper", "helpers", "manager", "managers", "misc"])
# What is promised in a comment is either done or written down where it can be chosen.
UNFINISHED = ("TODO", "FIXME", "XXX", "HACK")
BROAD = frozenset(["Exception", "BaseException"])

MUTABLE_CALLS = """
    list dict set bytearray defaultdict deque OrderedDict Counter ChainMap ContextVar count
    WeakKeyDictionary WeakValueDictionary WeakSet Queue Lock Event Gauge Histogram Summary
    CollectorRegistry
""".split()
MUTATING_METHODS = """
    append extend insert add update setdefault pop popitem remove discard clear appendleft
""".split()
CACHES = ("lru_cache", "cache")

# Node, peers and modules run under a virtual clock in simulation: they are handed the time.
CLOCKED = ("node", "p2p", "modules")
CLOCK_FILE = "node/clock.py"
CLOCK_CALLS = frozenset(["now", "utcnow", "today"])
SPEAKERS = ("cli", "benches", "tests", "scripts")

# (file, part of the finding) → why this one is right where it stands.
EXEMPT: Mapping[tuple[str, str], str] = {
    ("tests/node/lab.py", "stores a nursery"): "the lab's nursery is its test's, which outlives it",
    ("tests/node/rpc/nodeworld.py", "stores a nursery"): "as the lab's",
    ("tests/simulation/whole/world.py", "stores a nursery"): "what a node's world does to it",
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

    @property
    def folder(self) -> str:
        return self.path.split("/", 1)[0]

    @cached_property
    def comments(self) -> tuple[tuple[int, str], ...]:
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return tuple(
            (token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT
        )

    def at(self, node: ast.AST | int, problem: str) -> str:
        line = node if isinstance(node, int) else getattr(node, "lineno", 1)
        return f"{self.path}:{line}: {problem}"


Rule = Callable[[Source], Iterable[str]]


def last_name(node: ast.expr | None) -> str:
    """`c` of `a.b.c`, `a` of `a(…)`: enough to recognise a well-known name."""
    if isinstance(node, ast.Call | ast.Subscript):
        return last_name(node.func if isinstance(node, ast.Call) else node.value)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def says_what_it_is_for(source: Source) -> Iterator[str]:
    """Every file opens with a docstring."""
    if not (ast.get_docstring(source.tree) or "").strip():
        yield source.at(1, "does not open with a docstring that says what it is for")


def telling_name(source: Source) -> Iterator[str]:
    """A file is called after what is in it."""
    for part in source.path.removesuffix(".py").split("/"):
        for word in part.split("_"):
            if word in EMPTY_NAMES:
                yield source.at(1, f"the name {part} says nothing about what is inside")


def finished(source: Source) -> Iterator[str]:
    """No note to self is left in the code."""
    if not any(word in source.text for word in UNFINISHED):
        return
    for line, comment in source.comments:
        for word in UNFINISHED:
            if word in comment.replace(":", " ").split():
                yield source.at(line, f"{word} in a comment; do it, or write it down as work")


def heard_errors(source: Source) -> Iterator[str]:
    """No error is caught and forgotten; an expected one that needs no answer says why."""
    for node in source.nodes:
        if isinstance(node, ast.ExceptHandler):
            raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            broad = node.type is None or any(last_name(one) in BROAD for one in caught)
            empty = [
                isinstance(inner, ast.Pass)
                or (isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Constant))
                for inner in node.body
            ]
            used = any(isinstance(one, ast.Name) and one.id == node.name for one in ast.walk(node))
            leaves = isinstance(node.body[0], ast.Continue | ast.Return) and not used
            silent = all(empty) or (broad and leaves)
            span = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            commented = silent and any(line in span for line, _ in source.comments)
            if node.type is None and not raises:
                yield source.at(node, "bare except that does not raise again")
            elif silent and broad:
                yield source.at(node, "swallows every error")
            elif silent and not commented:
                yield source.at(node, "drops an error without a comment that says why")
        elif isinstance(node, ast.Call) and last_name(node.func) == "suppress":
            broad = any(last_name(one) in BROAD for one in node.args)
            yield from [source.at(node, "suppresses every error")] * broad


def _constant(name: str) -> bool:
    return name.lstrip("_").isupper() or name == "__all__"


def _bindings(source: Source) -> Iterator[tuple[str, ast.expr, bool]]:
    """(name, value, declared Final) of each module-level assignment, also below `if` and `try`."""
    waiting: list[ast.stmt] = list(source.tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield last_name(target), node.value, False
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield last_name(node.target), node.value, last_name(node.annotation) == "Final"
        elif isinstance(node, ast.If | ast.Try | ast.For | ast.While | ast.With):
            waiting.extend(inner for inner in ast.walk(node) if isinstance(inner, ast.stmt))
            waiting = [one for one in waiting if one is not node]


def _mutable(value: ast.expr) -> bool:
    displays = ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp
    if isinstance(value, displays):
        return True
    return isinstance(value, ast.Call) and last_name(value.func) in MUTABLE_CALLS


def no_shared_state(source: Source) -> Iterator[str]:
    """Nothing at module level can change: ten nodes live in one process in simulation."""
    if source.folder not in PACKAGES:
        return
    tables: set[str] = set()
    for name, value, final in _bindings(source):
        if _mutable(value):
            tables.add(name)
            if not (final or _constant(name)):
                yield source.at(value, f"module-level {name} can change; give it to an object")
    for node in source.nodes:
        touched = ""
        if isinstance(node, ast.Global):
            yield source.at(node, f"global {', '.join(node.names)}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in MUTATING_METHODS and isinstance(node.func.value, ast.Name):
                touched = node.func.value.id
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            touched = node.value.id if isinstance(node.value, ast.Name) else ""
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                if last_name(decorator) in CACHES:
                    yield source.at(node, f"the cache of {node.name} is shared by every node")
        if touched in tables and _constant(touched):
            yield source.at(node, f"changes the module-level table {touched}")


def no_stored_nursery(source: Source) -> Iterator[str]:
    """A nursery lives in the function that opened it, so one file shows the tree of tasks."""
    attributes = (node for node in source.nodes if isinstance(node, ast.Attribute))
    for node in attributes:
        if isinstance(node.ctx, ast.Store) and "nursery" in node.attr:
            yield source.at(node, f"stores a nursery as {node.attr}")


def one_clock(source: Source) -> Iterator[str]:
    """What runs in a node is handed the time: a second clock would break simulation."""
    if source.folder not in CLOCKED or source.path == CLOCK_FILE:
        return
    for node in source.nodes:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of = last_name(node.func.value)
            if node.func.attr in CLOCK_CALLS and of in ("datetime", "date"):
                yield source.at(node, f"reads the clock by {of}.{node.func.attr}()")
        if "time" in names:
            yield source.at(node, f"imports time; only {CLOCK_FILE} reads the clock")


def no_stray_output(source: Source) -> Iterator[str]:
    """Only the command line speaks; a node logs."""
    if source.folder in SPEAKERS:
        return
    for node in source.nodes:
        if isinstance(node, ast.Call) and last_name(node.func) == "print":
            yield source.at(node, "prints; a node logs, the command line prints")


RULES: tuple[Rule, ...] = (
    says_what_it_is_for,
    telling_name,
    finished,
    heard_errors,
    no_shared_state,
    no_stored_nursery,
    one_clock,
    no_stray_output,
)


def tree_sources() -> Iterator[Source]:
    for folder in (*PACKAGES, "tests", "scripts"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "__pycache__" not in path.parts:
                text = path.read_text("utf-8")
                yield Source(path.relative_to(ROOT).as_posix(), text)


def exempt(finding: str) -> bool:
    path = finding.split(":", 1)[0]
    return any(path == file and part in finding for file, part in EXEMPT)


def test_every_file_keeps_every_rule() -> None:
    """The next reader loses time, or a fault loses its name, wherever one of these is broken. A
    forgotten exemption is a hole that nobody guards.

    One test, because its processes would each read the whole tree for one of several.
    """
    found = [one for source in tree_sources() for rule in RULES for one in rule(source)]
    findings = sorted(one for one in found if not exempt(one))
    assert not findings, f"{len(findings)} findings:\n" + "\n".join(findings)
    for file, part in EXEMPT:
        assert any(one.startswith(f"{file}:") and part in one for one in found), (file, part)


def test_private_names_of_trio_stand_in_one_file() -> None:
    """An upgrade of trio must be able to break one file only."""
    pattern = "trio." + "_core"
    users = [source.path for source in tree_sources() if pattern in source.text]
    assert len(users) <= 1, users


HEAD = '"""Sample."""\n'
PLANTED: list[tuple[Rule, str, str, str]] = [
    (says_what_it_is_for, "node/x.py", "import trio", "docstring"),
    (telling_name, "node/net_utils.py", HEAD, "net_utils"),
    (telling_name, "node/helpers/x.py", HEAD, "helpers"),
    (finished, "node/x.py", HEAD + "a = 1  # TODO: more", "TODO"),
    (heard_errors, "node/x.py", "try:\n    f()\nexcept:\n    g()", "bare except"),
    (heard_errors, "node/x.py", "try:\n    f()\nexcept Exception:\n    pass  # fine", "every"),
    (heard_errors, "node/x.py", "try:\n    f()\nexcept (A, BaseException):\n    ...", "every"),
    (heard_errors, "node/x.py", "try:\n    f()\nexcept OSError:\n    pass", "why"),
    (heard_errors, "node/x.py", "try:\n    f()\nexcept Exception:\n    return None", "every"),
    (heard_errors, "node/x.py", "with suppress(Exception):\n    f()", "suppresses"),
    (no_shared_state, "node/x.py", "peers = {}", "peers can change"),
    (no_shared_state, "node/x.py", "seen: set[int] = set()", "seen can change"),
    (no_shared_state, "node/x.py", "if a:\n    b = [1]", "b can change"),
    (no_shared_state, "node/x.py", "TABLE = {}\ndef f():\n    TABLE[1] = 2", "changes"),
    (no_shared_state, "node/x.py", "TABLE = []\ndef f():\n    TABLE.append(2)", "changes"),
    (no_shared_state, "node/x.py", "def f():\n    global a\n    a = 1", "global a"),
    (no_shared_state, "node/x.py", "@functools.lru_cache(9)\ndef f(): ...", "cache of f"),
    (no_shared_state, "node/x.py", "sent = Counter('sent', 'messages')", "sent can change"),
    (no_stored_nursery, "node/x.py", "self._nursery = nursery", "_nursery"),
    (one_clock, "p2p/x.py", "import time", "imports time"),
    (one_clock, "node/x.py", "from time import monotonic", "imports time"),
    (one_clock, "modules/a/x.py", "datetime.datetime.now()", "datetime.now()"),
    (no_stray_output, "node/x.py", "print(1)", "prints"),
]
ALLOWED: list[tuple[Rule, str, str]] = [
    (telling_name, "node/rpc/methods.py", HEAD),
    (finished, "node/x.py", "a = 'TODO'  # the word, not a note"),
    (heard_errors, "node/x.py", "try:\n    f()\nexcept OSError:\n    # gone already\n    pass"),
    (heard_errors, "node/x.py", "try:\n    f()\nexcept:\n    g()\n    raise"),
    (heard_errors, "node/x.py", "try:\n    f()\nexcept Exception as err:\n    log(err)"),
    (heard_errors, "node/x.py", "try:\n    f()\nexcept Exception as err:\n    return told(err)"),
    (no_shared_state, "node/x.py", "NAMES = {'a': 1}\nlimits: Final = [1]\n__all__ = ['f']"),
    (no_shared_state, "node/x.py", "def f():\n    peers = {}\n    peers[1] = 2"),
    (no_shared_state, "tests/x.py", "peers = {}"),
    (one_clock, "node/clock.py", "import time"),
    (one_clock, "wallet/x.py", "import time"),
    (one_clock, "node/x.py", "from datetime import UTC, datetime\ndatetime.fromtimestamp(1, UTC)"),
    (no_stray_output, "cli/x.py", "print(1)"),
]


@pytest.mark.parametrize(("rule", "path", "text", "problem"), PLANTED)
def test_a_planted_violation_is_caught(rule: Rule, path: str, text: str, problem: str) -> None:
    """A checker that passes everything protects nobody."""
    findings = list(rule(Source(path, text + "\n")))
    assert findings
    assert problem in findings[0]
    assert findings[0].startswith(f"{path}:")


@pytest.mark.parametrize(("rule", "path", "text"), ALLOWED)
def test_good_code_is_left_alone(rule: Rule, path: str, text: str) -> None:
    """A checker that cries wolf gets an exemption list longer than the code."""
    assert list(rule(Source(path, text + "\n"))) == []
