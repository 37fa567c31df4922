"""Where a file really is, asked of the system by functions that nobody has replaced.

Tools replace functions of ``os`` and ``os.path`` for the tests of a program: blockbuster has those that block
raise on the thread of a loop, pyfakefs shows another file system. The guard asks for files while the
program runs; what the program may not do is no concern of it, nor are files that are not there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

# What is below ``os``: the functions of files that the guard uses while the program runs.
files: Any = __import__("posix") if os.name == "posix" else os


def _own_paths() -> ModuleType:
    """Return a second ``os.path`` for POSIX, which asks the module in C below ``os``; elsewhere the first."""
    spec = find_spec("posixpath") if os.name == "posix" else None
    if spec is None or spec.loader is None:
        return os.path
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    if not all(hasattr(files, name) for name in ("fspath", "getcwd", "lstat", "readlink")):
        return os.path
    vars(module)["os"] = files
    return module


realpath: Callable[[str], str] = _own_paths().realpath
