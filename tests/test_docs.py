"""Pages that readers follow: their links lead somewhere, and lists of pages are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README_LINES_MAX = 120
# A link to a page of ours; addresses elsewhere are not followed.
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s#]*)(#[^)\s]*)?\)")
IGNORED = (".git", ".venv", ".ns", "build", "dist", "node_modules")


def pages() -> list[Path]:
    found = [path for path in ROOT.rglob("*.md") if not path.is_symlink()]
    return [path for path in found if not set(path.relative_to(ROOT).parts) & set(IGNORED)]


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings get: lower case, words joined by hyphens."""
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def broken_links(page: Path, text: str) -> list[str]:
    """Links of one page that lead nowhere, as `target`."""
    broken = []
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    for target, anchor in LINK.findall(prose):
        path = (page.parent / target) if target else page
        if not path.exists():
            broken.append(target)
        elif anchor and path.suffix == ".md":
            known = anchors(text if path == page else path.read_text("utf-8"))
            if anchor[1:] not in known:
                broken.append(target + anchor)
    return broken


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """A reader sent to a page that is not there stops reading."""
    assert broken_links(page, page.read_text("utf-8")) == []


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    """A checker that passes everything protects nobody."""
    page = tmp_path / "page.md"
    good = "# One thing\n[a](page.md) [b](#one-thing) [c](https://example.org) `[d](no)`"
    page.write_text(good, "utf-8")
    assert broken_links(page, good) == []
    assert broken_links(page, good + "\n[e](gone.md) [f](page.md#gone)") == [
        "gone.md",
        "page.md#gone",
    ]


def test_the_readme_stays_short() -> None:
    """Five minutes are what a newcomer gives us."""
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) <= README_LINES_MAX


def test_every_decision_is_in_the_index_once() -> None:
    """A decision that nobody finds is made again, differently."""
    folder = ROOT / "docs/decisions"
    records = sorted(path.name for path in folder.glob("[0-9]*.md"))
    listed = LINK.findall((folder / "README.md").read_text("utf-8"))
    assert sorted(target for target, _ in listed) == records
    numbers = [name.split("-")[0] for name in records]
    assert len(set(numbers)) == len(numbers), "two records share a number"
    for name in records:
        text = (folder / name).read_text("utf-8")
        assert text.startswith(f"# {name.split('-')[0]}: ")
        for heading in ("## Context", "## Options", "## Choice", "## Consequences"):
            assert heading in text, f"{name} lacks {heading}"
