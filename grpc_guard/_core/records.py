"""What happens once for each RPC, by the core that runs: in C, or as in fields.py and entries.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._catalogue.clock import monotonic
from .._catalogue.cpython_loops import current_task
from .._catalogue.modes import Mode
from . import entries, fields, which
from .loops import loop_thread_of


def _offered() -> tuple[Any, Any]:
    compiled = which.compiled()
    if compiled is None:
        return fields, entries
    compiled.configure(
        vars(fields),
        Mode.SERIALIZE,
        loop_thread_of,
        monotonic,
        current_task,
        vars(entries),
    )
    return compiled, compiled


if TYPE_CHECKING:
    from .entries import Entry as Entry
    from .entries import InFlight as InFlight
    from .entries import TaskEntry as TaskEntry
    from .entries import UnaryEntry as UnaryEntry
    from .fields import AioFields as AioFields
    from .fields import AioOperation as AioOperation
    from .fields import ConstructingType as ConstructingType
    from .fields import StreamFields as StreamFields
    from .fields import SyncFields as SyncFields
    from .fields import counter as counter
    from .fields import key_of as key_of
    from .fields import operations_in_progress as operations_in_progress
else:
    _fields, _entries = _offered()
    AioFields = _fields.AioFields
    AioOperation = getattr(_fields, "AioOperation", fields.AioOperation)
    ConstructingType = _fields.ConstructingType
    StreamFields = _fields.StreamFields
    SyncFields = _fields.SyncFields
    Entry = _entries.Entry
    InFlight = _entries.InFlight
    TaskEntry = _entries.TaskEntry
    UnaryEntry = _entries.UnaryEntry
    counter = getattr(_fields, "count", fields.counter)
    fields.created = counter()
    key_of = _fields.key_of
    operations_in_progress = _fields.operations_in_progress
