"""The machine of all modules: what each file of deeds adds to two ledgers side by side."""

from __future__ import annotations

from tests.ledger.model.deeds_bills import Billing
from tests.ledger.model.deeds_council import Councils
from tests.ledger.model.deeds_issuing import Arranging
from tests.ledger.model.deeds_payments import Payments
from tests.ledger.model.deeds_people import Signing
from tests.ledger.model.deeds_rules import Ruling
from tests.ledger.model.deeds_watch import Watching


class Ledgers(Ruling, Arranging, Signing, Billing, Councils, Watching, Payments):
    """See the module."""
