"""``import grpc_guard.auto`` does what the environment variable GRPC_GUARD says."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest
from inside import core_which
from support.staging import PATIENCE

import grpc_guard


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test import the module for the first time."""
    monkeypatch.delitem(sys.modules, "grpc_guard.auto", raising=False)


@pytest.mark.parametrize("mode", ["raise", "warn", "serialize"])
def test_import_enables(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The import switches the guard on, in the mode of the variable."""
    monkeypatch.setenv("GRPC_GUARD", mode)
    try:
        importlib.import_module("grpc_guard.auto")
        from inside import current_mode

        assert current_mode() == mode
    finally:
        grpc_guard.disable()


@pytest.mark.parametrize("value", ["off", "", None])
def test_import_leaves_it_off(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """off, an empty value and none at all leave everything as it is."""
    if value is None:
        monkeypatch.delenv("GRPC_GUARD", raising=False)
    else:
        monkeypatch.setenv("GRPC_GUARD", value)
    importlib.import_module("grpc_guard.auto")
    assert not grpc_guard.is_enabled()


def test_import_with_a_bad_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that is no mode is an error that names its source and the choices."""
    monkeypatch.setenv("GRPC_GUARD", "on")
    said = "^GRPC_GUARD: 'on' is not a mode; use off, raise, warn or serialize$"
    with pytest.raises(ValueError, match=said):
        importlib.import_module("grpc_guard.auto")


def test_import_with_a_bad_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """So is an unknown core, before grpc is imported, and only if the guard is on."""
    monkeypatch.setattr(core_which, "compiled", core_which._choose)
    monkeypatch.setitem(sys.modules, "grpc", None)
    monkeypatch.setenv("GRPC_GUARD_PURE", "yes")
    monkeypatch.setenv("GRPC_GUARD", "raise")
    with pytest.raises(ValueError, match="^GRPC_GUARD_PURE: 'yes' is not a choice; use 0 "):
        importlib.import_module("grpc_guard.auto")
    monkeypatch.setenv("GRPC_GUARD", "off")
    importlib.import_module("grpc_guard.auto")
    assert not grpc_guard.is_enabled()


def test_import_costs_nothing_when_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the variable is not set, grpc is not imported."""
    monkeypatch.delenv("GRPC_GUARD", raising=False)
    code = "import sys, grpc_guard.auto; print('grpc' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    assert process.stdout == "False\n"


def test_import_leaves_the_standard_library_to_the_program() -> None:
    """Switching on imports nothing that a program with gevent has still to patch."""
    code = (
        "import sys; before = set(sys.modules); import grpc_guard.auto; "
        "print({'asyncio', 'concurrent.futures', 'grpc', 'selectors', 'socket', 'ssl', 'wrapt'}"
        " & (set(sys.modules) - before))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
        env={**os.environ, "GRPC_GUARD": "raise"},
    )
    assert process.stdout == "set()\n"
