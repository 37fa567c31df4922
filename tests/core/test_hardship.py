"""What nox sessions do to the compiled core a million times can be done: once, here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from inside import core_which

ONCE = """
from support import hardship
core = hardship.compiled()
for name, act in {**hardship.look_acts(core), **hardship.other_acts(core)}.items():
    print(name, flush=True)
    act()
"""


@pytest.mark.skipif(core_which.compiled() is None, reason="needs the compiled core")
def test_each_act_of_hardship() -> None:
    """No act fails, in a process of its own, whose core is told other things than ours."""
    tests = str(Path(__file__).parents[1])
    ended = subprocess.run(
        [sys.executable, "-c", ONCE],
        env={**os.environ, "PYTHONPATH": tests},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout.splitlines()[-1:]}: {ended.stderr}"
