"""Somebody who wrote down 24 words gets exactly their money back, in any language and tool."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from pathlib import Path
from typing import Literal

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
    slips_of,
    word_list,
    words_of,
)

VECTORS = Path(__file__).parent.parent / "vectors"
OFFICIAL = json.loads((VECTORS / "bip39.json").read_text())
JAPANESE = json.loads((VECTORS / "bip39_japanese.json").read_text())
ROWS = [
    (source["passphrase"], language, *row)
    for source in (OFFICIAL, JAPANESE)
    for language, rows in source["languages"].items()
    for row in rows
]
# SHA-256 of the lists as BIP-39 publishes them: one changed word would open other accounts.
LISTS = {
    "english": "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda",
    "chinese_simplified": "5c5942792bd8340cb8b27cd592f1015edf56a8c5b26276ee18a482428e7c5726",
    "chinese_traditional": "417b26b3d8500a4ae3d59717d7011952db6fc2fb84b807f3f94ac734e89c1b5f",
    "czech": "7e80e161c3e93d9554c2efb78d4e3cebf8fc727e9c52e03b83b94406bdcc95fc",
    "french": "ebc3959ab7801a1df6bac4fa7d970652f1df76b683cd2f4003c941c63d517e59",
    "italian": "d392c49fdb700a24cd1fceb237c1f65dcc128f6b34a8aacb58b59384b5c648c2",
    "japanese": "2eed0aef492291e061633d7ad8117f1a2b03eb80a29d0e4e3117ac2528d05ffd",
    "korean": "9e95f86c167de88f450f0aaf89e87f6624a57f973c67b516e338e8e8b8897f60",
    "portuguese": "2685e9c194c82ae67e10ba59d9ea5345a23dc093e92276fc5361f6667d79cd3f",
    "spanish": "46846a5a0139d1e3cb77293e521c2865f7bcdb82c44e8d0a06a2cd0ecba48c0b",
}


@pytest.mark.parametrize(("passphrase", "language", "entropy", "sentence", "seed"), ROWS)
def test_official_vectors(
    passphrase: str, language: str, entropy: str, sentence: str, seed: str
) -> None:
    """Words on paper from any other wallet give the same seed here, to the last bit."""
    words = words_of(bytes.fromhex(entropy), language)
    if passphrase == OFFICIAL["passphrase"]:
        assert sentence_of(words, language) == sentence
    assert words == unicodedata.normalize("NFKD", sentence).split()
    assert seed_of(words, passphrase).hex() == seed
    assert seed_of(sentence.split(), passphrase).hex() == seed
    assert entropy_of(words, language).hex() == entropy
    found, _ = read_words(sentence)
    assert seed_of(found, passphrase).hex() == seed


def test_vectors_cover_every_official_language() -> None:
    assert list(OFFICIAL["languages"]) == list(LANGUAGES) == list(LISTS)
    for source in (OFFICIAL, JAPANESE):
        assert source["licence"] and all(len(rows) == 24 for rows in source["languages"].values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_lists_are_the_published_ones(language: str) -> None:
    text = "".join(f"{word}\n" for word in Mnemonic(language).wordlist)
    assert hashlib.sha256(text.encode()).hexdigest() == LISTS[language]
    assert len(set(word_list(language))) == 2048
    assert all(unicodedata.is_normalized("NFKD", word) for word in word_list(language))


@given(
    st.sampled_from(LANGUAGES),
    st.sampled_from(sorted(ENTROPY_BYTES_OF_WORDS.values())),
    st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]),
    st.sampled_from([" ", "\u3000", "\n", " \u00a0\t"]),
    st.data(),
)
def test_the_language_is_found_whatever_the_keyboard(
    language: str, size: int, form: Literal["NFC", "NFD", "NFKC", "NFKD"], blank: str,
    data: st.DataObject,
) -> None:  # fmt: skip
    """A phone composes letters, a Japanese keyboard types its own blank: the money is there."""
    words = words_of(data.draw(st.binary(min_size=size, max_size=size)), language)
    typed = unicodedata.normalize(form, blank.join(words)).upper()
    found, guess = read_words(typed)
    assert found == words
    assert seed_of(found) == seed_of(words)
    # Lists that share words can leave two answers, of one seed and so of the same accounts.
    assert guess == language or set(words) <= set(word_list(guess))


@pytest.mark.parametrize("language", ["chinese_simplified", "chinese_traditional"])
def test_chinese_is_read_without_blanks(language: str) -> None:
    for row in OFFICIAL["languages"][language]:
        words, _ = read_words(row[1].replace(" ", ""))
        assert seed_of(words, "TREZOR").hex() == row[2]


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


@pytest.mark.parametrize(
    ("language", "typed", "meant"),
    [
        ("english", "aband", "abandon"),
        ("english", "abanodn", "abandon"),
        ("spanish", "arbol", "árbol"),
        ("french", "ecole", "école"),
        ("french", "Écolle", "école"),
        ("czech", "zvenkuu", "zvenku"),
        ("portuguese", "zumbidu", "zumbido"),
        ("italian", "zuppaa", "zuppa"),
        ("japanese", "あいこくしう", "あいこくしん"),
        ("korean", "가격이", "가격"),
    ],
)
def test_the_nearest_words_are_offered_in_every_language(
    language: str, typed: str, meant: str
) -> None:
    """Accents left out, letters swapped or missing: the word that was meant is among three."""
    near = [unicodedata.normalize("NFC", word) for word in nearest_words(typed, language)]
    assert meant in near[:3]


@given(st.sampled_from(LANGUAGES), st.integers(0, 11), st.binary(min_size=16, max_size=16))
def test_slips_are_found_by_their_place(language: str, place: int, entropy: bytes) -> None:
    words = words_of(entropy, language)
    words[place] = "zzzz~~"
    _, slips = slips_of(words)
    assert (place + 1, ()) in slips


def test_words_without_slips_have_none() -> None:
    assert slips_of(words_of(bytes(16), "czech")) == ("czech", ())
