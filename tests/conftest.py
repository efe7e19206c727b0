"""Makes `clawpurse.*` mean this checkout, whatever else is installed on the machine.

pytest from a bare checkout has no installed distribution, and in a second checkout it
would silently test the first one's editable install. So a namespace module is registered
whose path is this root, before any test module is imported.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

if "clawpurse" not in sys.modules:
    spec = importlib.machinery.ModuleSpec("clawpurse", None, is_package=True)
    spec.submodule_search_locations = [str(ROOT)]
    sys.modules["clawpurse"] = importlib.util.module_from_spec(spec)

import clawpurse.ledger  # noqa: E402

if Path(str(clawpurse.ledger.__file__)).resolve().parent.parent != ROOT:
    raise RuntimeError(f"clawpurse is imported from {clawpurse.ledger.__file__}, not from {ROOT}")

# Two shared cores: a slow example is the machine's fault, a wrong one is ours.
settings.register_profile(
    "clawpurse", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("clawpurse")
os.environ.setdefault("PYTHONWARNINGS", "error")
