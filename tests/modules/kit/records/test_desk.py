"""The help desk under the tests that every service inherits."""

from __future__ import annotations

import pytest

from clawpurse.modules.kit.testing.suite import ServiceOnPostgres, ServiceTests
from tests.modules.kit.records.desk import HelpDesk


class TestDesk(ServiceTests):
    service = HelpDesk


@pytest.mark.full
class TestDeskAtLength(ServiceTests):
    service = HelpDesk
    seed = 100
    walks = 20
    walk_steps = 400
    cuts = 8


@pytest.mark.real
class TestDeskOnPostgres(ServiceOnPostgres):
    service = HelpDesk
