"""What people install is what is in the repository: nothing missing, nothing left behind."""

from __future__ import annotations

import configparser
import os
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
