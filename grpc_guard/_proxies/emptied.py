"""Replacements of the special methods that wrapt's proxy has for every object.

Operators decline, so that the other operand is asked. All others are absent, both for
``hasattr`` and for the interpreter.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import wrapt

# The class calls these, not the interpreter on the type of an object: code that asks the object
# for them gets those of the wrapped one. The finaliser runs when *that* object dies.
_NOT_FOR_TWINS = {"__getattr__", "__del__", "__class_getitem__", "__init_subclass__"}


WRAPT = wrapt.BaseObjectProxy


def is_special(name: str, value: object) -> bool:
    return (
        name.startswith("__")
        and name.endswith("__")
        and (callable(value) or value is None)
        and name not in _NOT_FOR_TWINS
        and (value is None or name not in vars(object))
        and not name.startswith("__wrapped_")  # wrapt's own, which it asks the class for
    )


# Raised where a special method is absent: an AttributeError for code that looks for it, a
# TypeError for code that needs it.
_NotThereError = type("TypeError", (AttributeError, TypeError), {"__module__": "builtins"})


def _enter(x: Any) -> None:
    with x:
        pass


# What the interpreter does by a special method; without one, its error tells the reason.
_USES: dict[str, Callable[[Any], Any]] = {
    "__iter__": iter,
    "__bytes__": bytes,
    "__len__": len,
    "__getitem__": lambda x: x[0],
    "__setitem__": lambda x: operator.setitem(x, 0, 0),
    "__delitem__": lambda x: operator.delitem(x, 0),
    "__reversed__": reversed,
    "__int__": int,
    "__float__": float,
    "__complex__": complex,
    "__index__": operator.index,
    "__abs__": abs,
    "__neg__": operator.neg,
    "__pos__": operator.pos,
    "__invert__": operator.invert,
    "__round__": round,
    "__trunc__": math.trunc,
    "__floor__": math.floor,
    "__ceil__": math.ceil,
    "__enter__": _enter,
    "__exit__": _enter,
    "__instancecheck__": lambda x: isinstance(0, x),
    "__subclasscheck__": lambda x: issubclass(int, x),
}


def _bare(name: str) -> Any:
    """Return an object that can do nothing, of a type of this name."""
    return type(name, (), {})()


@functools.cache
def _reason(special: str, owner: str) -> str:
    """Return what Python says where an object of a type `owner` lacks a special method.

    Without the compiled core, each ``list(call)`` asks.
    """
    try:
        _USES.get(special, operator.attrgetter(special))(_bare(owner))
    except (TypeError, AttributeError) as error:
        return str(error)
    return special  # pragma: no cover  # unreachable: a bare object can do nothing


class _Absent:
    """A special method that the wrapped object lacks."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, proxy: Any, owner: type) -> Any:
        raise _NotThereError(_reason(self.name, owner.__name__)) from None


def _decline(*_: object) -> Any:
    return NotImplemented


def _items(proxy: Any) -> Any:
    """Return the items of `proxy` for code that falls back on iteration, or a bare object."""
    if not hasattr(type(proxy), "__iter__"):
        return _bare(type(proxy).__name__)
    return (item for item in proxy)


_OPERATORS = {
    f"__{prefix}{name}__"
    for name in (
        *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow"),
        *("lshift", "rshift", "and", "or", "xor"),
    )
    for prefix in ("", "r", "i")
}


def emptied() -> dict[str, Any]:
    """Return the replacements of the special methods that wrapt has for every object."""
    offered = {
        name
        for owner in WRAPT.__mro__[:-1]
        for name, value in vars(owner).items()
        if is_special(name, value) and not name.startswith("__self_")
    }
    # math looks for these two before it asks for a number, which wrapt makes of any object.
    offered |= {"__floor__", "__ceil__"}
    return {
        **{name: _decline if name in _OPERATORS else _Absent(name) for name in offered},
        "__bool__": lambda self: bool(self.__wrapped__),
        "__contains__": lambda self, value: value in _items(self),
        "__iter__": _Absent("__iter__"),  # otherwise iter() would take it for a sequence
    }


# Special methods that Python looks up on the type.
_BY_TYPE = frozenset(
    (
        *(name for name in emptied() if name not in vars(object)),
        *("__next__", "__aiter__", "__anext__", "__await__", "__aenter__", "__aexit__", "__call__"),
    )
)


def is_method(name: str, value: object) -> bool:
    """Tell whether `value`, as it stands in a class, is its special method `name`.

    Any descriptor may stand for one that Python looks up on the type: a MagicMock has such.
    """
    return is_special(name, value) or (name in _BY_TYPE and hasattr(type(value), "__get__"))
