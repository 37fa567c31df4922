"""Messages that a program can change: how to copy one, and how to detect a change.

Only protobuf messages and Python's own containers are read. For any other message the program's
serializer would have to be called, and it may count, or encrypt, and return other bytes each
time.
"""

from __future__ import annotations

import marshal
import sys
from typing import Any, TypeVar, cast

T = TypeVar("T")

_CONTAINERS = (bytearray, dict, list, set)
# A marshal format in which equal things are equal bytes: later ones encode reference counts.
_FORMAT = 0


def _is_of_protobuf(message: object) -> bool:
    module: Any = sys.modules.get("google.protobuf.message")  # not imported: no messages
    return module is not None and issubclass(type(message), module.Message)


def own(message: T) -> T:
    """Return a copy of a protobuf message, which the program may change; any other object itself.

    It costs 0.2 us for a small message, and half of its serialization for one of megabytes.
    """
    if _is_of_protobuf(message):
        copy: Any = type(message)()
        copy.CopyFrom(message)
        return cast("T", copy)
    return message


def contents_of(message: object) -> bytes | None:
    """Return the contents of `message` now; None if it cannot change, or the guard cannot tell.

    It costs what serializing the message costs.
    """
    if _is_container(message):
        try:
            return marshal.dumps(cast("Any", message), _FORMAT)
        except ValueError:
            return None  # something else is inside
    if _is_of_protobuf(message):
        serialized: bytes = cast("Any", message).SerializePartialToString(deterministic=True)
        return serialized
    return None


def _is_container(message: object) -> bool:
    # By identity: to compare or hash a class may run the program's metaclass.
    return any(type(message) is kind for kind in _CONTAINERS)


def has_changed(message: object, contents: bytes) -> bool:
    """Tell whether `message` has changed since contents_of() returned `contents`."""
    now = contents_of(message)
    if now is None or now == contents:
        return False
    if _is_container(message):
        return True
    # Reading an extension can change how it is serialized, but not what it says.
    parse = cast("Any", type(message)).FromString
    return bool(parse(now) != parse(contents))
