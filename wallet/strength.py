"""How many guesses a passphrase stands: no rules of composition, only what a thief would try first.

NIST SP 800-63B-4 §3.1.1.2 asks for length and a comparison with common and expected passwords,
and forbids "a digit and a capital". The guesses are counted by `zxcvbn` (Wheeler, USENIX Security
2016): lists of leaked passwords and common words, rows of keys, runs, repeats, dates, letters
written as digits. It errs on the kind side, so what it refuses is hopeless.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

# At our cost of a guess (128 MiB, three passes) a rack of machines makes about a thousand a
# second; what falls to it within a day protects nothing.
GUESSES_MIN: Final = 10**8
GUESSES_A_SECOND: Final = 1_000
# Further characters only make it stronger; the count takes longer than linear time.
_CHARS_COUNTED_MAX: Final = 72
_OWN_WORDS: Final = ("clawpurse",)

_WHY: Final = {
    "dictionary": "it is a common password or word",
    "repeat": "it repeats itself",
    "sequence": "it is a run of letters or digits",
    "spatial": "it is a row of keys",
    "date": "it is a date",
    "regex": "it is a year",
}


class Strength(NamedTuple):
    """An estimate. `why` says in words what makes a weak passphrase weak, "" for a good one."""

    guesses: int
    why: str

    @property
    def is_enough(self) -> bool:
        """Whether it may protect a new key."""
        return self.guesses >= GUESSES_MIN


def strength_of(passphrase: str, known: Sequence[str] = ()) -> Strength:
    """Estimate how many guesses `passphrase` stands.

    `known` are words that a thief would try because of whose key it is, such as its name. Takes
    a few milliseconds, at most a tenth of a second; raises nothing.
    """
    # Thirty thousand words are read when it is imported; commands without a new key need none.
    from zxcvbn import zxcvbn

    counted = passphrase[:_CHARS_COUNTED_MAX]
    if not counted:
        return Strength(0, "it is empty")
    found = zxcvbn(counted, user_inputs=[*known, *_OWN_WORDS])
    guesses = int(found["guesses"])
    if guesses >= GUESSES_MIN:
        return Strength(guesses, "")
    longest = max(found["sequence"], key=lambda part: len(part["token"]))
    return Strength(guesses, _WHY.get(longest["pattern"], "it is easy to guess"))


def time_to_guess(strength: Strength) -> str:
    """Say how long the guesses take a thief, in the largest fitting unit."""
    seconds = strength.guesses // GUESSES_A_SECOND
    for unit, length_s in (("hours", 3_600), ("minutes", 60), ("seconds", 1)):
        if seconds >= 2 * length_s:
            return f"about {seconds // length_s} {unit}"
    return "a second"
