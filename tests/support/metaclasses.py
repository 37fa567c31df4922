"""Classes of a program whose metaclass has code of its own."""

from __future__ import annotations


class Telling(type):
    """A metaclass that notes when one of its classes is hashed or compared."""

    calls: list[str] = []  # of all its classes

    def __eq__(cls, other: object) -> bool:
        Telling.calls.append("__eq__")
        return cls is other

    def __hash__(cls) -> int:
        Telling.calls.append("__hash__")
        return type.__hash__(cls)
