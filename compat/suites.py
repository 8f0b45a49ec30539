"""Other people's own test suites: loading the module that runs one, and the list of those of its tests that pass.

The folders are named after the clients, which Python cannot import; each has its `suite.py` and its `tests.allow`.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType


def load(folder: Path) -> ModuleType:
    """The `suite.py` of a client's folder."""
    spec = importlib.util.spec_from_file_location(f"{folder.name.replace('-', '_')}_suite", folder / "suite.py")
    assert spec is not None
    assert spec.loader is not None
    suite = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(suite)
    return suite


def allowed(folder: Path) -> list[str]:
    """The tests that pass; the list only grows."""
    return [line for line in (folder / "tests.allow").read_text().splitlines() if line and not line.startswith("#")]
