"""Writes docs/layout.md: every folder and file of this repository in one line.

A Python file speaks for itself by the first sentence of its docstring, a Markdown page by its
title; what cannot speak is described in `DESCRIBED`. `--check` compares instead of writing.
"""

from __future__ import annotations

import ast
import fnmatch
import itertools
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = Path("docs/layout.md")

# The order of the page: downward along the arrows, then what stands beside the code.
FOLDERS: dict[str, str] = {
    "cli": "parse, call, print",
    "node": "the daemon",
    "wallet": "the user's side of the line",
    "modules": "one folder per service",
    "consensus": "how authorities agree (pure)",
    "p2p": "how nodes talk",
    "ledger": "what the chain is (pure)",
    "benches": "one file per question of speed",
    "tests": "mirrors the folders",
    "deploy": "running it elsewhere",
    "docs": "guides, protocol, decisions",
    "scripts": "what the Makefile calls",
    "stubs": "types that two packages lack",
    ".ci": "what continuous integration runs",
}

# Folders whose inside mirrors other folders: a line for each folder there, not for each file.
GROUPED: dict[str, dict[str, str]] = {
    "tests": {
        "e2e": "real processes: the first five minutes, kills, a follower, a terminal",
        "simulation": "consensus as a seeded simulation, its properties and mutants",
        "vectors": "golden vectors, and a client made from the protocol page alone",
    }
}

DESCRIBED: dict[str, str] = {
    ".ci/run": "a clean clone to a verdict: missing packages, `make test`, `make test-full`",
    ".gitignore": "what is never committed",
    "CHANGELOG.md": "what changed, by version",
    "CONTRIBUTING.md": "how to work here",
    "LICENSE": "Apache License 2.0",
    "Makefile": "run, test, test-full, check, bench, soak, layout, clean",
    "README.md": "what it is, and how to pay within five minutes",
    "SECURITY.md": "how to report a weakness, what is protected and from whom",
    "constraints.txt": "the exact versions that this checkout is tested with",
    "docs/layout.md": "this page, written by `make layout`",
    "pyproject.toml": "dependencies, and the settings of every tool",
    "scripts/environment": "finds a Python, makes `.venv`, or says in one line what is missing",
    "setup.cfg": "maps the top-level folders to `clawpurse.*`",
    "stubs/*": "types for {stem}",
    "tests/vectors/*.json": "golden vectors: {words}",
    "modules/kit/pages/package.json": "tells Node.js, in tests, that scripts are ES modules",
    "node/dashboard/package.json": "tells Node.js, in tests, that scripts are ES modules",
    "modules/kit/pages/static/vendor/noble.js": "signatures and hashes, bundled by `make vendor`",
    "modules/kit/pages/static/vendor/preact.js": "Preact, hooks and htm, bundled by `make vendor`",
    "modules/kit/pages/static/vendor/uplot.js": "uPlot, bundled by `make vendor`",
    "modules/kit/pages/static/vendor/vendor.json": "versions, licences and SHA-256 of the bundles",
    "modules/kit/pages/static/vendor/licences.txt": "the licences of what is bundled",
    "modules/kit/pages/static/style.css": "one sheet for all pages: tokens, light and dark, phone",
    "node/dashboard/static/index.html": "the one page into which all others are drawn",
    "scripts/vendor/package.json": "what `make vendor` bundles, by exact version",
    "scripts/vendor/package-lock.json": "the same with checksums, for `npm ci`",
    "*/py.typed": "tells type checkers that this package is typed",
    "*.json": "data: {words}",
    "*.html": "page: {words}",
    "*.txt": "data: {words}",
    "*.png": "picture: {words}",
}

HEADING = """# Layout

Every folder and file in a line, from the top of the spine downward. A folder imports only what
stands below it on its line ([decision 0001](decisions/0001-package-layout.md)); a test enforces it.

```
cli ──► node ──► wallet ──► modules ──► ledger
          ├────► consensus ───────────► ledger
          └────► p2p ─────────────────► ledger          tests, benches ──► anything
```

"""


def first_sentence(text: str) -> str:
    """Return the first sentence of the first paragraph, on one line, without its full stop."""
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    sentence = re.split(r"(?<=[.!?])\s+(?=[A-Z`])", paragraph)[0]
    return sentence.rstrip(".")


def described(path: str) -> str | None:
    """Return what `DESCRIBED` says of a path: its own entry, or the first pattern that fits."""
    if path in DESCRIBED:
        return DESCRIBED[path]
    stem = Path(path).name.split(".")[0]
    package = path.split("/")[1] if path.count("/") > 1 else stem
    for pattern, words in DESCRIBED.items():
        if fnmatch.fnmatch(path, pattern):
            return words.format(stem=package, words=stem.replace("_", " ").replace("-", " "))
    return None


def line_of(path: str) -> str:
    """Return what one file is for. Raises `LookupError` for a file that nothing describes."""
    listed = described(path)
    if listed is not None:
        return listed
    text = (ROOT / path).read_text("utf-8")
    if path.endswith((".js", ".mjs")):
        # A script speaks in the comment that it begins with.
        said = itertools.takewhile(lambda line: line.startswith("//"), text.splitlines())
        spoken: str | None = " ".join(line.removeprefix("//") for line in said)
    elif path.endswith(".py"):
        spoken = ast.get_docstring(ast.parse(text, path))
    else:
        spoken = next((line[2:] for line in text.splitlines() if line.startswith("# ")), None)
    if not spoken:
        raise LookupError(f"{path} says nowhere what it is for → scripts/layout.py, DESCRIBED")
    return first_sentence(spoken)


def files(folder: Path) -> list[Path]:
    """Return the files of a folder that belong to the repository, its own before deeper ones."""
    ignored = ("__pycache__", "*.pyc", "*.egg-info", ".mypy_cache", ".ruff_cache")
    found = []
    for path in folder.rglob("*"):
        parts = path.relative_to(ROOT).parts
        hidden = any(fnmatch.fnmatch(part, one) for part in parts for one in ignored)
        if path.is_file() and not hidden:
            found.append(path.relative_to(ROOT))
    return sorted(found, key=lambda path: (path.parent.parts, path.name != "__init__.py", path))


def grouped(folder: str) -> str:
    """Return a folder's own files, and one line for each folder below it: they mirror others."""
    own = [path for path in files(ROOT / folder) if len(path.parts) == 2]
    lines = [f"- `{path.name}`: {line_of(path.as_posix())}\n" for path in own]
    below = sorted({path.parts[1] for path in files(ROOT / folder) if len(path.parts) > 2})
    for name in below:
        words = GROUPED[folder].get(name, f"what is promised of `{name}/`")
        lines.append(f"- `{folder}/{name}/`: {words}\n")
    return "".join(lines) + "\n"


def unknown_folders() -> list[str]:
    """Return top-level folders that the page does not know, build results left out."""
    built = ("build", "dist", "htmlcov", "*.egg-info", "__pycache__", ".*")
    names = [path.name for path in ROOT.iterdir() if path.is_dir() and path.name not in FOLDERS]
    return sorted(name for name in names if not any(fnmatch.fnmatch(name, one) for one in built))


def render() -> str:
    """Return the whole page, from the files as they are now. Raises `LookupError` as `line_of`."""
    if unknown_folders():
        raise LookupError(f"{unknown_folders()} are undescribed → scripts/layout.py, FOLDERS")
    out = [HEADING]
    for folder, words in FOLDERS.items():
        if not (ROOT / folder).is_dir() or not files(ROOT / folder):
            continue
        out.append(f"## `{folder}/`: {words}\n\n")
        if folder in GROUPED:
            out.append(grouped(folder))
            continue
        below = None
        for path in files(ROOT / folder):
            if path.parent != below:
                below = path.parent
                if len(below.parts) > 1:
                    out.append(f"\n`{below.as_posix()}/`\n\n")
            out.append(f"- `{path.name}`: {line_of(path.as_posix())}\n")
        out.append("\n")
    out.append("## The root\n\n")
    for path in sorted(ROOT.iterdir()):
        if path.is_file() and (path.name in DESCRIBED or path.suffix in (".md", ".py", ".toml")):
            out.append(f"- `{path.name}`: {line_of(path.name)}\n")
    return "".join(out)


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` compare it; 0 when it is right, 1 when it is stale."""
    page = render()
    target = ROOT / PAGE
    if "--check" in arguments:
        if target.exists() and target.read_text("utf-8") == page:
            return 0
        sys.stderr.write(f"{PAGE} does not show the files as they are. → make layout\n")
        return 1
    target.write_text(page, "utf-8")
    sys.stdout.write(f"✓ {PAGE}, {page.count(chr(10))} lines\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
