"""Which core runs: the compiled one where it is there, else the one in Python.

``GRPC_GUARD_PURE`` says otherwise: ``1``, never the compiled one; ``0``, no other, and what
importing it raises comes out. One that was compiled from another source than the one beside it,
as after an update of a clone that is installed, is as if it were not there.

What the chosen one offers is in records.py; reports ask here, and need not import asyncio for it.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

from .._catalogue.settings import PURE

_CHOICES = ("", "0", "1")


def _choose() -> Any:
    """Return the compiled core, or None."""
    wanted = os.environ.get(PURE, "")
    if wanted not in _CHOICES:
        raise ValueError(
            f"the environment variable {PURE}: {wanted!r} is not one of 0 (the compiled core is "
            "required), 1 (it is not used) and unset (it is used if it is there)"
        )
    if wanted == "1":
        return None
    try:
        return _imported()
    except ImportError:
        if wanted == "0":
            raise
        return None


def _imported() -> Any:
    from . import _compiled  # type: ignore[attr-defined]

    source = Path(__file__).with_name("_compiled.c")  # in a clone; no wheel has it
    if source.exists() and zlib.crc32(source.read_bytes()) != _compiled.CHECKSUM:
        raise ImportError(
            f"{_compiled.__file__} was compiled from another {source.name} than the one beside "
            "it: install grpc_guard again"
        )
    return _compiled


compiled = _choose()
CORE = "py" if compiled is None else "c"
