"""The words that are the money: BIP-39 in all official languages.

Entropy to words, words back to entropy with the checksum checked, words to the 64-byte seed.
Word lists come from the `mnemonic` distribution; finding, checking and naming the wrong word
is done here, because "invalid" does not help somebody who mistyped one of 24.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final, NamedTuple

from mnemonic import Mnemonic

from clawpurse.ledger.errors import Malformed

# BIP-39: 11 bits a word, of which one in 33 is checksum.
ENTROPY_BYTES_OF_WORDS: Final = {12: 16, 15: 20, 18: 24, 21: 28, 24: 32}
WORD_COUNT_DEFAULT: Final = 24
SEED_BYTES: Final = 64
_SEED_ROUNDS: Final = 2048

# The ten languages of BIP-39. Where lists share words (both Chinese ones) a sentence may fit
# two languages with different entropy; its seed depends on the sentence only, so either is right.
LANGUAGES: Final = (
    "english",
    "chinese_simplified",
    "chinese_traditional",
    "czech",
    "french",
    "italian",
    "japanese",
    "korean",
    "portuguese",
    "spanish",
)
_CHINESE: Final = ("chinese_simplified", "chinese_traditional")
_NEAREST_MAX: Final = 3
_PREFIX_CHARS_MIN: Final = 3
# Below this likeness a suggestion is a guess that sends people astray.
_LIKENESS_MIN: Final = 0.6


def words_of(entropy: bytes, language: str = "english") -> list[str]:
    """Return the words (12, 15, 18, 21 or 24) of 16, 20, 24, 28 or 32 bytes of entropy."""
    if len(entropy) not in ENTROPY_BYTES_OF_WORDS.values():
        raise Malformed("entropy", f"is {len(entropy)} bytes; 16, 20, 24, 28 or 32 are allowed")
    checksum_bits = len(entropy) // 4
    checksum = hashlib.sha256(entropy).digest()[0] >> 8 - checksum_bits
    bits = int.from_bytes(entropy, "big") << checksum_bits | checksum
    count = (len(entropy) * 8 + checksum_bits) // 11
    words = word_list(language)
    return [words[bits >> 11 * (count - 1 - i) & 0x7FF] for i in range(count)]


def entropy_of(words: Sequence[str], language: str) -> bytes:
    """Return the entropy that `words` of `language` encode.

    Raises `Malformed` naming the position of a word that is not in the list, the count, or
    the checksum. Never quotes a word: what is printed ends in logs and screenshots.
    """
    if len(words) not in ENTROPY_BYTES_OF_WORDS:
        raise Malformed("words", f"are {len(words)}; 12, 15, 18, 21 or 24 are needed")
    return _decode(words, language, _word_index(language))


def _decode(words: Sequence[str], language: str, index_of: dict[str, int]) -> bytes:
    bits = 0
    for position, word in enumerate(words, 1):
        value = index_of.get(_normal(word))
        if value is None:
            raise Malformed("words", f"word {position} is not in the {language} list")
        bits = bits << 11 | value
    size = ENTROPY_BYTES_OF_WORDS[len(words)]
    checksum_bits = size // 4
    entropy = (bits >> checksum_bits).to_bytes(size, "big")
    if hashlib.sha256(entropy).digest()[0] >> 8 - checksum_bits != bits & (1 << checksum_bits) - 1:
        raise Malformed("words", "do not belong together (checksum): one is wrong or misplaced")
    return entropy


def read_words(text: str) -> tuple[list[str], str]:
    """Split what a person typed or pasted into words and find their language.

    Any white space separates (Chinese needs none), letter case does not matter. Raises
    `Malformed` as `entropy_of` does; where no list holds all words, the list that holds most of
    them names the wrong one.
    """
    words = split_words(text)
    if len(words) not in ENTROPY_BYTES_OF_WORDS:
        raise Malformed("words", f"are {len(words)}; 12, 15, 18, 21 or 24 are needed")
    candidates = _likely_languages(words)
    for name in candidates[:-1]:
        try:
            _decode(words, name, _word_index(name))
        except Malformed:
            continue
        return words, name
    _decode(words, candidates[-1], _word_index(candidates[-1]))
    return words, candidates[-1]


def split_words(text: str) -> list[str]:
    """Return the words of what was typed, in the form of the lists, none of them checked."""
    words = _normal(text).lower().split()
    # A Chinese word is one character, and Chinese is written without blanks.
    if len(words) == 1 and len(words[0]) in ENTROPY_BYTES_OF_WORDS:
        characters = list(words[0])
        if any(set(characters) <= set(word_list(name)) for name in _CHINESE):
            return characters
    return words


class Slip(NamedTuple):
    """A typed word that no list has: its place, from 1, and the words that look like it."""

    position: int
    nearest: tuple[str, ...]


def slips_of(words: Sequence[str]) -> tuple[str, tuple[Slip, ...]]:
    """Return the language that most of `words` are of, and which of them are not in its list."""
    language = _likely_languages(words)[0]
    index_of = _word_index(language)
    found = (
        Slip(position, tuple(nearest_words(word, language)))
        for position, word in enumerate(words, 1)
        if _normal(word).lower() not in index_of
    )
    return language, tuple(found)


def nearest_words(wrong: str, language: str) -> list[str]:
    """Return up to three words of the list that look like `wrong`, the likeliest first.

    An accent left out costs nothing, then come words that begin like it (the lists are made so
    that few letters tell a word), then those with other slips of the fingers.
    """
    typed = _bare(wrong)
    words = {word: _bare(word) for word in word_list(language)}
    found = [word for word, bare in words.items() if bare == typed]
    if len(typed) >= _PREFIX_CHARS_MIN:
        found += [word for word, bare in words.items() if bare.startswith(typed)]
    of_bare = {bare: word for word, bare in words.items()}
    close = get_close_matches(typed, of_bare, n=_NEAREST_MAX, cutoff=_LIKENESS_MIN)
    found += [of_bare[bare] for bare in close]
    return list(dict.fromkeys(found))[:_NEAREST_MAX]


def _likely_languages(words: Sequence[str]) -> list[str]:
    """Return the languages whose lists hold most of the words; as many others hold none."""
    hits = {}
    for name in LANGUAGES:
        index_of = _word_index(name)
        hits[name] = sum(_normal(word).lower() in index_of for word in words)
    most = max(hits.values())
    return [name for name in LANGUAGES if hits[name] == most]


def seed_of(words: Sequence[str], passphrase: str = "") -> bytes:
    """Return the 64-byte BIP-39 seed of words and an optional extra passphrase.

    BIP-39 separates words by one space for this; the Japanese ideographic space normalises to
    it. Takes about a millisecond; raises nothing.
    """
    sentence = _normal(" ".join(words)).encode()
    salt = b"mnemonic" + _normal(passphrase).encode()
    return hashlib.pbkdf2_hmac("sha512", sentence, salt, _SEED_ROUNDS)


def sentence_of(words: Sequence[str], language: str) -> str:
    """Join words as the language does: Japanese by the ideographic space."""
    return ("\u3000" if language == "japanese" else " ").join(words)


def word_list(language: str) -> tuple[str, ...]:
    """Return the 2,048 words of an official list in Unicode form NFKD. Raises `Malformed`."""
    if language not in LANGUAGES:
        raise Malformed("language", f"is {language!r}; known are {', '.join(LANGUAGES)}")
    return tuple(_normal(word) for word in Mnemonic(language).wordlist)


def _word_index(language: str) -> dict[str, int]:
    return {word: index for index, word in enumerate(word_list(language))}


def _normal(text: str) -> str:
    return unicodedata.normalize("NFKD", text)


def _bare(text: str) -> str:
    """Return letters without their accents, as people type them in a hurry."""
    # Marks of Latin letters only: those of Japanese (か, が) make another sound of them.
    return "".join(c for c in _normal(text).lower() if not "\u0300" <= c <= "\u036f")
