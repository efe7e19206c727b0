"""Ranked lists of words, the commonest first."""

FREQUENCY_LISTS: dict[str, list[str]]
