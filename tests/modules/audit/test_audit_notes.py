"""Signed notes: what other tools write is read here, and what is bent is refused.

If these failed, auditors could not check our checkpoints with tools of their own, or ours would
take a checkpoint that nobody signed.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawpurse.ledger.crypto import public_key_of
from clawpurse.ledger.errors import Malformed
from clawpurse.modules.audit.notes import (
    Checkpoint,
    NoteKey,
    open_note,
    origin_of,
    parse_checkpoint,
    parse_key,
    sign_note,
)

# The example of the format's first implementation (Go's sumdb/note).
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
GO_LINE = (
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngot"
    "pRZb6KE6RyyBwJnAM=\n"
)
SEED = b"\x07" * 32
KEY = NoteKey(origin_of(b"\x01" * 32, b"\x02" * 32), public_key_of(SEED))
POINT = Checkpoint(KEY.name, 12, b"\x03" * 32)
NOTE = sign_note(POINT.text(), KEY, SEED)


def test_a_note_of_another_implementation_is_read() -> None:
    key = parse_key(GO_KEY)
    assert (key.name, key.id.hex(), key.text) == ("PeterNeumann", "c74f20a3", GO_KEY)
    assert open_note(f"{GO_TEXT}\n{GO_LINE}", key) == GO_TEXT


def test_a_checkpoint_comes_back_as_it_was_signed() -> None:
    assert parse_checkpoint(open_note(NOTE, KEY)) == POINT
    assert parse_key(KEY.text) == KEY
    assert POINT.text() == f"{KEY.name}\n12\nAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\n"


def test_witnesses_may_sign_too() -> None:
    """The format lets others add lines; theirs neither help nor hurt."""
    assert open_note(NOTE + GO_LINE, KEY) == POINT.text()
    with pytest.raises(Malformed, match="is not signed by the key"):
        open_note(f"{POINT.text()}\n{GO_LINE}", KEY)


def test_lines_after_the_third_are_extensions() -> None:
    assert parse_checkpoint(POINT.text() + "Timestamp: 7\n") == POINT


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n\n",
        POINT.text(),
        NOTE[:-1],
        NOTE.replace("12", "13", 1),
        NOTE.replace("\u2014", "-"),
        NOTE.replace("\n\n", "\n"),
        NOTE + "\n",
        NOTE + "\u2014 x\n",
        NOTE + "\u2014 x AAAA\n",
        NOTE + GO_LINE * 16,
        NOTE.replace("\n12", "\n\x0012"),
        NOTE + "\u2014 a+b AAAAAAAAAAA=\n",
        NOTE.rstrip("\n") + "=\n",
        "x" * 5_000,
    ],
)
def test_what_is_no_note_of_this_key_is_refused(note: str) -> None:
    with pytest.raises(Malformed):
        open_note(note, KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        "a\n1\nAA==\n",
        "a\n01\n" + "A" * 43 + "=\n",
        "a\n-1\n" + "A" * 43 + "=\n",
        "a\n\u0661\n" + "A" * 43 + "=\n",
        "a\n9223372036854775808\n" + "A" * 43 + "=\n",
        "a\n1\n" + "A" * 42 + "B=\n",
        "\n1\n" + "A" * 43 + "=\n",
        "a\n1\n" + "A" * 43 + "=",
        "a\n1\n\n" + "A" * 43 + "=\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    """A size that is read in two ways is two checkpoints under one signature."""
    with pytest.raises(Malformed):
        parse_checkpoint(text)


@pytest.mark.parametrize(
    "text", ["", "a", "a+b", "a+b+c", GO_KEY[:-4], GO_KEY.replace("c7", "c8"), f"a b{GO_KEY}"]
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_key(text)


@given(at=st.integers(0, len(NOTE) - 1), char=st.characters())
def test_no_other_note_says_the_same_of_another_log(at: int, char: str) -> None:
    """Whatever one character is changed to: it is refused, or says exactly what was signed."""
    bent = NOTE[:at] + char + NOTE[at + 1 :]
    try:
        text = open_note(bent, KEY)
    except Malformed:
        return
    assert text == POINT.text()
