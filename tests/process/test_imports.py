"""Doing something right after the program's own import of a module."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from inside import after_import


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """Watch for the import of a module called late; return a function that tells what happened."""
    happened: list[str] = []
    finders = list(sys.meta_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    after_import("late", lambda: happened.append("imported"))
    yield lambda: happened
    sys.meta_path[:] = finders
    sys.modules.pop("late", None)


def test_after_import(tmp_path: Path, late: Callable[[], list[str]]) -> None:
    """What waits for an import is done once, after the first one that succeeds."""
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("late")
    (tmp_path / "late.py").write_text("1 / 0")
    importlib.invalidate_caches()
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("late")
    assert late() == []
    (tmp_path / "late.py").write_text("value = 'longer than before'")
    module = importlib.import_module("late")
    assert importlib.reload(module).value == "longer than before"
    assert late() == ["imported"]
    assert not any(type(finder).__module__ == after_import.__module__ for finder in sys.meta_path)


def test_after_import_twice(tmp_path: Path, late: Callable[[], list[str]]) -> None:
    """Of two who wait for one module each is told, in their order."""
    after_import("late", lambda: late().append("imported, said to the second"))
    (tmp_path / "late.py").touch()
    importlib.invalidate_caches()
    importlib.import_module("late")
    assert late() == ["imported", "imported, said to the second"]


def test_after_import_of_a_folder(tmp_path: Path, late: Callable[[], list[str]]) -> None:
    """A folder of the name that is waited for is imported as ever, and is not what was meant."""
    (tmp_path / "late").mkdir()
    importlib.invalidate_caches()
    assert importlib.import_module("late").__file__ is None
    assert late() == []


def test_after_import_of_what_is_there() -> None:
    """What waits for a module that is imported already is done at once."""
    happened: list[str] = []
    after_import("sys", lambda: happened.append("imported"))
    assert happened == ["imported"]
