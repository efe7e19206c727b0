"""Bundles of other people's code: those that are committed are those that the lock says."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.need import need

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "modules/kit/pages/static/vendor"
BUNDLING_SECONDS_MAX = 600


def test_every_bundle_is_the_one_that_was_reviewed() -> None:
    """A byte changed in a bundle signs with somebody else's pen."""
    named = json.loads((TARGET / "vendor.json").read_text("utf-8"))["files"]
    assert {path.name for path in TARGET.iterdir()} == {*named, "vendor.json"}
    for name, about in named.items():
        assert hashlib.sha256((TARGET / name).read_bytes()).hexdigest() == about["sha256"], name


def test_versions_are_those_of_the_lock() -> None:
    """What is said about a bundle is what was installed to make it."""
    lock = json.loads((ROOT / "scripts/vendor/package-lock.json").read_text("utf-8"))["packages"]
    asked = json.loads((ROOT / "scripts/vendor/package.json").read_text("utf-8"))["dependencies"]
    named = json.loads((TARGET / "vendor.json").read_text("utf-8"))["files"]
    bundled = {
        package["name"]: package["version"]
        for about in named.values()
        for package in about.get("packages", [])
    }
    assert bundled == asked
    for name, version in bundled.items():
        assert lock[f"node_modules/{name}"]["version"] == version
        assert lock[f"node_modules/{name}"]["integrity"].startswith("sha512-")


@pytest.mark.full
@pytest.mark.real
def test_bundling_anew_gives_the_same_bytes(tmp_path: Path) -> None:
    """Otherwise nobody can tell what the committed ones are made of."""
    need("node", "to bundle")
    need("npm", "to install what is bundled")
    command = [sys.executable, str(ROOT / "scripts/vendor_pages.py"), "--into", str(tmp_path)]
    subprocess.run(command, check=True, timeout=BUNDLING_SECONDS_MAX)
    for path in TARGET.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
