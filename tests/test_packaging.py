"""What people install is what is in the repository: nothing missing, nothing left behind."""

from __future__ import annotations

import configparser
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD_SECONDS_MAX = 300


def top_folders() -> list[str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    lines = config["options"]["package_dir"].strip().splitlines()
    return [line.split(" = ")[1] for line in lines]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from a copy, so that no build folder hides what the tree lacks."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in top_folders():
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    arguments = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", "dist", "."]
    # Warnings are errors in our tests; in pip they are pip's.
    environment = os.environ | {"PYTHONWARNINGS": ""}
    command = [sys.executable, *arguments]
    subprocess.run(command, cwd=copy, env=environment, check=True, timeout=BUILD_SECONDS_MAX)
    return zipfile.ZipFile(next((copy / "dist").glob("clawpurse-*.whl")))


@pytest.mark.full
def test_the_wheel_holds_every_file(wheel: zipfile.ZipFile) -> None:
    """A page or a folder left out is found by the first user of the wheel, not by us."""
    packed = set(wheel.namelist())
    missing = [
        path.relative_to(ROOT).as_posix()
        for name in top_folders()
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
        if f"clawpurse/{path.relative_to(ROOT).as_posix()}" not in packed
    ]
    assert missing == []


@pytest.mark.full
def test_the_wheel_brings_the_command_and_the_licence(wheel: zipfile.ZipFile) -> None:
    """Without the entry point there is no `clawpurse` to type."""
    packed = wheel.namelist()
    entry = next(name for name in packed if name.endswith("entry_points.txt"))
    assert "clawpurse = clawpurse.cli.main:main" in wheel.read(entry).decode()
    assert any(name.endswith("licenses/LICENSE") for name in packed)


@pytest.mark.full
def test_the_wheel_brings_no_second_top_level_name(wheel: zipfile.ZipFile) -> None:
    """A top-level `cli` or `modules` would overwrite another distribution's, or be overwritten."""
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert all(top == "clawpurse" or top.endswith(".dist-info") for top in tops), tops


def test_every_requirement_is_pinned_in_range() -> None:
    """An unpinned package differs between two machines on the day it breaks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pinned = {
        re.sub(r"[-_.]+", "-", line.split("==")[0]).lower()
        for line in lines
        if line and not line.startswith("#")
    }
    names = {re.sub(r"[-_.]+", "-", re.split(r"[><=\[]", one)[0]).lower() for one in wanted}
    assert names - pinned == set()


# Run where nothing of the repository is: what the pages of the unpacked wheel are made of.
PROBE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from clawpurse.node.alerts import KINDS
from clawpurse.node.dashboard import dashboard
site = dashboard()
files = {name: file.data.decode() for name, file in site.files.items()}
loaded = {name: one.__file__ for name, one in sys.modules.items() if name.startswith("clawpurse.")}
print(json.dumps({"files": files, "alerts": sorted(KINDS), "loaded": loaded}))
"""
NAMED = re.compile(r"""(?:\bfrom |\bimport\(|href=|src=|= )"((?:/assets|\.{1,2})/[^"]+)\"""")
PAGE = re.compile(r"""\bpage\("(\w+)"\)""")


@pytest.mark.full
def test_the_pages_of_the_wheel_are_whole(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """A file that a page names and the wheel lacks is an empty page, but not on our machine."""
    wheel.extractall(tmp_path / "site")
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", PROBE, str(tmp_path / "site")]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout)
    outside = {
        name: file
        for name, file in found["loaded"].items()
        if file is not None and not Path(file).is_relative_to(tmp_path)
    }
    assert outside == {}
    files = {f"/assets/{name}": text for name, text in found["files"].items()}
    named = {
        posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
        for name, text in files.items()
        if "/vendor/" not in name
        for target in NAMED.findall(text)
    }
    pages = PAGE.findall(files["/assets/node/app.js"])
    named |= {f"/assets/node/pages/{page}.js" for page in pages}
    assert {"/assets/kit/vendor/uplot.js", "/assets/node/runbooks.json"} <= named
    assert len(pages) > 10
    assert sorted(named - set(files)) == []
    books = json.loads(files["/assets/node/runbooks.json"])
    assert sorted(books) == found["alerts"]
    assert all(len(book["parts"]) >= 2 for book in books.values())
