"""What a first visit to the dashboard costs: bytes and requests, followed as a browser would."""

from __future__ import annotations

import re
from posixpath import dirname, normpath

from clawpurse.modules.kit.pages.site import Site
from clawpurse.node.dashboard import dashboard

BYTES_MAX = 100_000
REQUESTS_MAX = 12
# Beside files: the socket, and two batches of calls (what panels ask, and what those answers ask).
ASKED = 3
# Drawn on the first page, though loaded when its first chart is.
LATE = "/assets/kit/vendor/uplot.js"


def first_load(site: Site) -> dict[str, int]:
    """Return the files of the first page with their sizes on the wire."""
    files = {f"/assets/{name}": file for name, file in site.files.items()}
    wanted = ["/assets/node/index.html", LATE]
    sizes: dict[str, int] = {}
    while wanted:
        name = wanted.pop()
        if name in sizes:
            continue
        file = files[name]
        sizes[name] = len(file.packed or file.data)
        text = file.data.decode()
        if name.endswith(".html"):
            wanted += re.findall(r'(?:href|src)="(/assets/[^"]+)"', text)
        elif "/vendor/" not in name:
            for target in re.findall(r'^(?:import|export)\b[^;]*? from "([^"]+)";', text, re.M):
                wanted.append(normpath(f"{dirname(name)}/{target}" if target[0] == "." else target))
    return sizes


def test_the_first_page_is_small() -> None:
    """A phone on a bad line gives up before a second heavy page."""
    sizes = first_load(dashboard())
    assert {"/assets/kit/core.js", "/assets/node/pages/home.js", LATE} <= set(sizes)
    assert sum(sizes.values()) <= BYTES_MAX, sizes
    assert len(sizes) + ASKED <= REQUESTS_MAX, sorted(sizes)
