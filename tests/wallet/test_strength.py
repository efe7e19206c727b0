"""A passphrase that a thief would try first is refused, with the reason; no other rules."""

from __future__ import annotations

import time

import pytest

from clawpurse.ledger.errors import Malformed
from clawpurse.wallet.passphrase import check_new_passphrase
from clawpurse.wallet.strength import GUESSES_MIN, strength_of, time_to_guess


@pytest.mark.parametrize(
    ("passphrase", "why"),
    [
        ("aaaaaaaaaaaaaaa", "repeats itself"),
        ("passwordpassword", "repeats itself"),
        ("password1234567", "common password or word"),
        ("qwertyuiopasdfgh", "common password or word"),
        ("abcdefghijklmnop", "run of letters"),
        ("iloveyouiloveyou", "repeats itself"),
        ("alice alice alice", "repeats itself"),
        ("ééééééééééééééé", "repeats itself"),
    ],
)
def test_what_is_guessed_first_is_refused_and_told_why(passphrase: str, why: str) -> None:
    """Fifteen characters that fall within a day protect nothing."""
    with pytest.raises(Malformed, match=f"is easy to guess: it .*{why}") as caught:
        check_new_passphrase(passphrase, ["alice"])
    assert passphrase not in str(caught.value)


@pytest.mark.parametrize(
    "passphrase",
    [
        "correct horse battery",
        "another passphrase 2",
        "all lower case words",
        "ein Satz ohne Ziffern",
        "合言葉は山と川そして海と空と月と星",
        "8c7a1f0e5b3d2946",
        "kettle-sunday-orbit",
    ],
)
def test_no_digit_no_capital_no_sign_is_asked_for(passphrase: str) -> None:
    """Rules of composition make passphrases worse; length and chance make them good."""
    check_new_passphrase(passphrase)
    assert strength_of(passphrase).guesses >= GUESSES_MIN


def test_the_name_of_the_key_is_a_first_guess() -> None:
    with_name = strength_of("mortimer mortimer mortimer", ["mortimer"])
    assert not with_name.is_enough
    assert strength_of("clawpurse1clawpurse1").guesses < GUESSES_MIN


def test_a_long_passphrase_takes_no_time_to_judge() -> None:
    """Nobody waits, and nobody's machine hangs, over a pasted file."""
    for text in ("x" * 1024, "ab" * 512, "1a" * 512, "abcdefgh" * 128, "\u3042" * 300):
        started = time.process_time()
        strength_of(text)
        assert time.process_time() - started < 5
    assert not strength_of("").is_enough


@pytest.mark.parametrize(
    ("guesses", "said"),
    [
        (10, "a second"),
        (10**4, "about 10 seconds"),
        (10**5, "about 100 seconds"),
        (10**6, "about 16 minutes"),
        (10**7, "about 2 hours"),
    ],
)
def test_the_time_is_said_in_words(guesses: int, said: str) -> None:
    assert time_to_guess(strength_of("")._replace(guesses=guesses)) == said
