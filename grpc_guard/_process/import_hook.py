"""Doing something right after the program's own import of a module, and leaving no trace.

The standard library alone: what wrapt would bring along (asyncio, and with it ssl) must not be
imported before a program that patches them, as those with gevent do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


def after_import(name: str, then: Callable[[], object]) -> None:
    """Call `then` when the top-level module `name` has been imported, at once if it has been."""
    if name in sys.modules:
        then()
        return
    for finder in sys.meta_path:  # two of ours would ask each other without end
        if isinstance(finder, _Finder) and finder.name == name:
            finder.then.append(then)
            return
    sys.meta_path.insert(0, _Finder(name, then))


class _Finder:
    """Finds one module as the others do, and is told when it has been executed."""

    def __init__(self, name: str, then: Callable[[], object]) -> None:
        self.name = name
        self.then = [then]

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self.name:
            return None
        for finder in sys.meta_path:
            find_spec = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find_spec(name, path, target) if find_spec else None
            if spec is not None:
                self._follow(spec.loader)
                return spec
        return None

    def _follow(self, loader: object) -> None:
        plain = getattr(loader, "exec_module", None)
        if plain is None:
            return  # a namespace package, such as a mere folder of that name

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module  # type: ignore[attr-defined]  # the loader is as it was
            plain(module)
            sys.meta_path.remove(self)  # not before: a failed import may be tried again
            for then in self.then:
                then()

        loader.exec_module = exec_module  # type: ignore[attr-defined]
