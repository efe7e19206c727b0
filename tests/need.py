"""What a test needs of the machine beyond Python, and what happens where it is missing.

On a laptop such a test skips and says what to install. In continuous integration `.ci/run` has
installed everything and sets `CLAWPURSE_CI=1`: there an absence is a failure, because a test that
quietly never runs protects nobody.
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def need(program: str, why: str) -> str:
    """Return the path of a program; skip, or in continuous integration fail, where there is none.

    `why` is what the test does with it. It goes on after "needed": "to run the pages' scripts".
    """
    path = shutil.which(program)
    if path is None:
        lacking(f"{program} is not installed; needed {why}", f"sudo apt install {program}")
    return path


def lacking(what: str, remedy: str) -> NoReturn:
    """Skip, or in continuous integration fail, a test for something that is not there."""
    message = f"{what}. → {remedy}"
    if os.environ.get("CLAWPURSE_CI") == "1":
        pytest.fail(f"{message} (.ci/run has to install it)", pytrace=False)
    pytest.skip(message)
