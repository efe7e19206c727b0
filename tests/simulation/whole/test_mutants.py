"""Checking the checkers: a rule of the daemon broken on purpose is noticed, by name.

If a broken rule went unnoticed here, it could be broken in earnest and nobody would know until
money is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.simulation.whole.mutant_table import PAGE, pure_rows, stripped, whole_rows
from tests.simulation.whole.mutants import MUTANTS, Mutant, hunt

#: Mutants that one checker alone notices, and its name.
ONE_WITNESS = {
    "reads_what_is_not_in_the_block": "state roots",
    "invents_money": "supply",
    "loses_an_event": "event log",
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Broken nodes complain all the time; nobody reads it, and keeping it costs more than they."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_broken_rule_of_a_whole_node_is_noticed(mutant: Mutant) -> None:
    catch = hunt(mutant)
    assert catch is not None, f"{mutant.name} survived {mutant.seeds} seeds"
    assert catch.number in mutant.properties, catch.what


@pytest.mark.parametrize("name", ONE_WITNESS)
def test_without_its_checker_a_mutant_survives(name: str) -> None:
    """So it is that checker that sees it, and not some accident of the run."""
    mutant = next(mutant for mutant in MUTANTS if mutant.name == name)
    catch = hunt(mutant)
    assert catch is not None
    assert hunt(mutant._replace(seeds=catch.seeds), without=[ONE_WITNESS[name]]) is None


def test_the_page_of_mutants_is_up_to_date() -> None:
    """Readers judge the simulation by that page."""
    expected = [row.line("").rsplit("|", 2)[0] for row in [*pure_rows(), *whole_rows()]]
    assert stripped(PAGE.read_text("utf-8")) == expected
    assert len(expected) >= 25
