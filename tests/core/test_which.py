"""Which core runs, as GRPC_GUARD_PURE says, and what is said of a value that cannot be followed."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from inside import (
    Mode,
    core_entries,
    core_fields,
    core_loops,
    core_records,
    core_which,
    loops_door,
    monotonic,
)

NAME = "grpc_guard._core._compiled"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a compiled core that is there, as in a wheel: its source is not."""
    there: Any = ModuleType(NAME)
    there.CHECKSUM, there.__file__ = zlib.crc32(b"int it;"), "_compiled.so"
    monkeypatch.setitem(sys.modules, NAME, there)
    monkeypatch.setattr(core_which, "__file__", str(tmp_path / "which.py"))
    monkeypatch.delenv("GRPC_GUARD_PURE", raising=False)
    return there


@pytest.fixture
def none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be no compiled core."""
    monkeypatch.setitem(sys.modules, NAME, None)
    monkeypatch.delenv("GRPC_GUARD_PURE", raising=False)


def test_a_compiled_core(compiled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is taken where it is there, unless the core in Python is asked for."""
    assert core_which._choose() is compiled
    monkeypatch.setenv("GRPC_GUARD_PURE", "")
    assert core_which._choose() is compiled
    monkeypatch.setenv("GRPC_GUARD_PURE", "0")
    assert core_which._choose() is compiled
    monkeypatch.setenv("GRPC_GUARD_PURE", "1")
    assert core_which._choose() is None


def test_no_compiled_core(none: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The core in Python is taken, unless the compiled one is asked for."""
    assert core_which._choose() is None
    monkeypatch.setenv("GRPC_GUARD_PURE", "1")
    assert core_which._choose() is None
    monkeypatch.setenv("GRPC_GUARD_PURE", "0")
    with pytest.raises(ImportError, match="GRPC_GUARD_PURE: '0' asks for .*; install grpc_guard "):
        core_which._choose()


def test_a_bad_choice(none: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for an unknown value names its source and the choices."""
    monkeypatch.setenv("GRPC_GUARD_PURE", "yes")
    with pytest.raises(ValueError, match="GRPC_GUARD_PURE: 'yes' is not a choice; use 0 .*, 1 "):
        core_which._choose()


def test_a_core_of_another_source(
    compiled: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It does not run, which --version tells, and is an error where it is asked for."""
    source = tmp_path / "c" / "module.c"
    source.parent.mkdir()
    source.write_bytes(b"int it;")
    assert core_which._choose() is compiled
    source.write_bytes(b"int another;")
    monkeypatch.setattr(core_which, "compiled", core_which._choose)
    told = "py; the compiled one is of other sources: install again"
    assert core_which.described() == told
    monkeypatch.setenv("GRPC_GUARD_PURE", "1")
    assert core_which.described() == "py"
    monkeypatch.setenv("GRPC_GUARD_PURE", "0")
    with pytest.raises(ImportError, match=r"_compiled\.so was made from other sources"):
        core_which._choose()


def test_what_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled core is told what it shares with the one in Python, before anything is made."""
    told: list[Any] = []
    compiled: Any = ModuleType(NAME)
    compiled.configure = lambda *shared: told.extend(shared)
    monkeypatch.setattr(core_which, "compiled", lambda: compiled)
    assert core_records._offered() == (compiled, compiled)
    assert told == [
        vars(core_fields),
        Mode.SERIALIZE,
        core_loops.loop_thread_of,
        monotonic,
        loops_door.current_task,
        vars(core_entries),
    ]
    assert core_which.name() == "c"
    monkeypatch.setattr(core_which, "compiled", lambda: None)
    assert core_records._offered() == (core_fields, core_entries)
    assert core_which.name() == "py"
