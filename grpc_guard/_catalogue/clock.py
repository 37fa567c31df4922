"""The guard's own clock, in seconds of time.monotonic(): it goes on while that of the program is frozen.

Libraries such as freezegun replace ``time.monotonic`` in each module that has it, for the tests of a
program. If the guard read that clock, its waits would not end, and its times, some of which are
taken in C, would not fit together: what stands still for a moment would seem to stand for years.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.machinery import BuiltinImporter
from importlib.util import module_from_spec
from types import ModuleType


def _own_time() -> ModuleType:
    """Return a second ``time``: its functions are others, and nobody has replaced them."""
    spec = BuiltinImporter.find_spec("time")
    assert spec is not None, "CPython has this module built in"
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


monotonic: Callable[[], float] = _own_time().monotonic
