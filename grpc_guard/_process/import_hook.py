"""Calling a function right after the program's own import of a module, and leaving no trace.

Only with the standard library: wrapt imports asyncio, and so ssl, which must not be imported
before a program patches them, as one with gevent does.
"""

from __future__ import annotations

import contextlib
import sys
from _thread import get_ident
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from .._catalogue.boundary import overlooked


def after_import(name: str, then: Callable[[], object]) -> None:
    """Call `then` when the top-level module `name` has been imported, at once if it has been.

    It is called once, even if other code hooks that import too. An exception is logged, and the
    import continues.
    """
    if name in sys.modules:
        then()
        return
    for finder in sys.meta_path:
        if isinstance(finder, _Finder) and finder.name == name:
            finder.then.append(then)
            return
    sys.meta_path.insert(0, _Finder(name, then))


class _Finder:
    """Finds one module as the other finders do, and learns when it has been executed."""

    def __init__(self, name: str, then: Callable[[], object]) -> None:
        self.name = name
        self.then = [then]
        self._asking: set[int] = set()  # threads in which it is asking the other finders

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        thread = get_ident()
        # Another finder may ask the whole import system, and so this one: agents' finders do.
        if name != self.name or not self.then or thread in self._asking:
            return None
        self._asking.add(thread)
        try:
            spec = self._find(name, path, target)
        finally:
            self._asking.discard(thread)
        # Without exec_module: a namespace package, such as a mere folder of that name.
        if spec is not None and hasattr(spec.loader, "exec_module"):
            stand_in: Any = _Loader(spec.loader, self)
            spec.loader = stand_in
        return spec

    def _find(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in tuple(sys.meta_path):
            find_spec = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find_spec(name, path, target) if find_spec else None
            if spec is not None:
                return spec
        return None

    def executed(self) -> None:
        """Remove this finder, and call the function; a second call does nothing."""
        with contextlib.suppress(ValueError):  # other code may have restored an older meta_path
            sys.meta_path.remove(self)
        waiting, self.then = self.then, []
        for then in waiting:
            try:
                then()
            except Exception as error:
                if not overlooked(error, "a callback for the import of %s failed", self.name):
                    raise


class _Loader:
    """Stands in for another loader until the module is executed.

    An attribute of the other loader would not do: agents' loaders forward attributes that are set,
    and some importers have one loader for all modules.
    """

    def __init__(self, plain: Any, finder: _Finder) -> None:
        self._plain = plain
        self._finder = finder

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._plain)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def exec_module(self, module: ModuleType) -> None:
        spec: Any = module.__spec__
        if spec is not None and spec.loader is self:
            spec.loader = self._plain
        if getattr(module, "__loader__", None) is self:
            module.__loader__ = self._plain
        self._plain.exec_module(module)
        self._finder.executed()  # not before: a failed import may be repeated
