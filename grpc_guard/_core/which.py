"""Which core runs, as GRPC_GUARD_PURE says: the compiled one, where it is there, or the one in Python.

A compiled core of another source than the one beside it, as after an update of a clone that is
installed, does not run: described() says so to who asks. What the chosen one offers is in records.py; who only wants
to know its name asks here, and need not import asyncio for it.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from .._catalogue.settings import PURE, environment, resolve


def _parse(value: str, *, source: str) -> bool:
    if value not in ("0", "1"):
        raise ValueError(
            f"{source}: {value!r} is not a choice; use 0 (the compiled core and no other), 1 (the "
            "core in Python), or leave it unset (the compiled core where it is there)"
        )
    return value == "1"


class _MadeFromOtherSourcesError(ImportError):
    """The compiled core that is there does not belong to this source."""


_why_not = ""  # the compiled core runs, though it is there


def _choose() -> Any:
    global _why_not
    _why_not = ""
    is_pure: bool | None = resolve(environment(PURE), parse=_parse, default=None).value
    if is_pure:
        return None
    try:
        return _imported()
    except ImportError as error:
        if is_pure is None:
            if isinstance(error, _MadeFromOtherSourcesError):
                _why_not = "; the compiled one is of other sources: install again"
            return None
        raise ImportError(
            f"{PURE}: '0' asks for the compiled core, and it is not there ({error}); install "
            f"grpc_guard with {PURE}=0, use 1 (the core in Python), or leave it unset"
        ) from error


def _imported() -> Any:
    compiled: Any = importlib.import_module("._compiled", __package__)

    import zlib  # here: the core in Python need not pay for these
    from pathlib import Path

    sources = Path(__file__).with_name("c")  # in a clone; no wheel has them
    checksum = 0
    for source in sorted(sources.glob("*.[ch]")):  # as hatch_build.py does
        checksum = zlib.crc32(source.read_bytes(), checksum)
    if checksum not in (0, compiled.CHECKSUM):
        raise _MadeFromOtherSourcesError(
            f"{compiled.__file__} was made from other sources than {sources}"
        )
    return compiled


@functools.cache
def compiled() -> Any:
    """Return the compiled core, or None if the one in Python runs; in a process always the same.

    Raises ValueError if GRPC_GUARD_PURE is neither 0 nor 1, and ImportError if it is 0 and there
    is no compiled core.
    """
    return _choose()


def name() -> str:
    """Return ``c`` or ``py``; raises what compiled() does."""
    return "py" if compiled() is None else "c"


def described() -> str:
    """Return the same, and for who asks which core runs, why it is not the compiled one that is there."""
    return name() + _why_not
