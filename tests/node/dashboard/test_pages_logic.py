"""What the node's pages work out without a browser: run under Node, as the node serves it.

Sums, answers and texts are in pages.test.mjs; QR codes are compared with another encoder here.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.need import need

ROOT = Path(__file__).resolve().parent.parent.parent.parent
SECONDS_MAX = 60
# Texts that fill a code to its last byte: in what pads shorter ones encoders differ, as they may.
FULL_BYTES = (14, 26, 42, 62, 84, 106, 213)
MASKS = 8


def test_what_pages_work_out_is_right() -> None:
    """A payment shown as final that is not, or a sum that hides a cent, misleads who pays."""
    node = need("node", "to run what pages work out")
    done = subprocess.run(
        [node, "--test", "tests/node/dashboard/pages.test.mjs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_qr_codes_are_those_of_another_encoder() -> None:
    """Who scans the code of an account must pay that account."""
    segno = pytest.importorskip("segno")
    node = need("node", "to make QR codes as pages do")
    texts = ["claw1" * (size // 5) + "x" * (size % 5) for size in FULL_BYTES]
    module = (ROOT / "node/dashboard/static/pages/qr.js").as_uri()
    script = (
        f"import {{ qrModules }} from {json.dumps(module)};"
        f"console.log(JSON.stringify({json.dumps(texts)}.map(qrModules)));"
    )
    done = subprocess.run(
        [node, "--input-type=module", "-e", script],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=True,
    )
    for text, made in zip(texts, json.loads(done.stdout), strict=True):
        # Which mask reads best is a matter of taste; all eight are right.
        others = [
            segno.make(text, error="m", mode="byte", boost_error=False, micro=False, mask=mask)
            for mask in range(MASKS)
        ]
        rows = [[bool(cell) for cell in row] for row in made]
        assert any([[bool(cell) for cell in row] for row in one.matrix] == rows for one in others)
