"""What happens once for each stream, by the core that runs: in C, or as in fields.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._catalogue.modes import Mode
from . import fields, which
from .loops import loop_thread_of


def _offered() -> Any:
    compiled = which.compiled()
    if compiled is None:
        return fields
    compiled.configure(vars(fields), Mode.SERIALIZE, loop_thread_of)
    return compiled


if TYPE_CHECKING:
    from .fields import AioFields as AioFields
    from .fields import ConstructingType as ConstructingType
    from .fields import StreamFields as StreamFields
    from .fields import SyncFields as SyncFields
else:
    _chosen = _offered()
    AioFields = _chosen.AioFields
    ConstructingType = _chosen.ConstructingType
    StreamFields = _chosen.StreamFields
    SyncFields = _chosen.SyncFields
