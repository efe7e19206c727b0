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
from typing import Final

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

    Any white space separates, letter case does not matter. Raises `Malformed` as `entropy_of`
    does; where no list holds all words, the list that holds most of them names the wrong one.
    """
    words = _normal(text).lower().split()
    if len(words) not in ENTROPY_BYTES_OF_WORDS:
        raise Malformed("words", f"are {len(words)}; 12, 15, 18, 21 or 24 are needed")
    indexes = {name: _word_index(name) for name in LANGUAGES}
    hits = {name: sum(word in index for word in words) for name, index in indexes.items()}
    most = max(hits.values())
    candidates = [name for name in LANGUAGES if hits[name] == most]
    for name in candidates[:-1]:
        try:
            _decode(words, name, indexes[name])
        except Malformed:
            continue
        return words, name
    _decode(words, candidates[-1], indexes[candidates[-1]])
    return words, candidates[-1]


def nearest_words(wrong: str, language: str) -> list[str]:
    """Return up to three words of the list that look like `wrong`, for a prompt at a terminal."""
    return get_close_matches(_normal(wrong).lower(), word_list(language), n=3, cutoff=0.6)


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
