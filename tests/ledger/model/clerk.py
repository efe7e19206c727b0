"""The clerk who keeps all books: one class of plain dictionaries for everything on the ledger."""

from __future__ import annotations

from tests.ledger.model.naive_issuing import Issuing


class Clerk(Issuing):
    """See the module."""
