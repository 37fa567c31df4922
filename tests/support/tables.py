"""The size of every table of the package, for a test of what grows."""

from __future__ import annotations

import gc
import sys
import types
import weakref
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

TABLES = (dict, set, list, deque, weakref.WeakSet, weakref.WeakKeyDictionary)
STEADY = 40  # entries by which a bounded table may differ


def tables() -> Counter[str]:
    """Return the size of each table, by its place: in a module, or in all records of a class."""
    gc.collect()
    sizes: Counter[str] = Counter()
    for name, module in tuple(sys.modules.items()):
        if name.startswith("grpc_guard"):
            for attribute, value in tuple(vars(module).items()):
                if isinstance(value, TABLES) and not attribute.startswith("__"):
                    sizes[f"{name}.{attribute}"] += len(value)
    for thing in gc.get_objects():
        kind = type(thing)
        if not str(kind.__module__).startswith("grpc_guard") or isinstance(thing, type):
            continue
        sizes[f"records of {kind.__qualname__}"] += 1
        for attribute, value in fields(thing):
            if isinstance(value, TABLES):
                sizes[f"{kind.__qualname__}.{attribute}"] += len(value)
    return sizes


def fields(thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield what `thing` holds, without asking a proxy."""
    try:
        yield from object.__getattribute__(thing, "__dict__").items()
    except AttributeError:
        pass
    for kind in type(thing).__mro__:
        for slot, descriptor in vars(kind).items():
            if isinstance(descriptor, types.MemberDescriptorType):
                try:
                    yield slot, descriptor.__get__(thing)
                except AttributeError:
                    pass


def grown(before: Counter[str], after: Counter[str]) -> dict[str, tuple[int, int]]:
    return {
        name: (before[name], size) for name, size in after.items() if size > before[name] + STEADY
    }
