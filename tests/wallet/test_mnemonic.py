"""Somebody who wrote down 24 words gets exactly their money back, in any language and tool."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mnemonic import Mnemonic

from clawpurse.ledger.errors import Malformed
from clawpurse.wallet.mnemonic import (
    ENTROPY_BYTES_OF_WORDS,
    LANGUAGES,
    entropy_of,
    nearest_words,
    read_words,
    seed_of,
    sentence_of,
    word_list,
    words_of,
)

VECTORS = Path(__file__).parent.parent / "vectors"
ENGLISH = json.loads((VECTORS / "bip39_english.json").read_text())
OTHERS = json.loads((VECTORS / "bip39_languages.json").read_text())
ROWS = [("english", *row) for row in ENGLISH["vectors"]] + [
    (language, *row) for language, rows in OTHERS["languages"].items() for row in rows
]


@pytest.mark.parametrize(("language", "entropy", "sentence", "seed"), ROWS)
def test_official_vectors(language: str, entropy: str, sentence: str, seed: str) -> None:
    words = words_of(bytes.fromhex(entropy), language)
    assert sentence_of(words, language) == sentence
    assert seed_of(words, "TREZOR").hex() == seed
    assert entropy_of(words, language).hex() == entropy
    found, _ = read_words(sentence)
    assert seed_of(found, "TREZOR").hex() == seed


def test_vectors_cover_every_official_language() -> None:
    assert set(LANGUAGES) == {"english", *OTHERS["languages"]}
    assert len(ENGLISH["vectors"]) == 24


@given(st.sampled_from(LANGUAGES), st.sampled_from(sorted(ENTROPY_BYTES_OF_WORDS)), st.data())
def test_all_lengths_agree_with_the_reference_library(
    language: str, count: int, data: st.DataObject
) -> None:
    size = ENTROPY_BYTES_OF_WORDS[count]
    entropy = data.draw(st.binary(min_size=size, max_size=size))
    words = words_of(entropy, language)
    reference = Mnemonic(language)
    sentence = reference.to_mnemonic(entropy)
    assert reference.normalize_string(sentence).split() == words
    assert Mnemonic.to_seed(sentence) == seed_of(words)


@given(st.binary(min_size=32, max_size=32))
def test_pasted_words_are_read_whatever_the_spacing_and_case(entropy: bytes) -> None:
    words = words_of(entropy)
    pasted = "\n".join(f"  {word.upper()}\t" for word in words)
    assert read_words(pasted) == (words, "english")


def test_a_wrong_word_is_named_by_its_place_and_never_quoted() -> None:
    words = words_of(bytes(32))
    words[6] = "hunter2secret"
    with pytest.raises(Malformed, match="word 7 is not in the english list") as caught:
        read_words(" ".join(words))
    assert "hunter2" not in str(caught.value)


def test_two_words_in_the_wrong_order_are_noticed() -> None:
    words = words_of(bytes(range(32)))
    words[3], words[4] = words[4], words[3]
    with pytest.raises(Malformed, match="checksum"):
        read_words(" ".join(words))


@pytest.mark.parametrize("count", [0, 1, 11, 13, 23, 25])
def test_a_forgotten_or_doubled_word_is_noticed(count: int) -> None:
    with pytest.raises(Malformed, match=f"are {count}; 12, 15, 18, 21 or 24"):
        read_words(" ".join(["abandon"] * count))


@pytest.mark.parametrize("size", [0, 15, 17, 33, 64])
def test_entropy_of_other_sizes_is_refused(size: int) -> None:
    with pytest.raises(Malformed):
        words_of(bytes(size))


def test_unknown_language_is_refused_by_name() -> None:
    with pytest.raises(Malformed, match="klingon"):
        word_list("klingon")


def test_a_typing_error_gets_suggestions() -> None:
    assert "abandon" in nearest_words("abandn", "english")
    assert nearest_words("xxxxxx", "english") == []
