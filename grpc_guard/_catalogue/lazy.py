"""Public names that are imported when they are first used.

A test suite that has the pytest plugin installed and switched off, and a program that is
run with the guard but never speaks gRPC, must not pay for importing grpc.
"""

from __future__ import annotations

import importlib
import sys
import typing
from collections.abc import Callable, Mapping, Sequence

T = typing.TypeVar("T")


def lazily(
    package: str, names: Mapping[str, Sequence[str]], *, modules: Sequence[str] = ()
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a `package` with `names` (submodule -> names).

    `modules` are submodules that are available without being imported first.
    """
    homes = {name: module for module, listed in names.items() for name in listed}

    def find(name: str) -> object:
        if name in modules:
            return importlib.import_module(f"{package}.{name}")
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found: object = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, found)
        return found

    def listed() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes, *modules})

    return find, listed


def public(thing: T, *, module: str = "grpc_guard") -> T:
    """Give a class or function the public `module` as its ``__module__``; for use as a decorator.

    Tracebacks and reprs then show its public name, and pickles survive a move of its code. The
    annotations of a class are resolved here, where their names are known.
    """
    if isinstance(thing, type) and "__annotations__" in vars(thing):
        known = {**vars(sys.modules[thing.__module__]), thing.__name__: thing}
        hints = typing.get_type_hints(thing, known, include_extras=True)
        thing.__annotations__ = {name: hints[name] for name in thing.__annotations__}
    thing.__module__ = module
    return thing
