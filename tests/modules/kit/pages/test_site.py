"""Files of pages over HTTP: what a browser gets, what it may keep, and what it is forbidden."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from clawpurse.ledger.errors import OperatorError
from clawpurse.modules.kit.pages.joining import join, redirected
from clawpurse.modules.kit.pages.site import POLICY, Site, has_tag, takes_gzip
from clawpurse.modules.kit.web.head import parse_head
from clawpurse.modules.kit.web.limits import Limits
from clawpurse.modules.kit.web.messages import Peer, Request, Response, render


def folder(tmp_path: Path) -> Path:
    (tmp_path / "pages").mkdir()
    (tmp_path / "index.html").write_text("<!doctype html><title>t</title>" + " " * 400, "utf-8")
    (tmp_path / "pages/one.js").write_text(
        'import { html } from "/assets/kit/parts.js";\nexport default () => html`x`;\n', "utf-8"
    )
    return tmp_path


def ask(site: Site, path: str, **fields: str) -> Response:
    lines = [f"GET {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    head = parse_head(("\r\n".join(lines) + "\r\n\r\n").encode(), Limits())
    peer = Peer("127.0.0.1:1", "127.0.0.1")
    return site.routes()["GET", path](Request(head, b"", peer, lambda _size: True))


def fields_of(response: Response) -> dict[str, str]:
    return dict(response.headers)


def test_every_file_carries_the_policy(tmp_path: Path) -> None:
    """One file without it is the one that an injected script comes through."""
    site = Site({"t": folder(tmp_path)}, "t/index.html")
    for _method, path in site.routes():
        fields = fields_of(ask(site, path))
        assert fields["Content-Security-Policy"] == POLICY
        assert fields["Referrer-Policy"] == "no-referrer"
        head = parse_head(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), Limits())
        sent = render(ask(site, path), head, keep_alive=True)
        assert sent.count(b"X-Content-Type-Options: nosniff\r\n") == 1


def test_a_file_is_sent_once_and_compressed(tmp_path: Path) -> None:
    """On a phone each kilobyte is waited for."""
    site = Site({"t": folder(tmp_path)}, "t/index.html")
    packed = ask(site, "/", Accept_Encoding="br, gzip;q=0.8")
    whole = ask(site, "/", Accept_Encoding="gzip;q=0")
    assert gzip.decompress(bytes(packed.body)) == whole.body
    tags = fields_of(packed)["ETag"], fields_of(whole)["ETag"]
    assert tags[0] != tags[1]
    for tag, coding in zip(tags, ("gzip", "identity"), strict=True):
        again = ask(site, "/", Accept_Encoding=coding, If_None_Match=f'"other", W/{tag}')
        assert (again.status, again.body) == (304, b"")
        assert fields_of(again)["ETag"] == tag
    assert ask(site, "/", If_None_Match=tags[0]).status == 200


def test_nothing_is_looked_up_by_what_a_client_sends(tmp_path: Path) -> None:
    """The way out of a folder is a path; here there are none but those known at the start."""
    site = Site({"t": folder(tmp_path)}, "t/index.html")
    assert ("GET", "/assets/t/../index.html") not in site.routes()
    assert ("GET", "/assets/kit/vendor/vendor.json") in site.routes()


def test_a_strange_file_is_not_served_by_chance(tmp_path: Path) -> None:
    """A key or a database dropped into the folder must stop the node, not be published."""
    (folder(tmp_path) / "wallet.key").write_bytes(b"secret")
    with pytest.raises(OperatorError, match=r"wallet\.key"):
        Site({"t": tmp_path}, "t/index.html")


def test_the_shell_is_one_request(tmp_path: Path) -> None:
    """Pages import its parts by their names; all of them come from one file."""
    site = Site({"t": folder(tmp_path)}, "t/index.html")
    page = ask(site, "/assets/t/pages/one.js").body
    assert isinstance(page, bytes)
    assert b'from "/assets/kit/core.js"' in page
    core = site.files["kit/core.js"].data.decode()
    for name in ("html", "Panel", "useCall", "route", "openShell", "Chart"):
        assert name in core
    assert "kit/parts.js" not in site.files
    assert ("GET", "/assets/kit/entities.js") in site.routes()


def test_what_joining_would_change_is_refused() -> None:
    """Two definitions of a name would overwrite each other in everybody's browser."""
    good = {
        "a.js": 'import { b } from "./b.js";\nexport const a = b;\n',
        "b.js": 'import { x,\n  y } from "./vendor/v.js";\nexport const b = x + y;\n',
        "c.js": "export const c = 1;\n",
    }
    text, inside = join(good, ["a.js"])
    assert inside == {"a.js", "b.js"}
    assert text.index("const b") < text.index("const a")
    assert text.startswith('import { x, y } from "./vendor/v.js";\n')
    assert text.count("import ") == 1
    for name, wrong, problem in (
        ("b.js", "const a = 1;\n", "both define a"),
        ("b.js", 'import { a } from "./a.js";\nexport const b = a;\n', "in a circle"),
        ("b.js", 'import b from "./x.js";\n', "cannot be joined"),
        ("b.js", "export default 1;\n", "cannot be joined"),
        ("a.js", 'import { b as z } from "./b.js";\n', "renames"),
    ):
        with pytest.raises(OperatorError, match=problem):
            join(good | {name: wrong}, ["a.js"])


def test_imports_follow_what_was_joined() -> None:
    """A page that loaded a part twice would have two connections and two states."""
    text = (
        'import { a } from "/k/a.js";\nconst f = () => import("/k/a.js");\nconst s = "/k/a.js";\n'
    )
    moved = redirected(text, {"/k/a.js": "/k/core.js"})
    assert moved.count("/k/core.js") == 2
    assert 's = "/k/a.js"' in moved


@pytest.mark.parametrize(
    ("accepted", "taken"),
    [
        (b"gzip", True),
        (b"deflate, GZIP;q=0.5", True),
        (b"*", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000", False),
        (b"br", False),
        (b"", False),
    ],
)
def test_codings_are_read_as_written(accepted: bytes, taken: bool) -> None:
    """Bytes that a client cannot read are a blank page."""
    assert takes_gzip(accepted) is taken


def test_tags_are_compared_whole() -> None:
    """Half a match would keep an old page for ever."""
    assert has_tag(b'W/"a", "b"', '"a"')
    assert has_tag(b"*", '"a"')
    assert not has_tag(b'"ab"', '"a"')
