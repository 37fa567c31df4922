"""Which core runs: the compiled one where it is there, else the one in Python.

``GRPC_GUARD_PURE`` says otherwise: ``1``, never the compiled one; ``0``, no other, and what
importing it raises comes out.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import TYPE_CHECKING

from .._catalogue.modes import Mode
from .._catalogue.settings import PURE
from . import fields
from .loops import loop_thread_of

_CHOICES = ("", "0", "1")


def _choose() -> tuple[str, ModuleType]:
    wanted = os.environ.get(PURE, "")
    if wanted not in _CHOICES:
        raise ValueError(
            f"the environment variable {PURE}: {wanted!r} is none of 0 (the compiled core is "
            "required), 1 (it is not used) and unset (it is used if it is there)"
        )
    if wanted == "1":
        return "py", fields
    try:
        from . import _compiled  # type: ignore[attr-defined]
    except ImportError:
        if wanted == "0":
            raise
        return "py", fields
    _compiled.configure(vars(fields), Mode.SERIALIZE, loop_thread_of)
    return "c", _compiled


CORE, _chosen = _choose()

if TYPE_CHECKING:
    from .fields import AioFields as AioFields
    from .fields import ConstructingType as ConstructingType
    from .fields import StreamFields as StreamFields
    from .fields import SyncFields as SyncFields
else:
    AioFields = _chosen.AioFields
    ConstructingType = _chosen.ConstructingType
    StreamFields = _chosen.StreamFields
    SyncFields = _chosen.SyncFields
