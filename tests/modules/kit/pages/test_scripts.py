"""The pages' scripts: their syntax, their limits, and what of them can be run without a browser."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from clawpurse.modules.kit.pages.site import Site
from tests.need import need

ROOT = Path(__file__).resolve().parents[4]
FOLDERS = (
    "modules/auth/pages/static",
    "modules/kit/pages/static",
    "modules/kit/pages/records/static",
    "node/dashboard/static",
    "wallet/pages/static",
)
LINES_MAX = 500
SECONDS_MAX = 60
# What the policy refuses in a browser, or what writes markup past the escaping.
FORBIDDEN = (
    r"\beval\(",
    r"\bnew Function\b",
    r"\binnerHTML\b",
    r"\bouterHTML\b",
    r"\binsertAdjacentHTML\b",
    r"\bdocument\.write\b",
    r"\bdangerouslySetInnerHTML\b",
    r"https?://(?!www\.w3\.org)",
)


def scripts() -> list[Path]:
    found = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.js"))]
    return [path for path in found if "vendor" not in path.parts]


def complaints(text: str) -> list[str]:
    return [pattern for pattern in FORBIDDEN if re.search(pattern, text)]


def test_a_forbidden_word_is_noticed() -> None:
    """A check that passes everything protects nobody."""
    assert complaints("element.innerHTML = memo")
    assert complaints('fetch("https://cdn.example/x.js")')
    assert complaints("html`<p>${memo}</p>`") == []


@pytest.mark.parametrize("path", scripts(), ids=lambda path: path.name)
def test_a_script_keeps_to_the_policy(path: Path) -> None:
    """A memo written as markup would run in the browser of whoever reads it."""
    text = path.read_text("utf-8")
    assert complaints(text) == []
    assert len(text.splitlines()) <= LINES_MAX
    assert text.startswith("//"), "says first what it is for"


def test_every_script_parses(tmp_path: Path) -> None:
    """One misplaced bracket in the shell, and no page opens at all."""
    node = need("node", "to read the pages' scripts")
    # One process for all: as modules, never run.
    reader = tmp_path / "read.mjs"
    reader.write_text(
        'import { readFileSync } from "node:fs"; import vm from "node:vm";\n'
        "for (const path of process.argv.slice(2)) "
        'new vm.SourceTextModule(readFileSync(path, "utf8"), { identifier: path });\n',
        "utf-8",
    )
    names = [str(path) for path in scripts()]
    joined = tmp_path / "core.js"
    joined.write_bytes(Site({}, "kit/core.js").files["kit/core.js"].data)
    command = [node, "--no-warnings", "--experimental-vm-modules", str(reader), *names, str(joined)]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_what_needs_no_browser_holds() -> None:
    """Amounts, times, cursors, addresses: by the tests that stand beside this one."""
    node = need("node", "to run the tests of the pages' scripts")
    files = sorted(Path(__file__).parent.glob("*.test.mjs"))
    files.append(ROOT / "tests/wallet/signing_words.test.mjs")
    command = [node, "--no-warnings", "--test", "--test-reporter=tap", *map(str, files)]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False
    )
    failed = [line for line in ended.stdout.splitlines() if line.lstrip().startswith("not ok")]
    assert (ended.returncode, failed) == (0, []), ended.stdout[-4000:]
