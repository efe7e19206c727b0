"""Pictures of pages: where they go, how they look, and how large they may be.

Without CLAWPURSE_SCREENSHOTS they go to a folder that is thrown away: what is tested then is that
each state can be reached and shows the words that belong to it.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Page

ROOT: Final = Path(__file__).resolve().parent.parent.parent
DRAWING: Final = bool(os.environ.get("CLAWPURSE_SCREENSHOTS"))
SIZE: Final = (960, 640)
PHONE: Final = (360, 740)
_LOOKS: Final = ((SIZE, "light", ""), (SIZE, "dark", "-dark"), (PHONE, "light", "-phone"))
# Each state in light, in dark and on a phone, with the last part of the picture's name. That a
# state is reached needs one look; the others cost a test its time.
LOOKS: Final = _LOOKS if DRAWING else _LOOKS[:1]
# Pictures stay in the history of the repository for ever.
FOLDER_BYTES_MAX: Final = 5_500_000

Shoot = Callable[[Page, str], None]


@pytest.fixture
def shoot(tmp_path: Path) -> Shoot:
    """Takes a picture of what a page shows now, under a name."""
    folder = ROOT / "docs/images" if DRAWING else tmp_path
    folder.mkdir(parents=True, exist_ok=True)

    def take(page: Page, name: str) -> None:
        png = page.screenshot(animations="disabled")
        (folder / f"{name}.png").write_bytes(squeezed(png) if DRAWING else png)
        pictures = sum(one.stat().st_size for one in folder.glob("*.png"))
        assert pictures <= FOLDER_BYTES_MAX

    return take


def squeezed(png: bytes) -> bytes:
    """The same picture, deflated as small as zlib can."""
    parts, data, at = [png[:8]], b"", 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        kind, chunk = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        if kind == b"IDAT":
            data += chunk
        else:
            if kind == b"IEND":
                parts.append(_chunk(b"IDAT", zlib.compress(zlib.decompress(data), 9)))
            parts.append(_chunk(kind, chunk))
        at += size + 12
    return b"".join(parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
