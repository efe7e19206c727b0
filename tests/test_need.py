"""A missing program is a skip on a laptop, a failure in continuous integration, never silence."""

from __future__ import annotations

import pytest

from tests.need import need

NOWHERE = "clawpurse-program-that-nobody-has"


def test_a_program_that_is_there_is_given_by_its_path() -> None:
    assert need("sh", "to run this test").endswith("/sh")


def test_a_laptop_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLAWPURSE_CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"needed to see\. → sudo apt install"):
        need(NOWHERE, "to see")


def test_continuous_integration_fails_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A skip there would let the pages break unseen."""
    monkeypatch.setenv("CLAWPURSE_CI", "1")
    with pytest.raises(pytest.fail.Exception, match="needed to see"):
        need(NOWHERE, "to see")
