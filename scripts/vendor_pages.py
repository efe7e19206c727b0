"""Bundles the packages of scripts/vendor/ into the folder from which pages are served.

`make vendor` calls it: npm installs exactly what the lock says in a folder of its own, without
running anybody's install scripts, and esbuild makes one module of each entry. `--into DIR` writes
elsewhere, which is how a test compares.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "scripts/vendor"
TARGET = ROOT / "modules/kit/pages/static/vendor"
# A registry that does not answer within this is not going to.
INSTALL_SECONDS_MAX = 300


def bundle(target: Path) -> list[str]:
    """Write the bundles, their licences and `vendor.json` into a folder; return their names.

    Raises `FileNotFoundError` without npm, `CalledProcessError` where it or esbuild fails.
    """
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise FileNotFoundError("node and npm are needed to bundle. → sudo apt install nodejs npm")
    with tempfile.TemporaryDirectory(prefix="clawpurse-vendor-") as name:
        place = Path(name) / "vendor"
        shutil.copytree(SOURCE, place, ignore=shutil.ignore_patterns("node_modules"))
        install = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(install, cwd=place, check=True, timeout=INSTALL_SECONDS_MAX)
        target.mkdir(parents=True, exist_ok=True)
        command = [node, "build.mjs", str(place), str(target.resolve())]
        subprocess.run(command, cwd=place, check=True, timeout=INSTALL_SECONDS_MAX)
    return sorted(path.name for path in target.iterdir())


def main() -> int:
    """Bundle, and say what was written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=TARGET)
    target = parser.parse_args().into
    try:
        names = bundle(target)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for name in names:
        sys.stdout.write(f"✓ {name}, {(target / name).stat().st_size:,} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
