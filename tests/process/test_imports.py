"""Doing something right after the program's own import of a module."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import wrapt
from inside import after_import
from support.staging import PATIENCE


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


def test_the_core_imports_no_grpc() -> None:
    """The guard can be on before the program imports grpc, which has the guard import its core."""
    program = "import sys, grpc_guard._core.stream; sys.exit('grpc' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE)


def test_after_import(tmp_path: Path, late: Callable[[], list[str]]) -> None:
    """A function that waits for an import is called once, after the first that succeeds."""
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
    """Two functions that wait for one module are both called, in order."""
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
    """A function that waits for a module that is imported already is called at once."""
    happened: list[str] = []
    after_import("sys", lambda: happened.append("imported"))
    assert happened == ["imported"]


# Beside other hooks of the same import


class Forwarding:
    """A loader around another one, as agents put there: what is set on it is its own."""

    def __init__(self, plain: Any) -> None:
        self.plain = plain
        self.executed: list[str] = []

    def create_module(self, spec: Any) -> Any:
        return self.plain.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.executed.append(module.__name__)
        self.plain.exec_module(module)


class Watchdog:
    """A finder that asks the whole import system again, but for itself."""

    def __init__(self) -> None:
        self.asking = False
        self.loaders: list[Forwarding] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "late" or self.asking:
            return None
        self.asking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.asking = False
        assert spec is not None
        spec.loader = Forwarding(spec.loader)  # type: ignore[assignment]
        self.loaders.append(spec.loader)  # type: ignore[arg-type]
        return spec


@pytest.fixture
def written(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text("value = 1")
    importlib.invalidate_caches()


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.usefixtures("written")
def test_a_finder_that_asks_again(place: str, late: Callable[[], list[str]]) -> None:
    """A finder that asks all finders for the same module is asked once, and works."""
    watchdog = Watchdog()
    sys.meta_path.insert(0 if place == "before" else 1, watchdog)
    assert importlib.import_module("late").value == 1
    assert [loader.executed for loader in watchdog.loaders] == [["late"]]
    assert late() == ["imported"]


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.usefixtures("written")
def test_hooks_of_wrapt(place: str, late: Callable[[], list[str]]) -> None:
    """A post-import hook of wrapt, which puts a proxy around the loader, is called once."""
    happened = late()
    wrapt.register_post_import_hook(lambda module: happened.append("told wrapt's"), "late")
    finders = [finder for finder in sys.meta_path if "wrapt" not in repr(finder)]
    finders.insert(0 if place == "before" else 1, wrapt.importer.ImportHookFinder())
    sys.meta_path[:] = finders
    importlib.import_module("late")
    assert sorted(happened) == ["imported", "told wrapt's"]


@pytest.mark.usefixtures("written")
def test_a_finder_that_goes_while_it_is_asked(late: Callable[[], list[str]]) -> None:
    """A finder that takes itself out of the list hides no other one from the import."""

    class Passing:
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
            sys.meta_path.remove(self)  # type: ignore[arg-type]

    sys.meta_path.insert(1, Passing())
    importlib.import_module("late")
    assert late() == ["imported"]


@pytest.mark.usefixtures("written")
def test_the_loader_is_as_it_was(late: Callable[[], list[str]]) -> None:
    """Code that reads the loader, before or after the import, sees the plain one."""
    spec = importlib.util.find_spec("late")
    assert spec is not None
    assert isinstance(spec.loader, importlib.machinery.SourceFileLoader)
    assert spec.loader.get_source("late") == "value = 1"
    module = importlib.import_module("late")
    assert type(module.__loader__) is type(module.__spec__.loader)  # type: ignore[union-attr]
    assert type(module.__loader__) is importlib.machinery.SourceFileLoader
    assert late() == ["imported"]


@pytest.mark.usefixtures("written")
def test_two_copies_of_a_module(late: Callable[[], list[str]]) -> None:
    """If a module is executed twice, from two specs, the first time counts."""
    specs = [importlib.util.find_spec("late") for _ in range(2)]
    for spec in specs:
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    module = ModuleType("late")  # one that was made by hand tells no loader
    module.__spec__ = None
    del module.__loader__
    specs[0].loader.exec_module(module)  # type: ignore[union-attr]
    assert late() == ["imported"]


@pytest.mark.usefixtures("written")
def test_finders_that_were_put_back(late: Callable[[], list[str]]) -> None:
    """A program that restores sys.meta_path changes nothing, whenever it does so."""
    before = list(sys.meta_path)
    spec = importlib.util.find_spec("late")
    assert spec is not None
    assert spec.loader is not None
    sys.meta_path[:] = [finder for finder in before if "grpc_guard" not in repr(finder)]
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    sys.meta_path[:] = before
    importlib.import_module("late")
    assert late() == ["imported"]


@pytest.mark.usefixtures("written")
def test_what_fails_after_the_import(
    late: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """An error of such a function is logged; the import succeeds, and the next one is called."""

    def fail() -> None:
        raise ValueError("no such patch")

    after_import("late", fail)
    after_import("late", lambda: late().append("told the next"))
    with caplog.at_level(logging.ERROR, "grpc_guard"):
        assert importlib.import_module("late").value == 1
    assert late() == ["imported", "told the next"]
    assert [record.getMessage() for record in caplog.records] == [
        "a callback for the import of late failed"
    ]
