"""What every test of the pytest plugin gets."""

from __future__ import annotations

import os

import pytest
from support.sessions import PROGRAMS, environment


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run inner sessions without any setting, with the programs' modules at hand."""
    for name in set(os.environ) - set(environment()):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(PROGRAMS))
    monkeypatch.syspath_prepend(str(PROGRAMS))
