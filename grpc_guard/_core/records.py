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
    from .fields import AioOperation as AioOperation
    from .fields import ConstructingType as ConstructingType
    from .fields import StreamFields as StreamFields
    from .fields import SyncFields as SyncFields
    from .fields import operations_in_progress as operations_in_progress
else:
    _chosen = _offered()
    AioFields = _chosen.AioFields
    AioOperation = getattr(_chosen, "AioOperation", fields.AioOperation)
    ConstructingType = _chosen.ConstructingType
    StreamFields = _chosen.StreamFields
    SyncFields = _chosen.SyncFields
    operations_in_progress = _chosen.operations_in_progress
