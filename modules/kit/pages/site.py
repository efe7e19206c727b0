"""Serves the files of pages: read, compressed and named by their hash once, when a host starts.

Everything lies in memory and nothing is looked up by a path that a client sent, so there is no
way out of the folders. Every answer carries the content security policy: own origin only, no
inline script or style, nothing evaluated, no frame around it.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final

from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.kit.pages.joining import join, redirected
from clawpurse.modules.kit.web.messages import Request, Response

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final = (
    ("Content-Security-Policy", POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)
TYPES: Final = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".json": "application/json",
        ".txt": "text/plain; charset=utf-8",
        ".svg": "image/svg+xml",
        ".png": "image/png",
    }
)
# Pages of a service are tens of files of tens of kilobytes; more is a mistake in packaging.
SITE_BYTES_MAX: Final = 4 * 1024 * 1024
# Below this a gzip header costs more than it saves.
GZIP_BYTES_MIN: Final = 256
KIT: Final = "kit"
# What every page needs at once, joined under this name; the rest is loaded when it is used.
CORE: Final = "core.js"
CORE_FROM: Final = ("shell.js", "charts.js")

Handler = Callable[[Request], Response]


class StaticFile:
    """One file with its answers: whole, compressed, and "you have it already"."""

    def __init__(self, name: str, data: bytes) -> None:
        self.data: Final = data
        self.content_type: Final = TYPES[PurePosixPath(name).suffix]
        digest = hashlib.sha256(data).hexdigest()[:32]
        packed = gzip.compress(data, 9, mtime=0) if len(data) >= GZIP_BYTES_MIN else data
        self.packed: Final = packed if len(packed) < len(data) else None
        self._whole = self._answer(data, f'"{digest}"')
        # A strong name is one of bytes: what is compressed has another.
        self._compressed = (
            None
            if self.packed is None
            else self._answer(self.packed, f'"{digest}-gzip"', (("Content-Encoding", "gzip"),))
        )

    def _answer(
        self, body: bytes, tag: str, extra: tuple[tuple[str, str], ...] = ()
    ) -> tuple[str, Response, Response]:
        # Asked for anew each time: a node that was upgraded shows its new pages at once.
        fields = (
            *HEADERS,
            ("ETag", tag),
            ("Cache-Control", "no-cache"),
            ("Vary", "Accept-Encoding"),
        )
        # What was not modified names no content type; nosniff belongs to a body.
        known = Response(304, b"", self.content_type, fields)
        body_fields = tuple(field for field in fields if field[0] != "X-Content-Type-Options")
        return tag, Response(200, body, self.content_type, (*body_fields, *extra)), known

    def answer(self, request: Request) -> Response:
        """Answer GET or HEAD, by what the client takes and has (RFC 9110 §12.5.3, §13.1.2)."""
        headers = request.head.headers
        chosen = self._whole
        if self._compressed is not None and takes_gzip(headers.get(b"accept-encoding", b"")):
            chosen = self._compressed
        tag, whole, known = chosen
        return known if has_tag(headers.get(b"if-none-match", b""), tag) else whole


class Site:
    """The pages of a service: an index at `/`, and the files of folders under `/assets/NAME/`.

    `folders`: name → folder of static files; the kit's own comes by itself as `kit`. `index`: the
    page at `/`, a name `FOLDER/FILE`. Raises `OperatorError` for files that cannot be served.
    """

    def __init__(self, folders: Mapping[str, Traversable], index: str) -> None:
        kit = files("clawpurse.modules.kit.pages").joinpath("static")
        raw = {
            f"{name}/{path}": data
            for name, folder in {KIT: kit, **folders}.items()
            for path, data in _walk(folder)
        }
        if sum(map(len, raw.values())) > SITE_BYTES_MAX:
            raise OperatorError(f"pages of more than {SITE_BYTES_MAX} bytes")
        self.files: Final = {name: StaticFile(name, data) for name, data in _joined(raw).items()}
        self._index = self.files[index]

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Return the routes for an `App`."""
        found: dict[tuple[str, str], Handler] = {("GET", "/"): self._index.answer}
        for name, file in self.files.items():
            found["GET", f"/assets/{name}"] = file.answer
        return found


def _walk(folder: Traversable, prefix: str = "") -> list[tuple[str, bytes]]:
    """Return (path, bytes) of the files of a folder, deeper ones too."""
    found = []
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        path = f"{prefix}{entry.name}"
        if entry.is_dir():
            found += _walk(entry, f"{path}/")
        elif PurePosixPath(path).suffix in TYPES:
            found.append((path, entry.read_bytes()))
        else:
            raise OperatorError(f"the page file {path} is of no kind that is served")
    return found


def _joined(raw: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files with the shell's core as one of them, and everybody importing that."""
    shell = {
        name.removeprefix(f"{KIT}/"): data.decode()
        for name, data in raw.items()
        if name.startswith(f"{KIT}/") and name.count("/") == 1 and name.endswith(".js")
    }
    core, inside = join(shell, CORE_FROM)
    target = f"/assets/{KIT}/{CORE}"
    moved = {f"/assets/{KIT}/{name}": target for name in inside}
    # Files of the kit that stay apart name their neighbours relatively.
    near = moved | {f"./{name}": f"./{CORE}" for name in inside}
    served = {}
    for name, data in raw.items():
        folder, _, path = name.partition("/")
        if folder == KIT and path in inside:
            continue
        if name.endswith(".js") and "/vendor/" not in name:
            served[name] = redirected(data.decode(), near if folder == KIT else moved).encode()
        else:
            served[name] = data
    served[f"{KIT}/{CORE}"] = core.encode()
    return served


def takes_gzip(accepted: bytes) -> bool:
    """Tell whether an Accept-Encoding field takes gzip."""
    for part in accepted.lower().split(b","):
        coding, _, parameters = part.partition(b";")
        if coding.strip() in (b"gzip", b"*"):
            weight = parameters.replace(b" ", b"").removeprefix(b"q=")
            return weight.strip(b"0.") != b"" or not parameters
    return False


def has_tag(given: bytes, tag: str) -> bool:
    """Tell whether an If-None-Match field names a tag; weakly, as §13.1.2 says."""
    names = [part.strip().removeprefix(b"W/") for part in given.split(b",")]
    return b"*" in names or tag.encode() in names
