"""A class of a program whose metaclass has code of its own."""

from __future__ import annotations


class Unhashable(type):
    """A metaclass whose classes have no hash and cannot be compared."""

    def __eq__(cls, other: object) -> bool:
        raise AssertionError("the guard has called the program's code")

    __hash__ = None  # type: ignore[assignment]
