"""Messages that their program can change: how to copy one, and how to see that it was changed.

Only what the guard knows is looked into: messages of protobuf, and Python's own containers. What
a program's serializer would make of any other message is not asked: it may count, or
encrypt, and give other bytes each time.
"""

from __future__ import annotations

import marshal
import sys
from typing import Any, TypeVar, cast

T = TypeVar("T")

_CONTAINERS = (bytearray, dict, list, set)
# A format of marshal's in which equal things are equal bytes: later ones note who else holds them.
_FORMAT = 0


def _is_of_protobuf(message: object) -> bool:
    module: Any = sys.modules.get("google.protobuf.message")  # or nobody has such messages
    return module is not None and issubclass(type(message), module.Message)


def own(message: T) -> T:
    """Return a copy of a protobuf message, which its producer may change; anything else as it is.

    It costs 0.2 us for a small message, and half of its serialization for one of megabytes.
    """
    if _is_of_protobuf(message):
        copy: Any = type(message)()
        copy.CopyFrom(message)
        return cast("T", copy)
    return message


def contents_of(message: object) -> bytes | None:
    """Return what is in `message` now; None where it cannot change, or the guard cannot tell.

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
    """Tell whether `message` is another one than when contents_of() returned `contents`."""
    now = contents_of(message)
    if now is None or now == contents:
        return False
    if _is_container(message):
        return True
    # To read an extension can change how it is serialized, and not what it says.
    parse = cast("Any", type(message)).FromString
    return bool(parse(now) != parse(contents))
