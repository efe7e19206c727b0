"""What is printed where: results on stdout, the rest on stderr, colour only for people."""

from __future__ import annotations

import io
import re

import pytest

from clawpurse.cli.output import Output, counted


class Stream(io.StringIO):
    """A stream that is a terminal or a pipe."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def output(terminal: bool = True, **settings: object) -> tuple[Output, Stream, Stream]:
    out, err = Stream(terminal), Stream(terminal)
    environment = {"TERM": "xterm"} | dict(settings.pop("env", {}))  # type: ignore[call-overload]
    made = Output(stdout=out, stderr=err, environment=environment, **settings)  # type: ignore[arg-type]
    return made, out, err


def test_ticks_line_up_with_those_of_make() -> None:
    """The first lines come from make, the next from us; one column of times."""
    made, out, _ = output(terminal=False)
    made.tick("genesis acme-test-7f3a", 0.44)
    made.tick("Python 3.11.7")
    assert out.getvalue() == f"✓ {'genesis acme-test-7f3a':<38}0.4 s\n✓ Python 3.11.7\n"


@pytest.mark.parametrize(
    ("terminal", "settings"),
    [
        (False, {}),
        (True, {"colour": False}),
        (True, {"env": {"NO_COLOR": "1"}}),
        (True, {"env": {"TERM": "dumb"}}),
    ],
)
def test_no_colour_where_none_is_wanted(terminal: bool, settings: dict[str, object]) -> None:
    """A log file full of escapes is unreadable."""
    made, out, err = output(terminal, **settings)
    made.tick("done", 1.0)
    made.warn("careful")
    assert "\x1b" not in out.getvalue() + err.getvalue()
    assert err.getvalue() == "! careful\n"


def test_colour_comes_with_a_glyph() -> None:
    """Whoever sees no colour reads the glyph."""
    made, out, err = output()
    made.tick("done")
    made.warn("careful")
    assert out.getvalue() == "\x1b[32m✓\x1b[0m done\n"
    assert err.getvalue() == "\x1b[33m!\x1b[0m careful\n"


def test_json_is_alone_on_stdout() -> None:
    """A parser reads stdout; one word more and it fails."""
    made, out, err = output(json_mode=True)
    made.line("a")
    made.note("b")
    made.tick("c", 1.0)
    made.table(("x",), [("y",)])
    made.replace_line("z")
    made.emit({"ok": True, "what": "ü"})
    assert out.getvalue() == '{"ok": true, "what": "ü"}\n'
    assert err.getvalue() == ""


def test_tables_for_people_and_for_pipes() -> None:
    """Numbers right for eyes; tabs and whole values, without a header, for `cut`."""
    rows = [("CLAW", "1,000.00"), ("EURX", "3.50")]
    made, out, _ = output(terminal=True, colour=False)
    made.table(("asset", "amount>"), rows)
    assert out.getvalue().splitlines() == [
        "asset    amount",
        "CLAW   1,000.00",
        "EURX       3.50",
    ]
    made, out, _ = output(terminal=False)
    made.table(("asset", "amount>"), rows)
    assert out.getvalue() == "CLAW\t1,000.00\nEURX\t3.50\n"


def test_a_table_fits_the_terminal_and_nothing_of_it_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An address that breaks at the edge of the window is copied with a hole in it."""
    made, out, _ = output(terminal=True)
    monkeypatch.setattr(Output, "columns", 40)
    long = "claw1" + "q" * 30
    made.table(
        ("block>", "", "who", "memo"),
        [("1", made.mark("✓"), "bob", "rent"), ("12", made.mark("✗"), long, "x" * 9)],
    )
    plain = re.sub("\x1b\\[[0-9;]*m", "", out.getvalue()).splitlines()
    assert plain == [
        "block     who  memo",
        "    1  ✓  bob  rent",
        "   12  ✗",
        f"  {long}",
        "  xxxxxxxxx",
    ]
    assert "\x1b[2mblock" in out.getvalue()


def test_an_empty_table_has_its_header() -> None:
    """Nothing there is shown as nothing there."""
    made, out, _ = output(colour=False)
    made.table(("asset", "amount>"), [])
    assert out.getvalue() == "asset  amount\n"


def test_one_is_no_plural() -> None:
    """`1 payments` looks like a program that does not know what it says."""
    assert [counted(number, "payment") for number in (0, 1, 2, 1_200)] == [
        "0 payments",
        "1 payment",
        "2 payments",
        "1,200 payments",
    ]
    assert [counted(number, "authority") for number in (1, 4)] == ["1 authority", "4 authorities"]
    assert (counted(2, "day"), counted(2, "holds", "hold")) == ("2 days", "2 hold")
