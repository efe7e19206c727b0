"""Writes the runbooks that a node serves, from docs/runbooks/*.md; --check compares.

A browser gets them as paragraphs, lists, code and links that were parsed here, so that the page
that shows them parses no markup: what is text stays text. Only what this file knows may stand in a
runbook; anything else is an error that names its line.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCE: Final = ROOT / "docs" / "runbooks"
PAGE: Final = ROOT / "node" / "dashboard" / "static" / "runbooks.json"

# Code, or a link to a neighbour; everything between is text.
_RUN: Final = re.compile(r"`([^`]+)`|\[([^\]]+)\]\(([^)]+)\)")
_LINK: Final = re.compile(r"([A-Za-z]+)\.md")
# Marks of Markdown that a runbook does without, and this file does not know.
_UNKNOWN: Final = re.compile(r"^(#{3,}|\||```|>|\d+\. |\* )|\*\*|<|\]\(|!\[")
_SEVERITY: Final = re.compile(r"Severity: (warning|critical)\.")


def page() -> str:
    """Return the file: a JSON object name → {severity, parts}."""
    books = {path.stem: book(path.stem, path.read_text("utf-8")) for path in _sources()}
    return json.dumps(books, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def book(name: str, text: str) -> dict[str, Any]:
    """Return a runbook as {severity, parts[{title, blocks}]}.

    A block is {"text": runs} or {"list": [runs]}, a run a text, {"code"}, or {"text", "runbook"}.
    Raises `ValueError` naming what cannot be shown.
    """
    head, *paragraphs = re.split(r"\n{2,}", text.strip())
    if head != f"# {name}":
        raise ValueError(f"{name}: begins with {head!r}")
    severity = _SEVERITY.fullmatch(paragraphs.pop(0))
    if severity is None:
        raise ValueError(f"{name}: says no severity first")
    parts: list[dict[str, Any]] = []
    for paragraph in paragraphs:
        if paragraph.startswith("## "):
            parts.append({"title": paragraph.removeprefix("## "), "blocks": []})
        elif not parts:
            raise ValueError(f"{name}: {paragraph!r} belongs to no heading")
        else:
            parts[-1]["blocks"].append(_block(name, paragraph))
    return {"severity": severity[1], "parts": parts}


def _block(name: str, paragraph: str) -> dict[str, Any]:
    if not paragraph.startswith("- "):
        return {"text": _runs(name, " ".join(paragraph.splitlines()))}
    items = re.split(r"^- ", paragraph, flags=re.MULTILINE)[1:]
    lines = [" ".join(line.strip() for line in item.splitlines()) for item in items]
    return {"list": [_runs(name, line) for line in lines]}


def _runs(name: str, line: str) -> list[Any]:
    runs: list[Any] = []
    end = 0
    for found in _RUN.finditer(line):
        runs.append(line[end : found.start()])
        end = found.end()
        code, text, target = found.groups()
        if code is not None:
            runs.append({"code": code})
            continue
        link = _LINK.fullmatch(target)
        if link is None or not (SOURCE / target).exists():
            raise ValueError(f"{name}: {target} is no other runbook")
        runs.append({"text": text, "runbook": link[1]})
    runs.append(line[end:])
    for run in runs:
        if isinstance(run, str) and _UNKNOWN.search(run):
            raise ValueError(f"{name}: cannot be shown: {run!r}")
    return [run for run in runs if run != ""]


def _sources() -> list[Path]:
    return sorted(path for path in SOURCE.glob("*.md") if path.stem != "README")


def main() -> int:
    """Write the file, or with --check tell whether it is what it should be."""
    text = page()
    if "--check" in sys.argv:
        return int(not PAGE.exists() or PAGE.read_text("utf-8") != text)
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
