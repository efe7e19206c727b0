"""The screen that tutorials are made of shows what a terminal shows, and refuses the rest."""

from __future__ import annotations

import pytest

from tests.e2e.screen import Screen


def test_lines_wrap_where_the_terminal_ends() -> None:
    """A row that is full waits for the next character, as terminals do."""
    screen = Screen(5)
    screen.feed("12345\r\nabcdefg\r\n")
    assert screen.rows() == ["12345", "abcde", "fg"]


def test_a_line_is_written_over_and_taken_back() -> None:
    """What a progress line showed is gone; a dot that was taken back is, too."""
    screen = Screen(20)
    screen.feed("waiting … 1 s\r\x1b[Kdone\r\n\x1b[3")
    screen.feed("1mab\x1b[0m\b \bc")
    assert screen.rows() == ["done", "ac"]


def test_a_forgotten_screen_leaves_the_one_beneath() -> None:
    """Words of a key must not come onto a page with what was there before them."""
    screen = Screen(20)
    screen.feed("before\r\n\x1b[?1049h\x1b[2J\x1b[Hsecret words\x1b[?1049lafter")
    assert screen.rows() == ["before", "after"]
    assert screen.forgotten == [["secret words"]]


@pytest.mark.parametrize("text", ["\x1b[5A", "\x1b]0;title\x07 and more of it", "\x07", "\t"])
def test_what_we_do_not_write_is_an_error(text: str) -> None:
    """A memo that moves the cursor could forge what a person reads."""
    with pytest.raises(AssertionError):
        Screen(20).feed(text)
