"""The sections of the program, in the order in which they run: modules of this package.

Each has a ``TITLE``, may have an ``INTRO`` (Markdown, for docs/design/laboratory.md), and a
``measure(plan)`` that yields figures.
"""

from __future__ import annotations

import importlib
from types import ModuleType

SECTIONS = (
    "micro",
    "parts",
    "instructions",
    "end_to_end",
    "scale",
    "memory",
    "refusals",
    "turns",
    "imports",
    "notes",
    "registry",
    "sharing",
    "probing",
)
ON_REQUEST = ("callgrind", "cold", "cores", "dumps")  # run only where the command line names them


def section(name: str) -> ModuleType:
    """Return the module of a section; its libraries are imported only now."""
    return importlib.import_module(f".{name}", __package__)
